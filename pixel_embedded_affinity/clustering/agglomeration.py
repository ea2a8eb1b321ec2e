"""Agglomeration: merge the two most similar regions, again and again, until no two are similar enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixel_embedded_affinity.affinity import Affinities
from pixel_embedded_affinity.clustering.region_graph import (
    RegionGraph,
    region_graph,
    regions_field,
    smoothing_field,
)
from pixel_embedded_affinity.errors import compiled_library
from pixel_embedded_affinity.fields import Settings, number, setting
from pixel_embedded_affinity.labels import Labels


@dataclass(frozen=True)
class Agglomeration(Settings, section="agglomeration"):
    """Agglomeration with average linkage of a watershed over-segmentation.

    Pixels first form small regions (see `pixel_embedded_affinity.clustering.region_graph.region_graph`). Then the
    two neighbors with the highest mean affinity over all attractive pairs between them (negative affinities taken
    as 0) merge, again and again, while this mean is above the threshold. Repulsive pairs are not used.

    If all affinities are distinct, the result does not depend on the order of offsets, and a flipped image gives
    the flipped result.

    Parameters
    ----------
    threshold : float
        Mean affinity between 0 and 1 above which regions merge. Larger: more objects.
    smoothing : float or sequence of float
        Standard deviation of the Gaussian, in pixels, for all axes or one per axis, that smooths the boundary
        map from which the seeds of the regions are taken. Larger: fewer and larger regions.
    regions : {"watershed_cut", "sections"}
        How the small regions form: ``"sections"`` grows them in each section of a volume, which takes a tenth of
        the time and little memory. A flipped volume may then give another result.

    Raises
    ------
    InputError
        If a setting is not as described.

    References
    ----------
    A. Bailoni et al., "GASP, a Generalized Framework for Agglomerative Clustering of Signed Graphs and its
    Application to Instance Segmentation", CVPR 2022, with average linkage. It is also the mean-affinity
    scoring of waterz: J. Funke et al., "Large Scale Image Segmentation with Structured Loss based Deep
    Learning for Connectome Reconstruction", IEEE TPAMI 41(7), 2019.
    """

    threshold: float = setting(
        0.5, number(0, 1), "Mean affinity above which regions merge.", tries=(0.2, 0.35, 0.5, 0.65, 0.8)
    )
    smoothing: float | tuple[float, ...] = smoothing_field()
    regions: str = regions_field()

    def __call__(self, affinities: Affinities, *, foreground: NDArray[Any] | None = None) -> Labels:
        """Cluster pixels; see `Clusterer` for parameters and result.

        Raises
        ------
        InputError
            If the affinities are not finite similarities that fit their neighborhood, the neighborhood has no
            attractive offset, `foreground` has another shape, or `smoothing` another number of axes.
        """
        return region_graph(affinities, foreground, self.smoothing, regions=self.regions).clustered(
            self._merge
        )

    def _merge(self, graph: RegionGraph) -> NDArray[Any]:
        with compiled_library():
            from bioimage_cpp.graph.agglomeration import GaspClusterPolicy

        # The library merges while the mean weight is positive.
        return GaspClusterPolicy(linkage="mean").optimize(  # type: ignore[no-any-return]
            graph.adjacency(),
            graph.borders.affinity - self.threshold,
            edge_sizes=graph.borders.length.astype(np.float64),
        )
