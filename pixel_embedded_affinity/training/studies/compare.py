"""A comparison: train every variant of a study for the same time, and score it on the same images."""

from __future__ import annotations

import json
import logging
import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pixel_embedded_affinity.data.evaluate import FOREGROUNDS, Prediction, Row, write_rows
from pixel_embedded_affinity.data.layouts import RAW, Example, find_files, load, resized
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import choice, integer
from pixel_embedded_affinity.io.atomic import atomic_file
from pixel_embedded_affinity.labels import Mask
from pixel_embedded_affinity.runtime.progress import Progress, track
from pixel_embedded_affinity.training.recipe import Recipe
from pixel_embedded_affinity.training.run.logs import read_rows
from pixel_embedded_affinity.training.run.loop import LOG_FILE, STATE_FILE, Trainer
from pixel_embedded_affinity.training.studies.pipeline import Pipeline
from pixel_embedded_affinity.training.studies.scores import format_comparison, measures_of, summary
from pixel_embedded_affinity.training.studies.variants import Variant, variants_of

logger = logging.getLogger(__name__)

REQUEST_FILE, BUDGET_FILE, THRESHOLD_FILE = "comparison.json", "budget.json", "threshold.json"

_TIMED_STEPS = 6
_TIMED_SHARE = 0.25
"""Timing takes at most this share of the minutes."""

