"""TIFF, by tifffile; by Pillow where tifffile lacks a codec."""

from __future__ import annotations

import importlib.util
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError, MissingDependencyError, one_line
from pixel_embedded_affinity.io.readers.base import NotRead, Series, Source
from pixel_embedded_affinity.io.readers.calibration import micrometers, of_imagej, of_ome, of_tags
from pixel_embedded_affinity.io.readers.pictures import read_picture

logger = logging.getLogger(__name__)

_SHOWN = 8


class Tiff:
    """Reader of TIFF, with what a file says of its images: axes, channels, pixel size, colors."""

    suffixes = (".tif", ".tiff", ".btf", ".tf2", ".tf8")
    signatures = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

    def read_series(self, path: Path, series: int | None, *, lazily: bool) -> Source:
        """Read one image of a file, at its finest resolution; with `lazily`, read parts when they are indexed."""
        import tifffile

        with tifffile.TiffFile(path) as file:
            number, chosen = _chosen_series(file, path, series)
            _check_complete(chosen, path)
            _check_meaning(chosen.keyframe, path)
            values = _in_parts(path, number, chosen) if lazily else _decoded(path, chosen)
            source = values if isinstance(values, Source) else Source(values, chosen.axes)
            return _declared(file, number, chosen, source)

    def list_series(self, path: Path) -> list[Series]:
        """List the images of a file."""
        import tifffile

        with tifffile.TiffFile(path) as file:
            logger.debug("'%s' has %d page(s)", path, len(file.pages))
            found = [_described(file, number, one) for number, one in enumerate(file.series)]
        if not found:
            raise _empty(path)
        return found


def _described(file: Any, number: int, series: Any) -> Series:
    unread = Source(NotRead(tuple(series.shape), series.dtype), series.axes)
    declared = _declared(file, number, series, unread)
    return Series(series.name, declared, len(series.levels), is_copy=bool(series.keyframe.is_reduced))


# --- which image ------------------------------------------------------------------------------------------


def _chosen_series(file: Any, path: Path, number: int | None) -> tuple[int, Any]:
    # Count the pages first: this ends at a page that leads back to an earlier one. Listing images would never end.
    logger.debug("'%s' has %d page(s)", path, len(file.pages))
    every = list(enumerate(file.series))
    if not every:
        raise _empty(path)
    if number is not None:
        if number >= len(every):
            raise InputError(
                f"'{path}' has no series {number}; expected one of {_listed(every)}; choose one of them"
            )
        return every[number]
    # A page says itself that it is a smaller copy of another image.
    full = [entry for entry in every if not entry[1].keyframe.is_reduced] or every
    if len(full) < len(every):
        logger.info("'%s' also holds %d smaller copies, which are not used", path, len(every) - len(full))
    if len(full) != 1:
        raise InputError(
            f"'{path}' holds {len(full)} separate images: {_listed(full)}; expected one; choose one by its number, "
            f"such as series={full[0][0]} (--series {full[0][0]}); pea segment --all-series takes each of them"
        )
    return full[0]


def _empty(path: Path) -> InputError:
    return InputError(
        f"'{path}' cannot be read, since it holds no image; expected one; copy or export it again"
    )


def _listed(every: Sequence[tuple[int, Any]]) -> str:
    texts = [f"{number} (axes {one.axes}, shape {one.shape})" for number, one in every[:_SHOWN]]
    return ", ".join(texts) + (f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else "")


def _check_complete(series: Any, path: Path) -> None:
    """Refuse missing pages, strips or tiles, which tifffile would fill with zeros."""
    page = series.keyframe
    if any(page is None for page in series.pages) or len(page.dataoffsets) < math.prod(page.chunked):
        raise InputError(
            f"'{path}' lacks some of the pages, strips or tiles that it declares; expected all; "
            "export it again"
        )


# --- what the values mean ---------------------------------------------------------------------------------


def _check_meaning(page: Any, path: Path) -> None:
    name = page.photometric.name
    known = ("MINISBLACK", "RGB", "PALETTE", "MINISWHITE")
    if name not in known and (name, page.compression.name) != ("YCBCR", "JPEG"):
        raise InputError(f"'{path}' has colors of type {name}; expected gray or RGB; convert it to RGB")
    if name == "MINISWHITE" and page.dtype.kind not in "bui":
        raise InputError(
            f"'{path}' says that white is zero, but holds {page.dtype} values, which have no largest one; expected "
            "integers, or black as zero; invert the image and save it again"
        )
    if page.predictor != 1 and page.compression == 1:
        raise InputError(
            f"'{path}' says that it holds differences of values, but is not compressed, which no two programs read "
            "alike; expected values; save it again without a predictor"
        )
    if _orientation(page) != 1:
        logger.info("'%s' has orientation tag %d, which is not applied", path, _orientation(page))


def _orientation(page: Any) -> int:
    return int(page.tags.valueof(274, default=1))


def _declared(file: Any, number: int, series: Any, source: Source) -> Source:
    """Add what the file says about the values of a series."""
    page = series.keyframe
    channels, sizes = _calibration(file, number, series)
    alpha = bool(page.extrasamples) and page.extrasamples[-1].name in ("ASSOCALPHA", "UNASSALPHA")
    return source._replace(
        has_alpha=alpha,
        channels=channels,
        pixel_size=sizes or None,
        white=_white(page),
        colors=_colors(file, page),
    )


def _white(page: Any) -> int | None:
    if page.photometric.name != "MINISWHITE":
        return None
    return -1 if page.dtype.kind == "i" else 2**page.bitspersample - 1


