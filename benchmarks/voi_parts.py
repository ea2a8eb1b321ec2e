"""Where does the variation of information of a volume come from? ``python benchmarks/voi_parts.py DATA``.

DATA holds AC4's sections, for the layout ``ac3ac4``, or a folder for another one. Four parts add up to the variation of
information of a model:

- pieces: neurons whose parts meet only outside the volume; nobody can know that they belong together;
- borders: what vanishes if voxels near a border of the truth do not count, within a section; persons who draw the same
  border differ there, too;
- splits and merges: the rest.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage.measure import label
from skimage.segmentation import find_boundaries

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.data.layouts import RAW, DataSettings, find_files, load_one
from pixel_embedded_affinity.metrics import variation_of_information


def main() -> None:
    """Print the parts of each volume."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--layout", default="ac3ac4")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--model", default="ac3ac4")
    parser.add_argument("--near", type=int, nargs="+", default=[1, 2, 3, 4], help="pixels from a border")
    arguments = parser.parse_args()
    segmenter = Segmenter.pretrained(arguments.model)
    for source in find_files(arguments.data, DataSettings(layout=arguments.layout), arguments.split):
        example = load_one(source, RAW, 1, ndim=3)
        found = segmenter.segment(example.image, axes="CZYX", pixel_size=segmenter.config.pixel_size)
        report(example.name, example.labels, found, arguments.near)


def report(name: str, truth: np.ndarray, found: np.ndarray, near: list[int]) -> None:
    """Print a line for each distance from the border."""
    pieces = label(truth, connectivity=3)
    whole, apart = voi(truth, found), sum(voi(truth, pieces))
    print(f"{name}: VOI {sum(whole):.3f} = {whole[0]:.3f} split + {whole[1]:.3f} merged; pieces {apart:.3f}")
    distance = to_border(truth)
    for pixels in near:
        inner = np.where(distance > pixels, truth, 0)
        rest = voi(inner, found)
        share = np.mean(inner[truth > 0] == 0)
        apart_inside = sum(voi(inner, pieces))
        print(
            f"  without {pixels} pixels beside a border ({share:.0%} of the voxels): borders "
            f"{sum(whole) - sum(rest):.3f}, pieces {apart_inside:.3f}, splits {rest[0] - apart_inside:.3f}, merges "
            f"{rest[1]:.3f}"
        )


def voi(truth: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """Split and merge, without the voxels that have no label in the truth."""
    parts = variation_of_information(truth, found, ignore_background=True)
    return parts.split, parts.merge


def to_border(truth: np.ndarray) -> np.ndarray:
    """Distance, in pixels of a section, to the nearest voxel with another label or none."""
    return np.stack([_to_border(section) for section in truth])


def _to_border(section: np.ndarray) -> np.ndarray:
    border = find_boundaries(section, connectivity=1, mode="thick")
    return ndimage.distance_transform_edt(~border) + 1 if border.any() else np.full(section.shape, np.inf)


if __name__ == "__main__":
    main()
