"""Labels as GeoJSON, which QuPath opens as detections with their measurements."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export.base import FRAME_COLUMNS, Result, refuse_volumes
from pixel_embedded_affinity.export.polygons import Polygon, Ring, pieces_by_label
from pixel_embedded_affinity.export.table import object_table
from pixel_embedded_affinity.io.atomic import atomic_path


class Qupath:
    """Exporter that calls `write_qupath`."""

    suffix = "_objects.geojson"
    help = "detections with measurements for QuPath (GeoJSON)"

    def check(self, ndim: int) -> None:
        """Refuse volumes."""
        refuse_volumes("--qupath", ndim)

    def write(self, path: Path, result: Result) -> None:
        """Write a detection for each object, with all columns of the table, on its time point and section."""
        features: list[dict[str, Any]] = []
        for number, labels in result.frames():
            table = _of_frame(result.table, number, FRAME_COLUMNS.get(result.frame_axis, ""))
            place = result.place_of(number)
            features += _features(labels, table, {"c": -1, "z": 0, "t": 0, **place} if place else {})
        _write(path, features)


def write_qupath(path: str | os.PathLike[str], labels: Any, table: Mapping[str, Any] | None = None) -> None:
    """Write a detection with measurements for each object of a label image, as GeoJSON for QuPath.

    A detection has the outline of the object's pixels, with its holes; an object of several pieces is one detection.
    Coordinates are in pixels, which is what QuPath expects in a file.

    Parameters
    ----------
    path : str or path-like
        A name ending in ``.geojson`` in an existing folder; a file there is replaced, at once and whole.
    labels : array-like of integers
        Shape ``(Y, X)``, 0 = background.
    table : mapping of str to sequence, optional
        Measurements with a column ``label``, such as `object_table` gives, which is the default.

    Raises
    ------
    InputError
        If the labels cannot be used, the table does not have a row for each object, or the path does not fit.
    """
    _write(path, _features(labels, object_table(labels) if table is None else table, {}))


def _write(path: str | os.PathLike[str], features: list[dict[str, Any]]) -> None:
    content = json.dumps({"type": "FeatureCollection", "features": features}, allow_nan=False)
    with atomic_path(path, (".geojson",)) as temporary:
        temporary.write_text(content, encoding="utf-8")


def _of_frame(table: Mapping[str, Any], number: int | None, column: str) -> Mapping[str, Any]:
    """Return the rows of a time point or section; of an image, all rows."""
    if number is None:
        return table
    chosen = np.asarray(table[column]) == number
    return {name: np.asarray(values)[chosen] for name, values in table.items()}


def _features(labels: Any, table: Mapping[str, Any], place: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return a feature for each object of an image, or of the plane at this place of a stack."""
    pieces, rows = pieces_by_label(labels), _measurements(table)
    if missing := sorted(set(pieces) - set(rows)):
        raise InputError(
            f"the table has no row for {len(missing)} object(s), such as {missing[0]}; expected a column 'label' with "
            "all labels; pass the table of these labels"
        )
    plane = {"plane": place} if place else {}
    return [_feature(label, found, rows[label], plane) for label, found in pieces.items()]


def _measurements(table: Mapping[str, Any]) -> dict[int, dict[str, float]]:
    """Return the finite numbers of each row, by label; JSON has no others, and QuPath measures no texts."""
    if not isinstance(table, Mapping):
        raise InputError(
            f"table is of type {type(table).__name__}; expected columns by name, such as object_table gives"
        )
    arrays = {name: np.asarray(values) for name, values in table.items()}
    lengths = {len(values) if values.ndim == 1 else None for values in arrays.values()}
    if len(lengths) > 1 or None in lengths:
        raise InputError(
            "the columns of the table have several lengths; expected one value for each object in each"
        )
    labels = arrays.get("label", np.zeros(0, np.int64))
    if labels.dtype.kind not in "iu":
        raise InputError(f"the column 'label' of the table has the dtype {labels.dtype}; expected integers")
    columns = {name: values.tolist() for name, values in arrays.items() if values.dtype.kind in "biuf"}
    rows = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    return {
        int(row["label"]): {name: value for name, value in row.items() if math.isfinite(value)}
        for row in rows
        if "label" in row
    }


def _feature(
    label: int, pieces: list[Polygon], measurements: dict[str, float], plane: dict[str, Any]
) -> dict[str, Any]:
    shapes = [[_closed(ring) for ring in polygon.rings] for polygon in pieces]
    geometry = (
        {"type": "Polygon", "coordinates": shapes[0]}
        if len(shapes) == 1
        else {"type": "MultiPolygon", "coordinates": shapes}
    )
    properties = {"objectType": "detection", "name": str(label), "measurements": measurements}
    return {"type": "Feature", "geometry": geometry | plane, "properties": properties}


def _closed(ring: Ring) -> list[list[int]]:
    """Return the corners (x, y) of a ring, with the first one again at the end."""
    corners: list[list[int]] = ring[:, ::-1].tolist()
    return [*corners, corners[0]]
