"""``pea finetune``: a model of your own, from a few labeled images, in minutes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pixel_embedded_affinity.cli import loading
from pixel_embedded_affinity.cli.messages import (
    add_progress_argument,
    aligned,
    bar_wanted,
    path_argument,
    say,
)
from pixel_embedded_affinity.cli.settings import add_selection_arguments, given_selection
from pixel_embedded_affinity.runtime.device import require_torch

if TYPE_CHECKING:
    from pixel_embedded_affinity.training.finetune import FineTuning


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pea finetune``."""
    data = "folder with images/ and labels/ of the same names, or a list file"
    parser.add_argument("data", metavar="FOLDER", help=data)
    loading.add_model_arguments(parser)
    layout = "how the data lie: folders, bbbc039, cvppp; all images are used (default: %(default)s)"
    parser.add_argument("--layout", choices=("folders", "bbbc039", "cvppp"), default="folders", help=layout)
    add_selection_arguments(parser)
    output = "the model file; a file there is replaced"
    parser.add_argument("--output", metavar="FILE", type=path_argument, required=True, help=output)
    length = parser.add_mutually_exclusive_group()
    minutes = "time after the images are read (default: 10)"
    length.add_argument("--minutes", type=float, metavar="M", help=minutes)
    length.add_argument("--steps", type=int, metavar="N", help="training steps, in place of a time")
    metric = (
        "what is to be high on the held-out part: AJI, SBD, PQ, F1 or Dice; or low: VOI or ARAND "
        "(default: AJI; VOI for a model of volumes)"
    )
    parser.add_argument("--metric", help=metric)
    seed = "seed of what is held out and of the crops (default: %(default)s)"
    parser.add_argument("--seed", type=int, metavar="N", default=0, help=seed)
    add_progress_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Fine-tune a model on all images of a folder, write it, and print the scores."""
    loading.check_target("--output", arguments.output, ".safetensors")

    require_torch("Fine-tuning")
    from pixel_embedded_affinity.data.layouts import RAW, DataSettings, find_files, load
    from pixel_embedded_affinity.training.finetune import finetune_examples
    from pixel_embedded_affinity.training.stored import stored_model
    from pixel_embedded_affinity.tune import usual_metric

    segmenter, selection = loading.load_segmenter(arguments), given_selection(arguments)
    stored_model(segmenter)
    files = find_files(arguments.data, DataSettings(layout=arguments.layout), "all")
    config = segmenter.config
    examples = load(files, RAW, config.network.in_channels, ndim=config.ndim, selection=selection)
    found = finetune_examples(
        segmenter,
        examples,
        minutes=arguments.minutes,
        steps=arguments.steps,
        metric=arguments.metric,
        seed=arguments.seed,
        progress=bar_wanted(arguments),
    )
    found.save(arguments.output)
    say(_report(found, arguments.metric or usual_metric(config.ndim), len(examples)))
    say(str(arguments.output))
    return 0


def _report(found: FineTuning, metric: str, images: int) -> str:
    from pixel_embedded_affinity.tune import metric_value

    def shown(score: float) -> str:
        return f"{metric_value(metric, score):.4f}"

    trained = [row for row in found.table if row["model"] == "trained"]
    rows = [
        ["images", str(images)],
        ["held out", ", ".join(found.held_out)],
        ["steps", str(trained[-1]["step"])],
        ["scale", str(found.segmenter.config.scale)],
        [f"{metric} before", shown(found.start_score)],
        *(
            [f"{metric} at another scale", shown(float(row["score"]))]
            for row in found.table
            if row["model"] == "scale"
        ),
        *(
            [f"{metric} with new batch norms", shown(float(row["score"]))]
            for row in found.table
            if row["model"] == "adapted"
        ),
        [f"{metric} after training", shown(max(float(row["score"]) for row in trained))],
        ["weights", "new" if found.has_new_weights else "as they were"],
    ]
    return aligned(rows)
