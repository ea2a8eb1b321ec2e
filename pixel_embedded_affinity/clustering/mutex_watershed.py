"""Mutex watershed: merge along the strongest attraction unless a stronger repulsion forbids it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixel_embedded_affinity.affinity import Affinities, Box, Pairs, pair_boxes, pair_ends
from pixel_embedded_affinity.clustering.base import refuse_no_attraction, usable
from pixel_embedded_affinity.errors import InputError, compiled_library, optional_module
from pixel_embedded_affinity.fields import Settings, choice, number, setting
from pixel_embedded_affinity.labels import Labels, as_foreground, as_labels, relabel
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.runtime.device import thread_count

ENGINES = ("bioimage_cpp", "mwatershed")
"""Libraries that do the work; the second comes with the extra ``mwatershed``."""

_Inside = NDArray[np.bool_]
_Integers = NDArray[np.intp]
_Weights = NDArray[np.float32]
_Clusters = NDArray[np.uint64]
_Attraction = Callable[[int], _Weights]
_Part = tuple[Box, _Inside]  # a box of the image, and the foreground in it


@dataclass(frozen=True)
class MutexWatershed(Settings, section="mutex_watershed"):
    """Mutex watershed on affinities.

    Ranges, roles and strides belong to the neighborhood. Let a be the affinity of a pair, or 0 if it is negative.
    An attractive pair is an edge of weight a. A repulsive pair is an edge of weight ``repulsion * (1 - a)``, and is
    used only on the neighborhood's strides. With `agreement`, its weight is also multiplied by the agreements of its
    two pixels, to this power: a pixel's agreement is its mean a over its attractive pairs. Pairs that leave the image
    or touch background are no edges. Edges are taken from the strongest to the weakest. An attractive edge joins the
    clusters at its ends, unless these exclude each other. A repulsive edge makes the clusters at its ends exclude
    each other, unless they are one already.

    Edges of equal weight are taken in a fixed order, so that the result is deterministic: attractive edges before
    repulsive ones, then in the order of offsets, then by pixel in C order.

    Parameters
    ----------
    engine : {"bioimage_cpp", "mwatershed"}
        Library that does the work. Both give the same partition if all weights are distinct. "mwatershed" takes
        edges of equal weight in an order of its own and computes all offsets densely; it serves as a check on the
        first.
    repulsion : float
        Factor of the repulsive weights, above 0. The published method has 1. Below 1, pairs must be more unlike to
        keep two clusters apart. This gives fewer slivers along borders, until objects run together.
    agreement : float
        Power of the agreement of pixels with their neighbors. The published method has 0. Above 0, pixels that differ
        from their neighbors, as on the border of two objects, repel less. This gives fewer slivers along borders.

    Raises
    ------
    InputError
        If the engine is unknown, `repulsion` is not a finite number above 0, or `agreement` not one of at least 0.

    References
    ----------
    S. Wolf et al., "The Mutex Watershed and its Objective: Efficient, Parameter-Free Graph Partitioning",
    IEEE TPAMI 43(10), 2021.
    """

    engine: str = setting(ENGINES[0], choice(*ENGINES), "Library that does the work.")
    repulsion: float = setting(
        1.0, number(above=0), "Factor of the repulsive weights.", tries=(0.5, 0.6, 0.7, 0.85, 1.0)
    )
    agreement: float = setting(
        0.0,
        number(0),
        "Power of the agreement of pixels with their neighbors; above 0, borders repel less.",
        tries=(0.0, 0.5, 0.75, 1.0),
    )

    def __call__(
        self,
        affinities: Affinities,
        *,
        foreground: NDArray[Any] | None = None,
        seeds: NDArray[Any] | None = None,
        apart: NDArray[Any] | None = None,
    ) -> Labels:
        """Cluster pixels; see `Clusterer` for parameters and result.

        Parameters
        ----------
        affinities, foreground
            See `Clusterer`.
        seeds : ndarray of int, shape (*spatial), optional
            Pixels that are known to belong together; 0 = unknown. Before the first edge is taken, all pixels of a
            number become one cluster, even if they do not touch. So all pixels of a seed end up in one object.
            Labels are numbered as without seeds: look up the label at a seed's pixel.
        apart : ndarray of int, shape (M, 2), optional
            Pairs of numbers of seeds. Before the first edge is taken, the clusters of each pair exclude each other,
            so that no object holds both. Default: all pairs of seeds; the work then grows with the square of their
            number.

        Returns
        -------
        ndarray of int32, shape (*spatial)
            Labels, see `Clusterer`.

        Raises
        ------
        InputError
            If the affinities are not finite similarities that fit their neighborhood, the neighborhood lacks
            an attractive or a repulsive offset, `foreground` or `seeds` has another shape, a seed lies in the
            background, or `apart` holds anything but pairs of different seeds; or if `apart` names only some pairs
            for the engine "mwatershed", which keeps all seeds apart.
        MissingDependencyError
            If the engine is not installed.
        """
        given = usable(affinities)
        refuse_no_attraction(given)
        _refuse_no_repulsion(given.neighborhood)
        inside = None if foreground is None else as_foreground(foreground, given.spatial_shape)
        known = None if seeds is None else _checked_seeds(seeds, apart, inside, given.spatial_shape)
        if inside is not None and not inside.any():
            return np.zeros(inside.shape, np.int32)
        repulsion = Repulsion.of(self)
        if self.engine == "mwatershed":
            return _by_mwatershed(given, repulsion, inside, known)
        if known is None:
            return _by_pixels(given, repulsion, inside)
        return by_edges(given, repulsion, inside, *known)


class Repulsion(NamedTuple):
    """How strongly pairs repel each other, see `MutexWatershed`."""

    factor: float = 1.0
    agreement: float = 0.0

    @classmethod
    def of(cls, clusterer: Any) -> Repulsion:
        """Return a clusterer's own; clusterers without such settings repel as the published method does."""
        return cls(getattr(clusterer, "repulsion", 1.0), getattr(clusterer, "agreement", 0.0))

    def weights(self, affinity: Any) -> _Weights:
        """Return the weights of repulsive edges, before the agreement of their pixels counts."""
        found: _Weights = np.float32(self.factor) * (1 - np.maximum(affinity, 0))
        return found

    def calm(
        self, neighborhood: Neighborhood, attraction: _Attraction, inside: _Inside | None
    ) -> _Weights | None:
        """Return what the weights are multiplied by at each pixel; None for 1 everywhere.

        Parameters
        ----------
        neighborhood : Neighborhood
            Offsets and roles.
        attraction : callable
            Returns the weights of an attractive channel at all pixels.
        inside : ndarray of bool or None
            The foreground.
        """
        if self.agreement == 0:
            return None
        sums: Any = None
        for channel, (offset, attracts) in enumerate(zip(neighborhood.offsets, neighborhood.attractive)):
            if attracts:
                weight = attraction(channel)
                if sums is None:
                    sums = np.zeros((2, *weight.shape), np.float32)
                _add_pairs(sums, weight, pair_boxes(weight.shape, offset), inside)
        total, count = sums
        agreement = np.divide(total, count, out=np.ones_like(total), where=count > 0)
        calm: _Weights = agreement ** np.float32(self.agreement)
        return calm


