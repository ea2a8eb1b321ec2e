"""``pea evaluate``: a model's scores on images with true labels."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pixel_embedded_affinity.cli.loading import add_model_arguments, load_segmenter
from pixel_embedded_affinity.cli.messages import add_progress_argument, bar_wanted, say
from pixel_embedded_affinity.errors import InputError

if TYPE_CHECKING:
    from pixel_embedded_affinity.training.config import DataSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pea evaluate``."""
    add_model_arguments(parser)
    parser.add_argument("--data", metavar="DIR", required=True, help="folder with the images and labels")
    layout = parser.add_mutually_exclusive_group()
    layout.add_argument(
        "--recipe",
        metavar="NAME_OR_FILE",
        help="training recipe that says how the data lie and are split (default: the one named as the model)",
    )
    layout.add_argument(
        "--layout", help="how the data lie, where there is no recipe: folders, bbbc039, cvppp"
    )
    parser.add_argument(
        "--split", default="validation", help="training, validation, test or all (default: %(default)s)"
    )
    parser.add_argument(
        "--foreground",
        choices=("model", "truth"),
        default="model",
        help="where objects are looked for; truth: where the labels have some, as some benchmarks give it",
    )
    parser.add_argument(
        "--output", metavar="CSV", type=Path, help="also write a row per image; a file there is replaced"
    )
    add_progress_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Segment the images of a split and print the scores."""
    _check_output(arguments.output)
    data = _data_settings(arguments)

    from pixel_embedded_affinity.training.dataset import find_pairs
    from pixel_embedded_affinity.training.evaluate import evaluate_model, format_table, mean_row, write_rows

    pairs = find_pairs(arguments.data, data, arguments.split)
    rows = evaluate_model(
        load_segmenter(arguments), pairs, foreground=arguments.foreground, progress=bar_wanted(arguments)
    )
    say(format_table([*rows, mean_row(rows)]))
    if arguments.output is not None:
        write_rows(arguments.output, rows)
    return 0


def _data_settings(arguments: argparse.Namespace) -> DataSettings:
    from pixel_embedded_affinity.training.config import DataSettings, Recipe

    if arguments.layout is not None:
        return DataSettings(layout=arguments.layout)
    recipe = arguments.recipe or arguments.model
    if recipe is None:
        raise InputError(
            "nothing says how the data lie; give --recipe, or --layout folders, bbbc039 or cvppp"
        )
    return Recipe.from_file(recipe).data


def _check_output(path: Path | None) -> None:
    """Refuse now what could not be written after all the work."""
    if path is not None and (path.suffix.lower() != ".csv" or not path.parent.is_dir()):
        raise InputError(f"--output {path}: expected a name ending in .csv in a folder that exists")
