"""Prefetching: the same results in the same order, one item ahead, errors where they belong."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from pixel_embedded_affinity.prefetch import prefetched


def test_results_come_in_order() -> None:
    assert list(prefetched(lambda item: item * item, range(20))) == [item * item for item in range(20)]
    assert list(prefetched(str, [])) == []


def test_the_next_item_is_prepared_while_the_present_one_is_used() -> None:
    prepared = [threading.Event() for _ in range(2)]

    def prepare(item: int) -> int:
        prepared[item].set()
        return item

    found = prefetched(prepare, range(2))
    assert next(found) == 0
    assert prepared[1].wait(timeout=60)


def test_items_are_taken_here_and_no_more_than_one_ahead() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(5):
            taken.append((item, threading.current_thread()))
            yield item

    found = prefetched(str, items())
    assert taken == []
    next(found)
    assert taken == [(0, threading.current_thread()), (1, threading.current_thread())]


def test_an_error_comes_where_its_result_would_have_come() -> None:
    found = prefetched(lambda item: 1 / item, [1, 2, 0, 4])
    assert [next(found), next(found)] == [1, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(found)
    assert list(found) == []


def test_an_error_of_the_items_comes_after_all_that_was_before() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    found = prefetched(str, items())
    assert next(found) == "1"
    with pytest.raises(OSError, match="the disk is gone"):
        next(found)


def test_a_closed_iterator_leaves_no_thread_and_prepares_nothing_more() -> None:
    seen = []
    found = prefetched(seen.append, iter(range(100)))
    next(found)
    found.close()
    count = len(seen)
    assert count <= 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]
    assert len(seen) == count
