"""The page of formats says what the library does with a file of each format."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts import loaded

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_each_cell_is_what_the_library_does() -> None:
    pytest.importorskip("zarr", reason="the extra zarr is not installed")
    script = loaded(DOCS / "make_formats_page.py")
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "run python docs/make_formats_page.py"
    assert all(row[1] == "yes" for row in script.rows())
