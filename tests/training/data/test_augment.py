"""Random crops: what is inside the image stays what it was, the rest is marked, and the seed decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.training.data.augment import OUTSIDE, Augmentation, random_crop

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
        {"color": 0.5},
        {"noise": 0.5},
    ],
)
def test_each_setting_changes_the_crop(changes):
    still = {**STILL.__dict__, **changes}
    plain, changed = crop(STILL, size=32, seed=1), crop(Augmentation(**still), size=32, seed=1)
    geometric = set(changes) & {"scale", "rotation", "elastic", "flip"}
    assert not np.allclose(plain[0], changed[0])
    assert np.array_equal(plain[1], changed[1]) != bool(geometric)


def test_color_changes_each_channel_by_a_factor_of_its_own():
    image = np.ones((3, 40, 40), np.float32)
    colored = Augmentation(**{**STILL.__dict__, "color": 0.3})
    shown, _ = random_crop(image, np.ones((40, 40), np.int32), 16, colored, np.random.default_rng(0))
    factors = shown[:, 0, 0]
    np.testing.assert_allclose(shown, np.broadcast_to(factors[:, None, None], shown.shape), rtol=1e-6)
    assert len(set(factors.tolist())) == 3
    assert ((factors > 0.7) & (factors < 1.3)).all()


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
        {"color": -0.1},
        {"object_contrast": -0.1},
        {"crowding": 1.1},
        {"compression": 1.1},
        {"focus": -0.1},
        {"focus": 1.01},
        {"focus": np.nan},
    ],
)
def test_settings_out_of_range_are_refused(settings_):
    with pytest.raises(InputError, match=f"augmentation.{next(iter(settings_))}"):
        Augmentation(**settings_)


def sparse():
    """A large and a small object in a corner each of a wide background."""
    labels = np.zeros((200, 220), np.int32)
    labels[10:60, 10:60], labels[150:153, 190:193] = 1, 2
    return labels[None].astype(np.float32), labels


def shown(focus, draws=200, **changes):
    """How often each object is in a crop."""
    image, labels = sparse()
    settings_ = Augmentation(**{**STILL.__dict__, "focus": focus, **changes})
    generator = np.random.default_rng(0)
    crops = [random_crop(image, labels, 32, settings_, generator)[1] for _ in range(draws)]
    return [sum((picked == index).any() for picked in crops) / draws for index in (1, 2)]


@pytest.mark.parametrize("changes", [{}, {"rotation": 180.0, "flip": True}, {"scale": (0.7, 1.4)}])
def test_a_focused_crop_shows_an_object_and_small_ones_are_as_likely_as_large_ones(changes):
    large, small = shown(1.0, **changes)
    assert large + small >= 0.99
    assert 0.4 < small < 0.6


def test_crops_are_focused_as_often_as_the_setting_says():
    anywhere, half = shown(0.0), shown(0.5)
    assert anywhere[1] < 0.1
    assert half[1] == pytest.approx((anywhere[1] + 0.5) / 2, abs=0.1)


@given(seed=st.integers(0, 10**6), height=st.integers(20, 60), width=st.integers(20, 60))
@settings(max_examples=30, deadline=None)
def test_a_focused_crop_without_rotation_stays_inside_the_image(seed, height, width):
    generator = np.random.default_rng(seed)
    labels = np.zeros((height, width), np.int32)
    labels[generator.integers(height), generator.integers(width)] = 5
    focused = Augmentation(**{**STILL.__dict__, "focus": 1.0})
    _, picked = random_crop(labels[None].astype(np.float32), labels, 16, focused, generator)
    assert (picked != OUTSIDE).all()
    assert (picked == 5).any()


def test_the_focus_varies_where_the_object_lies_in_the_crop():
    labels = np.zeros((100, 100), np.int32)
    labels[50, 50] = 1
    focused = Augmentation(**{**STILL.__dict__, "focus": 1.0})
    generator = np.random.default_rng(0)
    image = labels[None].astype(np.float32)
    places = [np.argwhere(random_crop(image, labels, 32, focused, generator)[1] == 1)[0] for _ in range(60)]
    assert np.min(places) < 12
    assert np.max(places) > 19
    assert 8 <= np.min(places)
    assert np.max(places) <= 24


def test_an_image_of_background_alone_is_cropped_anywhere():
    labels = np.zeros((40, 50), np.int32)
    focused = Augmentation(**{**STILL.__dict__, "focus": 1.0})
    image = np.random.default_rng(0).random((1, 40, 50), dtype=np.float32)
    crops = [random_crop(image, labels, 16, focused, np.random.default_rng(seed)) for seed in range(5)]
    assert all((picked == 0).all() for _, picked in crops)
    assert len({crop_.tobytes() for crop_, _ in crops}) == 5


def test_without_focus_crops_are_those_of_a_recipe_that_does_not_name_it():
    # Object pixels must not cost a draw: earlier runs would otherwise not be repeatable.
    image, labels = sparse()
    reach, expected = 16.0, np.random.default_rng(3)
    expected.uniform(*np.log(STILL.scale)), expected.uniform(0, 0)
    center = [expected.uniform(reach - 0.5, length - reach - 0.5) for length in labels.shape]
    top, left = (int(np.rint(position - 15.5)) for position in center)
    _, picked = random_crop(image, labels, 32, STILL, np.random.default_rng(3))
    assert np.array_equal(picked, labels[top : top + 32, left : left + 32])


def changed_only(name, value, image):
    """Some crops of the whole image, in which nothing but one change of the intensities is allowed."""
    labels = np.ones(image.shape[1:], np.int32)
    settings_ = Augmentation(**{**STILL.__dict__, name: value})
    for seed in range(20):
        still = random_crop(image, labels, 16, STILL, np.random.default_rng(seed))[0]
        yield still, random_crop(image, labels, 16, settings_, np.random.default_rng(seed))[0]


def test_inverting_swaps_bright_and_dark_in_the_share_of_crops_that_the_setting_says():
    image, _ = example()
    assert all(np.allclose(seen, 1 - still, atol=1e-6) for still, seen in changed_only("invert", 1.0, image))
    inverted = [not np.allclose(seen, still) for still, seen in changed_only("invert", 0.5, image)]
    assert 2 < sum(inverted) < 18


def test_blurring_smooths_and_leaves_the_mean_and_a_flat_image():
    image, _ = example()
    pairs = list(changed_only("blur", 3.0, image))
    spread = [np.diff(seen).std() / np.diff(still).std() for still, seen in pairs]
    assert max(spread) <= 1 + 1e-6
    assert 3 < sum(one < 0.5 for one in spread) < 17
    assert all(abs(seen.mean() - still.mean()) < 0.1 for still, seen in pairs)
    flat = np.full((1, 40, 50), 0.5, np.float32)
    assert all(np.allclose(seen, still, atol=1e-6) for still, seen in changed_only("blur", 3.0, flat))


def test_shading_is_a_smooth_factor_that_all_channels_share():
    image = example(channels=3)[0] + 1
    strongest = 0.0
    for still, seen in changed_only("shading", 0.4, image):
        factor = seen / still
        assert np.allclose(factor, factor[:1], atol=1e-5)
        assert abs(np.diff(factor, axis=1)).max() < 0.2
        strongest = max(strongest, abs(factor - 1).max())
    assert 0.1 < strongest < 0.6


def nuclei(first=1, size=60):
    """Twelve bright squares of 8 x 8 pixels on a dark ground."""
    labels = np.zeros((size, size), np.int32)
    places = [(row, column) for row in (4, 20, 36, 52) for column in (6, 26, 46)]
    for number, (row, column) in enumerate(places, start=first):
        labels[row : row + 8, column : column + 8] = number
    return (labels > 0)[None].astype(np.float32), labels


def test_each_object_gets_a_brightness_of_its_own_and_the_background_keeps_its():
    image, labels = nuclei()
    settings_ = Augmentation(**{**STILL.__dict__, "object_contrast": 0.5})
    shown, picked = random_crop(image + 1, labels, 60, settings_, np.random.default_rng(0))
    assert np.array_equal(picked, labels)
    centers = [shown[0, row + 4, column + 4] for row in (4, 20, 36) for column in (6, 26, 46)]
    assert len(set(np.round(centers, 3))) == 9
    assert 2 * np.exp(-0.5) <= min(centers) < 1.7
    assert 2.3 < max(centers) <= 2 * np.exp(0.5)
    far = np.zeros((60, 60), bool)
    far[0, :] = far[14:17] = True
    np.testing.assert_allclose(shown[0, far], 1, atol=0.02)


def test_objects_of_another_image_are_laid_over_a_crop():
    image, labels = nuclei()
    turned = labels[::-1, ::-1].T
    above = np.where(turned > 0, 3.0, 0.5)[None].astype(np.float32), np.where(turned > 0, turned + 12, 0)
    counts = []
    for seed in range(12):
        shown, picked = random_crop(image, labels, 60, STILL, np.random.default_rng(seed), above)
        laid = np.unique(picked[picked > 12])
        counts.append(len(laid))
        for label in laid:  # whole, bright inside, and over what was there
            assert np.array_equal(picked == label, above[1] == label)
            assert shown[0, picked == label].max() > 1.6
        for label in range(1, 13):
            seen, before = (picked == label).sum(), (labels == label).sum()
            assert seen == 0 or seen >= 0.35 * before
            covered = (picked > 12)[labels == label].sum()
            assert seen in (0, before - covered)
        untouched = ~ndimage.binary_dilation(picked > 12, iterations=6)
        np.testing.assert_allclose(shown[0, untouched], image[0, untouched], atol=1e-3)
    assert min(counts) < 4
    assert max(counts) > 8


def test_what_is_left_of_a_hidden_object_is_not_learned():
    image, labels = nuclei()
    cover = np.where(labels > 0, 20 + labels, 0).astype(np.int32)
    shifted = np.roll(cover, 2, axis=0)  # a quarter of each object stays visible
    picked = random_crop(image, labels, 60, STILL, np.random.default_rng(1), (image, shifted))[1]
    assert (picked > 20).any()
    for label in np.unique(picked[picked > 20]) - 20:
        assert not (picked == label).any()
        assert (picked[labels == label] == OUTSIDE).sum() == 16
