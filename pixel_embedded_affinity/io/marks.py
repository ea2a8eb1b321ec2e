"""The mark in the files that the library writes, so that results are not taken for images."""

from __future__ import annotations

import json
import logging
from pathlib import Path

logger = logging.getLogger(__name__)

MARK = "pixel_embedded_affinity"
"""What a TIFF or PNG of the library names as the software that wrote it."""

PNG_KEY = "Software"
"""Keyword of the mark in a PNG."""

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG = b"\x89PNG"


def is_marked(path: Path) -> bool:
    """Tell whether a file holds the mark, whatever its name; False for a file that cannot be read.

    A zarr array or group, which is a folder, has it among its attributes.
    """
    try:
        return _software(path) == MARK
    # A damaged file makes a decoder raise nearly anything; whoever reads it as an image reports it.
    except Exception:
        logger.debug("'%s' was not searched for a mark", path, exc_info=True)
        return False


def _software(path: Path) -> object:
    if path.is_dir():
        attributes = path / ".zattrs"  # of zarr 2
        if attributes.is_file():
            return json.loads(attributes.read_bytes()).get("software")
        return json.loads((path / "zarr.json").read_bytes())["attributes"].get("software")
    with path.open("rb") as file:
        head = file.read(4)
    if head in _TIFF:
        return _tiff_software(path)
    return _png_software(path) if head == _PNG else None


def _tiff_software(path: Path) -> object:
    import tifffile

    with tifffile.TiffFile(path) as file:
        return file.pages.first.software


def _png_software(path: Path) -> object:
    from PIL import Image

    with Image.open(path, formats=["PNG"]) as picture:
        return picture.info.get(PNG_KEY)
