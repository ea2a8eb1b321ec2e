"""``pea tune``: settings that suit a few labeled images, written to a file for ``pea segment --settings``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pixel_embedded_affinity.cli import loading
from pixel_embedded_affinity.cli.messages import (
    add_progress_argument,
    aligned,
    bar_wanted,
    complain,
    path_argument,
    say,
)
from pixel_embedded_affinity.cli.settings import add_selection_arguments, given_selection
from pixel_embedded_affinity.errors import InputError

if TYPE_CHECKING:
    from pixel_embedded_affinity.data.layouts import DataSettings, Example, Source
    from pixel_embedded_affinity.tune import Row, Tuning


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pea tune``."""
    loading.add_model_arguments(parser)
    loading.add_data_arguments(parser, split="training")
    add_selection_arguments(parser)
    limit = "tune on N images, evenly spread over those of the split"
    parser.add_argument("--limit", metavar="N", type=int, help=limit)
    metric = (
        "what is to be high: AJI, SBD, PQ, F1 or Dice; or low: VOI or ARAND (default: AJI; of volumes VOI)"
    )
    parser.add_argument("--metric", help=metric)
    output = "the settings; a file there is replaced"
    parser.add_argument("--output", metavar="JSON", type=path_argument, required=True, help=output)
    table = "also write all that was tried; a file there is replaced"
    parser.add_argument("--table", metavar="CSV", type=path_argument, help=table)
    add_progress_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Tune a model on the images of a split, write the settings, and print the scores."""
    loading.check_target("--output", arguments.output, ".json")
    loading.check_target("--table", arguments.table, ".csv")
    data = loading.data_settings(arguments)

    from pixel_embedded_affinity.data.layouts import find_files
    from pixel_embedded_affinity.tune import usual_metric

    files = _spread(find_files(arguments.data, data, arguments.split), arguments.limit)
    tuning = _tuned(arguments, data, files)
    tuning.segmenter.save_settings(arguments.output)
    if arguments.table is not None:
        tuning.write(arguments.table)
    metric = arguments.metric or usual_metric(tuning.segmenter.config.ndim)
    say(_report(tuning, metric))
    say("\n" + _by_image(tuning, metric, [one.name for one in files]))
    if tuning.held_out_scores and tuning.held_out_score < tuning.start_score:
        complain(
            "pea: settings found on the other images scored lower on the one left out than the old settings "
            "(leave-one-out): the new ones may not suit further images; tune on more images"
        )
    return 0


def _tuned(arguments: argparse.Namespace, data: DataSettings, files: Sequence[Source]) -> Tuning:
    from pixel_embedded_affinity.data.layouts import RAW, load

    segmenter = loading.load_segmenter(arguments)
    config, selection = segmenter.config, given_selection(arguments, data.image)
    examples = load(files, RAW, config.network.in_channels, ndim=config.ndim, selection=selection)
    labels = [example.labels for example in examples]
    return segmenter.tune(
        [example.image for example in examples],
        labels,
        metric=arguments.metric,
        foregrounds=[truth > 0 for truth in labels] if arguments.foreground == "truth" else None,
        axes=segmenter.config.axes,
        pixel_size=selection.pixel_size or _one_size(examples),
        progress=bar_wanted(arguments),
    )


def _one_size(examples: Sequence[Example]) -> tuple[float, ...] | None:
    """The size of a pixel that all files declare; None if they declare none, or several."""
    sizes = {example.pixel_size for example in examples}
    return sizes.pop() if len(sizes) == 1 else None


def _spread(files: Sequence[Source], limit: int | None) -> list[Source]:
    """Take the first and others at equal distances, `limit` in all: images with similar names are often alike."""
    if limit is None or limit >= len(files):
        return list(files)
    if limit < 1:
        raise InputError(f"--limit must be at least 1, got {limit}")
    return [files[number * len(files) // limit] for number in range(limit)]


def _report(tuning: Tuning, metric: str) -> str:
    rows = [
        ["images", str(len(_scores(tuning.table[0])))],
        ["settings tried", str(len(tuning.table))],
        [f"{metric} before", _shown(metric, tuning.start_score)],
        [f"{metric} after", _shown(metric, tuning.score)],
    ]
    if tuning.held_out_scores:
        rows.append([f"{metric} leave-one-out", _shown(metric, tuning.held_out_score)])
    rows += [
        [name, str(value) or "-"]
        for name, value in tuning.chosen.items()
        if not name.startswith(("score", "chosen"))
    ]
    return aligned([row for row in rows if row[0] != "varied"])


def _by_image(tuning: Tuning, metric: str, names: Sequence[str]) -> str:
    """The score of each image: with the settings before, after, and with those found on the other images."""
    columns = {f"{metric} before": _scores(tuning.table[0]), "after": _scores(tuning.chosen)}
    if tuning.held_out_scores:
        columns["leave-one-out"] = list(tuning.held_out_scores)
    rows = [[_shown(metric, score) for score in scores] for scores in zip(*columns.values(), strict=True)]
    return aligned([["image", *columns], *([name, *row] for name, row in zip(names, rows, strict=True))])


def _shown(metric: str, score: float) -> str:
    from pixel_embedded_affinity.tune import metric_value

    return f"{metric_value(metric, score):.4f}"


def _scores(row: Row) -> list[float]:
    """The score of each image in a row of the table."""
    return [float(value) for name, value in row.items() if name.startswith("score_")]
