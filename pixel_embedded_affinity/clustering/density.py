"""Modes of the density of embeddings, in torch: what mean shift climbs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.inference.base import Array
from pixel_embedded_affinity.runtime.device import survive_fork

if TYPE_CHECKING:
    from pixel_embedded_affinity.clustering.mean_shift import MeanShift

# Lengths of unit vectors that were rounded to bfloat16 leave 1 by less than this.
_ROUNDING = 0.01

# Most further rounds, which take seeds among the pixels far from every mode found so far.
_MORE_ROUNDS = 3

# Entries of the largest temporary matrix, seeds times pixels: 16 MB.
_BLOCK = 2**22


def modes_of_pixels(embedding: Array, inside: NDArray[np.bool_], settings: MeanShift) -> NDArray[np.intp]:
    """Return the number of the nearest mode of the embedding of each pixel in the foreground, in C order.

    Raises
    ------
    InputError
        If an embedding is not finite, or longer than 1.
    """
    vectors = _vectors(embedding, inside)
    order = _lexicographic_order(vectors)
    vectors = vectors[order]
    nearest = np.empty(len(vectors), np.intp)
    modes = _modes(_evenly(vectors, settings.samples), settings)
    nearest[order.cpu().numpy()] = _nearest(vectors, modes)[0].cpu().numpy()
    return nearest


def _modes(points: Tensor, settings: MeanShift) -> Tensor:
    """Modes of the density of points, shape (M, D), those with most points first."""
    modes, support = _climb(_evenly(points, settings.seeds), points, settings)
    modes, support = _thinned(modes, support, settings.bandwidth)
    for _ in range(_MORE_ROUNDS):
        far = points[_nearest(points, modes)[1] > settings.bandwidth**2]
        known = len(modes)
        if len(far) == 0:
            break
        found, pixels = _climb(_evenly(far, settings.seeds), points, settings)
        modes, support = _thinned(torch.cat((modes, found)), torch.cat((support, pixels)), settings.bandwidth)
        if len(modes) == known:
            break
    return modes


def _climb(seeds: Tensor, points: Tensor, settings: MeanShift) -> tuple[Tensor, Tensor]:
    """Where seeds come to rest, each place once, and how many points lie within the bandwidth around it."""
    resting = []
    for _ in range(settings.iterations):
        # Seeds meet soon, and go on as one.
        seeds = torch.unique(seeds, dim=0)
        moved = _means(seeds, points, settings.bandwidth)[0]
        rests = (moved - seeds).norm(dim=1) <= settings.tolerance * settings.bandwidth
        resting.append(moved[rests])
        seeds = moved[~rests]
        if len(seeds) == 0:
            break
    modes = torch.unique(torch.cat((*resting, seeds)), dim=0)
    return modes, _means(modes, points, settings.bandwidth)[1]


def _vectors(embedding: Array, inside: NDArray[np.bool_]) -> Tensor:
    """Embeddings of the foreground pixels in C order, float32 (N, D), on the embedding's device."""
    survive_fork()
    if isinstance(embedding, np.ndarray):
        vectors = torch.from_numpy(np.ascontiguousarray(embedding[:, inside].T, dtype=np.float32))
    else:
        within = torch.from_numpy(inside).to(embedding.device)
        vectors = embedding.detach()[:, within].T.float().contiguous()
    lengths = vectors.norm(dim=1)
    # Not (x <= 1) rather than (x > 1): this also finds NaN.
    if not bool((lengths <= 1 + _ROUNDING).all()):
        raise InputError(
            "embeddings must be finite vectors of at most unit length, got lengths up to "
            f"{float(lengths.max()):g}; divide them by their lengths"
        )
    return vectors


def _lexicographic_order(points: Tensor) -> Tensor:
    """Order of the rows by their first component, then the second, and so on."""
    values, order = torch.sort(points[:, 0], stable=True)
    if bool((values[1:] > values[:-1]).all()):
        return order
    for column in reversed(range(points.shape[1])):
        order = order[torch.sort(points[order, column], stable=True).indices]
    return order


def _evenly(points: Tensor, count: int) -> Tensor:
    """At most `count` of the points, at even distances in their order."""
    if len(points) <= count:
        return points
    return points[(torch.arange(count, device=points.device) * len(points)) // count]


def _blocks(points: Tensor, count: int) -> tuple[Tensor, ...]:
    """The points in parts small enough that a matrix of them and `count` others has at most `_BLOCK` entries."""
    blocks: tuple[Tensor, ...] = torch.split(points, max(_BLOCK // max(count, 1), 1))
    return blocks


def _means(centers: Tensor, points: Tensor, bandwidth: float) -> tuple[Tensor, Tensor]:
    """Mean and number of the points within the bandwidth of each center."""
    ones = torch.ones_like
    # |x - c|^2 <= h^2, written as (x, -|x|^2 / 2) . (c, 1) >= (|c|^2 - h^2) / 2: one matrix product, which is
    # three times as fast as the distances.
    raised = torch.cat((points, -points.square().sum(1, keepdim=True) / 2), dim=1)
    directions = torch.cat((centers, ones(centers[:, :1])), dim=1)
    limits = (centers.square().sum(1, keepdim=True) - bandwidth**2) / 2
    # The column of ones counts the points.
    counted = torch.cat((points, ones(points[:, :1])), dim=1)
    sums = torch.zeros_like(directions)
    for block, part in zip(_blocks(raised, len(centers)), _blocks(counted, len(centers)), strict=True):
        sums.addmm_((directions @ block.T >= limits).to(points.dtype), part)
    counts = sums[:, -1:]
    # A center that rounding leaves without points stays where it is.
    return (sums[:, :-1] / counts.clamp(min=1)).where(counts > 0, centers), counts[:, 0]


def _nearest(points: Tensor, modes: Tensor) -> tuple[Tensor, Tensor]:
    """Number of the mode nearest to each point, the first of equal ones, and the squared distance."""
    lengths = modes.square().sum(1)
    parts = [(lengths - 2 * block @ modes.T).min(dim=1) for block in _blocks(points, len(modes))]
    squares = torch.cat([part.values for part in parts]) + points.square().sum(1)
    return torch.cat([part.indices for part in parts]), squares


def _thinned(modes: Tensor, support: Tensor, bandwidth: float) -> tuple[Tensor, Tensor]:
    """Drop modes within the bandwidth of a mode with more support; return the others, most support first."""
    places = modes.double().cpu().numpy()
    weights = support.double().cpu().numpy()
    rank = np.lexsort((*(-places.T[::-1]), -weights))
    places = places[rank]
    left = np.ones(len(rank), bool)
    for position in range(len(rank)):
        if left[position]:
            near = np.square(places[position + 1 :] - places[position]).sum(1) <= bandwidth**2
            left[position + 1 :] &= ~near
    kept = torch.from_numpy(rank[left]).to(modes.device)
    return modes[kept], support[kept]
