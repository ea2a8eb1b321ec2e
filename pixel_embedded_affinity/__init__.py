"""Instance segmentation of homogeneous objects by pixel-embedded affinity (Huang et al., AAAI 2022)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pixel_embedded_affinity.affinity import Affinities, affinities
    from pixel_embedded_affinity.embedding import Embedding
    from pixel_embedded_affinity.models.registry import list_models
    from pixel_embedded_affinity.neighborhood import Neighborhood
    from pixel_embedded_affinity.pipeline import Segmentation
    from pixel_embedded_affinity.postprocess import Postprocess
    from pixel_embedded_affinity.segmenter import Segmenter

__all__ = [
    "Affinities",
    "Embedding",
    "Neighborhood",
    "Postprocess",
    "Segmentation",
    "Segmenter",
    "__version__",
    "affinities",
    "list_models",
]

_HOMES = {
    "Affinities": "affinity",
    "Embedding": "embedding",
    "Neighborhood": "neighborhood",
    "Postprocess": "postprocess",
    "Segmentation": "pipeline",
    "Segmenter": "segmenter",
    "affinities": "affinity",
    "list_models": "models.registry",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the package alone loads neither torch nor scikit-image."""
    if name not in _HOMES:
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}; public names: {', '.join(__all__)}"
        )
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
