"""A model as it is stored, and segmenters with other weights of it."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from functools import partial

import torch

from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.inference.base import ONNX
from pixel_embedded_affinity.io.atomic import atomic_path
from pixel_embedded_affinity.models.checkpoint import Checkpoint, write_checkpoint
from pixel_embedded_affinity.network.build import load_network
from pixel_embedded_affinity.segmenter import Segmenter


class Savable:
    """A result whose model can be written to a file.

    Attributes
    ----------
    checkpoint : Checkpoint
        What `save` writes.
    """

    checkpoint: Checkpoint

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model as a file for `Segmenter.from_file`; its configuration says where it came from.

        Parameters
        ----------
        path : str or os.PathLike
            A name ending in ``.safetensors`` in an existing folder; a file there is replaced.

        Raises
        ------
        InputError
            If the path does not fit.
        OSError
            If the file cannot be written.
        """
        with atomic_path(path, (".safetensors",)) as temporary:
            write_checkpoint(temporary, self.checkpoint)


def stored_model(segmenter: Segmenter) -> Callable[[], Checkpoint]:
    """Return what gives the model as it is stored: a segmenter's own network has its batch norms folded.

    Raises
    ------
    InputError
        If the segmenter was made from a network in memory, or from an exported file.
    """
    if segmenter.origin is None and segmenter.runtime == ONNX:
        raise InputError(
            "an exported file (.onnx) cannot learn; expected a model file (.safetensors); give the one that it was "
            "exported from"
        )
    if segmenter.origin is None:
        raise InputError(
            "this Segmenter was made from a network in memory, whose batch norms are now folded; write the model with "
            "write_checkpoint, and load it with Segmenter.from_file"
        )
    return segmenter.origin


def with_weights(like: Segmenter, config: ModelConfig, tensors: dict[str, torch.Tensor]) -> Segmenter:
    """Return a segmenter with these weights, which computes where and how another one does."""
    return Segmenter(
        load_network(config.network, tensors),
        config,
        device=str(like.device),
        precision=like.precision,
        threads=like.threads,
        origin=partial(copy.copy, Checkpoint(config.to_json(), tensors)),
    )
