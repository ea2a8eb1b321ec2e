"""The objects of each region summed up, such as the leaves of each plant of a tray: one row per region."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export.base import FRAME_COLUMNS, Result
from pixel_embedded_affinity.export.measurements import Columns
from pixel_embedded_affinity.export.table import write_table

SIZES = "area", "area_um2", "volume_um3"
"""Columns of a table of objects that are summed up."""


class RegionTable:
    """Exporter that calls `region_table`."""

    suffix = "_regions.csv"
    help = "a row per region, such as a plant of a tray where --regions components is given"

    def write(self, path: Path, result: Result) -> None:
        """Write the table."""
        write_table(path, region_table(result.table))


def region_table(table: Mapping[str, Any]) -> Columns:
    """Sum up a table of objects by region.

    Parameters
    ----------
    table : mapping of str to array-like
        From `Segmentation.table` or `object_table`: one row per object. Without a column ``region``, the whole image is
        one region.

    Returns
    -------
    dict of str to numpy.ndarray
        One entry per region in each column, in ascending order:

        - ``frame`` or ``section``, where the table has it: regions of different frames are different regions;
        - ``region``: its number;
        - ``objects``: number of its objects;
        - ``area``, ``mean_area``, ``median_area``: of its objects in pixels, in 3D in voxels; with the size of a pixel
          also in square micrometers, such as ``area_um2``, in 3D in cubic ones, such as ``volume_um3``;
        - ``centroid-y``, ``centroid-x`` (3D: ``centroid-z`` first): mean coordinate of all pixels of its objects.

        Without objects, all columns are empty.

    Raises
    ------
    InputError
        If the table lacks a column, or regions are no integers.
    """
    missing = [name for name in ("label", "area", "centroid-x") if name not in table]
    if missing:
        raise InputError(f"table without {', '.join(missing)}; expected one of object_table; use that")
    area = np.asarray(table["area"])
    keys = {name: np.asarray(table[name]) for name in FRAME_COLUMNS.values() if name in table}
    keys["region"] = np.asarray(table.get("region", np.ones(len(area), np.int64)))
    if keys["region"].dtype.kind not in "iu":
        raise InputError(
            f"the column 'region' has the dtype {keys['region'].dtype}; expected the number of a region in each row"
        )
    groups, row = np.unique(np.stack(list(keys.values())), axis=1, return_inverse=True)
    members = [np.flatnonzero(row == number) for number in range(groups.shape[1])]
    found: Columns = dict(zip(keys, groups.astype(np.int64)))
    found["objects"] = np.array([len(rows) for rows in members], np.int64)
    for name in SIZES:
        if name in table:
            sizes = np.asarray(table[name])
            found |= {
                name: _each(np.sum, sizes, members).astype(sizes.dtype),
                f"mean_{name}": _each(np.mean, sizes, members),
                f"median_{name}": _each(np.median, sizes, members),
            }
    for name in (f"centroid-{letter}" for letter in "zyx"):
        if name in table:
            weighted = _each(np.sum, np.asarray(table[name]) * area, members)
            found[name] = weighted / np.maximum(found["area"], 1)
    return found


def _each(of: Any, values: npt.NDArray[Any], members: list[npt.NDArray[np.intp]]) -> npt.NDArray[np.float64]:
    return np.array([of(values[rows]) for rows in members], np.float64)
