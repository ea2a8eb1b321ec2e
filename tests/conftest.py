"""A tiny network with seeded random weights, and what is built on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from torch import nn

from pixel_embedded_affinity.config.model import ModelConfig, NetworkConfig
from pixel_embedded_affinity.models.checkpoint import Checkpoint, write_checkpoint
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.network.build import build_network
from pixel_embedded_affinity.segmenter import Segmenter

MakeNetwork = Callable[..., nn.Module]

# A run that decides on a change tries the same examples each time; everyone's own runs try others.
settings.register_profile("ci", derandomize=True, database=None, deadline=None, print_blob=True)


@pytest.fixture(scope="session")
def make_network() -> MakeNetwork:
    """Return a function that builds a seeded network whose batch norms all do something."""

    def make(config: NetworkConfig, *, seed: int = 0) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = build_network(config)
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    nn.init.uniform_(module.weight, 0.5, 2)
                    nn.init.normal_(module.bias, std=0.3)
                    nn.init.normal_(module.running_mean, std=0.3)
                    nn.init.uniform_(module.running_var, 0.5, 2)
            _center(network.eval(), torch.rand(1, config.in_channels, 64, 64))
        return network

    return make


@torch.no_grad()
def _center(network: nn.Module, images: torch.Tensor) -> None:
    """Give the heads biases with which pixels differ, and half of them are foreground."""
    output = network(images)
    network.embedding_head.bias -= output.embedding.mean((0, 2, 3))
    if network.foreground_head is not None:
        last = network.foreground_head[-1]
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
