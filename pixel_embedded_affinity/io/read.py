"""Read image files: the values that they store, the axes that they declare."""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import (
    InputError,
    NotEnoughMemoryError,
    PixelEmbeddedAffinityError,
    one_line,
)
from pixel_embedded_affinity.io.marks import is_marked
from pixel_embedded_affinity.io.readers.base import READERS, OptionalReader, Reader, Series, SeriesReader
from pixel_embedded_affinity.io.readers.base import Source as Source
from pixel_embedded_affinity.io.readers.hdf5 import file_and_dataset
from pixel_embedded_affinity.io.readers.zarr import Zarr

logger = logging.getLogger(__name__)

_LONGEST_SIGNATURE = 64
_OF_THE_SYSTEM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE)
"""What keeps an intact file from being read, and may have passed the next time."""

_NUMBERS = re.compile(r"(\d+)")


def image_suffixes() -> tuple[str, ...]:
    """Return the file name endings that `read_image` accepts, in small or capital letters.

    Endings that need a package that is not installed are not among them, see `lacking`.
    """
    without = lacking()
    return tuple(
        suffix for _, reader in READERS.every() for suffix in reader.suffixes if suffix not in without
    )


def lacking() -> dict[str, str]:
    """Return the endings that need a package that is not installed, and for each how to install it."""
    readers = [reader for _, reader in READERS.every()]
    commands = {
        suffix: reader.lacks(suffix)
        for reader in readers
        if isinstance(reader, OptionalReader)
        for suffix in reader.suffixes
    }
    return {suffix: command for suffix, command in commands.items() if command is not None}


def read_image(path: str | os.PathLike[str], *, series: int | None = None) -> npt.NDArray[Any]:
    """Read an image file: TIFF, PNG, JPEG, zarr, CZI, ND2, LIF, or a format of another package.

    Values come as the file stores them, except that

    - a palette image gives the RGB colors that it shows, not its indices, unless the palette is the lookup table of
      ImageJ, or keeps the order of the values: then these are intensities; the log says so;
    - a TIFF in which white is zero is inverted, so that it looks as in every viewer; the log says so;
    - the EXIF orientation of a PNG or JPEG is applied, so that the image is upright; the log says so.

    The orientation tag of a TIFF is ignored; the log says so. Of several resolutions, the finest is read. tifffile
    decodes some compressions only with the package ``imagecodecs`` (LZW, JPEG); without it, Pillow reads such files if
    the values come out the same.

    Parameters
    ----------
    path : str or path-like
        A file ending in one of `image_suffixes()`; its content must have the format that the ending says. Or the
        folder of a zarr array or an OME-Zarr image.
    series : int, optional
        The image to read of a file that holds several, from 0. Default: there must be one.

    Returns
    -------
    numpy.ndarray
        The values; shape ``(Y, X)`` for gray, ``(Y, X, C)`` for color, all pages and axes for a TIFF.

    Raises
    ------
    InputError
        If the file is missing, a folder, empty, damaged, of another format than its name says, or holds several
        unrelated images, or if its values cannot be read without loss (16-bit color PNG) or have no agreed meaning
        (CMYK).
    MissingDependencyError
        If a TIFF needs ``imagecodecs``, a zarr array ``zarr``, or a file of a microscope the extra ``bioio``, which is
        not installed.
    """
    return _loaded(read_source(Path(path), series=series).values)


def is_image_folder(path: str | os.PathLike[str]) -> bool:
    """Tell whether a folder is an image itself, as an OME-Zarr is, and no folder of images."""
    return os.path.isdir(path) and Zarr.holds(Path(path))


def read_stored(path: Path) -> npt.NDArray[Any]:
    """Read the stored values of a file, whatever it shows: label images may have a palette; see `read_image`."""
    return _loaded(stored_source(path).values)


def stored_source(path: Path, *, lazily: bool = False) -> Source:
    """Read a file as `read_source` does, with the values that are stored, whatever they show."""
    return _read(path, None, lazily=lazily)


def read_source(
    path: Path, *, series: int | None = None, lazily: bool = False, sections: bool = False
) -> Source:
    """Read a file with what it declares; with `lazily`, values are read when they are indexed; see `read_image`.

    With `sections`, a folder that is no image itself holds the sections of a volume.
    """
    if sections and is_sections_folder(path):
        return _sections_of(path, series)
    return _shown(_read(path, series, lazily=lazily), path)


def is_content(source: Any) -> bool:
    """Whether something is the content of a file: bytes, or an open file, such as an upload."""
    return isinstance(source, (bytes, bytearray, memoryview)) or (
        hasattr(source, "read") and not hasattr(source, "shape")
    )


