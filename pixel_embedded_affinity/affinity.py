"""Affinities: cosine similarity of the embeddings of pixel pairs, for any neighborhood."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.neighborhood import Neighborhood

if TYPE_CHECKING:
    import torch

    from pixel_embedded_affinity.embedding import Embedding

    Array = Union[npt.NDArray[Any], torch.Tensor]

Box = tuple[slice, ...]


def overlap(shape: Sequence[int], offset: Sequence[int]) -> tuple[Box, Box]:
    """Boxes of the pixels that have a partner along an offset, and of those partners.

    Parameters
    ----------
    shape : sequence of int
        Spatial shape in pixels.
    offset : sequence of int
        One component per axis.

    Returns
    -------
    here, there : tuple of slice
        ``array[here]`` and ``array[there]`` hold the two ends of each pair; both are empty where the offset
        leaves the image everywhere.
    """
    here = tuple(slice(min(max(0, -o), n), max(min(n, n - o), 0)) for n, o in zip(shape, offset))
    there = tuple(slice(min(max(0, o), n), max(min(n, n + o), 0)) for n, o in zip(shape, offset))
    return here, there


@dataclass(frozen=True, eq=False)
class Affinities:
    """Affinities of every pixel pair of a neighborhood.

    Attributes
    ----------
    values : numpy.ndarray or torch.Tensor
        float32 ``(K, *spatial)``: cosine similarity in [-1, 1], 1 = same object. ``values[k][p]`` belongs to the
        pair ``(p, p + neighborhood.offsets[k])``; it is 0 where the pair leaves the image (see `valid`).
    neighborhood : Neighborhood
        The K offsets and their roles.
    embedding : numpy.ndarray or torch.Tensor or None
        The unit-length embedding ``(D, *spatial)`` that the values come from, for clusterers that need it.
    """

    values: Array
    neighborhood: Neighborhood
    embedding: Array | None = None

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Height and width, or depth, height and width, in pixels."""
        return tuple(self.values.shape[1:])

    @property
    def valid(self) -> Array:
        """Bool ``(K, *spatial)``, of the values' kind: whether both ends of a pair lie in the image."""
        valid = np.zeros(tuple(self.values.shape), dtype=bool)
        for channel, offset in zip(valid, self.neighborhood.offsets):
            channel[overlap(self.spatial_shape, offset)[0]] = True
        if isinstance(self.values, np.ndarray):
            return valid
        import torch

        return torch.from_numpy(valid).to(self.values.device)

    def numpy(self) -> Affinities:
        """Return the same affinities as NumPy arrays in main memory."""
        embedding = None if self.embedding is None else _as_numpy(self.embedding)
        return Affinities(_as_numpy(self.values), self.neighborhood, embedding)


def affinities(embedding: Embedding | Array, neighborhood: Neighborhood) -> Affinities:
    """Compute the affinities of pixel pairs: ``A(p, o) = <E(p), E(p + o)>``, the embedding E of unit length.

    Parameters
    ----------
    embedding : Embedding, numpy.ndarray or torch.Tensor
        What `Segmenter.embed` returns, or any floating-point array ``(D, *spatial)`` of two or three spatial
        axes; an array is scaled to unit length per pixel first (a zero vector stays zero: it is similar to
        nothing). Never modified.
    neighborhood : Neighborhood
        The compared pairs; ranges longer than the image are allowed, and have no valid pair.

    Returns
    -------
    Affinities
        Of the embedding's kind: NumPy for NumPy, torch on the embedding's device for the others.

    Raises
    ------
    InputError
        If the embedding has another dimension than the neighborhood, no pixel, masked, NaN or infinite
        values, or is not floating-point; or `neighborhood` is not a `Neighborhood`.

    References
    ----------
    W. Huang, S. Deng, C. Chen, X. Fu, Z. Xiong, "Learning to Model Pixel-Embedded Affinity for Homogeneous
    Instance Segmentation", AAAI 2022, equation 1.
    """
    import torch

    from pixel_embedded_affinity.embedding import Embedding

    if not isinstance(neighborhood, Neighborhood):
        raise InputError(
            f"neighborhood must be a Neighborhood, got {type(neighborhood).__name__}; "
            "use Neighborhood.from_ranges([1, 3, 9])"
        )
    if isinstance(embedding, Embedding):
        unit: torch.Tensor = embedding.values
        _check_dimensions(tuple(unit.shape), neighborhood)
        return Affinities(_similarities(unit, neighborhood), neighborhood, unit)
    if not isinstance(embedding, (np.ndarray, torch.Tensor)):
        raise InputError(
            f"embedding must be an Embedding, a NumPy array or a torch tensor, got {type(embedding).__name__}"
        )
    if isinstance(embedding, np.ndarray):
        return _of_tensor(_tensor_of(embedding), neighborhood).numpy()
    return _of_tensor(embedding, neighborhood)


