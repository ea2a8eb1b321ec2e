"""Postprocessing against slow references that look at one pixel, or one object, at a time."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pixel_embedded_affinity.labels import relabel
from pixel_embedded_affinity.postprocess import (
    Postprocess,
    clear_border,
    fill_holes,
    merge_alike,
    merge_fragments,
    merge_thin,
    remove_small,
)
from pixel_embedded_affinity.testing import label_images

images = st.one_of(
    label_images(ndim=2, max_side=12, max_labels=12),
    label_images(ndim=2, max_side=10, max_labels=3),
    label_images(ndim=3, max_side=5, max_labels=9),
)
sizes = st.lists(st.integers(0, 25), max_size=4)
radii = st.lists(st.floats(0, 4, width=16), max_size=3)
modest = settings(max_examples=60, deadline=None)


def slow_relabel(labels):
    """New numbers by a walk through the pixels."""
    numbers = {0: 0}
    result = np.zeros(labels.shape, np.int32)
    for pixel in np.ndindex(labels.shape):
        result[pixel] = numbers.setdefault(labels[pixel].item(), len(numbers))
    return result


def face_neighbors(pixel, shape):
    for axis in range(len(shape)):
        for step in (-1, 1):
            other = tuple(p + step * (a == axis) for a, p in enumerate(pixel))
            if 0 <= other[axis] < shape[axis]:
                yield other


def slow_cosines(labels, embedding, fragment):
    """Cosine of the mean embeddings of an object and of each other one."""
    means = {label: embedding[:, labels == label].mean(1) for label in np.unique(labels).tolist()}
    units = {label: mean / np.linalg.norm(mean) for label, mean in means.items()}
    return {label: float(units[label] @ units[fragment]) for label in units}


def slow_merge_pass(labels, fragments, embedding=None):
    """One pass of merging, from the wording of its documentation."""
    choice = {}
    for fragment in fragments:
        shared = Counter()
        for pixel in np.argwhere(labels == fragment).tolist():
            shared.update(labels[other].item() for other in face_neighbors(pixel, labels.shape))
        neighbors = [label for label in shared if label not in (0, fragment)]
        near = shared if embedding is None else slow_cosines(labels, embedding, fragment)
        if neighbors:
            choice[fragment] = min(neighbors, key=lambda n: (n in fragments, -near[n], n))
    objects = set(labels[labels > 0].tolist())
    group = {label: {label} for label in objects}
    for fragment, target in choice.items():
        joined = group[fragment] | group[target]
        for label in joined:
            group[label] = joined
    result = labels.copy()
    for label in objects:
        result[labels == label] = min(group[label])
    return slow_relabel(result)


def slow_merge_fragments(labels, sizes):
    result = slow_relabel(labels)
    for size in sizes:
        areas = Counter(result[result > 0].tolist())
        result = slow_merge_pass(result, {label for label, area in areas.items() if area < size})
    return result


def slow_radius(labels, label, sampling):
    """Distance from the innermost pixel of an object to the nearest one outside: all pairs of pixels."""
    inside, outside = np.argwhere(labels == label), np.argwhere(labels != label)
    if not len(outside):
        return np.inf
    return np.sqrt((((inside[:, None] - outside[None]) * sampling) ** 2).sum(-1)).min(1).max()


def slow_merge_alike(labels, embedding, similarity):
    """The most alike neighbors of all, found anew after each merging, pixel by pixel."""
    labels = slow_relabel(labels)
    while True:
        touching = {
            tuple(sorted((labels[pixel].item(), labels[other].item())))
            for pixel in np.ndindex(labels.shape)
            for other in face_neighbors(pixel, labels.shape)
        }
        means = {label: embedding[:, labels == label].mean(1) for label in np.unique(labels).tolist()}
        alike = [
            (-float(means[a] @ means[b] / np.linalg.norm(means[a]) / np.linalg.norm(means[b])), a, b)
            for a, b in touching
            if 0 < a < b
        ]
        if not alike or -min(alike)[0] < similarity:
            return slow_relabel(labels)
        _, kept, gone = min(alike)
        labels[labels == gone] = kept


@modest
@given(labels=images, seed=st.integers(0, 2**32 - 1), similarity=st.floats(-1, 1, width=16))
def test_alike_neighbors_merge_one_pair_after_the_other(labels, seed, similarity):
    vectors = np.random.default_rng(seed).normal(size=(3, *labels.shape))
    embedding = vectors / np.linalg.norm(vectors, axis=0)
    expected = slow_merge_alike(labels, embedding, similarity)
    before = labels.copy(), embedding.copy()
    np.testing.assert_array_equal(merge_alike(labels, embedding, similarity), expected)
    np.testing.assert_array_equal(labels, before[0])
    np.testing.assert_array_equal(embedding, before[1])


def slow_merge_thin(labels, radii, embedding=None, sampling=1):
    result = slow_relabel(labels)
    for radius in radii:
        thin = {
            label
            for label in np.unique(result[result > 0]).tolist()
            if slow_radius(result, label, sampling) < radius
        }
        result = slow_merge_pass(result, thin, embedding)
    return result


def slow_fill_holes(labels):
    result = slow_relabel(labels)
    regions, count = ndimage.label(result == 0)
    for region in range(1, count + 1):
        pixels = [tuple(pixel) for pixel in np.argwhere(regions == region).tolist()]
        outer = any(p in (0, n - 1) for pixel in pixels for p, n in zip(pixel, labels.shape, strict=True))
        touched = {result[o].item() for pixel in pixels for o in face_neighbors(pixel, labels.shape)} - {0}
        if not outer and len(touched) == 1:
            result[regions == region] = touched.pop()
    return result


@modest
@given(images)
def test_relabel_equals_a_walk_through_the_pixels(labels):
    np.testing.assert_array_equal(relabel(labels), slow_relabel(labels))


@modest
@given(images)
def test_relabel_twice_is_relabel_once(labels):
    once = relabel(labels)
    np.testing.assert_array_equal(relabel(once), once)


@settings(max_examples=200, deadline=None)
@given(images, sizes)
def test_merging_equals_the_slow_reference(labels, sizes):
    np.testing.assert_array_equal(merge_fragments(labels, sizes), slow_merge_fragments(labels, sizes))


@settings(max_examples=100, deadline=None)
@given(images, radii)
def test_merging_of_thin_objects_equals_the_slow_reference(labels, radii):
    np.testing.assert_array_equal(merge_thin(labels, radii), slow_merge_thin(labels, radii))


@modest
@given(images, radii, st.lists(st.sampled_from([0.5, 1, 2, 3.5]), min_size=3, max_size=3))
def test_radii_are_measured_in_the_space_between_pixels(labels, radii, sampling):
    sampling = sampling[-labels.ndim :]
    expected = slow_merge_thin(labels, radii, sampling=sampling)
    np.testing.assert_array_equal(merge_thin(labels, radii, sampling=sampling), expected)
    np.testing.assert_array_equal(Postprocess(merge_radii=radii)(labels, sampling=sampling), expected)


@modest
@given(images, sizes, st.randoms(use_true_random=False))
def test_merging_does_not_depend_on_the_numbers_of_the_objects(labels, sizes, random):
    numbers = list(range(1, 100))
    random.shuffle(numbers)
    renumbered = np.array([0, *numbers])[labels]
    np.testing.assert_array_equal(merge_fragments(renumbered, sizes), merge_fragments(labels, sizes))


@modest
@given(images, sizes)
def test_merging_keeps_the_foreground_and_never_splits(labels, sizes):
    merged = merge_fragments(labels, sizes)
    np.testing.assert_array_equal(merged > 0, labels > 0)
    for label in np.unique(labels):
        assert len(np.unique(merged[labels == label])) == 1


@modest
@given(images, st.integers(0, 12))
def test_removal_keeps_exactly_the_objects_of_the_least_size(labels, min_size):
    areas = Counter(labels.ravel().tolist())
    kept = np.vectorize(lambda label: label if areas[label] >= min_size else 0)(labels)
    np.testing.assert_array_equal(remove_small(labels, min_size), slow_relabel(kept))


@modest
@given(images)
def test_filling_equals_the_slow_reference(labels):
    np.testing.assert_array_equal(fill_holes(labels), slow_fill_holes(labels))


@modest
@given(label_images(ndim=2, max_side=12, max_labels=1))
def test_filling_a_single_object_equals_scipy(labels):
    np.testing.assert_array_equal(fill_holes(labels), ndimage.binary_fill_holes(labels))


@modest
@given(images)
def test_a_cleared_border_holds_no_object_and_the_others_stay(labels):
    frame = np.ones(labels.shape, bool)
    frame[(slice(1, -1),) * labels.ndim] = False
    kept = np.where(np.isin(labels, labels[frame]), 0, labels)
    np.testing.assert_array_equal(clear_border(labels), slow_relabel(kept))


@modest
@given(images, sizes, radii, st.integers(0, 6), st.booleans(), st.booleans())
def test_steps_run_in_the_documented_order(labels, sizes, radii, min_size, fill, clear):
    expected = remove_small(merge_thin(merge_fragments(labels, sizes), radii), min_size)
    expected = fill_holes(expected) if fill else expected
    expected = clear_border(expected) if clear else expected
    steps = Postprocess(tuple(sizes), tuple(radii), min_size, fill, clear)
    np.testing.assert_array_equal(steps(labels), expected)


@pytest.mark.parametrize(
    "function", [relabel, fill_holes, clear_border, Postprocess((3, 5), (2.0,), 4, True, True)]
)
@settings(max_examples=50, deadline=None)
@given(labels=images)
def test_results_are_labels_and_the_input_is_untouched(function, labels):
    copy = labels.copy()
    labels.setflags(write=False)
    result = function(labels)
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result, slow_relabel(result))
    np.testing.assert_array_equal(labels, copy)
