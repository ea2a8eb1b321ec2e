"""Mean shift: against scikit-learn, and by example."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from pixel_embedded_affinity.affinity import Affinities, affinities
from pixel_embedded_affinity.clustering import MeanShift, density, get_clusterer
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.labels import relabel
from pixel_embedded_affinity.metrics import adapted_rand_error
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.testing import check_clusterer, label_images, synthetic_embedding

PLANE = Neighborhood.from_ranges([1, 3], 4)
VOLUME = Neighborhood.from_ranges([1, 3], 6)


def holding(embedding, values=None):
    """Affinities that hold an embedding; their own values are 0 unless given."""
    neighborhood = PLANE if embedding.ndim == 3 else VOLUME
    zeros = np.zeros((len(neighborhood), *embedding.shape[1:]), np.float32)
    return Affinities(zeros if values is None else values, neighborhood, embedding)


def stripes(height, width, objects):
    """Vertical stripes of equal width, which touch."""
    return np.broadcast_to(1 + np.arange(width) * objects // width, (height, width)).astype(np.int32)


def scikit_learn(embedding, bandwidth, step=1):
    """Labels of scikit-learn's mean shift, started from every pixel, or every step-th one."""
    cluster = pytest.importorskip("sklearn.cluster")
    points = embedding.reshape(len(embedding), -1).T.astype(np.float64)
    found = cluster.MeanShift(bandwidth=bandwidth, seeds=points[::step]).fit(points).labels_
    return relabel(found.reshape(embedding.shape[1:]) + 1)


@pytest.mark.parametrize(
    "clusterer",
    [
        MeanShift(),
        MeanShift(spatial_split=False),
        MeanShift(bandwidth=0.4),
        MeanShift(1.0, seeds=3, samples=40),
    ],
)
def test_it_keeps_the_contract_of_clusterers(clusterer):
    check_clusterer(clusterer)


def test_4000_pixels_come_out_as_by_scikit_learn():
    truth = stripes(50, 80, 8)
    embedding = synthetic_embedding(truth, noise=0.15)
    labels = MeanShift(0.75, spatial_split=False)(holding(embedding))
    assert labels.max() == 8
    # From every pixel, scikit-learn takes a minute on a slow core; benchmarks/clusterers.py does that.
    assert adapted_rand_error(scikit_learn(embedding, 0.75, step=8), labels) < 0.01


@pytest.mark.parametrize(("noise", "bandwidth"), [(0.05, 0.3), (0.15, 0.6), (0.2, 0.75), (0.3, 0.9)])
def test_started_from_every_pixel_it_equals_scikit_learn(noise, bandwidth):
    embedding = synthetic_embedding(stripes(15, 20, 4), noise=noise, seed=3)
    labels = MeanShift(bandwidth, seeds=300, spatial_split=False)(holding(embedding))
    np.testing.assert_array_equal(labels, scikit_learn(embedding, bandwidth))


@settings(max_examples=50, deadline=None)
@drawn(st.one_of(label_images(ndim=2), label_images(ndim=3, max_side=5)))
def test_perfect_embeddings_give_the_labels(truth):
    labels = MeanShift(spatial_split=False)(holding(synthetic_embedding(truth)), foreground=truth > 0)
    np.testing.assert_array_equal(labels, relabel(truth))


@settings(max_examples=30, deadline=None)
@drawn(seed=st.integers(0, 2**32 - 1), noise=st.sampled_from([0.0, 0.2, 0.5]))
def test_labels_follow_any_permutation_of_pixels(seed, noise):
    generator = np.random.default_rng(seed)
    embedding = synthetic_embedding(generator.integers(1, 4, (9, 11)), noise=noise, seed=seed)
    clusterer = MeanShift(seeds=20, samples=60, spatial_split=False)
    moved = generator.permutation(99)
    shuffled = embedding.reshape(16, 99)[:, moved].reshape(16, 9, 11)
    expected = clusterer(holding(embedding)).ravel()[moved].reshape(9, 11)
    np.testing.assert_array_equal(clusterer(holding(shuffled)), relabel(expected))


def test_an_object_that_no_seed_lies_in_is_found_all_the_same():
    truth = np.ones((60, 60), np.int32)
    truth[40:43, 50:54] = 2
    embedding = synthetic_embedding(truth, noise=0.05)
    labels = MeanShift(seeds=2, spatial_split=False)(holding(embedding))
    np.testing.assert_array_equal(labels, truth)


def test_modes_of_a_sample_serve_all_pixels():
    truth = stripes(60, 60, 5)
    labels = MeanShift(samples=200)(holding(synthetic_embedding(truth, noise=0.1)))
    np.testing.assert_array_equal(labels, truth)


def test_distant_pieces_of_a_mode_are_split_if_asked():
    repeated = np.array([[1, 1, 2, 2, 1, 1], [1, 1, 2, 2, 1, 1]])
    given = holding(synthetic_embedding(repeated))
    assert MeanShift(spatial_split=False)(given)[0].tolist() == [1, 1, 2, 2, 1, 1]
    assert MeanShift(spatial_split=True)(given)[0].tolist() == [1, 1, 2, 2, 3, 3]


