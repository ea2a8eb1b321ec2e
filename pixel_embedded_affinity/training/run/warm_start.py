"""Weights to start from: read from a model file, and fitted to another number of image channels."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pixel_embedded_affinity.config.model import ModelConfig, NetworkConfig
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.io.digest import sha256_of
from pixel_embedded_affinity.models.checkpoint import Checkpoint, check_fit, read_checkpoint
from pixel_embedded_affinity.network.build import build_network, completed, shapes

logger = logging.getLogger(__name__)

Tensors = dict[str, torch.Tensor]


def read_start(path: Path, network: NetworkConfig) -> Tensors:
    """Read the weights that a run starts from.

    They fit a network that differs from the model's in these two ways at most; the log says so:

    - In the number of image channels: each weight that reads the image is summed over the model's channels and
      spread evenly over the network's channels. An image whose channels are all equal then gives what one channel
      gave (Carreira and Zisserman, CVPR 2017, inflate filters in the same way).
    - In `blocks`, where each level has at least as many as the model's: a new block returns its input until it is
      trained, so the network gives what the model gave.

    Weights that differ in any other way are returned as they are; `network.build.load_network` will refuse them.

    Parameters
    ----------
    path : Path
        A model file.
    network : NetworkConfig
        The network of the run. New blocks get random weights from torch's default generator.

    Returns
    -------
    dict of str to torch.Tensor
        The weights.

    Raises
    ------
    CheckpointError
        If the file cannot be read.
    """
    checkpoint = read_checkpoint(path)
    found = _related(checkpoint, network)
    weights = checkpoint.tensors
    if found is None:
        return weights
    if found.in_channels != network.in_channels:
        text = "%s takes images of %d channels, the run %d: the weights of the first convolution are spread evenly"
        logger.info(text, path, found.in_channels, network.in_channels)
        weights = spread_channels(weights, network)
    before, after = _blocks(found), _blocks(network)
    if before != after:
        text = (
            "%s has %s blocks per level, the run %s: the new ones return their input until they are trained"
        )
        logger.info(text, path, list(before), list(after))
        check_fit(_shapes_for(found, found.in_channels), shapes(checkpoint.tensors))
        weights = build_network(network).state_dict() | weights
    return weights


def difference(path: Path, network: NetworkConfig) -> str:
    """Describe in which values of ``[model.network]`` a model file and a run differ; empty if the file is no model.

    Parameters
    ----------
    path : Path
        A file that `read_checkpoint` reads.
    network : NetworkConfig
        The network of the run.
    """
    try:
        found = completed(ModelConfig.from_json(read_checkpoint(path).config_json).network).to_dict()
    except InputError:
        return ""
    wanted = completed(network).to_dict()
    names = [name for name in wanted | found if wanted.get(name) != found.get(name)]
    of_file, of_run = (
        ", ".join(f"{name} = {json.dumps(values[name])}" for name in names if name in values)
        for values in (found, wanted)
    )
    return f"{path} has {of_file or 'none of these'}; the run {of_run or 'none of these'}"


def origin_of(model: Path | None, encoder: Path | None) -> dict[str, Any]:
    """What a model's provenance says of the file of weights that its training started from, if there was one.

    Parameters
    ----------
    model : Path or None
        A model file: its name, version and SHA-256.
    encoder : Path or None
        A file of an encoder's weights: the name of the file and its SHA-256.

    Raises
    ------
    CheckpointError, InputError
        If the model file cannot be read.
    """
    if model is not None:
        config = ModelConfig.from_json(read_checkpoint(model).config_json)
        return {"start": {"name": config.name, "version": config.version, "sha256": sha256_of(model)}}
    return {} if encoder is None else {"start": {"encoder": encoder.name, "sha256": sha256_of(encoder)}}


def spread_channels(weights: Tensors, network: NetworkConfig) -> Tensors:
    """Fit weights to a network of another number of image channels: their sum over the channels stays.

    Parameters
    ----------
    weights : dict of str to torch.Tensor
        Weights of a network like `network` but for its ``in_channels``. Not modified.
    network : NetworkConfig
        The network that they must fit.

    Returns
    -------
    dict of str to torch.Tensor
        All weights. Only weights that read the image are new: their shape differs in ``in_channels`` alone.
    """
    one, two, wanted = (_shapes_for(network, channels) for channels in (1, 2, network.in_channels))
    fitted = dict(weights)
    for name, weight in weights.items():
        if one.get(name) != two.get(name) and _differ_in_inputs(tuple(weight.shape), wanted[name]):
            # One channel of the image may be several inputs; features may come before them.
            step = two[name][1] - one[name][1]
            fitted[name] = spread(weight, network.in_channels, step, one[name][1] - step)
    return fitted


def _shapes_for(network: NetworkConfig, channels: int) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return shapes(build_network(replace(network, in_channels=channels)).state_dict())


def _differ_in_inputs(given: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether two convolutions differ only in their inputs, as only those that read the image can."""
    return given != wanted and len(given) > 2 and given[:1] + given[2:] == wanted[:1] + wanted[2:]


def spread(weight: torch.Tensor, channels: int, step: int = 1, before: int = 0) -> torch.Tensor:
    """Spread a convolution's weight over another number of image channels; the sum over the channels stays.

    Parameters
    ----------
    weight : torch.Tensor
        ``(outputs, before + step * image channels, ...)``.
    channels : int
        Image channels to spread it over.
    step : int
        Neighboring inputs that are one channel of the image.
    before : int
        Inputs that come before the image; they stay.
    """
    features, image = weight[:, :before], weight[:, before:]
    mean = image.reshape(len(image), -1, step, *image.shape[2:]).sum(1) / channels
    return torch.cat((features, mean.repeat(1, channels, *[1] * (weight.ndim - 2))), dim=1)


def _related(checkpoint: Checkpoint, network: NetworkConfig) -> NetworkConfig | None:
    """A model's network, if its weights can be fitted to another network; None if they cannot."""
    try:
        found = ModelConfig.from_json(checkpoint.config_json).network
        before, after = _blocks(found), _blocks(network)
        more: dict[str, Any] = {"blocks": after} if before else {}
        grown = completed(replace(found, in_channels=network.in_channels, **more))
    except InputError:
        return None  # no model: `load_network` will refuse its tensors
    fits = len(before) == len(after) and all(few <= many for few, many in zip(before, after))
    return found if fits and grown == completed(network) else None


def _blocks(network: NetworkConfig) -> tuple[int, ...]:
    """Blocks per level; empty for an architecture without such an option."""
    return tuple(completed(network).options.get("blocks", ()))