AS_PUBLISHED = Repulsion()


def _add_pairs(sums: _Weights, weight: _Weights, boxes: tuple[Box, Box], inside: _Inside | None) -> None:
    """Add the weight of each pair, and their number, to both of its pixels."""
    here, there = boxes
    pairs = (
        np.ones_like(weight[here]) if inside is None else (inside[here] & inside[there]).astype(np.float32)
    )
    added = np.stack((weight[here] * pairs, pairs))
    sums[(slice(None), *here)] += added
    sums[(slice(None), *there)] += added


def _refuse_no_repulsion(neighborhood: Neighborhood) -> None:
    if all(neighborhood.attractive):
        raise InputError(
            f"{neighborhood!r} has no repulsive offset, so all pixels that touch would join; "
            "add longer ranges, or use the clusterer 'connected_components'"
        )


class _Seeds(NamedTuple):
    """Seeds numbered from 1, 0 elsewhere, and the pairs of them that exclude each other."""

    numbers: _Integers
    apart: _Integers

    @property
    def all_apart(self) -> bool:
        """Whether each two of them exclude each other."""
        count = int(self.numbers.max())
        return len(np.unique(np.sort(self.apart, axis=1), axis=0)) == count * (count - 1) // 2


def _checked_seeds(
    seeds: NDArray[Any], apart: NDArray[Any] | None, inside: _Inside | None, shape: tuple[int, ...]
) -> _Seeds | None:
    """Seeds and the pairs that exclude each other, or None if there are none."""
    known = as_labels(seeds, shape)
    outside = 0 if inside is None else np.count_nonzero(known[~inside])
    if outside:
        raise InputError(
            f"{outside} pixels of seeds lie in the background; remove them, or add them to the foreground"
        )
    numbers = np.unique(known[known > 0])
    pairs = _checked_pairs(apart, numbers)
    if not len(numbers):
        return None
    return _Seeds(np.where(known > 0, np.searchsorted(numbers, known) + 1, 0), pairs)


