"""Views of an image: flipped, with axes swapped, and mapped back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any, TypeVar

import numpy as np

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.per_axis import integer

Images = TypeVar("Images")
"""Arrays of NumPy or tensors of torch: what comes is what is given back."""

_MEANINGS = {
    1: "1 shows the network the image as it is",
    4: "4 also its flips along y and x",
    8: "8 also along z",
}


@dataclass(frozen=True)
class Geometry:
    """Flips of axes, then another order of them; the geometric part of a view.

    Attributes
    ----------
    flips : tuple of bool
        Whether each spatial axis is flipped.
    order : tuple of int
        Which axis of the image becomes each axis of the view.
    """

    flips: tuple[bool, ...]
    order: tuple[int, ...]

    def apply(self, images: Images) -> Images:
        """Transform the last axes of an array or a tensor, as many as there are flips."""
        seen: Images = _permuted(self._flipped(images), self.order)
        return seen

    def invert(self, images: Images) -> Images:
        """Undo `apply` exactly."""
        axes = range(len(self.order))
        upright: Images = self._flipped(_permuted(images, sorted(axes, key=self.order.__getitem__)))
        return upright

    def _flipped(self, images: Any) -> Any:
        axes = tuple(axis - len(self.flips) for axis, flip in enumerate(self.flips) if flip)
        if isinstance(images, np.ndarray):
            return np.flip(images, axes)
        return images.flip(axes) if axes else images


def checked_views(views: Any, ndim: int = 2, pixel_size: Sequence[Any] | None = None) -> int:
    """Return a number of views as an int; parameters as for `geometries`.

    Raises
    ------
    InputError
        If an image with these axes does not have this number of views.
    """
    count = integer(views, 1)
    valid = _counts(ndim, pixel_size)
    if count not in valid:
        *rest, last = map(str, valid)
        raise InputError(
            f"views must be {', '.join(rest)} or {last}, got {views!r}; {_explained(valid, ndim)}"
        )
    return count


def geometries(views: int, ndim: int = 2, pixel_size: Sequence[Any] | None = None) -> tuple[Geometry, ...]:
    """Return the first views of an image; the first one is the image as it is.

    Flips along y and x come first, then flips along z, then all of them with axes swapped.

    Parameters
    ----------
    views : int
        Their number: 1, 4, or 8; in 3D also 16, and 48 where all axes are alike.
    ndim : {2, 3}
        Number of spatial axes.
    pixel_size : sequence, optional
        Size of a pixel along each axis; only axes of equal size are swapped. Default: y and x are alike, z is not.

    Raises
    ------
    InputError
        If an image with these axes does not have this number of views.
    """
    flips = product((False, True), repeat=ndim)
    every = [Geometry(flip, order) for order, flip in product(_orders(ndim, pixel_size), flips)]
    return tuple(every[: checked_views(views, ndim, pixel_size)])


def pixel_sizes(ndim: int, pixel_size: Sequence[Any] | None) -> Sequence[Any]:
    """Sizes of a pixel to compare; where they are unknown, y and x are alike, and z differs."""
    return ("z", "yx", "yx")[-ndim:] if pixel_size is None else pixel_size


def _orders(ndim: int, pixel_size: Sequence[Any] | None) -> list[tuple[int, ...]]:
    """Orders of the axes in which each takes the place of an axis of equal size; the present order first."""
    sizes = pixel_sizes(ndim, pixel_size)
    return [
        order
        for order in permutations(range(ndim))
        if all(sizes[axis] == size for axis, size in zip(order, sizes))
    ]


def _counts(ndim: int, pixel_size: Sequence[Any] | None) -> list[int]:
    flips, orders = 2**ndim, len(_orders(ndim, pixel_size))
    return sorted({1, 4, flips, *(flips * count for count in (2, orders) if count <= orders)})


def _explained(valid: list[int], ndim: int) -> str:
    """What the numbers of views mean."""
    flips = [text for count, text in _MEANINGS.items() if count <= 2**ndim]
    swapped = [f"{count} also with axes of equal pixel size swapped" for count in valid if count > 2**ndim]
    return ", ".join(flips + swapped)


def _permuted(images: Any, order: Sequence[int]) -> Any:
    """An array or a tensor with another order of its last axes."""
    if list(order) == sorted(order):
        return images
    first = images.ndim - len(order)
    axes = (*range(first), *(first + axis for axis in order))
    return images.transpose(axes) if isinstance(images, np.ndarray) else images.permute(axes)
