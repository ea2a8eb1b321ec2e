"""A tiny model file, a folder of small images, and a registry that knows the model."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from torch import nn

from pixel_embedded_affinity.config.model import ModelConfig, NetworkConfig
from pixel_embedded_affinity.models.checkpoint import Checkpoint, write_checkpoint


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No command of these tests may open a connection."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="session")
def write_model(
    make_network: Callable[..., nn.Module], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Path]:
    """Return a function that writes a model with seeded random weights, for images of any number of channels."""

    def write(channels: int) -> Path:
        network = NetworkConfig(
            in_channels=channels, filters=(2, 2, 2, 2, 2), embedding_channels=4, foreground_head=False
        )
        config = ModelConfig(name="tiny", version="1.2", network=network)
        path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
        write_checkpoint(path, Checkpoint(config.to_json(), make_network(network).state_dict()))
        return path

    return write


@pytest.fixture(scope="session")
def weights(write_model: Callable[[int], Path]) -> Path:
    return write_model(1)


@pytest.fixture(scope="session")
def color_weights(write_model: Callable[[int], Path]) -> Path:
    return write_model(3)


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
