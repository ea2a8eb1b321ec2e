"""Resizing: the image for the network, the labels back."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from skimage import transform

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.scaling import (
    resize_image,
    resize_labels,
    resize_part,
    scaled_shape,
    source_box,
)


def ramp(height: int, width: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.add.outer(np.arange(height), 100 * np.arange(width)).astype(np.float32)[np.newaxis]


def test_a_scale_may_be_one_number_per_axis() -> None:
    assert scaled_shape((7, 10, 20), (1, 0.5, 2)) == (7, 5, 40)


def test_at_scale_one_nothing_happens() -> None:
    values = ramp(3, 4)
    assert resize_image(values, 1.0) is values
    labels = np.arange(12).reshape(3, 4)
    assert resize_labels(labels, (3, 4)) is labels


@pytest.mark.parametrize(
    ("shape", "scale", "expected"),
    [
        ((10, 20), 0.5, (5, 10)),
        ((10, 20), 1.5, (15, 30)),
        ((1, 1), 0.5, (1, 1)),
        ((1, 1), 3, (3, 3)),
        ((1, 500), 0.5, (1, 250)),
        ((3, 4, 5), 2, (6, 8, 10)),
        ((3, 4, 5), (1, 2, 2), (3, 8, 10)),
        ((10, 20), (0.5, 3), (5, 60)),
    ],
)
def test_each_axis_is_scaled_to_at_least_one_pixel(
    shape: tuple[int, ...], scale: Any, expected: tuple[int, ...]
) -> None:
    values = np.random.default_rng(0).random((2, *shape), np.float32)
    before = values.copy()
    found = resize_image(values, scale)
    assert found.shape == (2, *expected)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize(
    ("shape", "scale", "scaled"),
    [
        ((1, 1), 0.4, "(0, 0)"),
        ((100, 4), 0.1, "(10, 0)"),
        ((10, 20), 1e4, "(100000, 200000)"),
        ((3, 4, 5), 1e3, "(3000, 4000, 5000)"),
        ((10, 20), 1e308, "(inf, inf)"),
        ((10, 20), 5e-324, "(0, 0)"),
        ((10, 20), (0.01, 1), "(0, 20)"),
    ],
)
def test_a_scale_that_leaves_nothing_or_too_much_is_refused_naming_the_shape(
    shape: tuple[int, ...], scale: Any, scaled: str
) -> None:
    with pytest.raises(InputError) as caught:
        resize_image(np.zeros((1, *shape), np.float32), scale)
    assert f"turns shape {shape} into {scaled}; expected" in str(caught.value)


def test_half_a_pixel_is_enough_and_2_to_the_31_pixels_are_not_too_many() -> None:
    assert resize_image(np.zeros((1, 1, 9), np.float32), 0.5).shape[1] == 1
    assert scaled_shape((2**15, 2**14), 2) == (2**16, 2**15)
    with pytest.raises(InputError):
        scaled_shape((2**15, 2**14), 2.001)


@settings(max_examples=60, deadline=None)
@given(
    axes=st.lists(
        st.tuples(st.integers(1, 40), st.sampled_from([0.3, 0.5, 0.77, 1, 1.01, 1.5, 3])),
        min_size=2,
        max_size=3,
    ),
    data=st.data(),
)
def test_a_part_is_resized_as_in_the_whole(axes: list[tuple[int, float]], data: st.DataObject) -> None:
    shape, scale = zip(*axes, strict=True)
    assume(all(length * factor >= 0.5 for length, factor in axes))
    assume(np.prod(shape) <= 20_000)
    values = np.random.default_rng(0).random((2, *shape), np.float32)
    whole = resize_image(values, scale)
    scaled = scaled_shape(shape, scale)
    assert whole.shape[1:] == scaled
    ends = [sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2))) for n in scaled]
    box = tuple(slice(*pair) for pair in ends)
    source = source_box(box, shape, scaled)
    part = resize_part(values[(slice(None), *source)], source, box, shape, scaled)
    np.testing.assert_array_equal(part, whole[(slice(None), *box)])


@pytest.mark.parametrize("scale", [0.4, 0.5, 1.5, 2])
def test_resizing_equals_that_of_scikit_image(scale: float) -> None:
    values = np.random.default_rng(0).random((1, 60, 50), np.float32)
    (found,) = resize_image(values, scale)
    expected = transform.resize(values[0], found.shape, order=1, mode="edge", anti_aliasing=scale < 1)
    # Beyond its border an image that shrinks is its own mirror for us, and its last pixel there.
    inner = (slice(5, -5),) * 2 if scale < 1 else (slice(None),) * 2
    np.testing.assert_allclose(found[inner], expected[inner], atol=1e-6)


@pytest.mark.parametrize("scale", [0.5, 0.7, 2, 3.3])
def test_a_constant_image_stays_constant(scale: float) -> None:
    found = resize_image(np.full((3, 12, 9), 1234.5, np.float32), scale)
    np.testing.assert_allclose(found, 1234.5, rtol=1e-6)


def test_values_between_pixels_are_interpolated_linearly() -> None:
    found = resize_image(ramp(8, 10), 2)[0]
    inner = found[2:-2, 2:-2]
    np.testing.assert_allclose(np.diff(inner, axis=0), 0.5, rtol=1e-3)
    np.testing.assert_allclose(np.diff(inner, axis=1), 50, rtol=1e-3)


def test_a_fine_pattern_is_smoothed_away_before_the_image_shrinks() -> None:
    pattern = (np.indices((64, 64)).sum(0) % 2).astype(np.float32)[np.newaxis]
    inner = resize_image(pattern, 0.25)[0, 2:-2, 2:-2]
    np.testing.assert_allclose(inner, 0.5, atol=0.02)


def test_channels_do_not_mix() -> None:
    values = np.stack([ramp(6, 6)[0], np.zeros((6, 6), np.float32)])
    found = resize_image(values, 2)
    np.testing.assert_array_equal(found[1], 0)
    np.testing.assert_array_equal(found[:1], resize_image(values[:1], 2))


@settings(max_examples=60, deadline=None)
@given(
    old=st.lists(st.integers(1, 9), min_size=2, max_size=3),
    data=st.data(),
    dtype=st.sampled_from(["int32", "bool", "uint16"]),
)
def test_every_pixel_takes_the_label_at_its_center(old: list[int], data: st.DataObject, dtype: str) -> None:
    new = [data.draw(st.integers(1, 20)) for _ in old]
    labels = np.random.default_rng(0).integers(0, 9, old).astype(dtype)
    found = resize_labels(labels, new)
    assert found.dtype == labels.dtype
    assert found.shape == tuple(new)
    for pixel in np.ndindex(*new):
        center = tuple(int(Fraction(2 * p + 1, 2) * n / m) for p, n, m in zip(pixel, old, new, strict=True))
        assert found[pixel] == labels[center]


def test_enlarged_labels_shrink_back_to_themselves() -> None:
    labels = np.random.default_rng(0).integers(0, 9, (5, 7))
    np.testing.assert_array_equal(resize_labels(resize_labels(labels, (15, 21)), (5, 7)), labels)
