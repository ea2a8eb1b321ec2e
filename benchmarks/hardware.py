"""Where the time goes, and how near it is to the machine's limit: ``python benchmarks/hardware.py``.

First the share of each step in the time of `Segmenter.segment` on the bundled field, which is read from its file. If
clustering computes affinities, their time counts as affinities. Then the network's arithmetic against a matrix product
in the same precision, and the traffic of the affinities against a copy of memory, both measured in the same process,
since nothing reaches a machine's nominal figures.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.flop_counter import FlopCounterMode

from pixel_embedded_affinity import Affinities, Segmenter, affinities, samples
from pixel_embedded_affinity.clustering import get_clusterer
from pixel_embedded_affinity.embedding import embed
from pixel_embedded_affinity.geometry.scaling import resize_image
from pixel_embedded_affinity.image import as_image
from pixel_embedded_affinity.normalize import normalize
from pixel_embedded_affinity.runtime.device import autocast, resolve_precision

Clock = Callable[[], float]

FIELD = Path(samples.__file__).with_name("nuclei.tif")


def finish(device: torch.device) -> None:
    """Wait until the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(call: Callable[[], Any], device: torch.device, clock: Clock = time.perf_counter) -> float:
    """Time of a call, including the device's work."""
    start = clock()
    call()
    finish(device)
    return clock() - start


def median_seconds(
    call: Callable[[], Any], runs: int, device: torch.device, clock: Clock = time.perf_counter
) -> float:
    """Median time of a call, without the first one."""
    return statistics.median([seconds_of(call, device, clock) for _ in range(runs + 1)][1:])


@contextmanager
def watched_affinities() -> Iterator[list[float]]:
    """Collect the seconds of all affinities that are computed meanwhile."""
    seconds: list[float] = []
    busy = False

    def watched(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Affinities, *arguments: Any) -> Any:
            nonlocal busy
            if busy:  # `pairs` asks for a channel: its time is counted there
                return method(self, *arguments)
            busy, start = True, time.perf_counter()
            try:
                return method(self, *arguments)
            finally:
                busy = False
                seconds.append(time.perf_counter() - start)

        return call

    with ExitStack() as stack:
        for name in ("channel", "pairs"):
            stack.enter_context(patch.object(Affinities, name, watched(getattr(Affinities, name))))
        yield seconds


def step_seconds(segmenter: Segmenter, path: Path) -> dict[str, float]:
    """Do the steps of `Segmenter.segment` one by one; seconds of each."""
    config, device = segmenter.config, segmenter.device
    moments = [time.perf_counter()]

    def passed() -> None:
        finish(device)
        moments.append(time.perf_counter())

    values = seen(segmenter, path)
    passed()
    embedding = embed(segmenter.embedder.network, values, device, segmenter.precision, views=config.views)
    passed()
    inside = None
    if embedding.foreground is not None:
        inside = embedding.foreground_numpy() > config.foreground_threshold
    pairs = affinities(embedding, config.neighborhood).numpy()
    passed()
    with watched_affinities() as within:
        labels = get_clusterer(config.clusterer, **config.clusterer_settings)(pairs, foreground=inside)
    passed()
    config.postprocess(labels, pairs.embedding)
    passed()
    read, network, prepare, cluster, postprocess = np.diff(moments).tolist()
    return {
        "read, normalize": read,
        "network": network,
        "affinities": prepare + sum(within),
        "clustering": cluster - sum(within),
        "postprocess": postprocess,
    }


def seen(segmenter: Segmenter, path: Path) -> npt.NDArray[np.float32]:
    """The image of a file, as the network sees it."""
    config = segmenter.config
    image = as_image(path, channels=config.network.in_channels)
    return resize_image(normalize(image.values, config.normalization), config.scale)


def print_steps(segmenter: Segmenter, path: Path, runs: int) -> None:
    """Print the median time of each step, its share of `segment`, and the rest over the network."""
    rows, totals = [], []
    for _ in range(runs + 1):
        rows.append(step_seconds(segmenter, path))
        totals.append(seconds_of(lambda: segmenter.segment(path), segmenter.device))
    total = statistics.median(totals[1:])
    steps = {name: statistics.median(row[name] for row in rows[1:]) for name in rows[0]}
    print(f"{'step':<18} {'time':>12} {'share of segment':>17}")
    for name, seconds in {**steps, "other": total - sum(steps.values()), "segment": total}.items():
        print(f"{name:<18} {1e3 * seconds:>9.1f} ms {seconds / total:>17.1%}")
    print(f"all but the network over the network: {(total - steps['network']) / steps['network']:.1%}")


