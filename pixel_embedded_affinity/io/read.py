"""Files of images: the values that they store, the axes that they declare."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import (
    InputError,
    MissingDependencyError,
    PixelEmbeddedAffinityError,
    one_line,
)

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES: tuple[str, ...] = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
"""File name endings that `read_image` accepts, in small or capital letters."""

_FORMAT_OF_SUFFIX = {".tif": "TIFF", ".tiff": "TIFF", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_SIGNATURES = {
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
}
_AXES_OF_MODE = {
    "1": "YX",
    "L": "YX",
    "I": "YX",
    "I;16": "YX",
    "I;16B": "YX",
    "F": "YX",
    "LA": "YXC",
    "RGB": "YXC",
    "RGBA": "YXC",
}
_EXIF_ORIENTATION = 0x0112


class Source(NamedTuple):
    """Raw values (lazy or not), the axes that a file declares, and whether its last channel is alpha."""

    values: Any
    axes: str
    has_alpha: bool


def read_image(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Read an image file: TIFF, PNG or JPEG.

    Values come as they are stored, except that

    - a palette PNG gives the RGB colors that it shows, not its indices;
    - the EXIF orientation of a PNG or JPEG is applied, so that the image is upright; this is logged.

    A TIFF gives its stored values whatever its display settings: a color table, "white is zero" and the
    orientation tag are not applied; this is logged. TIFF compressions that tifffile decodes only with the
    package ``imagecodecs`` (LZW, JPEG) are read by Pillow where the values come out the same.

    Parameters
    ----------
    path : str or path-like
        A file ending in one of `IMAGE_SUFFIXES`; its content must be of the format that the ending says.

    Returns
    -------
    numpy.ndarray
        The values; shape ``(Y, X)`` for gray, ``(Y, X, C)`` for color, all pages and axes for a TIFF.

    Raises
    ------
    InputError
        If the file is missing, a folder, empty, damaged, of another format than its name says, holds several
        unrelated images, or has values that cannot be read without loss (16-bit color PNG) or have no
        agreed meaning (CMYK).
    MissingDependencyError
        If a TIFF needs ``imagecodecs``, which is not installed.
    """
    values: npt.NDArray[Any] = read_source(Path(path)).values
    return values


def read_source(path: Path) -> Source:
    """Read a file with the axes that it declares; see `read_image`."""
    # These two answer False, and do not raise, where a name is too long or holds a null.
    if os.path.isdir(path):
        raise InputError(f"'{path}' is a folder; use segment_many on the files in it, or pea segment")
    kind = _format_of_name(path)
    if not os.path.exists(path):
        raise InputError(f"'{path}' does not exist; expected an image file; check the path")
    try:
        _check_signature(path, kind)
        return _read_tiff(path) if kind == "TIFF" else _read_picture(path, kind)
    except PixelEmbeddedAffinityError:
        raise
    # A damaged file makes a decoder raise nearly anything, from struct.error to MemoryError.
    except Exception as error:
        raise InputError(
            f"'{path}' cannot be read ({type(error).__name__}: {one_line(error)}); expected an intact "
            f"{kind} file; it may be damaged or cut short, so copy or export it again"
        ) from error


def _format_of_name(path: Path) -> str:
    kind = _FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if kind is None:
        raise InputError(
            f"'{path}' ends in '{path.suffix}'; expected one of {', '.join(IMAGE_SUFFIXES)}; save the "
            "image as TIFF"
        )
    return kind


def _check_signature(path: Path, kind: str) -> None:
    with path.open("rb") as file:
        head = file.read(4)
    if not head:
        raise InputError(f"'{path}' is empty (0 bytes); copy it again")
    found = next((name for magic, name in _SIGNATURES.items() if head.startswith(magic)), "another format")
    if found != kind:
        raise InputError(
            f"'{path}' is named as {kind} but its content is {found}; expected {kind}; give the file its "
            "right ending"
        )


def _read_tiff(path: Path) -> Source:
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = _only_series(file, path)
        page = series.keyframe
        _check_complete(series, path)
        _check_photometric(page, path)
        try:
            values = series.asarray()
        # The codec package is optional in tifffile, which names it in errors of several classes.
        except (KeyError, ValueError) as error:
            if "imagecodecs" not in str(error):
                raise
            return _read_compressed_tiff(path, page, len(series.pages))
        has_alpha = bool(page.extrasamples) and page.extrasamples[-1].name in ("ASSOCALPHA", "UNASSALPHA")
        return Source(values, series.axes.replace("S", "C"), has_alpha)


def _only_series(file: Any, path: Path) -> Any:
    # Counting ends at a page that leads back to an earlier one; listing the images first would never end.
    logger.debug("'%s' has %d page(s)", path, len(file.pages))
    if len(file.series) != 1:
        shapes = ", ".join(str(series.shape) for series in file.series)
        raise InputError(
            f"'{path}' holds {len(file.series)} separate images (shapes {shapes}); expected one; save each "
            "as its own file"
        )
    return file.series[0]


def _check_complete(series: Any, path: Path) -> None:
    """Refuse what tifffile would fill with zeros: pages, strips or tiles that are declared and not there."""
    page = series.keyframe
    if any(page is None for page in series.pages) or len(page.dataoffsets) < math.prod(page.chunked):
        raise InputError(
            f"'{path}' lacks some of the pages, strips or tiles that it declares; expected all; "
            "export it again"
        )


def _check_photometric(page: Any, path: Path) -> None:
    name = page.photometric.name
    if name in ("PALETTE", "MINISWHITE"):
        logger.info(
            "'%s' has display setting %s, which is not applied: its stored values are used", path, name
        )
    elif name not in ("MINISBLACK", "RGB") and (name, page.compression.name) != ("YCBCR", "JPEG"):
        raise InputError(f"'{path}' has colors of type {name}; expected gray or RGB; convert it to RGB")
    if _orientation(page) != 1:
        logger.info("'%s' has orientation tag %d, which is not applied", path, _orientation(page))


def _orientation(page: Any) -> int:
    return int(page.tags.valueof(274, default=1))


def _read_compressed_tiff(path: Path, page: Any, page_count: int) -> Source:
    """Read a TIFF whose compression tifffile lacks, where Pillow gives its stored values unchanged."""
    if page_count > 1 or not _is_exact_in_pillow(page):
        raise MissingDependencyError(
            f"'{path}' is compressed by {page.compression.name}, which needs the package imagecodecs; "
            f"install it (pip install imagecodecs), or save the file without compression"
        )
    return _read_picture(path, "TIFF")


def _is_exact_in_pillow(page: Any) -> bool:
    exact_dtype = page.dtype == "uint8" or (
        page.samplesperpixel == 1 and page.dtype in ("uint16", "int16", "int32", "float32")
    )
    # Pillow applies color tables, inverts "white is zero", turns the image, divides by alpha, drops extras.
    return (
        exact_dtype
        and page.photometric.name in ("MINISBLACK", "RGB", "YCBCR")
        and _orientation(page) == 1
        and all(sample.name == "UNASSALPHA" for sample in page.extrasamples)
    )


def _read_picture(path: Path, kind: str) -> Source:
    from PIL import Image as PillowImage

    with PillowImage.open(path, formats=[kind]) as stored:
        _check_frames(stored, path)
        _check_depth(stored, path)
        picture = _colored(_upright(stored, path), path)
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
    # Cameras append previews to a JPEG (format "MPO"), in which the first picture is the main one.
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


def _colored(picture: Any, path: Path) -> Any:
    if picture.mode != "P":
        return picture
    logger.info("'%s' is a palette image; its RGB colors are used, without transparency", path)
    return picture.convert("RGB")
