"""Affinities: cosine similarity of the embeddings of pixel pairs, for any neighborhood, computed where it is needed."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import integer
from pixel_embedded_affinity.inference.base import Array as Array
from pixel_embedded_affinity.inference.base import numpy_of as numpy_of
from pixel_embedded_affinity.io.arrays import FloatArray
from pixel_embedded_affinity.labels import Mask
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.runtime.device import loaded_torch, survive_fork, thread_count

if TYPE_CHECKING:
    from torch import Tensor

    from pixel_embedded_affinity.embedding import Embedding

Box = tuple[slice, ...]
Numbers = npt.NDArray[np.intp]

# Components of vectors that were brought to unit length in bfloat16 leave [-1, 1] by less than this.
_ROUNDING = 0.01

# Below this share of the pixels, picking the two ends of each pair is faster than comparing shifted slices.
_FEW = 1 / 4

_MANY = 0.5
"""Share of all pixels above which picking vectors takes longer than comparing all pixels."""


def pair_boxes(shape: Sequence[int], offset: Sequence[int]) -> tuple[Box, Box]:
    """Return the box of the pixels that have a partner along an offset, and the box of their partners.

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


class Pairs(NamedTuple):
    """Pairs of pixels and their affinities, in NumPy.

    Attributes
    ----------
    first, second : ndarray of intp, shape (N,)
        Numbers of the two pixels of each pair, pixels numbered in C order.
    affinity : ndarray of float32, shape (N,)
        Cosine similarity in [-1, 1].
    """

    first: Numbers
    second: Numbers
    affinity: FloatArray


