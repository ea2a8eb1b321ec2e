"""A U-Net for stacks of sections: convolutions within each section, and mixes of neighboring sections."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, pairwise, starmap
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from pixel_embedded_affinity.network import base
from pixel_embedded_affinity.network.blocks import ConvNorm, LeanBlock, more_blocks

STRIDE = 2
"""Pixels of a section between two embedding vectors, along y and x."""

LEVELS = 5

_AT_ONCE = 2**17
"""Positions that go through a block at once on a CPU: what fits into its caches."""


class Neighbors(nn.Module):
    """Adds to each section a linear map of itself and its two neighbors; beyond the stack there are zeros.

    Parameters
    ----------
    channels : int
        Channels of the input and of the output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.map = nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, features: torch.Tensor, depth: int) -> torch.Tensor:
        """Map (N * depth, channels, H, W) to the same shape.

        Inference on a CPU changes the features in place. Else, channels that lie last in memory are not copied.
        """
        if _section_by_section(features) and features.dtype == self.map.weight.dtype:
            return self._mixed_in_place(features, depth)
        mixed: torch.Tensor = self.map(_stacked(features, depth))
        return mixed.transpose(1, 2).flatten(0, 1).add_(features)

    def _mixed_in_place(self, features: torch.Tensor, depth: int) -> torch.Tensor:
        """Mix by products of matrices: on one thread, torch has no fast convolution across sections."""
        last = features.permute(0, 2, 3, 1)
        rows = last.flatten(1, 2)
        before, own, after = self.map.weight[..., 0, 0].permute(2, 1, 0)
        own = own + torch.eye(len(own), dtype=own.dtype)
        previous = rows[0]
        for number, section in enumerate(rows):
            mixed = functional.linear(section, own.T, self.map.bias)
            if number % depth:
                mixed.addmm_(previous, before)
            if (number + 1) % depth:
                mixed.addmm_(rows[number + 1], after)
            previous = section.clone()
            section.copy_(mixed)
        return rows.view_as(last).permute(0, 3, 1, 2)


