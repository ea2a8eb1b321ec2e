"""Torch against onnxruntime on the CPU: ``python benchmarks/runtimes.py``.

Both segment the bundled field in turns, with the same number of threads; the script counts the pixels in which their
labels differ. The figures are seconds of the processor, which other programs on the machine hardly change, of
`Segmenter.segment` and of its network alone. The script also says what each runtime adds to an installation, and how
long its import takes in a new process.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.samples import nuclei

RUNTIMES = {"torch": "torch", "onnx": "onnxruntime"}
"""The package that each runtime needs."""


def seconds_of(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the processor, on all threads, and the result."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def compare(model: str, runs: int, threads: int, precision: str) -> None:
    """Print the medians of both runtimes, without the first round, and their ratios."""
    segmenters = {
        "torch": Segmenter.pretrained(
            model, runtime="torch", device="cpu", precision=precision, threads=threads
        ),
        "onnx": Segmenter.pretrained(model, runtime="onnx", threads=threads),
    }
    image = nuclei().image
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(runs + 1):
        labels = {}
        for runtime, segmenter in segmenters.items():
            taken, labels[runtime] = seconds_of(lambda: segmenter.segment(image, scale=1))  # noqa: B023
            found.setdefault((runtime, "segment"), []).append(taken)
            taken, _embedding = seconds_of(lambda: segmenter.embed(image, scale=1))  # noqa: B023
            found.setdefault((runtime, "network"), []).append(taken)
    different = int(np.count_nonzero(labels["torch"] != labels["onnx"]))
    medians = {key: statistics.median(row[1:]) for key, row in found.items()}
    for step in ("network", "segment"):
        torch, onnx = medians["torch", step], medians["onnx", step]
        print(
            f"{model:<13} {step:<8} torch {torch:6.3f} s   onnx {onnx:6.3f} s   {torch / onnx:5.2f}x   "
            f"{different} pixels differ"
        )


def closure(package: str) -> set[str]:
    """Names of a package and of all that it needs, as far as it is installed."""
    names, waiting = set(), [package]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        if name not in names:
            names.add(name)
            waiting += [re.split(r"[^\w.-]", one)[0] for one in requires if "extra ==" not in one]
    return names


def megabytes(names: set[str]) -> float:
    """Size of the files of packages."""
    files = (file for name in names for file in importlib.metadata.files(name) or [])
    paths = (file.locate() for file in files)
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def import_seconds(package: str, runs: int) -> float:
    """Median seconds of the processor for a process that imports a package, less those for one that imports NumPy."""
    rows = {
        code: [_process(code) for _ in range(runs)] for code in ("import numpy", f"import numpy, {package}")
    }
    bare, whole = (statistics.median(row) for row in rows.values())
    return max(0.0, whole - bare)  # of a short import, noise may be more than all of it


def _process(code: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def print_installation(runs: int) -> None:
    """Print what each runtime adds to what the package needs without a runtime."""
    needed = importlib.metadata.requires("pixel_embedded_affinity") or []
    plain = {re.split(r"[^\w.-]", one)[0] for one in needed if "extra ==" not in one}
    others = set().union(*(closure(name) for name in plain - set(RUNTIMES.values())))
    print(f"without a runtime: {megabytes(others):.0f} MB")
    for runtime, package in RUNTIMES.items():
        size, seconds = megabytes(closure(package) - others), import_seconds(package, runs)
        version = importlib.metadata.version(package)
        print(f"{runtime:<6} {package} {version}: {size:.0f} MB more, import {seconds:.2f} s")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["nuclei", "bbbc039-fast", "bbbc039"])
    parser.add_argument("--precision", default="auto", help="of torch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args(arguments)
    print_installation(options.runs)
    for model in options.models:
        compare(model, options.runs, options.threads, options.precision)


if __name__ == "__main__":
    main()
