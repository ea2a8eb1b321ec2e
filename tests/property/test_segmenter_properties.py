"""The whole pipeline, with tiny random networks: what holds for every image and every volume.

*plane* embeds each pixel of an image, *strided* every second one, *volume* each voxel of an anisotropic volume; *onnx*
is *strided*, run by onnxruntime.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pixel_embedded_affinity.labels import relabel
from pixel_embedded_affinity.normalize import Normalization
from pixel_embedded_affinity.postprocess import Postprocess
from pixel_embedded_affinity.segmenter import Segmenter
from pixel_embedded_affinity.testing import neighborhoods

Array = np.ndarray[Any, np.dtype[Any]]
modest = settings(max_examples=40, deadline=None)
few = settings(max_examples=20, deadline=None)

DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">u2", ">i4", ">f4", ">f8"]
KINDS = ("plane", "strided", "onnx", "volume")
LONGEST = {"plane": (40, 40), "strided": (40, 40), "onnx": (40, 40), "volume": (6, 18, 18)}

each_kind = pytest.mark.parametrize("kind", KINDS)
"""The same property for images and for volumes."""

each_pixel = pytest.mark.parametrize("kind", ["plane", "volume"])
"""What holds only where each pixel has an embedding vector of its own."""


@pytest.fixture(scope="module")
def models(
    segmenter: Segmenter,
    strided_segmenter: Segmenter,
    onnx_segmenter: Segmenter,
    volume_segmenter: Segmenter,
) -> dict[str, Segmenter]:
    return {
        "plane": segmenter,
        "strided": strided_segmenter,
        "onnx": onnx_segmenter,
        "volume": volume_segmenter,
    }


def shapes(kind: str) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*(st.integers(1, longest) for longest in LONGEST[kind]))


@st.composite
def drawn_counts(draw: st.DrawFn, kind: str, most: int = 127) -> Array:
    """An image of any size that holds integers from 0 on, of blocks that a network may tell apart."""
    shape = draw(shapes(kind))
    block = draw(st.sampled_from([1, 3, 8]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    coarse = generator.integers(0, most, [-(-length // block) for length in shape], endpoint=True)
    for axis in range(len(shape)):
        coarse = coarse.repeat(block, axis)
    return coarse[tuple(slice(length) for length in shape)]


def assert_labels(labels: Array, shape: tuple[int, ...]) -> None:
    assert labels.dtype == np.int32
    assert labels.shape == shape
    assert set(np.unique(labels)) | {0} == set(range(labels.max() + 1))
    np.testing.assert_array_equal(labels, relabel(labels))


@each_kind
def test_the_tiny_network_tells_pixels_apart(models: dict[str, Segmenter], kind: str) -> None:
    labels = models[kind].segment(np.random.default_rng(0).integers(0, 127, LONGEST[kind]))
    assert labels.max() > 3
    assert 0.1 < (labels > 0).mean() < 0.9


@each_kind
@modest
@given(data=st.data(), dtype=st.sampled_from(DTYPES))
def test_any_image_has_consecutive_labels_twice_the_same_and_stays_as_it_is(
    models: dict[str, Segmenter], kind: str, data: st.DataObject, dtype: str
) -> None:
    numbers = st.floats(-1000, 1000, width=16) if np.dtype(dtype).kind == "f" else None
    image = data.draw(hnp.arrays(np.dtype(dtype), shapes(kind), elements=numbers))
    segmenter = models[kind]
    image.setflags(write=False)
    before = image.tobytes(), image.dtype, image.shape, image.strides
    labels = segmenter.segment(image)
    assert (image.tobytes(), image.dtype, image.shape, image.strides) == before
    assert_labels(labels, image.shape)
    np.testing.assert_array_equal(segmenter.segment(image), labels)


@each_kind
@modest
@given(data=st.data(), dtype=st.sampled_from([dtype for dtype in DTYPES if dtype != "?"]))
def test_the_type_of_the_numbers_does_not_matter(
    models: dict[str, Segmenter], kind: str, data: st.DataObject, dtype: str
) -> None:
    segmenter, image = models[kind], data.draw(drawn_counts(kind))
    np.testing.assert_array_equal(segmenter.segment(image.astype(dtype)), segmenter.segment(image))


CONTAINERS: dict[str, Callable[[Array], Any]] = {
    "list": lambda image: image.tolist(),
    "torch": torch.from_numpy,
    "fortran": np.asfortranarray,
    "negative strides": lambda image: image[..., ::-1, ::-1].copy()[..., ::-1, ::-1],
    "every other pixel": lambda image: image.repeat(2, -2).repeat(2, -1)[..., ::2, ::2],
    "channel last": lambda image: image[..., np.newaxis],
}


@each_kind
@modest
@given(data=st.data(), container=st.sampled_from(sorted(CONTAINERS)))
def test_the_container_and_its_memory_do_not_matter(
    models: dict[str, Segmenter], kind: str, data: st.DataObject, container: str
) -> None:
    segmenter, image = models[kind], data.draw(drawn_counts(kind))
    found = segmenter.segment(CONTAINERS[container](image))
    np.testing.assert_array_equal(found, segmenter.segment(image))


@each_kind
@modest
@given(data=st.data(), exponent=st.integers(-10, 20))
def test_the_scale_of_intensities_does_not_matter(
    models: dict[str, Segmenter], kind: str, data: st.DataObject, exponent: int
) -> None:
    segmenter, image = models[kind], data.draw(drawn_counts(kind))
    np.testing.assert_array_equal(segmenter.segment(image * 2.0**exponent), segmenter.segment(image))


@each_kind
@modest
@given(data=st.data(), offset=st.integers(-(2**20), 2**20), exponent=st.integers(0, 3))
def test_an_offset_of_intensities_does_not_matter(
    models: dict[str, Segmenter], kind: str, data: st.DataObject, offset: int, exponent: int
) -> None:
    segmenter, image = models[kind], data.draw(drawn_counts(kind))
    # From the least to the greatest value, so that both are integers and nothing is rounded.
    full = segmenter.with_settings()
    full.config = full.config.changed(normalization=Normalization(lower=0, upper=100))
    moved = image * 2**exponent + offset
    np.testing.assert_array_equal(full.segment(moved), full.segment(image))


@each_kind
@modest
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([None, 0.5, 1.7]))
def test_labels_are_only_in_the_given_foreground_which_stays_as_it_is(
    models: dict[str, Segmenter], kind: str, data: st.DataObject, seed: int, scale: float | None
) -> None:
    segmenter, image = models[kind], data.draw(drawn_counts(kind))
    foreground = np.random.default_rng(seed).random(image.shape) < 0.6
    before = foreground.copy()
    foreground.setflags(write=False)
    labels = segmenter.segment(image, foreground=foreground, scale=scale)
    np.testing.assert_array_equal(foreground, before)
    assert_labels(labels, image.shape)
    assert not labels[~foreground].any()
    if scale is None and kind not in ("strided", "onnx"):  # the network of "onnx" is strided, too
        assert labels[foreground].all()


@each_kind
@few
@given(data=st.data(), scale=st.floats(0.05, 2.5))
def test_labels_have_the_shape_of_the_image_at_any_scale(
    models: dict[str, Segmenter], kind: str, data: st.DataObject, scale: float
) -> None:
    segmenter, image = models[kind], data.draw(drawn_counts(kind))
    scale = max(scale, 0.5 / min(image.shape))  # half a pixel at least
    assert_labels(segmenter.segment(image, scale=scale), image.shape)


@each_kind
@modest
@given(
    data=st.data(),
    clusterer=st.sampled_from(["mutex_watershed", "connected_components"]),
    min_size=st.integers(0, 30),
)
def test_clustering_an_embedding_in_any_way_is_segmenting_in_that_way(
    models: dict[str, Segmenter], kind: str, data: st.DataObject, clusterer: str, min_size: int
) -> None:
    segmenter, image = models[kind], data.draw(drawn_counts(kind))
    neighborhood = data.draw(neighborhoods(ndim=image.ndim, max_range=12))
    settings: dict[str, Any] = {"neighborhood": neighborhood, "clusterer": clusterer, "min_size": min_size}
    labels = segmenter.cluster(segmenter.embed(image), **settings)
    assert_labels(labels, image.shape)
    if kind not in ("strided", "onnx"):  # there, a size counts embedding vectors
        assert np.bincount(labels.ravel())[1:].min(initial=10**6) >= min_size
    np.testing.assert_array_equal(labels, segmenter.segment(image, **settings))


@each_pixel
@modest
@given(
    data=st.data(),
    merge_sizes=st.lists(st.integers(0, 60), max_size=3),
    min_size=st.integers(0, 30),
    fill_holes=st.booleans(),
    clear_border=st.booleans(),
)
def test_postprocessing_is_applied_last(
    models: dict[str, Segmenter],
    kind: str,
    data: st.DataObject,
    merge_sizes: list[int],
    min_size: int,
    fill_holes: bool,
    clear_border: bool,
) -> None:
    segmenter, image = models[kind], data.draw(drawn_counts(kind))
    postprocess = Postprocess(
        merge_sizes=tuple(merge_sizes), min_size=min_size, fill_holes=fill_holes, clear_border=clear_border
    )
    plain = segmenter.with_settings(postprocess=Postprocess()).segment(image)
    found = segmenter.with_settings(postprocess=postprocess).segment(image)
    np.testing.assert_array_equal(found, postprocess(plain))


@each_kind
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_images_of_a_sequence_do_not_influence_each_other(
    models: dict[str, Segmenter], kind: str, seed: int
) -> None:
    segmenter = models[kind]
    generator = np.random.default_rng(seed)
    images = [generator.integers(0, 4000, (*LONGEST[kind][:-1], 20 + index)) for index in range(4)]
    found = list(segmenter.segment_many(images))
    for labels, image in zip(reversed(found), reversed(images), strict=True):
        np.testing.assert_array_equal(labels, segmenter.segment(image))
