"""From affinities to labels: the clusterers, their protocol, and the registry that finds them by name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pixel_embedded_affinity.clustering.agglomeration import Agglomeration
    from pixel_embedded_affinity.clustering.base import Clusterer, get_clusterer, list_clusterers, register
    from pixel_embedded_affinity.clustering.connected_components import ConnectedComponents
    from pixel_embedded_affinity.clustering.lifted_multicut import LiftedMulticut
    from pixel_embedded_affinity.clustering.mean_shift import MeanShift
    from pixel_embedded_affinity.clustering.multicut import Multicut
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


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: a clusterer's class is in the file of its name."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; public names: {__all__}")
    base = importlib.import_module(f"{__name__}.base")
    return getattr(base, name, None) or base.CLUSTERERS.of_class(name)


def __dir__() -> list[str]:
    return __all__
