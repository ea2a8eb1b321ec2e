"""A U-Net at half resolution: embeddings at every second pixel, the foreground at every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from pixel_embedded_affinity.network import base
from pixel_embedded_affinity.network.blocks import ConvNorm, LeanBlock, more_blocks

STRIDE = 2
"""Pixels of the image between two embedding vectors, along each axis."""

LEVELS = 5


class HalfUNet(base.UNet):
    """U-Net whose finest level has half the image's height and width.

    Each square of 2 x 2 pixels becomes the channels of one position. A position gets one embedding vector, and a
    foreground logit for each of its four pixels. If the image is flipped, so are the positions. Affinities and
    clustering cost a quarter as much as at full resolution.

    Parameters
    ----------
    in_channels : int
        Channels of the input image.
    filters : sequence of five int
        Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the image's resolution. Multiples of 32 are fastest.
    embedding_channels : int
        Length of an embedding vector.
    foreground_head : bool
        Whether to add a head that tells foreground from background.
    blocks : sequence of five int
        Residual blocks at each level, finest first: so many in the encoder, and so many in the decoder but for the
        coarsest level, which both share. Blocks after the first change nothing until they are trained.

    Raises
    ------
    InputError
        If the filters or blocks are not five positive integers.
    """

    ndim = 2
    grid = (STRIDE << (LEVELS - 1),) * 2
    stride = (STRIDE, STRIDE)
    # With 128, tiles of 256 pixels join two nuclei of a field; with 160, one of its pixels changes.
    halo = (160, 160)
    pyramid_strides = ((32, 32), (16, 16), (8, 8), (4, 4))

    def __init__(
        self,
        in_channels: int = 1,
        filters: Sequence[int] = (32, 32, 64, 64, 96),
        embedding_channels: int = 16,
        foreground_head: bool = True,
        blocks: Sequence[int] = (1, 1, 1, 1, 1),
    ) -> None:
        super().__init__()
        filters = base.checked_per_level(filters, LEVELS, "half_unet", "filters")
        self.blocks = base.checked_per_level(blocks, LEVELS, "half_unet", "blocks")
        pixels = in_channels * STRIDE**2
        finest = filters[0]
        self.stem = ConvNorm(pixels, finest)
        self.stem_refine = ConvNorm(finest, finest)
        self.encoder = nn.ModuleList(LeanBlock(a, b) for a, b in pairwise(filters))
        upwards = list(zip(filters[:0:-1], filters[-2::-1]))
        self.lift = nn.ModuleList(nn.Conv2d(below, above, 1) for below, above in upwards)
        self.decoder = nn.ModuleList(LeanBlock(above, above) for _, above in upwards)
        self.encoder_more = nn.ModuleList(more_blocks(*level) for level in zip(filters, self.blocks))
        self.decoder_more = nn.ModuleList(
            more_blocks(*level) for level in zip(filters[-2::-1], self.blocks[-2::-1])
        )
        coarse = filters[:0:-1]
        self.pyramid_heads = nn.ModuleList(nn.Conv2d(width, embedding_channels, 1) for width in coarse)
        self.embedding_head = nn.Conv2d(finest, embedding_channels, 1)
        self.foreground_enter = ConvNorm(finest + pixels, 32) if foreground_head else None
        self.foreground_head = nn.Conv2d(32, STRIDE**2, 1) if foreground_head else None

    def forward(self, images: torch.Tensor, pyramid: bool = False) -> base.NetworkOutput:
        """Embed a batch of images (N, C, H, W) of any size; `pyramid` also gives the coarse embeddings.

        The embedding has the shape (N, D, ceil(H / 2), ceil(W / 2)), the foreground (N, 1, H, W).
        """
        shape = images.shape[2:]
        pixels = functional.pixel_unshuffle(base.padded(images, self.grid), STRIDE)
        features, coarse = self._features(pixels, pyramid)
        embedding = base.cropped(self.embedding_head(features), [-(-length // STRIDE) for length in shape])
        if self.foreground_enter is None or self.foreground_head is None:
            return base.NetworkOutput(embedding, None, tuple(coarse))
        # Of features in half precision and pixels in single precision, `cat` would make single precision.
        features = torch.cat((features, pixels.to(features.dtype)), dim=1)
        entered = torch.relu_(self.foreground_enter(features))
        logits = functional.pixel_shuffle(self.foreground_head(entered), STRIDE)
        return base.NetworkOutput(embedding, base.cropped(logits, shape), tuple(coarse))

    def _features(self, pixels: torch.Tensor, pyramid: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Run encoder and decoder; return the features of the finest level and the coarse embeddings."""
        features = self.encoder_more[0](torch.relu_(self.stem_refine(torch.relu_(self.stem(pixels)))))
        skips = []
        for block, more in zip(self.encoder, self.encoder_more[1:]):
            skips.append(features)
            features = more(block(functional.max_pool2d(features, 2)))
        coarse = []
        for level, (lift, block, more) in enumerate(zip(self.lift, self.decoder, self.decoder_more)):
            if pyramid:
                coarse.append(self.pyramid_heads[level](features))
            features = _raised(lift(features), skips.pop())
            features = more(block(features))
        return features, coarse

    @property
    def narrowest(self) -> dict[str, Any]:
        """Options of the narrowest network that reads as far as this one."""
        return {**super().narrowest, "blocks": self.blocks}

    def memory_per_pixel(self) -> int:
        """Bytes that a forward pass takes at its peak, per pixel of the image, in float32."""
        widest = int(self.embedding_head.in_channels)
        return widest * 4 * 9 // 2 // STRIDE**2


def _raised(lifted: torch.Tensor, skipped: torch.Tensor) -> torch.Tensor:
    """Bring features to the next finer level, and add those of the encoder."""
    raised = functional.interpolate(lifted, scale_factor=2, mode="bilinear", align_corners=False)
    return raised.add_(skipped)
