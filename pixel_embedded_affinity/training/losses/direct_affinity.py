"""The baseline AL: a network that predicts the affinities of fixed pairs instead of embeddings."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pixel_embedded_affinity.affinity import pair_boxes
from pixel_embedded_affinity.training.losses.affinity import Offsets, Targets


def direct_affinity_loss(logits: Tensor, offsets: Offsets, targets: Targets) -> Tensor:
    """Sum over offsets of the mean weighted cross-entropy between predicted affinities and targets.

    Parameters
    ----------
    logits : torch.Tensor
        (N, K, *spatial): the sigmoid of channel k at pixel p is the affinity of p and ``p + offsets[k]``. The loss
        ignores channels beyond the offsets.
    offsets : sequence of tuple of int
        The pairs that the network predicts.
    targets : sequence of AffinityTarget or None
        One per offset, from `affinity.affinity_target`, which balances the classes as in the other methods.

    Returns
    -------
    torch.Tensor
        The loss, a scalar.

    References
    ----------
    N. Gao et al., "SSAP: Single-Shot Instance Segmentation With Affinity Pyramid", ICCV 2019.
    """
    total = logits.new_zeros((), dtype=torch.float32)
    for channel, offset, target in zip(logits.unbind(1), offsets, targets):
        if target is not None:
            here = (slice(None), *pair_boxes(tuple(channel.shape[1:]), offset)[0])
            total = total + functional.binary_cross_entropy_with_logits(
                channel[here].float(), target.same.float(), weight=target.weight, reduction="sum"
            )
    return total


def predicted_affinities(logits: Tensor, offsets: Offsets) -> Tensor:
    """Affinities (K, *spatial) from 0 to 1 of one image's logits (K, *spatial); 0 where a pair leaves the image."""
    values = torch.zeros_like(logits, dtype=torch.float32)
    for value, logit, offset in zip(values, logits, offsets, strict=True):
        here, _ = pair_boxes(tuple(logit.shape), offset)
        value[here] = logit[here].float().sigmoid()
    return values
