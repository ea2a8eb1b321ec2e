"""Regions by a watershed within each section of a volume, and the edges between them, section by section."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixel_embedded_affinity.affinity import Affinities, Box, numpy_of, pair_boxes
from pixel_embedded_affinity.errors import compiled_library
from pixel_embedded_affinity.labels import Mask

_Floats = NDArray[np.float32]
_Integers = NDArray[np.intp]

# Affinities become multiples of this, so that sums do not depend on their order.
_STEP = 2.0**-24


class Edges(NamedTuple):
    """Edges of a region graph, in lexicographic order of their regions.

    Attributes
    ----------
    regions : ndarray of intp, shape (E, 2)
        The two regions of each edge, the smaller number first.
    affinity : ndarray of float64, shape (E,)
        Mean affinity, negative ones taken as 0, of the pairs of pixels with one end in each region.
    length : ndarray of intp, shape (E,)
        Number of these pairs.
    """

    regions: _Integers
    affinity: NDArray[np.float64]
    length: _Integers


def section_regions(
    affinities: Affinities, inside: Mask, smoothing: Sequence[float]
) -> tuple[_Integers, int]:
    """Over-segment each section of the foreground on its own.

    The boundary map is, per pixel, 1 minus the mean affinity of the attractive pairs that end at the pixel (negative
    affinities taken as 0, pairs that touch background left out), smoothed. Regions grow within each section from its
    local minima.

    Parameters
    ----------
    affinities : Affinities
        In NumPy.
    inside : ndarray of bool, shape ``(*spatial)``
        The foreground.
    smoothing : sequence of float
        Standard deviation of the Gaussian along each axis, in pixels.

    Returns
    -------
    region : ndarray of intp, shape ``(*spatial)``
        Numbers of the regions from 0, in C order of the sections; -1 on the background.
    count : int
        Number of regions.
    """
    heights = _smoothed(_boundary_map(affinities, inside), inside, smoothing)
    region = np.full(inside.shape, -1, np.intp)
    count = 0
    for section in np.ndindex(inside.shape[:-2]):
        basins, found = _basins(heights[section], inside[section])
        region[section] = np.where(inside[section], basins + count, -1)
        count += found
    return region, count


def edge_means(
    affinities: Affinities, inside: Mask, region: _Integers, count: int, *, attractive: bool
) -> Edges:
    """Return the mean affinity of the pairs between regions, taken one section after the other.

    Parameters
    ----------
    affinities, inside
        As for `section_regions`.
    region, count
        From `section_regions`.
    attractive : bool
        Whether the attractive pairs count, or the repulsive ones on the strides.
    """
    parts = [_summed(np.zeros(0, np.intp), np.zeros(0))]
    for channel, attracts in enumerate(affinities.neighborhood.attractive):
        if attracts == attractive:
            for first, second, values in _slabs(affinities, channel):
                used = inside[first] & inside[second] & (region[first] != region[second])
                ends = region[first][used], region[second][used]
                keys = np.minimum(*ends) * count + np.maximum(*ends)
                similarity = np.clip(values[used], 0, 1).astype(np.float64)
                parts.append(_summed(keys, np.rint(similarity / _STEP) * _STEP))
    every, totals, lengths = (np.concatenate(column) for column in zip(*parts))
    keys, inverse = np.unique(every, return_inverse=True)
    total, length = (np.bincount(inverse, values, minlength=len(keys)) for values in (totals, lengths))
    regions = np.stack(np.divmod(keys, count), axis=1)
    return Edges(regions, total / length, length.astype(np.intp))


def _summed(keys: _Integers, values: NDArray[np.float64]) -> tuple[_Integers, NDArray[np.float64], _Integers]:
    """Distinct keys, the sum of their values, and how often each occurs."""
    keys, inverse, length = np.unique(keys, return_inverse=True, return_counts=True)
    total: NDArray[np.float64] = np.bincount(inverse, values, minlength=len(keys)).astype(np.float64)
    return keys, total, length


def _slabs(affinities: Affinities, channel: int) -> Iterator[tuple[Box, Box, _Floats]]:
    """Pairs of one offset by the section of their first end: boxes of both ends, and the affinities."""
    neighborhood, shape = affinities.neighborhood, affinities.spatial_shape
    offset = neighborhood.offsets[channel]
    steps = (1,) * len(shape) if neighborhood.attractive[channel] else neighborhood.strides
    here = [_on_grid(part, step) for part, step in zip(pair_boxes(shape, offset)[0], steps)]
    leading = [slice(0, 1)] if len(shape) == 2 else [slice(z, z + 1) for z in range(shape[0])[here[0]]]
    for section in leading:
        first = (*here,) if len(shape) == 2 else (section, *here[1:])
        second = tuple(slice(p.start + o, p.stop + o, p.step) for p, o in zip(first, offset))
        yield first, second, numpy_of(affinities.channel(channel, first))


def _on_grid(part: slice, step: int) -> slice:
    """The part that lies on multiples of a step."""
    start = -(-part.start // step) * step
    return slice(start, max(start, part.stop), step)


def _boundary_map(affinities: Affinities, inside: Mask) -> _Floats:
    """1 minus the mean affinity of the attractive pairs that end in each pixel; 0 where there are none."""
    total, number = np.zeros(inside.shape, np.float32), np.zeros(inside.shape, np.float32)
    for channel in np.flatnonzero(affinities.neighborhood.attractive):
        for first, second, values in _slabs(affinities, int(channel)):
            used = (inside[first] & inside[second]).astype(np.float32)
            distance = (1 - np.clip(values, 0, 1)) * used
            for end in (first, second):
                total[end] += distance
                number[end] += used
    mean: _Floats = np.divide(total, np.maximum(number, 1, out=number), out=total)
    return mean


def _smoothed(heights: _Floats, inside: Mask, smoothing: Sequence[float]) -> _Floats:
    """Smooth a map of the foreground; what is outside does not count."""
    from scipy import ndimage

    if not any(smoothing):
        return heights
    share = ndimage.gaussian_filter(inside.astype(np.float32), smoothing, mode="constant")
    smooth: _Floats = ndimage.gaussian_filter(heights, smoothing, mode="constant")
    smooth = np.divide(smooth, share, out=smooth, where=inside)
    return smooth


def _basins(heights: _Floats, inside: Mask) -> tuple[_Integers, int]:
    """Regions of one section, from 0, that grow from the local minima of its foreground."""
    with compiled_library():
        from bioimage_cpp.segmentation import watershed
    from scipy import ndimage
    from skimage.morphology import local_minima

    # Walls around make a flat section a minimum. Minima and watershed know the same neighbors, so none is left over.
    surface = np.pad(np.where(inside, heights, np.inf), 1, constant_values=np.inf)
    minima = local_minima(surface, connectivity=1)[1:-1, 1:-1]  # type: ignore[no-untyped-call]
    seeds, count = ndimage.label(minima)
    grown = watershed(np.where(inside, heights, 0), seeds.astype(np.int32), mask=inside)
    return grown.astype(np.intp) - 1, count
