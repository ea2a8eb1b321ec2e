"""Batches: a function of the seed and the step, whatever was drawn before or is drawn at the same time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pixel_embedded_affinity.training.data.augment import OUTSIDE
from pixel_embedded_affinity.training.data.batches import BatchSource, view_generator
from pixel_embedded_affinity.training.data.weights import object_areas, pixel_weights
from pixel_embedded_affinity.training.recipe import LossSettings


def same(first, second):
    if (first.weights is None) != (second.weights is None):
        return False
    pairs = zip(
        (first.images, first.labels, first.weights),
        (second.images, second.labels, second.weights),
        strict=True,
    )
    return all(a is b is None or torch.equal(a, b) for a, b in pairs)


def test_a_batch_has_the_recipes_shape(recipe, examples):
    batch = BatchSource(recipe, examples).draw(0)
    assert batch.images.shape == (2, 1, 32, 32)
    assert batch.labels.shape == (2, 32, 32)
    assert (batch.images.dtype, batch.labels.dtype) == (torch.float32, torch.int32)
    assert batch.weights is None


def test_a_step_always_gives_the_same_batch_and_another_step_or_seed_another(recipe, examples):
    source = BatchSource(recipe, examples)
    third = source.draw(3)
    assert not same(third, source.draw(4))
    assert same(third, source.draw(3))
    assert same(third, BatchSource(recipe, examples).draw(3))
    assert not same(third, BatchSource(recipe.scheduled(seed=1), examples).draw(3))


def test_batches_drawn_ahead_are_those_drawn_one_by_one(recipe, examples):
    source = BatchSource(recipe, examples)
    ahead = list(source.drawn_ahead(2, 8))
    assert len(ahead) == 6
    assert all(same(batch, source.draw(step)) for step, batch in enumerate(ahead, start=2))
    assert list(source.drawn_ahead(5, 5)) == []


def test_an_error_while_drawing_ahead_reaches_the_caller(recipe, examples):
    broken = replace(examples[0], labels=examples[0].labels.astype(np.float32) * np.nan)
    source = BatchSource(recipe, examples)
    source._examples = [broken]
    source._augmentation = None
    with pytest.raises(AttributeError):
        next(source.drawn_ahead(0, 3))


def test_weights_come_with_the_crops_where_the_recipe_asks(recipe, examples):
    settings = LossSettings(border_weight=2.0, small_weight=4.0, small_area=100.0)
    batch = BatchSource(replace(recipe, loss=settings), examples).draw(0)
    areas = [object_areas(example.labels) for example in examples]
    assert np.array_equal(areas[0], areas[1])
    expected = [pixel_weights(labels.numpy(), areas[0], settings) for labels in batch.labels]
    assert np.array_equal(batch.weights.numpy(), np.stack(expected))
    assert same(batch, batch.to(torch.device("cpu")))


def test_crowds_have_weights_and_labels_of_both_images_and_the_step_decides(recipe, examples):
    settings = LossSettings(small_weight=4.0, small_area=100.0)
    crowding = replace(recipe, loss=settings, augmentation=replace(recipe.augmentation, crowding=1.0))
    source = BatchSource(crowding, examples[:1])
    batches = [source.draw(step) for step in range(20)]
    assert all(same(batch, source.draw(step)) for step, batch in enumerate(batches))
    areas = object_areas(examples[0].labels)
    both = np.concatenate((areas, areas[1:]))
    added = 0
    for batch in batches:
        assert batch.labels.max() < both.size
        expected = [pixel_weights(labels.numpy(), both, settings) for labels in batch.labels]
        assert np.array_equal(batch.weights.numpy(), np.stack(expected))
        added += int((batch.labels >= areas.size).any())
    assert added > 10


def test_crowding_comes_in_its_share_of_crops(recipe, examples):
    half = replace(recipe, augmentation=replace(recipe.augmentation, crowding=0.5))
    known = max(example.labels.max() for example in examples)
    source = BatchSource(half, examples)
    crops = [labels for step in range(40) for labels in source.draw(step).labels]
    share = np.mean([bool((labels > known).any()) for labels in crops])
    assert 0.2 < share < 0.6


def test_crops_are_of_the_size_at_which_the_model_sees_images(recipe, examples):
    plain = replace(recipe, augmentation=replace(recipe.augmentation, scale=(0.6, 1.2)))
    model = recipe.model.changed(scale=1.5)
    resizing = replace(plain, model=model, augmentation=replace(plain.augmentation, scale=(0.4, 0.8)))
    assert same(BatchSource(plain, examples).draw(1), BatchSource(resizing, examples).draw(1))
    other = replace(plain, model=model)
    assert not same(BatchSource(plain, examples).draw(1), BatchSource(other, examples).draw(1))


def test_every_example_is_drawn(recipe, examples):
    shades = [replace(example, image=np.full_like(example.image, i)) for i, example in enumerate(examples)]
    source = BatchSource(recipe, shades)
    means = {round(float(image.mean())) for step in range(10) for image in source.draw(step).images}
    assert means == {0, 1}
    assert OUTSIDE < 0


def test_the_chance_of_the_view_is_not_that_of_the_crops():
    first = view_generator(1, 2).random(3)
    assert np.array_equal(first, view_generator(1, 2).random(3))
    for other in (view_generator(1, 3), view_generator(2, 2), np.random.default_rng((1, 2, 0))):
        assert not np.array_equal(first, other.random(3))
