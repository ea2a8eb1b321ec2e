"""The networks of other packages against ours: ``python benchmarks/peers.py``.

Time of the forward pass on one field, in float32 on the CPU, on the same number of threads: random weights, each
package's own architecture, network only. This says nothing about the quality of labels, or about what each package does
around its network, such as resizing to a standard diameter, overlapping tiles, or finding objects in the output. Each
network has its package's default size, and runs as in its package on a CPU: Cellpose converts its network to oneDNN's
layout, StarDist's is a compiled TensorFlow graph, ours has its batch norms folded and its channels last. All networks
take turns. Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import math
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from hardware import flops, seconds_of
from torch import nn
from torch.nn import functional

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.image import as_image
from pixel_embedded_affinity.normalize import normalize
from pixel_embedded_affinity.samples import nuclei

OURS = ("bbbc039", "bbbc039-fast")
GRID = 8  # the peers halve their input three times; ours pads what it needs


class Contender(NamedTuple):
    """A network: how it runs on a batch (1, C, H, W), its parameters, and its arithmetic on such a batch."""

    run: Callable[[torch.Tensor], Any]
    parameters: int
    arithmetic: Callable[[torch.Tensor], float]
    channels: int
    channels_last: bool = False


def of_torch(
    plain: nn.Module, running: nn.Module, channels: int, *, channels_last: bool = False
) -> Contender:
    """A network of torch, and the one that runs instead."""
    parameters = sum(parameter.numel() for parameter in plain.parameters())
    return Contender(running, parameters, partial(flops, plain), channels, channels_last)


class Peer(NamedTuple):
    """A package with its own network."""

    package: str
    requirement: str
    build: Callable[[], Contender]


def cellpose() -> Contender:
    """Cellpose's residual U-Net as `cellpose.models.CellposeModel` builds it (two channels, the second empty)."""
    from cellpose.resnet_torch import CPnet
    from torch.utils import mkldnn

    levels, outputs = [2, 32, 64, 128, 256], 3
    plain = CPnet(levels, outputs, sz=3, mkldnn=False).eval()
    if not torch.backends.mkldnn.is_available():
        return of_torch(plain, plain, levels[0])
    running = CPnet(levels, outputs, sz=3, mkldnn=True).eval()
    return of_torch(plain, mkldnn.to_mkldnn(running), levels[0])


def instanseg() -> Contender:
    """InstanSeg's U-Net of the training script's defaults: two coordinates, two variances, one seed map."""
    from instanseg.utils.models.InstanSeg_UNet import InstanSeg_UNet

    network = InstanSeg_UNet(in_channels=1, out_channels=[[2, 2, 1]]).eval()
    return of_torch(network, network, 1)


def stardist(grid: int) -> Contender:
    """StarDist's U-Net of the package's default configuration, with its prediction on each pixel or on every second."""
    import tensorflow
    from stardist.models import Config2D, StarDist2D

    tensorflow.config.threading.set_intra_op_parallelism_threads(torch.get_num_threads())
    network = StarDist2D(Config2D(n_channel_in=1, grid=(grid, grid)), basedir=None).keras_model
    compiled = tensorflow.function(lambda batch: network(batch, training=False))

    def padded(batch: torch.Tensor) -> torch.Tensor:
        height, width = batch.shape[2:]
        sides = (0, -width % (8 * grid), 0, -height % (8 * grid))
        return functional.pad(batch, sides, mode="reflect").permute(0, 2, 3, 1)

    def run(batch: torch.Tensor) -> list[Any]:
        return [output.numpy() for output in compiled(padded(batch).numpy())]

    def arithmetic(batch: torch.Tensor) -> float:
        shape, total = tuple(padded(batch).shape), 0.0
        for layer in network.layers:
            if hasattr(layer, "kernel"):
                through = type(network)(network.inputs, layer.output)
                height, width = through.compute_output_shape(shape)[1:3]
                total += 2.0 * math.prod(layer.kernel.shape) * height * width
        return total

    return Contender(run, network.count_params(), arithmetic, 1)


PEERS = {
    "Cellpose 3": Peer("cellpose", "'cellpose<4'", cellpose),
    "InstanSeg": Peer("instanseg-torch", "instanseg-torch", instanseg),
    "StarDist": Peer("stardist", "stardist tensorflow", partial(stardist, 1)),
    "StarDist, grid 2": Peer("stardist", "stardist tensorflow", partial(stardist, 2)),
}


def installed(peers: dict[str, Peer]) -> dict[str, Contender]:
    """Build the networks of the installed peers; say how to get the others."""
    found = {}
    for name, peer in peers.items():
        try:
            version = importlib.metadata.version(peer.package)
            found[f"{name} ({peer.package} {version})"] = peer.build()
        except ImportError as error:
            print(f"{name} is left out: {error}; to have it: pip install {peer.requirement}")
    return found


def own(name: str) -> Contender:
    """One of our models, as a segmenter runs it."""
    segmenter = Segmenter.pretrained(name, device="cpu", precision="float32")
    network = segmenter.embedder.network
    return of_torch(network, network, segmenter.config.network.in_channels, channels_last=True)


def batch_for(contender: Contender, image: torch.Tensor) -> torch.Tensor:
    """The image with as many channels as the network takes, all but the first empty."""
    batch = torch.zeros(1, contender.channels, *image.shape)
    batch[0, 0] = image
    memory_format = torch.channels_last if contender.channels_last else torch.contiguous_format
    return batch.contiguous(memory_format=memory_format)


def field(size: int | None) -> torch.Tensor:
    """The bundled field, normalized, its sides cut to what every network takes."""
    segmenter = Segmenter.pretrained(OURS[0], device="cpu")
    image = as_image(nuclei().image[:size, :size], channels=segmenter.config.network.in_channels)
    values = normalize(image.values, segmenter.config.normalization)[0]
    height, width = (length // GRID * GRID for length in values.shape)
    return torch.from_numpy(values[:height, :width])


def measure(contenders: dict[str, Contender], image: torch.Tensor, runs: int) -> dict[str, float]:
    """Median seconds of a forward pass, without the first round."""
    batches = {name: batch_for(contender, image) for name, contender in contenders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    with torch.inference_mode():
        for _ in range(runs + 1):
            for name, contender in contenders.items():
                call: Any = lambda: contender.run(batches[name])  # noqa: B023, E731
                seconds[name].append(seconds_of(call, image.device))
    return {name: statistics.median(row[1:]) for name, row in seconds.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, help="default: torch's own number")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--size", type=int, help="height and width (default: the bundled field's)")
    options = parser.parse_args(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    image = field(options.size)
    contenders = {name: own(name) for name in OURS} | installed(PEERS)
    seconds = measure(contenders, image, options.runs)
    size = " x ".join(map(str, image.shape))
    print(
        f"{size} pixels, {torch.get_num_threads()} threads, float32, median of {options.runs}; peers: random weights, "
        "own architecture, network only"
    )
    print(f"{'network':<36} {'parameters':>11} {'GFLOP':>7} {'time':>12} {'of ' + OURS[0]:>11}")
    for name, contender in contenders.items():
        count = contender.arithmetic(batch_for(contender, image))
        print(
            f"{name:<36} {contender.parameters / 1e6:>9.1f} M {count / 1e9:>7.1f} {1e3 * seconds[name]:>9.1f} ms "
            f"{seconds[name] / seconds[OURS[0]]:>10.2f}x"
        )


if __name__ == "__main__":
    main()
