"""Regions of interest (ROIs) of ImageJ: one, or a ZIP file of its ROI manager."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pixel_embedded_affinity.data.outlines.base import painted
from pixel_embedded_affinity.errors import InputError, optional_module
from pixel_embedded_affinity.export.polygons import Polygon
from pixel_embedded_affinity.labels import Labels

_AREAS = ("POLYGON", "TRACED", "FREEHAND", "RECT", "OVAL")
_LARGEST = 2**26


class Imagej:
    """Reader of ROIs; each is an object."""

    suffixes = (".roi", ".zip")

    def read(self, path: Path, image: Path, shape: tuple[int, int]) -> Labels:
        """Paint the regions."""
        complaint = "ROIs of ImageJ need the package roifile; install it (pip install roifile)"
        module = optional_module("roifile", complaint)
        regions = [module.ImagejRoi.frombytes(content) for content in _contents(path)]
        _check_one_plane(regions)
        shapes = (_polygon(number, region) for number, region in enumerate(regions, start=1))
        return painted(shapes, shape)


def _contents(path: Path) -> Iterator[bytes]:
    """Give the bytes of each region."""
    if path.suffix.lower() == ".roi":
        yield path.read_bytes()
        return
    with zipfile.ZipFile(path) as file:
        names = file.namelist()
        # An image without objects has a file with nothing in it.
        if names and not any(name.lower().endswith(".roi") for name in names):
            raise InputError(
                f"the file holds no ROI (.roi), but {names[0]!r}; expected those of the ROI manager; save them again"
            )
        for entry in file.infolist():
            if entry.file_size > _LARGEST:
                raise InputError(
                    f"{entry.filename!r} has {entry.file_size} bytes; expected an ROI of at most {_LARGEST}"
                )
            if entry.filename.lower().endswith(".roi"):
                yield file.read(entry)


def _check_one_plane(regions: list[Any]) -> None:
    """Refuse regions of several planes, which would be painted over each other."""
    found = {(region.position, region.c_position, region.z_position, region.t_position) for region in regions}
    planes = {place for place in found if any(place)}
    if len(planes) > 1:
        raise InputError(
            f"the ROIs lie on {len(planes)} planes of a stack; expected those of one image; save them plane by plane"
        )


def _polygon(number: int, region: Any) -> Polygon:
    kind = region.roitype.name
    if kind not in _AREAS:
        raise InputError(
            f"ROI {region.name or number} is a {kind.lower()}, which has no area; expected outlines of objects; delete "
            "it from the ROI manager"
        )
    rings = [ring[:, ::-1] for ring in region.coordinates(multi=True)]
    return Polygon(number, rings[0], tuple(rings[1:]))
