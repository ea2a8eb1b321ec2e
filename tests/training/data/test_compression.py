"""A crop as a small JPEG shows it: the same picture, in its units, with coarser colors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixel_embedded_affinity.training.data.augment import Augmentation, random_crop
from pixel_embedded_affinity.training.data.compression import compressed


@given(
    seed=st.integers(0, 10**6),
    channels=st.sampled_from([1, 3]),
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    low=st.floats(-5, 5),
    spread=st.floats(0, 20),
)
@settings(max_examples=40, deadline=None)
def test_shape_type_and_units_are_kept(seed, channels, shape, low, spread):
    generator = np.random.default_rng(seed)
    crop = (low + spread * generator.random((channels, *shape))).astype(np.float32)
    kept = crop.copy()
    changed = compressed(crop, generator)
    assert (changed.shape, changed.dtype) == (crop.shape, np.float32)
    assert np.isfinite(changed).all()
    # A JPEG may overshoot its range of 256 steps nowhere.
    assert changed.min() >= crop.min() - 1e-3 - 0.01 * spread
    assert changed.max() <= crop.max() + 1e-3 + 0.01 * spread
    assert np.array_equal(crop, kept)


def test_a_smooth_picture_hardly_changes():
    ramp = np.linspace(-1, 2, 96, dtype=np.float32)
    crop = np.broadcast_to(ramp[:, None], (3, 96, 96)).copy()
    for seed in range(20):
        assert np.abs(compressed(crop, np.random.default_rng(seed)) - crop).mean() < 0.06


def test_colors_lose_more_than_brightness():
    # Red and green stripes of one brightness: the JPEG keeps a quarter of the color samples.
    stripes = (np.arange(64) // 2 % 2).astype(np.float32)
    color = np.stack([stripes, (1 - stripes) * 0.509, np.zeros(64, np.float32)])
    crop = np.repeat(color[:, None], 64, axis=1).astype(np.float32)
    gray = np.broadcast_to(stripes, (3, 64, 64)).astype(np.float32).copy()

    def kept(image):
        ratios = []
        for seed in range(30):
            changed = compressed(image, np.random.default_rng(seed))
            ratios.append(changed[0].std() / image[0].std())
        return np.mean(ratios)

    assert kept(crop) < 0.8 * kept(gray)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, 60), (0.5, 30)])
def test_crops_are_compressed_in_their_share(share, expected):
    image = np.random.default_rng(0).random((3, 64, 64), dtype=np.float32)
    labels = np.zeros((64, 64), np.int32)
    plain = Augmentation(scale=(1.0, 1.0), rotation=0, elastic=0, flip=False, noise=0)
    changed = Augmentation(**{**plain.__dict__, "compression": share})
    differ = 0
    for seed in range(60):
        before, _ = random_crop(image, labels, 32, plain, np.random.default_rng(seed))
        after, _ = random_crop(image, labels, 32, changed, np.random.default_rng(seed))
        differ += not np.array_equal(before, after)
    assert differ == pytest.approx(expected, abs=15 if 0 < share < 1 else 0)
