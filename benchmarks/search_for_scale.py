"""What the search for the scale costs: the time of ``scale="auto"`` over that of the scale that it finds.

usage: python benchmarks/search_for_scale.py IMAGES [--model nuclei] [--limit 30]

IMAGES is a folder of images, searched in all folders below, or a list file with an image path at the start of each line, as
nuclei_list.py writes it. One row for each size of image: the images, the mean number of looks, and the ratio of the summed
CPU times, each the faster of two runs on one thread.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.io.read import image_suffixes


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path)
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--limit", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    segmenter = Segmenter.pretrained(arguments.model, device="cpu", threads=1)
    rows = defaultdict(list)
    for path in listed(arguments.images, arguments.limit):
        result = segmenter.analyze(path, scale="auto")
        searched = fastest(lambda path=path: segmenter.segment(path, scale="auto"))
        given = fastest(lambda path=path, scale=result.scale: segmenter.segment(path, scale=scale))
        rows[result.labels.shape].append((searched, given, len(result.found.looks)))
    print("size          images  looks  time of the search and the rest / of the rest")
    for shape, found in sorted(rows.items()):
        report(" x ".join(map(str, shape)), found)
    report("all", [entry for found in rows.values() for entry in found])


def listed(place: Path, limit: int) -> list[Path]:
    """Return images of a folder or a list file, evenly chosen."""
    if place.is_dir():
        every = sorted(path for path in place.rglob("*") if path.suffix.lower() in image_suffixes())
        every = [path for path in every if "mask" not in str(path) and "label" not in path.name]
    else:
        every = [Path(line.split("\t")[0]) for line in place.read_text().splitlines() if line]
    return every[:: max(1, -(-len(every) // limit))]


def fastest(call: Callable[[], object]) -> float:
    """Return the CPU seconds of the faster of two calls."""
    seconds = []
    for _ in range(2):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return min(seconds)


def report(name: str, found: list[tuple[float, float, int]]) -> None:
    """Print one row."""
    searched, given, looks = (sum(column) for column in zip(*found, strict=True))
    print(f"{name:12}  {len(found):6}  {looks / len(found):5.2f}  {searched / given:.2f}")


if __name__ == "__main__":
    main()
