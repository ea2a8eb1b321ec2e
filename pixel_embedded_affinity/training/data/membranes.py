"""Membranes between the objects of a crop, which belong to none of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.training.data.augment import MEMBRANE, OUTSIDE, LabelArray


def membranes_marked(labels: LabelArray, width: int) -> LabelArray:
    """Give membranes their own label: pixels without a label, and pixels near a border between labels.

    Parameters
    ----------
    labels : numpy.ndarray
        int32 ``(*spatial, H, W)``; borders count within a section alone. Not modified.
    width : int
        Pixels on either side of a border, along y and x, that are membrane; 0 marks nothing.

    Returns
    -------
    numpy.ndarray
        int32: `augment.MEMBRANE` on membranes, `augment.OUTSIDE` where it was, and the labels of the objects.
    """
    if not width:
        return labels
    near = labels == 0
    for axis in (-2, -1):
        for step in range(1, width + 1):
            _mark_pairs(labels, near, axis, step)
    marked: LabelArray = np.where(near & (labels != OUTSIDE), np.int32(MEMBRANE), labels)
    return marked


def _mark_pairs(labels: LabelArray, near: npt.NDArray[np.bool_], axis: int, step: int) -> None:
    """Mark both ends of the pairs, `step` pixels apart along an axis, whose labels differ."""
    ends, marked = np.moveaxis(labels, axis, 0), np.moveaxis(near, axis, 0)
    first, second = ends[:-step], ends[step:]
    differs = (first != second) & (first != OUTSIDE) & (second != OUTSIDE)
    marked[:-step] |= differs
    marked[step:] |= differs
