"""``pea segment``: a batch of images, each result written as soon as it is there."""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pixel_embedded_affinity.cli import batch, blocks, inputs, kept, measuring, records, summary
from pixel_embedded_affinity.cli.frames import frame_by_frame
from pixel_embedded_affinity.cli.loading import add_model_arguments, load_segmenter, results_maker, title_of
from pixel_embedded_affinity.cli.messages import (
    add_progress_argument,
    bar_wanted,
    complain,
    path_argument,
    say,
)
from pixel_embedded_affinity.cli.settings import add_selection_arguments, given_selection
from pixel_embedded_affinity.errors import InputError, PixelEmbeddedAffinityError, readable
from pixel_embedded_affinity.export.base import EXPORTERS, Result, check_exporter
from pixel_embedded_affinity.geometry.tiling import Tiling
from pixel_embedded_affinity.io.locks import locked
from pixel_embedded_affinity.io.selection import Selection
from pixel_embedded_affinity.runtime.progress import track
from pixel_embedded_affinity.runtime.subject import about

if TYPE_CHECKING:
    from pixel_embedded_affinity.config.model import ModelConfig
    from pixel_embedded_affinity.image import Picture
    from pixel_embedded_affinity.segmenter import Segmenter

logger = logging.getLogger(__name__)

_ONE_REGION = {
    "region_table": "--region-table has one row for each image",
    "region_overlay": "--region-overlay shows one number for each image",
}
"""What the exporters that number regions write where an image is one region."""

_OTHER_IMAGE = (
    "the image has changed since these labels were made, and the tables now measure the new one; if the labels are not "
    "its own, remove them"
)

_LOCK, _PATIENCE = "lock-summary", 600.0
"""File by which shards write the summary one after the other, and the seconds that one waits for the others."""

_SEVERAL = 5
"""Images from which a batch has a usual scale."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pea segment``."""
    inputs.add_input_arguments(
        parser,
        "TIFF, PNG, JPEG or OME-Zarr images, datasets FILE.h5:/NAME, folders of images, or quoted patterns",
    )
    every = "segment all images of a file that holds several, such as positions of a stage: NAME_series0, ..."
    parser.add_argument("--all-series", action="store_true", help=every)
    add_model_arguments(parser)
    _add_image_arguments(parser)
    _add_output_arguments(parser)


def _add_image_arguments(parser: argparse.ArgumentParser) -> None:
    add_selection_arguments(parser)
    parser.add_argument(
        "--tile",
        metavar="PIXELS",
        type=_tiling,
        help="length of the tiles in which an image goes through the network; auto: no tiles if the image fits into "
        "memory; whole: no tiles (default: auto, and for blocks that of segment_large)",
    )
    blocks.add_blocks_argument(parser)


def _add_output_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("results")
    folder = "folder for NAME_labels.tif; made if absent"
    group.add_argument("--output", metavar="DIR", type=path_argument, required=True, help=folder)
    present = group.add_mutually_exclusive_group()
    resume = "skip images whose results are there, whole, from the same image, model and settings"
    present.add_argument("--resume", action="store_true", help=resume)
    present.add_argument("--overwrite", action="store_true", help="replace results that are there")
    group.add_argument(
        "--shard",
        metavar="I/N",
        type=_shard,
        default=batch.Shard(),
        help="do the I-th of N equal shares, such as 2/8, while other processes do the others",
    )
    add_progress_argument(parser)
    for name, exporter in EXPORTERS.every():
        if name != records.LABELS:
            _add_exporter(group, name, f"also NAME{exporter.suffix}: {exporter.help}")
    measuring.add_measure_argument(group)
    text = f"also {summary.SUMMARY}: a row for each image, with the number of objects and their areas"
    group.add_argument("--summary", action="store_true", help=text)


def _add_exporter(group: argparse._ArgumentGroup, name: str, text: str) -> None:
    flag, text = f"--{name.replace('_', '-')}", text.replace("%", "%%")
    try:
        group.add_argument(flag, dest="exporters", action="append_const", const=name, default=[], help=text)
    except argparse.ArgumentError:
        logger.warning("exporter %r is left out: the flag %s has another meaning", name, flag)


def run(arguments: argparse.Namespace) -> int:
    """Segment every image; return 1 if one of them failed, else 0."""
    measuring.check_measure(arguments.measure, arguments.exporters)
    if arguments.all_series and arguments.series is not None:
        raise InputError(
            f"--series {arguments.series} names one image of a file, --all-series all of them; leave one of both out"
        )
    every = _planned(arguments)
    jobs = arguments.shard.of(every)
    if len(every) < arguments.shard.count:
        complain(
            f"pea: {len(every)} images in {arguments.shard.count} shards: some shards are empty; give all images to "
            "each run, which takes its own part of them"
        )
    with batch.alone(arguments.output, arguments.shard, every):
        states = _states(jobs, arguments)
        todo = [job.with_recorded() for job in jobs if states[job.labels] != records.DONE]
        foreign = {job.labels for job in jobs if states[job.labels] == records.FOREIGN}
        todo = [job for job in todo if job.labels not in foreign or len(job.outputs) > 1]
        failed = _work(todo, foreign, arguments) if todo else set()
        if arguments.summary:
            _write_summary(every, failed, arguments)
    say(_summary(states, failed, arguments))
    return 1 if failed else 0


