"""Connected components: pixels join where their affinity reaches a threshold. The baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixel_embedded_affinity.affinity import Affinities
from pixel_embedded_affinity.clustering.base import refuse_no_attraction, usable
from pixel_embedded_affinity.errors import compiled_library
from pixel_embedded_affinity.fields import Settings, number, setting
from pixel_embedded_affinity.labels import Labels, as_foreground, relabel


@dataclass(frozen=True)
class ConnectedComponents(Settings, section="connected_components"):
    """Connected components: attractive pairs join their pixels if their affinity is at least a threshold.

    Repulsive pairs are not used. A pixel that no such pair reaches is an object of its own. One wrong pair joins two
    objects, so this is only a baseline, and the fastest clusterer.

    Parameters
    ----------
    threshold : float
        Affinity in [-1, 1] from which a pair joins its pixels.

    Raises
    ------
    InputError
        If `threshold` is not a number in [-1, 1].
    """

    threshold: float = setting(
        0.5, number(-1, 1), "Affinity from which a pair joins its pixels.", tries=(0.5, 0.7, 0.8, 0.9, 0.95)
    )

    def __call__(self, affinities: Affinities, *, foreground: NDArray[Any] | None = None) -> Labels:
        """Cluster pixels; see `Clusterer` for parameters and result.

        Raises
        ------
        InputError
            If the affinities are not finite similarities that fit their neighborhood, the neighborhood has no
            attractive offset, or `foreground` has another shape.
        """
        with compiled_library():
            from bioimage_cpp.utils import UnionFind

        given = usable(affinities)
        refuse_no_attraction(given)
        inside = None if foreground is None else as_foreground(foreground, given.spatial_shape)
        clusters = UnionFind(math.prod(given.spatial_shape))
        for channel, attracts in enumerate(given.neighborhood.attractive):
            if attracts:
                pairs = given.pairs(channel, inside)
                joined = pairs.affinity >= self.threshold
                ends = np.stack((pairs.first[joined], pairs.second[joined]), axis=1)
                clusters.merge(ends.astype(np.uint64))
        roots = clusters.element_labeling().reshape(given.spatial_shape) + 1
        return relabel(roots if inside is None else np.where(inside, roots, 0))
