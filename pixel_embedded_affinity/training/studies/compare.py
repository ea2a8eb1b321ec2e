"""A comparison: train every variant of a study for the same time, and score it on the same images."""

from __future__ import annotations

import json
import logging
import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pixel_embedded_affinity.data.evaluate import FOREGROUNDS, Row, mean_row, write_rows
from pixel_embedded_affinity.data.layouts import RAW, Example, find_files, load
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import choice, integer
from pixel_embedded_affinity.io.atomic import atomic_file
from pixel_embedded_affinity.metrics import evaluate
from pixel_embedded_affinity.runtime.progress import Progress, track
from pixel_embedded_affinity.training.recipe import Recipe
from pixel_embedded_affinity.training.run.logs import read_rows
from pixel_embedded_affinity.training.run.loop import LOG_FILE, STATE_FILE, Trainer
from pixel_embedded_affinity.training.studies.pipeline import Pipeline
from pixel_embedded_affinity.training.studies.variants import Variant, variants_of

logger = logging.getLogger(__name__)

REQUEST_FILE, BUDGET_FILE = "comparison.json", "budget.json"

_LEAVES = {"symmetric_best_dice": "SBD", "absolute_difference_in_count": "abs. DiC"}
_NUCLEI = {"aggregated_jaccard_index": "AJI", "dice": "Dice", "panoptic_quality": "PQ"}
_TIMED_STEPS = 6


@dataclass(frozen=True)
class Budget:
    """How long each variant is trained: for a time, or for a number of steps.

    Parameters
    ----------
    minutes : float, optional
        Minutes of training. A few steps of each variant are timed first. Its schedule then gets as many steps as fit,
        so that the learning rate falls to its end, whatever a step costs.
    steps : int, optional
        Optimizer steps.

    Raises
    ------
    InputError
        If both or neither are given, or the number is not positive.
    """

    minutes: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise InputError(
                f"give either minutes or steps, got minutes {self.minutes} and steps {self.steps}"
            )
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise InputError(f"minutes must be a positive number, got {self.minutes}")
        if self.steps is not None:
            integer(1)(self.steps, "steps")


def compare(
    recipe: Recipe | str | Path,
    data: str | Path,
    output: str | Path,
    budget: Budget,
    *,
    study: str = "baselines",
    foreground: str = "model",
    device: str = "auto",
    progress: Progress = False,
) -> list[Row]:
    """Train and score the variants of a study, or go on with an interrupted comparison.

    The output folder gets a folder per variant, with its log, its state and the scores of every image. It also gets
    ``STUDY.csv`` and ``STUDY.md``, which are written anew after each row. Finished rows are not done again; an
    interrupted training goes on.

    Parameters
    ----------
    recipe : Recipe, str or Path
        What all variants share; `budget` replaces ``schedule.steps``.
    data : str or Path
        The data folder or list, in the recipe's layout; it must have validation images.
    output : str or Path
        Folder of the comparison; made if absent.
    budget : Budget
        How long each variant is trained.
    study : {"baselines", "modules", "views"}
        What is compared, see `variants.variants_of`.
    foreground : {"model", "truth"}
        Where objects may be: in the variant's own foreground, or in the true labels' foreground.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    progress : bool or callable
        True shows a bar for each training.

    Returns
    -------
    list of dict
        A row per variant and clustering: ``"method"``, ``"clustering"``, ``"steps"``, ``"minutes"`` of training, and
        the mean of each value of `metrics.evaluate`.

    Raises
    ------
    InputError
        If the recipe, the data or an argument cannot be used, or the folder holds another comparison.
    DeviceError
        If the device is missing.
    """
    plan = recipe if isinstance(recipe, Recipe) else Recipe.from_file(recipe)
    variants = variants_of(study, plan)
    _check_foreground(plan, foreground)
    folder = Path(output)
    data_of = _Data.load(plan, data)
    _claim(folder, {"study": study, "foreground": foreground, **_request(plan, budget, data_of)})
    rows: list[Row] = []
    for variant in variants:
        run = _Run(variant, folder / variant.folder, data_of, budget, device, foreground)
        for clustering in variant.clusterings:
            rows.append(run.row(clustering, progress))
            _write_tables(folder / study, rows, plan)
    return rows


@dataclass(frozen=True)
class _Data:
    """Images to train on, normalized, and images to score on, raw."""

    training: Sequence[Example]
    validation: Sequence[Example]

    @classmethod
    def load(cls, recipe: Recipe, data: str | Path) -> _Data:
        read = partial(load, channels=recipe.model.network.in_channels, selection=recipe.data.image)
        validation = read(find_files(data, recipe.data, "validation"), RAW)
        return cls(read(find_files(data, recipe.data, "training"), recipe.model.normalization), validation)


