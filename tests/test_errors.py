from __future__ import annotations

import inspect
import pickle
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixel_embedded_affinity import Neighborhood, affinities, errors
from pixel_embedded_affinity.clustering import get_clusterer
from pixel_embedded_affinity.errors import (
    DownloadError,
    InputError,
    MissingDependencyError,
    PixelEmbeddedAffinityError,
    readable,
)

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


@pytest.mark.parametrize(
    "clusterer", ["mutex_watershed", "agglomeration", "multicut", "lifted_multicut", "connected_components"]
)
def test_where_the_compiled_library_has_no_build_the_error_says_what_works(
    clusterer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "bioimage_cpp"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "bioimage_cpp", None)
    embedding = np.random.default_rng(0).standard_normal((4, 12, 12)).astype(np.float32)
    pairs = affinities(embedding, Neighborhood.from_ranges([1, 3], directions=4))
    with pytest.raises(MissingDependencyError, match=r"not installed; .*pip install mwatershed.*engine"):
        get_clusterer(clusterer)(pairs)
