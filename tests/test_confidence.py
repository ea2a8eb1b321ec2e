"""Confidence: equal to loops over pairs, in [0, 1], high for whole objects and low for wrong ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixel_embedded_affinity import Neighborhood, Segmenter
from pixel_embedded_affinity.confidence import object_confidence
from pixel_embedded_affinity.embedding import Embedding
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.testing import label_images, neighborhoods, synthetic_embedding
from pixel_embedded_affinity.training.data.synthetic import synthetic_volume

Array = npt.NDArray[Any]

PAIRS = Neighborhood.from_ranges([1, 3, 9], directions=8, strides=4)


def slow_confidence(labels: Array, embedding: Array, neighborhood: Neighborhood) -> list[float]:
    """One object after the other, one pair after the other, in double precision."""
    unit = embedding.astype(float) / np.maximum(np.linalg.norm(embedding.astype(float), axis=0), 1e-300)
    confidences = []
    for label in sorted(set(labels.ravel().tolist()) - {0}):
        inside, across = [], []
        for offset, attractive in zip(neighborhood.offsets, neighborhood.attractive, strict=True):
            for pixel in np.ndindex(labels.shape):
                partner = tuple(p + o for p, o in zip(pixel, offset, strict=True))
                if any(p < 0 or p >= n for p, n in zip(partner, labels.shape, strict=True)):
                    continue
                value = float(unit[(slice(None), *pixel)] @ unit[(slice(None), *partner)])
                ends = [labels[pixel], labels[partner]].count(label)
                if ends == 2:
                    inside.append(value)
                elif ends == 1 and attractive:
                    across.append(max(value, 0))
        mean_inside = sum(inside) / len(inside) if inside else 0
        mean_across = sum(across) / len(across) if across else 0
        confidences.append(min(max(mean_inside - mean_across, 0), 1))
    return confidences


@settings(max_examples=50, deadline=None)
@given(data=st.data(), ndim=st.integers(2, 3), seed=st.integers(0, 2**32 - 1))
def test_confidence_is_that_of_loops_over_pairs(data: st.DataObject, ndim: int, seed: int) -> None:
    labels = 3 * data.draw(label_images(ndim=ndim, max_side=6 if ndim == 2 else 4))
    neighborhood = data.draw(neighborhoods(ndim=ndim, max_range=4, max_offsets=4))
    random = np.random.default_rng(seed)
    embedding = random.normal(0.3, 1, (3, *labels.shape)).astype(np.float32)
    found = object_confidence(labels, embedding, neighborhood)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, slow_confidence(labels, embedding, neighborhood), atol=1e-5)
    assert ((found >= 0) & (found <= 1)).all()


def two_objects(noise: float = 0.1) -> tuple[Array, Array]:
    """Two touching squares of 12 pixels in background, and their embedding."""
    labels = np.zeros((20, 32), np.int32)
    labels[4:16, 4:16], labels[4:16, 16:28] = 1, 2
    return labels, synthetic_embedding(labels, noise=noise)


def test_whole_objects_of_a_perfect_embedding_are_certain() -> None:
    labels, embedding = two_objects(noise=0)
    np.testing.assert_allclose(object_confidence(labels, embedding, PAIRS), [1, 1], atol=1e-5)


@pytest.mark.parametrize("wrong", ["joined", "cut", "invented", "shifted"])
def test_a_wrong_object_is_less_confident_than_the_right_ones(wrong: str) -> None:
    labels, embedding = two_objects()
    right = object_confidence(labels, embedding, PAIRS).min()
    changed = {
        "joined": np.where(labels == 2, 1, labels),
        "cut": np.where((labels == 1) & (np.arange(32) < 10), 3, labels),
        "invented": np.where((labels == 0) & (np.arange(20)[:, None] < 3), 3, labels),
        "shifted": np.roll(labels, 4, axis=0),
    }[wrong]
    assert object_confidence(changed, embedding, PAIRS).min() < right - 0.05


def test_confidence_does_not_depend_on_the_numbering_but_follows_it() -> None:
    labels, embedding = two_objects()
    first, second = object_confidence(labels, embedding, PAIRS)
    renumbered = np.choose(labels, [0, 900, 7]).astype(np.uint16)
    np.testing.assert_array_equal(object_confidence(renumbered, embedding, PAIRS), [second, first])


def test_strides_do_not_matter() -> None:
    labels, embedding = two_objects()
    dense = Neighborhood(PAIRS.offsets, PAIRS.attractive)
    expected = object_confidence(labels, embedding, PAIRS)
    np.testing.assert_array_equal(object_confidence(labels, embedding, dense), expected)


def test_an_embedding_a_tensor_and_an_array_give_the_same() -> None:
    labels, embedding = two_objects()
    expected = object_confidence(labels, embedding, PAIRS)
    tensor = torch.from_numpy(embedding)
    for given_as in (tensor, Embedding(tensor)):
        np.testing.assert_allclose(object_confidence(labels, given_as, PAIRS), expected, atol=1e-6)


@pytest.mark.parametrize("labels", [np.zeros((4, 5), int), np.eye(4, 5, dtype=int), np.ones((4, 5), int)])
def test_no_object_lone_pixels_and_one_object_everywhere(labels: Array) -> None:
    embedding = np.ones((2, 4, 5), np.float32)
    straight = Neighborhood.from_ranges([1])
    expected = [] if labels.max() == 0 else [float(labels.all())]
    np.testing.assert_allclose(object_confidence(labels, embedding, straight), expected, atol=1e-6)


def test_pairs_longer_than_the_image_say_nothing() -> None:
    labels = np.ones((3, 3), int)
    assert object_confidence(labels, np.ones((2, 3, 3)), Neighborhood.from_ranges([9])) == [0]


@pytest.mark.parametrize("factor", [2, 3])
def test_labels_of_the_larger_image_are_brought_to_the_embedding(factor: int) -> None:
    labels, embedding = two_objects()
    large = labels.repeat(factor, 0).repeat(factor, 1)
    expected = object_confidence(labels, embedding, PAIRS)
    np.testing.assert_array_equal(object_confidence(large, embedding, PAIRS), expected)


def test_objects_that_vanish_at_the_embedding_s_resolution_keep_their_place_and_have_none() -> None:
    labels, embedding = two_objects()
    large = labels.repeat(4, 0).repeat(4, 1) * 2
    large[0, 0] = 3
    first, vanished, second = object_confidence(large, embedding, PAIRS)
    assert vanished == 0
    np.testing.assert_array_equal([first, second], object_confidence(labels, embedding, PAIRS))


def test_labels_and_embedding_stay_as_they_are() -> None:
    labels, embedding = two_objects()
    labels.flags.writeable = embedding.flags.writeable = False
    object_confidence(labels, embedding, PAIRS)


@pytest.mark.parametrize(
    ("shape", "embedded"),
    [((530, 500), (265, 250)), ((7, 5), (10, 8)), ((9, 3), (4, 1)), ((4, 4, 4), (2, 2, 2))],
)
def test_shapes_of_a_scaled_image_are_accepted(shape: tuple[int, ...], embedded: tuple[int, ...]) -> None:
    pairs = Neighborhood.from_ranges([1], directions=4 if len(shape) == 2 else 6)
    found = object_confidence(np.ones(shape, int), np.ones((1, *embedded), np.float32), pairs)
    np.testing.assert_allclose(found, [1], atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "embedding", "neighborhood", "message"),
    [
        (np.ones((20, 30), int), np.ones((2, 30, 20)), PAIRS, r"labels of shape \(20, 30\).*\(30, 20\)"),
        (np.ones((20, 30), int), np.ones((2, 10, 17)), PAIRS, "before and after scaling"),
        (np.ones((4, 4, 4), int), np.ones((2, 4, 4)), PAIRS, "embedding of spatial shape"),
        (np.ones((4, 4), int), np.ones((2, 4, 4, 4)), PAIRS, "spatial axes"),
        (np.ones((4, 4)), np.ones((2, 4, 4)), PAIRS, "integers"),
        (-np.ones((4, 4), int), np.ones((2, 4, 4)), PAIRS, "positive"),
        (np.ones((4, 4), int), np.full((2, 4, 4), np.nan), PAIRS, "NaN"),
        (np.ones((4, 4), int), [[1.0]], PAIRS, "got list"),
        (np.ones((4, 4), int), np.ones((2, 4, 4)), [1, 3], "must be a Neighborhood, got list"),
    ],
)
def test_what_does_not_fit_is_refused(labels: Any, embedding: Any, neighborhood: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        object_confidence(labels, embedding, neighborhood)


# --- in the table of a segmentation -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def image() -> Array:
    return np.random.default_rng(3).integers(0, 4000, (32, 48), dtype=np.uint16)


def test_the_table_of_a_segmentation_holds_the_confidence(segmenter: Segmenter, image: Array) -> None:
    result = segmenter.analyze(image)
    table = result.table()
    expected = object_confidence(result.labels, result.embedding, segmenter.config.neighborhood)
    np.testing.assert_array_equal(table["confidence"], expected)
    assert len(expected) == result.labels.max() > 1


def test_the_confidence_is_that_of_the_neighborhood_that_was_used(segmenter: Segmenter, image: Array) -> None:
    other = Neighborhood.from_ranges([1, 7])
    result = segmenter.analyze(image, neighborhood=other)
    expected = object_confidence(result.labels, result.embedding, other)
    np.testing.assert_array_equal(result.table()["confidence"], expected)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_a_scaled_image_has_confidences_at_the_network_s_resolution(
    scale: float, segmenter: Segmenter, image: Array
) -> None:
    result = segmenter.analyze(image, scale=scale)
    assert result.embedding.spatial_shape != result.labels.shape
    expected = object_confidence(result.labels, result.embedding, segmenter.config.neighborhood)
    np.testing.assert_array_equal(result.table()["confidence"], expected)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_order_of_axes_does_not_matter(scale: float, segmenter: Segmenter, image: Array) -> None:
    square = image[:32, :32]
    upright = segmenter.analyze(square, scale=scale)
    turned = segmenter.analyze(square.T, axes="XY", scale=scale)
    by_label = dict(zip(turned.table()["label"], turned.table()["confidence"]))
    for label, confidence in zip(upright.table()["label"], upright.table()["confidence"]):
        y, x = np.argwhere(upright.labels == label)[0]
        assert by_label[turned.labels[x, y]] == confidence


def test_a_table_without_objects_has_an_empty_confidence(segmenter: Segmenter, image: Array) -> None:
    table = segmenter.analyze(image, foreground=np.zeros(image.shape, bool)).table()
    assert table["confidence"].shape == (0,)
    assert table["confidence"].dtype == np.float64


def test_objects_of_a_volume_whose_embedding_skips_pixels_within_sections_have_their_confidence() -> None:
    """The labels are twice as long as the embedding along y and x, and as long along z."""
    segmenter = Segmenter.pretrained("ac3ac4", device="cpu", threads=1)
    result = segmenter.analyze(synthetic_volume((6, 96, 80))[0])
    assert result.embedding.spatial_shape == (6, 48, 40)
    table = result.table()
    assert len(table["confidence"]) == result.labels.max() > 0
    assert (table["confidence"] > 0).any()
    at_positions = result.labels[:, ::2, ::2]
    direct = object_confidence(at_positions, result.embedding, segmenter.config.neighborhood)
    assert len(direct) == np.count_nonzero(np.unique(at_positions))
