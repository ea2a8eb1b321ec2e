"""Write the golden labels of every model of the registry: what it finds in the bundled field, in float32.

A model of volumes gets a synthetic volume instead.

Run after a model was added: ``python tests/golden/make_golden.py``. A file that is there already is kept: the labels
of a version of a model never change, short of a change of the method that the changelog names; then delete it first.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.export import write_labels
from pixel_embedded_affinity.models.registry import get_entry, read_registry
from pixel_embedded_affinity.samples import neurons, nuclei
from pixel_embedded_affinity.training.data.synthetic import synthetic_volume

FOLDER = Path(__file__).parent
WITHOUT_A_FIELD = {"cvppp", "leaves"}
"""Models for objects that the bundled field does not show, and whose images may not be passed on."""


def golden_file(model: str) -> Path:
    """Return where the labels of a model, or of an earlier version ``NAME@VERSION``, lie."""
    entry = get_entry(model)
    return FOLDER / f"{entry.name}-{entry.version}.tif"


def models() -> list[str]:
    """Return the models, and their earlier versions, that have golden labels."""
    return sorted(key for key, entry in read_registry().items() if entry.name not in WITHOUT_A_FIELD)


def sample(segmenter: Segmenter) -> np.ndarray:
    """Return the image, or the volume, that a model segments."""
    if segmenter.config.ndim == 2:
        return nuclei().image
    if segmenter.config.name == "ac3ac4":  # knows no fly's brain
        return synthetic_volume((8, 128, 160))[0]
    return neurons().image[8:]


def main() -> None:
    """Write what is not there yet."""
    for model in models():
        path = golden_file(model)
        if not path.exists():
            segmenter = Segmenter.pretrained(model, device="cpu", precision="float32", offline=True)
            write_labels(path, segmenter.segment(sample(segmenter)))
            sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
