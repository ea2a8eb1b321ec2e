"""Images that are larger than the memory: read in parts, normalized by statistics of the whole."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError, MissingDependencyError
from pixel_embedded_affinity.geometry.tiling import Box
from pixel_embedded_affinity.image import as_image
from pixel_embedded_affinity.io.read import read_image
from pixel_embedded_affinity.normalize import Normalization

AXES = ("YX", "YXC", "CYX")
"""Axes that an image read in parts may have."""

_SAMPLES = 2**22
_FLAT = 1e30  # divides all values of an image without contrast into zeros


@dataclass(frozen=True, eq=False)
class LazyImage:
    """An image that is read where it is needed.

    Attributes
    ----------
    source : object
        Anything with ``shape``, ``dtype`` and slicing: a zarr, dask, HDF5, memory-mapped or NumPy array.
    axes : str
        One of `AXES`.
    channels : int
        Channels of the model, to which those of the image are fitted as by `image.as_image`.
    path : pathlib.Path or None
        Where the image was opened: another process that gets it opens it there, instead of being sent all pixels.
    """

    source: Any
    axes: str
    channels: int
    path: Path | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle a path in the place of what it holds."""
        if self.path is None:
            return type(self), (self.source, self.axes, self.channels)
        return _reopened, (self.path, self.axes, self.channels)

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Height and width in pixels."""
        return tuple(int(length) for length, axis in zip(self.source.shape, self.axes) if axis != "C")

    def read(self, box: Box) -> npt.NDArray[np.float32]:
        """Read a part, float32 ``(C, *spatial)``; slices with steps read every so many pixels.

        Raises
        ------
        InputError
            If its values cannot be used, as for `image.as_image`.
        """
        sides = iter(box)
        index = tuple(slice(None) if axis == "C" else next(sides) for axis in self.axes)
        return as_image(self.source[index], axes=self.axes, channels=self.channels).values


def open_image(image: Any, *, axes: str | None = None, channels: int) -> LazyImage:
    """Open an image without reading it.

    Parameters
    ----------
    image : path or array-like
        The path of a zarr array or of an uncompressed TIFF, which are read in parts, or of another image,
        which is read whole; or anything with ``shape``, ``dtype`` and slicing.
    axes : str, optional
        One of `AXES`. Default: what a TIFF declares, else ``"YX"``, with a third axis ``"YXC"``.
    channels : int
        Channels of the model.

    Raises
    ------
    InputError
        If the image or its axes cannot be used.
    MissingDependencyError
        If the path is that of a zarr array, and zarr is not installed.
    """
    path = Path(image).absolute() if isinstance(image, (str, os.PathLike)) else None
    source, declared = (image, None) if path is None else _opened(Path(image))
    missing = [name for name in ("shape", "dtype", "__getitem__") if not hasattr(source, name)]
    if missing:
        raise InputError(
            f"image of type {type(image).__name__} has no {missing[0]}; expected an array to read in parts "
            "(zarr, dask, HDF5, memory map) or a path; use segment for an image that fits into memory"
        )
    letters = axes or declared or ("YX" if len(source.shape) == 2 else "YXC")
    _check_axes(letters, tuple(source.shape))
    return LazyImage(source, letters, channels, path)


def _reopened(path: Path, axes: str, channels: int) -> LazyImage:
    return open_image(path, axes=axes, channels=channels)


def fixed_normalization(image: LazyImage, normalization: Normalization) -> Normalization:
    """Turn statistics of the whole image into numbers that are the same for each part of it.

    The percentiles are those of every k-th pixel along each axis, from the first on, k the least number that
    leaves at most four million pixels: images of no more are measured exactly.

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


def _opened(path: Path) -> tuple[Any, str | None]:
    """Open a file or a zarr array, with the axes that it declares."""
    if path.suffix.lower() in (".tif", ".tiff"):
        return _opened_tiff(path)
    if path.is_dir():
        return _opened_zarr(path), None
    return read_image(path), None


def _opened_zarr(path: Path) -> Any:
    try:
        import zarr
    except ImportError as error:
        raise MissingDependencyError(
            f"'{path}' is read as a zarr array, which needs the package zarr; install it (pip install zarr)"
        ) from error
    try:
        return zarr.open_array(os.fspath(path), mode="r")
    except (OSError, ValueError, TypeError, KeyError) as error:
        text = " ".join(str(error).split())
        raise InputError(
            f"'{path}' is not a zarr array ({text}); expected one; of a group, pass the path of an array in it"
        ) from error


def _opened_tiff(path: Path) -> tuple[Any, str | None]:
    """Map a TIFF into memory, where its pixels lie in one piece."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            axes = file.series[0].axes.replace("S", "C")
        return tifffile.memmap(path, mode="r"), axes if axes in AXES else None
    except (OSError, ValueError, tifffile.TiffFileError) as error:
        text = " ".join(str(error).split())
        raise InputError(
            f"'{path}' cannot be mapped into memory ({text}); expected an uncompressed TIFF; convert it to "
            "zarr, or use segment if it fits into memory"
        ) from error


def _check_axes(axes: str, shape: tuple[int, ...]) -> None:
    if axes not in AXES or len(axes) != len(shape):
        raise InputError(
            f"axes={axes!r} for an image of shape {shape}; expected one letter per axis, {', '.join(AXES)}; "
            "transpose the image"
        )
    if 0 in shape:
        raise InputError(f"image of shape {shape} is empty; expected at least one pixel along each axis")
