"""Scores of a comparison: means with standard errors over images and seeds, differences, and the table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.data.evaluate import Row
from pixel_embedded_affinity.training.recipe import Recipe

Floats = npt.NDArray[np.float64]

_LEAVES = {"symmetric_best_dice": "SBD", "absolute_difference_in_count": "abs. DiC"}
_NUCLEI = {"aggregated_jaccard_index": "AJI", "dice": "Dice", "panoptic_quality": "PQ"}
_NEURONS = {
    "voi_split": "VOI split",
    "voi_merge": "VOI merge",
    "voi": "VOI",
    "adapted_rand_error": "ARAND",
}
_PARTS = ("voi_split", "voi_merge")
"""Measures whose difference the table leaves out, since their sum has a column."""


def measures_of(recipe: Recipe) -> dict[str, str]:
    """The measures of a comparison's table, with their headings.

    Those of neurons for volumes; of leaves, SBD and absolute DiC, if the recipe chooses the best model by SBD; else
    those of nuclei.
    """
    if recipe.model.ndim == 3:
        return _NEURONS
    return _LEAVES if recipe.schedule.best_by == "symmetric_best_dice" else _NUCLEI


def mean_and_error(values: npt.ArrayLike) -> tuple[float, float | None]:
    """Return the mean of scores and its standard error.

    The error has two parts, which are added as squares: the standard error of the mean over the images, each with its
    mean over the seeds, and that over the seeds, each with its mean over the images. What chance is left in a single
    score counts in both, so that the error is rather too large than too small. A part with fewer than two images or
    seeds is unknown and left out.

    Parameters
    ----------
    values : array-like of float, shape (seeds, images)
        A score for each seed and image.

    Returns
    -------
    mean : float
        Over all scores.
    error : float or None
        None with one image and one seed.
    """
    scores: Floats = np.asarray(values, np.float64)
    parts = [_error(scores.mean(axis=axis)) for axis in (0, 1) if scores.shape[1 - axis] > 1]
    return float(scores.mean()), math.hypot(*parts) if parts else None


def _error(values: Floats) -> float:
    """Standard error of the mean of independent values."""
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def summary(
    scores: Sequence[Sequence[Mapping[str, Any]]],
    first: Sequence[Sequence[Mapping[str, Any]]],
    measures: Sequence[str],
) -> Row:
    """Return the columns of a row: means, and the errors and differences of some measures.

    Parameters
    ----------
    scores : sequence of sequences of mappings
        For each seed, a row of scores for each image, as `data.evaluate.Prediction.row` gives.
    first : like `scores`
        Those of the table's first row, for the same seeds and images: differences are taken score by score.
    measures : sequence of str
        What gets ``NAME_error``, ``NAME_difference`` and ``NAME_difference_error``, with ``""`` where it is unknown.

    Returns
    -------
    dict of str to float or str
        The mean of each measure, and these columns.
    """
    names = [name for name in scores[0][0] if name != "name"]
    row: Row = {name: mean_and_error(_table(scores, name))[0] for name in names}
    for name in measures:
        error = mean_and_error(_table(scores, name))[1]
        change, uncertain = mean_and_error(_table(scores, name) - _table(first, name))
        same = scores is first
        row[f"{name}_error"] = "" if error is None else error
        row[f"{name}_difference"] = "" if same else change
        row[f"{name}_difference_error"] = "" if same or uncertain is None else uncertain
    return row


def _table(scores: Sequence[Sequence[Mapping[str, Any]]], name: str) -> Floats:
    """One measure, (seeds, images)."""
    return np.array([[float(image[name]) for image in images] for images in scores])


def format_comparison(rows: Sequence[Row], recipe: Recipe) -> str:
    """Lay out the rows of a comparison as a Markdown table in the form of the paper's.

    Means stand with their standard errors, see `mean_and_error`. A column with a Δ is the difference to the first row,
    with the standard error of this difference: scores are paired by image and seed, so it is mostly smaller than the
    errors of the two means. `measures_of` says which measures there are. The minutes count the training of one seed.
    """
    measures = measures_of(recipe)
    compared = {name: text for name, text in measures.items() if name not in _PARTS}
    thresholds = ["threshold"] if any(row.get("threshold") for row in rows) else []
    deltas = [f"Δ {text}" for text in compared.values()]
    cells = [["method", "clustering", *thresholds, *measures.values(), *deltas, "seeds", "steps", "minutes"]]
    for row in rows:
        cells.append(
            [
                *(str(row.get(name, "")) for name in ("method", "clustering", *thresholds)),
                *(_with_error(row, name) for name in measures),
                *(_with_error(row, f"{name}_difference", "+") for name in compared),
                *(str(row.get(name, 1)) for name in ("seeds", "steps")),
                f"{float(row['minutes']):.1f}",
            ]
        )
    return _markdown(cells)


def _with_error(row: Row, name: str, sign: str = "") -> str:
    """A number and its error; nothing where it is unknown."""
    value, error = row.get(name, ""), row.get(f"{name}_error", "")
    if value == "":
        return ""
    return f"{float(value):{sign}.4f}" + ("" if error == "" else f" ± {float(error):.4f}")


def _markdown(cells: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*cells)]
    head, *body = ([cell.ljust(width) for cell, width in zip(line, widths)] for line in cells)
    lines = [head, ["-" * width for width in widths], *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
