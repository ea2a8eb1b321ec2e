"""A clusterer of another lab: pixels join where their affinity is above a threshold."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pixel_embedded_affinity.labels import relabel


@dataclass(frozen=True)
class GraphComponents:
    threshold: float = 0.5

    def __call__(self, affinities, *, foreground=None):
        inside = np.ones(affinities.spatial_shape, bool) if foreground is None else foreground
        near = [k for k, attracts in enumerate(affinities.neighborhood.attractive) if attracts]
        first, second, values = np.hstack([affinities.pairs(k, inside) for k in near])
        ends = np.stack((first, second))[:, values > self.threshold].astype(int)
        graph = coo_array((np.ones(ends.shape[1]), ends), shape=(inside.size, inside.size))
        components = connected_components(graph, directed=False)[1].reshape(inside.shape)
        return relabel(np.where(inside, components + 1, 0))
