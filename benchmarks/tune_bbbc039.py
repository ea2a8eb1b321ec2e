"""Tuning from deliberately bad settings: ``python benchmarks/tune_bbbc039.py DATA``, a folder of BBBC039.

Tunes on a few training fields, and prints the mean AJI on validation fields with the shipped, the bad and the tuned
settings. Fields are taken at equal distances from the published splits.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from pixel_embedded_affinity import Neighborhood, Postprocess, Segmenter
from pixel_embedded_affinity.metrics import aggregated_jaccard_index
from pixel_embedded_affinity.training.config import DataSettings
from pixel_embedded_affinity.training.dataset import RAW, Example, find_pairs, load


def examples(folder: str, split: str, count: int, channels: int) -> list[Example]:
    """So many fields of a split with their true labels."""
    pairs = find_pairs(folder, DataSettings(layout="bbbc039"), split)
    count = min(count, len(pairs))
    return load([pairs[number * len(pairs) // count] for number in range(count)], RAW, channels)


def spoiled(segmenter: Segmenter) -> Segmenter:
    """The model with settings that suit no nuclei."""
    return segmenter.with_settings(
        neighborhood=Neighborhood.from_ranges([1, 3], strides=20),
        foreground_threshold=0.8,
        postprocess=Postprocess(),
    )


def scores(segmenter: Segmenter, fields: list[Example]) -> float:
    """Mean AJI."""
    found = [segmenter.segment(field.image, axes="CYX") for field in fields]
    return float(np.mean([aggregated_jaccard_index(f.labels, labels) for f, labels in zip(fields, found)]))


def main() -> None:
    """Tune and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="folder of BBBC039, with images, masks and metadata")
    parser.add_argument("--training", type=int, default=5, help="fields to tune on (default: %(default)s)")
    parser.add_argument("--validation", type=int, default=50, help="fields to score (default: %(default)s)")
    arguments = parser.parse_args()
    shipped = Segmenter.pretrained("bbbc039")
    channels = shipped.config.network.in_channels
    training = examples(arguments.data, "training", arguments.training, channels)
    validation = examples(arguments.data, "validation", arguments.validation, channels)
    bad = spoiled(shipped)
    start = time.perf_counter()
    tuning = bad.tune([f.image for f in training], [f.labels for f in training], metric="AJI", axes="CYX")
    seconds = time.perf_counter() - start
    print(f"tuning on {len(training)} fields: {len(tuning.table)} settings, {seconds:.0f} s")
    print(
        f"training AJI: {tuning.start_score:.4f} -> {tuning.score:.4f}, "
        f"leave-one-out {tuning.held_out_score:.4f}, shipped {scores(shipped, training):.4f}"
    )
    print({name: value for row in tuning.table if row["chosen"] for name, value in row.items()})
    for name, segmenter in (("shipped", shipped), ("bad", bad), ("tuned", tuning.segmenter)):
        print(f"AJI on {len(validation)} validation fields, {name}: {scores(segmenter, validation):.4f}")


if __name__ == "__main__":
    main()
