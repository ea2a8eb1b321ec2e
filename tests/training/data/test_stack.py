"""Crops of volumes: the image and its labels move together, section by section, and nothing else moves."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.training.data.augment import OUTSIDE, Augmentation
from pixel_embedded_affinity.training.data.stack import SectionSettings, random_stack

STILL = Augmentation(
    scale=(1, 1), rotation=0, elastic=0, flip=False, contrast=0, brightness=0, gamma=0, noise=0
)
ALIKE = SectionSettings()


def volume(shape: tuple[int, int, int] = (10, 40, 40)) -> tuple[np.ndarray, np.ndarray]:
    """A volume whose intensity is the number of the voxel's block, and these numbers as labels."""
    blocks = 1 + np.arange(np.prod([-(-length // 8) for length in shape])).reshape(
        [-(-length // 8) for length in shape]
    )
    full = blocks.repeat(8, 0).repeat(8, 1).repeat(8, 2)[tuple(slice(length) for length in shape)]
    return full[None].astype(np.float32), full.astype(np.int32)


def drawn(
    seed: int,
    augmentation: Augmentation = STILL,
    sections: SectionSettings = ALIKE,
    size: tuple[int, int, int] = (4, 16, 16),
    shape: tuple[int, int, int] = (10, 40, 40),
) -> tuple[np.ndarray, np.ndarray]:
    return random_stack(*volume(shape), size, augmentation, sections, np.random.default_rng(seed))


def test_a_still_crop_is_a_part_of_the_volume() -> None:
    image, labels = (values.reshape(-1, 10, 40, 40)[0] for values in volume())
    windows = np.lib.stride_tricks.sliding_window_view(labels, (4, 16, 16))
    for seed in range(5):
        crop, picked = drawn(seed)
        assert (crop.dtype, crop.shape) == (np.float32, (1, 4, 16, 16))
        assert (picked.dtype, picked.shape) == (np.int32, (4, 16, 16))
        assert (windows == picked).all(axis=(3, 4, 5)).any()
        # The crop may start between two pixels, where intensities are interpolated and labels are not.
        inner = np.abs(crop[0] - picked) < 1e-3
        assert inner.mean() > 0.5
        assert image.min() <= crop.min()
        assert crop.max() <= image.max()


def test_a_crop_depends_only_on_the_generator_and_leaves_the_volume_as_it_is() -> None:
    image, labels = volume()
    before = image.copy(), labels.copy()
    settings = (
        Augmentation(blur=1, shading=0.2),
        SectionSettings(shift=2, contrast=0.2, missing=0.3, blurred=0.3, blur=2),
    )
    crops = [random_stack(image, labels, (4, 16, 16), *settings, np.random.default_rng(3)) for _ in range(2)]
    np.testing.assert_array_equal(crops[0][0], crops[1][0])
    np.testing.assert_array_equal(crops[0][1], crops[1][1])
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(labels, before[1])


def test_a_flip_reverses_the_sections_of_image_and_labels_alike() -> None:
    orders = set()
    for seed in range(12):
        crop, picked = drawn(seed, dataclasses.replace(STILL, flip=True), size=(10, 8, 8), shape=(10, 9, 9))
        rises = picked[0].min() < picked[-1].min()
        assert rises == (crop[0, 0].mean() < crop[0, -1].mean())
        orders.add(rises)
    assert orders == {True, False}


def test_a_crop_deeper_than_the_volume_is_outside_there() -> None:
    crop, picked = drawn(0, size=(6, 16, 16), shape=(2, 40, 40))
    assert [bool((section == OUTSIDE).all()) for section in picked] == [True, True, False, False, True, True]
    np.testing.assert_array_equal(crop[0, 0], crop[0, 2])
    np.testing.assert_array_equal(crop[0, 5], crop[0, 3])


@pytest.mark.parametrize("seed", range(6))
def test_image_and_labels_move_together(seed: int) -> None:
    """The image shows the place of each voxel, and so does its label."""
    shape = (9, 50, 60)
    place = np.indices(shape)
    labels = np.arange(np.prod(shape), dtype=np.int32).reshape(shape) + 1
    moving = dataclasses.replace(STILL, scale=(0.7, 1.4), rotation=180, elastic=2, flip=True)
    generator = np.random.default_rng(seed)
    crop, picked = random_stack(
        place.astype(np.float32), labels, (5, 32, 32), moving, SectionSettings(shift=3), generator
    )
    inside = picked != OUTSIDE
    assert 0.3 < inside.mean()
    found = np.stack(np.unravel_index(picked[inside] - 1, shape))
    shown = crop[:, inside]
    np.testing.assert_array_equal(found[0], np.rint(shown[0]))
    # Interpolation is linear, so the place that is shown is the place that was sampled.
    assert np.abs(found[1:] - shown[1:]).max() <= 0.5 + 1e-3
    assert len({frozenset(section[section != OUTSIDE] // 3000) for section in picked}) == 5


def test_every_second_crop_has_displaced_sections() -> None:
    displaced = 0
    for seed in range(40):
        _, picked = drawn(seed, sections=SectionSettings(shift=6), size=(8, 24, 24), shape=(8, 64, 64))
        displaced += bool((picked != picked[:1]).any())
    assert 10 <= displaced <= 30


def test_from_a_jump_on_all_sections_are_displaced_alike_or_one_alone() -> None:
    height, width = 80, 80
    labels = np.tile(np.arange(height * width, dtype=np.int32).reshape(height, width) + 1, (6, 1, 1))
    image = labels[None].astype(np.float32)
    kinds = Counter[str]()
    for seed in range(200):
        crop, picked = random_stack(
            image, labels, (6, 16, 16), STILL, SectionSettings(jump=8), np.random.default_rng(seed)
        )
        if (picked == OUTSIDE).any():
            continue
        places = np.stack(np.unravel_index(picked[:, 8, 8] - 1, (height, width)), axis=1)
        moves = places - places[0]
        assert np.abs(moves).max() <= 8 + 1
        # The whole section moves, and the image moves with its labels.
        within = picked - picked[:, 8:9, 8:9]
        np.testing.assert_array_equal(within, np.broadcast_to(within[0], within.shape))
        assert np.abs(crop[0] - picked).max() <= 0.5 * (width + 1) + 0.1
        moved = moves.any(axis=1)
        if moved.any():
            assert len({tuple(move) for move in moves[moved]}) == 1
            kinds["one alone" if moved.sum() == 1 and not moved[-1] else "all after it"] += 1
            assert moved.sum() == 1 or moved[np.flatnonzero(moved)[0] :].all()
        else:
            kinds["none"] += 1
    assert min(kinds[kind] for kind in ("none", "one alone", "all after it")) > 10


def test_without_jumps_nothing_is_drawn_for_them() -> None:
    one, other = np.random.default_rng(3), np.random.default_rng(3)
    random_stack(*volume(), (1, 16, 16), STILL, SectionSettings(shift=2), one)
    random_stack(*volume(), (1, 16, 16), STILL, SectionSettings(shift=2, jump=5), other)
    assert one.random() == other.random()  # one section has no neighbor to jump away from
    random_stack(*volume(), (4, 16, 16), STILL, SectionSettings(shift=2), one)
    random_stack(*volume(), (4, 16, 16), STILL, SectionSettings(shift=2, jump=5), other)
    assert one.random() != other.random()


def test_missing_sections_show_their_mean_and_keep_their_labels() -> None:
    crop, picked = drawn(1, sections=SectionSettings(missing=1))
    plain, expected = drawn(1)
    np.testing.assert_array_equal(picked, expected)
    np.testing.assert_allclose(crop[0], np.broadcast_to(plain[0].mean((1, 2))[:, None, None], crop[0].shape))


def test_contrast_and_brightness_change_each_section_on_its_own() -> None:
    crop, _ = drawn(2, sections=SectionSettings(contrast=0.5, brightness=3))
    plain, _ = drawn(2)
    fits = [np.polyfit(a.ravel(), b.ravel(), 1) for a, b in zip(plain[0], crop[0])]
    for (slope, shift), before, after in zip(fits, plain[0], crop[0]):
        np.testing.assert_allclose(after, slope * before + shift, atol=1e-3)
        assert 0.5 <= slope <= 1.5
        assert abs(shift) <= 3.01
    assert len({round(float(slope), 4) for slope, _ in fits}) == 4


def test_a_share_of_the_sections_is_blurred() -> None:
    plain = np.concatenate([drawn(seed)[0][0] for seed in range(30)])
    changed = np.concatenate(
        [drawn(seed, sections=SectionSettings(blurred=0.25, blur=3))[0][0] for seed in range(30)]
    )
    share = np.mean([(a != b).any() for a, b in zip(plain, changed)])
    assert 0.1 < share < 0.4
    assert all(b.std() <= a.std() + 1e-5 for a, b in zip(plain, changed))


@pytest.mark.parametrize(
    "wrong",
    [
        {"shift": -1},
        {"jump": -1},
        {"missing": 1.5},
        {"blurred": -0.1},
        {"blur": float("nan")},
        {"contrast": "a"},
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"sections.{next(iter(wrong))} must be"):
        SectionSettings(**wrong)
