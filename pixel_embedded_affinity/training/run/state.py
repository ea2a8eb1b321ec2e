"""Training state on disk: weights, averaged weights and optimizer in one file, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from pixel_embedded_affinity.errors import CheckpointError
from pixel_embedded_affinity.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint

Tensors = dict[str, torch.Tensor]


def save_state(
    path: Path, network: nn.Module, average: Tensors, optimizer: Optimizer, progress: dict[str, Any]
) -> None:
    """Write the state of a run.

    It holds no state of a random generator: what a step draws depends on the seed and the step alone.

    Parameters
    ----------
    path : Path
        File to write.
    network : torch.nn.Module
        The network as it is.
    average : dict of str to torch.Tensor
        The averaged weights.
    optimizer : torch.optim.Optimizer
        Adam-like: its state per parameter is tensors.
    progress : dict
        Further values, fit for JSON, such as the step.
    """
    groups = {"network": network.state_dict(), "average": average, "optimizer": _flat(optimizer)}
    tensors = {f"{group}.{name}": value for group, part in groups.items() for name, value in part.items()}
    write_checkpoint(path, Checkpoint(json.dumps(progress), tensors))


def restore_state(path: Path, network: nn.Module, average: Tensors, optimizer: Optimizer) -> dict[str, Any]:
    """Put a saved state into the parts of a run, in place, and return the progress values.

    Raises
    ------
    CheckpointError
        If the file is damaged, no training state, or belongs to another network.
    """
    saved = read_checkpoint(path)
    groups = _grouped(path, saved)
    _check_fit(path, network.state_dict(), groups["network"])
    _check_fit(path, average, groups["average"])
    network.load_state_dict(groups["network"])
    for name, value in groups["average"].items():
        average[name].copy_(value)
    _restore_optimizer(optimizer, groups["optimizer"])
    progress: dict[str, Any] = json.loads(saved.config_json)
    return progress


def _flat(optimizer: Optimizer) -> Tensors:
    """Name the optimizer's tensors ``INDEX.KEY``."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{key}": value for index, entries in state.items() for key, value in entries.items()}


def _grouped(path: Path, saved: Checkpoint) -> dict[str, Tensors]:
    groups: dict[str, Tensors] = {"network": {}, "average": {}, "optimizer": {}}
    for name, value in saved.tensors.items():
        group, _, rest = name.partition(".")
        if group not in groups:
            raise CheckpointError(
                f"{str(path)!r} is no training state; expected the file that pea train wrote"
            )
        groups[group][rest] = value
    return groups


def _check_fit(path: Path, expected: Mapping[str, torch.Tensor], given: Tensors) -> None:
    shapes = {name: value.shape for name, value in expected.items()}
    if shapes != {name: value.shape for name, value in given.items()}:
        raise CheckpointError(f"{str(path)!r} belongs to another network; train into another folder")


def _restore_optimizer(optimizer: Optimizer, tensors: Tensors) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    entries: dict[int, Tensors] = {index: {} for index in range(len(parameters))} if tensors else {}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        entries[int(index)][key] = _laid_out_like(parameters[int(index)], value)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": entries})


def _laid_out_like(parameter: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Give a moment the memory layout of its parameter, since another layout could round sums differently."""
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, dtype=value.dtype, device="cpu").copy_(value)
