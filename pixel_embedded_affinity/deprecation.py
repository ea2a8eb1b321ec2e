"""Deprecations: what will go, in which release, and what to use in its place."""

from __future__ import annotations

import functools
import inspect
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from pixel_embedded_affinity.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?!\d)")
_declared: list[Deprecation] = []


@dataclass(frozen=True)
class Deprecation:
    """One thing that will go.

    Parameters
    ----------
    what : str
        As the user knows it, such as ``"Segmenter.cut()"`` or ``"argument 'size' of Segmenter.segment()"``.
    since : str
        First release that warns, such as ``"1.3"``.
    removal : str
        First release without it: the next major one at the earliest, or, before 1.0, the next minor one.
    instead : str
        What to use in its place, as the end of a sentence that begins with "use".

    Raises
    ------
    InputError
        If a release is no version number, or the time between the two is too short.
    """

    what: str
    since: str
    removal: str
    instead: str

    def __post_init__(self) -> None:
        since, removal = _release(self.since), _release(self.removal)
        # Before 1.0 the minor number does what the major number does afterwards.
        counted = 1 if since[0] else 2
        if removal[:counted] <= since[:counted]:
            kind = "major" if since[0] else "minor"
            raise InputError(
                f"{self.what} is deprecated since {self.since} and removed in {self.removal}; expected "
                f"removal in the next {kind} release or later; warn for longer"
            )

    @property
    def message(self) -> str:
        """One line that says what goes, when, and what to use."""
        return (
            f"{self.what} is deprecated since {self.since} and goes in release {self.removal}; "
            f"use {self.instead}"
        )

    def is_overdue(self, version: str) -> bool:
        """Tell whether a release, or a development version on the way to it, must not have it any more."""
        return _release(version) >= _release(self.removal)

    def warn(self, *, stacklevel: int = 2) -> None:
        """Warn, at the place of the caller's caller by default."""
        # DeprecationWarning is hidden outside of __main__, and so from those who call us in their own modules.
        warnings.warn(self.message, FutureWarning, stacklevel=stacklevel + 1)


def declared() -> tuple[Deprecation, ...]:
    """Return the deprecations of all modules that are imported so far."""
    return tuple(_declared)


def deprecated(*, since: str, removal: str, instead: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function, a method or a class's ``__init__`` that will go: each call warns.

    Parameters
    ----------
    since, removal, instead : str
        See `Deprecation`.

    Returns
    -------
    callable
        The decorator; the decorated function does what it did.

    Raises
    ------
    InputError
        See `Deprecation`.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        deprecation = _declare(Deprecation(_name(function), since, removal, instead))

        @functools.wraps(function)
        def warning(*args: P.args, **kwargs: P.kwargs) -> R:
            deprecation.warn()
            return function(*args, **kwargs)

        return warning

    return decorate


def deprecated_argument(
    name: str, *, since: str, removal: str, instead: str, renamed_to: str | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function of which a keyword argument will go: each call that gives it warns.

    Parameters
    ----------
    name : str
        The argument. It is keyword-only in the function, unless it is renamed: then the function has only
        the new one, and callers may still use the old name.
    since, removal, instead : str
        See `Deprecation`.
    renamed_to : str, optional
        The new name, under which the function gets the value.

    Returns
    -------
    callable
        The decorator.

    Raises
    ------
    InputError
        See `Deprecation`; or if the function's arguments are not as described. The decorated function
        raises it if it is called with both names.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        _check_argument(function, name, renamed_to)
        what = f"argument '{name}' of {_name(function)}"
        deprecation = _declare(Deprecation(what, since, removal, instead))

        @functools.wraps(function)
        def warning(*args: P.args, **kwargs: P.kwargs) -> R:
            if name in kwargs:
                deprecation.warn()
                _rename(kwargs, name, renamed_to)
            return function(*args, **kwargs)

        return warning

    return decorate


def _declare(deprecation: Deprecation) -> Deprecation:
    _declared.append(deprecation)
    return deprecation


def _release(version: str) -> tuple[int, int, int]:
    """Numbers of a version; ``"0.4.0.dev1"`` and ``"0.4rc1"`` count as 0.4.0."""
    found = _VERSION.match(version)
    if found is None:
        raise InputError(f"version {version!r}; expected a release such as '1.3' or '1.3.0'")
    major, minor, patch = found.groups(default="0")
    return int(major), int(minor), int(patch)


def _name(function: Callable[..., Any]) -> str:
    return f"{function.__qualname__.removesuffix('.__init__')}()"


def _check_argument(function: Callable[..., Any], name: str, renamed_to: str | None) -> None:
    parameters = inspect.signature(function).parameters
    if renamed_to is not None:
        if name in parameters or renamed_to not in parameters:
            raise InputError(
                f"{_name(function)} takes {', '.join(parameters)}; expected '{renamed_to}' and no longer '{name}'"
            )
    elif name not in parameters or parameters[name].kind is not inspect.Parameter.KEYWORD_ONLY:
        # Given by position it could not be told from its neighbors, and would go without a warning.
        raise InputError(f"'{name}' is no keyword-only argument of {_name(function)}; move it behind a '*'")


def _rename(arguments: dict[str, Any], name: str, renamed_to: str | None) -> None:
    if renamed_to is None:
        return
    if renamed_to in arguments:
        raise InputError(
            f"both '{name}' and '{renamed_to}' are given, its new name; give only '{renamed_to}'"
        )
    arguments[renamed_to] = arguments.pop(name)