def content_source(source: Any, series: int | None) -> Source:
    """Read the content of a file, whose first bytes say the format.

    Raises
    ------
    InputError
        If it holds no bytes, or no image that can be read.
    """
    content = _read_whole(source) if hasattr(source, "read") else bytes(source)
    if not isinstance(content, bytes):
        raise InputError(f"the file gives {type(content).__name__}; expected bytes; open it in mode 'rb'")
    known = [reader for _, reader in READERS.every() if reader.signatures]
    found = next((reader for reader in known if content.startswith(reader.signatures)), None)
    if found is None:
        raise InputError(
            f"the {len(content)} bytes begin as no image that is read from memory; expected a TIFF, PNG, JPEG or HDF5, "
            "from its first byte (file.seek(0)); of other formats, pass the path of a file, or the pixels as an array"
        )
    with TemporaryDirectory(prefix="image-") as folder:
        path = Path(folder) / f"image{found.suffixes[0]}"
        path.write_bytes(content)
        try:
            return read_source(path, series=series)
        except InputError as error:
            raise InputError(str(error).replace(f"'{path}'", "the given file")) from error


def _read_whole(source: Any) -> Any:
    """Read an open file; one that is closed, or open for writing only, is refused."""
    try:
        return source.read()
    except ValueError as error:  # io.UnsupportedOperation is one, too
        raise InputError(
            f"the file cannot be read ({error}); pass it while it is open, in mode 'rb'"
        ) from error


def is_sections_folder(path: Path) -> bool:
    """Tell whether a path is a folder that may hold the sections of a volume: one that is no image itself."""
    return os.path.isdir(path) and not is_image_folder(path)


def section_files(folder: Path) -> list[Path]:
    """Return the images of a folder in the order of the numbers in their names, without files of the library.

    Raises
    ------
    InputError
        If there is none.
    """
    suffixes = image_suffixes()
    files = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and not is_marked(path)
    ]
    if not files:
        raise InputError(
            f"'{folder}' holds no image; expected the sections of a volume, files ending in {', '.join(suffixes)}"
        )
    return sorted(files, key=in_order)


def in_order(path: Path) -> tuple[list[list[str | int]], str]:
    """Return a key by which paths are sorted as a person counts: ``day2`` comes before ``day10``."""
    names = (_NUMBERS.split(name) for name in path.parts)
    return [[int(part) if part.isdecimal() else part for part in parts] for parts in names], str(path)


def _sections_of(folder: Path, series: int | None) -> Source:
    """Open the images of a folder as the sections of one volume."""
    if series:
        raise InputError(
            f"'{folder}' has no series {series}: it holds the sections of one volume; leave it out"
        )
    files = section_files(folder)
    first = read_source(files[0])
    if len(first.values.shape) != 2:
        raise InputError(
            f"'{files[0]}' has shape {tuple(first.values.shape)}; expected gray sections (Y, X) in the folder of a "
            "volume"
        )
    sizes = {axis: size for axis, size in (first.pixel_size or {}).items() if axis in "YX"}
    return Source(Sections(files, first.values.shape, first.values.dtype), "ZYX", pixel_size=sizes or None)


