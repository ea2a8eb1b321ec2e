"""Lifted multicut: a multicut that also uses the repulsive pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from pixel_embedded_affinity.affinity import Affinities
from pixel_embedded_affinity.clustering.blocks import Problem
from pixel_embedded_affinity.clustering.multicut import SOLVERS, CutSettings
from pixel_embedded_affinity.clustering.region_graph import RegionGraph, region_graph
from pixel_embedded_affinity.errors import InputError, compiled_library
from pixel_embedded_affinity.labels import Labels


@dataclass(frozen=True)
class LiftedMulticut(CutSettings, section="lifted_multicut"):
    """Lifted multicut of a watershed over-segmentation: a `Multicut` that also uses the repulsive pairs.

    A lifted edge connects two regions with repulsive pairs between them, touching or not. If the two regions end up
    in different objects, it costs as much as a border of these pairs. Lifted edges join nothing by themselves:
    objects stay connected through borders. Only repulsive pairs on the neighborhood's strides vote: the smaller the
    strides, the more lifted edges weigh against borders.

    Parameters
    ----------
    beta, smoothing, solver, regions, blocks
        As for `Multicut`.

    Raises
    ------
    InputError
        If a setting is not as described.

    References
    ----------
    M. Keuper et al., "Efficient Decomposition of Image and Mesh Graphs by Lifted Multicuts", ICCV 2015.
    """

    def __call__(self, affinities: Affinities, *, foreground: NDArray[Any] | None = None) -> Labels:
        """Cluster pixels; see `Clusterer` for parameters and result.

        Raises
        ------
        InputError
            As for `Multicut`; also if the neighborhood has no repulsive offset.
        """
        if not any(affinities.neighborhood.repulsive):
            raise InputError(
                f"{affinities.neighborhood!r} has no repulsive offset to lift; add longer ranges, "
                "or use the clusterer 'multicut'"
            )
        graph = region_graph(affinities, foreground, self.smoothing, regions=self.regions, lifted=True)
        return graph.clustered(self._cut)

    def _cut(self, graph: RegionGraph) -> NDArray[Any]:
        return self._cut_by(graph, self._solve)

    def _solve(self, problem: Problem) -> NDArray[Any]:
        with compiled_library():
            from bioimage_cpp.graph import lifted_multicut

        objective = lifted_multicut.LiftedMulticutObjective(
            problem.graph(),
            problem.borders.cost,
            lifted_uvs=problem.lifted.nodes,
            lifted_costs=problem.lifted.cost,
        )
        solver = getattr(lifted_multicut, f"Lifted{SOLVERS[self.solver]}")
        return solver().optimize(objective)  # type: ignore[no-any-return]
