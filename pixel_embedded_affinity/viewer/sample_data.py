"""Images to try the plug-in with, as napari takes them."""

from __future__ import annotations

from typing import Any

LayerData = tuple[Any, dict[str, Any], str]


def nuclei() -> list[LayerData]:
    """Return the bundled field of nuclei."""
    from pixel_embedded_affinity import samples

    return [(samples.nuclei().image, {"name": "nuclei"}, "image")]


def volume() -> list[LayerData]:
    """Return a synthetic volume of neurites."""
    from pixel_embedded_affinity.training.data.synthetic import synthetic_volume

    return [(synthetic_volume()[0], {"name": "neurites"}, "image")]
