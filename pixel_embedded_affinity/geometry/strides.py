"""Values of pixels at the positions of an embedding that has one vector for several pixels, and back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import compiled_library
from pixel_embedded_affinity.io.arrays import FloatArray
from pixel_embedded_affinity.labels import Labels, Mask

T = TypeVar("T", bound=np.generic)


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

    A foreground pixel whose position has no label takes the label of the nearest pixel that has one, up to one
    stride away.

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
    full = _to_pixels(labels, stride, shape)
    if foreground is None:
        return full
    inside = np.where(foreground, full, 0)
    for _ in range(max(stride)):
        _fill(inside, foreground & (inside == 0))
    return inside


def borders_placed(
    pixels: npt.NDArray[np.int32],
    positions: npt.NDArray[np.int32],
    vectors: npt.NDArray[np.float32],
    stride: Sequence[int],
) -> npt.NDArray[np.int32]:
    """Place the borders between touching objects to the pixel.

    A pixel next to positions of several objects joins the object whose mean vector is most similar to the vector
    between the positions around the pixel, interpolated linearly.

    Parameters
    ----------
    pixels : numpy.ndarray
        Labels of the pixels, from `spread`.
    positions : numpy.ndarray
        Labels of the positions.
    vectors : numpy.ndarray
        float32 ``(D, *positions.shape)``: the embedding, of unit length.
    stride : sequence of int
        Pixels of a position along each axis.

    Returns
    -------
    numpy.ndarray
        int32, of the shape of `pixels`; what is background stays background.
    """
    near = np.nonzero(_to_pixels(_beside_others(positions), stride, pixels.shape) & (pixels > 0))
    means, here = _means(positions, vectors), _between(vectors, near, stride)
    best, chosen = np.full(len(near[0]), -2.0, np.float32), pixels[near]
    for move in ((0,) * pixels.ndim, *_neighbors(pixels.ndim)):
        label = positions[_moved(near, stride, move, positions.shape)]
        similarity = np.where(label > 0, (means[label] * here).sum(axis=1), -2)
        chosen, best = np.where(similarity > best, label, chosen), np.maximum(similarity, best)
    placed = pixels.copy()
    placed[near] = chosen
    return placed


def borders_flooded(
    pixels: npt.NDArray[np.int32],
    foreground: npt.NDArray[np.float32],
    stride: Sequence[int],
    *,
    smoothing: float = 0,
) -> npt.NDArray[np.int32]:
    """Place the borders between touching objects where the foreground is least likely, in each section of a volume.

    The pixels up to two strides from a border are free; the objects grow back into them, likely foreground first.

    Parameters
    ----------
    pixels : numpy.ndarray
        Labels of the pixels, ``(*spatial)``, from `spread`.
    foreground : numpy.ndarray
        float32, of the same shape: probability that a pixel belongs to an object.
    stride : sequence of int
        Pixels of a position along each axis.
    smoothing : float
        Standard deviation, in pixels, of the Gaussian that smooths the foreground in each section.

    Returns
    -------
    numpy.ndarray
        int32, of the shape of `pixels`; what is background stays background, and no object leaves a section.
    """
    from scipy import ndimage

    placed = pixels.copy()
    for section in np.ndindex(pixels.shape[:-2]):
        heights = 1 - ndimage.gaussian_filter(foreground[section], smoothing)
        placed[section] = _flooded(pixels[section], heights, 2 * max(stride))
    return placed


def _flooded(labels: Labels, heights: FloatArray, reach: int) -> Labels:
    with compiled_library():
        from bioimage_cpp.segmentation import watershed

    near = _near_border(labels, reach)
    seeds = np.where(near, 0, labels)
    # A thin object has no pixel far from its border, and keeps all of them.
    counts = (np.bincount(values.ravel(), minlength=int(labels.max()) + 1) for values in (seeds, labels))
    kept = np.equal(*(count > 0 for count in counts))
    seeds = np.where(kept[labels], seeds, labels).astype(np.int32)
    # Pixels that touch no free one have nowhere to grow to.
    flooded = (labels > 0) & _grown(near)
    grown: Labels = watershed(heights.astype(np.float32), np.where(flooded, seeds, 0), mask=flooded)
    return np.where(grown > 0, grown, labels)


def _near_border(labels: Labels, reach: int) -> Mask:
    """Whether another object is at most `reach` pixels away, counted along rows and columns."""
    near = np.zeros(labels.shape, bool)
    for ends, marks in ((labels, near), (labels.T, near.T)):
        differs = (ends[1:] != ends[:-1]) & (ends[1:] > 0) & (ends[:-1] > 0)
        marks[1:] |= differs
        marks[:-1] |= differs
    for _ in range(reach - 1):
        near = _grown(near)
    return near


def _grown(mask: Mask) -> Mask:
    """The pixels of a mask and their neighbors along rows and columns."""
    grown = mask.copy()
    for before, after in ((mask, grown), (mask.T, grown.T)):
        after[1:] |= before[:-1]
        after[:-1] |= before[1:]
    return grown


def _beside_others(positions: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Whether a position and its neighbors belong to several objects."""
    from scipy import ndimage

    most = ndimage.maximum_filter(positions, 3)
    least = ndimage.minimum_filter(np.where(positions > 0, positions, most.max()), 3)
    several: npt.NDArray[np.bool_] = least < most
    return several


def _means(positions: npt.NDArray[np.int32], vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Mean vector of each label, of unit length."""
    sums = np.stack([np.bincount(positions.ravel(), one.ravel()) for one in vectors], axis=1)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    means: npt.NDArray[np.float32] = (sums / np.maximum(lengths, 1e-12)).astype(np.float32)
    return means


def _between(
    vectors: npt.NDArray[np.float32], pixels: tuple[npt.NDArray[np.intp], ...], stride: Sequence[int]
) -> npt.NDArray[np.float32]:
    """Vectors (N, D) at pixels, interpolated linearly between the centers of the positions."""
    lengths = vectors.shape[1:]
    places = [
        np.clip((pixel + 0.5) / step - 0.5, 0, n - 1) for pixel, step, n in zip(pixels, stride, lengths)
    ]
    before = [place.astype(np.intp) for place in places]
    found = np.zeros((len(pixels[0]), len(vectors)), np.float32)
    for corner in product((0, 1), repeat=len(lengths)):
        shares = [1 - abs(place - first - side) for place, first, side in zip(places, before, corner)]
        index = tuple(np.minimum(first + side, n - 1) for first, side, n in zip(before, corner, lengths))
        found += np.prod(shares, axis=0).astype(np.float32)[:, None] * vectors[(slice(None), *index)].T
    return found


def _moved(
    pixels: tuple[npt.NDArray[np.intp], ...], stride: Sequence[int], move: Sequence[int], shape: Sequence[int]
) -> tuple[npt.NDArray[np.intp], ...]:
    """Positions of pixels, one step on, within the image."""
    steps = zip(pixels, stride, move, shape)
    return tuple(np.clip(pixel // step + more, 0, length - 1) for pixel, step, more, length in steps)


def _to_pixels(values: npt.NDArray[T], stride: Sequence[int], shape: Sequence[int]) -> npt.NDArray[T]:
    """Give the value of each position to its pixels."""
    for axis, step in enumerate(stride):
        values = np.repeat(values, step, axis)
    return values[tuple(slice(0, length) for length in shape)]


def _every(start: Sequence[int], stride: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(begin, None, step) for begin, step in zip(start, stride))


def _fill(labels: Labels, missing: Mask) -> None:
    """Give pixels without a label the label of a neighbor, the nearest one first, where a neighbor has one."""
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
