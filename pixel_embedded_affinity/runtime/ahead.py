"""Overlap in time: one item is prepared while the one before it is finished in a thread."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
V = TypeVar("V")
R = TypeVar("R")

_NOTHING = object()


def overlapped(
    prepare: Callable[[T], V], finish: Callable[[V], R], items: Iterable[T]
) -> Generator[R, None, None]:
    """Prepare and finish items in order, preparing each while the one before it is finished.

    Items are taken and prepared in the consumer's thread, one ahead of what is given, and finished in a thread
    of its own, one at a time: what was prepared is in memory for two items at most. Once the iterator is closed, or
    an item is known to have failed, no further item is taken.

    Parameters
    ----------
    prepare, finish : callable
        What is done to an item, and to what comes of that. What they raise is raised where the result would have
        come.
    items : iterable
        What it raises is raised once all that came before has been given.

    Yields
    ------
    object
        Result of `finish` for each item.
    """
    iterator = iter(items)
    pool = ThreadPoolExecutor(1, thread_name_prefix="overlap")
    try:
        ahead = _started(pool, prepare, finish, iterator)
        while ahead is not None:
            present = ahead
            failed = present.done() and present.exception() is not None
            ahead = None if failed else _started(pool, prepare, finish, iterator)
            yield present.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _started(
    pool: ThreadPoolExecutor, prepare: Callable[[T], V], finish: Callable[[V], R], iterator: Iterator[T]
) -> Future[R] | None:
    """Prepare the next item and start to finish it; None if there is none."""
    try:
        item: Any = next(iterator, _NOTHING)
        return None if item is _NOTHING else pool.submit(finish, prepare(item))
    except Exception as error:
        failed: Future[R] = Future()
        failed.set_exception(error)
        return failed
