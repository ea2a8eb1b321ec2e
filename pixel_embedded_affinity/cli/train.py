"""``pea train``, and ``python -m pixel_embedded_affinity.training``."""

from __future__ import annotations

import argparse
from pathlib import Path

from pixel_embedded_affinity.cli.loading import add_device_argument, add_run_arguments
from pixel_embedded_affinity.cli.messages import add_progress_argument, bar_wanted, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a training to a parser."""
    add_run_arguments(parser, output="folder of the run; made if absent")
    parser.add_argument("--resume", action="store_true", help="continue the run in the output folder")
    minutes = "save the state and stop when no further step may fit in this time"
    parser.add_argument("--minutes", type=float, metavar="M", help=minutes)
    steps = "steps of the whole run, in place of the recipe's"
    parser.add_argument("--steps", type=int, metavar="N", help=steps)
    seed = "seed of the run, in place of the recipe's"
    parser.add_argument("--seed", type=int, metavar="N", help=seed)
    add_device_argument(parser)
    compiled = (
        "let torch compile the network: minutes at the first step, for faster steps; needs a C++ compiler"
    )
    parser.add_argument("--compile", action="store_true", dest="compiled", help=compiled)
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--warm-start", metavar="FILE", help="model file whose weights the run starts from")
    name = "model of 'pea models list' whose weights the run starts from; its network must be the recipe's"
    start.add_argument("--init", metavar="NAME", help=name)
    encoder = "file of torchvision's weights (.safetensors, .pth) from which the encoder of a ResNet starts"
    start.add_argument("--encoder-weights", metavar="FILE", help=encoder)
    add_progress_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train as the parsed arguments say, and print where the model is and how it scored.

    Returns
    -------
    int
        0, the exit status.

    Raises
    ------
    PixelEmbeddedAffinityError
        As `pixel_embedded_affinity.training.run.train.train`.
    """
    from pixel_embedded_affinity.training.run.train import train

    names = ("recipe", "data", "output", "resume", "minutes", "steps", "seed", "device", "compiled")
    starts = ("warm_start", "init", "encoder_weights")
    given = {name: getattr(arguments, name) for name in (*names, *starts)}
    model = train(**given, progress=bar_wanted(arguments))
    say(f"{_scores(model.parent)}{model}")
    return 0


def _scores(folder: Path) -> str:
    """The last validation as a table, or nothing where there was none."""
    from pixel_embedded_affinity.data.evaluate import Row, format_table
    from pixel_embedded_affinity.training.run.logs import read_rows
    from pixel_embedded_affinity.training.run.validation import VALIDATION_FILE

    rows = read_rows(folder / VALIDATION_FILE)
    if not rows:
        return ""
    last: Row = {**rows[-1], "name": f"step {rows[-1]['step']}"}
    return f"{format_table([last])}\n"
