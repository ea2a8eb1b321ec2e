"""Labels that the strokes of a user change: those that the pipeline finds, or those that the user has."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pixel_embedded_affinity.affinity import Affinities, affinities
from pixel_embedded_affinity.clustering.corrections import corrected
from pixel_embedded_affinity.clustering.mutex_watershed import Repulsion
from pixel_embedded_affinity.embedding import Embedding
from pixel_embedded_affinity.geometry.scaling import resize_labels
from pixel_embedded_affinity.geometry.strides import spread
from pixel_embedded_affinity.geometry.tiling import Box
from pixel_embedded_affinity.labels import Labels, Mask, relabel
from pixel_embedded_affinity.links import Links, Seeds, painted_over, seeds_at
from pixel_embedded_affinity.pipeline import (
    Integers,
    Labeler,
    positions_inside,
    postprocessed,
    shown,
    working,
)

_LAST = Repulsion(1e-6)
"""Repulsion by which pairs that repel count only when all others are decided: each pixel then falls to a stroke."""


def linked(embedding: Embedding, given: Mask | None, labeler: Labeler, links: Links) -> Labels:
    """Label an embedding as `pipeline.cluster` does, and change those objects that the strokes go through."""
    config = labeler.config
    with working(labeler.threads):
        pairs = affinities(embedding, config.neighborhood).numpy()
    found = labeler.clustered(pairs, positions_inside(embedding, given, config))
    labels = postprocessed(found, pairs.source, config)
    visible = shown(labels, embedding, given, config)
    if links.agree_with(visible):
        return relabel(visible)
    seeds = _seeds(links, embedding, labels, visible)
    objects = _with_removed(labels, found, seeds)
    changed = _corrected(objects, pairs, seeds, labeler, Repulsion.of(labeler.clusterer))
    labels = postprocessed(changed, pairs.source, config, seeds.held)
    return painted_over(shown(labels, embedding, given, config), labels, links, seeds)


def relinked(labels: Labels, embedding: Embedding, labeler: Labeler, links: Links) -> Labels:
    """Change those objects of given labels that strokes go through; all others stay to the pixel.

    Parameters
    ----------
    labels : numpy.ndarray
        Of the spatial shape of the image that was embedded, objects 1..n. Not modified.
    embedding, labeler
        By which an object is cut.
    links : Links
        The strokes.
    """
    if links.agree_with(labels):
        return labels
    stride = embedding.stride or (1,) * labels.ndim
    seen = resize_labels(embedding.part(labels), embedding.seen_shape)
    found = seen[tuple(slice(None, None, step) for step in stride)]
    seeds = _seeds(links, embedding, found, labels)
    with working(labeler.threads):
        pairs = affinities(embedding, labeler.config.neighborhood).numpy()
    changed = _corrected(found, pairs, seeds, labeler, _LAST)
    with_stroke = np.unique(changed[seeds.numbers > 0])
    before, after = (
        embedding.whole(resize_labels(spread(one, None, seen.shape, stride), embedding.part_shape))
        for one in (found, changed)
    )
    # Objects without a stroke get numbers beyond all that `painted_over` gives.
    beyond = int(changed.max(initial=0)) + len(seeds.seed) + 1
    result = np.where(labels > 0, labels + beyond, 0).astype(np.int32)
    boxes = ndimage.find_objects(labels)
    parts = np.where((before == labels) & np.isin(after, with_stroke), after, 0)
    for item in np.unique(labels.ravel()[links.pixels]).tolist():
        if item:
            _take_over(result, labels, item, boxes[item - 1], parts)
    return painted_over(result, changed, links, seeds)


def _with_removed(labels: Labels, found: Integers, seeds: Seeds) -> Labels:
    """The objects that postprocessing left, which a person sees, and those that it removed where there is a stroke."""
    gone = np.where(labels == 0, found, 0)
    wanted = np.unique(gone[seeds.numbers > 0])
    back = np.isin(gone, wanted[wanted > 0])
    return np.where(back, gone + int(labels.max(initial=0)), labels).astype(np.int32)


def _take_over(result: Labels, labels: Labels, item: int, box: Box, parts: Labels) -> None:
    """Give each pixel of an object the nearest of its parts with a stroke; without one, it stays as it is."""
    inside = labels[box] == item
    known = np.where(inside, parts[box], 0)
    if known.any():
        nearest = ndimage.distance_transform_edt(known == 0, return_distances=False, return_indices=True)
        result[box][inside] = known[tuple(nearest)][inside]


def _seeds(links: Links, embedding: Embedding, labels: Labels, visible: Labels) -> Seeds:
    """The positions of an embedding that strokes stand for, see `seeds_at`."""
    box, seen, stride = embedding.box, embedding.seen_shape, embedding.stride
    return seeds_at(
        links, embedding.spatial_shape, box=box, seen=seen, stride=stride, labels=labels, shown=visible
    )


def _corrected(
    found: Integers, pairs: Affinities, seeds: Seeds, labeler: Labeler, repulsion: Repulsion
) -> Labels:
    with working(labeler.threads):
        return corrected(found, pairs, seeds, repulsion)
