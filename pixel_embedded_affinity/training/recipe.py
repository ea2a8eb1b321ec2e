"""Recipes: everything that a training run depends on, read from TOML and refused where unknown."""

from __future__ import annotations

import math
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from pixel_embedded_affinity.config.checks import require_above, require_at_least, require_one_of
from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.data.layouts import DataSettings
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.training.data.augment import Augmentation
from pixel_embedded_affinity.training.data.second_view import ViewSettings

T = TypeVar("T")

SELECTION_METRICS = (
    "aggregated_jaccard_index",
    "symmetric_best_dice",
    "panoptic_quality",
    "f1_score",
    "dice",
    "mean_average_precision",
)
"""Measures by which the best checkpoint may be chosen: those of `metrics.evaluate` where 1 is perfect."""

_UNDEFINED = {
    "direct_affinity": ("cross_correlation",),
    "discriminative": ("cross_correlation", "pyramid", "border_weight", "small_weight"),
}
"""Parts of the loss that a baseline does not have: it has no two embeddings to correlate, or no pairs to weigh."""

LOSS_KINDS = ("affinity", "direct_affinity", "discriminative")
"""What the network learns: the library's method, and the two baselines of `training.compare`."""

_CROP_MULTIPLE = 16


@dataclass(frozen=True)
class LossSettings:
    """What is learned, and the modules of the loss, each to be switched off.

    Parameters
    ----------
    kind : {"affinity", "direct_affinity", "discriminative"}
        ``"affinity"``: embeddings whose cosines are affinities, the method of this library (PEA). The others
        are baselines, which only ``pea compare`` trains: ``"direct_affinity"`` (AL) predicts the affinities of
        the training's pairs, ``"discriminative"`` (ML-De) learns embeddings around the means of objects.
    self_correlation : bool
        The self-correlation module (SCM): the pairs of the first view. Only beside the cross-correlation can it
        be off: without both, and in a baseline, nothing would be learned at full resolution.
    cross_correlation : bool
        The cross-correlation module (CCM): a second view, compared with the first.
    pyramid : bool
        The embedding pyramid (EPM): the loss at 1/16, 1/8, 1/4 and 1/2 with the first 1, 2, 3 and 4 ranges.
    foreground : float
        Weight of the foreground head's cross-entropy; 0 without a foreground head.
    foreground_weight : float
        Weight of the foreground's pixels in it, background's being 1.
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
        If the kind is unknown or a module is not defined for it, a number is negative, or one that divides is
        zero.
    """

    kind: str = "affinity"
    self_correlation: bool = True
    cross_correlation: bool = True
    pyramid: bool = True
    foreground: float = 1.0
    foreground_weight: float = 1.0
    border_weight: float = 0.0
    border_width: float = 3.0
    small_weight: float = 0.0
    small_area: float = 300.0

    def __post_init__(self) -> None:
        require_one_of("loss.kind", self.kind, LOSS_KINDS)
        for name in _UNDEFINED.get(self.kind, ()):
            if getattr(self, name):
                raise InputError(
                    f"loss.{name} is {getattr(self, name)}, which is not defined for loss.kind {self.kind!r}; "
                    "switch it off (false, or 0)"
                )
        if not self.self_correlation and not self.cross_correlation:
            raise InputError(
                "loss.self_correlation is false where there is no cross-correlation, so that nothing would be learned "
                "at full resolution; switch one of them on"
            )
        for name in ("foreground", "border_weight", "small_weight"):
            require_at_least(f"loss.{name}", getattr(self, name), 0)
        for name in ("foreground_weight", "border_width", "small_area"):
            require_above(f"loss.{name}", getattr(self, name), 0)


