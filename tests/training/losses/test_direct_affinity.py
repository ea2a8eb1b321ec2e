"""The directly predicted affinities: loss against loops over pairs, values at their places."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from pixel_embedded_affinity.training.data.augment import OUTSIDE
from pixel_embedded_affinity.training.losses.affinity import SHARE_BOUNDS, affinity_target
from pixel_embedded_affinity.training.losses.direct_affinity import direct_affinity_loss, predicted_affinities

OFFSETS = ((-1, 0), (0, -1), (-1, 2), (0, 50))


def case(*, images=2, size=(5, 6), seed=0, dtype=torch.float32):
    source = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn((images, len(OFFSETS) + 1, *size), generator=source, dtype=dtype)
    return logits, torch.randint(OUTSIDE, 3, (images, *size), generator=source)


def loss_by_loops(logits, labels):
    """The definition, pair by pair: class balance as of the other losses, cross-entropy, mean."""
    logits, labels, total = logits.double().numpy(), labels.numpy(), 0.0
    for channel, (dy, dx) in enumerate(OFFSETS):
        pairs = []
        for n, y, x in itertools.product(*map(range, labels.shape)):
            if not (0 <= y + dy < labels.shape[1] and 0 <= x + dx < labels.shape[2]):
                continue
            first, second = labels[n, y, x], labels[n, y + dy, x + dx]
            if OUTSIDE not in (first, second):
                probability = 1 / (1 + np.exp(-logits[n, channel, y, x]))
                pairs.append((first == second, -np.log(probability if first == second else 1 - probability)))
        if pairs:
            share = np.clip(np.mean([same for same, _ in pairs]), *SHARE_BOUNDS)
            ones, zeros = (1, share / (1 - share)) if share > 0.5 else ((1 - share) / share, 1)
            total += np.mean([entropy * (ones if same else zeros) for same, entropy in pairs])
    return total


@pytest.mark.parametrize("seed", range(4))
def test_the_loss_is_the_balanced_cross_entropy_of_the_pairs(seed):
    logits, labels = case(seed=seed)
    targets = [affinity_target(labels, offset) for offset in OFFSETS]
    loss = direct_affinity_loss(logits, OFFSETS, targets)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(loss_by_loops(logits, labels), rel=1e-5)


def test_the_gradient_reaches_the_pairs_of_the_loss_and_no_other():
    logits, labels = case()
    logits.requires_grad_()
    direct_affinity_loss(logits, OFFSETS, [affinity_target(labels, offset) for offset in OFFSETS]).backward()
    touched = logits.grad != 0
    assert not touched[:, -2:].any()
    assert not touched[:, 0, 0].any()
    inside = labels != OUTSIDE
    assert torch.equal(touched[:, 0, 1:], inside[:, 1:] & inside[:, :-1])


def test_weights_of_pixels_count():
    logits, labels = case()
    plain, twice = (
        direct_affinity_loss(
            logits, OFFSETS, [affinity_target(labels, offset, weights) for offset in OFFSETS]
        )
        for weights in (None, torch.full(labels.shape, 2.0))
    )
    assert float(twice) == pytest.approx(2 * float(plain), rel=1e-5)


def test_half_precision_is_widened():
    logits, labels = case()
    targets = [affinity_target(labels, offset) for offset in OFFSETS]
    rounded = logits.bfloat16()
    assert torch.equal(
        direct_affinity_loss(rounded, OFFSETS, targets),
        direct_affinity_loss(rounded.float(), OFFSETS, targets),
    )


def test_predicted_affinities_are_probabilities_and_zero_where_a_pair_leaves_the_image():
    logits = torch.tensor([[[0.0, 2.0], [-2.0, 9.0]]]).repeat(2, 1, 1)
    values = predicted_affinities(logits, [(-1, 0), (0, 1)])
    expected = [[[0, 0], [1 / (1 + np.exp(2)), 1 / (1 + np.exp(-9))]], [[0.5, 0], [1 / (1 + np.exp(2)), 0]]]
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-5)
