"""The labels of each model that ships, on the bundled field: equal to those that were stored, and always the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from scripts import loaded

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.metrics import adapted_rand_error

Array = np.ndarray[Any, np.dtype[Any]]

# Processors and library versions round differently, some 1e-6 of an embedding's length, which may move a border pixel.
# Noise of 1e-4 moves 2 of the 361,920 pixels (error 0.00001), and bfloat16, with errors of 4e-3, moves 24 (0.0002); no
# object comes or goes in either.
MOST_ERROR = 0.0005


def golden_module() -> ModuleType:
    return loaded(Path(__file__).with_name("make_golden.py"))


@pytest.fixture(scope="module", params=golden_module().models())
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def shipped(model: str) -> Segmenter:
    return Segmenter.pretrained(model, device="cpu", precision="float32", offline=True)


@pytest.fixture(scope="module")
def golden(model: str) -> Array:
    path = golden_module().golden_file(model)
    assert path.exists(), f"{model} has no golden labels in this version; run tests/golden/make_golden.py"
    return np.asarray(tifffile.imread(path))


@pytest.fixture(scope="module")
def image(shipped: Segmenter) -> Array:
    return np.asarray(golden_module().sample(shipped))


@pytest.fixture(scope="module")
def part(image: Array) -> Array:
    """A part of the field, to save time: exactness does not depend on the size."""
    return image[200:328, 300:460] if image.ndim == 2 else image[:4]


@pytest.fixture(scope="module")
def expected(shipped: Segmenter, part: Array) -> Array:
    """The labels of the part."""
    return shipped.segment(part)


def agree(labels: Array, golden: Array) -> bool:
    same = labels.shape == golden.shape and labels.max() == golden.max()
    return bool(same and adapted_rand_error(golden, labels) <= MOST_ERROR)


def test_the_bundled_field_has_the_stored_labels(shipped: Segmenter, golden: Array, image: Array) -> None:
    assert agree(shipped.segment(image), golden)


def tile_of(shipped: Segmenter, shape: tuple[int, ...], share: float) -> tuple[int, ...]:
    grid = shipped.embedder.network.grid
    return tuple(max(step, round(share * n / step) * step) for n, step in zip(shape, grid))


def test_tiles_of_any_size_give_the_stored_labels(shipped: Segmenter, golden: Array, image: Array) -> None:
    assert agree(shipped.segment(image, tile=tile_of(shipped, image.shape, 0.35)), golden)


@pytest.mark.parametrize("share", [0.8, 0.5])
def test_tiles_of_other_sizes_give_the_labels_of_one_piece(
    shipped: Segmenter, part: Array, expected: Array, share: float
) -> None:
    assert agree(shipped.segment(part, tile=tile_of(shipped, part.shape, share)), expected)


def test_a_lost_a_merged_or_a_shifted_object_is_noticed(golden: Array) -> None:
    assert agree(golden, golden)
    lost = np.where(golden == 1, 0, golden)
    lost[lost == golden.max()] = 1
    merged = np.where(golden == golden.max(), 1, golden)
    shifted = np.roll(golden, 1, axis=0)
    assert not any(agree(changed, golden) for changed in (lost, merged, shifted))


def test_runs_and_threads_do_not_change_a_pixel(shipped: Segmenter, part: Array, expected: Array) -> None:
    before = torch.get_num_threads()
    assert expected.max() > 3
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            np.testing.assert_array_equal(shipped.segment(part), expected)
    finally:
        torch.set_num_threads(before)
    with ThreadPoolExecutor(2) as pool:
        for labels in pool.map(shipped.segment, [part] * 2):
            np.testing.assert_array_equal(labels, expected)
