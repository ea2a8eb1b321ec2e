"""Work ahead: the same results in the same order, one item ahead, errors where they belong."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from pixel_embedded_affinity.runtime.ahead import one_ahead


def same(item: Any) -> Any:
    return item


class Prepared:
    """What may be watched being forgotten."""

    def __init__(self, item: int) -> None:
        self.item = item


def test_results_come_in_order() -> None:
    squared = one_ahead(lambda item: item * item, lambda square: square + 1, range(20))
    assert list(squared) == [item * item + 1 for item in range(20)]
    assert list(one_ahead(same, same, [])) == []


def test_the_next_item_is_prepared_while_the_one_before_is_finished() -> None:
    prepared = [threading.Event() for _ in range(2)]
    threads = []

    def prepare(item: int) -> int:
        prepared[item].set()
        return item

    def finish(item: int) -> int:
        assert prepared[1].wait(timeout=60)
        threads.append(threading.current_thread())
        return item

    assert list(one_ahead(prepare, finish, range(2))) == [0, 1]
    assert threads[0] is threads[1] is not threading.current_thread()


def test_items_are_taken_and_prepared_here_and_no_more_than_one_ahead() -> None:
    taken, prepared = [], []

    def items() -> Iterator[int]:
        for item in range(5):
            taken.append((item, threading.current_thread()))
            yield item

    def prepare(item: int) -> int:
        prepared.append((item, threading.current_thread()))
        return item

    found = one_ahead(prepare, same, items())
    assert taken == []
    next(found)
    assert taken == prepared == [(0, threading.current_thread()), (1, threading.current_thread())]


@pytest.mark.parametrize("step", ["prepare", "finish"])
def test_an_error_comes_where_its_result_would_have_come(step: str) -> None:
    functions = {"prepare": same, "finish": same, step: lambda item: 1 / item}
    found = one_ahead(functions["prepare"], functions["finish"], [1, 2, 0, 4])
    assert [float(next(found)), next(found)] == [1, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(found)
    assert list(found) == []


def test_nothing_is_prepared_after_an_item_that_is_known_to_have_failed() -> None:
    prepared = []

    def prepare(item: int) -> float:
        prepared.append(item)
        return 1 / item

    found = one_ahead(prepare, same, [1, 0, 3])
    assert next(found) == 1
    with pytest.raises(ZeroDivisionError):
        next(found)
    assert prepared == [1, 0]


def test_what_was_prepared_is_kept_for_two_items_at_most() -> None:
    alive: weakref.WeakSet[Prepared] = weakref.WeakSet()

    def prepare(item: int) -> Prepared:
        until = time.monotonic() + 60  # the thread lets go of an item just after its result is there
        while len(alive) > 1 and time.monotonic() < until:
            time.sleep(0.001)
        assert len(alive) <= 1
        prepared = Prepared(item)
        alive.add(prepared)
        return prepared

    assert list(one_ahead(prepare, lambda prepared: prepared.item, range(20))) == list(range(20))


def test_an_error_of_the_items_comes_after_all_that_was_before() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    found = one_ahead(same, str, items())
    assert next(found) == "1"
    with pytest.raises(OSError, match="the disk is gone"):
        next(found)


def test_a_closed_iterator_leaves_no_thread_and_takes_nothing_more() -> None:
    seen: list[int] = []
    found = one_ahead(seen.append, same, iter(range(100)))
    next(found)
    found.close()
    assert seen == [0, 1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