def flops(network: torch.nn.Module, batch: torch.Tensor) -> int:
    """Floating-point operations of a forward pass: two per multiplication and addition, convolutions only."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(batch)
    return int(counter.get_total_flops())


def product_rate(
    size: int, dtype: torch.dtype, device: torch.device, runs: int, clock: Clock = time.perf_counter
) -> float:
    """Operations per second of a product of two square matrices."""
    one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / median_seconds(lambda: one @ other, runs, device, clock)


def copy_rate(size: int, runs: int) -> float:
    """Bytes per second, read and written, of a copy of main memory on torch's threads."""
    source = torch.ones(size // 4)
    target = torch.empty_like(source)
    return 2 * source.nbytes / median_seconds(lambda: target.copy_(source), runs, source.device)


def print_network(segmenter: Segmenter, image: npt.NDArray[np.float32], matrix: int, runs: int) -> None:
    """Print the network's operations per second as a share of a matrix product's."""
    device = segmenter.device
    dtype = resolve_precision(segmenter.precision, device)
    batch = torch.from_numpy(image[None]).to(device).contiguous(memory_format=torch.channels_last)
    count = flops(segmenter.embedder.network, batch)

    def forward() -> None:
        with torch.inference_mode(), autocast(device, segmenter.precision):
            segmenter.embedder.network(batch)

    # Taken before and after: a machine slows down as it heats up, or as others use it.
    rates = [product_rate(matrix, dtype, device, runs)]
    seconds = median_seconds(forward, runs, device)
    rates.append(product_rate(matrix, dtype, device, runs))
    product = statistics.mean(rates)
    print(
        f"network: {count / 1e9:.1f} GFLOP in {1e3 * seconds:.1f} ms, {count / seconds / 1e9:.0f} GFLOP/s; "
        f"{matrix} x {matrix} matrix product: {product / 1e9:.0f} GFLOP/s; share {count / seconds / product:.0%}"
    )


def print_affinities(segmenter: Segmenter, image: npt.NDArray[np.float32], copied: int, runs: int) -> None:
    """Print the bytes per second of all affinities, in main memory, as a share of a copy's."""
    cpu = torch.device("cpu")
    vectors = embed(segmenter.embedder.network, image, segmenter.device, segmenter.precision).values.cpu()
    neighborhood = segmenter.config.neighborhood
    values = 4 * len(neighborhood) * vectors[0].numel()
    least, most = values + 4 * vectors.numel(), values * (1 + 2 * len(vectors))
    seconds = median_seconds(lambda: Affinities(None, neighborhood, vectors).values, runs, cpu)
    rate = copy_rate(copied, runs)
    print(f"affinities: {len(neighborhood)} offsets in {1e3 * seconds:.1f} ms; copy: {rate / 1e9:.1f} GB/s")
    for name, size in (
        ("vectors read once, values written once", least),
        ("both vectors read for each value", most),
    ):
        print(
            f"  {name}: {size / 1e6:.0f} MB, {size / seconds / 1e9:.1f} GB/s, share {size / seconds / rate:.0%}"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="bbbc039")
    parser.add_argument("--image", type=Path, default=FIELD, help="default: the bundled field")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, help="default: torch's own number")
    parser.add_argument("--views", type=int, help="in how many the image is seen (default: the model's)")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--matrix", type=int, default=2048, help="rows and columns of the matrices")
    parser.add_argument("--copied", type=int, default=256, help="MB of the copy")
    options = parser.parse_args(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    segmenter = Segmenter.pretrained(options.model, device=options.device, precision=options.precision)
    segmenter = segmenter.with_settings(views=options.views)
    image = seen(segmenter, options.image)
    dtype = resolve_precision(segmenter.precision, segmenter.device)
    size = " x ".join(map(str, image.shape[1:]))
    print(
        f"{options.model}, {size} pixels, {segmenter.device}, {torch.get_num_threads()} threads, network in {dtype}, "
        f"{segmenter.config.views} view(s), median of {options.runs}"
    )
    print_steps(segmenter, options.image, options.runs)
    print_network(segmenter, image, options.matrix, options.runs)
    print_affinities(segmenter, image, options.copied * 10**6, options.runs)


if __name__ == "__main__":
    main()
