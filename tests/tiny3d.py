"""A tiny network for volumes, with seeded random weights: coarser along Y and X than along Z."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from pixel_embedded_affinity.config.model import ModelConfig, NetworkConfig
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.network.base import (
    NETWORKS,
    Network,
    NetworkOutput,
    cropped,
    measured_radius,
    padded,
)

NAME = "tiny_unet3d"


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm3d(out_channels),
        nn.ReLU(),
    )


class TinyUNet3d(Network):
    """Two levels below the image: halved along Y and X, then along all axes."""

    ndim = 3
    grid = (2, 4, 4)
    stride = (1, 1, 1)
    pyramid_strides = ((2, 4, 4), (1, 2, 2))

    def __init__(
        self,
        in_channels: int = 1,
        embedding_channels: int = 4,
        foreground_head: bool = True,
        width: int = 4,
    ) -> None:
        super().__init__()
        self.width = width
        self.stem, self.middle = _block(in_channels, width), _block(width, width)
        self.bottom, self.up = _block(width, width), _block(width, width)
        self.pyramid_heads = nn.ModuleList(nn.Conv3d(width, embedding_channels, 1) for _ in range(2))
        self.embedding_head = nn.Conv3d(width, embedding_channels, 1)
        self.foreground_head = nn.Conv3d(width, 1, 1) if foreground_head else None

    def forward(self, images: torch.Tensor, pyramid: bool = False) -> NetworkOutput:
        shape = images.shape[2:]
        fine = self.stem(padded(images, self.grid))
        middle = self.middle(functional.max_pool3d(fine, (1, 2, 2)))
        bottom = self.bottom(functional.max_pool3d(middle, 2))
        half = middle + functional.interpolate(bottom, scale_factor=2, mode="nearest")
        features = self.up(fine + functional.interpolate(half, scale_factor=(1, 2, 2), mode="nearest"))
        coarse = [head(level) for head, level in zip(self.pyramid_heads, (bottom, half))] if pyramid else []
        foreground = None if self.foreground_head is None else cropped(self.foreground_head(features), shape)
        return NetworkOutput(cropped(self.embedding_head(features), shape), foreground, tuple(coarse))

    def receptive_radius(self) -> tuple[int, ...]:
        return measured_radius(TinyUNet3d, in_channels=1, embedding_channels=1, width=1)

    def memory_per_pixel(self) -> int:
        return self.width * 4 * 4


def register() -> None:
    """Make the architecture known by its name, once."""
    if NAME not in NETWORKS.names():
        NETWORKS.register(NAME, TinyUNet3d)


def tiny_config_3d(**changes: Any) -> ModelConfig:
    """Configuration of a model of volumes; its architecture is registered."""
    register()
    values = {
        "name": "tiny3d",
        "version": "1",
        "network": NetworkConfig(NAME, in_channels=1, embedding_channels=4),
        "neighborhood": Neighborhood.from_ranges([1, (1, 2, 2), (2, 4, 4)], 6, strides=(1, 2, 2)),
    }
    return ModelConfig(**values | changes)


@torch.no_grad()
def tiny_network_3d(seed: int = 0, **options: Any) -> TinyUNet3d:
    """Build the network: all batch norms do something, pixels differ, and half of them are foreground."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = TinyUNet3d(**options).eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm3d):
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.normal_(module.bias, std=0.3)
                nn.init.normal_(module.running_mean, std=0.3)
                nn.init.uniform_(module.running_var, 0.5, 2)
        channels = network.stem[0].in_channels
        output = network(torch.rand(1, channels, 8, 32, 32))
    network.embedding_head.bias -= output.embedding.mean((0, 2, 3, 4))
    if network.foreground_head is not None:
        deviation, mean = torch.std_mean(output.foreground)
        network.foreground_head.weight /= deviation
        network.foreground_head.bias.copy_((network.foreground_head.bias - mean) / deviation)
    return network
