"""From a network configuration to a network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields, replace
from inspect import Parameter, signature

import torch

from pixel_embedded_affinity.config.model import ModelConfig, NetworkConfig
from pixel_embedded_affinity.errors import CheckpointError, InputError
from pixel_embedded_affinity.models.checkpoint import check_fit, read_checkpoint
from pixel_embedded_affinity.network.base import NETWORKS, Network


def build_network(config: NetworkConfig) -> Network:
    """Build a network with random weights.

    Raises
    ------
    InputError
        If the architecture is unknown, or its settings do not fit it.
    """
    return NETWORKS.build(
        config.architecture,
        in_channels=config.in_channels,
        embedding_channels=config.embedding_channels,
        foreground_head=config.foreground_head,
        **config.options,
    )


def completed(config: NetworkConfig) -> NetworkConfig:
    """Return the configuration with all options of its architecture; absent ones get their defaults.

    Raises
    ------
    InputError
        If the architecture is unknown.
    """
    parameters = signature(NETWORKS.get(config.architecture)).parameters.values()
    defaults = {entry.name: entry.default for entry in parameters if entry.default is not Parameter.empty}
    common = {entry.name for entry in fields(config)}
    options = {name: value for name, value in defaults.items() if name not in common}
    return replace(config, **options | config.options)


def read_model(path: str | os.PathLike[str], *, sha256: str | None = None) -> tuple[Network, ModelConfig]:
    """Read a model file: its network, with the weights, and its configuration.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged or foreign, has another SHA-256, or its weights do not fit its configuration.
    """
    checkpoint = read_checkpoint(path, sha256=sha256)
    try:
        config = ModelConfig.from_json(checkpoint.config_json)
        return load_network(config.network, checkpoint.tensors), config
    except (InputError, CheckpointError) as error:
        raise CheckpointError(f"{os.fspath(path)}: {error}") from error


def load_network(config: NetworkConfig, weights: Mapping[str, torch.Tensor]) -> Network:
    """Build a network and put weights into it, in single precision; they must fit in name and shape.

    Raises
    ------
    CheckpointError
        If the weights do not fit the network.
    """
    try:
        with torch.device("meta"):  # no memory and no random numbers: the weights are replaced anyway
            network = build_network(config)
    except InputError as error:
        raise CheckpointError(f"the weights' configuration is not valid: {error}") from error
    expected = network.state_dict()
    check_fit(shapes(expected), shapes(weights))
    own = {name: tensor.to("cpu", expected[name].dtype, copy=True) for name, tensor in weights.items()}
    network.load_state_dict(own, strict=True, assign=True)
    return network


def shapes(weights: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight by its name."""
    return {name: tuple(values.shape) for name, values in weights.items()}
