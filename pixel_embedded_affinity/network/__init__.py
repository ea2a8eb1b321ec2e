"""Networks: one file for each architecture."""

from pixel_embedded_affinity.runtime.device import require_torch

require_torch("A network of torch")
