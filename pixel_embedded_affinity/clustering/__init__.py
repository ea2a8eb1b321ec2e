"""From affinities to labels: the clusterers, their protocol, and the registry that finds them by name."""

from __future__ import annotations

from pixel_embedded_affinity.clustering.base import Clusterer, get_clusterer, list_clusterers, register
from pixel_embedded_affinity.clustering.connected_components import ConnectedComponents
from pixel_embedded_affinity.clustering.mutex_watershed import MutexWatershed

__all__ = [
    "Clusterer",
    "ConnectedComponents",
    "MutexWatershed",
    "get_clusterer",
    "list_clusterers",
    "register",
]
