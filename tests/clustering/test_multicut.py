"""Multicut, lifted multicut and the region graph below them: against brute force, and by example."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from pixel_embedded_affinity.affinity import Affinities, affinities
from pixel_embedded_affinity.clustering import Agglomeration, LiftedMulticut, Multicut, get_clusterer
from pixel_embedded_affinity.clustering.region_graph import region_graph
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.labels import relabel
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.testing import check_clusterer, neighborhoods, synthetic_embedding

PLANE = Neighborhood.from_ranges([1, 3, 9], 4, strides=3)
VOLUME = Neighborhood.from_ranges([(1, 1, 1), (2, 4, 4)], 6, strides=(1, 2, 2))
UNIT = Neighborhood.from_ranges([1, 2], 4)

BOTH = pytest.mark.parametrize("method", [Multicut, LiftedMulticut])


def boxes():
    labels = np.zeros((30, 40), np.int32)
    labels[4:16, 5:18] = 1
    labels[4:16, 18:34] = 2
    labels[16:26, 8:30] = 3
    return labels


def random_affinities(neighborhood, shape, seed):
    """Distinct affinities in random order, a fifth of them below 0."""
    generator = np.random.default_rng(seed)
    size = len(neighborhood) * int(np.prod(shape))
    values = np.linspace(-0.25, 1, size, dtype=np.float32)
    return Affinities(generator.permutation(values).reshape(len(neighborhood), *shape), neighborhood)


def row(attractive, repulsive):
    """Affinities of a row of pixels: between neighbors, and over two pixels."""
    values = np.zeros((4, 1, len(attractive) + 1), np.float32)
    values[1, 0, 1:] = attractive
    values[3, 0, 2:] = repulsive
    return Affinities(values, UNIT)


def pairs_of(given, foreground, attractive):
    """All pairs of one role as (pixel, partner, affinity), negative affinities taken as 0."""
    neighborhood, shape = given.neighborhood, given.spatial_shape
    for channel, offset in enumerate(neighborhood.offsets):
        if neighborhood.attractive[channel] != attractive:
            continue
        for pixel in np.ndindex(shape):
            partner = tuple(p + o for p, o in zip(pixel, offset, strict=True))
            within = all(0 <= p < n for p, n in zip(partner, shape, strict=True))
            used = attractive or not any(p % s for p, s in zip(pixel, neighborhood.strides, strict=True))
            if within and used and foreground[pixel] and foreground[partner]:
                yield pixel, partner, max(float(given.values[(channel, *pixel)]), 0.0)


def brute_force_regions(given, foreground):
    """Regions without smoothing, one pair after the other; for boundary maps whose minima are no plateaus."""
    pairs = list(pairs_of(given, foreground, attractive=True))
    pixels = [pixel for pixel in np.ndindex(foreground.shape) if foreground[pixel]]
    incident = {pixel: [] for pixel in pixels}
    for one, other, affinity in pairs:
        incident[one].append(1 - affinity)
        incident[other].append(1 - affinity)
    height = {pixel: sum(values) / max(len(values), 1) for pixel, values in incident.items()}
    region = {pixel: {pixel} for pixel in pixels}
    seeded = set()
    for pixel in pixels:
        around = itertools.product(*(range(p - 1, p + 2) for p in pixel))
        if all(height[pixel] <= height[other] for other in around if other in height):
            seeded.add(pixel)
    pairs = sorted((pair for pair in pairs if pair[2] > 0), key=lambda pair: -pair[2])
    shared = [pair for pair in pairs if pair[2] >= 0.5 and {pair[0], pair[1]} <= seeded]
    for one, other, affinity in shared + pairs:
        first, second = region[one], region[other]
        apart = first & seeded and second & seeded and (one, other, affinity) not in shared
        if first is not second and not apart:
            first |= second
            for member in second:
                region[member] = first
    labels = np.zeros(foreground.shape, np.int32)
    for pixel in pixels:
        if not labels[pixel]:
            number = labels.max() + 1
            for member in region[pixel]:
                labels[member] = number
    return labels


def cost_of(labels, given, beta, lifted):
    """Cost of all pairs between objects, summed by pair of regions, as the documentation says."""
    foreground = labels > 0
    graph = region_graph(given, foreground, 0)
    regions = graph.labels(np.arange(graph.count))
    total = 0.0
    for attractive in [True, False] if lifted else [True]:
        between = {}
        for one, other, affinity in pairs_of(given, foreground, attractive):
            if labels[one] != labels[other]:
                between.setdefault(frozenset((regions[one], regions[other])), []).append(affinity)
        for values in between.values():
            p = 0.001 + 0.998 * np.mean(values)
            total += len(values) * (np.log(p / (1 - p)) + np.log((1 - beta) / beta))
    return total


@pytest.mark.parametrize(
    "clusterer",
    [
        Multicut(),
        Multicut(0.3, smoothing=0, solver="greedy_additive"),
        LiftedMulticut(),
        LiftedMulticut(0.7, smoothing=0, solver="greedy_additive"),
    ],
)
def test_it_keeps_the_contract_of_clusterers(clusterer):
    check_clusterer(clusterer)


@BOTH
@pytest.mark.parametrize("noise", [0, 0.1])
def test_touching_objects_are_found_exactly(method, noise):
    truth = boxes()
    given = affinities(synthetic_embedding(truth, noise=noise), PLANE)
    np.testing.assert_array_equal(method()(given, foreground=truth > 0), truth)


@BOTH
def test_objects_of_a_volume_are_found_exactly(method):
    truth = np.zeros((6, 30, 40), np.int32)
    truth[1:5] = boxes()
    truth[3:5, 4:16, 5:18] = 4
    given = affinities(synthetic_embedding(truth, noise=0.1), VOLUME)
    labels = method(smoothing=(0.5, 1, 1))(given, foreground=truth > 0)
    np.testing.assert_array_equal(labels, relabel(truth))


@BOTH
def test_without_foreground_the_background_is_one_more_object(method):
    truth = boxes()
    labels = method()(affinities(synthetic_embedding(truth), PLANE))
    np.testing.assert_array_equal(labels, np.array([1, 2, 3, 4])[truth])


@settings(max_examples=60, deadline=None)
@drawn(
    affinity=st.floats(0, 1),
    beta=st.floats(0.02, 0.98),
    solver=st.sampled_from(["kernighan_lin", "greedy_additive"]),
)
def test_a_border_is_cut_where_its_affinity_is_below_beta(affinity, beta, solver):
    if abs(affinity - beta) < 0.01:
        affinity = beta + 0.01
    given = row([1, 1, affinity, 1, 1], [1, 0, 0, 1])
    objects = 1 if affinity > beta else 2
    assert Multicut(beta, smoothing=0, solver=solver)(given).max() == objects


def test_a_negative_affinity_counts_as_zero():
    low, zero = row([1, 1, -1, 1, 1], [0] * 4), row([1, 1, 0, 1, 1], [0] * 4)
    assert region_graph(low, None, 0).borders.affinity == region_graph(zero, None, 0).borders.affinity == 0


def test_the_mean_over_all_pairs_of_a_border_counts():
    values = np.ones((4, 6, 6), np.float32)
    for border, objects in (([0.3, 0.3, 0.3, 0.9, 0.9, 0.9], 1), ([0.3, 0.3, 0.3, 0.3, 0.7, 0.7], 2)):
        values[1, :, 3] = border
        assert Multicut(smoothing=0)(Affinities(values, UNIT)).max() == objects


def test_a_long_border_outvotes_a_short_one():
    # The lower region is joined to the left one by 3 pairs, and parted from the right one by 3 or 1.
    values = np.ones((4, 6, 6), np.float32)
    values[0, 3] = [0.7, 0.7, 0.7, 0.2, 0.2, 0.2]
    values[1, :3, 3] = 0.6
    labels = Multicut(smoothing=0)(Affinities(values, UNIT))
    assert labels[[0, 0, 5], [0, 5, 0]].tolist() == [1, 2, 1]
    values[1, :3, 3] = 0.95
    labels = Multicut(smoothing=0)(Affinities(values, UNIT))
    assert labels[[0, 0, 5], [0, 5, 0]].tolist() == [1, 1, 2]


@pytest.mark.parametrize("lifted", [False, True])
@pytest.mark.parametrize("solver", ["kernighan_lin", "greedy_additive"])
def test_no_object_and_no_two_objects_are_better_changed(lifted, solver):
    method = LiftedMulticut if lifted else Multicut
    for seed in range(8):
        given = random_affinities(UNIT, (5, 6), seed)
        labels = method(smoothing=0, solver=solver)(given)
        cost = cost_of(labels, given, 0.5, lifted)
        graph = region_graph(given, None, 0)
        apart = cost_of(graph.labels(np.arange(graph.count)), given, 0.5, lifted)
        assert cost <= min(apart, 0) + 1e-9
        everywhere = np.ones(labels.shape, bool)
        touching = {(labels[a], labels[b]) for a, b, _ in pairs_of(given, everywhere, True)}
        for one, other in {tuple(sorted(ends)) for ends in touching if ends[0] != ends[1]}:
            joined = np.where(labels == other, one, labels)
            assert cost <= cost_of(joined, given, 0.5, lifted) + 1e-5


def test_long_ranges_part_what_a_strong_border_joins():
    given = row([1, 1, 0.7, 1, 1], [1, 0, 0, 1])
    assert Multicut(smoothing=0)(given).max() == 1
    assert LiftedMulticut(smoothing=0)(given).tolist() == [[1, 1, 1, 2, 2, 2]]


def test_long_ranges_join_what_a_weak_border_parts():
    given = row([1, 1, 0.3, 1, 1], [1, 1, 1, 1])
    assert Multicut(smoothing=0)(given).max() == 2
    assert LiftedMulticut(smoothing=0)(given).max() == 1


def test_long_ranges_alone_join_nothing():
    given = row([1, 1, 1, 1, 1], [1, 1, 1, 1])
    foreground = np.array([[True, True, False, True, True, False]])
    assert LiftedMulticut(smoothing=0)(given, foreground=foreground).tolist() == [[1, 1, 0, 2, 2, 0]]


def test_long_ranges_vote_on_the_strides_only():
    values = row([1, 1, 0.7, 1, 1], [1, 0, 0, 1]).values
    # The pairs across the border start at columns 3 and 4.
    for stride, objects in ((3, 2), (4, 2), (5, 1)):
        neighborhood = Neighborhood.from_ranges([1, 2], 4, strides=(1, stride))
        assert LiftedMulticut(smoothing=0)(Affinities(values, neighborhood)).max() == objects


@settings(max_examples=60, deadline=None)
@drawn(
    neighborhood=st.one_of(neighborhoods(ndim=2), neighborhoods(ndim=3, max_range=2)),
    seed=st.integers(0, 2**32 - 1),
)
def test_regions_and_edges_equal_the_brute_force(neighborhood, seed):
    generator = np.random.default_rng(seed)
    shape = tuple(generator.integers(1, 8 - neighborhood.ndim, neighborhood.ndim).tolist())
    given = random_affinities(neighborhood, shape, seed)
    foreground = generator.random(shape) < 0.8
    graph = region_graph(given, foreground, 0, lifted=True)
    expected = brute_force_regions(given, foreground)
    np.testing.assert_array_equal(graph.labels(np.arange(graph.count)), expected)
    region = np.full(shape, -1)
    region[foreground] = graph.region
    for edges, attractive in ((graph.borders, True), (graph.lifted, False)):
        between = {}
        for one, other, affinity in pairs_of(given, foreground, attractive):
            if region[one] != region[other]:
                between.setdefault(tuple(sorted((region[one], region[other]))), []).append(affinity)
        assert [tuple(ends) for ends in edges.regions.tolist()] == sorted(between)
        values = [between[ends] for ends in sorted(between)]
        assert edges.length.tolist() == [len(v) for v in values]
        np.testing.assert_allclose(edges.affinity, [np.mean(v) for v in values], atol=1e-7)


@settings(max_examples=40, deadline=None)
@drawn(
    seed=st.integers(0, 2**32 - 1),
    smoothing=st.sampled_from([0, 1, (1.5, 0.5)]),
    axis=st.integers(0, 1),
    clusterer=st.sampled_from([Multicut, LiftedMulticut, Agglomeration]),
)
def test_labels_follow_flips_and_the_order_of_offsets(seed, smoothing, axis, clusterer):
    given = random_affinities(UNIT, (8, 9), seed)
    foreground = np.random.default_rng(seed).random((8, 9)) < 0.9
    cluster = clusterer(smoothing=smoothing)
    expected = cluster(given, foreground=foreground)
    offsets = [
        tuple(-step if position == axis else step for position, step in enumerate(offset))
        for offset in UNIT.offsets
    ]
    flipped = Affinities(
        np.flip(given.values, axis + 1)[::-1], Neighborhood(offsets[::-1], UNIT.attractive[::-1])
    )
    labels = cluster(flipped, foreground=np.flip(foreground, axis))
    np.testing.assert_array_equal(relabel(np.flip(labels, axis)), expected)


@BOTH
@pytest.mark.parametrize("width", [1, 2, 3])
def test_thin_objects_that_differ_completely_stay_apart(method, width):
    truth = np.broadcast_to(1 + np.arange(6 * width) // width, (12, 6 * width)).astype(np.int32)
    np.testing.assert_array_equal(method()(affinities(synthetic_embedding(truth), PLANE)), truth)


def test_a_thin_object_between_large_ones_stays_apart():
    truth = np.ones((20, 30), np.int32)
    truth[:, 15:17] = 2
    truth[:, 17:] = 3
    np.testing.assert_array_equal(Multicut()(affinities(synthetic_embedding(truth), PLANE)), truth)


def test_pixels_without_any_likeness_stay_apart():
    given = Affinities(np.full((6, 4, 5), -0.1, np.float32), PLANE)
    assert Multicut()(given).max() == LiftedMulticut()(given).max() == 20


def test_smoothing_makes_fewer_regions():
    given = affinities(synthetic_embedding(np.ones((40, 50), np.int32), noise=0.2), PLANE)
    counts = [region_graph(given, None, smoothing).count for smoothing in (0, 1, 2, 4)]
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == 4


def test_smoothing_does_not_reach_across_the_border_of_the_image_or_foreground():
    # Constant heights stay constant, so that the foreground stays one region.
    given = Affinities(np.full((6, 20, 20), 0.7, np.float32), PLANE)
    foreground = np.zeros((20, 20), bool)
    foreground[:8] = True
    assert region_graph(given, foreground, 2).count == 1


def test_pieces_of_the_foreground_are_regions_of_their_own_without_minimum():
    foreground = np.zeros((5, 9), bool)
    foreground[1, 1] = foreground[3, 3] = foreground[3, 5] = True
    graph = region_graph(random_affinities(PLANE, (5, 9), 0), foreground, 3)
    assert graph.count == 3
    assert len(graph.borders.length) == 0


def test_tensors_give_the_same_labels_as_arrays():
    torch = pytest.importorskip("torch")
    given = random_affinities(PLANE, (16, 16), 0)
    tensors = Affinities(torch.from_numpy(given.values.copy()), PLANE)
    np.testing.assert_array_equal(LiftedMulticut()(tensors), LiftedMulticut()(given))


@BOTH
def test_affinities_with_nan_are_refused(method):
    given = random_affinities(PLANE, (6, 6), 0)
    given.values[3, 4, 5] = np.nan
    with pytest.raises(InputError, match=r"1 NaN or infinite.*\(3, 4, 5\)"):
        method()(given)


@BOTH
def test_a_neighborhood_without_attraction_is_refused(method):
    given = Affinities(np.zeros((2, 3, 3), np.float32), Neighborhood.from_ranges([2], 4))
    with pytest.raises(InputError, match="no attractive"):
        method()(given)


def test_a_lifted_multicut_needs_long_ranges():
    given = Affinities(np.zeros((2, 3, 3), np.float32), Neighborhood.from_ranges([1], 4))
    with pytest.raises(InputError, match=r"no repulsive offset.*'multicut'"):
        LiftedMulticut()(given)


@BOTH
def test_a_foreground_of_another_shape_is_refused(method):
    with pytest.raises(InputError, match=r"\(6, 5\).*\(5, 6\)"):
        method()(random_affinities(PLANE, (5, 6), 0), foreground=np.ones((6, 5), bool))


@BOTH
def test_a_smoothing_of_another_dimension_is_refused(method):
    with pytest.raises(InputError, match=r"3 numbers.*2 spatial axes"):
        method(smoothing=(0, 1, 1))(random_affinities(PLANE, (5, 6), 0))


@BOTH
@pytest.mark.parametrize(
    "wrong",
    [
        {"beta": 0},
        {"beta": 1},
        {"beta": np.nan},
        {"beta": "0.5"},
        {"beta": True},
        {"smoothing": -1},
        {"smoothing": np.inf},
        {"smoothing": "1"},
        {"smoothing": None},
        {"smoothing": True},
        {"smoothing": (1,)},
        {"smoothing": (1, "1")},
        {"smoothing": [1, 1, 1, 1]},
        {"solver": "ilp"},
        {"solver": None},
    ],
)
def test_settings_that_make_no_sense_are_refused(method, wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=name):
        method(**wrong)


@pytest.mark.parametrize("smoothing", [[1, 2], (1.0, 2.0), np.array([1, 2])])
def test_they_are_found_by_name(smoothing):
    expected = Multicut(0.4, (1.0, 2.0), "greedy_additive")
    assert get_clusterer("multicut", beta=0.4, smoothing=smoothing, solver="greedy_additive") == expected
    assert hash(get_clusterer("lifted_multicut", smoothing=smoothing)) == hash(
        LiftedMulticut(smoothing=(1, 2))
    )


def false_gap(height, offsets, attractive, strides):
    """Two neurites that a gap in their membrane joins: local pairs through it look alike, long ones do not.

    The membrane is background except for the gap, three pixels of each section.
    """
    neighborhood = Neighborhood(offsets, attractive, strides)
    shape = (*((4,) if len(offsets[0]) == 3 else ()), 20, 31)
    side = np.broadcast_to(np.sign(np.arange(31) - 15), shape)
    foreground = side != 0
    foreground[..., 9:12, 15] = True
    values = np.ones((len(neighborhood), *shape), np.float32)
    for channel, offset in enumerate(offsets):
        if attractive[channel]:
            near = side == 0
            values[channel][near | np.roll(near, [-step for step in offset], range(near.ndim))] = height
        else:
            there = np.roll(side, [-step for step in offset], range(side.ndim))
            values[channel][side * there < 0] = 0.1
    # Each neurite is many regions: the boundary map is uneven.
    values -= np.random.default_rng(0).random(values.shape, np.float32) * np.float32(0.08)
    return Affinities(values, neighborhood), foreground


GAPS = {
    "image": ([(-1, 0), (0, -1), (-5, 0), (0, -5)], [True, True, False, False]),
    "volume": (
        [(-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, -5, 0), (0, 0, -5), (-2, 0, 0)],
        [True, True, True, False, False, False],
    ),
}


@pytest.mark.parametrize("solver", ["kernighan_lin", "greedy_additive"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("kind", "regions"), [("image", "watershed_cut"), ("volume", "watershed_cut"), ("volume", "sections")]
)
def test_long_ranges_close_a_false_gap_in_a_membrane(kind, regions, stride, solver):
    offsets, attractive = GAPS[kind]
    strides = (stride,) * 2 if kind == "image" else (1, stride, stride)
    given, foreground = false_gap(0.9, offsets, attractive, strides)
    options = {"smoothing": 0.5, "regions": regions, "solver": solver}
    graph = region_graph(given, foreground, 0.5, regions=regions)
    assert graph.count > 20
    assert Multicut(**options)(given, foreground=foreground).max() == 1
    labels = LiftedMulticut(**options)(given, foreground=foreground)
    assert labels.max() == 2
    assert set(np.unique(labels[..., :15])) == {1}
    assert set(np.unique(labels[..., 16:])) == {2}
