"""JPEG, by Pillow."""

from __future__ import annotations

from pathlib import Path

from pixel_embedded_affinity.io.readers.base import Source
from pixel_embedded_affinity.io.readers.pictures import read_picture


class Jpeg:
    """Reader of JPEG: upright as its EXIF orientation says."""

    suffixes = (".jpg", ".jpeg")
    signatures = (b"\xff\xd8\xff",)

    def read(self, path: Path) -> Source:
        """Read the colors that the file shows."""
        return read_picture(path, "JPEG")
