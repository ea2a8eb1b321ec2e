"""Where the time of a volume goes, and how near its network is to the limit: ``python benchmarks/volumes.py``.

First one `Segmenter.segment`, with the peak memory of the process so far. Then its steps one by one, the network's
arithmetic against a matrix product in the same precision and process, and other clusterers on the same affinities: all
in seconds per megavoxel. Without ``--image``, the volume is synthetic; without ``--clock wall``, the seconds are those
that the processor spent, which other programs on the machine hardly change.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from hardware import flops, median_seconds, product_rate

from pixel_embedded_affinity import Segmenter, affinities
from pixel_embedded_affinity.clustering import Clusterer, get_clusterer
from pixel_embedded_affinity.embedding import Embedding
from pixel_embedded_affinity.image import as_image
from pixel_embedded_affinity.io.read import read_source
from pixel_embedded_affinity.network.base import channels_last
from pixel_embedded_affinity.normalize import normalize
from pixel_embedded_affinity.pipeline import positions_inside, postprocessed, restore
from pixel_embedded_affinity.runtime.device import autocast, resolve_precision
from pixel_embedded_affinity.runtime.memory import memory_reused
from pixel_embedded_affinity.training.data.synthetic import synthetic_volume

CLOCKS = {"cpu": time.process_time, "wall": time.perf_counter}
COUNTED = 2
"""Sections whose operations are counted."""


class Timer(NamedTuple):
    """A clock, and how often it measures each call after a first one."""

    clock: Callable[[], float]
    runs: int

    def __call__(self, call: Callable[[], Any]) -> tuple[float, Any]:
        """Median seconds of a call, and its last result."""
        seconds, result = [], None
        for _ in range(self.runs + 1):
            start = self.clock()
            result = call()
            seconds.append(self.clock() - start)
        return statistics.median(seconds[1:]), result


def peak() -> float:
    """Largest memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def volume_of(path: Path | None, shape: Sequence[int]) -> npt.NDArray[Any]:
    """The first sections of a stack, or a synthetic volume."""
    if path is None:
        return synthetic_volume(tuple(shape))[0]
    depth, height, width = shape
    return np.asarray(read_source(path).values[:depth, :height, :width])


def clusterers(segmenter: Segmenter) -> dict[str, Clusterer]:
    """The model's own clusterer and others; those of regions share the model's settings of them."""
    own = segmenter.config.clusterer_settings
    regions = {key: own[key] for key in ("regions", "smoothing") if key in own}
    cut = regions | {key: own[key] for key in ("beta",) if key in own}
    found = {
        "mutex watershed": get_clusterer("mutex_watershed"),
        "agglomeration": get_clusterer("agglomeration", **regions),
    }
    for name in ("multicut", "lifted_multicut"):
        for solver in ("greedy_additive", "kernighan_lin"):
            for blocks in (None, (20, 128, 128)):
                title = f"{name.replace('_', ' ')}, {solver}{', blocks' if blocks else ''}"
                found[title] = get_clusterer(name, solver=solver, blocks=blocks, **cut)
    return found


def print_row(name: str, seconds: float, megavoxels: float, total: float | None = None) -> None:
    """Print seconds, seconds per megavoxel, and the share of a total."""
    share = "" if total is None else f" {seconds / total:>9.1%}"
    print(f"{name:<42} {seconds:>9.2f} s {seconds / megavoxels:>9.3f}{share}", flush=True)


