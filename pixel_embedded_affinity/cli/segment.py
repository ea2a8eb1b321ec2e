"""``pea segment``: a batch of images, each result written as soon as it is there."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pixel_embedded_affinity.cli import batch
from pixel_embedded_affinity.cli.loading import add_model_arguments, load_segmenter
from pixel_embedded_affinity.cli.messages import add_progress_argument, bar_wanted, complain, say
from pixel_embedded_affinity.errors import PixelEmbeddedAffinityError, readable
from pixel_embedded_affinity.export.base import EXPORTERS, Result
from pixel_embedded_affinity.geometry.tiling import Tiling
from pixel_embedded_affinity.runtime.progress import track

if TYPE_CHECKING:
    from pixel_embedded_affinity.segmenter import Segmenter

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pea segment``."""
    inputs = "TIFF, PNG or JPEG files, folders of them, or quoted patterns"
    parser.add_argument("inputs", metavar="INPUT", nargs="+", help=inputs)
    parser.add_argument("--recursive", action="store_true", help="enter the folders within the folders")
    add_model_arguments(parser)
    _add_image_arguments(parser)
    _add_output_arguments(parser)


def _add_image_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("images")
    group.add_argument("--axes", help="a letter per axis: YX, YXC, CYX (default: what the file declares)")
    group.add_argument(
        "--tile",
        metavar="PIXELS",
        type=_tiling,
        default=Tiling(),
        help="length of the tiles in which an image goes through the network; auto (default): no tiles if the "
        "image fits into memory; whole: no tiles",
    )


def _add_output_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("results")
    folder = "folder for NAME_labels.tif; made if absent"
    group.add_argument("--output", metavar="DIR", type=Path, required=True, help=folder)
    present = group.add_mutually_exclusive_group()
    present.add_argument("--resume", action="store_true", help="skip images whose labels file is there")
    present.add_argument("--overwrite", action="store_true", help="replace results that are there")
    add_progress_argument(parser)
    for name, exporter in EXPORTERS.every():
        if name != batch.LABELS:
            _add_exporter(group, name, f"also NAME{exporter.suffix}: {exporter.help}")


def _add_exporter(group: argparse._ArgumentGroup, name: str, text: str) -> None:
    flag, text = f"--{name.replace('_', '-')}", text.replace("%", "%%")
    try:
        group.add_argument(flag, dest="exporters", action="append_const", const=name, default=[], help=text)
    except argparse.ArgumentError:
        logger.warning("exporter %r is left out: the flag %s has another meaning", name, flag)


def run(arguments: argparse.Namespace) -> int:
    """Segment every image; return 1 if one of them failed, else 0."""
    jobs = _planned(arguments)
    todo = [job for job in jobs if not (arguments.resume and job.labels.exists())]
    failures = _work(todo, arguments) if todo else 0
    parts = [f"{len(todo) - failures} of {len(jobs)} images segmented"]
    parts += [f"{len(jobs) - len(todo)} were done before"] if arguments.resume else []
    parts += [f"{failures} failed"] if failures else []
    say(f"{', '.join(parts)}; results in {readable(str(arguments.output))}")
    return 1 if failures else 0


def _planned(arguments: argparse.Namespace) -> list[batch.Job]:
    batch.check_output_folder(arguments.output)
    found = batch.find_images(arguments.inputs, recursive=arguments.recursive)
    images = batch.without_results(found, arguments.output)
    if len(images) < len(found):
        complain(f"pea: left out {len(found) - len(images)} inputs that are results of other inputs")
    jobs = batch.plan_jobs(images, arguments.output, arguments.exporters)
    if not (arguments.resume or arguments.overwrite):
        batch.refuse_existing(jobs)
    return jobs


def _work(jobs: Sequence[batch.Job], arguments: argparse.Namespace) -> int:
    """Do the jobs; return how many failed."""
    segmenter = load_segmenter(arguments)
    _try_out(segmenter)
    arguments.output.mkdir(parents=True, exist_ok=True)
    bar = track(jobs, bar_wanted(arguments), unit="image")
    done = [_attempt(segmenter, job, arguments.axes, arguments.tile) for job in bar]
    return done.count(False)


def _try_out(segmenter: Segmenter) -> None:
    """Segment a blank image, so that bad settings or a bad device are refused once, not for every file."""
    import numpy as np

    config = segmenter.config
    blank = np.zeros((config.network.in_channels, *(16,) * config.ndim), dtype=np.float32)
    segmenter.segment(blank, axes=config.axes, scale=1)


def _attempt(segmenter: Segmenter, job: batch.Job, axes: str | None, tiling: Tiling) -> bool:
    """Do a job; if it fails for any reason, say so and let the batch go on."""
    try:
        _segment_file(segmenter, job, axes, tiling)
    except Exception as error:
        logger.info("%s failed here:", job.image, exc_info=True)
        complain(f"pea: error: {readable(str(job.image))}: {_reason(error)}")
        return False
    return True


def _reason(error: Exception) -> str:
    text = readable(" ".join(str(error).split()))
    return text if isinstance(error, PixelEmbeddedAffinityError) else f"{type(error).__name__}: {text}"


def _segment_file(segmenter: Segmenter, job: batch.Job, axes: str | None, tiling: Tiling) -> None:
    from pixel_embedded_affinity.image import as_image

    config = segmenter.config
    image = as_image(job.image, axes=axes, channels=config.network.in_channels, ndim=config.ndim)
    found = segmenter.analyze(image.values, axes=config.axes, tile=tiling)
    # A gray image is shown and measured once, also if a model of three channels gets it three times.
    shown = image.values if "C" in image.source_axes else image.values[0]
    stored = image.to_source_order(found.labels)
    result = Result(found.labels, shown, stored, measure=lambda: found.table(intensity=shown))
    for name, path in job.outputs.items():
        EXPORTERS.build(name).write(path, result)
    logger.info("%s: %d objects", job.labels, found.labels.max(initial=0))


def _tiling(text: str) -> Tiling:
    try:
        return Tiling({"auto": "auto", "whole": None}[text] if text in ("auto", "whole") else int(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not auto, whole or a number of pixels") from None
