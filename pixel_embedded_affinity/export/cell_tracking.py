"""Labels of a time lapse as a folder of the Cell Tracking Challenge, which trackers read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export.base import Result
from pixel_embedded_affinity.export.labels import write_labels
from pixel_embedded_affinity.io.atomic import new_folder, replaced_folder
from pixel_embedded_affinity.labels import SPATIAL, as_labels

_MOST_FRAMES = 10_000


class CellTracking:
    """Exporter that calls `write_cell_tracking`; it writes a folder."""

    suffix = "_masks"
    help = "a folder of masks of a time-lapse, one for each frame, as in the Cell Tracking Challenge"

    def check_axes(self, axes: str) -> None:
        """Refuse an image that is no time-lapse."""
        if "T" not in axes:
            raise InputError(
                f"--cell-tracking writes the frames of a time-lapse, and the axes are {axes}; expected T among them; "
                "of a movie in one file, name the axis of time, such as --axes TYX; where each image has its own file, "
                "use write_cell_tracking in Python; or leave --cell-tracking out"
            )

    def write(self, path: Path, result: Result) -> None:
        """Write the folder; it replaces one that is there."""
        self.check_axes(result.axes or SPATIAL[result.labels.ndim])
        with replaced_folder(path) as part:
            write_cell_tracking(part, result.labels)


def write_cell_tracking(folder: str | os.PathLike[str], frames: Iterable[Any]) -> None:
    """Write the labels of a time lapse as segmentation masks of the Cell Tracking Challenge.

    The folder gets ``mask000.tif``, ``mask001.tif``, ..., 16-bit, one file for each frame, and no ``res_track.txt``:
    nothing is tracked. A label may mean another object in the next frame. Trackers such as trackastra take such a
    folder together with the images. With more than 1,000 frames, numbers have four digits.

    Parameters
    ----------
    folder : str or path-like
        A new name in an existing folder; it appears when all frames are written.
    frames : iterable of array-like of integers
        Labels ``(T, Y, X)`` or ``(T, Z, Y, X)``; or the labels of one frame after the other, such as
        `Segmenter.segment_many` gives. 0 = background.

    Raises
    ------
    InputError
        If there is no frame, or more than 10,000, the frames cannot be used or differ in shape, a label is beyond
        65,535, or the folder exists.
    """
    with new_folder(folder) as part:
        _number(part, _written(part, frames))


def _written(folder: Path, frames: Iterable[Any]) -> int:
    """Write all frames with numbers of four digits; return how many there are."""
    shape: tuple[int, ...] | None = None
    count = 0
    for frame in islice(frames, _MOST_FRAMES + 1):
        labels = as_labels(frame, shape)
        shape = labels.shape
        if count == _MOST_FRAMES or labels.max() > np.iinfo(np.uint16).max:
            raise InputError(
                f"frame {count} has labels up to {labels.max()}; the format holds {_MOST_FRAMES} frames with labels up "
                f"to {np.iinfo(np.uint16).max}; number the objects of each frame anew, or write parts of the time lapse"
            )
        write_labels(folder / f"mask{count:04}.tif", labels)
        count += 1
    if not count:
        raise InputError("no frames; expected at least one; pass labels (T, Y, X), or an iterable of them")
    return count


def _number(folder: Path, count: int) -> None:
    """Drop the fourth digit, where three are enough."""
    for frame in range(count if count <= _MOST_FRAMES // 10 else 0):
        (folder / f"mask{frame:04}.tif").rename(folder / f"mask{frame:03}.tif")
