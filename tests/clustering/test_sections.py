"""Regions of sections: against brute force, and through every clusterer of regions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from scipy import ndimage

from pixel_embedded_affinity.affinity import Affinities, affinities
from pixel_embedded_affinity.clustering import Agglomeration, LiftedMulticut, Multicut, get_clusterer
from pixel_embedded_affinity.clustering.region_graph import region_graph
from pixel_embedded_affinity.clustering.sections import section_regions
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.testing import check_clusterer, synthetic_embedding

PLANE = Neighborhood.from_ranges([1, 3], 8, strides=2)
VOLUME = Neighborhood.from_ranges([1, (1, 2, 3)], 6, strides=(1, 2, 2))
CLUSTERERS = [Agglomeration, Multicut, LiftedMulticut]


def random_affinities(neighborhood, shape, seed):
    generator = np.random.default_rng(seed)
    values = generator.uniform(-0.25, 1, (len(neighborhood), *shape)).astype(np.float32)
    return Affinities(values, neighborhood)


def every_pair(given, foreground, attractive):
    """Both ends and the affinity of all pairs of a role within the foreground, one by one."""
    shape = foreground.shape
    for channel, offset in enumerate(given.neighborhood.offsets):
        if given.neighborhood.attractive[channel] == attractive:
            steps = (1,) * len(shape) if attractive else given.neighborhood.strides
            for first in itertools.product(*(range(0, n, s) for n, s in zip(shape, steps))):
                second = tuple(a + o for a, o in zip(first, offset))
                if (
                    all(0 <= a < n for a, n in zip(second, shape))
                    and foreground[first]
                    and foreground[second]
                ):
                    yield first, second, max(0.0, float(given.values[(channel, *first)]))


def slow_heights(given, foreground):
    total, number = np.zeros(foreground.shape), np.zeros(foreground.shape)
    for first, second, value in every_pair(given, foreground, attractive=True):
        for end in (first, second):
            total[end] += 1 - value
            number[end] += 1
    return total / np.maximum(number, 1)


@settings(max_examples=30, deadline=None)
@drawn(
    st.sampled_from([(PLANE, (7, 9)), (PLANE, (1, 1)), (VOLUME, (3, 6, 7)), (VOLUME, (1, 5, 5))]),
    st.integers(0, 1000),
    st.sampled_from([0.0, 0.3, 0.9]),
)
def test_regions_and_edges_are_those_of_a_search(case, seed, background):
    neighborhood, shape = case
    given = random_affinities(neighborhood, shape, seed)
    foreground = np.random.default_rng(seed + 1).random(shape) >= background
    graph = region_graph(given, foreground, 0, regions="sections", lifted=True)
    region = np.full(shape, -1)
    region[foreground] = graph.region
    assert set(region[foreground].tolist()) == set(range(graph.count))
    heights = np.where(foreground, slow_heights(given, foreground), np.inf)
    for section in np.ndindex(shape[:-2]):
        for number in np.unique(region[section][foreground[section]]):
            one = region[section] == number
            assert ndimage.label(one)[1] == 1
            # The lowest pixel of a region has no lower neighbor in any region.
            lowest = np.unravel_index(np.where(one, heights[section], np.inf).argmin(), one.shape)
            around = ndimage.binary_dilation(_only(one.shape, lowest))
            assert heights[section][around].min() >= heights[section][lowest] - 1e-6
    assert not any(
        np.intersect1d(region[a][foreground[a]], region[b][foreground[b]]).size
        for a, b in itertools.combinations(np.ndindex(shape[:-2]), 2)
    )
    for edges, attractive in ((graph.borders, True), (graph.lifted, False)):
        found = {}
        for first, second, value in every_pair(given, foreground, attractive):
            ends = tuple(sorted((int(region[first]), int(region[second]))))
            if ends[0] != ends[1]:
                found.setdefault(ends, []).append(value)
        assert [tuple(ends) for ends in edges.regions.tolist()] == sorted(found)
        assert edges.length.tolist() == [len(found[ends]) for ends in sorted(found)]
        np.testing.assert_allclose(
            edges.affinity, [np.mean(found[ends]) for ends in sorted(found)], atol=1e-6
        )


def _only(shape, place):
    mask = np.zeros(shape, int)
    mask[place] = 1
    return mask


@pytest.mark.parametrize("kind", CLUSTERERS)
def test_clusterers_keep_their_contract_with_regions_of_sections(kind):
    check_clusterer(kind(regions="sections"))


@pytest.mark.parametrize("kind", CLUSTERERS)
def test_tubes_through_sections_are_found(kind):
    truth = np.zeros((5, 30, 40), np.int32)
    for plane in range(5):
        truth[plane, 3 : 12 + plane, 4:18] = 1
        truth[plane, 3 : 12 + plane, 18:34] = 2
        truth[plane, 18:27, 6 + plane : 30] = 3
    given = affinities(synthetic_embedding(truth, noise=0.05), Neighborhood.from_ranges([1, (1, 3, 3)], 6))
    found = kind(regions="sections", smoothing=(0, 1, 1))(given, foreground=truth > 0)
    np.testing.assert_array_equal(found, truth)


def test_more_smoothing_gives_fewer_regions():
    given = random_affinities(VOLUME, (2, 40, 40), 3)
    counts = [region_graph(given, None, (0, s, s), regions="sections").count for s in (0, 1, 2, 4)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < counts[0] / 4


def test_background_does_not_count_in_the_smoothing():
    heights_inside = random_affinities(VOLUME, (2, 20, 20), 5)
    foreground = np.zeros((2, 20, 20), bool)
    foreground[:, :10] = True
    half = Affinities(heights_inside.values[:, :, :10], VOLUME)
    alone, _ = section_regions(half, np.ones((2, 10, 20), bool), (0, 2, 2))
    # Only pairs that end in the foreground count, and there are none beyond it.
    within, _ = section_regions(heights_inside, foreground, (0, 2, 2))
    assert (within[:, 10:] == -1).all()
    np.testing.assert_array_equal(within[:, :10], alone)


def test_an_empty_foreground_has_no_objects():
    given = random_affinities(VOLUME, (2, 5, 5), 0)
    for kind in CLUSTERERS:
        assert not kind(regions="sections")(given, foreground=np.zeros((2, 5, 5), bool)).any()


def test_the_setting_has_a_name_and_others_are_refused():
    assert get_clusterer("agglomeration", regions="sections") == Agglomeration(regions="sections")
    with pytest.raises(InputError, match="regions must be one of 'watershed_cut', 'sections', got 'planes'"):
        Agglomeration(regions="planes")
