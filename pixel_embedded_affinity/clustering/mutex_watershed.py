"""Mutex watershed: merge along the strongest attraction unless a stronger repulsion forbids it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pixel_embedded_affinity.clustering.base import refuse_no_attraction, usable_values
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.image import as_foreground
from pixel_embedded_affinity.postprocess import relabel

if TYPE_CHECKING:
    from pixel_embedded_affinity.affinity import Affinities
    from pixel_embedded_affinity.neighborhood import Neighborhood


@dataclass(frozen=True)
class MutexWatershed:
    """Mutex watershed on affinities.

    There are no settings, since ranges, roles and strides belong to the neighborhood.

    With a the affinity of a pair, negative ones taken as 0, an attractive pair is an edge of weight a, a
    repulsive pair one of weight 1 - a, used only at pixels on the neighborhood's strides. Pairs that leave
    the image or touch background are no edges. Edges are taken from the strongest to the weakest: an
    attractive one joins the clusters at its ends, unless these exclude each other; a repulsive one makes the
    clusters at its ends exclude each other, unless they are one already.

    Edges of equal weight are taken in a fixed order, so that the result is deterministic: attractive before
    repulsive ones, then by position of the offset among those of its role, then by pixel in C order.

    References
    ----------
    S. Wolf et al., "The Mutex Watershed and its Objective: Efficient, Parameter-Free Graph Partitioning",
    IEEE TPAMI 43(10), 2021.
    """

    def __call__(
        self, affinities: Affinities, *, foreground: NDArray[Any] | None = None
    ) -> NDArray[np.int32]:
        """Cluster pixels; see `Clusterer` for parameters and result.

        Raises
        ------
        InputError
            If the affinities are not finite similarities that fit their neighborhood, the neighborhood lacks
            an attractive or a repulsive offset, or `foreground` has another shape.
        """
        values = usable_values(affinities)
        refuse_no_attraction(affinities)
        _refuse_no_repulsion(affinities.neighborhood)
        if foreground is None:
            return _partition(values, affinities.neighborhood, None)
        inside = as_foreground(foreground, values.shape[1:])
        labels = np.zeros(inside.shape, np.int32)
        if inside.any():
            window = _window(inside, affinities.neighborhood.strides)
            channels_of_window = (slice(None), *window)
            labels[window] = _partition(values[channels_of_window], affinities.neighborhood, inside[window])
        return labels


def _refuse_no_repulsion(neighborhood: Neighborhood) -> None:
    if all(neighborhood.attractive):
        raise InputError(
            f"{neighborhood!r} has no repulsive offset, so that all pixels that touch would join; "
            "add longer ranges, or use the clusterer 'connected_components'"
        )


def _window(inside: NDArray[np.bool_], strides: tuple[int, ...]) -> tuple[slice, ...]:
    """Smallest box around the foreground that starts on the grid of the strides, as the image does."""
    window = []
    for axis, stride in enumerate(strides):
        others = tuple(other for other in range(inside.ndim) if other != axis)
        used = np.flatnonzero(inside.any(axis=others))
        window.append(slice(int(used[0]) // stride * stride, int(used[-1]) + 1))
    return tuple(window)


def _partition(
    values: NDArray[np.float32], neighborhood: Neighborhood, inside: NDArray[np.bool_] | None
) -> NDArray[np.int32]:
    from bioimage_cpp.segmentation import mutex_watershed

    # The library takes the number of attractive channels, so these must come first.
    channels = sorted(range(len(neighborhood)), key=lambda channel: not neighborhood.attractive[channel])
    clusters = mutex_watershed(
        _edge_weights(values, neighborhood, channels),
        [neighborhood.offsets[channel] for channel in channels],
        sum(neighborhood.attractive),
        strides=neighborhood.strides,
        mask=inside,
    )
    # With a mask, the library skips numbers.
    return relabel(clusters)


def _edge_weights(
    values: NDArray[np.float32], neighborhood: Neighborhood, channels: list[int]
) -> NDArray[np.float32]:
    """Weights in the order of `channels`; those that the strides leave out are never read, and stay 0."""
    weights = np.zeros(values.shape, np.float32)
    grid = tuple(slice(None, None, stride) for stride in neighborhood.strides)
    for position, channel in enumerate(channels):
        if neighborhood.attractive[channel]:
            np.maximum(values[channel], 0, out=weights[position])
        else:
            weights[position][grid] = 1 - np.maximum(values[channel][grid], 0)
    return weights
