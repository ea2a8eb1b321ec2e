"""Resizing an image for the network, and labels back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError

_MAX_PIXELS = 2**31

T = TypeVar("T", bound=np.generic)


def checked_scale(scale: Any) -> float:
    """Return the scale as a number, 1 for None.

    Raises
    ------
    InputError
        If it is not a positive finite number.
    """
    if scale is None:
        return 1.0
    number = isinstance(scale, (int, float, np.integer, np.floating)) and not isinstance(scale, bool)
    try:
        factor = float(scale) if number else math.nan
    except OverflowError:
        factor = math.inf
    if not 0 < factor < math.inf:
        raise InputError(
            f"scale must be a positive number, got {scale!r}; 0.5 halves the image for the network"
        )
    return factor


def resize_image(values: npt.NDArray[np.float32], scale: float) -> npt.NDArray[np.float32]:
    """Resize an image (C, *spatial) linearly, smoothed before it shrinks; at scale 1 it is the same array.

    Raises
    ------
    InputError
        If an axis of the result would be shorter than half a pixel, or there would be more than 2**31 pixels.
    """
    if scale == 1:
        return values
    _check_scaled(values.shape[1:], scale)
    from skimage.transform import resize

    shape = [max(1, round(length * scale)) for length in values.shape[1:]]
    channels = [
        resize(channel, shape, order=1, anti_aliasing=scale < 1)  # type: ignore[no-untyped-call]
        for channel in values
    ]
    return np.stack(channels).astype(np.float32)


def _check_scaled(shape: Sequence[int], scale: float) -> None:
    """Refuse a scale that leaves nothing of the image, or makes it larger than any memory."""
    lengths = [length * scale for length in shape]
    if min(lengths) >= 0.5 and math.prod(lengths) <= _MAX_PIXELS:
        return
    scaled = ", ".join(f"{np.floor(length + 0.5):.10g}" for length in lengths)
    raise InputError(
        f"scale {scale:g} makes an image of shape ({scaled}) of one of shape {tuple(shape)}; expected at least "
        "one pixel along each axis and at most 2**31 pixels; use a scale nearer to 1"
    )


def resize_labels(labels: npt.NDArray[T], shape: Sequence[int]) -> npt.NDArray[T]:
    """Give labels or a mask another shape by the nearest pixel; of that shape already, it is returned."""
    if labels.shape == tuple(shape):
        return labels
    indices = [
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.intp), old - 1)
        for new, old in zip(shape, labels.shape)
    ]
    return labels[np.ix_(*indices)]
