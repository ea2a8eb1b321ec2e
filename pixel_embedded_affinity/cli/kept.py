"""Results that are made from labels which are there already: those of blocks, and those that a person has corrected."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.cli import records
from pixel_embedded_affinity.cli.batch import Job, write_results
from pixel_embedded_affinity.cli.frames import frame_by_frame
from pixel_embedded_affinity.cli.measuring import with_channels
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export.base import Result
from pixel_embedded_affinity.io.read import stored_source
from pixel_embedded_affinity.io.selection import SPATIAL, Selection
from pixel_embedded_affinity.labels import as_labels, warn_of_mask
from pixel_embedded_affinity.regions import region_column
from pixel_embedded_affinity.runtime.device import CPU
from pixel_embedded_affinity.runtime.memory import free_memory
from pixel_embedded_affinity.truth import whole_numbers

if TYPE_CHECKING:
    from pixel_embedded_affinity.config.model import ModelConfig
    from pixel_embedded_affinity.image import Picture

_MEASURED = 64  # bytes for each pixel of labels and image, while they are measured and drawn


def describe(
    job: Job,
    config: ModelConfig,
    selection: Selection,
    channels: Mapping[str, Picture],
    labels: Path | None = None,
) -> None:
    """Write all files of a job but the labels, which are there.

    The table has no confidence. Where regions are components, they are components of the labels: nothing else is known
    of the foreground.

    Parameters
    ----------
    job : Job
        The image and its files.
    config : ModelConfig
        The model's.
    selection : Selection
        Which part of the file is the image.
    channels : dict of str to Picture
        Other channels to measure.
    labels : pathlib.Path, optional
        Where the labels are. Default: where the job puts them.

    Raises
    ------
    InputError
        If the file holds no labels, or labels of another shape than the image, or more memory is needed than there is.
    """
    from pixel_embedded_affinity.image import open_picture

    others = {name: path for name, path in job.outputs.items() if name != records.LABELS}
    if not others:
        return
    kinds = config.network.in_channels, config.ndim
    picture = open_picture(job.image, selection, channels=kinds[0], ndim=kinds[1], lazily=True)
    needed, free = _MEASURED * math.prod(picture.label_shape), free_memory(CPU)
    if needed > free:
        raise InputError(
            f"'{job.image}' needs {needed / 1e9:.1f} GB for its table and pictures, and {free / 1e9:.1f} GB are free; "
            "expected more memory; ask for labels alone"
        )
    stored = np.asarray(stored_source(labels or job.labels).values)
    if stored.shape != tuple(picture.label_shape):
        raise InputError(
            f"the labels '{job.labels}' have the shape {stored.shape}, the image {tuple(picture.label_shape)}; "
            "expected the same; --overwrite makes the labels again"
        )
    what = f"the label image '{job.labels}'"
    stored = as_labels(whole_numbers(stored, what), frames=True)
    warn_of_mask(stored, what)
    if not picture.frame_axis:
        result = with_channels(_result(picture, stored, config), channels)
    else:
        frames = np.moveaxis(stored, picture.axes.replace("C", "").index(picture.frame_axis), 0)

        def of_frame(number: int, frame: Picture, others: Mapping[str, Picture]) -> Result:
            return with_channels(_result(frame, frames[number], config), others)

        result = frame_by_frame(picture, channels, of_frame, renumber=False)
    write_results(others, result)


def _result(picture: Picture, stored: npt.NDArray[Any], config: ModelConfig) -> Result:
    """What labels say of an image, both with their axes in the file's order."""
    image = picture.image()
    labels = image.from_source_order(stored).astype(np.int32)
    axes = f"C{SPATIAL[labels.ndim]}" if image.shown.ndim > labels.ndim else None

    def measure() -> dict[str, npt.NDArray[Any]]:
        from pixel_embedded_affinity.export.table import object_table

        table = object_table(labels, image.shown, axes=axes, pixel_size=image.pixel_size)
        return table | region_column(labels, None, config)

    letters = picture.axes.replace("C", "")
    sizes, place = image.source_pixel_size, picture.place
    return Result(labels, image.shown, stored, measure, letters, sizes, picture.name, place=place)
