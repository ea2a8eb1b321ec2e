"""Architectures: what a network returns, and what it tells the rest of the library about itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.network.blocks import fold
from pixel_embedded_affinity.registry import Registry

_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}
_FARTHEST = 1000
"""Steps of the grid, along an axis, within which a network must have its receptive field."""


class NetworkOutput(NamedTuple):
    """What the network returns for a batch of images ``(N, C, *spatial)``.

    Attributes
    ----------
    embedding : torch.Tensor
        ``(N, D, *positions)``, not normalized. Along each axis there is a position for every `Network.stride` pixels.
    foreground : torch.Tensor or None
        ``(N, 1, *spatial)`` logits of the foreground; None without a foreground head.
    pyramid : tuple of torch.Tensor
        Embeddings at `Network.pyramid_strides` of the padded image, coarsest first; empty unless asked for.
    """

    embedding: torch.Tensor
    foreground: torch.Tensor | None = None
    pyramid: tuple[torch.Tensor, ...] = ()


class Network(nn.Module, ABC):
    """An architecture: a module that embeds images, and says how it reads them.

    The constructor takes the keywords ``in_channels``, ``embedding_channels`` and ``foreground_head``, and the
    architecture's own options, all with defaults. It raises an `InputError` for bad values, and builds on any
    device, also on ``"meta"``. ``forward(images, pyramid=False)`` takes ``(N, in_channels, *spatial)`` of any size and
    returns a `NetworkOutput`. `pixel_embedded_affinity.testing.check_network` checks all of this.

    Attributes
    ----------
    ndim : {2, 3}
        Number of spatial axes.
    grid : tuple of int
        Pixels of the image in one pixel of the coarsest level, per axis. Tiles must start at its multiples.
    stride : tuple of int
        Pixels of the image between two embedding vectors, per axis.
    pyramid_strides : tuple of tuple of int
        The stride of each coarse embedding, coarsest first.
    halo : tuple of int or None
        Pixels of context that tiles need, per axis, beyond which the network hardly reads. None: 64, or the receptive
        radius if that is less.
    """

    ndim: int
    grid: tuple[int, ...]
    stride: tuple[int, ...]
    pyramid_strides: tuple[tuple[int, ...], ...] = ()
    halo: tuple[int, ...] | None = None

    @abstractmethod
    def forward(self, images: torch.Tensor, pyramid: bool = False) -> NetworkOutput:
        """Embed a batch of images ``(N, C, *spatial)`` of any size; `pyramid` also gives the coarse embeddings."""

    @abstractmethod
    def receptive_radius(self) -> tuple[int, ...]:
        """Distance in pixels, per axis, of the farthest pixel that an output pixel reads; see `measured_radius`."""

    @abstractmethod
    def memory_per_pixel(self) -> int:
        """Bytes of main or device memory that a forward pass takes at its peak, per pixel, in float32."""

    def fold_batch_norm(self) -> None:
        """Fold every batch norm into its convolution; the network is then fit for evaluation only.

        Blocks with a method of this name fold their own. In an `nn.Sequential`, neighbors are folded.
        """
        for module in list(self.modules())[1:]:
            if isinstance(module, nn.Sequential):
                for index in range(len(module) - 1):
                    module[index], module[index + 1] = fold(module[index], module[index + 1])
            elif callable(folding := getattr(module, "fold_batch_norm", None)):
                folding()


class UNet(Network):
    """An encoder and a decoder, whose features become embeddings and a foreground.

    Attributes
    ----------
    levels : int
        Number of levels, each with a number of filters.
    foreground_head : torch.nn.Module or None
        What makes a foreground of the finest features.
    """

    levels = 5
    foreground_head: nn.Module | None
    _features: Callable[..., tuple[torch.Tensor, Sequence[torch.Tensor]]]

    @property
    def narrowest(self) -> dict[str, Any]:
        """Options of the narrowest network that reads as far as this one."""
        return {"filters": (1,) * self.levels, "foreground_head": self.foreground_head is not None}

    def receptive_radius(self) -> tuple[int, ...]:
        """Distance in pixels, per axis, of the farthest pixel that an output pixel reads."""
        return measured_radius(type(self), in_channels=1, embedding_channels=1, **self.narrowest)

    def forward(self, images: torch.Tensor, pyramid: bool = False) -> NetworkOutput:
        """Embed a batch of images (N, C, *spatial) of any size; `pyramid` also gives the coarse embeddings."""
        features, coarse = self._features(padded(images, self.grid), pyramid)
        return headed(self, features, images.shape[2:], coarse)


NETWORKS: Registry[Network] = Registry(
    "architecture",
    "pixel_embedded_affinity.network",
    helpers=("base", "blocks", "build", "resnet"),
    group="pixel_embedded_affinity.networks",
)


def checked_per_level(values: Any, levels: int, architecture: str, name: str = "filters") -> tuple[int, ...]:
    """Return the channels, or another count, of each level, checked.

    Raises
    ------
    InputError
        If they are no integers of at least 1, or not one per level.
    """
    if not isinstance(values, (list, tuple)) or not all(type(count) is int and count > 0 for count in values):
        raise InputError(f"{name} must be a list of positive integers, got {values!r}")
    if len(values) != levels:
        raise InputError(f"{architecture} takes {levels} {name}, one per level, got {len(values)}")
    return tuple(values)


def padded(images: torch.Tensor, grid: Sequence[int]) -> torch.Tensor:
    """Extend images ``(N, C, *spatial)`` to a multiple of the grid along each axis, by repeating their last pixels."""
    missing = [-length % step for length, step in zip(images.shape[2:], grid)]
    if not any(missing):
        return images
    pad = [count for after in reversed(missing) for count in (0, after)]
    return functional.pad(images, pad, mode="replicate")


def cropped(values: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Return the first pixels of values ``(N, C, *spatial)`` along each axis."""
    index: tuple[Any, ...] = (..., *(slice(length) for length in shape))
    return values[index]


