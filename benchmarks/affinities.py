"""Affinities on demand against all affinities, and clustering against segmenting: ``python benchmarks/affinities.py``.

First the scores of the bundled image with diagonals of one pixel that repel, and that attract. Then, for some
neighborhoods, affinities and mutex watershed with only the affinities on the strides, and with all affinities (the
dense way): median time of alternating runs, the memory that a fresh process needs beyond the embedding (Linux
only), and whether the labels are equal. Then ``segmenter.cluster(embedding, ...)`` against ``segmenter.segment``,
with the model bbbc039. Compare the ratios: the seconds depend on the machine.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pixel_embedded_affinity import Neighborhood, Segmenter
from pixel_embedded_affinity.affinity import Affinities, affinities
from pixel_embedded_affinity.clustering import MutexWatershed
from pixel_embedded_affinity.embedding import Embedding
from pixel_embedded_affinity.metrics import aggregated_jaccard_index, panoptic_quality
from pixel_embedded_affinity.samples import nuclei

Mask = npt.NDArray[np.bool_]

FIVE, TEN = [1, 3, 5, 9, 11], [1, 3, 5, 7, 9, 11, 15, 19, 23, 27]
NEIGHBORHOODS = {
    f"N = {directions}, {len(ranges)} ranges, strides {stride}": Neighborhood.from_ranges(
        ranges, directions, strides=stride
    )
    for directions, ranges, stride in ((4, FIVE, 10), (8, TEN, 10), (8, TEN, 3), (8, TEN, 1))
}


def on_demand(embedding: Embedding, neighborhood: Neighborhood) -> Affinities:
    """Affinities, computed when the clusterer asks for them."""
    return affinities(embedding, neighborhood).numpy()


def dense(embedding: Embedding, neighborhood: Neighborhood) -> Affinities:
    """All affinities."""
    return Affinities(affinities(embedding, neighborhood).numpy().values, neighborhood)


WAYS = {"dense": dense, "on demand": on_demand}


def seconds_of(calls: dict[str, Callable[[], Any]], runs: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Median seconds of calls that take turns, without the first round; and their results."""
    results = {name: call() for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(runs):
        for name, call in calls.items():
            start = time.perf_counter()
            results[name] = call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}, results


def status(key: str) -> float:
    """Megabytes of this process by its status file."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 2**10


def peak(way: str, folder: Path, neighborhood: Neighborhood, foreground: bool, threads: int) -> float:
    """Megabytes that affinities and mutex watershed need beyond the embedding; run it in its own process."""
    torch.set_num_threads(threads)
    unit = np.moveaxis(np.load(folder / "embedding.npy"), -1, 0)
    inside = np.load(folder / "foreground.npy") if foreground else None
    small = Embedding(torch.from_numpy(unit[:, :16, :16]))
    # Do not measure what libraries load at their first call.
    MutexWatershed()(WAYS[way](small, neighborhood))
    embedding = Embedding(torch.from_numpy(unit))
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
    before = status("VmRSS")
    MutexWatershed()(WAYS[way](embedding, neighborhood), foreground=inside)
    return status("VmHWM") - before


def compare_ways(embedding: Embedding, inside: Mask, runs: int) -> None:
    """Print time and memory of both ways, with the foreground and without."""
    print(f"affinities and mutex watershed, {' x '.join(map(str, embedding.spatial_shape))}")
    print(f"  {'':<42}{'dense':>18}{'on demand':>18}{'ratio':>16}   labels")
    with (
        tempfile.TemporaryDirectory() as name,
        multiprocessing.get_context("spawn").Pool(1, None, (), 1) as pool,
    ):
        folder = Path(name)
        np.save(folder / "embedding.npy", np.moveaxis(embedding.numpy(), 0, -1))
        np.save(folder / "foreground.npy", inside)
        for title, neighborhood in NEIGHBORHOODS.items():
            for foreground in (None, inside):
                calls = {
                    way: lambda make=make, foreground=foreground, neighborhood=neighborhood: MutexWatershed()(
                        make(embedding, neighborhood), foreground=foreground
                    )
                    for way, make in WAYS.items()
                }
                seconds, labels = seconds_of(calls, runs)
                threads = torch.get_num_threads()
                memory = {
                    way: pool.apply(peak, (way, folder, neighborhood, foreground is not None, threads))
                    for way in WAYS
                }
                row = title + ("" if foreground is None else ", foreground")
                cells = [f"{1e3 * seconds[way]:>7.0f} ms {memory[way]:>4.0f} MB" for way in WAYS]
                ratios = [seconds["on demand"] / seconds["dense"], memory["on demand"] / memory["dense"]]
                same = "equal" if np.array_equal(*labels.values()) else "DIFFER"
                print(f"  {row:<42}{cells[0]:>18}{cells[1]:>18}{ratios[0]:>9.2f}{ratios[1]:>7.2f}   {same}")


def compare_calls(segmenter: Segmenter, image: npt.NDArray[Any], embedding: Embedding, runs: int) -> None:
    """Print clustering the embedding anew against segmenting the image."""
    print("segmenter.cluster(embedding, neighborhood=...) against segmenter.segment(image)")
    for title, neighborhood in {"the model's": segmenter.config.neighborhood, **NEIGHBORHOODS}.items():
        calls = {
            "segment": lambda: segmenter.segment(image),
            "cluster": lambda chosen=neighborhood: segmenter.cluster(embedding, neighborhood=chosen),
        }
        seconds = seconds_of(calls, runs)[0]
        ratio = seconds["cluster"] / seconds["segment"]
        times = " / ".join(f"{1e3 * value:.0f} ms" for value in reversed(seconds.values()))
        print(f"  {title:<42}{times:>20}{ratio:>9.3f}   bound 0.15")


def compare_roles(segmenter: Segmenter, embedding: Embedding, truth: npt.NDArray[Any]) -> None:
    """Print scores with diagonals of one pixel that repel, and that attract."""
    print(f"diagonals of range 1, N = 8, image of {truth.max()} objects: AJI, PQ")
    own = segmenter.config.neighborhood
    for strides in sorted({own.strides, (1, 1), (10, 10)}):
        cells = []
        for roles in ("straight", "nearest"):
            attracts = [max(map(abs, offset)) == 1 for offset in own.offsets]
            chosen = replace(own, attractive=() if roles == "straight" else tuple(attracts), strides=strides)
            labels = segmenter.cluster(embedding, neighborhood=chosen)
            scores = aggregated_jaccard_index(truth, labels), panoptic_quality(truth, labels).panoptic
            cells.append(f"{roles}: {scores[0]:.4f}, {scores[1]:.4f}")
        print(f"  the model's ranges, strides {strides}: " + "; ".join(cells))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args(arguments)
    sample = nuclei()
    segmenter = Segmenter.pretrained("bbbc039", device="cpu")
    print(f"{torch.get_num_threads()} threads, median of {options.runs}")
    embedding = segmenter.embed(sample.image)
    inside = (embedding.foreground > segmenter.config.foreground_threshold).numpy()
    compare_roles(segmenter, embedding, sample.labels)
    compare_ways(embedding, inside, options.runs)
    compare_calls(segmenter, sample.image, embedding, options.runs)


if __name__ == "__main__":
    main()
