"""From a network configuration to a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from pixel_embedded_affinity.config.model import NetworkConfig
from pixel_embedded_affinity.errors import CheckpointError, InputError
from pixel_embedded_affinity.network.half_unet import LEVELS, HalfUNet
from pixel_embedded_affinity.network.residual_unet import ResidualUNet


def build_network(config: NetworkConfig) -> nn.Module:
    """Build a network with random weights.

    Raises
    ------
    InputError
        If the architecture is unknown, or its settings do not fit it.
    """
    if config.architecture not in _ARCHITECTURES:
        raise InputError(
            f"architecture {config.architecture!r} is unknown; expected one of {sorted(_ARCHITECTURES)}"
        )
    return _ARCHITECTURES[config.architecture](config)


def load_network(config: NetworkConfig, weights: Mapping[str, torch.Tensor]) -> nn.Module:
    """Build a network and put weights into it, in single precision; they must fit in name and shape.

    Raises
    ------
    CheckpointError
        If the weights do not fit the network.
    """
    try:
        with torch.device("meta"):  # no memory and no random numbers for weights that are replaced anyway
            network = build_network(config)
    except InputError as error:
        raise CheckpointError(f"the weights' configuration is not valid: {error}") from error
    expected = network.state_dict()
    _check_fit(expected, weights)
    own = {name: tensor.to("cpu", expected[name].dtype, copy=True) for name, tensor in weights.items()}
    network.load_state_dict(own, strict=True, assign=True)
    return network


def _residual_unet(config: NetworkConfig) -> nn.Module:
    if len(config.filters) != 5:
        raise InputError(f"residual_unet takes 5 filters, one per level, got {len(config.filters)}")
    return ResidualUNet(
        in_channels=config.in_channels,
        filters=config.filters,
        embedding_channels=config.embedding_channels,
        foreground_head=config.foreground_head,
        full_resolution_skip=config.full_resolution_skip,
    )


def _half_unet(config: NetworkConfig) -> nn.Module:
    if len(config.filters) != LEVELS:
        raise InputError(f"half_unet takes {LEVELS} filters, one per level, got {len(config.filters)}")
    return HalfUNet(config.in_channels, config.filters, config.embedding_channels, config.foreground_head)


_ARCHITECTURES: dict[str, Callable[[NetworkConfig], nn.Module]] = {
    "half_unet": _half_unet,
    "residual_unet": _residual_unet,
}


def _check_fit(expected: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> None:
    missing, surplus = sorted(set(expected) - set(given)), sorted(set(given) - set(expected))
    if missing or surplus:
        raise CheckpointError(
            f"the weights do not fit the network: missing {missing[:3]} ({len(missing)} in all), "
            f"not expected {surplus[:3]} ({len(surplus)} in all); the file is of another architecture"
        )
    for name, tensor in given.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"weight {name!r} has shape {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}; "
                "the file is of another architecture"
            )
