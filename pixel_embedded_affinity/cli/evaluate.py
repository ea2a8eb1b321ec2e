"""``pea evaluate``: the scores of a model, or of label files, on images with true labels."""

from __future__ import annotations

import argparse

from pixel_embedded_affinity.cli import loading
from pixel_embedded_affinity.cli.messages import add_progress_argument, bar_wanted, path_argument, say
from pixel_embedded_affinity.cli.settings import add_selection_arguments, given_selection, given_settings
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.io.selection import WHOLE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pea evaluate``."""
    made = loading.add_model_arguments(parser)
    labels = "score the label files in this folder, of any program, in place of a model"
    made.add_argument("--labels", metavar="DIR", type=path_argument, help=labels)
    loading.add_data_arguments(parser, split="validation")
    add_selection_arguments(parser)
    output = "also write a row per image; a file there is replaced"
    parser.add_argument("--output", metavar="CSV", type=path_argument, help=output)
    against = "also print the mean change from an earlier --output of the same images, and its standard error"
    parser.add_argument("--against", metavar="CSV", type=path_argument, help=against)
    add_progress_argument(parser)


def _refuse_settings(arguments: argparse.Namespace) -> None:
    """Refuse, for label files, what would change how a model segments."""
    changed = any(given_settings(arguments)) or given_selection(arguments) != WHOLE
    if changed or arguments.foreground != "model":
        raise InputError(
            "--labels scores label files as they are, without a model; leave out the settings, --foreground and the "
            "choices of the image, or give --model"
        )


def run(arguments: argparse.Namespace) -> int:
    """Score the images of a split and print the scores."""
    if arguments.labels is not None:
        _refuse_settings(arguments)
    loading.check_target("--output", arguments.output, ".csv")
    data = loading.data_settings(arguments)

    from pixel_embedded_affinity.data import evaluate as scores
    from pixel_embedded_affinity.data.layouts import find_files

    earlier = [] if arguments.against is None else scores.read_rows(arguments.against)
    files = find_files(arguments.data, data, arguments.split)
    if earlier:
        scores.check_same_images([file.name for file in files], earlier)
    bar, chosen = bar_wanted(arguments), given_selection(arguments, data.image)
    if arguments.labels is not None:
        rows = scores.evaluate_labels(arguments.labels, files, progress=bar)
    else:
        rows = scores.evaluate_model(
            loading.load_segmenter(arguments),
            files,
            foreground=arguments.foreground,
            selection=chosen,
            progress=bar,
        )
    changes = scores.change_rows(rows, earlier) if earlier else []
    say(scores.format_table([*rows, scores.mean_row(rows), *changes]))
    if arguments.output is not None:
        scores.write_rows(arguments.output, rows)
    return 0
