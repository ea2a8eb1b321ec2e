"""Where `Tiling` was; it is in `pixel_embedded_affinity.geometry.tiling`."""

from pixel_embedded_affinity.geometry.tiling import Tiling as Tiling
