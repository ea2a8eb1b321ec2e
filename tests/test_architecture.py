"""The map of the rooms in docs/architecture.rst agrees with the import contract and with the package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pixel_embedded_affinity

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = Path(pixel_embedded_affinity.__file__).parent
CONTRACTS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
LAYERS = CONTRACTS["contracts"][0]["layers"]
PAGE = (REPOSITORY / "docs" / "architecture.rst").read_text(encoding="utf-8")
ROWS = re.findall(r"^   \* - (\d+)\n     - ``(\w+)``\n     - (.+)$", PAGE, re.MULTILINE)


def rooms(layer: str) -> list[str]:
    """Names in one line of the contract; brackets mean that a room need not exist yet."""
    return re.findall(r"\w+", layer)


def test_the_map_of_the_page_is_that_of_the_contract() -> None:
    of_contract = [(number, room) for number, layer in enumerate(LAYERS, 1) for room in rooms(layer)]
    assert sorted((int(number), room) for number, room, _ in ROWS) == sorted(of_contract)


def test_the_map_goes_from_the_top_to_the_bottom() -> None:
    numbers = [int(number) for number, _, _ in ROWS]
    assert numbers == sorted(numbers)


def test_every_room_of_the_package_is_on_the_map() -> None:
    found = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    optional = set(re.findall(r"\((\w+)\)", " ".join(LAYERS)))
    named = {room for _, room, _ in ROWS}
    assert found - {"__init__"} <= named
    assert named - optional <= found


def test_every_word_of_the_glossary_is_explained_once() -> None:
    glossary = (REPOSITORY / "docs" / "glossary.rst").read_text(encoding="utf-8")
    words = re.findall(r"^   (\w[\w ]*)\n      \S", glossary, re.MULTILINE)
    assert len(set(words)) == len(words)
    wanted = "embedding affinity offset range stride tile halo block window view setting"
    assert set(wanted.split()) <= set(words)