def print_network(segmenter: Segmenter, values: npt.NDArray[np.float32], matrix: int, timer: Timer) -> None:
    """Print the network's operations per second as a share of a matrix product's."""
    device, network = segmenter.device, segmenter.embedder.network
    dtype = resolve_precision(segmenter.precision, device)
    batch = channels_last(torch.from_numpy(values[None]).to(device))
    depth = values.shape[1]
    counted = min(COUNTED, depth)
    count = flops(network, batch[:, :, :counted]) * depth / counted

    def forward() -> None:
        with torch.inference_mode(), autocast(device, segmenter.precision), memory_reused():
            network(batch)

    # Taken before and after: a machine slows down as it heats up, or as others use it.
    rates = [product_rate(matrix, dtype, device, timer.runs, timer.clock)]
    seconds = median_seconds(forward, timer.runs, device, timer.clock)
    rates.append(product_rate(matrix, dtype, device, timer.runs, timer.clock))
    product = statistics.mean(rates)
    print(
        f"forward pass: {count / 1e9:.0f} GFLOP in {seconds:.2f} s, {count / seconds / 1e9:.0f} GFLOP/s; "
        f"{matrix} x {matrix} matrix product: {product / 1e9:.0f} GFLOP/s; share {count / seconds / product:.0%}"
    )


def print_steps(segmenter: Segmenter, volume: npt.NDArray[Any], timer: Timer) -> Embedding:
    """Print the time of `segment` and of its steps; return the embedding."""
    config, size = segmenter.config, volume.size / 1e6
    start = timer.clock()
    segmenter.segment(volume)
    total, held = timer.clock() - start, peak()
    print(f"{'step':<42} {'time':>11} {'s/Mvoxel':>9} {'share':>9}")
    print_row("segment", total, size, total)
    network, embedding = timer(lambda: segmenter.embed(volume))
    print_row("read, normalize, network", network, size, total)
    inside = positions_inside(embedding, None, config)
    own = get_clusterer(config.clusterer, **config.clusterer_settings)
    pairs = affinities(embedding, config.neighborhood).numpy()
    seconds, found = timer(lambda: own(pairs, foreground=inside))
    print_row(f"affinities and clustering ({config.clusterer})", seconds, size, total)
    seconds, found = timer(lambda: postprocessed(found, pairs.source, config))
    print_row("postprocess", seconds, size, total)
    seconds, _ = timer(lambda: restore(found, embedding, None, config))
    print_row("labels of the size of the volume", seconds, size, total)
    print(f"all but the network over the network: {(total - network) / network:.1%}")
    print(f"peak memory of segment: {held:.0f} MB, {held * 1e6 / volume.size:.0f} bytes per voxel")
    return embedding


def print_clusterers(segmenter: Segmenter, embedding: Embedding, megavoxels: float, timer: Timer) -> None:
    """Print the time of each clusterer, with its affinities."""
    inside = positions_inside(embedding, None, segmenter.config)
    pairs = affinities(embedding, segmenter.config.neighborhood).numpy()
    print(f"{'affinities and clustering':<42} {'time':>11} {'s/Mvoxel':>9}")
    for name, clusterer in clusterers(segmenter).items():
        seconds, _ = timer(lambda cluster=clusterer: cluster(pairs, foreground=inside))
        print_row(name, seconds, megavoxels)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ac3ac4")
    parser.add_argument("--image", type=Path, help="a stack, of which the first voxels are taken")
    parser.add_argument("--shape", type=int, nargs=3, default=(20, 512, 512), help="default: %(default)s")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--clock", choices=CLOCKS, default="cpu", help="default: %(default)s")
    parser.add_argument("--matrix", type=int, default=2048, help="rows and columns of the matrices")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    segmenter = Segmenter.pretrained(options.model, device=options.device, precision=options.precision)
    volume = volume_of(options.image, options.shape)
    timer = Timer(CLOCKS[options.clock], options.runs)
    dtype = resolve_precision(segmenter.precision, segmenter.device)
    print(
        f"{options.model}, {' x '.join(map(str, volume.shape))} voxels, {segmenter.device}, "
        f"{torch.get_num_threads()} thread(s), network in {dtype}, {options.clock} seconds, median of {options.runs}"
    )
    embedding = print_steps(segmenter, volume, timer)
    values = normalize(as_image(volume, channels=1, ndim=3).values, segmenter.config.normalization)
    print_network(segmenter, values, options.matrix, timer)
    print_clusterers(segmenter, embedding, volume.size / 1e6, timer)


if __name__ == "__main__":
    main()
