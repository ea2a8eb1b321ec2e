"""Affinities against loops over pixels, against another library, and against their own symmetries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pixel_embedded_affinity.affinity import Affinities, affinities
from pixel_embedded_affinity.clustering import get_clusterer
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.testing import neighborhoods

Array = np.ndarray[Any, np.dtype[Any]]
Scene = tuple[Array, Neighborhood]
modest = settings(max_examples=50, deadline=None)
TOLERANCE = 2e-6


@st.composite
def scenes(
    draw: st.DrawFn, dtypes: tuple[str, ...] = ("float16", "float32", "float64"), zeros: bool = True
) -> Scene:
    """A random embedding of a random dtype and a neighborhood that may reach beyond the image."""
    ndim = draw(st.integers(2, 3))
    shape = draw(st.tuples(*[st.integers(1, 7 if ndim == 2 else 4)] * ndim))
    channels = draw(st.integers(1, 5))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    embedding = generator.normal(size=(channels, *shape)) * draw(st.sampled_from([0.01, 1, 300]))
    if zeros:
        embedding[:, generator.random(shape) < 0.1] = 0
    neighborhood = draw(neighborhoods(ndim=ndim, max_range=5, max_offsets=6))
    return embedding.astype(draw(st.sampled_from(dtypes))), neighborhood


def slow_affinities(embedding: Array, neighborhood: Neighborhood) -> tuple[Array, Array]:
    """Values and valid pairs, one pixel pair after the other, in double precision."""
    shape = embedding.shape[1:]
    values = np.zeros((len(neighborhood), *shape))
    valid = np.zeros(values.shape, bool)
    for channel, offset in enumerate(neighborhood.offsets):
        for pixel in np.ndindex(shape):
            partner = tuple(p + o for p, o in zip(pixel, offset, strict=True))
            if any(p < 0 or p >= n for p, n in zip(partner, shape, strict=True)):
                continue
            valid[(channel, *pixel)] = True
            a = [float(component) for component in embedding[(slice(None), *pixel)]]
            b = [float(component) for component in embedding[(slice(None), *partner)]]
            lengths = (sum(x * x for x in a) * sum(x * x for x in b)) ** 0.5
            if lengths:
                values[(channel, *pixel)] = sum(x * y for x, y in zip(a, b, strict=True)) / lengths
    return values, valid


@modest
@given(scenes())
def test_values_and_valid_pairs_are_those_of_a_loop_over_pixels(scene: Scene) -> None:
    found = affinities(*scene)
    values, valid = slow_affinities(*scene)
    np.testing.assert_allclose(found.values, values, atol=TOLERANCE)
    np.testing.assert_array_equal(found.valid, valid)


@modest
@given(scenes())
def test_torch_gives_what_numpy_gives(scene: Scene) -> None:
    embedding, neighborhood = scene
    found = affinities(torch.from_numpy(embedding.copy()), neighborhood)
    expected = affinities(embedding, neighborhood)
    np.testing.assert_array_equal(found.values.numpy(), expected.values)
    np.testing.assert_array_equal(found.valid.numpy(), expected.valid)


@pytest.mark.parametrize("norm", ["cosine", "l2"])
@modest
@given(scene=scenes(dtypes=("float32",), zeros=False))
def test_values_are_those_of_the_distances_of_bioimage_cpp(norm: str, scene: Scene) -> None:
    from bioimage_cpp.affinities import compute_embedding_distances

    embedding, neighborhood = scene
    found = affinities(embedding, neighborhood)
    distances = compute_embedding_distances(found.embedding, list(neighborhood.offsets), norm=norm)
    # Of unit vectors, |a - b|^2 = 2 - 2 <a, b>.
    expected = 1 - distances if norm == "cosine" else 1 - distances**2 / 2
    np.testing.assert_allclose(found.values[found.valid], expected[found.valid], atol=2e-6)


@modest
@given(scenes())
def test_a_pair_seen_from_its_other_end_is_the_same(scene: Scene) -> None:
    embedding, neighborhood = scene
    opposite = Neighborhood(tuple(tuple(-o for o in offset) for offset in neighborhood.offsets))
    there, back = affinities(embedding, neighborhood), affinities(embedding, opposite)
    for channel, offset in enumerate(neighborhood.offsets):
        pixels = np.argwhere(there.valid[channel])
        here, partner = tuple(pixels.T), tuple((pixels + offset).T)
        np.testing.assert_allclose(there.values[channel][here], back.values[channel][partner], atol=1e-6)
        assert there.valid[channel].sum() == back.valid[channel].sum() == back.valid[channel][partner].sum()


@modest
@given(scene=scenes(dtypes=("float64",)), seed=st.integers(0, 2**32 - 1))
def test_a_rotation_of_the_embedding_space_changes_nothing(scene: Scene, seed: int) -> None:
    embedding, neighborhood = scene
    size = len(embedding)
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]
    rotated = np.tensordot(rotation, embedding, axes=1)
    expected = affinities(embedding, neighborhood).values
    np.testing.assert_allclose(affinities(rotated, neighborhood).values, expected, atol=TOLERANCE)


@modest
@given(scene=scenes(dtypes=("float32", "float64")), seed=st.integers(0, 2**32 - 1))
def test_the_lengths_of_the_vectors_do_not_matter(scene: Scene, seed: int) -> None:
    embedding, neighborhood = scene
    lengths = np.exp(np.random.default_rng(seed).uniform(-20, 20, embedding.shape[1:]))
    scaled = (embedding * lengths).astype(embedding.dtype)
    expected = affinities(embedding, neighborhood).values
    np.testing.assert_allclose(affinities(scaled, neighborhood).values, expected, atol=TOLERANCE)


@modest
@given(scenes(), st.data())
def test_each_channel_depends_on_its_own_offset_only(scene: Scene, data: st.DataObject) -> None:
    embedding, neighborhood = scene
    channel = data.draw(st.integers(0, len(neighborhood) - 1))
    alone = affinities(embedding, Neighborhood((neighborhood.offsets[channel],)))
    np.testing.assert_array_equal(alone.values[0], affinities(embedding, neighborhood).values[channel])


@modest
@given(scenes(), st.data())
def test_a_part_of_the_image_has_the_values_of_the_whole(scene: Scene, data: st.DataObject) -> None:
    embedding, neighborhood = scene
    length = embedding.shape[1]
    assume(length > 1)
    start = data.draw(st.integers(0, length - 1))
    whole, part = affinities(embedding, neighborhood), affinities(embedding[:, start:], neighborhood)
    inside = part.valid
    np.testing.assert_allclose(part.values[inside], whole.values[:, start:][inside], atol=1e-6)


def in_memory_order(embedding: Array, channels_last: bool) -> Array:
    """The unit embedding, its channels first or last in memory."""
    unit = np.asarray(affinities(embedding, Neighborhood(((1,) + (0,) * (embedding.ndim - 2),))).embedding)
    return np.moveaxis(np.moveaxis(unit, 0, -1).copy(), -1, 0) if channels_last else unit


@modest
@given(scenes(), st.booleans(), st.data())
def test_a_part_of_a_channel_has_the_bits_of_the_whole(
    scene: Scene, channels_last: bool, data: st.DataObject
) -> None:
    embedding, neighborhood = scene
    unit = in_memory_order(embedding, channels_last)
    whole = Affinities(None, neighborhood, unit).values
    for channel in range(len(neighborhood)):
        where = tuple(
            slice(
                data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, n)), data.draw(st.integers(1, 4))
            )
            for n in unit.shape[1:]
        )
        part = Affinities(None, neighborhood, unit).channel(channel, where)
        np.testing.assert_array_equal(part, whole[channel][where])


@modest
@given(scenes(), st.booleans(), st.sampled_from([0.05, 0.5, 1]), st.integers(0, 2**32 - 1))
def test_pairs_are_those_of_a_loop_over_pixels_and_have_the_bits_of_the_values(
    scene: Scene, channels_last: bool, share: float, seed: int
) -> None:
    embedding, neighborhood = scene
    unit = in_memory_order(embedding, channels_last)
    foreground = np.random.default_rng(seed).random(unit.shape[1:]) < share
    values = Affinities(None, neighborhood, unit).values
    number = np.arange(foreground.size).reshape(foreground.shape)
    for channel, offset in enumerate(neighborhood.offsets):
        expected = []
        for pixel in np.ndindex(foreground.shape):
            partner = tuple(p + o for p, o in zip(pixel, offset, strict=True))
            inside = all(0 <= p < n for p, n in zip(partner, foreground.shape, strict=True))
            on_grid = not any(p % s for p, s in zip(pixel, neighborhood.strides, strict=True))
            used = neighborhood.attractive[channel] or on_grid
            if inside and used and foreground[pixel] and foreground[partner]:
                expected.append((number[pixel], number[partner], values[(channel, *pixel)]))
        for origin in (Affinities(None, neighborhood, unit), Affinities(values, neighborhood)):
            found = origin.pairs(channel, foreground)
            assert list(zip(*found, strict=True)) == expected
        if share == 1:
            for given, column in zip(Affinities(None, neighborhood, unit).pairs(channel), found, strict=True):
                np.testing.assert_array_equal(given, column)


@pytest.mark.parametrize(
    "name", ["mutex_watershed", "connected_components", "lifted_multicut", "agglomeration"]
)
@settings(max_examples=30, deadline=None)
@given(
    scene=scenes(dtypes=("float32",)),
    channels_last=st.booleans(),
    share=st.sampled_from([None, 0.2, 0.8]),
    seed=st.integers(0, 2**32 - 1),
)
def test_labels_are_those_of_all_values(
    name: str, scene: Scene, channels_last: bool, share: float | None, seed: int
) -> None:
    embedding, neighborhood = scene
    unit = in_memory_order(embedding, channels_last)
    foreground = None if share is None else np.random.default_rng(seed).random(unit.shape[1:]) < share
    on_demand = Affinities(None, neighborhood, unit)
    dense = Affinities(Affinities(None, neighborhood, unit).values, neighborhood)
    clusterer = get_clusterer(name)
    labels = clusterer(on_demand, foreground=foreground)
    np.testing.assert_array_equal(labels, clusterer(dense, foreground=foreground))


@modest
@given(scenes())
def test_the_way_of_other_devices_gives_the_values_of_main_memory(scene: Scene) -> None:
    from pixel_embedded_affinity import affinity

    embedding, neighborhood = scene
    found = affinities(embedding, neighborhood)
    unit = torch.from_numpy(np.asarray(found.embedding))
    values = affinity._all_products(unit, neighborhood)
    np.testing.assert_allclose(values.numpy(), found.values, atol=1e-6)
    for channel in range(len(neighborhood)):
        pairs = found.pairs(channel)
        on_device = affinity._products_of_pairs(unit, pairs.first, pairs.second)
        np.testing.assert_allclose(on_device, pairs.affinity, atol=1e-6)
