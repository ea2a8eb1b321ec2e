"""An architecture of another lab: two levels, one convolution each."""

import torch
from torch import nn
from torch.nn import functional

from pixel_embedded_affinity.network.base import Network, NetworkOutput, cropped, measured_radius, padded


class PlainNet(Network):
    ndim = 2
    grid = (2, 2)
    stride = (1, 1)
    pyramid_strides = ((2, 2),)

    def __init__(self, in_channels=1, embedding_channels=16, foreground_head=True, width=32):
        super().__init__()
        self.width = width
        self.fine = nn.Conv2d(in_channels, width, 3, padding=1)
        self.coarse = nn.Conv2d(width, width, 3, padding=1)
        self.coarse_head = nn.Conv2d(width, embedding_channels, 1)
        self.embedding_head = nn.Conv2d(width, embedding_channels, 1)
        self.foreground_head = nn.Conv2d(width, 1, 1) if foreground_head else None

    def forward(self, images, pyramid=False):
        shape = images.shape[2:]
        fine = torch.relu(self.fine(padded(images, self.grid)))
        coarse = torch.relu(self.coarse(functional.max_pool2d(fine, 2)))
        features = fine + functional.interpolate(coarse, scale_factor=2)
        logits = None if self.foreground_head is None else cropped(self.foreground_head(features), shape)
        levels = (self.coarse_head(coarse),) if pyramid else ()
        return NetworkOutput(cropped(self.embedding_head(features), shape), logits, levels)

    def receptive_radius(self):
        return measured_radius(PlainNet, in_channels=1, embedding_channels=1, width=1)

    def memory_per_pixel(self):
        return 4 * 4 * self.width  # a few maps of this width, in float32
