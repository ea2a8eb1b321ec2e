"""Checks of a recipe's values, with one wording for all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pixel_embedded_affinity.errors import InputError


def require_at_least(name: str, value: float, bound: float) -> None:
    """Refuse a number that is below a bound, or not finite.

    Raises
    ------
    InputError
        Naming the key.
    """
    if not (math.isfinite(value) and value >= bound):
        raise InputError(f"{name} must be a finite number of at least {bound}, got {value}")


def require_above(name: str, value: float, bound: float) -> None:
    """Refuse a number that is not above a bound, or not finite.

    Raises
    ------
    InputError
        Naming the key.
    """
    if not (math.isfinite(value) and value > bound):
        raise InputError(f"{name} must be a finite number above {bound}, got {value}")


def require_one_of(name: str, value: Any, valid: Sequence[Any]) -> None:
    """Refuse a value that is not one of the valid ones.

    Raises
    ------
    InputError
        Naming the key and the valid values.
    """
    if value not in valid:
        raise InputError(f"{name} must be one of {', '.join(map(repr, valid))}, got {value!r}")