def _write_summary(
    jobs: Sequence[batch.Job], failed: Collection[Path], arguments: argparse.Namespace
) -> None:
    """Write the table of all images, while no other shard does: each reads what lies in the folder then."""
    table, selection = arguments.output / summary.SUMMARY, given_selection(arguments)
    refusal = (
        f"another shard has been writing '{table}' for {_PATIENCE:.0f} s; run again with --resume --summary"
    )
    with locked(arguments.output / records.RECORDS / _LOCK, refusal, wait=_PATIENCE):
        summary.write_summary(table, jobs, selection, lambda: load_segmenter(arguments).config.ndim, failed)


def _summary(states: Mapping[Path, str], failed: Collection[Path], arguments: argparse.Namespace) -> str:
    shard = arguments.shard
    share = f" of shard {shard.number}/{shard.count}" if shard.count > 1 else ""
    counts = Counter(state for labels, state in states.items() if labels not in failed)
    kept, before = counts[records.FOREIGN], counts[records.DONE]
    segmented = [labels for labels, state in states.items() if state not in (records.DONE, records.FOREIGN)]
    done = len(set(segmented) - set(failed))
    parts = [f"{done} of {len(states)} images{share} segmented"]
    parts += [f"{before} done before"] if arguments.resume else []
    parts += [f"labels of {kept} kept as somebody made them"] if kept else []
    parts += [f"{len(failed)} failed"] if failed else []
    return f"{', '.join(parts)}; results in {readable(str(arguments.output))}"


def _planned(arguments: argparse.Namespace) -> list[batch.Job]:
    """Return the jobs of all processes; say which files are no inputs."""
    batch.check_output_folder(arguments.output)
    findings = inputs.find_images(
        arguments.inputs, recursive=arguments.recursive, sections=arguments.sections
    )
    images = batch.without_results(findings.images, arguments.output)
    for path in sorted({one.image for one in findings.images} - {one.image for one in images}):
        findings.leave_out(inputs.RESULT, path)
    inputs.say_left_out(findings)
    if arguments.all_series:
        images = batch.every_series(images, sections=arguments.sections)
    jobs = batch.plan_jobs(images, arguments.output, arguments.exporters)
    if batch.share_names(images):
        complain("pea: images share names: their results lie in folders as the images do")
    return jobs


def _states(jobs: Sequence[batch.Job], arguments: argparse.Namespace) -> dict[Path, str]:
    """Tell for the labels of each image whether they are done; say what is made again or kept."""
    if not arguments.resume:
        if not arguments.overwrite:
            # The first of several shards to end writes the table, and the others write it again.
            alone = arguments.summary and arguments.shard.count == 1
            table = [arguments.output / summary.SUMMARY] if alone else []
            batch.refuse_existing((job.with_recorded() for job in jobs), table)
        return {job.labels: records.NEW for job in jobs}
    maker = results_maker(arguments)
    batch.refuse_others(jobs, maker)
    states = {job.labels: job.state(maker) for job in jobs}
    for state in (records.CHANGED, records.PARTIAL, records.FOREIGN):
        if paths := [job.labels for job in jobs if states[job.labels] == state]:
            complain(readable(f"pea: {inputs.described(state, paths)}"))
    foreign = [job for job in jobs if states[job.labels] == records.FOREIGN]
    if paths := [job.labels for job in foreign if job.has_other_image()]:
        complain(readable(f"pea: {inputs.described(_OTHER_IMAGE, paths)}"))
    return states


def _work(jobs: Sequence[batch.Job], foreign: Collection[Path], arguments: argparse.Namespace) -> set[Path]:
    """Do the jobs; return the labels of those that failed. Foreign labels stay."""
    maker, selection = results_maker(arguments), given_selection(arguments)
    segmenter = load_segmenter(arguments)
    logger.info("the model is %s", title_of(segmenter))
    if arguments.sections and segmenter.config.ndim != 3:
        raise InputError(
            f"--sections is for models of volumes, and {title_of(segmenter)} segments images; without it, the images "
            "of a folder are segmented one by one"
        )
    _try_out(segmenter)
    asked = sorted({name for job in jobs for name in job.outputs})
    if segmenter.config.regions == "image":
        for name in [name for name in asked if name in _ONE_REGION]:
            complain(f"pea: without --regions components, {_ONE_REGION[name]}")
    for name in asked:
        check_exporter(EXPORTERS.build(name), segmenter.config.ndim)
    bar = track(jobs, bar_wanted(arguments), unit="image")
    failed: set[Path] = set()
    scales: list[float] = []
    before = ""
    for job in bar:
        reason = _attempt(
            segmenter, job, maker, job.part(selection), arguments, scales, foreign=job.labels in foreign
        )
        if reason:
            if job.labels not in foreign and records.note_failure(job.record):
                reason += "; its results of an earlier run remain"
            alike = reason.replace(readable(str(job.image)), "")
            complain(f"pea: error: {job.title}: {'failed as the one before' if alike == before else reason}")
            failed.add(job.labels)
            before = alike
    if remark := _remark_on(scales, segmenter.config):
        complain(remark)
    return failed


