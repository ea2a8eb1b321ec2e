"""The picture of `overlay` with the number of each region, such as a plant of a tray."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pixel_embedded_affinity.export.base import FRAME_COLUMNS, Result
from pixel_embedded_affinity.export.numbered_overlay import readable_scale
from pixel_embedded_affinity.export.overlay import numbered, picture_of, planes_of, write_picture
from pixel_embedded_affinity.export.region_table import region_table


class RegionOverlay:
    """Exporter of the overlay with the number of each region at its middle."""

    suffix = "_regions.png"
    help = "the overlay with the number of each region, such as a plant, in the table of --region-table"

    def write(self, path: Path, result: Result) -> None:
        """Write the picture."""
        regions, scale = region_table(result.table), readable_scale(result)
        frames = regions.get(FRAME_COLUMNS.get(result.frame_axis, ""), np.zeros(len(regions["region"]), int))
        above = np.cumsum([0, *(len(labels) for _, labels in planes_of(result))])[frames]
        middles = zip(
            (scale * (above + regions["centroid-y"])).astype(int).tolist(),
            (scale * regions["centroid-x"]).astype(int).tolist(),
            (scale * np.sqrt(regions["area"] / np.pi)).tolist(),
        )
        write_picture(path, numbered(picture_of(result, scale=scale), regions["region"], list(middles)))
