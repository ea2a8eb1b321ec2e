"""The whole training objective of one batch: self-correlation, cross-correlation, pyramid, foreground."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.views import Geometry
from pixel_embedded_affinity.network.base import Network, NetworkOutput, channels_last
from pixel_embedded_affinity.runtime.device import autocast
from pixel_embedded_affinity.training.data.batches import Batch
from pixel_embedded_affinity.training.data.second_view import map_back, second_view
from pixel_embedded_affinity.training.losses import affinity
from pixel_embedded_affinity.training.losses.affinity import fused_affinity_loss
from pixel_embedded_affinity.training.losses.direct_affinity import direct_affinity_loss
from pixel_embedded_affinity.training.losses.discriminative import discriminative_loss
from pixel_embedded_affinity.training.losses.malis import malis_loss
from pixel_embedded_affinity.training.recipe import Recipe

Parts = tuple[Tensor, Tensor]
AffinityLoss = Callable[[Tensor, Sequence[Tensor], affinity.Offsets, affinity.Targets], Parts]


@dataclass(frozen=True)
class Losses:
    """The losses of a batch.

    Attributes
    ----------
    total : torch.Tensor
        The sum of all parts, which can be differentiated.
    self_correlation, cross_correlation, pyramid, foreground : torch.Tensor
        The parts, for logs; zero if switched off. For a baseline, `self_correlation` is its loss at full resolution.
    """

    total: Tensor
    self_correlation: Tensor
    cross_correlation: Tensor
    pyramid: Tensor
    foreground: Tensor

    def named(self) -> dict[str, float]:
        """The sum and the parts as numbers."""
        return {name: float(getattr(self, name).detach()) for name in self.__dataclass_fields__}


class Objective:
    """Computes the losses of a network on a batch, as a recipe asks.

    Parameters
    ----------
    recipe : Recipe
        Which losses, with which pairs and weights.
    affinity_loss : callable
        `fused_affinity_loss`, or `plain_affinity_loss` to compare it with.
    precision : {"auto", "float32", "bfloat16"}
        What the network computes in; ``"auto"`` takes bfloat16 where the device computes in it natively.
    """

    def __init__(
        self, recipe: Recipe, affinity_loss: AffinityLoss = fused_affinity_loss, precision: str = "auto"
    ) -> None:
        self.recipe, self.affinity_loss, self.precision = recipe, affinity_loss, precision

    def __call__(self, network: Network, batch: Batch, generator: np.random.Generator) -> Losses:
        """Run the network on a batch and return the losses.

        Parameters
        ----------
        network : Network
            On the batch's device.
        batch : Batch
            Crops, labels and weights.
        generator : numpy.random.Generator
            Draws the second view.

        Returns
        -------
        Losses
            In single precision; only the network itself computes in the device's fast precision.
        """
        loss, labels = self.recipe.loss, batch.labels
        output, geometries = self._run(network, batch, generator)
        zero = batch.images.new_zeros(())
        seen = _at_embedding(batch, network.stride, generator)
        offsets = self.recipe.neighborhood.drawn_offsets(generator)
        main, (within, across) = self._full_resolution(output.embedding, geometries, seen, offsets)
        pyramid = (
            self._pyramid(network, output.pyramid, labels) * loss.pyramid_weight if loss.pyramid else zero
        )
        foreground = self._foreground(output.foreground, geometries, labels) if loss.foreground else zero
        return Losses(main + pyramid + foreground, within, across, pyramid.detach(), foreground.detach())

    def _run(
        self, network: Network, batch: Batch, generator: np.random.Generator
    ) -> tuple[NetworkOutput, list[Geometry]]:
        """Run the network once on both views; without a second view, there are no geometries."""
        images, geometries = batch.images, list[Geometry]()
        if self.recipe.loss.cross_correlation:
            view, geometries = second_view(images, batch.labels, self.recipe.view, generator)
            images = torch.cat((images, view))
        with autocast(images.device, self.precision):
            output: NetworkOutput = network(channels_last(images), pyramid=self.recipe.loss.pyramid)
        return output, geometries

    def _full_resolution(
        self, output: Tensor, geometries: list[Geometry], batch: Batch, offsets: affinity.Offsets
    ) -> tuple[Tensor, Parts]:
        """The recipe's kind of loss on the network's main output, and its parts within and across views."""
        kind = self.recipe.loss.kind
        if kind == "affinity":
            return self._affinity(affinity.unit(output).contiguous(), geometries, batch, offsets)
        if kind == "direct_affinity":
            loss = direct_affinity_loss(output, offsets, _targets(batch, offsets))
        elif kind == "malis":
            loss = malis_loss(output, batch.labels, offsets)
        else:
            loss = discriminative_loss(output, batch.labels)
        return loss, (loss.detach(), torch.zeros_like(loss))

    def _affinity(
        self, embedding: Tensor, geometries: list[Geometry], batch: Batch, offsets: affinity.Offsets
    ) -> tuple[Tensor, Parts]:
        """Self-correlation of the first view, and its correlation with the second view mapped back."""
        first, view = embedding[: len(batch.labels)], embedding[len(batch.labels) :]
        own = first if self.recipe.loss.self_correlation else None
        partners = (own, map_back(view, geometries) if geometries else None)
        present = [partner for partner in partners if partner is not None]
        total, parts = self.affinity_loss(first, present, offsets, _targets(batch, offsets))
        remaining = iter(parts)
        within, across = (first.new_zeros(()) if partner is None else next(remaining) for partner in partners)
        return total, (within, across)

    def _pyramid(self, network: Network, pyramid: tuple[Tensor, ...], labels: Tensor) -> Tensor:
        """The first view's loss at each coarse scale, with one more range at each, and subsampled labels."""
        total = labels.new_zeros((), dtype=torch.float32)
        for count, (coarse, strides) in enumerate(zip(pyramid, network.pyramid_strides), start=1):
            offsets = self.recipe.neighborhood.offsets(count)
            small = labels[_every(strides, (0,) * len(strides))]
            targets = [affinity.affinity_target(small, offset) for offset in offsets]
            total = total + self._of_scale(coarse[: len(labels)], offsets, targets)
        return total

    def _of_scale(self, output: Tensor, offsets: affinity.Offsets, targets: affinity.Targets) -> Tensor:
        """Self-correlation, or the error of the affinities that the first channels predict."""
        if self.recipe.loss.kind == "direct_affinity":
            return direct_affinity_loss(output, offsets, targets)
        embedding = affinity.unit(output).contiguous()
        return self.affinity_loss(embedding, [embedding], offsets, targets)[0]

    def _foreground(self, logits: Tensor | None, geometries: list[Geometry], labels: Tensor) -> Tensor:
        """The foreground's loss on both views; the second view is mapped back first."""
        if logits is None:
            raise InputError("the network has no foreground head; set loss.foreground to 0")
        settings = self.recipe.loss
        parts = [logits[: len(labels)]]
        if geometries:
            parts.append(map_back(logits[len(labels) :], geometries))
        losses = [affinity.foreground_loss(part, labels, settings.foreground_weight) for part in parts]
        return settings.foreground * torch.stack(losses).mean()


def _targets(batch: Batch, offsets: affinity.Offsets) -> list[affinity.AffinityTarget | None]:
    return [affinity.affinity_target(batch.labels, offset, batch.weights) for offset in offsets]


def _at_embedding(batch: Batch, strides: Sequence[int], generator: np.random.Generator) -> Batch:
    """Labels and weights at the embedding's positions.

    If several pixels share a position, one of them is drawn, the same for all positions of a step. A border inside a
    position then falls to either side equally often.
    """
    if set(strides) == {1}:
        return batch
    taken = _every(strides, [int(generator.integers(step)) for step in strides])
    weights = None if batch.weights is None else batch.weights[taken].contiguous()
    return Batch(batch.images, batch.labels[taken].contiguous(), weights)


def _every(strides: Sequence[int], first: Sequence[int]) -> tuple[slice, ...]:
    """Index of one pixel per stride along each axis of a batch."""
    return (slice(None), *(slice(start, None, step) for start, step in zip(first, strides)))
