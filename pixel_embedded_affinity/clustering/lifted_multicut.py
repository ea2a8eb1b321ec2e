"""Lifted multicut: a multicut that also uses the repulsive pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pixel_embedded_affinity.clustering.multicut import BETA_HELP, BETAS, SOLVERS, cut_costs
from pixel_embedded_affinity.clustering.region_graph import (
    SMOOTHING,
    SMOOTHING_HELP,
    RegionGraph,
    region_graph,
)
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import Settings, choice, number, setting

if TYPE_CHECKING:
    from pixel_embedded_affinity.affinity import Affinities


@dataclass(frozen=True)
class LiftedMulticut(Settings, section="lifted_multicut"):
    """Lifted multicut of a watershed over-segmentation: a `Multicut` that also uses the repulsive pairs.

    A lifted edge connects two regions with repulsive pairs between them, touching or not. If the two regions end up
    in different objects, it costs as much as a border of these pairs. Lifted edges join nothing by themselves:
    objects stay connected through borders. Only repulsive pairs on the neighborhood's strides vote: the smaller the
    strides, the more lifted edges weigh against borders.

    Parameters
    ----------
    beta, smoothing, solver
        As for `Multicut`.

    Raises
    ------
    InputError
        If a setting is not as described.

    References
    ----------
    M. Keuper et al., "Efficient Decomposition of Image and Mesh Graphs by Lifted Multicuts", ICCV 2015.
    """

    beta: float = setting(0.5, number(above=0, below=1), BETA_HELP, tries=BETAS)
    smoothing: float | tuple[float, ...] = setting(1.0, SMOOTHING, SMOOTHING_HELP)
    solver: str = setting(SOLVERS[0], choice(*SOLVERS), "Heuristic; the second is faster, at higher costs.")

    def __call__(
        self, affinities: Affinities, *, foreground: NDArray[Any] | None = None
    ) -> NDArray[np.int32]:
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
        return region_graph(affinities, foreground, self.smoothing, lifted=True).clustered(self._cut)

    def _cut(self, graph: RegionGraph) -> NDArray[Any]:
        from bioimage_cpp.graph import lifted_multicut

        problem = lifted_multicut.LiftedMulticutObjective(
            graph.adjacency(),
            cut_costs(graph.borders, self.beta),
            lifted_uvs=graph.lifted.regions,
            lifted_costs=cut_costs(graph.lifted, self.beta),
        )
        solvers = {
            "kernighan_lin": lifted_multicut.LiftedKernighanLinMulticut,
            "greedy_additive": lifted_multicut.LiftedGreedyAdditiveMulticut,
        }
        return solvers[self.solver]().optimize(problem)  # type: ignore[no-any-return]
