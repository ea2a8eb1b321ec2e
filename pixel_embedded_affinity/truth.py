"""True labels, from arrays and files, to learn from or to compare with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.io.arrays import numeric, opened
from pixel_embedded_affinity.io.read import read_stored
from pixel_embedded_affinity.labels import Labels, as_labels, relabel, warn_of_mask

_EXACT_FLOATS = 2.0**53

_CHANNELS_OF_COLOR = 4

_OUTLINES = (".zip", ".roi", ".geojson", ".json")


def read_labels(path: Path, *, ndim: int | None = 2) -> Labels:
    """Read a label image, and number its objects 1..n; an object keeps all its pieces.

    A palette image gives its palette indices, not its colors, and no value is inverted. Floating-point values are
    accepted if all are whole. The log warns of what looks like a binary mask, and of an object that seems to be the
    background.

    Parameters
    ----------
    path : Path
        TIFF or PNG with one value per pixel: 0 for background, another number per object. Axes of length 1 do not
        count.
    ndim : {2, 3} or None
        Number of axes; the pages of a TIFF are the sections of a volume. None: as many as the file has.

    Raises
    ------
    InputError
        If the image is a JPEG, which changes values, or in color, or has another number of axes, or a value is
        negative, fractional, NaN or infinite; the message names the file.
    """
    if path.suffix.lower() in (".jpg", ".jpeg"):
        raise InputError(f"label image {str(path)!r} is a JPEG, which changes values; expected TIFF or PNG")
    values = read_stored(path)
    if ndim is None:
        # A last axis of a few numbers is color.
        ndim = 3 if values.ndim == 3 and values.shape[-1] > _CHANNELS_OF_COLOR else 2
    values = _without_single_axes(values, ndim)
    if values.ndim != ndim:
        expected = "(H, W)" if ndim == 2 else "(D, H, W)"
        raise InputError(
            f"label image {str(path)!r} has shape {values.shape}; expected {expected}, one number per pixel; "
            f"{_advice(values.shape)}"
        )
    return numbered(values, path)


def _without_single_axes(values: npt.NDArray[Any], ndim: int) -> npt.NDArray[Any]:
    """Leave out axes of length 1, the first ones first, until there are as many as wanted."""
    for axis in [axis for axis, length in enumerate(values.shape) if length == 1][::-1]:
        if values.ndim > ndim:
            values = values.squeeze(axis)
    return values


def _advice(shape: Sequence[int]) -> str:
    """Tell how to make labels of an image with too many or too few axes."""
    if len(shape) == len("HWC") and shape[-1] <= _CHANNELS_OF_COLOR:
        return (
            "colors are not labels, except as a palette PNG; where each object has a color of its own on black, number "
            "them: numpy.unique(colors.reshape(-1, colors.shape[-1]), axis=0, return_inverse=True)[1]"
            ".reshape(colors.shape[:2])"
        )
    return "save the labels of each image, or of the whole volume, as a file of their own"


def numbered(values: npt.NDArray[Any], path: Path) -> Labels:
    """Return the values of a label image as labels, as `read_labels` does."""
    what = f"label image {str(path)!r}"
    values = whole_numbers(values, what)
    warn_of_mask(values, what)
    try:
        return relabel(values.astype(np.uint8) if values.dtype == bool else values)
    except InputError as error:
        raise naming(path, error) from error


def true_labels(labels: Any, shape: Sequence[int], what: str) -> npt.NDArray[np.integer[Any]]:
    """Return the true labels of an image that a caller gives.

    Parameters
    ----------
    labels : array-like or path
        Whole numbers, 0 = background; or a file, as for `read_labels`.
    shape : sequence of int
        Spatial shape that they must have, in pixels.
    what : str
        How the log calls the image, if they look like a binary mask.

    Raises
    ------
    InputError
        If they are no labels, or have another shape.
    """
    if isinstance(labels, (str, os.PathLike)):
        path = Path(labels)
        if path.suffix.lower() in _OUTLINES:
            raise InputError(
                f"labels {str(path)!r} are outlines; expected a label image here; read them with "
                "pixel_embedded_affinity.data.outlines.base.read_outlines; the commands of pea read them themselves"
            )
        return as_labels(read_labels(path, ndim=len(shape)), shape)
    found = as_labels(whole_numbers(numeric(opened(labels, "labels"), "labels"), "the truth"), shape)
    warn_of_mask(found, f"the truth of {what}")
    return found


def whole_numbers(values: npt.NDArray[Any], what: str) -> npt.NDArray[Any]:
    """Turn floating-point numbers that are all whole into integers.

    Raises
    ------
    InputError
        If one is not whole.
    """
    if values.dtype.kind != "f":
        return values
    if not ((np.abs(values) < _EXACT_FLOATS) & (values == np.rint(values))).all():
        raise InputError(f"{what} holds fractions, NaN or infinite values; expected whole numbers")
    return values.astype(np.int64)


def naming(path: Path, error: InputError) -> InputError:
    """Return the same error, with the file's name in its message."""
    message = str(error)
    return InputError(message if str(path) in message else f"{str(path)!r}: {message}")
