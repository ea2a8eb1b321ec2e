"""Images larger than the memory: read in parts, normalized by statistics of the whole image."""

from __future__ import annotations

import hashlib
import logging
import math
import os
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.tiling import Box, blocks, largest_part
from pixel_embedded_affinity.image import Picture, as_image, is_gray, open_picture, wrong_channels
from pixel_embedded_affinity.io.arrays import numeric, opened
from pixel_embedded_affinity.io.read import read_source
from pixel_embedded_affinity.io.selection import WHOLE, Selection
from pixel_embedded_affinity.labels import SPATIAL
from pixel_embedded_affinity.normalize import PLAIN, Contrast, Normalization, stretch_of

logger = logging.getLogger(__name__)

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
        Letters of the axes that are the image: one of `axes_of` the model.
    channels : int
        Channels of the model; `image.as_image` fits the image's channels to them.
    index : tuple of int or slice
        What is read along each axis of the source: a number, or all.
    path : pathlib.Path or None
        The file of the image. Another process opens it there, and need not be sent the pixels.
    series : int or None
        The image within the file.
    pixel_size : tuple of float or None
        Size of a pixel along each spatial axis, in micrometers.
    """

    source: Any
    axes: str
    channels: int
    index: tuple[int | slice, ...]
    path: Path | None = None
    series: int | None = None
    pixel_size: tuple[float, ...] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the path, where there is one, and not the pixels."""
        return vars(self) if self.path is None else {**vars(self), "source": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.path is not None:
            self.__dict__["source"] = read_source(
                self.path, series=self.series, lazily=True, sections=True
            ).values

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of `axes`."""
        lengths = zip(self.source.shape, self.index)
        return tuple(int(length) for length, entry in lengths if not isinstance(entry, int))

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Height and width, or depth, height and width, in pixels."""
        return tuple(length for length, axis in zip(self.shape, self.axes) if axis != "C")

    def read(self, box: Box) -> npt.NDArray[np.float32]:
        """Read a part, float32 ``(C, *spatial)``; a slice may have a step.

        Raises
        ------
        InputError
            If its values cannot be used, as for `image.as_image`.
        """
        values = self.stored(box)
        return as_image(values, axes=self.axes, channels=self.channels, ndim=len(box)).values

    def stored(self, box: Box) -> Any:
        """Read a part as it is stored, with the axes of the image."""
        letters, sides = iter(self.axes), iter(box)
        index = tuple(
            entry if isinstance(entry, int) or next(letters) == "C" else next(sides) for entry in self.index
        )
        return self.source[index]


def axes_of(ndim: int) -> tuple[str, ...]:
    """Valid axes of an image with `ndim` spatial axes that is read in parts."""
    spatial = SPATIAL[ndim]
    return spatial, f"{spatial}C", f"C{spatial}"


def open_image(
    image: Any, *, axes: str | None = None, channels: int, ndim: int = 2, selection: Selection = WHOLE
) -> LazyImage:
    """Open an image without reading it.

    Parameters
    ----------
    image : path or array-like
        The path of an OME-Zarr, a zarr array or a TIFF, which are read in parts (a compressed TIFF by zarr); of another
        image, which is read whole; or anything with ``shape``, ``dtype`` and slicing.
    axes : str, optional
        Letters of the axes; it goes before the axes of `selection`. Default: what a file declares (pages of a TIFF
        are Z for a model of three axes), else ``"YX"`` or ``"ZYX"``, with one axis more ``"YXC"`` or ``"ZYXC"``.
    channels : int
        Channels of the model.
    ndim : {2, 3}
        Number of spatial axes of the model.
    selection : Selection
        Axes, channel, time point, series and pixel size.

    Raises
    ------
    InputError
        If the image or its axes cannot be used.
    MissingDependencyError
        If the path is a folder, which zarr reads, and zarr is not installed.
    """
    chosen = selection if axes is None else replace(selection, axes=axes)
    path = Path(image).absolute() if isinstance(image, (str, os.PathLike)) else None
    missing = [name for name in ("shape", "dtype", "__getitem__") if not hasattr(image, name)]
    if path is None and missing:
        raise InputError(
            f"image of type {type(image).__name__} has no {missing[0]}; expected an array to read in parts "
            "(zarr, dask, HDF5, memory map) or a path; use segment for an image that fits into memory"
        )
    picture = open_picture(image, chosen, channels=channels, ndim=ndim, lazily=True).alone()
    if picture.axes not in axes_of(ndim):
        advice = {"T": "choose a time point by time=0 (--time 0)", "Z": "choose a section by z=0 (--z 0)"}
        other = (
            "choose a channel by channel=0 (--channel 0)" if "C" in picture.axes else "transpose the image"
        )
        raise InputError(
            f"{picture.what} has axes {picture.axes}; expected one letter per axis, {', '.join(axes_of(ndim))}; "
            f"{advice.get(picture.frame_axis, other)}"
        )
    source, part = picture.source, picture.part
    lazy = LazyImage(
        source.values, part.axes, channels, part.index, path, selection.series, picture.pixel_size
    )
    return _with_channels(lazy, picture)


def _with_channels(image: LazyImage, picture: Picture) -> LazyImage:
    """Fit the channels to the model once, and not in each part: parts of a color image may be gray."""
    count = dict(zip(image.axes, image.shape)).get("C", 1)
    kept = count - 1 if picture.source.has_alpha or (count, image.channels) == (4, 3) else count
    if count == image.channels or (kept, image.channels) == (1, 3):
        return image
    if kept == image.channels and count - kept == 1:
        return _of_channels(image, slice(0, kept))
    if image.channels == 1 and kept in (3, 4) and _is_gray(image, picture):
        logger.warning("%s has three equal channels: it is gray, and one of them is used", picture.what)
        return _of_channels(image, 0)
    raise wrong_channels(
        count,
        image.channels,
        picture.source._replace(axes=image.axes),
        (count, *image.spatial_shape),
        picture.what,
    )


def _of_channels(image: LazyImage, channels: int | slice) -> LazyImage:
    letters = iter(image.axes)
    index = tuple(
        channels if not isinstance(entry, int) and next(letters) == "C" else entry for entry in image.index
    )
    axes = image.axes if isinstance(channels, slice) else image.axes.replace("C", "")
    return replace(image, index=index, axes=axes)


def _is_gray(image: LazyImage, picture: Picture) -> bool:
    """Compare the channels part by part."""
    for box in blocks(image.spatial_shape, largest_part(image.spatial_shape, _HASHED // 32)):
        part = np.moveaxis(numeric(opened(image.stored(box), "image"), "image"), image.axes.index("C"), 0)
        if not is_gray(part, has_alpha=picture.source.has_alpha):
            return False
    return True


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


def fixed_normalization(
    image: LazyImage, normalization: Normalization, contrast: Contrast = PLAIN
) -> Normalization:
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
    low, high, top, bottom, gamma = stretch_of(values, normalization, contrast)
    gamma *= normalization.gamma
    span = high - low if high > low else _FLAT
    mean, std = (low,) * len(values), (span,) * len(values)
    clip = normalization.clip
    if top is not None or bottom is not None:
        lowest, highest = clip or (-_FLAT, _FLAT)
        lowest = lowest if bottom is None else max(lowest, _bent((bottom - low) / span, gamma))
        highest = highest if top is None else min(highest, _bent((top - low) / span, gamma))
        clip = lowest, max(lowest + 1e-6, highest)
    return Normalization("fixed", mean=mean, std=std, clip=clip, gamma=gamma)


def _bent(value: float, gamma: float) -> float:
    """What a gamma curve makes of a number."""
    return math.copysign(abs(value) ** gamma, value)
