"""PNG, by Pillow."""

from __future__ import annotations

from pathlib import Path

from pixel_embedded_affinity.io.readers.base import Source
from pixel_embedded_affinity.io.readers.pictures import read_picture


class Png:
    """Reader of PNG: upright as its EXIF orientation says."""

    suffixes = (".png",)
    signatures = (b"\x89PNG",)

    def read(self, path: Path) -> Source:
        """Read the colors that the file shows."""
        return read_picture(path, "PNG")
