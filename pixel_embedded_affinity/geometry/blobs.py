"""The diameter of blobs in an image, estimated without a model."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pixel_embedded_affinity.geometry.scaling import resize_image
from pixel_embedded_affinity.io.arrays import FloatArray

_SIDE = 192
"""Most pixels along an axis of the small image in which blobs are measured."""

_SMOOTH, _PEAK = 3, 5
"""Sides of the square over which the small image is smoothed, and of the one in which a blob has one center."""

_THIN, _FEW = 1.2, 3
"""Radius in pixels of the small image, and number of blobs, below which they say nothing."""

_ROUNDS, _CLOSE = 20, 1e-4
"""Most rounds of the search for a threshold, and the change, as a share of the image's range, that ends it."""


def blob_diameter(plane: FloatArray) -> float | None:
    """Estimate the diameter of the blobs in an image.

    A threshold halfway between the means of both its sides parts the image; the smaller part is the blobs. Around the
    innermost pixel of a blob, its distance to the other part is a radius, also where blobs touch. Half of the area of
    all these disks belongs to disks up to the diameter that is returned.

    Parameters
    ----------
    plane : numpy.ndarray
        One channel of an image (*spatial).

    Returns
    -------
    float or None
        In pixels; None if fewer than three blobs have a center.
    """
    scale = max(min(1.0, _SIDE / max(plane.shape)), 1 / min(plane.shape))
    small = ndimage.uniform_filter(resize_image(plane[np.newaxis], scale)[0], _SMOOTH)
    inside = small > _halfway(small)
    if np.count_nonzero(inside) > inside.size / 2:
        inside = ~inside
    depth = ndimage.distance_transform_edt(inside)
    centers = (depth == ndimage.maximum_filter(depth, _PEAK)) & (depth >= _THIN)
    radii = np.sort(depth[centers])
    if len(radii) < _FEW:
        return None
    areas = np.cumsum(radii**2)
    return float(2 * radii[np.searchsorted(areas, areas[-1] / 2)] / scale)


def _halfway(plane: FloatArray) -> float:
    """The threshold in the middle between the mean above it and the mean below it."""
    threshold, close = float(plane.mean(dtype=np.float64)), _CLOSE * float(np.ptp(plane))
    for _ in range(_ROUNDS):
        above = plane > threshold
        if not above.any() or above.all():
            break
        sides = (float(plane[side].mean(dtype=np.float64)) for side in (above, ~above))
        middle = sum(sides) / 2
        if abs(middle - threshold) <= close:
            break
        threshold = middle
    return threshold