def _checked_pairs(apart: NDArray[Any] | None, numbers: NDArray[Any]) -> _Integers:
    """Pairs of seeds, numbered from 1 in ascending order of their numbers."""
    if apart is None:
        return np.stack(np.triu_indices(len(numbers), 1), axis=1) + 1
    pairs = np.asarray(apart)
    fits = pairs.ndim == 2 and pairs.shape[1] == 2 and pairs.dtype.kind in "iu"
    if not fits or not np.isin(pairs, numbers).all() or (pairs[:, 0] == pairs[:, 1]).any():
        raise InputError(
            f"apart must be integers (M, 2), pairs of different numbers of seeds, got {pairs.dtype} of shape "
            f"{pairs.shape}; the seeds are {numbers.tolist()}"
        )
    return np.searchsorted(numbers, pairs) + 1


def _by_pixels(given: Affinities, repulsion: Repulsion, inside: _Inside | None) -> Labels:
    """The library's way for images, on the smallest box around the foreground or around each part of it."""
    box = tuple(slice(0, n) for n in given.spatial_shape)
    if inside is None:
        return relabel(_clusters(given, repulsion, None, box))
    box = box_around(inside, given.neighborhood.strides)
    labels = np.zeros(given.spatial_shape, np.int32)
    found = np.zeros(given.spatial_shape, np.uint64)
    used = np.uint64(0)
    for (part, mask), clusters in _each_part(given, repulsion, inside):
        np.copyto(found[part], clusters + used, where=mask)
        used += clusters.max()
    # With a mask, the library skips numbers.
    labels[box] = relabel(found[box])
    return labels


def _each_part(given: Affinities, repulsion: Repulsion, inside: _Inside) -> Iterator[tuple[_Part, _Clusters]]:
    """Each part of the foreground with its clusters, found on several threads."""
    strides = given.neighborhood.strides
    groups = _groups(inside, given.neighborhood, thread_count())
    boxes = [box_around(group, strides) for group in groups]
    first, *others = [(box, group[box]) for box, group in zip(boxes, groups, strict=True)]
    given.channel(0, (slice(0, 0),) * inside.ndim)  # prepares at the first call what all threads share
    with ThreadPoolExecutor(max(1, len(others))) as pool:
        started = [pool.submit(_clusters, given, repulsion, mask, box) for box, mask in others]
        yield first, _clusters(given, repulsion, first[1], first[0])
        for part, found in zip(others, started, strict=True):
            yield part, found.result()


