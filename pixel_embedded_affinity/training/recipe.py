"""Recipes: everything that a training run depends on, read from TOML; unknown keys are refused."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from numpy.random import Generator

from pixel_embedded_affinity.config.model import AUTO, ModelConfig
from pixel_embedded_affinity.data.layouts import DataSettings
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import (
    Settings,
    choice,
    integer,
    list_of,
    number,
    part,
    per_axis,
    setting,
    switch,
)
from pixel_embedded_affinity.geometry.per_axis import per_axis as lengths_per_axis
from pixel_embedded_affinity.models.registry import read_toml
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.network.base import check_ndim
from pixel_embedded_affinity.network.build import build_network
from pixel_embedded_affinity.training.data.augment import Augmentation
from pixel_embedded_affinity.training.data.compression import CHANNELS
from pixel_embedded_affinity.training.data.second_view import ViewSettings
from pixel_embedded_affinity.training.data.stack import SectionSettings
from pixel_embedded_affinity.training.recipe_files import recipe_path

Offset = tuple[int, ...]

SELECTION_METRICS = (
    "aggregated_jaccard_index",
    "symmetric_best_dice",
    "panoptic_quality",
    "f1_score",
    "dice",
    "mean_average_precision",
)
"""Measures that can choose the best checkpoint: values of `metrics.evaluate` where 1 is perfect."""

_UNDEFINED = {
    "direct_affinity": ("cross_correlation",),
    "discriminative": ("cross_correlation", "pyramid", "border_weight", "small_weight"),
    "malis": ("cross_correlation", "pyramid", "border_weight", "small_weight"),
}
"""Parts of the loss that a baseline lacks, since it has no two embeddings to correlate, or no pairs to weigh."""

LOSS_KINDS = ("affinity", "direct_affinity", "discriminative", "malis")
"""What the network learns: the library's method, and the baselines of ``pea compare``."""

PREDICTING = ("direct_affinity", "malis")
"""Kinds of loss whose network predicts the affinities of fixed pairs instead of embeddings."""


@dataclass(frozen=True)
class LossSettings(Settings, section="loss"):
    """What the network learns, and the modules of the loss, which can be switched off one by one.

    Parameters
    ----------
    kind : {"affinity", "direct_affinity", "discriminative", "malis"}
        ``"affinity"``: embeddings whose cosines are affinities, the method of this library (PEA). The others
        are baselines, which only ``pea compare`` trains: ``"direct_affinity"`` (AL, SuperHuman) predicts the
        affinities of the training's pairs, each on its own, ``"malis"`` (MALA) predicts them so that the weakest
        one on the best path between two pixels is right, ``"discriminative"`` (ML-De) learns embeddings around the
        means of objects.
    self_correlation : bool
        The self-correlation module (SCM): the pairs of the first view. It can be off only if the cross-correlation
        is on; else, and in a baseline, the network would learn nothing at full resolution.
    cross_correlation : bool
        The cross-correlation module (CCM): a second view, compared with the first.
    pyramid : bool
        The embedding pyramid (EPM): the loss at 1/16, 1/8, 1/4 and 1/2 with the first 1, 2, 3 and 4 ranges.
    pyramid_weight : float
        Weight of the pyramid's losses.
    foreground : float
        Weight of the foreground head's cross-entropy; 0 without a foreground head.
    foreground_weight : float
        Weight of foreground pixels in this cross-entropy; background pixels weigh 1.
    border_weight, border_width : float
        Pairs near a border between labels weigh ``1 + border_weight * exp(-(d / border_width)^2)`` with d the
        distance in pixels.
    small_weight : float
        A pixel of an object of area a weighs ``1 + small_weight * exp(-a / small_area)``.
    small_area : float
        The area in pixels of the unscaled image at which the weight of small objects has fallen to 1/e.
    membrane : int
        If above 0, pixels without a label, and this many pixels on either side of a border between labels in a
        section, are membrane: similar to no object, and not compared with each other. 0: pixels without a label are
        background, which is one more label.

    Raises
    ------
    InputError
        If the kind is unknown, a module is not defined for it, a number is negative, or a divisor is zero.
    """

    kind: str = setting("affinity", choice(*LOSS_KINDS))
    self_correlation: bool = setting(True, switch())
    cross_correlation: bool = setting(True, switch())
    pyramid: bool = setting(True, switch())
    pyramid_weight: float = setting(1.0, number(0))
    foreground: float = setting(1.0, number(0))
    foreground_weight: float = setting(1.0, number(above=0))
    border_weight: float = setting(0.0, number(0))
    border_width: float = setting(3.0, number(above=0))
    small_weight: float = setting(0.0, number(0))
    small_area: float = setting(300.0, number(above=0))
    membrane: int = setting(0, integer(0))

    def _check_together(self) -> None:
        for name in _UNDEFINED.get(self.kind, ()):
            if getattr(self, name):
                raise InputError(
                    f"loss.{name} is {getattr(self, name)}, which is not defined for loss.kind {self.kind!r}; "
                    "switch it off (false, or 0)"
                )
        if not self.self_correlation and not self.cross_correlation:
            raise InputError(
                "loss.self_correlation and loss.cross_correlation are both false, so nothing would be learned at full "
                "resolution; switch one of them on"
            )


