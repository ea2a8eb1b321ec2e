"""Images larger than the memory: read in parts, normalized by statistics of the whole image."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError, one_line, optional_module
from pixel_embedded_affinity.geometry.tiling import Box, blocks, largest_part
from pixel_embedded_affinity.image import as_image
from pixel_embedded_affinity.io.arrays import numeric, opened
from pixel_embedded_affinity.io.read import read_image
from pixel_embedded_affinity.labels import SPATIAL
from pixel_embedded_affinity.normalize import Normalization

_SAMPLES = 2**22
_HASHED = 2**25  # bytes at a time
_FLAT = 1e30  # makes zeros of all values of an image without contrast


@dataclass(frozen=True, eq=False)
class LazyImage:
    """An image whose parts are read when they are needed.

    Attributes
    ----------
    source : object
        Anything with ``shape``, ``dtype`` and slicing: a zarr, dask, HDF5, memory-mapped or NumPy array.
    axes : str
        One of `axes_of` the model.
    channels : int
        Channels of the model; `image.as_image` fits the image's channels to them.
    path : pathlib.Path or None
        The file of the image. Another process opens it there, and need not be sent the pixels.
    """

    source: Any
    axes: str
    channels: int
    path: Path | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path, where there is one, and not the pixels."""
        if self.path is None:
            return type(self), (self.source, self.axes, self.channels)
        return _reopened, (self.path, self.axes, self.channels)

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Height and width, or depth, height and width, in pixels."""
        return tuple(int(length) for length, axis in zip(self.source.shape, self.axes) if axis != "C")

    def read(self, box: Box) -> npt.NDArray[np.float32]:
        """Read a part, float32 ``(C, *spatial)``; a slice may have a step.

        Raises
        ------
        InputError
            If its values cannot be used, as for `image.as_image`.
        """
        sides = iter(box)
        index = tuple(slice(None) if axis == "C" else next(sides) for axis in self.axes)
        return as_image(self.source[index], axes=self.axes, channels=self.channels, ndim=len(box)).values


def axes_of(ndim: int) -> tuple[str, ...]:
    """Valid axes of an image with `ndim` spatial axes that is read in parts."""
    spatial = SPATIAL[ndim]
    return spatial, f"{spatial}C", f"C{spatial}"


def open_image(image: Any, *, axes: str | None = None, channels: int, ndim: int = 2) -> LazyImage:
    """Open an image without reading it.

    Parameters
    ----------
    image : path or array-like
        The path of a zarr array or of an uncompressed TIFF, which are read in parts; the path of another image,
        which is read whole; or anything with ``shape``, ``dtype`` and slicing.
    axes : str, optional
        One of `axes_of` the model. Default: what a TIFF declares (its pages are Z for a model of three axes), else
        ``"YX"`` or ``"ZYX"``, with one axis more ``"YXC"`` or ``"ZYXC"``.
    channels : int
        Channels of the model.
    ndim : {2, 3}
        Number of spatial axes of the model.

    Raises
    ------
    InputError
        If the image or its axes cannot be used.
    MissingDependencyError
        If the path is a folder, which zarr reads, and zarr is not installed.
    """
    path = Path(image).absolute() if isinstance(image, (str, os.PathLike)) else None
    source, declared = (image, None) if path is None else _opened(Path(image), ndim)
    missing = [name for name in ("shape", "dtype", "__getitem__") if not hasattr(source, name)]
    if missing:
        raise InputError(
            f"image of type {type(image).__name__} has no {missing[0]}; expected an array to read in parts "
            "(zarr, dask, HDF5, memory map) or a path; use segment for an image that fits into memory"
        )
    letters = axes or declared or axes_of(ndim)[len(source.shape) > ndim]
    _check_axes(letters, tuple(source.shape), ndim)
    return LazyImage(source, letters, channels, path)


def _reopened(path: Path, axes: str, channels: int) -> LazyImage:
    return open_image(path, axes=axes, channels=channels, ndim=len(axes.replace("C", "")))


def fingerprint(source: Any) -> str:
    """Hash all values of an array, its shape and its type; it is read in parts of at most 32 MiB.

    Parameters
    ----------
    source : array-like
        Anything with ``shape`` and slicing, such as `LazyImage.source`.

    Returns
    -------
    str
        Equal values give an equal hash, wherever and however they are stored.

    Raises
    ------
    InputError
        If a part is no array of numbers.
    """
    shape = tuple(int(length) for length in source.shape)
    found = hashlib.sha256()
    for box in blocks(shape, largest_part(shape, _HASHED // 8)):
        part = numeric(opened(source[box], "image"), "image")
        found.update(f"{shape} {part.dtype.name}".encode())
        found.update(part.astype(part.dtype.newbyteorder("<"), copy=False).tobytes())
    return found.hexdigest()


def fixed_normalization(image: LazyImage, normalization: Normalization) -> Normalization:
    """Replace percentiles by fixed numbers, measured on the whole image, that hold for each part of it.

    The percentiles are taken from every k-th pixel along each axis, starting with the first one. k is the smallest
    number that leaves at most four million pixels: smaller images are measured exactly.

    Raises
    ------
    InputError
        If values of the image cannot be used.
    """
    if normalization.kind != "percentile":
        return normalization
    shape = image.spatial_shape
    step = next(step for step in count(1) if math.prod(-(-length // step) for length in shape) <= _SAMPLES)
    values = image.read(tuple(slice(0, length, step) for length in shape))
    percentiles = (normalization.lower, normalization.upper)
    low, high = (float(value) for value in np.percentile(values.astype(np.float64), percentiles))
    span = high - low if high > low else _FLAT
    mean, std = (low,) * len(values), (span,) * len(values)
    return Normalization("fixed", mean=mean, std=std, clip=normalization.clip)


def _opened(path: Path, ndim: int) -> tuple[Any, str | None]:
    """Open a file or a zarr array, with the axes that it declares."""
    if path.suffix.lower() in (".tif", ".tiff"):
        return _opened_tiff(path, ndim)
    if path.is_dir():
        return _opened_zarr(path), None
    return read_image(path), None


def _opened_zarr(path: Path) -> Any:
    needs = f"'{path}' is read as a zarr array, which needs the package zarr; install it (pip install zarr)"
    zarr = optional_module("zarr", needs)
    try:
        return zarr.open_array(os.fspath(path), mode="r")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"'{path}' is not a zarr array ({one_line(error)}); expected one; of a group, pass the path of "
            "an array in it"
        ) from error


def _opened_tiff(path: Path, ndim: int) -> tuple[Any, str | None]:
    """Map a TIFF into memory, where its pixels lie in one piece."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            axes = file.series[0].axes.replace("S", "C")
        if ndim == 3 and "Z" not in axes:
            axes = axes.replace("I", "Q").replace("Q", "Z")
        return tifffile.memmap(path, mode="r"), axes if axes in axes_of(ndim) else None
    except (OSError, ValueError, tifffile.TiffFileError) as error:
        raise InputError(
            f"'{path}' cannot be mapped into memory ({one_line(error)}); expected an uncompressed TIFF; convert it to "
            "zarr, or use segment if it fits into memory"
        ) from error


def _check_axes(axes: str, shape: tuple[int, ...], ndim: int) -> None:
    if axes not in axes_of(ndim) or len(axes) != len(shape):
        raise InputError(
            f"axes={axes!r} for an image of shape {shape}; expected one letter per axis, "
            f"{', '.join(axes_of(ndim))}; transpose the image"
        )
    if 0 in shape:
        raise InputError(f"image of shape {shape} is empty; expected at least one pixel along each axis")
