"""Labels of a volume as a precomputed segmentation, which Neuroglancer shows and proofreading tools take."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError, optional_module
from pixel_embedded_affinity.export.base import Result
from pixel_embedded_affinity.io.atomic import new_folder, replaced_folder
from pixel_embedded_affinity.labels import as_labels

logger = logging.getLogger(__name__)

_CHUNK = 64
_NANOMETERS = 1000.0
_PROPERTIES = "properties"


class Neuroglancer:
    """Exporter that calls `write_neuroglancer`; it writes a folder."""

    suffix = "_neuroglancer"
    help = "a folder with a precomputed segmentation for Neuroglancer (needs the package tensorstore)"

    def check(self, ndim: int) -> None:
        """Refuse images, and a missing package."""
        if ndim != 3:
            raise InputError(
                "--neuroglancer describes volumes, and the model segments images; leave --neuroglancer out"
            )
        _tensorstore()

    def write(self, path: Path, result: Result) -> None:
        """Write the folder; it replaces one that is there."""
        size = result.pixel_size
        order = [(result.axes or "ZYX").index(letter) for letter in "ZYX"]
        ordered = None if size is None else [size[place] for place in order]
        with replaced_folder(path) as part:
            write_neuroglancer(part, result.labels, pixel_size=ordered, table=result.table)


def write_neuroglancer(
    folder: str | os.PathLike[str],
    labels: Any,
    *,
    pixel_size: Sequence[float] | None = None,
    table: Mapping[str, Any] | None = None,
) -> None:
    """Write the labels of a volume as a precomputed segmentation for Neuroglancer.

    The folder can be put on any web server. In Neuroglancer, its address is a source after ``precomputed://``. The
    columns of a table become properties of the segments, by which Neuroglancer sorts and filters them.

    Parameters
    ----------
    folder : str or path-like
        A new name in an existing folder; it appears when all is written.
    labels : array-like of integers
        Shape ``(Z, Y, X)``, 0 = background, which Neuroglancer does not show.
    pixel_size : sequence of float, optional
        Size of a voxel along z, y and x in micrometers. Default: 1 each, and the log says so.
    table : mapping of str to sequence, optional
        Measurements with a column ``label``, such as `Segmentation.table` gives.

    Raises
    ------
    InputError
        If the labels are not those of a volume, the sizes are not three positive numbers, the table has no column
        ``label``, or the folder exists.
    MissingDependencyError
        If the package tensorstore is missing.
    """
    module, array = _tensorstore(), as_labels(labels)
    if array.ndim != 3:
        raise InputError(f"labels of shape {array.shape}; expected those of a volume, (Z, Y, X)")
    sizes = _checked_sizes(pixel_size)
    properties = None if table is None else _properties(table)
    with new_folder(folder) as part:
        large = array.max(initial=0) > np.iinfo(np.uint32).max
        _write_voxels(module, part, array.astype(np.uint64 if large else np.uint32), sizes)
        if properties is not None:
            _add_properties(part, properties)


def _tensorstore() -> Any:
    complaint = (
        "Neuroglancer's format needs the package tensorstore; install it, e.g. by "
        "'pip install pixel_embedded_affinity[neuroglancer]'"
    )
    return optional_module("tensorstore", complaint)


def _checked_sizes(pixel_size: Sequence[float] | None) -> list[float]:
    if pixel_size is None:
        logger.warning(
            "the size of a voxel is not known: Neuroglancer will show 1 micrometer along each axis; give pixel_size "
            "(--pixel-size)"
        )
    sizes = [1.0] * 3 if pixel_size is None else [float(size) for size in pixel_size]
    if len(sizes) != 3 or not all(np.isfinite(size) and size > 0 for size in sizes):
        raise InputError(f"pixel_size must be three positive numbers, along z, y and x, got {pixel_size!r}")
    return sizes


def _write_voxels(
    module: Any, folder: Path, labels: npt.NDArray[np.unsignedinteger[Any]], sizes: list[float]
) -> None:
    """Write the chunks, whose axes are x, y, z and a channel."""
    scale = {
        "resolution": [size * _NANOMETERS for size in reversed(sizes)],
        "chunk_size": [_CHUNK] * 3,
        "size": labels.shape[::-1],
        "encoding": "compressed_segmentation",
        "compressed_segmentation_block_size": [8, 8, 8],
    }
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{folder}/"},
        "multiscale_metadata": {"type": "segmentation", "data_type": labels.dtype.name, "num_channels": 1},
        "scale_metadata": scale,
    }
    volume = module.open(spec, create=True).result()
    for first in range(0, len(labels), _CHUNK):
        sections = labels[first : first + _CHUNK]
        volume[:, :, first : first + len(sections), 0] = sections.transpose(2, 1, 0)


def _properties(table: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers of the segments by name, as Neuroglancer reads them."""
    columns = {name: np.asarray(values) for name, values in table.items()}
    if "label" not in columns:
        raise InputError(f"the table has the columns {sorted(columns)}; expected a column 'label' among them")
    numbers = {
        name: column.astype(np.float32) for name, column in columns.items() if column.dtype.kind in "iuf"
    }
    for name, column in numbers.items():
        if not np.isfinite(column).all():
            logger.warning("Neuroglancer gets no %s: not every segment has a number", name)
    found = [
        {"id": name, "type": "number", "data_type": "float32", "values": column.tolist()}
        for name, column in numbers.items()
        if name != "label" and np.isfinite(column).all()
    ]
    ids = [str(label) for label in columns["label"].tolist()]
    return {"@type": "neuroglancer_segment_properties", "inline": {"ids": ids, "properties": found}}


def _add_properties(folder: Path, properties: dict[str, Any]) -> None:
    """Write the properties into a folder of their own, and name it in the segmentation's description."""
    (folder / _PROPERTIES).mkdir()
    (folder / _PROPERTIES / "info").write_text(json.dumps(properties), encoding="utf-8")
    info = folder / "info"
    described = json.loads(info.read_text(encoding="utf-8"))
    info.write_text(json.dumps({**described, "segment_properties": _PROPERTIES}), encoding="utf-8")