class Affinities:
    """Affinities of the pixel pairs of a neighborhood: given, or computed from an embedding when asked for.

    Clustering uses repulsive pairs only on the neighborhood's strides, so that most of `values` would be computed
    in vain: `channel` and `pairs` compute only what is asked for, and give the same numbers.

    Parameters
    ----------
    values : numpy.ndarray or torch.Tensor or None
        ``(K, *spatial)``: cosine similarity in [-1, 1], 1 = same object. None: computed from the embedding.
    neighborhood : Neighborhood
        The K offsets and their roles.
    embedding : numpy.ndarray or torch.Tensor, optional
        The unit-length embedding ``(D, *spatial)``, such as `affinities` makes from any embedding. Values that are
        not given are computed from it, and some clusterers use it. Neither it nor `values` are copied; do not
        change them afterwards.

    Raises
    ------
    InputError
        If neither values nor an embedding are given. Without values: if the embedding has another number of axes
        than the neighborhood, no pixel, NaN or infinite values, or components beyond 1.
    """

    def __init__(
        self, values: Array | None, neighborhood: Neighborhood, embedding: Array | None = None
    ) -> None:
        self._neighborhood = neighborhood
        self._given = values
        self._source = embedding
        self._computed: Array | None = None
        self._unit_vectors: _Unit | Tensor | None = None
        self._as_numpy = False
        if values is None:
            if embedding is None:
                raise InputError("affinities need values or an embedding, got neither")
            _check_unit(embedding, neighborhood)

    def __repr__(self) -> str:
        origin = "given" if self.is_given else "on demand"
        return f"Affinities({origin}, spatial_shape={self.spatial_shape}, neighborhood={self.neighborhood!r})"

    @property
    def neighborhood(self) -> Neighborhood:
        """The K offsets and their roles."""
        return self._neighborhood

    @property
    def values(self) -> Array:
        """float32 ``(K, *spatial)``; ``values[k][p]`` belongs to the pair ``(p, p + neighborhood.offsets[k])``.

        It is 0 where the pair leaves the image (see `valid`). Computed when first asked for, and then kept.
        """
        if self._given is not None:
            return numpy_of(self._given) if self._as_numpy else self._given
        if self._computed is None:
            self._computed = self._in_kind(_all_products(self._unit, self.neighborhood))
        return self._computed

    @property
    def embedding(self) -> Array | None:
        """The unit-length embedding ``(D, *spatial)``, or None."""
        return numpy_of(self._source) if self._as_numpy and self._source is not None else self._source

    @property
    def source(self) -> Array | None:
        """The embedding as it was given, on its own device; `numpy` leaves it there."""
        return self._source

    @property
    def is_given(self) -> bool:
        """Whether the caller gave the values; else they are computed from the embedding."""
        return self._given is not None

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Height and width, or depth, height and width, in pixels."""
        return tuple(self._origin.shape[1:])

    @property
    def valid(self) -> Array:
        """Bool ``(K, *spatial)``, of the values' kind: whether both ends of a pair lie in the image."""
        valid = np.zeros((len(self.neighborhood), *self.spatial_shape), dtype=bool)
        for channel, offset in zip(valid, self.neighborhood.offsets):
            channel[pair_boxes(self.spatial_shape, offset)[0]] = True
        if self._as_numpy or isinstance(self._origin, np.ndarray):
            return valid
        import torch

        return torch.from_numpy(valid).to(self._origin.device)

    def channel(self, channel: int, where: Box | None = None) -> Array:
        """Return the affinities of one offset, at all pixels or at some; only these are computed.

        Parameters
        ----------
        channel : int
            Position of the offset, from 0.
        where : tuple of slice, optional
            One slice per spatial axis, with a step of at least 1. Default: everywhere.

        Returns
        -------
        numpy.ndarray or torch.Tensor
            ``values[channel][where]``; not necessarily a copy.

        Raises
        ------
        InputError
            If there is no such channel, or `where` is not as described.
        """
        offset = self._offset(channel)
        box = _checked_box(where, self.spatial_shape)
        if self._given is not None or self._computed is not None:
            return cast("Array", self.values[channel][box])
        return self._in_kind(_products(self._unit, offset, box))

    def pairs(self, channel: int, foreground: Mask | None = None) -> Pairs:
        """Return the pairs of an offset that clustering uses: on the strides, in the image and the foreground.

        Parameters
        ----------
        channel : int
            Position of the offset, from 0. If it attracts, pairs start at every pixel; if it repels, at those
            whose coordinates are multiples of the neighborhood's strides.
        foreground : ndarray of bool, optional
            Of the spatial shape. Both ends of a pair must be True. Default: everywhere.

        Returns
        -------
        Pairs
            In C order of their first pixels.

        Raises
        ------
        InputError
            If there is no such channel, or the foreground has another shape or type.
        """
        offset, shape = self._offset(channel), self.spatial_shape
        strides = (1,) * len(shape) if self.neighborhood.attractive[channel] else self.neighborhood.strides
        _, here, there = pair_ends(shape, offset, tuple(slice(0, n, s) for n, s in zip(shape, strides)))
        pixels = np.arange(np.prod(shape, dtype=np.intp), dtype=np.intp).reshape(shape)
        first, second = pixels[here], pixels[there]
        if foreground is None:
            return Pairs(first.ravel(), second.ravel(), numpy_of(self.channel(channel, here)).ravel())
        _check_foreground(foreground, shape)
        used = foreground[here] & foreground[there]
        first, second = first[used], second[used]
        known = self._given is not None or self._computed is not None
        if known or len(first) > _FEW * used.size:
            return Pairs(first, second, numpy_of(self.channel(channel, here))[used])
        return Pairs(first, second, _products_of_pairs(self._unit, first, second))

    def starting_at(self, channel: int, first: Numbers) -> FloatArray:
        """Return the affinities of the pairs of an offset that start at some pixels.

        Parameters
        ----------
        channel : int
            Position of the offset, from 0.
        first : ndarray of int
            Numbers of the pixels in C order; their partners must lie in the image.

        Returns
        -------
        ndarray
            float32, one value per pixel.

        Raises
        ------
        InputError
            If there is no such channel.
        """
        offset, shape = self._offset(channel), self.spatial_shape
        known = self._given is not None or self._computed is not None
        if known or len(first) > _MANY * math.prod(shape):
            return cast("FloatArray", np.ravel(numpy_of(self.channel(channel)))[first])
        return _products_of_pairs(self._unit, first, first + number_step(shape, offset))

    def numpy(self) -> Affinities:
        """Return the same affinities as NumPy arrays in main memory, without computing any."""
        result = copy.copy(self)  # the constructor would check the values again
        result._given = None if self._given is None else numpy_of(self._given)
        result._as_numpy = True
        result._computed = None if self._computed is None else numpy_of(self._computed)
        return result

    @property
    def _origin(self) -> Array:
        return cast("Array", self._source if self._given is None else self._given)

    @property
    def _unit(self) -> _Unit | Tensor:
        if self._unit_vectors is None:
            self._unit_vectors = _usable(cast("Array", self._source))
        return self._unit_vectors

    def _in_kind(self, computed: Array) -> Array:
        """Turn computed values into the kind that this object gives."""
        if self._as_numpy or isinstance(self._source, np.ndarray):
            return numpy_of(computed)
        if not isinstance(computed, np.ndarray):
            return computed
        import torch

        return torch.from_numpy(computed)

    def _offset(self, channel: int) -> tuple[int, ...]:
        return self.neighborhood.offsets[integer(0, len(self.neighborhood) - 1)(channel, "channel")]


