"""Stitching: which objects two views agree on, and the numbers of the objects that pieces form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pixel_embedded_affinity.labels import relabel
from pixel_embedded_affinity.large.stitching import Pieces, matches, numbers, pieces
from pixel_embedded_affinity.postprocess import clear_border, remove_small

Array = np.ndarray[Any, np.dtype[Any]]
many = settings(max_examples=60, deadline=None)
shapes = st.sampled_from([(6, 7), (3, 4, 5)])
pairs_of_views = shapes.flatmap(
    lambda shape: st.tuples(*[hnp.arrays(np.int32, shape, elements=st.integers(0, 4))] * 2)
)
blocks = shapes.flatmap(lambda shape: hnp.arrays(np.int32, shape, elements=st.integers(0, 5)))
NONE = np.zeros((0, 2), np.int64)


def agreed(one: Array, other: Array) -> list[list[int]]:
    """Compare all pairs of objects, mask by mask."""
    found = []
    for a in range(1, one.max() + 1):
        for b in range(1, other.max() + 1):
            shared = ((one == a) & (other == b)).sum()
            if 2 * shared > (one == a).sum() and 2 * shared > (other == b).sum():
                found.append([a, b])
    return found


@many
@given(both=pairs_of_views)
def test_objects_match_where_each_has_most_of_its_pixels_in_the_other(both: tuple[Array, Array]) -> None:
    one, other = both
    assert matches(one, other).tolist() == agreed(one, other)


@many
@given(both=pairs_of_views)
def test_no_object_matches_two_and_the_order_of_the_views_does_not_matter(both: tuple[Array, Array]) -> None:
    one, other = both
    found = matches(one, other)
    assert all(len(set(side)) == len(side) for side in found.T.tolist())
    assert sorted(map(tuple, matches(other, one)[:, ::-1])) == sorted(map(tuple, found))


def test_half_is_not_most() -> None:
    assert matches(np.array([[1, 1]], np.int32), np.array([[1, 2]], np.int32)).tolist() == []
    assert matches(np.array([[1, 1, 1]], np.int32), np.array([[2, 2, 0]], np.int32)).tolist() == [[1, 2]]


def test_pieces_know_their_place_in_the_whole_image() -> None:
    core = np.array([[0, 3], [1, 3]], np.int32)
    found = pieces(core, 4, (2, 5), (4, 8))
    assert found.areas.tolist() == [1, 0, 2, 0]
    assert found.firsts[[0, 2]].tolist() == [3 * 8 + 5, 2 * 8 + 6]
    assert found.on_border.tolist() == [True, False, True, False]  # row 3 is the last of the image
    assert not pieces(core, 4, (1, 5), (4, 8)).on_border.any()
    assert pieces(core, 4, (1, 0), (4, 8)).on_border.tolist() == [True, False, False, False]


def whole(labels: Array) -> Pieces:
    return pieces(labels, int(labels.max()), (0,) * labels.ndim, labels.shape)


@many
@given(labels=blocks, min_size=st.integers(0, 6))
def test_one_block_is_numbered_as_an_image(labels: Array, min_size: int) -> None:
    table = np.concatenate(([0], numbers(whole(labels), NONE, min_size=min_size)))
    np.testing.assert_array_equal(table[labels], remove_small(labels, min_size))


@many
@given(labels=blocks)
def test_objects_on_the_border_are_cleared(labels: Array) -> None:
    table = np.concatenate(([0], numbers(whole(labels), NONE, clear_border=True)))
    np.testing.assert_array_equal(table[labels], clear_border(labels))


@many
@given(
    labels=hnp.arrays(np.int32, (5, 6), elements=st.integers(0, 8)),
    pairs=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=6),
)
def test_what_pairs_connect_is_one_object(labels: Array, pairs: list[tuple[int, int]]) -> None:
    labels[0, 0] = 8  # so that there are eight pieces
    table = np.concatenate(([0], numbers(whole(labels), np.array(pairs, np.int64).reshape(-1, 2))))
    merged = labels.copy()
    for _ in range(8):
        for one, other in pairs:
            low, high = sorted(
                (merged[labels == one + 1].max(initial=0), merged[labels == other + 1].max(initial=0))
            )
            if low > 0:
                merged[merged == high] = low
    if all((labels == index + 1).any() for pair in pairs for index in pair):
        np.testing.assert_array_equal(table[labels], relabel(merged))


def test_a_piece_outside_every_core_joins_what_it_matches_and_is_nothing_itself() -> None:
    found = Pieces(np.array([4, 0, 3, 0]), np.array([10, 99, 2, 99]), np.zeros(4, bool))
    chain = np.array([[0, 1], [1, 2]])
    assert numbers(found, chain).tolist() == [1, 1, 1, 0]
    assert numbers(found, NONE).tolist() == [2, 0, 1, 0]
    assert numbers(found, chain, min_size=7).tolist() == [1, 1, 1, 0]
    assert numbers(found, NONE, min_size=4).tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("clear", [False, True])
def test_nothing_is_numbered_where_there_is_nothing(clear: bool) -> None:
    empty = pieces(np.zeros((3, 3), np.int32), 0, (0, 0), (3, 3))
    assert numbers(empty, NONE, clear_border=clear).tolist() == []
