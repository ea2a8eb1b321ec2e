"""``benchmarks/voi_parts.py`` tells what is nobody's fault from what is."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest


def parts(printed: str) -> list[dict[str, float]]:
    """The numbers of each line."""
    lines = printed.replace("merged", "merges ").splitlines()
    return [
        {
            word: float(number)
            for word, number in re.findall(r"(borders|pieces|splits|merges) (\d\.\d+)", line)
        }
        for line in lines
    ]


@pytest.fixture
def truth() -> np.ndarray:
    """Two neurons of equal size, of which the second has two arms that do not meet."""
    labels = np.ones((2, 40, 40), np.int32)
    labels[:, 20:], labels[:, 20:, 18:22] = 2, 0
    return labels


@pytest.fixture
def voi_parts(load: Any) -> Any:
    return load("voi_parts")


def test_arms_that_do_not_meet_are_pieces(
    truth: np.ndarray, voi_parts: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    found = truth.copy()
    found[:, 20:, :20][found[:, 20:, :20] > 0] = 3
    voi_parts.report("v", truth, found, [2])
    whole, inner = parts(capsys.readouterr().out)
    assert whole["pieces"] > 0.4
    assert inner["pieces"] > 0.4
    assert inner["splits"] == pytest.approx(0, abs=0.002)
    assert inner["merges"] == pytest.approx(0, abs=0.002)
    # The share of the arms is another one without the voxels beside borders.
    assert inner["borders"] == pytest.approx(whole["pieces"] - inner["pieces"], abs=0.002)


def test_a_border_in_another_place_is_a_border(
    truth: np.ndarray, voi_parts: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = np.where(truth == 0, 2, truth)
    found = truth.copy()
    found[:, 20] = 1
    voi_parts.report("v", truth, found, [1, 2])
    whole, near, far = parts(capsys.readouterr().out)
    assert whole["pieces"] == 0
    for line in (near, far):
        assert line["borders"] > 0.1
        assert line["splits"] == line["merges"] == 0


def test_one_object_for_all_is_a_merge(
    truth: np.ndarray, voi_parts: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = np.where(truth == 0, 2, truth)
    voi_parts.report("v", truth, np.ones_like(truth), [1])
    assert parts(capsys.readouterr().out)[1]["merges"] == pytest.approx(1, abs=0.01)


def test_distances_count_from_the_border(voi_parts: Any) -> None:
    section = np.ones((1, 5, 9), int)
    section[:, :, 4:] = 2
    np.testing.assert_array_equal(voi_parts.to_border(section)[0, 2], [4, 3, 2, 1, 1, 2, 3, 4, 5])
    assert np.isinf(voi_parts.to_border(np.ones((1, 4, 4), int))).all()
