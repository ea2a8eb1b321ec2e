"""What tiles change, by their halo: ``python benchmarks/halo.py``.

Cuts the bundled field down the middle and compares tiles with the whole image, for each halo: it prints the
difference of the embedding (the largest, and the mean of the columns at the cut) and of the foreground's
probability. Then it segments a part of the field in small tiles and prints the AJI against the annotation, and how
many pixels have another label than in the whole.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

import numpy as np

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.embedding import Embedding
from pixel_embedded_affinity.geometry.tiling import Tiling
from pixel_embedded_affinity.metrics import aggregated_jaccard_index
from pixel_embedded_affinity.samples import nuclei

HALOS = (16, 32, 48, 64, 80)
PART = (slice(384), slice(512))
SEAM = 1
"""Columns on either side of the cut over which the difference is averaged."""


def print_differences(whole: Embedding, tiled: Embedding, halo: int, middle: int) -> None:
    """Print how far two embeddings of one image are from each other."""
    difference = (whole.values - tiled.values).abs()
    seam = float(difference[..., middle - SEAM : middle + SEAM].mean())
    row = f"{halo:>4} {float(difference.max()):>12.0e} {seam:>12.0e}"
    if whole.foreground is not None and tiled.foreground is not None:
        row += f" {float((whole.foreground - tiled.foreground).abs().max()):>12.0e}"
    print(row)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="bbbc039")
    parser.add_argument("--tile", type=int, default=128, help="size in pixels, for the second table")
    options = parser.parse_args(arguments)
    segmenter = Segmenter.pretrained(options.model, device="cpu", precision="float32")
    field = nuclei()
    height, middle = (
        math.ceil(length / 16) * 16 for length in (field.image.shape[0], field.image.shape[1] / 2)
    )
    whole = segmenter.embed(field.image, tile=None)
    print(f"{'halo':>4} {'embedding':>12} {'at the seam':>12} {'foreground':>12}")
    for halo in HALOS:
        tiled = segmenter.embed(field.image, tile=Tiling((height, middle), halo=halo))
        print_differences(whole, tiled, halo, middle)
    image, truth = field.image[PART], field.labels[PART]
    expected = segmenter.segment(image, tile=None)
    print(f"\n{'halo':>4} {'AJI':>8} {'other pixels':>13}")
    print(f"{'-':>4} {aggregated_jaccard_index(truth, expected):>8.5f} {0:>13}")
    for halo in HALOS:
        found = segmenter.segment(image, tile=Tiling(options.tile, halo=halo))
        changed = int(np.count_nonzero(found != expected))
        print(f"{halo:>4} {aggregated_jaccard_index(truth, found):>8.5f} {changed:>13}")


if __name__ == "__main__":
    main()
