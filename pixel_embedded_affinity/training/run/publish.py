"""Turn the model file of a training into a file to ship: half precision, final configuration, registry entry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import number
from pixel_embedded_affinity.io.digest import sha256_of
from pixel_embedded_affinity.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint

MANTISSA = 10
"""Bits of a float16's mantissa."""

Tensors = dict[str, torch.Tensor]

_INFINITE = 0x7C00  # the bits of infinity


def publish(
    model: Path,
    folder: Path,
    *,
    config: ModelConfig,
    data: str,
    scores: Mapping[str, float],
    half: bool = True,
    mantissa: int = MANTISSA,
    others: Sequence[Path] = (),
    share: float | None = None,
) -> str:
    """Write ``NAME-VERSION.safetensors`` into a folder.

    Parameters
    ----------
    model : Path
        Model file of a training run.
    folder : Path
        Where to write; it must exist.
    config : ModelConfig
        The configuration to ship, tuned settings and provenance included.
    data : str
        Data and split, for the registry.
    scores : mapping of str to float
        Measured scores, for the registry.
    half : bool
        Whether floating-point weights become float16.
    mantissa : int
        Bits of the mantissa that a float16 weight keeps, of 10. With fewer bits, weights are rounded. The file is as
        long as before, but a wheel or git packs it smaller: with 6 bits by a fifth, with 5 by almost a third.
    others : sequence of Path
        Model files of the same network that descend from the same weights, such as those that the run started from. The
        weights to ship are then a mean of all, which often does better on images of kinds that the training lacked
        (Wortsman et al., Robust fine-tuning of zero-shot models; Model soups; both 2022).
    share : float, optional
        Weight of the run in this mean, from 0 to 1; the others share the rest equally. The provenance names it, and the
        others. Default: all weigh the same.

    Returns
    -------
    str
        The registry entry as TOML text.

    Raises
    ------
    InputError
        If `mantissa` is not from 1 to 10, or below 10 without `half`; or if one of `others` is of another network.
    """
    if not 1 <= mantissa <= MANTISSA or (mantissa < MANTISSA and not half):
        raise InputError(
            f"mantissa must be from 1 to {MANTISSA}, and {MANTISSA} without half, got {mantissa}"
        )
    tensors = read_checkpoint(model).tensors
    if others:
        share = number(0, 1)(1 / (1 + len(others)) if share is None else share, "share")
        read = [read_checkpoint(path) for path in others]
        tensors = _mean(tensors, [other.tensors for other in read], share)
        titles = [_title(other, path) for other, path in zip(read, others, strict=True)]
        mean = {"share": round(share, 4), "mean_with": titles}
        config = config.changed(provenance={**config.provenance, **mean})
    if half:
        tensors = {
            name: rounded(value.half(), mantissa) if value.dtype == torch.float32 else value
            for name, value in tensors.items()
        }
    path = folder / f"{config.name}-{config.version}.safetensors"
    write_checkpoint(path, Checkpoint(config.to_json(), tensors))
    return _entry(path, config, data, scores)


def _mean(trained: Tensors, others: Sequence[Tensors], share: float) -> Tensors:
    """Mean of several states of one network, floating-point values only; counts are those of the first."""
    shapes = [{name: value.shape for name, value in tensors.items()} for tensors in (trained, *others)]
    if any(other != shapes[0] for other in shapes):
        raise InputError(
            "others holds the weights of another network; expected model files of the network that was trained"
        )

    def mean(name: str, value: torch.Tensor) -> torch.Tensor:
        rest = torch.stack([tensors[name].float() for tensors in others]).mean(0)
        return rest.lerp(value.float(), share).to(value.dtype)

    return {
        name: mean(name, value) if value.is_floating_point() else value for name, value in trained.items()
    }


def _title(checkpoint: Checkpoint, path: Path) -> str:
    """Name, version and SHA-256 of a model file."""
    config = ModelConfig.from_json(checkpoint.config_json)
    return f"{config.name} {config.version}, sha256 {sha256_of(path)}"


def rounded(values: torch.Tensor, mantissa: int) -> torch.Tensor:
    """Round float16 values to `mantissa` bits of their mantissa, ties to even, but never to infinity."""
    dropped = MANTISSA - mantissa
    if not dropped:
        return values
    bits = values.contiguous().view(torch.int16).int()
    magnitude = bits & 0x7FFF
    half_and_tie = (1 << (dropped - 1)) - 1 + (magnitude >> dropped & 1)
    nearest = magnitude + half_and_tie >> dropped << dropped
    finite = torch.where(nearest < _INFINITE, nearest, magnitude >> dropped << dropped)
    return (finite | (bits & 0x8000)).to(torch.int16).view(torch.float16)


def _entry(path: Path, config: ModelConfig, data: str, scores: Mapping[str, float]) -> str:
    content = path.read_bytes()
    fields: dict[str, Any] = {
        "version": config.version,
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "urls": [],
        "license": config.license,
        "data": data,
        "description": config.description,
    }
    lines = [f"[models.{config.name}]", *(f"{key} = {json.dumps(value)}" for key, value in fields.items())]
    lines += ["", f"[models.{config.name}.scores]", *(f"{key} = {value}" for key, value in scores.items())]
    return "\n".join(lines) + "\n"
