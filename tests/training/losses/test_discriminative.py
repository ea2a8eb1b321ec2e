"""The discriminative loss against loops over pixels and pairs of objects, and affinities by distance."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pixel_embedded_affinity.training.data.augment import OUTSIDE
from pixel_embedded_affinity.training.losses.discriminative import discriminative_loss, distance_affinities

LABELS = torch.tensor([[[1, 1, 0, 2], [1, 3, OUTSIDE, 2], [3, 3, 0, 2]]])


def embedding_of(labels, *, channels=3, scale=1.0, seed=0, dtype=torch.float64):
    source = torch.Generator().manual_seed(seed)
    shape = (len(labels), channels, *labels.shape[1:])
    return torch.randn(shape, generator=source, dtype=dtype) * scale


def loss_by_loops(embedding, labels):
    """Equations 1 to 4 of the paper, pixel by pixel, for images (N, D, H, W)."""
    losses = []
    for vectors, label in zip(embedding.numpy(), labels.numpy(), strict=True):
        objects = [c for c in np.unique(label) if c > 0]
        if not objects:
            losses.append(0.0)
            continue
        pixels = {c: [vectors[:, y, x] for y, x in np.argwhere(label == c)] for c in objects}
        mean = {c: sum(pixels[c]) / len(pixels[c]) for c in objects}
        variance = 0.0
        for c in objects:
            pulls = [max(0.0, np.sqrt(((mean[c] - x) ** 2).sum()) - 0.5) ** 2 for x in pixels[c]]
            variance += sum(pulls) / len(pulls)
        distance = 0.0
        for a, b in itertools.permutations(objects, 2):
            distance += max(0.0, 3.0 - np.sqrt(((mean[a] - mean[b]) ** 2).sum())) ** 2
        count = len(objects)
        distance /= count * (count - 1) if count > 1 else 1
        regularization = sum(np.sqrt((mean[c] ** 2).sum()) for c in objects) / count
        losses.append(variance / count + distance + 0.001 * regularization)
    return np.mean(losses)


@given(
    labels=arrays.arrays(
        np.int32, arrays.array_shapes(min_dims=3, max_dims=3, max_side=5), elements=st.integers(OUTSIDE, 3)
    ),
    scale=st.sampled_from([0.1, 1.0, 3.0]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_the_loss_is_that_of_the_definition(labels, scale, seed):
    tensor = torch.from_numpy(labels)
    embedding = embedding_of(tensor, scale=scale, seed=seed)
    expected = loss_by_loops(embedding, tensor)
    assert float(discriminative_loss(embedding, tensor)) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert float(discriminative_loss(embedding.float(), tensor)) == pytest.approx(
        expected, rel=1e-4, abs=1e-6
    )


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0])
def test_gradients_pass_gradcheck(scale):
    embedding = embedding_of(LABELS, scale=scale).requires_grad_()
    assert torch.autograd.gradcheck(lambda values: discriminative_loss(values, LABELS), (embedding,))


@pytest.mark.parametrize("labels", [torch.zeros((2, 3, 3)).int(), torch.full((1, 3, 3), OUTSIDE)])
def test_images_without_objects_cost_nothing_and_have_a_gradient_of_zero(labels):
    embedding = embedding_of(labels).requires_grad_()
    loss = discriminative_loss(embedding, labels)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not embedding.grad.any()


def test_a_pixel_alone_or_at_its_mean_has_a_finite_gradient():
    labels = torch.tensor([[[1, 2], [2, 0]]])
    embedding = torch.ones((1, 2, 2, 2), requires_grad=True)
    discriminative_loss(embedding, labels).backward()
    assert torch.isfinite(embedding.grad).all()


def test_background_and_outside_do_not_count():
    embedding = embedding_of(LABELS)
    changed = embedding + (LABELS <= 0)[:, None] * 7
    assert torch.equal(discriminative_loss(embedding, LABELS), discriminative_loss(changed, LABELS))


def test_single_precision_is_the_least():
    embedding = embedding_of(LABELS, dtype=torch.float32)
    assert discriminative_loss(embedding.bfloat16(), LABELS).dtype == torch.float32
    assert discriminative_loss(embedding.double(), LABELS).dtype == torch.float64


def test_affinities_fall_with_the_distance_from_one_to_zero():
    embedding = torch.tensor([[[0.0, 0.0, 1.5, 6.0]]])
    values = distance_affinities(embedding, [(0, -1), (0, 2), (5, 0)])
    assert values.dtype == torch.float32
    assert values[0].tolist() == [[0.0, 1.0, 0.25, 0.0]]
    assert values[1].tolist() == [[0.25, 0.0, 0.0, 0.0]]
    assert not values[2].any()
