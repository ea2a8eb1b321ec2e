"""Region graph: small regions of similar pixels and the edges between them, for multicut and agglomeration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixel_embedded_affinity.affinity import Affinities
from pixel_embedded_affinity.clustering.base import refuse_no_attraction, usable
from pixel_embedded_affinity.clustering.sections import Edges as Edges
from pixel_embedded_affinity.clustering.sections import edge_means, section_regions
from pixel_embedded_affinity.errors import InputError, compiled_library
from pixel_embedded_affinity.fields import choice, number, per_axis, setting
from pixel_embedded_affinity.labels import Labels, Mask, as_foreground, relabel, summed_pairs

_Integers = NDArray[np.intp]
Smoothing = float | tuple[float, ...]
_Floats = NDArray[np.float64]

# Affinities become multiples of this, of which float64 adds up 2**29 exactly, so that order does not matter.
_STEP = 2.0**-24

# A minimum of the boundary map may lie on both sides of a border; pixels below this affinity do not share a seed.
_PLATEAU_AFFINITY = 0.5


def smoothing_field() -> Any:
    """Declare the setting ``smoothing``, which all clusterers of regions have."""
    what = "Standard deviation in pixels of the Gaussian on the map from which regions grow."
    return setting(1.0, per_axis(number(0)), what)


REGIONS = ("watershed_cut", "sections")
"""Ways to over-segment the foreground, see `region_graph`."""


def regions_field() -> Any:
    """Declare the setting ``regions``, which all clusterers of regions have."""
    what = "How small regions grow: over the whole image, or in each section of a volume."
    return setting("watershed_cut", choice(*REGIONS), what)


@dataclass(frozen=True, eq=False)
class RegionGraph:
    """Regions of the foreground and the edges between them.

    Attributes
    ----------
    foreground : ndarray of bool, shape ``(*spatial)``
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

    foreground: Mask
    region: _Integers
    count: int
    borders: Edges
    lifted: Edges

    def adjacency(self) -> Any:
        """Return the borders as a graph of bioimage-cpp, edges in the order of `borders`."""
        with compiled_library():
            from bioimage_cpp.graph import UndirectedGraph

        return UndirectedGraph.from_unique_edges(self.count, self.borders.regions)

    def labels(self, clusters: NDArray[Any]) -> Labels:
        """Turn the cluster of each region, integers (count,), into labels of pixels, int32 ``(*spatial)``."""
        labels = np.zeros(self.foreground.shape, np.intp)
        labels[self.foreground] = clusters.astype(np.intp)[self.region] + 1
        return relabel(labels)

    def clustered(self, cluster: Callable[[RegionGraph], NDArray[Any]]) -> Labels:
        """Return labels of pixels; `cluster` joins regions, unless there are no borders.

        Parameters
        ----------
        cluster : callable
            Takes a graph with borders, and returns the cluster of each region, integers (count,).
        """
        alone = len(self.borders.length) == 0
        return self.labels(np.arange(self.count) if alone else cluster(self))


