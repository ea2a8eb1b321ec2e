"""Objects as polygons along the edges of their pixels, and polygons as objects, each the exact inverse of the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.labels import Labels, as_labels
from pixel_embedded_affinity.runtime.subject import ImageLogger

logger = ImageLogger(__name__)

Ring = npt.NDArray[Any]
"""Corners ``(N, 2)`` of a closed line, each ``(y, x)`` in pixels; the first corner is not repeated at the end."""

# The edges of a pixel, clockwise from its top: where an edge starts, from the pixel's own corner, and where it leads.
# The pixel lies to the right of the edge, so that the step before leads away from it.
_STARTS = np.array([(0, 0), (0, 1), (1, 1), (1, 0)])
_STEPS = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])


class Polygon(NamedTuple):
    """One piece of an object, without its holes.

    Attributes
    ----------
    label : int
        Number of the object; an object of several pieces has several polygons.
    shell : numpy.ndarray
        The outer border: corners ``(N, 2)``, each ``(y, x)``. The pixel ``(0, 0)`` has the corners ``(0, 0)`` and
        ``(1, 1)``. Clockwise where y points down.
    holes : tuple of numpy.ndarray
        The borders of the holes, counterclockwise.
    """

    label: int
    shell: Ring
    holes: tuple[Ring, ...] = ()

    @property
    def rings(self) -> tuple[Ring, ...]:
        """The shell and the holes."""
        return (self.shell, *self.holes)


def object_polygons(labels: Any) -> list[Polygon]:
    """Trace the objects of a label image along the edges of their pixels.

    The pieces of an object are its pixels that are connected by edges. No ring touches itself, and a hole touches its
    shell in corners at most, as the Simple Features of the OGC demand. So JTS, GEOS and what is built on them (QuPath,
    shapely) take the polygons as they are.

    Parameters
    ----------
    labels : array-like of integers
        Shape ``(Y, X)``, 0 = background; need not be consecutive.

    Returns
    -------
    list of Polygon
        In ascending order of labels; the pieces of an object in the order of their first pixels. Corners are integers;
        `rasterize` gives the labels back.

    Raises
    ------
    InputError
        If the labels cannot be used, or are those of a volume.
    """
    from skimage.measure import label

    array = as_labels(labels)
    if array.ndim != 2:
        raise InputError(
            f"labels of shape {array.shape}; polygons describe an image (Y, X); pass one plane of the volume at a time"
        )
    pieces = np.pad(label(array, connectivity=1), 1)  # type: ignore[no-untyped-call, unused-ignore]
    rings: dict[int, list[Ring]] = {}
    # The first edge of a piece is the top of its first pixel, which is on the shell; all others are holes.
    for piece, ring in _traced(pieces):
        rings.setdefault(piece, []).append(ring)
    found = [Polygon(_label_at(array, shell), shell, tuple(holes)) for shell, *holes in rings.values()]
    return sorted(found, key=lambda polygon: polygon.label)


def pieces_by_label(labels: Any) -> dict[int, list[Polygon]]:
    """Return the polygons of each object by its label, ascending; parameters and errors as for `object_polygons`."""
    pieces: dict[int, list[Polygon]] = {}
    for polygon in object_polygons(labels):
        pieces.setdefault(polygon.label, []).append(polygon)
    return pieces


def rasterize(shapes: Iterable[Polygon], shape: Sequence[int]) -> Labels:
    """Paint polygons: a pixel belongs to the polygon that holds its center.

    Where polygons of two objects overlap, the later one is on top; the log warns of it.

    Parameters
    ----------
    shapes : iterable of Polygon
        Corners may be fractions and lie outside the image. Holes are where an even number of rings surrounds a pixel.
    shape : (int, int)
        Height and width of the image in pixels.

    Returns
    -------
    numpy.ndarray
        int32 labels of this shape, with the polygons' own numbers.

    Raises
    ------
    InputError
        If a number is not from 1 to 2**31 - 1, or a ring is no array of finite corners ``(N, 2)``.
    """
    height, width = shape
    labels = np.zeros((height, width), np.int32)
    lost: set[int] = set()
    for polygon in shapes:
        if not 1 <= polygon.label < 2**31:
            raise InputError(f"polygon of object {polygon.label}; expected a number from 1 to {2**31 - 1}")
        where, inside = _inside(polygon, height, width)
        covered = np.unique(labels[where][inside])
        lost.update(covered[(covered > 0) & (covered != polygon.label)].tolist())
        labels[where][inside] = polygon.label
    if lost:
        logger.warning("%d object(s) lie partly under later ones, which are on top", len(lost))
    return labels


# --- tracing ----------------------------------------------------------------------------------------------


def _traced(pieces: npt.NDArray[np.intp]) -> Iterator[tuple[int, Ring]]:
    """Give the rings around each piece of a padded image, in the order of the pieces' first pixels."""
    edges, following = _linked(pieces)
    numbers, directions = np.divmod(edges, 4)
    rows, columns = np.divmod(numbers, pieces.shape[1])
    # Without the padding, the own corner of a pixel has its coordinates minus 1.
    starts = np.stack([rows, columns], axis=1) - 1 + _STARTS[directions]
    turns = directions[_inverse(following)] != directions
    at, turning, onward = pieces.ravel()[numbers].tolist(), turns.tolist(), following.tolist()
    done = bytearray(len(onward))
    for first in range(len(onward)):
        if done[first]:
            continue
        ring, edge = [], first
        while not done[edge]:
            done[edge] = 1
            if turning[edge]:
                ring.append(edge)
            edge = onward[edge]
        yield at[first], starts[ring]


