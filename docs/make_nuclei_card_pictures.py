"""Draw the pictures of the nuclei models' cards: four good and two bad results, chosen by a rule.

Run it from any folder, whenever a model has changed; DATA holds BBBC039 (``images``, ``masks``, ``metadata``)::

    python docs/make_nuclei_card_pictures.py FOLDER DATA

A part of 200 x 260 pixels is cut from the middle of each of the 50 validation fields, and segmented. Of the parts with
at least ten nuclei, those in the middle of each quarter of the better half by AJI are the good ones, and the two worst
are the bad ones.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pictures import Picture, below_each_other, output_folder, resized, row, save
from tifffile import imread

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.data.layouts import DataSettings, find_files
from pixel_embedded_affinity.export import render_overlay
from pixel_embedded_affinity.labels import relabel
from pixel_embedded_affinity.metrics import aggregated_jaccard_index

MODELS = ("bbbc039", "bbbc039-fast", "nuclei")
PART = (slice(160, 360), slice(218, 478))
FEWEST = 10
WIDTH = 340


class Result(NamedTuple):
    """A part of a field, what a person drew, and what the model found."""

    score: float
    image: npt.NDArray[np.uint16]
    truth: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int32]


def main() -> None:
    """Write ``card_MODEL_good.jpg`` and ``card_MODEL_bad.jpg`` for each model."""
    folder = output_folder()
    for model in MODELS:
        results = scored(Segmenter.pretrained(model, device="cpu", precision="float32"), Path(sys.argv[2]))
        good = [drawn(results[place].labels, results[place]) for place in quarters(len(results))]
        captions = [f"AJI {results[place].score:.2f}" for place in quarters(len(results))]
        pairs = [dict(zip(captions[i : i + 2], good[i : i + 2], strict=True)) for i in (0, 2)]
        save(below_each_other([row(pair) for pair in pairs]), folder / f"card_{model}_good.jpg")
        bad = [
            row(
                {
                    f"found, AJI {result.score:.2f}": drawn(result.labels, result),
                    "truth": drawn(result.truth, result),
                }
            )
            for result in results[:2]
        ]
        save(below_each_other(bad), folder / f"card_{model}_bad.jpg")


def scored(segmenter: Segmenter, data: Path) -> list[Result]:
    """All parts, the worst first."""
    found = []
    for image, truth in parts(data):
        labels = segmenter.segment(image)
        found.append(Result(aggregated_jaccard_index(truth, labels), image, truth, labels))
    return sorted(found, key=lambda result: result.score)


def parts(data: Path) -> Iterator[tuple[npt.NDArray[np.uint16], npt.NDArray[np.int32]]]:
    """The middles of the validation fields that hold enough nuclei, and what a person drew there."""
    for files in find_files(data, DataSettings(layout="bbbc039"), "validation"):
        image, truth = imread(files.image)[PART], relabel(files.read_labels(files.labels)[PART])
        if truth.max() >= FEWEST:
            yield image, truth


def quarters(count: int) -> list[int]:
    """Places in a list of results, the worst first: the middle of each quarter of its better half."""
    return [round(count * (0.5 + 0.125 * (place + 0.5))) for place in reversed(range(4))]


def drawn(labels: npt.NDArray[np.int32], result: Result) -> Picture:
    """The overlay of a part."""
    return resized(render_overlay(result.image, labels, scale=3), WIDTH)


if __name__ == "__main__":
    main()