_SAMPLE = (16, 256, 256)
"""The largest part of a training volume on which the threshold of the agglomeration is chosen."""


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
    seeds: int = 1,
    foreground: str = "model",
    validation_crop: int = 0,
    device: str = "auto",
    progress: Progress = False,
) -> list[Row]:
    """Train and score the variants of a study, or go on with an interrupted comparison.

    The output folder gets a folder per variant and seed, with its log, its state and the scores of every image. It
    also gets ``STUDY.csv`` and ``STUDY.md``, which are written anew after each row. Finished rows are not done again;
    an interrupted training goes on. A finished comparison may be repeated with more seeds, and goes on with these.

    Parameters
    ----------
    recipe : Recipe, str or Path
        What all variants share; `budget` replaces ``schedule.steps``.
    data : str or Path
        The data folder or list, in the recipe's layout; it must have validation images.
    output : str or Path
        Folder of the comparison; made if absent.
    budget : Budget
        How long each variant is trained with each seed.
    study : {"baselines", "modules", "views", "networks", "dimensions"}
        What is compared, see `variants.variants_of`.
    seeds : int
        How often each variant is trained: with the recipe's seed, the next number, and so on. A seed draws the first
        weights, the crops and the second views.
    foreground : {"model", "truth"}
        Where objects may be: in the variant's own foreground, or in the true labels' foreground.
    validation_crop : int
        Length in pixels along y and x of the central part of each validation image that is scored; 0 takes all.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    progress : bool or callable
        True shows a bar for each training.

    Returns
    -------
    list of dict
        A row per variant and clustering: ``"method"``, ``"clustering"``, ``"seeds"``, ``"steps"``, ``"minutes"`` of
        training of one seed; for volumes ``"threshold"`` of the agglomeration; the mean of each value of
        `metrics.evaluate`; and for the measures of the table (`scores.measures_of`) ``NAME_error``,
        ``NAME_difference`` and ``NAME_difference_error``, see `scores.summary`.

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
    numbers = range(integer(1)(seeds, "seeds"))
    folder = Path(output)
    common = _Common(_Data.load(plan, data, validation_crop), budget, device, foreground)
    asked = {"study": study, "foreground": foreground, "validation_crop": validation_crop}
    _claim(folder, {**asked, **_request(plan, budget, common.data)})
    table = _Table(folder / study, plan)
    for variant in variants:
        runs = [_Run(variant, folder, common, number) for number in numbers]
        for clustering in variant.clusterings:
            scores = [run.scores(clustering, progress) for run in runs]
            table.add(_described(variant, clustering, runs), scores)
    return table.rows


@dataclass(frozen=True)
class _Data:
    """Images to train on, normalized, and images to score on, raw."""

    training: Sequence[Example]
    validation: Sequence[Example]

    @classmethod
    def load(cls, recipe: Recipe, data: str | Path, crop: int = 0) -> _Data:
        channels, selection = recipe.model.network.in_channels, recipe.data.image
        read = partial(load, channels=channels, ndim=recipe.model.ndim, selection=selection)
        sides = (math.inf, *[integer(0)(crop, "validation_crop") or math.inf] * 2)[-recipe.model.ndim :]
        validation = read(find_files(data, recipe.data, "validation"), RAW)
        files, model = find_files(data, recipe.data, "training"), recipe.model
        training = read(files, model.normalization, contrast=model.contrast)
        return cls(
            [resized(example, recipe.data) for example in training],
            [_central(example, sides) for example in validation],
        )


def _central(example: Example, sides: Sequence[float]) -> Example:
    """The central part of an example, of at most these lengths."""
    lengths = [int(min(pair)) for pair in zip(example.labels.shape, sides)]
    starts = [(full - part) // 2 for full, part in zip(example.labels.shape, lengths)]
    box = tuple(slice(start, start + part) for start, part in zip(starts, lengths))
    return replace(example, image=example.image[(slice(None), *box)], labels=example.labels[box])


@dataclass(frozen=True)
class _Common:
    """What all runs of a comparison share."""

    data: _Data
    budget: Budget
    device: str
    foreground: str

    def given(self, example: Example) -> Mask | None:
        """The true foreground, if objects are looked for in it."""
        return example.labels > 0 if self.foreground == "truth" else None


class _Run:
    """One variant with one seed, which is trained when its first scores are asked for."""

    def __init__(self, variant: Variant, folder: Path, common: _Common, number: int = 0) -> None:
        self.variant, self.common = variant, common
        self.recipe = variant.recipe.scheduled(seed=variant.recipe.schedule.seed + number)
        # The first seed has the folder that comparisons with one seed have always had.
        self.folder = folder / (variant.folder + (f"_seed_{number + 1}" if number else ""))
        self._budget_file = folder / variant.folder / BUDGET_FILE
        self._pipeline: Pipeline | None = None

    def scores(self, clustering: str, progress: Progress) -> list[dict[str, str]]:
        """The scores of each image for a clustering, read from disk if they are there."""
        path = self.folder / f"{clustering.replace(' ', '_')}.csv"
        if not path.exists():
            if self._pipeline is None:
                self._pipeline = self._trained(progress)
            settings = self._settings(self._pipeline, clustering)
            images = self.common.data.validation
            write_rows(path, [self._score(self._pipeline, clustering, image, settings) for image in images])
        else:
            logger.info("%s, %s: finished before", self.folder.name, clustering)
        return read_rows(path)

    def trained(self) -> tuple[int, float]:
        """Steps and minutes of the training."""
        last = read_rows(self.folder / LOG_FILE)[-1]
        return int(last["step"]), float(last["seconds"]) / 60

    def threshold(self, clustering: str) -> float | None:
        """The threshold of the agglomeration that was chosen; None for another clustering."""
        path = self.folder / THRESHOLD_FILE
        if clustering != "agglomeration" or not path.exists():
            return None
        return float(json.loads(path.read_text(encoding="utf-8"))["threshold"])

    def _trained(self, progress: Progress) -> Pipeline:
        steps = self._steps()
        recipe = self.recipe.scheduled(steps=steps)
        trainer = Trainer(recipe, self.common.data.training, self.folder, device=self.common.device)
        if (self.folder / STATE_FILE).is_file():
            trainer.resume()
        results = track(
            trainer.steps(), progress, desc=self.folder.name, unit="step", total=steps, initial=trainer.step
        )
        for _ in results:
            pass
        return Pipeline(recipe, trainer.averaged_network(), trainer.device)

    def _steps(self) -> int:
        """The budget in steps: measured once for all seeds, then kept, so that a resumed run has the same schedule."""
        path = self._budget_file
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_json(path, {"steps": self.common.budget.steps or self._fitting_steps()})
        return int(json.loads(path.read_text(encoding="utf-8"))["steps"])

    def _fitting_steps(self) -> int:
        minutes, common = self.common.budget.minutes or 0, self.common
        with tempfile.TemporaryDirectory() as folder:
            short = self.recipe.scheduled(steps=_TIMED_STEPS)
            trainer = Trainer(short, common.data.training, Path(folder), device=common.device)
            seconds = [trainer.seconds for _ in trainer.steps(minutes=_TIMED_SHARE * minutes)]
        per_step = statistics.median(np.diff(seconds).tolist() or seconds)
        return max(1, int(60 * minutes / per_step))

    def _settings(self, pipeline: Pipeline, clustering: str) -> dict[str, float]:
        """The threshold of the agglomeration, chosen on a part of a training volume and kept."""
        if clustering != "agglomeration":
            return {}
        if self.threshold(clustering) is None:
            sample = _central(self.common.data.training[0], _SAMPLE)
            found = pipeline.best_threshold(sample.image, sample.labels, self.common.given(sample))
            _write_json(self.folder / THRESHOLD_FILE, {"threshold": found})
        return {"threshold": self.threshold(clustering) or 0.0}

    def _score(
        self, pipeline: Pipeline, clustering: str, example: Example, settings: Mapping[str, Any]
    ) -> Row:
        given = self.common.given(example)
        labels = pipeline.segment(example.image, clustering, given, **settings)
        return Prediction(example, labels).row()


def _described(variant: Variant, clustering: str, runs: Sequence[_Run]) -> Row:
    """The columns of a row that are no scores: means over its seeds."""
    steps, minutes = np.mean([run.trained() for run in runs], axis=0)
    row: Row = {"method": variant.name, "clustering": clustering, "seeds": len(runs)}
    row |= {"steps": round(steps), "minutes": round(float(minutes), 2)}
    if variant.recipe.model.ndim == 3:
        chosen = [found for run in runs if (found := run.threshold(clustering)) is not None]
        row["threshold"] = round(statistics.mean(chosen), 4) if chosen else ""
    return row


class _Table:
    """The rows of a comparison so far, on disk after each of them."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        self.rows: list[Row] = []
        self._path, self._recipe = path, recipe
        self._first: list[list[dict[str, str]]] | None = None

    def add(self, described: Row, scores: list[list[dict[str, str]]]) -> None:
        """Add a row and write the tables."""
        self._first = self._first or scores
        self.rows.append({**described, **summary(scores, self._first, list(measures_of(self._recipe)))})
        write_rows(self._path.with_suffix(".csv"), self.rows)
        with atomic_file(self._path.with_suffix(".md")) as file:
            file.write(f"{format_comparison(self.rows, self._recipe)}\n".encode())


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
    # Comparisons from before there was a crop scored whole images.
    found = {"validation_crop": 0, **json.loads(path.read_text(encoding="utf-8"))}
    differing = sorted(key for key, value in request.items() if found.get(key) != value)
    if differing:
        raise InputError(
            f"the comparison in {str(folder)!r} was started with another {', '.join(differing)}; repeat it with "
            "the same, or use another folder"
        )


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    with atomic_file(path) as file:
        file.write(json.dumps(values, indent=1).encode("utf-8"))
