"""The graphs that ship for the runtime without torch: an exported model without its weights, see `inference.graphs`."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pixel_embedded_affinity.config.model import NetworkConfig
from pixel_embedded_affinity.errors import optional_module
from pixel_embedded_affinity.exchange.graph import facts_of
from pixel_embedded_affinity.inference.graphs import PREFIX, Fold
from pixel_embedded_affinity.io.atomic import atomic_file
from pixel_embedded_affinity.network.build import build_network, completed

if TYPE_CHECKING:
    from pixel_embedded_affinity.exchange.model import ExportedModel

_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
_FLOAT = 4


def write_graph(model: ExportedModel, folder: Path, name: str) -> None:
    """Write the graph of a model and what belongs to it, as ``NAME.onnx`` and ``NAME.json``.

    Raises
    ------
    MissingDependencyError
        If onnx or onnxscript is not installed.
    """
    config = model.segmenter.config.network
    graph = bare(model.onnx)
    taken = [entry.name.removeprefix(PREFIX) for entry in graph.graph.initializer if _is_external(entry)]
    told = {**_told(config), "weights": sorted(taken)}
    with atomic_file(folder / f"{name}.onnx") as file:
        file.write(graph.SerializeToString(deterministic=True))
    with atomic_file(folder / f"{name}.json") as file:
        file.write((json.dumps(told, indent=1, sort_keys=True) + "\n").encode())


def bare(exported: Any) -> Any:
    """Return an exported model without weights and without what it says about the model: other weights fit as well."""
    onnx = optional_module("onnx", "the package onnx is not installed; expected it for graphs of ONNX")
    graph = copy.deepcopy(exported)
    del graph.metadata_props[:]
    graph.producer_version = ""
    for entry in graph.graph.initializer:
        if entry.name.startswith(PREFIX):
            length = onnx.numpy_helper.to_array(entry).size * _FLOAT
            entry.ClearField("raw_data")
            entry.data_location = onnx.TensorProto.EXTERNAL
            told = {"location": "weights", "offset": "0", "length": str(length)}
            entry.external_data.extend(
                onnx.StringStringEntryProto(key=key, value=value) for key, value in told.items()
            )
    return graph


def _is_external(entry: Any) -> bool:
    return bool(len(entry.external_data))


def _told(config: NetworkConfig) -> dict[str, Any]:
    """What is known of a network beside its graph."""
    with torch.device("meta"):
        network = build_network(config)
    usual = completed(NetworkConfig(**_common(config), options={}))
    stored = {name: list(values.shape) for name, values in network.state_dict().items() if values.ndim}
    return {
        "network": completed(config).to_dict(),
        "defaults": usual.to_dict(),
        "facts": asdict(facts_of(network)),
        "stored": stored,
        "folds": {name: asdict(fold) for name, fold in folds_of(config).items()},
    }


def _common(config: NetworkConfig) -> dict[str, Any]:
    return {
        name: getattr(config, name)
        for name in ("architecture", "in_channels", "embedding_channels", "foreground_head")
    }


def folds_of(config: NetworkConfig) -> dict[str, Fold]:
    """Find which batch norm `network.base.ready` folds into which convolution, by following an image."""
    network = build_network(config).eval()
    seen, found = _Seen(network), {}
    with torch.inference_mode():
        network(torch.zeros(1, config.in_channels, *(2 * step for step in network.grid)))
    for module, came in seen.norms:
        convolution = next((one for one, output in seen.convolutions if output is came), None)
        if convolution is not None:
            found[seen.names[convolution]] = Fold(seen.names[module], module.eps)
    return found


class _Seen:
    """What the convolutions of a network gave, and what came to its batch norms."""

    def __init__(self, network: nn.Module) -> None:
        self.names = {module: name for name, module in network.named_modules()}
        self.convolutions: list[tuple[nn.Module, torch.Tensor]] = []
        self.norms: list[tuple[Any, torch.Tensor]] = []
        for module in self.names:
            if isinstance(module, _CONVOLUTIONS):
                module.register_forward_hook(self._given)
            elif isinstance(module, _NORMS):
                module.register_forward_pre_hook(self._came)

    def _given(self, module: nn.Module, _: Any, output: torch.Tensor) -> None:
        self.convolutions.append((module, output))

    def _came(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.norms.append((module, inputs[0]))
