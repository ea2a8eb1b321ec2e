"""Synthetic images: the seed decides, blobs touch, and the files fit the layout."""

from __future__ import annotations

import numpy as np
import pytest

from pixel_embedded_affinity.data.layouts import RAW, DataSettings, find_files, load
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.training.data.synthetic import (
    synthetic_example,
    synthetic_volume,
    write_synthetic_data,
    write_synthetic_volumes,
)
from pixel_embedded_affinity.training.recipe import Recipe


def test_an_example_is_decided_by_its_seed():
    image, labels = synthetic_example(64, seed=3)
    again = synthetic_example(64, seed=3)
    assert (image.dtype, labels.dtype) == (np.uint16, np.int32)
    assert image.shape == labels.shape == (64, 64)
    assert np.array_equal(image, again[0])
    assert np.array_equal(labels, again[1])
    assert not np.array_equal(labels, synthetic_example(64, seed=4)[1])


@pytest.mark.parametrize("seed", range(5))
def test_blobs_are_consecutive_bright_and_some_touch(seed):
    image, labels = synthetic_example(128, seed)
    assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
    assert labels.max() > 10
    assert 0.3 < (labels > 0).mean() < 0.9
    assert image[labels > 0].mean() > 3 * image[labels == 0].mean()
    pairs = (
        np.concatenate([labels[1:].ravel(), labels[:, 1:].ravel()]),
        np.concatenate([labels[:-1].ravel(), labels[:, :-1].ravel()]),
    )
    assert ((pairs[0] != pairs[1]) & (pairs[0] > 0) & (pairs[1] > 0)).any()


def test_the_files_are_those_that_the_quick_recipe_reads(tmp_path):
    folder = write_synthetic_data(tmp_path / "new" / "data")
    recipe = Recipe.from_file("quick")
    assert len(find_files(folder, recipe.data, "training")) == 8
    examples = load(find_files(folder, recipe.data, "validation"), RAW, 1)
    assert [example.name for example in examples] == ["synthetic_08", "synthetic_09"]
    image, labels = synthetic_example(seed=8)
    assert np.array_equal(examples[0].image[0], image)
    assert np.array_equal(examples[0].labels > 0, labels > 0)
    assert examples[0].labels.max() == labels.max()


def test_a_volume_is_decided_by_its_seed_and_its_tubes_touch_but_for_dark_membranes():
    image, labels = synthetic_volume((6, 64, 80), seed=3)
    again = synthetic_volume((6, 64, 80), seed=3)
    assert (image.dtype, labels.dtype) == (np.uint8, np.int32)
    assert image.shape == labels.shape == (6, 64, 80)
    assert np.array_equal(image, again[0])
    assert np.array_equal(labels, again[1])
    assert not np.array_equal(labels, synthetic_volume((6, 64, 80), seed=4)[1])
    assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
    assert labels.max() > 4
    assert 0.05 < (labels == 0).mean() < 0.4
    assert image[labels > 0].mean() > 1.5 * image[labels == 0].mean()
    tubes = [set(np.unique(section)) - {0} for section in labels]
    assert len(tubes[0] & tubes[-1]) > len(tubes[0]) / 2  # most run through the whole volume
    assert not np.array_equal(labels[0], labels[-1])  # aslant


def test_volumes_are_written_with_their_sections_as_pages(tmp_path):
    folder = write_synthetic_volumes(tmp_path / "new", volumes=2, shape=(3, 40, 32), seed=7)
    files = find_files(folder, DataSettings(), "all")
    assert [file.name for file in files] == ["synthetic_00", "synthetic_01"]
    example = load(files, RAW, 1, ndim=3)[1]
    image, labels = synthetic_volume((3, 40, 32), seed=8)
    assert np.array_equal(example.image[0], image)
    assert np.array_equal(example.labels, labels)


def test_too_small_and_too_few_are_refused(tmp_path):
    with pytest.raises(InputError, match="size must be"):
        synthetic_example(16)
    with pytest.raises(InputError, match="images must be"):
        write_synthetic_data(tmp_path, images=0)
    with pytest.raises(InputError, match="the smaller of height and width must be"):
        synthetic_volume((4, 16, 64))
    with pytest.raises(InputError, match="shape must be"):
        synthetic_volume((0, 64, 64))
    with pytest.raises(InputError, match="volumes must be"):
        write_synthetic_volumes(tmp_path, volumes=0)
