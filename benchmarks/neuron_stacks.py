"""The training data of the recipe ``neurons``: ``python benchmarks/neuron_stacks.py AC3AC4 FIB25 OUTPUT``.

AC3AC4 holds AC3 and AC4 as published, see ``data.layout = "ac3ac4"``; only AC4 is read. FIB25 is the folder
``training_sample2`` of the NeuroProof examples: ``grayscale_maps/iso.NNNN.png`` and ``groundtruth.h5``, unpacked; 250
sections of 10 x 10 nm, 10 nm apart.

OUTPUT gets ``images`` and ``labels``, stacks of sections of 6 x 6 nm, 30 nm apart. AC4's sections 0 to 79 become four
stacks, one for each quarter of their area; 80 to 99 are ``ac4_validation``. Every third section of FIB-25 makes a
stack, resized: three stacks of the sections 0 to 179, and ``fib25_test`` of the sections 190 to 249.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from pixel_embedded_affinity.data.layouts import DataSettings, Stack, find_files
from pixel_embedded_affinity.geometry.scaling import resize_image, resize_labels
from pixel_embedded_affinity.labels import relabel

Named = tuple[str, npt.NDArray[Any], npt.NDArray[np.int32]]

FINER = 10 / 6
"""Pixels of 6 nm along a pixel of FIB-25."""


def stacks_of_ac4(folder: Path) -> Iterator[Named]:
    """Give AC4's training sections in four quarters, and its validation sections whole."""
    settings = DataSettings(layout="ac3ac4")
    for split in ("training", "validation"):
        (stack,) = find_files(folder, settings, split)
        if not isinstance(stack, Stack):
            raise TypeError(f"expected sections, got {stack}")
        image = np.stack([tifffile.imread(path) for path in stack.images])
        labels = relabel(np.stack([tifffile.imread(path) for path in stack.labels]))
        if split == "validation":
            yield "ac4_validation", image, labels
            continue
        half = [length // 2 for length in labels.shape[1:]]
        for name, rows in (("top", slice(None, half[0])), ("bottom", slice(half[0], None))):
            for side, columns in (("left", slice(None, half[1])), ("right", slice(half[1], None))):
                box = (slice(None), rows, columns)
                yield f"ac4_{name}_{side}", image[box], labels[box]


def stacks_of_fib25(folder: Path) -> Iterator[Named]:
    """Give three interleaved stacks of the first 180 sections, and one of the last 60, at 30 x 6 x 6 nm."""
    import h5py
    from PIL import Image

    image = np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("grayscale_maps/*.png"))])
    with h5py.File(folder / "groundtruth.h5") as file:
        pieces, bodies = file["stack"][:], file["transforms"][:]
    body_of = np.zeros(int(pieces.max()) + 1, np.int64)
    body_of[bodies[:, 0]] = bodies[:, 1]
    labels = relabel(body_of[pieces])
    for name, sections in (
        ("fib25_0", slice(0, 180, 3)),
        ("fib25_1", slice(1, 180, 3)),
        ("fib25_2", slice(2, 180, 3)),
        ("fib25_test", slice(190, 250, 3)),
    ):
        yield name, *finer(image[sections], labels[sections])


def finer(
    image: npt.NDArray[Any], labels: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int32]]:
    """Resize each section to pixels of 6 nm."""
    scale = (1.0, FINER, FINER)
    resized = resize_image(image[np.newaxis].astype(np.float32), scale)[0]
    return np.rint(resized).astype(image.dtype), resize_labels(labels, resized.shape)


def main() -> None:
    """Write the stacks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("ac3ac4", "fib25", "output"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    for folder in ("images", "labels"):
        (arguments.output / folder).mkdir(parents=True, exist_ok=True)
    for stacks in (stacks_of_ac4(arguments.ac3ac4), stacks_of_fib25(arguments.fib25)):
        for name, image, labels in stacks:
            tifffile.imwrite(arguments.output / "images" / f"{name}.tif", image, metadata={"axes": "ZYX"})
            tifffile.imwrite(arguments.output / "labels" / f"{name}.tif", labels, metadata={"axes": "ZYX"})
            print(name, labels.shape, int(labels.max()), "neurons")


if __name__ == "__main__":
    main()
