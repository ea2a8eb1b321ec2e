"""Prefetching: the next item is prepared in a thread while the present one is used."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def prefetched(prepare: Callable[[T], R], items: Iterable[T]) -> Generator[R, None, None]:
    """Apply a function to items in order, one item ahead of the consumer.

    Items are taken in the consumer's thread; the function runs in a thread of its own, one item at a time.
    Once the iterator is closed no further item is prepared.

    Parameters
    ----------
    prepare : callable
        What is done to an item. What it raises is raised where its result would have come.
    items : iterable
        What it raises is raised once all that came before has been used.

    Yields
    ------
    object
        Result of the function for each item.
    """
    iterator = iter(items)
    pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    try:
        ahead = _submitted(pool, prepare, iterator)
        while ahead is not None:
            present, ahead = ahead, _submitted(pool, prepare, iterator)
            yield present.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _submitted(
    pool: ThreadPoolExecutor, prepare: Callable[[T], R], iterator: Iterator[T]
) -> Future[R] | None:
    """Start on the next item; None if there is none."""
    try:
        item = next(iterator)
    except StopIteration:
        return None
    except Exception as error:
        failed: Future[R] = Future()
        failed.set_exception(error)
        return failed
    return pool.submit(prepare, item)
