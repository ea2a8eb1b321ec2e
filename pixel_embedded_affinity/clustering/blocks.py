"""Cuts in blocks: each block of a region graph is solved on its own, then the graph of what the blocks joined."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixel_embedded_affinity.clustering.region_graph import RegionGraph
from pixel_embedded_affinity.errors import InputError, compiled_library
from pixel_embedded_affinity.fields import integer, optional, per_axis, setting
from pixel_embedded_affinity.labels import summed_pairs

_Integers = NDArray[np.intp]


def blocks_field() -> Any:
    """Declare the setting ``blocks``, which both multicuts have."""
    what = "Length of the blocks that are solved on their own first; none solves all at once."
    return setting(None, optional(per_axis(integer(1))), what)


class Costs(NamedTuple):
    """What it costs to part nodes.

    Attributes
    ----------
    nodes : ndarray of intp, shape (E, 2)
        The two nodes of each edge, the smaller number first; each pair once, in lexicographic order.
    cost : ndarray of float64, shape (E,)
        Cost if the two are in different clusters.
    """

    nodes: _Integers
    cost: NDArray[np.float64]


class Problem(NamedTuple):
    """A multicut, or with lifted costs a lifted multicut.

    Attributes
    ----------
    size : int
        Number of nodes.
    borders : Costs
        Of edges along which nodes may join.
    lifted : Costs
        Of other pairs.
    """

    size: int
    borders: Costs
    lifted: Costs

    def graph(self) -> Any:
        """Return the borders as a graph of bioimage-cpp, edges in their order."""
        with compiled_library():
            from bioimage_cpp.graph import UndirectedGraph

        return UndirectedGraph.from_unique_edges(self.size, self.borders.nodes)


Solver = Callable[[Problem], NDArray[Any]]
"""Returns the cluster of each node, integers (size,)."""


def block_of_regions(graph: RegionGraph, blocks: int | tuple[int, ...] | None) -> _Integers:
    """Return the number of the block in which the middle of each region lies, intp (count,).

    Parameters
    ----------
    graph : RegionGraph
        The regions.
    blocks : int, tuple of int or None
        Length of a block in pixels of the affinities, for all axes or one per axis; None for one block.

    Raises
    ------
    InputError
        If there is not one length per axis.
    """
    shape = graph.foreground.shape
    if blocks is None:
        return np.zeros(graph.count, np.intp)
    lengths = blocks if isinstance(blocks, tuple) else (blocks,) * len(shape)
    if len(lengths) != len(shape):
        raise InputError(
            f"blocks has {len(lengths)} numbers, {lengths}, the image {len(shape)} spatial axes; "
            "give one number, or one per axis"
        )
    grid = [-(-length // block) for length, block in zip(shape, lengths)]
    places = tuple((middle // block).astype(np.intp) for middle, block in zip(_middles(graph), lengths))
    return np.ravel_multi_index(places, grid).astype(np.intp)


def _middles(graph: RegionGraph) -> Iterator[NDArray[np.float64]]:
    """Mean position of each region along each axis."""
    inside = graph.foreground
    pixels = np.bincount(graph.region, minlength=graph.count)
    for axis, length in enumerate(inside.shape):
        along = np.arange(length).reshape([-1 if other == axis else 1 for other in range(inside.ndim)])
        places = np.broadcast_to(along, inside.shape)[inside]
        yield np.bincount(graph.region, places, minlength=graph.count) / pixels


def solved_in_blocks(problem: Problem, block: _Integers, solve: Solver) -> NDArray[Any]:
    """Solve each block on its own, then the graph of what the blocks joined.

    Edges between blocks count in the last solve only, and clusters of a block are not parted again. If the solver
    never returns what costs more than each node alone, or than all in one, neither does this.

    Parameters
    ----------
    problem : Problem
        All nodes and costs.
    block : ndarray of intp, shape (size,)
        The block of each node.
    solve : callable
        Solves a problem with borders; one without joins nothing.

    Returns
    -------
    ndarray of int, shape (size,)
        Cluster of each node. With one block that is what `solve` returns.

    References
    ----------
    C. Pape et al., "Solving Large Multicut Problems for Connectomics via Domain Decomposition", ICCV Workshops 2017;
    with one level, and blocks that do not overlap.
    """
    if len(np.unique(block)) < 2:
        return solve(problem)
    joined = np.arange(problem.size)
    for members, part in _parts(problem, block):
        _, first, cluster = np.unique(solve(part), return_index=True, return_inverse=True)
        joined[members] = members[first][cluster]
    numbers, cluster = np.unique(joined, return_inverse=True)
    reduced = Problem(len(numbers), *(_merged(costs, cluster) for costs in problem[1:]))
    found = solve(reduced) if len(reduced.borders.cost) else np.arange(reduced.size)
    return found[cluster]


def _parts(problem: Problem, block: _Integers) -> Iterator[tuple[_Integers, Problem]]:
    """The nodes of each block that has borders within, and its costs in terms of their places."""
    order = np.argsort(block, kind="stable")
    sizes = np.bincount(block)
    place = np.empty(problem.size, np.intp)
    place[order] = np.arange(problem.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    members = np.split(order, np.cumsum(sizes)[:-1])
    borders, lifted = (_within(costs, block, place, len(sizes)) for costs in problem[1:])
    for nodes, inner, far in zip(members, borders, lifted):
        if len(inner.cost):
            yield nodes, Problem(len(nodes), inner, far)


def _within(costs: Costs, block: _Integers, place: _Integers, count: int) -> list[Costs]:
    """Costs of the edges within each block."""
    first, second = block[costs.nodes].T
    inner = np.flatnonzero(first == second)
    inner = inner[np.argsort(first[inner], kind="stable")]
    ends = np.cumsum(np.bincount(first[inner], minlength=count))[:-1]
    return [Costs(place[costs.nodes[part]], costs.cost[part]) for part in np.split(inner, ends)]


def _merged(costs: Costs, cluster: _Integers) -> Costs:
    """Costs between clusters: those of all edges between two are added up."""
    first, second = cluster[costs.nodes].T
    summed = summed_pairs(first, second, int(cluster.max()) + 1, costs.cost)
    return Costs(summed.regions, summed.total)
