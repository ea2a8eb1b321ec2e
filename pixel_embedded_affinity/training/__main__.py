"""``python -m pixel_embedded_affinity.training``: the same as ``pea train``."""
