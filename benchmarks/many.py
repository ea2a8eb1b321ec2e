"""Images per second of `Segmenter.segment_many` against a loop of `segment`: ``python benchmarks/many.py``.

`segment_many` runs the network on the next image while it clusters the present one. The images are the bundled
field and its mirror images, shifted; both ways take turns, and must give the same labels. The script first prints
how much the memory grows over 50 calls of `segment` after the fifth (Linux only, see ``scaling.py``).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scaling import CALLS, WARM_UP, growth

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.runtime.device import resolve_precision
from pixel_embedded_affinity.samples import nuclei

Images = list[npt.NDArray[Any]]


def fields(count: int, size: int | None) -> Images:
    """Return different images, of the bundled field's size or square ones of another size."""
    field = nuclei().image[:size, :size]
    turned = (field, field[::-1], field[:, ::-1], field[::-1, ::-1])
    return [np.roll(turned[number % 4], 40 * (number // 4), axis=1) for number in range(count)]


def compare(segmenter: Segmenter, images: Images, runs: int) -> dict[str, float]:
    """Median images per second of both ways, without the first round."""
    ways: dict[str, Callable[[], Images]] = {
        "loop of segment": lambda: [segmenter.segment(image) for image in images],
        "segment_many": lambda: list(segmenter.segment_many(images)),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs + 1):
        found = []
        for name, way in ways.items():
            start = time.perf_counter()
            found.append(way())
            rates[name].append(len(images) / (time.perf_counter() - start))
        for one, other in zip(*found):
            np.testing.assert_array_equal(one, other)
    return {name: statistics.median(row[1:]) for name, row in rates.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="bbbc039")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, help="default: torch's own number")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--count", type=int, default=12, help="images of a round")
    parser.add_argument("--size", type=int, help="their height and width (default: the field's)")
    options = parser.parse_args(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if Path("/proc/self/statm").exists():
        print(f"{CALLS} calls: {growth(options)['grown']:+.1f} MB after the first {WARM_UP}")
    segmenter = Segmenter.pretrained(options.model, device=options.device, precision=options.precision)
    images = fields(options.count, options.size)
    size, dtype = (
        " x ".join(map(str, images[0].shape)),
        resolve_precision(options.precision, segmenter.device),
    )
    print(
        f"{options.model}, {len(images)} images of {size} pixels, {segmenter.device}, {torch.get_num_threads()} "
        f"threads, network in {dtype}, median of {options.runs}"
    )
    rates = compare(segmenter, images, options.runs)
    for name, rate in rates.items():
        print(f"{name:<16} {rate:>8.2f} images/s {rate / rates['loop of segment']:>6.2f}x")


if __name__ == "__main__":
    main()
