"""From affinities to labels: the clusterers, their protocol, and the registry that finds them by name."""

from __future__ import annotations

from pixel_embedded_affinity.clustering.agglomeration import Agglomeration
from pixel_embedded_affinity.clustering.base import Clusterer, get_clusterer, list_clusterers, register
from pixel_embedded_affinity.clustering.connected_components import ConnectedComponents
from pixel_embedded_affinity.clustering.mean_shift import MeanShift
from pixel_embedded_affinity.clustering.multicut import LiftedMulticut, Multicut
from pixel_embedded_affinity.clustering.mutex_watershed import MutexWatershed

__all__ = [
    "Agglomeration",
    "Clusterer",
    "ConnectedComponents",
    "LiftedMulticut",
    "MeanShift",
    "Multicut",
    "MutexWatershed",
    "get_clusterer",
    "list_clusterers",
    "register",
]
