"""Blocks of an image: what each labels, and what it sees."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import NamedTuple

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.per_axis import per_axis
from pixel_embedded_affinity.geometry.tiling import Box, blocks, grown

Sizes = int | Sequence[int]
"""One length for all axes, or one per axis."""

_BLOCK, _OVERLAPS = 2048, {2: 128, 3: 32}

_LEAST_OVERLAP = 8
"""Sections of an overlap, however thick they are."""

_SEEN = 48 * 2**20
"""Voxels of a block, with overlap and halo, that the network may see."""

_LENGTHS = range(16, 1025, 16)
"""Lengths of blocks of a volume."""


@dataclass(frozen=True, init=False)
class Plan:
    """How an image is cut into blocks.

    Parameters
    ----------
    shape : sequence of int
        Spatial shape of the image in pixels.
    block : int, sequence of int or None
        Length of a core in pixels, one for all axes or one per axis; cores at the end of the image may be shorter.
        None: what `default_block` gives without a halo, for a network of stride 1.
    overlap : int, sequence of int or None
        Pixels around a core that its block sees as well: one for all axes or one per axis, no more than `block`.
        None: what `default_overlap` gives.
    strides : int or sequence of int
        Windows start at multiples of them along each axis. These are the strides of the neighborhood, so that
        repulsive pairs start at the same pixels in each block.

    Raises
    ------
    InputError
        If `block`, `overlap` or `strides` is neither an integer in its range nor one per axis.
    """

    shape: tuple[int, ...]
    block: tuple[int, ...]
    overlap: tuple[int, ...]
    strides: tuple[int, ...]

    def __init__(
        self, shape: Sequence[int], block: Sizes | None, overlap: Sizes | None, strides: Sizes
    ) -> None:
        object.__setattr__(self, "shape", tuple(shape))
        overlap = default_overlap(len(shape)) if overlap is None else overlap
        if block is None:
            each = per_axis(overlap, len(shape), "overlap")
            block = default_block(shape, each, (0,) * len(shape), (1,) * len(shape))
        for name, value in (("block", block), ("overlap", overlap), ("strides", strides)):
            object.__setattr__(self, name, per_axis(value, len(shape), name))
        if any(more > length for more, length in zip(self.overlap, self.block)):
            raise InputError(
                f"overlap {overlap} is more than block {block}; expected at most the block along each axis; take "
                "larger blocks, or a shorter overlap (overlap=)"
            )

    @cached_property
    def cores(self) -> list[Box]:
        """The part of the image that each block labels, in C order."""
        return blocks(self.shape, self.block)

    @cached_property
    def windows(self) -> list[Box]:
        """The part of the image that each block sees."""
        return [grown(core, self.overlap, self.shape, self.strides) for core in self.cores]

    @cached_property
    def inner(self) -> list[Box]:
        """The part of its window in which each block is compared: its core and the nearest quarter of its overlap.

        Farther out lie objects that the window cuts. They may have lost the pairs that repel them from their neighbors.
        """
        near = tuple(-(-length // 4) for length in self.overlap)
        return [grown(core, near, self.shape, (1,) * len(near)) for core in self.cores]

    def neighbors(self) -> list[tuple[int, int]]:
        """Blocks that touch at a side, an edge or a corner: the indices of every two, once."""
        counts = [-(-length // part) for length, part in zip(self.shape, self.block)]
        steps = [step for step in product((-1, 0, 1), repeat=len(counts)) if step > (0,) * len(counts)]
        places = list(product(*map(range, counts)))
        index = {place: position for position, place in enumerate(places)}
        moved = ((place, tuple(map(sum, zip(place, step)))) for place in places for step in steps)
        return [(index[place], index[other]) for place, other in moved if other in index]


def default_overlap(ndim: int, pixel_size: Sequence[float] | None = None) -> tuple[int, ...]:
    """Return an overlap for images with `ndim` axes: 128 pixels in 2D, 32 in 3D.

    Along an axis of a volume on which voxels are longer than on the others, it has as many as are equally long
    together, but at least 8.

    Parameters
    ----------
    ndim : {2, 3}
        Number of axes.
    pixel_size : sequence of float, optional
        Size of a pixel along each axis. Default: equal sizes.
    """
    overlap = _OVERLAPS[ndim]
    sizes = pixel_size if ndim == 3 and pixel_size else (1.0,) * ndim
    return tuple(max(_LEAST_OVERLAP, round(overlap * min(sizes) / size)) for size in sizes)


def default_block(
    shape: Sequence[int], overlap: Sequence[int], halo: Sequence[int], stride: Sequence[int]
) -> tuple[int, ...]:
    """Return the blocks of an image: 2048 embedding vectors along each axis, but no fewer pixels than the overlap.

    In a volume, those with which the network sees fewest voxels. It sees a block with overlap and halo: at most 50
    million voxels, where the overlap allows that. An axis is divided evenly.

    Parameters
    ----------
    shape : sequence of int
        Spatial shape of the image.
    overlap, halo : sequence of int
        Pixels along each axis.
    stride : sequence of int
        Pixels between two embedding vectors along each axis.
    """
    if len(shape) == 2:
        return tuple(max(_BLOCK * step, more) for step, more in zip(stride, overlap))
    sides = [_sides(*axis) for axis in zip(shape, overlap, map(operator.add, overlap, halo))]
    best = min(product(*sides), key=_work)
    return tuple(side.block for side in best)


class _Side(NamedTuple):
    """Blocks along one axis: their length, what the network sees of the largest, and of all of them."""

    block: int
    seen: int
    total: int


def _sides(length: int, overlap: int, margin: int) -> list[_Side]:
    """Ways to divide an axis evenly, into blocks that are no shorter than the overlap."""
    counts = {-(-length // block) for block in _LENGTHS}
    found = []
    for count in sorted({1, *counts}):
        block = max(-(-length // count), overlap)
        count = -(-length // block)
        found.append(_Side(block, block + margin * min(count - 1, 2), length + 2 * margin * (count - 1)))
    return found


def _work(sides: Sequence[_Side]) -> tuple[int, int]:
    """Voxels of a block that are too many, and voxels that the network sees in all."""
    return max(0, math.prod(side.seen for side in sides) - _SEEN), math.prod(side.total for side in sides)