@dataclass(frozen=True)
class Schedule:
    """How long, and how fast.

    Parameters
    ----------
    steps : int
        Optimizer steps of the whole run.
    batch, crop : int
        Crops per step, and their height and width in pixels, a multiple of 16.
    learning_rate : float
        The highest one.
    decay : {"cosine", "constant"}
        ``"cosine"`` falls to zero at the last step; ``"constant"`` is the paper's.
    warm_up : float
        Share of the steps in which the rate rises linearly from zero.
    weight_decay, clip : float
        AdamW's decay, and the largest norm of the gradient.
    average : float
        Decay per step of the averaged weights (EMA) at the end of the run; it starts lower, so that early
        weights are forgotten.
    save_every, validate_every : int
        Steps between two states on disk, and between two validations; 0 validates only at the end.
    validation_images : int
        How many validation images are segmented each time; 0 takes all.
    best_by : str
        The measure whose mean over the validation images chooses the best checkpoint, one of
        `SELECTION_METRICS`.
    seed : int
        Seed of weights, crops and views.

    Raises
    ------
    InputError
        If a value is out of range.
    """

    steps: int = 2000
    batch: int = 4
    crop: int = 128
    learning_rate: float = 2e-3
    decay: str = "cosine"
    warm_up: float = 0.05
    weight_decay: float = 1e-4
    clip: float = 1.0
    average: float = 0.99
    save_every: int = 50
    validate_every: int = 0
    validation_images: int = 0
    best_by: str = "aggregated_jaccard_index"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "save_every"):
            require_at_least(f"schedule.{name}", getattr(self, name), 1)
        for name in ("warm_up", "weight_decay", "average", "validate_every", "validation_images", "seed"):
            require_at_least(f"schedule.{name}", getattr(self, name), 0)
        for name in ("learning_rate", "clip"):
            require_above(f"schedule.{name}", getattr(self, name), 0)
        for name in ("warm_up", "average"):
            if getattr(self, name) > 1:
                raise InputError(f"schedule.{name} must be from 0 to 1, got {getattr(self, name)}")
        if self.crop < _CROP_MULTIPLE or self.crop % _CROP_MULTIPLE:
            raise InputError(
                f"schedule.crop must be a positive multiple of {_CROP_MULTIPLE}, got {self.crop}"
            )
        require_one_of("schedule.decay", self.decay, ("cosine", "constant"))
        require_one_of("schedule.best_by", self.best_by, SELECTION_METRICS)

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0: linear warm-up, then cosine to zero, or constant.

        A scheduler of torch would bring a state of its own, to be saved and changed where a run is prolonged.
        """
        warm = max(1, round(self.warm_up * self.steps))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        if self.decay == "constant":
            return self.learning_rate
        share = (step - warm) / max(1, self.steps - warm)
        return self.learning_rate * (1 + math.cos(math.pi * share)) / 2

    def validates_after(self, step: int) -> bool:
        """Whether the periodic validation is due once this many steps are done."""
        return step > 0 and self.validate_every > 0 and step % self.validate_every == 0


@dataclass(frozen=True)
class TrainingNeighborhood:
    """The pairs that the loss compares: ranges times directions, as in `Neighborhood.from_ranges`.

    Parameters
    ----------
    ranges : sequence of int
        Distances in pixels, ascending: the pyramid's coarse scales take the first ones.
    directions : {4, 8}
        Size of the full neighborhood.

    Raises
    ------
    InputError
        If `directions` is not two-dimensional, or `Neighborhood.from_ranges` refuses the ranges.
    """

    ranges: tuple[int, ...] = (1, 3, 5, 9, 11)
    directions: int = 4

    def __post_init__(self) -> None:
        require_one_of("neighborhood.directions", self.directions, (4, 8))
        self.offsets()

    def offsets(self, count: int | None = None) -> tuple[tuple[int, ...], ...]:
        """Offsets of the first `count` ranges, or of all."""
        return Neighborhood.from_ranges(self.ranges[:count], self.directions).offsets


@dataclass(frozen=True)
class Recipe:
    """One training run, whole.

    Parameters
    ----------
    model : ModelConfig
        The configuration of the checkpoint that comes out: network, normalization and inference settings.
    data, loss, schedule, augmentation, view, neighborhood
        The parts of the run.

    Raises
    ------
    InputError
        If the foreground is to be trained and the network has no head for it, or the network does not have as
        many outputs as the pairs that ``loss.kind`` ``"direct_affinity"`` predicts.
    """

    model: ModelConfig
    data: DataSettings = field(default_factory=DataSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    schedule: Schedule = field(default_factory=Schedule)
    augmentation: Augmentation = field(default_factory=Augmentation)
    view: ViewSettings = field(default_factory=ViewSettings)
    neighborhood: TrainingNeighborhood = field(default_factory=TrainingNeighborhood)

    def __post_init__(self) -> None:
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

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Build a recipe from nested dictionaries, as TOML gives them.

        Raises
        ------
        InputError
            If a table or key is unknown, a value is of another type or out of range, or ``[model]`` is
            missing.
        """
        known = [part.name for part in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise InputError(f"unknown tables {unknown} in the recipe; the valid ones are {known}")
        if "model" not in values:
            raise InputError("the recipe has no table [model]; expected at least [model] with a name")
        hints = typing.get_type_hints(cls)
        parts = {name: _strict(hints[name], table, name) for name, table in values.items() if name != "model"}
        return cls(model=_model(values["model"]), **parts)

    @classmethod
    def from_file(cls, path: str | Path) -> Recipe:
        """Read a recipe file (TOML), or a shipped one by its name.

        Raises
        ------
        InputError
            If there is no such file or recipe, or its content is not valid; the message names the file.
        """
        file = recipe_path(path)
        try:
            return cls.from_dict(_read_toml(file))
        except InputError as error:
            raise InputError(f"recipe {str(file)!r}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return nested JSON-compatible dictionaries; `from_dict` is the inverse."""
        parts = {name: _as_lists(asdict(getattr(self, name))) for name in _PARTS}
        return {"model": self.model.to_dict(), **parts}

    def scheduled(self, **changes: Any) -> Recipe:
        """Return a copy with some entries of the schedule changed."""
        return replace(self, schedule=replace(self.schedule, **changes))


_PARTS = [part.name for part in fields(Recipe) if part.name != "model"]
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


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"not a UTF-8 TOML file ({error})") from error
    return document


def _model(table: Any) -> ModelConfig:
    if not isinstance(table, Mapping):
        raise InputError(f"[model] must be a table, got {table!r}")
    return ModelConfig.from_dict(table)


def _as_lists(value: Any) -> Any:
    """Turn tuples into lists, as JSON does."""
    if isinstance(value, dict):
        return {key: _as_lists(entry) for key, entry in value.items()}
    return [_as_lists(entry) for entry in value] if isinstance(value, tuple) else value


def _strict(kind: type[T], table: Any, name: str) -> T:
    """Build a dataclass from a table, refusing unknown keys and other types."""
    if not isinstance(table, Mapping):
        raise InputError(f"[{name}] must be a table, got {table!r}")
    known = [entry.name for entry in fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise InputError(f"unknown keys {unknown} in [{name}]; the valid ones are {known}")
    hints = typing.get_type_hints(kind)
    return kind(**{key: _typed(hints[key], value, f"{name}.{key}") for key, value in table.items()})


def _typed(hint: Any, value: Any, name: str) -> Any:
    """Accept a TOML value for a field of a simple type; integers pass for floats, lists for tuples."""
    if typing.get_origin(hint) is tuple:
        return _typed_list(typing.get_args(hint), value, name)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise InputError(f"{name} must be {_KINDS[hint]}, got {value!r}")
    return value


def _typed_list(inner: tuple[Any, ...], value: Any, name: str) -> tuple[Any, ...]:
    any_length = inner[-1] is Ellipsis
    if not isinstance(value, (list, tuple)) or not (any_length or len(value) == len(inner)):
        length = "" if any_length else f"{len(inner)} "
        raise InputError(f"{name} must be a list of {length}values, got {value!r}")
    return tuple(_typed(inner[0], entry, f"each entry of {name}") for entry in value)


_KINDS = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}
