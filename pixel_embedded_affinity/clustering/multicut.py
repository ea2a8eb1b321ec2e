"""Multicut: cut a graph of small regions where the evidence is for a border."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixel_embedded_affinity.affinity import Affinities
from pixel_embedded_affinity.clustering.blocks import (
    Costs,
    Problem,
    Solver,
    block_of_regions,
    blocks_field,
    solved_in_blocks,
)
from pixel_embedded_affinity.clustering.region_graph import (
    Edges,
    RegionGraph,
    region_graph,
    regions_field,
    smoothing_field,
)
from pixel_embedded_affinity.errors import compiled_library
from pixel_embedded_affinity.fields import Settings, choice, number, setting
from pixel_embedded_affinity.labels import Labels

SOLVERS = {"kernighan_lin": "KernighanLinMulticut", "greedy_additive": "GreedyAdditiveMulticut"}
"""Solvers of both multicuts; the first starts from the result of the second and improves it."""

# Probabilities 0 and 1 would cost infinitely much.
_LEAST_PROBABILITY = 0.001


@dataclass(frozen=True)
class CutSettings(Settings):
    """Settings of both multicuts, see `Multicut`."""

    beta: float = setting(
        0.5,
        number(above=0, below=1),
        "Affinity below which a border is evidence for a cut.",
        tries=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
    )
    smoothing: float | tuple[float, ...] = smoothing_field()
    solver: str = setting(
        "kernighan_lin", choice(*SOLVERS), "Heuristic; the second is faster, at higher costs."
    )
    regions: str = regions_field()
    blocks: int | tuple[int, ...] | None = blocks_field()

    def _cut_by(self, graph: RegionGraph, solve: Solver) -> NDArray[Any]:
        """Return the cluster of each region."""
        block = block_of_regions(graph, self.blocks)
        costs = (Costs(edges.regions, cut_costs(edges, self.beta)) for edges in (graph.borders, graph.lifted))
        return solved_in_blocks(Problem(graph.count, *costs), block, solve)


@dataclass(frozen=True)
class Multicut(CutSettings, section="multicut"):
    """Multicut of a watershed over-segmentation.

    Pixels first form small regions (see `pixel_embedded_affinity.clustering.region_graph.region_graph`). Let p be
    the mean affinity of the attractive pairs between two regions (negative affinities taken as 0), shrunk into
    [0.001, 0.999], and n the number of these pairs. To cut the border between the two regions costs
    ``n * (log(p / (1 - p)) + log((1 - beta) / beta))``, so that every pair has one vote. The cost is negative where
    p is below beta. The solver groups the regions so that the borders between objects cost least in total.

    The exact problem is NP-hard; both solvers are deterministic heuristics. If all affinities are distinct (and
    strides are 1), the result does not depend on the order of offsets, and a flipped image gives the flipped result.

    Parameters
    ----------
    beta : float
        Affinity between 0 and 1 below which a border is evidence for a cut. Larger: more objects.
    smoothing : float or sequence of float
        Standard deviation of the Gaussian, in pixels, for all axes or one per axis, that smooths the boundary
        map from which the seeds of the regions are taken. Larger: fewer and larger regions.
    solver : {"kernighan_lin", "greedy_additive"}
        Heuristic. The second is faster for very many regions, and ends at higher costs.
    regions : {"watershed_cut", "sections"}
        How the small regions form: ``"sections"`` grows them in each section of a volume, which takes a tenth of
        the time and little memory. A flipped volume may then give another result.
    blocks : int, sequence of int or None
        Length of blocks in pixels of the affinities, for all axes or one per axis. The regions whose middles lie in
        one block are solved on their own first; the groups that they form are the regions of a last solve. For very
        many regions that takes less time, at slightly higher costs. A flipped image may then give another result.
        None solves all regions at once.

    Raises
    ------
    InputError
        If a setting is not as described.

    References
    ----------
    B. Andres et al., "Globally Optimal Closed-surface Segmentation for Connectomics", ECCV 2012, for the
    costs. M. Keuper et al., "Efficient Decomposition of Image and Mesh Graphs by Lifted Multicuts", ICCV
    2015, for both solvers. C. Pape et al., "Solving Large Multicut Problems for Connectomics via Domain
    Decomposition", ICCV Workshops 2017, for the blocks.
    """

    def __call__(self, affinities: Affinities, *, foreground: NDArray[Any] | None = None) -> Labels:
        """Cluster pixels; see `Clusterer` for parameters and result.

        Raises
        ------
        InputError
            If the affinities are not finite similarities that fit their neighborhood, the neighborhood has no
            attractive offset, `foreground` has another shape, or `smoothing` another number of axes.
        """
        return region_graph(affinities, foreground, self.smoothing, regions=self.regions).clustered(self._cut)

    def _cut(self, graph: RegionGraph) -> NDArray[Any]:
        return self._cut_by(graph, self._solve)

    def _solve(self, problem: Problem) -> NDArray[Any]:
        with compiled_library():
            from bioimage_cpp.graph import multicut

        objective = multicut.MulticutObjective(problem.graph(), problem.borders.cost)
        return getattr(multicut, SOLVERS[self.solver])().optimize(objective)  # type: ignore[no-any-return]


def cut_costs(edges: Edges, beta: float) -> NDArray[np.float64]:
    """Return the cost of cutting each edge."""
    probability = _LEAST_PROBABILITY + (1 - 2 * _LEAST_PROBABILITY) * edges.affinity
    odds = np.log(probability / (1 - probability)) + np.log((1 - beta) / beta)
    costs: NDArray[np.float64] = edges.length * odds
    return costs
