"""The picture of `overlay` with the number of each object, to find the row of an object in the table."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from pixel_embedded_affinity.export.base import Result
from pixel_embedded_affinity.export.overlay import picture_of, planes_of, write_picture

_WIDTH = 24
"""Pixels across the median object, from which on a number of three digits is easy to read."""
_LARGEST, _PIXELS = 4, 50_000_000


class NumberedOverlay:
    """Exporter of the overlay with numbers; small objects are enlarged up to four times."""

    suffix = "_numbers.png"
    help = "the overlay with the number of each object, which is its label in the table"

    def write(self, path: Path, result: Result) -> None:
        """Write the picture."""
        write_picture(path, picture_of(result, scale=readable_scale(result), numbers=True))


def readable_scale(result: Result) -> int:
    """Return by how much numbers need the picture to be enlarged; a large picture is not."""
    planes = [labels for _, labels in planes_of(result)]
    areas = np.concatenate([np.unique(plane[plane > 0], return_counts=True)[1] for plane in planes])
    if not len(areas):
        return 1
    across = 2 * math.sqrt(float(np.median(areas)) / math.pi)
    affordable = int(math.sqrt(_PIXELS / sum(plane.size for plane in planes)))
    return max(1, min(math.ceil(_WIDTH / across), _LARGEST, affordable))