def region_graph(
    affinities: Affinities,
    foreground: NDArray[Any] | None,
    smoothing: Smoothing,
    *,
    regions: str = "watershed_cut",
    lifted: bool = False,
) -> RegionGraph:
    """Over-segment the foreground by a watershed, and connect the regions.

    The boundary map is, per pixel, 1 minus the mean affinity of the attractive pairs that end at the pixel (negative
    affinities taken as 0, pairs that touch background left out). The local minima of the smoothed boundary map are
    the seeds; pixels of minima share a seed where pairs of affinity 0.5 or more connect them. Regions grow from the
    seeds along the attractive pairs, strongest first, but never along pairs of affinity 0. This is a watershed cut:
    each pixel goes to the seed from which the weakest pair on the way is strongest. Pixels that no seed reaches form
    regions of their own. Objects thinner than the smoothing may lack a seed of their own.

    With regions of sections, the seeds are the local minima of each section of a volume, and the regions grow within
    the section, on the smoothed boundary map. Sections are worked on one by one, and no pair of pixels is kept: a
    volume takes a tenth of the time and a small part of the memory. They suit borders several pixels wide, such as
    membranes; watershed cuts place borders better where objects touch without a gap.

    Parameters
    ----------
    affinities : Affinities
        Affinities of 2D or 3D images.
    foreground : ndarray, shape ``(*spatial)``, or None
        True where regions may be; None for everywhere.
    smoothing : float or tuple of float
        Standard deviation in pixels of the Gaussian on the boundary map.
    regions : {"watershed_cut", "sections"}
        Whether regions grow over the whole image, or within each section of a volume.
    lifted : bool
        Whether the repulsive pairs on the neighborhood's strides are averaged as well.

    Returns
    -------
    RegionGraph
        The regions of a watershed cut are numbered by their total affinity, which does not depend on where they lie:
        solvers take the regions of a flipped image in the same order. Regions of sections are numbered in order.

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
    given = usable(affinities)
    refuse_no_attraction(given)
    shape = given.spatial_shape
    _check_axes(smoothing, len(shape))
    inside = np.ones(shape, bool) if foreground is None else as_foreground(foreground, shape)
    if regions == "sections":
        return _graph_of_sections(given, inside, smoothing, lifted)
    near = _pairs(given, inside, attractive=True)
    region, count = _numbered(_flooded(near, _minima(near, inside, smoothing)), near)
    borders = _edges(region, near, count)
    if not lifted:
        return RegionGraph(inside, region, count, borders, _NO_EDGES)
    far = _pairs(given, inside, attractive=False)
    return RegionGraph(inside, region, count, borders, _edges(region, far, count))


def _graph_of_sections(given: Affinities, inside: Mask, smoothing: Smoothing, lifted: bool) -> RegionGraph:
    deviations = smoothing if isinstance(smoothing, tuple) else (smoothing,) * inside.ndim
    region, count = section_regions(given, inside, deviations)
    borders, far = (
        edge_means(given, inside, region, count, attractive=attractive) if wanted else _NO_EDGES
        for attractive, wanted in ((True, True), (False, lifted))
    )
    return RegionGraph(inside, region[inside], count, borders, far)


class _Pairs(NamedTuple):
    """Pairs of foreground pixels, numbered in C order, and their affinities in multiples of `_STEP`."""

    first: _Integers
    second: _Integers
    affinity: _Floats


_NO_EDGES = Edges(np.zeros((0, 2), np.intp), np.zeros(0), np.zeros(0, np.intp))


def _check_axes(smoothing: Smoothing, ndim: int) -> None:
    if isinstance(smoothing, tuple) and len(smoothing) != ndim:
        raise InputError(
            f"smoothing has {len(smoothing)} numbers, {smoothing}, the image {ndim} spatial axes; "
            "give one number, or one per axis"
        )


def _pairs(affinities: Affinities, inside: Mask, *, attractive: bool) -> _Pairs:
    """Pairs of one role within the foreground; repulsive ones only on the strides."""
    numbers = np.cumsum(inside, dtype=np.intp) - 1
    parts = [_Pairs(numbers[:0], numbers[:0], np.zeros(0))]
    for channel, attracts in enumerate(affinities.neighborhood.attractive):
        if attracts == attractive:
            pairs = affinities.pairs(channel, inside)
            similarity = np.clip(pairs.affinity, 0, 1).astype(np.float64)
            ends = numbers[pairs.first], numbers[pairs.second]
            parts.append(_Pairs(*ends, np.rint(similarity / _STEP) * _STEP))
    return _Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _boundary_map(pairs: _Pairs, inside: Mask) -> _Floats:
    """1 minus the mean affinity of the pairs that end in each pixel; 0 where there are none."""
    count = np.count_nonzero(inside)
    total, number = np.zeros(count), np.zeros(count, np.intp)
    for ends in (pairs.first, pairs.second):
        total += np.bincount(ends, 1 - pairs.affinity, minlength=count)
        number += np.bincount(ends, minlength=count)
    heights = np.zeros(inside.shape)
    heights[inside] = total / np.maximum(number, 1)
    return heights


def _minima(pairs: _Pairs, inside: Mask, smoothing: Smoothing) -> Mask:
    """Whether each foreground pixel belongs to a local minimum of the smoothed boundary map."""
    from scipy import ndimage
    from skimage.morphology import local_minima

    heights = _boundary_map(pairs, inside)
    if np.any(smoothing):
        # Only foreground counts: divide by the sum of the weights inside it.
        heights = ndimage.gaussian_filter(heights, smoothing, mode="constant")
        share = ndimage.gaussian_filter(inside.astype(np.float64), smoothing, mode="constant")
        np.divide(heights, share, out=heights, where=inside)
        # Rounding errors are no minima.
        heights = np.rint(heights / _STEP) * _STEP
    heights[~inside] = np.inf
    everywhere = np.ones((3,) * inside.ndim, bool)
    minima: Mask = local_minima(heights, footprint=everywhere)  # type: ignore[no-untyped-call]
    return minima[inside]


def _flooded(pairs: _Pairs, minima: Mask) -> _Integers:
    """Region of each foreground pixel, in any numbers."""
    used = pairs.affinity > 0
    if not used.any():
        return np.arange(len(minima))
    with compiled_library():
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
    regions, total, length = summed_pairs(region[pairs.first], region[pairs.second], count, pairs.affinity)
    return Edges(regions, total / length, length)
