"""From an image to labels, an overlay and a table, and to other labels without running the network again.

python examples/quick_start.py [FOLDER]

FOLDER is the folder for the results; without it, they go into a new temporary folder.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from pixel_embedded_affinity import Neighborhood, Segmenter
from pixel_embedded_affinity.export import write_labels, write_overlay, write_table
from pixel_embedded_affinity.samples import nuclei


def main() -> None:
    """Segment the bundled field and write what was found."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="quick_start_"))
    folder.mkdir(parents=True, exist_ok=True)
    image = nuclei().image
    segmenter = Segmenter.pretrained("bbbc039")

    result = segmenter.analyze(image)
    print(f"{result.labels.max()} nuclei in a field of {image.shape[0]} x {image.shape[1]} pixels")
    write_labels(folder / "labels.tif", result.labels)
    write_overlay(folder / "overlay.png", image, result.labels, scale=2)
    write_table(folder / "objects.csv", result.table(intensity=image))

    for ranges in ([1, 3, 5], [1, 3, 9, 11], [1, 5, 9, 15, 21]):
        neighborhood = Neighborhood.from_ranges(ranges, directions=8, strides=10)
        # The result holds the embedding, so the network does not run again.
        labels = segmenter.cluster(result.embedding, neighborhood=neighborhood)
        print(f"{labels.max()} nuclei with ranges {ranges}")
    print(f"results are in {folder}")


if __name__ == "__main__":
    main()
