"""One value for all axes or one per axis: anything else is refused in one line that says what is valid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.per_axis import numbers_per_axis, per_axis


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("value", [7, np.int64(7), np.uint8(7), np.array(7)])
def test_one_integer_is_that_of_each_axis(value: Any, ndim: int) -> None:
    found = per_axis(value, ndim, "tile")
    assert found == (7,) * ndim
    assert {type(one) for one in found} == {int}


@pytest.mark.parametrize("value", [(4, 5, 6), [4, 5, 6], np.array([4, 5, 6]), (np.int8(4), 5, np.uint64(6))])
def test_integers_are_one_per_axis(value: Any) -> None:
    assert per_axis(value, 3, "tile") == (4, 5, 6)


@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, 2.0, True, np.True_, "7", b"7", None, (), float("nan"), 1j, {1, 2, 3}, {1: 2}),
        *((1, 2), (1, 2, 3, 4), (1, 2, 0), (1, 2, True), (1, 2.0, 3), [[1], [2], [3]]),
        *(np.ones((3, 1), int), np.ones(3)),
    ],
)
def test_anything_else_is_refused_in_one_line(value: Any) -> None:
    with pytest.raises(InputError) as caught:
        per_axis(value, 3, "tile")
    expected = "tile must be an integer of at least 1, or 3 of them, one per axis, in pixels, got "
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)


def test_the_least_integer_is_the_caller_s() -> None:
    assert per_axis((0, 1), 2, "halo", least=0) == (0, 1)
    with pytest.raises(InputError, match="halo must be an integer of at least 0, or 2 of them"):
        per_axis(-1, 2, "halo", least=0)


def test_numbers_are_positive_and_finite() -> None:
    assert numbers_per_axis(np.float32(0.5), 3, "scale") == (0.5, 0.5, 0.5)
    assert numbers_per_axis([2, 0.5], 2, "scale") == (2.0, 0.5)
    for value in (0, -1.0, np.nan, np.inf, 10**400, True, "1", (1, 2), (1, 2, 0), None):
        with pytest.raises(
            InputError, match="scale must be a positive number, or 3 of them, one per axis, got"
        ):
            numbers_per_axis(value, 3, "scale")
