"""Confidence: how well the affinities agree that an object is one object, and a whole one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.affinity import Array, affinities, number_step, pair_boxes
from pixel_embedded_affinity.embedding import Embedding
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.scaling import resize_labels
from pixel_embedded_affinity.labels import as_labels
from pixel_embedded_affinity.neighborhood import Neighborhood

Confidences = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


def object_confidence(labels: Any, embedding: Embedding | Array, neighborhood: Neighborhood) -> Confidences:
    """Measure how well affinities agree with every object of a label image.

    The confidence of an object is the mean affinity of the pairs inside it, minus the mean positive affinity of
    the attractive pairs that cross its border (to other objects or to background)::

        confidence = max(0, mean(A inside) - mean(max(A, 0) across))

    An object is confident if its pixels are alike, and unlike the pixels just beyond its border. A label that joins
    several objects holds pairs that are not alike. A label that is only a part of an object resembles what lies
    across its border. A speck of background resembles its surroundings. Use the confidence to rank objects, for
    example to look at the least confident ones first; it is not a calibrated probability.

    Parameters
    ----------
    labels : array-like of int
        Shape ``(Y, X)`` or ``(Z, Y, X)``, 0 = background; need not be consecutive. They have the embedding's
        spatial shape; or the image's, where the network saw the image scaled, and are then resized to the
        embedding.
    embedding : Embedding, numpy.ndarray or torch.Tensor
        Shape ``(D, *spatial)``, as for `pixel_embedded_affinity.affinities`.
    neighborhood : Neighborhood
        The pairs of pixels: all count inside objects, only attractive ones across borders. Pairs start at every
        pixel, whatever the strides.

    Returns
    -------
    numpy.ndarray
        float64 in [0, 1], one value per object in ascending order of labels. The mean over no pair counts as 0.
        So an object has confidence 0 if no pair lies inside it, or if it is too small for the embedding's
        resolution, and loses nothing if no pair crosses its border.

    Raises
    ------
    InputError
        If the labels, the embedding or the neighborhood cannot be used, or no single scale turns the labels' shape
        into the embedding's.

    Notes
    -----
    Only the pairs of one offset are in memory at a time.
    """
    array = as_labels(labels)
    shape = _spatial_shape(embedding, neighborhood)
    if isinstance(embedding, Embedding) and array.shape == embedding.image_shape:
        array = embedding.part(array)
    elif array.shape != shape:
        _check_scaled(array.shape, embedding.seen_shape if isinstance(embedding, Embedding) else shape)
    objects = np.unique(array[array > 0])
    rows = np.searchsorted(objects, resize_labels(array, shape), side="right")
    inside, across = _Means(len(objects)), _Means(len(objects))
    given = affinities(embedding, replace(neighborhood, strides=(1,) * rows.ndim)).numpy()
    pixels = _Pixels.of(rows, neighborhood)
    for channel, (offset, attractive) in enumerate(zip(neighborhood.offsets, neighborhood.attractive)):
        if not attractive:  # only pairs inside objects count
            first, owners = pixels.pairs_within(offset)
            inside.add(owners, given.starting_at(channel, first))
            continue
        here, there = pair_boxes(rows.shape, offset)
        first, second, values = (
            rows[here].ravel(),
            rows[there].ravel(),
            np.ravel(given.channel(channel)[here]),
        )
        same = np.flatnonzero((first == second) & (first > 0))
        inside.add(first[same], values[same])
        other = np.flatnonzero(first != second)
        positive = np.maximum(values[other], 0)
        across.add(first[other], positive)
        across.add(second[other], positive)
    return np.clip(inside.of_objects() - across.of_objects(), 0, 1)


class _Pixels(NamedTuple):
    """The pixels of objects: numbers and rows; all rows with a rim as wide as any offset, and the places there."""

    numbers: Rows
    owners: Rows
    padded: Rows
    places: Rows

    @classmethod
    def of(cls, rows: Rows, neighborhood: Neighborhood) -> _Pixels:
        """Number the pixels in C order, with and without the rim."""
        reach = np.abs(neighborhood.offsets).max(axis=0)
        padded = np.pad(rows, [(rim, rim) for rim in reach.tolist()])
        numbers = np.flatnonzero(rows)
        return cls(numbers, rows.ravel()[numbers], padded, np.flatnonzero(padded))

    def pairs_within(self, offset: Sequence[int]) -> tuple[Rows, Rows]:
        """Number of the first pixel of each pair within an object, and the object's row."""
        step = number_step(self.padded.shape, offset)
        same = self.padded.ravel()[self.places + step] == self.owners
        return self.numbers[same], self.owners[same]


class _Means:
    """Mean value of each row, gathered offset by offset; row 0 is the background."""

    def __init__(self, objects: int) -> None:
        self._sums, self._counts = np.zeros(objects + 1), np.zeros(objects + 1)

    def add(self, rows: Rows, values: npt.NDArray[np.float32]) -> None:
        self._sums += np.bincount(rows, values, len(self._sums))
        self._counts += np.bincount(rows, minlength=len(self._counts))

    def of_objects(self) -> Confidences:
        """The means of all objects; 0 where there is no value."""
        return self._sums[1:] / np.maximum(self._counts[1:], 1)


def _spatial_shape(embedding: Embedding | Array, neighborhood: Neighborhood) -> tuple[int, ...]:
    """The embedding's spatial shape; refuses what is no embedding or no neighborhood."""
    if not isinstance(neighborhood, Neighborhood):
        raise InputError(
            f"neighborhood must be a Neighborhood, got {type(neighborhood).__name__}; use the model's, "
            "segmenter.config.neighborhood"
        )
    return affinities(embedding, Neighborhood(neighborhood.offsets[:1])).spatial_shape


def _check_scaled(shape: tuple[int, ...], scaled: tuple[int, ...]) -> None:
    """Refuse shapes if no single scale, with lengths rounded to pixels, turns one into the other."""
    same_axes = len(shape) == len(scaled) and min(scaled) > 0
    least = max(((new - 0.5) / old for old, new in zip(shape, scaled) if new > 1), default=0)
    most = min((new + 0.5) / old for old, new in zip(shape, scaled))
    if not same_axes or least > most:
        raise InputError(
            f"labels of shape {shape} for an embedding of spatial shape {scaled}; expected equal shapes, or "
            "shapes of an image before and after scaling; pass the labels of this embedding"
        )
