"""What a comparison trains: variants of one recipe that differ only in what is compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import choice
from pixel_embedded_affinity.training.recipe import Recipe
from pixel_embedded_affinity.training.studies import STUDY_NAMES
from pixel_embedded_affinity.training.studies.networks import ARCHITECTURES, with_network
from pixel_embedded_affinity.training.studies.pipeline import training_pairs

DIMENSIONS = (4, 8, 16, 32, 64)
"""The lengths of an embedding vector that the study ``"dimensions"`` compares."""


@dataclass(frozen=True)
class Variant:
    """One training of a comparison.

    Attributes
    ----------
    name : str
        Its name in the tables.
    recipe : Recipe
        Its training.
    clusterings : tuple of str
        How its results are clustered; each is a row of the table.
    """

    name: str
    recipe: Recipe
    clusterings: tuple[str, ...] = ("mutex",)

    @property
    def folder(self) -> str:
        """Name of its folder: the name in lower case, words joined by underscores."""
        return "_".join(self.name.lower().replace("+", " ").replace("-", "_").split())


def variants_of(study: str, recipe: Recipe) -> list[Variant]:
    """Return the variants of a study.

    Parameters
    ----------
    study : {"baselines", "modules", "views", "networks", "dimensions"}
        - ``"baselines"``: discriminative loss (ML-De), direct prediction of affinities (AL), and this library's
          method (PEA). For volumes: direct prediction (SuperHuman), direct prediction with the MALIS loss by its own
          network (MALA), ML-De and PEA.
        - ``"modules"``: the self-correlation module alone, with the pyramid, with the cross-correlation, and with both;
          then both without one kind of the second view's transformations. For volumes: without and with the pyramid.
        - ``"views"``: the transformations of the second view, each on its own.
        - ``"networks"``: the networks of the library, with their default options; the recipe's own network as it is.
        - ``"dimensions"``: embeddings of the lengths `DIMENSIONS`.
    recipe : Recipe
        What all variants share.

    Raises
    ------
    InputError
        If the study is unknown, the recipe is itself a baseline, or the study needs the cross-correlation and the
        recipe is for volumes.
    """
    choice(*STUDIES)(study, "study")
    if recipe.loss.kind != "affinity":
        raise InputError(
            f"loss.kind is {recipe.loss.kind!r}; a comparison derives the baselines itself, expected 'affinity'"
        )
    return STUDIES[study](recipe)


def _with_loss(recipe: Recipe, **changes: Any) -> Recipe:
    return replace(recipe, loss=replace(recipe.loss, **changes))


def _with_channels(recipe: Recipe, channels: int) -> Recipe:
    network = replace(recipe.model.network, embedding_channels=channels)
    return replace(recipe, model=recipe.model.changed(network=network))


def _usual(recipe: Recipe) -> tuple[str, ...]:
    """How results are clustered where variants do not ask for more."""
    return ("mutex", "agglomeration") if recipe.model.ndim == 3 else ("mutex",)


def _baselines(recipe: Recipe) -> list[Variant]:
    if recipe.model.ndim == 3:
        return _baselines_of_volumes(recipe)
    return [
        Variant("ML-De", _discriminative(recipe), ("mean-shift", "mutex")),
        Variant("AL", _direct_affinity(recipe)),
        Variant("PEA", recipe, ("mean-shift", "mutex", *_adaptive(recipe))),
    ]


def _baselines_of_volumes(recipe: Recipe) -> list[Variant]:
    both = _usual(recipe)
    direct = _with_loss(_direct_affinity(recipe), pyramid=False)
    return [
        Variant("SuperHuman", direct, both),
        Variant("MALA", _malis(recipe), ("agglomeration",)),
        Variant("ML-De", _discriminative(recipe), both),
        Variant("PEA", recipe, (*both, *_adaptive(recipe))),
    ]


def _adaptive(recipe: Recipe) -> tuple[str, ...]:
    """The mutex watershed on the model's pairs, if they differ from the training's pairs."""
    return () if recipe.model.neighborhood == training_pairs(recipe) else ("adaptive mutex",)


def _discriminative(recipe: Recipe) -> Recipe:
    return _with_loss(recipe, kind="discriminative", **_WITHOUT_PAIRS)


_WITHOUT_PAIRS = dict(cross_correlation=False, pyramid=False, border_weight=0.0, small_weight=0.0)


def _direct_affinity(recipe: Recipe) -> Recipe:
    """One output for each offset; nothing to correlate with a second view.

    A network that predicts affinities has the same pairs in each step. Where the recipe draws some of very many, the
    network predicts those along the axes.
    """
    pairs = recipe.neighborhood.along_axes() if recipe.neighborhood.drawn else recipe.neighborhood
    fitted = replace(_with_channels(recipe, len(pairs.offsets())), neighborhood=pairs)
    return _with_loss(fitted, kind="direct_affinity", cross_correlation=False)


def _malis(recipe: Recipe) -> Recipe:
    """The published network of MALA, which predicts the affinities of direct neighbors."""
    own = with_network(recipe, "mala_unet")
    pairs = own.neighborhood.nearest()
    fitted = replace(_with_channels(own, len(pairs.offsets())), neighborhood=pairs)
    return _with_loss(fitted, kind="malis", **_WITHOUT_PAIRS)


def _modules(recipe: Recipe) -> list[Variant]:
    switches = {"SCM": (False, False), "SCM + EPM": (False, True)}
    if recipe.model.ndim == 2:
        switches |= {"SCM + CCM": (True, False), "SCM + CCM + EPM": (True, True)}
    modules = [
        Variant(name, _with_loss(recipe, cross_correlation=cross, pyramid=pyramid), _usual(recipe))
        for name, (cross, pyramid) in switches.items()
    ]
    return modules + (_without_each(recipe) if recipe.model.ndim == 2 else [])


_WITHOUT = {
    "flips and transposition": ("intensity", "cutout"),
    "intensity": ("flips", "transposition", "cutout"),
    "cutout": ("flips", "transposition", "intensity"),
}


def _without_each(recipe: Recipe) -> list[Variant]:
    """All modules, the second view without one kind of transformation."""
    whole = _with_loss(recipe, cross_correlation=True, pyramid=True)
    return [Variant(f"all without {kind}", _with_view(whole, parts)) for kind, parts in _WITHOUT.items()]


_VIEWS = {
    "no transformation": (),
    "flips and transposition": ("flips", "transposition"),
    "intensity": ("intensity",),
    "cutout": ("cutout",),
    "all transformations": ("flips", "transposition", "intensity", "cutout"),
}


def _views(recipe: Recipe) -> list[Variant]:
    if recipe.model.ndim == 3:
        raise InputError(
            "study 'views' compares second views, which volumes are trained without; expected a recipe for images, or "
            "another study"
        )
    crossed = _with_loss(recipe, cross_correlation=True)
    return [Variant(name, _with_view(crossed, parts)) for name, parts in _VIEWS.items()]


def _with_view(recipe: Recipe, parts: tuple[str, ...]) -> Recipe:
    switches = {name: name in parts for name in ("flips", "transposition", "intensity", "cutout")}
    return replace(recipe, view=replace(recipe.view, **switches))


def _networks(recipe: Recipe) -> list[Variant]:
    chosen = ARCHITECTURES[recipe.model.ndim]
    return [
        Variant(name, with_network(recipe, name, **options), _usual(recipe))
        for name, options in chosen.items()
    ]


def _dimensions(recipe: Recipe) -> list[Variant]:
    return [
        Variant(f"dimension {count}", _with_channels(recipe, count), _usual(recipe)) for count in DIMENSIONS
    ]


Study = Callable[[Recipe], list[Variant]]
STUDIES: dict[str, Study] = dict(
    zip(STUDY_NAMES, (_baselines, _modules, _views, _networks, _dimensions), strict=True)
)
"""What can be compared, by name."""
