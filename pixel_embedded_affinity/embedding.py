"""From a normalized image through the network to unit-length embeddings and a foreground probability."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.per_axis import listed, per_axis
from pixel_embedded_affinity.geometry.tiling import (
    Box,
    Tile,
    Tiling,
    halved,
    outer_shape,
    rounded_up,
    shape_of,
    tiles,
    whole_box,
)
from pixel_embedded_affinity.geometry.views import Geometry, checked_views, geometries, pixel_sizes
from pixel_embedded_affinity.inference.base import Array, Runtime, numpy_of
from pixel_embedded_affinity.io.arrays import FloatArray
from pixel_embedded_affinity.labels import SPATIAL
from pixel_embedded_affinity.runtime.device import Device
from pixel_embedded_affinity.runtime.memory import free_memory, is_out_of_memory

if TYPE_CHECKING:
    import torch
    from torch import nn

logger = logging.getLogger(__name__)

_SHARE = 0.5  # of the free memory: the rest is for the embedding, the affinities and the clusterer
_LARGEST_TILE = 2048  # beyond, a tile's halo costs next to nothing
_LARGEST_BATCH = 16
_ROUNDING = 1e-3  # by which a probability may pass 0 or 1

T = TypeVar("T", bound=np.generic)

WHOLE = Tiling(None)
"""The image goes through the network at once, whatever memory that takes."""


@dataclass(frozen=True, eq=False)
class Embedding:
    """What the network made of an image. It can be clustered any number of times.

    Attributes
    ----------
    values : torch.Tensor or numpy.ndarray
        float32 ``(D, *spatial)``, of unit length at each position: a tensor on the network's device, or an array where
        no torch runs the network.
    foreground : torch.Tensor or numpy.ndarray or None
        float32, of the shape `seen_shape`: probability that a pixel belongs to an object; None for a network
        without a foreground head.
    image_shape : tuple of int or None
        Spatial shape of the image, which `Segmenter.cluster` gives to the labels. None: `seen_shape`, since the
        image was not resized for the network.
    box : tuple of slice or None
        The part of the image that was embedded. None: all of it.
    stride : tuple of int or None
        Pixels of the image that the network saw between two embedding vectors, along each axis. None: 1.
    seen : tuple of int or None
        Value of `seen_shape` where neither the foreground nor the embedding tells it.
    """

    values: Array
    foreground: Array | None = None
    image_shape: tuple[int, ...] | None = None
    stride: tuple[int, ...] | None = None
    seen: tuple[int, ...] | None = None
    box: Box | None = None

    def __repr__(self) -> str:
        sides = " x ".join(map(str, self.spatial_shape))
        return f"Embedding({sides} vectors of {len(self.values)} values, stride {self.stride or 1})"

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Number of embedding vectors along each axis: height and width, or depth, height and width."""
        return tuple(self.values.shape[1:])

    @property
    def seen_shape(self) -> tuple[int, ...]:
        """Spatial shape, in pixels, of the image that the network saw."""
        if self.foreground is not None:
            return tuple(self.foreground.shape)
        return self.seen or self.spatial_shape

    def crop(self, box: Box) -> Embedding:
        """Return a part of the embedding, which shares its memory and has no `image_shape`.

        Parameters
        ----------
        box : tuple of slice
            In pixels of the image that the network saw.

        Raises
        ------
        InputError
            If it does not start at an embedding vector.
        """
        sides = [range(length)[side] for side, length in zip(box, self.seen_shape)]
        if self.stride and any(side.start % step or side.step != 1 for side, step in zip(sides, self.stride)):
            raise InputError(
                f"box {box} of an embedding with stride {self.stride}; expected a box without gaps that starts at "
                "multiples of the stride; begin it earlier"
            )
        vectors = box if self.stride is None else _strided(sides, self.stride)
        foreground = None if self.foreground is None else self.foreground[box]
        seen = tuple(map(len, sides))
        return Embedding(self.values[_channels_of(vectors)], foreground, stride=self.stride, seen=seen)

    @property
    def part_shape(self) -> tuple[int, ...]:
        """Spatial shape, in pixels of the image, of the part that was embedded."""
        if self.box is None:
            return self.image_shape or self.seen_shape
        return tuple(side.stop - side.start for side in self.box)

    def part(self, image: npt.NDArray[T]) -> npt.NDArray[T]:
        """Return the part of an array of the image's shape that was embedded, without a copy."""
        return image if self.box is None else image[self.box]

    def whole(self, part: npt.NDArray[T]) -> npt.NDArray[T]:
        """Put an array of the embedded part's shape into zeros of the image's shape."""
        if self.box is None or self.image_shape is None:
            return part
        whole = np.zeros(self.image_shape, part.dtype)
        whole[self.box] = part
        return whole

    def numpy(self) -> FloatArray:
        """Return the embedding values as a NumPy array ``(D, *spatial)`` in main memory."""
        return numpy_of(self.values)

    def foreground_numpy(self) -> FloatArray | None:
        """Return the foreground's probability as a NumPy array in main memory; None from a network without it."""
        return None if self.foreground is None else numpy_of(self.foreground)