class Sections:
    """A volume of which each section is a file, which is read when it is indexed."""

    def __init__(self, files: Sequence[Path], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.files, self.dtype = files, dtype
        self.shape = (len(files), *shape)

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        places = np.arange(len(self.files))
        if index is Ellipsis:
            return self._stacked(places, (Ellipsis,))
        along, *rest = index if isinstance(index, tuple) else (index,)
        chosen = places[along]
        if chosen.ndim == 0:
            return self._section(int(chosen), tuple(rest))
        return self._stacked(chosen, tuple(rest))

    def _stacked(self, places: npt.NDArray[np.intp], rest: tuple[Any, ...]) -> npt.NDArray[Any]:
        if not places.size:
            return np.empty((0, *np.empty(self.shape[1:], self.dtype)[rest].shape), self.dtype)
        return np.stack([self._section(int(place), rest) for place in places])

    def _section(self, place: int, part: Any) -> npt.NDArray[Any]:
        """Read a part of a section; of an uncompressed TIFF, the rest is not read."""
        values = read_source(self.files[place], lazily=True).values
        if (values.shape, values.dtype) != (self.shape[1:], self.dtype):
            raise InputError(
                f"'{self.files[place]}' has shape {values.shape} and type {values.dtype}; expected "
                f"{self.shape[1:]} and {self.dtype}, as the first section"
            )
        return np.asarray(values[part])


def list_series(path: Path, *, sections: bool = False) -> list[Series]:
    """List the images of a file, without reading the values where the format allows; errors as `read_image`.

    With `sections`, a folder that is no image itself is one volume.
    """
    if sections and is_sections_folder(path):
        return [Series("", read_source(path, sections=True))]
    name, reader = _found_reader(path)
    with _reading(path, name):
        if isinstance(reader, SeriesReader):
            return reader.list_series(path)
        return [Series("", reader.read(path))]


def _loaded(values: Any) -> npt.NDArray[Any]:
    return values if isinstance(values, np.ndarray) else np.asarray(values[...])


def _read(path: Path, series: int | None, *, lazily: bool) -> Source:
    name, reader = _found_reader(path)
    with _reading(path, name):
        if isinstance(reader, SeriesReader):
            return reader.read_series(path, series, lazily=lazily)
        if series:
            raise InputError(
                f"'{path}' has no series {series}: a {name.upper()} file holds one image; expected 0, or no series"
            )
        return reader.read(path)


@contextmanager
def _reading(path: Path, name: str) -> Iterator[None]:
    """Turn any error of a decoder into one that says that the file may be damaged."""
    try:
        yield
    except PixelEmbeddedAffinityError:
        raise
    except MemoryError as error:
        raise NotEnoughMemoryError(
            f"'{path}' cannot be read, since memory ran out ({one_line(error)}); expected more free memory, or an "
            f"intact {name.upper()} file: a damaged one may claim any size"
        ) from error
    # A damaged file makes a decoder raise nearly anything, such as struct.error.
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM:
            raise
        raise InputError(
            f"'{path}' cannot be read ({type(error).__name__}: {one_line(error)}); expected an intact "
            f"{name.upper()} file; it may be damaged or cut short, so copy or export it again"
        ) from error


def _found_reader(path: Path) -> tuple[str, Reader]:
    """Return the reader of a file that exists and whose content is what its name says."""
    # These two answer False, and do not raise, if a name is too long or holds a null.
    if os.path.isdir(path):
        if not is_image_folder(path):
            raise InputError(f"'{path}' is a folder; use segment_many on the files in it, or pea segment")
        return "zarr", READERS.build("zarr")
    file, _ = file_and_dataset(path)
    if not os.path.exists(file):
        raise InputError(f"'{file}' does not exist; expected an image file; check the path")
    name, reader = _reader_of(file)
    with _reading(path, name):
        _check_signature(file, name, reader)
    return name, reader


def _shown(source: Source, path: Path) -> Source:
    """Return what a file shows: colors for indices of a palette, and white where it says that white is zero."""
    if source.colors is not None:
        logger.info("'%s' is a palette image; its RGB colors are used, without transparency", path)
        colors = source.colors[_loaded(source.values)]
        return source._replace(values=colors, axes=f"{source.axes}C", colors=None)
    if source.white is None:
        return source
    logger.warning("'%s' says that white is zero; it is inverted, so that it looks as in every viewer", path)
    lazy = Inverted(source.values, source.white)
    values = (
        lazy
        if not isinstance(source.values, np.ndarray) or isinstance(source.values, np.memmap)
        else lazy[...]
    )
    return source._replace(values=values, white=None)


class Inverted:
    """Values of a file in which white is zero, as it shows them; they are inverted when they are indexed."""

    def __init__(self, values: Any, white: int) -> None:
        self.values, self.white = values, white
        self.shape, self.dtype = values.shape, values.dtype

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        stored = np.asarray(self.values[index])
        return ~stored if stored.dtype == bool else np.asarray(stored.dtype.type(self.white) - stored)


def _reader_of(path: Path) -> tuple[str, Reader]:
    suffix = path.suffix.lower()
    for name, reader in READERS.every():
        if suffix in reader.suffixes:
            return name, reader
    raise InputError(
        f"'{path}' ends in '{path.suffix}'; expected one of {', '.join(image_suffixes())}; save the "
        "image as TIFF"
    )


def _check_signature(path: Path, name: str, reader: Reader) -> None:
    with path.open("rb") as file:
        head = file.read(_LONGEST_SIGNATURE)
    if not head:
        raise InputError(f"'{path}' is empty (0 bytes); copy it again")
    if not reader.signatures or head.startswith(reader.signatures):
        return
    others = (other.upper() for other, kind in READERS.every() if head.startswith(kind.signatures))
    raise InputError(
        f"'{path}' is named as {name.upper()} but its content is {next(others, 'another format')}; expected "
        f"{name.upper()}; give the file its right ending"
    )
