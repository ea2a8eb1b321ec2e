"""Readers of image files: the protocol and the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.registry import Registry

_SHOWN = 8


class Source(NamedTuple):
    """Stored values, lazy or not, and what a file declares about them.

    Attributes
    ----------
    values : array-like
        The values as they are stored.
    axes : str
        A letter per axis: T time, C or S channel, Z Y X space, Q or I unnamed pages; others as tifffile has them.
    has_alpha : bool
        Whether the last channel is alpha.
    channels : tuple of str
        Names of the channels; empty if there are none.
    pixel_size : mapping of str to float, optional
        Size of a pixel in micrometers by the letter of the axis.
    white : int, optional
        The value that shows as black, where the file says that white is zero: what it shows is `white` minus `values`.
    colors : numpy.ndarray, optional
        Color table ``(n, 3)``, where `values` are indices of it.
    """

    values: Any
    axes: str
    has_alpha: bool = False
    channels: tuple[str, ...] = ()
    pixel_size: Mapping[str, float] | None = None
    white: int | None = None
    colors: npt.NDArray[Any] | None = None


class Series(NamedTuple):
    """One of the images of a file: what ``pea info FILE`` shows of it.

    Attributes
    ----------
    name : str
        Its name, or an empty string.
    source : Source
        Its declarations; the values are not read.
    levels : int
        Number of resolutions that are stored; the finest one is used.
    is_copy : bool
        Whether the file says that it is a smaller copy of another of its images.
    """

    name: str
    source: Source
    levels: int = 1
    is_copy: bool = False


class Reader(Protocol):
    """A format of image files. The class need not inherit anything, and takes no arguments.

    Attributes
    ----------
    suffixes : tuple of str
        Endings of file names, in lower case, with the dot.
    signatures : tuple of bytes
        The content starts with one of them; empty for a format without signatures.
    """

    suffixes: ClassVar[tuple[str, ...]]
    signatures: ClassVar[tuple[bytes, ...]]

    def read(self, path: Path) -> Source:
        """Read a file; raise `InputError` for a file that cannot be used. Any other error means a damaged file."""
        ...


@runtime_checkable
class SeriesReader(Protocol):
    """What the reader of a format has, too, if a file may hold several images, or may be read in parts."""

    def read_series(self, path: Path, series: int | None, *, lazily: bool) -> Source:
        """Read one image of a file; with `lazily`, its values are read when they are indexed."""
        ...

    def list_series(self, path: Path) -> list[Series]:
        """List the images of a file without reading their values."""
        ...


@runtime_checkable
class OptionalReader(Protocol):
    """What the reader of a format has, too, if packages read it that need not be installed."""

    suffixes: ClassVar[tuple[str, ...]]

    def lacks(self, suffix: str) -> str | None:
        """Tell how to install what reads files of one of its `suffixes`; None if it is installed."""
        ...


class NotRead(NamedTuple):
    """Shape and type of values that are not read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def chosen_series(
    every: Sequence[Series], number: int | None, path: Path, *, advice: str = ""
) -> tuple[int, Series]:
    """Return the number and the image that the caller chose, or the only one.

    Raises
    ------
    InputError
        If there is none of this number, or there are several to choose from; `advice` ends the message.
    """
    if number is None and len(every) != 1:
        raise InputError(
            f"'{path}' holds {len(every)} separate images: {_listed(every)}; expected one; choose one by its "
            f"number, such as series=0 (--series 0){advice}; pea segment --all-series takes each of them"
        )
    if number is not None and number >= len(every):
        raise InputError(
            f"'{path}' has no series {number}; expected one of {_listed(every)}; choose one of them"
        )
    return number or 0, every[number or 0]


def _listed(every: Sequence[Series]) -> str:
    texts = [
        f"{n} ({f'axes {one.source.axes}, ' if one.source.axes else ''}shape {one.source.values.shape}"
        f"{f', {one.name!r}' if one.name else ''})"
        for n, one in enumerate(every[:_SHOWN])
    ]
    return ", ".join(texts) + (f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else "")


READERS: Registry[Reader] = Registry(
    "reader",
    "pixel_embedded_affinity.io.readers",
    helpers=("base", "pictures", "calibration"),
    group="pixel_embedded_affinity.readers",
)
