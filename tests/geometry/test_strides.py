"""Pixels and the positions of an embedding that has one vector for several pixels."""

from __future__ import annotations

import heapq
import itertools
from typing import Any

import numpy as np
import pytest
from bioimage_cpp.segmentation import watershed
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pixel_embedded_affinity.geometry.strides import at_positions, borders_flooded, borders_placed, spread

Array = np.ndarray[Any, np.dtype[Any]]


@st.composite
def cases(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    ndim = draw(st.sampled_from([2, 3]))
    shape = tuple(draw(st.integers(1, 11)) for _ in range(ndim))
    return shape, tuple(draw(st.integers(1, 3)) for _ in range(ndim)), draw(st.integers(0, 2**32 - 1))


def positions_of(shape: tuple[int, ...], stride: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-(-length // step) for length, step in zip(shape, stride, strict=True))


@settings(max_examples=60, deadline=None)
@given(case=cases())
def test_a_position_has_the_mean_of_its_pixels(case: Any) -> None:
    shape, stride, seed = case
    values = np.random.default_rng(seed).random(shape, dtype=np.float32)
    found = at_positions(values, stride)
    assert found.shape == positions_of(shape, stride)
    for place in np.ndindex(*found.shape):
        corners = itertools.product(*map(range, stride))
        pixels = [
            tuple(min(p * s + c, n - 1) for p, s, c, n in zip(place, stride, corner, shape, strict=True))
            for corner in corners
        ]
        np.testing.assert_allclose(found[place], np.mean([values[pixel] for pixel in pixels]), rtol=1e-5)


def test_without_strides_nothing_happens() -> None:
    values = np.arange(6).reshape(2, 3)
    assert at_positions(values, (1, 1)) is values
    labels = values.astype(np.int32)
    assert spread(labels, None, (2, 3), (1, 1)) is labels


@settings(max_examples=60, deadline=None)
@given(case=cases(), everywhere=st.booleans())
def test_labels_are_spread_over_the_foreground_alone(case: Any, everywhere: bool) -> None:
    shape, stride, seed = case
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, positions_of(shape, stride)).astype(np.int32)
    assume(max(stride) > 1)
    inside = np.ones(shape, bool) if everywhere else generator.random(shape) < 0.7
    found = spread(labels, inside, shape, stride)
    assert found.shape == shape
    assert not found[~inside].any()
    for pixel in zip(*np.nonzero(inside), strict=True):
        own = labels[tuple(p // s for p, s in zip(pixel, stride, strict=True))]
        assert found[pixel] == own or own == 0


def test_a_pixel_beside_an_object_joins_it() -> None:
    labels = np.array([[7, 0, 0, 0]], np.int32)
    inside = np.array([[1, 1, 1, 0, 1, 0, 0, 1], [1, 1, 1, 1, 0, 0, 0, 1]], bool)
    found = spread(labels, inside, (2, 8), (2, 2))
    np.testing.assert_array_equal(found, [[7, 7, 7, 0, 0, 0, 0, 0], [7, 7, 7, 7, 0, 0, 0, 0]])


@pytest.mark.parametrize("border", range(3, 10))
def test_a_border_lies_where_the_vectors_change(border: int) -> None:
    """Vectors of positions are the means of their pixels' vectors: a border within a position is found again."""
    truth = np.where(np.arange(12) < border, 1, 2) * np.ones((6, 1), np.int32)
    exact = np.stack([truth == 1, truth == 2]).astype(np.float32)
    vectors = np.stack([at_positions(channel, (2, 2)) for channel in exact])
    positions = np.where(vectors[0] > 0.5, 1, 2).astype(np.int32)
    full = spread(positions, None, truth.shape, (2, 2))
    unit = (vectors / np.linalg.norm(vectors, axis=0)).astype(np.float32)
    found = borders_placed(full, positions, unit, (2, 2))
    assert (found != truth).sum() <= (full != truth).sum()
    assert np.abs((found == 1).sum(axis=1) - border).max() <= 1


@settings(max_examples=60, deadline=None)
@given(case=cases())
def test_borders_move_between_neighbors_alone(case: Any) -> None:
    shape, stride, seed = case
    generator = np.random.default_rng(seed)
    positions = generator.integers(0, 5, positions_of(shape, stride)).astype(np.int32)
    vectors = generator.standard_normal((4, *positions.shape)).astype(np.float32)
    full = spread(positions, generator.random(shape) < 0.8, shape, stride)
    found = borders_placed(full, positions, vectors / np.linalg.norm(vectors, axis=0), stride)
    np.testing.assert_array_equal(found > 0, full > 0)
    padded = np.pad(positions, 1)
    for pixel in zip(*np.nonzero(found), strict=True):
        place = tuple(p // s for p, s in zip(pixel, stride, strict=True))
        near = padded[tuple(slice(p, p + 3) for p in place)]
        assert found[pixel] in near or found[pixel] == full[pixel]


# --- borders of volumes -------------------------------------------------------------------------------------


def ridge(column: int) -> tuple[Array, Array]:
    """Two objects that meet between columns 9 and 10 of two sections, and a foreground that is low in one column."""
    labels = np.ones((2, 8, 20), np.int32)
    labels[:, :, 10:] = 2
    foreground = np.full(labels.shape, 0.9, np.float32)
    foreground[:, :, column] = 0.1
    return labels, foreground


@pytest.mark.parametrize("column", [8, 9, 10, 11])
def test_a_border_moves_to_where_the_foreground_is_least_likely(column: int) -> None:
    labels, foreground = ridge(column)
    placed = borders_flooded(labels, foreground, (1, 2, 2))
    assert placed.dtype == np.int32
    assert (placed[:, :, :column] == 1).all()
    assert (placed[:, :, column + 1 :] == 2).all()


def test_a_border_stays_near_its_place_and_sections_are_on_their_own() -> None:
    labels, foreground = ridge(2)
    placed = borders_flooded(labels, foreground, (1, 2, 2))
    assert (placed[:, :, :6] == 1).all()
    assert (placed[:, :, 14:] == 2).all()
    across = np.stack([np.full((8, 8), 1, np.int32), np.full((8, 8), 2, np.int32)])
    found = borders_flooded(across, np.random.default_rng(0).random(across.shape, np.float32), (1, 2, 2))
    np.testing.assert_array_equal(found, across)


def passes(heights: Array, mask: Array, seeds: Array) -> Array:
    """The lowest pass, the highest pixel of the best path, from the seeds to every pixel."""
    best = np.where(seeds & mask, heights, np.inf)
    queue = [(float(best[place]), place) for place in zip(*np.nonzero(seeds & mask))]
    heapq.heapify(queue)
    while queue:
        height, (row, column) = heapq.heappop(queue)
        for place in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if all(0 <= a < n for a, n in zip(place, mask.shape)) and mask[place]:
                reached = max(height, float(heights[place]))
                if reached < best[place]:
                    best[place] = reached
                    heapq.heappush(queue, (reached, place))
    return best


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 14), st.integers(1, 14)),
    count=st.integers(1, 4),
    step=st.integers(1, 2),
    seed=st.integers(0, 2**32 - 1),
)
def test_free_pixels_join_the_object_with_the_lowest_pass(
    shape: tuple[int, int, int], count: int, step: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, count + 1, [-(-length // 4) for length in shape])
    labels = coarse.repeat(4, 0).repeat(4, 1).repeat(4, 2)[tuple(slice(n) for n in shape)].astype(np.int32)
    foreground = (generator.integers(0, 256, shape) / 255).astype(np.float32)
    before = labels.copy()
    placed = borders_flooded(labels, foreground, (1, step, step))
    np.testing.assert_array_equal(labels, before)
    np.testing.assert_array_equal(placed == 0, labels == 0)
    for section, found, likely in zip(labels, placed, foreground):
        assert set(np.unique(found)) == set(np.unique(section))
        near = slow_near(section, 2 * step)
        kept = [one for one in np.unique(section[section > 0]) if ((section == one) & ~near).any()]
        free = near & np.isin(section, kept)
        np.testing.assert_array_equal(found[~free], section[~free])
        heights, mask = 1 - likely, section > 0
        lowest = {
            one: passes(heights, mask, (section == one) & ~(free & (section == one)))
            for one in np.unique(section[mask])
        }
        for place in zip(*np.nonzero(free)):
            reachable = min(values[place] for values in lowest.values())
            if np.isfinite(reachable):
                assert lowest[found[place]][place] == pytest.approx(reachable, abs=1e-4)


def slow_near(section: Array, reach: int) -> Array:
    """Pixels beside another object, and then as many rings around them as the reach has beyond 1."""
    near = np.zeros(section.shape, bool)
    for ring in range(reach):
        grown = near.copy()
        for row, column in np.ndindex(section.shape):
            for place in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if all(0 <= a < n for a, n in zip(place, section.shape)):
                    two = section[row, column], section[place]
                    grown[row, column] |= (min(two) > 0 and two[0] != two[1]) if ring == 0 else near[place]
        near = grown
    return near


@pytest.mark.parametrize("seed", range(6))
def test_flooding_around_the_borders_gives_what_flooding_everything_gives(seed: int) -> None:
    generator = np.random.default_rng(seed)
    shape = (60, 70)
    middles = generator.random((9, 2)) * shape
    places = np.indices(shape).reshape(2, -1).T
    labels = 1 + ((places[:, None] - middles) ** 2).sum(axis=2).argmin(axis=1).reshape(shape)
    labels[generator.random(shape) < 0.02 * seed] = 0
    labels[30:32, 20:50] = 10  # a thin one
    # Each pixel has a level of its own among those that the library knows.
    levels = generator.permutation(labels.size).reshape(shape) / labels.size
    foreground = (1 - levels).astype(np.float32)
    labels = labels.astype(np.int32)
    free = _borders(labels, 4)
    thin = ~np.isin(labels, labels[~free])
    seeds = np.where(free & ~thin, 0, labels)
    grown = watershed((1 - foreground).astype(np.float32), seeds, mask=labels > 0)
    expected = np.where(grown > 0, grown, labels)
    np.testing.assert_array_equal(borders_flooded(labels[None], foreground[None], (1, 2, 2))[0], expected)


def _borders(labels: Array, reach: int) -> Array:
    """Pixels from which at most `reach` steps lead to another object, the background left out; one by one."""
    border = np.zeros(labels.shape, bool)
    for first, second in (((slice(1, None),), (slice(-1),)), ((..., slice(1, None)), (..., slice(-1)))):
        differs = (labels[first] != labels[second]) & (labels[first] > 0) & (labels[second] > 0)
        border[first] |= differs
        border[second] |= differs
    rows, columns = np.nonzero(border)
    y, x = np.indices(labels.shape)
    near = np.zeros(labels.shape, bool)
    for row, column in zip(rows, columns):
        near |= abs(y - row) + abs(x - column) < reach
    return near
