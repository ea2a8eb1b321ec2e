"""Read pictures by Pillow, without loss or not at all."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError, one_line
from pixel_embedded_affinity.io.readers.base import Source

logger = logging.getLogger(__name__)

_AXES_OF_MODE = {
    **dict.fromkeys(("1", "L", "I", "I;16", "I;16B", "F"), "YX"),
    **dict.fromkeys(("LA", "RGB", "RGBA"), "YXC"),
}
_EXIF_ORIENTATION = 0x0112


def read_picture(path: Path, kind: str) -> Source:
    """Read a file of one of Pillow's formats.

    Raises
    ------
    InputError
        If it holds several pictures, more pixels than Pillow opens, or values that cannot be read without loss or have
        no agreed meaning.
    """
    from PIL import Image as PillowImage

    try:
        opened = PillowImage.open(path, formats=[kind])
    except (PillowImage.DecompressionBombError, PillowImage.DecompressionBombWarning) as error:
        raise InputError(
            f"'{path}' has more pixels than Pillow opens ({one_line(error)}); store it as TIFF, or set "
            "PIL.Image.MAX_IMAGE_PIXELS to None if you trust the file"
        ) from error
    with opened as stored:
        _check_frames(stored, path)
        _check_depth(stored, path)
        picture = _upright(stored, path)
        if picture.mode == "P":
            return Source(np.array(picture), "YX", colors=_color_table(picture))
        if picture.mode not in _AXES_OF_MODE:
            raise InputError(
                f"'{path}' has colors of type {picture.mode}; expected gray or RGB; convert it to RGB"
            )
        values = np.array(picture)
        # Older Pillow (10) gives 16-bit gray as 32-bit integers; a PNG holds no wider ones.
        if kind == "PNG" and picture.mode == "I":
            values = values.astype(np.uint16)
        return Source(values, _AXES_OF_MODE[picture.mode], picture.mode in ("LA", "RGBA"))


def _check_frames(picture: Any, path: Path) -> None:
    count = getattr(picture, "n_frames", 1)
    # Cameras append previews to a JPEG (format "MPO"); its first picture is the main one.
    if count > 1 and picture.format == "MPO":
        logger.info("'%s' holds %d pictures; the first one, the main one, is used", path, count)
    elif count > 1:
        raise InputError(f"'{path}' holds {count} pictures; expected one; save each as its own file")


def _check_depth(picture: Any, path: Path) -> None:
    """Refuse 16-bit color, whose lower eight bits Pillow would drop without a word."""
    raw_mode = str(picture.tile[0][3]) if picture.tile else ""
    if ";16" in raw_mode and not picture.mode.startswith("I"):
        raise InputError(
            f"'{path}' is a {picture.format} with 16-bit colors, which would lose half of its bits; "
            "expected 8-bit colors or 16-bit gray; save it as TIFF"
        )


def _upright(picture: Any, path: Path) -> Any:
    from PIL import ImageOps

    orientation = picture.getexif().get(_EXIF_ORIENTATION, 1)
    if picture.format == "TIFF" or orientation == 1:
        return picture
    logger.info("'%s' has EXIF orientation %d, which is applied", path, orientation)
    return ImageOps.exif_transpose(picture)


def _color_table(picture: Any) -> npt.NDArray[np.uint8]:
    """The colors of a palette image, without transparency, black where the palette has no entry."""
    table = np.zeros((256, 3), np.uint8)
    entries = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
    table[: len(entries)] = entries
    return table
