"""Recipes: everything that a training run depends on, read from TOML; unknown keys are refused."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.data.layouts import DataSettings
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import Settings, choice, integer, list_of, number, part, setting, switch
from pixel_embedded_affinity.models.registry import read_toml
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.network.build import build_network
from pixel_embedded_affinity.training.data.augment import Augmentation
from pixel_embedded_affinity.training.data.second_view import ViewSettings

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
}
"""Parts of the loss that a baseline lacks, since it has no two embeddings to correlate, or no pairs to weigh."""

LOSS_KINDS = ("affinity", "direct_affinity", "discriminative")
"""What the network learns: the library's method, and the two baselines of ``pea compare``."""


@dataclass(frozen=True)
class LossSettings(Settings, section="loss"):
    """What the network learns, and the modules of the loss, which can be switched off one by one.

    Parameters
    ----------
    kind : {"affinity", "direct_affinity", "discriminative"}
        ``"affinity"``: embeddings whose cosines are affinities, the method of this library (PEA). The others
        are baselines, which only ``pea compare`` trains: ``"direct_affinity"`` (AL) predicts the affinities of
        the training's pairs, ``"discriminative"`` (ML-De) learns embeddings around the means of objects.
    self_correlation : bool
        The self-correlation module (SCM): the pairs of the first view. It can be off only if the cross-correlation
        is on; else, and in a baseline, the network would learn nothing at full resolution.
    cross_correlation : bool
        The cross-correlation module (CCM): a second view, compared with the first.
    pyramid : bool
        The embedding pyramid (EPM): the loss at 1/16, 1/8, 1/4 and 1/2 with the first 1, 2, 3 and 4 ranges.
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

    Raises
    ------
    InputError
        If the kind is unknown, a module is not defined for it, a number is negative, or a divisor is zero.
    """

    kind: str = setting("affinity", choice(*LOSS_KINDS))
    self_correlation: bool = setting(True, switch())
    cross_correlation: bool = setting(True, switch())
    pyramid: bool = setting(True, switch())
    foreground: float = setting(1.0, number(0))
    foreground_weight: float = setting(1.0, number(above=0))
    border_weight: float = setting(0.0, number(0))
    border_width: float = setting(3.0, number(above=0))
    small_weight: float = setting(0.0, number(0))
    small_area: float = setting(300.0, number(above=0))

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
    batch, crop : int
        Crops per step, and their height and width in pixels, a multiple of the network's grid.
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

    Raises
    ------
    InputError
        If a value is out of range.
    """

    steps: int = setting(2000, integer(1))
    batch: int = setting(4, integer(1))
    crop: int = setting(128, integer(1))
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
        Size of the full neighborhood.

    Raises
    ------
    InputError
        If `directions` is not two-dimensional, or `Neighborhood.from_ranges` refuses the ranges.
    """

    ranges: tuple[int, ...] = setting((1, 3, 5, 9, 11), list_of(integer(1)))
    directions: int = setting(4, choice(4, 8))

    def _check_together(self) -> None:
        self.offsets()

    def offsets(self, count: int | None = None) -> tuple[tuple[int, ...], ...]:
        """Offsets of the first `count` ranges, or of all."""
        return Neighborhood.from_ranges(self.ranges[:count], self.directions).offsets


@dataclass(frozen=True)
class Recipe(Settings, section="", title="the recipe"):
    """A whole training run.

    Parameters
    ----------
    model : ModelConfig
        The configuration of the trained model: network, normalization and inference settings.
    data, loss, schedule, augmentation, view, neighborhood
        The parts of the run.

    Raises
    ------
    InputError
        If the network cannot be built, crops are no multiples of its grid, the loss needs a foreground head that the
        network lacks, or ``loss.kind`` is ``"direct_affinity"`` and the network does not have one output per pair.
    """

    model: ModelConfig = setting(MISSING, part(ModelConfig))
    data: DataSettings = setting(DataSettings, part(DataSettings))
    loss: LossSettings = setting(LossSettings, part(LossSettings))
    schedule: Schedule = setting(Schedule, part(Schedule))
    augmentation: Augmentation = setting(Augmentation, part(Augmentation))
    view: ViewSettings = setting(ViewSettings, part(ViewSettings))
    neighborhood: TrainingNeighborhood = setting(TrainingNeighborhood, part(TrainingNeighborhood))

    def _check_together(self) -> None:
        if self.loss.foreground and not self.model.network.foreground_head:
            raise InputError(
                f"loss.foreground is {self.loss.foreground}, but model.network.foreground_head is false; "
                "set loss.foreground to 0, or give the network its head"
            )
        outputs, pairs = self.model.network.embedding_channels, len(self.neighborhood.offsets())
        if self.loss.kind == "direct_affinity" and outputs != pairs:
            raise InputError(
                f"loss.kind 'direct_affinity' predicts {pairs} affinities, but model.network.embedding_channels "
                f"is {outputs}; set it to {pairs}"
            )
        self._check_crop()

    def _check_crop(self) -> None:
        """Refuse crops that the network would pad."""
        with torch.device("meta"):
            step = math.lcm(*build_network(self.model.network).grid)
        if self.schedule.crop % step:
            raise InputError(
                f"schedule.crop must be a positive multiple of {step}, got {self.schedule.crop}; the network "
                f"{self.model.network.architecture} would pad other crops"
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


_RECIPES = Path(__file__).parent / "recipes"


def list_recipes() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in _RECIPES.glob("*.toml"))


def recipe_path(path: str | Path) -> Path:
    """Return the path of a recipe file, or of a shipped recipe of that name.

    Raises
    ------
    InputError
        If there is neither.
    """
    if Path(path).is_file():
        return Path(path)
    if str(path) in list_recipes():
        return _RECIPES / f"{path}.toml"
    raise InputError(
        f"no recipe file {str(path)!r}; give a TOML file, or a shipped recipe: {', '.join(list_recipes())}"
    )
