"""Write what the library makes of small inputs, for the tests of the page.

Run it as ``python docs/browser/tests/make_golden.py``. Most inputs follow from a number, by the same formula here and
in ``inputs.js``. The embedding of a part of the bundled field is stored. A test of the library checks that the stored
outcomes are still its own.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch

from pixel_embedded_affinity import Neighborhood, Segmenter, affinities
from pixel_embedded_affinity.clustering import get_clusterer
from pixel_embedded_affinity.confidence import object_confidence
from pixel_embedded_affinity.embedding import Embedding
from pixel_embedded_affinity.export.imagej_rois import write_imagej_rois
from pixel_embedded_affinity.export.polygons import pieces_by_label
from pixel_embedded_affinity.geometry.blobs import blob_diameter
from pixel_embedded_affinity.geometry.scaling import resize_image, resize_labels
from pixel_embedded_affinity.geometry.strides import borders_placed, spread
from pixel_embedded_affinity.geometry.tiling import tiles
from pixel_embedded_affinity.normalize import Contrast, Normalization, normalize
from pixel_embedded_affinity.postprocess import Postprocess
from pixel_embedded_affinity.samples import nuclei
from pixel_embedded_affinity.scale import _window

FILE = Path(__file__).with_name("golden.json")
CROP = (slice(420, 484), slice(240, 312))
MODEL = "nuclei"
CHANNELS = 3

CHANGES: list[dict[str, Any]] = [
    {},
    {"ranges": [1, 2, 3], "directions": 8, "stride": 1},
    {"ranges": [1, 5, 8, 11, 15], "directions": 4, "stride": 3},
    {"threshold": 0.2},
    {"threshold": 0.9},
    {"repulsion": 1.5},
    {"repulsion": 0.3, "min_size": 0},
]

RESIZED = [
    (1, 20, 30, 0.5),
    (2, 17, 23, 0.31),
    (3, 9, 40, 1.7),
    (4, 3, 50, 0.3),
    (5, 20, 30, 1.0),
    (6, 5, 7, 2.5),
]

CLUSTERED = [
    (1, 20, 24, 0.6, [1, 2, 5], 8, 2, 1.0),
    (2, 17, 31, 0.3, [1, 3, 9], 4, 3, 0.8),
    (3, 1, 40, 0.6, [1, 4], 4, 1, 1.0),
    (4, 30, 3, 1.0, [1, 2, 50], 8, 1, 0.6),
    (5, 23, 29, 0.0, [1, 2, 3], 8, 2, 1.0),
    (6, 25, 25, 0.0, [1, 2, 7], 4, 1, 0.7),
    (7, 1, 1, 0.5, [1, 2], 8, 1, 1.0),
    (8, 40, 40, 1.5, [1, 2, 3, 5, 8], 8, 2, 0.9),
]

BLOBS = [(1, 60, 80, 9), (2, 300, 220, 21), (3, 150, 40, 5), (4, 1, 90, 7), (5, 500, 700, 60), (6, 12, 9, 30)]

RESTORED = [(1, 21, 26, 2), (2, 20, 31, 2), (3, 13, 9, 2), (4, 25, 19, 4)]


# --- inputs, the same as in inputs.js ---------------------------------------------------------------------


def noise(seed: int, count: int) -> np.ndarray:
    """Return numbers in [0, 1) that look random, float64."""
    x = np.arange(count, dtype=np.uint32) + np.uint32(seed * 7919)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    return (x ^ (x >> np.uint32(16))) / 2.0**32


def image(seed: int, height: int, width: int) -> np.ndarray:
    """Return an image of integers; every third has outliers, every fourth a missing part."""
    values = np.floor(noise(seed, height * width) ** 3 * 4096).reshape(height, width)
    if seed % 3 == 0:
        values[0, :8] = 60000
    if seed % 4 == 0:
        values += 40000
        values[: height // 3] = 0
    return values.astype(np.float32)


def blocks(seed: int, height: int, width: int, size: int = 5, kinds: int = 6) -> np.ndarray:
    """Return small integers that are constant in squares, but for a tenth of the pixels."""
    rows, columns = -(-height // size), -(-width // size)
    coarse = np.floor(noise(seed, rows * columns) * kinds).reshape(rows, columns)
    values = np.repeat(np.repeat(coarse, size, 0), size, 1)[:height, :width]
    odd = noise(seed + 1, height * width).reshape(height, width)
    return np.where(odd < 0.1, np.floor(odd * 10 * kinds), values).astype(np.int32)


def vectors(seed: int, height: int, width: int, rough: float) -> np.ndarray:
    """Return vectors (channels, height, width) of unit length, alike in squares; without roughness, many are equal."""
    kinds = blocks(seed, height, width).ravel()
    directions = noise(seed + 2, 100 * CHANNELS).reshape(100, CHANNELS)[kinds] - 0.4
    rest = noise(seed + 3, height * width * CHANNELS).reshape(-1, CHANNELS) - 0.5
    found = directions + rough * rest
    unit = (found / np.sqrt((found**2).sum(axis=1, keepdims=True))).astype(np.float32)
    return np.ascontiguousarray(unit.T.reshape(CHANNELS, height, width))


def mask(seed: int, height: int, width: int, share: float) -> np.ndarray:
    """Return a mask that holds all but a share of the pixels."""
    return noise(seed, height * width).reshape(height, width) > share


# --- outcomes ---------------------------------------------------------------------------------------------


def packed(labels: np.ndarray) -> str:
    """Return labels below 65536 as text."""
    return base64.b64encode(labels.astype("<u2").tobytes()).decode()


def floats(values: np.ndarray) -> str:
    """Return float32 numbers as text."""
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()


def read_floats(text: str, *shape: int) -> np.ndarray:
    """Return the numbers of `floats`."""
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(shape).copy()


def stored() -> dict[str, Any]:
    """Return what the network sees in a part of the bundled field."""
    segmenter = Segmenter.pretrained(MODEL, device="cpu", precision="float32", offline=True)
    part = np.ascontiguousarray(nuclei().image[CROP])
    seen = segmenter.embed(part, scale=1)
    config = segmenter.config.to_dict()
    return {
        "config": {key: value for key, value in config.items() if key not in ("provenance", "network")},
        "shape": list(part.shape),
        "embedding": floats(seen.numpy()),
        "foreground": floats(seen.foreground.numpy()),
        "files": {name: base64.b64encode(content).decode() for name, content in files().items()},
    }


def files() -> dict[str, bytes]:
    """Return TIFF files of `image` 1, as programs write them."""
    values = image(1, 5, 7)
    words, stack = values.astype(np.uint16), np.stack([values, values + 1, values + 2]).astype(np.uint16)
    colors = np.stack([values // 16, values // 32, values // 64], axis=-1).astype(np.uint8)
    return {
        "plain": _tiff(words),
        "deflate": _tiff(words, compression="zlib", predictor=True),
        "big-endian": _tiff(words, byteorder=">"),
        "float": _tiff(values),
        "imagej-stack": _tiff(stack, imagej=True),
        "color": _tiff(colors, photometric="rgb"),
    }


def _tiff(values: np.ndarray, *, byteorder: str = "<", imagej: bool = False, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(
        file, values, byteorder=byteorder, imagej=imagej, metadata=None if not imagej else {}, **options
    )
    return file.getvalue()


def of_crop(crop: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Cluster the embedding of the crop with other settings."""
    segmenter = Segmenter.pretrained(MODEL, device="cpu", precision="float32", offline=True)
    height, width = crop["shape"]
    values = torch.from_numpy(read_floats(crop["embedding"], -1, height // 2, width // 2))
    foreground = torch.from_numpy(read_floats(crop["foreground"], height, width))
    seen = Embedding(values, foreground, stride=(2, 2), image_shape=(height, width))
    return {"change": change, "labels": packed(segmenter.with_settings(**_settings(change)).cluster(seen))}


def _settings(change: dict[str, Any]) -> dict[str, Any]:
    names = {
        "threshold": "foreground_threshold",
        "min_size": "postprocess.min_size",
    }
    found: dict[str, Any] = {names[key]: value for key, value in change.items() if key in names}
    if "repulsion" in change:
        found["clusterer_settings"] = {"repulsion": change["repulsion"]}
    if "ranges" in change:
        ranges, directions, stride = change["ranges"], change["directions"], change["stride"]
        found["neighborhood"] = Neighborhood.from_ranges(ranges, directions, strides=stride)
    return found


def of_normalize(seed: int) -> dict[str, Any]:
    """Normalize an image; the settings depend on the seed."""
    factor, least = (4.0 if seed % 2 else 0.0), (5000.0 if seed == 5 else 0.0)
    middle = (0.5, 0.6) if seed > 8 else None
    contrast = Contrast(
        outlier_factor=factor, min_contrast=least, skip_missing=True, median_brightness=middle
    )
    normalization = Normalization(gamma=1.5 if seed in {8, 12} else 1.0)
    values = normalize(image(seed, 24, 31)[np.newaxis], normalization, contrast)
    settings = {"normalization": normalization.to_dict(), "contrast": asdict(contrast)}
    return {"seed": seed, **settings, "values": floats(values)}


def of_resize(seed: int, height: int, width: int, scale: float) -> dict[str, Any]:
    """Resize an image, and labels to its size."""
    resized = resize_image(image(seed, height, width)[np.newaxis], scale)[0]
    labels = resize_labels(blocks(seed, *resized.shape), (height, width))
    found = {"shape": list(resized.shape), "values": floats(resized), "labels": packed(labels)}
    return {"case": [seed, height, width, scale], **found}


def of_neighborhood(directions: int) -> dict[str, Any]:
    """Make offsets of ranges."""
    return {"directions": directions, **Neighborhood.from_ranges([1, 3, 8], directions, strides=4).to_dict()}


def of_cluster(
    seed: int,
    height: int,
    width: int,
    rough: float,
    ranges: list[int],
    directions: int,
    stride: int,
    repulsion: float,
) -> dict[str, Any]:
    """Cluster vectors; without roughness, many affinities are equal."""
    neighborhood = Neighborhood.from_ranges(ranges, directions, strides=stride)
    found = vectors(seed, height, width, rough)
    cluster = get_clusterer("mutex_watershed", repulsion=repulsion)
    labels = cluster(affinities(found, neighborhood), foreground=mask(seed + 9, height, width, 0.1))
    return {
        "case": [seed, height, width, rough, ranges, directions, stride, repulsion],
        "labels": packed(labels),
        "confidence": object_confidence(labels, found, neighborhood).tolist(),
    }


def of_postprocess(seed: int) -> dict[str, Any]:
    """Postprocess labels; the settings depend on the seed, and half of the images hold many small objects."""
    pieces = blocks(seed, 21, 26, 4, 9 if seed % 2 else 200)
    steps = Postprocess(
        merge_sizes=((), (6,), (3, 6, 12), (10, 40))[seed % 4],
        min_size=(0, 5, 20)[seed % 3],
        fill_holes=seed % 2 == 1,
        clear_border=seed % 5 == 0,
    )
    return {"seed": seed, "steps": asdict(steps), "labels": packed(steps(pieces))}


def of_restore(seed: int, height: int, width: int, stride: int) -> dict[str, Any]:
    """Give labels of positions to pixels, and place the borders."""
    shape = rows, columns = -(-height // stride), -(-width // stride)
    positions, inside = blocks(seed, rows, columns, 4, 4), mask(seed + 5, height, width, 0.2)
    pixels = spread(positions, inside, (height, width), (stride, stride))
    placed = borders_placed(pixels, positions, vectors(seed, *shape, 0.5), (stride, stride))
    return {"case": [seed, height, width, stride], "spread": packed(pixels), "placed": packed(placed)}


def of_blobs(seed: int, height: int, width: int, size: int) -> dict[str, Any]:
    """Estimate the diameter of blobs."""
    plane = blocks(seed, height, width, size, 3).astype(np.float32)
    return {"case": [seed, height, width, size], "diameter": blob_diameter(plane)}


def of_window(seed: int) -> dict[str, Any]:
    """Choose the part for the next look."""
    interest = (blocks(seed, 30 + seed, 44, 5, 3) == 1).astype(np.float32)
    box = (slice(10, 10 + 9 * (30 + seed)), slice(20, 420))
    rows, columns = _window(interest, box, 0.4 + 0.2 * seed)
    return {"seed": seed, "box": [rows.start, columns.start, rows.stop, columns.stop]}


def of_tiles(length: int) -> dict[str, Any]:
    """Cut one axis into tiles."""
    found = tiles((length, 32), (1024, 32), halo=(128, 0), grid=(32, 32))
    sides = [(tile.outer[0], tile.core[0]) for tile in found]
    rows = [{"outer": [o.start, o.stop], "core": [c.start, c.stop]} for o, c in sides]
    return {"length": length, "tiles": rows}


def of_polygons(seed: int) -> dict[str, Any]:
    """Trace objects, and write them as regions of ImageJ; in half of the images most objects are of one piece."""
    labels = blocks(seed, 14, 17, 3, 4 if seed % 2 else 200)
    pieces = pieces_by_label(labels)
    rings = [
        [label, [[ring.tolist() for ring in one.rings] for one in found]] for label, found in pieces.items()
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rois.zip"
        write_imagej_rois(path, labels)
        with zipfile.ZipFile(path) as file:
            regions = {name: base64.b64encode(file.read(name)).decode() for name in file.namelist()}
    return {"seed": seed, "rings": rings, "regions": regions}


STEPS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "noise": lambda crop: noise(5, 4).tolist(),
    "crop": lambda crop: [of_crop(crop, change) for change in CHANGES],
    "normalize": lambda crop: [of_normalize(seed) for seed in range(1, 13)],
    "resize": lambda crop: [of_resize(*case) for case in RESIZED],
    "neighborhood": lambda crop: [of_neighborhood(directions) for directions in (4, 8)],
    "cluster": lambda crop: [of_cluster(*case) for case in CLUSTERED],
    "postprocess": lambda crop: [of_postprocess(seed) for seed in range(1, 31)],
    "restore": lambda crop: [of_restore(*case) for case in RESTORED],
    "blobs": lambda crop: [of_blobs(*case) for case in BLOBS],
    "window": lambda crop: [of_window(seed) for seed in range(1, 9)],
    "tiles": lambda crop: [of_tiles(length) for length in (33, 1153, 1600, 2048, 3000, 5000)],
    "polygons": lambda crop: [of_polygons(seed) for seed in range(1, 7)],
}
"""What the library makes of all inputs, by the name of the step; each may use the stored part of the field."""


def main() -> None:
    """Write the file."""
    crop = stored()
    outcomes = {name: step(crop) for name, step in STEPS.items()}
    content = json.dumps({"stored": crop, "outcomes": outcomes}, separators=(",", ":"))
    FILE.write_text(content + "\n", encoding="utf-8")
    sys.stdout.write(f"{FILE}\n")


if __name__ == "__main__":
    main()
