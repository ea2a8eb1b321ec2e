"""How far are the labels of blocks from those of the whole? ``python benchmarks/blocks.py FOLDER --model neurons``.

FOLDER holds volumes as TIFF. Of each, some sections and pixels are segmented in memory and by ``segment_large`` in
small blocks, which cut most neurons. The variation of information between the two is 0 where they agree; its merged
part counts neurons that only the blocks join.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import tifffile

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.metrics import variation_of_information

CUTS = (((12, 64, 64), (8, 24, 24)), ((20, 80, 80), (8, 32, 32)))
"""Blocks and overlaps, along z, y and x."""


def main() -> None:
    """Print a line for each volume and cut, and the means."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="neurons")
    parser.add_argument("--sections", type=int, default=20, help="from the 30th section on, or the last ones")
    parser.add_argument("--side", type=int, default=256, help="pixels along y and x")
    arguments = parser.parse_args()
    segmenter = Segmenter.pretrained(arguments.model)
    rows = []
    for path in sorted(arguments.folder.glob("*.tif")):
        volume = tifffile.imread(path)
        first = max(0, min(30, len(volume) - arguments.sections))
        part = volume[first : first + arguments.sections, : arguments.side, : arguments.side]
        rows += compared(path.stem, part, segmenter)
    split, merged = np.mean(rows, axis=0)
    print(f"mean of {len(rows)}: {split:.4f} split + {merged:.4f} merged = {split + merged:.4f}")


def compared(name: str, volume: np.ndarray, segmenter: Segmenter) -> list[tuple[float, float]]:
    """Print and return the split and the merged part of each cut."""
    size = segmenter.config.pixel_size
    whole, rows = segmenter.segment(volume, pixel_size=size), []
    for block, overlap in CUTS:
        found = np.zeros(volume.shape, np.int32)
        segmenter.segment_large(volume, found, block=block, overlap=overlap, pixel_size=size)
        parts = variation_of_information(whole, found)
        print(
            f"{name}, blocks of {block}: VOI {parts.split:.4f} split + {parts.merge:.4f} merged", flush=True
        )
        rows.append((parts.split, parts.merge))
    return rows


if __name__ == "__main__":
    main()
