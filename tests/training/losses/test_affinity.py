"""The affinity losses: the fused one against plain differentiation and against loops over pixels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch.nn import functional

from pixel_embedded_affinity.training.data.augment import OUTSIDE
from pixel_embedded_affinity.training.losses.affinity import (
    SHARE_BOUNDS,
    affinity_target,
    foreground_loss,
    fused_affinity_loss,
    plain_affinity_loss,
    unit,
)

CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"))
PLANE = ((-1, 0), (0, -1), (-1, 1), (-2, -2), (0, 3), (-50, 0), (0, 50))
VOLUME = ((-1, 0, 0), (0, -1, 0), (1, -1, 2), (0, 0, -3), (-9, 0, 0))


def random_case(spatial, *, channels=3, images=2, dtype=torch.float32, seed=0, weighted=True):
    """Two embeddings, labels with some pixels outside, and pixel weights."""
    source = torch.Generator().manual_seed(seed)
    shape = (images, channels, *spatial)
    first, second = (
        functional.normalize(torch.randn(shape, generator=source, dtype=dtype), dim=1) for _ in range(2)
    )
    labels = torch.randint(OUTSIDE, 3, (images, *spatial), generator=source)
    weights = torch.rand(labels.shape, generator=source) + 1 if weighted else None
    return first, second, labels, weights


def targets_of(labels, offsets, weights=None):
    return [affinity_target(labels, offset, weights) for offset in offsets]


def loss_by_loops(first, second, labels, offsets, weights):
    """The definition, pair by pair, in float64."""
    first, second = first.double().numpy(), second.double().numpy()
    labels = labels.numpy()
    weights = np.ones(labels.shape) if weights is None else weights.double().numpy()
    total = 0.0
    for offset in offsets:
        pairs = []
        for image, *here in itertools.product(*map(range, labels.shape)):
            there = [a + b for a, b in zip(here, offset, strict=True)]
            if not all(0 <= a < n for a, n in zip(there, labels.shape[1:], strict=True)):
                continue
            p, q = (image, *here), (image, *there)
            if labels[p] == OUTSIDE or labels[q] == OUTSIDE:
                continue
            similarity = first[(image, slice(None), *here)] @ second[(image, slice(None), *there)]
            pairs.append((labels[p] == labels[q], similarity, max(weights[p], weights[q])))
        if not pairs:
            continue
        share = np.clip(np.mean([same for same, _, _ in pairs]), *SHARE_BOUNDS)
        balance = {
            True: 1.0 if share > 0.5 else (1 - share) / share,
            False: share / (1 - share) if share > 0.5 else 1.0,
        }
        total += np.mean([w * balance[bool(same)] * (s - same) ** 2 for same, s, w in pairs])
    return total


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("spatial", "offsets"), [((5, 6), PLANE), ((3, 4, 3), VOLUME)])
@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("loss", [fused_affinity_loss, plain_affinity_loss])
def test_both_losses_follow_the_definition(loss, cross, spatial, offsets, weighted):
    first, second, labels, weights = random_case(spatial, weighted=weighted)
    partners = [first, second] if cross else [first]
    expected = [loss_by_loops(first, partner, labels, offsets, weights) for partner in partners]
    total, parts = loss(first, partners, offsets, targets_of(labels, offsets, weights))
    assert parts.tolist() == pytest.approx(expected, rel=1e-5)
    assert float(total) == pytest.approx(sum(expected), rel=1e-5)
    assert not parts.requires_grad


@given(
    labels=arrays.arrays(
        np.int32, arrays.array_shapes(min_dims=3, max_dims=3, max_side=5), elements=st.integers(OUTSIDE, 2)
    ),
    offset=st.tuples(st.integers(-5, 5), st.integers(-5, 5)).filter(any),
)
@settings(max_examples=60, deadline=None)
def test_the_loss_of_any_labels_follows_the_definition(labels, offset):
    tensor = torch.from_numpy(labels)
    source = torch.Generator().manual_seed(1)
    embedding = unit(torch.randn((len(labels), 2, *labels.shape[1:]), generator=source))
    value = float(fused_affinity_loss(embedding, [embedding], [offset], targets_of(tensor, [offset]))[0])
    expected = loss_by_loops(embedding, embedding, tensor, [offset], None)
    assert value == pytest.approx(expected, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize(("spatial", "offsets"), [((24, 20), PLANE), ((5, 9, 8), VOLUME)])
@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("scale", [1, -3])
@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_fused_gradients_equal_those_of_plain_differentiation(spatial, offsets, cross, scale, device):
    first, second, labels, weights = (part.to(device) for part in random_case(spatial, channels=8))
    targets = targets_of(labels, offsets, weights)
    gradients = []
    for loss in (fused_affinity_loss, plain_affinity_loss):
        a, b = first.clone().requires_grad_(), second.clone().requires_grad_()
        value = scale * loss(a, [a, b] if cross else [a], offsets, targets)[0]
        value.backward()
        gradients.append((value.detach(), a.grad, b.grad))
    for fused, plain in zip(*gradients, strict=True):
        if plain is None:
            assert fused is None
        else:
            torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-5 * float(plain.abs().max()))


@pytest.mark.parametrize(("spatial", "offsets"), [((3, 4), PLANE), ((2, 3, 2), VOLUME)])
@pytest.mark.parametrize("cross", [False, True])
def test_the_fused_gradient_passes_gradcheck(spatial, offsets, cross):
    first, second, labels, weights = random_case(spatial, channels=2, images=1, dtype=torch.float64)
    targets = targets_of(labels, offsets, weights)

    def of_one(embedding):
        return fused_affinity_loss(embedding, [embedding], offsets, targets)[0]

    def of_two(a, b):
        return fused_affinity_loss(a, [a, b], offsets, targets)[0]

    inputs = (first.requires_grad_(), second.requires_grad_())
    assert torch.autograd.gradcheck(of_two if cross else of_one, inputs if cross else inputs[:1])


def test_the_gradient_can_be_asked_for_twice():
    first, second, labels, _ = random_case((4, 5))
    targets = targets_of(labels, PLANE)
    first.requires_grad_()
    loss, _ = fused_affinity_loss(first, [first, second], PLANE, targets)
    loss.backward(retain_graph=True)
    once = first.grad.clone()
    loss.backward()
    torch.testing.assert_close(first.grad, 2 * once)


def test_a_second_derivative_is_refused_rather_than_wrong():
    first, _, labels, _ = random_case((4, 4))
    first.requires_grad_()
    scale = torch.tensor(2.0, requires_grad=True)
    loss = scale * fused_affinity_loss(first, [first], PLANE, targets_of(labels, PLANE))[0]
    (gradient,) = torch.autograd.grad(loss, first, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_the_inputs_are_not_modified():
    first, second, labels, weights = random_case((6, 6))
    targets = targets_of(labels, PLANE, weights)
    given_arrays = [
        first,
        second,
        *(part for target in targets if target for part in (target.same, target.weight)),
    ]
    copies = [array.clone() for array in given_arrays]
    fused_affinity_loss(first, [first, second], PLANE, targets)
    assert all(map(torch.equal, given_arrays, copies))


def test_background_is_one_more_label():
    target = affinity_target(torch.tensor([[[0, 0, 1, 1, 2]]]), (0, 1))
    assert target.same.tolist() == [[[True, False, True, False]]]


def test_an_offset_that_leaves_the_image_everywhere_has_no_target():
    labels = torch.ones((1, 4, 4), dtype=torch.int32)
    assert affinity_target(labels, (0, 4)) is None
    assert affinity_target(labels, (-9, 1)) is None
    embedding = unit(torch.ones((1, 2, 4, 4), requires_grad=True))
    loss, _ = fused_affinity_loss(embedding, [embedding], [(0, 4)], [None])
    loss.backward()
    assert float(loss.detach()) == 0


def test_both_classes_of_pairs_weigh_the_same_within_the_bounds():
    labels = torch.arange(400).reshape(1, 20, 20) // 100
    target = affinity_target(labels, (1, 0))
    ones, zeros = (float(target.weight[target.same == value].sum()) for value in (True, False))
    assert ones == pytest.approx(zeros, rel=1e-5)


def test_pixels_outside_the_image_are_no_part_of_any_loss():
    first, _, labels, _ = random_case((8, 8))
    labels[:, :, 4:] = OUTSIDE
    changed = first.clone()
    changed[..., 4:] = -changed[..., 4:].flip(1)
    inside = [offset for offset in PLANE if max(map(abs, offset)) < 4]
    targets = targets_of(labels, inside)
    values = [float(fused_affinity_loss(e, [e], inside, targets)[0]) for e in (first, changed)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    nothing = targets_of(torch.full_like(labels, OUTSIDE), PLANE)
    assert float(fused_affinity_loss(first, [first], PLANE, nothing)[0]) == 0


def test_the_foreground_loss_is_the_weighted_mean_cross_entropy_inside_the_image():
    logits = torch.tensor([[[[2.0, -1.0, 5.0]]]])
    labels = torch.tensor([[[3, 0, OUTSIDE]]])
    foreground = -4 * np.log(1 / (1 + np.exp(-2.0)))
    background = -np.log(1 - 1 / (1 + np.exp(1.0)))
    value = float(foreground_loss(logits, labels, foreground_weight=4.0))
    assert value == pytest.approx((foreground + background) / 2, rel=1e-5)
    assert float(foreground_loss(logits, torch.full_like(labels, OUTSIDE), 1.0)) == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_unit_vectors_have_length_one_in_single_precision_or_better(dtype):
    embedding = torch.randn((1, 5, 3, 3), generator=torch.Generator().manual_seed(0)).to(dtype)
    result = unit(embedding)
    assert result.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(result.norm(dim=1), torch.ones((1, 3, 3), dtype=result.dtype))
    assert not unit(torch.zeros((1, 5, 3, 3))).any()
