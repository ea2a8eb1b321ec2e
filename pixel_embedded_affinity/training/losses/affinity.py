"""Losses on affinities: targets from labels, class balance, and the fused squared error with its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from pixel_embedded_affinity.affinity import Box, pair_boxes
from pixel_embedded_affinity.training.data.augment import MEMBRANE, OUTSIDE

Offset = tuple[int, ...]
Offsets = Sequence[Offset]
Targets = Sequence["AffinityTarget | None"]

SHARE_BOUNDS = (0.05, 0.99)
"""The share of ones is clipped to these bounds before it gives the class weights."""


@dataclass(frozen=True)
class AffinityTarget:
    """Target and weight of every pair of one offset whose ends both lie in the crop.

    Attributes
    ----------
    same : torch.Tensor
        Bool (N, *box): whether both ends carry the same label.
    weight : torch.Tensor
        float32 (N, *box): weight of each pair, divided by the number of pairs that count, so that the weighted sum is
        the mean; 0 for pairs with an end outside the image, and for pairs of two membrane pixels.
    """

    same: Tensor
    weight: Tensor


def affinity_target(
    labels: Tensor, offset: Offset, pixel_weights: Tensor | None = None
) -> AffinityTarget | None:
    """Targets of one offset; background is one more label.

    Parameters
    ----------
    labels : torch.Tensor
        Integer (N, *spatial); the loss ignores pixels with the label `OUTSIDE`, and pairs of two pixels with the
        label `MEMBRANE`.
    offset : tuple of int
        One component per spatial axis.
    pixel_weights : torch.Tensor, optional
        Float (N, *spatial): a factor per pixel; a pair takes the larger factor of its two ends.

    Returns
    -------
    AffinityTarget or None
        None where the offset leaves the crop everywhere.
    """
    here, there = _ends(tuple(labels.shape[1:]), offset)
    first, second = labels[here], labels[there]
    if first.numel() == 0:
        return None
    same = first == second
    counted = (first != OUTSIDE) & (second != OUTSIDE)
    weight = _balanced(same, counted & ~(same & (first == MEMBRANE)))
    if pixel_weights is not None:
        weight *= torch.maximum(pixel_weights[here], pixel_weights[there])
    return AffinityTarget(same, weight)


def _ends(shape: tuple[int, ...], offset: Offset, channels: bool = False) -> tuple[Box, Box]:
    """Boxes of both ends of the pairs in a batch (N, *spatial), or (N, D, *spatial) with channels."""
    here, there = pair_boxes(shape, offset)
    leading = (slice(None),) * (1 + channels)
    return leading + here, leading + there


def _balanced(same: Tensor, counted: Tensor) -> Tensor:
    """Weights of pairs that raise the rarer class to the other's total (Huang et al. 2022), over their number."""
    count = counted.sum().clamp(min=1)
    share = ((same & counted).sum() / count).clamp(*SHARE_BOUNDS)
    ones = torch.where(share > 0.5, 1.0, (1 - share) / share)
    zeros = torch.where(share > 0.5, share / (1 - share), 1.0)
    return torch.where(same, ones / count, zeros / count) * counted


class _FusedAffinityError(torch.autograd.Function):
    """Weighted squared error of the affinities of unit embeddings, gradients computed on the way."""

    @staticmethod
    def forward(
        ctx: Any, offsets: Offsets, targets: Targets, first: Tensor, *partners: Tensor
    ) -> tuple[Tensor, Tensor]:
        gradient = torch.zeros_like(first)
        # If an embedding is compared with itself, both ends add to the same gradient.
        ctx.itself = [partner is first for partner in partners]
        others = [gradient if partner is first else torch.zeros_like(partner) for partner in partners]
        parts = first.new_zeros(len(partners))
        for offset, target in zip(offsets, targets, strict=True):
            if target is not None:
                for part, partner, other in zip(parts, partners, others, strict=True):
                    part += _accumulate(first, partner, offset, target, gradient, other)
        distinct = [other for other, itself in zip(others, ctx.itself, strict=True) if not itself]
        ctx.save_for_backward(gradient, *distinct)
        ctx.mark_non_differentiable(parts)
        return parts.sum(), parts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        gradient, *distinct = (_scaled(saved, outer) for saved in ctx.saved_tensors)
        remaining = iter(distinct)
        others = [None if itself else next(remaining) for itself in ctx.itself]
        return None, None, gradient, *others


