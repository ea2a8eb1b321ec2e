"""Multicut and lifted multicut: cut a graph of small regions where the evidence is for a border.

The graph of regions (`region_graph`) is also what `pixel_embedded_affinity.clustering.agglomeration` merges.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixel_embedded_affinity.affinity import overlap
from pixel_embedded_affinity.clustering.base import refuse_no_attraction, usable_values
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.image import as_foreground
from pixel_embedded_affinity.postprocess import relabel

if TYPE_CHECKING:
    from pixel_embedded_affinity.affinity import Affinities
    from pixel_embedded_affinity.neighborhood import Neighborhood

SOLVERS = ("kernighan_lin", "greedy_additive")
"""Solvers of both multicuts; the first starts from the result of the second and improves it."""

_Integers = NDArray[np.intp]
_Floats = NDArray[np.float64]

# Affinities become multiples of this, of which float64 adds up 2**29 exactly, so that order does not matter.
_STEP = 2.0**-24

# A minimum of the boundary map may lie on both sides of a border; then its pixels differ.
_PLATEAU_AFFINITY = 0.5

# Probabilities 0 and 1 would cost infinitely much.
_LEAST_PROBABILITY = 0.001


@dataclass(frozen=True)
class Multicut:
    """Multicut of a watershed over-segmentation.

    The pixels are grouped into small regions first (see `region_graph`). A border between two regions, with p
    the mean affinity of its attractive pairs (negative affinities taken as 0) and n their number, costs, if
    it is cut, ``n * (log(p / (1 - p)) + log((1 - beta) / beta))``, where p is shrunk into [0.001, 0.999]
    first: every pair of pixels has one vote. Of all ways to group the regions, one is sought whose borders
    between objects cost least in total, which is below 0 where these borders are weak.

    The exact problem is NP-hard; both solvers are deterministic heuristics. The result does not depend on the
    order of offsets, and follows the image's flips, where all affinities are distinct (and strides are 1).

    Parameters
    ----------
    beta : float
        Affinity between 0 and 1 below which a border is evidence for a cut. Larger: more objects.
    smoothing : float or sequence of float
        Standard deviation of the Gaussian, in pixels, for all axes or one per axis, that smooths the boundary
        map before the seeds of the regions are taken. Larger: fewer and larger regions.
    solver : {"kernighan_lin", "greedy_additive"}
        Heuristic; the second is faster where regions are very many, and ends at higher costs.

    Raises
    ------
    InputError
        If a setting is not as described.

    References
    ----------
    B. Andres et al., "Globally Optimal Closed-surface Segmentation for Connectomics", ECCV 2012, for the
    costs. M. Keuper et al., "Efficient Decomposition of Image and Mesh Graphs by Lifted Multicuts", ICCV
    2015, for both solvers.
    """

    beta: float = 0.5
    smoothing: float | tuple[float, ...] = 1.0
    solver: str = SOLVERS[0]

    def __post_init__(self) -> None:
        _check_settings(self.beta, self.solver)
        object.__setattr__(self, "smoothing", checked_smoothing(self.smoothing))

    def __call__(
        self, affinities: Affinities, *, foreground: NDArray[Any] | None = None
    ) -> NDArray[np.int32]:
        """Cluster pixels; see `Clusterer` for parameters and result.

        Raises
        ------
        InputError
            If the affinities are not finite similarities that fit their neighborhood, the neighborhood has no
            attractive offset, `foreground` has another shape, or `smoothing` another number of axes.
        """
        graph = region_graph(affinities, foreground, self.smoothing)
        if len(graph.borders.length) == 0:
            return graph.labels(np.arange(graph.count))
        from bioimage_cpp.graph import multicut

        problem = multicut.MulticutObjective(graph.adjacency(), _costs(graph.borders, self.beta))
        solvers = {
            "kernighan_lin": multicut.KernighanLinMulticut,
            "greedy_additive": multicut.GreedyAdditiveMulticut,
        }
        return graph.labels(solvers[self.solver]().optimize(problem))


@dataclass(frozen=True)
class LiftedMulticut:
    """Lifted multicut of a watershed over-segmentation: a `Multicut` that also hears the repulsive pairs.

    Two regions with repulsive pairs between them, touching or not, have a lifted edge, which costs, if they
    end up in different objects, the same as a border of these pairs. Lifted edges join nothing by themselves:
    objects stay connected through borders. Of the repulsive pairs, those on the neighborhood's strides vote:
    the smaller the strides, the more lifted edges weigh against borders.

    Parameters
    ----------
    beta, smoothing, solver
        As of `Multicut`.

    Raises
    ------
    InputError
        If a setting is not as described.

    References
    ----------
    M. Keuper et al., "Efficient Decomposition of Image and Mesh Graphs by Lifted Multicuts", ICCV 2015.
    """

    beta: float = 0.5
    smoothing: float | tuple[float, ...] = 1.0
    solver: str = SOLVERS[0]

    def __post_init__(self) -> None:
        _check_settings(self.beta, self.solver)
        object.__setattr__(self, "smoothing", checked_smoothing(self.smoothing))

    def __call__(
        self, affinities: Affinities, *, foreground: NDArray[Any] | None = None
    ) -> NDArray[np.int32]:
        """Cluster pixels; see `Clusterer` for parameters and result.

        Raises
        ------
        InputError
            As by `Multicut`; also if the neighborhood has no repulsive offset.
        """
        if not any(affinities.neighborhood.repulsive):
            raise InputError(
                f"{affinities.neighborhood!r} has no repulsive offset to lift; add longer ranges, "
                "or use the clusterer 'multicut'"
            )
        graph = region_graph(affinities, foreground, self.smoothing, lifted=True)
        if len(graph.borders.length) == 0:
            return graph.labels(np.arange(graph.count))
        from bioimage_cpp.graph import lifted_multicut

        problem = lifted_multicut.LiftedMulticutObjective(
            graph.adjacency(),
            _costs(graph.borders, self.beta),
            lifted_uvs=graph.lifted.regions,
            lifted_costs=_costs(graph.lifted, self.beta),
        )
        solvers = {
            "kernighan_lin": lifted_multicut.LiftedKernighanLinMulticut,
            "greedy_additive": lifted_multicut.LiftedGreedyAdditiveMulticut,
        }
        return graph.labels(solvers[self.solver]().optimize(problem))


class Edges(NamedTuple):
    """Edges of a region graph, in lexicographic order of their regions.

    Attributes
    ----------
    regions : ndarray of intp, shape (E, 2)
        The two regions of each edge, the smaller number first.
    affinity : ndarray of float64, shape (E,)
        Mean affinity, negative ones taken as 0, of the pairs of pixels with one end in each.
    length : ndarray of intp, shape (E,)
        Number of these pairs.
    """

    regions: _Integers
    affinity: _Floats
    length: _Integers


@dataclass(frozen=True, eq=False)
class RegionGraph:
    """Regions of the foreground and the edges between them.

    Attributes
    ----------
    foreground : ndarray of bool, shape (*spatial)
        The pixels that belong to regions.
    region : ndarray of intp, shape (N,)
        Number of the region of each foreground pixel, in C order.
    count : int
        Number of regions, which are numbered from 0.
    borders : Edges
        Regions that attractive pairs connect.
    lifted : Edges
        Regions that repulsive pairs connect; none unless asked for.
    """

    foreground: NDArray[np.bool_]
    region: _Integers
    count: int
    borders: Edges
    lifted: Edges

    def adjacency(self) -> Any:
        """Return the borders as a graph of bioimage-cpp, edges in the order of `borders`."""
        from bioimage_cpp.graph import UndirectedGraph

        return UndirectedGraph.from_unique_edges(self.count, self.borders.regions)

    def labels(self, clusters: NDArray[Any]) -> NDArray[np.int32]:
        """Return labels of pixels, int32 (*spatial), from the cluster of each region, integers (count,)."""
        labels = np.zeros(self.foreground.shape, np.intp)
        labels[self.foreground] = clusters.astype(np.intp)[self.region] + 1
        return relabel(labels)


def region_graph(
    affinities: Affinities,
    foreground: NDArray[Any] | None,
    smoothing: float | tuple[float, ...],
    *,
    lifted: bool = False,
) -> RegionGraph:
    """Over-segment the foreground by a watershed, and connect the regions.

    The boundary map is, per pixel, 1 minus the mean affinity of the attractive pairs that the pixel is an end
    of, negative affinities taken as 0; pairs that touch background are left out. The local minima of the
    smoothed boundary map are the seeds; pixels of minima share a seed where pairs of affinity 0.5 or more
    connect them. From the seeds regions grow along the attractive pairs, strongest first (a watershed
    cut: each pixel goes to the seed from which the weakest pair on the way is strongest), but never along
    pairs of affinity 0. What no seed reaches is a region by itself. Objects thinner than the smoothing may
    lack a seed of their own.

    Parameters
    ----------
    affinities : Affinities
        Affinities of 2D or 3D images.
    foreground : ndarray, shape (*spatial), or None
        True where regions may be; None for everywhere.
    smoothing : float or tuple of float
        Standard deviation in pixels of the Gaussian on the boundary map.
    lifted : bool
        Whether the repulsive pairs on the neighborhood's strides are averaged as well.

    Returns
    -------
    RegionGraph
        Regions are numbered by their total affinity, which does not depend on where they lie, so that solvers
        take the regions of a flipped image in the same order.

    Raises
    ------
    InputError
        If the affinities are not finite similarities that fit their neighborhood, the neighborhood has no
        attractive offset, or `foreground` or `smoothing` does not fit the affinities.

    References
    ----------
    J. Cousty et al., "Watershed Cuts: Minimum Spanning Forests and the Drop of Water Principle", IEEE TPAMI
    31(8), 2009.
    """
    values = usable_values(affinities)
    refuse_no_attraction(affinities)
    neighborhood, shape = affinities.neighborhood, values.shape[1:]
    _check_axes(smoothing, len(shape))
    inside = np.ones(shape, bool) if foreground is None else as_foreground(foreground, shape)
    near = _pairs(values, neighborhood, inside, attractive=True)
    region, count = _numbered(_flooded(near, _minima(near, inside, smoothing)), near)
    borders = _edges(region, near, count)
    if not lifted:
        return RegionGraph(inside, region, count, borders, _NO_EDGES)
    far = _pairs(values, neighborhood, inside, attractive=False)
    return RegionGraph(inside, region, count, borders, _edges(region, far, count))


def checked_smoothing(value: Any) -> float | tuple[float, ...]:
    """Return a smoothing as a float, or as one float per axis, or refuse it.

    Raises
    ------
    InputError
        If it is not a finite number of at least 0, or 2 or 3 of these.
    """
    if isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) == 1:
        entries = tuple(value)
        if len(entries) in (2, 3) and all(map(_is_width, entries)):
            return tuple(map(float, entries))
    elif _is_width(value):
        return float(value)
    raise InputError(
        f"smoothing must be a finite number of pixels of at least 0, or one per axis, got {value!r}"
    )


class _Pairs(NamedTuple):
    """Pairs of foreground pixels, which are numbered in C order, and affinities in multiples of `_STEP`."""

    first: _Integers
    second: _Integers
    affinity: _Floats


_NO_EDGES = Edges(np.zeros((0, 2), np.intp), np.zeros(0), np.zeros(0, np.intp))


def _is_width(value: Any) -> bool:
    number = isinstance(value, Real) and not isinstance(value, bool)
    return number and 0 <= value < np.inf


def _check_settings(beta: Any, solver: Any) -> None:
    number = isinstance(beta, Real) and not isinstance(beta, bool)
    if not number or not 0 < beta < 1:
        raise InputError(f"beta must be a number between 0 and 1, both excluded, got {beta!r}")
    if solver not in SOLVERS:
        raise InputError(f"unknown solver {solver!r}; the valid ones are {list(SOLVERS)}")


def _check_axes(smoothing: float | tuple[float, ...], ndim: int) -> None:
    if isinstance(smoothing, tuple) and len(smoothing) != ndim:
        raise InputError(
            f"smoothing has {len(smoothing)} numbers, {smoothing}, the image {ndim} spatial axes; "
            "give one number, or one per axis"
        )


def _pairs(
    values: NDArray[np.float32],
    neighborhood: Neighborhood,
    inside: NDArray[np.bool_],
    *,
    attractive: bool,
) -> _Pairs:
    """Pairs of one role within the foreground; of the repulsive ones, those on the strides."""
    numbers = np.cumsum(inside, dtype=np.intp).reshape(inside.shape) - 1
    starts = inside if attractive else inside & _grid(inside.shape, neighborhood.strides)
    parts = [_Pairs(numbers[:0].ravel(), numbers[:0].ravel(), np.zeros(0))]
    for channel, offset in enumerate(neighborhood.offsets):
        if neighborhood.attractive[channel] == attractive:
            here, there = overlap(inside.shape, offset)
            used = starts[here] & inside[there]
            similarity = np.clip(values[channel][here][used], 0, 1).astype(np.float64)
            parts.append(
                _Pairs(numbers[here][used], numbers[there][used], np.rint(similarity / _STEP) * _STEP)
            )
    return _Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _grid(shape: tuple[int, ...], strides: tuple[int, ...]) -> NDArray[np.bool_]:
    grid = np.zeros(shape, bool)
    grid[tuple(slice(None, None, stride) for stride in strides)] = True
    return grid


def _boundary_map(pairs: _Pairs, inside: NDArray[np.bool_]) -> _Floats:
    """1 minus the mean affinity of the pairs that end in each pixel; 0 where there are none."""
    count = np.count_nonzero(inside)
    total, number = np.zeros(count), np.zeros(count, np.intp)
    for ends in (pairs.first, pairs.second):
        total += np.bincount(ends, 1 - pairs.affinity, minlength=count)
        number += np.bincount(ends, minlength=count)
    heights = np.zeros(inside.shape)
    heights[inside] = total / np.maximum(number, 1)
    return heights


def _minima(
    pairs: _Pairs, inside: NDArray[np.bool_], smoothing: float | tuple[float, ...]
) -> NDArray[np.bool_]:
    """Whether each foreground pixel belongs to a local minimum of the smoothed boundary map."""
    from scipy import ndimage
    from skimage.morphology import local_minima

    heights = _boundary_map(pairs, inside)
    if np.any(smoothing):
        # Only foreground counts: the sum of the weights that lie in it stands below.
        heights = ndimage.gaussian_filter(heights, smoothing, mode="constant")
        share = ndimage.gaussian_filter(inside.astype(np.float64), smoothing, mode="constant")
        np.divide(heights, share, out=heights, where=inside)
        # Rounding errors are no minima.
        heights = np.rint(heights / _STEP) * _STEP
    heights[~inside] = np.inf
    everywhere = np.ones((3,) * inside.ndim, bool)
    minima: NDArray[np.bool_] = local_minima(heights, footprint=everywhere)  # type: ignore[no-untyped-call]
    return minima[inside]


def _flooded(pairs: _Pairs, minima: NDArray[np.bool_]) -> _Integers:
    """Region of each foreground pixel, in any numbers."""
    used = pairs.affinity > 0
    if not used.any():
        return np.arange(len(minima))
    from bioimage_cpp import graph as library

    ends = np.sort(np.stack((pairs.first[used], pairs.second[used]), axis=1), axis=1)
    order = np.lexsort((ends[:, 1], ends[:, 0]))
    ends, affinity = ends[order], pairs.affinity[used][order]
    graph = library.UndirectedGraph.from_unique_edges(len(minima), ends)
    level = minima[ends].all(axis=1) & (affinity >= _PLATEAU_AFFINITY)
    seeds = np.where(minima, library.connected_components(graph, level).astype(np.intp) + 1, 0)
    flooded = library.edge_weighted_watershed(graph, 1 - affinity, seeds)
    unseeded = library.connected_components(graph).astype(np.intp) + 1 + seeds.max()
    regions: _Integers = np.where(flooded > 0, flooded, unseeded)
    return regions


def _numbered(region: _Integers, pairs: _Pairs) -> tuple[_Integers, int]:
    """Regions numbered from 0 by the total affinity of the pairs that end in them, and how many there are."""
    values, region = np.unique(region, return_inverse=True)
    count = len(values)
    total = np.zeros(count)
    for ends in (pairs.first, pairs.second):
        total += np.bincount(region[ends], pairs.affinity, minlength=count)
    place = np.empty(count, np.intp)
    place[np.argsort(total, kind="stable")] = np.arange(count)
    return place[region], count


def _edges(region: _Integers, pairs: _Pairs, count: int) -> Edges:
    """Mean affinity of the pairs between different regions."""
    ends = np.sort(np.stack((region[pairs.first], region[pairs.second]), axis=1), axis=1)
    between = ends[:, 0] != ends[:, 1]
    keys = ends[between, 0] * count + ends[between, 1]
    keys, inverse = np.unique(keys, return_inverse=True)
    length = np.bincount(inverse, minlength=len(keys))
    total = np.bincount(inverse, pairs.affinity[between], minlength=len(keys))
    return Edges(np.stack(np.divmod(keys, count), axis=1), total / length, length)


def _costs(edges: Edges, beta: float) -> _Floats:
    """Cost of cutting each edge."""
    probability = _LEAST_PROBABILITY + (1 - 2 * _LEAST_PROBABILITY) * edges.affinity
    odds = np.log(probability / (1 - probability)) + np.log((1 - beta) / beta)
    costs: _Floats = edges.length * odds
    return costs