def test_a_larger_bandwidth_joins_objects_whose_embeddings_are_close():
    angles = np.array([[0.0, 0.0, 0.0, 0.8, 0.8, 0.8]])
    given = holding(np.stack((np.cos(angles), np.sin(angles))).astype(np.float32))
    # 0.8 rad on the circle is a distance of 2 sin(0.4) = 0.779.
    assert MeanShift(0.76)(given).tolist() == [[1, 1, 1, 2, 2, 2]]
    assert MeanShift(0.80)(given).max() == 1


def test_of_close_modes_the_one_with_most_pixels_stays():
    # The modes lie 0.35 apart; the third direction is 0.6 from the larger and 0.26 from the smaller one.
    angles = np.array([[0.0] * 5 + [0.9] * 3 + [1.2]])
    given = holding(np.stack((np.cos(angles), np.sin(angles))).astype(np.float32))
    assert MeanShift(0.5)(given).tolist() == [[1] * 5 + [2] * 4]


def test_affinities_have_no_influence():
    embedding = synthetic_embedding(stripes(12, 16, 3), noise=0.2)
    noise = np.random.default_rng(0).uniform(-1, 1, (4, 12, 16)).astype(np.float32)
    np.testing.assert_array_equal(MeanShift()(holding(embedding, noise)), MeanShift()(holding(embedding)))


def test_embeddings_outside_the_foreground_have_no_influence():
    truth = stripes(12, 16, 4)
    foreground = (truth == 2) | (truth == 3)
    embedding = synthetic_embedding(truth, noise=0.2)
    changed = np.where(foreground, embedding, np.nan).astype(np.float32)
    np.testing.assert_array_equal(
        MeanShift()(holding(changed), foreground=foreground),
        MeanShift()(holding(embedding), foreground=foreground),
    )


def test_small_blocks_of_memory_give_the_same_labels(monkeypatch):
    given = holding(synthetic_embedding(stripes(20, 30, 5), noise=0.15))
    expected = MeanShift()(given)
    monkeypatch.setattr(density, "_BLOCK", 700)
    np.testing.assert_array_equal(MeanShift()(given), expected)


def test_tensors_give_the_same_labels_as_arrays():
    torch = pytest.importorskip("torch")
    truth = stripes(12, 16, 4)
    arrays = affinities(synthetic_embedding(truth, noise=0.2), PLANE)
    embedding = torch.from_numpy(arrays.embedding.copy()).requires_grad_()
    tensors = Affinities(torch.from_numpy(arrays.values.copy()), PLANE, embedding)
    for foreground in (None, truth != 2):
        np.testing.assert_array_equal(
            MeanShift()(tensors, foreground=foreground), MeanShift()(arrays, foreground=foreground)
        )


def test_arrays_of_any_layout_and_precision_are_taken():
    embedding = synthetic_embedding(stripes(12, 16, 4))
    expected = MeanShift()(holding(embedding))
    for other in (np.asfortranarray(embedding), embedding.astype(">f8"), embedding[::-1]):
        np.testing.assert_array_equal(MeanShift()(holding(other)), expected)


def test_a_pixel_without_direction_is_an_object_of_its_own():
    embedding = synthetic_embedding(np.ones((3, 4), np.int32))
    embedding[:, 1, 2] = 0
    labels = MeanShift()(holding(embedding))
    assert labels[1, 2] == 2
    assert np.count_nonzero(labels == 1) == 11


def test_affinities_without_embedding_are_refused():
    given = Affinities(np.zeros((4, 5, 6), np.float32), PLANE)
    with pytest.raises(InputError, match="hold none"):
        MeanShift()(given)


@pytest.mark.parametrize("shape", [(16, 5, 7), (16, 6, 5), (16, 2, 5, 6), (16, 30), (0, 5, 6)])
def test_an_embedding_of_another_shape_is_refused(shape):
    given = Affinities(np.zeros((4, 5, 6), np.float32), PLANE, np.zeros(shape, np.float32))
    with pytest.raises(InputError, match=r"\(5, 6\).*got \("):
        MeanShift()(given)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 3.0])
def test_embeddings_that_are_no_unit_vectors_are_refused(wrong):
    embedding = synthetic_embedding(np.ones((5, 6), np.int32))
    embedding[3, 2, 4] = wrong
    with pytest.raises(InputError, match="finite vectors of at most unit length"):
        MeanShift()(holding(embedding))


def test_a_foreground_of_another_shape_is_refused():
    given = holding(synthetic_embedding(np.ones((5, 6), np.int32)))
    with pytest.raises(InputError, match=r"\(6, 5\)"):
        MeanShift()(given, foreground=np.ones((6, 5), bool))


@pytest.mark.parametrize(
    "wrong",
    [
        {"bandwidth": 0},
        {"bandwidth": 2},
        {"bandwidth": np.nan},
        {"bandwidth": "wide"},
        {"bandwidth": True},
        {"seeds": 0},
        {"seeds": 2.5},
        {"seeds": True},
        {"samples": 0},
        {"samples": None},
        {"iterations": -1},
        {"iterations": np.array([3])},
        {"tolerance": -0.1},
        {"tolerance": 1},
        {"tolerance": "none"},
        {"spatial_split": 1},
        {"spatial_split": None},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=name):
        MeanShift(**wrong)


def test_it_is_found_by_name():
    assert get_clusterer("mean_shift", bandwidth=0.6, seeds=np.int64(9)) == MeanShift(0.6, seeds=9)
