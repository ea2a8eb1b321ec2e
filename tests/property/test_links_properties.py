"""Corrections: a link always holds, no link changes nothing, whatever comes before and after the clusterer.

*plane* embeds each pixel of an image, *strided* every second one, *volume* each voxel of an anisotropic volume.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.labels import relabel
from pixel_embedded_affinity.postprocess import Postprocess
from pixel_embedded_affinity.segmenter import Segmenter

Array = np.ndarray[Any, np.dtype[Any]]
modest = settings(max_examples=60, deadline=None)

KINDS = ("plane", "strided", "volume")
LONGEST = {"plane": (30, 30), "strided": (30, 30), "volume": (5, 14, 14)}

each_kind = pytest.mark.parametrize("kind", KINDS)
each_pixel = pytest.mark.parametrize("kind", ["plane", "volume"])
"""What holds only where each pixel has an embedding vector of its own."""

clusterers = st.sampled_from(["mutex_watershed", "connected_components", "agglomeration"])


@pytest.fixture(scope="module")
def models(
    segmenter: Segmenter, strided_segmenter: Segmenter, volume_segmenter: Segmenter
) -> dict[str, Segmenter]:
    return {"plane": segmenter, "strided": strided_segmenter, "volume": volume_segmenter}


@st.composite
def drawn_images(draw: st.DrawFn, kind: str) -> Array:
    shape = draw(st.tuples(*(st.integers(1, longest) for longest in LONGEST[kind])))
    block = draw(st.sampled_from([1, 3, 8]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    coarse = generator.integers(0, 127, [-(-length // block) for length in shape], endpoint=True)
    for axis in range(len(shape)):
        coarse = coarse.repeat(block, axis)
    return coarse[tuple(slice(length) for length in shape)]


@st.composite
def drawn_strokes(draw: st.DrawFn, shape: tuple[int, ...]) -> Array:
    """One to eight pixels, near each other or anywhere."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, reach = draw(st.integers(1, 8)), draw(st.sampled_from([1, 3, 100]))
    start = generator.integers(0, shape)
    return np.clip(start + generator.integers(0, reach, (count, len(shape))), 0, np.array(shape) - 1)


