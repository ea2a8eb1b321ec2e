"""The objects' table against ``regionprops_table`` of scikit-image: ``python benchmarks/measurements.py``.

Both measure ellipses in a random image, one channel, in turns; the medians count. The script also prints the largest
difference between the two tables.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.measure import regionprops_table

from pixel_embedded_affinity.export import object_table

CELL = 44
OURS_TO_THEIRS = {
    "label": "label",
    "area": "area",
    "centroid-y": "centroid-0",
    "centroid-x": "centroid-1",
    "bbox-y-start": "bbox-0",
    "bbox-x-start": "bbox-1",
    "bbox-y-stop": "bbox-2",
    "bbox-x-stop": "bbox-3",
    "equivalent_diameter": "equivalent_diameter_area",
    "mean_intensity": "intensity_mean",
    "axis_major_length": "axis_major_length",
    "axis_minor_length": "axis_minor_length",
    "extent": "extent",
    "eccentricity": "eccentricity",
    "orientation": "orientation",
    "perimeter": "perimeter",
    "solidity": "solidity",
    "min_intensity": "intensity_min",
    "max_intensity": "intensity_max",
    "sd_intensity": "intensity_std",
}
"""Our columns, and their names at scikit-image."""

PROPERTIES = sorted({name.rstrip("0123").rstrip("-") for name in OURS_TO_THEIRS.values()})


def ellipses(count: int, seed: int = 0) -> npt.NDArray[np.int32]:
    """Labels of ellipses of several sizes, forms and directions, each in a cell of its own."""
    random = np.random.default_rng(seed)
    across = int(np.ceil(np.sqrt(count)))
    labels = np.zeros((across * CELL, across * CELL), np.int32)
    y, x = np.mgrid[:CELL, :CELL] - CELL / 2
    for number in range(count):
        angle, long, short = random.uniform((0, 10, 0.5), (np.pi, 20, 1)) * (1, 1, 1)
        along, beside = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
        top, left = (CELL * place for place in divmod(number, across))
        cell = labels[top : top + CELL, left : left + CELL]
        cell[along**2 + (beside / short) ** 2 < long**2] = number + 1
    return labels


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call takes, and what it returns."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def main(command: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, help="objects (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="runs of each (default: %(default)s)")
    options = parser.parse_args(command)
    labels = ellipses(options.count)
    image = np.random.default_rng(1).random(labels.shape).astype(np.float32)
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(options.runs):
        took, ours = timed(lambda: object_table(labels, image))
        seconds["ours"].append(took)
        took, theirs = timed(lambda: regionprops_table(labels, image, properties=PROPERTIES))
        seconds["theirs"].append(took)
    ours_s, theirs_s = (statistics.median(values) for values in seconds.values())
    print(
        f"{options.count} objects, {labels.shape[0]} x {labels.shape[1]} pixels, {len(OURS_TO_THEIRS)} columns"
    )
    print(
        f"regionprops_table {1000 * theirs_s:.1f} ms, object_table {1000 * ours_s:.1f} ms: {theirs_s / ours_s:.1f}x"
    )
    worst = max(float(np.abs(ours[name] - theirs[other]).max()) for name, other in OURS_TO_THEIRS.items())
    print(f"largest difference {worst:.1e}")


if __name__ == "__main__":
    main()
