"""Annotations in the format of COCO: polygons, and run lengths (RLE), compressed or not."""

from __future__ import annotations

import json
import logging
import math
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.data.outlines.base import painted
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export.polygons import Polygon
from pixel_embedded_affinity.labels import Labels

logger = logging.getLogger(__name__)


class Coco:
    """Reader of COCO; each annotation of the image is an object, whatever its category."""

    suffixes = (".json",)
    several_images = True

    def read(self, path: Path, image: Path, shape: tuple[int, int]) -> Labels:
        """Paint the annotations of the image; those of RLE come last."""
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict) or not {"images", "annotations"} <= set(content):
            raise InputError("no COCO file; expected a JSON object with 'images' and 'annotations'")
        number = _number_of(content["images"], image, shape)
        found = [entry for entry in content["annotations"] if entry["image_id"] == number]
        single = [entry for entry in found if not entry.get("iscrowd")]
        if len(single) < len(found):
            logger.warning("'%s': %d annotations of crowds are no objects", path, len(found) - len(single))
        return _painted([entry["segmentation"] for entry in single], shape)


def _number_of(images: list[Any], image: Path, shape: tuple[int, int]) -> Any:
    """Return the number of an image: the one of its file name, with as many folders as tell it, or the only one."""
    named = [entry for entry in images if _shared(entry, image)]
    longest = max((_shared(entry, image) for entry in named), default=0)
    chosen = [entry for entry in named if _shared(entry, image) == longest]
    chosen = chosen or (images if len(images) == 1 else [])
    if len(chosen) != 1:
        raise InputError(
            f"{len(named)} of the {len(images)} images are named '{image.name}'; expected one; correct file_name"
        )
    size = (chosen[0].get("height", shape[0]), chosen[0].get("width", shape[1]))
    if size != shape:
        raise InputError(
            f"the image has {size} pixels there, and {shape} in its file; expected the same size"
        )
    return chosen[0]["id"]


def _shared(entry: dict[str, Any], image: Path) -> int:
    """How many parts of its path, from the end, an image shares with an entry, whatever separates them."""
    parts = entry.get("file_name", "").replace("\\", "/").split("/")
    pairs = zip(reversed(parts), reversed(image.absolute().parts))
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _painted(segmentations: list[Any], shape: tuple[int, int]) -> Labels:
    outlines = [
        Polygon(number, np.asarray(flat, dtype=np.float64).reshape(-1, 2)[:, ::-1])
        for number, rings in enumerate(segmentations, start=1)
        if not isinstance(rings, dict)
        for flat in rings
    ]
    # RLE goes column by column.
    columns = painted(outlines, shape).T.ravel()
    for number, runs in enumerate(segmentations, start=1):
        if isinstance(runs, dict):
            inside = _inside(runs, shape)
            if (hidden := int(np.count_nonzero(columns[inside]))) > 0:
                logger.warning("an object lies over %d pixels of others", hidden)
            columns[inside] = number
    return columns.reshape(shape[::-1]).T


def _inside(runs: dict[str, Any], shape: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Return the pixels of an object, counted column by column."""
    counts = runs["counts"]
    lengths = np.asarray(_decompressed(counts) if isinstance(counts, str) else counts, dtype=np.int64)
    # In floating point, so that no sum of large numbers passes for a small one.
    fits = lengths.ndim == 1 and not (lengths < 0).any() and lengths.sum(dtype=np.float64) <= math.prod(shape)
    if tuple(runs["size"]) != shape or not fits:
        raise InputError(f"runs of size {runs['size']} do not fit an image of {list(shape)} pixels")
    inside = lengths[1::2]
    starts = np.cumsum(lengths)[0::2][: len(inside)]
    return np.arange(inside.sum()) + np.repeat(starts - np.cumsum(inside) + inside, inside)


def _decompressed(text: str) -> list[int]:
    """Decode the counts of a compressed RLE: five bits a character, lowest first; from the third on, differences."""
    counts: list[int] = []
    value = shift = 0
    for character in text.encode("ascii"):
        bits = character - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts
