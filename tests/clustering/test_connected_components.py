"""Connected components: against scikit-image and by example."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from skimage.measure import label

from pixel_embedded_affinity.affinity import Affinities, affinities
from pixel_embedded_affinity.clustering import ConnectedComponents
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.labels import relabel
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.testing import check_clusterer, label_images, neighborhoods, synthetic_embedding


def brute_force(values, neighborhood, foreground, threshold):
    """Spread the smallest pixel number along the joined pairs, often enough to reach all."""
    numbers = np.arange(1, foreground.size + 1).reshape(foreground.shape)
    numbers[~foreground] = 0
    joined = []
    for channel, *here in np.ndindex(values.shape):
        there = tuple(p + o for p, o in zip(here, neighborhood.offsets[channel], strict=True))
        inside = all(0 <= p < n for p, n in zip(there, foreground.shape, strict=True))
        if inside and neighborhood.attractive[channel] and values[(channel, *here)] >= threshold:
            joined.append((tuple(here), there))
    for _ in range(foreground.size):
        for here, there in joined:
            if foreground[here] and foreground[there]:
                numbers[here] = numbers[there] = min(numbers[here], numbers[there])
    return relabel(numbers)


@pytest.mark.parametrize("threshold", [0.5, 0.9])
def test_it_keeps_the_contract_of_clusterers(threshold):
    check_clusterer(ConnectedComponents(threshold))


@settings(max_examples=60, deadline=None)
@drawn(label_images(ndim=2, max_side=10))
def test_perfect_embeddings_give_the_components_of_labels_in_a_plane(labels):
    given = affinities(synthetic_embedding(labels), Neighborhood.from_ranges([1], 4))
    expected = relabel(label(labels, connectivity=1))
    np.testing.assert_array_equal(ConnectedComponents()(given, foreground=labels > 0), expected)


@settings(max_examples=40, deadline=None)
@drawn(label_images(ndim=3, max_side=5))
def test_perfect_embeddings_give_the_components_of_labels_in_a_volume(labels):
    given = affinities(synthetic_embedding(labels), Neighborhood.from_ranges([1], 6))
    expected = relabel(label(labels, connectivity=1, background=-1))
    np.testing.assert_array_equal(ConnectedComponents()(given), expected)


@settings(max_examples=50, deadline=None)
@drawn(
    neighborhood=st.one_of(neighborhoods(ndim=2), neighborhoods(ndim=3, max_range=2)),
    seed=st.integers(0, 2**32 - 1),
    threshold=st.sampled_from([-1, 0, 0.5, 1]),
)
def test_any_neighborhood_equals_the_brute_force(neighborhood, seed, threshold):
    generator = np.random.default_rng(seed)
    shape = tuple(generator.integers(1, 5, neighborhood.ndim).tolist())
    values = generator.choice(np.array([-1, 0, 0.5, 1], np.float32), (len(neighborhood), *shape))
    foreground = generator.random(shape) < 0.8
    labels = ConnectedComponents(threshold)(Affinities(values, neighborhood), foreground=foreground)
    np.testing.assert_array_equal(labels, brute_force(values, neighborhood, foreground, threshold))


def test_an_affinity_equal_to_the_threshold_joins():
    neighborhood = Neighborhood([(0, 1)])
    given = Affinities(np.array([[[0.5, 0.49, 0.51, 0]]], np.float32), neighborhood)
    assert ConnectedComponents(0.5)(given).tolist() == [[1, 1, 2, 2]]


@pytest.mark.parametrize("offsets", [[(0, -1), (-1, 0)], [(0, 1), (1, 0)]])
def test_pixels_do_not_join_through_background(offsets):
    given = Affinities(np.ones((2, 2, 2), np.float32), Neighborhood(offsets))
    foreground = np.array([[False, True], [True, False]])
    assert ConnectedComponents()(given, foreground=foreground).tolist() == [[0, 1], [2, 0]]


def test_a_pixel_that_no_pair_reaches_is_an_object_of_its_own():
    given = Affinities(np.zeros((2, 2, 2), np.float32), Neighborhood.from_ranges([1], 4))
    assert ConnectedComponents()(given).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("threshold", ["0.5", None, True, np.nan, np.inf, 1.5, -1.01])
def test_thresholds_that_are_no_similarity_are_refused(threshold):
    with pytest.raises(InputError, match="threshold"):
        ConnectedComponents(threshold)


def test_affinities_with_nan_are_refused():
    given = Affinities(np.full((2, 3, 3), np.nan, np.float32), Neighborhood.from_ranges([1], 4))
    with pytest.raises(InputError, match="18 NaN"):
        ConnectedComponents()(given)


def test_a_neighborhood_without_attraction_is_refused():
    given = Affinities(np.zeros((2, 3, 3), np.float32), Neighborhood.from_ranges([2], 4))
    with pytest.raises(InputError, match="no attractive"):
        ConnectedComponents()(given)


def test_a_foreground_of_another_shape_is_refused():
    given = Affinities(np.zeros((2, 3, 4), np.float32), Neighborhood.from_ranges([1], 4))
    with pytest.raises(InputError, match=r"\(4, 3\)"):
        ConnectedComponents()(given, foreground=np.ones((4, 3), bool))
