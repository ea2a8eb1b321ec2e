"""Runtimes: what each of them does, and which one a caller gets."""

from __future__ import annotations

import importlib.util
import logging
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import DeviceError, InputError, MissingDependencyError
from pixel_embedded_affinity.io.arrays import FloatArray
from pixel_embedded_affinity.runtime.device import CPU, INSTALL_TORCH, PRECISIONS, Device

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

Array: TypeAlias = "npt.NDArray[Any] | torch.Tensor"

AUTO, TORCH, ONNX = "auto", "torch", "onnx"
RUNTIMES = (AUTO, TORCH, ONNX)
"""What a caller may ask for."""

EXPORTED = ".onnx"
"""How the name of a file that ``pea export`` wrote for onnxruntime ends."""

NEEDS = {
    TORCH: ("torch", INSTALL_TORCH),
    ONNX: ("onnxruntime", "pip install 'pixel_embedded_affinity[onnx]'"),
}
"""The package that a runtime needs, and how it is installed."""


def numpy_of(values: Array) -> npt.NDArray[Any]:
    """Return an array of numbers, or a tensor of them on any device, as a NumPy array in main memory."""
    if isinstance(values, np.ndarray):
        return values
    plain = values.detach().cpu()
    return plain.float().numpy() if plain.element_size() < 4 else plain.numpy()


class Output(NamedTuple):
    """What a network makes of one image.

    Attributes
    ----------
    values : numpy.ndarray or torch.Tensor
        float32 ``(D, *positions)``, of unit length at each position, or zero.
    foreground : numpy.ndarray or torch.Tensor or None
        float32, the image's spatial shape: probability that a pixel belongs to an object; None without a
        foreground head.
    """

    values: Array
    foreground: Array | None


class Runtime(ABC):
    """Runs one network over batches of images.

    Attributes
    ----------
    network : object
        Says how the network reads images: its attributes are those of `pixel_embedded_affinity.network.base.Network`
        but for ``forward``.
    device : torch.device or Device
        Where the arrays of its output lie.
    """

    network: Any
    device: torch.device | Device

    @abstractmethod
    def outputs(self, images: FloatArray) -> list[Output]:
        """Embed normalized images.

        Parameters
        ----------
        images : numpy.ndarray
            float32 ``(N, C, *spatial)``, of any size.

        Raises
        ------
        InputError
            If the output is not finite.
        """

    @abstractmethod
    def identity(self) -> dict[str, str]:
        """Return what the embedding of an image depends on: the weights, and what computes in which precision."""

    def writing(self) -> AbstractContextManager[Any]:
        """Context in which outputs may be written into others."""
        return nullcontext()


def refuse_overflow(images: FloatArray, *outputs: Any) -> None:
    """Refuse output that is not finite: it would silently become background, or similar to nothing.

    Parameters
    ----------
    images : numpy.ndarray
        What the network saw.
    *outputs : numpy.ndarray or torch.Tensor or None
        What it gave.
    """
    if not all(np.isfinite(float(output.sum())) for output in outputs if output is not None):
        raise InputError(
            f"the network overflows on this image, whose normalized values go from {images.min():g} to "
            f"{images.max():g}; expected values around 0 to 1; clip outliers, or rescale the image"
        )


def is_installed(runtime: str) -> bool:
    """Tell whether the package of a runtime is there, without importing it."""
    return importlib.util.find_spec(NEEDS[runtime][0]) is not None


def chosen_runtime(name: str) -> str:
    """Return ``"torch"`` or ``"onnx"``.

    Parameters
    ----------
    name : str
        One of them, or ``"auto"``: torch if it is installed, else onnxruntime; the log says so.

    Raises
    ------
    InputError
        If there is no such runtime.
    MissingDependencyError
        If its package is not installed. A runtime that was asked for is never replaced.
    """
    if name not in RUNTIMES:
        raise InputError(f"runtime {name!r} is unknown; expected one of {', '.join(RUNTIMES)}")
    if name == AUTO:
        name = _usual()
    if is_installed(name):
        return name
    package, command = NEEDS[name]
    other = ONNX if name == TORCH else TORCH
    advice = f"; or use runtime {other!r}, which is there" if is_installed(other) else ""
    raise MissingDependencyError(
        f"runtime {name!r} needs the package {package}; expected it to be installed; run: {command}{advice}"
    )


def _usual() -> str:
    found = next((runtime for runtime in (TORCH, ONNX) if is_installed(runtime)), None)
    if found is None:
        raise MissingDependencyError(
            f"a network runs on torch or onnxruntime; expected one of them to be installed; run: {NEEDS[ONNX][1]} "
            f"for the CPU, or: {NEEDS[TORCH][1]} for GPUs and training"
        )
    logger.info("runtime 'auto' is %s", found)
    return found


def check_onnx_device(device: str, precision: str) -> None:
    """Refuse a device or a precision that the runtime ``"onnx"`` does not have.

    Raises
    ------
    DeviceError
        If the device is not the CPU, or the precision not float32.
    """
    advice = "runtime='torch'" if is_installed(TORCH) else f"runtime='torch' ({NEEDS[TORCH][1]})"
    if device not in (AUTO, CPU.type):
        raise DeviceError(
            f"runtime 'onnx' computes on the CPU, got device {device!r}; expected 'auto' or 'cpu'; for other devices "
            f"use {advice}"
        )
    if precision not in PRECISIONS:
        raise DeviceError(f"precision {precision!r} is unknown; expected one of {', '.join(PRECISIONS)}")
    if precision == "bfloat16":
        raise DeviceError(
            f"runtime 'onnx' computes in float32, got precision 'bfloat16'; expected 'auto' or 'float32'; for others "
            f"use {advice}"
        )
