"""Cuts in blocks against the plain solvers, and an energy counted edge by edge, on graphs with planted objects."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from pixel_embedded_affinity.affinity import affinities
from pixel_embedded_affinity.clustering import LiftedMulticut, Multicut, get_clusterer
from pixel_embedded_affinity.clustering.blocks import Costs, Problem, block_of_regions, solved_in_blocks
from pixel_embedded_affinity.clustering.region_graph import region_graph
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.labels import relabel
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.testing import check_clusterer, synthetic_embedding

SIDE = 14
PLANE = Neighborhood.from_ranges([1, 3, 9], 4, strides=3)
METHODS = [
    cls(solver=solver)
    for cls in (Multicut, LiftedMulticut)
    for solver in ("kernighan_lin", "greedy_additive")
]
EACH = pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method.section}-{method.solver}")


def planted(seed, noise, lifted):
    """A grid of nodes with planted objects: an edge within one costs 1 to cut, one between two -1, with noise."""
    generator = np.random.default_rng(seed)
    nodes = list(np.ndindex(SIDE, SIDE))
    middles = generator.random((8, 2)) * SIDE
    objects = [int(np.argmin(((middles - node) ** 2).sum(axis=1))) for node in nodes]
    near, far = [], []
    for (a, one), (b, other) in itertools.combinations(enumerate(nodes), 2):
        apart = abs(one[0] - other[0]) + abs(one[1] - other[1])
        if apart == 1:
            near.append((a, b))
        elif lifted and apart == 3:
            far.append((a, b))

    def costs(pairs):
        value = [(1.0 if objects[a] == objects[b] else -1.0) + generator.normal(0, noise) for a, b in pairs]
        return Costs(np.array(pairs, np.intp).reshape(-1, 2), np.array(value))

    return Problem(len(nodes), costs(near), costs(far))


def energy(problem, clusters):
    """Cost of all edges between clusters, one edge after the other."""
    total = 0.0
    for costs in (problem.borders, problem.lifted):
        for (one, other), cost in zip(costs.nodes.tolist(), costs.cost.tolist(), strict=True):
            if clusters[one] != clusters[other]:
                total += cost
    return total


def squares(length):
    """Block of each node of the grid, for blocks of a length."""
    row, column = np.divmod(np.arange(SIDE * SIDE), SIDE)
    return row // length * SIDE + column // length


def problem_of(method, seed, noise=0.7):
    return planted(seed, noise, lifted=isinstance(method, LiftedMulticut))


@EACH
@settings(max_examples=15, deadline=None)
@drawn(seed=st.integers(0, 2**32 - 1), number=st.integers(0, 5))
def test_one_block_is_the_plain_solver(method, seed, number):
    problem = problem_of(method, seed)
    found = solved_in_blocks(problem, np.full(problem.size, number), method._solve)
    np.testing.assert_array_equal(found, method._solve(problem))


@EACH
@settings(max_examples=25, deadline=None)
@drawn(seed=st.integers(0, 2**32 - 1), length=st.integers(1, SIDE), noise=st.floats(0, 3))
def test_it_costs_no_more_than_all_apart_or_all_in_one(method, seed, length, noise):
    problem = problem_of(method, seed, noise)
    found = solved_in_blocks(problem, squares(length), method._solve)
    apart, whole = np.arange(problem.size), np.zeros(problem.size)
    assert energy(problem, found) <= min(energy(problem, apart), energy(problem, whole)) + 1e-6


@EACH
@settings(max_examples=15, deadline=None)
@drawn(seed=st.integers(0, 2**32 - 1), length=st.integers(1, SIDE))
def test_every_cluster_is_connected_through_borders(method, seed, length):
    problem = problem_of(method, seed)
    found = solved_in_blocks(problem, squares(length), method._solve)
    group = list(range(problem.size))
    for one, other in problem.borders.nodes.tolist():
        if found[one] == found[other] and group[one] != group[other]:
            old, new = group[other], group[one]
            group = [new if member == old else member for member in group]
    assert len(set(group)) == len(set(found.tolist()))


@EACH
def test_it_costs_little_more_than_the_plain_solver(method):
    losses = []
    for seed in range(20):
        problem = problem_of(method, seed)
        plain = energy(problem, method._solve(problem))
        blocks = energy(problem, solved_in_blocks(problem, squares(5), method._solve))
        assert plain < 0
        losses.append((blocks - plain) / -plain)
    assert np.mean(losses) < 0.03
    assert max(losses) < 0.08


@EACH
@pytest.mark.parametrize("length", [1, 4, 6])
def test_clear_objects_are_found_across_blocks(method, length):
    problem = problem_of(method, 3, noise=0.1)
    found = solved_in_blocks(problem, squares(length), method._solve)
    expected = method._solve(problem)
    np.testing.assert_array_equal(*(relabel(each.reshape(SIDE, SIDE) + 1) for each in (found, expected)))


def field():
    """Affinities of touching squares with noise."""
    row, column = np.indices((40, 50)) // 10
    return affinities(synthetic_embedding(1 + row * 5 + column, noise=0.1), PLANE)


@EACH
def test_a_clusterer_with_blocks_keeps_the_contract(method):
    check_clusterer(type(method)(solver=method.solver, blocks=3))


@EACH
@pytest.mark.parametrize("blocks", [50, (40, 50), np.array([64, 64])])
def test_a_block_as_large_as_the_image_changes_nothing(method, blocks):
    expected = type(method)(smoothing=0, solver=method.solver)(field())
    one = type(method)(smoothing=0, solver=method.solver, blocks=blocks)(field())
    np.testing.assert_array_equal(one, expected)


@EACH
def test_blocks_part_no_object(method):
    expected = type(method)(smoothing=0, solver=method.solver)(field())
    found = type(method)(smoothing=0, solver=method.solver, blocks=(7, 16))(field())
    np.testing.assert_array_equal(found, expected)
    assert expected.max() == 20


def test_a_region_belongs_to_the_block_of_its_middle():
    generator = np.random.default_rng(0)
    foreground = generator.random((20, 24)) < 0.9
    given = affinities(synthetic_embedding(np.ones(foreground.shape, np.int32), noise=0.5), PLANE)
    graph = region_graph(given, foreground, 0)
    block = block_of_regions(graph, (6, 7))
    places = np.argwhere(foreground)
    for region in range(graph.count):
        row, column = places[graph.region == region].mean(axis=0)
        assert block[region] == int(row // 6) * 4 + int(column // 7)
    assert len(set(block.tolist())) == 16


def test_without_blocks_all_regions_are_in_one():
    assert not block_of_regions(region_graph(field(), None, 0), None).any()


@pytest.mark.parametrize("method", [Multicut, LiftedMulticut])
@pytest.mark.parametrize("wrong", [0, -4, 2.5, True, "8", (8,), (8, 0), [8, None], [2, 2, 2, 2]])
def test_blocks_that_make_no_sense_are_refused(method, wrong):
    with pytest.raises(InputError, match="blocks"):
        method(blocks=wrong)


def test_blocks_of_another_dimension_are_refused():
    with pytest.raises(InputError, match=r"3 numbers.*2 spatial axes"):
        Multicut(blocks=(1, 8, 8))(field())


def test_a_model_can_name_blocks():
    assert get_clusterer("multicut", blocks=[8, 16, 16]) == Multicut(blocks=(8, 16, 16))
    assert get_clusterer("lifted_multicut", blocks=None) == LiftedMulticut()
