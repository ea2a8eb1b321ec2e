"""Tiles: how an image is cut into parts for the network, and what is kept of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, TypeAlias

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.per_axis import integer, listed, per_axis

Box = tuple[slice, ...]
Size = str | int | tuple[int, ...] | None
Halo = str | int | tuple[int, ...]

DEFAULT_HALO = 64
"""Pixels of halo around a tile. The network reads farther, but pixels farther away hardly count."""


@dataclass(frozen=True)
class Tiling:
    """How an image is cut into tiles.

    Parameters
    ----------
    size : "auto", int, sequence of int or None
        Length in pixels of what is kept of a tile: one number for all axes, or one per axis. The network sees each
        tile with its halo around. Where the image ends, the halo is kept, too. Sizes are rounded up to multiples of
        the network's grid and evened out, so that the last tile of a row is not a sliver. ``"auto"``: the whole
        image if it fits into memory, else the largest tile that does. None: the whole image, whatever memory that
        takes.
    halo : "auto", int or sequence of int
        Pixels around a tile that the network sees and that are dropped: one number for all axes, or one per axis.
        From the network's receptive radius on (see `ResidualUNet.receptive_radius`), the tiled embedding equals the
        whole one except for rounding. ``"auto"``: `DEFAULT_HALO`, or the receptive radius where that is less.

    Raises
    ------
    InputError
        If the size is none of these, or a number is not an integer in its range.
    """

    size: Size = "auto"
    halo: Halo = "auto"

    def __post_init__(self) -> None:
        if self.size is not None:
            object.__setattr__(self, "size", _checked(self.size, 1, "tile", "'auto', None,"))
        object.__setattr__(self, "halo", _checked(self.halo, 0, "halo", "'auto',"))

    def size_of(self, ndim: int) -> tuple[int, ...] | None:
        """Length along each axis of what is kept of a tile; None for ``"auto"`` and None.

        Raises
        ------
        InputError
            If there is not one size per axis.
        """
        return None if self.size is None or isinstance(self.size, str) else per_axis(self.size, ndim, "tile")

    def halo_of(self, ndim: int, radius: Sequence[int] | None = None) -> tuple[int, ...]:
        """Halo along each axis, for a network whose receptive radius is `radius` (None: unknown).

        Raises
        ------
        InputError
            If there is not one halo per axis.
        """
        if not isinstance(self.halo, str):
            return per_axis(self.halo, ndim, "halo", least=0)
        default = (DEFAULT_HALO,) * ndim
        return default if radius is None else tuple(map(min, default, radius))


@dataclass(frozen=True)
class Tile:
    """One part of an image.

    Attributes
    ----------
    outer : tuple of slice
        What the network sees. Where it reaches beyond the end of the image, the last pixels are repeated.
    core : tuple of slice
        What is kept. The cores of all tiles cover each pixel of the image once.
    """

    outer: Box
    core: Box

    @property
    def inner(self) -> Box:
        """The core in coordinates of `outer`."""
        return shifted(self.core, self.outer)


TileSize: TypeAlias = str | int | tuple[int, ...] | Tiling | None
"""What a caller gives as ``tile``: a size, ``"auto"``, None for the whole image, or a tiling."""


def as_tiling(tile: Any) -> Tiling:
    """Turn what a caller gives as ``tile`` into a `Tiling`.

    Raises
    ------
    InputError
        If it is neither a tiling nor a size of one.
    """
    return tile if isinstance(tile, Tiling) else Tiling(tile)


def tiles(
    shape: Sequence[int], size: Sequence[int], *, halo: Sequence[int], grid: Sequence[int]
) -> list[Tile]:
    """Cut an image into tiles that the network sees as parts of it.

    Every tile starts on the grid, so that the network's coarse pixels lie as in the whole image. All tiles have one
    shape, so that they form batches. Where the image ends, a tile keeps its halo: there the network meets the border
    of the image itself.

    Parameters
    ----------
    shape : sequence of int
        Spatial shape of the image in pixels.
    size : sequence of int
        Pixels to keep of a tile along each axis, see `Tiling`.
    halo : sequence of int
        Pixels along each axis, rounded up to a multiple of `grid`.
    grid : sequence of int
        Pixels of the image in one coarsest pixel of the network, along each axis.

    Returns
    -------
    list of Tile
        In C order.
    """
    lines = [_line(*axis) for axis in zip(shape, size, map(rounded_up, halo, grid), grid)]
    return [Tile(*map(tuple, zip(*parts))) for parts in product(*lines)]


def outer_shape(
    shape: Sequence[int], size: Sequence[int], *, halo: Sequence[int], grid: Sequence[int]
) -> tuple[int, ...]:
    """Shape of what the network sees of each of the `tiles` of these parameters."""
    return tuple(_seen(*axis) for axis in zip(shape, size, map(rounded_up, halo, grid), grid))


def halved(size: Sequence[int], grid: Sequence[int]) -> tuple[int, ...]:
    """Half of a tile's size on the grid, at least one coarsest pixel."""
    return tuple(max(step, rounded_up(-(-length // 2), step)) for length, step in zip(size, grid))


def blocks(shape: Sequence[int], size: Sequence[int]) -> list[Box]:
    """Cut an image into boxes of a size, in C order; boxes at its end may be smaller."""
    lines = [
        [slice(start, min(start + part, length)) for start in range(0, length, part)]
        for length, part in zip(shape, size)
    ]
    return list(product(*lines))


def largest_part(shape: Sequence[int], pixels: int) -> tuple[int, ...]:
    """Shape of the largest parts of an image with at most `pixels` pixels: powers of two, or whole axes."""
    sides = [1 << (length - 1).bit_length() for length in shape]
    while math.prod(sides) > max(1, pixels):
        longest = sides.index(max(sides))
        sides[longest] //= 2
    return tuple(map(min, sides, shape))


def grown(box: Box, margin: Sequence[int], shape: Sequence[int], grid: Sequence[int]) -> Box:
    """A box with a margin around it, cut off where the image ends; its start is moved back onto a grid."""
    return tuple(
        slice(max(0, side.start - more) // step * step, min(side.stop + more, length))
        for side, more, length, step in zip(box, margin, shape, grid)
    )


def shifted(box: Box, frame: Box) -> Box:
    """A box in the coordinates of another box around it."""
    return tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(box, frame))


def intersection(one: Box, other: Box) -> Box | None:
    """The pixels that two boxes share, None if there are none."""
    shared = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other))
    return shared if all(side.start < side.stop for side in shared) else None


def whole_box(shape: Sequence[int]) -> Box:
    """Return the box that holds all of an image."""
    return tuple(slice(0, length) for length in shape)


def shape_of(box: Box) -> tuple[int, ...]:
    """Lengths of a box along each axis."""
    return tuple(side.stop - side.start for side in box)


def rounded_up(length: int, grid: int) -> int:
    """The least multiple of `grid` that is not less than a length."""
    return -(-length // grid) * grid


def _step(length: int, part: int, context: int, grid: int) -> int:
    """Pixels kept of each tile of one axis except the first and the last, evened out."""
    inside = max(rounded_up(length, grid) - 2 * context, grid)
    count = math.ceil(inside / rounded_up(part, grid))
    return rounded_up(math.ceil(inside / count), grid)


def _seen(length: int, part: int, context: int, grid: int) -> int:
    """What the network sees of each tile of one axis."""
    return min(_step(length, part, context, grid) + 2 * context, rounded_up(length, grid))


def _line(length: int, part: int, context: int, grid: int) -> list[tuple[slice, slice]]:
    """Outer and core interval of each tile along one axis."""
    step, padded = _step(length, part, context, grid), rounded_up(length, grid)
    outer = _seen(length, part, context, grid)
    last = padded - outer
    starts = [*range(0, last, step), last]
    ends = [0, *(start + context for start in starts[1:]), length]
    return [(slice(start, start + outer), slice(*core)) for start, core in zip(starts, pairwise(ends))]


def _checked(value: Any, least: int, name: str, also: str) -> str | int | tuple[int, ...]:
    """A size or a halo, whose number of axes is not known yet."""
    if isinstance(value, str) and value == "auto":
        return value
    items = listed(value)
    found = [integer(item, least) for item in ([value] if items is None else items)]
    valid = tuple(number for number in found if number is not None)
    if not valid or len(valid) < len(found):
        raise InputError(
            f"{name} must be {also} an integer of at least {least}, or one per axis, in pixels, got {value!r}"
        )
    return valid[0] if items is None else valid