def _colors(file: Any, page: Any) -> npt.NDArray[Any] | None:
    """The color table, unless it only shows values that are intensities in other colors.

    ImageJ keeps intensities beside a lookup table. In another file, a table in which each color gets no darker from
    index to index does not change the order of the intensities.
    """
    if page.photometric.name != "PALETTE" or page.colormap is None:
        return None
    table = np.asarray(page.colormap).T
    if file.is_imagej or (np.diff(table.astype(np.int64), axis=0) >= 0).all():
        logger.info(
            "'%s' has display setting PALETTE, which is not applied: its values are intensities",
            file.filename,
        )
        return None
    return (table // 257).astype(np.uint8) if (table % 257 == 0).all() else table


def _calibration(file: Any, number: int, series: Any) -> tuple[tuple[str, ...], dict[str, float]]:
    """Names of the channels and sizes of a pixel."""
    page = series.keyframe
    if series.kind == "ome" and file.ome_metadata:
        return of_ome(file.ome_metadata, number)
    if file.is_imagej and file.imagej_metadata:
        return of_imagej(file.imagej_metadata, page)
    sizes = of_tags(page)
    if series.axes.rstrip("S").endswith("XY"):  # a TIFF calls the last axis of a page X
        sizes = {{"X": "Y", "Y": "X"}[axis]: size for axis, size in sizes.items()}
    written = (file.shaped_metadata or [{}])[0] if file.is_shaped else {}
    depth = micrometers(written.get("spacing"), written.get("unit"))
    return (), {**sizes, "Z": depth} if depth else sizes


# --- values -----------------------------------------------------------------------------------------------


def _in_parts(path: Path, number: int, series: Any) -> Any:
    """Map an image into memory if its pixels lie in one piece; else decode its strips or tiles when they are read."""
    import tifffile

    try:
        return tifffile.memmap(path, mode="r", series=number)
    except (OSError, ValueError, tifffile.TiffFileError) as error:
        if importlib.util.find_spec("zarr") is None:
            raise InputError(
                f"'{path}' cannot be mapped into memory ({one_line(error)}); expected an uncompressed TIFF, or the "
                "package zarr, which reads compressed ones in parts; install it (pip install zarr), or use segment if "
                "the image fits into memory"
            ) from error
    _check_codec(path, series)
    return Decoded(path, number, tuple(series.shape), series.dtype)


class Decoded:
    """A TIFF whose strips or tiles are decoded when they are indexed; the file is open only meanwhile."""

    def __init__(self, path: Path, number: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.path, self.number = path, number
        self.shape, self.dtype = shape, dtype

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        import tifffile
        import zarr

        try:
            with tifffile.imread(self.path, aszarr=True, series=self.number, level=0) as store:
                return np.asarray(zarr.open_array(store, mode="r")[index])
        # A damaged strip makes a decoder raise nearly anything.
        except Exception as error:
            raise InputError(
                f"a part of '{self.path}' cannot be read ({type(error).__name__}: {one_line(error)}); expected an "
                "intact TIFF; it may be damaged or cut short, so copy or export it again"
            ) from error


def _check_codec(path: Path, series: Any) -> None:
    """Decode one strip or tile, so that a codec that is missing is named before any work is done."""
    try:
        next(iter(series.keyframe.segments()))
    except (KeyError, ValueError, ImportError, NotImplementedError) as error:
        if _lacks_codec(error):
            raise _missing_codec(path, series.keyframe) from error
        raise


def _decoded(path: Path, series: Any) -> Any:
    """Decode an image exactly, or not at all."""
    page = series.keyframe
    try:
        return series.asarray()
    # The codec package is optional in tifffile, which names it in errors of several classes.
    except (KeyError, ValueError, ImportError, NotImplementedError) as error:
        if not _lacks_codec(error):
            raise
    if len(series.pages) == 1 and _is_exact_in_pillow(page):
        picture = read_picture(path, "TIFF")
        # Pillow widens signed values, and keeps the byte order of the file.
        return picture._replace(values=picture.values.astype(page.dtype))
    raise _missing_codec(path, page)


def _missing_codec(path: Path, page: Any) -> MissingDependencyError:
    compressed = (
        "without compression" if page.compression.name == "NONE" else f"compressed by {page.compression.name}"
    )
    return MissingDependencyError(
        f"'{path}' holds {page.bitspersample}-bit values {compressed}, which needs the "
        "package imagecodecs; install it (pip install imagecodecs), or save the file without compression, with 8, 16 "
        "or 32 bits"
    )


def _lacks_codec(error: Exception) -> bool:
    """Whether a decoder is not there; in an intact installation of all of them, the file is to blame."""
    if importlib.util.find_spec("imagecodecs") is not None:
        return False
    return isinstance(error, (ImportError, NotImplementedError)) or "imagecodecs" in str(error)


def _is_exact_in_pillow(page: Any) -> bool:
    little = page.parent.byteorder == "<"
    exact_dtype = page.dtype == "uint8" or (
        page.samplesperpixel == 1
        and (page.dtype == "uint16" or (little and page.dtype in ("int16", "int32", "float32")))
    )
    # Pillow applies color tables, inverts "white is zero", turns the image, divides by alpha, drops extras. It takes
    # signed and floating-point values of big-endian files for other numbers.
    return (
        exact_dtype
        and page.bitspersample == page.dtype.itemsize * 8
        and page.compression.name in ("LZW", "JPEG")
        and page.photometric.name in ("MINISBLACK", "RGB", "YCBCR")
        and _orientation(page) == 1
        and all(sample.name == "UNASSALPHA" for sample in page.extrasamples)
    )
