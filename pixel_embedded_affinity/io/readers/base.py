"""Readers of image files: the protocol and the registry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.registry import Registry


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
    """

    name: str
    source: Source
    levels: int = 1


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


class NotRead(NamedTuple):
    """Shape and type of values that are not read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


READERS: Registry[Reader] = Registry(
    "reader",
    "pixel_embedded_affinity.io.readers",
    helpers=("base", "pictures", "calibration"),
    group="pixel_embedded_affinity.readers",
)
