"""Time points and sections of a file, each segmented on its own: their results become one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pixel_embedded_affinity.export.base import FRAME_COLUMNS, Result
from pixel_embedded_affinity.labels import number_on

if TYPE_CHECKING:
    from pixel_embedded_affinity.image import Picture

OfFrame = Callable[[int, "Picture", Mapping[str, "Picture"]], Result]


def frame_by_frame(
    picture: Picture, channels: Mapping[str, Picture], of_frame: OfFrame, *, renumber: bool = True
) -> Result:
    """Return the result of all frames; the table has a column of their numbers.

    Parameters
    ----------
    picture : Picture
        The file, with an axis of frames.
    channels : dict of str to Picture
        Other channels to measure.
    of_frame : callable
        Returns the result of a frame, from its number, its picture and those of the channels.
    renumber : bool
        Whether the objects of sections are numbered on, so that no number stands for two of them.
    """
    import numpy as np

    from pixel_embedded_affinity.export.table import joined_tables

    frames = []
    for number in range(picture.frame_count):
        others = {name: channel.frame(number) for name, channel in channels.items()}
        frames.append(_measured(of_frame(number, picture.frame(number), others)))
    axes, sections = picture.axes.replace("C", ""), picture.frame_axis == "Z"
    stored = np.stack([frame.stored_labels for frame in frames], axis=axes.index(picture.frame_axis))
    labels, shown = (np.stack([getattr(frame, name) for frame in frames]) for name in ("labels", "image"))
    added = [0] * len(frames)
    if sections and renumber:
        added = number_on(labels)
        number_on(np.moveaxis(stored, axes.index("Z"), 0))

    def measure() -> dict[str, Any]:
        column = FRAME_COLUMNS[picture.frame_axis]
        columns = joined_tables([frame.table for frame in frames], column)
        columns["label"] += np.asarray(added)[columns[column]]
        return columns

    sizes = frames[0].pixel_size
    distance = (picture.source.pixel_size or {}).get("Z")
    if sections and sizes and distance:
        place = axes.index("Z")
        sizes = (*sizes[:place], distance, *sizes[place:])
    return Result(labels, shown, stored, measure, axes, sizes, picture.name, sections, picture.place)


def _measured(result: Result) -> Result:
    """Return a result with its table, so that the large embedding that it is measured with can go."""
    return replace(result, measure=partial(dict, result.table))
