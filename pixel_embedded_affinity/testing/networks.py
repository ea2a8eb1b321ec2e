"""The checks of `pixel_embedded_affinity.testing.check_network`."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from pixel_embedded_affinity.network.base import Network, NetworkOutput
from pixel_embedded_affinity.testing.checks import ConformanceError, checks_of, require

Factory = Callable[..., Network]

_IMAGE_CHANNELS, _EMBEDDING_CHANNELS = 2, 4
_COMMON = dict(in_channels=_IMAGE_CHANNELS, embedding_channels=_EMBEDDING_CHANNELS, foreground_head=True)


def _built(factory: Factory, **settings: Any) -> Network:
    """A network in evaluation mode, with random weights from a fixed seed, also in its batch norms."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            network = factory(**_COMMON | settings).eval()
        except Exception as error:
            raise ConformanceError(f"the factory raised {type(error).__name__}: {error}") from error
        for module in network.modules():
            if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
                _set_apart(module)
    return network


def _set_apart(norm: nn.Module) -> None:
    """Give a batch norm random values, so that it changes its input."""
    for name, values in (*norm.named_parameters(), *norm.named_buffers()):
        if name in ("bias", "running_mean"):
            nn.init.normal_(values, std=0.3)
        elif name in ("weight", "running_var"):
            nn.init.uniform_(values, 0.5, 2)


