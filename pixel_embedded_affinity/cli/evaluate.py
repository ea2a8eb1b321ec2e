"""``pea evaluate``: a model's scores on images with true labels."""

from __future__ import annotations

import argparse
from pathlib import Path

from pixel_embedded_affinity.cli.loading import (
    add_data_arguments,
    add_model_arguments,
    data_settings,
    load_segmenter,
)
from pixel_embedded_affinity.cli.messages import add_progress_argument, bar_wanted, say
from pixel_embedded_affinity.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pea evaluate``."""
    add_model_arguments(parser)
    add_data_arguments(parser, split="validation")
    parser.add_argument(
        "--output", metavar="CSV", type=Path, help="also write a row per image; a file there is replaced"
    )
    add_progress_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Segment the images of a split and print the scores."""
    _check_output(arguments.output)
    data = data_settings(arguments)

    from pixel_embedded_affinity.data.evaluate import evaluate_model, format_table, mean_row, write_rows
    from pixel_embedded_affinity.data.layouts import find_files

    files = find_files(arguments.data, data, arguments.split)
    rows = evaluate_model(
        load_segmenter(arguments), files, foreground=arguments.foreground, progress=bar_wanted(arguments)
    )
    say(format_table([*rows, mean_row(rows)]))
    if arguments.output is not None:
        write_rows(arguments.output, rows)
    return 0


def _check_output(path: Path | None) -> None:
    """Refuse a file now that could not be written after all the work."""
    if path is not None and (path.suffix.lower() != ".csv" or not path.parent.is_dir()):
        raise InputError(f"--output {path}: expected a name ending in .csv in a folder that exists")
