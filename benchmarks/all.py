"""All benchmarks that need no data set, one after the other: ``python benchmarks/all.py --output FOLDER``.

Writes ``results.md`` with a description of the machine, and each benchmark's command and output; and ``results.png``
with the ratios to the published way and the time per megapixel. If a benchmark fails, the script names it at the end,
and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path

import torch

from pixel_embedded_affinity import __version__
from pixel_embedded_affinity.runtime.device import has_fast_bfloat16

BENCHMARKS = (
    "pipeline.py --runs 5",
    "pipeline.py --model bbbc039-fast --runs 5",
    "network.py",
    "hardware.py",
    "hardware.py --model bbbc039-fast",
    "memory_reuse.py",
    "affinities.py --runs 3",
    "clusterers.py --runs 3",
    "volumes.py",
    "halo.py",
    "many.py --model bbbc039-fast --runs 2 --count 8",
    "measurements.py",
    "training_step.py",
    "scaling.py --model bbbc039-fast --largest {largest}",
)
FOLDER = Path(__file__).parent


def machine() -> str:
    """Describe the machine, on which the seconds depend, in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    native = "with" if has_fast_bfloat16(torch.device("cpu")) else "without"
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{_processor()}, {os.cpu_count()} logical cores, {native} native bfloat16, {memory:.0f} GiB of memory, "
        f"{device}; {platform.system()}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"pixel_embedded_affinity {__version__}"
    )


def _processor() -> str:
    """Name of the processor if the system tells it, else its architecture."""
    listed = Path("/proc/cpuinfo")
    text = listed.read_text(encoding="utf-8") if listed.is_file() else ""
    found = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return found.group(1) if found else platform.machine()


def run(command: str) -> tuple[str, bool]:
    """Run one benchmark; return what it printed, and whether it ended well."""
    script, *options = shlex.split(command)
    done = subprocess.run(
        [sys.executable, str(FOLDER / script), *options], capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else done.stdout + done.stderr, done.returncode == 0


def as_markdown(results: dict[str, str]) -> str:
    """Return the page of results."""
    parts = [f"# Results\n\nMade by `python benchmarks/all.py`. Machine: {machine()}.\n"]
    parts += [
        f"## `python benchmarks/{command}`\n\n```text\n{text.rstrip()}\n```\n"
        for command, text in results.items()
    ]
    return "\n".join(parts)


def ratios(results: dict[str, str]) -> dict[str, float]:
    """Read the ratios of the steps to the published way from the output of the first ``pipeline.py``."""
    text = next((text for command, text in results.items() if command.startswith("pipeline.py")), "")
    rows = re.findall(r"^(.+?) +[\d.]+ ms +[\d.]+ ms +([\d.]+)x$", text, re.MULTILINE)
    return {step: float(ratio) for step, ratio in rows}


def rates(results: dict[str, str]) -> dict[str, list[tuple[int, float]]]:
    """Read seconds per megapixel by size from the output of ``scaling.py``, for each of its ways."""
    text = next((text for command, text in results.items() if command.startswith("scaling.py")), "")
    ways: dict[str, list[tuple[int, float]]] = {}
    for size, way, rate in re.findall(r"^ *(\d+) (in memory|in blocks) +([\d.]+) ", text, re.MULTILINE):
        ways.setdefault(way, []).append((int(size), float(rate)))
    return ways


def draw(results: dict[str, str], path: Path) -> None:
    """Draw the ratios and the time per megapixel."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    steps = ratios(results)
    left.barh(list(steps), list(steps.values()))
    left.axvline(1, color="black", linewidth=1)
    left.set(xscale="log", xlabel="published way / this library, time", title="steps of the pipeline")
    left.invert_yaxis()
    for way, points in rates(results).items():
        right.plot(*zip(*points), marker="o", label=way)
    right.set(
        xscale="log",
        xlabel="side of the image, pixels",
        ylabel="seconds per megapixel",
        ylim=0,
        title="scaling",
    )
    if right.lines:
        right.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(command: list[str] | None = None) -> int:
    """Run the benchmarks and write both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output", type=Path, default=FOLDER, help="folder of the results (default: the script's own folder)"
    )
    parser.add_argument("--largest", type=int, default=2048, help="largest side of an image for scaling.py")
    parser.add_argument("--only", metavar="NAME", nargs="+", help="names of scripts, such as pipeline.py")
    options = parser.parse_args(command)
    chosen = [text.format(largest=options.largest) for text in BENCHMARKS]
    if options.only:
        chosen = [text for text in chosen if text.split()[0] in options.only]
    options.output.mkdir(parents=True, exist_ok=True)
    results, failed = {}, []
    for text in chosen:
        print(f"python benchmarks/{text}", flush=True)
        results[text], well = run(text)
        failed += [] if well else [text]
        # Written again after each benchmark, so that stopping a later one loses nothing.
        (options.output / "results.md").write_text(as_markdown(results), encoding="utf-8")
    draw(results, options.output / "results.png")
    print(f"{len(failed)} of {len(chosen)} failed: {', '.join(failed)}" if failed else "all ended well")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
