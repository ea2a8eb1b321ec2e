"""A U-Net whose encoder is a residual network of bottlenecks, with weights of the names that torchvision gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.network import base
from pixel_embedded_affinity.network.blocks import LeanBlock, fold, two_layer_head

WIDTH = 64
"""Channels of the first convolution of ResNet-50 and ResNet-101."""

LEVELS = 5

_WIDENING = 4
"""A bottleneck gives this many times the channels that it has inside."""


class Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 and 1x1 with batch norm, added to the input, then ReLU (He et al., CVPR 2016).

    Parameters
    ----------
    in_channels : int
        Channels of the input.
    width : int
        Channels inside; the output has four times as many.
    stride : {1, 2}
        Step of the 3x3 convolution. Where the output differs from the input in size or in channels, a 1x1
        convolution fits the input to it.
    """

    def __init__(self, in_channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        out_channels = _WIDENING * width
        self.conv1: nn.Module = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(width)
        self.conv2: nn.Module = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2: nn.Module = nn.BatchNorm2d(width)
        self.conv3: nn.Module = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3: nn.Module = nn.BatchNorm2d(out_channels)
        same = stride == 1 and in_channels == out_channels
        self.downsample = None if same else _projection(in_channels, out_channels, stride)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, H, W) to (N, 4 * width, H / stride, W / stride)."""
        narrow = torch.relu_(self.bn1(self.conv1(features)))
        narrow = torch.relu_(self.bn2(self.conv2(narrow)))
        wide: torch.Tensor = self.bn3(self.conv3(narrow))
        return wide.add_(features if self.downsample is None else self.downsample(features)).relu_()

    def fold_batch_norm(self) -> None:
        """Put each batch norm into the convolution before it; for evaluation only, and irreversible."""
        self.conv1, self.bn1 = fold(self.conv1, self.bn1)
        self.conv2, self.bn2 = fold(self.conv2, self.bn2)
        self.conv3, self.bn3 = fold(self.conv3, self.bn3)


class ResNetEncoder(nn.Module):
    """The first three stages of a residual network of bottlenecks.

    The weights of the fourth stage and of the classifier, `left_out`, have no place in it: the coarsest map of the
    paper is 1/16 of the image, where the third stage ends.

    Parameters
    ----------
    in_channels : int
        Channels of the input image.
    width : int
        Channels of the first convolution.
    depths : sequence of three int
        Bottlenecks of each stage.
    """

    left_out = ("layer4.", "fc.")

    def __init__(self, in_channels: int, width: int, depths: Sequence[int]) -> None:
        super().__init__()
        self.conv1: nn.Module = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(width)
        self.channels = (width, *(_WIDENING * width << stage for stage in range(3)))
        self.layer1 = _stage(width, width, depths[0], 1)
        self.layer2 = _stage(self.channels[1], 2 * width, depths[1], 2)
        self.layer3 = _stage(self.channels[2], 4 * width, depths[2], 2)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps at 1/2, 1/4, 1/8 and 1/16 of the images, with `channels` channels."""
        half = torch.relu_(self.bn1(self.conv1(images)))
        maps = [half, self.layer1(functional.max_pool2d(half, 3, stride=2, padding=1))]
        for stage in (self.layer2, self.layer3):
            maps.append(stage(maps[-1]))
        return maps

    def fold_batch_norm(self) -> None:
        """Put the first batch norm into the first convolution; the bottlenecks fold their own."""
        self.conv1, self.bn1 = fold(self.conv1, self.bn1)


