"""Mean shift: pixels whose embeddings climb to the same density peak are one object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixel_embedded_affinity.affinity import Affinities, Array
from pixel_embedded_affinity.errors import InputError, optional_module
from pixel_embedded_affinity.fields import Settings, integer, number, setting, switch
from pixel_embedded_affinity.labels import Labels, as_foreground, relabel

_COMPLAINT = (
    "mean shift computes in torch; expected it to be installed; run: pip install 'pixel_embedded_affinity[torch]', or "
    "choose another clusterer, such as mutex_watershed"
)


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

    Affinities are not used. Embeddings in torch are clustered on their device, embeddings in NumPy on the CPU, by
    torch, too.

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
        MissingDependencyError
            If torch is not installed.
        """
        embedding = _embedding_of(affinities)
        shape = affinities.spatial_shape
        inside = np.ones(shape, bool) if foreground is None else as_foreground(foreground, shape)
        labels = np.zeros(shape, np.int32)
        if inside.any():
            optional_module("torch", _COMPLAINT)
            from pixel_embedded_affinity.clustering.density import modes_of_pixels

            labels[inside] = modes_of_pixels(embedding, inside, self) + 1
        return _pieces(labels) if self.spatial_split else relabel(labels)


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


def _pieces(labels: Labels) -> Labels:
    """The face-connected pieces of each label as labels of their own."""
    from skimage.measure import label

    return relabel(label(labels, background=0, connectivity=1))  # type: ignore[no-untyped-call]
