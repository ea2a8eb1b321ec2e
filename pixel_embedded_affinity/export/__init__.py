"""Export: labels as TIFF, picture, table and polygons, and in the formats of ImageJ, QuPath, COCO and Neuroglancer."""

from __future__ import annotations

from pixel_embedded_affinity.export.cell_tracking import write_cell_tracking
from pixel_embedded_affinity.export.coco import write_coco
from pixel_embedded_affinity.export.imagej_rois import write_imagej_rois
from pixel_embedded_affinity.export.labels import write_labels
from pixel_embedded_affinity.export.neuroglancer import write_neuroglancer
from pixel_embedded_affinity.export.overlay import render_overlay, write_overlay
from pixel_embedded_affinity.export.polygons import Polygon, object_polygons, rasterize
from pixel_embedded_affinity.export.qupath import write_qupath
from pixel_embedded_affinity.export.region_table import region_table
from pixel_embedded_affinity.export.table import object_table, write_table

__all__ = [
    "Polygon",
    "object_polygons",
    "object_table",
    "rasterize",
    "region_table",
    "render_overlay",
    "write_cell_tracking",
    "write_coco",
    "write_imagej_rois",
    "write_labels",
    "write_neuroglancer",
    "write_overlay",
    "write_qupath",
    "write_table",
]
