"""The residual U-Net of the paper: per-pixel embeddings, an embedding pyramid, a foreground head."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from pixel_embedded_affinity.network.blocks import ResidualBlock, fold

DEEPEST_SCALE = 16
"""Height and width of the input are padded to multiples of this inside the network."""


class NetworkOutput(NamedTuple):
    """What the network makes of a batch of images (N, C, H, W).

    Attributes
    ----------
    embedding : torch.Tensor
        (N, D, H, W), not normalized.
    foreground : torch.Tensor or None
        (N, 1, H, W) logits of the foreground, None for a network without this head.
    pyramid : tuple of torch.Tensor
        Embeddings at 1/16, 1/8, 1/4 and 1/2 of the padded size, coarsest first; empty unless asked for.
    """

    embedding: torch.Tensor
    foreground: torch.Tensor | None
    pyramid: tuple[torch.Tensor, ...]


class ResidualUNet(nn.Module):
    """Residual U-Net with embedding heads at five scales (Huang et al., AAAI 2022).

    It has 4.7 million parameters by default.

    Parameters
    ----------
    in_channels : int
        Channels of the input image.
    filters : sequence of five int
        Channels of the encoder's five levels.
    embedding_channels : int
        Length of the embedding of a pixel.
    foreground_head : bool
        Whether to add a head that tells foreground from background.
    full_resolution_skip : bool
        Whether the last decoder block also sees the encoder's features at full resolution. The published
        network has no such connection; it sharpens the borders at 0.4 % more parameters.
    """

    def __init__(
        self,
        in_channels: int = 3,
        filters: Sequence[int] = (16, 32, 64, 128, 256),
        embedding_channels: int = 16,
        foreground_head: bool = True,
        full_resolution_skip: bool = False,
    ) -> None:
        super().__init__()
        stem, *levels = filters
        deepest = levels[-1]
        skip = levels[0] if full_resolution_skip else 0
        self.full_resolution_skip = full_resolution_skip
        self.stem = ResidualBlock(in_channels, stem)
        self.encoder = nn.ModuleList(ResidualBlock(a, b) for a, b in zip(filters, levels))
        inputs = (deepest, deepest + levels[2], levels[2] + levels[1], levels[1] + levels[0] + skip)
        outputs = (deepest, levels[2], levels[1], levels[0])
        self.decoder = nn.ModuleList(ResidualBlock(a, b) for a, b in zip(inputs, outputs))
        coarse = (deepest, *outputs[:-1])
        self.pyramid_heads = nn.ModuleList(nn.Conv2d(channels, embedding_channels, 1) for channels in coarse)
        self.embedding_head = nn.Conv2d(levels[0], embedding_channels, 1)
        self.foreground_head = _foreground_head(levels[0]) if foreground_head else None

    def forward(self, images: torch.Tensor, pyramid: bool = False) -> NetworkOutput:
        """Embed a batch of images (N, C, H, W) of any size; `pyramid` also gives the coarse embeddings."""
        height, width = images.shape[-2:]
        features, coarse = self._features(_pad(images), pyramid)
        # Heads before the crop: convolutions read dense memory faster than a window of it.
        embedding = self.embedding_head(features)[..., :height, :width]
        if self.foreground_head is None:
            return NetworkOutput(embedding, None, tuple(coarse))
        return NetworkOutput(embedding, self.foreground_head(features)[..., :height, :width], tuple(coarse))

    def _features(self, images: torch.Tensor, pyramid: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Run encoder and decoder; return the features at full resolution and the coarse embeddings."""
        features = self.stem(images)
        skips: list[torch.Tensor | None] = []
        for level, block in enumerate(self.encoder):
            wide = block(features)
            if level == 0:
                full = wide if self.full_resolution_skip else None
            features = functional.max_pool2d(wide, 2)
            skips.append(features)
        skips[-1] = None  # the deepest map is the decoder's input itself
        coarse = []
        for level, block in enumerate(self.decoder):
            if pyramid:
                coarse.append(self.pyramid_heads[level](features))
            skip = skips[-1 - level]
            features = features if skip is None else torch.cat((features, skip), dim=1)
            features = functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
            if level == len(self.decoder) - 1 and full is not None:
                features = torch.cat((features, full), dim=1)
            features = block(features)
        return features, coarse

    @property
    def grid(self) -> int:
        """Pixels of the image in one coarsest pixel: tiles must start at multiples of it."""
        return DEEPEST_SCALE

    def receptive_radius(self) -> int:
        """Distance in pixels, along an axis, of the farthest pixel that an output pixel reads."""
        return _receptive_radius(self.full_resolution_skip)

    def memory_per_pixel(self) -> int:
        """Bytes of main or device memory that a forward pass takes at its peak, per pixel, in float32.

        The last decoder block's input is the widest map at full resolution; with its copy, what the block
        makes of it and the working memory of the convolutions, two and a half times as much was measured.
        """
        widest = next(module for module in self.decoder[-1].modules() if isinstance(module, nn.Conv2d))
        return int(widest.in_channels) * 4 * 5 // 2

    def fold_batch_norm(self) -> None:
        """Fold every batch norm into its convolution; the network is then fit for evaluation only."""
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                module.fold_batch_norm()
        if self.foreground_head is not None:
            head = self.foreground_head
            head[0], head[1] = fold(head[0], head[1])


@lru_cache
def _receptive_radius(full_resolution_skip: bool) -> int:
    """Measure how far one pixel is seen, from each position within the coarsest pixel.

    In a network of the same connections whose weights are all positive nothing cancels: where the input is
    zero but for one pixel, the output is above zero exactly at the pixels that read it.
    """
    with torch.device("meta"):  # no random numbers for weights that are replaced anyway
        probe = ResidualUNet(1, (1,) * 5, 1, False, full_resolution_skip).double().eval()
    probe = probe.to_empty(device="cpu")
    middle, length = 12 * DEEPEST_SCALE, 24 * DEEPEST_SCALE
    impulses = torch.zeros(DEEPEST_SCALE, 1, DEEPEST_SCALE, length, dtype=torch.float64)
    for position, image in enumerate(impulses):
        image[:, :, middle + position] = 1
    with torch.inference_mode():
        for name, values in (*probe.named_parameters(), *probe.named_buffers()):
            values.fill_(0.0 if name.endswith(("bias", "running_mean")) else 1.0)
        seen = (probe(impulses).embedding[:, 0] > 0).any(dim=1)
    distances = [abs(column - middle - position) for position, column in seen.nonzero().tolist()]
    return int(max(distances))


def _foreground_head(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, 1, 1),
    )


def _pad(images: torch.Tensor) -> torch.Tensor:
    """Repeat the last row and column up to the next multiple of the deepest scale."""
    height, width = images.shape[-2:]
    below, right = -height % DEEPEST_SCALE, -width % DEEPEST_SCALE
    if not below and not right:
        return images
    return functional.pad(images, (0, right, 0, below), mode="replicate")
