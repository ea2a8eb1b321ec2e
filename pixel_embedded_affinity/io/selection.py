"""Which part of a file or an array is the image: its axes, channel, time point, series and pixel size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import (
    Check,
    Settings,
    as_integer,
    integer,
    optional,
    per_axis,
    pixel_length,
    setting,
    without_decimal_comma,
)
from pixel_embedded_affinity.io.readers.base import Source

SPATIAL = {2: "YX", 3: "ZYX"}
"""Letters of the spatial axes, by their number."""

LETTERS = "TCZYX"
"""Letters that a caller may give to axes: time, channel, and space."""

_UNNAMED = "QI"
"""How tifffile calls the pages of a file that does not name them."""

_FEW = 4  # channels that an axis without a name may hold

_COLORS = ("red", "green", "blue", "alpha")


def _channel() -> Check:
    def convert(value: Any, name: str) -> int | str:
        if isinstance(value, str):
            return value
        number = as_integer(value)
        if number < 0:
            raise TypeError
        return number

    def parse(given: str) -> int | str:
        return int(given) if given.isdecimal() else given

    return Check("the number of a channel, from 0, or its name", convert, parse)


def _letters() -> Check:
    # Letters are checked with the shape that they must fit.
    return Check("", lambda value, name: value)


@dataclass(frozen=True)
class Selection(Settings, section="", title="the selection"):
    """Which part of a file or an array is the image. Each verb and each command takes the same choices.

    Parameters
    ----------
    axes : str, optional
        A letter per axis: ``T`` time, ``C`` channel, ``Z Y X`` space, such as ``"YXC"`` or ``"TYX"``. Default: what a
        file declares; for an array, the spatial axes, then the channels if there is one more axis. A model of images
        takes the sections of a stack one by one if the axes say so, such as ``"ZYX"``.
    channel : int or str, optional
        The channel to take: its number, from 0, or its name, where the file has names (OME, ImageJ); the colors of a
        color image are ``"red"``, ``"green"`` and ``"blue"``. A number that is too large may be a name, such as a
        wavelength. Default: all.
    time : int, optional
        The time point to take, from 0. Default: all.
    series : int, optional
        The image to take of a file that holds several, from 0. Default: there must be one.
    pixel_size : float, str, or sequence of these, optional
        Size of a pixel in micrometers, or a length such as ``"0.2 mm"``: one, or one per spatial axis in the order
        ``YX`` or ``ZYX``. It replaces what the file declares.
    z : int, optional
        The section of a stack to take for a model of images, from 0. Default: there must be one.

    Raises
    ------
    InputError
        If a value is not valid.
    """

    axes: str | None = setting(
        None, _letters(), "A letter per axis: YX, YXC, CYX, TYX (default: what the file declares)."
    )
    channel: int | str | None = setting(
        None,
        optional(_channel()),
        "The channel to take: its number, from 0, or its name (default: all; a model of one channel needs one).",
    )
    time: int | None = setting(
        None, optional(integer(0)), "The time point to take, from 0 (default: all, frame by frame)."
    )
    series: int | None = setting(
        None,
        optional(integer(0)),
        "The image to take of a file that holds several, from 0; pea info FILE lists them.",
    )
    pixel_size: float | str | Sequence[float | str] | None = setting(
        None,
        without_decimal_comma(optional(per_axis(pixel_length()))),
        "Size of a pixel in micrometers, one number or one per axis (default: what the file declares).",
    )
    z: int | None = setting(
        None,
        optional(integer(0)),
        "The section of a stack to take for a model of images, from 0; --axes ZYX takes all, one by one.",
    )


WHOLE = Selection()
"""All that a file or an array holds."""


@dataclass(frozen=True)
class Part:
    """An index for each axis of a source, and the letters of the axes that remain.

    Attributes
    ----------
    index : tuple of int or slice
        A number along each axis that does not remain.
    axes : str
        The axes that remain.
    frame_axis : str
        The axis, if any, along which images are segmented one by one: T, or Z for the sections of a stack.
    """

    index: tuple[int | slice, ...]
    axes: str
    frame_axis: str = ""


def part_of(source: Source, selection: Selection, ndim: int, what: str) -> Part:
    """Decide which part of a source is the image, without reading it.

    A chosen channel and time point become an index, and axes of length 1 that no image has are dropped; where the
    caller names one axis of frames, it stays. What remains are the spatial axes, with or without channels and, if
    several time points remain, with time; or with the sections of a stack, where the caller's axes name them for a
    model of images.

    Parameters
    ----------
    source : Source
        Its axes are those that the file declares, or that the caller gave.
    selection : Selection
        The choices of the caller.
    ndim : {2, 3}
        Number of spatial axes.
    what : str
        How messages call the source.

    Raises
    ------
    InputError
        If a choice does not fit, or more axes remain; the message lists the choices.
    """
    shape, letters = tuple(source.values.shape), _renamed(source.axes, tuple(source.values.shape), ndim)
    chosen = _chosen(source, letters, shape, selection, what)
    if selection.z is not None and ndim == 3:
        raise InputError(f"z={selection.z} for a model of volumes, which takes all sections; leave it out")
    frame_letters = [letter for letter in _frame_letters(selection, ndim) if letter in letters]
    named = frame_letters if selection.axes is not None and len(frame_letters) == 1 else []
    known = [*SPATIAL[ndim], "C", *named]
    for letter, length in zip(letters, shape):
        if letter not in known and letter not in chosen and length == 1:
            chosen[letter] = 0
    index = tuple(chosen.get(letter, slice(None)) for letter in letters)
    remaining = "".join(letter for letter in letters if letter not in chosen)
    frame_axes = [letter for letter in frame_letters if letter in remaining]
    spatial = [letter for letter in remaining if letter not in ("C", *frame_axes)]
    if sorted(spatial) != sorted(SPATIAL[ndim]) or len(frame_axes) > 1:
        raise _not_one_image(letters, shape, ndim, what)
    return Part(index, remaining, "".join(frame_axes))


def _frame_letters(selection: Selection, ndim: int) -> str:
    """Axes along which images are segmented one by one; the sections of a stack only if the caller says so."""
    return "TZ" if ndim == 2 and "Z" in (selection.axes or "") else "T"


def applied(source: Source, part: Part) -> Source:
    """Return the part of a source; an index of a lazy array reads only the part."""
    if any(isinstance(entry, int) for entry in part.index):
        source = source._replace(values=source.values[part.index])
        kept_alpha = source.has_alpha and "C" in part.axes
        source = source._replace(has_alpha=kept_alpha)
    return source._replace(axes=part.axes)


def sizes_of(source: Source, selection: Selection, ndim: int) -> tuple[float, ...] | None:
    """Return the size of a pixel along each spatial axis in micrometers; None where it is not known along each.

    Raises
    ------
    InputError
        If the caller gave another number of sizes than the image has spatial axes.
    """
    # Lengths such as "0.2 mm" have become numbers.
    size = cast("float | Sequence[float] | None", selection.pixel_size)
    given = tuple(size) if isinstance(size, Sequence) else size
    if isinstance(given, tuple) and len(given) != ndim:
        raise InputError(
            f"pixel_size={given} has {len(given)} numbers; expected {ndim}, one for each of {SPATIAL[ndim]}, or one "
            "number for all"
        )
    if given is not None:
        return given if isinstance(given, tuple) else (given,) * ndim
    found = source.pixel_size or {}
    sizes = tuple(found[letter] for letter in SPATIAL[ndim] if letter in found)
    return sizes if len(sizes) == ndim else None


def _renamed(axes: str, shape: Sequence[int], ndim: int) -> str:
    """Call unnamed pages Z in 3D; a file of colors may also have a channel axis of length 1."""
    if "S" in axes:
        single = "C" in axes and shape[axes.index("C")] == 1
        axes = axes.replace("C", "K") if single else axes
        axes = axes if "C" in axes else axes.replace("S", "C")
    if ndim == 3 and "Z" not in axes:
        for letter in _UNNAMED:
            axes = axes.replace(letter, "Z")
    return axes


def _chosen(
    source: Source, letters: str, shape: Sequence[int], selection: Selection, what: str
) -> dict[str, int | slice]:
    chosen: dict[str, int | slice] = {}
    lengths = dict(zip(letters, shape))
    if selection.channel is not None:
        chosen["C"] = _channel_number(selection.channel, lengths.get("C", 1), channel_names(source), what)
    if selection.time is not None:
        chosen["T"] = _frame_number(selection.time, "time", "T", "time point", lengths, what)
    if selection.z is not None:
        chosen["Z"] = _frame_number(selection.z, "z", "Z", "section", lengths, what)
    return {letter: entry for letter, entry in chosen.items() if letter in lengths}


def _channel_number(channel: int | str, count: int, names: Sequence[str], what: str) -> int:
    names = list(names)
    listed = listed_channels(count, names)
    if isinstance(channel, str):
        matches = [number for number, name in enumerate(names) if name == channel]
        if len(matches) != 1:
            number = len(matches) or "no"
            found = f"{number} channel(s) of the name '{channel}'" if names else "no names of channels"
            raise InputError(
                f"{what} has {found}, for channel='{channel}'; expected one of {listed}; choose one of them"
            )
        return matches[0]
    if channel >= count and names.count(str(channel)) == 1:
        return names.index(str(channel))  # such as a wavelength
    if channel >= count:
        raise InputError(
            f"channel={channel} of {what}, which has {count} channel(s); expected one of {listed}; choose one of them"
        )
    return channel


def channel_names(source: Source) -> Sequence[str]:
    """Return the names that the file gives its channels, or those of the colors, which come last; else none."""
    count = source.values.shape[-1]
    colored = source.axes[-1:] in ("S", "C") and count - source.has_alpha == 3
    return source.channels or (_COLORS[:count] if colored else ())


def listed_channels(count: int, names: Sequence[str]) -> str:
    """Return the choices of a channel as text, such as ``0 ('DAPI'), 1 ('GFP')``."""
    if len(names) == count:
        return ", ".join(f"{number} ('{name}')" if name else str(number) for number, name in enumerate(names))
    return "0" if count == 1 else f"0 to {count - 1}"


def _frame_number(number: int, name: str, letter: str, noun: str, lengths: dict[str, int], what: str) -> int:
    count = lengths.get(letter, 1)
    if number >= count:
        raise InputError(
            f"{name}={number} of {what}, which has {count} {noun}(s) (axes {''.join(lengths)}); expected 0 to "
            f"{count - 1}; choose one of them, or name the axis of {noun}s {letter} by axes="
        )
    return number


def _not_one_image(letters: str, shape: Sequence[int], ndim: int, what: str) -> InputError:
    spatial = SPATIAL[ndim]
    return InputError(
        f"{what} holds axes {letters} of shape {tuple(shape)}; expected one {ndim}D image ({spatial}, with or without "
        f"channels C and time T); {_advice(letters, shape, ndim)}"
    )


def _advice(letters: str, shape: Sequence[int], ndim: int) -> str:
    """Tell which other letters would make an image of these axes; each of them works if it is followed."""
    extra = [letter for letter in letters if letter not in SPATIAL[ndim] + "CT"]
    if ndim == 2 and "Z" in letters and set(letters) <= set(LETTERS):
        return _advice_of_stack(letters, dict(zip(letters, shape)))
    lacking = set(SPATIAL[ndim]) - set(letters)
    if ndim == 3 and lacking == {"Z"}:
        return _advice_of_section(letters, dict(zip(letters, shape)))
    if len(extra) != 1 or lacking or "T" in letters:
        return "save the wanted part as its own file"
    channels_last = f"{letters.replace(extra[0], '')}C"
    if ndim == 2 and letters.startswith(extra[0]) and shape[-1] <= _FEW < min(shape[:-1]):
        return (
            f"give axes='{channels_last}' with channel=0 (--axes {channels_last} --channel 0), since the last axis is "
            "short, as one of channels is"
        )
    frames = letters.replace(extra[0], "T")
    text = f"give axes='{frames}' (--axes {frames}) to segment each plane along {extra[0]} on its own, with "
    text += "time=0 (--time 0) for one plane"
    if "C" not in letters:
        channels = letters.replace(extra[0], "C")
        text += f", or axes='{channels}' with channel=0 (--axes {channels} --channel 0) if they are channels"
    return text


def _advice_of_section(letters: str, lengths: dict[str, int]) -> str:
    """Tell how a model of volumes takes images without a Z axis."""
    if lengths.get("T", 1) > 1:
        volume = letters.replace("T", "Z")
        return f"if its time points are the sections, give axes='{volume}' (--axes {volume})"
    return (
        "if the images of a folder are the sections of one volume, give the folder (with --sections in a shell), or "
        "save them as one TIFF stack, which every command takes"
    )


def _advice_of_stack(letters: str, lengths: dict[str, int]) -> str:
    """Tell how a model of images takes a stack; of several time points, one of the two is to be chosen."""
    one = "choose a section by z=0 (--z 0)"
    if lengths.get("T", 1) > 1:
        return f"{one}, or a time point by time=0 (--time 0) with axes='{letters}' (--axes {letters})"
    return f"{one}, or give axes='{letters}' (--axes {letters}) to segment each section on its own"
