"""The training data of the recipe ``nuclei``: ``python benchmarks/nuclei_list.py DSB2018 BBBC039 OUTPUT [--stained]``.

DSB2018 is the folder ``stage1_train`` of the Data Science Bowl 2018 with corrected masks, as published: each image
has a folder with ``images/ID.png`` and a file per nucleus in ``masks``. BBBC039 is that data set as published. OUTPUT
gets the label images, and ``list.txt`` for ``pea train nuclei --data``.

Only fluorescence images are taken: gray ones whose nuclei are brighter than their background. Images that repeat a
field of BBBC039, or lie too close to a test field, are left out.

``--stained`` adds the images with dark nuclei, stained tissue for the most part. Their values are turned round, so that
nuclei are bright there, too: crowded, with texture in and around them. The recipe ``nuclei-stained`` learns from them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from pixel_embedded_affinity.data.layouts import DataSettings, find_files

LEFT_OUT = frozenset(
    """
    10ba6cbe 175dbb36 1b518cd2 1c8b905c 1f6b7cea 2abc40c1 2cfa61be 3ebd2ab3 3f9fc8e6 4596961c 49edc2f7
    4d2cff9a 53ad09e4 5f9d29d6 61dc2493 62057502 6b6d4e6f 6b72b61b 6fe2df6d 700afb1c 76faaed5 87642352
    958114e5 98a46348 a02ec007 a486f6ed a65bbfc5 a7a581e6 a891bbc8 aaa52100 b1f23c4d b76ff33a bb8ebf46
    bbfc4aab bde3727f c44ed955 cc886273 d5295810 dd54adb8 e52960d3 e5a6c5e0 e5aeb5b3 e7a3a7c9 ecb36c90
    """.split()
)
"""First eight characters of the names of images that repeat or resemble fields of BBBC039."""

_GRAY = 4  # largest difference of the channels of a gray image


def labels_of(folder: Path) -> npt.NDArray[np.uint16]:
    """Put the masks of one image together, large nuclei first, so that none is hidden."""
    masks = [np.asarray(Image.open(path).convert("L")) > 127 for path in sorted(folder.glob("masks/*.png"))]
    labels = np.zeros(masks[0].shape, np.uint16)
    for number, mask in enumerate(sorted(masks, key=lambda mask: -int(mask.sum())), start=1):
        labels[mask] = number
    return labels


def is_fluorescence(image: npt.NDArray[Any], labels: npt.NDArray[Any]) -> bool:
    """Whether an image is gray and its nuclei are brighter than their background."""
    colors = image[..., :3].astype(int) if image.ndim == 3 else image[..., np.newaxis].astype(int)
    gray = colors[..., 0]
    return (
        np.abs(colors - colors[..., :1]).max() <= _GRAY and gray[labels > 0].mean() > gray[labels == 0].mean()
    )


def pairs_of_dsb2018(source: Path, output: Path, stained: bool) -> list[tuple[Path, Path]]:
    """Write the images and labels that are taken, and return their paths."""
    pairs = []
    for folder in sorted(source.iterdir()):
        if not folder.is_dir() or folder.name[:8] in LEFT_OUT:
            continue
        labels = labels_of(folder)
        image = np.asarray(Image.open(folder / "images" / f"{folder.name}.png"))
        first = image[..., 0] if image.ndim == 3 else image  # red, which the blue stain of nuclei takes away
        bright = is_fluorescence(image, labels)
        if bright or stained:
            pair = output / f"{folder.name}.png", output / f"{folder.name}_labels.tif"
            Image.fromarray(first if bright else 255 - first).save(pair[0])
            tifffile.imwrite(pair[1], labels, compression="zlib")
            pairs.append(pair)
    return pairs


def pairs_of_bbbc039(source: Path, output: Path) -> list[tuple[Path, Path]]:
    """Write the labels of the training fields, and return the paths."""
    pairs = []
    for pair in find_files(source, DataSettings(layout="bbbc039"), "training"):
        target = output / f"{pair.name}_labels.tif"
        tifffile.imwrite(target, pair.read_labels(pair.labels).astype(np.uint16), compression="zlib")
        pairs.append((pair.image.absolute(), target))
    return pairs


def main() -> None:
    """Write the labels and the list."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("dsb2018", "bbbc039", "output"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--stained", action="store_true", help="the images with dark nuclei, too")
    arguments = parser.parse_args()
    output = arguments.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    pairs = pairs_of_dsb2018(arguments.dsb2018, output, arguments.stained)
    pairs += pairs_of_bbbc039(arguments.bbbc039, output)
    (output / "list.txt").write_text(
        "".join(f"{image}\t{labels}\n" for image, labels in pairs), encoding="utf-8"
    )
    print(f"{len(pairs)} images in {output / 'list.txt'}")


if __name__ == "__main__":
    main()
