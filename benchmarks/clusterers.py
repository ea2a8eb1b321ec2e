"""All clusterers side by side on synthetic leaves, in one process: ``python benchmarks/clusterers.py``.

Prints, per clusterer, the median time and the adapted Rand error against the truth, on an image of 530 x 500 pixels
with 40,000 of foreground and on a volume; then mean shift against scikit-learn's, which needs the package scikit-learn
and some minutes. Compare the ratios: the seconds depend on the machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pixel_embedded_affinity import Neighborhood
from pixel_embedded_affinity.affinity import Affinities, affinities
from pixel_embedded_affinity.clustering import MeanShift, get_clusterer, list_clusterers
from pixel_embedded_affinity.metrics import adapted_rand_error
from pixel_embedded_affinity.testing import synthetic_embedding

Labels = npt.NDArray[np.int32]

PLANE = Neighborhood.from_ranges([1, 3, 5, 9, 27], 4, strides=5)
VOLUME = Neighborhood.from_ranges([(1, 1, 1), (2, 3, 3), (3, 9, 9), (4, 27, 27)], 6, strides=(1, 10, 10))
BANDWIDTH = 0.75


def leaves(shape: tuple[int, ...], objects: int, foreground: int, *, seed: int = 0) -> Labels:
    """Round objects that touch, with `foreground` pixels in all: each pixel belongs to the nearest center."""
    generator = np.random.default_rng(seed)
    centers = [generator.uniform(0.15 * side, 0.85 * side, objects) for side in shape]
    places = np.indices(shape).reshape(len(shape), -1)
    squares = sum((places[axis][:, None] - centers[axis]) ** 2 for axis in range(len(shape)))
    nearest = squares.argmin(1)
    inside = np.argsort(squares.min(1), kind="stable")[:foreground]
    labels = np.zeros(nearest.size, np.int32)
    labels[inside] = nearest[inside] + 1
    return labels.reshape(shape)


def timed(call: Callable[[], Any], runs: int) -> tuple[float, Any]:
    """Median seconds of some runs, without the first one, and the result."""
    result, seconds = call(), []
    for _ in range(runs):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def compare_all(truth: Labels, neighborhood: Neighborhood, noise: float, runs: int) -> None:
    """Print a row for each clusterer."""
    given = affinities(synthetic_embedding(truth, noise=noise), neighborhood)
    foreground = truth > 0
    size = " x ".join(map(str, truth.shape))
    print(
        f"{size}, foreground {np.count_nonzero(foreground)}, {truth.max()} objects, {len(neighborhood)} offsets"
    )
    print(f"  {'clusterer':<25} {'time':>10} {'objects':>8} {'ARAND':>8}")
    clusterers = {name: get_clusterer(name) for name in list_clusterers()}
    if truth.ndim == 3:
        clusterers |= {
            f"{name}, sections": get_clusterer(name, regions="sections")
            for name, plain in list(clusterers.items())
            if hasattr(plain, "regions")
        }
    for name, clusterer in clusterers.items():
        seconds, labels = timed(lambda call=clusterer: call(given, foreground=foreground), runs)
        error = adapted_rand_error(truth, labels)
        print(f"  {name:<25} {1e3 * seconds:>7.0f} ms {labels.max():>8} {error:>8.4f}")


def compare_mean_shift(noise: float, runs: int) -> None:
    """Print mean shift and scikit-learn's, from every pixel, on 4,000 pixels of foreground."""
    from sklearn import cluster

    truth = leaves((160, 160), 8, 4000, seed=1)
    foreground = truth > 0
    embedding = synthetic_embedding(truth, noise=noise)
    given = Affinities(np.zeros((len(PLANE), *truth.shape), np.float32), PLANE, embedding)
    clusterer = MeanShift(BANDWIDTH, spatial_split=False)
    ours, labels = timed(lambda: clusterer(given, foreground=foreground), runs)
    start = time.perf_counter()
    found = cluster.MeanShift(bandwidth=BANDWIDTH).fit(embedding[:, foreground].T).labels_
    theirs = time.perf_counter() - start
    reference = np.zeros_like(truth)
    reference[foreground] = found + 1
    error = adapted_rand_error(reference, labels)
    print(
        f"mean shift, 4,000 pixels, noise {noise}: scikit-learn {theirs:.2f} s, {reference.max()} modes; "
        f"ours {1e3 * ours:.0f} ms, {labels.max()} modes; {theirs / ours:.0f}x; ARAND between them {error:.4f}"
    )


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--noise", type=float, default=0.15, help="of the embedding, per component")
    parser.add_argument("--skip-scikit-learn", action="store_true")
    arguments = parser.parse_args()
    print(
        f"{torch.get_num_threads()} threads, 16 channels, noise {arguments.noise}, median of {arguments.runs}"
    )
    compare_all(leaves((530, 500), 15, 40_000), PLANE, arguments.noise, arguments.runs)
    compare_all(leaves((18, 160, 160), 15, 200_000), VOLUME, arguments.noise, arguments.runs)
    if not arguments.skip_scikit_learn:
        for noise in (0.05, arguments.noise):
            compare_mean_shift(noise, arguments.runs)


if __name__ == "__main__":
    main()
