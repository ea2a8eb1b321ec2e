"""The fused affinity loss against plain differentiation over slices: ``python benchmarks/training_step.py``.

Measures the affinity losses alone (self- and cross-correlation, forward and backward, always in single precision)
and a whole training step of the same recipe with the network in float32 and in bfloat16. For both, it prints the
median time of the two ways, their ratio, and the most memory allocated at a time. For the losses it also prints the
memory kept between the forward and the backward pass, for the whole step also the share of the losses. Both ways
alternate in one process. Compare the ratios: the seconds depend on the machine. If a device only emulates bfloat16
(the script says so), its step is slow for a reason that has nothing to do with the losses, and is left out unless
``--precision`` asks for it. On a CPU that other programs use as well, ``--clock cpu`` counts only the time of the
process itself.

``--recipes A B ...`` compares whole trainings instead, each with its own network, crops, pairs and augmentation, in
turn in one process: seconds of a step, of a crop and of a megapixel of crops, and how many times as fast as the first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile

from pixel_embedded_affinity.data.layouts import Example
from pixel_embedded_affinity.network.build import build_network
from pixel_embedded_affinity.runtime.device import resolve_device, resolve_precision
from pixel_embedded_affinity.training.data.batches import Batch, BatchSource, view_generator
from pixel_embedded_affinity.training.data.synthetic import synthetic_example
from pixel_embedded_affinity.training.losses.affinity import (
    affinity_target,
    fused_affinity_loss,
    plain_affinity_loss,
    unit,
)
from pixel_embedded_affinity.training.losses.objective import AffinityLoss, Objective
from pixel_embedded_affinity.training.recipe import Recipe
from pixel_embedded_affinity.training.run.loop import Trainer

WAYS = {"plain": plain_affinity_loss, "fused": fused_affinity_loss}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass
class Case:
    """One batch, and what both ways start from."""

    recipe: Recipe
    batch: Batch
    device: torch.device
    clock: Callable[[], float]

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.network = build_network(self.recipe.model.network).to(self.device).train()
        self.network.to(memory_format=torch.channels_last)
        count, *size = self.batch.labels.shape
        channels = self.recipe.model.network.embedding_channels
        noise = torch.randn((2, count, channels, *size), device=self.device)
        self.embeddings = [unit(values).requires_grad_() for values in noise]
        self.offsets = self.recipe.neighborhood.offsets()
        self.targets = [
            affinity_target(self.batch.labels, offset, self.batch.weights) for offset in self.offsets
        ]

    def losses(self, loss: AffinityLoss) -> torch.Tensor:
        """Self- and cross-correlation of two embeddings, forward only."""
        first, second = self.embeddings
        return loss(first, [first, second], self.offsets, self.targets)[0]

    def losses_with_gradient(self, loss: AffinityLoss) -> float:
        """Self- and cross-correlation, forward and backward."""
        total = self.losses(loss)
        torch.autograd.grad(total, self.embeddings)
        return float(total.detach())

    def step(self, loss: AffinityLoss, precision: str) -> float:
        """Forward and backward of the whole objective, the network in a precision."""
        self.network.zero_grad()
        objective = Objective(self.recipe, loss, precision)
        total = objective(self.network, self.batch, view_generator(0, 0)).total
        total.backward()
        return float(total.detach())


def medians(case: Case, run: Callable[[AffinityLoss], float], repeats: int) -> dict[str, float]:
    """Median seconds of both ways, in turn, without the first run of each."""
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    values = {name: run(loss) for name, loss in WAYS.items()}
    if not np.isclose(values["plain"], values["fused"], rtol=1e-4):
        raise SystemExit(f"both ways must agree, got {values}")
    for _ in range(repeats):
        for name, loss in WAYS.items():
            start = case.clock()
            run(loss)
            if case.device.type == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(case.clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def kept_bytes(case: Case, loss: AffinityLoss) -> int:
    """Memory that the graph keeps for the backward pass, beyond what both ways start from."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        _graph = case.losses(loss)
    given = [
        *case.embeddings,
        *(part for target in case.targets if target for part in (target.same, target.weight)),
    ]
    for tensor in given:
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(kept.values())


def peak_bytes(case: Case, run: Callable[[AffinityLoss], float], loss: AffinityLoss) -> int:
    """Most memory that a run allocates at a time, beyond the memory in use before."""
    if case.device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run(loss)
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run(loss)
    return _peak_of(record)


def _peak_of(record: profile) -> int:
    """The highest sum of allocations in a profiler's record."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        record.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    changes = [(event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]"]
    return int(np.cumsum([size for _, size in sorted(changes, key=lambda change: change[0])]).max())


def made_up_batch(recipe: Recipe, device: torch.device) -> Batch:
    """Crops of synthetic images with as many channels as the recipe's network takes."""
    return BatchSource(recipe, made_up_examples(recipe)).draw(0).to(device)


def made_up_examples(recipe: Recipe) -> list[Example]:
    """Two synthetic images, twice as long as a crop."""
    channels = recipe.model.network.in_channels
    examples = []
    for seed in range(2):
        image, labels = synthetic_example(2 * recipe.schedule.crop, seed)
        values = np.repeat(image[None].astype(np.float32) / image.max(), channels, axis=0)
        examples.append(Example(f"synthetic_{seed}", values, labels))
    return examples


