"""Pixel weights against loops over pixels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pixel_embedded_affinity.training.data.augment import OUTSIDE
from pixel_embedded_affinity.training.data.weights import object_areas, pixel_weights
from pixel_embedded_affinity.training.recipe import LossSettings

WEIGHED = LossSettings(border_weight=2.0, border_width=1.5, small_weight=4.0, small_area=6.0)


def weights_by_loops(labels, areas, settings_):
    pixels = list(itertools.product(*map(range, labels.shape)))
    border = []
    for p in pixels:
        for step in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            q = (p[0] + step[0], p[1] + step[1])
            if q in pixels and labels[p] != labels[q] and OUTSIDE not in (labels[p], labels[q]):
                border.append(p)
    weights = np.ones(labels.shape)
    for p in pixels:
        if border:
            distance = min(np.hypot(p[0] - q[0], p[1] - q[1]) for q in border)
            weights[p] += settings_.border_weight * np.exp(-((distance / settings_.border_width) ** 2))
        if labels[p] > 0:
            weights[p] += settings_.small_weight * np.exp(-areas[labels[p]] / settings_.small_area)
    return weights


@given(
    arrays.arrays(
        np.int32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.integers(OUTSIDE, 3)
    )
)
@settings(max_examples=60, deadline=None)
def test_weights_follow_the_definition(labels):
    areas = np.array([9, 3, 30, 1])
    expected = weights_by_loops(labels, areas, WEIGHED)
    np.testing.assert_allclose(pixel_weights(labels, areas, WEIGHED), expected, rtol=1e-5)


def test_an_object_that_the_crop_cuts_is_no_small_object():
    image = np.zeros((20, 20), np.int32)
    image[:10] = 1
    image[15, 15] = 2
    areas = object_areas(image)
    assert areas.tolist() == [199, 200, 1]
    settings_ = LossSettings(small_weight=4.0, small_area=10.0)
    weights = pixel_weights(image[9:, 9:], areas, settings_)
    assert weights[0, 0] == pytest.approx(1 + 4 * np.exp(-20))
    assert weights[6, 6] == pytest.approx(1 + 4 * np.exp(-0.1))
    assert weights[5, 5] == 1


def test_without_settings_all_pixels_weigh_one():
    labels = np.array([[0, 1], [1, 1]], np.int32)
    assert (pixel_weights(labels, object_areas(labels), LossSettings()) == 1).all()


def test_an_image_of_one_label_has_no_border():
    labels = np.ones((4, 4), np.int32)
    assert (pixel_weights(labels, object_areas(labels), LossSettings(border_weight=3.0)) == 1).all()
