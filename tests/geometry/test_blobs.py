"""The diameter of blobs, estimated without a model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pixel_embedded_affinity import samples
from pixel_embedded_affinity.geometry.blobs import blob_diameter


def disks(shape: tuple[int, int], diameter: float, step: float) -> np.ndarray:
    rows, columns = np.indices(shape)
    distance = np.hypot((rows % step) - step / 2, (columns % step) - step / 2)
    return np.clip(diameter / 2 - distance + 0.5, 0, 1).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    diameter=st.floats(8, 60),
    spacing=st.floats(1.3, 3.0),
    low=st.floats(-1000, 1000),
    span=st.floats(0.01, 1e4),
    inverted=st.booleans(),
)
def test_disks_have_their_diameter_in_any_contrast(
    diameter: float, spacing: float, low: float, span: float, inverted: bool
) -> None:
    """Also where they are darker than what surrounds them, if that is the larger part.

    Disks of fewer than ten pixels that nearly touch are taken for smaller ones: of 1,800 on a grid of diameters and
    distances, the farthest was 0.65 of its diameter; of larger disks, 0.77.
    """
    factor = 1.35 if diameter >= 10 else 1.6
    image = disks((360, 420), diameter, diameter * spacing)
    shown = np.float32(low) + np.float32(span) * (1 - image if inverted else image)
    found = blob_diameter(shown)
    assert found is not None
    assert diameter / factor <= found <= diameter * factor


def test_noise_changes_the_diameter_little() -> None:
    image = disks((300, 300), 24, 40) + np.random.default_rng(1).normal(0, 0.15, (300, 300)).astype(
        np.float32
    )
    assert blob_diameter(image) == pytest.approx(24, rel=0.25)


def test_of_large_and_small_blobs_those_that_cover_more_count() -> None:
    small, large = disks((256, 512), 10, 64), disks((256, 512), 40, 64)
    left = np.arange(512) < 256
    assert blob_diameter(np.where(left, small, large)) == pytest.approx(40, rel=0.25)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (7, 3), (300, 200), (5, 6, 7)])
def test_an_image_without_blobs_has_none(shape: tuple[int, ...]) -> None:
    assert blob_diameter(np.full(shape, 3.0, np.float32)) is None


def test_chains_of_disks_that_touch_have_their_diameter() -> None:
    rows, columns = np.indices((300, 300))
    distance = np.hypot((rows % 60) - 30, (columns % 20) - 10)
    assert blob_diameter((distance <= 10).astype(np.float32)) == pytest.approx(20, rel=0.2)


def test_two_blobs_are_too_few() -> None:
    image = np.zeros((100, 100), np.float32)
    image[20:31, 20:31] = image[60:75, 60:75] = 1
    assert blob_diameter(image) is None
    image[20:31, 60:71] = 1
    assert blob_diameter(image) == pytest.approx(12, rel=0.3)


def test_balls_of_a_volume_have_their_diameter() -> None:
    grid = np.indices((60, 60, 60))
    distance = np.sqrt(sum(((axis % 20) - 10.0) ** 2 for axis in grid))
    assert blob_diameter((distance <= 6).astype(np.float32)) == pytest.approx(12, rel=0.25)


def test_nuclei_have_nearly_their_true_diameter() -> None:
    sample = samples.nuclei()
    areas = np.bincount(sample.labels.ravel())[1:]
    true = 2 * np.sqrt(np.median(areas[areas > 0]) / np.pi)
    for factor in (0.5, 1.0, 2.0):
        image = ndimage.zoom(sample.image.astype(np.float32), factor, order=1)
        assert blob_diameter(image) == pytest.approx(factor * true, rel=0.25)