class SectionsUNet(base.UNet):
    """U-Net for anisotropic volumes whose finest level has half of each section's height and width.

    The sections of a volume go through two-dimensional convolutions one by one. From the second level on, and after
    each block of the decoder, a section is mixed with its two neighbors. Sections are never pooled, so a stack may
    have any number of them. As in `half_unet`, each square of 2 x 2 pixels of a section becomes the channels of one
    position. A position gets one embedding vector, and a foreground logit for each of its four pixels.

    Parameters
    ----------
    in_channels : int
        Channels of the input volume.
    filters : sequence of five int
        Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of a section's resolution. Multiples of 32 are fastest.
    embedding_channels : int
        Length of an embedding vector.
    foreground_head : bool
        Whether to add a head that tells foreground from background.
    blocks : sequence of five int
        Residual blocks at each level, finest first: so many in the encoder, and so many in the decoder but for the
        coarsest level, which both share. A mix follows each block after the first; they change nothing until they are
        trained.

    Raises
    ------
    InputError
        If the filters or blocks are not five positive integers.
    """

    ndim = 3
    grid = (1, STRIDE << (LEVELS - 1), STRIDE << (LEVELS - 1))
    stride = (1, STRIDE, STRIDE)
    halo = (6, 96, 96)  # beyond, no component of the embedding of neurons changes by more than 0.004
    pyramid_strides = ((1, 16, 16), (1, 8, 8), (1, 4, 4))

    def __init__(
        self,
        in_channels: int = 1,
        filters: Sequence[int] = (32, 32, 64, 64, 96),
        embedding_channels: int = 16,
        foreground_head: bool = True,
        blocks: Sequence[int] = (1, 1, 1, 1, 1),
    ) -> None:
        super().__init__()
        filters = base.checked_per_level(filters, LEVELS, "sections_unet", "filters")
        self.blocks = base.checked_per_level(blocks, LEVELS, "sections_unet", "blocks")
        finest, below = filters[0], filters[1:]
        self.stem = ConvNorm(in_channels * STRIDE**2, finest)
        self.stem_refine = ConvNorm(finest, finest)
        self.encoder = nn.ModuleList(LeanBlock(*widths) for widths in pairwise(filters))
        self.encoder_mix = nn.ModuleList(Neighbors(width) for width in below)
        upwards = list(zip(filters[:0:-1], filters[-2::-1]))
        self.lift = nn.ModuleList(nn.Conv2d(under, over, 1) for under, over in upwards)
        self.decoder = nn.ModuleList(LeanBlock(over, over) for _, over in upwards)
        self.decoder_mix = nn.ModuleList(Neighbors(over) for _, over in upwards)
        encoded = list(zip(filters, self.blocks))
        decoded = encoded[-2::-1]
        self.encoder_more = nn.ModuleList(starmap(more_blocks, encoded))
        self.decoder_more = nn.ModuleList(starmap(more_blocks, decoded))
        self.encoder_more_mix = nn.ModuleList(starmap(_more_mixes, encoded))
        self.decoder_more_mix = nn.ModuleList(starmap(_more_mixes, decoded))
        self.pyramid_heads = nn.ModuleList(
            nn.Conv2d(width, embedding_channels, 1) for width in filters[-2:0:-1]
        )
        self.embedding_head = nn.Conv2d(finest, embedding_channels, 1)
        self.foreground_head = nn.Conv2d(finest, STRIDE**2, 1) if foreground_head else None

    def forward(self, images: torch.Tensor, pyramid: bool = False) -> base.NetworkOutput:
        """Embed a batch of volumes (N, C, D, H, W) of any size; `pyramid` also gives the coarse embeddings.

        The embedding has the shape (N, D, depth, ceil(H / 2), ceil(W / 2)), the foreground (N, 1, depth, H, W).
        """
        depth, *shape = images.shape[2:]
        sections = base.padded(images, self.grid).transpose(1, 2).flatten(0, 1)
        pixels = functional.pixel_unshuffle(sections, STRIDE).contiguous(memory_format=torch.channels_last)
        features, coarse = self._features(pixels, depth, pyramid)
        positions = [-(-length // STRIDE) for length in shape]
        embedding = _stacked(base.cropped(self.embedding_head(features), positions), depth)
        levels = tuple(_stacked(values, depth) for values in coarse)
        if self.foreground_head is None:
            return base.NetworkOutput(embedding, None, levels)
        logits = base.cropped(functional.pixel_shuffle(self.foreground_head(features), STRIDE), shape)
        return base.NetworkOutput(embedding, _stacked(logits, depth), levels)

    def _features(
        self, pixels: torch.Tensor, depth: int, pyramid: bool
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Run encoder and decoder; return the features of the finest level and the coarse embeddings."""
        more = list(zip(self.encoder_more, self.encoder_more_mix))
        features = _deepened(*more[0], _by_sections(self._stemmed, pixels), depth)
        skips = []
        for block, mix, deeper in zip(self.encoder, self.encoder_mix, more[1:]):
            skips.append(features)
            features = _by_sections(partial(_lowered, block), features)
            features = mix(_deepened(*deeper, features, depth), depth)
        coarse = []
        more = list(zip(self.decoder_more, self.decoder_more_mix))
        for level, (lift, block, mix) in enumerate(zip(self.lift, self.decoder, self.decoder_mix)):
            features = _by_sections(partial(_raised, lift, block), features, skips.pop())
            features = mix(_deepened(*more[level], features, depth), depth)
            if pyramid and level < len(self.pyramid_heads):
                coarse.append(self.pyramid_heads[level](features))
        return features, coarse

    def _stemmed(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.relu_(self.stem_refine(torch.relu_(self.stem(pixels))))

    @property
    def narrowest(self) -> dict[str, Any]:
        """Options of the narrowest network that reads as far as this one."""
        return {**super().narrowest, "blocks": self.blocks}

    def memory_per_pixel(self) -> int:
        """Bytes that a forward pass takes at its peak, per pixel of the volume, in float32."""
        widest = int(self.embedding_head.in_channels)
        return widest * 4 * 6 // STRIDE**2


def _more_mixes(channels: int, blocks: int) -> nn.ModuleList:
    """Return the mixes after the blocks of a level but the first; each returns its input until it is trained."""
    mixes = nn.ModuleList(Neighbors(channels) for _ in range(blocks - 1))
    for values in mixes.parameters():
        nn.init.zeros_(values)
    return mixes


def _deepened(blocks: nn.Module, mixes: nn.Module, features: torch.Tensor, depth: int) -> torch.Tensor:
    """The features after the further blocks and mixes of a level; new ones keep what is not negative."""
    for block, mix in zip(blocks.children(), mixes.children()):
        features = mix(_by_sections(block, features), depth)
    return features


def _lowered(block: nn.Module, features: torch.Tensor) -> torch.Tensor:
    """The features of the next coarser level."""
    lowered: torch.Tensor = block(functional.max_pool2d(features, 2))
    return lowered


def _raised(lift: nn.Module, block: nn.Module, features: torch.Tensor, skipped: torch.Tensor) -> torch.Tensor:
    """The features of the next finer level."""
    raised = functional.interpolate(lift(features), scale_factor=2, mode="bilinear", align_corners=False)
    found: torch.Tensor = block(raised.add_(skipped))
    return found


def _section_by_section(features: torch.Tensor) -> bool:
    """Whether to save memory: in inference on a CPU, where small pieces are as fast as large ones."""
    last = features.is_contiguous(memory_format=torch.channels_last)
    return torch.is_inference_mode_enabled() and features.device.type == "cpu" and last


def _by_sections(
    function: Callable[..., torch.Tensor], features: torch.Tensor, *others: torch.Tensor
) -> torch.Tensor:
    """Call a function of sections (N, C, H, W), in inference on a CPU for a few sections at a time."""
    if not _section_by_section(features):
        return function(features, *others)
    count = max(1, _AT_ONCE // math.prod(features.shape[2:]))
    parts = zip(*(torch.split(values, count) for values in (features, *others)))
    first = function(*next(parts))
    shape = (len(features), *first.shape[1:])
    found = torch.empty(shape, dtype=first.dtype, memory_format=torch.channels_last)
    for number, part in enumerate(chain([first], starmap(function, parts))):
        found[number * count : (number + 1) * count] = part
    return found


def _stacked(values: torch.Tensor, depth: int) -> torch.Tensor:
    """Put the sections (N * depth, C, H, W) of each volume together: (N, C, depth, H, W)."""
    return values.view(-1, depth, *values.shape[1:]).transpose(1, 2)
