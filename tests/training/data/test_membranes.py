"""Membranes: pixels without a label, and pixels beside a border within a section."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pixel_embedded_affinity.training.data.augment import MEMBRANE, OUTSIDE
from pixel_embedded_affinity.training.data.membranes import membranes_marked


def slow_membranes(labels: np.ndarray, width: int) -> np.ndarray:
    """Look at every pixel up to `width` away along y and x, one after the other."""
    marked = labels.copy()
    for place in np.ndindex(*labels.shape):
        others = []
        for axis in (labels.ndim - 2, labels.ndim - 1):
            for step in (*range(-width, 0), *range(1, width + 1)):
                other = list(place)
                other[axis] += step
                if 0 <= other[axis] < labels.shape[axis]:
                    others.append(labels[tuple(other)])
        own = labels[place]
        if own != OUTSIDE and (own == 0 or any(other not in (own, OUTSIDE) for other in others)):
            marked[place] = MEMBRANE
    return marked


@given(
    arrays.arrays(
        np.int32, arrays.array_shapes(min_dims=2, max_dims=3, max_side=6), elements=st.integers(-1, 3)
    ),
    st.integers(1, 3),
)
def test_membranes_are_where_a_search_finds_them(labels: np.ndarray, width: int) -> None:
    before = labels.copy()
    np.testing.assert_array_equal(membranes_marked(labels, width), slow_membranes(labels, width))
    np.testing.assert_array_equal(labels, before)


def test_a_border_between_sections_is_no_membrane() -> None:
    labels = np.stack([np.full((4, 4), 1, np.int32), np.full((4, 4), 2, np.int32)])
    np.testing.assert_array_equal(membranes_marked(labels, 2), labels)


@pytest.mark.parametrize("shape", [(0, 4), (2, 1, 1)])
def test_without_a_width_nothing_is_marked(shape: tuple[int, ...]) -> None:
    labels = np.zeros(shape, np.int32)
    assert membranes_marked(labels, 0) is labels
    assert (membranes_marked(labels, 1) == MEMBRANE).all()