def _remark_on(scales: Sequence[float], config: ModelConfig) -> str:
    """Say that some images were seen at another scale than most; empty if all have one, or each should have its own."""
    from pixel_embedded_affinity.scale import is_kept

    if len(scales) < _SEVERAL or config.regions != "image" or config.object_extent is not None:
        return ""
    usual = sorted(scales)[(len(scales) - 1) // 2]
    others = sorted(scale for scale in scales if not is_kept(scale / usual))
    if not others:
        return ""
    ends = " to ".join(dict.fromkeys(f"{scale:.2g}" for scale in (others[0], others[-1])))
    return (
        f"pea: most images were seen at a scale of about {usual:.2g}, {len(others)} of {len(scales)} at {ends}; if all "
        f"come from one microscope, segment them with --scale {usual:.2g} --overwrite"
    )


def _try_out(segmenter: Segmenter) -> None:
    """Segment a blank image, so that bad settings or a bad device are refused once, not for every file."""
    import numpy as np

    config = segmenter.config
    blank = np.zeros((config.network.in_channels, *(16,) * config.ndim), dtype=np.float32)
    segmenter.segment(blank, axes=config.axes, scale=1, pixel_size=config.pixel_size)


def _attempt(
    segmenter: Segmenter,
    job: batch.Job,
    maker: records.Maker,
    selection: Selection,
    arguments: argparse.Namespace,
    scales: list[float],
    *,
    foreign: bool,
) -> str:
    """Do a job, and note its scales; return why it failed, or nothing."""
    with about(job.title):
        try:
            config, measure = segmenter.config, arguments.measure
            channels = measuring.measured_channels(job.image, selection, measure, config.ndim)
            if foreign:
                kept.describe(job, config, selection, channels)
                return ""
            source = job.source(maker)
            if blocks.is_wanted(segmenter, job.image, selection, arguments.blocks):
                blocks.segment(segmenter, job, source, selection, arguments.tile, channels)
            else:
                scales += _segment_file(segmenter, job, source, selection, arguments.tile, channels)
        except Exception as error:
            logger.info("it failed here:", exc_info=True)
            return _reason(error, job.image) or type(error).__name__
    return ""


def _reason(error: Exception, image: Path) -> str:
    """What went wrong, on one line that does not name the image again."""
    text = readable(" ".join(str(error).split()).removeprefix(f"'{image}': "))
    return text if isinstance(error, PixelEmbeddedAffinityError) else f"{type(error).__name__}: {text}"


def _segment_file(
    segmenter: Segmenter,
    job: batch.Job,
    source: records.Source,
    selection: Selection,
    tiling: Tiling | None,
    channels: Mapping[str, Picture],
) -> list[float]:
    """Segment a file and write the results; return the scale of each frame."""
    from pixel_embedded_affinity.image import open_picture

    config = segmenter.config
    picture = open_picture(job.image, selection, channels=config.network.in_channels, ndim=config.ndim)
    job.check_exporters(config.ndim, picture.axes.replace("C", ""))
    scales: list[float] = []

    def result(part: Picture, others: Mapping[str, Picture]) -> Result:
        """Segment a part; its spatial axes have their usual order, and labels to store have the file's."""
        found = segmenter.analyze(part, tile=tiling or Tiling())
        scales.append(found.found.number)
        return measuring.with_channels(replace(found.as_result(part.name), place=part.place), others)

    if picture.frame_axis:
        found = frame_by_frame(picture, channels, lambda _, frame, others: result(frame, others))
    else:
        found = result(picture, channels)
    job.labels.parent.mkdir(parents=True, exist_ok=True)
    # From here on, no file of an earlier run is the last word.
    records.write_record(job.record, job.image, source, {})
    batch.write_results(job.outputs, found)
    records.write_record(job.record, job.image, source, job.outputs, title_of(segmenter))
    logger.info("%s: %d objects", job.labels, found.labels.max(initial=0))
    return scales


def _tiling(text: str) -> Tiling:
    try:
        return Tiling({"auto": "auto", "whole": None}[text] if text in ("auto", "whole") else int(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not auto, whole or a number of pixels") from None


def _shard(text: str) -> batch.Shard:
    try:
        return batch.parse_shard(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 1 to N, such as 2/8") from None
