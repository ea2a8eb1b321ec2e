"""Labels as a table: one row per object."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export.base import Result
from pixel_embedded_affinity.geometry.per_axis import numbers_per_axis
from pixel_embedded_affinity.image import as_channels
from pixel_embedded_affinity.io.atomic import atomic_path
from pixel_embedded_affinity.labels import as_labels

Indices = npt.NDArray[np.intp]
Columns = dict[str, npt.NDArray[Any]]


class Table:
    """Exporter of a result's table."""

    suffix = "_objects.csv"
    help = "a row per object"

    def write(self, path: Path, result: Result) -> None:
        """Write the table."""
        write_table(path, result.table)


def object_table(
    labels: Any,
    intensity: Any = None,
    *,
    axes: str | None = None,
    pixel_size: float | Sequence[float] | None = None,
) -> Columns:
    """Measure every object of a label image.

    Parameters
    ----------
    labels : array-like of integers
        Shape ``(Y, X)`` or ``(Z, Y, X)``, 0 = background; need not be consecutive.
    intensity : path or array-like, optional
        The image, as `Segmenter.segment` takes it: a path, or an array of the labels' shape, with channels last or
        first, which the labels tell apart.
    axes : str, optional
        A letter per axis of `intensity`, as for `Segmenter.segment`.
    pixel_size : float or sequence of float, optional
        Size of a pixel in micrometers, one number or one per axis of the labels in their order.

    Returns
    -------
    dict of str to numpy.ndarray
        One entry per object in each column, in ascending order of labels; lengths are in pixels:

        - ``label``;
        - ``area``: number of pixels, in 3D of voxels;
        - ``centroid-y``, ``centroid-x`` (3D: ``centroid-z`` first): mean coordinate of the pixels' centers;
        - ``bbox-y-start``, ``bbox-y-stop``, ...: bounding box, stop excluded, as in a Python slice;
        - ``equivalent_diameter``: of the circle, in 3D of the ball, of the same area;
        - with `pixel_size`, the same in micrometers: ``area_um2`` (3D: ``volume_um3``), ``centroid-y_um`` and so on,
          and ``equivalent_diameter_um``;
        - ``mean_intensity``, or ``mean_intensity-0``, ... per channel where `intensity` has a channel axis.

        Without objects, all columns are empty.

    Raises
    ------
    InputError
        If the labels or the intensity cannot be used, or their shapes differ.
    """
    array = as_labels(labels)
    spatial = np.nonzero(array)
    ids, rows = np.unique(array[spatial], return_inverse=True)
    area = np.bincount(rows, minlength=len(ids))
    names = "zyx"[-array.ndim :]
    table: Columns = {"label": ids, "area": area}
    table |= {
        f"centroid-{name}": np.bincount(rows, axis, len(ids)) / area
        for name, axis in zip(names, spatial, strict=True)
    }
    table |= _bounding_boxes(names, spatial, rows, area)
    # Area of the disk pi d^2 / 4, volume of the ball pi d^3 / 6: in both, pi d^n / (2 n).
    table["equivalent_diameter"] = (2 * array.ndim * area / np.pi) ** (1 / array.ndim)
    if pixel_size is not None:
        table |= _calibrated(table, names, numbers_per_axis(pixel_size, array.ndim, "pixel_size"))
    if intensity is not None:
        table |= _mean_intensities(intensity, axes, array, spatial, rows, area)
    return table


def _calibrated(table: Columns, names: str, sizes: Sequence[float]) -> Columns:
    """Return the columns in micrometers; positions count from the center of the first pixel."""
    size = float(np.prod(sizes)) * table["area"]
    found: Columns = {"area_um2" if len(names) == 2 else "volume_um3": size}
    found |= {
        f"centroid-{name}_um": table[f"centroid-{name}"] * length
        for name, length in zip(names, sizes, strict=True)
    }
    found["equivalent_diameter_um"] = (2 * len(names) * size / np.pi) ** (1 / len(names))
    return found


def write_table(path: str | os.PathLike[str], table: Mapping[str, Any]) -> None:
    """Write a table as CSV: a header, commas, and numbers with all their digits.

    Parameters
    ----------
    path : str or path-like
        A name ending in ``.csv`` in an existing folder; a file there is replaced, at once and whole.
    table : mapping of str to sequence
        Columns of equal length, such as `object_table` gives.

    Raises
    ------
    InputError
        If the table is no mapping, its columns differ in length or are not one-dimensional, or the path does
        not fit.
    """
    if not isinstance(table, Mapping):
        raise InputError(
            f"table of type {type(table).__name__}; expected a mapping of column names to columns, such as "
            "object_table gives"
        )
    columns = {name: np.asarray(values) for name, values in table.items()}
    shapes = {name: values.shape for name, values in columns.items()}
    if len(set(shapes.values())) != 1 or len(next(iter(shapes.values()))) != 1:
        raise InputError(
            f"table with columns of shapes {shapes}; expected one-dimensional columns of equal length"
        )
    with atomic_path(path, (".csv",)) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(values.tolist() for values in columns.values()), strict=True))


def _bounding_boxes(names: str, spatial: tuple[Indices, ...], rows: Indices, area: Indices) -> Columns:
    """Return the first coordinate and the last one plus 1 per object, from pixels sorted by object."""
    if not len(area):
        return {
            f"bbox-{name}-{end}": np.empty(0, dtype=np.intp) for name in names for end in ("start", "stop")
        }
    order = np.argsort(rows, kind="stable")
    starts = np.cumsum(area) - area
    boxes: Columns = {}
    for name, axis in zip(names, spatial, strict=True):
        boxes[f"bbox-{name}-start"] = np.minimum.reduceat(axis[order], starts)
        boxes[f"bbox-{name}-stop"] = np.maximum.reduceat(axis[order], starts) + 1
    return boxes


def _mean_intensities(
    intensity: Any,
    axes: str | None,
    labels: npt.NDArray[Any],
    spatial: tuple[Indices, ...],
    rows: Indices,
    area: Indices,
) -> Columns:
    values = as_channels(intensity, ndim=labels.ndim, axes=axes, spatial_shape=labels.shape)
    as_labels(labels, values.shape[1:])
    means = [np.bincount(rows, channel[spatial], len(area)) / area for channel in values]
    if len(values) == 1 and _is_gray(intensity, labels.ndim):
        return {"mean_intensity": means[0]}
    return {f"mean_intensity-{index}": mean for index, mean in enumerate(means)}


def _is_gray(intensity: Any, ndim: int) -> bool:
    """Whether an image has no axis of channels; a file with one channel counts as one without."""
    return isinstance(intensity, (str, os.PathLike)) or np.ndim(intensity) == ndim
