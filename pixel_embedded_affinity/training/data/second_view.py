"""The second view of the cross-correlation module, and the map back to the first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from pixel_embedded_affinity.fields import Settings, integer, number, setting, switch
from pixel_embedded_affinity.geometry.views import Geometry


@dataclass(frozen=True)
class ViewSettings(Settings, section="view"):
    """What the second view may change; an ablation can switch off each part.

    Parameters
    ----------
    flips, transposition, intensity, cutout : bool
        Whether the part is used.
    contrast, brightness : float
        Largest relative change of contrast, and largest shift in units of the normalized image.
    holes, hole_size : int
        Most squares that are cut out of the foreground's bounding box, and their longest side in pixels.

    Raises
    ------
    InputError
        If a number is negative, or the longest side is below 1.
    """

    flips: bool = setting(True, switch())
    transposition: bool = setting(True, switch())
    intensity: bool = setting(True, switch())
    cutout: bool = setting(True, switch())
    contrast: float = setting(0.05, number(0))
    brightness: float = setting(0.05, number(0))
    holes: int = setting(20, integer(0))
    hole_size: int = setting(20, integer(1))


def second_view(
    images: torch.Tensor, labels: torch.Tensor, settings: ViewSettings, generator: np.random.Generator
) -> tuple[torch.Tensor, list[Geometry]]:
    """Transform each image of a batch on its own.

    Parameters
    ----------
    images : torch.Tensor
        (N, C, H, W), square, since some are transposed.
    labels : torch.Tensor
        (N, H, W); squares are cut within the bounding box of their foreground.
    settings : ViewSettings
        What may change.
    generator : numpy.random.Generator
        Source of all chance.

    Returns
    -------
    torch.Tensor
        The second view, (N, C, H, W).
    list of Geometry
        How to map each image's embedding back.
    """
    views, geometries = [], []
    for image, label in zip(images, labels):
        view = _cut(image, label, settings, generator) if settings.cutout else image
        if settings.intensity:
            contrast = 1 + generator.uniform(-settings.contrast, settings.contrast)
            view = view * contrast + generator.uniform(-settings.brightness, settings.brightness)
        geometry = _draw_geometry(settings, generator)
        views.append(geometry.apply(view))
        geometries.append(geometry)
    return torch.stack(views), geometries


def map_back(embedding: torch.Tensor, geometries: list[Geometry]) -> torch.Tensor:
    """Map the second view's embedding (N, D, H, W) onto the first view's pixels."""
    return torch.stack([geometry.invert(values) for values, geometry in zip(embedding, geometries)])


def _draw_geometry(settings: ViewSettings, generator: np.random.Generator) -> Geometry:
    flip_y, flip_x, transpose = (bool(draw) for draw in generator.random(3) < 0.5)
    flips = (flip_y and settings.flips, flip_x and settings.flips)
    return Geometry(flips, (1, 0) if transpose and settings.transposition else (0, 1))


def _cut(
    image: torch.Tensor, labels: torch.Tensor, settings: ViewSettings, generator: np.random.Generator
) -> torch.Tensor:
    """Fill squares, clipped to the foreground's bounding box, with the mean foreground color."""
    foreground = labels > 0
    if not bool(foreground.any()):
        return image
    rows, columns = foreground.any(1).nonzero().flatten(), foreground.any(0).nonzero().flatten()
    (top, bottom), (left, right) = ((int(axis[0]), int(axis[-1]) + 1) for axis in (rows, columns))
    color = image[:, foreground].mean(1)[:, None, None]
    result = image.clone()
    for _ in range(int(generator.integers(settings.holes + 1))):
        side = int(generator.integers(1, settings.hole_size + 1))
        row, column = int(generator.integers(top, bottom)), int(generator.integers(left, right))
        result[:, row : min(row + side, bottom), column : min(column + side, right)] = color
    return result
