"""Tests for extensions of the library: conformance suites, and synthetic data."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixel_embedded_affinity.affinity import Affinities, affinities
from pixel_embedded_affinity.errors import optional_module
from pixel_embedded_affinity.fields import integer, number
from pixel_embedded_affinity.labels import Labels, Mask, as_labels, relabel
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.testing.checks import ConformanceError as ConformanceError
from pixel_embedded_affinity.testing.checks import checks_of, require, run_checks

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

    from pixel_embedded_affinity.clustering.base import Clusterer
    from pixel_embedded_affinity.network.base import Network


def check_clusterer(clusterer: Clusterer, *, skip: Collection[str] = ()) -> None:
    """Check that a clusterer keeps the contract, on small synthetic scenes.

    In every check, each call must return int32 labels of the spatial shape, consecutive from 1 and ordered by first
    pixel, 0 outside the foreground. It must not touch its input, which is read-only.

    Parameters
    ----------
    clusterer : Clusterer
        The clusterer, with its settings.
    skip : collection of str
        Names of checks to leave out, for a clusterer that documents an exception:

        - ``"plane"``: objects in 2D, with and without noise, with and without a foreground.
        - ``"volume"``: the same in 3D.
        - ``"recovery"``: objects of orthogonal embeddings, some of them touching, are found exactly.
        - ``"empty_foreground"``: if nothing is foreground, all labels are 0.
        - ``"full_foreground"``: a foreground that is True everywhere gives the same labels as none.
        - ``"one_pixel"``: images of a single pixel.
        - ``"line"``: images of one row, and of one column.
        - ``"determinism"``: the same input gives the same labels.
        - ``"on_demand"``: affinities computed on demand give the same labels as given ones.
        - ``"flips"``: a flipped input gives the flipped partition, if all weights are distinct.
        - ``"channel_order"``: the order of the offsets does not matter, if all weights are distinct.

    Raises
    ------
    ConformanceError
        If a check fails; the message names the check and says what came.
    InputError
        If `skip` holds a name that is not one of the checks.
    """
    run_checks(_CHECKS, clusterer, skip)


def check_network(factory: Callable[..., Network], *, skip: Collection[str] = ()) -> None:
    """Check that an architecture keeps the contract of `pixel_embedded_affinity.network.base.Network`.

    The networks have random weights from a fixed seed. Outputs that may differ by rounding are compared in double
    precision.

    Parameters
    ----------
    factory : callable
        The class of the network, or a `functools.partial` of it with some of its options; small networks are fast.
    skip : collection of str
        Names of checks to leave out, for an architecture that documents an exception:

        - ``"declaration"``: number of axes, grid, strides, reach and memory are numbers that fit one another.
        - ``"shapes"``: images of any size, and of a single pixel, give float32 of the declared shapes.
        - ``"pyramid"``: with ``pyramid=True``, coarse embeddings of the declared shapes come with the same output;
          else there are none.
        - ``"determinism"``: the same image gives the same output.
        - ``"batch"``: the images of a batch do not influence each other.
        - ``"shift"``: shifting an image by one step of the grid shifts its output, away from the ends of the image.
        - ``"reach"``: pixels beyond the receptive radius change nothing.
        - ``"folding"``: folding the batch norms changes nothing.
        - ``"weights"``: a network built on the meta device gives the same output once it has loaded ``state_dict``.

    Raises
    ------
    ConformanceError
        If a check fails; the message names the check and says what came.
    InputError
        If `skip` holds a name that is not one of the checks.
    """
    from pixel_embedded_affinity.testing.networks import CHECKS

    run_checks(CHECKS, factory, skip)


def synthetic_embedding(
    labels: ArrayLike, *, channels: int = 16, noise: float = 0.0, seed: int = 0
) -> NDArray[np.float32]:
    """Return embeddings that a perfect or a noisy network would give for labels.

    Parameters
    ----------
    labels : array-like of int
        2D or 3D labels. Each label, background included, gets a random direction of its own; the directions
        are orthogonal if there are at most `channels` labels.
    channels : int
        Length D of the embedding vectors.
    noise : float
        Standard deviation of the Gaussian noise that is added to each component before normalization.
    seed : int
        Seed of the random generator; the same seed gives the same embeddings.

    Returns
    -------
    ndarray of float32, shape (D, *spatial)
        Vectors of unit length.

    Raises
    ------
    InputError
        If `labels` are not labels, `channels` is below 1, or `noise` is negative or not finite.
    """
    channels, noise = integer(1)(channels, "channels"), number(0)(noise, "noise")
    array = as_labels(labels)
    values, inverse = np.unique(array, return_inverse=True)
    generator = np.random.default_rng(seed)
    vectors = _directions(len(values), channels, generator)
    embedding = np.moveaxis(vectors[inverse.reshape(array.shape)], -1, 0)
    embedding = embedding + noise * generator.standard_normal(embedding.shape)
    return np.ascontiguousarray(embedding / np.linalg.norm(embedding, axis=0), dtype=np.float32)


def label_images(*, ndim: int = 2, max_side: int = 8, max_labels: int = 4) -> SearchStrategy[Labels]:
    """Return a hypothesis strategy for label images of independent pixels, or of cells around random points.

    Parameters
    ----------
    ndim : {2, 3}
        Number of spatial axes.
    max_side : int
        Longest side in pixels; the shortest is 1.
    max_labels : int
        Largest label. Labels need not be consecutive or connected, and may be missing.

    Returns
    -------
    hypothesis.strategies.SearchStrategy of ndarray of int32

    Raises
    ------
    MissingDependencyError
        If hypothesis is not installed.
    """
    strategies = _hypothesis()
    from hypothesis.extra import numpy as arrays

    shapes = arrays.array_shapes(min_dims=ndim, max_dims=ndim, min_side=1, max_side=max_side)
    pixels = arrays.arrays(np.int32, shapes, elements=strategies.integers(0, max_labels))
    count, seed = strategies.integers(1, 5 * max_labels), strategies.integers(0, 2**32 - 1)
    cells = strategies.builds(_cells, shapes, count, strategies.just(max_labels), seed)
    return pixels | cells  # type: ignore[no-any-return]


def neighborhoods(
    *, ndim: int = 2, max_range: int = 4, max_offsets: int = 6, max_stride: int = 3
) -> SearchStrategy[Neighborhood]:
    """Return a hypothesis strategy for neighborhoods with at least one attractive and one repulsive offset.

    Parameters
    ----------
    ndim : {2, 3}
        Number of spatial axes.
    max_range : int
        Largest distance along an axis, in pixels.
    max_offsets : int
        Largest number of offsets, at least 2.
    max_stride : int
        Largest stride; 1 for neighborhoods without strides.

    Returns
    -------
    hypothesis.strategies.SearchStrategy of Neighborhood

    Raises
    ------
    MissingDependencyError
        If hypothesis is not installed.
    """
    strategies = _hypothesis()
    steps = itertools.product(range(-max_range, max_range + 1), repeat=ndim)
    half = [offset for offset in steps if offset < (0,) * ndim]

    @strategies.composite  # type: ignore[untyped-decorator]
    def build(draw: DrawFn) -> Neighborhood:
        some = strategies.sampled_from(half)
        halves = draw(strategies.lists(some, min_size=2, max_size=max_offsets, unique=True))
        signs = [draw(strategies.sampled_from((-1, 1))) for _ in halves]
        offsets = [tuple(sign * step for step in offset) for sign, offset in zip(signs, halves, strict=True)]
        attracting = draw(strategies.integers(1, len(offsets) - 1))
        roles = draw(strategies.permutations([channel < attracting for channel in range(len(offsets))]))
        strides = draw(strategies.tuples(*[strategies.integers(1, max_stride)] * ndim))
        return Neighborhood(tuple(offsets), tuple(roles), strides)

    return build()  # type: ignore[no-any-return]


def _cells(shape: tuple[int, ...], count: int, max_labels: int, seed: int) -> Labels:
    """Label image in which each pixel has the label of the nearest of `count` random points."""
    generator = np.random.default_rng(seed)
    points = generator.uniform(size=(count, len(shape))) * shape
    labels = generator.integers(0, max_labels, count, dtype=np.int32, endpoint=True)
    pixels = np.moveaxis(np.indices(shape), 0, -1)[..., np.newaxis, :]
    image: Labels = labels[np.square(pixels - points).sum(axis=-1).argmin(axis=-1)]
    return image


def _hypothesis() -> Any:
    """Return hypothesis' strategies, or say how to get them."""
    needs = "strategies need the package hypothesis, which is not installed; run: pip install hypothesis"
    return optional_module("hypothesis.strategies", needs)


