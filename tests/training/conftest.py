"""A tiny recipe, and images of bright squares that it learns from in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from pixel_embedded_affinity.data.layouts import Example
from pixel_embedded_affinity.training.recipe import Recipe

RECIPE = """
[model]
name = "tiny"
[model.network]
in_channels = 1
filters = [4, 4, 4, 4, 4]
embedding_channels = 4
[model.neighborhood]
ranges = [1, 3]
strides = [2, 2]
[data]
validation = ["c"]
[neighborhood]
ranges = [1, 3]
[schedule]
steps = 6
batch = 2
crop = 32
save_every = 4
learning_rate = 1e-2
"""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums are rounded the same way in this process and in others."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """The tiny recipe as a file."""
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture
def recipe(recipe_file: Path) -> Recipe:
    """The tiny recipe."""
    return Recipe.from_file(recipe_file)


def squares(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An image of 40 x 44 pixels with two touching squares and a single one, and its labels."""
    labels = np.zeros((40, 44), np.uint16)
    labels[4:16, 4:16], labels[4:16, 16:28], labels[22:36, 10:30] = 1, 2, 3
    brightness = np.array([100, 800, 400, 600])[labels]
    noisy = brightness + np.random.default_rng(seed).normal(0, 10, labels.shape)
    return noisy.clip(0).astype(np.uint16), labels


@pytest.fixture
def examples() -> list[Example]:
    """Two normalized examples."""
    pairs = [squares(seed) for seed in range(2)]
    return [
        Example(f"e{index}", (image[None] / 800).astype(np.float32), labels.astype(np.int32))
        for index, (image, labels) in enumerate(pairs)
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with the images a, b and c and their labels."""
    folder = tmp_path / "data"
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for seed, name in enumerate("abc"):
        image, labels = squares(seed)
        tifffile.imwrite(folder / "images" / f"{name}.tif", image)
        tifffile.imwrite(folder / "labels" / f"{name}.tif", labels)
    return folder