@st.composite
def drawn_links(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[list[Array], list[tuple[Array, Array]]]:
    strokes = drawn_strokes(shape)
    return draw(st.lists(strokes, max_size=3)), draw(st.lists(st.tuples(strokes, strokes), max_size=3))


def pixels(stroke: Array) -> set[tuple[int, ...]]:
    return set(map(tuple, stroke.tolist()))


def contradict(same: list[Array], different: list[tuple[Array, Array]]) -> bool:
    """Whether strokes that share pixels make one object of two that are different, found in the plainest way."""
    parts = [pixels(stroke) for stroke in (*same, *(stroke for pair in different for stroke in pair))]
    while True:
        for one in parts:
            others = [other for other in parts if other is not one and other & one]
            if others:
                parts = [part for part in parts if part is not one and part not in others]
                parts.append(one.union(*others))
                break
        else:
            break
    return any(part >= pixels(one) | pixels(other) for part in parts for one, other in different)


def assert_links_hold(labels: Array, same: list[Array], different: list[tuple[Array, Array]]) -> None:
    def object_of(stroke: Array) -> int:
        found = np.unique(labels[tuple(stroke.T)])
        assert len(found) == 1
        assert found[0] > 0
        return int(found[0])

    for stroke in same:
        object_of(stroke)
    for one, other in different:
        assert object_of(one) != object_of(other)


postprocessings = st.builds(
    Postprocess,
    merge_sizes=st.lists(st.integers(0, 60), max_size=2).map(tuple),
    merge_radii=st.lists(st.floats(0, 4), max_size=1).map(tuple),
    min_size=st.integers(0, 40),
    fill_holes=st.booleans(),
    clear_border=st.booleans(),
    merge_similarity=st.sampled_from([None, 0.5, -1.0]),
    merge_radii_by=st.sampled_from(["border", "similarity"]),
    min_confidence=st.sampled_from([0.0, 0.5, 1.0]),
    noise_floor=st.sampled_from([0.0, 1.0]),
)


@each_kind
@modest
@given(
    data=st.data(),
    postprocess=postprocessings,
    scale=st.sampled_from([None, 0.4, 1.7]),
    views=st.sampled_from([1, 4]),
    mask=st.sampled_from([None, 0.0, 0.5]),
    clusterer=clusterers,
)
def test_a_link_always_holds(
    models: dict[str, Segmenter],
    kind: str,
    data: st.DataObject,
    postprocess: Postprocess,
    scale: float | None,
    views: int,
    mask: float | None,
    clusterer: str,
) -> None:
    image = data.draw(drawn_images(kind))
    scale = None if scale is None else max(scale, 0.5 / min(image.shape))
    segmenter = models[kind].with_settings(postprocess=postprocess, views=views, clusterer=clusterer)
    embedding = segmenter.embed(image, scale=scale)
    same, different = data.draw(drawn_links(image.shape))
    foreground = None if mask is None else np.random.default_rng(0).random(image.shape) < mask
    if contradict(same, different):
        with pytest.raises(InputError, match=r"different\[\d\] says .* (move|remove)"):
            segmenter.cluster(embedding, same=same, different=different, foreground=foreground)
        return
    labels = segmenter.cluster(embedding, same=same, different=different, foreground=foreground)
    assert labels.dtype == np.int32
    assert labels.shape == image.shape
    np.testing.assert_array_equal(labels, relabel(labels))
    assert_links_hold(labels, same, different)
    if foreground is not None:
        outside = ~foreground
        for stroke in (*same, *(stroke for pair in different for stroke in pair)):
            outside[tuple(stroke.T)] = False
        assert not labels[outside].any()
    again = segmenter.cluster(embedding, same=same, different=different, foreground=foreground)
    np.testing.assert_array_equal(again, labels)


@each_kind
@modest
@given(data=st.data(), postprocess=postprocessings, scale=st.sampled_from([None, 0.6, 1.7]))
def test_no_link_changes_nothing(
    models: dict[str, Segmenter],
    kind: str,
    data: st.DataObject,
    postprocess: Postprocess,
    scale: float | None,
) -> None:
    image = data.draw(drawn_images(kind))
    scale = None if scale is None else max(scale, 0.5 / min(image.shape))
    segmenter = models[kind].with_settings(postprocess=postprocess)
    embedding = segmenter.embed(image, scale=scale)
    expected = segmenter.cluster(embedding)
    np.testing.assert_array_equal(segmenter.cluster(embedding, same=[], different=[]), expected)
    np.testing.assert_array_equal(segmenter.segment(image, scale=scale), expected)


@each_kind
@modest
@given(data=st.data())
def test_the_order_of_strokes_and_of_their_pixels_does_not_matter(
    models: dict[str, Segmenter], kind: str, data: st.DataObject
) -> None:
    image, segmenter = data.draw(drawn_images(kind)), models[kind]
    same, different = data.draw(drawn_links(image.shape))
    if contradict(same, different) or kind == "strided":
        return  # strokes of one position: the first of equal ones owns it
    embedding = segmenter.embed(image)
    labels = segmenter.cluster(embedding, same=same, different=different)
    turned = [(other[::-1], one) for one, other in reversed(different)]
    again = segmenter.cluster(embedding, same=[stroke[::-1] for stroke in reversed(same)], different=turned)
    np.testing.assert_array_equal(again, labels)


@each_kind
@modest
@given(data=st.data(), side=st.floats(0.2, 0.8))
def test_links_hold_where_a_part_of_the_image_was_embedded(
    models: dict[str, Segmenter], kind: str, data: st.DataObject, side: float
) -> None:
    image, segmenter = data.draw(drawn_images(kind)), models[kind]
    start = [int(side * length / 2) for length in image.shape]
    box = tuple(slice(first, max(first + 1, int(length * side))) for first, length in zip(start, image.shape))
    embedding = replace(segmenter.embed(image[box]), image_shape=image.shape, box=box)
    same, different = data.draw(drawn_links(image.shape))
    if not contradict(same, different):
        labels = segmenter.cluster(embedding, same=same, different=different)
        assert_links_hold(labels, same, different)


@each_pixel
@modest
@given(data=st.data(), clusterer=clusterers)
def test_objects_without_a_stroke_stay_as_they_are(
    models: dict[str, Segmenter], kind: str, data: st.DataObject, clusterer: str
) -> None:
    image, segmenter = data.draw(drawn_images(kind)), models[kind]
    embedding = segmenter.embed(image)
    before = segmenter.cluster(embedding, clusterer=clusterer)
    same, different = data.draw(drawn_links(image.shape))
    if contradict(same, different):
        return
    after = segmenter.cluster(embedding, clusterer=clusterer, same=same, different=different)
    strokes = [*same, *(stroke for pair in different for stroke in pair)]
    touched = {0, *(int(item) for stroke in strokes for item in before[tuple(stroke.T)])}
    for item in set(range(1, before.max() + 1)) - touched:
        found = np.unique(after[before == item])
        assert len(found) == 1
        np.testing.assert_array_equal(after == found[0], before == item)


@each_pixel
@modest
@given(data=st.data(), clusterer=clusterers)
def test_what_holds_already_changes_nothing(
    models: dict[str, Segmenter], kind: str, data: st.DataObject, clusterer: str
) -> None:
    image, segmenter = data.draw(drawn_images(kind)), models[kind]
    embedding = segmenter.embed(image)
    before = segmenter.cluster(embedding, clusterer=clusterer)
    points = [np.argwhere(before == item) for item in range(1, before.max() + 1)]
    if len(points) < 2:
        return
    numbers = data.draw(st.lists(st.integers(0, len(points) - 1), min_size=2, max_size=6, unique=True))
    strokes = [points[number][data.draw(st.integers(0, 3)) :: 2] for number in numbers]
    strokes = [stroke if len(stroke) else points[number] for stroke, number in zip(strokes, numbers)]
    different = list(pairwise(strokes))
    after = segmenter.cluster(embedding, clusterer=clusterer, same=strokes, different=different)
    np.testing.assert_array_equal(after, before)


@each_pixel
@modest
@given(data=st.data(), number=st.integers(0, 2**16))
def test_two_strokes_cut_one_object_and_only_this_one(
    models: dict[str, Segmenter], kind: str, data: st.DataObject, number: int
) -> None:
    image, segmenter = data.draw(drawn_images(kind)), models[kind]
    embedding = segmenter.embed(image)
    before = segmenter.cluster(embedding, clusterer="connected_components")
    points = np.argwhere(before == 1 + number % max(1, before.max()))
    if len(points) < 2:
        return
    one, other = (points[data.draw(st.integers(0, len(points) - 1))] for _ in range(2))
    if (one == other).all():
        return
    after = segmenter.cluster(embedding, clusterer="connected_components", different=[(one, other)])
    np.testing.assert_array_equal(after > 0, before > 0)
    assert after[tuple(one)] != after[tuple(other)]
    assert after.max() >= before.max() + 1