def _directions(count: int, channels: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Random unit vectors, shape (count, channels); orthogonal where there is room."""
    vectors: NDArray[np.float64] = generator.standard_normal((max(count, channels), channels))
    if count <= channels:
        vectors = np.linalg.qr(vectors)[0][:count]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _scene(ndim: int, *, noise: float = 0.0) -> tuple[Affinities, Labels]:
    """Affinities of four boxes on background, three of them touching, and their labels."""
    plane = np.zeros((14, 16), np.int32)
    plane[1:7, 1:8] = 1
    plane[1:7, 8:15] = 2
    plane[7:13, 1:8] = 3
    plane[9:13, 10:15] = 4
    if ndim == 2:
        return _frozen(affinities(synthetic_embedding(plane, noise=noise), _PLANE)), plane
    volume = np.zeros((5, *plane.shape), np.int32)
    volume[1:4] = plane
    return _frozen(affinities(synthetic_embedding(volume, noise=noise), _VOLUME)), volume


_PLANE = Neighborhood.from_ranges([1, 3, 5], 4)
_VOLUME = Neighborhood.from_ranges([(1, 1, 1), (2, 3, 3)], 6)


def _frozen(given: Affinities) -> Affinities:
    """A copy of affinities in read-only NumPy arrays."""
    arrays = given.numpy()
    embedding = None if arrays.embedding is None else np.array(arrays.embedding)
    frozen = Affinities(np.array(arrays.values), arrays.neighborhood, embedding)
    for array in _arrays(frozen):
        array.setflags(write=False)
    return frozen


def _arrays(frozen: Affinities) -> list[NDArray[Any]]:
    """The arrays that a caller gave to affinities."""
    arrays = [frozen.values, frozen.embedding] if frozen.is_given else [frozen.embedding]
    return [np.asarray(array) for array in arrays if array is not None]


def _distinct(given: Affinities) -> Affinities:
    """Affinities in the same order, but such that no two edges have the same weight, whether a or 1 - a."""
    order = np.argsort(given.values, axis=None, kind="stable")
    ranks = np.empty(order.size)
    ranks[order] = np.arange(order.size)
    # Two of these add up to an integer plus 2/3, divided by an integer: never to 1.
    levels = ((ranks + 1 / 3) / (order.size + 1)).reshape(given.values.shape)
    values = np.where(given.valid, levels, 0).astype(np.float32)
    return _frozen(Affinities(values, given.neighborhood, given.embedding))


def _clustered(clusterer: Clusterer, given: Affinities, foreground: Mask | None = None) -> Labels:
    """Labels of a clusterer, after the checks for every call."""
    arrays = _arrays(given) + ([] if foreground is None else [foreground])
    for array in arrays:
        array.setflags(write=False)
    copies = [array.copy() for array in arrays]
    try:
        labels = clusterer(given, foreground=foreground)
    # Any error of a clusterer is a failed check.
    except Exception as error:
        size = (len(given.neighborhood), *given.spatial_shape)
        scene = f"shape {size}, foreground {'none' if foreground is None else 'given'}"
        raise ConformanceError(f"the clusterer raised {type(error).__name__} on {scene}: {error}") from error
    require(all(map(np.array_equal, arrays, copies)), "the clusterer modified its input")
    _require_labels(labels, given.spatial_shape, foreground)
    return labels


def _require_labels(labels: Any, shape: tuple[int, ...], foreground: Mask | None) -> None:
    require(isinstance(labels, np.ndarray), f"labels must be a NumPy array, got {type(labels).__name__}")
    require(labels.dtype == np.int32, f"labels must be int32, got {labels.dtype}")
    require(labels.shape == shape, f"labels must have the spatial shape {shape}, got {labels.shape}")
    require(labels.min() >= 0, f"labels must not be negative, got {labels.min()}")
    found = np.unique(labels[labels > 0]).tolist()
    require(found == list(range(1, len(found) + 1)), f"labels must be consecutive from 1, got {found}")
    ordered = np.array_equal(labels, relabel(labels))
    require(ordered, "labels must be ordered by first pixel in C order; postprocess.relabel does that")
    outside = 0 if foreground is None else int(np.count_nonzero(labels[~foreground]))
    require(outside == 0, f"labels must be 0 outside the foreground, got {outside} other pixels")


def _cluster_scenes(clusterer: Clusterer, ndim: int) -> None:
    for noise in (0.0, 0.2):
        given, truth = _scene(ndim, noise=noise)
        _clustered(clusterer, given)
        _clustered(clusterer, given, truth > 0)
        # A foreground that cuts objects, with one pixel on its own.
        cut = truth > 1
        cut[(0,) * ndim] = True
        _clustered(clusterer, given, cut)


def _check_plane(clusterer: Clusterer) -> None:
    _cluster_scenes(clusterer, 2)


def _check_volume(clusterer: Clusterer) -> None:
    _cluster_scenes(clusterer, 3)


def _check_recovery(clusterer: Clusterer) -> None:
    given, truth = _scene(2)
    labels = _clustered(clusterer, given, truth > 0)
    wrong = int(np.count_nonzero(labels != truth))
    require(wrong == 0, f"objects of orthogonal embeddings must be found exactly, {wrong} pixels differ")


def _check_empty_foreground(clusterer: Clusterer) -> None:
    for ndim in (2, 3):
        given, truth = _scene(ndim)
        _clustered(clusterer, given, np.zeros(truth.shape, bool))


def _check_full_foreground(clusterer: Clusterer) -> None:
    given, truth = _scene(2, noise=0.2)
    full = _clustered(clusterer, given, np.ones(truth.shape, bool))
    same = np.array_equal(full, _clustered(clusterer, given))
    require(same, "a foreground that is True everywhere must give the same labels as none")


def _cluster_shapes(clusterer: Clusterer, shapes: Collection[tuple[int, ...]]) -> None:
    for shape in shapes:
        truth = np.ones(shape, np.int32)
        neighborhood = _PLANE if len(shape) == 2 else _VOLUME
        given = _frozen(affinities(synthetic_embedding(truth, noise=0.2), neighborhood))
        _clustered(clusterer, given)
        _clustered(clusterer, given, truth > 0)
        _clustered(clusterer, given, truth == 0)


def _check_one_pixel(clusterer: Clusterer) -> None:
    _cluster_shapes(clusterer, [(1, 1), (1, 1, 1)])


def _check_line(clusterer: Clusterer) -> None:
    _cluster_shapes(clusterer, [(1, 23), (23, 1)])


def _check_determinism(clusterer: Clusterer) -> None:
    given, truth = _scene(2, noise=0.3)
    for foreground in (None, truth > 0):
        first = _clustered(clusterer, given, foreground)
        same = np.array_equal(first, _clustered(clusterer, given, foreground))
        require(same, "the same input must give the same labels")


def _check_on_demand(clusterer: Clusterer) -> None:
    given, truth = _scene(2, noise=0.3)
    for foreground in (None, truth > 0):
        on_demand = Affinities(None, given.neighborhood, given.embedding)
        labels = _clustered(clusterer, on_demand, foreground)
        same = np.array_equal(labels, _clustered(clusterer, given, foreground))
        require(same, "affinities computed on demand must give the same labels as given ones")


def _check_flips(clusterer: Clusterer) -> None:
    given, truth = _scene(2, noise=0.3)
    given = _distinct(given)
    expected = _clustered(clusterer, given, truth > 0)
    for axis in range(truth.ndim):
        flipped = _clustered(clusterer, _flipped(given, axis), np.flip(truth > 0, axis))
        same = np.array_equal(relabel(np.flip(flipped, axis)), expected)
        require(same, f"an input flipped along axis {axis} must give the flipped partition")


def _flipped(given: Affinities, axis: int) -> Affinities:
    """Affinities of the flipped image; the offsets are flipped too, so that each pair stays at its pixel."""
    offsets = tuple(
        tuple(-step if position == axis else step for position, step in enumerate(offset))
        for offset in given.neighborhood.offsets
    )
    embedding = None if given.embedding is None else np.flip(given.embedding, axis + 1).copy()
    values = np.flip(given.values, axis + 1).copy()
    return Affinities(values, replace(given.neighborhood, offsets=offsets), embedding)


def _check_channel_order(clusterer: Clusterer) -> None:
    given, truth = _scene(2, noise=0.3)
    given = _distinct(given)
    expected = _clustered(clusterer, given, truth > 0)
    channels = list(reversed(range(len(given.neighborhood))))
    neighborhood = replace(
        given.neighborhood,
        offsets=tuple(given.neighborhood.offsets[channel] for channel in channels),
        attractive=tuple(given.neighborhood.attractive[channel] for channel in channels),
    )
    reordered = Affinities(given.values[channels], neighborhood, given.embedding)
    same = np.array_equal(_clustered(clusterer, reordered, truth > 0), expected)
    require(same, "the order of the offsets must not matter where all weights are distinct")


_CHECKS = checks_of(globals())
