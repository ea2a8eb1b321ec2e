"""Images: any file or array becomes float32 ``(C, *spatial)``; what is not understood is refused."""

from __future__ import annotations

import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.io.arrays import not_finite, numeric, opened
from pixel_embedded_affinity.io.read import Source, read_source
from pixel_embedded_affinity.io.read import read_image as read_image
from pixel_embedded_affinity.labels import SPATIAL
from pixel_embedded_affinity.labels import as_foreground as as_foreground

logger = logging.getLogger(__name__)

_MOST_PIXELS = 2**31 - 1
"""The most objects that int32 can count; also more than the embedding of any machine's main memory holds."""


@dataclass(frozen=True, eq=False)
class Image:
    """An image in the one form that the pipeline works on.

    Attributes
    ----------
    values : numpy.ndarray
        float32, shape ``(C, *spatial)``, C-contiguous; it shares no memory with the source.
    source_axes : str
        Axes of the source, such as ``"YXC"``; `to_source_order` uses them.
    """

    values: npt.NDArray[np.float32]
    source_axes: str

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Lengths of the spatial axes in pixels, ordered ``(y, x)`` or ``(z, y, x)``."""
        return self.values.shape[1:]

    def to_source_order(self, spatial: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Arrange an array of shape ``spatial_shape``, labels for example, in the order of the source's axes.

        Parameters
        ----------
        spatial : numpy.ndarray
            Shape ``spatial_shape``, ordered ``(y, x)`` or ``(z, y, x)``.

        Returns
        -------
        numpy.ndarray
            The same values, C-contiguous; transposed only where the source was, as with axes ``"XY"``.

        Raises
        ------
        InputError
            If the array does not have as many axes as the image has spatial ones.
        """
        self._check_axis_count(spatial)
        letters = self._spatial_letters()
        canonical = SPATIAL[len(letters)]
        return np.ascontiguousarray(spatial.transpose([canonical.index(letter) for letter in letters]))

    def from_source_order(self, spatial: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Arrange an array, a foreground for example, from the order of the source's axes to ``spatial_shape``.

        The inverse of `to_source_order`, with the same parameters and errors.
        """
        self._check_axis_count(spatial)
        letters = self._spatial_letters()
        order = [letters.index(letter) for letter in SPATIAL[len(letters)]]
        return np.ascontiguousarray(spatial.transpose(order))

    def _spatial_letters(self) -> str:
        return self.source_axes.replace("C", "")

    def _check_axis_count(self, spatial: npt.NDArray[Any]) -> None:
        if spatial.ndim != len(self.spatial_shape):
            raise InputError(
                f"array of shape {spatial.shape} has {spatial.ndim} axes; expected the "
                f"{len(self.spatial_shape)} spatial axes of the image, without channels"
            )


# --- arrays -----------------------------------------------------------------------------------------------


def as_image(source: Any, *, axes: str | None = None, channels: int, ndim: int = 2) -> Image:
    """Convert a file or an array into the form that the pipeline works on.

    Axes are letters: ``C`` channel, ``Z Y X`` space. Without `axes`, an array of `ndim` axes is ``"YX"`` or
    ``"ZYX"`` and one of one axis more has its channels **last** (``"YXC"``, ``"ZYXC"``); nothing is guessed
    from lengths. A file states its axes itself: axes of length 1 that the model does not know (time, for
    example) are dropped, and for a 3D model the unnamed page axis of a TIFF is Z.

    Channels are fitted to the model: a model of three channels gets an image of one channel three times; an alpha
    channel (the fourth of four for a model of three, or one that a file declares) is dropped. The log says both.
    Otherwise the counts must match.

    Parameters
    ----------
    source : str, path-like or array-like
        A file for `read_image`; or a NumPy array, a torch tensor on any device, nested lists of numbers, or
        anything with ``__array__`` or with ``shape``, ``dtype`` and ``__getitem__`` (zarr, dask, h5py). Any
        integer, float or bool dtype, byte order and stride. Never modified. Of at most 2**31 - 1 pixels.
    axes : str, optional
        Letter of each axis of the source, such as ``"CYX"``.
    channels : int
        Number of channels of the model.
    ndim : {2, 3}
        Number of spatial axes of the model.

    Returns
    -------
    Image
        Values float32 ``(channels, *spatial)``, which share no memory with the source.

    Raises
    ------
    InputError
        If the source cannot be read, has another dtype, has masked, NaN, infinite or (in float32) overflowing
        values, an empty axis, too many pixels, or axes or channels that do not fit.
    """
    _check_model(channels, ndim)
    if isinstance(source, (str, os.PathLike)):
        loaded = read_source(Path(source))
        if axes is None:
            loaded = _fit_declared_axes(loaded, ndim, os.fspath(source))
        axes = loaded.axes if axes is None else axes
    else:
        _check_single(source, axes, ndim)
        loaded = Source(opened(source, "image"), "", has_alpha=False)
    letters = _resolve_axes(axes, tuple(loaded.values.shape), ndim)
    array = numeric(loaded.values, "image")
    pixels = _fit_channels(_channels_first(array, letters), channels, loaded.has_alpha, letters)
    return Image(_as_float32(pixels, array), letters)


def as_channels(source: Any, *, ndim: int = 2) -> npt.NDArray[np.float32]:
    """Convert an array that is spatial, or has its channels **first**, keeping all its channels.

    Overlays and tables need this: there no model says how many channels an image has.

    Parameters
    ----------
    source : array-like
        Shape ``spatial`` or ``(C, *spatial)``; anything that `as_image` takes, files aside. Never modified.
    ndim : {2, 3}
        Number of spatial axes.

    Returns
    -------
    numpy.ndarray
        float32, shape ``(C, *spatial)``, in memory of its own.

    Raises
    ------
    InputError
        As `as_image`.
    """
    loaded = opened(source, "image")
    shape = tuple(loaded.shape)
    if len(shape) not in (ndim, ndim + 1):
        raise InputError(
            f"image of shape {shape} has {len(shape)} axes; expected {ndim} ({SPATIAL[ndim]}) or {ndim + 1} "
            f"(C{SPATIAL[ndim]}); pass one image, channels first"
        )
    letters = _resolve_axes(("C" + SPATIAL[ndim])[-len(shape) :], shape, ndim)
    array = numeric(loaded, "image")
    return _as_float32(_channels_first(array, letters), array)


def _check_model(channels: int, ndim: int) -> None:
    if ndim not in SPATIAL:
        raise InputError(f"ndim={ndim!r}; expected 2 or 3, the number of spatial axes of the model")
    if channels < 1:
        raise InputError(f"channels={channels!r}; expected at least 1, the number of channels of the model")


def _check_single(source: Any, axes: str | None, ndim: int) -> None:
    """Refuse a list of images; a list of planes is one image, where the axes or a 3D model say so."""
    if not isinstance(source, (list, tuple)) or not source:
        return
    paths = all(isinstance(item, (str, os.PathLike)) for item in source)
    least = max(ndim, len(axes)) if isinstance(axes, str) else ndim
    if paths or all(len(getattr(item, "shape", ())) >= least for item in source):
        count = f"{len(source)} image{'s' if len(source) > 1 else ''}"
        raise InputError(f"a list of {count}; use segment_many")


# --- axes -------------------------------------------------------------------------------------------------


def _fit_declared_axes(loaded: Source, ndim: int, path: str) -> Source:
    """Fit the axes of a file to the model: drop unknown axes of length 1, call unnamed pages Z in 3D."""
    declared, shape = loaded.axes, loaded.values.shape
    known = SPATIAL[ndim] + "C"
    dropped = tuple(i for i, letter in enumerate(declared) if letter not in known and shape[i] == 1)
    letters = "".join(letter for i, letter in enumerate(declared) if i not in dropped)
    if ndim == 3 and "Z" not in letters:
        letters = letters.replace("I", "Q").replace("Q", "Z")
    if sorted(letters.replace("C", "", 1)) != sorted(SPATIAL[ndim]):
        raise InputError(
            f"'{path}' holds axes {declared} of shape {shape}; expected one {ndim}D image "
            f"({SPATIAL[ndim]}, with or without channels C); save the wanted part as its own file, or "
            "pass the axes"
        )
    return Source(loaded.values.squeeze(dropped), letters, loaded.has_alpha)


def _resolve_axes(axes: str | None, shape: tuple[int, ...], ndim: int) -> str:
    letters = _default_axes(shape, ndim) if axes is None else axes
    _check_axes(letters, shape, ndim)
    if 0 in shape:
        raise InputError(f"image of shape {shape} is empty; expected at least one pixel along each axis")
    count = math.prod(length for length, letter in zip(shape, letters, strict=True) if letter != "C")
    # Before anything of a lazy array is loaded.
    if count > _MOST_PIXELS:
        raise InputError(
            f"image of shape {shape} has {count} pixels; expected at most {_MOST_PIXELS} at a time; segment "
            "it in parts, e.g. by Segmenter.segment_large"
        )
    return letters


def _default_axes(shape: tuple[int, ...], ndim: int) -> str:
    spatial = SPATIAL[ndim]
    if len(shape) not in (ndim, ndim + 1):
        raise InputError(
            f"image of shape {shape} has {len(shape)} axes; expected {ndim} ({spatial}) or {ndim + 1} "
            f"({spatial}C) for a {ndim}D model; pass one image at a time"
        )
    return spatial if len(shape) == ndim else spatial + "C"


def _check_axes(axes: str, shape: tuple[int, ...], ndim: int) -> None:
    spatial = SPATIAL[ndim]
    example = f"'{spatial}'" if len(shape) == ndim else f"'{spatial}C' or 'C{spatial}'"
    expected = f"expected one letter per axis, each of {spatial} and at most one C, such as axes={example}"
    if not isinstance(axes, str):
        raise InputError(f"axes={axes!r} is a {type(axes).__name__}; {expected}")
    if len(axes) != len(shape):
        raise InputError(
            f"axes='{axes}' names {len(axes)} axes of an image of {len(shape)} (shape {shape}); {expected}"
        )
    if unknown := sorted(set(axes) - set("CZYX")):
        advice = "; use upper case" if set(axes.upper()) <= set("CZYX") else ""
        raise InputError(f"axes='{axes}' has unknown letters {''.join(unknown)}; {expected}{advice}")
    if len(set(axes)) != len(axes):
        raise InputError(f"axes='{axes}' repeats a letter; {expected}")
    if set(axes) - {"C"} != set(spatial):
        raise InputError(f"axes='{axes}' does not fit a {ndim}D model; {expected}")


def _channels_first(array: npt.NDArray[Any], letters: str) -> npt.NDArray[Any]:
    spatial = SPATIAL[len(letters.replace("C", ""))]
    if "C" not in letters:
        return _channels_first(array[np.newaxis], "C" + letters)
    return np.transpose(array, [letters.index(letter) for letter in "C" + spatial])


# --- channels and values ----------------------------------------------------------------------------------


def _fit_channels(pixels: npt.NDArray[Any], channels: int, has_alpha: bool, letters: str) -> npt.NDArray[Any]:
    count = pixels.shape[0]
    if count != channels and (has_alpha or (count, channels) == (4, 3)):
        logger.info("the image has %d channels; the last one, alpha, is dropped", count)
        pixels = pixels[:-1]
    if (pixels.shape[0], channels) == (1, 3):
        logger.info("the image has one channel; the model, which takes three, gets it three times")
        return np.broadcast_to(pixels, (channels, *pixels.shape[1:]))
    if pixels.shape[0] != channels:
        raise InputError(
            f"image of {count} channel(s) (axes {letters}) for a model of {channels}; expected {channels}; "
            "select channels, or pass axes if another axis holds them, e.g. "
            f"axes='{'C' + letters.replace('C', '')}'"
        )
    return pixels


def _as_float32(pixels: npt.NDArray[Any], source: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    values = np.empty(pixels.shape, dtype=np.float32)
    # Values that do not convert are found below and refused; a warning would only come first.
    with np.errstate(all="ignore"):
        for target, channel in zip(values, pixels, strict=True):
            target[...] = channel
    if pixels.dtype.kind == "f" and not np.isfinite(values).all():
        raise not_finite(source, "image")
    return values
