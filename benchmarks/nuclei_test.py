"""Nuclei of other laboratories: ``python benchmarks/nuclei_test.py STAGE1_TEST [--models NAME ...]``.

STAGE1_TEST is that folder of the Data Science Bowl 2018, as published: each image has a folder with ``images/ID.png``
and a file per nucleus in ``masks``. The fluorescence images are scored but for four that repeat training images:
49 images with 2,894 nuclei. No setting was chosen on them; choose none. The share of the training in the weights of
``nuclei`` 0.5.0 was, of 0.25, 0.5 and 1.

Each model segments them at the scale that it finds, at the scale that gives the true nuclei of an image its median
diameter, and as they are. A nucleus without an object that overlaps it by half (intersection over union) is counted by
what became of it: *missed* if objects cover less than a third of it; *joined* if the object over most of it covers
another nucleus by half as well; *cut* if two or more objects lie in it; else its *outline* is another one.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from nuclei_list import is_fluorescence, labels_of
from PIL import Image

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.metrics import evaluate

REPEATED = frozenset("0a849e0e 4be73d68 697a05c6 7f4cbe0b".split())
"""First eight characters of the names of images that repeat training images."""

MODELS = ("nuclei", "nuclei@0.4.0", "bbbc039", "bbbc039-fast")
MEASURES = ("aggregated_jaccard_index", "panoptic_quality", "f1_score")
ERRORS = ("missed", "joined", "cut", "outline")
HALF, COVERED = 0.5, 1 / 3

Labels = npt.NDArray[np.integer[Any]]


def images_of(source: Path) -> list[tuple[npt.NDArray[Any], Labels]]:
    """Read the fluorescence images with their labels."""
    found = []
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        if folder.name[:8] in REPEATED:
            continue
        image, labels = np.asarray(Image.open(folder / "images" / f"{folder.name}.png")), labels_of(folder)
        if is_fluorescence(image, labels):
            found.append((image[..., 0] if image.ndim == 3 else image, labels))
    return found


def scale_of(segmenter: Segmenter, truth: Labels, scale: str) -> float | str:
    """The scale of a row: as a word, or that of the true median diameter."""
    if scale != "true":
        return scale if scale == "auto" else float(scale)
    areas = np.bincount(truth.ravel())[1:]
    diameter = 2 * np.sqrt(np.median(areas[areas > 0]) / np.pi)
    return float(np.clip((segmenter.config.object_diameter or diameter) / diameter, 0.05, 4))


def errors_of(truth: Labels, found: Labels) -> Counter[str]:
    """Count the nuclei without an object of their own, by what became of them."""
    shared = np.zeros((int(truth.max()) + 1, int(found.max()) + 1), np.int64)
    np.add.at(shared, (truth.ravel(), found.ravel()), 1)
    true, area = shared.sum(axis=1), shared.sum(axis=0)
    overlap = shared[:, 1:] / np.maximum(true[:, None] + area[None, 1:] - shared[:, 1:], 1)
    counts: Counter[str] = Counter()
    for nucleus in np.flatnonzero(true[1:]) + 1:
        parts = shared[nucleus, 1:]
        if parts.size and overlap[nucleus].max() >= HALF:
            continue
        if parts.sum() < COVERED * true[nucleus]:
            counts["missed"] += 1
            continue
        others = np.delete(np.arange(1, len(true)), nucleus - 1)
        if (shared[others, parts.argmax() + 1] >= HALF * np.maximum(true[others], 1)).any():
            counts["joined"] += 1
        elif np.count_nonzero(parts >= HALF * np.maximum(area[1:], 1)) > 1:
            counts["cut"] += 1
        else:
            counts["outline"] += 1
    return counts


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--scales", nargs="+", default=("auto", "true", "1"))
    arguments = parser.parse_args()
    images = images_of(arguments.source)
    print(f"{len(images)} images, {sum(len(np.unique(truth)) - 1 for _, truth in images)} nuclei")
    print(
        f"{'model':<16} {'scale':<6} {'AJI':>6} {'PQ':>6} {'F1':>6}" + "".join(f"{one:>9}" for one in ERRORS)
    )
    for name in arguments.models:
        segmenter = Segmenter.pretrained(name)
        for scale in arguments.scales:
            scores, errors = [], Counter[str]()
            for image, truth in images:
                labels = segmenter.segment(image, scale=scale_of(segmenter, truth, scale))
                values = evaluate(truth, labels)
                scores.append([values[measure] for measure in MEASURES])
                errors += errors_of(truth, labels)
            means = "".join(f" {value:>6.3f}" for value in np.mean(scores, axis=0))
            print(
                f"{name:<16} {scale:<6}{means}" + "".join(f"{errors[one]:>9}" for one in ERRORS), flush=True
            )


if __name__ == "__main__":
    main()
