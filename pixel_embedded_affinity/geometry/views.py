"""Views of an image: flipped and transposed, and the way back to its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from pixel_embedded_affinity.errors import InputError

if TYPE_CHECKING:
    import torch

VIEW_COUNTS = (1, 4, 8)
"""Views in which a network may see an image: as it is, its flips, or these and their transpositions."""


@dataclass(frozen=True)
class Geometry:
    """Flips along x and y, then a transposition; the geometric part of a view."""

    flip_y: bool = False
    flip_x: bool = False
    transpose: bool = False

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Transform the last two axes of a tensor."""
        axes = [axis for axis, flip in ((-2, self.flip_y), (-1, self.flip_x)) if flip]
        flipped = images.flip(axes) if axes else images
        return flipped.transpose(-1, -2) if self.transpose else flipped

    def invert(self, images: torch.Tensor) -> torch.Tensor:
        """Undo `apply` exactly."""
        straight = images.transpose(-1, -2) if self.transpose else images
        axes = [axis for axis, flip in ((-2, self.flip_y), (-1, self.flip_x)) if flip]
        return straight.flip(axes) if axes else straight


def checked_views(views: Any) -> int:
    """Return a number of views as an int.

    Raises
    ------
    InputError
        If it is not one of `VIEW_COUNTS`.
    """
    if isinstance(views, bool) or not hasattr(views, "__index__") or views not in VIEW_COUNTS:
        raise InputError(
            f"views must be 1, 4 or 8, got {views!r}; 1 shows the network the image as it is, 4 also its flips, "
            "8 also these transposed"
        )
    return int(views)


def geometries(views: int) -> tuple[Geometry, ...]:
    """Return the views of which there are so many, the image as it is first."""
    every = product((False, True), repeat=3)
    return tuple(Geometry(flip_y, flip_x, transpose) for transpose, flip_y, flip_x in every)[:views]
