"""How a conformance suite runs its checks, and what a failed check raises."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from pixel_embedded_affinity.errors import InputError, PixelEmbeddedAffinityError

T = TypeVar("T")


class ConformanceError(PixelEmbeddedAffinityError, AssertionError):
    """A clusterer or an architecture that does not keep the contract of its kind."""


def require(condition: bool, complaint: str) -> None:
    """Raise a `ConformanceError` unless a condition holds."""
    if not condition:
        raise ConformanceError(complaint)


def checks_of(names: Mapping[str, Any]) -> dict[str, Callable[[Any], None]]:
    """Return the checks among the names of a module, in their order: functions called ``_check_NAME``."""
    prefix = "_check_"
    return {name.removeprefix(prefix): value for name, value in names.items() if name.startswith(prefix)}


def run_checks(checks: Mapping[str, Callable[[T], None]], subject: T, skip: Collection[str]) -> None:
    """Run the checks of a suite except those to skip; the error of a failed check starts with its name.

    Raises
    ------
    ConformanceError
        If a check fails.
    InputError
        If `skip` holds a name that is not one of the checks.
    """
    if isinstance(skip, str) or not set(skip) <= set(checks):
        raise InputError(f"skip must be a collection of names among {list(checks)}, got {skip!r}")
    for name, check in checks.items():
        if name not in skip:
            try:
                check(subject)
            except ConformanceError as error:
                raise ConformanceError(f"check {name!r} failed: {error}") from error.__cause__