def _tensor_of(array: npt.NDArray[Any]) -> torch.Tensor:
    """Copy a NumPy array: torch takes no foreign byte orders, negative strides or read-only memory."""
    import torch

    if np.ma.is_masked(array):
        raise InputError("embedding is a masked array with masked values; expected a vector at every pixel")
    if array.dtype.kind != "f":
        raise InputError(f"embedding has dtype {array.dtype}; expected a floating-point type")
    dtype = np.float32 if array.dtype.itemsize <= 4 else np.float64
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused as such
        return torch.from_numpy(np.array(array, dtype=dtype, order="C"))


def _of_tensor(embedding: torch.Tensor, neighborhood: Neighborhood) -> Affinities:
    import torch

    from pixel_embedded_affinity.embedding import unit_length

    _check_dimensions(tuple(embedding.shape), neighborhood)
    if not embedding.is_floating_point():
        raise InputError(f"embedding has dtype {embedding.dtype}; expected a floating-point type")
    if not bool(torch.isfinite(embedding).all()):
        raise InputError("embedding holds NaN or infinite values; expected finite numbers")
    unit = unit_length(_of_largest_one(embedding.detach()))
    return Affinities(_similarities(unit, neighborhood), neighborhood, unit)


def _of_largest_one(embedding: torch.Tensor) -> torch.Tensor:
    """Divide each vector by its largest component, so that no square leaves the range of float32."""
    wide = embedding if embedding.element_size() > 4 else embedding.float()
    largest = wide.abs().amax(0, keepdim=True)
    return wide / largest.where(largest > 0, 1)


def _check_dimensions(shape: tuple[int, ...], neighborhood: Neighborhood) -> None:
    if len(shape) != neighborhood.ndim + 1:
        raise InputError(
            f"embedding has shape {shape}, the neighborhood {neighborhood.ndim} spatial axes; expected an "
            f"embedding (D, *spatial) with {neighborhood.ndim} spatial axes"
        )
    if 0 in shape:
        raise InputError(
            f"embedding has shape {shape}; expected at least one channel and one pixel along each axis"
        )


def _similarities(unit: torch.Tensor, neighborhood: Neighborhood) -> torch.Tensor:
    """Inner products of shifted slices: each pair once, none across the image's border."""
    import torch

    if unit.device.type == "cpu":
        return torch.from_numpy(_similarities_on_cpu(unit.detach().contiguous().numpy(), neighborhood))
    values = torch.zeros((len(neighborhood), *unit.shape[1:]), dtype=torch.float32, device=unit.device)
    for channel, offset in zip(values, neighborhood.offsets):
        here, there = overlap(unit.shape[1:], offset)
        first, second = (slice(None), *here), (slice(None), *there)
        channel[here] = (unit[first] * unit[second]).sum(0)
    return values.clamp_(-1, 1)


def _similarities_on_cpu(
    unit: npt.NDArray[np.float32], neighborhood: Neighborhood
) -> npt.NDArray[np.float32]:
    """The same in NumPy, whose einsum keeps no product in memory; one offset a task, on torch's threads."""
    import torch

    values = np.zeros((len(neighborhood), *unit.shape[1:]), dtype=np.float32)

    def fill(task: tuple[npt.NDArray[np.float32], tuple[int, ...]]) -> None:
        channel, offset = task
        here, there = overlap(unit.shape[1:], offset)
        inner = channel[here]
        first, second = (slice(None), *here), (slice(None), *there)
        np.einsum("d...,d...->...", unit[first], unit[second], out=inner)
        np.clip(inner, -1, 1, out=inner)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(fill, zip(values, neighborhood.offsets)))
    return values


def _as_numpy(values: Array) -> npt.NDArray[Any]:
    return values if isinstance(values, np.ndarray) else values.detach().cpu().numpy()