def affinities(embedding: Embedding | Array, neighborhood: Neighborhood) -> Affinities:
    """Compare the embeddings of pixel pairs: ``A(p, o) = <E(p), E(p + o)>``, the embedding E of unit length.

    The function checks its input at once; affinities are computed when asked for.

    Parameters
    ----------
    embedding : Embedding, numpy.ndarray or torch.Tensor
        What `Segmenter.embed` returns, or any floating-point array ``(D, *spatial)`` of two or three spatial
        axes; an array is scaled to unit length per pixel first (a zero vector stays zero: it is similar to
        nothing). Never modified. The values of an `Embedding` are not copied.
    neighborhood : Neighborhood
        The compared pairs. A range may be longer than the image; it then has no valid pair.

    Returns
    -------
    Affinities
        Of the embedding's kind: NumPy for NumPy, torch on the embedding's device for the others.

    Raises
    ------
    InputError
        If the embedding has another number of axes than the neighborhood, no pixel, masked, NaN or infinite
        values, or is not floating-point; or `neighborhood` is not a `Neighborhood`.

    References
    ----------
    W. Huang, S. Deng, C. Chen, X. Fu, Z. Xiong, "Learning to Model Pixel-Embedded Affinity for Homogeneous
    Instance Segmentation", AAAI 2022, equation 1.
    """
    from pixel_embedded_affinity.embedding import Embedding

    survive_fork()
    if not isinstance(neighborhood, Neighborhood):
        raise InputError(
            f"neighborhood must be a Neighborhood, got {type(neighborhood).__name__}; "
            "use Neighborhood.from_ranges([1, 3, 9])"
        )
    if isinstance(embedding, Embedding):
        return Affinities(None, neighborhood, embedding.values)
    if not isinstance(embedding, np.ndarray) and not _is_tensor(embedding):
        raise InputError(
            f"embedding must be an Embedding, a NumPy array or a torch tensor, got {type(embedding).__name__}"
        )
    if isinstance(embedding, np.ndarray):
        return Affinities(None, neighborhood, _unit_array_of(embedding, neighborhood))
    return Affinities(None, neighborhood, _unit_of(embedding, neighborhood))


def _is_tensor(values: Any) -> bool:
    torch = loaded_torch()
    return torch is not None and isinstance(values, torch.Tensor)


def _unit_array_of(array: npt.NDArray[Any], neighborhood: Neighborhood) -> FloatArray:
    """A copy of an array, each vector divided by its length; what overflows becomes NaN, and is refused as such."""
    if np.ma.is_masked(array):
        raise InputError("embedding is a masked array with masked values; expected a vector at every pixel")
    if array.dtype.kind != "f":
        raise InputError(f"embedding has dtype {array.dtype}; expected a floating-point type")
    _check_dimensions(array.shape, neighborhood)
    dtype = np.float32 if array.dtype.itemsize <= 4 else np.float64
    with np.errstate(over="ignore", invalid="ignore"):
        wide = np.array(array, dtype=dtype, order="C")
        largest = np.abs(wide).max(axis=0, keepdims=True)
        # Without this, squares could leave the range of float32.
        unit: FloatArray = (wide / np.where(largest > 0, largest, 1)).astype(np.float32, copy=False)
        lengths = np.sqrt(np.einsum("d...,d...->...", unit, unit))
        unit /= np.where(lengths > 0, lengths, 1)
    return unit


def _unit_of(embedding: Tensor, neighborhood: Neighborhood) -> Tensor:
    from pixel_embedded_affinity.inference.torch_runtime import unit_length

    _check_dimensions(tuple(embedding.shape), neighborhood)
    if not embedding.is_floating_point():
        raise InputError(f"embedding has dtype {embedding.dtype}; expected a floating-point type")
    # Infinite values become NaN here, and are refused as such.
    return unit_length(_of_largest_one(embedding.detach()))


