"""A network in torch, on any device of torch."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from pixel_embedded_affinity.inference.base import Output, Runtime, refuse_overflow
from pixel_embedded_affinity.io.arrays import FloatArray
from pixel_embedded_affinity.network.base import channels_last
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


def lengths_of(embedding: torch.Tensor) -> torch.Tensor:
    """Return the lengths of the vectors of an embedding ``(D, *spatial)``."""
    lengths: torch.Tensor = torch.linalg.vector_norm(embedding, dim=0)
    return lengths


def unit_length(embedding: torch.Tensor) -> torch.Tensor:
    """Scale an embedding ``(D, *spatial)`` to unit length at each pixel, in float32; zero vectors stay zero."""
    vectors = embedding.float()
    return vectors / lengths_of(vectors).clamp_min(_LEAST)
