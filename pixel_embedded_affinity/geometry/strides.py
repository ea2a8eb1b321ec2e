"""Between the pixels of an image and the positions of an embedding that has one vector for several pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.io.arrays import FloatArray
from pixel_embedded_affinity.labels import Labels, Mask


def at_positions(values: npt.NDArray[Any], stride: Sequence[int]) -> npt.NDArray[Any]:
    """Mean of the pixels of each position.

    Parameters
    ----------
    values : numpy.ndarray
        Shape ``(*spatial)``, numbers or bools. The last pixels are repeated where they do not fill a position.
    stride : sequence of int
        Pixels of a position along each axis.

    Returns
    -------
    numpy.ndarray
        Shape ``ceil(spatial / stride)``; the values themselves where every stride is 1, else float32.
    """
    if math.prod(stride) == 1:
        return values
    missing = [(0, -length % step) for length, step in zip(values.shape, stride)]
    padded = np.pad(values, missing, mode="edge").astype(np.float32, copy=False)
    corners = [padded[_every(start, stride)] for start in product(*map(range, stride))]
    mean: FloatArray = sum(corners[1:], start=corners[0]) / np.float32(len(corners))
    return mean


def spread(labels: Labels, foreground: Mask | None, shape: Sequence[int], stride: Sequence[int]) -> Labels:
    """Give the labels of positions to their pixels.

    A pixel of the foreground whose position has no label takes the label of the nearest pixel that has one, as far
    as the stride reaches.

    Parameters
    ----------
    labels : numpy.ndarray
        Labels of the positions, shape ``ceil(shape / stride)``.
    foreground : numpy.ndarray or None
        bool, of the image's shape: where labels may be; None for everywhere.
    shape, stride : sequence of int
        Spatial shape of the image, and pixels of a position along each axis.

    Returns
    -------
    numpy.ndarray
        int32 labels of the image's shape; the labels themselves where every stride is 1.
    """
    if math.prod(stride) == 1:
        return labels
    for axis, step in enumerate(stride):
        labels = np.repeat(labels, step, axis)
    full = labels[tuple(slice(0, length) for length in shape)]
    if foreground is None:
        return full
    inside = np.where(foreground, full, 0)
    for _ in range(max(stride)):
        _fill(inside, foreground & (inside == 0))
    return inside


def _every(start: Sequence[int], stride: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(begin, None, step) for begin, step in zip(start, stride))


def _fill(labels: Labels, missing: Mask) -> None:
    """Give pixels without a label the label of a neighbor, of the nearest ones first, where there is one."""
    places = np.nonzero(missing)
    padded = np.pad(labels, 1)
    found = np.zeros(len(places[0]), np.int32)
    for step in _neighbors(labels.ndim):
        neighbor = padded[tuple(place + 1 + move for place, move in zip(places, step))]
        found = np.where(found == 0, neighbor, found)
    labels[places] = found


def _neighbors(ndim: int) -> Iterator[tuple[int, ...]]:
    moves = (move for move in product((-1, 0, 1), repeat=ndim) if any(move))
    return iter(sorted(moves, key=lambda move: sum(map(abs, move))))
