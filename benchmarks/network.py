"""What each change to the network's forward pass brings: ``python benchmarks/network.py``.

From the published form to the form that a `Segmenter` runs, one change after the other, each on top of the changes
before: the two parallel convolutions of a block in one, batch norm folded, channels last, bfloat16 where the device
computes in it natively; and last torch.compile, which the library does not use. All forms take turns in one
process. The script prints medians, ratios, and how much the unit embedding differs from the first form's. (Whether
freed memory is used again is set for the whole process: ``memory_reuse.py`` measures it.)
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from published import PlainResidualUNet, padded
from torch import nn
from torch.nn import functional

from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.image import as_image
from pixel_embedded_affinity.models.checkpoint import read_checkpoint
from pixel_embedded_affinity.models.fetch import resolve
from pixel_embedded_affinity.network.build import load_network
from pixel_embedded_affinity.normalize import normalize
from pixel_embedded_affinity.runtime.device import autocast, has_fast_bfloat16
from pixel_embedded_affinity.samples import nuclei

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Form:
    """A form of the network, and the contexts of its forward pass."""

    name: str
    network: nn.Module
    precision: str = "float32"

    def embedding(self, images: torch.Tensor) -> torch.Tensor:
        """Run the network once."""
        with torch.inference_mode(), autocast(CPU, self.precision):
            return self.network(images)[0]


def forms(model: str, compiled: bool) -> tuple[ModelConfig, list[Form]]:
    """The forms of a model's network, each with one change more than the one before."""
    checkpoint = read_checkpoint(resolve(model))
    config = ModelConfig.from_json(checkpoint.config_json)
    merged = load_network(config.network, checkpoint.tensors).eval()
    found = [Form("published", PlainResidualUNet(copy.deepcopy(merged)).eval())]
    found.append(Form("parallel convolutions in one", merged))
    folded = copy.deepcopy(merged)
    folded.fold_batch_norm()
    found.append(Form("batch norm folded", folded))
    last = copy.deepcopy(folded).to(memory_format=torch.channels_last)
    found.append(Form("channels last", last))
    precision = "bfloat16" if has_fast_bfloat16(CPU) else "float32"
    if precision == "bfloat16":
        found.append(Form("bfloat16", last, precision))
    if compiled:
        found.append(Form("torch.compile", torch.compile(last), precision))
    return config, found


def seconds(form: Form, images: torch.Tensor) -> float:
    """Time of one forward pass."""
    start = time.perf_counter()
    form.embedding(images)
    return time.perf_counter() - start


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="bbbc039@1.0.0")
    parser.add_argument(
        "--size", type=int, nargs=2, help="of the part of the field to use (default: all of it)"
    )
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument(
        "--no-compile", action="store_true", help="leave torch.compile out; it needs a C++ compiler"
    )
    options = parser.parse_args(arguments)
    config, ways = forms(options.model, not options.no_compile)
    values = normalize(
        as_image(nuclei().image, channels=config.network.in_channels).values, config.normalization
    )
    height, width = options.size or values.shape[1:]
    images = torch.from_numpy(padded(values[:, :height, :width]))[None].contiguous(
        memory_format=torch.channels_last
    )
    inputs = {form.name: images if index >= 3 else images.contiguous() for index, form in enumerate(ways)}
    first = functional.normalize(ways[0].embedding(inputs["published"]).float(), dim=1)
    differences = [
        float((functional.normalize(form.embedding(inputs[form.name]).float(), dim=1) - first).abs().max())
        for form in ways
    ]
    times: dict[str, list[float]] = {form.name: [] for form in ways}
    for _ in range(options.runs):
        for form in ways:
            times[form.name].append(seconds(form, inputs[form.name]))
    medians = [statistics.median(times[form.name]) for form in ways]
    print(
        f"{options.model}, {height} x {width} pixels, {torch.get_num_threads()} threads, median of {options.runs}"
    )
    print(f"{'form':<30} {'time':>10} {'by this':>9} {'in all':>8} {'difference':>11}")
    for index, form in enumerate(ways):
        step, total = medians[max(index - 1, 0)] / medians[index], medians[0] / medians[index]
        print(
            f"{form.name:<30} {1e3 * medians[index]:>7.1f} ms {step:>8.2f}x {total:>7.2f}x {differences[index]:>11.0e}"
        )


if __name__ == "__main__":
    main()
