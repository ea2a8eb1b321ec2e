"""Read image files: the values that they store, the axes that they declare."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError, PixelEmbeddedAffinityError, one_line
from pixel_embedded_affinity.io.readers.base import READERS, Reader
from pixel_embedded_affinity.io.readers.base import Source as Source

_LONGEST_SIGNATURE = 64


def image_suffixes() -> tuple[str, ...]:
    """Return the file name endings that `read_image` accepts, in small or capital letters."""
    return tuple(suffix for _, reader in READERS.every() for suffix in reader.suffixes)


def read_image(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Read an image file: TIFF, PNG, JPEG, or a format of another package.

    Values come as the file stores them, except that

    - a palette PNG gives the RGB colors that it shows, not its indices;
    - the EXIF orientation of a PNG or JPEG is applied, so that the image is upright; the log says so.

    A TIFF gives its stored values whatever its display settings: a color table, "white is zero" and the
    orientation tag are ignored; the log says so. tifffile decodes some compressions only with the package
    ``imagecodecs`` (LZW, JPEG); without it, Pillow reads such files if the values come out the same.

    Parameters
    ----------
    path : str or path-like
        A file ending in one of `image_suffixes()`; its content must have the format that the ending says.

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
        If a TIFF needs ``imagecodecs``, which is not installed.
    """
    values: npt.NDArray[Any] = read_source(Path(path)).values
    return values


def read_source(path: Path) -> Source:
    """Read a file with the axes that it declares; see `read_image`."""
    # These two answer False, and do not raise, if a name is too long or holds a null.
    if os.path.isdir(path):
        raise InputError(f"'{path}' is a folder; use segment_many on the files in it, or pea segment")
    name, reader = _reader_of(path)
    if not os.path.exists(path):
        raise InputError(f"'{path}' does not exist; expected an image file; check the path")
    try:
        _check_signature(path, name, reader)
        return reader.read(path)
    except PixelEmbeddedAffinityError:
        raise
    # A damaged file makes a decoder raise nearly anything, from struct.error to MemoryError.
    except Exception as error:
        raise InputError(
            f"'{path}' cannot be read ({type(error).__name__}: {one_line(error)}); expected an intact "
            f"{name.upper()} file; it may be damaged or cut short, so copy or export it again"
        ) from error


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