def _linked(pieces: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the border edges, four times the pixel plus the direction, sorted; and the place of each follower."""
    flat, steps = pieces.ravel(), _STEPS @ (pieces.shape[1], 1)
    pixels = np.flatnonzero(flat)
    border = np.stack([flat[pixels + steps[side - 1]] != flat[pixels] for side in range(4)], axis=1)
    edges = (4 * pixels[:, np.newaxis] + np.arange(4))[border]
    numbers, directions = np.divmod(edges, 4)
    beside = numbers + steps[directions]
    across = beside + steps[directions - 1]
    # Where the piece goes on across a corner, the ring goes there: then no ring passes a corner twice.
    follower = np.select(
        [flat[across] == flat[numbers], flat[beside] == flat[numbers]],
        [4 * across + (directions - 1) % 4, 4 * beside + directions],
        4 * numbers + (directions + 1) % 4,
    )
    return edges, np.searchsorted(edges, follower)


def _inverse(order: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order))
    return inverse


def _label_at(labels: npt.NDArray[Any], shell: Ring) -> int:
    """Return the label of the pixel at which a shell starts."""
    return int(labels[tuple(shell[0])])


# --- painting ---------------------------------------------------------------------------------------------


def _inside(polygon: Polygon, height: int, width: int) -> tuple[tuple[slice, slice], npt.NDArray[np.bool_]]:
    """Return a box of the image, and whether the centers of its pixels are in the polygon."""
    rings = [_checked(ring) for ring in polygon.rings]
    low = np.min([ring.min(axis=0) for ring in rings], axis=0)
    high = np.max([ring.max(axis=0) for ring in rings], axis=0)
    top, left = (int(value) for value in np.clip(np.floor(low), 0, (height, width)))
    bottom, right = (int(value) for value in np.clip(np.ceil(high), (top, left), (height, width)))
    changes = np.zeros((bottom - top, right - left + 1), np.int64)
    for ring in rings:
        rows, columns = _crossings(ring, top, bottom)
        np.add.at(changes, (rows - top, np.clip(columns, left, right) - left), 1)
    inside = np.cumsum(changes, axis=1)[:, :-1] % 2 == 1
    return (slice(top, bottom), slice(left, right)), inside


def _checked(ring: Any) -> npt.NDArray[np.float64]:
    try:
        corners = np.asarray(ring, dtype=np.float64)
    except (TypeError, ValueError):
        corners = np.empty(0)
    if corners.ndim != 2 or corners.shape[1] != 2 or not len(corners) or not np.isfinite(corners).all():
        raise InputError(
            f"ring of a polygon of shape {corners.shape}; expected finite corners (N, 2), each (y, x) in pixels"
        )
    return corners


def _crossings(
    ring: npt.NDArray[np.float64], top: int, bottom: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return, for each edge and each row of centers that it crosses, the row and the first center beyond."""
    (y0, x0), (y1, x1) = ring.T, np.roll(ring, -1, axis=0).T
    # A row of centers at y + 0.5 is crossed by an edge from the upper end, inclusive, to the lower one, exclusive.
    first, last = (
        np.clip(np.ceil(end - 0.5), top, bottom).astype(np.int64)
        for end in (np.minimum(y0, y1), np.maximum(y0, y1))
    )
    counts = last - first
    edge = np.repeat(np.arange(len(ring)), counts)
    rows = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    share = (rows + 0.5 - y0[edge]) / (y1[edge] - y0[edge])
    columns = np.ceil(x0[edge] + share * (x1[edge] - x0[edge]) - 0.5)
    return rows, np.clip(columns, -(2.0**62), 2.0**62).astype(np.int64)
