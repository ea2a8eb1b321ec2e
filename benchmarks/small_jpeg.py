"""Small plants stored as JPEG: ``python benchmarks/small_jpeg.py ROSETTES [--models leaves] [--extent 100]``.

ROSETTES is a folder for ``pea train leaves``. Its held-out plants of Ara2013 are reduced, so that each extends over so
many pixels, and stored as PNG and as JPEG: with colors at half the resolution, as cameras store them (4:2:0), and at
the full one (4:4:4). The table has the mean SBD and absolute difference in count from the image alone, and how much
each way of storing loses against PNG, with its standard error.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.data.layouts import RAW, find_files, load_one
from pixel_embedded_affinity.metrics import evaluate
from pixel_embedded_affinity.training.recipe import Recipe

WAYS = {
    "PNG": {"format": "PNG"},
    "JPEG 95, 4:4:4": {"format": "JPEG", "quality": 95, "subsampling": "4:4:4"},
    "JPEG 95, 4:2:0": {"format": "JPEG", "quality": 95, "subsampling": "4:2:0"},
    "JPEG 75, 4:2:0": {"format": "JPEG", "quality": 75, "subsampling": "4:2:0"},
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rosettes", type=Path)
    parser.add_argument("--models", nargs="+", default=["leaves"])
    parser.add_argument("--extent", type=int, default=100)
    parser.add_argument("--limit", type=int, default=33)
    arguments = parser.parse_args()
    files = find_files(arguments.rosettes, Recipe.from_file("leaves").data, "test")
    plants = [reduced(file, arguments.extent) for file in files if file.name.startswith("ara2013")]
    print("model             stored as         SBD      |DiC|   change of SBD")
    for name in arguments.models:
        segmenter = (Segmenter.from_file if name.endswith(".safetensors") else Segmenter.pretrained)(name)
        plain = np.empty(0)
        title = Path(name).stem
        for way, options in WAYS.items():
            scores = [
                evaluate(truth, segmenter.segment(stored(image, options)))
                for image, truth in plants[: arguments.limit]
            ]
            found = np.array([score["symmetric_best_dice"] for score in scores])
            counts = np.mean([score["absolute_difference_in_count"] for score in scores])
            plain = plain if plain.size else found
            change = found - plain
            error = change.std(ddof=1) / np.sqrt(len(change))
            print(
                f"{title:16}  {way:16}  {found.mean():.4f}  {counts:5.2f}   {change.mean():+.4f} +- {error:.4f}",
                flush=True,
            )


def reduced(file: object, extent: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Return an image (Y, X, 3) and its labels at the size at which the plant extends over so many pixels."""
    example = load_one(file, RAW, 3)
    image, labels = np.moveaxis(example.image, 0, -1).astype(np.uint8), example.labels.astype(np.int32)
    rows, columns = np.nonzero(labels)
    factor = extent / (max(np.ptp(rows), np.ptp(columns)) + 1)
    size = [max(1, round(length * factor)) for length in reversed(labels.shape)]
    small = Image.fromarray(image).resize(size, Image.Resampling.BOX)
    return np.asarray(small), np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))


def stored(image: npt.NDArray[np.uint8], options: dict[str, object]) -> npt.NDArray[np.uint8]:
    """Store an image, and read it again."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, **options)
    return np.asarray(Image.open(file))


if __name__ == "__main__":
    main()
