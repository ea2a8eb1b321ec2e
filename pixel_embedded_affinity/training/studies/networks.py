"""A recipe with another network: what counts positions of the embedding or steps of the grid follows the network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from pixel_embedded_affinity.config.model import ModelConfig, NetworkConfig
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.network.base import Network
from pixel_embedded_affinity.network.build import build_network
from pixel_embedded_affinity.postprocess import Postprocess
from pixel_embedded_affinity.training.recipe import Recipe, TrainingNeighborhood

ARCHITECTURES: dict[int, dict[str, dict[str, Any]]] = {
    2: {name: {} for name in ("residual_unet", "resnet50_unet", "resnet101_unet", "half_unet")},
    3: {name: {} for name in ("sections_unet", "anisotropic_unet", "mala_unet")},
}
"""The networks of the study ``"networks"`` with their options, by the number of spatial axes."""


def with_network(recipe: Recipe, architecture: str, **options: Any) -> Recipe:
    """Return a recipe that trains another network on the same pairs of pixels.

    Ranges, strides and sizes count positions of the embedding. Where the other network has more or fewer pixels in a
    position, they are converted, and distances that become equal are taken once; direct neighbors stay direct
    neighbors. A crop that is no multiple of the network's grid becomes the next smaller multiple.

    Parameters
    ----------
    recipe : Recipe
        Its own network stays as it is, if it is asked for.
    architecture : str
        Name of the network.
    **options
        Options of the network; the others have their defaults.

    Raises
    ------
    InputError
        If the architecture is unknown or for another number of axes, or an option does not fit it.
    """
    old = recipe.model.network
    if architecture == old.architecture:
        return recipe
    network = NetworkConfig(
        architecture, old.in_channels, old.embedding_channels, old.foreground_head, **options
    )
    ratios = _ratios(_described(old), other := _described(network))
    pairs = _fewer(recipe.neighborhood, ratios[-1])
    crop = tuple(max(length // step, 1) * step for length, step in zip(recipe.crop, other.grid))
    return replace(
        recipe,
        model=_converted(recipe.model, ratios).changed(network=network),
        neighborhood=pairs,
        schedule=replace(recipe.schedule, crop=crop if len(set(crop)) > 1 else crop[0]),
    )


def _described(network: NetworkConfig) -> Network:
    """A network without memory, which tells its grid and its stride."""
    with torch.device("meta"):
        return build_network(network)


def _ratios(old: Network, new: Network) -> tuple[float, ...]:
    """Positions of the old network in one of the new network, along each axis."""
    return tuple(other / own for own, other in zip(old.stride, new.stride))


def _rounded(values: Sequence[int], ratios: Sequence[float]) -> tuple[int, ...]:
    """Distances in the new network's positions; halves go up, and direct neighbors stay direct neighbors."""
    return tuple(
        value if abs(value) <= 1 else max(int(abs(value) / ratio + 0.5), 1) * (-1 if value < 0 else 1)
        for value, ratio in zip(values, ratios)
    )


def _fewer(pairs: TrainingNeighborhood, ratio: float) -> TrainingNeighborhood:
    """The pairs of a training in the new network's positions."""
    ranges = tuple(dict.fromkeys(_rounded(pairs.ranges, [ratio] * len(pairs.ranges))))
    across = tuple(dict.fromkeys(_rounded(step, (1.0, ratio)) for step in pairs.across))
    found = TrainingNeighborhood(ranges, pairs.directions, across)
    longer = len(found.offsets()) - len(found.nearest().offsets())
    return replace(found, drawn=min(pairs.drawn, longer))


def _converted(model: ModelConfig, ratios: tuple[float, ...]) -> ModelConfig:
    """The settings of a model in the new network's positions."""
    pairs = model.neighborhood
    roles: dict[tuple[int, ...], bool] = {}
    for offset, attractive in zip(pairs.offsets, pairs.attractive):
        roles.setdefault(_rounded(offset, ratios), attractive)
    strides = _rounded(pairs.strides, ratios)
    return model.changed(
        neighborhood=Neighborhood(tuple(roles), tuple(roles.values()), strides),
        postprocess=_resized(model.postprocess, ratios),
    )


def _resized(postprocess: Postprocess, ratios: tuple[float, ...]) -> Postprocess:
    """Sizes and radii of a postprocessing in the new network's positions."""
    width, share = ratios[-1], math.prod(ratios)
    return replace(
        postprocess,
        merge_sizes=tuple(round(size / share) for size in postprocess.merge_sizes),
        merge_radii=tuple(radius / width for radius in postprocess.merge_radii),
        min_size=round(postprocess.min_size / share),
    )
