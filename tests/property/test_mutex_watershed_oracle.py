"""Mutex watershed against a brute force that takes one edge after the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixel_embedded_affinity.affinity import Affinities
from pixel_embedded_affinity.clustering import MutexWatershed
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.runtime.device import cpu_threads
from pixel_embedded_affinity.testing import neighborhoods


def calm_of(values, neighborhood, foreground, power):
    """Mean attraction of each pixel to the pixels that attract it, to a power; 1 where there is none."""
    shape, calm = values.shape[1:], np.ones(values.shape[1:], np.float32)
    for pixel in np.ndindex(shape):
        found = []
        for channel, offset in enumerate(neighborhood.offsets):
            for sign in (1, -1) if neighborhood.attractive[channel] else ():
                partner = tuple(p + sign * o for p, o in zip(pixel, offset, strict=True))
                if all(0 <= p < n for p, n in zip(partner, shape, strict=True)):
                    start = pixel if sign == 1 else partner
                    if foreground[pixel] and foreground[partner]:
                        found.append(max(values[(channel, *start)], np.float32(0)))
        if found:
            calm[pixel] = (sum(found, np.float32(0)) / np.float32(len(found))) ** np.float32(power)
    return calm


def edges_of(values, neighborhood, foreground, repulsion, agreement=0.0):
    """All edges as (weight, attractive, channel, pixel, partner)."""
    shape, calm = values.shape[1:], calm_of(values, neighborhood, foreground, agreement)
    for channel, offset in enumerate(neighborhood.offsets):
        attractive = neighborhood.attractive[channel]
        for pixel in np.ndindex(shape):
            partner = tuple(p + o for p, o in zip(pixel, offset, strict=True))
            if not all(0 <= p < n for p, n in zip(partner, shape, strict=True)):
                continue
            if not (foreground[pixel] and foreground[partner]):
                continue
            if not attractive and any(p % s for p, s in zip(pixel, neighborhood.strides, strict=True)):
                continue
            similarity = max(values[(channel, *pixel)], np.float32(0))
            weight = similarity
            if not attractive:
                weight = np.float32(repulsion) * (1 - similarity) * (calm[pixel] * calm[partner])
            yield weight, attractive, channel, pixel, partner


def brute_force(values, neighborhood, foreground, seeds=None, repulsion=1.0, apart=None, agreement=0.0):
    """Labels by mutex watershed, as slowly and plainly as can be."""
    seeds = np.zeros(foreground.shape, int) if seeds is None else seeds
    edges = list(edges_of(values, neighborhood, foreground, repulsion, agreement))
    # Strongest first; of equal ones attractive before repulsive, then by channel, then by pixel in C order.
    edges.sort(key=lambda edge: (-edge[0], not edge[1], edge[2], edge[3]))
    cluster_of = {pixel: {pixel} for pixel in np.ndindex(foreground.shape) if foreground[pixel]}
    seeded = [pixel for pixel in cluster_of if seeds[pixel]]
    for pixel in seeded:
        members = {other for other in seeded if seeds[other] == seeds[pixel]}
        cluster_of |= dict.fromkeys(members, members)
    exclusive = [
        (a, b)
        for a in seeded
        for b in seeded
        if seeds[a] != seeds[b] and (apart is None or {seeds[a], seeds[b]} in apart)
    ]
    for _, attractive, _, pixel, partner in edges:
        one, other = cluster_of[pixel], cluster_of[partner]
        if one is other:
            continue
        if not attractive:
            exclusive.append((pixel, partner))
            continue
        if any({id(cluster_of[a]), id(cluster_of[b])} == {id(one), id(other)} for a, b in exclusive):
            continue
        one |= other
        for member in other:
            cluster_of[member] = one
    labels = np.zeros(foreground.shape, np.int32)
    for pixel in np.ndindex(foreground.shape):
        if foreground[pixel] and not labels[pixel]:
            number = labels.max() + 1
            for member in cluster_of[pixel]:
                labels[member] = number
    return labels


def distinct_values(shape, generator):
    """Random affinities whose edges all have distinct weights, with each of the `repulsions`."""
    count = int(np.prod(shape))
    return ((generator.permutation(count) + 1 / 3) / (count + 1)).reshape(shape).astype(np.float32)


def tied_values(shape, generator):
    """Random affinities of few values, negative ones among them."""
    return generator.choice(np.array([-1, -0.5, 0, 0.25, 0.5, 0.75, 1], np.float32), size=shape)


def random_foreground(shape, share, generator):
    return generator.random(shape) < share


def assert_equals_brute_force(neighborhood, shape, draw_values, share, seed, repulsion=1.0):
    generator = np.random.default_rng(seed)
    values = draw_values((len(neighborhood), *shape), generator)
    foreground = random_foreground(shape, share, generator)
    expected = brute_force(values, neighborhood, foreground, repulsion=repulsion)
    clusterer = MutexWatershed(repulsion=repulsion)
    labels = clusterer(Affinities(values, neighborhood), foreground=foreground)
    np.testing.assert_array_equal(labels, expected)
    if share == 1:
        np.testing.assert_array_equal(clusterer(Affinities(values, neighborhood)), expected)


def random_seeds(foreground, share, generator):
    """Up to four seeds, numbered with gaps, some of many pixels that do not touch."""
    numbers = generator.choice([3, 7, 8, 100], foreground.shape)
    return np.where(foreground & (generator.random(foreground.shape) < share), numbers, 0)


repulsions = st.sampled_from([1.0, 0.7, 1.3])
shares = st.sampled_from([1, 0.9, 0.6, 0.2])
seeds = st.integers(0, 2**32 - 1)
planes = st.tuples(st.integers(1, 8), st.integers(1, 8))
volumes = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))


@pytest.mark.parametrize("draw_values", [distinct_values, tied_values])
@settings(max_examples=100, deadline=None)
@given(neighborhood=neighborhoods(ndim=2), shape=planes, share=shares, seed=seeds)
def test_planes_equal_the_brute_force(draw_values, neighborhood, shape, share, seed):
    assert_equals_brute_force(neighborhood, shape, draw_values, share, seed)


@pytest.mark.parametrize("draw_values", [distinct_values, tied_values])
@settings(max_examples=60, deadline=None)
@given(neighborhood=neighborhoods(ndim=3, max_range=2), shape=volumes, share=shares, seed=seeds)
def test_volumes_equal_the_brute_force(draw_values, neighborhood, shape, share, seed):
    assert_equals_brute_force(neighborhood, shape, draw_values, share, seed)


@settings(max_examples=60, deadline=None)
@given(shape=st.tuples(st.integers(4, 8), st.integers(4, 8)), share=shares, seed=seeds)
def test_ranges_of_the_method_equal_the_brute_force(shape, share, seed):
    neighborhood = Neighborhood.from_ranges([1, 2, 3, 5], 8, strides=(2, 3))
    assert_equals_brute_force(neighborhood, shape, distinct_values, share, seed)


@pytest.mark.parametrize("draw_values", [distinct_values, tied_values])
@settings(max_examples=60, deadline=None)
@given(neighborhood=neighborhoods(ndim=2), shape=planes, share=shares, repulsion=repulsions, seed=seeds)
def test_any_repulsion_equals_the_brute_force(draw_values, neighborhood, shape, share, repulsion, seed):
    assert_equals_brute_force(neighborhood, shape, draw_values, share, seed, repulsion)


@pytest.mark.parametrize("draw_values", [distinct_values, tied_values])
@settings(max_examples=100, deadline=None)
@given(
    neighborhood=st.one_of(neighborhoods(ndim=2), neighborhoods(ndim=3, max_range=2)),
    share=st.sampled_from([0.6, 0.4, 0.2]),
    threads=st.integers(1, 4),
    seed=seeds,
)
def test_parts_on_several_threads_equal_the_brute_force(draw_values, neighborhood, share, threads, seed):
    shape = (7, 8) if neighborhood.ndim == 2 else (3, 4, 5)
    with cpu_threads(threads):
        assert_equals_brute_force(neighborhood, shape, draw_values, share, seed)


@settings(max_examples=100, deadline=None)
@given(
    neighborhood=st.one_of(neighborhoods(ndim=2), neighborhoods(ndim=3, max_range=2)),
    share=shares,
    seeded=st.sampled_from([0, 0.2]),
    agreement=st.sampled_from([1.0, 2.0]),
    threads=st.integers(1, 2),
    seed=seeds,
)
def test_any_agreement_equals_the_brute_force(neighborhood, share, seeded, agreement, threads, seed):
    generator = np.random.default_rng(seed)
    shape = (6, 7) if neighborhood.ndim == 2 else (3, 4, 4)
    values = distinct_values((len(neighborhood), *shape), generator)
    foreground = random_foreground(shape, share, generator)
    known = random_seeds(foreground, seeded, generator) if seeded else None
    clusterer = MutexWatershed(repulsion=0.7, agreement=agreement)
    with cpu_threads(threads):
        labels = clusterer(Affinities(values, neighborhood), foreground=foreground, seeds=known)
    expected = brute_force(values, neighborhood, foreground, known, 0.7, agreement=agreement)
    np.testing.assert_array_equal(labels, expected)


@settings(max_examples=60, deadline=None)
@given(
    neighborhood=neighborhoods(ndim=2, max_stride=4),
    shape=planes,
    before=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    seed=seeds,
)
def test_a_foreground_far_from_the_origin_equals_the_brute_force(neighborhood, shape, before, seed):
    generator = np.random.default_rng(seed)
    padding = [(margin, 2) for margin in before]
    foreground = np.pad(random_foreground(shape, 0.8, generator), padding)
    values = distinct_values((len(neighborhood), *foreground.shape), generator)
    labels = MutexWatershed()(Affinities(values, neighborhood), foreground=foreground)
    np.testing.assert_array_equal(labels, brute_force(values, neighborhood, foreground))


@pytest.mark.parametrize("draw_values", [distinct_values, tied_values])
@settings(max_examples=60, deadline=None)
@given(
    neighborhood=st.one_of(neighborhoods(ndim=2), neighborhoods(ndim=3, max_range=2)),
    share=shares,
    seeded=st.sampled_from([0, 0.1, 0.4]),
    repulsion=repulsions,
    seed=seeds,
)
def test_seeds_equal_the_brute_force(draw_values, neighborhood, share, seeded, repulsion, seed):
    generator = np.random.default_rng(seed)
    shape = tuple(generator.integers(1, 9 - 2 * (neighborhood.ndim - 2) * 2, neighborhood.ndim).tolist())
    values = draw_values((len(neighborhood), *shape), generator)
    foreground = random_foreground(shape, share, generator)
    known = random_seeds(foreground, seeded, generator)
    clusterer = MutexWatershed(repulsion=repulsion)
    labels = clusterer(Affinities(values, neighborhood), foreground=foreground, seeds=known)
    np.testing.assert_array_equal(labels, brute_force(values, neighborhood, foreground, known, repulsion))
    for number in np.unique(known[known > 0]):
        assert len(np.unique(labels[known == number])) == 1
    assert len(np.unique(labels[known > 0])) == len(np.unique(known[known > 0]))


@pytest.mark.parametrize("draw_values", [distinct_values, tied_values])
@settings(max_examples=60, deadline=None)
@given(
    neighborhood=st.one_of(neighborhoods(ndim=2), neighborhoods(ndim=3, max_range=2)),
    share=shares,
    seeded=st.sampled_from([0.1, 0.4]),
    pairs=st.lists(st.sampled_from([(3, 7), (8, 3), (100, 7), (8, 100)]), max_size=3),
    seed=seeds,
)
def test_seeds_of_which_only_some_are_apart_equal_the_brute_force(
    draw_values, neighborhood, share, seeded, pairs, seed
):
    generator = np.random.default_rng(seed)
    shape = tuple(generator.integers(1, 9 - 2 * (neighborhood.ndim - 2) * 2, neighborhood.ndim).tolist())
    values = draw_values((len(neighborhood), *shape), generator)
    foreground = random_foreground(shape, share, generator)
    known = random_seeds(foreground, seeded, generator)
    pairs = [pair for pair in pairs if np.isin(pair, known).all()]
    apart = np.array(pairs, np.intp).reshape(-1, 2)
    labels = MutexWatershed()(
        Affinities(values, neighborhood), foreground=foreground, seeds=known, apart=apart
    )
    expected = brute_force(values, neighborhood, foreground, known, apart=[set(pair) for pair in pairs])
    np.testing.assert_array_equal(labels, expected)


@settings(max_examples=80, deadline=None)
@given(
    neighborhood=st.one_of(neighborhoods(ndim=2), neighborhoods(ndim=3, max_range=2)),
    share=shares,
    seeded=st.sampled_from([0, 0.1, 0.4]),
    repulsion=repulsions,
    agreement=st.sampled_from([0.0, 1.0]),
    seed=seeds,
)
def test_both_engines_give_the_same_partition_of_distinct_weights(
    neighborhood, share, seeded, repulsion, agreement, seed
):
    pytest.importorskip("mwatershed")
    generator = np.random.default_rng(seed)
    shape = tuple(generator.integers(1, 9 - 2 * (neighborhood.ndim - 2) * 2, neighborhood.ndim).tolist())
    given = Affinities(distinct_values((len(neighborhood), *shape), generator), neighborhood)
    foreground = random_foreground(shape, share, generator)
    known = random_seeds(foreground, seeded, generator) if seeded else None
    both = [MutexWatershed(engine, repulsion, agreement) for engine in ("mwatershed", "bioimage_cpp")]
    np.testing.assert_array_equal(*(engine(given, foreground=foreground, seeds=known) for engine in both))
