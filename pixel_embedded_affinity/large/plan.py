"""Blocks of an image: what each is to label, and what it sees."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.tiling import Box, blocks, grown


@dataclass(frozen=True)
class Plan:
    """How an image is cut into blocks.

    Parameters
    ----------
    shape : tuple of int
        Spatial shape of the image in pixels.
    block : int
        Length of a core in pixels along each axis; those at the end of the image are shorter.
    overlap : int
        Pixels around a core that its block sees as well: no more than `block`.
    grid : tuple of int
        Windows start at multiples of it along each axis: the strides of the neighborhood, so that the same
        pixels take part in the clustering in each block.

    Raises
    ------
    InputError
        If `block` or `overlap` is not an integer in its range.
    """

    shape: tuple[int, ...]
    block: int
    overlap: int
    grid: tuple[int, ...]

    def __post_init__(self) -> None:
        for name, least in (("block", 1), ("overlap", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise InputError(f"{name} must be an integer of at least {least}, in pixels, got {value!r}")
        if self.overlap > self.block:
            raise InputError(
                f"overlap {self.overlap} is more than block {self.block}; expected at most that; take larger blocks"
            )

    @cached_property
    def cores(self) -> list[Box]:
        """The part of the image that each block is to label, in C order."""
        return blocks(self.shape, (self.block,) * len(self.shape))

    @cached_property
    def windows(self) -> list[Box]:
        """The part of the image that each block sees."""
        return [grown(core, self.overlap, self.shape, self.grid) for core in self.cores]

    def neighbors(self) -> list[tuple[int, int]]:
        """Blocks that touch at a side, an edge or a corner: indices of each pair once."""
        counts = [-(-length // self.block) for length in self.shape]
        steps = [step for step in product((-1, 0, 1), repeat=len(counts)) if step > (0,) * len(counts)]
        places = list(product(*map(range, counts)))
        index = {place: position for position, place in enumerate(places)}
        moved = ((place, tuple(map(sum, zip(place, step)))) for place in places for step in steps)
        return [(index[place], index[other]) for place, other in moved if other in index]
