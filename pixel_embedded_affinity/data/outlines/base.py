"""Readers of outlines: the protocol, the registry, and the reading of a file as labels."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError, PixelEmbeddedAffinityError, one_line
from pixel_embedded_affinity.export.polygons import Polygon, rasterize
from pixel_embedded_affinity.labels import Labels, relabel
from pixel_embedded_affinity.registry import Registry
from pixel_embedded_affinity.runtime.subject import about

logger = logging.getLogger(__name__)


_MANY = 10
"""So many objects or more are expected all over an image."""


class OutlineReader(Protocol):
    """A format of outlines. The class need not inherit anything, and takes no arguments.

    Attributes
    ----------
    suffixes : tuple of str
        Endings of file names, in lower case, with the dot.
    several_images : bool, optional
        Whether a file may hold the objects of several images, and finds each image by its name; False if it is absent.
    """

    suffixes: ClassVar[tuple[str, ...]]

    def read(self, path: Path, image: Path, shape: tuple[int, int]) -> npt.NDArray[Any]:
        """Return the objects of a file as integer labels of this shape.

        The image is the file that they belong to, in case that a file holds the objects of several. Raise `InputError`
        for a file that cannot be used; any other error means a damaged file.
        """
        ...


OUTLINE_READERS: Registry[OutlineReader] = Registry(
    "outline reader",
    "pixel_embedded_affinity.data.outlines",
    helpers=("base",),
    group="pixel_embedded_affinity.outline_readers",
)


def outline_suffixes() -> tuple[str, ...]:
    """Return the file name endings that `read_outlines` accepts, in small or capital letters."""
    return tuple(suffix for _, reader in OUTLINE_READERS.every() for suffix in reader.suffixes)


def may_hold_several_images(path: Path) -> bool:
    """Whether files of this ending may hold the objects of several images, as those of COCO do."""
    return path.suffix.lower() in outline_suffixes() and getattr(_reader_of(path)[1], "several_images", False)


def read_outlines(path: Path, image: Path, shape: tuple[int, ...]) -> Labels:
    """Read outlines of objects as labels: ROIs of ImageJ, GeoJSON of QuPath, COCO, or a format of another package.

    A pixel belongs to the object whose outline holds its center. Where objects overlap, the later one is on top; the
    log warns of it.

    Parameters
    ----------
    path : pathlib.Path
        A file ending in one of `outline_suffixes()`.
    image : pathlib.Path
        The image that the objects belong to; a COCO file of several images finds it by its name.
    shape : (int, int)
        Height and width of the image in pixels.

    Returns
    -------
    numpy.ndarray
        int32 labels of this shape, objects 1..n.

    Raises
    ------
    InputError
        If the image is no plane, or the file is damaged, has another ending, or holds something else than outlines.
    MissingDependencyError
        If the file holds ROIs of ImageJ, and the package roifile is missing.
    """
    if len(shape) != 2:
        raise InputError(
            f"'{path}' holds outlines, but the image '{image}' is a volume; expected labels as TIFF"
        )
    name, reader = _reader_of(path)
    try:
        with about(str(path)):
            return relabel(reader.read(path, image, (shape[0], shape[1])))
    except PixelEmbeddedAffinityError as error:
        raise type(error)(f"'{path}': {error}") from error
    # A damaged file makes a parser raise nearly anything.
    except Exception as error:
        raise InputError(
            f"'{path}' cannot be read ({type(error).__name__}: {one_line(error)}); expected an intact file of "
            f"{name}; export it again"
        ) from error


def painted(outlines: Iterable[Polygon], shape: tuple[int, int]) -> Labels:
    """Paint the outlines of a file; the log says how many objects lie outside of the image.

    Raises
    ------
    InputError
        If there are objects, and all lie outside; or an outline cannot be painted.
    """
    every = list(outlines)
    labels = rasterize(every, shape)
    objects = {outline.label for outline in every}
    outside = objects - {outline.label for outline in every if _meets(outline, shape)}
    if len(objects) >= _MANY and (near := _near_the_origin(every, shape)):
        logger.warning(near)
    text = (
        f"{len(outside)} of {len(objects)} outlines lie outside of the image of {shape[0]} x {shape[1]} pixels; "
        "expected outlines in pixels of this image; was it cropped after they were drawn?"
    )
    if outside and outside == objects:
        raise InputError(text)
    if outside:
        logger.warning(text)
    return labels


def _near_the_origin(outlines: Iterable[Polygon], shape: tuple[int, int]) -> str:
    """Describe outlines of which all lie in the first quarter of the image; empty if they do not."""
    high = np.max([outline.shell.max(axis=0) for outline in outlines if len(outline.shell)], axis=0)
    if (high > np.array(shape) / 2).any():
        return ""
    return (
        f"all outlines lie in the upper left {high[0]:.6g} x {high[1]:.6g} of the image of {shape[0]} x {shape[1]} "
        "pixels; expected outlines in pixels of this image; if theirs are in micrometers, divide them by the pixel size"
    )


def _meets(outline: Polygon, shape: tuple[int, int]) -> bool:
    """Whether the box around an outline and the image have pixels in common."""
    if not len(outline.shell):
        return False
    low, high = outline.shell.min(axis=0), outline.shell.max(axis=0)
    return bool((low < shape).all() and (high > 0).all())


def _reader_of(path: Path) -> tuple[str, OutlineReader]:
    for name, reader in OUTLINE_READERS.every():
        if path.suffix.lower() in reader.suffixes:
            return name, reader
    raise InputError(f"'{path}' ends in '{path.suffix}'; expected one of {', '.join(outline_suffixes())}")
