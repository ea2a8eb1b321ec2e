"""``pea evaluate``: a model's scores on images with true labels."""

from __future__ import annotations

import argparse
from pathlib import Path

from pixel_embedded_affinity.cli import loading
from pixel_embedded_affinity.cli.messages import add_progress_argument, bar_wanted, say
from pixel_embedded_affinity.cli.settings import add_selection_arguments, given_selection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pea evaluate``."""
    loading.add_model_arguments(parser)
    loading.add_data_arguments(parser, split="validation")
    add_selection_arguments(parser)
    output = "also write a row per image; a file there is replaced"
    parser.add_argument("--output", metavar="CSV", type=Path, help=output)
    against = "also print the mean change from an earlier --output of the same images, and its standard error"
    parser.add_argument("--against", metavar="CSV", type=Path, help=against)
    add_progress_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Segment the images of a split and print the scores."""
    loading.check_target("--output", arguments.output, ".csv")
    data = loading.data_settings(arguments)

    from pixel_embedded_affinity.data import evaluate as scores
    from pixel_embedded_affinity.data.layouts import find_files

    earlier = [] if arguments.against is None else scores.read_rows(arguments.against)
    files = find_files(arguments.data, data, arguments.split)
    if earlier:
        scores.check_same_images([file.name for file in files], earlier)
    bar, segmenter = bar_wanted(arguments), loading.load_segmenter(arguments)
    chosen = given_selection(arguments, data.image)
    rows = scores.evaluate_model(
        segmenter, files, foreground=arguments.foreground, selection=chosen, progress=bar
    )
    changes = scores.change_rows(rows, earlier) if earlier else []
    say(scores.format_table([*rows, scores.mean_row(rows), *changes]))
    if arguments.output is not None:
        scores.write_rows(arguments.output, rows)
    return 0
