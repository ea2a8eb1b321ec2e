"""Every shipped model has a card with the registry's figures and with its limits."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import ModuleType

import pytest
from scripts import loaded

from pixel_embedded_affinity.models.registry import ModelEntry, list_models, newest_entries

DOCS = Path(__file__).resolve().parents[2] / "docs"
SECTIONS = ("What ", "Limits", "Data")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return loaded(DOCS / "make_model_cards.py")


def test_every_model_of_the_registry_has_a_card_that_is_listed(script: ModuleType) -> None:
    cards = {path.stem for path in script.card_files()}
    assert set(list_models()) <= cards
    index = (DOCS / "models" / "index.rst").read_text(encoding="utf-8").split()
    assert cards <= set(index)


def test_the_figures_of_every_card_are_those_of_the_registry(script: ModuleType) -> None:
    entries = newest_entries()
    for path in script.card_files():
        text = path.read_text(encoding="utf-8")
        expected = script.with_facts(path.name, text, script.facts(entries.get(path.stem)))
        assert text == expected, "run docs/make_model_cards.py"


def test_every_card_says_what_its_scores_mean_what_its_limits_are_and_whose_data_it_has(
    script: ModuleType,
) -> None:
    for path in script.card_files():
        lines = path.read_text(encoding="utf-8").splitlines()
        headings = [line for line, below in itertools.pairwise(lines) if set(below) == {"-"}]
        assert all(any(heading.startswith(name) for heading in headings) for name in SECTIONS), path


def test_facts_are_a_table_of_all_that_the_registry_says(script: ModuleType) -> None:
    entry = ModelEntry(
        name="leaves",
        version="1.0",
        file="leaves.safetensors",
        sha256="ab" * 32,
        size=9_540_000,
        urls=(),
        license="CC0-1.0",
        data="a * b",
        description="Leaves.",
        scores={"validation_sbd": 0.88765},
    )
    text = script.facts(entry)
    for part in (
        "1.0",
        "``leaves.safetensors``, 9.5 MB",
        "a \\* b",
        "validation SBD\n     - 0.8877",
        "ab" * 32,
    ):
        assert part in text


def test_a_card_without_markers_is_refused(script: ModuleType) -> None:
    with pytest.raises(SystemExit, match="lacks the markers"):
        script.with_facts("x.rst", "text", "facts")
