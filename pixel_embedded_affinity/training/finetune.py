"""A model of your own: a trained model learns from a few labeled images, in minutes on a CPU."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any, NamedTuple

import numpy as np
import torch

from pixel_embedded_affinity.config.model import AUTO, ModelConfig
from pixel_embedded_affinity.config.settings import FINETUNED, derived_name
from pixel_embedded_affinity.data.evaluate import predict
from pixel_embedded_affinity.data.layouts import Example, median_diameter
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import integer
from pixel_embedded_affinity.geometry.scaling import Scale, resize_image, resize_labels
from pixel_embedded_affinity.image import as_image
from pixel_embedded_affinity.io.selection import Selection
from pixel_embedded_affinity.labels import extent_of, refuse_masks, relabel
from pixel_embedded_affinity.models.checkpoint import Checkpoint, write_checkpoint
from pixel_embedded_affinity.network.build import build_network
from pixel_embedded_affinity.normalize import normalize
from pixel_embedded_affinity.pipeline import stated_scale
from pixel_embedded_affinity.runtime.progress import Progress, track
from pixel_embedded_affinity.runtime.subject import about
from pixel_embedded_affinity.scale import is_kept, searched, settled
from pixel_embedded_affinity.segmenter import Segmenter
from pixel_embedded_affinity.training.adapt import Adaptation, adapt_selected
from pixel_embedded_affinity.training.recipe import (
    LossSettings,
    Recipe,
    Schedule,
    TrainingNeighborhood,
)
from pixel_embedded_affinity.training.recipe_files import list_recipes
from pixel_embedded_affinity.training.run.loop import StepResult, Trainer
from pixel_embedded_affinity.training.run.warm_start import origin_of
from pixel_embedded_affinity.training.stored import Savable, stored_model, with_weights
from pixel_embedded_affinity.truth import true_labels
from pixel_embedded_affinity.tune import Metric, as_metric, listed, usual_metric

logger = logging.getLogger(__name__)

Row = dict[str, float | int | str | bool]

_PART = 4
"""One of so many images is held out; of a single image, one of so many parts."""

_ROUNDS, _PATIENCE = 8, 3
"""Rounds of a whole fine-tuning, and rounds without a better score that end it early."""

_TOUCHED, _MANY = 0.1, 5
"""Labeled share of an object below which nobody labeled it, and the least number of such objects that is said."""

_MINUTES = 10.0
"""Time of a fine-tuning where nothing is said."""

_MOST_STEPS = 20_000
"""Far more steps than fit into the minutes of a fine-tuning."""

_SHORTEST = 1e-3
"""Seconds that the training gets at least; it then does one step."""

_START = "start.safetensors"
_ADAPTED, _TRAINED = "adapted", "trained"
_LEARNED_PARTS = ("loss", "augmentation", "sections", "neighborhood")

_LOOKED_AT = 4
"""Images to learn from on which scales are tried before the training."""

_CLEARLY = 0.02
"""By this much a fixed scale must be better than those found in the images: of few images, no other one is sure."""

_CROPS = {2: (128, 128), 3: (12, 160, 160)}
"""Lengths of a crop of an image, and of a volume."""

_BATCH, _RATE, _AVERAGE, _WARM_UP = {2: 2, 3: 1}, 2e-4, 0.98, 10
_MAGNIFICATION, _FOCUS = (0.8, 1.25), 0.5


@dataclass(frozen=True, eq=False)
class FineTuning(Savable):
    """What `finetune` made.

    Attributes
    ----------
    segmenter : Segmenter
        The best model found; if nothing was better than the model at the start, that model.
    table : tuple of dict
        One row for each model that was scored, in order: ``model`` (``"start"``: as it was; ``"scale"``: the same
        weights at the scale found; ``"adapted"``: of volumes, with new statistics of the batch norms; ``"trained"``),
        ``step``, ``minutes`` since the beginning, ``scale``, ``score``
        (mean over the held-out part) and ``chosen``.
    held_out : tuple of str
        Names of the images of the held-out part, or of the part of the only image.
    checkpoint : Checkpoint
        What `save` writes. Where there are new weights, its configuration says where they came from: name, version and
        SHA-256 of the model at the start, recipe, images, steps, minutes, and the scores on the held-out part.
    """

    segmenter: Segmenter
    table: tuple[Row, ...]
    held_out: tuple[str, ...]
    checkpoint: Checkpoint

    @property
    def start_score(self) -> float:
        """Mean score of the model at the start, over the held-out part."""
        return float(self.table[0]["score"])

    @property
    def score(self) -> float:
        """Mean score of the chosen model over the held-out part, which chose it: a little too good."""
        return float(self._chosen["score"])

    @property
    def has_new_weights(self) -> bool:
        """Whether the chosen model has new weights or statistics; if not, no such model scored higher."""
        return self._chosen["model"] in (_ADAPTED, _TRAINED)

    @property
    def _chosen(self) -> Row:
        return next(row for row in self.table if row["chosen"])


def finetune(
    segmenter: Segmenter,
    images: Iterable[Any],
    labels: Iterable[Any],
    *,
    minutes: float | None = None,
    steps: int | None = None,
    metric: str | Metric | None = None,
    seed: int = 0,
    axes: str | None = None,
    channel: int | str | None = None,
    time: int | None = None,
    z: int | None = None,
    series: int | None = None,
    pixel_size: float | str | Sequence[float | str] | None = None,
    progress: Progress = False,
) -> FineTuning:
    """Let a model learn from a few labeled images.

    A quarter of the images is held out, or a quarter of a single image. The labels of the others say at which scales
    their objects have the size that the model knows; the scale that scores best on them is taken. A model of volumes
    also takes the statistics of its batch norms from them, as `adapt` does, if that scores better. Then the weights
    learn from small crops at this scale, with the losses of the model's own recipe, a low learning rate, and the
    statistics of its batch norms as they are. The averaged weights are scored on the held-out part about 8 times;
    three scores in a row that are no better end the training. So does an interruption after the first score (Ctrl-C;
    for ``pea``, SIGTERM too). The best of all models is the result, among them the model as it was: on the held-out
    part, the result is never worse.

    Parameters
    ----------
    segmenter : Segmenter
        From `Segmenter.pretrained`, `Segmenter.from_file` or an earlier fine-tuning; it stays as it is. The result has
        its settings, but perhaps another scale.
    images, labels : iterable
        Arrays or paths, as for `Segmenter.segment`, and the true labels of each: whole numbers, 0 = background, or the
        path of a TIFF or PNG that holds them. In volumes of neurons, 0 is a membrane or has no label.
    minutes : float, optional
        Time after the images are read. The model as it is, other scales, and one step are tried in any case.
        Default: 10.
    steps : int, optional
        Number of training steps, in place of a time. The result is then the same at each call, on the same machine
        with the same number of threads.
    metric : str or callable
        What decides, as for `pixel_embedded_affinity.tune.tune`. Default: AJI for images, VOI for volumes.
    seed : int
        Seed of what is held out and of the crops.
    axes, channel, time, z, series, pixel_size
        Which part of each source is the image, and the size of its pixels, as for `Segmenter.segment`.
    progress : bool or callable
        True shows a bar with the time left and the best score.

    Returns
    -------
    FineTuning
        The segmenter, the scores, and the file to write.

    Raises
    ------
    InputError
        If an image, labels, the metric or a number cannot be used, all labels look like binary masks, there are not
        enough objects for a part to learn from and a part to hold out, or the segmenter was made from a network in
        memory.
    CheckpointError
        If the model's file has changed or gone since it was loaded.
    """
    stored_model(segmenter)
    selection = Selection(axes, channel, time, series, pixel_size, z)
    return finetune_examples(
        segmenter,
        _examples(segmenter.config, images, labels, selection),
        minutes=minutes,
        steps=steps,
        metric=metric,
        seed=seed,
        progress=progress,
    )


def finetune_examples(
    segmenter: Segmenter,
    examples: Sequence[Example],
    *,
    minutes: float | None = None,
    steps: int | None = None,
    metric: str | Metric | None = None,
    seed: int = 0,
    progress: Progress = False,
) -> FineTuning:
    """Let a model learn from images that are read already, with `data.layouts.RAW`; all else as for `finetune`."""
    budget = Budget(minutes, steps)
    integer(0)(seed, "seed")
    measure = as_metric(usual_metric(segmenter.config.ndim) if metric is None else metric)
    start = stored_model(segmenter)()
    refuse_masks(example.labels for example in examples)
    learned, held_out = divided(_sizes_settled(examples, segmenter.config), seed)
    contest = _Contest(partial(_score, held_out, measure), budget)
    contest.enter("start", segmenter, start.tensors)
    scaled = _at_best_scale(segmenter, learned, measure)
    _warn_of_unlabeled(scaled, held_out[0])
    if scaled is not segmenter:
        contest.enter("scale", scaled, start.tensors)
    first = start
    if (found := _adapted(scaled, learned)) is not None:
        before, score = contest.best_score, contest.enter(_ADAPTED, found.segmenter, found.checkpoint.tensors)
        if score > before:
            scaled, first = found.segmenter, found.checkpoint
    seen = as_seen(learned, scaled.config)
    with TemporaryDirectory() as folder:
        path = Path(folder) / _START
        write_checkpoint(path, start)
        origin = origin_of(path, None)
        write_checkpoint(path, first)
        recipe = _plan(scaled.config.changed(name=segmenter.config.name), seen, budget, seed)
        trainer = Trainer(recipe, seen, Path(folder), device=str(segmenter.device), warm_start=path)
        _train(trainer, scaled, contest, progress)
    return contest.result(tuple(example.name for example in held_out), origin)


class Budget:
    """The time or the steps of a fine-tuning, divided into rounds.

    Parameters
    ----------
    minutes : float, optional
        Time for everything, from now. Default: 10.
    steps : int, optional
        Steps in place of a time.

    Raises
    ------
    InputError
        If a number is not positive, the steps are not whole, or there are both.
    """

    def __init__(self, minutes: float | None = None, steps: int | None = None) -> None:
        if minutes is not None and steps is not None:
            raise InputError(
                f"minutes={minutes!r} and steps={steps!r}; expected one of them, since either ends the training"
            )
        minutes = _MINUTES if minutes is None else minutes
        if isinstance(minutes, bool) or not isinstance(minutes, (int, float)) or not 0 < minutes < math.inf:
            raise InputError(f"minutes must be a positive number, got {minutes!r}")
        if steps is not None:
            integer(1)(steps, "steps")
        self.steps, self._seconds, self._began = steps, 60.0 * minutes, monotonic()
        self._first, self._width, self._due = 0.0, 0.0, 0.0

    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return monotonic() - self._began

    def start_round(self, step: int) -> None:
        """Begin a round after so many steps; all rounds are planned equally long."""
        used = self._used(step)
        if not self._width:
            self._first, self._width = self.elapsed(), max(1 - used, 0.0) / _ROUNDS
        self._due = used + self._width

    def is_round_over(self, step: int) -> bool:
        """Whether the round ends with this step."""
        return self._used(step) >= self._due - 1e-9  # sums of shares are not exact

    def minutes_of_training(self, reserved: float) -> float | None:
        """Minutes that are left, less the seconds that are reserved; None where steps are counted."""
        if self.steps is not None:
            return None
        return max(self._seconds - self.elapsed() - reserved, _SHORTEST) / 60

    def left(self, step: int) -> float:
        """Seconds that are left after so many steps; where steps are counted, at the pace so far."""
        if self.steps is None:
            return max(self._seconds - self.elapsed(), 0.0)
        return (self.steps - step) * (self.elapsed() - self._first) / max(step, 1)

    def _used(self, step: int) -> float:
        """The share of the whole that is used up."""
        return self.elapsed() / self._seconds if self.steps is None else step / self.steps


class _Entry(NamedTuple):
    """A model that was scored."""

    row: Row
    segmenter: Segmenter
    tensors: dict[str, torch.Tensor]


class _Contest:
    """Scores models on the held-out part, and keeps the best one; of equal ones, the first."""

    def __init__(self, judge: Callable[[Segmenter], float], budget: Budget) -> None:
        self._judge, self.budget = judge, budget
        self._rows: list[Row] = []
        self._best: _Entry | None = None
        self.seconds = 0.0

    @property
    def best_score(self) -> float:
        """The best score so far."""
        return -math.inf if self._best is None else float(self._best.row["score"])

    def enter(
        self, model: str, segmenter: Segmenter, tensors: dict[str, torch.Tensor], step: int = 0
    ) -> float:
        """Score a model; `seconds` is how long that took."""
        began = self.budget.elapsed()
        score = self._judge(segmenter)
        ended = self.budget.elapsed()
        self.seconds = ended - began
        row: Row = {"model": model, "step": step, "minutes": round(ended / 60, 2)}
        row |= {"scale": segmenter.config.scale, "score": score}
        self._rows.append(row)
        if score > self.best_score:
            self._best = _Entry(row, segmenter, tensors)
        logger.info("%s, step %d, minute %.1f: %.4f on the held-out part", model, step, ended / 60, score)
        return score

    def result(self, held_out: tuple[str, ...], origin: dict[str, Any]) -> FineTuning:
        """The best model; new weights say where they came from: `origin` and what was held out."""
        if self._best is None:
            raise InputError("no model was scored; expected the model at the start at least")
        row, segmenter, tensors = self._best
        table = tuple({**entry, "chosen": entry is row} for entry in self._rows)
        if row["model"] == _TRAINED:
            scores = {"score": row["score"], "score_before": table[0]["score"], "held_out": list(held_out)}
            provenance = {**segmenter.config.provenance, **scores, **origin}
            segmenter = with_weights(segmenter, segmenter.config.changed(provenance=provenance), tensors)
        else:
            text = (
                "no trained model scored higher on the held-out part than %.4f, the score without training; "
            )
            kept = (
                "only the batch norms are new"
                if row["model"] == _ADAPTED
                else "the weights stay as they were"
            )
            logger.warning(f"{text}{kept}", row["score"])
            settings = segmenter.config.postprocess
            if not row["score"] and (settings.noise_floor or settings.min_confidence):
                logger.warning(
                    "the model's settings may leave out all objects of an image that it does not know; try "
                    "postprocess.noise_floor and postprocess.min_confidence of 0 (--noise-floor 0 --min-confidence 0)"
                )
        checkpoint = Checkpoint(segmenter.config.to_json(), tensors)
        return FineTuning(segmenter, table, held_out, checkpoint)


def _train(trainer: Trainer, start: Segmenter, contest: _Contest, progress: Progress) -> None:
    """Train until the budget is used up or the scores stay; each round ends with a score.

    An interruption (Ctrl-C) ends the training as well, once a trained model has been scored.
    """
    scored = [0]
    try:
        scored.extend(_rounds(trainer, start, contest, progress))
        if scored[-1] < trainer.step:
            _enter(trainer, start, contest)
    except KeyboardInterrupt:
        if len(scored) == 1:
            raise
        logger.warning("interrupted after %d steps: the best model so far is the result", trainer.step)


def _rounds(trainer: Trainer, start: Segmenter, contest: _Contest, progress: Progress) -> Iterator[int]:
    """Train, and give the number of steps after each round, when the model has been scored."""
    budget = contest.budget
    budget.start_round(0)
    best, stale = -math.inf, 0
    steps = trainer.steps(budget.minutes_of_training(contest.seconds))
    with closing(steps):
        bar: Iterable[StepResult] = track(steps, progress, desc="learning", unit="step", total=budget.steps)
        for step, _ in bar:
            if budget.is_round_over(step):
                score = _enter(trainer, start, contest)
                yield step
                # Scores of 0, as while all objects are left out, do not say that training is in vain.
                best, stale = max(best, score), 0 if score > best else stale + bool(best or score < best)
                budget.start_round(step)
            _show(bar, budget.left(step), contest.best_score)
            if stale >= _PATIENCE:
                logger.info("%d scores in a row were no better: the training ends", stale)
                break


def _enter(trainer: Trainer, start: Segmenter, contest: _Contest) -> float:
    """Score the averaged weights as they are now, at the scale of the segmenter that they started from."""
    config = trainer.config().changed(scale=start.config.scale, diameter=start.config.diameter)
    tensors = {name: value.clone() for name, value in trainer.average.items()}
    found = with_weights(start, config, tensors)
    return contest.enter(_TRAINED, found, tensors, trainer.step)


def _show(bar: object, seconds: float, score: float) -> None:
    """Put the time left and the best score at the end of the bar, if it can show them."""
    show = getattr(bar, "set_postfix", None)
    if callable(show):
        show({"left": f"{seconds // 60:.0f}:{seconds % 60:02.0f}", "best": f"{score:.3f}"}, refresh=False)


def _examples(
    config: ModelConfig, images: Iterable[Any], labels: Iterable[Any], selection: Selection
) -> list[Example]:
    """Read the images, not normalized, and their labels."""
    pictures, truths = listed(images, "images"), listed(labels, "labels")
    if len(pictures) != len(truths) or not pictures:
        raise InputError(
            f"{len(pictures)} images and {len(truths)} labels to learn from; expected at least one image, and labels "
            "for each"
        )
    numbered = enumerate(zip(pictures, truths, strict=True), start=1)
    return [_example(config, number, *pair, selection) for number, pair in numbered]


def _example(config: ModelConfig, number: int, image: Any, labels: Any, selection: Selection) -> Example:
    what = f"image {number} of the images to learn from"
    try:
        found = as_image(image, channels=config.network.in_channels, ndim=config.ndim, selection=selection)
        shape = found.to_source_order(np.empty(found.spatial_shape, np.bool_)).shape
        truth = true_labels(labels, shape, what)
        ordered = relabel(found.from_source_order(truth))
        return Example(found.name or f"image {number}", found.values, ordered, found.pixel_size)
    except InputError as error:
        raise InputError(f"{what}: {error}") from error


def divided(examples: Sequence[Example], seed: int) -> tuple[list[Example], list[Example]]:
    """Divide images into those to learn from, and those to hold out.

    Parameters
    ----------
    examples : sequence of Example
        Images and labels.
    seed : int
        Seed of the choice.

    Returns
    -------
    learned, held_out : list of Example
        A quarter of the images with objects is held out, one at least. If a single image has objects, it is cut
        across its longer axis, and a quarter of it is held out: the last one, or the first one if either part
        lacks objects. Images without objects are learned from.

    Raises
    ------
    InputError
        If there is no part with objects to hold out beside one to learn from.
    """
    filled = [index for index, example in enumerate(examples) if example.labels.any()]
    if len(filled) > 1:
        count = max(1, round(len(filled) / _PART))
        chosen = set(np.random.default_rng(seed).permutation(filled)[:count].tolist())
        kept = [example for index, example in enumerate(examples) if index not in chosen]
        return kept, [examples[index] for index in sorted(chosen)]
    for index in filled:
        empty = [example for example in examples if example is not examples[index]]
        for learned, held_out in _cuts(examples[index]):
            if learned.labels.any() and held_out.labels.any():
                return [learned, *empty], [held_out]
    raise InputError(
        f"the {len(examples)} images have no objects to hold out beside others to learn from; expected objects in two "
        "images, or in both parts of one that is cut across its longer side; label more"
    )


def _cuts(example: Example) -> list[tuple[Example, Example]]:
    """Cut an image into three quarters to learn from, and the last or the first quarter."""
    shape = example.labels.shape
    axis = int(np.argmax(shape))
    quarter = shape[axis] // _PART
    ends = [(slice(0, -quarter), slice(-quarter, None)), (slice(quarter, None), slice(0, quarter))]
    return [(_part(example, axis, rest), _part(example, axis, end)) for rest, end in ends if quarter]


def _part(example: Example, axis: int, side: slice) -> Example:
    index = (slice(None),) * axis + (side,)
    image = np.ascontiguousarray(example.image[(slice(None), *index)])
    return replace(
        example, name=f"part of {example.name}", image=image, labels=relabel(example.labels[index])
    )


def _at_best_scale(segmenter: Segmenter, learned: Sequence[Example], measure: Metric) -> Segmenter:
    """The segmenter at the scale that scores best on images to learn from; the same one if no other is better.

    A model that finds the scale in each image goes on doing so, unless the objects of all images have about one size,
    and a fixed scale is clearly better.
    """
    filled = [example for example in learned if example.labels.any()]
    count = min(len(filled), _LOOKED_AT)
    looked_at = [filled[number * len(filled) // count] for number in range(count)]
    finds = segmenter.config.scale == AUTO
    others = (
        []
        if finds and not _of_one_size(segmenter.config, filled)
        else scales_to_try(segmenter.config, learned)
    )
    tried = [segmenter, *(segmenter.with_settings(scale=scale) for scale in others)]
    scores = [_score(looked_at, measure, one) for one in tried] if others else [0.0]
    for one, score in zip(tried, scores, strict=True):
        logger.info("scale %s: %.4f on images to learn from, before training", one.config.scale, score)
    least = scores[0] + _CLEARLY if finds else scores[0]
    return tried[scores.index(max(scores))] if max(scores) > least else segmenter


def _sizes_settled(examples: Sequence[Example], config: ModelConfig) -> list[Example]:
    """Say once where the voxels of a volume are not the model's, and not whenever it is segmented.

    Where the scale is a number, nothing else depends on their size.
    """
    if config.ndim == 2 or config.scale == AUTO:
        return list(examples)
    for example in examples:
        with about(example.name):
            stated_scale(config, example.pixel_size)
    return [replace(example, pixel_size=config.pixel_size) for example in examples]


def _adapted(segmenter: Segmenter, learned: Sequence[Example]) -> Adaptation | None:
    """The model of volumes with batch norms from the volumes to learn from; None if it cannot be adapted to them."""
    if segmenter.config.ndim == 2:
        return None
    sizes = {example.pixel_size for example in learned}
    try:
        selection = Selection(axes=segmenter.config.axes, pixel_size=sizes.pop() if len(sizes) == 1 else None)
        return adapt_selected(segmenter, [example.image for example in learned], selection)
    except InputError as error:
        logger.info("the batch norms stay as they are: %s", error)
        return None


def _of_one_size(config: ModelConfig, examples: Sequence[Example]) -> bool:
    """Whether one scale would serve all images."""
    if config.object_diameter is None and config.object_extent is None:
        return True
    found = [_own_scale(config, example) for example in examples]
    return all(is_kept(scale / float(np.median(found))) for scale in found)


def scales_to_try(config: ModelConfig, examples: Sequence[Example]) -> list[float | str]:
    """Return scales that the labels suggest, other than a model's own.

    Parameters
    ----------
    config : ModelConfig
        Its `object_extent` or `object_diameter` says how large objects should be; if it has neither, there are no
        scales.
    examples : sequence of Example
        Images with their labels.

    Returns
    -------
    list of float or "auto"
        The median over the images of the scale at which their objects have the diameter; halfway to the image as it
        is; ``"auto"``, for images that differ. No number lies within a factor of 1.35 of 1, as for
        `pixel_embedded_affinity.scale.find_scale`, but 1 itself.
    """
    found = [_own_scale(config, example) for example in examples if example.labels.any()]
    if (config.object_diameter is None and config.object_extent is None) or not found:
        return []
    median = float(np.median(found))
    scales: list[float | str] = [settled(median), settled(math.sqrt(median)), AUTO]
    return [scale for scale in dict.fromkeys(scales) if config.diameter is not None or scale != config.scale]


def _own_scale(config: ModelConfig, example: Example) -> float:
    """The scale at which an image has the extent, or its median object the diameter, that the model knows."""
    if config.object_extent is not None:
        found, wanted = float(extent_of(example.labels > 0)), config.object_extent
    else:
        found = median_diameter(example.labels)
        wanted = config.object_diameter or found
    return searched(wanted / found)


def as_seen(examples: Sequence[Example], config: ModelConfig) -> list[Example]:
    """Return examples as the network should see them: normalized, and resized by the configuration's scale.

    Where the configuration says no number, the labels say the scale of each image; an image without objects then gets
    the median of the others. The scale of a volume follows from the size of its voxels.
    """
    if config.ndim == 3:
        stated = [stated_scale(config, example.pixel_size) for example in examples]
        return [_seen(example, config, found.scale) for example, found in zip(examples, stated) if found]
    if isinstance(config.scale, str) or config.diameter is not None:
        found = {index: _own_scale(config, one) for index, one in enumerate(examples) if one.labels.any()}
        median = float(np.median(list(found.values())))
        scales = [found.get(index, median) for index in range(len(examples))]
    else:
        scales = [float(config.scale)] * len(examples)
    return [_seen(example, config, scale) for example, scale in zip(examples, scales, strict=True)]


def _seen(example: Example, config: ModelConfig, scale: Scale) -> Example:
    image = resize_image(normalize(example.image, config.normalization, config.contrast), scale)
    return replace(example, image=image, labels=relabel(resize_labels(example.labels, image.shape[1:])))


def _score(held_out: Sequence[Example], measure: Metric, segmenter: Segmenter) -> float:
    """Mean score over the held-out part; a model without a foreground head gets the true foreground."""
    foreground = "model" if segmenter.config.network.foreground_head else "truth"
    found = predict(segmenter, held_out, foreground)
    score = float(np.mean([measure(one.example.labels, one.labels) for one in found]))
    if not math.isfinite(score):
        raise InputError(f"the metric gave {score}; expected a finite number, where higher is better")
    return score


def _warn_of_unlabeled(segmenter: Segmenter, example: Example) -> None:
    """Say so if a model finds at least as many objects where an image has no labels as there are labels."""
    if segmenter.config.ndim == 3 or not segmenter.config.network.foreground_head:
        return
    (found,) = predict(segmenter, [example], "model")
    areas = np.bincount(found.labels.ravel())[1:]
    labeled = np.bincount(found.labels[example.labels > 0], minlength=len(areas) + 1)[1:]
    outside = int(np.count_nonzero(labeled < _TOUCHED * areas))
    labels = len(np.unique(example.labels[example.labels > 0]))
    if outside >= max(labels, _MANY):
        logger.warning(
            "%s: the model finds %d objects where nothing is labeled, and %d are labeled; if these are objects, label "
            "them, too, or cut the image: all that is 0 counts as background",
            example.name,
            outside,
            labels,
        )


def _plan(config: ModelConfig, examples: Sequence[Example], budget: Budget, seed: int) -> Recipe:
    """The recipe of the fine-tuning: the model's own losses and pairs, small crops, a low rate, fixed statistics."""
    name = derived_name(config.name, FINETUNED)
    made = {"adapted": config.provenance["adapted"]} if "adapted" in config.provenance else {}
    model = config.changed(name=name, scale=1.0, diameter=None, provenance=made)
    own = _own_recipe(config, model)
    steps = _MOST_STEPS if budget.steps is None else budget.steps
    images = config.ndim == 2
    focus = max(own.augmentation.focus, _FOCUS if images else 0)
    return replace(
        own,
        model=model,
        loss=replace(own.loss, self_correlation=True, cross_correlation=False),
        augmentation=replace(own.augmentation, scale=_MAGNIFICATION, focus=focus),
        schedule=Schedule(
            steps=steps,
            batch=_BATCH[config.ndim],
            crop=_crop(config, examples),
            learning_rate=_RATE,
            decay="constant",
            warm_up=min(1.0, _WARM_UP / steps),
            average=_AVERAGE,
            save_every=steps,
            seed=seed,
            frozen_statistics=True,
        ),
    )


