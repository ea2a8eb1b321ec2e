"""Turn a trained model file into one to ship: half precision, final settings, its registry entry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pixel_embedded_affinity.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pixel_embedded_affinity.models.config import ModelConfig


def publish(
    model: Path,
    folder: Path,
    *,
    config: ModelConfig,
    data: str,
    scores: Mapping[str, float],
    half: bool = True,
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

    Returns
    -------
    str
        The registry entry as TOML text.
    """
    tensors = read_checkpoint(model).tensors
    if half:
        tensors = {
            name: value.half() if value.dtype == torch.float32 else value for name, value in tensors.items()
        }
    path = folder / f"{config.name}-{config.version}.safetensors"
    write_checkpoint(path, Checkpoint(config.to_json(), tensors))
    return _entry(path, config, data, scores)


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