def _of_largest_one(embedding: Tensor) -> Tensor:
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


def _check_unit(embedding: Array, neighborhood: Neighborhood) -> None:
    survive_fork()
    _check_dimensions(tuple(embedding.shape), neighborhood)
    # torch is slow where the channels are last.
    values = numpy_of(embedding) if _in_main_memory(embedding) else cast("Tensor", embedding).detach()
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise InputError("embedding holds NaN or infinite values; expected finite numbers")
    if max(-low, high) > 1 + _ROUNDING:
        raise InputError(
            f"embedding holds components from {low:g} to {high:g}; expected vectors of unit length; "
            "use affinities(embedding, neighborhood), which divides them by their lengths"
        )


def _check_foreground(foreground: Mask, shape: tuple[int, ...]) -> None:
    if foreground.shape != shape or foreground.dtype != np.bool_:
        raise InputError(
            f"foreground must be bool of shape {shape}, got {foreground.dtype} of shape {foreground.shape}"
        )


def number_step(shape: Sequence[int], offset: Sequence[int]) -> int:
    """Difference of the numbers, in C order, of two pixels that lie an offset apart."""
    return int(np.dot(offset, [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]))


def _checked_box(where: Box | None, shape: tuple[int, ...]) -> Box:
    """Slices of explicit start, stop and step."""
    box = (slice(None),) * len(shape) if where is None else where
    fits = isinstance(box, tuple) and len(box) == len(shape)
    if not fits or not all(isinstance(part, slice) and part.step != 0 for part in box):
        raise InputError(f"where must be a tuple of {len(shape)} slices, one per spatial axis, got {where!r}")
    explicit = tuple(slice(*part.indices(n)) for part, n in zip(box, shape))
    if any(part.step < 0 for part in explicit):
        raise InputError(f"where must hold slices with a step of at least 1, got {where!r}")
    return explicit


