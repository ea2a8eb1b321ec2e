"""A flag for each declared inference setting and each choice of an image, for every command that segments."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pixel_embedded_affinity.config.model import inference_leaves
from pixel_embedded_affinity.config.settings import read_settings
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import Ambiguous, Check, Leaf, leaves
from pixel_embedded_affinity.io.selection import WHOLE, Selection


def add_setting_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--settings``, and a flag for each inference setting; flags that are not given leave no trace."""
    group = parser.add_argument_group(
        "settings", "those not given are the model's; lists are written with commas, such as 1,3,9"
    )
    file = "file of pea tune; the flags below go before what it holds"
    group.add_argument("--settings", metavar="JSON", help=file)
    for leaf in inference_leaves():
        group.add_argument(leaf.flag, dest=leaf.key, default=argparse.SUPPRESS, **_form(leaf))


def given_settings(arguments: argparse.Namespace, model: str = "", version: str = "") -> list[dict[str, Any]]:
    """Inference settings of the file and then of the flags, to apply one after the other.

    The log warns of a file that was written for another model than the one of this name, or another version of it.

    Returns
    -------
    list of dict
        Each for `ModelConfig.with_values` or `Segmenter.with_settings`, which check the values.

    Raises
    ------
    InputError
        If the file is no settings file, or there are directions without ranges.
    OSError
        If the file cannot be read.
    """
    keys = [leaf.key for leaf in inference_leaves()]
    flags = {key: value for key, value in vars(arguments).items() if key in keys}
    if "neighborhood.ranges" not in flags and "neighborhood.directions" in flags:
        raise InputError("--directions describes the pairs of --ranges; give --ranges too")
    file = arguments.settings
    return [*([read_settings(file, model, version)] if file is not None else []), flags]


def add_selection_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each choice of a `Selection`: which part of the files is the image."""
    group = parser.add_argument_group("images")
    for leaf in leaves(Selection):
        group.add_argument(leaf.flag, dest=leaf.key, **_form(leaf))


def given_selection(arguments: argparse.Namespace, recipe: Selection = WHOLE) -> Selection:
    """The choices of the flags; what they leave open is as in a recipe.

    Raises
    ------
    InputError
        If a value is not valid.
    """
    given = {leaf.key: getattr(arguments, leaf.key) for leaf in leaves(Selection)}
    return replace(recipe, **{key: value for key, value in given.items() if value is not None})


def _form(leaf: Leaf) -> dict[str, Any]:
    """The keywords of ``add_argument`` for a setting."""
    help_text = leaf.declared.help.replace("%", "%%")
    if isinstance(leaf.default, bool):
        return {"action": argparse.BooleanOptionalAction, "help": help_text}
    check = leaf.declared.check
    if not check.what:
        return {"help": help_text}
    return {"type": _parser(check), "metavar": "VALUE", "help": f"{help_text} ({check.what})"}


def _parser(check: Check) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            return check.parse(text)
        except Ambiguous as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {check.what}") from None

    return parse
