"""Parts of an image whose objects have another size than the rest, each segmented at a scale of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.geometry.tiling import Box, grown
from pixel_embedded_affinity.labels import Labels, Mask, extent_of
from pixel_embedded_affinity.scale import KEPT, KnownObjects, is_kept, searched

Floats = npt.NDArray[np.float64]

_SCRAP = 0.25
"""Share of the usual area of a component below which it may be a piece of another one."""

_NEAR = 0.5
"""How near such a piece is, as a share of the side of a square of the usual area."""

_BETTER = 0.1
"""By how much the mean confidence of new objects must be higher: large objects have a little more of it anyway."""


class Part(NamedTuple):
    """Labels of a part of the image that was segmented on its own.

    Attributes
    ----------
    labels : numpy.ndarray
        int32, of the part's shape: 0 = background, objects 1..n.
    confidence : numpy.ndarray
        Confidence of each object.
    scale : float
        Factor by which the part was resized.
    """

    labels: Labels
    confidence: Floats
    scale: float


class Objects(NamedTuple):
    """Labels of an image, and the confidence and the scale of each object."""

    labels: Labels
    confidence: Floats
    scale: Floats


Again = Callable[[Box, Mask], Part]
"""Segment a part of the image, given where its objects may be."""


def by_components(
    labels: Labels,
    inside: Mask | None,
    confidence: Floats,
    scale: float,
    known: KnownObjects,
    again: Again,
) -> Objects:
    """Segment those components of the foreground again whose objects do not fit the scale of the image.

    Objects fit if their median diameter, as the network saw it, is about the known one; or, where the model knows an
    extent, if the component has about this extent, or cannot come closer to it. Of the other components, each
    is segmented at a scale of its own. The new labels replace the old ones where they are clearly more confident.

    Parameters
    ----------
    labels : numpy.ndarray
        int32 labels of the image, objects 1..n. Not modified.
    inside : numpy.ndarray or None
        Where objects may be; None for where objects are.
    confidence : numpy.ndarray
        Confidence of each object.
    scale : float
        The scale of the image.
    known : KnownObjects
        What the model knows.
    again : callable
        See `Again`.

    Returns
    -------
    Objects
        The numbers of the objects are neither consecutive nor ordered: object k is row k - 1 of confidence and scale.
    """
    found = Objects(labels.copy(), confidence, np.full(len(confidence), scale))
    areas = np.bincount(labels.ravel(), minlength=len(confidence) + 1)
    margin = math.ceil(known.diameter / scale)
    for box, mask in _components(labels > 0 if inside is None else inside | (labels > 0), margin):
        objects = np.unique(labels[box][mask & (labels[box] > 0)])
        sure = float(confidence[objects - 1].mean()) if len(objects) else 0.0
        if _fits(mask, areas[objects], scale, known):
            continue
        part = again(box, mask)
        changed = not is_kept(part.scale / scale)
        if changed and len(part.confidence) and part.confidence.mean() > sure + _BETTER:
            found = _replaced(found, box, mask, part)
    return found


def _replaced(found: Objects, box: Box, mask: Mask, part: Part) -> Objects:
    """Put the labels of a part into the image, under further numbers."""
    count = len(found.confidence)
    new = np.where(mask & (part.labels > 0), part.labels + count, 0)
    found.labels[box] = np.where(mask, new, found.labels[box])
    scales = np.full(len(part.confidence), part.scale)
    return Objects(
        found.labels,
        np.concatenate((found.confidence, part.confidence)),
        np.concatenate((found.scale, scales)),
    )


def region_column(
    labels: Labels, inside: Mask | None, config: ModelConfig
) -> dict[str, npt.NDArray[np.int64]]:
    """Return the column ``region`` of a table of objects, where the settings ask for regions; else nothing.

    Things with an extent, such as plants, consist of objects that may be apart.
    """
    if config.regions == "image":
        return {}
    return {"region": numbered_regions(labels, inside, scattered=config.object_extent is not None)}


def numbered_regions(
    labels: Labels, inside: Mask | None, *, scattered: bool = False
) -> npt.NDArray[np.int64]:
    """Return for each object, in ascending order of labels, the number of the region that it lies in.

    Regions are components of the foreground, as for `by_components`, such as the plants of a tray. The one that holds
    most of an object counts. Those that hold objects are numbered from 1, by their first pixels.

    Parameters
    ----------
    labels : numpy.ndarray
        int32 labels of the image; need not be consecutive.
    inside : numpy.ndarray or None
        Where objects may be; None for where objects are.
    scattered : bool
        Whether the objects of a region may be apart, as the leaves of a plant are where no stem was found. Components
        that are much smaller than the usual ones then belong together if they are near each other, and to the nearest
        larger one if it is near. Two larger ones are always two regions.
    """
    objects = labels > 0
    components = _connected(objects if inside is None else inside | objects)
    count = int(components.max(initial=0)) + 1
    ids, rows = np.unique(labels[objects], return_inverse=True)
    pairs, shares = np.unique(rows * count + components[objects], return_counts=True)
    # What is written last stays: the component with the largest share, the first one of equals.
    order = np.lexsort((-pairs, shares))
    held = np.zeros(len(ids), np.int64)
    held[pairs[order] // count] = pairs[order] % count
    if scattered and len(ids):
        areas = np.bincount(held, np.bincount(rows), count).astype(np.float64)
        held = _gathered(components, areas)[held]
    return np.unique(held, return_inverse=True)[1].astype(np.int64) + 1


def _gathered(components: Labels, areas: Floats) -> npt.NDArray[np.int64]:
    """For each component, one of those that it belongs to, the same for all of them, see `numbered_regions`."""
    falling = np.sort(areas)[::-1]
    # Half of all that objects cover lies in components of this area or more: scraps hardly change it.
    usual = falling[np.searchsorted(falling.cumsum(), falling.sum() / 2)]
    reach, scrap = _NEAR * math.sqrt(usual), (areas > 0) & (areas < _SCRAP * usual)
    margin = (math.ceil(reach),) * components.ndim
    links: dict[int, list[int]] = {}
    for number, tight in enumerate(ndimage.find_objects(components), start=1):
        if scrap[number]:
            around = components[grown(tight, margin, components.shape, (1,) * components.ndim)]
            gaps = ndimage.distance_transform_edt(around != number)
            near = (around > 0) & (around != number) & (gaps <= reach) & (areas[around] > 0)
            whole = near & ~scrap[around]
            nearest = around.ravel()[np.where(whole, gaps, np.inf).argmin()]
            links[number] = [int(nearest)] if whole.any() else np.unique(around[near]).tolist()
    alone = {number for number, others in links.items() if all(scrap[others])}
    pairs = [
        (number, other)
        for number, others in links.items()
        for other in others
        if not scrap[other] or {number, other} <= alone
    ]
    ends = np.array(pairs, np.intp).reshape(-1, 2).T
    graph = sparse.csr_array((np.ones(ends.shape[1]), tuple(ends)), shape=(len(areas), len(areas)))
    found: npt.NDArray[np.int32] = csgraph.connected_components(graph, directed=False)[1]
    return found.astype(np.int64)


def _connected(inside: Mask) -> Labels:
    found: Labels = ndimage.label(inside, np.ones((3,) * inside.ndim))[0]
    return found


def _components(inside: Mask, margin: int) -> Iterator[tuple[Box, Mask]]:
    """Give each component of the foreground: a box around it with a margin, and where in the box it is."""
    found = _connected(inside)
    for number, tight in enumerate(ndimage.find_objects(found), start=1):
        box = grown(tight, (margin,) * inside.ndim, inside.shape, (1,) * inside.ndim)
        yield box, found[box] == number


def _fits(mask: Mask, areas: npt.NDArray[np.intp], scale: float, known: KnownObjects) -> bool:
    if known.extent is not None:
        return is_kept(searched(known.extent / extent_of(mask)) / scale)
    if not len(areas):
        return False
    seen = math.sqrt(4 * float(np.median(areas)) / math.pi) * scale
    return known.diameter / KEPT**2 < seen < known.diameter * KEPT**2
