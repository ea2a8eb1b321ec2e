"""What an exported model computes, and what its file says about it."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pixel_embedded_affinity import __version__
from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.embedding import grid_of, ndim_of, stride_of
from pixel_embedded_affinity.errors import MissingDependencyError
from pixel_embedded_affinity.geometry.per_axis import per_axis
from pixel_embedded_affinity.inference.graphs import Facts
from pixel_embedded_affinity.network.base import cropped

if TYPE_CHECKING:
    from torch.export import ExportedProgram

IMAGE, EMBEDDING, FOREGROUND = "image", "embedding", "foreground"
"""Names of the input and of the outputs."""

FORMAT, FORMAT_VERSION = "pixel_embedded_affinity", "1"

_LEAST = 1e-12


class EmbeddingGraph(nn.Module):
    """A network with what the library does before and after it, in one module without a branch on sizes.

    Parameters
    ----------
    network : torch.nn.Module
        Ready for inference, see `pixel_embedded_affinity.network.base.ready`; it says its ``grid``.

    Raises
    ------
    InputError
        If the network does not say its grid.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.grid, self.stride = grid_of(network), stride_of(network)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Embed normalized images.

        Parameters
        ----------
        image : torch.Tensor
            float32 ``(N, C, *spatial)``, of any size.

        Returns
        -------
        tuple of torch.Tensor
            The embedding, float32 ``(N, D, *positions)``, of unit length at each position, NaN where the network
            overflows; and, from a network with a
            foreground head, the probability of the foreground, float32 ``(N, 1, *spatial)``.
        """
        shape = image.shape[2:]
        output = self.network(extended(image, self.grid))
        positions = [steps(length, step) for length, step in zip(shape, self.stride)]
        lengths = torch.linalg.vector_norm(output.embedding, dim=1, keepdim=True)
        # Divided by an infinite length, a vector would silently become similar to nothing.
        divisors = torch.where(torch.isinf(lengths), torch.nan, lengths.clamp_min(_LEAST))
        embedding = cropped(output.embedding / divisors, positions)
        if output.foreground is None:
            return (embedding,)
        return embedding, cropped(output.foreground.sigmoid(), shape)


def extended(image: torch.Tensor, grid: Sequence[int]) -> torch.Tensor:
    """Repeat the last pixels up to a multiple of the grid, as the networks do, without asking if that is needed."""
    for axis, step in enumerate(grid, start=2):
        length = image.shape[axis]
        if step > 1:
            places = torch.arange(steps(length, step) * step, device=image.device).clamp(max=length - 1)
            image = image.index_select(axis, places)
    return image


def steps(length: int, step: int) -> int:
    """Steps that cover a length; ONNX divides integers towards zero, so no number here is negative."""
    return (length + step - 1) // step


def graph_of(network: nn.Module) -> EmbeddingGraph:
    """Return the graph of a network that is ready for inference, with weights of its own, in float32 on the CPU."""
    own = copy.deepcopy(network).cpu().float().eval()
    for values in (*own.parameters(), *own.buffers()):
        values.data = values.data.contiguous()
    return EmbeddingGraph(own).eval()


def traced(graph: EmbeddingGraph, channels: int) -> ExportedProgram:
    """Follow the computation of a graph; the batch and the spatial lengths stay free, down to 1.

    Raises
    ------
    MissingDependencyError
        If this release of torch can only follow it for lengths of at least two.
    """
    from torch.export import Dim, export

    images = _example(graph, channels)
    free = {axis: Dim.DYNAMIC for axis in range(images.ndim) if axis != 1}  # type: ignore[attr-defined, unused-ignore]
    with torch.no_grad(), _any_length():
        program = export(graph, (images,), dynamic_shapes=(free,), strict=False)
    _forget_sources(program)
    return program


def _example(graph: EmbeddingGraph, channels: int) -> torch.Tensor:
    """Images to follow the computation with; a length of 1 would be taken for one that never changes."""
    shape = [2 * step + 3 + axis for axis, step in enumerate(graph.grid)]
    return torch.rand(2, channels, *shape, generator=torch.Generator().manual_seed(0))


def _any_length() -> AbstractContextManager[Any]:
    """Context in which torch does not tell lengths of 1 from others."""
    from torch.fx.experimental import _config

    if not hasattr(_config, "backed_size_oblivious"):
        raise MissingDependencyError(
            f"torch {torch.__version__} cannot export a network for images of any size; expected a newer release; "
            "run: pip install --upgrade torch"
        )
    context: AbstractContextManager[Any] = _config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined, unused-ignore]
    return context


def _forget_sources(program: ExportedProgram) -> None:
    """Remove the lines of code from which the nodes come: they hold paths of this machine."""
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)


def facts_of(network: nn.Module) -> Facts:
    """Return how a network reads images."""
    radius = getattr(network, "receptive_radius", None)
    memory = getattr(network, "memory_per_pixel", None)
    own = getattr(network, "halo", None)
    ndim = ndim_of(network)
    return Facts(
        ndim,
        grid_of(network),
        stride_of(network),
        None if own is None else per_axis(own, ndim, "halo", least=0),
        None if radius is None else per_axis(radius(), ndim, "receptive_radius()", least=0),
        None if memory is None else int(memory()),
    )


def metadata_of(config: ModelConfig, graph: EmbeddingGraph) -> dict[str, str]:
    """Return what the file of an exported model says about the model, each entry as text.

    ``network`` says how the network reads images, see `pixel_embedded_affinity.inference.graphs.Facts`. ``config`` is
    the configuration of the model as JSON, which `ModelConfig.from_json` reads: it says how an image becomes the input,
    and the embedding labels.
    """
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "library_version": __version__,
        "name": config.name,
        "version": config.version,
        "license": config.license,
        "description": config.description,
        "axes": config.axes,
        "stride": json.dumps(graph.stride),
        "network": facts_of(graph.network).as_text(),
        "config": config.to_json(),
    }
