"""Segment every TIFF of a folder; the weights are loaded once, and one bad file does not stop the rest.

python examples/batch_folder.py [IMAGES [FOLDER]]

IMAGES is the folder of the images, FOLDER the folder for the results. Without them, the script segments parts of the
bundled field, in a new temporary folder. The command `pea segment` does the same, and more.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import tifffile

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.errors import PixelEmbeddedAffinityError
from pixel_embedded_affinity.export import write_labels, write_table
from pixel_embedded_affinity.samples import nuclei


def main() -> int:
    """Segment the images one after the other; return the exit code."""
    images, folder = folders(sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    segmenter = Segmenter.pretrained("bbbc039")
    names, counts, failed = [], [], 0
    for path in sorted(images.glob("*.tif")):
        try:
            labels = segmenter.segment(path)
        except PixelEmbeddedAffinityError as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            failed += 1
            continue
        write_labels(folder / f"{path.stem}_labels.tif", labels)
        names.append(path.name)
        counts.append(int(labels.max()))
        print(f"{path.name}: {labels.max()} objects")
    write_table(folder / "counts.csv", {"image": names, "objects": counts})
    print(f"results are in {folder}")
    return int(failed > 0)


def folders(arguments: list[str]) -> tuple[Path, Path]:
    """Return the folder of the images and the folder for the results."""
    if arguments:
        images = Path(arguments[0])
        return images, Path(arguments[1]) if len(arguments) > 1 else images / "results"
    images = Path(tempfile.mkdtemp(prefix="batch_folder_"))
    field = nuclei().image
    for index, part in enumerate((field[:260, :348], field[:260, 348:], field[260:, :348])):
        tifffile.imwrite(images / f"part_{index}.tif", part)
    return images, images / "results"


if __name__ == "__main__":
    sys.exit(main())
