"""Model files, read for the runtime that a caller asks for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.inference.base import (
    AUTO,
    EXPORTED,
    ONNX,
    TORCH,
    check_onnx_device,
    chosen_runtime,
)


def is_exported(path: str | os.PathLike[str]) -> bool:
    """Tell whether ``pea export`` wrote the file, which torch does not run."""
    return Path(path).suffix.lower() == EXPORTED


def read_model_for(
    path: str | os.PathLike[str], runtime: str, device: str, precision: str, *, sha256: str | None = None
) -> tuple[Any, ModelConfig]:
    """Read a checkpoint, or a file that ``pea export`` wrote.

    Parameters
    ----------
    path : str or os.PathLike
        The model file.
    runtime : {"auto", "torch", "onnx"}
        What is to run the network.
    device, precision : str
        As the caller gave them; onnxruntime refuses some.
    sha256 : str, optional
        What the SHA-256 of the very bytes that are read must be.

    Returns
    -------
    network : torch.nn.Module or Runtime
        With its weights.
    config : ModelConfig
        The configuration in the file.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, foreign, or does not fit its own configuration.
    DeviceError, InputError, MissingDependencyError
        If the runtime cannot be used, or not with this file, device or precision.
    """
    if is_exported(path):
        if runtime == TORCH:
            raise InputError(
                f"'{os.fspath(path)}' is run by onnxruntime, got runtime 'torch'; expected 'auto' or 'onnx'; for torch "
                "give the .safetensors file of the model"
            )
        runtime = ONNX if runtime == AUTO else runtime
    if chosen_runtime(runtime) == TORCH:
        from pixel_embedded_affinity.network.build import read_model

        return read_model(path, sha256=sha256)
    from pixel_embedded_affinity.inference.onnx_runtime import read_onnx_model

    check_onnx_device(device, precision)
    return read_onnx_model(path, sha256=sha256)
