"""Time per megapixel and peak memory from 256 x 256 on: ``python benchmarks/scaling.py [--largest 16384]``.

Each size runs in its own process, in memory (`Segmenter.segment`) and in blocks (`Segmenter.segment_large`, zarr to
zarr). The image is the bundled sample, mirrored and repeated. The CPU time counts all threads; it changes little where
other programs use the machine as well. Then the script prints how much the memory grows over 50 calls.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.samples import nuclei

CALLS, WARM_UP = 50, 5
IN_MEMORY_UP_TO = 4096
BLOCKS = ("block", "overlap", "tile")


def mirrored() -> npt.NDArray[Any]:
    """Return the sample with its mirror images: repeated, it has no seams."""
    image = nuclei().image
    wide = np.concatenate((image, image[:, ::-1]), axis=1)
    return np.concatenate((wide, wide[::-1]))


def rows(pattern: npt.NDArray[Any], start: int, stop: int, width: int) -> npt.NDArray[Any]:
    """Return some rows of an image that repeats the pattern."""
    return np.take(pattern, range(start, stop), axis=0, mode="wrap").take(range(width), axis=1, mode="wrap")


def write_image(path: Path, size: int) -> None:
    """Write the image as zarr, without holding it."""
    import zarr

    pattern, chunk = mirrored(), min(size, 1024)
    array = zarr.create_array(str(path), shape=(size, size), chunks=(chunk, chunk), dtype=pattern.dtype)
    for start in range(0, size, chunk):
        array[start : start + chunk] = rows(pattern, start, min(start + chunk, size), size)


def resident() -> float:
    """Return the memory that this process holds now, in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Segment one image in one way."""
    segmenter = Segmenter.pretrained(arguments.model, device=arguments.device, precision=arguments.precision)
    size = arguments.size
    segmenter.segment(rows(mirrored(), 0, 64, 64))
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "image.zarr", Path(folder) / "labels.zarr"
        if arguments.way == "in blocks":
            write_image(source, size)
        start, spent = time.perf_counter(), time.process_time()
        if arguments.way == "in blocks":
            given = {name: getattr(arguments, name) for name in BLOCKS}
            options = {name: value if len(value) > 1 else value[0] for name, value in given.items() if value}
            objects = segmenter.segment_large(source, out, **options)
        else:
            objects = int(segmenter.segment(rows(mirrored(), 0, size, size)).max())
        seconds, spent = time.perf_counter() - start, time.process_time() - spent
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {"seconds": seconds, "cpu": spent, "peak": peak, "objects": objects}


def growth(arguments: argparse.Namespace) -> dict[str, float]:
    """Segment a small image again and again; return by how many MB the process grew after the first calls."""
    segmenter = Segmenter.pretrained(arguments.model, device=arguments.device, precision=arguments.precision)
    image, held = rows(mirrored(), 0, 128, 128), []
    for _ in range(CALLS):
        segmenter.segment(image)
        held.append(resident())
    return {"grown": held[-1] - held[WARM_UP - 1]}


def words(value: object) -> list[str]:
    """Return the words of the command line for an option's value or values."""
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def child(arguments: argparse.Namespace, *way: str) -> dict[str, float]:
    """Run one measurement in its own process."""
    chosen = {name: getattr(arguments, name) for name in ("model", "device", "precision", *BLOCKS)}
    given = [
        part for name, value in chosen.items() if value is not None for part in (f"--{name}", *words(value))
    ]
    command = [sys.executable, __file__, *given, *way]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def parsed() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="bbbc039")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--smallest", type=int, default=256)
    parser.add_argument("--largest", type=int, default=2048)
    for name in BLOCKS:
        parser.add_argument(
            f"--{name}", type=int, nargs="+", help="pixels (default: as segment_large chooses)"
        )
    parser.add_argument("--way", choices=("in memory", "in blocks", "loop"), help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and print the table."""
    arguments = parsed()
    if arguments.way is not None:
        print(json.dumps(growth(arguments) if arguments.way == "loop" else measure(arguments)))
        return
    print(
        f"{'size':>7} {'way':<10} {'s/megapixel':>12} {'CPU s/megapixel':>16} {'peak RSS':>10} {'objects':>9}"
    )
    size = arguments.smallest
    while size <= arguments.largest:
        for way in ("in memory", "in blocks"):
            if way == "in memory" and size > IN_MEMORY_UP_TO:
                continue
            found = child(arguments, "--way", way, "--size", str(size))
            rate, spent = (found[kind] / (size * size / 1e6) for kind in ("seconds", "cpu"))
            print(
                f"{size:>7} {way:<10} {rate:>12.2f} {spent:>16.2f} {found['peak']:>7.0f} MB {found['objects']:>9}",
                flush=True,
            )
        size *= 2
    print(f"{CALLS} calls: {child(arguments, '--way', 'loop')['grown']:+.1f} MB after the first {WARM_UP}")


if __name__ == "__main__":
    main()
