"""What it saves to use freed memory again: ``python benchmarks/memory_reuse.py [--runs 5]``.

Each model segments the bundled sample with `memory.memory_reused` and without, each in its own process: time, how
much of it the system took, the memory that came from the system per call, and the most that the process held.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.runtime import memory
from pixel_embedded_affinity.samples import nuclei

MODELS = ("bbbc039", "bbbc039-fast")
WAYS = ("without", "used again")


def measure(model: str, way: str, runs: int) -> dict[str, float]:
    """Segment the sample in one way; medians, and the peak of the process."""
    if way == "without":
        memory._malloc.is_ours = False
    segmenter, image = Segmenter.pretrained(model, device="cpu"), nuclei().image
    segmenter.segment(image)
    rows = []
    for _ in range(runs):
        before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        segmenter.segment(image)
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
        pages = (after.ru_minflt - before.ru_minflt) * resource.getpagesize()
        rows.append((1e3 * seconds, 1e3 * (after.ru_stime - before.ru_stime), pages / 1e6))
    found = dict(zip(("time", "system", "from system"), map(statistics.median, zip(*rows))))
    return {**found, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.way is not None:
        print(json.dumps(measure(options.models[0], options.way, options.runs)))
        return
    if not memory._malloc.is_ours:
        print("malloc does not come from glibc, or the environment tunes it: the library leaves it alone")
        return
    print(f"{'model':<14} {'memory':<11} {'segment':>10} {'in system':>10} {'from system':>12} {'peak':>8}")
    for model in options.models:
        for way in WAYS:
            given = ["--models", model, "--way", way, "--runs", str(options.runs)]
            done = subprocess.run(
                [sys.executable, __file__, *given], check=True, capture_output=True, text=True
            )
            found = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{model:<14} {way:<11} {found['time']:>7.0f} ms {found['system']:>7.0f} ms "
                f"{found['from system']:>9.0f} MB {found['peak']:>5.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
