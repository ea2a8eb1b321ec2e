"""Images of a batch that are segmented block by block, since they are too large for memory."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import math
import shutil
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixel_embedded_affinity.cli import records
from pixel_embedded_affinity.cli.batch import Job, write_results
from pixel_embedded_affinity.cli.loading import title_of
from pixel_embedded_affinity.cli.measuring import with_channels
from pixel_embedded_affinity.cli.messages import complain
from pixel_embedded_affinity.errors import InputError, readable
from pixel_embedded_affinity.export.base import Result
from pixel_embedded_affinity.geometry.tiling import Tiling
from pixel_embedded_affinity.io.read import list_series
from pixel_embedded_affinity.io.selection import Selection
from pixel_embedded_affinity.runtime.device import CPU
from pixel_embedded_affinity.runtime.memory import free_memory

if TYPE_CHECKING:
    from pixel_embedded_affinity.image import Picture
    from pixel_embedded_affinity.segmenter import Segmenter

logger = logging.getLogger(__name__)

AUTO, ALWAYS, NEVER = "auto", "always", "never"

_MEASURED = 64  # bytes for each pixel of labels and image, while they are measured and drawn


def add_blocks_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--blocks``."""
    text = (
        "whether an image is segmented block by block, as segment_large does; auto (default): if it is too large for "
        "memory"
    )
    parser.add_argument("--blocks", choices=(AUTO, ALWAYS, NEVER), default=AUTO, help=text)


def is_wanted(segmenter: Segmenter, image: Path, selection: Selection, blocks: str) -> bool:
    """Tell whether an image is to be segmented block by block, without reading its values where the format allows."""
    from pixel_embedded_affinity.large.need import is_too_large, spatial_shape

    if blocks != AUTO:
        return blocks == ALWAYS
    every = list_series(image, sections=segmenter.config.ndim == 3)
    number = selection.series
    chosen = every if number is None else every[number : number + 1]
    shapes = [spatial_shape(one.source, selection, segmenter.config.ndim) for one in chosen]
    largest = max(shapes, key=math.prod, default=())
    return is_too_large(segmenter.embedder, segmenter.config, largest)


def segment(
    segmenter: Segmenter,
    job: Job,
    source: records.Source,
    selection: Selection,
    tiling: Tiling | None,
    channels: Mapping[str, Picture],
) -> None:
    """Do a job block by block; finished blocks of a run that was killed are not done again.

    Raises
    ------
    InputError
        If the image cannot be read in parts, or the other results need more memory than there is.
    """
    job.check_axes(segmenter.config.axes.replace("C", ""))
    others = {name: path for name, path in job.outputs.items() if name != records.LABELS}
    complain(f"pea: {readable(str(job.image))} is segmented block by block{_without_confidence(others)}")
    job.labels.parent.mkdir(parents=True, exist_ok=True)
    records.write_record(job.record, source, {})
    made = job.record.with_name(job.labels.name)
    made.unlink(missing_ok=True)
    choices = vars(selection) | ({} if tiling is None else {"tile": tiling})
    count = segmenter.segment_large(job.image, made, **choices, folder=_folder(job, source))
    if others:
        result = with_channels(_result(segmenter, job, made, selection), channels)
        write_results(others, result)
    made.replace(job.labels)
    records.write_record(job.record, source, job.outputs, title_of(segmenter))
    logger.info("%s: %d objects", job.labels, count)


def _without_confidence(others: Collection[str]) -> str:
    return "; its table has no confidence, which needs the whole embedding" if others else ""


def _folder(job: Job, source: records.Source) -> Path:
    """Return where the blocks of a job are kept; those of another image, model or other settings are removed."""
    content = json.dumps(source.as_json(), sort_keys=True).encode()
    stem = f"{job.labels.name}.blocks-"
    folder = job.record.with_name(f"{stem}{hashlib.sha256(content).hexdigest()[:12]}")
    for other in job.record.parent.iterdir():
        if other.name.startswith(stem) and other != folder:
            shutil.rmtree(other)
    return folder


def _result(segmenter: Segmenter, job: Job, labels: Path, selection: Selection) -> Result:
    """Read image and labels for the other results, if they fit into memory."""
    import tifffile

    from pixel_embedded_affinity.export.table import object_table
    from pixel_embedded_affinity.image import open_picture

    config = segmenter.config
    picture = open_picture(
        job.image, selection, channels=config.network.in_channels, ndim=config.ndim, lazily=True
    )
    needed, free = _MEASURED * math.prod(picture.label_shape), free_memory(CPU)
    if needed > free:
        raise InputError(
            f"'{job.image}' needs {needed / 1e9:.1f} GB for its table and pictures, and {free / 1e9:.1f} GB are free; "
            "expected more memory; ask for labels alone"
        )
    image, found = picture.image(), tifffile.imread(labels)
    shown = image.shown
    axes = config.axes if shown.ndim > found.ndim else None
    measure: partial[dict[str, Any]] = partial(
        object_table, found, shown, axes=axes, pixel_size=image.pixel_size
    )
    return Result(
        found, shown, found, measure, picture.axes.replace("C", ""), image.source_pixel_size, picture.name
    )
