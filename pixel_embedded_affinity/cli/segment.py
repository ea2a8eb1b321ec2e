"""``pea segment``: a batch of images, each result written as soon as it is there."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixel_embedded_affinity.cli import batch
from pixel_embedded_affinity.cli.loading import add_model_arguments, load_segmenter
from pixel_embedded_affinity.cli.messages import add_progress_argument, bar_wanted, complain, say
from pixel_embedded_affinity.cli.settings import add_selection_arguments, given_selection
from pixel_embedded_affinity.errors import PixelEmbeddedAffinityError, readable
from pixel_embedded_affinity.export.base import EXPORTERS, Result
from pixel_embedded_affinity.geometry.tiling import Tiling
from pixel_embedded_affinity.io.read import is_image_folder
from pixel_embedded_affinity.io.selection import SPATIAL, Selection
from pixel_embedded_affinity.runtime.progress import track

if TYPE_CHECKING:
    from pixel_embedded_affinity.image import Image, Picture
    from pixel_embedded_affinity.segmenter import Segmenter

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pea segment``."""
    inputs = "TIFF, PNG, JPEG or OME-Zarr images, folders of them, or quoted patterns"
    parser.add_argument("inputs", metavar="INPUT", nargs="+", help=inputs)
    parser.add_argument("--recursive", action="store_true", help="enter the folders within the folders")
    add_model_arguments(parser)
    _add_image_arguments(parser)
    _add_output_arguments(parser)


def _add_image_arguments(parser: argparse.ArgumentParser) -> None:
    add_selection_arguments(parser)
    parser.add_argument(
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
    # A folder that is an image is no folder of images.
    zarr = [Path(entry) for entry in arguments.inputs if is_image_folder(entry)]
    others = [entry for entry in arguments.inputs if not is_image_folder(entry)]
    found = [*zarr, *(batch.find_images(others, recursive=arguments.recursive) if others else [])]
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
    selection = given_selection(arguments)
    done = [_attempt(segmenter, job, selection, arguments.tile) for job in bar]
    return done.count(False)


def _try_out(segmenter: Segmenter) -> None:
    """Segment a blank image, so that bad settings or a bad device are refused once, not for every file."""
    import numpy as np

    config = segmenter.config
    blank = np.zeros((config.network.in_channels, *(16,) * config.ndim), dtype=np.float32)
    segmenter.segment(blank, axes=config.axes, scale=1)


def _attempt(segmenter: Segmenter, job: batch.Job, selection: Selection, tiling: Tiling) -> bool:
    """Do a job; if it fails for any reason, say so and let the batch go on."""
    try:
        _segment_file(segmenter, job, selection, tiling)
    except Exception as error:
        logger.info("%s failed here:", job.image, exc_info=True)
        complain(f"pea: error: {readable(str(job.image))}: {_reason(error)}")
        return False
    return True


def _reason(error: Exception) -> str:
    text = readable(" ".join(str(error).split()))
    return text if isinstance(error, PixelEmbeddedAffinityError) else f"{type(error).__name__}: {text}"


def _segment_file(segmenter: Segmenter, job: batch.Job, selection: Selection, tiling: Tiling) -> None:
    from pixel_embedded_affinity.image import open_picture

    config = segmenter.config
    picture = open_picture(job.image, selection, channels=config.network.in_channels, ndim=config.ndim)
    found = (
        _frames(segmenter, picture, tiling) if "T" in picture.axes else _result(segmenter, picture, tiling)
    )
    for name, path in job.outputs.items():
        EXPORTERS.build(name).write(path, found)
    logger.info("%s: %d objects", job.labels, found.labels.max(initial=0))


def _result(segmenter: Segmenter, picture: Picture, tiling: Tiling) -> Result:
    """Segment an image; the result has its spatial axes in their usual order, and labels to store in the file's."""
    image = picture.image()
    axes = segmenter.config.axes
    found = segmenter.analyze(image.values, axes=axes, tile=tiling, pixel_size=image.pixel_size)
    # A gray image is shown and measured once, also if a model of three channels gets it three times.
    shown = image.values if "C" in image.source_axes and len(image.values) > 1 else image.values[0]
    stored = image.to_source_order(found.labels)
    measure = partial(found.table, shown, axes=axes if shown.ndim > stored.ndim else None)
    return Result(found.labels, shown, stored, measure, picture.axes.replace("C", ""), _stored_sizes(image))


def _stored_sizes(image: Image) -> tuple[float, ...] | None:
    """Sizes of a pixel in the order of the file's axes."""
    if image.pixel_size is None:
        return None
    letters = image.source_axes.replace("C", "")
    sizes = dict(zip(SPATIAL[len(letters)], image.pixel_size, strict=True))
    return tuple(sizes[letter] for letter in letters)


def _frames(segmenter: Segmenter, picture: Picture, tiling: Tiling) -> Result:
    """Segment the time points of a file, each on its own; the table has a column of their numbers."""
    import numpy as np

    frames = [_result(segmenter, picture.frame(number), tiling) for number in range(picture.frame_count)]
    axes = picture.axes.replace("C", "")
    stored = np.stack([frame.stored_labels for frame in frames], axis=axes.index("T"))
    labels, shown = (np.stack([getattr(frame, name) for frame in frames]) for name in ("labels", "image"))

    def measure() -> dict[str, Any]:
        tables = [frame.table for frame in frames]
        counts = [len(table["label"]) for table in tables]
        columns = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
        return {"frame": np.repeat(np.arange(len(tables)), counts), **columns}

    return Result(labels, shown, stored, measure, axes, frames[0].pixel_size)


def _tiling(text: str) -> Tiling:
    try:
        return Tiling({"auto": "auto", "whole": None}[text] if text in ("auto", "whole") else int(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not auto, whole or a number of pixels") from None
