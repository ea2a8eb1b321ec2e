"""Measurements of all objects at once, from runs of pixels; each equals scikit-image's ``regionprops``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.float64]
Columns = dict[str, npt.NDArray[Any]]

_CLOSE = 1e-10
# Steps along the border of an object, by 1 + 2 x border pixels beside + 10 x border pixels across a corner: straight,
# diagonal, and half of each.
_STEPS = np.zeros(50)
_STEPS[[5, 7, 15, 17, 25, 27]] = 1
_STEPS[[21, 33]] = np.sqrt(2)
_STEPS[[13, 23]] = (1 + np.sqrt(2)) / 2


class Objects(NamedTuple):
    """The objects of a label image as runs of pixels along the last axis, in C order.

    Attributes
    ----------
    labels : numpy.ndarray
        The label image.
    ids : numpy.ndarray
        The labels of the objects, ascending; a row of the table for each.
    area : numpy.ndarray
        The pixels of each object.
    rows : numpy.ndarray
        The row of the object, for each run.
    first, lengths : numpy.ndarray
        Each run's first pixel in the flat image, and its pixels.
    """

    labels: Integers
    ids: Integers
    area: Integers
    rows: Integers
    first: Integers
    lengths: Integers

    @property
    def ndim(self) -> int:
        """The spatial axes."""
        return self.labels.ndim

    def starts(self) -> tuple[Integers, ...]:
        """Return the coordinates of each run's first pixel, along each axis."""
        return np.unravel_index(self.first, self.labels.shape)

    def sums(self, of_runs: npt.NDArray[Any]) -> Floats:
        """Add the values of each object's runs."""
        return np.asarray(np.bincount(self.rows, of_runs, len(self.ids)), dtype=np.float64)

    def pixels(self) -> Integers:
        """Return the places of all pixels of objects in the flat image."""
        within = np.arange(self.lengths.sum()) - np.repeat(
            np.cumsum(self.lengths) - self.lengths, self.lengths
        )
        return np.asarray(np.repeat(self.first, self.lengths) + within)


def objects_of(labels: Integers) -> Objects:
    """Find the objects of a label image."""
    flat = labels.ravel()
    begins = np.ones(flat.size, np.bool_)
    np.not_equal(flat[1:], flat[:-1], out=begins[1:])
    begins[:: labels.shape[-1]] = True
    first = np.flatnonzero(begins)
    lengths = np.diff(first, append=flat.size)
    inside = flat[first] > 0
    first, lengths = first[inside], lengths[inside]
    ids, rows = np.unique(flat[first], return_inverse=True)
    area = np.bincount(rows, lengths, len(ids)).astype(np.intp)
    return Objects(labels, ids, area, rows, first, lengths)


def bounds(objects: Objects) -> list[tuple[Integers, Integers]]:
    """Return the first coordinate of each object and the last one plus 1, along each axis."""
    ends = list(objects.starts())
    ends[-1] = ends[-1] + objects.lengths - 1
    least, most = _per_object(np.minimum, objects), _per_object(np.maximum, objects)
    return [(least(start), most(end) + 1) for start, end in zip(objects.starts(), ends, strict=True)]


