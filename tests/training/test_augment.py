"""Random crops: what is inside the image stays what it was, the rest is marked, and the seed decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.training.augment import OUTSIDE, Augmentation, random_crop

STILL = Augmentation(
    scale=(1.0, 1.0), rotation=0, elastic=0, flip=False, contrast=0, brightness=0, gamma=0, noise=0
)


def example(height=40, width=50, channels=1, seed=0):
    generator = np.random.default_rng(seed)
    image = generator.random((channels, height, width), dtype=np.float32)
    return image, generator.integers(0, 4, (height, width)).astype(np.int32) * 10


def crop(settings=None, *, size=16, seed=0, **shape):
    return random_crop(*example(**shape), size, settings or Augmentation(), np.random.default_rng(seed))


@given(seed=st.integers(0, 10**6), size=st.integers(1, 40), channels=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_a_crop_has_its_shape_and_types_and_only_labels_of_the_image(seed, size, channels):
    image, labels = crop(size=size, seed=seed, channels=channels)
    assert image.shape == (channels, size, size)
    assert (image.dtype, labels.dtype) == (np.float32, np.int32)
    assert labels.shape == (size, size)
    assert np.isfinite(image).all()
    assert set(np.unique(labels)) <= {OUTSIDE, 0, 10, 20, 30}


def test_the_seed_decides_and_nothing_else():
    for settings_ in (None, STILL):
        first, again = crop(settings_, seed=3), crop(settings_, seed=3)
        assert all(map(np.array_equal, first, again))
        assert not np.array_equal(first[0], crop(settings_, seed=4)[0])


def test_the_example_is_not_modified():
    image, labels = example()
    copies = image.copy(), labels.copy()
    random_crop(image, labels, 16, Augmentation(), np.random.default_rng(0))
    assert np.array_equal(image, copies[0])
    assert np.array_equal(labels, copies[1])


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_without_augmentation_image_and_labels_move_together_inside_the_image(seed):
    labels = np.arange(1, 40 * 50 + 1, dtype=np.int32).reshape(40, 50)
    image = labels[None].astype(np.float32)
    shown, picked = random_crop(image, labels, 16, STILL, np.random.default_rng(seed))
    assert (picked != OUTSIDE).all()
    # Each pixel has its own label and brightness: the two may differ by the interpolation within a pixel.
    row, column = np.divmod(picked - 1, 50)
    assert (np.diff(row, axis=0) == 1).all()
    assert (np.diff(column, axis=1) == 1).all()
    assert np.abs(shown[0] - picked).max() <= 25.5


def test_what_lies_outside_the_image_is_marked_and_shown_as_a_mirror():
    image, labels = example(height=10, width=10)
    shown, picked = random_crop(image, labels, 30, STILL, np.random.default_rng(0))
    inside = np.zeros((30, 30), bool)
    inside[10:20, 10:20] = True
    assert ((picked == OUTSIDE) == ~inside).all()
    assert np.array_equal(picked[10:20, 10:20], labels)
    np.testing.assert_allclose(shown[:, 10:20, 10:20], image, atol=1e-6)
    np.testing.assert_allclose(shown[:, 9, 10:20], image[:, 1], atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"scale": (2.0, 2.0)},
        {"rotation": 180.0},
        {"elastic": 3.0},
        {"flip": True},
        {"contrast": 0.5},
        {"brightness": 0.5},
        {"gamma": 0.5},
        {"noise": 0.5},
    ],
)
def test_each_setting_changes_the_crop(changes):
    still = {**STILL.__dict__, **changes}
    plain, changed = crop(STILL, size=32, seed=1), crop(Augmentation(**still), size=32, seed=1)
    geometric = set(changes) & {"scale", "rotation", "elastic", "flip"}
    assert not np.allclose(plain[0], changed[0])
    assert np.array_equal(plain[1], changed[1]) != bool(geometric)


def test_scale_magnifies():
    labels = np.zeros((60, 60), np.int32)
    labels[20:40, 20:40] = 1
    image = labels[None].astype(np.float32)
    twice = Augmentation(**{**STILL.__dict__, "scale": (2.0, 2.0)})
    _, picked = random_crop(image, labels, 120, twice, np.random.default_rng(0))
    assert (picked == 1).sum() == 40 * 40


@pytest.mark.parametrize(
    "settings_",
    [
        {"scale": (1.3, 0.7)},
        {"scale": (0.0, 1.0)},
        {"scale": (1.0, np.inf)},
        {"elastic": -1.0},
        {"elastic_spacing": 0},
        {"noise": np.nan},
    ],
)
def test_settings_out_of_range_are_refused(settings_):
    with pytest.raises(InputError, match=f"augmentation.{next(iter(settings_))}"):
        Augmentation(**settings_)