def report_recipes(names: list[str], device: str, clock: Callable[[], float], repeats: int) -> None:
    """Take steps of several trainings in turn, and print what they cost."""
    recipes = [Recipe.from_file(name).scheduled(steps=repeats + 1) for name in names]
    seconds: list[list[float]] = [[] for _ in names]
    with tempfile.TemporaryDirectory() as folder:
        runs = [
            Trainer(recipe, made_up_examples(recipe), Path(folder) / str(n), device=device).steps()
            for n, recipe in enumerate(recipes)
        ]
        # The first step of a run also writes its first state.
        for run in runs:
            next(run)
        for _ in range(repeats):
            for run, taken in zip(runs, seconds):
                start = clock()
                next(run)
                taken.append(clock() - start)
    wide = max(map(len, ["recipe", *names]))
    print(
        f"{'recipe':<{wide}} {'crops of a step':<18} {'s/step':>8} {'s/crop':>8} {'s/megapixel':>12} {'a crop':>8}"
    )
    first = 0.0
    for name, recipe, taken in zip(names, recipes, seconds):
        crop, batch, step = recipe.schedule.crop, recipe.schedule.batch, statistics.median(taken)
        first = first or step / batch
        rates = f"{step:>8.3f} {step / batch:>8.3f} {step / batch / (crop * crop / 1e6):>12.2f}"
        print(f"{name:<{wide}} {f'{batch} of {crop} x {crop}':<18} {rates} {first / (step / batch):>7.1f}x")


def report(name: str, unit_name: str, values: dict[str, float]) -> None:
    """Print both ways and their ratio."""
    plain, fused = values["plain"], values["fused"]
    print(
        f"{name:36} plain {plain:8.3f} {unit_name}  fused {fused:8.3f} {unit_name}  ratio {plain / fused:5.2f}"
    )


def arguments_of_user() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--recipe", default="cvppp", help="recipe with the network and the pairs (default: %(default)s)"
    )
    parser.add_argument(
        "--recipes", nargs="+", help="recipes whose trainings are compared, the first with all"
    )
    parser.add_argument(
        "--crop", type=int, default=256, help="height and width in pixels (default: %(default)s)"
    )
    parser.add_argument(
        "--batch", type=int, default=4, help="crops, each with a second view (default: %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=5, help="runs of each way (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=("float32", "bfloat16"),
        help="what the network computes in (default: float32, and bfloat16 where the device has it natively)",
    )
    parser.add_argument(
        "--clock",
        choices=tuple(CLOCKS),
        default="wall",
        help="time that passes, or CPU time of the process on all its threads (default: %(default)s)",
    )
    return parser.parse_args()


def report_losses(case: Case, repeats: int) -> float:
    """Measure the losses alone; return the seconds of the plain way."""
    run = case.losses_with_gradient
    seconds = medians(case, run, repeats)
    report("losses, forward and backward", "s", seconds)
    peak = {name: peak_bytes(case, run, loss) / 1e6 for name, loss in WAYS.items()}
    report("losses, peak", "MB", peak)
    kept = {name: kept_bytes(case, loss) / 1e6 for name, loss in WAYS.items()}
    report("losses, kept for backward", "MB", kept)
    return seconds["plain"]


def report_step(case: Case, precision: str, repeats: int, loss_seconds: float) -> None:
    """Measure a whole step with the network in a precision."""

    def run(loss: AffinityLoss) -> float:
        return case.step(loss, precision)

    seconds = medians(case, run, repeats)
    report(f"training step, network in {precision}", "s", seconds)
    report(
        f"training step, {precision}, peak",
        "MB",
        {name: peak_bytes(case, run, loss) / 1e6 for name, loss in WAYS.items()},
    )
    print(f"{'':36} of the plain step, the full-resolution losses are {loss_seconds / seconds['plain']:.0%}")


def report_ways(arguments: argparse.Namespace) -> None:
    """Compare the two ways to compute the losses of one recipe."""
    device = resolve_device(arguments.device)
    recipe = Recipe.from_file(arguments.recipe).scheduled(crop=arguments.crop, batch=arguments.batch)
    case = Case(recipe, made_up_batch(recipe, device), device, CLOCKS[arguments.clock])
    native = resolve_precision("auto", device) == torch.bfloat16
    print(
        f"{arguments.batch} crops of {arguments.crop} x {arguments.crop}, two views, "
        f"{len(case.offsets)} offsets, {device}, bfloat16 {'native' if native else 'emulated'}, "
        f"{torch.get_num_threads()} threads, {arguments.clock} clock"
    )
    loss_seconds = report_losses(case, arguments.repeats)
    for precision in arguments.precision or ["float32", "bfloat16"][: 1 + native]:
        report_step(case, precision, arguments.repeats, loss_seconds)


def main() -> None:
    """Measure and print."""
    arguments = arguments_of_user()
    if arguments.recipes:
        report_recipes(arguments.recipes, arguments.device, CLOCKS[arguments.clock], arguments.repeats)
    else:
        report_ways(arguments)


if __name__ == "__main__":
    main()
