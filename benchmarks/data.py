"""Which model, on which labeled images: arguments that several benchmarks share."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TypeVar

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.data.layouts import RAW, Example, Files, find_files, load
from pixel_embedded_affinity.training.recipe import Recipe

T = TypeVar("T")

SETTING = "an inference setting, such as views=1; may be given several times"


def add_arguments(parser: argparse.ArgumentParser, *, split: str = "validation") -> None:
    """Add ``--model``, ``--data``, ``--recipe``, ``--split``, ``--count``, ``--foreground`` and ``--device``."""
    parser.add_argument("--model", default="bbbc039", help="name of a model, or a .safetensors file")
    parser.add_argument("--data", required=True, help="folder of the data set")
    parser.add_argument(
        "--recipe", help="how the data lie and are split (default: the recipe named as the model)"
    )
    parser.add_argument("--split", default=split, help="part of the data to score on (default: %(default)s)")
    parser.add_argument("--count", type=int, help="number of images of it, evenly spread (default: all)")
    parser.add_argument(
        "--foreground",
        choices=("model", "truth"),
        help="where objects may be (default: in the model's foreground, if it has one)",
    )
    parser.add_argument("--device", default="auto")


def load_model(arguments: argparse.Namespace) -> Segmenter:
    """The model that the arguments name."""
    if arguments.model.endswith(".safetensors"):
        return Segmenter.from_file(arguments.model, device=arguments.device)
    return Segmenter.pretrained(arguments.model, device=arguments.device)


def with_given(segmenter: Segmenter, given: Sequence[str]) -> Segmenter:
    """The model with settings of the form ``KEY=VALUE``; a value is JSON or a word."""
    settings = dict(entry.split("=", 1) for entry in given)
    return segmenter.with_settings(**{key: _parsed(value) for key, value in settings.items()})


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def recipe_of(arguments: argparse.Namespace, segmenter: Segmenter) -> Recipe:
    """The recipe that says how the data lie: the given one, or the one named as the model."""
    return Recipe.from_file(arguments.recipe or segmenter.config.name)


def files_of(
    arguments: argparse.Namespace, segmenter: Segmenter, split: str, count: int | None
) -> list[Files]:
    """The image and label files of a split, or `count` of them."""
    return spread(find_files(arguments.data, recipe_of(arguments, segmenter).data, split), count)


def read(entry: Files, segmenter: Segmenter) -> Example:
    """A raw image with the model's number of channels, and its labels."""
    return load([entry], RAW, segmenter.config.network.in_channels)[0]


def is_given_foreground(arguments: argparse.Namespace, segmenter: Segmenter) -> bool:
    """Whether the true foreground is given to the clusterers."""
    return (
        arguments.foreground or ("model" if segmenter.config.network.foreground_head else "truth")
    ) == "truth"


def spread(items: Sequence[T], count: int | None) -> list[T]:
    """Some items at equal distances: images with similar names are often alike."""
    count = len(items) if count is None else min(count, len(items))
    return [items[number * len(items) // count] for number in range(count)]
