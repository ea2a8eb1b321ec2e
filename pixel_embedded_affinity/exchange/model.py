"""A model for programs without this library."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixel_embedded_affinity.exchange.graph import (
    EMBEDDING,
    FOREGROUND,
    IMAGE,
    EmbeddingGraph,
    graph_of,
    metadata_of,
    traced,
)
from pixel_embedded_affinity.exchange.onnx_file import onnx_of
from pixel_embedded_affinity.io.atomic import atomic_path

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from pixel_embedded_affinity.segmenter import Segmenter

_LENGTHS = ("depth", "height", "width")


class ExportedModel:
    """The network of a segmenter with what the library does around it, to be written in formats of other programs.

    The input ``image`` is a batch of normalized images, float32 ``(N, C, *spatial)``, resized to the model's scale.
    The outputs are the ``embedding``, float32 ``(N, D, *positions)``, of unit length, with a position for every
    `stride` pixels; and, from a network with a foreground head, ``foreground``, float32 ``(N, 1, *spatial)``, the
    probability that a pixel belongs to an object. Batch and spatial lengths may be any from 1 on: the computation
    itself extends the image to the network's grid.

    The network is followed when a file first needs it, which takes up to a minute; further files use the same result.

    Parameters
    ----------
    segmenter : Segmenter
        The model and its settings. It is not changed.

    Raises
    ------
    InputError
        If its network does not say its grid.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter
        self.graph: EmbeddingGraph = graph_of(segmenter.embedder.network)

    @property
    def stride(self) -> tuple[int, ...]:
        """Pixels of the image between two embedding vectors, along each axis."""
        return self.graph.stride

    @property
    def metadata(self) -> dict[str, str]:
        """What the files say about the model: name, version, license, stride, and the configuration as JSON."""
        return metadata_of(self.segmenter.config, self.graph)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return (EMBEDDING, FOREGROUND) if self.segmenter.config.network.foreground_head else (EMBEDDING,)

    @cached_property
    def program(self) -> ExportedProgram:
        """The computation as torch has followed it."""
        return traced(self.graph, self.segmenter.config.network.in_channels)

    @cached_property
    def onnx(self) -> Any:
        """The computation as an ``onnx.ModelProto``, with the metadata.

        Raises
        ------
        MissingDependencyError
            If onnx or onnxscript is not installed; the extra ``export`` brings them.
        """
        return onnx_of(self.program, self._dimensions(), self.metadata)

    def write_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the model as ONNX, with the metadata in its ``metadata_props``.

        Parameters
        ----------
        path : str or os.PathLike
            A name ending in ``.onnx`` in an existing folder; a file there is replaced.

        Raises
        ------
        InputError
            If the path does not fit.
        MissingDependencyError
            If onnx or onnxscript is not installed; the extra ``export`` brings them.
        OSError
            If the file cannot be written.
        """
        with atomic_path(path, (".onnx",)) as part:
            part.write_bytes(self.onnx.SerializeToString(deterministic=True))

    def write_graph(self, folder: str | os.PathLike[str], name: str) -> None:
        """Write the graph of the runtime ``"onnx"``, without weights, as the library ships it for its own models.

        Parameters
        ----------
        folder : str or os.PathLike
            Where ``NAME.onnx`` and ``NAME.json`` are written; files there are replaced.
        name : str
            Start of their names.

        Raises
        ------
        MissingDependencyError
            If onnx or onnxscript is not installed.
        OSError
            If a file cannot be written.
        """
        from pixel_embedded_affinity.exchange.graph_files import write_graph

        write_graph(self, Path(folder), name)

    def write_torch_export(self, path: str | os.PathLike[str]) -> None:
        """Write the model for ``torch.export.load``, with the metadata as its extra files.

        A volume must then have at least two sections.

        Parameters
        ----------
        path : str or os.PathLike
            A name ending in ``.pt2`` in an existing folder; a file there is replaced.

        Raises
        ------
        InputError
            If the path does not fit.
        MissingDependencyError
            If this release of torch is too old.
        OSError
            If the file cannot be written.
        """
        import torch

        with atomic_path(path, (".pt2",)) as part:
            torch.export.save(self.program, part, extra_files=self.metadata)

    def write_bioimageio(
        self, folder: str | os.PathLike[str], *, sample: Any = None, authors: Sequence[str] | None = None
    ) -> None:
        """Write a package of bioimage.io (format 0.5): the model as ONNX, what it takes and gives, and a test of it.

        Parameters
        ----------
        folder : str or os.PathLike
            Must not exist; the folder above it must.
        sample : array-like or path, optional
            An image, as `Segmenter.segment` takes it, that becomes the input of the test. Default: for models of images
            with one channel, a part of the bundled image.
        authors : sequence of str, optional
            Who made the model. Default: the developers of the library, for its own models.

        Raises
        ------
        InputError
            If the folder exists, the license has no SPDX identifier, or the sample or the authors must be given.
        MissingDependencyError
            If bioimageio.spec is not installed; the extra ``bioimageio`` brings it.
        OSError
            If a file cannot be written.
        """
        from pixel_embedded_affinity.exchange.bioimageio import write_package

        write_package(self, folder, sample, authors)

    def _dimensions(self) -> dict[str, tuple[str | int, ...]]:
        network, lengths = self.segmenter.config.network, _LENGTHS[-len(self.stride) :]
        positions = [
            length if step == 1 else f"embedding_{length}" for length, step in zip(lengths, self.stride)
        ]
        named: dict[str, tuple[str | int, ...]] = {
            IMAGE: ("batch", network.in_channels, *lengths),
            EMBEDDING: ("batch", network.embedding_channels, *positions),
            FOREGROUND: ("batch", 1, *lengths),
        }
        return {name: named[name] for name in (IMAGE, *self.outputs)}
