"""A network in torch, on any device of torch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.per_axis import per_axis
from pixel_embedded_affinity.inference.base import Output, Runtime, refuse_overflow
from pixel_embedded_affinity.io.arrays import FloatArray
from pixel_embedded_affinity.network.base import NetworkOutput, channels_last
from pixel_embedded_affinity.runtime.device import autocast, resolve_precision, survive_fork

_LEAST = 1e-12


class TorchRuntime(Runtime):
    """Runs a module of torch.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode, on `device`.
    device : torch.device
        Where to compute.
    precision : str
        ``"auto"``, ``"float32"`` or ``"bfloat16"``, see `pixel_embedded_affinity.runtime.device`.
    """

    def __init__(self, network: nn.Module, device: torch.device, precision: str = "auto") -> None:
        self.network: nn.Module = network
        self.device: torch.device = device
        self.precision = precision

    def outputs(self, images: FloatArray) -> list[Output]:
        """See `Runtime.outputs`."""
        survive_fork()
        with torch.inference_mode(), autocast(self.device, self.precision):
            output = self.network(channels_last(torch.from_numpy(images).to(self.device)))
            _check_output(self.network, output, images.shape)
            vectors = [vectors.float() for vectors in output.embedding]
            lengths = [lengths_of(embedding) for embedding in vectors]
            values = [embedding / length.clamp_min(_LEAST) for embedding, length in zip(vectors, lengths)]
            logits = [None] * len(values) if output.foreground is None else output.foreground[:, 0]
            foregrounds = [None if logit is None else logit.float().sigmoid() for logit in logits]
        refuse_overflow(images, *lengths, *foregrounds)
        return [Output(one, inside) for one, inside in zip(values, foregrounds)]

    def identity(self) -> dict[str, str]:
        """See `Runtime.identity`."""
        found = hashlib.sha256()
        for name, tensor in self.network.state_dict().items():
            found.update(name.encode())
            found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return {
            "weights": found.hexdigest(),
            "precision": str(resolve_precision(self.precision, self.device)),
        }

    def writing(self) -> AbstractContextManager[Any]:
        """See `Runtime.writing`."""
        return torch.inference_mode()


def _check_output(network: nn.Module, output: Any, shape: Sequence[int]) -> None:
    """Refuse what a network of the caller's returns if it is not what the library goes on with."""
    name = type(network).__name__
    if not isinstance(output, NetworkOutput) or not isinstance(output.embedding, torch.Tensor):
        raise InputError(
            f"the network {name} returned {type(output).__name__}; expected a "
            "pixel_embedded_affinity.network.base.NetworkOutput with a tensor as embedding"
        )
    count, spatial, stride = shape[0], tuple(shape[2:]), getattr(network, "stride", 1)
    steps = per_axis(stride, len(spatial), f"stride of network {name}")
    positions = tuple(-(-length // step) for length, step in zip(spatial, steps))
    found = tuple(output.embedding.shape)
    if found[:1] + found[2:] != (count, *positions):
        raise InputError(
            f"the network {name} returned an embedding of shape {found} for images of shape {tuple(shape)}; expected "
            f"{(count, 'D', *positions)}; its attribute stride, {stride}, says the pixels between two vectors"
        )
    if output.foreground is not None and tuple(output.foreground.shape) != (count, 1, *spatial):
        raise InputError(
            f"the network {name} returned a foreground of shape {tuple(output.foreground.shape)}; expected "
            f"{(count, 1, *spatial)}, one for each pixel"
        )


def lengths_of(embedding: torch.Tensor) -> torch.Tensor:
    """Return the lengths of the vectors of an embedding ``(D, *spatial)``."""
    lengths: torch.Tensor = torch.linalg.vector_norm(embedding, dim=0)
    return lengths


def unit_length(embedding: torch.Tensor) -> torch.Tensor:
    """Scale an embedding ``(D, *spatial)`` to unit length at each pixel, in float32; zero vectors stay zero."""
    vectors = embedding.float()
    return vectors / lengths_of(vectors).clamp_min(_LEAST)
