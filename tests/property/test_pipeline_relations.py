"""How labels of related images are related, with a tiny random network: metamorphic tests of the whole pipeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.embedding import Embedding
from pixel_embedded_affinity.normalize import Normalization
from pixel_embedded_affinity.segmenter import Segmenter
from pixel_embedded_affinity.testing import synthetic_embedding

Array = np.ndarray[Any, np.dtype[Any]]
some = settings(max_examples=25, deadline=None)

TURNS: dict[str, Callable[[Array], Array]] = {
    "upside down": lambda array: array[..., ::-1, :],
    "mirrored": lambda array: array[..., ::-1],
    "turned by 90": lambda array: np.rot90(array, 1, (-2, -1)),
    "turned by 180": lambda array: np.rot90(array, 2, (-2, -1)),
    "turned by 270": lambda array: np.rot90(array, 3, (-2, -1)),
    "transposed": lambda array: array.swapaxes(-2, -1),
}


@pytest.fixture(scope="module")
def symmetric(make_network: Callable[..., nn.Module], tiny_config: ModelConfig) -> Segmenter:
    """A segmenter whose network sees all directions alike: each of its kernels is symmetric.

    A network of any other weights does not, whatever it was trained with: then these relations do not hold.
    """
    network = make_network(tiny_config.network, seed=3)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            kernel = module.weight.data
            turned = [torch.rot90(kernel, turns, (-2, -1)) for turns in range(4)]
            module.weight.data = torch.stack([*turned, *(one.flip(-1) for one in turned)]).mean(0)
    return Segmenter(network, tiny_config, device="cpu", precision="float32")


def blobs(seed: int, height: int = 64, width: int = 48) -> Array:
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 4000, (height // 8, width // 8))
    return coarse.repeat(8, 0).repeat(8, 1) + generator.integers(0, 50, (height, width))


@some
@given(seed=st.integers(0, 2**32 - 1), turn=st.sampled_from(sorted(TURNS)))
def test_turning_the_image_turns_the_embedding_of_a_symmetric_network(
    symmetric: Segmenter, seed: int, turn: str
) -> None:
    """Sides are multiples of 16, so that the pooling windows of the turned image are the turned windows."""
    image = blobs(seed)
    found, expected = symmetric.embed(TURNS[turn](image)), symmetric.embed(image)
    np.testing.assert_allclose(found.numpy(), TURNS[turn](expected.numpy()), atol=2e-4)
    assert found.foreground is not None
    assert expected.foreground is not None
    turned = TURNS[turn](expected.foreground.numpy())
    np.testing.assert_allclose(found.foreground.numpy(), turned, atol=2e-4)


def test_turning_the_image_turns_nothing_where_the_network_is_not_symmetric(segmenter: Segmenter) -> None:
    image = blobs(0)
    found = segmenter.embed(image[:, ::-1]).numpy()
    assert np.abs(found - segmenter.embed(image).numpy()[..., ::-1]).max() > 0.1


@some
@given(seed=st.integers(0, 2**32 - 1), turn=st.sampled_from(sorted(TURNS)))
def test_turning_an_embedding_turns_its_regions(segmenter: Segmenter, seed: int, turn: str) -> None:
    """Exactly, where no two regions are as similar as the clusterer's threshold."""
    truth = np.random.default_rng(seed).integers(0, 5, (6, 5), dtype=np.int32).repeat(4, 0).repeat(4, 1)
    vectors = synthetic_embedding(truth, channels=8, seed=seed)
    whole = segmenter.cluster(of(vectors, truth > 0), clusterer="connected_components")
    turned = segmenter.cluster(
        of(TURNS[turn](vectors), TURNS[turn](truth > 0)), clusterer="connected_components"
    )
    assert whole.max() == turned.max()
    assert_same_regions(turned, TURNS[turn](whole))


@some
@given(
    seed=st.integers(0, 2**32 - 1),
    factor=st.floats(1e-3, 1e3),
    offset=st.floats(-1e3, 1e3),
)
def test_brightness_and_contrast_change_the_embedding_by_no_more_than_rounding(
    segmenter: Segmenter, seed: int, factor: float, offset: float
) -> None:
    """The offset is bounded by the contrast: beyond that, float64 intensities lose digits in float32."""
    assert segmenter.config.normalization == Normalization()
    image = blobs(seed).astype(np.float64)
    moved = (image + offset) * factor
    found, expected = segmenter.embed(moved).numpy(), segmenter.embed(image).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-3)


@some
@given(seeds=st.lists(st.integers(0, 50), min_size=1, max_size=5), order=st.randoms(use_true_random=False))
def test_the_order_of_images_orders_the_labels_and_changes_none(
    segmenter: Segmenter, seeds: list[int], order: Any
) -> None:
    images = [blobs(seed, 16 + 8 * (seed % 3), 24) for seed in seeds]
    expected = list(segmenter.segment_many(images))
    places = list(range(len(images)))
    order.shuffle(places)
    for labels, place in zip(segmenter.segment_many([images[i] for i in places]), places, strict=True):
        np.testing.assert_array_equal(labels, expected[place])


@some
@given(
    seed=st.integers(0, 2**32 - 1),
    before=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    behind=st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
def test_background_around_an_embedding_and_its_removal_change_no_label(
    segmenter: Segmenter, seed: int, before: tuple[int, int], behind: tuple[int, int]
) -> None:
    """In front by multiples of the strides, which are counted from the first pixel; behind by any length."""
    assert segmenter.config.neighborhood.strides == (2, 2)
    truth = np.random.default_rng(seed).integers(0, 4, (5, 6), dtype=np.int32).repeat(4, 0).repeat(4, 1)
    vectors = synthetic_embedding(truth, channels=8, noise=0.3, seed=seed)
    expected = segmenter.cluster(of(vectors, truth > 0))
    margins = [(2 * first, last) for first, last in zip(before, behind, strict=True)]
    padded = np.pad(vectors, [(0, 0), *margins], mode="wrap")
    found = segmenter.cluster(of(padded, np.pad(truth > 0, margins)))
    np.testing.assert_array_equal(found, np.pad(expected, margins))


def of(vectors: Array, foreground: Array) -> Embedding:
    values = torch.from_numpy(np.ascontiguousarray(vectors))
    return Embedding(values, torch.from_numpy(np.ascontiguousarray(foreground, dtype=np.float32)))


def assert_same_regions(one: Array, other: Array) -> None:
    pairs = {(int(a), int(b)) for a, b in zip(one.ravel(), other.ravel(), strict=True)}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
