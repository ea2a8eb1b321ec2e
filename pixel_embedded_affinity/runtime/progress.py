"""Progress: one adapter for a bar, another library's bar, or silence."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pixel_embedded_affinity.errors import InputError

T = TypeVar("T")
Progress = bool | Callable[..., Iterable[Any]]


def track(items: Iterable[T], progress: Progress = False, **details: Any) -> Iterable[T]:
    """Iterate with a progress bar, or without.

    Parameters
    ----------
    items : iterable
        What to iterate over.
    progress : bool or callable
        False: no bar. True: a ``tqdm`` bar on standard error. A callable: called as
        ``progress(items, **details)``, as ``tqdm`` is.
    **details
        Passed to the bar, such as ``total`` or ``desc``.

    Raises
    ------
    InputError
        If `progress` is neither.
    """
    if progress is False:
        return items
    if progress is True:
        from tqdm import tqdm

        bar: Iterable[T] = tqdm(items, **details)
        return bar
    if not callable(progress):
        raise InputError(f"progress must be True, False or a callable such as tqdm, got {progress!r}")
    return progress(items, **details)
