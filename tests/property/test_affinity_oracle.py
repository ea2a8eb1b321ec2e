"""Affinities against loops over pixels, against another library, and against their own symmetries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pixel_embedded_affinity.affinity import affinities
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
