"""Evaluation: run the whole pipeline on labeled images, and make a table of scores."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.data.layouts import RAW, Example, Source, label_stems, labels_of, load_one
from pixel_embedded_affinity.errors import InputError, one_line
from pixel_embedded_affinity.export.table import write_table
from pixel_embedded_affinity.fields import choice
from pixel_embedded_affinity.io.read import image_suffixes
from pixel_embedded_affinity.io.selection import WHOLE, Selection
from pixel_embedded_affinity.labels import Labels
from pixel_embedded_affinity.metrics import evaluate
from pixel_embedded_affinity.runtime.progress import Progress, track
from pixel_embedded_affinity.runtime.subject import about
from pixel_embedded_affinity.segmenter import Segmenter
from pixel_embedded_affinity.truth import read_labels

logger = logging.getLogger(__name__)

Row = dict[str, "float | str"]

FOREGROUNDS = ("model", "truth")
"""Where objects may be: in the model's own foreground, or in the true labels' foreground."""

_HEADINGS = {
    "symmetric_best_dice": "SBD",
    "best_dice_truth": "BD truth",
    "best_dice_prediction": "BD pred",
    "difference_in_count": "DiC",
    "absolute_difference_in_count": "|DiC|",
    "foreground_dice": "FG-Dice",
    "aggregated_jaccard_index": "AJI",
    "panoptic_quality": "PQ",
    "f1_score": "F1",
    "mean_average_precision": "mAP",
    "voi": "VOI",
    "voi_split": "VOI split",
    "voi_merge": "VOI merge",
    "adapted_rand_error": "ARAND",
    "false_splits": "splits",
    "false_merges": "merges",
}

_SHOWN = 3


@dataclass(frozen=True)
class Prediction:
    """What the pipeline made of one example."""

    example: Example
    labels: npt.NDArray[np.int32]

    def row(self) -> Row:
        """The example's name and all values of `metrics.evaluate`; of a volume, its VOI ignores the background."""
        return _scored(self.example.name, self.example.labels, self.labels)


def _scored(name: str, truth: Labels, found: Labels) -> Row:
    return {"name": name, **evaluate(truth, found, ignore_background=truth.ndim == 3)}


def _all_scored(compared: Iterable[tuple[str, Labels, Labels]]) -> list[Row]:
    """Score each image by its name, its true labels and those found; the log says so if no image has a true object."""
    rows, objects = [], False
    for name, truth, found in compared:
        rows.append(_scored(name, truth, found))
        objects = objects or bool(truth.any())
    if not rows:
        raise InputError("nothing to evaluate: no image was given; expected at least one")
    if not objects:
        logger.warning(
            "no true object in %d label images: the scores only say where nothing was found; check the label files",
            len(rows),
        )
    return rows


def evaluate_model(
    segmenter: Segmenter,
    files: Iterable[Source | Example],
    *,
    foreground: str = "model",
    selection: Selection = WHOLE,
    progress: Progress = False,
) -> list[Row]:
    """Segment images and compare the result with their labels.

    Parameters
    ----------
    segmenter : Segmenter
        The model, with its settings.
    files : iterable of Files, Stack or Example
        From `layouts.find_files`, read one at a time; or examples with raw images, loaded with `layouts.RAW`.
    foreground : {"model", "truth"}
        Whether the segmenter finds the foreground itself, as for a user, or gets the true labels' foreground, as in
        the paper's results on CVPPP.
    selection : Selection
        Which part of each image file is the image.
    progress : bool or callable
        True shows a bar.

    Returns
    -------
    list of dict
        One row per image: ``"name"`` and the values of `metrics.evaluate`. For volumes, the variation of
        information leaves out the background of the truth, as CREMI does.

    Raises
    ------
    InputError
        If there is no image, `foreground` is neither, or a file cannot be used.
    """
    every = predict(segmenter, files, foreground, progress, selection)
    return _all_scored((each.example.name, each.example.labels, each.labels) for each in every)


def evaluate_labels(
    folder: str | os.PathLike[str], files: Sequence[Source], *, progress: Progress = False
) -> list[Row]:
    """Compare label files, which any program may have made, with the true labels of the same images.

    Parameters
    ----------
    folder : path
        Where the label files lie, also in folders below. The file of an image has its name, or its name and
        ``_labels``, ``_label``, ``_masks``, ``_mask`` or ``_cp_masks``.
    files : sequence of Files or Stack
        From `layouts.find_files`.
    progress : bool or callable
        True shows a bar.

    Returns
    -------
    list of dict
        As from `evaluate_model`.

    Raises
    ------
    InputError
        If there is no image, an image has no label file or several, a file cannot be read, or sizes differ.
    """
    if not files:
        raise InputError("nothing to evaluate: no image was given; expected at least one")
    found = _label_files(Path(folder), [entry.name for entry in files])
    return _all_scored(
        (entry.name, *_compared(entry, found[entry.name]))
        for entry in track(files, progress, desc="evaluating")
    )


