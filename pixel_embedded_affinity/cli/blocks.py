"""Images of a batch that are segmented block by block, since they are too large for memory."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import math
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pixel_embedded_affinity.cli import kept, records
from pixel_embedded_affinity.cli.batch import Job
from pixel_embedded_affinity.cli.loading import title_of
from pixel_embedded_affinity.cli.messages import complain
from pixel_embedded_affinity.geometry.tiling import Tiling
from pixel_embedded_affinity.io.read import list_series
from pixel_embedded_affinity.io.selection import Selection

if TYPE_CHECKING:
    from pixel_embedded_affinity.image import Picture
    from pixel_embedded_affinity.segmenter import Segmenter

logger = logging.getLogger(__name__)

AUTO, ALWAYS, NEVER = "auto", "always", "never"


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
    job.check_exporters(segmenter.config.ndim, segmenter.config.axes.replace("C", ""))
    others = {name: path for name, path in job.outputs.items() if name != records.LABELS}
    complain(f"pea: {job.title} is segmented block by block{_without(segmenter, others)}")
    job.labels.parent.mkdir(parents=True, exist_ok=True)
    records.write_record(job.record, job.image, source, {})
    made = job.record.with_name(job.labels.name)
    made.unlink(missing_ok=True)
    choices = vars(selection) | ({} if tiling is None else {"tile": tiling})
    count = segmenter.segment_large(job.image, made, **choices, folder=_folder(job, source))
    kept.describe(job, segmenter.config, selection, channels, made)
    made.replace(job.labels)
    records.write_record(job.record, job.image, source, job.outputs, title_of(segmenter))
    logger.info("%s: %d objects", job.labels, count)


def _without(segmenter: Segmenter, others: Collection[str]) -> str:
    """Say what blocks cannot do."""
    confidence = "; its table has no confidence, which needs the whole embedding" if others else ""
    if segmenter.config.regions == "image":
        return confidence
    return f"{confidence}; all its regions get one scale (--regions)"


def _folder(job: Job, source: records.Source) -> Path:
    """Return where the blocks of a job are kept; those of another image, model or other settings are removed."""
    content = json.dumps(source.as_json(), sort_keys=True).encode()
    stem = f"{job.labels.name}.blocks-"
    folder = job.record.with_name(f"{stem}{hashlib.sha256(content).hexdigest()[:12]}")
    for other in job.record.parent.iterdir():
        if other.name.startswith(stem) and other != folder:
            shutil.rmtree(other)
    return folder
