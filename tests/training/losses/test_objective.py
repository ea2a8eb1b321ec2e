"""The objective: each module is the loss that it says, and can be switched off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.network.build import build_network
from pixel_embedded_affinity.training.data.batches import BatchSource
from pixel_embedded_affinity.training.data.second_view import ViewSettings
from pixel_embedded_affinity.training.losses.affinity import (
    affinity_target,
    foreground_loss,
    plain_affinity_loss,
    unit,
)
from pixel_embedded_affinity.training.losses.direct_affinity import direct_affinity_loss
from pixel_embedded_affinity.training.losses.discriminative import discriminative_loss
from pixel_embedded_affinity.training.losses.malis import malis_loss
from pixel_embedded_affinity.training.losses.objective import Objective
from pixel_embedded_affinity.training.studies.variants import variants_of

UNCHANGED = ViewSettings(flips=False, transposition=False, intensity=False, cutout=False)


def seeded(config):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_network(config)


@pytest.fixture
def network(recipe):
    return seeded(recipe.model.network).eval()


@pytest.fixture
def batch(recipe, examples):
    return BatchSource(recipe, examples).draw(0)


def losses_of(recipe, network, batch):
    """Return the losses in single precision, which the tests compare with closely, on every machine."""
    return Objective(recipe, precision="float32")(network, batch, np.random.default_rng(0)).named()


def changed(recipe, **loss):
    return replace(recipe, loss=replace(recipe.loss, **loss))


def test_the_parts_are_those_of_their_definitions(recipe, network, batch):
    losses = losses_of(recipe, network, batch)
    output = network(batch.images, pyramid=True)
    embedding = unit(output.embedding)
    offsets = recipe.neighborhood.offsets()
    targets = [affinity_target(batch.labels, offset) for offset in offsets]
    expected, _ = plain_affinity_loss(embedding, [embedding], offsets, targets)
    assert losses["self_correlation"] == pytest.approx(float(expected.detach()), rel=1e-4)
    pyramid = 0.0
    for count, (coarse, step) in enumerate(zip(output.pyramid, (16, 8, 4, 2), strict=True), start=1):
        small = batch.labels[:, ::step, ::step]
        some = recipe.neighborhood.offsets(count)
        vectors = unit(coarse)
        targets = [affinity_target(small, offset) for offset in some]
        pyramid += float(plain_affinity_loss(vectors, [vectors], some, targets)[0].detach())
    assert losses["pyramid"] == pytest.approx(pyramid, rel=1e-4)
    parts = [losses[name] for name in ("self_correlation", "cross_correlation", "pyramid", "foreground")]
    assert losses["total"] == pytest.approx(sum(parts))
    assert all(part > 0 for part in parts)


def test_with_an_unchanged_view_both_correlations_and_both_foregrounds_agree(recipe, network, batch):
    losses = losses_of(replace(recipe, view=UNCHANGED), network, batch)
    assert losses["cross_correlation"] == pytest.approx(losses["self_correlation"], rel=1e-4)
    logits = network(batch.images).foreground
    expected = float(foreground_loss(logits, batch.labels, 1.0).detach())
    assert losses["foreground"] == pytest.approx(expected, rel=1e-4)


def test_a_flipped_view_alone_changes_little_of_a_network_of_1x1_reach(recipe, batch):
    class Pointwise(torch.nn.Module):
        stride = (1, 1)

        def forward(self, images, pyramid=False):
            from pixel_embedded_affinity.network.base import NetworkOutput

            return NetworkOutput(torch.cat((images, 1 - images), 1), images, ())

    flipped = replace(changed(recipe, pyramid=False), view=replace(UNCHANGED, flips=True, transposition=True))
    losses = losses_of(flipped, Pointwise(), batch)
    assert losses["cross_correlation"] == pytest.approx(losses["self_correlation"], rel=1e-5)


@pytest.mark.parametrize(
    ("switch", "name"),
    [("cross_correlation", "cross_correlation"), ("pyramid", "pyramid"), ("foreground", "foreground")],
)
def test_a_module_that_is_off_is_zero_and_leaves_the_others(recipe, network, batch, switch, name):
    full, without = (
        losses_of(r, network, batch)
        for r in (recipe, changed(recipe, **{switch: 0.0 if switch == "foreground" else False}))
    )
    assert full[name] > 0
    assert without[name] == 0
    assert without["self_correlation"] == pytest.approx(full["self_correlation"], rel=1e-4)


def test_without_the_self_correlation_the_cross_correlation_is_as_it_was(recipe, network, batch):
    full, without = (losses_of(r, network, batch) for r in (recipe, changed(recipe, self_correlation=False)))
    assert full["self_correlation"] > 0
    assert without["self_correlation"] == 0
    assert without["cross_correlation"] == pytest.approx(full["cross_correlation"], rel=1e-4)
    assert without["total"] == pytest.approx(full["total"] - full["self_correlation"], rel=1e-4)


def test_weights_of_the_foreground_count(recipe, network, batch):
    once, twice, weighted = (
        losses_of(changed(recipe, **settings), network, batch)["foreground"]
        for settings in ({}, {"foreground": 2.0}, {"foreground_weight": 5.0})
    )
    assert twice == pytest.approx(2 * once, rel=1e-5)
    assert weighted > once


def test_pixel_weights_count_at_full_resolution_only(recipe, network, batch):
    weighted = replace(batch, weights=torch.full(batch.labels.shape, 3.0))
    plain, changed_ = (losses_of(recipe, network, b) for b in (batch, weighted))
    for name in ("self_correlation", "cross_correlation"):
        assert changed_[name] == pytest.approx(3 * plain[name], rel=1e-4)
    assert changed_["pyramid"] == pytest.approx(plain["pyramid"], rel=1e-5)


def test_the_fused_and_the_plain_loss_train_the_network_alike(recipe, network, batch):
    gradients = []
    for kwargs in ({}, {"affinity_loss": plain_affinity_loss}):
        network.zero_grad()
        # In bfloat16, which a device may have natively, the two differ by its rounding.
        objective = Objective(recipe, precision="float32", **kwargs)
        objective(network, batch, np.random.default_rng(0)).total.backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in network.parameters()]))
    fused, plain = gradients
    assert float((fused - plain).norm()) < 1e-5 * float(plain.norm())


@pytest.mark.parametrize("weighted", [False, True])
def test_an_embedding_at_every_second_pixel_learns_from_one_pixel_of_each_position(recipe, batch, weighted):
    coarse = replace(recipe.model.network, architecture="half_unet", options={})
    recipe = replace(recipe, model=replace(recipe.model, network=coarse))
    recipe = changed(recipe, cross_correlation=False, pyramid=False)
    weights = torch.rand(batch.labels.shape, generator=torch.Generator().manual_seed(0)) + 0.5
    batch = replace(batch, weights=weights if weighted else None)
    network = seeded(coarse).eval()
    embedding = unit(network(batch.images).embedding)
    offsets = recipe.neighborhood.offsets()

    def expected(row, column):
        labels = batch.labels[:, row::2, column::2]
        some = None if batch.weights is None else batch.weights[:, row::2, column::2]
        targets = [affinity_target(labels, offset, some) for offset in offsets]
        return float(plain_affinity_loss(embedding, [embedding], offsets, targets)[0].detach())

    possible = {expected(row, column) for row in (0, 1) for column in (0, 1)}
    assert len(possible) == 4
    objective = Objective(recipe, precision="float32")
    drawn = [
        objective(network, batch, np.random.default_rng(seed)).named()["self_correlation"]
        for seed in range(20)
    ]
    nearest = [min(possible, key=lambda value: abs(value - one)) for one in drawn]
    assert drawn == pytest.approx(nearest, rel=1e-4)
    assert set(nearest) == possible


def test_a_network_without_the_head_cannot_train_a_foreground(recipe, batch):
    headless = seeded(replace(recipe.model.network, foreground_head=False))
    with pytest.raises(InputError, match="no foreground head"):
        losses_of(recipe, headless, batch)


def test_a_baseline_that_predicts_affinities_does_so_at_every_scale(recipe, batch):
    direct = variants_of("baselines", recipe)[1].recipe
    network = seeded(direct.model.network).eval()
    losses = losses_of(direct, network, batch)
    output = network(batch.images, pyramid=True)
    scales = [(output.embedding, 1, 2), *zip(output.pyramid, (16, 8, 4, 2), (1, 2, 3, 4), strict=True)]
    expected = []
    for logits, step, count in scales:
        offsets = direct.neighborhood.offsets(count)
        targets = [affinity_target(batch.labels[:, ::step, ::step], offset) for offset in offsets]
        expected.append(float(direct_affinity_loss(logits, offsets, targets).detach()))
    assert losses["self_correlation"] == pytest.approx(expected[0], rel=1e-4)
    assert losses["pyramid"] == pytest.approx(sum(expected[1:]), rel=1e-4)
    assert losses["cross_correlation"] == 0
    parts = sum(losses[name] for name in ("self_correlation", "pyramid", "foreground"))
    assert losses["total"] == pytest.approx(parts)


def test_a_baseline_of_embeddings_around_means_has_its_loss_and_the_foreground(recipe, network, batch):
    metric = variants_of("baselines", recipe)[0].recipe
    losses = losses_of(metric, network, batch)
    expected = float(discriminative_loss(network(batch.images).embedding, batch.labels).detach())
    assert losses["self_correlation"] == pytest.approx(expected, rel=1e-4)
    assert losses["foreground"] > 0
    assert losses["total"] == pytest.approx(losses["self_correlation"] + losses["foreground"])
    assert (losses["cross_correlation"], losses["pyramid"]) == (0, 0)


def of_neighbors(recipe):
    """The recipe with a network that predicts the affinities of direct neighbors, trained by MALIS."""
    model = recipe.model.changed(network=replace(recipe.model.network, embedding_channels=2))
    paired = replace(recipe, model=model, neighborhood=recipe.neighborhood.nearest())
    return changed(paired, kind="malis", cross_correlation=False, pyramid=False)


def test_malis_is_the_loss_of_predicted_neighbors(recipe, batch):
    plan = of_neighbors(recipe)
    network = seeded(plan.model.network).eval()
    losses = losses_of(plan, network, batch)
    expected = malis_loss(network(batch.images).embedding, batch.labels, ((-1, 0), (0, -1)))
    assert losses["self_correlation"] == pytest.approx(float(expected.detach()), rel=1e-4)
    assert losses["total"] == pytest.approx(losses["self_correlation"] + losses["foreground"])


@pytest.mark.parametrize("kind", ["discriminative", "direct_affinity", "malis"])
def test_a_baseline_learns(recipe, batch, kind):
    made = {variant.recipe.loss.kind: variant.recipe for variant in variants_of("baselines", recipe)}
    baseline = made.get(kind) or of_neighbors(recipe)
    assert baseline.loss.kind == kind
    torch.manual_seed(0)
    network = seeded(baseline.model.network).train()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    totals = []
    for _ in range(12):
        optimizer.zero_grad()
        total = Objective(baseline)(network, batch, np.random.default_rng(0)).total
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.8 * totals[0]