def _label_files(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """The label file of each image."""
    if not folder.is_dir():
        raise InputError(f"{str(folder)!r} is no folder; give the folder that holds the label files")
    of_image, suffixes = label_stems(names), image_suffixes()
    found: dict[str, list[Path]] = {name: [] for name in names}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in suffixes and path.stem in of_image:
            found[of_image[path.stem]].append(path)
    lacking = [name for name, paths in found.items() if not paths]
    if lacking:
        raise InputError(
            f"{len(lacking)} of {len(names)} images have no label file in {str(folder)!r}, such as "
            f"{', '.join(lacking[:_SHOWN])}; expected files named as the images, or with _labels or _masks after the "
            f"name, such as {lacking[0]}_labels.tif"
        )
    for name, paths in found.items():
        if len(paths) > 1:
            several = ", ".join(str(path) for path in paths[:_SHOWN])
            raise InputError(f"image {name} has {len(paths)} label files: {several}; keep one")
    return {name: path for name, (path,) in found.items()}


def _compared(entry: Source, path: Path) -> tuple[Labels, Labels]:
    """Read the true labels of an image, and those found."""
    found = read_labels(path, ndim=None)
    truth = labels_of(entry, found.shape)
    if truth.shape != found.shape:
        raise InputError(
            f"{str(path)!r} has {found.shape} pixels, the true labels {truth.shape}; expected labels of the whole image"
        )
    return truth, found


def predict(
    segmenter: Segmenter,
    files: Iterable[Source | Example],
    foreground: str,
    progress: Progress = False,
    selection: Selection = WHOLE,
) -> Iterator[Prediction]:
    """Segment examples one after the other; parameters and errors as for `evaluate_model`."""
    choice(*FOREGROUNDS)(foreground, "foreground")
    channels = segmenter.config.network.in_channels
    for entry in track(files, progress, desc="evaluating"):
        example = (
            entry
            if isinstance(entry, Example)
            else load_one(entry, RAW, channels, ndim=segmenter.config.ndim, selection=selection)
        )
        given = example.labels > 0 if foreground == "truth" else None
        axes, size = segmenter.config.axes, example.pixel_size
        with about(example.name):
            found = segmenter.segment(example.image, axes=axes, foreground=given, pixel_size=size)
        yield Prediction(example, found)


def mean_row(rows: Sequence[Row]) -> Row:
    """Mean of every column over the images, under the name ``"mean"``.

    Raises
    ------
    InputError
        If there is no row.
    """
    if not rows:
        raise InputError("the mean of no rows is not defined; expected at least one")
    columns = [name for name in rows[0] if name != "name"]
    return {"name": "mean", **{name: float(np.mean([float(row[name]) for row in rows])) for name in columns}}


def write_rows(path: str | os.PathLike[str], rows: Sequence[Row]) -> None:
    """Write rows as CSV, one image a line, with all digits; the file appears whole or not at all.

    Raises
    ------
    InputError
        If there is no row, or the path does not end in ``.csv`` or its folder does not exist.
    """
    if not rows:
        raise InputError(f"no rows to write to '{os.fspath(path)}'; expected at least one")
    write_table(path, {name: [row[name] for row in rows] for name in rows[0]})


def read_rows(path: str | os.PathLike[str]) -> list[Row]:
    """Read rows that `write_rows` wrote.

    Raises
    ------
    InputError
        If the file is missing, or no such table.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        rows: list[Row] = [
            {"name": line["name"], **{name: float(line[name]) for name in _HEADINGS}} for line in lines
        ]
    except OSError as error:
        raise InputError(f"'{os.fspath(path)}' cannot be read: {error.strerror}; check the path") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"'{os.fspath(path)}' is no table of scores ({type(error).__name__}: {one_line(error)}); expected the CSV "
            "that pea evaluate --output writes"
        ) from error
    if not rows:
        raise InputError(
            f"'{os.fspath(path)}' has no row; expected the CSV that pea evaluate --output writes"
        )
    return rows


def check_same_images(names: Iterable[str], earlier: Sequence[Row]) -> None:
    """Refuse to compare scores of other images.

    Raises
    ------
    InputError
        If an image has no earlier scores, or the other way round; the message names some.
    """
    odd = sorted(set(names) ^ {str(row["name"]) for row in earlier})
    if odd:
        raise InputError(
            f"{len(odd)} images have scores in only one of the two tables, such as {', '.join(odd[:_SHOWN])}; expected "
            "the same images; use the same --data and --split for both"
        )


def change_rows(rows: Sequence[Row], earlier: Sequence[Row]) -> list[Row]:
    """The mean change of each measure from earlier scores of the same images, and its standard error.

    Differences are taken image by image, so that what is hard in an image cancels out. A change of less than twice its
    standard error may be chance.

    Parameters
    ----------
    rows, earlier : sequence of dict
        From `evaluate_model` or `read_rows`.

    Returns
    -------
    list of dict
        Two rows, named ``"change"`` and ``"its standard error"``; the error is NaN for a single image.

    Raises
    ------
    InputError
        If the images are not the same.
    """
    check_same_images([str(row["name"]) for row in rows], earlier)
    before = {row["name"]: row for row in earlier}
    change: Row = {"name": "change"}
    error: Row = {"name": "its standard error"}
    for name in _HEADINGS:
        found = np.array([float(row[name]) - float(before[row["name"]][name]) for row in rows])
        change[name] = float(found.mean())
        error[name] = float(found.std(ddof=1) / np.sqrt(len(found))) if len(found) > 1 else float("nan")
    return [change, error]


def format_table(rows: Sequence[Row]) -> str:
    """Lay out the common measures as text: a line of headings, then one line for each row.

    The headings are as in the papers: SBD, BD (best Dice over true, and over predicted objects), DiC (difference in
    count), FG-Dice, AJI, PQ and F1 at IoU 0.5, mAP, VOI, ARAND, false splits and merges.
    """
    cells = [["image", *_HEADINGS.values()]]
    cells += [[str(row["name"]), *(f"{float(row[name]):.4f}" for name in _HEADINGS)] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join(_line(line, widths) for line in cells)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """The name aligned to the left, the numbers to the right."""
    numbers = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:])]
    return "  ".join([cells[0].ljust(widths[0]), *numbers])
