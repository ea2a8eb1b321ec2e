"""How good is the scale that is found? ``python benchmarks/scale.py MODEL LIST [--images N] [--metric F1]``.

LIST is a list of image and label paths as for ``pea train --data``, or a folder with ``images`` and ``labels``. Each
image is segmented at nine scales and with ``scale="auto"``. The table has the mean scores at scale 1, at the found
scales, at the best scale for all images, and with the best scale of each image (which nobody knows without labels).
The time is that of ``scale="auto"`` as a multiple of that of the same scale given as a number, in one run.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.data.layouts import RAW, DataSettings, find_files, load_one
from pixel_embedded_affinity.metrics import evaluate

SCALES = (0.18, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
METRICS = {"F1": "f1_score", "AJI": "aggregated_jaccard_index", "SBD": "symmetric_best_dice"}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("--layout", default="folders")
    parser.add_argument("--split", default="training")
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--leave-out", default="\n", help="part of the names of images that are not used")
    arguments = parser.parse_args()
    segmenter = Segmenter.pretrained(arguments.model)
    files = find_files(arguments.data, DataSettings(layout=arguments.layout), arguments.split)
    files = [file for file in files if arguments.leave_out not in file.name]
    files = files[:: max(1, len(files) // arguments.images)][: arguments.images]
    fixed, found, ratios, scales = [], [], [], []
    for file in files:
        example = load_one(file, RAW, segmenter.config.network.in_channels)
        axes, truth = segmenter.config.axes, example.labels
        fixed.append(
            [scores(truth, segmenter.segment(example.image, axes=axes, scale=one)) for one in SCALES]
        )
        start = time.perf_counter()
        result = segmenter.analyze(example.image, axes=axes, scale="auto")
        middle = time.perf_counter()
        segmenter.analyze(example.image, axes=axes, scale=result.scale)
        ratios.append((middle - start) / (time.perf_counter() - middle))
        found.append(scores(truth, result.labels))
        scales.append(result.scale)
    report(np.array(fixed), np.array(found), np.array(ratios), np.array(scales))


def scores(truth: np.ndarray, labels: np.ndarray) -> list[float]:
    """F1, AJI and SBD of one image."""
    values = evaluate(truth, labels)
    return [values[name] for name in METRICS.values()]


def report(fixed: np.ndarray, found: np.ndarray, ratios: np.ndarray, scales: np.ndarray) -> None:
    """Print the scores; `fixed` is (image, scale, metric), `found` (image, metric)."""
    print(f"{len(found)} images; scales found: {np.percentile(scales, [0, 25, 50, 75, 100]).round(2)}")
    print(f"{'':6}{'scale 1':>10}{'auto':>10}{'best fixed':>16}{'best each':>12}{'auto - scale 1':>20}")
    one = SCALES.index(1.0)
    for number, name in enumerate(METRICS):
        table, auto = fixed[:, :, number], found[:, number]
        best = table.mean(axis=0).argmax()
        gain = auto - table[:, one]
        print(
            f"{name:6}{table[:, one].mean():10.3f}{auto.mean():10.3f}{table[:, best].mean():10.3f} ({SCALES[best]:g})"
            f"{np.maximum(table.max(axis=1), auto).mean():12.3f}"
            f"{gain.mean():+12.3f} +- {gain.std(ddof=1) / len(gain) ** 0.5:.3f}"
        )
    print(f"time of auto / time of the same scale given: median {np.median(ratios):.2f}")


if __name__ == "__main__":
    main()