class _Run:
    """One variant, which is trained when its first row is asked for."""

    def __init__(
        self, variant: Variant, folder: Path, data: _Data, budget: Budget, device: str, foreground: str
    ) -> None:
        self.variant, self.folder, self.data, self.budget = variant, folder, data, budget
        self.device, self.foreground = device, foreground
        self._pipeline: Pipeline | None = None

    def row(self, clustering: str, progress: Progress) -> Row:
        """The row of a clustering, read from disk if it is finished."""
        path = self.folder / f"{clustering.replace(' ', '_')}.csv"
        if not path.exists():
            if self._pipeline is None:
                self._pipeline = self._trained(progress)
            pipeline = self._pipeline
            write_rows(path, [self._score(pipeline, clustering, example) for example in self.data.validation])
        else:
            logger.info("%s, %s: finished before", self.variant.name, clustering)
        mean = mean_row([dict(row) for row in read_rows(path)])
        last = read_rows(self.folder / LOG_FILE)[-1]
        made: Row = {"method": self.variant.name, "clustering": clustering, "steps": int(last["step"])}
        made["minutes"] = round(float(last["seconds"]) / 60, 2)
        return {**made, **{name: value for name, value in mean.items() if name != "name"}}

    def _trained(self, progress: Progress) -> Pipeline:
        steps = self._steps()
        recipe = self.variant.recipe.scheduled(steps=steps)
        trainer = Trainer(recipe, self.data.training, self.folder, device=self.device)
        if (self.folder / STATE_FILE).is_file():
            trainer.resume()
        results = track(
            trainer.steps(), progress, desc=self.variant.name, unit="step", total=steps, initial=trainer.step
        )
        for _ in results:
            pass
        return Pipeline(recipe, trainer.averaged_network(), trainer.device)

    def _steps(self) -> int:
        """The budget in steps: measured once, then kept, so that a resumed run has the same schedule."""
        path = self.folder / BUDGET_FILE
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            _write_json(path, {"steps": self.budget.steps or self._fitting_steps()})
        return int(json.loads(path.read_text(encoding="utf-8"))["steps"])

    def _fitting_steps(self) -> int:
        with tempfile.TemporaryDirectory() as folder:
            short = self.variant.recipe.scheduled(steps=_TIMED_STEPS)
            trainer = Trainer(short, self.data.training, Path(folder), device=self.device)
            seconds = [trainer.seconds for _ in trainer.steps()]
        per_step = statistics.median(np.diff(seconds).tolist())
        return max(1, int(60 * (self.budget.minutes or 0) / per_step))

    def _score(self, pipeline: Pipeline, clustering: str, example: Example) -> Row:
        given = example.labels > 0 if self.foreground == "truth" else None
        labels = pipeline.segment(example.image, clustering, given)
        return {"name": example.name, **evaluate(example.labels, labels)}


def format_comparison(rows: Sequence[Row], recipe: Recipe) -> str:
    """Lay out the rows of a comparison as a Markdown table in the form of the paper's.

    The measures are SBD and absolute DiC if the recipe chooses the best model by SBD, as for leaves; else AJI, Dice
    and PQ, as for nuclei. The minutes count training only.
    """
    measures = _LEAVES if recipe.schedule.best_by == "symmetric_best_dice" else _NUCLEI
    cells = [["method", "clustering", *measures.values(), "steps", "minutes"]]
    for row in rows:
        scores = [f"{float(row[name]):.4f}" for name in measures]
        names = [str(row["method"]), str(row["clustering"])]
        cells.append([*names, *scores, str(row["steps"]), f"{float(row['minutes']):.1f}"])
    widths = [max(map(len, column)) for column in zip(*cells)]
    head, *body = ([cell.ljust(width) for cell, width in zip(line, widths)] for line in cells)
    lines = [head, ["-" * width for width in widths], *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _check_foreground(recipe: Recipe, foreground: str) -> None:
    choice(*FOREGROUNDS)(foreground, "foreground")
    if foreground == "model" and not recipe.model.network.foreground_head:
        raise InputError(
            "foreground is 'model', but model.network.foreground_head is false; give foreground 'truth'"
        )


def _request(recipe: Recipe, budget: Budget, data: _Data) -> dict[str, Any]:
    """What all rows of a comparison share, fit for JSON."""
    return {
        "minutes": budget.minutes,
        "steps": budget.steps,
        "recipe": recipe.to_dict(),
        "training": [example.name for example in data.training],
        "validation": [example.name for example in data.validation],
    }


def _claim(folder: Path, request: Mapping[str, Any]) -> None:
    """Write down what the folder compares, or refuse a folder that compares something else."""
    path = folder / REQUEST_FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write_json(path, request)
    found = json.loads(path.read_text(encoding="utf-8"))
    differing = sorted(key for key, value in request.items() if found.get(key) != value)
    if differing:
        raise InputError(
            f"the comparison in {str(folder)!r} was started with another {', '.join(differing)}; repeat it with "
            "the same, or use another folder"
        )


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    with atomic_file(path) as file:
        file.write(json.dumps(values, indent=1).encode("utf-8"))


def _write_tables(path: Path, rows: Sequence[Row], recipe: Recipe) -> None:
    write_rows(path.with_suffix(".csv"), rows)
    with atomic_file(path.with_suffix(".md")) as file:
        file.write(f"{format_comparison(rows, recipe)}\n".encode())
