"""The residual U-Net for anisotropic volumes of the paper's tables: embeddings at every voxel."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from pixel_embedded_affinity.network import base
from pixel_embedded_affinity.network.blocks import ConvNorm

LEVELS = 5
_FLAT, _DEEP, _ENDS = (1, 3, 3), (3, 3, 3), (1, 5, 5)
_POOLING = (1, 2, 2)


class AnisotropicBlock(nn.Module):
    """A convolution within each section, then two across sections whose result is added, each with ELU.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output; the spatial shape stays.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.enter = ConvNorm(in_channels, out_channels, _FLAT)
        self.first = ConvNorm(out_channels, out_channels, _DEEP)
        self.second = ConvNorm(out_channels, out_channels, _DEEP)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, D, H, W) to (N, out_channels, D, H, W)."""
        entered = functional.elu(self.enter(features))
        refined = self.second(functional.elu(self.first(entered)))
        return functional.elu(refined.add_(entered))


class AnisotropicUNet(base.UNet):
    """Residual U-Net for volumes with thick sections, with embedding heads at five scales.

    The network of Lee et al. (2017), "Superhuman accuracy on the SNEMI3D connectomics challenge", as in the table of
    volumes of Huang et al. (AAAI 2022): sections are never pooled, and skip connections are added. It has 1.5 million
    parameters by default. It computes seven times as much as `sections_unet` with
    the widths of the model ``ac3ac4``.

    Parameters
    ----------
    in_channels : int
        Channels of the input volume.
    filters : sequence of five int
        Channels at 1, 1/2, 1/4, 1/8 and 1/16 of a section's resolution.
    embedding_channels : int
        Length of the embedding of a voxel.
    foreground_head : bool
        Whether to add a head that tells foreground from background.

    Raises
    ------
    InputError
        If the filters are not five positive integers.
    """

    ndim = 3
    grid = (1, 1 << (LEVELS - 1), 1 << (LEVELS - 1))
    stride = (1, 1, 1)
    pyramid_strides = ((1, 16, 16), (1, 8, 8), (1, 4, 4), (1, 2, 2))

    def __init__(
        self,
        in_channels: int = 1,
        filters: Sequence[int] = (28, 36, 48, 64, 80),
        embedding_channels: int = 16,
        foreground_head: bool = True,
    ) -> None:
        super().__init__()
        filters = base.checked_per_level(filters, LEVELS, "anisotropic_unet")
        finest = filters[0]
        self.stem = ConvNorm(in_channels, finest, _ENDS)
        self.encoder = nn.ModuleList(
            AnisotropicBlock(*widths) for widths in ((finest, finest), *pairwise(filters))
        )
        upwards = list(zip(filters[:0:-1], filters[-2::-1]))
        self.lift = nn.ModuleList(ConvNorm(under, over, (1, 1, 1)) for under, over in upwards)
        self.decoder = nn.ModuleList(AnisotropicBlock(over, over) for _, over in upwards)
        self.last = ConvNorm(finest, finest, _ENDS)
        self.pyramid_heads = nn.ModuleList(
            nn.Conv3d(width, embedding_channels, 1) for width in filters[:0:-1]
        )
        self.embedding_head = nn.Conv3d(finest, embedding_channels, 1)
        self.foreground_head = nn.Conv3d(finest, 1, 1) if foreground_head else None

    def _features(self, images: torch.Tensor, pyramid: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Run encoder and decoder; return the features at full resolution and the coarse embeddings."""
        features = self.encoder[0](functional.elu(self.stem(images)))
        skips = []
        for block in list(self.encoder)[1:]:
            skips.append(features)
            features = block(functional.max_pool3d(features, _POOLING))
        coarse = []
        for level, (lift, block) in enumerate(zip(self.lift, self.decoder)):
            if pyramid:
                coarse.append(self.pyramid_heads[level](features))
            raised = functional.interpolate(
                lift(features), scale_factor=_POOLING, mode="trilinear", align_corners=False
            )
            features = block(functional.elu(raised.add_(skips[-1 - level])))
        return functional.elu(self.last(features)), coarse

    def memory_per_pixel(self) -> int:
        """Bytes that a forward pass takes at its peak, per voxel, in float32: a handful of maps of the finest level."""
        return int(self.embedding_head.in_channels) * 4 * 7
