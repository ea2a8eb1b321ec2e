"""``--summary``: one table of all images of a batch, with the number and the areas of their objects."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.cli.batch import Job
from pixel_embedded_affinity.cli.records import has_failed, record_path, recorded_series
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export.base import FRAME_COLUMNS
from pixel_embedded_affinity.export.labels import Labels
from pixel_embedded_affinity.export.region_table import RegionTable
from pixel_embedded_affinity.export.table import write_table
from pixel_embedded_affinity.io.read import list_series, stored_source
from pixel_embedded_affinity.io.readers.base import Source
from pixel_embedded_affinity.io.selection import SPATIAL, Selection, sizes_of

SUMMARY = "summary.csv"
"""Name of the table, in the output folder."""

Row = dict[str, Any]

_TOGETHER = 1 << 24  # pixels that are counted at a time
_UNITS = {2: "area_um2", 3: "volume_um3"}
_ALWAYS = "image", "labels", "objects", "area", "mean_area", "median_area"
"""Columns of every table, also of one whose images failed or show nothing, so that tables fit together."""

_NAMES = (
    *("image", "labels", *FRAME_COLUMNS.values(), "region", "objects"),
    *("area", "mean_area", "median_area", "centroid-z", "centroid-y", "centroid-x"),
)


def write_summary(
    path: Path,
    jobs: Sequence[Job],
    selection: Selection,
    ndim: Callable[[], int],
    failed: Collection[Path] = (),
) -> None:
    """Write a row for each image, and for each time point or section that was segmented on its own.

    Where a table of regions lies beside the labels, each region, such as a plant of a tray, has its own row. The
    numbers are of the labels that lie in the folder now, also of those that a person has corrected. An image without
    labels, or one that failed in this run or in that of another shard, has a row without numbers. Images that an
    earlier summary names, and whose labels lie in the folder, keep their rows; these are counted anew.

    Parameters
    ----------
    path : pathlib.Path
        The table; one that is there is replaced.
    jobs : sequence of Job
        All images of the batch.
    selection : Selection
        Its size of a pixel goes before what the files say.
    ndim : callable
        Returns the number of spatial axes of the model. It is called only where labels have an axis Z.
    failed : collection of pathlib.Path
        Labels of images that could not be segmented, or that cannot be used: their rows have no numbers.

    Raises
    ------
    InputError
        If labels cannot be read.
    """
    earlier = {labels: image for labels, image in _summarized(path).items() if labels.exists()}
    labeled = earlier | {job.labels: str(job.image) for job in jobs}
    rows = [
        row
        for labels, image in labeled.items()
        for row in _rows_of(image, labels, path.parent, selection, ndim, empty=labels in failed)
    ]
    known = {*_ALWAYS, *(name for row in rows for name in row)}
    names = [name for name in (*_NAMES, *_sized_names()) if name in known]
    write_table(path, {name: np.array([row.get(name, "") for row in rows], object) for name in names})


def _sized_names() -> list[str]:
    return [f"{start}{name}" for name in _UNITS.values() for start in ("", "mean_", "median_")]


def _summarized(path: Path) -> dict[Path, str]:
    """The images of an earlier summary, by their labels; of another file, none."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {path.parent / row["labels"]: row["image"] for row in csv.DictReader(file)}
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return {}


def _rows_of(
    image: str, labels: Path, folder: Path, selection: Selection, ndim: Callable[[], int], *, empty: bool
) -> Iterator[Row]:
    named = {"image": image, "labels": labels.relative_to(folder).as_posix()}
    record = record_path(folder, labels)
    if empty or not labels.exists() or has_failed(record):
        yield named
        return
    source, again = (
        _opened(labels),
        cache(partial(_read_again, image, selection, record)),
    )
    if len(source.axes) == len(SPATIAL[3]) and "T" not in source.axes and ndim() < len(SPATIAL[3]):
        source = source._replace(axes=_axes_of_frames(source, again, selection))
    letter = _frame_letter(source.axes, ndim)
    rest = source.axes.replace(letter, "") if letter else source.axes
    sizes = _sizes(source, again, rest, selection)
    regions = _regions_beside(labels)
    if not letter:
        areas = _counted(_in_parts(source.values))
        yield from (named | _sized(row, rest, sizes) for row in _divided(areas, regions))
        return
    place, column = source.axes.index(letter), FRAME_COLUMNS[letter]
    for number in range(source.values.shape[place]):
        frame = np.asarray(source.values[(*(slice(None),) * place, number)])
        here = [row for row in regions if row.get(column) == str(number)]
        for row in _divided(_counted([frame]), here):
            yield named | {column: number} | _sized(row, rest, sizes)


