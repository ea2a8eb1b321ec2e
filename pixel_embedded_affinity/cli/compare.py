"""``pea compare``: trainings of one recipe, compared with baselines and variants."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from pixel_embedded_affinity.cli import loading
from pixel_embedded_affinity.cli.messages import add_progress_argument, bar_wanted, say
from pixel_embedded_affinity.cli.settings import add_setting_arguments, given_settings
from pixel_embedded_affinity.clustering import get_clusterer
from pixel_embedded_affinity.runtime.device import require_torch
from pixel_embedded_affinity.training.studies import STUDY_NAMES

if TYPE_CHECKING:
    from pixel_embedded_affinity.training.recipe import Recipe

_GIVEN = ("data", "output", "study", "seeds", "foreground", "validation_crop", "device")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a comparison to a parser."""
    loading.add_run_arguments(parser, output="folder of the comparison; one that is there goes on")
    studies = (
        "baselines: ML-De, AL and PEA, for volumes also MALA; modules: SCM, EPM, CCM; views: CCM's transformations; "
        "networks: those of the library; dimensions: lengths of an embedding vector"
    )
    parser.add_argument("--study", choices=STUDY_NAMES, default="baselines", help=studies)
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--minutes", type=float, metavar="M", help="minutes of training for each variant")
    budget.add_argument("--steps", type=int, metavar="N", help="steps of training for each variant")
    seeds = "train each variant N times, each time with another seed (default: %(default)s)"
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help=seeds)
    crop = "score only the central N x N pixels of each validation image (default: all of it)"
    parser.add_argument("--validation-crop", type=int, default=0, metavar="N", help=crop)
    loading.add_foreground_argument(parser)
    loading.add_device_argument(parser)
    add_setting_arguments(parser)
    add_progress_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Compare as the parsed arguments say, and print the table.

    Returns
    -------
    int
        0, the exit status.

    Raises
    ------
    PixelEmbeddedAffinityError
        As `pixel_embedded_affinity.training.studies.compare.compare`.
    """
    require_torch("Training")
    from pixel_embedded_affinity.training.recipe import Recipe
    from pixel_embedded_affinity.training.studies.compare import Budget, compare
    from pixel_embedded_affinity.training.studies.scores import format_comparison

    recipe = _with_settings(Recipe.from_file(arguments.recipe), arguments)
    budget, bar = Budget(arguments.minutes, arguments.steps), bar_wanted(arguments)
    given = {name: getattr(arguments, name) for name in _GIVEN}
    rows = compare(recipe, budget=budget, **given, progress=bar)
    say(format_comparison(rows, recipe))
    return 0


def _with_settings(recipe: Recipe, arguments: argparse.Namespace) -> Recipe:
    """The recipe with the given settings in its model."""
    model = recipe.model
    for values in given_settings(arguments):
        model = model.with_values(values)
    get_clusterer(model.clusterer, **model.clusterer_settings)
    return replace(recipe, model=model)
