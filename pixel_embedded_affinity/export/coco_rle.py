"""Labels as annotations in the format of COCO, all as runs of pixels."""

from __future__ import annotations

from pathlib import Path

from pixel_embedded_affinity.export.base import Result, refuse_volumes
from pixel_embedded_affinity.export.coco import images_of, write_coco


class CocoRle:
    """Exporter that calls `coco.write_coco` for run lengths."""

    suffix = "_coco_rle.json"
    help = "COCO annotations, all as run lengths (RLE), which are exact in every program"

    def check(self, ndim: int) -> None:
        """Refuse volumes."""
        refuse_volumes("--coco-rle", ndim)

    def write(self, path: Path, result: Result) -> None:
        """Write an annotation for each object."""
        write_coco(path, images_of(result), segmentation="rle")
