"""``--measure``: the intensities of channels beside the one that was segmented."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export.base import Result
from pixel_embedded_affinity.io.selection import SPATIAL, Selection

if TYPE_CHECKING:
    from pixel_embedded_affinity.image import Picture

ALL = "all"


def add_measure_argument(parser: argparse._ArgumentGroup) -> None:
    """Add ``--measure``."""
    text = (
        "also measure these channels in each object, for the table and other programs: their names or numbers, such as "
        "GFP,2, or all"
    )
    parser.add_argument("--measure", metavar="CHANNELS", help=text)


def check_measure(measure: str | None, exporters: Sequence[str]) -> None:
    """Refuse to measure channels for labels alone, which nobody would see.

    Raises
    ------
    InputError
        If channels are to be measured, and no file beside the labels is asked for.
    """
    if measure is not None and not exporters:
        raise InputError(
            f"--measure {measure} adds columns to the table, and no table is asked for; add --table, or leave "
            "--measure out"
        )


def measured_channels(
    image: Path, selection: Selection, measure: str | None, ndim: int
) -> dict[str, Picture]:
    """Open the channels to measure, by the end of the names of their columns.

    Raises
    ------
    InputError
        If the image lacks one of them.
    """
    from pixel_embedded_affinity.image import open_picture

    if measure is None:
        return {}
    chosen: dict[str, int | str]
    whole = open_picture(image, replace(selection, channel=None), channels=1, ndim=ndim, lazily=True)
    if measure == ALL:
        names = whole.channel_names()
        # Channels of one name are told apart by their numbers.
        chosen = {name if names.count(name) == 1 else str(place): place for place, name in enumerate(names)}
    else:
        # The name of a channel may hold a comma.
        named = [measure] if measure in whole.channel_names() else [*map(str.strip, measure.split(","))]
        chosen = {name: int(name) if name.isdecimal() else name for name in named}
    try:
        return {
            f"-{name}": open_picture(
                image, replace(selection, channel=channel), channels=1, ndim=ndim, lazily=True
            )
            for name, channel in chosen.items()
        }
    except InputError as error:
        raise InputError(f"--measure {measure}: {error}") from error


def with_channels(result: Result, pictures: Mapping[str, Picture]) -> Result:
    """Return a result whose table also has the intensities of other channels."""
    if not pictures:
        return result

    def measure() -> dict[str, npt.NDArray[Any]]:
        from pixel_embedded_affinity.export.table import table_of

        values = {suffix: picture.image().values[0] for suffix, picture in pictures.items()}
        found = table_of(result.labels, SPATIAL[result.labels.ndim], values, None, None)
        return result.measure() | {name: column for name, column in found.items() if "intensity" in name}

    return replace(result, measure=measure)