def _regions_beside(labels: Path) -> list[Row]:
    """The rows of the table of regions that was written with the labels; none if there is none."""
    if not labels.name.endswith(Labels.suffix):
        return []
    path = labels.with_name(labels.name.removesuffix(Labels.suffix) + RegionTable.suffix)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [dict(row) for row in csv.DictReader(file)]
    except (OSError, ValueError, csv.Error):
        return []


def _divided(areas: npt.NDArray[np.int64], regions: Sequence[Row]) -> list[Row]:
    """A row for each region; or one for all if there are no regions, or they are those of other labels."""
    whole: Row = {"objects": len(areas), "area": int(areas.sum())}
    if len(areas):
        whole |= {"mean_area": float(areas.mean()), "median_area": float(np.median(areas))}
    rows = [{name: _number(row[name]) for name in _NAMES if row.get(name)} for row in regions]
    alike = all(sum(row.get(name, 0) for row in rows) == whole[name] for name in ("objects", "area"))
    return rows if rows and alike else [whole]


def _number(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() and "." not in text else value


def _sizes(
    labels: Source, again: Callable[[], Source | None], axes: str, selection: Selection
) -> Mapping[str, float]:
    """Size of a pixel by axis: the caller's, or else that of the labels, or else that of the image.

    Labels that a program has stored again often do not say it.
    """
    if selection.pixel_size is not None:
        return dict(zip(SPATIAL[len(axes)], sizes_of(labels, selection, len(axes)) or (), strict=False))
    found = labels.pixel_size or {}
    if all(letter in found for letter in axes):
        return found
    source = again()
    return (source and source.pixel_size) or found


def _axes_of_frames(labels: Source, again: Callable[[], Source | None], selection: Selection) -> str:
    """The axes that labels of frames have in the order of the image, since programs store a time-lapse as sections."""
    source = again()
    if source is None:
        return labels.axes
    chosen = {"T": selection.time, "Z": selection.z}
    named = zip(selection.axes or source.axes, source.values.shape)
    left = {name: length for name, length in named if name != "C" and chosen.get(name) is None}
    fits = tuple(left.values()) == tuple(labels.values.shape)
    return "".join(left) if fits and not set(left) - set("TZYX") else labels.axes


def _read_again(image: str, selection: Selection, record: Path) -> Source | None:
    """What an image declares, of whose labels there may be a record; None if it is gone."""
    try:
        series = list_series(Path(image))
    except (InputError, OSError):
        return None
    number = recorded_series(record) if selection.series is None else selection.series
    return series[number or 0].source if len(series) > (number or 0) else None


def _opened(path: Path) -> Source:
    """Open labels without reading them if the file allows it, else read them."""
    try:
        return stored_source(path, lazily=True)
    except InputError:
        return stored_source(path)


def _frame_letter(axes: str, ndim: Callable[[], int]) -> str:
    """The axis whose positions were segmented one by one, or nothing."""
    if "T" in axes:
        return "T"
    return "Z" if "Z" in axes and ndim() < len(SPATIAL[3]) else ""


def _in_parts(values: Any) -> Iterator[npt.NDArray[Any]]:
    """Read an image a few rows, or sections, at a time."""
    step = max(1, _TOGETHER // max(1, math.prod(values.shape[1:])))
    for start in range(0, values.shape[0], step):
        yield np.asarray(values[start : start + step])


def _counted(parts: Iterable[npt.NDArray[Any]]) -> npt.NDArray[np.int64]:
    """Number of pixels of each object."""
    found: Counter[int] = Counter()
    for part in parts:
        ids, counts = np.unique(part[part > 0], return_counts=True)
        found.update(dict(zip(ids.tolist(), counts.tolist(), strict=True)))
    return np.array(list(found.values()), np.int64)


def _sized(row: Row, axes: str, sizes: Mapping[str, float]) -> Row:
    """Return a row also in micrometers if it is known how large a pixel is."""
    pixel = [sizes[letter] for letter in axes if letter in sizes]
    if len(pixel) < len(axes) or len(axes) not in _UNITS:
        return row
    unit, size = _UNITS[len(axes)], math.prod(pixel)
    return row | {name.replace("area", unit): row[name] * size for name in row if name.endswith("area")}
