"""More than 5,000 generated hostile inputs; `long_run.py` tries any number of them."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts import loaded

LONG_RUN = Path(__file__).with_name("long_run.py")
PARTS = 4
EACH = 165


long_run = loaded(LONG_RUN)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return long_run.trial_in(tmp_path_factory.mktemp("hostile"))


def test_there_are_more_than_five_thousand() -> None:
    assert len(long_run.KINDS) * PARTS * EACH > 5000


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", long_run.KINDS)
def test_hostile_inputs_give_labels_or_one_of_the_library_s_errors(
    trial: Any, tried: Counter[str], kind: str, part: int
) -> None:
    for number in range(part * EACH, (part + 1) * EACH):
        started = time.process_time()
        try:
            tried[long_run.outcome(trial, kind, number)] += 1
        except Exception as error:
            repeat = f"python {LONG_RUN} --kind '{kind}' --first {number} --count 1"
            raise AssertionError(f"{error!r} instead of labels or a refusal; repeat: {repeat}") from error
        assert time.process_time() - started < long_run.SECONDS


@pytest.mark.parametrize("kind", long_run.KINDS)
def test_some_inputs_are_refused(trial: Any, kind: str) -> None:
    assert len({long_run.outcome(trial, kind, number) for number in range(40)}) > 1


def test_a_number_always_means_the_same_input(trial: Any) -> None:
    outcomes = [[long_run.outcome(trial, "array", number) for number in range(40)] for _ in range(2)]
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    "labels",
    [
        np.zeros((2, 3), np.int64),
        np.zeros(3, np.int32),
        [[1]],
        np.array([[0, 2]], np.int32),
        np.ma.masked_array(np.zeros((2, 3), np.int32)),
    ],
    ids=["int64", "one axis", "list", "gap", "masked"],
)
def test_what_is_no_labels_is_noticed(labels: Any) -> None:
    with pytest.raises(long_run.Bug):
        long_run.check_labels(labels)


def test_other_errors_and_unreadable_messages_are_noticed(
    trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(error: Exception) -> Any:
        def attempt() -> None:
            raise error

        return lambda trial: attempt

    unreadable = long_run.PixelEmbeddedAffinityError()
    for error, expected in ((ValueError("x"), ValueError), (unreadable, long_run.Bug)):
        monkeypatch.setitem(long_run.KINDS, "array", failing(error))
        with pytest.raises(expected):
            long_run.outcome(trial, "array", 0)
