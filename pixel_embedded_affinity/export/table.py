"""Labels as a table: one row per object."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export import measurements
from pixel_embedded_affinity.export.base import FRAME_COLUMNS, Result
from pixel_embedded_affinity.export.measurements import Columns
from pixel_embedded_affinity.geometry.per_axis import numbers_per_axis
from pixel_embedded_affinity.image import Image, as_channels, in_usual_order
from pixel_embedded_affinity.io.arrays import numeric, opened
from pixel_embedded_affinity.io.atomic import atomic_path
from pixel_embedded_affinity.io.read import stored_source
from pixel_embedded_affinity.io.selection import SPATIAL
from pixel_embedded_affinity.labels import as_labels


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
    confidence: Any = None,
    *,
    axes: str | None = None,
    pixel_size: float | Sequence[float] | None = None,
) -> Columns:
    """Measure every object of a label image.

    Each measurement equals the one of scikit-image's ``regionprops`` of the same meaning, for objects as single images
    with background around them. ``pandas.DataFrame(table)`` takes the table as it is.

    Parameters
    ----------
    labels : array-like of integers
        Shape ``(Y, X)`` or ``(Z, Y, X)``, 0 = background; need not be consecutive. Where `axes` says so, in another
        order, or of a time-lapse: the frames are then measured one by one.
    intensity : path or array-like, optional
        The image, as `Segmenter.segment` takes it: a path, or an array of the labels' shape, with channels last or
        first, which the labels tell apart.
    confidence : array-like, optional
        A number for each object in ascending order of labels, for the column ``confidence``.
    axes : str, optional
        A letter per axis of `intensity`, as for `Segmenter.segment`. The labels have the same axes without channels, so
        that all columns are what they say: the one of ``centroid-x`` is that of the axis X, wherever it lies. Of a
        time-lapse, such as ``"TYX"``: three axes without letters are a volume.
    pixel_size : float or sequence of float, optional
        Size of a pixel in micrometers, one number or one per axis of the labels in their order.

    Returns
    -------
    dict of str to numpy.ndarray
        One entry per object in each column, in ascending order of labels; lengths are in pixels:

        - ``frame``, of a time-lapse: the number of the time point, from 0;
        - ``label``;
        - ``area``: number of pixels, in 3D of voxels;
        - ``centroid-y``, ``centroid-x`` (3D: ``centroid-z`` first): mean coordinate of the pixels' centers;
        - ``bbox-y-start``, ``bbox-y-stop``, ...: bounding box, stop excluded, as in a Python slice;
        - ``equivalent_diameter``: of the circle, in 3D of the ball, of the same area;
        - ``mean_intensity``, or ``mean_intensity-0``, ... per channel where `intensity` has a channel axis;
        - ``confidence``, if given;
        - ``axis_major_length``, ``axis_minor_length``: the longest and the shortest axis of the ellipse, in 3D of the
          ellipsoid, whose second moments are those of the pixels' centers;
        - ``extent``: area as a share of the bounding box;
        - ``eccentricity`` (2D): of that ellipse; 0 for a circle;
        - ``orientation`` (2D): angle in radians from the y axis to the major axis, from -pi/2 to pi/2; -pi/4 where no
          axis is the longer one;
        - ``perimeter`` (2D): length of the line through the centers of the border pixels, which have something else
          above, below, left or right;
        - ``solidity`` (2D): area as a share of the convex hull's;
        - ``min_intensity``, ``max_intensity``, ``sd_intensity``, or with the number of the channel as above: least and
          largest value, and the standard deviation (of the pixels themselves: divided by their number);
        - with `pixel_size`, in micrometers: ``area_um2`` (3D: ``volume_um3``), ``centroid-y_um`` and so on,
          ``equivalent_diameter_um``, ``axis_major_length_um``, ``axis_minor_length_um``, and ``perimeter_um`` where
          pixels are squares.

        Without objects, all columns are empty.

    Raises
    ------
    InputError
        If the labels or the intensity cannot be used, their shapes differ, or there is not one confidence for each
        object.
    """
    if axes is not None and "T" in axes:
        if confidence is not None:
            raise InputError("confidence= is for one image; expected None with frames (T in axes)")
        return _table_of_frames(labels, intensity, axes, pixel_size)
    array = as_labels(labels)
    if intensity is None:
        return table_of(array, _spatial_axes(axes, array.ndim), {}, confidence, pixel_size)
    image = as_channels(intensity, ndim=array.ndim, axes=axes, spatial_shape=array.shape)
    channels = channels_of(intensity, image)
    return table_of(array, image.spatial_axes, channels, confidence, pixel_size)


def _table_of_frames(
    labels: Any, intensity: Any, axes: str, pixel_size: float | Sequence[float] | None
) -> Columns:
    """Measure each frame of a time-lapse; the rows of all come one after the other."""
    letters, rest = axes.replace("C", ""), axes.replace("T", "")
    array = as_labels(labels, frames=True)
    if isinstance(intensity, (str, os.PathLike)):
        intensity = stored_source(Path(intensity)).values
    values = None if intensity is None else numeric(opened(intensity, "intensity"), "intensity")
    wrong = array.ndim != len(letters) or (values is not None and values.ndim != len(axes))
    if axes.count("T") != 1 or wrong:
        given = "" if values is None else f", intensity of shape {values.shape}"
        raise InputError(
            f"axes='{axes}' for labels of shape {array.shape}{given}; expected a letter for each axis of the "
            "intensity, and the same without C for the labels"
        )
    frames = np.moveaxis(array, letters.index("T"), 0)
    shown = repeat(None) if values is None else iter(np.moveaxis(values, axes.index("T"), 0))
    tables = [
        object_table(frame, image, axes=rest, pixel_size=pixel_size) for frame, image in zip(frames, shown)
    ]
    return joined_tables(tables, FRAME_COLUMNS["T"])


def joined_tables(tables: Sequence[Columns], column: str) -> Columns:
    """Return the rows of the tables of all frames, one after the other, with a column of the frames' numbers."""
    numbers = np.repeat(np.arange(len(tables)), [len(table["label"]) for table in tables])
    return {column: numbers} | {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def _spatial_axes(axes: str | None, ndim: int) -> str:
    """Letters of the axes of labels that come without an image."""
    spatial = SPATIAL[ndim] if axes is None else axes.replace("C", "")
    if sorted(spatial) != sorted(SPATIAL[ndim]):
        raise InputError(
            f"axes='{axes}' for labels of {ndim} axes; expected a letter per axis, such as {SPATIAL[ndim]}"
        )
    return spatial


def table_of(
    labels: npt.NDArray[Any],
    axes: str,
    channels: Mapping[str, npt.NDArray[np.float32]],
    confidence: Any,
    pixel_size: float | Sequence[float] | None,
) -> Columns:
    """Measure objects whose axes have letters; see `object_table` for the columns and errors.

    Parameters
    ----------
    labels : numpy.ndarray
        Of any order of axes.
    axes : str
        A letter per axis of the labels.
    channels : dict of str to numpy.ndarray
        From `channels_of`; their axes have the usual order.
    confidence : array-like or None
        A number for each object in ascending order of labels.
    pixel_size : float or sequence of float or None
        Size of a pixel in micrometers along each axis of the labels, in their order.
    """
    array = in_usual_order(labels, axes)
    for values in channels.values():
        as_labels(array, values.shape)
    objects = measurements.objects_of(array)
    names = "zyx"[-array.ndim :]
    table: Columns = {"label": objects.ids, "area": objects.area}
    table |= {
        f"centroid-{name}": mean for name, mean in zip(names, measurements.centroids(objects), strict=True)
    }
    for name, (start, stop) in zip(names, measurements.bounds(objects), strict=True):
        table |= {f"bbox-{name}-start": start, f"bbox-{name}-stop": stop}
    # Area of the disk pi d^2 / 4, volume of the ball pi d^3 / 6: in both, pi d^n / (2 n).
    table["equivalent_diameter"] = (2 * array.ndim * objects.area / np.pi) ** (1 / array.ndim)
    means = {suffix: measurements.means(objects, values) for suffix, values in channels.items()}
    table |= {f"mean_intensity{suffix}": mean for suffix, mean in means.items()}
    if confidence is not None:
        table["confidence"] = _one_for_each(confidence, len(objects.ids))
    table |= measurements.shapes(objects)
    for suffix, values in channels.items():
        found = measurements.intensities(objects, values, means[suffix])
        table |= {f"{name}{suffix}": column for name, column in found.items()}
    if pixel_size is not None:
        sizes = dict(zip(axes, numbers_per_axis(pixel_size, array.ndim, "pixel_size")))
        table |= _calibrated(table, objects, [sizes[letter] for letter in SPATIAL[array.ndim]])
    return table


def _calibrated(table: Columns, objects: measurements.Objects, sizes: Sequence[float]) -> Columns:
    """Return the columns in micrometers; positions count from the center of the first pixel."""
    names = "zyx"[-objects.ndim :]
    size = float(np.prod(sizes)) * objects.area
    found: Columns = {"area_um2" if len(names) == 2 else "volume_um3": size}
    found |= {
        f"centroid-{name}_um": table[f"centroid-{name}"] * length
        for name, length in zip(names, sizes, strict=True)
    }
    found["equivalent_diameter_um"] = (2 * len(names) * size / np.pi) ** (1 / len(names))
    found |= {f"{name}_um": lengths for name, lengths in measurements.axis_lengths(objects, sizes).items()}
    # The length of a line of steps between pixels is known from their number only where all steps are alike.
    if "perimeter" in table and len(set(sizes)) == 1:
        found["perimeter_um"] = sizes[0] * table["perimeter"]
    return found


def write_table(path: str | os.PathLike[str], table: Mapping[str, Any]) -> None:
    """Write a table as CSV: a header, commas, and numbers with all their digits.

    Bytes of a file's name that are not UTF-8 are escaped.

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
    with (
        atomic_path(path, (".csv",)) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(values.tolist() for values in columns.values()), strict=True))


def channels_of(intensity: Any, image: Image) -> dict[str, npt.NDArray[np.float32]]:
    """Return the channels of an image, which was read from `intensity`, by what their columns' names end in."""
    # A file with one channel counts as one without an axis of channels.
    gray = "C" not in image.source_axes or isinstance(intensity, (str, os.PathLike))
    if len(image.values) == 1 and gray:
        return {"": image.values[0]}
    return {f"-{index}": channel for index, channel in enumerate(image.values)}


def _one_for_each(confidence: Any, count: int) -> npt.NDArray[Any]:
    column = numeric(opened(confidence, "confidence"), "confidence")
    if column.shape != (count,):
        raise InputError(
            f"confidence of shape {column.shape} for {count} object(s); expected one number for each"
        )
    return column
