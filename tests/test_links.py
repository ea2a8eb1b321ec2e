"""Links: what strokes mean, at pixels and at positions, and which strokes are refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.links import Held, Parties, painted_over, read_links, seeds_at

SHAPE = (6, 8)


def seeds_of(links, stride=None, seen=None, box=None, positions=None):
    seen = SHAPE if seen is None else seen
    if positions is None:
        positions = seen if stride is None else [-(-n // s) for n, s in zip(seen, stride)]
    return seeds_at(links, positions, box=box, seen=seen, stride=stride)


def test_no_stroke_is_no_link() -> None:
    assert read_links(None, None, SHAPE) is None
    assert read_links([], (), SHAPE) is None


def test_strokes_that_share_a_pixel_are_one_group_also_through_others() -> None:
    links = read_links([[(0, 0), (0, 1)], [(5, 5)], [(0, 1), (2, 2)]], [([(2, 2)], [(5, 5), (5, 6)])], SHAPE)
    groups = dict(zip(links.pixels.tolist(), links.group.tolist()))
    assert groups == {0: 0, 1: 0, 2 * 8 + 2: 0, 5 * 8 + 5: 1, 5 * 8 + 6: 1}
    assert links.apart.tolist() == [[0, 1]]


def test_a_single_point_is_a_stroke() -> None:
    links = read_links([(2, 3)], [((0, 0), np.array([5, 7], np.uint8))], SHAPE)
    assert links.pixels.tolist() == [0, 2 * 8 + 3, 47]


def test_a_stroke_may_hold_a_pixel_any_number_of_times() -> None:
    links = read_links([[(1, 1)] * 256 + [(1, 2)] * 256], None, SHAPE)
    assert links.pixels.tolist() == [9, 10]
    assert links.group.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("same", "different", "names"),
    [
        ([[(0, 0), (5, 5)]], [([(0, 0)], [(5, 5)])], r"different\[0\] .* same\[0\] makes them one object"),
        (
            [[(3, 3), (4, 4)], [(0, 0), (3, 3)], [(4, 4), (5, 5)]],
            [([(0, 1)], [(0, 2)]), ([(0, 0)], [(5, 5)])],
            r"different\[1\] .* same\[1\] and same\[0\] and same\[2\] makes .*remove different\[1\] or same\[1\]",
        ),
        (None, [([(1, 1), (1, 2)], [(1, 2)])], r"different\[0\] .* both go through pixel \(1, 2\)"),
        (
            None,
            [([(0, 0)], [(5, 5)]), ([(0, 0), (5, 5)], [(2, 2)])],
            r"different\[0\] .* different\[1\]\[0\] makes them one object",
        ),
    ],
)
def test_strokes_that_contradict_each_other_are_named(same, different, names) -> None:
    with pytest.raises(InputError, match=names):
        read_links(same, different, SHAPE)


@pytest.mark.parametrize(
    ("stroke", "complaint"),
    [
        ([(0, 0), (6, 0)], r"same[0] has pixel (6, 0) outside the image of shape (6, 8)"),
        ([(0, -1)], r"same[0] has pixel (0, -1) outside"),
        ([(0.5, 1.0)], r"same[0] must be integers of shape (N, 2)"),
        ([(0, 0, 0)], r"(N, 2), a row for each pixel, got int64 of shape (1, 3)"),
        ([], r"(N, 2)"),
        ([(True, False)], r"integers"),
        ([(1, 2), (1,)], r"same[0] must be integers"),
        ("ab", r"same[0] must be integers"),
        (None, r"same[0] must be integers"),
    ],
)
def test_what_is_no_stroke_is_refused(stroke, complaint) -> None:
    with pytest.raises(InputError, match=re.escape(complaint)):
        read_links([stroke], None, SHAPE)


def test_a_stroke_of_another_form_is_answered_by_the_right_form() -> None:
    with pytest.raises(InputError, match=r"round coordinates"):
        read_links([[(0.5, 1.0)]], None, SHAPE)
    with pytest.raises(InputError, match=r"different is \[\(one, other\)\], a list of pairs of strokes"):
        read_links(None, ((2, 3), (4, 5)), SHAPE)
    with pytest.raises(InputError, match=r"same is \[stroke, stroke\], a list of strokes"):
        read_links([3, 4], None, SHAPE)


def test_lists_that_are_none_are_refused() -> None:
    with pytest.raises(InputError, match="same must be a list, got int"):
        read_links(3, None, SHAPE)
    with pytest.raises(InputError, match=r"different\[0\] holds 3 strokes; expected two"):
        read_links(None, [[(0, 0), (1, 1), (2, 2)]], SHAPE)


def test_at_full_resolution_the_seeds_are_the_strokes() -> None:
    links = read_links([[(0, 0), (0, 1)], [(5, 5)]], [([(3, 3)], [(0, 0)])], SHAPE)
    seeds = seeds_of(links)
    expected = np.zeros(SHAPE, int)
    expected[0, :2], expected[5, 5], expected[3, 3] = 1, 2, 3
    np.testing.assert_array_equal(seeds.numbers, expected)
    assert seeds.apart.tolist() == [[1, 3]]
    assert seeds.seed.tolist() == [1, 2, 3]


def test_a_position_belongs_to_the_group_with_most_pixels_in_it() -> None:
    links = read_links([[(0, 0), (0, 2)], [(0, 1), (1, 0), (1, 1)]], None, SHAPE)
    seeds = seeds_of(links, (2, 2))
    assert seeds.numbers[0, :2].tolist() == [2, 1]


def test_a_group_without_a_position_joins_the_seed_under_it() -> None:
    links = read_links([[(0, 0), (0, 1)], [(1, 1)]], [([(1, 1)], [(4, 4)])], SHAPE)
    seeds = seeds_of(links, (2, 2))
    assert seeds.seed.tolist() == [1, 1, 2]
    assert seeds.apart.tolist() == [[1, 2]]


def test_different_groups_of_one_position_do_not_join() -> None:
    links = read_links([[(0, 0), (0, 1)]], [([(0, 0)], [(1, 1)])], SHAPE)
    seeds = seeds_of(links, (2, 2))
    assert seeds.seed.tolist() == [1, 0]
    labels = np.ones(SHAPE, np.int32)
    painted = painted_over(labels, np.ones((3, 4), np.int32), links, seeds)
    assert (painted == 2).sum() == 1
    assert painted[1, 1] == 2


def test_two_groups_that_are_different_do_not_join_one_seed() -> None:
    big = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]
    links = read_links([big], [([(1, 1)], [(1, 2)])], SHAPE)
    seeds = seeds_of(links, (2, 4))
    assert sorted(seeds.seed.tolist()) == [0, 1, 1]
    assert seeds.apart.tolist() == []


def test_pixels_lie_where_their_labels_come_from_at_any_scale() -> None:
    links = read_links([[(5, 7)], [(2, 4)]], None, SHAPE)
    seeds = seeds_of(links, seen=(3, 4))
    assert np.argwhere(seeds.numbers == 1).tolist() == [[2, 3]]
    assert np.argwhere(seeds.numbers == 2).tolist() == [[1, 2]]
    seeds = seeds_of(links, seen=(12, 16))
    assert np.argwhere(seeds.numbers == 1).tolist() == [[11, 15]]


def test_pixels_outside_of_the_embedded_part_have_no_position() -> None:
    links = read_links([[(0, 0)], [(3, 4), (0, 1)]], None, SHAPE)
    seeds = seeds_of(links, box=(slice(2, 6), slice(4, 8)), seen=(4, 4))
    assert seeds.seed.tolist() == [0, 1]
    assert np.argwhere(seeds.numbers).tolist() == [[1, 0]]
    outside = seeds_of(links, box=(slice(4, 6), slice(4, 8)), seen=(2, 4))
    assert not outside.numbers.any()
    assert len(outside.held.places) == 0


def test_parties_join_unless_they_are_apart() -> None:
    parties = Parties(5, np.array([[0, 1], [2, 3]]))
    assert parties.join(0, 2)
    assert parties.join(2, 0)
    assert parties.apart(3, 0)
    assert parties.apart(1, 2)
    assert not parties.join(1, 2)
    assert parties.join(1, 3)
    assert not parties.join(3, 0)
    assert parties.join(4, 1)
    assert parties.apart(4, 2)
    assert [parties.of(0) == parties.of(n) for n in range(5)] == [True, False, True, False, False]


def test_held_objects_are_found_under_any_numbers() -> None:
    labels = np.array([[4, 4, 0], [9, 9, 9]], np.uint8)
    assert Held(np.array([1, 3]), np.zeros((0, 2), int)).objects(labels).tolist() == [4, 9]
