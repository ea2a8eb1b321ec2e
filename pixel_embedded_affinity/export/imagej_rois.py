"""Labels as regions of interest (ROIs) of ImageJ: a ZIP file for its ROI manager."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pixel_embedded_affinity.errors import InputError, optional_module
from pixel_embedded_affinity.export.base import Result, refuse_volumes
from pixel_embedded_affinity.export.polygons import Polygon, pieces_by_label
from pixel_embedded_affinity.io.atomic import atomic_path

FARTHEST = 32767
"""The largest coordinate that an ROI can hold, in pixels."""

# What a path of ImageJ does next.
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0


class ImagejRois:
    """Exporter that calls `write_imagej_rois`."""

    suffix = "_rois.zip"
    help = "regions for ImageJ's ROI manager (needs the package roifile)"

    def check(self, ndim: int) -> None:
        """Refuse volumes, and a missing package."""
        refuse_volumes("--imagej-rois", ndim)
        _roifile()

    def write(self, path: Path, result: Result) -> None:
        """Write a region for each object, on its time point and section."""
        _write(path, ((labels, number, result.place_of(number)) for number, labels in result.frames()))


def write_imagej_rois(path: str | os.PathLike[str], labels: Any) -> None:
    """Write a region of interest for each object of a label image, for the ROI manager of ImageJ and Fiji.

    A region has the label as its name, and holds exactly the object's pixels, also where an object has holes or
    several pieces. The same labels give the same bytes.

    Parameters
    ----------
    path : str or path-like
        A name ending in ``.zip`` in an existing folder; a file there is replaced, at once and whole.
    labels : array-like of integers
        Shape ``(Y, X)``, 0 = background.

    Raises
    ------
    InputError
        If the labels cannot be used, an object lies beyond pixel 32,767, or the path does not fit.
    MissingDependencyError
        If the package roifile is missing.
    """
    _write(path, [(labels, None, {})])


def _write(path: str | os.PathLike[str], frames: Iterable[tuple[Any, int | None, Mapping[str, int]]]) -> None:
    """Write the regions of labels with the number of their frame, and the section and time point where they lie."""
    module = _roifile()
    with atomic_path(path, (".zip",)) as temporary, zipfile.ZipFile(temporary, "w") as file:
        for labels, number, place in frames:
            for label, pieces in _within_reach(pieces_by_label(labels)).items():
                region = _region(module, label, pieces)
                for axis, position in place.items():
                    # ImageJ counts from 1; 0 is every section and time point.
                    setattr(region, f"{axis}_position", position + 1)
                if number is not None:
                    region.name = f"{number + 1:04}-{label}"
                name = zipfile.ZipInfo(f"{region.name}.roi")
                file.writestr(name, region.tobytes(), zipfile.ZIP_DEFLATED)


def _within_reach(objects: dict[int, list[Polygon]]) -> dict[int, list[Polygon]]:
    """Return the objects; refuse those that no region can hold."""
    farthest = max((int(polygon.shell.max()) for pieces in objects.values() for polygon in pieces), default=0)
    if farthest > FARTHEST:
        raise InputError(
            f"an object reaches coordinate {farthest}; ROIs of ImageJ end at {FARTHEST}; write the labels as TIFF, or "
            "as GeoJSON, or cut the image into parts"
        )
    return objects


def _roifile() -> Any:
    return optional_module(
        "roifile", "ROIs of ImageJ need the package roifile; install it (pip install roifile)"
    )


def _region(module: Any, label: int, pieces: list[Polygon]) -> Any:
    rings = [ring for polygon in pieces for ring in polygon.rings]
    corners = np.concatenate(rings)
    (top, left), (bottom, right) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    region = module.ImagejRoi(name=str(label), top=top, left=left, bottom=bottom, right=right)
    if len(rings) == 1:
        region.roitype = module.ROI_TYPE.TRACED
        region.n_coordinates = len(corners)
        region.integer_coordinates = (corners - (top, left))[:, ::-1].astype(np.int32)
        return region
    # A composite region calls itself a rectangle.
    region.roitype = module.ROI_TYPE.RECT
    region.multi_coordinates = np.concatenate([_path(ring) for ring in rings]).astype(np.float32)
    region.shape_roi_size = len(region.multi_coordinates)
    return region


def _path(ring: Any) -> Any:
    """Return a ring as commands with their coordinates (x, y), the way that composite regions are stored."""
    commands = np.full((len(ring), 1), _LINE)
    commands[0] = _MOVE
    return np.append(np.hstack([commands, ring[:, ::-1]]), _CLOSE)
