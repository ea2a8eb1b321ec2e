"""The MALIS loss: against loops over all paths on tiny graphs, its gradient, and cases that are known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from pixel_embedded_affinity.training.data.augment import MEMBRANE, OUTSIDE
from pixel_embedded_affinity.training.losses.malis import malis_loss, malis_weights

PLANE = ((-1, 0), (0, -1))
VOLUME = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))


def case(shape, *, seed=0, ties=False, objects=3):
    source = np.random.default_rng(seed)
    affinities = source.random((len(shape), *shape))
    if ties:
        affinities = np.round(affinities * 3) / 3
    # Labels in blocks, so that objects have several voxels.
    labels = source.integers(-2, objects + 1, [-(-length // 2) for length in shape])
    for axis in range(len(shape)):
        labels = labels.repeat(2, axis)
    return affinities, labels[tuple(map(slice, shape))].astype(np.int32)


def edges_of(affinities, labels, offsets):
    """Every edge: affinity, its index, and the two voxels."""
    for (channel, offset), place in itertools.product(enumerate(offsets), np.ndindex(labels.shape)):
        there = tuple(a + b for a, b in zip(place, offset))
        if all(0 <= a < n for a, n in zip(there, labels.shape)):
            yield affinities[(channel, *place)], (channel, *place), place, there


def maximin(edges, labels):
    """For each two voxels, the edge that decides: components are merged edge by edge, the strongest first."""
    component, deciding = {place: {place} for place in np.ndindex(labels.shape)}, {}
    for _, index, one, other in sorted(edges, key=lambda edge: -edge[0]):
        first, second = component[one], component[other]
        if first is not second:
            for pair in itertools.product(first, second):
                deciding[frozenset(pair)] = index
            first |= second
            for place in second:
                component[place] = first
    return deciding


def counts_by_loops(affinities, labels, offsets):
    """The definition: both constrained passes, every pair of voxels on its own."""
    edges = list(edges_of(affinities, labels, offsets))
    within = [labels[one] == labels[other] and labels[one] > 0 for *_, one, other in edges]
    own = maximin([edge for edge, inside in zip(edges, within) if inside], labels)
    joined = maximin([(2.0 if i else e[0], *e[1:]) for e, i in zip(edges, within)], labels)
    pull, push = np.zeros((2, *affinities.shape))
    for one, other in itertools.combinations(list(np.ndindex(labels.shape)), 2):
        pair = frozenset((one, other))
        if labels[one] == labels[other] > 0 and pair in own:
            pull[own[pair]] += 1
        if labels[one] > 0 and labels[other] > 0 and labels[one] != labels[other]:
            push[joined[pair]] += 1
    return pull, push


@pytest.mark.parametrize(
    ("shape", "offsets"), [((1, 1), PLANE), ((4, 5), PLANE), ((6, 5), PLANE), ((3, 4, 3), VOLUME)]
)
@pytest.mark.parametrize("seed", range(8))
def test_each_edge_counts_the_pairs_that_it_decides(shape, offsets, seed):
    affinities, labels = case(shape, seed=seed)
    found = malis_weights(affinities, labels, offsets)
    for one, other in zip(found, counts_by_loops(affinities, labels, offsets), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("seed", range(4))
def test_of_equal_edges_any_may_decide_so_the_pairs_at_each_affinity_count(seed):
    affinities, labels = case((5, 5), seed=seed, ties=True)
    found = malis_weights(affinities, labels, PLANE)
    for one, other in zip(found, counts_by_loops(affinities, labels, PLANE), strict=True):
        for value in np.unique(affinities):
            assert one[affinities == value].sum() == other[affinities == value].sum()


def test_edges_longer_than_a_voxel_are_edges_too():
    offsets = (*PLANE, (-2, 1))
    affinities, labels = case((5, 4), seed=3)
    affinities = np.concatenate((affinities, np.random.default_rng(4).random((1, 5, 4))))
    found = malis_weights(affinities, labels, offsets)
    for one, other in zip(found, counts_by_loops(affinities, labels, offsets), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_that_of_small_steps(seed):
    affinities, labels = case((3, 4, 3), seed=seed)
    logits = torch.from_numpy(np.log(affinities / (1 - affinities)))[None].requires_grad_()
    truth = torch.from_numpy(labels)[None]
    # Steps of 1e-6 do not change the order of the edges.
    assert torch.autograd.gradcheck(lambda values: malis_loss(values, truth, VOLUME), logits, atol=1e-6)


def test_the_loss_is_the_mean_cost_of_the_pairs_of_each_pass():
    labels = torch.tensor([[[1, 1, 2]]], dtype=torch.int32)
    logits = torch.zeros(1, 3, 1, 3)
    logits[0, 1, 0, 1:] = torch.tensor([math.log(3), math.log(1 / 4)])  # 0.75 within 1, 0.2 from 1 to 2
    logits[0, 2] = 50  # a channel beyond the offsets
    assert float(malis_loss(logits, labels, PLANE)) == pytest.approx(0.25**2 + 0.2**2)
    together = malis_loss(logits.repeat(2, 1, 1, 1), labels.repeat(2, 1, 1), PLANE)
    assert float(together) == pytest.approx(0.25**2 + 0.2**2)


def test_a_voxel_of_no_object_connects_and_is_in_no_pair():
    labels = torch.tensor([[[1, MEMBRANE, 2, OUTSIDE]]], dtype=torch.int32)
    logits = torch.zeros(1, 2, 1, 4, requires_grad=True)
    with torch.no_grad():
        logits[0, 1, 0, 1:] = torch.tensor([2.0, -1.0, 5.0])
    malis_loss(logits, labels, PLANE).backward()
    # Only the weaker of the two edges between the objects has a gradient.
    assert (logits.grad != 0).nonzero().tolist() == [[0, 1, 0, 2]]


@pytest.mark.parametrize("label", [0, 5])
def test_without_two_objects_or_without_any_there_is_still_a_loss_to_differentiate(label):
    labels = torch.full((1, 3, 3), label, dtype=torch.int32)
    logits = torch.zeros(1, 2, 3, 3, requires_grad=True)
    loss = malis_loss(logits, labels, PLANE)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.25 if label else 0.0)
    assert torch.isfinite(logits.grad).all()


def test_half_precision_is_widened():
    affinities, labels = case((6, 6))
    logits, truth = torch.from_numpy(affinities)[None].bfloat16(), torch.from_numpy(labels)[None]
    loss = malis_loss(logits, truth, PLANE)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, malis_loss(logits.float(), truth, PLANE))
