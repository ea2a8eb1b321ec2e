"""The graphs that ship: what a network computes, as ONNX without the weights, which the model's own file holds.

For each graph ``NAME.onnx`` there is ``NAME.json``. It says for which network the graph is (``network``, and
``defaults``, what an option is that a model does not state), how the network reads images (``facts``), which weights a
model's file holds (``stored``), which of them the graph takes (``weights``), and which batch norm is folded into which
convolution (``folds``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pixel_embedded_affinity.config.model import NetworkConfig
from pixel_embedded_affinity.errors import CheckpointError
from pixel_embedded_affinity.io.arrays import FloatArray
from pixel_embedded_affinity.models.checkpoint import check_fit

FOLDER = Path(__file__).with_name("graphs")
PREFIX = "network."
"""What the graph puts before the name of a weight."""

_NORM = ("weight", "bias", "running_mean", "running_var")

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Facts:
    """How a network reads images; see `pixel_embedded_affinity.network.base.Network` for each entry."""

    ndim: int
    grid: Axes
    stride: Axes
    halo: Axes | None
    receptive_radius: Axes | None
    memory_per_pixel: int | None

    def as_text(self) -> str:
        """Return the facts as JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Facts:
        """Read what `as_text` gives."""
        return cls(**{name: _tupled(value) for name, value in json.loads(text).items()})


@dataclass(frozen=True)
class Fold:
    """The batch norm that stood behind a convolution."""

    norm: str
    epsilon: float


@dataclass(frozen=True)
class Graph:
    """A graph that ships.

    Attributes
    ----------
    content : bytes
        The ONNX file.
    facts : Facts
        How the network reads images.
    stored : dict of str to tuple of int
        Shape of each weight in a model's file, by its name.
    weights : tuple of str
        Names of the weights that the graph takes.
    folds : dict of str to Fold
        By the name of the convolution.
    """

    content: bytes
    facts: Facts
    stored: dict[str, Axes]
    weights: tuple[str, ...]
    folds: dict[str, Fold]

    def weights_of(self, stored: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Return the weights that the graph takes, by its own names.

        Parameters
        ----------
        stored : mapping of str to numpy.ndarray
            The weights of a model's file, as float32.

        Raises
        ------
        CheckpointError
            If they do not fit.
        """
        check_fit(self.stored, {name: values.shape for name, values in stored.items()})
        return {
            PREFIX + name: np.ascontiguousarray(self._weight(name, stored), np.float32)
            for name in self.weights
        }

    def _weight(self, name: str, stored: Mapping[str, FloatArray]) -> FloatArray:
        convolution, _, kind = name.rpartition(".")
        fold = self.folds.get(convolution)
        if fold is None:
            return stored[name]
        scale, shift, mean, variance = (stored[f"{fold.norm}.{part}"] for part in _NORM)
        factor = scale / np.sqrt(variance + np.float32(fold.epsilon))
        weight = stored[f"{convolution}.weight"]
        if kind == "weight":
            scaled: FloatArray = weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))
            return scaled
        bias = stored.get(f"{convolution}.bias", np.zeros_like(mean))
        shifted: FloatArray = (bias - mean) * factor + shift
        return shifted


def graph_for(config: NetworkConfig) -> Graph:
    """Return the graph of a network.

    Raises
    ------
    CheckpointError
        If none ships for it.
    """
    for path in sorted(FOLDER.glob("*.json")):
        told = _told(path)
        if _fits(told["network"], told["defaults"], config.to_dict()):
            return _graph(path)
    raise CheckpointError(
        f"no graph ships for architecture {config.architecture!r} with its options; expected the network of a shipped "
        "model; where torch is, write a file for runtime 'onnx' by: pea export --weights FILE --onnx MODEL.onnx, and "
        "load that; or use runtime 'torch'"
    )


def _fits(known: Mapping[str, Any], defaults: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether a network is that of a graph; options that it does not state have their defaults."""
    if known["architecture"] != asked["architecture"]:
        return False
    return {**defaults, **json.loads(json.dumps(asked))} == known


@cache
def _told(path: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return told


def _graph(path: Path) -> Graph:
    told = _told(path)
    return Graph(
        path.with_suffix(".onnx").read_bytes(),
        Facts.from_text(json.dumps(told["facts"])),
        {name: tuple(shape) for name, shape in told["stored"].items()},
        tuple(told["weights"]),
        {name: Fold(**fold) for name, fold in told["folds"].items()},
    )


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
