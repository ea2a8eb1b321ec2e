"""Scores and speed of float32 against bfloat16 in the network: ``python benchmarks/precision.py [--data BBBC039]``.

On the bundled sample, or on the validation fields of a BBBC039 folder. This measurement is the reason for the default
precision (``"auto"``), see docs/details/precision.rst.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.data.layouts import find_files
from pixel_embedded_affinity.io.read import read_image
from pixel_embedded_affinity.metrics import adapted_rand_error, evaluate
from pixel_embedded_affinity.runtime.device import has_fast_bfloat16
from pixel_embedded_affinity.samples import nuclei
from pixel_embedded_affinity.training.recipe import Recipe

SCORES = ("aggregated_jaccard_index", "dice", "panoptic_quality", "f1_score")

Field = tuple[npt.NDArray[Any], npt.NDArray[np.int32]]


def fields(data: str | None, count: int) -> list[Field]:
    """Return images with their true labels."""
    if data is None:
        return [tuple(nuclei())]
    files = find_files(data, Recipe.from_file("bbbc039").data, "validation")[:count]
    return [(read_image(entry.image), entry.read_labels(entry.labels)) for entry in files]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder of BBBC039; default: the bundled sample")
    parser.add_argument("--count", type=int, default=10, help="how many validation fields")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    examples = fields(arguments.data, arguments.count)
    found: dict[str, list[npt.NDArray[np.int32]]] = {}
    for precision in ("float32", "bfloat16"):
        segmenter = Segmenter.pretrained("bbbc039", device=arguments.device, precision=precision)
        segmenter.segment(examples[0][0])
        seconds, rows, found[precision] = [], [], []
        for image, truth in examples:
            start = time.perf_counter()
            labels = segmenter.segment(image)
            seconds.append(time.perf_counter() - start)
            rows.append(evaluate(truth, labels))
            found[precision].append(labels)
        scores = ", ".join(f"{name} {np.mean([row[name] for row in rows]):.4f}" for name in SCORES)
        print(f"{precision:<9} {scores}, median {statistics.median(seconds):.2f} s")
    errors = [adapted_rand_error(a, b) for a, b in zip(found["float32"], found["bfloat16"])]
    native = "native" if has_fast_bfloat16(segmenter.device) else "emulated"
    print(
        f"{len(examples)} images, bfloat16 is {native} here, adapted Rand error between the two {np.mean(errors):.4f}"
    )


if __name__ == "__main__":
    main()
