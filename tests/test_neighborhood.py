"""Neighborhoods: what is built from ranges and directions, how it prints, and what is refused."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixel_embedded_affinity.errors import InputError, MissingDependencyError
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.testing import neighborhoods


def refusal(*arguments: Any, **settings: Any) -> str:
    with pytest.raises(InputError) as caught:
        Neighborhood(*arguments, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def refused_ranges(*arguments: Any, **settings: Any) -> str:
    with pytest.raises(InputError) as caught:
        Neighborhood.from_ranges(*arguments, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- from ranges ------------------------------------------------------------------------------------------


def test_four_directions_give_the_published_offsets() -> None:
    neighborhood = Neighborhood.from_ranges([1, 3])
    assert neighborhood.offsets == ((-1, 0), (0, -1), (-3, 0), (0, -3))
    assert neighborhood.attractive == (True, True, False, False)
    assert neighborhood.repulsive == (False, False, True, True)


def test_eight_directions_add_both_diagonals_which_repel() -> None:
    neighborhood = Neighborhood.from_ranges([1, 2], 8)
    assert neighborhood.offsets[:4] == ((-1, 0), (0, -1), (-1, -1), (-1, 1))
    assert neighborhood.offsets[4:] == ((-2, 0), (0, -2), (-2, -2), (-2, 2))
    assert neighborhood.attractive == (True, True, *[False] * 6)


@pytest.mark.parametrize("directions", [4, 8, 6, 18, 26])
def test_offsets_and_their_opposites_are_the_full_neighborhood(directions: int) -> None:
    neighborhood = Neighborhood.from_ranges([1], directions)
    both = {tuple(sign * o for o in offset) for offset in neighborhood.offsets for sign in (-1, 1)}
    ndim = 2 if directions in (4, 8) else 3
    most = {4: 1, 8: 2, 6: 1, 18: 2, 26: 3}[directions]
    steps = np.stack(np.meshgrid(*[[-1, 0, 1]] * ndim), -1).reshape(-1, ndim).tolist()
    assert both == {tuple(step) for step in steps if 1 <= sum(map(abs, step)) <= most}
    assert len(neighborhood) == directions // 2
    assert neighborhood.ndim == ndim


def test_ranges_per_axis_scale_each_axis_and_common_offsets_appear_once() -> None:
    neighborhood = Neighborhood.from_ranges([(1, 1, 1), (1, 3, 3), (2, 9, 9)], 6)
    assert neighborhood.offsets == (
        (-1, 0, 0),
        (0, -1, 0),
        (0, 0, -1),
        (0, -3, 0),
        (0, 0, -3),
        (-2, 0, 0),
        (0, -9, 0),
        (0, 0, -9),
    )
    assert sum(neighborhood.attractive) == 3


def test_without_range_one_nothing_attracts() -> None:
    assert not any(Neighborhood.from_ranges([3, 9]).attractive)


def test_ranges_may_be_numpy_or_torch_integers_and_come_out_as_plain_ones() -> None:
    expected = Neighborhood.from_ranges([1, 3], strides=5)
    for ranges in (np.array([1, 3], np.uint8), torch.tensor([1, 3]), range(1, 4, 2)):
        found = Neighborhood.from_ranges(ranges, strides=np.int64(5))
        assert found == expected
        assert all(type(o) is int for offset in found.offsets for o in offset)


@pytest.mark.parametrize(
    ("ranges", "directions", "message"),
    [
        ([], 4, "ranges is empty"),
        ([1, 1], 4, "must differ"),
        ([(1, 3), (1, 3)], 4, "must differ"),
        ([0], 4, "ranges must be positive, got 0"),
        ([-1], 4, "ranges must be positive, got -1"),
        ([1.0], 4, "must hold integers, got 1.0 of type float"),
        ([True], 4, "must hold integers, got True"),
        (torch.tensor([1.0]), 4, "must hold integers"),
        (np.array([1.0]), 4, "must hold integers"),
        (["1"], 4, "must hold integers, got '1'"),
        ("13", 4, "must be a sequence, got '13'"),
        (5, 4, "must be a sequence, got 5"),
        (None, 4, "must be a sequence, got None"),
        ([(1, 1, 1)], 4, "must have 2 distances"),
        ([(1, 1)], 6, "must have 3 distances"),
        ([()], 4, "must have 2 distances"),
        ([1], 5, "one of 4, 8 .2D., 6, 18, 26 .3D., got 5"),
        ([1], 4.0, "directions must be one of"),
        ([1], "4", "directions must be one of"),
        ([1], [4], "directions must be one of"),
        ([1], True, "directions must be one of"),
    ],
)
def test_wrong_ranges_and_directions_are_refused(ranges: Any, directions: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Neighborhood.from_ranges(ranges, directions)


def test_unknown_keyword_is_refused() -> None:
    with pytest.raises(TypeError, match="stride"):
        Neighborhood.from_ranges([1], stride=5)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("attractive", "expected"),
    [
        ("straight", [(-1, 0), (0, -1)]),
        ("nearest", [(-1, 0), (0, -1), (-1, -1), (-1, 1)]),
        ([False] * 4 + [True] * 4, [(-2, 0), (0, -2), (-2, -2), (-2, 2)]),
    ],
)
def test_which_pairs_attract_can_be_chosen(attractive: Any, expected: list[tuple[int, int]]) -> None:
    found = Neighborhood.from_ranges([1, 2], 8, attractive=attractive)
    assert [offset for offset, role in zip(found.offsets, found.attractive, strict=True) if role] == expected
    assert len(found) == 8


@pytest.mark.parametrize(
    ("attractive", "message"),
    [
        ("diagonal", r"one of \['straight', 'nearest'\].*got 'diagonal'"),
        ([True], "one entry per offset, 4, got 1"),
        (None, "attractive must be a sequence"),
    ],
)
def test_other_roles_are_refused(attractive: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Neighborhood.from_ranges([1, 2], attractive=attractive)


@pytest.mark.parametrize("directions", [4, 8, 6, 18, 26])
def test_nearest_neighbors_all_attract(directions: int) -> None:
    found = Neighborhood.nearest(directions)
    assert found.offsets == Neighborhood.from_ranges([1], directions).offsets
    assert all(found.attractive)


# --- physical units ---------------------------------------------------------------------------------------


def test_distances_are_rounded_to_pixels_of_each_axis() -> None:
    found = Neighborhood.from_distances([0.5, 2, 4.9], (2, 0.5, 0.25), 6, strides=(1, 3, 3))
    expected = Neighborhood.from_ranges([(1, 1, 2), (1, 4, 8), (2, 10, 20)], 6, strides=(1, 3, 3))
    assert found == expected
    assert found.attractive[:3] == (True, True, False)


@pytest.mark.parametrize(("distance", "pixels"), [(0.01, 1), (1.49, 1), (1.5, 2), (2.5, 3), (2.49, 2)])
def test_halves_are_rounded_up_and_nothing_to_zero(distance: float, pixels: int) -> None:
    assert Neighborhood.from_distances([distance], 1).offsets == ((-pixels, 0), (0, -pixels))


def test_distances_of_the_same_pixels_give_them_once() -> None:
    assert Neighborhood.from_distances([0.3, 0.4, 1.2], 0.4) == Neighborhood.from_ranges([1, 3])


def test_distances_and_sizes_may_be_numbers_of_numpy_and_torch() -> None:
    expected = Neighborhood.from_ranges([2, 4])
    for kind in (np.array, torch.tensor, list):
        assert Neighborhood.from_distances(kind([1.0, 2.0]), kind([0.5, 0.5])) == expected
    assert Neighborhood.from_distances([1, 2], np.float32(0.5)) == expected


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=4, unique=True),
    st.floats(0.01, 100),
    st.sampled_from([4, 8, 6, 18, 26]),
)
def test_ranges_come_back_from_their_distances(ranges: list[int], size: float, directions: int) -> None:
    found = Neighborhood.from_distances([r * size for r in ranges], size, directions)
    assert found == Neighborhood.from_ranges(ranges, directions)


@pytest.mark.parametrize(
    ("distances", "pixel_size", "message"),
    [
        ([], 1, "distances is empty"),
        ([1, 1.0], 1, "distances must differ"),
        ([0], 1, "distances must be positive finite numbers, got 0"),
        ([float("nan")], 1, "distances must be positive finite numbers, got nan"),
        (["1"], 1, "distances must be positive finite numbers, got '1'"),
        ([True], 1, "distances must be positive finite numbers, got True"),
        (1.5, 1, "distances must be a sequence, got 1.5"),
        ([1], 0, "pixel_size must be positive finite numbers, got 0"),
        ([1], float("inf"), "pixel_size must be positive finite numbers, got inf"),
        ([1], (1, 1, 1), "pixel_size must be one number, or 2"),
        ([1], None, "pixel_size must be positive finite numbers, got None"),
    ],
)
def test_wrong_distances_and_pixel_sizes_are_refused(distances: Any, pixel_size: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Neighborhood.from_distances(distances, pixel_size)


# --- explicit offsets -------------------------------------------------------------------------------------


def test_roles_follow_from_the_offsets_unless_they_are_given() -> None:
    offsets = ((0, 1), (1, 1), (0, 2))
    assert Neighborhood(offsets).attractive == (True, False, False)
    assert Neighborhood(offsets, (False, True, True)).attractive == (False, True, True)
    assert Neighborhood(offsets, np.array([False, True, True])).attractive == (False, True, True)


@pytest.mark.parametrize("strides", [5, (5, 5), [5, 5], np.array([5, 5]), np.int32(5)])
def test_strides_are_one_number_or_one_per_axis(strides: Any) -> None:
    assert Neighborhood(((0, 1),), strides=strides).strides == (5, 5)


@pytest.mark.parametrize("strides", [None, ()])
def test_default_stride_is_one(strides: Any) -> None:
    assert Neighborhood(((0, 0, 1),), strides=strides).strides == (1, 1, 1)


@pytest.mark.parametrize("offset", [(0, 1), (0, 0, 1)])
def test_a_single_offset_tells_the_number_of_axes(offset: tuple[int, ...]) -> None:
    assert Neighborhood((offset,)).ndim == len(offset)


def test_lists_and_arrays_become_tuples_so_that_it_can_be_a_key() -> None:
    one = Neighborhood([[0, 1], [4, 0]], [True, False], [1, 2])
    other = Neighborhood(np.array([[0, 1], [4, 0]]), (True, False), (1, 2))
    assert one == other
    assert len({one, other}) == 1


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([], "offsets is empty"),
        ([(0, 0)], r"offset \(0, 0\) is zero"),
        ([(0, 1), (0, 1)], r"offset \(0, 1\) is given twice"),
        ([(0, 1), (0, -1)], r"offset \(0, -1\) is given twice .an offset and its opposite"),
        ([(0, 1), (0, 0, 1)], r"must all have 2 or all have 3 components, got lengths \[2, 3\]"),
        ([(1,)], r"got lengths \[1\]"),
        ([(1, 0, 0, 0)], r"got lengths \[4\]"),
        ([()], r"got lengths \[0\]"),
        ([(0, 1.0)], "must hold integers, got 1.0 of type float"),
        ([(0, np.float32(1))], "must hold integers"),
        ([(False, True)], "must hold integers, got False"),
        ([(np.False_, np.True_)], "must hold integers"),
        ([("0", "1")], "must hold integers, got '0'"),
        ([1, 2], "each offset must be a sequence, got 1"),
        (["01"], "each offset must be a sequence, got '01'"),
        (np.array(3), "offsets must be a sequence"),
        (7, "offsets must be a sequence, got 7"),
        (None, "offsets must be a sequence, got None"),
    ],
)
def test_wrong_offsets_are_refused(offsets: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Neighborhood(offsets)


@pytest.mark.parametrize(
    ("attractive", "message"),
    [
        ([True], "one entry per offset, 2, got 1"),
        ([1, 0], "must hold booleans, got 1"),
        (["yes", "no"], "must hold booleans, got 'yes'"),
        (True, "attractive must be a sequence, got True"),
    ],
)
def test_wrong_roles_are_refused(attractive: Any, message: str) -> None:
    assert message in refusal(((0, 1), (0, 2)), attractive)


@pytest.mark.parametrize("strides", [0, -1, (1,), (1, 1, 1), (1, 0), []])
def test_wrong_strides_are_refused(strides: Any) -> None:
    assert "strides must be 2 integers of at least 1" in refusal(((0, 1),), strides=strides)


@pytest.mark.parametrize("strides", [1.0, (1, 2.0), True, "55", np.array([1.5, 2])])
def test_strides_that_are_no_integers_are_refused(strides: Any) -> None:
    assert "strides must hold integers" in refusal(((0, 1),), strides=strides)


# --- repr and dictionaries --------------------------------------------------------------------------------


def test_repr_shows_which_offsets_attract_and_which_repel() -> None:
    text = repr(Neighborhood.from_ranges([1, 9], strides=5))
    assert text == "Neighborhood(attractive=[(-1, 0), (0, -1)], repulsive=[(-9, 0), (0, -9)], strides=(5, 5))"


def test_printed_it_shows_dimension_strides_and_roles() -> None:
    assert str(Neighborhood.from_ranges([1, 9], strides=(2, 5))) == (
        "4 offsets in 2D, strides 2 x 5\n  attract: (-1, 0) (0, -1)\n  repel  : (-9, 0) (0, -9)"
    )
    assert "repel  : none" in str(Neighborhood.nearest(26))


@pytest.fixture
def pyplot() -> Any:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.mark.parametrize(("directions", "rows"), [(8, 4), (26, 13)])
def test_a_plot_shows_both_ends_of_each_pair_in_the_color_of_its_role(
    pyplot: Any, directions: int, rows: int
) -> None:
    neighborhood = Neighborhood.from_ranges([1, 3], directions)
    axes = neighborhood.plot()
    points = set()
    for line in axes.get_lines():
        data = line.get_data_3d() if neighborhood.ndim == 3 else line.get_data()
        if line.get_marker() == "o":
            points.add((tuple(int(values[0]) for values in data[::-1]), line.get_color()))
    colors = {True: "C0", False: "C3"}
    assert points == {
        (tuple(sign * step for step in offset), colors[role])
        for offset, role in zip(neighborhood.offsets, neighborhood.attractive, strict=True)
        for sign in (-1, 1)
    }
    assert axes.yaxis_inverted()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["attract", "repel"]
    axes.figure.canvas.draw()


def test_a_plot_has_x_to_the_right_lines_through_the_pixel_and_one_legend_entry_per_role(pyplot: Any) -> None:
    axes = Neighborhood([(0, 1), (-3, 2), (-5, 4)]).plot()
    lines = [line for line in axes.get_lines() if line.get_marker() == "None"]
    ends = [sorted(np.transpose(line.get_data()).tolist()) for line in lines]
    assert ends == [[[-1, 0], [1, 0]], [[-2, 3], [2, -3]], [[-4, 5], [4, -5]]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["attract", "repel"]
    assert axes.get_title() == "3 offsets in 2D, strides 1 x 1"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x / px", "y / px")


def test_a_plot_goes_into_given_axes_of_its_dimension(pyplot: Any) -> None:
    axes = pyplot.figure().add_subplot()
    assert Neighborhood.nearest().plot(axes) is axes
    assert Neighborhood.nearest(8).plot(axes).yaxis_inverted()
    with pytest.raises(InputError, match="ax must have 3 dimensions"):
        Neighborhood.nearest(6).plot(axes)
    with pytest.raises(InputError, match="ax must have 2 dimensions"):
        Neighborhood.nearest().plot(pyplot.figure().add_subplot(projection="3d"))


def test_a_plot_without_matplotlib_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[plot\]"):
        Neighborhood.nearest().plot()


def test_it_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Neighborhood(((0, 1),)).strides = (2, 2)  # type: ignore[misc]


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 3).flatmap(lambda ndim: neighborhoods(ndim=ndim)))
def test_it_comes_back_from_json(neighborhood: Neighborhood) -> None:
    text = json.dumps(neighborhood.to_dict())
    assert Neighborhood.from_dict(json.loads(text)) == neighborhood


def test_a_dictionary_may_hold_ranges() -> None:
    values: dict[str, Any] = {"ranges": [1, 3], "directions": 8, "attractive": "nearest"}
    assert Neighborhood.from_dict(values) == Neighborhood.from_ranges([1, 3], 8, attractive="nearest")
    values = {"ranges": [1, 3], "directions": 8, "strides": 5}
    assert Neighborhood.from_dict(values) == Neighborhood.from_ranges([1, 3], 8, strides=5)
    assert Neighborhood.from_dict({"ranges": [1, 3]}) == Neighborhood.from_ranges([1, 3])


@pytest.mark.parametrize("directions", [4, 8, 6, 18, 26])
def test_other_ranges_keep_directions_and_strides(directions: int) -> None:
    ndim = 2 if directions in (4, 8) else 3
    strides = (3, 4, 5)[:ndim]
    own = Neighborhood.from_ranges([1, 3], directions, strides=strides)
    assert own.with_values({"ranges": [1, 7]}) == Neighborhood.from_ranges(
        [1, 7], directions, strides=strides
    )
    changed = own.with_values({"ranges": [1, 7], "strides": 2})
    assert changed == Neighborhood.from_ranges([1, 7], directions, strides=2)
    assert own.with_values({"strides": 2}) == Neighborhood.from_ranges([1, 3], directions, strides=2)


def test_directions_of_another_number_of_axes_are_refused() -> None:
    with pytest.raises(InputError, match="directions must be one of 4, 8 for 2 axes, got 6"):
        Neighborhood.from_ranges([1]).with_values({"ranges": [1], "directions": 6})
    with pytest.raises(InputError, match="directions must be one of 6, 18, 26 for 3 axes, got 8"):
        Neighborhood.from_ranges([1], 6).with_values({"ranges": [1], "directions": 8})


def test_offsets_of_their_own_have_no_directions_to_keep() -> None:
    own = Neighborhood([[0, -1], [0, -4]], strides=2)
    assert own.with_values({"ranges": [1, 2]}) == Neighborhood.from_ranges([1, 2], 4, strides=2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ranges": [1], "offset": 1}, r"unknown keys \['offset'\].*directions"),
        ({"ranges": [1], "offsets": [[0, 1]]}, r"unknown keys \['offsets'\]"),
        ({"offsets": [[0, 1]], "stride": 1}, r"unknown keys \['stride'\].*strides"),
        ({}, "offsets is empty"),
    ],
)
def test_wrong_dictionaries_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Neighborhood.from_dict(values)
