"""Blocks of an image: what each labels, and what it sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.per_axis import per_axis
from pixel_embedded_affinity.geometry.tiling import Box, blocks, grown

Sizes = int | Sequence[int]
"""One length for all axes, or one per axis."""

_BLOCKS, _OVERLAPS = {2: 2048, 3: 160}, {2: 128, 3: 32}


@dataclass(frozen=True, init=False)
class Plan:
    """How an image is cut into blocks.

    Parameters
    ----------
    shape : sequence of int
        Spatial shape of the image in pixels.
    block : int, sequence of int or None
        Length of a core in pixels, one for all axes or one per axis; cores at the end of the image may be shorter.
        None: 2048 in 2D, 160 in 3D, which are four million pixels each.
    overlap : int, sequence of int or None
        Pixels around a core that its block sees as well: one for all axes or one per axis, no more than `block`.
        None: 128 in 2D, 32 in 3D.
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
        block = _BLOCKS[len(shape)] if block is None else block
        overlap = _OVERLAPS[len(shape)] if overlap is None else overlap
        for name, value in (("block", block), ("overlap", overlap), ("strides", strides)):
            object.__setattr__(self, name, per_axis(value, len(shape), name))
        if any(more > length for more, length in zip(self.overlap, self.block)):
            raise InputError(
                f"overlap {overlap} is more than block {block}; expected at most the block along each axis; take "
                "larger blocks"
            )

    @cached_property
    def cores(self) -> list[Box]:
        """The part of the image that each block labels, in C order."""
        return blocks(self.shape, self.block)

    @cached_property
    def windows(self) -> list[Box]:
        """The part of the image that each block sees."""
        return [grown(core, self.overlap, self.shape, self.strides) for core in self.cores]

    def neighbors(self) -> list[tuple[int, int]]:
        """Blocks that touch at a side, an edge or a corner: the indices of every two, once."""
        counts = [-(-length // part) for length, part in zip(self.shape, self.block)]
        steps = [step for step in product((-1, 0, 1), repeat=len(counts)) if step > (0,) * len(counts)]
        places = list(product(*map(range, counts)))
        index = {place: position for position, place in enumerate(places)}
        moved = ((place, tuple(map(sum, zip(place, step)))) for place in places for step in steps)
        return [(index[place], index[other]) for place, other in moved if other in index]
