"""GeoJSON, as QuPath writes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pixel_embedded_affinity.data.outlines.base import painted
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export.polygons import Polygon
from pixel_embedded_affinity.labels import Labels


class Geojson:
    """Reader of GeoJSON in pixels; each feature is an object."""

    suffixes = (".geojson",)

    def read(self, path: Path, image: Path, shape: tuple[int, int]) -> Labels:
        """Paint the features."""
        features = _features(json.loads(path.read_bytes()))
        _check_one_plane(features)
        shapes = (
            polygon for number, feature in enumerate(features, 1) for polygon in _polygons(number, feature)
        )
        return painted(shapes, shape)


def _features(content: Any) -> list[Any]:
    """Return the features of a collection, of a list, or the only one."""
    if isinstance(content, dict):
        content = content["features"] if content.get("type") == "FeatureCollection" else [content]
    if not isinstance(content, list):
        raise InputError(f"GeoJSON of type {type(content).__name__}; expected a FeatureCollection")
    return content


def _check_one_plane(features: list[Any]) -> None:
    """Refuse features of several planes, which would be painted over each other."""
    places = (feature["geometry"].get("plane", {}) for feature in features)
    planes = {(place.get("z", 0), place.get("t", 0)) for place in places}
    if len(planes) > 1:
        raise InputError(
            f"the features lie on {len(planes)} planes of a stack; expected those of one image; save them plane by "
            "plane"
        )


def _polygons(number: int, feature: Any) -> Iterator[Polygon]:
    geometry = feature["geometry"]
    kind = geometry["type"]
    if kind not in ("Polygon", "MultiPolygon"):
        raise InputError(
            f"feature {number} is a {kind}; expected Polygon or MultiPolygon, outlines of objects; leave it out of "
            "the export"
        )
    for rings in [geometry["coordinates"]] if kind == "Polygon" else geometry["coordinates"]:
        shell, *holes = (np.asarray(ring, dtype=np.float64)[:, 1::-1] for ring in rings)
        yield Polygon(number, shell, tuple(holes))