def centroids(objects: Objects) -> list[Floats]:
    """Return the mean coordinates of each object's pixels."""
    *others, last = objects.starts()
    sums = [objects.sums(start * objects.lengths) for start in others]
    sums.append(objects.sums(objects.lengths * last + objects.lengths * (objects.lengths - 1) // 2))
    return [total / objects.area for total in sums]


def means(objects: Objects, channel: npt.NDArray[np.float32]) -> Floats:
    """Return the mean of a channel of the image within each object."""
    rows = np.repeat(objects.rows, objects.lengths)
    return np.bincount(rows, channel.ravel()[objects.pixels()], len(objects.ids)) / objects.area


def shapes(objects: Objects) -> Columns:
    """Return the columns that describe the form of each object; `table.object_table` lists them."""
    covariance = _covariances(objects)
    columns = _axes(covariance)
    columns["extent"] = objects.area / np.prod([stop - start for start, stop in bounds(objects)], axis=0)
    if objects.ndim == 2:
        columns["eccentricity"] = _eccentricity(covariance)
        columns["orientation"] = _orientation(covariance)
        columns["perimeter"] = _perimeter(objects)
        columns["solidity"] = objects.area / _convex_area(objects)
    return columns


def axis_lengths(objects: Objects, sizes: Sequence[float]) -> Columns:
    """Return the columns ``axis_major_length`` and ``axis_minor_length`` in the unit of the pixels' sizes per axis."""
    return _axes(_covariances(objects) * np.outer(sizes, sizes))


def intensities(objects: Objects, channel: npt.NDArray[np.float32], means: Floats) -> Columns:
    """Return the columns that describe a channel of the image within each object, whose means are known."""
    pixels = objects.pixels()
    values = channel.ravel()[pixels].astype(np.float64)
    begins = np.cumsum(objects.lengths) - objects.lengths
    spread = (values - np.repeat(means[objects.rows], objects.lengths)) ** 2
    least, most, squares = (
        function.reduceat(of_pixels, begins) if len(begins) else np.empty(0)
        for function, of_pixels in ((np.minimum, values), (np.maximum, values), (np.add, spread))
    )
    return {
        "min_intensity": _per_object(np.minimum, objects)(least),
        "max_intensity": _per_object(np.maximum, objects)(most),
        "sd_intensity": np.sqrt(objects.sums(squares) / objects.area),
    }


def _per_object(function: np.ufunc, objects: Objects) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
    """Return a function that reduces the values of runs to one for each object."""
    order = np.argsort(objects.rows, kind="stable")
    counts = np.bincount(objects.rows, minlength=len(objects.ids))
    begins = np.cumsum(counts) - counts

    def reduced(of_runs: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.asarray(function.reduceat(of_runs[order], begins)) if len(begins) else of_runs[:0]

    return reduced


# --- moments ----------------------------------------------------------------------------------------------


def _covariances(objects: Objects) -> Floats:
    """Return the covariance of the coordinates of each object's pixels, ``(n, ndim, ndim)``.

    Coordinates start at the object's own box: so all sums are of whole numbers, and exact unless an object is huge.
    """
    count = objects.lengths
    *others, last = (
        start - origin[objects.rows]
        for start, (origin, _) in zip(objects.starts(), bounds(objects), strict=True)
    )
    line = count * last + count * (count - 1) // 2
    square = count * last**2 + last * count * (count - 1) + (count - 1) * count * (2 * count - 1) // 6
    firsts = [objects.sums(values) for values in (*(other * count for other in others), line)]
    result = np.empty((len(objects.ids), objects.ndim, objects.ndim))
    for i in range(objects.ndim):
        for j in range(i, objects.ndim):
            if i == j:
                of_runs = others[i] ** 2 * count if i < len(others) else square
            else:
                of_runs = others[i] * (others[j] * count if j < len(others) else line)
            mixed = objects.area * objects.sums(of_runs) - firsts[i] * firsts[j]
            result[:, i, j] = result[:, j, i] = mixed / objects.area.astype(np.float64) ** 2
    return result


def _variances(covariance: Floats) -> Floats:
    """Return the variances along the axes of each object's ellipse or ellipsoid, ascending, ``(n, ndim)``."""
    return np.asarray(np.clip(np.linalg.eigvalsh(covariance), 0, None))


def _axes(covariance: Floats) -> Columns:
    """Return the axes of the ellipse, in 3D of the ellipsoid, that has the same variances."""
    lengths = np.sqrt(4 * (covariance.shape[-1] + 2) * _variances(covariance))
    return {"axis_major_length": lengths[:, -1], "axis_minor_length": lengths[:, 0]}


def _eccentricity(covariance: Floats) -> Floats:
    least, most = _variances(covariance).T
    ratio = np.divide(least, most, out=np.ones_like(most), where=most > 0)
    return np.asarray(np.sqrt(1 - ratio))


def _orientation(covariance: Floats) -> Floats:
    """Return the angle between the first axis and the major one; -pi/4 where no axis is longer than another."""
    mixed, difference = covariance[:, 0, 1], covariance[:, 0, 0] - covariance[:, 1, 1]
    angle = np.arctan2(2 * mixed, difference) / 2
    return np.where((mixed == 0) & (difference == 0), -np.pi / 4, angle)


# --- perimeter --------------------------------------------------------------------------------------------


def _perimeter(objects: Objects) -> Floats:
    """Add the steps along the pixels of each object that have a pixel of something else beside them."""
    rows = np.zeros(objects.labels.size, np.int32)
    rows[objects.pixels()] = np.repeat(objects.rows, objects.lengths) + 1
    padded = np.pad(rows.reshape(objects.labels.shape), 1)
    width = padded.shape[1]
    flat, beside = padded.ravel(), (1, -1, width, -width)
    inner = padded[1:-1, 1:-1]
    border = np.zeros(padded.shape, np.bool_)
    for neighbor in (padded[2:, 1:-1], padded[:-2, 1:-1], padded[1:-1, 2:], padded[1:-1, :-2]):
        border[1:-1, 1:-1] |= inner != neighbor
    border &= padded > 0
    places = np.flatnonzero(border)
    on_border = np.where(border.ravel(), flat, 0)
    own = flat[places]
    code = np.ones(len(places), np.intp)
    for step in (*beside, 1 + width, 1 - width, width - 1, -1 - width):
        code += (2 if step in beside else 10) * (on_border[places + step] == own)
    return np.asarray(np.bincount(own - 1, _STEPS[code], len(objects.ids)), dtype=np.float64)


# --- convex hull ------------------------------------------------------------------------------------------


def _convex_area(objects: Objects) -> Integers:
    """Count the pixels whose centers are in the convex hull of each object.

    The hull is that of the middles of the pixels' edges, as scikit-image has it.
    """
    line, left, right, rows = _extremes(objects)
    object_, least = _envelope(rows, line, left)
    _, most = _envelope(rows, line, -right)
    begin = np.ceil(_widened(object_, least) - _CLOSE)
    end = np.floor(-_widened(object_, most) + _CLOSE)
    return np.bincount(object_, end - begin + 1, len(objects.ids)).astype(np.intp)


def _extremes(objects: Objects) -> tuple[Integers, Integers, Integers, Integers]:
    """Return, for each object and each line of the image that it meets, the line, its ends there, and its row."""
    order = np.argsort(objects.rows, kind="stable")
    rows = objects.rows[order]
    line, left = (start[order] for start in objects.starts())
    right = left + objects.lengths[order] - 1
    new = np.append(True, (rows[1:] != rows[:-1]) | (line[1:] != line[:-1]))[: len(rows)]
    last = np.append(new[1:], True)[: len(rows)]
    return line[new], left[new], right[last], rows[new]


def _envelope(rows: Integers, line: Integers, value: Integers) -> tuple[Integers, Floats]:
    """Return the lower convex envelope of values over lines, for each object and each line from its first to its last.

    Returns
    -------
    (numpy.ndarray, numpy.ndarray)
        The row of the object, and the envelope; lines ascend within an object.
    """
    first = np.flatnonzero(np.append(True, rows[1:] != rows[:-1])[: len(rows)])
    last = np.append(first[1:], len(rows))[: len(first)] - 1
    spans = line[last] - line[first] + 1
    object_ = np.repeat(rows[first], spans)
    queried = np.arange(spans.sum()) - np.repeat(np.cumsum(spans) - spans - line[first], spans)
    # Objects come one after the other on one axis, so that one call serves all.
    gap = int(line.max(initial=0)) + 1
    kept_rows, kept_lines, kept = rows, line, value
    while True:
        above = _above(kept_rows, kept_lines, kept)
        if not above.any():
            break
        kept_rows, kept_lines, kept = kept_rows[~above], kept_lines[~above], kept[~above]
    if not len(kept):
        return object_, np.empty(0)
    return object_, np.interp(object_ * gap + queried, kept_rows * gap + kept_lines, kept)


def _above(rows: Integers, line: Integers, value: Integers) -> npt.NDArray[np.bool_]:
    """Whether a point lies on or above the line between its neighbors of the same object, and so shapes no envelope."""
    above = np.zeros(len(rows), np.bool_)
    before, here, after = slice(None, -2), slice(1, -1), slice(2, None)
    rise = (value[here] - value[before]) * (line[after] - line[before])
    chord = (value[after] - value[before]) * (line[here] - line[before])
    above[here] = (rows[before] == rows[after]) & (rise >= chord)
    return above


def _widened(object_: Integers, envelope: Floats) -> Floats:
    """Return the envelope of the middles of the pixels' edges, from the one of the pixels' centers.

    It is half a pixel lower on a line, or as low as the old one is half a line away.
    """
    widened = envelope - 0.5
    same = object_[1:] == object_[:-1]
    half = np.where(same, (envelope[1:] + envelope[:-1]) / 2, np.inf)
    widened[1:] = np.minimum(widened[1:], half)
    widened[:-1] = np.minimum(widened[:-1], half)
    return widened
