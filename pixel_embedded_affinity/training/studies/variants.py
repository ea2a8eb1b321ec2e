"""What a comparison trains: variants of one recipe that differ only in what is compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import choice
from pixel_embedded_affinity.training.recipe import Recipe
from pixel_embedded_affinity.training.studies.pipeline import training_pairs


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
    study : {"baselines", "modules", "views"}
        ``"baselines"``: discriminative loss (ML-De), direct prediction of affinities (AL), and this library's
        method (PEA). ``"modules"``: the self-correlation module alone, with the pyramid, with the
        cross-correlation, and with both. ``"views"``: the parts of the second view, each on its own.
    recipe : Recipe
        What all variants share.

    Raises
    ------
    InputError
        If the study is unknown, or the recipe is itself a baseline.
    """
    choice(*STUDIES)(study, "study")
    if recipe.loss.kind != "affinity":
        raise InputError(
            f"loss.kind is {recipe.loss.kind!r}; a comparison derives the baselines itself, expected 'affinity'"
        )
    return STUDIES[study](recipe)


def _with_loss(recipe: Recipe, **changes: Any) -> Recipe:
    return replace(recipe, loss=replace(recipe.loss, **changes))


def _baselines(recipe: Recipe) -> list[Variant]:
    return [
        Variant("ML-De", _discriminative(recipe), ("mean-shift", "mutex")),
        Variant("AL", _direct_affinity(recipe)),
        Variant("PEA", recipe, ("mean-shift", "mutex", *_adaptive(recipe))),
    ]


def _adaptive(recipe: Recipe) -> tuple[str, ...]:
    """The mutex watershed on the model's pairs, if they differ from the training's pairs."""
    return () if recipe.model.neighborhood == training_pairs(recipe) else ("adaptive mutex",)


def _discriminative(recipe: Recipe) -> Recipe:
    return _with_loss(
        recipe,
        kind="discriminative",
        cross_correlation=False,
        pyramid=False,
        border_weight=0.0,
        small_weight=0.0,
    )


def _direct_affinity(recipe: Recipe) -> Recipe:
    """One output for each offset of the training; nothing to correlate with a second view."""
    network = replace(recipe.model.network, embedding_channels=len(recipe.neighborhood.offsets()))
    fitted = replace(recipe, model=recipe.model.changed(network=network))
    return _with_loss(fitted, kind="direct_affinity", cross_correlation=False)


def _modules(recipe: Recipe) -> list[Variant]:
    switches = {
        "SCM": (False, False),
        "SCM + EPM": (False, True),
        "SCM + CCM": (True, False),
        "SCM + CCM + EPM": (True, True),
    }
    return [
        Variant(name, _with_loss(recipe, cross_correlation=cross, pyramid=pyramid))
        for name, (cross, pyramid) in switches.items()
    ]


_VIEWS = {
    "no transformation": (),
    "flips and transposition": ("flips", "transposition"),
    "intensity": ("intensity",),
    "cutout": ("cutout",),
    "all transformations": ("flips", "transposition", "intensity", "cutout"),
}


def _views(recipe: Recipe) -> list[Variant]:
    crossed = _with_loss(recipe, cross_correlation=True)
    return [Variant(name, _with_view(crossed, parts)) for name, parts in _VIEWS.items()]


def _with_view(recipe: Recipe, parts: tuple[str, ...]) -> Recipe:
    switches = {name: name in parts for name in ("flips", "transposition", "intensity", "cutout")}
    return replace(recipe, view=replace(recipe.view, **switches))


Study = Callable[[Recipe], list[Variant]]
STUDIES: dict[str, Study] = {"baselines": _baselines, "modules": _modules, "views": _views}
"""What can be compared, by name."""
