"""What torchvision's residual networks of bottlenecks call their weights, and random weights of these names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

Shape = tuple[int, ...]
DEPTHS = {"resnet50_unet": (3, 4, 6, 3), "resnet101_unet": (3, 4, 23, 3)}


def _norm(name: str, channels: int) -> Iterator[tuple[str, Shape]]:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)
    yield f"{name}.num_batches_tracked", ()


def _block(name: str, inputs: int, width: int, first: bool) -> Iterator[tuple[str, Shape]]:
    for number, shape in enumerate(
        [(width, inputs, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)], 1
    ):
        yield f"{name}.conv{number}.weight", shape
        yield from _norm(f"{name}.bn{number}", shape[0])
    if first:
        yield f"{name}.downsample.0.weight", (4 * width, inputs, 1, 1)
        yield from _norm(f"{name}.downsample.1", 4 * width)


def torchvision_shapes(depths: Sequence[int], width: int = 64) -> dict[str, Shape]:
    """Names and shapes of all weights; `depths` may leave out stages at the end, and then there is no classifier."""
    found = [("conv1.weight", (width, 3, 7, 7)), *_norm("bn1", width)]
    inputs = width
    for stage, depth in enumerate(depths):
        for index in range(depth):
            found += _block(f"layer{stage + 1}.{index}", inputs, width << stage, index == 0)
            inputs = 4 * width << stage
    if len(depths) == 4:
        found += [("fc.weight", (1000, inputs)), ("fc.bias", (1000,))]
    return dict(found)


def torchvision_weights(depths: Sequence[int], width: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights of these names; variances are positive, and counters whole."""
    generator = torch.Generator().manual_seed(seed)
    values = {
        name: torch.rand(shape, generator=generator) - (0 if name.endswith("running_var") else 0.5)
        for name, shape in torchvision_shapes(depths, width).items()
    }
    return {name: value.long() + 7 if name.endswith("tracked") else value for name, value in values.items()}