def _own_recipe(config: ModelConfig, model: ModelConfig) -> Recipe:
    """What the model's provenance says of its losses, pairs and crops, or else what its configuration suggests."""
    recipe = config.provenance.get("recipe")
    try:
        if isinstance(recipe, str) and recipe in list_recipes():
            named = Recipe.from_file(recipe)
            return replace(Recipe(model), **{name: getattr(named, name) for name in _LEARNED_PARTS})
        if isinstance(recipe, dict):
            parts = {name: recipe[name] for name in _LEARNED_PARTS if name in recipe}
            return Recipe.from_dict({"model": model.to_dict(), **parts})
    except InputError as error:
        logger.warning(
            "the recipe in the model's provenance is not usable (%s): usual losses are taken", error
        )
    volumes = model.ndim == 3
    loss = LossSettings(
        cross_correlation=not volumes,
        foreground=1.0 if model.network.foreground_head else 0.0,
        membrane=1 if volumes else 0,
    )
    return Recipe(model, loss=loss, neighborhood=_suggested_pairs(model.neighborhood.offsets))


def _suggested_pairs(offsets: Iterable[Sequence[int]]) -> TrainingNeighborhood:
    """Pairs to learn from, of the ranges of those that the model compares."""
    within, across = set(), set()
    for *sections, down, right in offsets:
        aside = max(abs(down), abs(right))
        if any(sections):
            across.add((abs(sections[0]), aside))
        else:
            within.add(aside)
    return TrainingNeighborhood(tuple(sorted(within)), 8, tuple(sorted(across)))


def _crop(config: ModelConfig, examples: Sequence[Example]) -> tuple[int, ...]:
    """Lengths of a crop that the network need not pad, with no more sections than there are."""
    wanted = list(_CROPS[config.ndim])
    if config.ndim == 3:
        wanted[0] = min(wanted[0], max(len(example.labels) for example in examples))
    with torch.device("meta"):
        grid = build_network(config.network).grid
    return tuple(-(-length // step) * step for length, step in zip(wanted, grid))
