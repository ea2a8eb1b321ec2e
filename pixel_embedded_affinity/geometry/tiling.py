"""Geometry of tiles: how an image is cut into parts for the network, and what is kept of each."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

from pixel_embedded_affinity.errors import InputError

Box = tuple[slice, ...]
Size = str | int | tuple[int, ...] | None

DEFAULT_HALO = 64
"""Pixels of context around a tile. Less than what the network reads, but what it reads farther away hardly counts."""


@dataclass(frozen=True)
class Tiling:
    """How an image is cut into tiles.

    Parameters
    ----------
    size : "auto", int, sequence of int or None
        Height and width in pixels of what is kept of a tile; one number for both. The network sees each tile
        with its halo around; where the image ends, that is kept as well. Sizes are rounded up to multiples of
        the network's coarsest pixel, and evened out, so that the last tile of a row is not a sliver.
        ``"auto"``: the whole image if there is memory for it, else the largest tile for which there is. None:
        the whole image, whatever it takes.
    halo : int
        Context in pixels around a tile. From the network's receptive radius on (see
        `ResidualUNet.receptive_radius`), the tiled embedding equals the whole one but for rounding.

    Raises
    ------
    InputError
        If the size is none of these, or a number is not an integer in its range.
    """

    size: Size = "auto"
    halo: int = DEFAULT_HALO

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", _checked_size(self.size))
        object.__setattr__(self, "halo", _integer(self.halo, 0, "halo"))


@dataclass(frozen=True)
class Tile:
    """One part of an image.

    Attributes
    ----------
    outer : tuple of slice
        What the network sees; it may reach beyond the end of the image, where pixels are to be repeated.
    core : tuple of slice
        What is kept; the cores of all tiles cover each pixel of the image once.
    """

    outer: Box
    core: Box

    @property
    def inner(self) -> Box:
        """The core in coordinates of `outer`."""
        return shifted(self.core, self.outer)


def as_tiling(tile: Any) -> Tiling:
    """Return what a caller gives as ``tile`` as a `Tiling`.

    Raises
    ------
    InputError
        If it is neither a tiling nor a size of one.
    """
    return tile if isinstance(tile, Tiling) else Tiling(tile)


def tiles(shape: Sequence[int], size: Sequence[int], *, halo: int, grid: int) -> list[Tile]:
    """Cut an image into tiles that the network sees as parts of it.

    Every tile starts on the grid, where the network's coarse pixels lie as in the whole image, and all are
    of one shape, so that they form batches. Where the image ends no context is needed: the tiles there keep
    more of what the network sees, which meets a border where the image has one.

    Parameters
    ----------
    shape : sequence of int
        Spatial shape of the image in pixels.
    size : sequence of int
        Pixels to keep of a tile along each axis, see `Tiling`.
    halo : int
        Pixels of context, rounded up to a multiple of `grid`.
    grid : int
        Pixels of the image in one coarsest pixel of the network.

    Returns
    -------
    list of Tile
        In C order.
    """
    context = rounded_up(halo, grid)
    lines = [_line(length, part, context, grid) for length, part in zip(shape, size)]
    return [Tile(*map(tuple, zip(*parts))) for parts in product(*lines)]


def outer_shape(shape: Sequence[int], size: Sequence[int], *, halo: int, grid: int) -> tuple[int, ...]:
    """Shape of what the network sees of each of the `tiles` of these parameters."""
    context = rounded_up(halo, grid)
    return tuple(
        min(_step(length, part, context, grid) + 2 * context, rounded_up(length, grid))
        for length, part in zip(shape, size)
    )


def halved(size: Sequence[int], grid: int) -> tuple[int, ...]:
    """Half of a tile's size on the grid, at least one coarsest pixel."""
    return tuple(max(grid, rounded_up(-(-length // 2), grid)) for length in size)


def blocks(shape: Sequence[int], size: Sequence[int]) -> list[Box]:
    """Cut an image into boxes of a size, those at its end smaller, in C order."""
    lines = [
        [slice(start, min(start + part, length)) for start in range(0, length, part)]
        for length, part in zip(shape, size)
    ]
    return list(product(*lines))


def grown(box: Box, margin: int, shape: Sequence[int], grid: Sequence[int]) -> Box:
    """A box with a margin around it, whose start lies on a grid; both within the image."""
    return tuple(
        slice(max(0, side.start - margin) // step * step, min(side.stop + margin, length))
        for side, length, step in zip(box, shape, grid)
    )


def shifted(box: Box, frame: Box) -> Box:
    """A box in the coordinates of the frame that it lies in."""
    return tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(box, frame))


def intersection(one: Box, other: Box) -> Box | None:
    """The pixels that two boxes share, None if there are none."""
    shared = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other))
    return shared if all(side.start < side.stop for side in shared) else None


def shape_of(box: Box) -> tuple[int, ...]:
    """Lengths of a box along each axis."""
    return tuple(side.stop - side.start for side in box)


def rounded_up(length: int, grid: int) -> int:
    """The least multiple of `grid` that is not less than a length."""
    return -(-length // grid) * grid


def _step(length: int, part: int, context: int, grid: int) -> int:
    """What is kept of each tile of one axis but the first and the last: as many as are needed, evened out."""
    inside = max(rounded_up(length, grid) - 2 * context, grid)
    count = math.ceil(inside / rounded_up(part, grid))
    return rounded_up(math.ceil(inside / count), grid)


def _line(length: int, part: int, context: int, grid: int) -> list[tuple[slice, slice]]:
    """Outer and core interval of each tile along one axis."""
    step, padded = _step(length, part, context, grid), rounded_up(length, grid)
    outer = min(step + 2 * context, padded)
    last = padded - outer
    starts = [*range(0, last, step), last]
    ends = [0, *(start + context for start in starts[1:]), length]
    return [(slice(start, start + outer), slice(*core)) for start, core in zip(starts, pairwise(ends))]


def _checked_size(size: Any) -> Size:
    if size is None or (isinstance(size, str) and size == "auto"):
        return size
    if isinstance(size, (tuple, list)) and size:
        return tuple(_integer(length, 1, "tile") for length in size)
    return _integer(size, 1, "tile")


def _integer(value: Any, least: int, name: str) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or operator.index(value) < least:
        also = "'auto', None or " if name == "tile" else ""
        raise InputError(f"{name} must be {also}an integer of at least {least}, in pixels, got {value!r}")
    return operator.index(value)
