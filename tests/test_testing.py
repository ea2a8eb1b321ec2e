"""The published testing tools: the conformance suite passes good clusterers and fails bad ones."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import find, given, settings

from pixel_embedded_affinity import testing
from pixel_embedded_affinity.affinity import affinities
from pixel_embedded_affinity.clustering import ConnectedComponents, MutexWatershed
from pixel_embedded_affinity.errors import InputError, MissingDependencyError, PixelEmbeddedAffinityError
from pixel_embedded_affinity.labels import relabel
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.testing import (
    ConformanceError,
    check_clusterer,
    label_images,
    neighborhoods,
    synthetic_embedding,
)

GOOD = MutexWatershed()


def changed(change):
    """A good clusterer whose labels are changed afterwards."""

    def clusterer(given, *, foreground=None):
        return change(GOOD(given, foreground=foreground), foreground)

    return clusterer


def reversed_numbers(labels, foreground):
    return np.where(labels, labels.max() + 1 - labels, 0).astype(np.int32)


def spilled(labels, foreground):
    if foreground is not None and not foreground.all():
        labels[np.nonzero(~foreground)[0][0], np.nonzero(~foreground)[1][0]] = 1
    return relabel(labels)


def drawn_at_random(labels, foreground):
    return relabel(np.random.default_rng().integers(1, 9, labels.shape) * (labels > 0))


BAD_RESULTS = {
    "int64": (lambda labels, _: labels.astype(np.int64), "int64"),
    "list": (lambda labels, _: labels.tolist(), "list"),
    "shape": (lambda labels, _: labels[np.newaxis], "shape"),
    "negative": (lambda labels, _: labels - 1, "negative"),
    "gaps": (lambda labels, _: labels * 2, "consecutive"),
    "order": (reversed_numbers, "ordered by first pixel"),
    "nothing": (lambda labels, _: np.zeros_like(labels), "recovery"),
    "one object": (lambda labels, _: (labels > 0).astype(np.int32), "recovery"),
    "random": (drawn_at_random, "same input|exactly|same labels as none"),
}


@pytest.mark.parametrize("clusterer", [GOOD, ConnectedComponents()])
def test_good_clusterers_pass(clusterer):
    assert check_clusterer(clusterer) is None


@pytest.mark.parametrize(("change", "complaint"), BAD_RESULTS.values(), ids=BAD_RESULTS.keys())
def test_bad_labels_fail_with_what_is_wrong(change, complaint):
    with pytest.raises(ConformanceError, match=complaint):
        check_clusterer(changed(change))


def test_a_clusterer_that_ignores_the_foreground_fails():
    with pytest.raises(ConformanceError, match="outside the foreground"):
        check_clusterer(lambda given, *, foreground=None: GOOD(given))


def test_a_clusterer_that_labels_background_fails():
    with pytest.raises(ConformanceError, match="outside the foreground"):
        check_clusterer(changed(spilled), skip=["volume"])


def test_a_clusterer_that_writes_into_its_input_fails():
    def clusterer(given, *, foreground=None):
        values = given.values
        values.setflags(write=True)
        values *= 0.5
        return GOOD(given, foreground=foreground)

    with pytest.raises(ConformanceError, match="modified its input"):
        check_clusterer(clusterer)


def test_a_clusterer_that_tries_to_write_meets_a_read_only_array():
    def clusterer(given, *, foreground=None):
        np.multiply(given.values, 0.5, out=given.values)
        return GOOD(given, foreground=foreground)

    with pytest.raises(ConformanceError, match=r"raised ValueError.*read-only") as caught:
        check_clusterer(clusterer)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_clusterer_that_raises_fails_with_its_error():
    def clusterer(given, *, foreground=None):
        if given.values.ndim == 4:
            raise NotImplementedError("planes only")
        return GOOD(given, foreground=foreground)

    with pytest.raises(ConformanceError, match=r"'volume' failed.*NotImplementedError.*planes only"):
        check_clusterer(clusterer)
    check_clusterer(clusterer, skip=["volume", "empty_foreground", "one_pixel"])


def test_a_clusterer_that_differs_from_call_to_call_fails():
    calls = iter(range(10_000))

    def clusterer(given, *, foreground=None):
        return ConnectedComponents(0.9 if next(calls) % 2 else 0.5)(given, foreground=foreground)

    with pytest.raises(ConformanceError, match="'determinism'"):
        check_clusterer(clusterer, skip=["recovery", "full_foreground"])


def test_a_clusterer_for_which_a_full_foreground_is_not_none_fails():
    def clusterer(given, *, foreground=None):
        labels = GOOD(given, foreground=foreground)
        return relabel(labels - 1) if foreground is None else labels

    with pytest.raises(ConformanceError, match="'full_foreground'"):
        check_clusterer(clusterer)


def test_a_clusterer_that_knows_up_from_down_fails():
    def upper_third_apart(given, *, foreground=None):
        labels = GOOD(given, foreground=foreground).astype(np.int64)
        labels[: labels.shape[0] // 3] *= 10_000
        return relabel(labels)

    with pytest.raises(ConformanceError, match=r"'flips'.*axis 0"):
        check_clusterer(upper_third_apart, skip=["recovery"])


def test_a_clusterer_that_believes_the_first_channel_most_fails():
    def clusterer(given, *, foreground=None):
        first = ConnectedComponents(0.5)
        alone = Neighborhood([given.neighborhood.offsets[0]], [True])
        return first(type(given)(given.values[:1], alone), foreground=foreground)

    with pytest.raises(ConformanceError, match="'channel_order'"):
        check_clusterer(clusterer, skip=["recovery"])


def test_an_unknown_check_cannot_be_skipped():
    with pytest.raises(InputError, match=r"\['plane', 'volume'.*'flip'"):
        check_clusterer(GOOD, skip=["flip"])
    with pytest.raises(InputError, match="skip"):
        check_clusterer(GOOD, skip="flips")


def test_every_check_is_documented():
    for name in testing._CHECKS:
        assert f'``"{name}"``' in check_clusterer.__doc__


def test_a_failed_check_is_an_assertion_and_an_error_of_the_library():
    assert issubclass(ConformanceError, AssertionError)
    assert issubclass(ConformanceError, PixelEmbeddedAffinityError)


def test_weights_of_the_equivariance_checks_are_distinct():
    given = testing._distinct(testing._scene(2, noise=0.3)[0])
    weights = np.concatenate([given.values[given.valid], 1 - given.values[given.valid]])
    assert len(np.unique(weights)) == len(weights)


@settings(max_examples=50, deadline=None)
@given(label_images(ndim=2))
def test_embeddings_have_unit_length(labels):
    embedding = synthetic_embedding(labels, channels=3, noise=0.5)
    assert embedding.dtype == np.float32
    assert embedding.shape == (3, *labels.shape)
    assert embedding.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=0), 1, atol=1e-6)


def test_embeddings_of_few_labels_are_orthogonal():
    labels = np.arange(16).reshape(4, 4)
    vectors = synthetic_embedding(labels).reshape(16, 16)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(16), atol=1e-6)


def test_embeddings_of_many_labels_differ():
    vectors = synthetic_embedding(np.arange(100).reshape(10, 10), channels=4).reshape(4, 100)
    assert np.max(vectors.T @ vectors - 2 * np.eye(100)) < 1 - 1e-4


def test_embeddings_depend_on_the_seed_only():
    labels = np.arange(6).reshape(2, 3)
    first = synthetic_embedding(labels, noise=0.1, seed=3)
    np.testing.assert_array_equal(first, synthetic_embedding(labels, noise=0.1, seed=3))
    assert not np.allclose(first, synthetic_embedding(labels, noise=0.1, seed=4))


def test_noise_lowers_the_affinity_within_an_object():
    labels = np.ones((20, 20), int)
    neighborhood = Neighborhood.from_ranges([1], 4)
    means = []
    for noise in (0, 0.05, 0.3):
        result = affinities(synthetic_embedding(labels, noise=noise), neighborhood).numpy()
        means.append(result.values[result.valid].mean())
    assert means == sorted(means, reverse=True)
    assert means[0] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("settings_", "complaint"),
    [
        ({"channels": 0}, "channels"),
        ({"channels": 2.5}, "channels"),
        ({"channels": True}, "channels"),
        ({"noise": -0.1}, "noise"),
        ({"noise": np.nan}, "noise"),
        ({"noise": np.inf}, "noise"),
    ],
)
def test_settings_of_embeddings_that_make_no_sense_are_refused(settings_, complaint):
    with pytest.raises(InputError, match=complaint):
        synthetic_embedding(np.ones((2, 2), int), **settings_)


def test_embeddings_of_what_is_not_a_label_image_are_refused():
    with pytest.raises(InputError, match="labels"):
        synthetic_embedding(np.ones((2, 2)))


@pytest.mark.parametrize("ndim", [2, 3])
def test_drawn_neighborhoods_hold_both_roles(ndim):
    @settings(max_examples=50, deadline=None)
    @given(neighborhoods(ndim=ndim, max_range=2, max_offsets=5, max_stride=4))
    def check(neighborhood):
        assert neighborhood.ndim == ndim
        assert 2 <= len(neighborhood) <= 5
        assert any(neighborhood.attractive)
        assert not all(neighborhood.attractive)
        assert np.abs(neighborhood.offsets).max() <= 2
        assert max(neighborhood.strides) <= 4

    check()


def test_drawn_neighborhoods_reach_both_signs_and_long_attraction():
    find(neighborhoods(), lambda n: n.offsets[0] > (0, 0) and n.attractive[0] and max(n.offsets[0]) > 1)


@pytest.mark.parametrize("ndim", [2, 3])
def test_drawn_label_images_hold_background_and_objects(ndim):
    image = find(label_images(ndim=ndim), lambda labels: {0, 4} <= set(labels.ravel().tolist()))
    assert image.ndim == ndim
    assert image.dtype == np.int32


def test_strategies_without_hypothesis_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(MissingDependencyError, match="pip install hypothesis"):
        label_images()
    with pytest.raises(MissingDependencyError, match="pip install hypothesis"):
        neighborhoods()


def test_the_suite_does_not_import_hypothesis():
    import subprocess

    program = "import sys, pixel_embedded_affinity.testing; assert 'hypothesis' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
