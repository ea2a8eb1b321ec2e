"""The networks of the library against each other in training: ``python benchmarks/architectures.py``.

For each network with its default options, three image channels: its parameters, and the arithmetic and the time of a
forward and a backward pass over one batch of random images, with all heads, without the losses. The networks take turns
in one process. Compare the ratios: the seconds depend on the machine. On a CPU that other programs use as well,
``--clock cpu`` counts only the time of the process itself, on all its threads.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from pixel_embedded_affinity.network.base import NETWORKS, Network, channels_last, weights_channels_last
from pixel_embedded_affinity.runtime.device import autocast

NAMES = ("residual_unet", "half_unet", "resnet50_unet", "resnet101_unet")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def step(network: Network, images: torch.Tensor, precision: str) -> None:
    """Forward and backward of the sum of all outputs, each value squared."""
    network.zero_grad()
    with autocast(images.device, precision):
        output = network(images, pyramid=True)
    parts = [output.embedding, *output.pyramid]
    parts += [] if output.foreground is None else [output.foreground]
    torch.stack([part.float().square().mean() for part in parts]).sum().backward()


def arithmetic(network: Network, images: torch.Tensor) -> float:
    """GFLOP of a step, counted."""
    counter = FlopCounterMode(display=False)
    with counter:
        step(network, images, "float32")
    return float(counter.get_total_flops()) / 1e9


def arguments_of(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", nargs="+", default=NAMES, metavar="NAME")
    parser.add_argument("--crop", type=int, default=256, help="height and width (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=2, help="images (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="steps of each network (default: %(default)s)")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="float32")
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall", help="(default: %(default)s)")
    return parser.parse_args(given)


def medians(networks: dict[str, Network], images: torch.Tensor, options: argparse.Namespace) -> list[float]:
    """Median seconds of a step of each network, in turn, after one step that is not counted."""
    clock = CLOCKS[options.clock]
    times: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(options.runs + 1):
        for name, network in networks.items():
            start = clock()
            step(network, images, options.precision)
            times[name].append(clock() - start)
    return [statistics.median(values[1:]) for values in times.values()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    options = arguments_of(arguments)
    torch.manual_seed(0)
    images = channels_last(torch.rand(options.batch, 3, options.crop, options.crop))
    networks = {name: NETWORKS.build(name, in_channels=3).train() for name in options.names}
    for network in networks.values():
        weights_channels_last(network)
    print(
        f"{options.batch} x 3 x {options.crop} x {options.crop}, {options.precision}, "
        f"{torch.get_num_threads()} threads, {options.clock} clock, median of {options.runs}"
    )
    print(f"{'network':<16} {'parameters':>12} {'GFLOP':>8} {'time':>9} {'GFLOP/s':>8}")
    for (name, network), median in zip(networks.items(), medians(networks, images, options)):
        size, gflop = sum(value.numel() for value in network.parameters()), arithmetic(network, images)
        print(f"{name:<16} {size:>12,} {gflop:>8.0f} {median:>7.2f} s {gflop / median:>8.0f}")


if __name__ == "__main__":
    main()
