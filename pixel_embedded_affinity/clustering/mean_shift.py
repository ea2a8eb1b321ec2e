"""Mean shift: pixels whose embeddings climb to the same density peak are one object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixel_embedded_affinity.affinity import Affinities, Array
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import Settings, integer, number, setting, switch
from pixel_embedded_affinity.labels import Labels, as_foreground, relabel
from pixel_embedded_affinity.runtime.device import survive_fork

# Lengths of unit vectors that were rounded to bfloat16 leave 1 by less than this.
_ROUNDING = 0.01

# Most further rounds, which take seeds among the pixels far from every mode found so far.
_MORE_ROUNDS = 3

# Entries of the largest temporary matrix, seeds times pixels: 16 MB.
_BLOCK = 2**22


@dataclass(frozen=True)
class MeanShift(Settings, section="mean_shift"):
    """Mean shift on the unit-length embeddings of the foreground.

    Each seed starts at the embedding of a pixel. It moves to the mean of all embeddings within the bandwidth (a
    flat kernel on Euclidean distance), again and again, until it rests at a mode. Where modes lie within the
    bandwidth of each other, only the one with the most pixels within the bandwidth stays (of equal ones, the one
    with the larger coordinates). Every pixel gets the nearest mode that stays. Two unit vectors of cosine c lie
    ``sqrt(2 - 2 c)`` apart: 1.41 if they are orthogonal, 1 for affinity 0.5.

    The density comes from a stratified sample of the pixels: pixels at even distances in the lexicographic order of
    the embeddings. The seeds are a subset of the sample, taken in the same way. If pixels of the sample lie farther
    than the bandwidth from every mode, up to three more rounds take seeds among them, so that small objects are
    found, too. This order does not depend on where pixels lie, so the modes do not, either: if the pixels are
    permuted, so is the result (with `spatial_split`, only if neighbors stay neighbors, as in flips).

    Affinities are not used. Embeddings in torch are clustered on their device, embeddings in NumPy on the CPU.

    Parameters
    ----------
    bandwidth : float
        Radius of the kernel, above 0 and below 2, in units of the embedding's length. Larger: fewer objects.
    seeds : int
        Most seeds of a round, at least 1.
    samples : int
        Most pixels of the sample, at least 1. If there are fewer pixels, all are used.
    iterations : int
        Most moves of a seed, at least 1.
    tolerance : float
        A seed rests once it moves by at most this share of the bandwidth, at least 0.
    spatial_split : bool
        Whether the face-connected pieces of a mode become objects of their own. Embeddings tell objects apart
        within the longest range of the training; objects farther apart may have the same embedding.

    Raises
    ------
    InputError
        If a setting is not as described.

    References
    ----------
    D. Comaniciu, P. Meer, "Mean Shift: A Robust Approach Toward Feature Space Analysis", IEEE TPAMI 24(5),
    2002.
    """

    bandwidth: float = setting(
        0.75, number(above=0, below=2), "Radius of the kernel.", tries=(1.0, 0.85, 0.75, 0.6, 0.45)
    )
    seeds: int = setting(256, integer(1), "Most seeds of a round.")
    samples: int = setting(10_000, integer(1), "Most pixels of the sample.")
    iterations: int = setting(100, integer(1), "Most moves of a seed.")
    tolerance: float = setting(
        1e-3, number(0, below=1), "A seed rests once it moves by at most this share of the bandwidth."
    )
    spatial_split: bool = setting(True, switch(), "Whether the pieces of a mode become objects of their own.")

    def __call__(self, affinities: Affinities, *, foreground: NDArray[Any] | None = None) -> Labels:
        """Cluster pixels; see `Clusterer` for parameters and result.

        Raises
        ------
        InputError
            If the affinities hold no embedding, the embedding is not finite, not of unit length, or of another
            spatial shape than the affinities, or `foreground` has another shape.
        """
        embedding = _embedding_of(affinities)
        shape = affinities.spatial_shape
        inside = np.ones(shape, bool) if foreground is None else as_foreground(foreground, shape)
        labels = np.zeros(shape, np.int32)
        if inside.any():
            labels[inside] = self._modes_of_pixels(_vectors(embedding, inside)) + 1
        return _pieces(labels) if self.spatial_split else relabel(labels)

    def _modes_of_pixels(self, vectors: Tensor) -> NDArray[np.intp]:
        """Number of the nearest mode of each embedding, rows of (N, D)."""
        order = _lexicographic_order(vectors)
        vectors = vectors[order]
        nearest = np.empty(len(vectors), np.intp)
        modes = self._modes(_evenly(vectors, self.samples))
        nearest[order.cpu().numpy()] = _nearest(vectors, modes)[0].cpu().numpy()
        return nearest

    def _modes(self, points: Tensor) -> Tensor:
        """Modes of the density of points, shape (M, D), those with most points first."""
        modes, support = self._climb(_evenly(points, self.seeds), points)
        modes, support = _thinned(modes, support, self.bandwidth)
        for _ in range(_MORE_ROUNDS):
            far = points[_nearest(points, modes)[1] > self.bandwidth**2]
            known = len(modes)
            if len(far) == 0:
                break
            found, pixels = self._climb(_evenly(far, self.seeds), points)
            modes, support = _thinned(torch.cat((modes, found)), torch.cat((support, pixels)), self.bandwidth)
            if len(modes) == known:
                break
        return modes

    def _climb(self, seeds: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Where seeds come to rest, each place once, and how many points lie within the bandwidth around it."""
        resting = []
        for _ in range(self.iterations):
            # Seeds meet soon, and go on as one.
            seeds = torch.unique(seeds, dim=0)
            moved = _means(seeds, points, self.bandwidth)[0]
            rests = (moved - seeds).norm(dim=1) <= self.tolerance * self.bandwidth
            resting.append(moved[rests])
            seeds = moved[~rests]
            if len(seeds) == 0:
                break
        modes = torch.unique(torch.cat((*resting, seeds)), dim=0)
        return modes, _means(modes, points, self.bandwidth)[1]


def _embedding_of(affinities: Affinities) -> Array:
    embedding, ndim = affinities.source, affinities.neighborhood.ndim
    if embedding is None:
        raise InputError(
            "mean shift clusters embeddings, and these affinities hold none; make them by "
            "affinities(embedding, neighborhood), or choose another clusterer"
        )
    shape = tuple(embedding.shape)
    if len(shape) != ndim + 1 or shape[1:] != affinities.spatial_shape or shape[0] == 0:
        raise InputError(
            f"the embedding must have shape (D, *spatial) with the affinities' {ndim} spatial axes "
            f"{affinities.spatial_shape}, got {shape}"
        )
    return embedding


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


def _pieces(labels: Labels) -> Labels:
    """The face-connected pieces of each label as labels of their own."""
    from skimage.measure import label

    return relabel(label(labels, background=0, connectivity=1))  # type: ignore[no-untyped-call]
