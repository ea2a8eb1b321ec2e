"""Export: labels as TIFF, as a picture for a person to judge, and as a table of objects."""

from __future__ import annotations

from pixel_embedded_affinity.export.labels import write_labels
from pixel_embedded_affinity.export.overlay import render_overlay, write_overlay
from pixel_embedded_affinity.export.table import object_table, write_table

__all__ = ["object_table", "render_overlay", "write_labels", "write_overlay", "write_table"]
