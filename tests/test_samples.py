"""The images that come with the package: the model of leaves tells the leaves of plants from elsewhere apart."""

from __future__ import annotations

import numpy as np
import pytest

from pixel_embedded_affinity import Segmenter, samples

# Row and column inside each of fifteen leaves of the rosette, read off the photograph.
LEAVES = (
    (82, 189),
    (116, 275),
    (160, 112),
    (162, 180),
    (160, 258),
    (178, 348),
    (218, 279),
    (264, 303),
    (316, 252),
    (235, 221),
    (316, 173),
    (252, 156),
    (214, 146),
    (185, 210),
    (206, 238),
)

# The middles of twelve plants of the tray, read off the photograph.
PLANTS = (
    (111, 74),
    (116, 127),
    (108, 192),
    (128, 267),
    (127, 342),
    (187, 66),
    (182, 127),
    (180, 200),
    (182, 270),
    (184, 345),
    (242, 122),
    (255, 266),
)


@pytest.fixture(scope="module")
def leaves() -> Segmenter:
    return Segmenter.pretrained("leaves", device="cpu")


def test_the_leaves_of_a_plant_from_elsewhere_are_told_apart(leaves: Segmenter) -> None:
    labels = leaves.segment(samples.rosette())
    found = {int(labels[place]) for place in LEAVES}
    assert 0 not in found
    assert len(found) == len(LEAVES)
    assert labels.max() <= 20


def test_the_small_plants_of_a_tray_are_found_without_a_scale(leaves: Segmenter) -> None:
    image = samples.tray()[:, :220]
    found = leaves.with_settings(regions="components").analyze(image)
    assert found.scale == 4
    for row, column in PLANTS:
        if column < 200:
            near = found.labels[row - 25 : row + 25, max(0, column - 25) : column + 25]
            assert len(np.unique(near[near > 0])) >= 5


def test_samples_are_photographs_in_color() -> None:
    for image, shape in ((samples.rosette(), (400, 400, 3)), (samples.tray(), (300, 400, 3))):
        assert image.shape == shape
        assert image.dtype == np.uint8


def test_the_volume_says_its_voxels_and_brings_the_truth() -> None:
    sample = samples.neurons()
    assert sample.image.shape == sample.labels.shape == (16, 200, 200)
    assert sample.image.dtype == np.uint8
    assert np.array_equal(np.unique(sample.labels[sample.labels > 0]), np.arange(1, sample.labels.max() + 1))
    assert sample.pixel_size == (0.03, 0.01, 0.01)
