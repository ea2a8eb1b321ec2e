"""Does confidence rank wrong objects below right ones? ``python benchmarks/confidence.py --data BBBC039``.

Segments labeled images, and prints the area under the ROC curve of the confidence: the probability that a right object
has a higher confidence than a wrong one. An object is right if it has an IoU of at least 0.5 with a true one.
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt
from data import add_arguments, files_of, is_given_foreground, load_model, read

from pixel_embedded_affinity.metrics import Contingency

Numbers = npt.NDArray[np.float64]


def best_overlaps(truth: npt.NDArray[np.int32], found: npt.NDArray[np.int32]) -> Numbers:
    """Largest IoU of each found object with a true one."""
    table = Contingency.of(truth, found)
    sizes = table.truth_sizes[table.truth_index] + table.prediction_sizes[table.prediction_index]
    overlaps = np.where(table.truth_index > 0, table.pixels / (sizes - table.pixels), 0)
    best = np.zeros(table.prediction_count + 1)
    np.maximum.at(best, table.prediction_index, overlaps)
    return best[1:]


def area_under_curve(scores: Numbers, right: npt.NDArray[np.bool_]) -> float:
    """Share of pairs of a right and a wrong object in which the right one scores higher; ties count half."""
    higher = scores[right][:, None] - scores[~right]
    return float(np.mean((np.sign(higher) + 1) / 2)) if higher.size else float("nan")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    arguments = parser.parse_args()
    segmenter = load_model(arguments)
    columns: dict[str, list[Numbers]] = {"confidence": [], "area": [], "overlap": []}
    for entry in files_of(arguments, segmenter, arguments.split, arguments.count):
        example = read(entry, segmenter)
        given = example.labels > 0 if is_given_foreground(arguments, segmenter) else None
        result = segmenter.analyze(example.image, axes="CYX", foreground=given)
        table = result.table()
        columns["confidence"].append(table["confidence"])
        columns["area"].append(table["area"])
        columns["overlap"].append(best_overlaps(example.labels, result.labels))
    confidence, area, overlap = (np.concatenate(parts) for parts in columns.values())
    right = overlap >= 0.5
    print(f"{len(columns['area'])} images, {right.size} objects, {np.count_nonzero(~right)} of them wrong")
    print(
        f"AUROC of confidence {area_under_curve(confidence, right):.4f}, of area {area_under_curve(area, right):.4f}"
    )
    least = np.argsort(confidence, kind="stable")[: max(1, right.size // 20)]
    share = np.count_nonzero(~right[least]) / max(1, np.count_nonzero(~right))
    print(f"the 5 % least confident objects hold {share:.0%} of the wrong ones")


if __name__ == "__main__":
    main()
