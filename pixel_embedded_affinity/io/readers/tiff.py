"""TIFF, by tifffile; by Pillow where tifffile lacks a codec."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from pixel_embedded_affinity.errors import InputError, MissingDependencyError
from pixel_embedded_affinity.io.readers.base import Source
from pixel_embedded_affinity.io.readers.pictures import read_picture

logger = logging.getLogger(__name__)


class Tiff:
    """Reader of TIFF: stored values, whatever the display settings."""

    suffixes = (".tif", ".tiff")
    signatures = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

    def read(self, path: Path) -> Source:
        """Read the values and the axes that the file declares."""
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
    # Count the pages first: this ends at a page that leads back to an earlier one. Listing images would never end.
    logger.debug("'%s' has %d page(s)", path, len(file.pages))
    if len(file.series) != 1:
        shapes = ", ".join(str(series.shape) for series in file.series)
        raise InputError(
            f"'{path}' holds {len(file.series)} separate images (shapes {shapes}); expected one; save each "
            "as its own file"
        )
    return file.series[0]


def _check_complete(series: Any, path: Path) -> None:
    """Refuse missing pages, strips or tiles, which tifffile would fill with zeros."""
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
    return read_picture(path, "TIFF")


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
