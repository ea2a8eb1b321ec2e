"""Recipe files: where they lie, and how the data of a recipe lie. Torch is not needed."""

from __future__ import annotations

from pathlib import Path

from pixel_embedded_affinity.data.layouts import DataSettings
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.models.registry import read_toml

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


def data_of_recipe(path: str | Path) -> DataSettings:
    """Return how the data of a recipe lie and are divided; the rest of the recipe is not checked.

    Raises
    ------
    InputError
        If there is no such file or recipe, or its table ``[data]`` is not valid; the message names the file.
    """
    file = recipe_path(path)
    try:
        return DataSettings.from_dict(read_toml(file).get("data", {}))
    except InputError as error:
        raise InputError(f"recipe {str(file)!r}: {error}") from error
