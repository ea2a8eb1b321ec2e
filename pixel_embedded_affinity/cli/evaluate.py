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
    add_progress_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Segment the images of a split and print the scores."""
    loading.check_target("--output", arguments.output, ".csv")
    data = loading.data_settings(arguments)

    from pixel_embedded_affinity.data.evaluate import evaluate_model, format_table, mean_row, write_rows
    from pixel_embedded_affinity.data.layouts import find_files

    files = find_files(arguments.data, data, arguments.split)
    bar, segmenter = bar_wanted(arguments), loading.load_segmenter(arguments)
    chosen = given_selection(arguments, data.image)
    rows = evaluate_model(segmenter, files, foreground=arguments.foreground, selection=chosen, progress=bar)
    say(format_table([*rows, mean_row(rows)]))
    if arguments.output is not None:
        write_rows(arguments.output, rows)
    return 0
