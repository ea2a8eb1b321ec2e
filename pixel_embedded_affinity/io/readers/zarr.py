"""OME-Zarr and single zarr arrays, by zarr."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pixel_embedded_affinity.errors import InputError, one_line, optional_module
from pixel_embedded_affinity.io.readers.base import Series, Source, chosen_series
from pixel_embedded_affinity.io.readers.calibration import micrometers

_METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs")


class Zarr:
    """Reader of zarr: the finest resolution of an OME-Zarr image, or an array."""

    suffixes = (".zarr",)
    signatures = ()

    @staticmethod
    def holds(folder: Path) -> bool:
        """Tell whether a folder is a zarr array or group, whatever its name."""
        return any((folder / name).is_file() for name in _METADATA)

    def read_series(self, path: Path, series: int | None, *, lazily: bool) -> Source:
        """Open one image; its values are read when they are indexed, also without `lazily`."""
        advice = ", or pass the path of an image within"
        return chosen_series(self.list_series(path), series, path, advice=advice)[1].source

    def list_series(self, path: Path) -> list[Series]:
        """List the images of a folder; those of a collection of bioformats2raw are its groups 0, 1, and so on."""
        zarr = optional_module(
            "zarr",
            f"'{path}' is read as a zarr array, which needs the package zarr; install it (pip install zarr)",
        )
        node = _opened(zarr, path)
        if hasattr(node, "shape"):
            return [Series("", _of_array(zarr, path, node))]
        if images := multiscales_of(node):
            return [_of_multiscale(path, node, image) for image in images]
        if _is_plate(node):
            raise InputError(
                f"'{path}' is a plate of many images; expected one image; pass the path of a field in it, such as "
                f"'{path}/A/1/0', or the quoted pattern '{path}/*/*/*' to pea segment for all fields"
            )
        groups = [node[name] for name in sorted((n for n, _ in node.groups() if n.isdecimal()), key=int)]
        found = [_of_multiscale(path, group, image) for group in groups for image in multiscales_of(group)]
        if not found:
            raise InputError(
                f"'{path}' is not a zarr array and holds no OME-Zarr image; expected one; of another group, pass the "
                "path of an array in it"
            )
        return found


def _opened(zarr: Any, path: Path) -> Any:
    try:
        return zarr.open(os.fspath(path), mode="r")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"'{path}' is not a zarr array ({one_line(error)}); expected one; of a group, pass the path of "
            "an array in it"
        ) from error


def _is_plate(group: Any) -> bool:
    attributes = dict(group.attrs)
    found = attributes.get("ome", attributes)
    return isinstance(found, Mapping) and "plate" in found


def multiscales_of(group: Any) -> list[Any]:
    """The images that the attributes of a group describe, by NGFF 0.5 or older."""
    attributes = dict(group.attrs)
    found = attributes.get("ome", attributes)
    images = found.get("multiscales", []) if isinstance(found, Mapping) else []
    return [{**image, "omero": found.get("omero", {})} for image in images]


def _of_multiscale(path: Path, group: Any, image: Mapping[str, Any]) -> Series:
    try:
        finest = image["datasets"][0]
        array, axes = group[finest["path"]], axes_of(image, group[finest["path"]].shape)
        source = Source(array, axes, False, _names(image), _sizes(image, finest, axes))
        return Series(str(image.get("name", "")), source, len(image["datasets"]))
    except (KeyError, IndexError, TypeError) as error:
        raise InputError(
            f"'{path}' has OME-Zarr metadata that lack something ({one_line(error)}); expected datasets and axes; "
            "export it again"
        ) from error


def _of_array(zarr: Any, path: Path, array: Any) -> Source:
    """An array, with the axes of the image of which it is a resolution."""
    for levels in range(1, 4):
        parent = Path(os.path.abspath(path)).parents[levels - 1]
        if not Zarr.holds(parent):
            break
        within = Path(os.path.abspath(path)).relative_to(parent).as_posix()
        for image in multiscales_of(_opened(zarr, parent)):
            for dataset in image.get("datasets", []):
                if dataset.get("path") == within:
                    axes = axes_of(image, array.shape)
                    return Source(array, axes, False, _names(image), _sizes(image, dataset, axes))
    return Source(array, "")


def axes_of(image: Mapping[str, Any], shape: Sequence[int]) -> str:
    """Letters of the axes; NGFF 0.1 and 0.2 always had five, and 0.3 their names alone."""
    declared = image.get("axes", "tczyx"[-len(shape) :])
    names = [axis["name"] if isinstance(axis, Mapping) else axis for axis in declared]
    letters = "".join(name.upper() if len(name) == 1 else "?" for name in names)
    if len(letters) != len(shape):
        raise TypeError(f"axes {letters} for an array of shape {shape}")
    return letters


def _names(image: Mapping[str, Any]) -> tuple[str, ...]:
    channels = (image.get("omero") or {}).get("channels", [])
    names = tuple(str(channel.get("label", "")) for channel in channels)
    return names if any(names) else ()


def _sizes(image: Mapping[str, Any], dataset: Mapping[str, Any], axes: str) -> dict[str, float] | None:
    """Sizes of a pixel along the axes of space that have a unit of length."""
    units = [axis.get("unit") if isinstance(axis, Mapping) else None for axis in image.get("axes", axes)]
    factors = [1.0] * len(axes)
    for holder in (dataset, image):
        for step in holder.get("coordinateTransformations", []):
            if step.get("type") == "scale":
                factors = [old * float(new) for old, new in zip(factors, step["scale"], strict=True)]
    found = {axis: micrometers(size, unit) for axis, size, unit in zip(axes, factors, units) if axis in "XYZ"}
    return {axis: size for axis, size in found.items() if size} or None
