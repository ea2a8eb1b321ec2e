"""The U-Net of the baseline MALA: few maps at full resolution, five times as many at each coarser level."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from pixel_embedded_affinity.network import base

LEVELS = 4
POOLING = (1, 3, 3)
"""Positions of a level in one position of the next coarser level, per axis."""


class PlainPass(nn.Sequential):
    """Two 3x3x3 convolutions, each with a ReLU, without any normalization.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output; the spatial shape stays.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        first = nn.Conv3d(in_channels, out_channels, 3, padding=1)
        second = nn.Conv3d(out_channels, out_channels, 3, padding=1)
        super().__init__(first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True))


class MalaUNet(base.UNet):
    """Plain 3D U-Net for volumes with thick sections, the network of the baseline MALA.

    The network of J. Funke et al., "Large Scale Image Segmentation with Structured Loss based Deep Learning for
    Connectome Reconstruction", IEEE TPAMI 41(7), 2019: four levels with 12, 60, 300 and 1500 maps, two 3x3x3
    convolutions before and after each change of level, max-pooling and transposed convolutions by (1, 3, 3), skips
    that are concatenated. It has 88 million parameters by default, most of them at the coarsest level.

    The published network uses no padding, so that its output is smaller than its input. Here convolutions pad with
    zeros, and the output has the size of the input, as of the other networks. It has no embedding pyramid.

    Parameters
    ----------
    in_channels : int
        Channels of the input volume.
    filters : sequence of four int
        Channels at 1, 1/3, 1/9 and 1/27 of a section's resolution.
    embedding_channels : int
        Length of the embedding of a voxel, or, in the baseline, the number of affinities.
    foreground_head : bool
        Whether to add a head that tells foreground from background.

    Raises
    ------
    InputError
        If the filters are not four positive integers.
    """

    ndim = 3
    grid = (1, 27, 27)
    stride = (1, 1, 1)
    levels = LEVELS

    def __init__(
        self,
        in_channels: int = 1,
        filters: Sequence[int] = (12, 60, 300, 1500),
        embedding_channels: int = 16,
        foreground_head: bool = True,
    ) -> None:
        super().__init__()
        filters = base.checked_per_level(filters, LEVELS, "mala_unet")
        upwards = list(zip(filters[:0:-1], filters[-2::-1]))
        self.encoder = nn.ModuleList(PlainPass(*widths) for widths in pairwise((in_channels, *filters)))
        self.raise_level = nn.ModuleList(
            nn.ConvTranspose3d(under, over, POOLING, POOLING) for under, over in upwards
        )
        self.decoder = nn.ModuleList(PlainPass(2 * over, over) for _, over in upwards)
        self.embedding_head = nn.Conv3d(filters[0], embedding_channels, 1)
        self.foreground_head = nn.Conv3d(filters[0], 1, 1) if foreground_head else None

    def _features(self, images: torch.Tensor, pyramid: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Run encoder and decoder; return the features at full resolution."""
        features: torch.Tensor = self.encoder[0](images)
        skips = []
        for block in list(self.encoder)[1:]:
            skips.append(features)
            features = block(functional.max_pool3d(features, POOLING))
        for lift, block in zip(self.raise_level, self.decoder):
            features = block(torch.cat((skips.pop(), lift(features)), dim=1))
        return features, []

    def memory_per_pixel(self) -> int:
        """Bytes that a forward pass takes at its peak, per voxel, in float32: the maps of the finest pass."""
        return int(self.embedding_head.in_channels) * 4 * 8
