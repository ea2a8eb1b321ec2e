"""From a normalized image through the network to unit-length embeddings and a foreground probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pixel_embedded_affinity.device import autocast
from pixel_embedded_affinity.errors import InputError


@dataclass(frozen=True, eq=False)
class Embedding:
    """What the network knows of an image: the input of any number of clusterings.

    Attributes
    ----------
    values : torch.Tensor
        float32 ``(D, *spatial)``, of unit length at each pixel, on the network's device.
    foreground : torch.Tensor or None
        float32 ``(*spatial)``: probability that a pixel belongs to an object; None for a network without a
        foreground head.
    """

    values: torch.Tensor
    foreground: torch.Tensor | None = None

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Height and width, or depth, height and width, in pixels."""
        return tuple(self.values.shape[1:])

    def numpy(self) -> npt.NDArray[np.float32]:
        """Return the embedding values as a NumPy array ``(D, *spatial)`` in main memory."""
        array: npt.NDArray[np.float32] = self.values.cpu().numpy()
        return array


def unit_length(embedding: torch.Tensor) -> torch.Tensor:
    """Scale an embedding ``(D, *spatial)`` to unit length at each pixel, in float32; zero vectors stay zero."""
    vectors = embedding.float()
    return _over_lengths(vectors, _lengths(vectors))


def _lengths(embedding: torch.Tensor) -> torch.Tensor:
    lengths: torch.Tensor = torch.linalg.vector_norm(embedding, dim=0)
    return lengths


def _over_lengths(embedding: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    return embedding / lengths.clamp_min(1e-12)


def embed(
    network: nn.Module, image: npt.NDArray[np.float32], device: torch.device, precision: str = "auto"
) -> Embedding:
    """Run the network on one normalized image.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode, on `device`.
    image : numpy.ndarray
        float32 ``(C, *spatial)``, normalized.
    device : torch.device
        Where to compute.
    precision : str
        ``"auto"``, ``"float32"`` or ``"bfloat16"``, see `pixel_embedded_affinity.device`.

    Returns
    -------
    Embedding
        On `device`.

    Raises
    ------
    InputError
        If the network's output is not finite: an image far outside the intensities that it was trained on.
    """
    with torch.inference_mode(), autocast(device, precision):
        batch = torch.from_numpy(image).to(device).unsqueeze(0).contiguous(memory_format=torch.channels_last)
        output = network(batch)
        vectors = output.embedding[0].float()
        lengths = _lengths(vectors)
        values = _over_lengths(vectors, lengths)
        foreground = None if output.foreground is None else output.foreground[0, 0].float().sigmoid()
    _refuse_overflow(image, lengths, foreground)
    return Embedding(values, foreground)


def _refuse_overflow(image: npt.NDArray[np.float32], *outputs: torch.Tensor | None) -> None:
    """Refuse output that is not finite: it would quietly be background, or similar to nothing."""
    if not all(bool(output.sum().isfinite()) for output in outputs if output is not None):
        raise InputError(
            f"the network overflows on this image, whose normalized values go from {image.min():g} to "
            f"{image.max():g}; expected values around 0 to 1; clip outliers, or rescale the image"
        )
