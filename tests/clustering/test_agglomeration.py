"""Agglomeration: against a brute force on the region graph, and by example."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from pixel_embedded_affinity.affinity import Affinities, affinities
from pixel_embedded_affinity.clustering import Agglomeration, get_clusterer
from pixel_embedded_affinity.clustering.region_graph import region_graph
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.labels import relabel
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.testing import check_clusterer, synthetic_embedding

PLANE = Neighborhood.from_ranges([1, 3], 8)
VOLUME = Neighborhood.from_ranges([1, 2], 6)


def random_affinities(neighborhood, shape, seed):
    """Distinct affinities in random order, a fifth of them below 0."""
    generator = np.random.default_rng(seed)
    size = len(neighborhood) * int(np.prod(shape))
    values = np.linspace(-0.25, 1, size, dtype=np.float32)
    return Affinities(generator.permutation(values).reshape(len(neighborhood), *shape), neighborhood)


def brute_force(graph, threshold):
    """Clusters of regions: merge the two with the highest mean affinity, one merge after the other."""
    clusters = np.arange(graph.count)
    while True:
        between = {}
        for (one, other), mean, length in zip(*graph.borders, strict=True):
            ends = tuple(sorted((clusters[one], clusters[other])))
            if ends[0] != ends[1]:
                total, number = between.get(ends, (0, 0))
                between[ends] = (total + mean * length, number + length)
        means = {ends: total / number for ends, (total, number) in between.items()}
        if not means or max(means.values()) <= threshold:
            return clusters
        kept, gone = max(means, key=means.get)
        clusters[clusters == gone] = kept


@pytest.mark.parametrize("clusterer", [Agglomeration(), Agglomeration(0.8, smoothing=0)])
def test_it_keeps_the_contract_of_clusterers(clusterer):
    check_clusterer(clusterer)


@pytest.mark.parametrize("noise", [0, 0.1])
def test_touching_objects_are_found_exactly(noise):
    truth = np.zeros((30, 40), np.int32)
    truth[4:16, 5:18] = 1
    truth[4:16, 18:34] = 2
    truth[16:26, 8:30] = 3
    given = affinities(synthetic_embedding(truth, noise=noise), PLANE)
    np.testing.assert_array_equal(Agglomeration()(given, foreground=truth > 0), truth)


@settings(max_examples=40, deadline=None)
@drawn(
    neighborhood=st.sampled_from([PLANE, VOLUME]),
    seed=st.integers(0, 2**32 - 1),
    threshold=st.floats(0, 1),
)
def test_merges_equal_the_brute_force(neighborhood, seed, threshold):
    generator = np.random.default_rng(seed)
    shape = tuple(generator.integers(1, 9 - 2 * neighborhood.ndim + 4, neighborhood.ndim).tolist())
    given = random_affinities(neighborhood, shape, seed)
    foreground = generator.random(shape) < 0.9
    graph = region_graph(given, foreground, 0)
    expected = graph.labels(brute_force(graph, threshold))
    np.testing.assert_array_equal(Agglomeration(threshold, 0)(given, foreground=foreground), expected)


@settings(max_examples=30, deadline=None)
@drawn(seed=st.integers(0, 2**32 - 1), low=st.floats(0, 1), high=st.floats(0, 1))
def test_a_higher_threshold_only_splits_objects(seed, low, high):
    given = random_affinities(PLANE, (10, 11), seed)
    coarse = Agglomeration(min(low, high), 0)(given)
    fine = Agglomeration(max(low, high), 0)(given)
    for number in range(1, fine.max() + 1):
        assert len(np.unique(coarse[fine == number])) == 1


def test_the_mean_is_taken_over_all_pairs_of_a_border():
    # Three rows of the border have affinity 0.9, two 0.1: 0.58 on average.
    values = np.ones((2, 5, 6), np.float32)
    values[1, :, 3] = [0.9, 0.9, 0.9, 0.1, 0.1]
    given = Affinities(values, Neighborhood.from_ranges([1], 4))
    assert Agglomeration(0.57, 0)(given).max() == 1
    assert Agglomeration(0.59, 0)(given).tolist() == [[1, 1, 1, 2, 2, 2]] * 5


def test_affinities_below_zero_count_as_zero():
    values = np.ones((2, 2, 6), np.float32)
    values[1, :, 3] = [0.6, -1]
    given = Affinities(values, Neighborhood.from_ranges([1], 4))
    assert Agglomeration(0.29, 0)(given).max() == 1
    assert Agglomeration(0.31, 0)(given).max() == 2


def test_repulsive_pairs_have_no_influence():
    given = random_affinities(PLANE, (12, 12), 0)
    changed = given.values.copy()
    changed[~np.array(PLANE.attractive)] = 0
    np.testing.assert_array_equal(Agglomeration()(Affinities(changed, PLANE)), Agglomeration()(given))


def test_regions_that_do_not_touch_stay_apart():
    given = Affinities(np.ones((2, 3, 5), np.float32), Neighborhood.from_ranges([1], 4))
    foreground = np.array([[1, 1, 0, 1, 1]] * 3)
    np.testing.assert_array_equal(
        Agglomeration(0)(given, foreground=foreground), foreground * [1, 1, 0, 2, 2]
    )


def test_a_volume_is_smoothed_per_axis():
    truth = np.ones((4, 12, 12), np.int32)
    truth[2:] = 2
    given = affinities(synthetic_embedding(truth, noise=0.05), VOLUME)
    np.testing.assert_array_equal(Agglomeration(smoothing=(0, 1, 1))(given), relabel(truth))


@pytest.mark.parametrize("threshold", ["0.5", None, True, np.nan, np.inf, 1.5, -0.01])
def test_thresholds_that_are_no_mean_affinity_are_refused(threshold):
    with pytest.raises(InputError, match="threshold"):
        Agglomeration(threshold)


@pytest.mark.parametrize("smoothing", ["1", None, True, np.nan, -1, (1, -1), ()])
def test_smoothings_that_are_no_widths_are_refused(smoothing):
    with pytest.raises(InputError, match="smoothing"):
        Agglomeration(smoothing=smoothing)


def test_unusable_affinities_are_refused():
    with pytest.raises(InputError, match="no attractive"):
        Agglomeration()(Affinities(np.zeros((2, 3, 3), np.float32), Neighborhood.from_ranges([2], 4)))
    given = Affinities(np.full((2, 3, 4), np.nan, np.float32), Neighborhood.from_ranges([1], 4))
    with pytest.raises(InputError, match="24 NaN"):
        Agglomeration()(given)
    with pytest.raises(InputError, match=r"\(4, 3\)"):
        Agglomeration()(Affinities(np.zeros((2, 3, 4)), given.neighborhood), foreground=np.ones((4, 3)))


def test_it_is_found_by_name():
    assert get_clusterer("agglomeration", threshold=0.7, smoothing=2) == Agglomeration(0.7, 2.0)