def check_embedding(embedding: Embedding, ndim: int) -> None:
    """Refuse an embedding that was put together of parts that do not fit each other, or a model of `ndim` axes.

    Raises
    ------
    InputError
        Naming the part, what it is, and what was expected.
    """
    values, foreground, stride = embedding.values, embedding.foreground, embedding.stride
    _check_part(values, "values", ndim + 1, f"(D, *spatial) with {ndim} spatial axes")
    for name in ("stride", "image_shape"):
        given = getattr(embedding, name)
        if given is not None and not _are_lengths(given, ndim):
            raise InputError(f"{name} of an embedding is {given!r}; expected {ndim} integers above 0")
    if foreground is None:
        return
    _check_part(foreground, "foreground", ndim, f"its {ndim} spatial axes, one probability for each pixel")
    least, most = (float(limit) for limit in (foreground.min(), foreground.max()))
    if not (least >= -_ROUNDING and most <= 1 + _ROUNDING):
        raise InputError(
            f"the foreground of an embedding has values from {least:g} to {most:g}; expected probabilities, from 0 to 1"
        )
    positions = tuple(-(-length // step) for length, step in zip(foreground.shape, stride or (1,) * ndim))
    if positions != embedding.spatial_shape:
        raise InputError(
            f"values of spatial shape {embedding.spatial_shape} and a foreground of shape {tuple(foreground.shape)} do "
            f"not fit the stride {stride or 1} of an embedding; give stride=, the pixels between two vectors"
        )


def _check_part(part: Any, name: str, ndim: int, expected: str) -> None:
    """Refuse what is no array of real numbers with so many axes."""
    if not all(hasattr(part, attribute) for attribute in ("shape", "dtype", "min")):
        raise InputError(f"{name} of an embedding is of type {type(part).__name__}; expected an array")
    if len(part.shape) != ndim or 0 in part.shape:
        raise InputError(f"{name} of an embedding has the shape {tuple(part.shape)}; expected {expected}")
    if "float" not in str(part.dtype):
        raise InputError(
            f"{name} of an embedding has the dtype {part.dtype}; expected floating-point numbers"
        )


def _are_lengths(given: Any, count: int) -> bool:
    return (
        isinstance(given, (tuple, list))
        and len(given) == count
        and all(isinstance(length, (int, np.integer)) and length > 0 for length in given)
    )


def embed(
    network: nn.Module | Runtime,
    image: FloatArray,
    device: torch.device | Device,
    precision: str = "auto",
    *,
    tiling: Tiling = WHOLE,
    views: int = 1,
    pixel_size: Sequence[float] | None = None,
) -> Embedding:
    """Run the network on one normalized image.

    With several views (test-time augmentation) the network also sees the image flipped, and with axes of equal
    pixel size swapped. The result holds the views' embeddings one after the other in its channels, mapped back and
    divided by the square root of the number of views. Its vectors have unit length, and their cosine is the mean of
    the views' affinities. The foreground's probability is the mean over the views.

    Parameters
    ----------
    network : torch.nn.Module or Runtime
        A module in evaluation mode, on `device`; or what runs a network without torch, on the CPU. Its attribute
        ``ndim`` is the number of spatial axes (default 2), ``stride`` the stride of its embedding (default 1). Tiles
        need its ``grid``, ``receptive_radius()`` and ``memory_per_pixel()``; see `ResidualUNet`.
    image : numpy.ndarray
        float32 ``(C, *spatial)``, normalized.
    device : torch.device
        Where to compute.
    precision : str
        ``"auto"``, ``"float32"`` or ``"bfloat16"``, see `pixel_embedded_affinity.runtime.device`; without torch always
        float32.
    tiling : Tiling
        How the image is cut. Where a tile does not fit into memory, tiles of half its size are tried, down to one
        step of the network's grid; the log says so. With ``Tiling(None)`` the image is never cut.
    views : int
        Number of views, see `pixel_embedded_affinity.geometry.views.geometries`. Several views need a network with a
        ``grid``.
    pixel_size : sequence of float, optional
        Size of a pixel along each axis. Axes are swapped where it is equal. Default: y and x are alike, z is not.

    Returns
    -------
    Embedding
        On `device`. It has `views` times the network's channels.

    Raises
    ------
    InputError
        If the network's output is not finite, as for an image far outside the intensities of its training; the image
        has another number of axes than the network; tiles or several views are asked for, and the network has no
        ``grid``; or `views` is not a valid number of views.
    """
    ndim, run = ndim_of(network), _Run(runtime_of(network, device, precision), tiling)
    _check_axes(network, image, ndim)
    if checked_views(views, ndim, pixel_size) == 1:
        return _one_view(run, image)
    return _several_views(run, image, geometries(views, ndim, _alike(network, ndim, pixel_size)))


class _Run(NamedTuple):
    """What runs a network, and how images are cut for it."""

    runtime: Runtime
    tiling: Tiling

    @property
    def network(self) -> Any:
        return self.runtime.network

    @property
    def device(self) -> torch.device | Device:
        return self.runtime.device


def runtime_of(network: nn.Module | Runtime, device: Any, precision: str = "auto") -> Runtime:
    """Return what runs a network; parameters as for `embed`."""
    if isinstance(network, Runtime):
        return network
    from pixel_embedded_affinity.inference.torch_runtime import TorchRuntime

    return TorchRuntime(network, device, precision)


def _check_axes(network: Any, image: FloatArray, ndim: int) -> None:
    if image.ndim != ndim + 1:
        raise InputError(
            f"network {type(network).__name__} takes an image (C, {', '.join(SPATIAL[ndim])}), got one of shape "
            f"{image.shape}; expected {ndim} spatial axes; pass one image with its channels first"
        )


def _alike(network: Any, ndim: int, pixel_size: Sequence[float] | None) -> list[tuple[Any, ...]]:
    """What two axes must share to be swapped: the size of a pixel, the network's grid and its stride."""
    return list(zip(pixel_sizes(ndim, pixel_size), grid_of(network), stride_of(network)))


def _one_view(run: _Run, image: FloatArray) -> Embedding:
    """The network's output on the image as it is, in tiles where asked for or needed."""
    shape = image.shape[1:]
    size = _size(run, shape)
    if size is None:
        return _whole(run, image)
    grid = grid_of(run.network)
    while True:
        try:
            return _tiled(run, image, size)
        except (MemoryError, RuntimeError) as error:
            smaller = halved(tuple(map(min, size, shape)), grid)
            if not is_out_of_memory(error) or smaller == size:
                raise
            logger.warning(
                "memory does not suffice for tiles of %s; going on with tiles of %s", size, smaller
            )
            size = smaller
        if run.device.type == "cuda":
            import torch

            torch.cuda.empty_cache()


def _several_views(run: _Run, image: FloatArray, views: Sequence[Geometry]) -> Embedding:
    """The views' embeddings in one.

    The image is first extended to a multiple of the network's grid, as the network itself would do. The grid then
    lies at the same places in every view, and a part of an image gives what it gives in the whole.
    """
    shape = image.shape[1:]
    extended = _padded(image, tuple(slice(0, end) for end in map(rounded_up, shape, grid_of(run.network))))
    whole = whole_box(shape)
    for number, geometry in enumerate(views):
        found = _one_view(run, np.ascontiguousarray(geometry.apply(extended)))
        mapped = _mapped_back(found, geometry, extended.shape[1:]).crop(whole)
        with run.runtime.writing():
            if number == 0:
                result = _empty_views(mapped, len(views))
            _add_view(result, mapped, number, len(views))
    return result


def _mapped_back(found: Embedding, geometry: Geometry, shape: tuple[int, ...]) -> Embedding:
    """A view's embedding on the pixels of an image of this shape."""
    foreground = None if found.foreground is None else geometry.invert(found.foreground)
    return Embedding(geometry.invert(found.values), foreground, stride=found.stride, seen=shape)


def _empty_views(found: Embedding, views: int) -> Embedding:
    """Memory for the embeddings of all views, and zeros to which their foregrounds are added."""
    # Channels last in memory, as torch gives them: pairs of pixels are compared fastest so.
    values = _empty(found.values, (*found.spatial_shape, len(found.values) * views))
    axes = len(found.spatial_shape), *range(len(found.spatial_shape))
    turned = values.transpose(axes) if isinstance(values, np.ndarray) else values.permute(axes)
    foreground = None if found.foreground is None else found.foreground * 0
    return replace(found, values=turned, foreground=foreground)


def _empty(like: Array, shape: Sequence[int]) -> Array:
    """Memory for an array of the kind and on the device of another one."""
    return np.empty(shape, like.dtype) if isinstance(like, np.ndarray) else like.new_empty(shape)


def _add_view(result: Embedding, found: Embedding, number: int, views: int) -> None:
    channels, share = len(found.values), 1 / views
    values, foreground = _writable(result)
    values[number * channels : (number + 1) * channels] = found.values / math.sqrt(views)
    if foreground is not None and found.foreground is not None:
        foreground += found.foreground * share


def _writable(result: Embedding) -> tuple[Any, Any]:
    """The values and the foreground of an embedding, arrays or tensors, which both take values at an index."""
    return result.values, result.foreground


def _size(run: _Run, shape: Sequence[int]) -> tuple[int, ...] | None:
    """Size of the tiles; None for the whole image, without smaller tiles to fall back on."""
    if run.tiling.size is None:
        return None
    if isinstance(run.tiling.size, str):
        return _fitting(run, shape) if hasattr(run.network, "memory_per_pixel") else None
    return run.tiling.size_of(len(shape))


def _fitting(run: _Run, shape: Sequence[int]) -> tuple[int, ...]:
    """The whole image if it fits into memory, else the largest tile that does."""
    grid, pixels = grid_of(run.network), _affordable(run)
    if math.prod(map(rounded_up, shape, grid)) <= pixels:
        return tuple(shape)
    size, halo = (_LARGEST_TILE,) * len(shape), halo_of(run.network, run.tiling)
    while math.prod(outer_shape(shape, size, halo=halo, grid=grid)) > pixels and size != grid:
        size = halved(size, grid)
    logger.info("the image of %s pixels goes through the network in tiles of %s", tuple(shape), size)
    return size


def _affordable(run: _Run) -> int:
    """Pixels that may go through the network at once."""
    per_pixel: int = run.network.memory_per_pixel()
    return int(_SHARE * free_memory(run.device)) // per_pixel


def ndim_of(network: Any) -> int:
    """Number of spatial axes of the images that a network takes; 2 if it does not say.

    Raises
    ------
    InputError
        If it is neither 2 nor 3.
    """
    ndim = getattr(network, "ndim", 2)
    if ndim not in SPATIAL:
        raise InputError(
            f"network {type(network).__name__} has ndim={ndim!r}; expected 2 or 3, the spatial axes of its images"
        )
    return int(ndim)


def grid_of(network: Any) -> tuple[int, ...]:
    """The network's grid in pixels along each axis: tiles must start at its multiples.

    Raises
    ------
    InputError
        If the network does not say.
    """
    grid = getattr(network, "grid", None)
    if not isinstance(grid, int) and listed(grid) is None:
        raise InputError(
            f"network {type(network).__name__} does not say how tiles must lie; expected an attribute `grid`, "
            "the pixels in its coarsest one per axis; add it, or use tile=None"
        )
    return per_axis(grid, ndim_of(network), f"grid of network {type(network).__name__}")


def stride_of(network: Any) -> tuple[int, ...]:
    """Pixels of the image between two embedding vectors of a network, along each axis; 1 if it does not say.

    Raises
    ------
    InputError
        If the network's stride is not one integer or one per axis.
    """
    stride = getattr(network, "stride", 1)
    return per_axis(stride, ndim_of(network), f"stride of network {type(network).__name__}")


def halo_of(network: Any, tiling: Tiling) -> tuple[int, ...]:
    """Halo of a network's tiles along each axis, in pixels: the tiling's, or else the network's own.

    Raises
    ------
    InputError
        If the tiling does not have one halo per axis.
    """
    ndim, radius = ndim_of(network), getattr(network, "receptive_radius", None)
    own = getattr(network, "halo", None)
    if own is not None and tiling.halo == "auto":
        return per_axis(own, ndim, f"halo of network {type(network).__name__}", least=0)
    if radius is None or tiling.halo != "auto":
        return tiling.halo_of(ndim)
    return tiling.halo_of(ndim, per_axis(radius(), ndim, "receptive_radius()", least=0))


def _whole(run: _Run, image: FloatArray) -> Embedding:
    """The network's output on one image, scaled."""
    (found,) = _of_batch(run, image[np.newaxis])
    return found


def _of_batch(run: _Run, images: FloatArray) -> list[Embedding]:
    """The network's output on images (N, C, *spatial), scaled."""
    stride = stride_of(run.network)
    return [
        Embedding(one, inside, stride=stride if max(stride) > 1 else None, seen=images.shape[2:])
        for one, inside in run.runtime.outputs(images)
    ]


def _tiled(run: _Run, image: FloatArray, size: Sequence[int]) -> Embedding:
    """The same, put together from tiles."""
    shape = image.shape[1:]
    if all(part >= length for part, length in zip(size, shape)):  # what the network reads need not be known
        return _whole(run, image)
    parts = tiles(shape, size, halo=halo_of(run.network, run.tiling), grid=grid_of(run.network))
    if len(parts) == 1:
        return _whole(run, image)
    found = _of_tiles(run, image, parts)
    first = next(found)
    with run.runtime.writing():
        result = _empty_like(first[1], shape)
    for tile, part in chain([first], found):
        with run.runtime.writing():
            _put(result, tile, part)
    return result


def _of_tiles(run: _Run, image: FloatArray, parts: Sequence[Tile]) -> Iterator[tuple[Tile, Embedding]]:
    """Each tile with its embedding, in batches."""
    count = _batch_size(run, parts[0])
    for start in range(0, len(parts), count):
        batch = parts[start : start + count]
        images = np.stack([_padded(image, tile.outer) for tile in batch])
        yield from zip(batch, _of_batch(run, images))


def _channels_of(box: Box) -> Box:
    """Index of all channels in a box."""
    return (slice(None), *box)


def _strided(box: Iterable[slice | range], stride: Iterable[int] | None) -> Box:
    """The embedding vectors in a box of pixels that starts at one of them."""
    steps = repeat(1) if stride is None else stride
    return tuple(slice(side.start // step, -(-side.stop // step)) for side, step in zip(box, steps))


def _batch_size(run: _Run, tile: Tile) -> int:
    """Number of tiles that go through the network together; on a CPU that is no faster than one by one."""
    if run.device.type != "cuda" or not hasattr(run.network, "memory_per_pixel"):
        return 1
    return max(1, min(_LARGEST_BATCH, _affordable(run) // math.prod(shape_of(tile.outer))))


def _padded(image: FloatArray, box: Box) -> FloatArray:
    """A part of an image; beyond the image its last pixels are repeated, as the network does."""
    part = image[_channels_of(box)]
    missing = [length - there for length, there in zip(shape_of(box), part.shape[1:])]
    return np.pad(part, [(0, 0), *((0, count) for count in missing)], mode="edge") if any(missing) else part


def _empty_like(found: Embedding, shape: tuple[int, ...]) -> Embedding:
    """An embedding of an image of another shape, its values still unset."""
    whole = whole_box(shape)
    values = _empty(found.values, (len(found.values), *shape_of(_strided(whole, found.stride))))
    foreground = None if found.foreground is None else _empty(found.foreground, shape)
    return replace(found, values=values, foreground=foreground, seen=shape)


def _put(result: Embedding, tile: Tile, found: Embedding) -> None:
    """Write a tile's core to its place."""
    part = found.crop(tile.inner)
    values, foreground = _writable(result)
    values[_channels_of(_strided(tile.core, result.stride))] = part.values
    if foreground is not None and part.foreground is not None:
        foreground[tile.core] = part.foreground
