"""Means, errors and differences of scores: by hand, and against a simulation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pixel_embedded_affinity.training.recipe import Recipe
from pixel_embedded_affinity.training.studies.scores import (
    format_comparison,
    mean_and_error,
    measures_of,
    summary,
)


def test_the_error_adds_that_over_images_and_that_over_seeds_as_squares() -> None:
    assert mean_and_error([[0.5]]) == (0.5, None)
    assert mean_and_error([[0.2, 0.4]]) == (pytest.approx(0.3), pytest.approx(0.1))
    assert mean_and_error([[0.2], [0.4]]) == (pytest.approx(0.3), pytest.approx(0.1))
    # Means of images: 1, 4; of seeds: 2, 3.
    mean, error = mean_and_error([[0.0, 4.0], [2.0, 4.0]])
    assert mean == 2.5
    assert error == pytest.approx(math.hypot(1.5, 0.5))


def test_the_error_is_about_that_of_repeated_experiments() -> None:
    source = np.random.default_rng(0)
    images, seeds, noise = (source.normal(0, 1, (2000, *shape)) for shape in ((1, 12), (6, 1), (6, 12)))
    found = [mean_and_error(values) for values in 0.7 * images + 0.5 * seeds + 0.2 * noise]
    spread = np.std([mean for mean, _ in found])
    claimed = math.sqrt(np.mean([error**2 for _, error in found if error is not None]))
    assert spread < claimed < 1.1 * spread


def rows(*values: tuple[float, ...]) -> list[list[dict[str, Any]]]:
    """Scores of one measure: a tuple for each seed, a value for each image."""
    return [[{"name": str(i), "dice": value} for i, value in enumerate(seed)] for seed in values]


def test_differences_are_paired_by_image_and_seed() -> None:
    first, other = rows((0.1, 0.9), (0.3, 0.7)), rows((0.2, 1.0), (0.4, 0.8))
    row = summary(other, first, ["dice"])
    assert row["dice"] == pytest.approx(0.6)
    assert float(row["dice_error"]) > 0.2
    assert row["dice_difference"] == pytest.approx(0.1)
    assert float(row["dice_difference_error"]) == pytest.approx(0, abs=1e-12)


def test_what_is_unknown_is_empty() -> None:
    first = rows((0.5,))
    assert summary(first, first, ["dice"]) == {
        "dice": 0.5,
        "dice_error": "",
        "dice_difference": "",
        "dice_difference_error": "",
    }
    assert summary(rows((0.7,)), first, ["dice"])["dice_difference_error"] == ""


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_the_table_of_volumes_has_the_measures_of_neurons_and_the_threshold() -> None:
    recipe = Recipe.from_file("ac3ac4")
    assert list(measures_of(recipe).values()) == ["VOI split", "VOI merge", "VOI", "ARAND"]
    row: dict[str, Any] = {"method": "PEA", "clustering": "agglomeration", "threshold": 0.15, "steps": 9}
    row |= {name: 0.25 for name in measures_of(recipe)} | {"voi_error": 0.01, "minutes": 1}
    row |= {"voi_difference": -0.125, "voi_difference_error": 0.5}
    head, _, body = format_comparison([row], recipe).splitlines()
    shown = dict(zip(cells(head), cells(body), strict=True))
    assert list(shown) == [
        *("method", "clustering", "threshold", "VOI split", "VOI merge", "VOI", "ARAND", "Δ VOI", "Δ ARAND"),
        *("seeds", "steps", "minutes"),
    ]
    assert (shown["threshold"], shown["VOI"], shown["ARAND"]) == ("0.15", "0.2500 ± 0.0100", "0.2500")
    assert (shown["Δ VOI"], shown["Δ ARAND"]) == ("-0.1250 ± 0.5000", "")
