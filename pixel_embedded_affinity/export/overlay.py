"""Labels as a picture: the image with the outline of every object, for a person to judge."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export.base import Result
from pixel_embedded_affinity.image import as_channels
from pixel_embedded_affinity.io.atomic import atomic_path
from pixel_embedded_affinity.io.marks import MARK, PNG_KEY
from pixel_embedded_affinity.labels import as_labels
from pixel_embedded_affinity.normalize import Normalization, normalize

# Bright on a dark image, and few: in a thin line, nobody can tell more than seven hues apart.
_COLORS = np.array(
    [
        (255, 225, 40),
        (50, 170, 255),
        (255, 70, 210),
        (110, 255, 70),
        (255, 105, 40),
        (150, 110, 255),
        (50, 255, 220),
    ],
    dtype=np.float32,
)
_REACH = 8
_FILL = 0.18
# Lifts dim objects, so that a person sees a missed one.
_GAMMA = 0.7
# Height of numbers in pixels, and the width of a digit as a share of it.
_SMALLEST, _LARGEST, _DIGIT = 9, 32, 0.6
# As a share of the greatest thickness of an object: where it is thick enough for its number.
_THICK = 0.8
_STRETCH = Normalization("percentile", lower=1.0, upper=99.8, clip=(0.0, 1.0))
_FULL_RANGE = Normalization("percentile", lower=0.0, upper=100.0)


class Overlay:
    """Exporter that calls `write_overlay`."""

    suffix = "_overlay.png"
    help = "outlines on the image, or the middle section of a volume; frames and single sections below each other"

    def write(self, path: Path, result: Result) -> None:
        """Write the picture."""
        write_picture(path, picture_of(result))


def picture_of(result: Result, *, scale: int = 1, numbers: bool = False) -> npt.NDArray[np.uint8]:
    """Draw the planes of a result as `render_overlay` does, below each other."""
    return np.concatenate(
        [
            render_overlay(
                image, labels, axes="CYX" if image.ndim == 3 else None, scale=scale, numbers=numbers
            )
            for image, labels in planes_of(result)
        ]
    )


def planes_of(result: Result) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Return image and labels of what a picture of a result shows: each frame, or the middle section of a volume."""
    pair = result.image, result.labels
    return list(zip(*pair, strict=True)) if result.frame_axis else [middle_section(*pair)]


