"""Building blocks of networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, added to a third one that projects the input, then ReLU.

    The first convolution of the path and the projection read the same input. Here they are one convolution with
    twice the channels: the same parameters and the same function, but one pass over the input instead of two.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output; height and width stay.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.enter: nn.Module = nn.Conv2d(in_channels, 2 * out_channels, 3, padding=1, bias=False)
        self.enter_norm: nn.Module = nn.BatchNorm2d(2 * out_channels)
        self.refine: nn.Module = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.refine_norm: nn.Module = nn.BatchNorm2d(out_channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W)."""
        path, projection = self.enter_norm(self.enter(features)).split(self.out_channels, dim=1)
        refined: torch.Tensor = self.refine_norm(self.refine(torch.relu(path)))
        # In place: batch norm and convolution keep their inputs for the backward pass, never their outputs.
        return refined.add_(projection).relu_()

    def fold_batch_norm(self) -> None:
        """Put each batch norm into the convolution before it; for evaluation only, and irreversible."""
        self.enter, self.enter_norm = fold(self.enter, self.enter_norm)
        self.refine, self.refine_norm = fold(self.refine, self.refine_norm)


class ConvNorm(nn.Module):
    """A convolution with batch norm, which inference folds into the convolution.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output; the spatial shape stays.
    size : sequence of int
        Lengths of the kernel, all odd: two for images, three for volumes.
    """

    def __init__(self, in_channels: int, out_channels: int, size: Sequence[int] = (3, 3)) -> None:
        super().__init__()
        convolution: Any = nn.Conv2d if len(size) == 2 else nn.Conv3d
        norm: Any = nn.BatchNorm2d if len(size) == 2 else nn.BatchNorm3d
        rim = tuple(length // 2 for length in size)
        self.convolution: nn.Module = convolution(
            in_channels, out_channels, tuple(size), padding=rim, bias=False
        )
        self.norm: nn.Module = norm(out_channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, *spatial) to (N, out_channels, *spatial)."""
        normed: torch.Tensor = self.norm(self.convolution(features))
        return normed

    def fold_batch_norm(self) -> None:
        """Put the batch norm into the convolution; for evaluation only, and irreversible."""
        self.convolution, self.norm = fold(self.convolution, self.norm)


class LeanBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, added to the input, then ReLU.

    Parameters
    ----------
    in_channels, out_channels : int
        Where they differ, a 1x1 convolution fits the input to the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.enter = ConvNorm(in_channels, out_channels)
        self.refine = ConvNorm(out_channels, out_channels)
        self.fit = None if in_channels == out_channels else ConvNorm(in_channels, out_channels, (1, 1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W)."""
        refined: torch.Tensor = self.refine(torch.relu_(self.enter(features)))
        return refined.add_(features if self.fit is None else self.fit(features)).relu_()


def more_blocks(channels: int, blocks: int) -> nn.Sequential:
    """Return the blocks of a level after its first one; each returns its input until it is trained.

    The scale of a block's last batch norm starts at 0, so that a network can grow without a change of what it gives
    (Goyal et al. 2017 start residual blocks in this way).
    """
    more = [LeanBlock(channels, channels) for _ in range(blocks - 1)]
    for block in more:
        nn.init.zeros_(cast(torch.Tensor, block.refine.norm.weight))
    return nn.Sequential(*more)


def two_layer_head(channels: int) -> nn.Sequential:
    """Return a head of two 1x1 convolutions that maps (N, channels, H, W) to (N, 1, H, W)."""
    mixing = nn.Conv2d(channels, channels, 1, bias=False)
    return nn.Sequential(mixing, nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, 1, 1))


def fold(convolution: nn.Module, norm: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Return the convolution with the batch norm folded in, and an identity that replaces the norm."""
    if not isinstance(convolution, (nn.Conv2d, nn.Conv3d)) or not isinstance(norm, _NORMS):
        return convolution, norm
    return fuse_conv_bn_eval(convolution, norm), nn.Identity().eval()
