"""Resize an image for the network, and its labels back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.per_axis import numbers_per_axis
from pixel_embedded_affinity.geometry.tiling import Box, whole_box
from pixel_embedded_affinity.io.arrays import FloatArray
from pixel_embedded_affinity.labels import Labels, Mask, relabel

_MAX_PIXELS = 2**31
_TRUNCATE = 4.0  # standard deviations at which the smoothing ends

Scale = float | tuple[float, ...]
"""Factor by which an image is resized, or one per axis."""

T = TypeVar("T", bound=np.generic)


def resize_image(values: FloatArray, scale: Scale) -> FloatArray:
    """Resize an image (C, *spatial) linearly, smoothed before it shrinks; at scale 1 return the same array.

    Raises
    ------
    InputError
        If an axis of the result would be shorter than half a pixel, or the result larger than 2**31 pixels.
    """
    shape = values.shape[1:]
    scaled = scaled_shape(shape, scale)
    return resize_part(values, whole_box(shape), whole_box(scaled), shape, scaled)


def scaled_shape(shape: Sequence[int], scale: Scale) -> tuple[int, ...]:
    """Shape of a resized image: each axis has at least one pixel.

    Raises
    ------
    InputError
        As for `resize_image`.
    """
    factors = numbers_per_axis(scale, len(shape), "scale")
    if all(factor == 1 for factor in factors):
        return tuple(shape)
    lengths = [length * factor for length, factor in zip(shape, factors)]
    _check_scaled(shape, scale, lengths)
    return tuple(max(1, round(length)) for length in lengths)


def source_box(box: Box, shape: Sequence[int], scaled: Sequence[int]) -> Box:
    """Return the part of an image of `shape` from which a part of the image resized to `scaled` follows."""
    return tuple(
        side if old == new else _reach(_positions(side, old, new), _radius(_sigma(old, new)), old)
        for side, old, new in zip(box, shape, scaled)
    )


def resize_part(
    values: FloatArray, source: Box, box: Box, shape: Sequence[int], scaled: Sequence[int]
) -> FloatArray:
    """Resize a part of an image: the result equals that part of the whole image resized.

    Parameters
    ----------
    values : numpy.ndarray
        float32 (C, *spatial): the part `source` of the image.
    source, box : tuple of slice
        `source_box` of `box`, and `box`, the wanted part of the resized image.
    shape, scaled : tuple of int
        Spatial shape of the whole image before and after resizing.
    """
    smoothed = _smoothed(values, [_sigma(old, new) for old, new in zip(shape, scaled)])
    for axis, (there, side, old, new) in enumerate(zip(source, box, shape, scaled), start=1):
        if old != new:
            smoothed = _interpolated(smoothed, _positions(side, old, new) - there.start, axis)
    return smoothed


def resize_labels(labels: npt.NDArray[T], shape: Sequence[int]) -> npt.NDArray[T]:
    """Give labels or a mask another shape by the nearest pixel; return them as they are if they have it."""
    if labels.shape == tuple(shape):
        return labels
    return labels[np.ix_(*(nearest(slice(0, new), old, new) for old, new in zip(labels.shape, shape)))]


def labels_of_image(labels: Labels, shape: Sequence[int], foreground: Mask | None = None) -> Labels:
    """Give labels of a resized image the image's shape, inside the caller's foreground and numbered consecutively.

    Resizing and filled holes may leave the foreground, and small objects may vanish when labels shrink.
    """
    full = resize_labels(labels, shape)
    if foreground is not None:
        full = np.where(foreground, full, 0)
    return full if full is labels else relabel(full)


def nearest(side: slice, old: int, new: int) -> npt.NDArray[np.intp]:
    """For some pixels of an axis resized to `new` pixels, the index of the nearest of the `old` pixels."""
    return np.minimum(((np.arange(side.start, side.stop) + 0.5) * old / new).astype(np.intp), old - 1)


def _positions(side: slice, old: int, new: int) -> npt.NDArray[np.float64]:
    """Where the centers of some pixels of a resized axis lie on the axis itself, clipped to its ends."""
    return np.clip((np.arange(side.start, side.stop) + 0.5) * old / new - 0.5, 0, old - 1)


def _reach(positions: npt.NDArray[np.float64], radius: int, length: int) -> slice:
    return slice(max(0, int(positions[0]) - radius), min(length, int(positions[-1]) + 2 + radius))


def _sigma(old: int, new: int) -> float:
    """Standard deviation, in pixels, of the smoothing that removes detail which a smaller axis cannot hold."""
    return max(0.0, (old / new - 1) / 2)


def _radius(sigma: float) -> int:
    return math.ceil(_TRUNCATE * sigma)


def _smoothed(values: FloatArray, sigmas: Sequence[float]) -> FloatArray:
    if not any(sigmas):
        return values
    from scipy import ndimage

    sigma = (0.0, *sigmas)
    radius = [_radius(one) for one in sigma]
    smoothed: FloatArray = ndimage.gaussian_filter(values, sigma, mode="mirror", radius=radius)
    return smoothed


def _interpolated(values: FloatArray, positions: npt.NDArray[np.float64], axis: int) -> FloatArray:
    """Values between the pixels of one axis, linearly."""
    before = positions.astype(np.intp)
    after = np.minimum(before + 1, values.shape[axis] - 1)
    share = (positions - before).astype(np.float32)
    share = share.reshape([-1 if one == axis else 1 for one in range(values.ndim)])
    between: FloatArray = values.take(before, axis) * (1 - share) + values.take(after, axis) * share
    return between


def _check_scaled(shape: Sequence[int], scale: Scale, lengths: Sequence[float]) -> None:
    """Refuse a scale that leaves nothing of the image, or makes it larger than any memory."""
    if min(lengths) >= 0.5 and math.prod(lengths) <= _MAX_PIXELS:
        return
    scaled = ", ".join(f"{np.floor(length + 0.5):.10g}" for length in lengths)
    factors = f"({', '.join(f'{one:g}' for one in scale)})" if isinstance(scale, tuple) else f"{scale:g}"
    raise InputError(
        f"scale {factors} turns shape {tuple(shape)} into ({scaled}); expected at least one pixel along each axis "
        "and at most 2**31 pixels; use a scale nearer to 1"
    )
