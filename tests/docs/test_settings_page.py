"""The page of settings is the one that the declarations give."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from scripts import loaded

from pixel_embedded_affinity.config.model import inference_leaves

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return loaded(DOCS / "make_settings_page.py")


def test_the_page_is_up_to_date(script: ModuleType) -> None:
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "run python docs/make_settings_page.py"


def test_every_setting_says_what_it_is_in_a_sentence_and_is_on_the_page(script: ModuleType) -> None:
    for leaf in inference_leaves():
        assert leaf.declared.help.endswith("."), leaf.key
        assert f"``{leaf.key}`` ``{leaf.flag}``" in script.page()
