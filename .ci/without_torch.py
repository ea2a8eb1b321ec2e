"""Segment the bundled field where torch is not installed, and compare the labels with the golden ones.

Run in an environment that holds nothing but the wheel, with the folder of the golden labels as the only argument.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import tifffile

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.metrics import adapted_rand_error
from pixel_embedded_affinity.models.registry import get_entry
from pixel_embedded_affinity.samples import nuclei

MODELS = ("nuclei", "bbbc039-fast", "bbbc039")
# As in tests/golden: processors round differently, which may move single border pixels.
MOST_ERROR = 0.0005


def main() -> None:
    """Refuse torch, other labels, and a segmenter that does not say what runs it."""
    if importlib.util.find_spec("torch") is not None:
        raise SystemExit("torch is installed here; expected nothing but the wheel and what it needs")
    folder = Path(sys.argv[1])
    for name in MODELS:
        segmenter = Segmenter.pretrained(name, offline=True)
        labels = segmenter.segment(nuclei().image)
        golden = tifffile.imread(folder / f"{name}-{get_entry(name).version}.tif")
        different = np.count_nonzero(labels != golden)
        sys.stdout.write(
            f"{segmenter!r}: {labels.max()} objects, {different} pixels differ from the golden labels\n"
        )
        same = labels.max() == golden.max() and adapted_rand_error(golden, labels) <= MOST_ERROR
        if segmenter.runtime != "onnx" or not same:
            raise SystemExit(f"{name} has other labels without torch; expected those of {folder}")


if __name__ == "__main__":
    main()
