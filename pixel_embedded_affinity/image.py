"""Images: any file or array becomes float32 ``(C, *spatial)``; what is not understood is refused."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.io.arrays import not_finite, numeric, opened
from pixel_embedded_affinity.io.read import Source, content_source, is_content, read_source
from pixel_embedded_affinity.io.read import read_image as read_image
from pixel_embedded_affinity.io.readers.hdf5 import file_name, stem_of
from pixel_embedded_affinity.io.selection import (
    LETTERS,
    SPATIAL,
    WHOLE,
    Part,
    Selection,
    applied,
    channel_names,
    listed_channels,
    part_of,
    sizes_of,
)
from pixel_embedded_affinity.labels import as_foreground as as_foreground

logger = logging.getLogger(__name__)

_FEW_CHANNELS = 16
"""A longer axis is taken for channels only where nothing speaks against it."""

_MOST_PIXELS = 2**31 - 1
"""The most objects that int32 can count; also more than the embedding of any machine's main memory holds."""

_MOST_CHANNELS = 16
_COARSE = 4  # every so many pixels tell which channel shows something
_FRAMES = {"T": ("time points", "time"), "Z": ("sections", "z")}
"""What lies along the axis of several images, and the choice of one of them."""


@dataclass(frozen=True, eq=False)
class Image:
    """An image in the one form that the pipeline works on.

    Attributes
    ----------
    values : numpy.ndarray
        float32, shape ``(C, *spatial)``, C-contiguous; it shares no memory with the source.
    source_axes : str
        Axes of the source, such as ``"YXC"``; `to_source_order` uses them.
    pixel_size : tuple of float or None
        Size of a pixel along each spatial axis, ordered ``(y, x)`` or ``(z, y, x)``, in micrometers; None if not known.
    name : str
        The file's name; empty for an array.
    stem : str
        Start of the names of what is made from it: the name without its ending, with the dataset, the series, and the
        numbers of the section and the time point as far as they were chosen.
    """

    values: npt.NDArray[np.float32]
    source_axes: str
    pixel_size: tuple[float, ...] | None = None
    name: str = ""
    stem: str = "image"

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Lengths of the spatial axes in pixels, ordered ``(y, x)`` or ``(z, y, x)``."""
        return self.values.shape[1:]

    @property
    def spatial_axes(self) -> str:
        """Letters of the spatial axes, in the order of the source."""
        return self.source_axes.replace("C", "")

    @property
    def source_pixel_size(self) -> tuple[float, ...] | None:
        """Size of a pixel along each spatial axis in the order of the source's axes; None if not known."""
        if self.pixel_size is None:
            return None
        letters = self.spatial_axes
        sizes = dict(zip(SPATIAL[len(letters)], self.pixel_size, strict=True))
        return tuple(sizes[letter] for letter in letters)

    @property
    def shown(self) -> npt.NDArray[np.float32]:
        """What is drawn and measured: `values`, or one channel of a gray image, which a model may get three times."""
        colored = "C" in self.source_axes and len(self.values) > 1
        return self.values if colored else self.values[0]

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
        letters = self.spatial_axes
        canonical = SPATIAL[len(letters)]
        return np.ascontiguousarray(spatial.transpose([canonical.index(letter) for letter in letters]))

    def from_source_order(self, spatial: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Arrange an array, a foreground for example, from the order of the source's axes to ``spatial_shape``.

        The inverse of `to_source_order`, with the same parameters and errors.
        """
        self._check_axis_count(spatial)
        return in_usual_order(spatial, self.spatial_axes)

    def _check_axis_count(self, spatial: npt.NDArray[Any]) -> None:
        if spatial.ndim != len(self.spatial_shape):
            raise InputError(
                f"array of shape {spatial.shape} has {spatial.ndim} axes; expected the "
                f"{len(self.spatial_shape)} spatial axes of the image, without channels"
            )


# --- arrays -----------------------------------------------------------------------------------------------


def in_usual_order(spatial: npt.NDArray[Any], letters: str) -> npt.NDArray[Any]:
    """Arrange an array whose axes are `letters` in the order ``YX`` or ``ZYX``; C-contiguous."""
    order = [letters.index(letter) for letter in SPATIAL[len(letters)]]
    return np.ascontiguousarray(spatial.transpose(order))


def as_image(
    source: Any, *, axes: str | None = None, channels: int, ndim: int = 2, selection: Selection = WHOLE
) -> Image:
    """Convert a file or an array into the form that the pipeline works on.

    Axes are letters: ``T`` time, ``C`` channel, ``Z Y X`` space. Without `axes`, an array of `ndim` axes is ``"YX"`` or
    ``"ZYX"`` and one of one axis more has its channels **last** (``"YXC"``, ``"ZYXC"``); nothing is guessed
    from lengths. A file states its axes itself: axes of length 1 that the model does not know (time, for
    example) are dropped, and for a 3D model the unnamed page axis of a TIFF is Z.

    Channels are fitted to the model: a model of three channels gets an image of one channel three times; an alpha
    channel (the fourth of four for a model of three, or one that a file declares) is dropped; a model of one channel
    gets one of three channels that are equal. The log says so. Otherwise the counts must match.

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
    selection : Selection
        Axes, channel, time point, series and pixel size; `axes` goes before its axes.

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
    chosen = selection if axes is None else replace(selection, axes=axes)
    picture = open_picture(source, chosen, channels=channels, ndim=ndim).alone()
    if picture.frame_axis:
        noun, name = _FRAMES[picture.frame_axis]
        raise InputError(
            f"{picture.what} holds {picture.frame_count} {noun} (axes {picture.axes}); expected one image; choose "
            f"one by {name}=0 (--{name} 0), or use segment, which labels each of them"
        )
    return picture.image()


@dataclass(frozen=True, eq=False)
class Picture:
    """A source of which it is known which part is the image; its values need not be read yet.

    Attributes
    ----------
    source : Source
        The values, lazy or not, and what is known about them.
    part : Part
        The part of the values, and its axes.
    channels : int
        Channels of the model.
    pixel_size : tuple of float or None
        Size of a pixel along each spatial axis in micrometers.
    what : str
        How messages call it.
    name : str
        The file's name; empty for an array.
    series : int or None
        The series that was chosen of the file.
    """

    source: Source
    part: Part
    channels: int
    pixel_size: tuple[float, ...] | None
    what: str
    name: str = ""
    series: int | None = None

    @property
    def axes(self) -> str:
        """Letters of the axes that remain; T among them if there are several time points."""
        return self.part.axes

    @property
    def frame_axis(self) -> str:
        """T if there are several time points, Z if there are several sections to segment one by one; else empty."""
        return self.part.frame_axis

    @property
    def place(self) -> dict[str, int]:
        """The chosen section and time point of a file that holds several, such as ``{"z": 2}``."""
        source, index = self.source, self.part.index
        chosen = zip(source.axes, source.values.shape, index)
        return {
            letter.lower(): entry
            for letter, length, entry in chosen
            if isinstance(entry, int) and letter in "ZT" and length > 1
        }

    @property
    def frame_count(self) -> int:
        """Number of time points, or of sections to segment one by one."""
        return dict(zip(self.axes.replace("C", ""), self.label_shape)).get(self.frame_axis, 1)

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Shape of the labels: the axes that remain, without channels."""
        return tuple(length for length, letter in zip(self._lengths(), self.axes) if letter != "C")

    def _lengths(self) -> list[int]:
        """Length of each axis that remains."""
        lengths = zip(self.source.values.shape, self.part.index)
        return [int(length) for length, entry in lengths if not isinstance(entry, int)]

    def frame(self, number: int) -> Picture:
        """Return one of several time points or sections."""
        remaining = iter(self.axes)
        index = tuple(
            entry
            if isinstance(entry, int)
            else (number if next(remaining) == self.frame_axis else slice(None))
            for entry in self.part.index
        )
        return replace(self, part=Part(index, self.axes.replace(self.frame_axis, "")))

    def channel_names(self) -> list[str]:
        """Return the names of all channels, also of colors; without names, their numbers."""
        count = dict(zip(self.axes, self._lengths())).get("C", 1)
        names = channel_names(self.source)
        return list(names) if len(names) == count and all(names) else [str(number) for number in range(count)]

    def alone(self) -> Picture:
        """Return the image without the axis of its frames, if there is one frame."""
        return self.frame(0) if self.frame_axis and self.frame_count == 1 else self

    def image(self) -> Image:
        """Read it."""
        source = applied(self.source, self.part)
        _check_size(tuple(source.values.shape), source.axes)
        array = numeric(source.values, "image")
        first = _channels_first(array, source.axes)
        pixels = _fit_channels(first, self.channels, source, self.what)
        return Image(_as_float32(pixels, array), source.axes, self.pixel_size, self.name, self._stem())

    def _stem(self) -> str:
        series = [] if self.series is None else [f"series{self.series}"]
        place = [f"{letter}{number}" for letter, number in sorted(self.place.items())]
        return "_".join([stem_of(Path(self.name)) or "image", *series, *place])


def open_picture(
    source: Any, selection: Selection = WHOLE, *, channels: int, ndim: int = 2, lazily: bool = False
) -> Picture:
    """Find out which part of a file or an array is the image; parameters and errors as for `as_image`.

    Parameters
    ----------
    source : str, path-like, array-like or Picture
        As for `as_image`; what this function returned comes back as it is.
    selection : Selection
        The choices of the caller.
    channels, ndim
        As for `as_image`.
    lazily : bool
        Whether the values of a file are read when they are indexed; only some formats allow it.
    """
    if isinstance(source, Picture):
        return source
    _check_model(channels, ndim)
    named, what = _named(source, selection, ndim, lazily)
    if selection.axes is not None:
        _check_axes(selection.axes, tuple(named.values.shape), ndim)
        _check_colors(named, selection.axes, what)
        sizes = _sizes_by_place(named, selection.axes)
        named = named._replace(axes=selection.axes, pixel_size=sizes)
    part = part_of(named, selection, ndim, what)
    _check_size(tuple(named.values.shape), named.axes)
    name = file_name(Path(source)) if isinstance(source, (str, os.PathLike)) else ""
    size = sizes_of(named, selection, ndim)
    return Picture(named, part, channels, size, what, name, selection.series)


def _named(source: Any, selection: Selection, ndim: int, lazily: bool) -> tuple[Source, str]:
    """Open a source with its own axes, and say how to call it."""
    if isinstance(source, (str, os.PathLike)):
        series, sections = selection.series, ndim == 3
        loaded = read_source(Path(source), series=series, lazily=lazily, sections=sections)
        if not loaded.axes and selection.axes is None:
            loaded = loaded._replace(axes=_default_axes(tuple(loaded.values.shape), ndim))
        return loaded, f"'{os.fspath(source)}'"
    if is_content(source):
        loaded = content_source(source, selection.series)
        axes = loaded.axes or _default_axes(tuple(loaded.values.shape), ndim)
        return loaded if selection.axes is not None else loaded._replace(axes=axes), "'the given file'"
    if selection.series is not None:
        raise InputError(
            f"series={selection.series} for an array; expected a file that holds several images; index the array "
            "instead"
        )
    _check_single(source, selection.axes, ndim)
    array = opened(source, "image")
    axes = "" if selection.axes is not None else _default_axes(tuple(array.shape), ndim)
    if selection.channel is not None and axes.endswith("C"):
        _check_order(tuple(array.shape), selection.channel)
    return Source(array, axes), f"image of shape {tuple(array.shape)}"


def _check_colors(source: Source, axes: str, what: str) -> None:
    """Refuse to take the colors of a file for rows or columns of pixels."""
    for declared, letter, length in zip(source.axes, axes, source.values.shape):
        if declared == "C" and letter in "XY" and length in (3, 4):
            raise InputError(
                f"axes={axes!r} takes the {length} colors of {what} for {letter}, and the file has the axes "
                f"{source.axes!r}; leave axes out (--axes)"
            )


def _sizes_by_place(source: Source, axes: str) -> dict[str, float] | None:
    """Return the sizes that a file declares, each at its axis, which the caller calls by another letter."""
    if source.pixel_size is None:
        return None
    places = source.axes or "YX".rjust(len(axes), "?")
    left = {letter: size for letter, size in source.pixel_size.items() if letter not in places}
    moved = {
        new: source.pixel_size[old]
        for old, new in zip(places, axes)
        if old in source.pixel_size and new in "XYZ"
    }
    return {**left, **moved} or None


def as_channels(
    source: Any,
    *,
    ndim: int = 2,
    axes: str | None = None,
    spatial_shape: Sequence[int] | None = None,
    spatial_axes: str | None = None,
    selection: Selection = WHOLE,
) -> Image:
    """Convert an image whose channels may be of any number, keeping all of them.

    Overlays and tables need this: there no model says how many channels an image has.

    Parameters
    ----------
    source : str, path-like or array-like
        Anything that `as_image` takes. Never modified.
    ndim : {2, 3}
        Number of spatial axes.
    axes : str, optional
        Letter of each axis of the source. Default: what a file declares; for an array, the spatial axes and the
        channels, which come last or first, as `spatial_shape` says; without it they come first.
    spatial_shape : sequence of int, optional
        Lengths of the spatial axes, as labels have them.
    spatial_axes : str, optional
        Letters of the spatial axes in the order of the source, whatever a file declares, where `axes` does not say it.
    selection : Selection
        Which part of the source is the image; `axes` goes before its own.

    Returns
    -------
    Image
        All channels, or the selected one.

    Raises
    ------
    InputError
        As `as_image`.
    """
    named = axes is not None
    if axes is None and not isinstance(source, (str, os.PathLike)):
        source = opened(source, "image")
        axes = _axes_around(tuple(source.shape), ndim, spatial_shape)
    picture = open_picture(source, replace(selection, axes=axes), channels=1, ndim=ndim).alone()
    if picture.frame_axis:
        noun = _FRAMES[picture.frame_axis][0]
        raise InputError(
            f"{picture.what} holds {picture.frame_count} {noun}; expected one image; pass one of them"
        )
    found = applied(picture.source, picture.part)
    array = numeric(found.values, "image")
    letters = found.axes
    if spatial_axes is not None and not named:
        given = iter(spatial_axes)
        letters = "".join(letter if letter == "C" else next(given) for letter in letters)
    return Image(_as_float32(_channels_first(array, letters), array), letters, name=picture.name)


def _axes_around(shape: tuple[int, ...], ndim: int, spatial_shape: Sequence[int] | None) -> str:
    """Axes of an array whose channels come last where only this fits the spatial shape, else first."""
    if len(shape) not in (ndim, ndim + 1):
        raise InputError(
            f"image of shape {shape} has {len(shape)} axes; expected {ndim} ({SPATIAL[ndim]}) or {ndim + 1} "
            f"({SPATIAL[ndim]}C); pass one image, or its axes"
        )
    spatial = SPATIAL[ndim]
    if len(shape) == ndim:
        return spatial
    last = spatial_shape is not None and shape[:-1] == tuple(spatial_shape) != shape[1:]
    return f"{spatial}C" if last else f"C{spatial}"


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


def _check_order(shape: tuple[int, ...], channel: int | str) -> None:
    """Refuse to take the last axis as channels where it is long, and the first is short."""
    if shape[0] <= _FEW_CHANNELS < shape[-1]:
        raise InputError(
            f"channel={channel!r} of an image of shape {shape}: the last axis would hold {shape[-1]} channels; "
            "expected axes with channel=; if the first axis holds the channels, give axes='C...', such as axes='CYX'"
        )


# --- axes -------------------------------------------------------------------------------------------------


def _check_size(shape: tuple[int, ...], letters: str) -> None:
    if 0 in shape:
        raise InputError(f"image of shape {shape} is empty; expected at least one pixel along each axis")
    count = math.prod(length for length, letter in zip(shape, letters, strict=True) if letter not in "CT")
    # Before anything of a lazy array is loaded.
    if count > _MOST_PIXELS:
        raise InputError(
            f"image of shape {shape} has {count} pixels; expected at most {_MOST_PIXELS} at a time; segment "
            "it in parts, e.g. by Segmenter.segment_large"
        )


def _default_axes(shape: tuple[int, ...], ndim: int) -> str:
    spatial = SPATIAL[ndim]
    if len(shape) not in (ndim, ndim + 1):
        raise InputError(
            f"image of shape {shape} has {len(shape)} axes; expected {ndim} ({spatial}) or {ndim + 1} "
            f"({spatial}C) for a {ndim}D model; "
            + ("pass one image at a time" if ndim == 2 else "a single section is image[None]")
        )
    return spatial if len(shape) == ndim else spatial + "C"


def _check_axes(axes: str, shape: tuple[int, ...], ndim: int) -> None:
    spatial = SPATIAL[ndim]
    example = f"'{spatial}'" if len(shape) == ndim else f"'{spatial}C' or 'C{spatial}'"
    expected = (
        f"expected one letter per axis, each of {spatial} and at most one C and T, such as axes={example}"
    )
    if not isinstance(axes, str):
        raise InputError(f"axes={axes!r} is a {type(axes).__name__}; {expected}")
    if len(axes) != len(shape):
        raise InputError(
            f"axes='{axes}' names {len(axes)} axes of an image of {len(shape)} (shape {shape}); {expected}"
        )
    if unknown := sorted(set(axes) - set(LETTERS)):
        advice = "; use upper case" if set(axes.upper()) <= set(LETTERS) else ""
        raise InputError(f"axes='{axes}' has unknown letters {''.join(unknown)}; {expected}{advice}")
    if len(set(axes)) != len(axes):
        raise InputError(f"axes='{axes}' repeats a letter; {expected}")
    if not set(spatial) <= set(axes):
        raise InputError(f"axes='{axes}' does not fit a {ndim}D model; {expected}")


def _channels_first(array: npt.NDArray[Any], letters: str) -> npt.NDArray[Any]:
    spatial = SPATIAL[len(letters.replace("C", ""))]
    if "C" not in letters:
        return _channels_first(array[np.newaxis], "C" + letters)
    return np.transpose(array, [letters.index(letter) for letter in "C" + spatial])


# --- channels and values ----------------------------------------------------------------------------------


def _fit_channels(pixels: npt.NDArray[Any], channels: int, source: Source, what: str) -> npt.NDArray[Any]:
    count, has_alpha = len(pixels), source.has_alpha
    if count != channels and (has_alpha or (count, channels) == (4, 3)):
        logger.info("the image has %d channels; the last one, alpha, is dropped", count)
        if (pixels[-1] != pixels[-1].flat[0]).any():
            logger.warning(
                "%s is transparent in part; its colors are used as they are stored, without alpha", what
            )
        pixels = pixels[:-1]
    if (len(pixels), channels) == (1, 3):
        logger.warning(
            "%s is gray, and the model knows images of %d channels: look at the result before you use it",
            what,
            channels,
        )
        return np.broadcast_to(pixels, (channels, *pixels.shape[1:]))
    if channels == 1 and is_gray(pixels, has_alpha=has_alpha):
        logger.warning("%s has three equal channels: it is gray, and one of them is used", what)
        return pixels[:1]
    if len(pixels) != channels:
        coarse = pixels[(slice(None), *(slice(None, None, _COARSE),) * (pixels.ndim - 1))]
        ranges = np.array([np.ptp(one.astype(np.float64)) for one in coarse])
        likely = int(np.argmax(ranges >= ranges.max() / 4))  # the first that shows something
        raise wrong_channels(count, channels, source, tuple(pixels.shape), what, likely)
    return pixels


def is_gray(pixels: npt.NDArray[Any], *, has_alpha: bool = False) -> bool:
    """Tell whether the first of three channels, or of four of which the last is alpha, are equal everywhere."""
    if len(pixels) not in (3, 4) or (len(pixels) == 4 and has_alpha):
        return False
    return bool((pixels[0] == pixels[1]).all() and (pixels[0] == pixels[2]).all())


def wrong_channels(
    count: int, channels: int, source: Source, shape: Sequence[int], what: str, likely: int = 0
) -> InputError:
    """Return the error for channels that do not fit the model, with the choices that would; one is likely."""
    letters, choices, others = source.axes, [], []
    if channels in (1, 3) and count > 1:
        listed = listed_channels(count, channel_names(source))
        choices.append(
            f"choose one of the channels {listed}, the one with the stain, such as channel={likely} "
            f"(--channel {likely})"
        )
    if "C" in letters:
        lengths = dict(zip("C" + SPATIAL[len(letters) - 1], shape))
        others = _other_axes(letters, lengths, channels, declared=what.startswith("'"))
    file = f"{what}: " if what.startswith("'") else ""
    # Nobody stains as many things: such an axis is one of space.
    advice = [*choices, *others] if count <= _MOST_CHANNELS else [*others, *choices]
    return InputError(
        f"{file}image of {count} channel(s) (axes {letters}) for a model of {channels}; expected {channels}; "
        + ("; or, ".join(advice) or f"pass an array of {channels} channels")
    )


def _other_axes(letters: str, lengths: Mapping[str, int], channels: int, *, declared: bool) -> list[str]:
    """Tell which other axes would fit an image whose channels come first or last."""
    spatial = letters.replace("C", "")
    first = letters.startswith("C")
    # With the channels at the other end, each letter names the axis beside.
    moved = lengths[spatial[-1] if first else spatial[0]]
    advice = []
    if moved == channels:
        other = f"{spatial}C" if first else f"C{spatial}"
        advice.append(f"if another axis holds the channels, pass axes='{other}' (--axes {other})")
    if channels == 1 and not declared:
        advice.append(f"if the first axis holds time points, pass axes='T{spatial}'")
        if len(spatial) == len("YX"):
            advice.append("if it holds the sections of a stack, pass axes='ZYX', and z=0 for one of them")
    return advice


def _as_float32(pixels: npt.NDArray[Any], source: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    values = np.empty(pixels.shape, dtype=np.float32)
    # Values that do not convert are found below and refused; a warning would only come first.
    with np.errstate(all="ignore"):
        for target, channel in zip(values, pixels, strict=True):
            target[...] = channel
    if pixels.dtype.kind == "f" and not np.isfinite(values).all():
        raise not_finite(source, "image")
    if values.size and not np.can_cast(pixels.dtype, np.float32) and values.min() == values.max():
        least, most = pixels.min(), pixels.max()
        if least != most:
            raise InputError(
                f"image with values from {least} to {most}, which are all {values.min():g} in float32; expected values "
                "that differ there; subtract the smallest value, or multiply them, first"
            )
    return values
