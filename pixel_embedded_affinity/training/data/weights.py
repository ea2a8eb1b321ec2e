"""Pixel weights of the affinity loss: more at borders, more in small objects."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pixel_embedded_affinity.training.data.augment import OUTSIDE, FloatArray, LabelArray
from pixel_embedded_affinity.training.recipe import LossSettings


def object_areas(labels: LabelArray) -> npt.NDArray[np.int64]:
    """Area in pixels of each label of an image, by label."""
    return np.bincount(labels.ravel())


def pixel_weights(labels: LabelArray, areas: npt.NDArray[np.int64], settings: LossSettings) -> FloatArray:
    """Weigh the pixels of a crop: more near borders between labels, and more in small objects.

    Parameters
    ----------
    labels : numpy.ndarray
        Labels of the crop (H, W).
    areas : numpy.ndarray
        `object_areas` of the whole image, since an object that the crop cuts is not small.
    settings : LossSettings
        ``border_weight``, ``border_width``, ``small_weight``, ``small_area``.

    Returns
    -------
    numpy.ndarray
        float32 (H, W), at least 1.
    """
    weights = np.ones(labels.shape)
    if settings.border_weight:
        distance = _distance_to_border(labels)
        weights += settings.border_weight * np.exp(-((distance / settings.border_width) ** 2))
    if settings.small_weight:
        gain = settings.small_weight * np.exp(-areas / settings.small_area)
        weights += np.where(labels > 0, gain[np.maximum(labels, 0)], 0)
    return weights.astype(np.float32)


def _distance_to_border(labels: LabelArray) -> npt.NDArray[np.float64]:
    """Distance in pixels to the nearest pixel with a neighbor of another label; infinite if there is none."""
    border = np.zeros(labels.shape, dtype=bool)
    for axis in range(labels.ndim):
        ends = np.moveaxis(labels, axis, 0)
        marked = np.moveaxis(border, axis, 0)
        differs = (ends[1:] != ends[:-1]) & (ends[1:] != OUTSIDE) & (ends[:-1] != OUTSIDE)
        marked[1:] |= differs
        marked[:-1] |= differs
    if not border.any():
        return np.full(labels.shape, np.inf)
    distance: npt.NDArray[np.float64] = ndimage.distance_transform_edt(~border)
    return distance
