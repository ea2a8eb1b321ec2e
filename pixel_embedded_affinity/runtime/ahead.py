"""Work ahead: prepare an item while a thread finishes the one before it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
V = TypeVar("V")
R = TypeVar("R")

_NOTHING = object()


def one_ahead(
    prepare: Callable[[T], V], finish: Callable[[V], R], items: Iterable[T]
) -> Generator[R, None, None]:
    """Prepare and finish items in order; prepare each item while the one before it is finished.

    The consumer's thread prepares items, one ahead; another thread finishes them, one at a time. At most two
    prepared items are in memory. Once the iterator is closed, or an item is known to have failed, no further item is
    taken.

    Parameters
    ----------
    prepare, finish : callable
        `prepare` takes an item, `finish` takes what `prepare` returned. Their errors are raised when the result
        would have come.
    items : iterable
        Its errors are raised after the results of all items before.

    Yields
    ------
    object
        Result of `finish` for each item.
    """
    iterator = iter(items)
    pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
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
