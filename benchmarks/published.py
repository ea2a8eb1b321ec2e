"""Each step of the pipeline in the plain way of published research code, for comparison with the library's."""

from __future__ import annotations

from collections.abc import Sequence

import bioimage_cpp
import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import nn
from torch.nn import functional

from pixel_embedded_affinity.network.residual_unet import DEEPEST_SCALE, ResidualUNet


class PlainBlock(nn.Module):
    """The residual block with separate convolutions for path and projection, and batch norm not folded."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(out_channels)
        self.second = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(out_channels)
        self.project = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.project_norm = nn.BatchNorm2d(out_channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W)."""
        path = self.second_norm(self.second(torch.relu(self.first_norm(self.first(features)))))
        return torch.relu(path + self.project_norm(self.project(features)))


class PlainResidualUNet(nn.Module):
    """The published network: channels first, float32, every head computed at each call."""

    def __init__(self, network: ResidualUNet) -> None:
        super().__init__()
        self.full_resolution_skip = network.full_resolution_skip
        self.stem = _plain(network.stem)
        self.encoder = nn.ModuleList(_plain(block) for block in network.encoder)
        self.decoder = nn.ModuleList(_plain(block) for block in network.decoder)
        self.pyramid_heads, self.embedding_head = network.pyramid_heads, network.embedding_head
        self.foreground_head = network.foreground_head

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        """Embedding, foreground logits and the coarse embeddings of (N, C, H, W), sides multiples of 16."""
        features, skips, full = self.stem(images), [], None
        for block in self.encoder:
            wide = block(features)
            full = wide if full is None else full
            features = functional.max_pool2d(wide, 2)
            skips.append(features)
        coarse = []
        for level, block in enumerate(self.decoder):
            coarse.append(self.pyramid_heads[level](features))
            if level > 0:
                features = torch.cat((features, skips[-1 - level]), dim=1)
            features = functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
            if level == 3 and self.full_resolution_skip:
                features = torch.cat((features, full), dim=1)
            features = block(features)
        return self.embedding_head(features), self.foreground_head(features), coarse


def _plain(block: nn.Module) -> PlainBlock:
    """Split the library's merged convolution into the two original ones."""
    count = block.out_channels
    plain = PlainBlock(block.enter.in_channels, count)
    plain.first.weight.data, plain.project.weight.data = block.enter.weight.data.split(count)
    plain.second.weight.data = block.refine.weight.data
    for norm, source, part in (
        (plain.first_norm, block.enter_norm, slice(0, count)),
        (plain.project_norm, block.enter_norm, slice(count, None)),
        (plain.second_norm, block.refine_norm, slice(None)),
    ):
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(norm, name).data = getattr(source, name).data[part].clone()
    return plain


def padded(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Repeat the last row and column of (C, H, W) up to multiples of the deepest scale."""
    below, right = (-length % DEEPEST_SCALE for length in image.shape[1:])
    return np.pad(image, ((0, 0), (0, below), (0, right)), mode="edge")


def rolled_affinities(embedding: torch.Tensor, offsets: Sequence[tuple[int, ...]]) -> torch.Tensor:
    """Affinities (K, H, W) of an embedding (1, D, H, W): shift the whole embedding, normalize, multiply, sum."""
    channels = []
    for offset in offsets:
        shifted = torch.roll(embedding, shifts=[-o for o in offset], dims=(2, 3))
        product = functional.normalize(embedding, dim=1) * functional.normalize(shifted, dim=1)
        channels.append(product.sum(dim=1).clamp(min=0)[0])
    return torch.stack(channels)


def mutex_watershed(
    affinities: npt.NDArray[np.float32],
    offsets: Sequence[tuple[int, ...]],
    attractive: int,
    strides: Sequence[int],
    foreground: npt.NDArray[np.bool_],
) -> npt.NDArray[np.uint64]:
    """The same mutex watershed as the library's, called directly; the attractive channels come first."""
    weights = affinities.copy()
    weights[attractive:] = 1 - weights[attractive:]
    return bioimage_cpp.segmentation.mutex_watershed(
        weights, [list(offset) for offset in offsets], attractive, strides=list(strides), mask=foreground
    )


def merge_by_windows(labels: npt.NDArray[np.uint64], sizes: Sequence[int]) -> npt.NDArray[np.int32]:
    """Merge small objects one by one: dilate each in a box around it, and take the most frequent label of its rim."""
    merged = ndimage_relabel(labels)
    for size in sizes:
        for index, window in enumerate(ndimage.find_objects(merged), start=1):
            if window is None or (merged[window] == index).sum() >= size:
                continue
            wide = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in window)
            view = merged[wide]
            inside = view == index
            around = view[ndimage.binary_dilation(inside) & ~inside]
            around = around[around > 0]
            if around.size:
                view[inside] = np.bincount(around).argmax()
        merged = ndimage_relabel(merged)
    return merged


def ndimage_relabel(labels: npt.NDArray[np.generic]) -> npt.NDArray[np.int32]:
    """Consecutive labels by NumPy's sort."""
    values, inverse = np.unique(labels, return_inverse=True)
    inverse = inverse.reshape(labels.shape)
    return (inverse + (0 if values[0] == 0 else 1)).astype(np.int32)