def pair_ends(shape: tuple[int, ...], offset: Sequence[int], box: Box) -> tuple[Box, Box, Box]:
    """Find the pixels of a box that have a partner: where they lie in the box and in the image, and the partners."""
    places, here, there = [], [], []
    for n, step, part in zip(shape, offset, box):
        least, most = max(0, -step), min(n, n - step)
        count = len(range(part.start, part.stop, part.step))
        begin = min(max(-((part.start - least) // part.step), 0), count)
        end = min(max(-((part.start - most) // part.step), begin), count)
        first = part.start + begin * part.step
        last = part.start + (end - 1) * part.step
        places.append(slice(begin, end))
        here.append(slice(first, last + 1, part.step) if end > begin else slice(0, 0))
        there.append(slice(first + step, last + step + 1, part.step) if end > begin else slice(0, 0))
    return tuple(places), tuple(here), tuple(there)


class _Unit(NamedTuple):
    """An embedding (D, *spatial) in main memory, float32, contiguous with its channels first or last.

    The network gives channels last; reordering them would take longer than comparing some offsets.
    """

    vectors: FloatArray
    channels_last: bool


def _usable(embedding: Array) -> _Unit | Tensor:
    """The embedding to compute with, copied only if its order or type needs it."""
    survive_fork()
    if not _in_main_memory(embedding):
        return cast("Tensor", embedding).detach().float().contiguous()
    vectors = numpy_of(embedding).astype(np.float32, copy=False)
    if _channels_last(vectors).flags.c_contiguous:
        return _Unit(vectors, True)
    return _Unit(np.ascontiguousarray(vectors), False)


def _channels_last(vectors: FloatArray) -> FloatArray:
    """The same values with their channels last; `numpy.moveaxis` takes longer than a small product."""
    return vectors.transpose(*range(1, vectors.ndim), 0)


def _products(unit: _Unit | Tensor, offset: Sequence[int], box: Box) -> Array:
    """Inner products of shifted slices at the pixels of a box, 0 where there is no partner."""
    shape = tuple(len(range(part.start, part.stop, part.step)) for part in box)
    vectors = unit.vectors if isinstance(unit, _Unit) else unit
    places, here, there = pair_ends(tuple(vectors.shape[1:]), offset, box)
    ends = (slice(None), *here), (slice(None), *there)
    if not isinstance(unit, _Unit):
        return _products_on_device(unit[ends[0]], unit[ends[1]], shape, places)
    values = np.zeros(shape, np.float32)
    _multiply(_Unit(unit.vectors[ends[0]], unit.channels_last), unit.vectors[ends[1]], values[places])
    return values


def _multiply(first: _Unit, second: npt.NDArray[Any], out: FloatArray) -> None:
    """Inner products over channels, clipped to [-1, 1]; a pair gives the same bits, whatever other pairs are computed.

    NumPy's einsum keeps no product in memory. It takes the axis that is fastest in memory last, which fixes the
    order of additions. The only exception is a single pixel with its channels first.
    """
    one, other = first.vectors, second
    if first.channels_last:
        np.einsum("...d,...d->...", _channels_last(one), _channels_last(other), out=out)
    elif out.size == 1:
        twice = np.empty((*out.shape, 2), np.float32)
        _multiply(_Unit(np.stack((one, one), -1), False), np.stack((other, other), -1), twice)
        out[...] = twice[..., 0]
    elif one.strides[-1] == one.itemsize:
        np.einsum("d...,d...->...", one, other, out=out)
    else:
        np.einsum("d...,d...->...", np.ascontiguousarray(one), np.ascontiguousarray(other), out=out)
    np.clip(out, -1, 1, out=out)


def _products_on_device(first: Tensor, second: Tensor, shape: tuple[int, ...], places: Box) -> Tensor:
    """The same in torch, channel after channel: sums of many terms would depend on the shape."""
    import torch

    values = torch.zeros(shape, dtype=torch.float32, device=first.device)
    inner = values[places]
    for one, other in zip(first, second):
        inner.addcmul_(one, other)
    return values.clamp_(-1, 1)


def _products_of_pairs(unit: _Unit | Tensor, first: Numbers, second: Numbers) -> FloatArray:
    """Affinities of pairs of pixels, which are numbered in C order."""
    if isinstance(unit, _Unit):
        values = np.zeros(len(first), np.float32)
        ends = (_picked(unit, numbers) for numbers in (first, second))
        _multiply(_Unit(next(ends), unit.channels_last), next(ends), values)
        return values
    import torch

    flat = unit.reshape(len(unit), -1)
    one, other = (flat[:, torch.from_numpy(numbers).to(flat.device)] for numbers in (first, second))
    return numpy_of(_products_on_device(one, other, (len(first),), (slice(None),)))


def _picked(unit: _Unit, numbers: Numbers) -> FloatArray:
    """Vectors (D, N) of some pixels, in the embedding's order of memory."""
    count = len(unit.vectors)
    if unit.channels_last:
        rows: FloatArray = _channels_last(unit.vectors).reshape(-1, count)
        transposed: FloatArray = rows.take(numbers, axis=0).T
        return transposed
    columns: FloatArray = unit.vectors.reshape(count, -1)
    picked: FloatArray = columns.take(numbers, axis=1)
    return picked


def _all_products(unit: _Unit | Tensor, neighborhood: Neighborhood) -> Array:
    """All offsets at all pixels; in main memory, each thread takes one offset at a time."""
    if not isinstance(unit, _Unit):
        import torch

        everywhere = _checked_box(None, tuple(unit.shape[1:]))
        channels = [_products(unit, offset, everywhere) for offset in neighborhood.offsets]
        return torch.stack(cast("list[Tensor]", channels))
    vectors, shape = unit.vectors, unit.vectors.shape[1:]
    values = np.zeros((len(neighborhood), *shape), dtype=np.float32)

    def fill(task: tuple[FloatArray, tuple[int, ...]]) -> None:
        channel, offset = task
        here, there = pair_boxes(shape, offset)
        ends = (slice(None), *here), (slice(None), *there)
        _multiply(_Unit(vectors[ends[0]], unit.channels_last), vectors[ends[1]], channel[here])

    tasks, workers = zip(values, neighborhood.offsets), min(thread_count(), len(values))
    if workers < 2:  # starting a thread would take longer than a small channel does
        for task in tasks:
            fill(task)
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(fill, tasks))
    return values


def _in_main_memory(values: Array) -> bool:
    return isinstance(values, np.ndarray) or values.device.type == "cpu"
