"""Validation while training: scores by step, the best checkpoint, and pictures for a person to judge."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np

from pixel_embedded_affinity.data.evaluate import Prediction, Row, mean_row, predict
from pixel_embedded_affinity.data.layouts import Example
from pixel_embedded_affinity.export.overlay import render_overlay
from pixel_embedded_affinity.io.atomic import atomic_path
from pixel_embedded_affinity.segmenter import Segmenter
from pixel_embedded_affinity.training.run.logs import open_logs, read_rows
from pixel_embedded_affinity.training.run.loop import Trainer

logger = logging.getLogger(__name__)

BEST_FILE = "best.safetensors"
VALIDATION_FILE = "validation.csv"
PICTURES = "validation"

_PICTURED = 4


class Validation:
    """Validates the averaged weights of a run with the real pipeline.

    Parameters
    ----------
    trainer : Trainer
        The run.
    examples : sequence of Example
        Validation images, raw, with their labels; only the first ``schedule.validation_images`` are used.
    """

    def __init__(self, trainer: Trainer, examples: Sequence[Example]) -> None:
        schedule = trainer.recipe.schedule
        self._trainer = trainer
        self._examples = list(examples[: schedule.validation_images or None])
        # A model without a foreground head gets the foreground from its user, and here from the labels.
        self._foreground = "model" if trainer.recipe.model.network.foreground_head else "truth"
        self._path, self._measure = trainer.output / VALIDATION_FILE, schedule.best_by

    def is_missing(self) -> bool:
        """Whether the weights of the run's present step still need validation."""
        return str(self._trainer.step) not in [row["step"] for row in read_rows(self._path)]

    def run(self) -> Row:
        """Segment the images, log the mean scores, keep the best checkpoint, and draw some results.

        Returns
        -------
        dict
            The mean scores, see `evaluate.mean_row`.
        """
        predictions = list(predict(self._segmenter(), self._examples, self._foreground))
        mean = mean_row([prediction.row() for prediction in predictions])
        self._keep_if_best(float(mean[self._measure]))
        self._draw(predictions[:_PICTURED])
        self._log(mean)
        logger.info("step %d: %s %.4f", self._trainer.step, self._measure, mean[self._measure])
        return mean

    def _segmenter(self) -> Segmenter:
        trainer = self._trainer
        return Segmenter(trainer.averaged_network(), trainer.recipe.model, device=str(trainer.device))

    def _keep_if_best(self, score: float) -> None:
        earlier = [row for row in read_rows(self._path) if int(row["step"]) < self._trainer.step]
        if all(score > float(row[self._measure]) for row in earlier):
            self._trainer.export(self._trainer.output / BEST_FILE)

    def _draw(self, predictions: Sequence[Prediction]) -> None:
        folder = self._trainer.output / PICTURES
        folder.mkdir(exist_ok=True)
        for prediction in predictions:
            _write_picture(folder / f"{prediction.example.name}.png", prediction)

    def _log(self, mean: Row) -> None:
        scores = {name: value for name, value in mean.items() if name != "name"}
        row: Row = {"step": self._trainer.step, **scores}
        with ExitStack() as stack:
            for log in open_logs(self._path, list(row), self._trainer.step):
                stack.enter_context(closing(log)).write(row)


def _write_picture(path: Path, prediction: Prediction) -> None:
    """Draw the true labels over the image on the left, the found labels on the right; of a volume, the middle."""
    from PIL import Image

    image, *both = prediction.example.image, prediction.example.labels, prediction.labels
    if image.ndim > 3:
        middle = image.shape[1] // 2
        image, both = image[:, middle], [labels[middle] for labels in both]
    halves = [render_overlay(image, labels) for labels in both]
    with atomic_path(path, (".png",)) as temporary:
        Image.fromarray(np.concatenate(halves, axis=1)).save(temporary, format="PNG")
