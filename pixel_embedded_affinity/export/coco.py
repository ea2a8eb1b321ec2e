"""Labels as annotations in the format of COCO: polygons, or runs of pixels where an object has holes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export.base import Result, refuse_volumes
from pixel_embedded_affinity.export.polygons import Polygon, pieces_by_label
from pixel_embedded_affinity.io.atomic import atomic_path
from pixel_embedded_affinity.labels import as_labels

SEGMENTATIONS = ("polygons", "rle")
"""Forms of an annotation, see `write_coco`."""


class Coco:
    """Exporter that calls `write_coco`."""

    suffix = "_coco.json"
    help = "COCO annotations: polygons, or run lengths (RLE) for objects with holes"

    def check(self, ndim: int) -> None:
        """Refuse volumes."""
        refuse_volumes("--coco", ndim)

    def write(self, path: Path, result: Result) -> None:
        """Write an annotation for each object."""
        write_coco(path, images_of(result))


def images_of(result: Result) -> dict[str, npt.NDArray[np.int32]]:
    """Return the labels by file name.

    Each frame of a time-lapse is an image, such as ``NAME_t0000.tif``, and each section ``NAME_z0000.tif``.
    """
    file, letter = PurePath(result.file), result.frame_axis.lower()
    return {
        result.file if number is None else f"{file.stem}_{letter}{number:04}{file.suffix}": labels
        for number, labels in result.frames()
    }


def write_coco(
    path: str | os.PathLike[str],
    images: Mapping[str, Any],
    *,
    segmentation: str = "polygons",
    category: str = "object",
) -> None:
    """Write the objects of label images as COCO annotations, all images into one file.

    Parameters
    ----------
    path : str or path-like
        A name ending in ``.json`` in an existing folder; a file there is replaced, at once and whole.
    images : mapping of str to array-like of integers
        For each image, its file name (a path is one, too) and its labels ``(Y, X)``, 0 = background.
    segmentation : {"polygons", "rle"}
        ``"polygons"``: the outlines of an object's pieces; an object with holes comes as RLE, since polygons of COCO
        have none. ``"rle"``: runs of pixels (uncompressed RLE) for all objects, which is exact in every program.
    category : str
        Name of the only category.

    Raises
    ------
    InputError
        If names, labels or the form cannot be used, or the path does not fit.
    """
    if not isinstance(category, str):
        raise InputError(f"category={category!r}; expected the name of the category")
    if segmentation not in SEGMENTATIONS:
        raise InputError(f"segmentation={segmentation!r}; expected one of {', '.join(SEGMENTATIONS)}")
    if not isinstance(images, Mapping):
        raise InputError(
            f"images is of type {type(images).__name__}; expected a dictionary of file names and their labels, such as "
            "{'a.png': labels}"
        )
    listed: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    names = [_file_name(name) for name in images]
    for number, (name, labels) in enumerate(zip(names, images.values()), start=1):
        array = as_labels(labels)
        pieces = pieces_by_label(array)
        height, width = array.shape
        listed.append({"id": number, "file_name": name, "height": height, "width": width})
        for annotation in _annotations(array, pieces, segmentation):
            annotations.append({"id": len(annotations) + 1, "image_id": number, **annotation})
    categories = [{"id": 1, "name": category}]
    content = json.dumps({"images": listed, "categories": categories, "annotations": annotations})
    with atomic_path(path, (".json",)) as temporary:
        temporary.write_text(content, encoding="utf-8")


def _file_name(given: Any) -> str:
    if not isinstance(given, (str, PurePath)):
        raise InputError(f"the name {given!r} of an image; expected the name of its file")
    return given if isinstance(given, str) else given.as_posix()


def _annotations(
    labels: npt.NDArray[Any], pieces: dict[int, list[Polygon]], segmentation: str
) -> list[dict[str, Any]]:
    runs = _runs(labels)
    return [
        {
            "category_id": 1,
            "iscrowd": 0,
            "area": int(runs[label][1::2].sum()),
            "bbox": _box(shapes),
            "segmentation": [polygon.shell[:, ::-1].ravel().tolist() for polygon in shapes]
            if segmentation == "polygons" and not any(polygon.holes for polygon in shapes)
            else {"counts": runs[label].tolist(), "size": list(labels.shape)},
        }
        for label, shapes in pieces.items()
    ]


def _box(shapes: list[Polygon]) -> list[int]:
    """Return left, top, width and height."""
    corners = np.concatenate([polygon.shell for polygon in shapes])
    top, left = corners.min(axis=0).tolist()
    bottom, right = corners.max(axis=0).tolist()
    return [left, top, right - left, bottom - top]


def _runs(labels: npt.NDArray[Any]) -> dict[int, npt.NDArray[np.intp]]:
    """Return for each object the lengths of the runs outside and inside by turns, column by column."""
    flat = labels.T.ravel()
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    ends = np.append(starts[1:], flat.size)
    order = np.argsort(flat[starts], kind="stable")
    values, first = np.unique(flat[starts][order], return_index=True)
    bounds = np.stack([starts, ends], axis=1)[order]
    runs: dict[int, npt.NDArray[np.intp]] = {}
    for value, part in zip(values.tolist(), np.split(bounds, first[1:]), strict=True):
        # The last run must reach the end of the image: pycocotools leaves the pixels behind it to chance.
        rest = [flat.size] if part[-1, 1] < flat.size else []
        places = np.array([0, *part.ravel().tolist(), *rest], dtype=np.intp)
        runs[value] = places[1:] - places[:-1]
    runs.pop(0, None)
    return runs