def _images(network: Network, shape: Sequence[int], count: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    dtype = next(network.parameters()).dtype
    return torch.rand((count, _IMAGE_CHANNELS, *shape), generator=generator, dtype=dtype)


@torch.no_grad()
def _run(network: Network, images: torch.Tensor, **asked: bool) -> NetworkOutput:
    """The network's output; any error is a failed check."""
    try:
        output: NetworkOutput = network(images, **asked)
    except Exception as error:
        raise ConformanceError(
            f"the network raised {type(error).__name__} on images of shape {tuple(images.shape)}: {error}"
        ) from error
    complaint = f"the network must return a NetworkOutput, got {type(output).__name__}"
    require(isinstance(output, NetworkOutput), complaint)
    return output


def _parts(output: NetworkOutput) -> dict[str, torch.Tensor]:
    parts = {"embedding": output.embedding, "foreground": output.foreground}
    parts |= {f"pyramid[{level}]": coarse for level, coarse in enumerate(output.pyramid)}
    return {name: values for name, values in parts.items() if values is not None}


def _require_close(found: NetworkOutput, expected: NetworkOutput, what: str) -> None:
    for name, values in _parts(found).items():
        other = _parts(expected)[name]
        same = values.shape == other.shape and torch.allclose(values, other, rtol=1e-7, atol=1e-9)
        require(same, f"{what} must give the same {name}, but for rounding")


def _require_shape(values: torch.Tensor | None, shape: Sequence[int], name: str) -> None:
    require(values is not None, f"{name} is missing")
    if values is not None:
        found = f"got {values.dtype} of shape {tuple(values.shape)}"
        fits = values.dtype == torch.float32 and values.shape == tuple(shape)
        require(fits, f"{name} must be float32 of shape {tuple(shape)}, {found}")


def _check_declaration(factory: Factory) -> None:
    network = _built(factory)
    require(network.ndim in (2, 3), f"ndim must be 2 or 3, got {network.ndim!r}")
    for name, steps in {"grid": network.grid, "stride": network.stride}.items():
        _require_per_axis(network, name, steps, 1)
    _require_per_axis(network, "receptive_radius()", network.receptive_radius(), 0)
    for steps in network.pyramid_strides:
        _require_per_axis(network, "each of pyramid_strides", steps, 1)
    _require_strides(network)
    memory = network.memory_per_pixel()
    fits = type(memory) is int and memory > 0
    require(fits, f"memory_per_pixel() must be a positive integer, got {memory!r}")
    headless = _run(_built(factory, foreground_head=False), _images(network, network.grid))
    require(headless.foreground is None, "without its head, the network must give None for the foreground")


def _require_per_axis(network: Network, name: str, value: Any, least: int) -> None:
    fits = isinstance(value, tuple) and len(value) == network.ndim
    fits = fits and all(type(length) is int and length >= least for length in value)
    require(fits, f"{name} must be a tuple of {network.ndim} integers of at least {least}, got {value!r}")


def _require_strides(network: Network) -> None:
    for steps in (network.stride, *network.pyramid_strides):
        whole = all(length % step == 0 for length, step in zip(network.grid, steps))
        require(whole, f"the grid {network.grid} must be a multiple of each stride, got the stride {steps}")
    pairs = itertools.pairwise(network.pyramid_strides)
    finer = all(coarse >= fine for pair in pairs for coarse, fine in zip(*pair))
    require(finer, f"pyramid_strides must go from coarse to fine, got {network.pyramid_strides}")


def _check_shapes(factory: Factory) -> None:
    network = _built(factory)
    longer = [step + 1 for step in network.grid]
    for shape in ((1,) * network.ndim, network.grid, longer, [7, 9, 10][-network.ndim :]):
        output = _run(network, _images(network, shape, 2))
        positions = [-(-length // step) for length, step in zip(shape, network.stride)]
        expected = (2, _EMBEDDING_CHANNELS, *positions)
        _require_shape(output.embedding, expected, f"the embedding of {tuple(shape)}")
        _require_shape(output.foreground, (2, 1, *shape), f"the foreground of {tuple(shape)}")


def _check_pyramid(factory: Factory) -> None:
    network = _built(factory)
    shape = [2 * step for step in network.grid]
    images = _images(network, shape)
    plain, asked = _run(network, images), _run(network, images, pyramid=True)
    require(plain.pyramid == (), "without asking, there must be no coarse embeddings")
    _require_close(plain, asked, "asking for the pyramid")
    found, expected = len(asked.pyramid), len(network.pyramid_strides)
    require(found == expected, f"pyramid_strides declares {expected} coarse embeddings, got {found}")
    for level, (coarse, steps) in enumerate(zip(asked.pyramid, network.pyramid_strides)):
        positions = [length // step for length, step in zip(shape, steps)]
        _require_shape(coarse, (1, _EMBEDDING_CHANNELS, *positions), f"pyramid[{level}] of {tuple(shape)}")


def _check_determinism(factory: Factory) -> None:
    network = _built(factory)
    images = _images(network, network.grid)
    first, second = (_parts(_run(network, images)) for _ in range(2))
    same = all(torch.equal(first[name], second[name]) for name in first)
    require(same, "the same image must give the same output")


def _check_batch(factory: Factory) -> None:
    network = _built(factory).double()
    images = _images(network, network.grid, 3)
    together, alone = _run(network, images), _run(network, images[1:2])
    foreground = None if together.foreground is None else together.foreground[1:2]
    expected = NetworkOutput(together.embedding[1:2], foreground, ())
    _require_close(alone, expected, "an image alone and in a batch")


def _strip(network: Network, axis: int, steps: int) -> torch.Tensor:
    """An image one grid step wide, and `steps` plus twice the reach long along an axis."""
    shape = list(network.grid)
    shape[axis] = network.grid[axis] * (2 * _reach(network, axis) + steps)
    return _images(network, shape)


def _reach(network: Network, axis: int) -> int:
    """The receptive radius in whole steps of the grid."""
    return -(-network.receptive_radius()[axis] // network.grid[axis])


def _window(output: NetworkOutput, network: Network, axis: int, start: int, length: int) -> NetworkOutput:
    """The output at `length` grid steps along an axis."""
    pixels, step = network.grid[axis], network.grid[axis] // network.stride[axis]
    embedding = output.embedding.narrow(axis + 2, start * step, length * step)
    foreground = output.foreground
    if foreground is not None:
        foreground = foreground.narrow(axis + 2, start * pixels, length * pixels)
    return NetworkOutput(embedding, foreground, ())


def _check_shift(factory: Factory) -> None:
    network = _built(factory).double()
    for axis in range(network.ndim):
        images, reach = _strip(network, axis, 3), _reach(network, axis)
        step = network.grid[axis]
        shifted = images.narrow(axis + 2, step, images.shape[axis + 2] - step)
        expected = _window(_run(network, images), network, axis, reach + 1, 1)
        found = _window(_run(network, shifted), network, axis, reach, 1)
        _require_close(found, expected, f"a shift by one step of the grid, {step} pixels along axis {axis},")


def _check_reach(factory: Factory) -> None:
    network = _built(factory).double()
    for axis, radius in enumerate(network.receptive_radius()):
        images, first = _strip(network, axis, 1), _reach(network, axis) * network.grid[axis]
        expected = _run(network, images)
        for plane in range(first, first + network.grid[axis]):
            found = _run(network, _changed_beyond(images, axis, plane, radius))
            found, same = (_plane(output, network, axis, plane) for output in (found, expected))
            what = f"changing pixels beyond the receptive radius {radius} along axis {axis}"
            _require_close(found, same, what)


def _changed_beyond(images: torch.Tensor, axis: int, plane: int, radius: int) -> torch.Tensor:
    changed = images.movedim(axis + 2, 0).clone()
    changed[(torch.arange(len(changed)) - plane).abs() > radius] += 1
    return changed.movedim(0, axis + 2)


def _plane(output: NetworkOutput, network: Network, axis: int, plane: int) -> NetworkOutput:
    """The output at one plane of pixels."""
    foreground = None if output.foreground is None else output.foreground.select(axis + 2, plane)
    return NetworkOutput(output.embedding.select(axis + 2, plane // network.stride[axis]), foreground, ())


def _check_folding(factory: Factory) -> None:
    network = _built(factory).double()
    folded = copy.deepcopy(network)
    folded.fold_batch_norm()
    images = _images(network, [2 * step for step in network.grid])
    found, expected = (_run(one, images, pyramid=True) for one in (folded, network))
    _require_close(found, expected, "folding the batch norms")


def _check_weights(factory: Factory) -> None:
    network = _built(factory)
    with torch.device("meta"):
        other = factory(**_COMMON).eval()
    other.load_state_dict(network.state_dict(), strict=True, assign=True)
    images = _images(network, network.grid)
    _require_close(_run(other, images, pyramid=True), _run(network, images, pyramid=True), "loaded weights")


CHECKS = checks_of(globals())