def middle_section(
    image: npt.NDArray[Any], labels: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the middle section of a volume ``(Z, Y, X)`` or ``(C, Z, Y, X)`` and of its labels; an image as it is."""
    if labels.ndim == 2:
        return image, labels
    middle = len(labels) // 2
    return image[..., middle, :, :], labels[middle]


def render_overlay(
    image: Any, labels: Any, *, axes: str | None = None, scale: int = 1, numbers: bool = False
) -> npt.NDArray[np.uint8]:
    """Draw labels over an image.

    The image is stretched between its percentiles 1 and 99.8. Each object gets a translucent fill, and an outline of
    the same color, one pixel wide along the inside of its border. Objects that touch or lie within 8 pixels of each
    other have different colors. The same input gives the same picture.

    Parameters
    ----------
    image : path or array-like
        An image as `Segmenter.segment` takes it, such as a path or an array ``(Y, X)`` or ``(Y, X, C)``; also
        ``(C, Y, X)``, which the labels tell apart. Three channels are red, green and blue; for any other number, the
        picture shows their mean.
    labels : array-like of integers
        Shape ``(Y, X)``, 0 = background; with the axes in the order of the image's, such as ``(X, Y)``, where `axes`
        says so.
    axes : str, optional
        A letter per axis of the image, as for `Segmenter.segment`.
    scale : int
        Enlargement: each pixel becomes `scale` x `scale` pixels, the outline stays one pixel wide.
    numbers : bool
        Whether each object gets its number, which is its row's ``label`` in the table; where it is thickest, in a
        size that fits into it, but at least 9 pixels high.

    Returns
    -------
    numpy.ndarray
        uint8, shape ``(Y * scale, X * scale, 3)``.

    Raises
    ------
    InputError
        If the image or the labels cannot be used, their shapes differ, they are 3D, or `scale` is no
        positive integer.
    """
    if isinstance(scale, bool) or not isinstance(scale, int) or scale < 1:
        raise InputError(f"scale={scale!r}; expected a positive integer")
    found = as_labels(labels)
    if found.ndim != 2:
        raise InputError(
            f"labels of shape {found.shape}; expected 2D ones to draw; pass one plane of image and labels"
        )
    source = as_channels(image, axes=axes, spatial_shape=found.shape)
    upright = as_labels(source.from_source_order(found), source.spatial_shape)
    objects = _consecutive(upright)
    colors = _colors(objects)
    picture = _enlarged(_background(source.values), scale)
    objects = _enlarged(objects, scale)
    inside, outline = objects > 0, _outline(objects)
    picture[inside] += _FILL * (colors[objects[inside]] - picture[inside])
    picture[outline] = colors[objects[outline]]
    drawn = np.asarray(np.rint(picture), dtype=np.uint8)
    return numbered(drawn, np.unique(upright[upright > 0]), _middles(objects)) if numbers else drawn


def write_overlay(
    path: str | os.PathLike[str],
    image: Any,
    labels: Any,
    *,
    axes: str | None = None,
    scale: int = 1,
    numbers: bool = False,
) -> None:
    """Draw labels over an image as `render_overlay` does, and write the picture as PNG.

    Parameters
    ----------
    path : str or path-like
        A name ending in ``.png`` in an existing folder; a file there is replaced, at once and whole.
    image, labels, axes, scale, numbers
        As for `render_overlay`.

    Raises
    ------
    InputError
        As `render_overlay`, or if the path does not fit.
    """
    write_picture(path, render_overlay(image, labels, axes=axes, scale=scale, numbers=numbers))


def write_picture(path: str | os.PathLike[str], picture: npt.NDArray[np.uint8]) -> None:
    """Write a picture ``(Y, X, 3)`` as PNG, marked as one that the library drew, so that it is no input."""
    from PIL import Image as PillowImage
    from PIL.PngImagePlugin import PngInfo

    mark = PngInfo()
    mark.add_text(PNG_KEY, MARK)
    with atomic_path(path, (".png",)) as temporary:
        PillowImage.fromarray(picture).save(temporary, format="PNG", pnginfo=mark)


def numbered(
    picture: npt.NDArray[np.uint8],
    ids: npt.NDArray[np.integer[Any]],
    middles: list[tuple[int, int, float]],
) -> npt.NDArray[np.uint8]:
    """Write a number at each of some places ``(y, x)``, in a size that fits into the radius around it."""
    from PIL import Image as PillowImage
    from PIL import ImageDraw, ImageFont

    drawn = PillowImage.fromarray(picture)
    draw = ImageDraw.Draw(drawn)
    for number, (y, x, radius) in zip(ids.tolist(), middles, strict=True):
        fitting = 2 * radius / (_DIGIT * len(str(number)))
        font = ImageFont.load_default(size=min(max(int(fitting), _SMALLEST), _LARGEST))
        white, black = (255, 255, 255), (0, 0, 0)
        left, top, right, bottom = font.getbbox(str(number), anchor="mm", stroke_width=1)
        place = _within(x, left, right, drawn.width), _within(y, top, bottom, drawn.height)
        draw.text(place, str(number), white, font, anchor="mm", stroke_width=1, stroke_fill=black)
    return np.asarray(drawn)


def _background(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the stretched image as RGB, float32 ``(Y, X, 3)`` in [0, 255]."""
    shown = values if len(values) == 3 else values.mean(axis=0, keepdims=True)
    stretched = normalize(shown, _STRETCH)
    if not stretched.any():
        stretched = normalize(shown, _FULL_RANGE)
    if len(stretched) == 1:
        stretched = stretched**_GAMMA
    return np.array(np.broadcast_to(255 * np.moveaxis(stretched, 0, -1), (*values.shape[1:], 3)))


def _enlarged(array: npt.NDArray[Any], scale: int) -> npt.NDArray[Any]:
    return array.repeat(scale, axis=0).repeat(scale, axis=1)


def _consecutive(labels: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.intp]:
    """Return labels 1..n in the order of the given ones, which may be any large numbers."""
    present, ranks = np.unique(labels, return_inverse=True)
    return np.asarray(ranks.reshape(labels.shape) + (present[0] != 0), dtype=np.intp)


def _outline(objects: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Return the pixels of objects that have another label above, below, left or right."""
    outline = np.zeros(objects.shape, dtype=np.bool_)
    rows, columns = objects[1:] != objects[:-1], objects[:, 1:] != objects[:, :-1]
    outline[1:] |= rows
    outline[:-1] |= rows
    outline[:, 1:] |= columns
    outline[:, :-1] |= columns
    return outline & (objects > 0)


def _middles(objects: npt.NDArray[np.intp]) -> list[tuple[int, int, float]]:
    """Where each object is thick, near its middle, and how many pixels are from there to its outline.

    The end of the image counts as an outline.
    """
    from scipy import ndimage

    inside = np.pad((objects > 0) & ~_outline(objects), 1)
    thickness = ndimage.distance_transform_edt(inside)[1:-1, 1:-1]
    found = []
    for number, box in enumerate(ndimage.find_objects(objects), start=1):
        thick = np.where(objects[box] == number, thickness[box], -1.0)
        places = np.argwhere(thick >= _THICK * thick.max())
        nearest = np.square(places - places.mean(axis=0)).sum(axis=1).argmin()
        y, x = (int(place + side.start) for place, side in zip(places[nearest], box))
        found.append((y, x, float(thickness[y, x])))
    return found


def _within(place: float, before: float, behind: float, length: int) -> float:
    """Move what reaches from `before` to `behind` around a place into the picture."""
    return max(min(place, length - behind), -before)


def _colors(objects: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
    """Choose a color per object, objects with most neighbors first; row 0, the background, is unused."""
    neighbors = _neighbors(objects)
    colors = len(_COLORS)
    chosen: dict[int, int] = {}
    for index in sorted(range(len(neighbors)), key=lambda index: (-len(neighbors[index]), index)):
        taken = Counter(chosen[other] for other in neighbors[index] if other in chosen)
        # Each object starts at another color, so that the whole palette is used.
        chosen[index] = min(range(colors), key=lambda color: (taken[color], (color - index) % colors))
    return _COLORS[[chosen[index] for index in range(len(neighbors))]]


def _neighbors(objects: npt.NDArray[np.intp]) -> list[set[int]]:
    """Return, per object, the objects that lie within reach of it along a row, a column or a diagonal."""
    neighbors: list[set[int]] = [set() for _ in range(int(objects.max()) + 1)]
    for distance in range(1, _REACH + 1):
        straight, slanted = objects[distance:], objects[:, distance:]
        pairs = (
            (straight, objects[:-distance]),
            (slanted, objects[:, :-distance]),
            (straight[:, distance:], objects[:-distance, :-distance]),
            (straight[:, :-distance], objects[:-distance, distance:]),
        )
        for first, second in pairs:
            differ = (first != second) & (first > 0) & (second > 0)
            for one, other in set(zip(first[differ].tolist(), second[differ].tolist(), strict=True)):
                neighbors[one].add(other)
                neighbors[other].add(one)
    return neighbors
