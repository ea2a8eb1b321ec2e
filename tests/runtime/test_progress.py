"""Progress: silence, a bar, or the caller's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.runtime.progress import track


def test_without_progress_the_items_come_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    items = [3, 1, 2]
    assert track(items) is items
    assert track(items, False, total=3) is items
    assert capsys.readouterr() == ("", "")


def test_true_shows_a_bar_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(iter("abc"), True, total=3, desc="letters")) == ["a", "b", "c"]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "letters" in shown.err
    assert "3/3" in shown.err


def test_a_callable_is_used_as_tqdm_is() -> None:
    calls: list[dict[str, Any]] = []

    def bar(items: Iterable[int], **details: Any) -> Iterator[int]:
        calls.append(details)
        yield from items

    assert list(track([1, 2], bar, total=2, desc="numbers")) == [1, 2]
    assert calls == [{"total": 2, "desc": "numbers"}]


def test_tqdm_itself_may_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    from tqdm import tqdm

    assert list(track([1, 2], tqdm, desc="given")) == [1, 2]
    assert "given" in capsys.readouterr().err


@pytest.mark.parametrize("progress", [None, 1, 0, "tqdm", []])
def test_anything_else_is_refused(progress: Any) -> None:
    with pytest.raises(InputError) as caught:
        track([1], progress)
    assert str(caught.value) == f"progress must be True, False or a callable such as tqdm, got {progress!r}"