def _scaled(gradient: Tensor, outer: Tensor) -> Tensor:
    """Multiply by the gradient of what comes after the loss; on a CPU, where reading it is free, not by 1."""
    if outer.device.type == "cpu" and float(outer) == 1:
        return gradient
    return gradient * outer


def _accumulate(
    first: Tensor, second: Tensor, offset: Offset, target: AffinityTarget, gradient: Tensor, other: Tensor
) -> Tensor:
    """Add one offset's gradients and return its loss; image by image, to stay in the cache."""
    here, there = _ends(tuple(first.shape[2:]), offset)
    total = first.new_zeros(())
    for image in range(len(first)):
        a, b = first[image][here], second[image][there]
        difference = (a * b).sum(0).sub_(target.same[image].to(a.dtype))
        weighted = difference * target.weight[image].to(a.dtype)
        total += torch.dot(weighted.flatten(), difference.flatten())
        slope = weighted.mul_(2).unsqueeze(0)
        gradient[image][here].addcmul_(slope, b)
        other[image][there].addcmul_(slope, a)
    return total


def fused_affinity_loss(
    first: Tensor, partners: Sequence[Tensor], offsets: Offsets, targets: Targets
) -> tuple[Tensor, Tensor]:
    """Sum over offsets of the mean weighted squared error between affinities and targets.

    The affinity of a pair is ``<first(p), partner(p + offset)>``. The first embedding as its own partner gives the
    self-correlation loss, the embedding of another view the cross-correlation loss (Huang et al., AAAI 2022).
    Computed together, both share the memory of the gradient.

    Parameters
    ----------
    first : torch.Tensor
        Unit-length embedding (N, D, *spatial), float32 or float64.
    partners : sequence of torch.Tensor
        Embeddings like the first, which may be among them.
    offsets : sequence of tuple of int
        The compared pairs.
    targets : sequence of AffinityTarget or None
        One per offset, from `affinity_target`.

    Returns
    -------
    total : torch.Tensor
        The loss, a scalar. The forward pass computes its gradient, and keeps no product for the backward pass. It can
        be differentiated once.
    parts : torch.Tensor
        The loss with each partner, for logs; not differentiable.
    """
    apply = _FusedAffinityError.apply
    result: tuple[Tensor, Tensor]
    result = apply(offsets, targets, first, *partners)  # type: ignore[no-untyped-call]
    return result


def plain_affinity_loss(
    first: Tensor, partners: Sequence[Tensor], offsets: Offsets, targets: Targets
) -> tuple[Tensor, Tensor]:
    """The same as `fused_affinity_loss` by ordinary differentiation, for tests."""
    parts = [first.new_zeros(()) for _ in partners]
    for offset, target in zip(offsets, targets, strict=True):
        if target is not None:
            here, there = _ends(tuple(first.shape[2:]), offset, channels=True)
            for index, partner in enumerate(partners):
                difference = (first[here] * partner[there]).sum(1) - target.same.to(first.dtype)
                parts[index] = parts[index] + (target.weight * difference.square()).sum()
    total = torch.stack(parts)
    return total.sum(), total.detach()


def unit(embedding: Tensor) -> Tensor:
    """Scale embeddings (N, D, *spatial) to unit length, in single precision or better."""
    wide = embedding if embedding.dtype == torch.float64 else embedding.float()
    return functional.normalize(wide, dim=1, eps=1e-6)


def foreground_loss(logits: Tensor, labels: Tensor, foreground_weight: float) -> Tensor:
    """Mean cross-entropy of the foreground head against ``labels > 0``, without the pixels outside the image.

    Parameters
    ----------
    logits : torch.Tensor
        (N, 1, *spatial).
    labels : torch.Tensor
        Integer (N, *spatial).
    foreground_weight : float
        Weight of foreground pixels; background pixels weigh 1.
    """
    counted = (labels != OUTSIDE).float()
    entropy = functional.binary_cross_entropy_with_logits(
        logits[:, 0].float(),
        (labels > 0).float(),
        weight=counted,
        pos_weight=torch.as_tensor(foreground_weight, device=logits.device),
        reduction="sum",
    )
    return entropy / counted.sum().clamp(min=1)
