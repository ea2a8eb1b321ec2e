"""Check one value for all axes of an image, or one per axis, and make a tuple of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import as_integer

T = TypeVar("T", int, float)


def per_axis(value: Any, ndim: int, name: str, *, least: int = 1) -> tuple[int, ...]:
    """Return one integer per axis.

    Parameters
    ----------
    value : int or sequence of int
        One for all axes, or one per axis. Integers of NumPy are integers, bools are not.
    ndim : int
        Number of spatial axes.
    name : str
        What a message calls the value.
    least : int
        Lowest valid integer.

    Raises
    ------
    InputError
        If it is neither an integer of at least `least` nor `ndim` of them.
    """
    found = _spread(value, ndim, lambda one: integer(one, least))
    if found is None:
        raise InputError(
            f"{name} must be an integer of at least {least}, or {ndim} of them, one per axis, in pixels, got {value!r}"
        )
    return found


def numbers_per_axis(value: Any, ndim: int, name: str) -> tuple[float, ...]:
    """Return one positive finite number per axis, as `per_axis` does for integers.

    Raises
    ------
    InputError
        If it is neither a positive finite number nor `ndim` of them.
    """
    found = _spread(value, ndim, positive)
    if found is None:
        raise InputError(f"{name} must be a positive number, or {ndim} of them, one per axis, got {value!r}")
    return found


def listed(value: Any) -> list[Any] | None:
    """Items of a list, a tuple or an array of one axis; None for anything else."""
    if isinstance(value, np.ndarray):
        return list(value) if value.ndim == 1 else None
    return list(value) if isinstance(value, (list, tuple)) else None


def integer(value: Any, least: int) -> int | None:
    """An integer of at least `least`; None for anything else, also for bools."""
    try:
        number = as_integer(value)
    except TypeError:
        return None
    return number if number >= least else None


def positive(value: Any) -> float | None:
    """A positive finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if 0 < number < math.inf else None


def _spread(value: Any, ndim: int, checked: Callable[[Any], T | None]) -> tuple[T, ...] | None:
    """The checked value for each axis; None if a value is not valid, or their number is not `ndim`."""
    items = listed(value)
    found = [checked(item) for item in ([value] * ndim if items is None else items)]
    valid = tuple(item for item in found if item is not None)
    return valid if len(valid) == len(found) == ndim else None
