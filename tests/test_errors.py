from __future__ import annotations

import inspect
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixel_embedded_affinity import errors
from pixel_embedded_affinity.errors import DownloadError, InputError, PixelEmbeddedAffinityError, readable

CLASSES = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, PixelEmbeddedAffinityError)
]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("'münze 叶子.tif' is damaged", "'münze 叶子.tif' is damaged"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\ud800", r"\ud800"),
        (r"C:\images\new.tif", r"C:\images\new.tif"),
    ],
)
def test_what_a_terminal_would_not_show_is_escaped_and_nothing_else(text: str, shown: str) -> None:
    assert readable(text) == shown
    assert readable(shown) == shown


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_one_readable_line_of_its_own_text(kind: type[PixelEmbeddedAffinityError]) -> None:
    assert str(kind("a\nb")) == r"a\nb"
    assert kind("a", 3).args == ("a", 3)
    assert str(pickle.loads(pickle.dumps(kind("a\nb")))) == r"a\nb"


def test_long_messages_keep_their_beginning_and_end() -> None:
    message = str(InputError("expected " + "9" * 10**6 + "; use less"))
    assert len(message) < 2100
    assert message.startswith("expected 999")
    assert message.endswith("999; use less")
    assert str(DownloadError("x" * 2000)) == "x" * 2000


@given(st.text())
def test_any_text_becomes_printable(text: str) -> None:
    assert readable(text).isprintable()
