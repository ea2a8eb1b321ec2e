"""A tiny network with seeded random weights, and what is built on it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from filelock import FileLock
from hypothesis import settings
from tiny3d import tiny_config_3d, tiny_network_3d
from torch import nn

from pixel_embedded_affinity.config.model import ModelConfig, NetworkConfig
from pixel_embedded_affinity.data.layouts import Example
from pixel_embedded_affinity.models.checkpoint import Checkpoint, write_checkpoint
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.network.build import build_network
from pixel_embedded_affinity.segmenter import Segmenter
from pixel_embedded_affinity.training.recipe import Recipe

MakeNetwork = Callable[..., nn.Module]

# A run that decides on a change tries the same examples each time; everyone's own runs try others.
settings.register_profile("ci", derandomize=True, database=None, deadline=None, print_blob=True)

# Tracing takes twice the time, and a line counts once. What these folders call, other tests call for fewer inputs.
UNTRACED = ("benchmarks", "docs", "golden", "hostile", "property")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Measure no coverage in the folders above, nor in what tries many examples."""
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        if folder in UNTRACED or getattr(getattr(item, "function", None), "is_hypothesis_test", False):
            item.add_marker("no_cover")


@pytest.fixture(scope="session")
def make_network() -> MakeNetwork:
    """Return a function that builds a seeded network whose batch norms all do something."""

    def make(config: NetworkConfig, *, seed: int = 0) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = build_network(config)
            for module in network.modules():
                if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
                    nn.init.uniform_(module.weight, 0.5, 2)
                    nn.init.normal_(module.bias, std=0.3)
                    nn.init.normal_(module.running_mean, std=0.3)
                    nn.init.uniform_(module.running_var, 0.5, 2)
            _center(network.eval(), torch.rand(1, config.in_channels, *[8] * (network.ndim - 2), 64, 64))
        return network

    return make


@torch.no_grad()
def _center(network: nn.Module, images: torch.Tensor) -> None:
    """Give the heads biases with which pixels differ, and half of them are foreground."""
    output = network(images)
    network.embedding_head.bias -= output.embedding.transpose(0, 1).flatten(1).mean(1)
    if network.foreground_head is not None:
        last = [m for m in network.foreground_head.modules() if isinstance(m, (nn.Conv2d, nn.Conv3d))][-1]
        deviation, mean = torch.std_mean(output.foreground)
        last.weight /= deviation
        last.bias.copy_((last.bias - mean) / deviation)


@pytest.fixture(scope="session")
def tiny_config() -> ModelConfig:
    """Configuration of a model of one channel, a few filters and a foreground head."""
    return ModelConfig(
        name="tiny",
        version="1",
        network=NetworkConfig(in_channels=1, filters=(4, 4, 4, 4, 4), embedding_channels=4),
        neighborhood=Neighborhood.from_ranges([1, 2, 4], strides=2),
    )


@pytest.fixture(scope="session")
def tiny_network(make_network: MakeNetwork, tiny_config: ModelConfig) -> nn.Module:
    """Weights of the tiny model, its batch norms not folded; not to be changed."""
    return make_network(tiny_config.network)


@pytest.fixture
def checkpoint_file(tmp_path: Path, tiny_network: nn.Module, tiny_config: ModelConfig) -> Path:
    """A weights file of the tiny model."""
    path = tmp_path / "tiny.safetensors"
    write_checkpoint(path, Checkpoint(tiny_config.to_json(), tiny_network.state_dict()))
    return path


@pytest.fixture(scope="session")
def segmenter(make_network: MakeNetwork, tiny_config: ModelConfig) -> Segmenter:
    """The tiny model on the CPU, in float32."""
    return Segmenter(make_network(tiny_config.network), tiny_config, device="cpu", precision="float32")


@pytest.fixture(scope="session")
def strided_segmenter(make_network: MakeNetwork) -> Segmenter:
    """A model that embeds every second pixel along each axis."""
    network = NetworkConfig("half_unet", in_channels=1, filters=(4, 4, 4, 4, 4), embedding_channels=4)
    config = ModelConfig(
        name="strided",
        version="1",
        network=network,
        neighborhood=Neighborhood.from_ranges([1, 2, 4], strides=2),
    )
    return Segmenter(make_network(network), config, device="cpu", precision="float32")


@pytest.fixture(scope="session")
def onnx_file(strided_segmenter: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The strided model as ``pea export`` writes it; the processes of pytest-xdist make it once, for it takes long."""
    pytest.importorskip("onnxscript", reason="needs the package onnxscript")
    from pixel_embedded_affinity.exchange import ExportedModel

    folder = tmp_path_factory.getbasetemp()
    path = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "strided.onnx"
    with FileLock(f"{path}.lock"):
        if not path.exists():
            ExportedModel(strided_segmenter).write_onnx(path)
    return path


@pytest.fixture(scope="session")
def onnx_segmenter(onnx_file: Path) -> Segmenter:
    """The strided model, run by onnxruntime."""
    return Segmenter.from_file(onnx_file, runtime="onnx")


@pytest.fixture(scope="session")
def volume_segmenter() -> Segmenter:
    """A model of anisotropic volumes."""
    return Segmenter(tiny_network_3d(), tiny_config_3d(), device="cpu", precision="float32")


# --- training: a tiny recipe, and images of bright squares that it learns from in seconds ---------------------

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
