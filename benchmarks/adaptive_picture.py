"""A picture of one field: image, embedding as colors, affinities of two ranges, and labels of several clusterings."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pixel_embedded_affinity import Embedding, Neighborhood, affinities
from pixel_embedded_affinity.export import render_overlay
from pixel_embedded_affinity.io.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]

SIDE = 180
"""Height and width in pixels of the part that is drawn."""

SHOWN = (0, 2, 5, 7)
"""Of the variants: N = 4, N = 8 with more ranges, mean shift and agglomeration."""


def draw(path: Path, image: Array, embedding: Embedding, labels: dict[str, Array]) -> None:
    """Draw the part of a field with the most objects as a PNG of eight panels.

    Parameters
    ----------
    path : Path
        A name ending in ``.png``.
    image : (C, Y, X) ndarray
        The field.
    embedding : Embedding
        Of the field.
    labels : dict of str to (Y, X) ndarray
        Results by the name of the variant, in the order of the tables; four of them are shown.
    """
    from matplotlib.figure import Figure

    first = next(iter(labels.values()))
    part = busiest(first)
    image = image[(slice(None), *part)]
    pictures = {
        "image": render_overlay(image, np.zeros_like(first[part])),
        "embedding, 16-D as RGB": principal_colors(embedding.numpy(), first > 0)[part],
        "affinity up, range 1": affinity(embedding, (-1, 0))[part],
        "affinity left, range 9": affinity(embedding, (0, -9))[part],
    }
    shown = [name for number, name in enumerate(labels) if number in SHOWN]
    pictures |= {name: render_overlay(image, labels[name][part]) for name in shown}
    figure = Figure(figsize=(11, 6), dpi=90, layout="constrained")
    for axes, (name, picture) in zip(figure.subplots(2, 4).flat, pictures.items()):
        axes.imshow(picture, cmap="gray", interpolation="nearest")
        axes.set_title(name, fontsize=9)
        axes.set_axis_off()
    save(path, figure)


def save(path: Path, figure: Figure) -> None:
    """Write a figure as a PNG of 256 colors, which is a third of the size."""
    whole = BytesIO()
    figure.savefig(whole, format="png")
    with Image.open(whole) as picture, atomic_path(path, (".png",)) as temporary:
        picture.convert("RGB").quantize(256).save(temporary, format="PNG", optimize=True)


def busiest(labels: Array) -> tuple[slice, slice]:
    """The square window of the image with the most objects, of those on a coarse grid."""
    corners = [
        (y, x)
        for y in range(0, max(1, labels.shape[0] - SIDE + 1), SIDE // 4)
        for x in range(0, max(1, labels.shape[1] - SIDE + 1), SIDE // 4)
    ]
    y, x = max(corners, key=lambda corner: len(np.unique(labels[corner[0] :, corner[1] :][:SIDE, :SIDE])))
    return slice(y, y + SIDE), slice(x, x + SIDE)


def principal_colors(embedding: Array, objects: Array) -> Array:
    """The first three principal components of the objects' embedding (D, Y, X) as red, green and blue."""
    objects = objects if objects.any() else np.ones_like(objects)
    inside = embedding[:, objects]
    centered = embedding - inside.mean(axis=1)[:, None, None]
    directions = np.linalg.svd(np.cov(inside))[0][:, :3]
    # The sign of a component is arbitrary; with its largest entry positive the picture is always the same.
    directions *= np.sign(directions[np.abs(directions).argmax(axis=0), range(3)])
    projected = np.einsum("dc,dyx->yxc", directions, centered)
    low, high = np.percentile(projected[objects], (2, 98), axis=0)
    return np.clip((projected - low) / (high - low), 0, 1)


def affinity(embedding: Embedding, offset: tuple[int, int]) -> Array:
    """Affinities along one offset, from 0 to 1; 1 where a pair leaves the image."""
    pairs = affinities(embedding, Neighborhood((offset,))).numpy()
    return np.clip(np.where(pairs.valid[0], pairs.values[0], 1), 0, 1)
