"""How well does a model of volumes bear other microscopes? ``python benchmarks/changed_volumes.py DATA``.

DATA holds AC4's sections, for the layout ``ac3ac4``. The validation sections are segmented as they are and changed in
ways that stacks of other microscopes differ. The table has, for each model, the variation of information (split, merge
and their sum) and the adapted Rand error of each change, and their means over the changes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from data import SETTING, with_given
from scipy import ndimage

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.data.layouts import RAW, DataSettings, find_files, load_one
from pixel_embedded_affinity.metrics import adapted_rand_error, variation_of_information

VOXEL = (0.03, 0.006, 0.006)
"""Micrometers of AC4's voxels along z, y and x."""

Change = Callable[..., np.ndarray]
"""Takes a volume and a generator of chance; those that move sections also take the order of interpolation."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--model", action="append", help="name or file; several may be given (default: ac3ac4)"
    )
    parser.add_argument("--side", type=int, default=512, help="height and width of the part that is used")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=SETTING)
    parser.add_argument(
        "--adapt", action="store_true", help="adapt the model to each changed stack, without labels"
    )
    arguments = parser.parse_args()
    (source,) = find_files(arguments.data, DataSettings(layout="ac3ac4"), "validation")
    example = load_one(source, RAW, 1, ndim=3)
    part = (slice(None), slice(0, arguments.side), slice(0, arguments.side))
    volume, truth = example.image[0][part], example.labels[part]
    for name in arguments.model or ["ac3ac4"]:
        segmenter = Segmenter.from_file(name) if Path(name).is_file() else Segmenter.pretrained(name)
        segmenter = with_given(segmenter, arguments.set)
        print(name, *arguments.set, "adapted to each stack" if arguments.adapt else "")
        report(segmenter, volume, truth, adapted=arguments.adapt)


def report(segmenter: Segmenter, volume: np.ndarray, truth: np.ndarray, *, adapted: bool = False) -> None:
    """Print a line for each change, and their mean."""
    rows = []
    for name, change in CHANGES.items():
        changed = change(volume.copy(), np.random.default_rng(7)).astype(np.float32)
        true = change(truth, np.random.default_rng(7), order=0) if change in (shifted, misaligned) else truth
        model = segmenter.adapt(changed, axes="ZYX", pixel_size=VOXEL).segmenter if adapted else segmenter
        labels = model.segment(changed, axes="ZYX", pixel_size=VOXEL)
        # The truth's background is ignored, as CREMI does.
        voi = variation_of_information(true, labels, ignore_background=True)
        error = adapted_rand_error(true, labels)
        rows.append((voi.split, voi.merge, voi.split + voi.merge, error))
        print(f"{name:28}" + "".join(f"{value:9.4f}" for value in rows[-1]), flush=True)
    print(f"{'mean of the changes':28}" + "".join(f"{value:9.4f}" for value in np.mean(rows[1:], axis=0)))


def by_section(volume: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Contrast and brightness of each section on its own."""
    gain = random.uniform(0.7, 1.3, (len(volume), 1, 1))
    return (volume - 128) * gain + 128 + random.uniform(-25, 25, (len(volume), 1, 1))


def shifted(volume: np.ndarray, random: np.random.Generator, order: int = 1) -> np.ndarray:
    """Each section is a few pixels away from where it belongs; its labels, of order 0, move with it."""
    moves = random.normal(0, 2, (len(volume), 2))
    return np.stack(
        [ndimage.shift(one, move, order=order, mode="reflect") for one, move in zip(volume, moves)]
    )


def misaligned(volume: np.ndarray, random: np.random.Generator, order: int = 1) -> np.ndarray:
    """At two places, all later sections are up to 12 pixels away; labels, of order 0, move with them."""
    first, last = len(volume) // 3, 2 * len(volume) // 3
    moves = np.zeros((len(volume), 2))
    moves[first:] += random.uniform(-12, 12, 2)
    moves[last:] += random.uniform(-12, 12, 2)
    return np.stack(
        [ndimage.shift(one, move, order=order, mode="reflect") for one, move in zip(volume, moves)]
    )


def curved(exponent: float) -> Change:
    """A gamma curve."""
    return lambda volume, _: 255 * (volume / 255) ** exponent


def noisy(volume: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """More noise of the detector."""
    return volume + random.normal(0, 25, volume.shape)


def blurred(volume: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Out of focus."""
    return ndimage.gaussian_filter(volume, (0, 1.5, 1.5))


def missing(volume: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """One section in ten is blank."""
    volume[5::10] = volume.mean()
    return volume


def magnified(factor: float) -> Change:
    """Details of a coarser or finer image, in as many pixels."""

    def change(volume: np.ndarray, _: np.random.Generator) -> np.ndarray:
        there = ndimage.zoom(volume, (1, factor, factor), order=1)
        back = [length / new for length, new in zip(volume.shape, there.shape)]
        return ndimage.zoom(there, back, order=1)

    return change


CHANGES: dict[str, Change] = {
    "as it is": lambda volume, _: volume,
    "contrast by section": by_section,
    "sections shifted": shifted,
    "misaligned at two places": misaligned,
    "gamma 0.6": curved(0.6),
    "gamma 1.7": curved(1.7),
    "noise": noisy,
    "blur": blurred,
    "half the resolution": magnified(0.5),
    "missing sections": missing,
}

if __name__ == "__main__":
    main()
