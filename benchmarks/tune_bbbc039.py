"""Tuning from deliberately bad settings: ``python benchmarks/tune_bbbc039.py DATA``, a folder of BBBC039.

Tunes on a few training fields, and prints the mean AJI on validation fields with the shipped, the bad and the tuned
settings. Fields are taken at equal distances from the published splits; each is embedded once.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from data import read, spread

from pixel_embedded_affinity import Neighborhood, Postprocess, Segmenter
from pixel_embedded_affinity.data.layouts import DataSettings, Files, find_files
from pixel_embedded_affinity.metrics import aggregated_jaccard_index


def files_of(folder: str, split: str, count: int) -> list[Files]:
    """Some fields of a split."""
    return spread(find_files(folder, DataSettings(layout="bbbc039"), split), count)


def spoiled(segmenter: Segmenter) -> Segmenter:
    """The model with settings that suit no nuclei."""
    return segmenter.with_settings(
        neighborhood=Neighborhood.from_ranges([1, 3], strides=20),
        foreground_threshold=0.8,
        postprocess=Postprocess(),
    )


def scores(segmenters: Sequence[Segmenter], files: Sequence[Files]) -> npt.NDArray[np.float64]:
    """AJI of each segmenter on each field; the segmenters share one network."""
    rows = []
    for entry in files:
        field = read(entry, segmenters[0])
        embedding = segmenters[0].embed(field.image, axes="CYX")
        rows.append([aggregated_jaccard_index(field.labels, s.cluster(embedding)) for s in segmenters])
    return np.array(rows).T


def main() -> None:
    """Tune and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="folder of BBBC039, with images, masks and metadata")
    parser.add_argument("--training", type=int, default=5, help="fields to tune on (default: %(default)s)")
    parser.add_argument("--validation", type=int, default=50, help="fields to score (default: %(default)s)")
    arguments = parser.parse_args()
    shipped = Segmenter.pretrained("bbbc039")
    bad = spoiled(shipped)
    fields = [read(entry, shipped) for entry in files_of(arguments.data, "training", arguments.training)]
    start = time.perf_counter()
    tuning = bad.tune([f.image for f in fields], [f.labels for f in fields], metric="AJI", axes="CYX")
    print(
        f"tuning on {len(fields)} fields: {len(tuning.table)} settings, {time.perf_counter() - start:.0f} s\n"
        f"training AJI {tuning.start_score:.4f} -> {tuning.score:.4f}, leave-one-out {tuning.held_out_score:.4f}"
    )
    print(tuning.chosen)
    files = files_of(arguments.data, "validation", arguments.validation)
    table = scores([shipped, bad, tuning.segmenter], files)
    for name, row in zip(("shipped", "bad", "tuned"), table):
        difference = row - table[0]
        error = difference.std(ddof=1) / len(files) ** 0.5
        print(
            f"AJI on {len(files)} validation fields, {name}: {row.mean():.4f} "
            f"({difference.mean():+.4f} +- {error:.4f} from shipped)"
        )


if __name__ == "__main__":
    main()