class DecoderStep(nn.Module):
    """Brings features to twice their height and width, and adds what the encoder saw there.

    Parameters
    ----------
    in_channels, skip_channels, out_channels : int
        Channels of the coarse features, of the encoder's map (0 for none), and of the output.
    """

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.lift = nn.Conv2d(in_channels, out_channels, 1)
        self.block = LeanBlock(out_channels + skip_channels, out_channels)

    def forward(self, features: torch.Tensor, skip: torch.Tensor | None) -> torch.Tensor:
        """Map (N, in_channels, H, W) and (N, skip_channels, 2 H, 2 W) to (N, out_channels, 2 H, 2 W)."""
        lifted = self.lift(features)
        raised = functional.interpolate(lifted, scale_factor=2, mode="bilinear", align_corners=False)
        found: torch.Tensor = self.block(raised if skip is None else torch.cat((raised, skip), dim=1))
        return found


class ResNetUNet(base.UNet):
    """What the U-Nets with an encoder of bottlenecks share; a subclass says how many bottlenecks each stage has.

    Parameters
    ----------
    in_channels : int
        Channels of the input image.
    width : int
        Channels of the encoder's first convolution; its stages have 4, 8 and 16 times as many.
    filters : sequence of five int
        Channels of the decoder at full resolution, 1/2, 1/4, 1/8 and 1/16.
    embedding_channels : int
        Length of the embedding of a pixel.
    foreground_head : bool
        Whether to add a head that tells foreground from background.

    Raises
    ------
    InputError
        If the width is no positive integer, or the filters are not five of them.
    """

    ndim = 2
    grid = (16, 16)
    stride = (1, 1)
    pyramid_strides = ((16, 16), (8, 8), (4, 4), (2, 2))
    name: str
    depths: tuple[int, int, int]

    def __init__(
        self,
        in_channels: int = 3,
        width: int = WIDTH,
        filters: Sequence[int] = (32, 64, 128, 256, 256),
        embedding_channels: int = 16,
        foreground_head: bool = True,
    ) -> None:
        super().__init__()
        if type(width) is not int or width < 1:
            raise InputError(f"width must be a positive integer, got {width!r}")
        finest, *coarse = filters = base.checked_per_level(filters, LEVELS, self.name)
        self._widest = max(finest, (coarse[0] + width) // 4)
        self.encoder = ResNetEncoder(in_channels, width, self.depths)
        *skips, deepest = self.encoder.channels
        self.bottom = LeanBlock(deepest, filters[-1])
        steps = zip(filters[:0:-1], (*skips[::-1], 0), filters[-2::-1])
        self.decoder = nn.ModuleList(DecoderStep(*channels) for channels in steps)
        self.pyramid_heads = nn.ModuleList(nn.Conv2d(size, embedding_channels, 1) for size in coarse[::-1])
        self.embedding_head = nn.Conv2d(finest, embedding_channels, 1)
        self.foreground_head = two_layer_head(finest) if foreground_head else None

    def _features(self, images: torch.Tensor, pyramid: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Run encoder and decoder; return the features at full resolution and the coarse embeddings."""
        maps = self.encoder(images)
        features = self.bottom(maps.pop())
        coarse = []
        for level, step in enumerate(self.decoder):
            if pyramid:
                coarse.append(self.pyramid_heads[level](features))
            features = step(features, maps.pop() if maps else None)
        return features, coarse

    @property
    def narrowest(self) -> dict[str, Any]:
        """See `base.UNet.narrowest`."""
        return {**super().narrowest, "width": 1}

    def memory_per_pixel(self) -> int:
        """Bytes of main or device memory that a forward pass takes at its peak, per pixel, in float32.

        The peak is in the decoder's last block, or, if the encoder is wide, in the block before, which has a quarter as
        many positions. Measured peaks were up to six times as large as a map of these channels.
        """
        return self._widest * 4 * 13 // 2


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    fitting = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
    return nn.Sequential(fitting, nn.BatchNorm2d(out_channels))


def _stage(in_channels: int, width: int, depth: int, stride: int) -> nn.Sequential:
    """Bottlenecks one after the other, of which the first one strides."""
    first = Bottleneck(in_channels, width, stride)
    return nn.Sequential(first, *(Bottleneck(_WIDENING * width, width) for _ in range(depth - 1)))
