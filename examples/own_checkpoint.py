"""Use your own model file, and write one with other inference settings.

python examples/own_checkpoint.py [CHECKPOINT [FOLDER]]

CHECKPOINT is a .safetensors file such as `pea train` writes, FOLDER the folder for the results. Without them, the
script uses the file of the bundled model and a new temporary folder.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from pixel_embedded_affinity import Neighborhood, Segmenter
from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.export import write_labels
from pixel_embedded_affinity.models.checkpoint import read_checkpoint, write_checkpoint
from pixel_embedded_affinity.models.fetch import download
from pixel_embedded_affinity.samples import nuclei


def main() -> None:
    """Load a file, change settings, and write them into another file."""
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp(prefix="own_checkpoint_"))
    folder.mkdir(parents=True, exist_ok=True)
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else download("bbbc039", to=folder)
    segmenter = Segmenter.from_file(path)
    print(f"{segmenter!r}: {segmenter.config.description}")
    print(segmenter.config.neighborhood)

    # The settings of a model are defaults. Change them for one segmenter ...
    neighborhood = Neighborhood.from_ranges([1, 3, 9, 15], directions=8, strides=10)
    changed = segmenter.with_settings(
        neighborhood=neighborhood, postprocess=replace(segmenter.config.postprocess, clear_border=True)
    )
    image = nuclei().image
    print(f"{changed.segment(image).max()} nuclei without those at the border, by {path}")

    # ... or write them into a file with the same weights, and load that from then on.
    checkpoint = read_checkpoint(path)
    config: ModelConfig = changed.config.changed(name="without_border")
    target = folder / "without_border.safetensors"
    write_checkpoint(target, replace(checkpoint, config_json=config.to_json()))
    labels = Segmenter.from_file(target).segment(image)
    write_labels(folder / "labels.tif", labels)
    print(f"{labels.max()} nuclei, by {target}")


if __name__ == "__main__":
    main()