def headed(
    network: Any, features: torch.Tensor, shape: Sequence[int], coarse: Sequence[torch.Tensor]
) -> NetworkOutput:
    """Return the output of a network whose heads, `embedding_head` and `foreground_head`, see every pixel.

    Parameters
    ----------
    network : Network
        Its `foreground_head` may be None.
    features : torch.Tensor
        ``(N, channels, *padded)``, at full resolution.
    shape : sequence of int
        Spatial shape of the images before they were padded.
    coarse : sequence of torch.Tensor
        The coarse embeddings.
    """
    # Heads before the crop: convolutions read dense memory faster than a window of it.
    embedding = cropped(network.embedding_head(features), shape)
    if network.foreground_head is None:
        return NetworkOutput(embedding, None, tuple(coarse))
    return NetworkOutput(embedding, cropped(network.foreground_head(features), shape), tuple(coarse))


def channels_last(images: torch.Tensor) -> torch.Tensor:
    """Return a batch in the memory order in which convolutions are fastest, for any number of spatial axes."""
    return images.contiguous(memory_format=_FORMATS.get(images.ndim, torch.contiguous_format))


def weights_channels_last(network: nn.Module) -> nn.Module:
    """Put the weights of a network in the memory order of `channels_last`; return the network."""
    for values in (*network.parameters(), *network.buffers()):
        if values.ndim in _FORMATS:
            values.data = values.data.to(memory_format=_FORMATS[values.ndim])
    return network


def ready(network: nn.Module) -> nn.Module:
    """Make a network fit for inference, in place: evaluation mode, batch norm folded, channels last."""
    network.eval().requires_grad_(False)
    if callable(fold_batch_norm := getattr(network, "fold_batch_norm", None)):
        fold_batch_norm()
    return weights_channels_last(network)


def check_ndim(network: nn.Module, ndim: int, what: str) -> None:
    """Refuse a network for another number of spatial axes.

    Parameters
    ----------
    network : torch.nn.Module
        Accepted if it has no attribute ``ndim``.
    ndim : int
        Number of spatial axes.
    what : str
        What has this number of axes, for the message.

    Raises
    ------
    InputError
        If the numbers differ.
    """
    found = getattr(network, "ndim", ndim)
    if found != ndim:
        raise InputError(
            f"network {type(network).__name__} is for {found} spatial axes, but {what} has {ndim}; expected equal "
            f"numbers; use a network for {ndim}"
        )


@cache
def measured_radius(architecture: type[Network], **options: Any) -> tuple[int, ...]:
    """Measure how far the output sees a pixel along each axis, for each place of the pixel within the grid.

    The network is built with positive weights only, so that nothing cancels. If its input is zero except for one
    plane across an axis, the output differs exactly at the pixels that read this plane.

    Parameters
    ----------
    architecture : type of Network
        Built without drawing random numbers.
    **options
        Options of the constructor, hashable; with as few channels as keep all connections.

    Returns
    -------
    tuple of int
        See `Network.receptive_radius`.

    Raises
    ------
    InputError
        If the output sees a pixel at any distance, however large the image.
    """
    with torch.device("meta"):
        probe = architecture(**options)
    probe = probe.double().eval().to_empty(device="cpu")
    with torch.inference_mode():
        for name, values in (*probe.named_parameters(), *probe.named_buffers()):
            values.fill_(0.0 if name.endswith(("bias", "running_mean")) else 1.0)
        channels = options["in_channels"]
        return tuple(_radius_along(probe, axis, channels) for axis in range(probe.ndim))


def _radius_along(probe: Network, axis: int, channels: int) -> int:
    reach = 4
    while (radius := _radius_within(probe, axis, channels, reach)) is None:
        reach *= 2
        if reach > _FARTHEST:
            raise InputError(
                f"network {type(probe).__name__} reads pixels at any distance; expected one that reads a part of the "
                "image; override receptive_radius, and use tile=None"
            )
    return radius


def _radius_within(probe: Network, axis: int, channels: int, reach: int) -> int | None:
    """The radius, measured on an image that reaches `reach` grid steps to either side; None if that is too short."""
    step = probe.grid[axis]
    shape = [step * (2 * reach + 1) if other == axis else size for other, size in enumerate(probe.grid)]
    images = torch.zeros(step + 1, channels, *shape, dtype=torch.float64)
    lit = [step * reach + position for position in range(step)]
    for image, plane in zip(images[1:], lit):
        image.select(axis + 1, plane).fill_(1)
    output = probe(images)
    spans = _spans(output.embedding, axis, probe.stride[axis], lit)
    spans += [] if output.foreground is None else _spans(output.foreground, axis, 1, lit)
    if any(start == 0 or stop == shape[axis] for start, stop, _ in spans):
        return None
    return max(max(plane - start, stop - 1 - plane) for start, stop, plane in spans)


def _spans(values: torch.Tensor, axis: int, stride: int, lit: Sequence[int]) -> list[tuple[int, int, int]]:
    """For each lit plane: the first pixel where the output differs from the dark image's, the end, and the plane."""
    differs = (values[1:] != values[:1]).movedim(axis + 2, 1).flatten(2).any(dim=2)
    places = [row.nonzero().flatten().tolist() for row in differs]
    return [(stride * row[0], stride * (row[-1] + 1), plane) for row, plane in zip(places, lit) if row]
