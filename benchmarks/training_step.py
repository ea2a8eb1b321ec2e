"""The fused affinity loss against plain differentiation over slices: ``python benchmarks/training_step.py``.

Prints, for the affinity losses alone (self- and cross-correlation, forward and backward) and for a whole
training step of the same recipe, the median time of both ways and their ratio; for the losses also the memory:
the most that is allocated at a time, and what is kept between the forward and the backward pass. Both ways
alternate in one process. Ratios are what counts: seconds depend on the machine. The network computes in
bfloat16 where the device does so natively.
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

from pixel_embedded_affinity.device import resolve_device, resolve_precision
from pixel_embedded_affinity.network.build import build_network
from pixel_embedded_affinity.training.batches import Batch, BatchSource, view_generator
from pixel_embedded_affinity.training.config import Recipe
from pixel_embedded_affinity.training.dataset import Example
from pixel_embedded_affinity.training.loss import (
    affinity_target,
    fused_affinity_loss,
    plain_affinity_loss,
    unit,
)
from pixel_embedded_affinity.training.objective import AffinityLoss, Objective
from pixel_embedded_affinity.training.synthetic import synthetic_example

WAYS = {"plain": plain_affinity_loss, "fused": fused_affinity_loss}


@dataclass
class Case:
    """One batch, and what both ways start from."""

    recipe: Recipe
    batch: Batch
    device: torch.device

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

    def step(self, loss: AffinityLoss) -> float:
        """Forward and backward of the whole objective."""
        self.network.zero_grad()
        total = Objective(self.recipe, loss)(self.network, self.batch, view_generator(0, 0)).total
        total.backward()
        return float(total.detach())


def medians(case: Case, run: Callable[[AffinityLoss], float], repeats: int) -> dict[str, float]:
    """Median seconds of both ways, in turn, after one run of each that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    values = {name: run(loss) for name, loss in WAYS.items()}
    if not np.isclose(values["plain"], values["fused"], rtol=1e-4):
        raise SystemExit(f"both ways must agree, got {values}")
    for _ in range(repeats):
        for name, loss in WAYS.items():
            start = time.perf_counter()
            run(loss)
            if case.device.type == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
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


def peak_bytes(case: Case, loss: AffinityLoss) -> int:
    """Most memory that the losses with their gradients allocate at a time, by the profiler's record."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        case.losses_with_gradient(loss)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        record.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    changes = [(event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]"]
    return int(np.cumsum([size for _, size in sorted(changes, key=lambda change: change[0])]).max())


def made_up_batch(recipe: Recipe, device: torch.device) -> Batch:
    """Crops of synthetic images with as many channels as the recipe's network takes."""
    channels = recipe.model.network.in_channels
    examples = []
    for seed in range(2):
        image, labels = synthetic_example(2 * recipe.schedule.crop, seed)
        values = np.repeat(image[None].astype(np.float32) / image.max(), channels, axis=0)
        examples.append(Example(f"synthetic_{seed}", values, labels))
    return BatchSource(recipe, examples).draw(0).to(device)


def report(name: str, unit_name: str, values: dict[str, float]) -> None:
    """Print both ways and their ratio."""
    plain, fused = values["plain"], values["fused"]
    print(
        f"{name:36} plain {plain:8.3f} {unit_name}  fused {fused:8.3f} {unit_name}  ratio {plain / fused:5.2f}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--recipe", default="cvppp", help="recipe whose network and pairs are taken (default: %(default)s)"
    )
    parser.add_argument(
        "--crop", type=int, default=256, help="height and width in pixels (default: %(default)s)"
    )
    parser.add_argument(
        "--batch", type=int, default=4, help="crops, each with a second view (default: %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=5, help="runs of each way (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    recipe = Recipe.from_file(arguments.recipe).scheduled(crop=arguments.crop, batch=arguments.batch)
    case = Case(recipe, made_up_batch(recipe, device), device)
    print(
        f"{arguments.batch} crops of {arguments.crop} x {arguments.crop}, two views, "
        f"{len(case.offsets)} offsets, {device}, network in {resolve_precision('auto', device)}, "
        f"{torch.get_num_threads()} threads"
    )
    report("losses, forward and backward", "s", medians(case, case.losses_with_gradient, arguments.repeats))
    report(
        "losses, kept for backward", "MB", {name: kept_bytes(case, loss) / 1e6 for name, loss in WAYS.items()}
    )
    if device.type == "cpu":
        report("losses, peak", "MB", {name: peak_bytes(case, loss) / 1e6 for name, loss in WAYS.items()})
    report("training step, forward and backward", "s", medians(case, case.step, arguments.repeats))


if __name__ == "__main__":
    main()
