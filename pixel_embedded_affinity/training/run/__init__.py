"""A training from the first step to the model file."""

from pixel_embedded_affinity.runtime.device import require_torch

require_torch("Training")
