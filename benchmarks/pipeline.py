"""The library's pipeline against the published way of each step, in one process: ``python benchmarks/pipeline.py``.

Prints, per step, the median time of both and their ratio, and how well the labels agree. Compare the ratios: the
seconds depend on the machine. The published way runs the published network: that of the same model, or of bbbc039 1.0.0
if the model has another one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from published import (
    PlainResidualUNet,
    merge_by_windows,
    mutex_watershed,
    padded,
    rolled_affinities,
)

from pixel_embedded_affinity import Segmenter, affinities
from pixel_embedded_affinity.clustering import get_clusterer
from pixel_embedded_affinity.embedding import Embedding, embed
from pixel_embedded_affinity.image import as_image
from pixel_embedded_affinity.io.read import read_image
from pixel_embedded_affinity.metrics import adapted_rand_error
from pixel_embedded_affinity.models.checkpoint import read_checkpoint
from pixel_embedded_affinity.models.fetch import resolve
from pixel_embedded_affinity.network.build import load_network
from pixel_embedded_affinity.normalize import normalize
from pixel_embedded_affinity.pipeline import positions_inside, postprocessed, restore
from pixel_embedded_affinity.runtime.device import resolve_precision
from pixel_embedded_affinity.samples import nuclei

PUBLISHED = "bbbc039@1.0.0"


class Published:
    """The published way, step by step."""

    def __init__(self, segmenter: Segmenter, model: str) -> None:
        self.config = segmenter.config
        network = load_network(self.config.network, read_checkpoint(resolve(model)).tensors)
        self.network = PlainResidualUNet(network).eval()
        pairs = sorted(
            zip(self.config.neighborhood.attractive, self.config.neighborhood.offsets), key=lambda p: not p[0]
        )
        self.offsets = [offset for _, offset in pairs]
        self.attractive = sum(self.config.neighborhood.attractive)

    def steps(self, image: Any) -> dict[str, Callable[[Any], Any]]:
        """Functions of the previous step's result, in order."""
        height, width = as_image(image, channels=self.config.network.in_channels).spatial_shape

        def network(_: Any) -> Any:
            values = padded(
                normalize(
                    as_image(image, channels=self.config.network.in_channels).values,
                    self.config.normalization,
                )
            )
            with torch.no_grad():
                embedding, foreground, _coarse = self.network(torch.from_numpy(values)[None])
            return embedding[..., :height, :width], foreground[0, 0, :height, :width].sigmoid()

        def pairs(result: Any) -> Any:
            embedding, foreground = result
            return rolled_affinities(
                embedding, self.offsets
            ).numpy(), foreground.numpy() > self.config.foreground_threshold

        def cluster(result: Any) -> Any:
            values, foreground = result
            return mutex_watershed(
                values, self.offsets, self.attractive, self.config.neighborhood.strides, foreground
            )

        def merge(labels: Any) -> Any:
            return merge_by_windows(labels, self.config.postprocess.merge_sizes)

        return {"network": network, "affinities": pairs, "clustering": cluster, "postprocess": merge}


def ours(segmenter: Segmenter, image: Any) -> dict[str, Callable[[Any], Any]]:
    """The library's steps, in the same form."""
    config = segmenter.config

    def network(_: Any) -> Any:
        values = normalize(as_image(image, channels=config.network.in_channels).values, config.normalization)
        return embed(
            segmenter.embedder.network, values, segmenter.device, segmenter.precision, views=config.views
        )

    def pairs(embedding: Embedding) -> Any:
        inside = positions_inside(embedding, None, config)
        return embedding, affinities(embedding, config.neighborhood).numpy(), inside

    def cluster(result: Any) -> Any:
        embedding, given, inside = result
        run = get_clusterer(config.clusterer, **config.clusterer_settings)
        return embedding, run(given, foreground=inside), given.source

    def merge(result: Any) -> Any:
        embedding, *found = result
        return restore(postprocessed(*found, config), embedding, None, config)

    return {"network": network, "affinities": pairs, "clustering": cluster, "postprocess": merge}


def timed(steps: dict[str, Callable[[Any], Any]]) -> tuple[dict[str, float], Any]:
    """Run the steps once; seconds per step, and the last result."""
    seconds, result = {}, None
    for name, step in steps.items():
        start = time.perf_counter()
        result = step(result)
        seconds[name] = time.perf_counter() - start
    return seconds, result


def besides(rows: list[dict[str, float]]) -> float:
    """Median over the runs: the time of all steps but the network, divided by the network's time."""
    return statistics.median((row["end to end"] - row["network"]) / row["network"] for row in rows)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="bbbc039")
    parser.add_argument("--image", help="path of an image (default: the bundled field)")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--views", type=int, help="number of views of our way (default: the model's)")
    arguments = parser.parse_args()
    image = nuclei().image if arguments.image is None else read_image(Path(arguments.image))
    segmenter = Segmenter.pretrained(arguments.model, device="cpu", precision=arguments.precision)
    segmenter = segmenter.with_settings(views=arguments.views)
    has_published = segmenter.config.network.architecture == "residual_unet"
    published = arguments.model if has_published else PUBLISHED
    plain = segmenter if has_published else Segmenter.pretrained(published, device="cpu")
    ways = {"published": Published(plain, published).steps(image), "ours": ours(segmenter, image)}
    times: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    labels = {}
    for run in range(arguments.runs + 1):
        for name, steps in ways.items():
            seconds, labels[name] = timed(steps)
            if run > 0:
                times[name].append({**seconds, "end to end": sum(seconds.values())})
    precision = resolve_precision(arguments.precision, segmenter.device)
    size, threads = " x ".join(map(str, image.shape)), torch.get_num_threads()
    print(
        f"{size} pixels, {threads} threads, ours in {precision} and {segmenter.config.views} view(s), "
        f"median of {arguments.runs}"
    )
    print(f"{'step':<12} {'published':>12} {'ours':>12} {'ratio':>8}")
    for step in times["ours"][0]:
        theirs, mine = (statistics.median(row[step] for row in times[name]) for name in ("published", "ours"))
        print(f"{step:<12} {1e3 * theirs:>9.1f} ms {1e3 * mine:>9.1f} ms {theirs / mine:>7.1f}x")
    count = [int(np.max(result)) for result in labels.values()]
    error = adapted_rand_error(labels["published"].astype(np.int32), labels["ours"])
    print(f"all but the network over the network: {besides(times['ours']):.1%}")
    print(f"objects: published {count[0]}, ours {count[1]}; adapted Rand error between them {error:.4f}")


if __name__ == "__main__":
    main()
