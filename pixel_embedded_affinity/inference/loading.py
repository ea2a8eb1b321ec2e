"""Model files, read for the runtime that a caller asks for."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

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
from pixel_embedded_affinity.io.digest import sha256_of
from pixel_embedded_affinity.models.checkpoint import Checkpoint, read_checkpoint


class Loaded(NamedTuple):
    """A model file, read for a runtime.

    Attributes
    ----------
    network : torch.nn.Module or Runtime
        With its weights.
    config : ModelConfig
        The configuration in the file.
    origin : callable or None
        Reads the same file again, as it is stored; None for a file that ``pea export`` wrote.
    """

    network: Any
    config: ModelConfig
    origin: Callable[[], Checkpoint] | None


def load(
    path: str | os.PathLike[str], runtime: str, device: str, precision: str, *, sha256: str | None = None
) -> Loaded:
    """Read a checkpoint, or a file that ``pea export`` wrote, which torch does not run.

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

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, foreign, or does not fit its own configuration.
    DeviceError, InputError, MissingDependencyError
        If the runtime cannot be used, or not with this file, device or precision.
    """
    exported = Path(path).suffix.lower() == EXPORTED
    if exported and runtime == TORCH:
        raise InputError(
            f"'{os.fspath(path)}' is run by onnxruntime, got runtime 'torch'; expected 'auto' or 'onnx'; for torch "
            "give the .safetensors file of the model"
        )
    runtime = ONNX if exported and runtime == AUTO else runtime
    network: Any
    if chosen_runtime(runtime) == TORCH:
        from pixel_embedded_affinity.network.build import read_model

        network, config = read_model(path, sha256=sha256)
    else:
        from pixel_embedded_affinity.inference.onnx_runtime import read_onnx_model

        check_onnx_device(device, precision)
        network, config = read_onnx_model(path, sha256=sha256)
    if exported:
        return Loaded(network, config, None)
    stored = partial(read_checkpoint, Path(path).absolute(), sha256=sha256 or sha256_of(path))
    return Loaded(network, config, stored)