def _groups(inside: _Inside, neighborhood: Neighborhood, count: int) -> list[_Inside]:
    """Divide the foreground into at most `count` groups of about equal size, so that no pair attracts between groups.

    Clusters of different groups never join, whether or not pairs repel them. So a group alone gives the clusters
    that it has in the whole.
    """
    structure = _attraction(neighborhood)
    if count == 1 or structure is None:
        return [inside]
    from scipy import ndimage

    regions, number = ndimage.label(inside, structure)
    sizes = np.bincount(regions.ravel(), minlength=number + 1)
    sizes[0] = 0
    # Regions are numbered in the order of their first pixels, so successive regions lie near each other.
    group = ((np.cumsum(sizes) - sizes / 2) * count // sizes.sum()).astype(np.int16)
    group[0] = -1
    groups = group[regions]
    return [groups == k for k in np.unique(group[1:])]


def _attraction(neighborhood: Neighborhood) -> NDArray[np.bool_] | None:
    """Which neighbors attract a pixel, as `scipy.ndimage.label` takes it; None if pixels farther away attract."""
    structure = np.zeros((3,) * neighborhood.ndim, bool)
    structure[(1,) * neighborhood.ndim] = True
    for offset, attractive in zip(neighborhood.offsets, neighborhood.attractive, strict=True):
        if attractive and max(map(abs, offset)) > 1:
            return None
        if attractive:
            for sign in (1, -1):
                structure[tuple(1 + sign * step for step in offset)] = True
    return structure


def _clusters(given: Affinities, repulsion: Repulsion, inside: _Inside | None, box: Box) -> _Clusters:
    """The library's clusters in a part of the image; background is 0."""
    with compiled_library():
        from bioimage_cpp.segmentation import mutex_watershed

    neighborhood = given.neighborhood
    # The library takes the number of attractive channels, so these must come first.
    channels = sorted(range(len(neighborhood)), key=lambda channel: not neighborhood.attractive[channel])
    clusters: _Clusters = mutex_watershed(
        _edge_weights(given, repulsion, channels, box, inside),
        [neighborhood.offsets[channel] for channel in channels],
        sum(neighborhood.attractive),
        strides=neighborhood.strides,
        mask=inside,
    )
    return clusters


def box_around(inside: _Inside, strides: tuple[int, ...]) -> Box:
    """Smallest box around the foreground that starts on the grid of the strides, as the image does."""
    box: list[slice] = []
    for axis, stride in enumerate(strides):
        others = tuple(other for other in range(inside.ndim) if other != axis)
        used = np.flatnonzero(inside.any(axis=others))
        box.append(slice(int(used[0]) // stride * stride, int(used[-1]) + 1))
    return tuple(box)


def _edge_weights(
    given: Affinities, repulsion: Repulsion, channels: list[int], box: Box, inside: _Inside | None
) -> _Weights:
    """Weights in the order of `channels`; weights off the strides are not set, since nothing reads them."""
    strides, neighborhood = given.neighborhood.strides, given.neighborhood
    weights = np.empty((len(channels), *(part.stop - part.start for part in box)), np.float32)
    on_strides = tuple(slice(None, None, stride) for stride in strides)
    sparse = tuple(slice(part.start, part.stop, stride) for part, stride in zip(box, strides, strict=True))
    place = dict(zip(channels, weights, strict=True))
    for channel, weight in place.items():
        if neighborhood.attractive[channel]:
            np.maximum(given.channel(channel, box), 0, out=weight)
        else:
            weight[on_strides] = repulsion.weights(given.channel(channel, sparse))
    calm = repulsion.calm(neighborhood, place.__getitem__, inside)
    if calm is not None:
        for channel, weight in place.items():
            if not neighborhood.attractive[channel]:
                starts = tuple(slice(0, n, stride) for n, stride in zip(weight.shape, strides, strict=True))
                _, here, there = pair_ends(weight.shape, neighborhood.offsets[channel], starts)
                weight[here] *= calm[here] * calm[there]
    return weights


class _Edges(NamedTuple):
    """Edges of one role: the pixels at their ends, shape (N, 2), and their weights."""

    ends: _Integers
    weight: _Weights


def _edges(given: Affinities, repulsion: Repulsion, inside: _Inside | None, *, attractive: bool) -> _Edges:
    """All edges of one role, by offset, then by pixel."""
    ends, weights = [np.zeros((0, 2), np.intp)], [np.zeros(0, np.float32)]
    calm = None if attractive else _calm(given, repulsion, inside)
    for channel, attracts in enumerate(given.neighborhood.attractive):
        if attracts == attractive:
            pairs = given.pairs(channel, inside)
            ends.append(np.stack((pairs.first, pairs.second), axis=1))
            weights.append(
                np.maximum(pairs.affinity, 0) if attractive else _repulsive(pairs, repulsion, calm)
            )
    return _Edges(np.concatenate(ends), np.concatenate(weights))


def _calm(given: Affinities, repulsion: Repulsion, inside: _Inside | None) -> _Weights | None:
    """What repulsive weights are multiplied by at each pixel, in C order; None for 1 everywhere."""
    calm = repulsion.calm(given.neighborhood, lambda channel: np.maximum(given.channel(channel), 0), inside)
    return None if calm is None else calm.ravel()


def _repulsive(pairs: Pairs, repulsion: Repulsion, calm: _Weights | None) -> _Weights:
    """Weights of repulsive pairs."""
    weights = repulsion.weights(pairs.affinity)
    return weights if calm is None else weights * (calm[pairs.first] * calm[pairs.second])


def by_edges(
    given: Affinities, repulsion: Repulsion, inside: _Inside | None, seeds: _Integers, apart: _Integers
) -> Labels:
    """Cluster in the library's way for graphs, in which each seed is one node.

    Parameters
    ----------
    given : Affinities
        Checked affinities in NumPy arrays, with at least one attractive offset.
    repulsion, inside
        How strongly pairs repel each other, and the foreground, bool ``(*spatial)``; None for everywhere.
    seeds : ndarray of int, shape (*spatial)
        Numbers from 1, inside the foreground; 0 elsewhere. There is at least one.
    apart : ndarray of int, shape (M, 2)
        Seeds that exclude each other.
    """
    with compiled_library():
        from bioimage_cpp.graph import UndirectedGraph
        from bioimage_cpp.graph.mutex_watershed import mutex_watershed_clustering

    attracting, repelling = (_edges(given, repulsion, inside, attractive=role) for role in (True, False))
    # Ranks instead of weights, since the library chooses its own order of equal weights.
    order = np.argsort(-np.concatenate((attracting.weight, repelling.weight)), kind="stable")
    ranks = np.empty(len(order))
    ranks[order] = np.arange(len(order), 0, -1)
    node, first = _nodes(seeds)
    near, near_ranks = _strongest(node[attracting.ends], ranks[: len(attracting.ends)])
    far = np.concatenate((node[repelling.ends], first[apart]))
    far_ranks = np.concatenate((ranks[len(attracting.ends) :], np.full(len(apart), len(order) + 1.0)))
    different = far[:, 0] != far[:, 1]
    graph = UndirectedGraph.from_unique_edges(node.size, near)
    clusters = mutex_watershed_clustering(graph, near_ranks, far[different], far_ranks[different])
    labels = clusters[node].reshape(seeds.shape).astype(np.intp) + 1
    return relabel(labels if inside is None else np.where(inside, labels, 0))


def _nodes(seeds: _Integers) -> tuple[_Integers, _Integers]:
    """Node of each pixel: its own number, or that of the first pixel of its seed; and the node of each seed from 1."""
    flat = seeds.ravel()
    known = np.flatnonzero(flat)
    first = np.zeros(int(flat.max()) + 1, np.intp)
    first[flat[known[::-1]]] = known[::-1]
    node = np.arange(flat.size)
    node[known] = first[flat[known]]
    return node, first


def _strongest(ends: _Integers, ranks: NDArray[np.float64]) -> tuple[_Integers, NDArray[np.float64]]:
    """The strongest edge between any two different nodes, in lexicographic order."""
    ends = np.sort(ends, axis=1)
    order = np.lexsort((-ranks, ends[:, 1], ends[:, 0]))
    ends, ranks = ends[order], ranks[order]
    kept = ends[:, 0] != ends[:, 1]
    kept[1:] &= (ends[1:] != ends[:-1]).any(axis=1)
    return ends[kept], ranks[kept]


def _by_mwatershed(
    given: Affinities, repulsion: Repulsion, inside: _Inside | None, seeds: _Seeds | None
) -> Labels:
    """The other library's way: attraction above 0, repulsion below."""
    if seeds is not None and not seeds.all_apart:
        raise InputError(
            "engine 'mwatershed' keeps all seeds apart, but `apart` names only some pairs; use engine='bioimage_cpp'"
        )
    mwatershed = optional_module(
        "mwatershed",
        "engine 'mwatershed' needs the package mwatershed, which is not installed; "
        'run: pip install "pixel-embedded-affinity[mwatershed]"',
    )
    size = math.prod(given.spatial_shape)
    weights, offsets = _signed_weights(given, repulsion, inside)
    # Clusters have the numbers of their pixels, so seeds need higher numbers.
    known = None if seeds is None else np.where(seeds.numbers, seeds.numbers + size, 0).astype(np.uint64)
    clusters = mwatershed.agglom(weights, offsets, seeds=known).astype(np.intp)
    # Pixels without edges come without a number.
    alone = clusters == 0 if inside is None else (clusters == 0) & inside
    clusters[alone] = clusters.max() + 1 + np.arange(np.count_nonzero(alone))
    return relabel(clusters if inside is None else np.where(inside, clusters, 0))


def _signed_weights(
    given: Affinities, repulsion: Repulsion, inside: _Inside | None
) -> tuple[NDArray[np.float64], list[list[int]]]:
    """Weights of the offsets that have pairs (the library refuses others); 0 where there is no edge."""
    shape, tiny = given.spatial_shape, np.finfo(np.float32).tiny
    offsets = given.neighborhood.offsets
    used = [
        k for k, offset in enumerate(offsets) if all(abs(o) < n for o, n in zip(offset, shape, strict=True))
    ]
    weights, calm = np.zeros((len(used), math.prod(shape))), _calm(given, repulsion, inside)
    for weight, channel in zip(weights, used, strict=True):
        pairs = given.pairs(channel, inside)
        if given.neighborhood.attractive[channel]:
            weight[pairs.first] = np.maximum(pairs.affinity, tiny)
        else:
            weight[pairs.first] = -np.maximum(_repulsive(pairs, repulsion, calm), tiny)
    return weights.reshape(-1, *shape), [list(offsets[channel]) for channel in used]
