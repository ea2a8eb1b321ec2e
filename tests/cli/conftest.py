"""A tiny model file, a folder of small images, and a registry that knows the model."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from pixel_embedded_affinity.models.checkpoint import Checkpoint, write_checkpoint
from pixel_embedded_affinity.models.config import ModelConfig, NetworkConfig
from pixel_embedded_affinity.network.build import build_network


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No command of these tests may open a connection."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def write_model(path: Path, channels: int) -> Path:
    """A model with random weights: its many objects mean nothing, but are the same each time."""
    torch.manual_seed(7)
    network = NetworkConfig(
        in_channels=channels, filters=(2, 2, 2, 2, 2), embedding_channels=4, foreground_head=False
    )
    config = ModelConfig(name="tiny", version="1.2", network=network)
    write_checkpoint(
        path, Checkpoint(config.to_json(), centered(build_network(network), channels).state_dict())
    )
    return path


def centered(network: torch.nn.Module, channels: int) -> torch.nn.Module:
    """Shift the embedding so that its mean is zero: else all pixels would be alike, and one object."""
    network.eval()
    with torch.no_grad():
        image = torch.rand(1, channels, 32, 32)
        network.embedding_head.bias -= network(image).embedding.mean(dim=(0, 2, 3))
    return network


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny.safetensors", channels=1)


@pytest.fixture(scope="session")
def color_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny_color.safetensors", channels=3)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with a.tif, b.tif and c.tif."""
    folder = tmp_path / "images"
    folder.mkdir()
    for seed, name in enumerate("abc"):
        values = np.random.default_rng(seed).integers(0, 4000, (20, 28), dtype=np.uint16)
        tifffile.imwrite(folder / f"{name}.tif", values)
    return folder


@pytest.fixture
def registry(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a registry whose model "tiny" is bundled; the folder of the cache is not made yet."""
    folder = tmp_path / "registry"
    (folder / "bundled").mkdir(parents=True)
    content = weights.read_bytes()
    (folder / "bundled" / "tiny.safetensors").write_bytes(content)
    (folder / "registry.toml").write_text(
        "[models.tiny]\n"
        'version = "1.2"\n'
        'file = "tiny.safetensors"\n'
        f'sha256 = "{hashlib.sha256(content).hexdigest()}"\n'
        f"size = {len(content)}\n"
        'urls = ["https://weights.invalid/tiny.safetensors"]\n'
        'license = "CC0-1.0"\n'
        'data = "random numbers"\n'
        'description = "Segments nothing in particular."\n'
        "[models.tiny.scores]\n"
        "aji = 0.125\n",
        encoding="utf-8",
    )
    for module in ("models.registry", "models.fetch", "cli.info"):
        monkeypatch.setattr(f"pixel_embedded_affinity.{module}.REGISTRY_PATH", folder / "registry.toml")
    monkeypatch.setenv("PEA_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("PEA_OFFLINE", "PEA_WEIGHTS_URL"):
        monkeypatch.delenv(name, raising=False)
    return folder
