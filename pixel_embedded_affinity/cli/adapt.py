"""``pea adapt``: a model of volumes for another microscope, without labels."""

from __future__ import annotations

import argparse

from pixel_embedded_affinity.cli import loading
from pixel_embedded_affinity.cli.inputs import add_input_arguments, find_images, say_left_out
from pixel_embedded_affinity.cli.messages import (
    add_progress_argument,
    aligned,
    bar_wanted,
    path_argument,
    say,
)
from pixel_embedded_affinity.cli.settings import add_selection_arguments, given_selection
from pixel_embedded_affinity.runtime.device import require_torch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pea adapt``."""
    add_input_arguments(
        parser,
        "volumes: TIFF stacks, OME-Zarr, datasets FILE.h5:/NAME, folders of them, or quoted patterns; what is to be "
        "segmented, or a part of it",
    )
    loading.add_model_arguments(parser)
    add_selection_arguments(parser)
    output = "the model file; a file there is replaced"
    parser.add_argument("--output", metavar="FILE", type=path_argument, required=True, help=output)
    add_progress_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Take the statistics of the volumes, write the model, and print how far the statistics moved."""
    loading.check_target("--output", arguments.output, ".safetensors")
    require_torch("Adapting")
    from pixel_embedded_affinity.training.adapt import adapt_selected

    found = find_images(arguments.inputs, recursive=arguments.recursive, sections=arguments.sections)
    say_left_out(found)
    volumes = [one.image for one in found.images]
    segmenter, selection = loading.load_segmenter(arguments), given_selection(arguments)
    made = adapt_selected(segmenter, volumes, selection, progress=bar_wanted(arguments))
    made.save(arguments.output)
    say(
        aligned(
            [
                ["volumes", str(len(volumes))],
                ["windows", str(made.windows)],
                ["statistics moved by", f"{made.shift:.2f} standard deviations"],
            ]
        )
    )
    say(str(arguments.output))
    return 0