@dataclass(frozen=True)
class Schedule(Settings, section="schedule"):
    """Length and pace of a run, validation, and the seed.

    Parameters
    ----------
    steps : int
        Optimizer steps of the whole run.
    batch : int
        Crops per step.
    crop : int or sequence of int
        Length of a crop in pixels, for all axes or one per axis, a multiple of the network's grid; y and x have the
        same length.
    learning_rate : float
        The highest learning rate.
    decay : {"cosine", "constant"}
        ``"cosine"`` falls to zero at the last step; the paper uses ``"constant"``.
    warm_up : float
        Share of the steps in which the rate rises linearly from zero.
    weight_decay, clip : float
        AdamW's decay, and the largest norm of the gradient.
    average : float
        Decay per step of the averaged weights (EMA) at the end of the run. It starts lower, so that the average
        forgets early weights.
    save_every, validate_every : int
        Steps between two states on disk, and between two validations; 0 validates only at the end.
    validation_images : int
        Number of validation images that are segmented each time; 0 takes all.
    best_by : str
        The measure, one of `SELECTION_METRICS`, whose mean over the validation images chooses the best checkpoint.
    seed : int
        Seed of weights, crops and views.
    frozen_statistics : bool
        Whether means and variances of batch norms stay as they are in the weights that the run starts from: few crops
        would estimate them badly.

    Raises
    ------
    InputError
        If a value is out of range.
    """

    steps: int = setting(2000, integer(1))
    batch: int = setting(4, integer(1))
    crop: int | tuple[int, ...] = setting(128, per_axis(integer(1)))
    learning_rate: float = setting(2e-3, number(above=0))
    decay: str = setting("cosine", choice("cosine", "constant"))
    warm_up: float = setting(0.05, number(0, 1))
    weight_decay: float = setting(1e-4, number(0))
    clip: float = setting(1.0, number(above=0))
    average: float = setting(0.99, number(0, 1))
    save_every: int = setting(50, integer(1))
    validate_every: int = setting(0, integer(0))
    validation_images: int = setting(0, integer(0))
    best_by: str = setting("aggregated_jaccard_index", choice(*SELECTION_METRICS))
    seed: int = setting(0, integer(0))
    frozen_statistics: bool = setting(False, switch())

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0: linear warm-up, then cosine to zero, or constant.

        A scheduler of torch would have a state of its own, which a longer run would have to change.
        """
        warm = max(1, round(self.warm_up * self.steps))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        if self.decay == "constant":
            return self.learning_rate
        share = (step - warm) / max(1, self.steps - warm)
        return self.learning_rate * (1 + math.cos(math.pi * share)) / 2

    def validates_after(self, step: int) -> bool:
        """Whether the periodic validation is due after `step` steps."""
        return step > 0 and self.validate_every > 0 and step % self.validate_every == 0


@dataclass(frozen=True)
class TrainingNeighborhood(Settings, section="neighborhood"):
    """The pairs that the loss compares: ranges times directions, as in `Neighborhood.from_ranges`.

    Parameters
    ----------
    ranges : sequence of int
        Distances in pixels, ascending, since the pyramid's coarse scales take the first ones.
    directions : {4, 8}
        Size of the full neighborhood; in a volume, of the neighborhood within a section.
    across : sequence of (int, int)
        Pairs across the sections of a volume: how many sections on, and how many pixels aside in each of the
        8 directions; 0 pixels aside is straight on. Empty for images.
    drawn : int
        Number of offsets that each step compares besides the unit steps, drawn anew; 0 compares all.

    Raises
    ------
    InputError
        If `directions` is not two-dimensional, `Neighborhood.from_ranges` refuses the ranges, an entry of `across` is
        given twice, or more offsets are drawn than there are.
    """

    ranges: tuple[int, ...] = setting((1, 3, 5, 9, 11), list_of(integer(1)))
    directions: int = setting(4, choice(4, 8))
    across: tuple[tuple[int, ...], ...] = setting((), list_of(list_of(integer(0), 2)))
    drawn: int = setting(0, integer(0))

    def _check_together(self) -> None:
        offsets = self.offsets()
        if len(set(offsets)) < len(offsets) or any(sections < 1 for sections, _ in self.across):
            raise InputError(
                f"neighborhood.across must be pairs that differ, each at least 1 section on, got {self.across}"
            )
        longer = sum(not _is_unit_step(offset) for offset in offsets)
        if self.drawn > longer:
            raise InputError(
                f"neighborhood.drawn is {self.drawn}, but there are only {longer} offsets longer than a unit step; "
                "draw fewer, or 0 for all"
            )

    @property
    def ndim(self) -> int:
        """Spatial axes of the offsets: 3 with pairs across sections, else 2."""
        return 3 if self.across else 2

    def offsets(self, count: int | None = None) -> tuple[Offset, ...]:
        """All offsets; with `count`, those of the first ranges, and straight on across sections."""
        within = Neighborhood.from_ranges(self.ranges[:count], self.directions).offsets
        if not self.across:
            return within
        steps = (step for step in self.across if count is None or step[1] == 0)
        between = [offset for sections, aside in steps for offset in _sections_on(sections, aside)]
        return (*between, *((0, *offset) for offset in within))

    def along_axes(self) -> TrainingNeighborhood:
        """The pairs that lie straight along the axes, all of them in each step."""
        straight = tuple(step for step in self.across if step[1] == 0)
        return TrainingNeighborhood(self.ranges, 4, straight)

    def nearest(self) -> TrainingNeighborhood:
        """The pairs of direct neighbors."""
        return TrainingNeighborhood((1,), 4, ((1, 0),) if self.across else ())

    def drawn_offsets(self, generator: Generator) -> tuple[Offset, ...]:
        """Offsets of one step: all, or the unit steps and as many others as are drawn."""
        offsets = self.offsets()
        if not self.drawn:
            return offsets
        near = [offset for offset in offsets if _is_unit_step(offset)]
        far = [offset for offset in offsets if not _is_unit_step(offset)]
        chosen = sorted(generator.choice(len(far), self.drawn, replace=False))
        return (*near, *(far[index] for index in chosen))


def _is_unit_step(offset: Offset) -> bool:
    return sum(map(abs, offset)) == 1


def _sections_on(sections: int, aside: int) -> list[Offset]:
    """Offsets some sections on and some pixels aside, in each of 8 directions."""
    moves = [move for move in product((-1, 0, 1), repeat=2) if any(move)] if aside else [(0, 0)]
    return [(-sections, aside * down, aside * right) for down, right in moves]


@dataclass(frozen=True)
class Recipe(Settings, section="", title="the recipe"):
    """A whole training run.

    Parameters
    ----------
    model : ModelConfig
        The configuration of the trained model: network, normalization and inference settings.
    data, loss, schedule, augmentation, sections, view, neighborhood
        The parts of the run; `sections` is for volumes.

    Raises
    ------
    InputError
        If the network cannot be built, crops are no multiples of its grid or not square, the loss needs a foreground
        head that the network lacks, ``loss.kind`` is one of `PREDICTING` and the network does not have one output per
        pair, or a part is not for as many axes as the model.
    """

    model: ModelConfig = setting(MISSING, part(ModelConfig))
    data: DataSettings = setting(DataSettings, part(DataSettings))
    loss: LossSettings = setting(LossSettings, part(LossSettings))
    schedule: Schedule = setting(Schedule, part(Schedule))
    augmentation: Augmentation = setting(Augmentation, part(Augmentation))
    sections: SectionSettings = setting(SectionSettings, part(SectionSettings))
    view: ViewSettings = setting(ViewSettings, part(ViewSettings))
    neighborhood: TrainingNeighborhood = setting(TrainingNeighborhood, part(TrainingNeighborhood))

    def _check_together(self) -> None:
        if self.loss.foreground and not self.model.network.foreground_head:
            raise InputError(
                f"loss.foreground is {self.loss.foreground}, but model.network.foreground_head is false; "
                "set loss.foreground to 0, or give the network its head"
            )
        self._check_predicted()
        if self.model.scale == AUTO or self.model.diameter is not None:
            raise InputError(
                "model.scale 'auto' and model.diameter are for images to segment; data.diameter or data.extent resizes "
                "training images"
            )
        self._check_axes()
        self._check_crop()

    def _check_predicted(self) -> None:
        """Refuse a network that does not predict one affinity for each pair, where the loss wants that."""
        kind, outputs = self.loss.kind, self.model.network.embedding_channels
        pairs = len(self.neighborhood.offsets())
        if kind in PREDICTING and outputs != pairs:
            raise InputError(
                f"loss.kind {kind!r} predicts {pairs} affinities, but model.network.embedding_channels "
                f"is {outputs}; set it to {pairs}"
            )
        if kind in PREDICTING and self.neighborhood.drawn:
            raise InputError(
                f"loss.kind {kind!r} predicts the same pairs in every step, but neighborhood.drawn is "
                f"{self.neighborhood.drawn}; set it to 0"
            )

    @property
    def crop(self) -> tuple[int, ...]:
        """Length of a crop along each axis."""
        return lengths_per_axis(self.schedule.crop, self.model.ndim, "schedule.crop")

    def _check_axes(self) -> None:
        """Refuse parts for another number of axes than the model's."""
        if self.neighborhood.ndim != self.model.ndim:
            raise InputError(
                f"the model is for {self.model.ndim} spatial axes, the pairs of [neighborhood] for "
                f"{self.neighborhood.ndim}; neighborhood.across must have entries for volumes, and none for images"
            )
        if self.model.ndim == 3 and (self.data.diameter or self.data.extent):
            raise InputError(
                f"data.diameter is {self.data.diameter} and data.extent {self.data.extent}, but volumes are not "
                "resized; set both to 0"
            )
        changed = self.augmentation
        only_images = {
            name: getattr(changed, name) for name in ("object_contrast", "crowding", "compression")
        }
        if self.model.ndim == 3 and any(only_images.values()):
            said = ", ".join(f"augmentation.{name} {value}" for name, value in only_images.items())
            raise InputError(f"{said}: these are for images; set them to 0")
        if changed.compression and self.model.network.in_channels not in CHANNELS:
            raise InputError(
                f"augmentation.compression is {changed.compression}, but a JPEG has 1 or 3 channels, and the network "
                f"{self.model.network.in_channels}; set it to 0"
            )
        if self.model.ndim == 3 and self.loss.cross_correlation:
            raise InputError(
                "volumes are trained without loss.cross_correlation; set loss.cross_correlation to false"
            )

    def _check_crop(self) -> None:
        """Refuse crops that the network would pad, and crops that are not square."""
        with torch.device("meta"):
            network = build_network(self.model.network)
        check_ndim(network, self.model.ndim, "the model")
        if any(length % step for length, step in zip(self.crop, network.grid)):
            steps = network.grid[0] if len(set(network.grid)) == 1 else network.grid
            raise InputError(
                f"schedule.crop must be a positive multiple of {steps}, got {self.schedule.crop}; the network "
                f"{self.model.network.architecture} would pad other crops"
            )
        if self.crop[-1] != self.crop[-2]:
            raise InputError(
                f"schedule.crop must have the same length along y and x, got {self.schedule.crop}; "
                "crops are rotated"
            )

    @classmethod
    def from_file(cls, path: str | Path) -> Recipe:
        """Read a recipe file (TOML), or a shipped recipe by its name.

        Raises
        ------
        InputError
            If there is no such file or recipe, or its content is not valid; the message names the file.
        """
        file = recipe_path(path)
        document = read_toml(file)
        try:
            return cls.from_dict(document)
        except InputError as error:
            raise InputError(f"recipe {str(file)!r}: {error}") from error

    def scheduled(self, **changes: Any) -> Recipe:
        """Return a copy with some entries of the schedule changed."""
        return replace(self, schedule=replace(self.schedule, **changes))
