"""Declared settings: what each check lets through, what it says of all else, and that tables come back."""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import (
    Check,
    Settings,
    choice,
    integer,
    leaves,
    list_of,
    number,
    optional,
    part,
    per_axis,
    setting,
    switch,
    table,
    text,
)


@dataclass(frozen=True)
class Inner(Settings, section="inner"):
    size: int = setting(3, integer(1), "A size.", tries=(1, 2))
    share: float = setting(0.5, number(0, 1))


@dataclass(frozen=True)
class Outer(Settings, section="", title="the whole"):
    name: str = setting(MISSING, text())
    inner: Inner = setting(Inner, part(Inner), inference=True)
    bounds: tuple[float, ...] = setting((1.0, 2.0), list_of(number(), 2))
    notes: dict[str, Any] = setting({}, table())
    flag: bool = setting(False, switch(), "A flag.", inference=True)

    def _check_together(self) -> None:
        if self.bounds[0] > self.bounds[1]:
            raise InputError(f"bounds must be ascending, got {self.bounds}")


# --- checks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "value", "kept"),
    [
        (integer(), np.int8(-3), -3),
        (integer(1, 3), 3, 3),
        (integer(), torch.tensor(5), 5),
        (integer(16, multiple=16), 32, 32),
        (number(), 2, 2.0),
        (number(0, 1), np.float32(0.5), 0.5),
        (number(), np.int64(7), 7.0),
        (switch(), np.bool_(True), True),
        (choice(1, 4), np.int64(4), 4),
        (choice("a", "b"), "b", "b"),
        (list_of(integer()), np.array([1, 2]), (1, 2)),
        (list_of(number(), 2), [1, 2.5], (1.0, 2.5)),
        (list_of(text()), (), ()),
        (per_axis(number(0)), [1, 2, 3], (1.0, 2.0, 3.0)),
        (per_axis(number(0)), 2, 2.0),
        (optional(number()), None, None),
        (optional(number()), 1, 1.0),
    ],
)
def test_values_are_kept_as_plain_ones(check: Check, value: Any, kept: Any) -> None:
    found = check(value, "x")
    assert found == kept
    assert type(found) is type(kept)
    assert json.loads(json.dumps(found)) == (list(kept) if isinstance(kept, tuple) else kept)


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (integer(1), 0, "x must be an integer of at least 1, got 0"),
        (integer(1, 3), 4, "x must be an integer from 1 to 3, got 4"),
        (integer(), 1.0, "x must be an integer, got 1.0"),
        (integer(), True, "x must be an integer, got True"),
        (integer(), np.bool_(True), "x must be an integer, got "),
        (integer(), np.array([3]), "x must be an integer, got array([3])"),
        (integer(16, multiple=16), 40, "x must be a positive multiple of 16, got 40"),
        (integer(16, multiple=16), 0, "x must be a positive multiple of 16, got 0"),
        (number(0, 1), math.nan, "x must be a number from 0 to 1, got nan"),
        (number(above=0), 0, "x must be a finite number above 0, got 0"),
        (number(above=0, below=2), 2, "x must be a number above 0 and below 2, got 2"),
        (number(0), math.inf, "x must be a finite number of at least 0, got inf"),
        (number(), 10**400, "x must be a finite number, got 1000"),
        (number(), "1", "x must be a finite number, got '1'"),
        (number(), False, "x must be a finite number, got False"),
        (number(above=0, advice="try 1"), -1, "x must be a finite number above 0, got -1; try 1"),
        (switch(), 1, "x must be true or false, got 1"),
        (text(), b"a", "x must be a string, got b'a'"),
        (choice("a", "b"), "c", "x must be one of 'a', 'b', got 'c'"),
        (choice("a", "b"), ["a"], "x must be one of 'a', 'b', got ['a']"),
        (choice(1, 4), True, "x must be one of 1, 4, got True"),
        (choice(1, 4), 4.0, "x must be one of 1, 4, got 4.0"),
        (list_of(integer()), "12", "x must be a list of values, each an integer, got '12'"),
        (list_of(integer()), {1: 2}, "x must be a list of values, each an integer, got {1: 2}"),
        (list_of(integer()), [1, "2"], "each entry of x must be an integer, got '2'"),
        (list_of(number(), 2), [1], "x must be a list of 2 values, each a finite number, got [1]"),
        (list_of(list_of(integer())), [[1, None]], "each entry of each entry of x must be an integer"),
        (per_axis(number(0)), (1,), "x must be a finite number of at least 0, or one per axis, got (1,)"),
        (per_axis(number(0)), (1, -1), "each entry of x must be a finite number of at least 0, got -1"),
        (table(), [], "x must be a table of keys and values, got []"),
        (optional(number(0, 1)), 2, "x must be a number from 0 to 1, got 2"),
        (part(Inner), {"size": 3}, "x must be a Inner, got {'size': 3}"),
    ],
)
def test_all_else_is_refused_with_what_came_and_what_was_expected(
    check: Check, value: Any, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        check(value, "x")
    assert str(caught.value).startswith(message)


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())))
def test_a_check_returns_a_plain_value_or_refuses(value: Any) -> None:
    for check in (integer(0, 9), number(-1, 1), switch(), text(), choice(1, 2), list_of(integer()), table()):
        try:
            kept = check(value, "x")
        except InputError:
            continue
        assert check(kept, "x") == kept


@pytest.mark.parametrize(
    ("check", "given_text", "value"),
    [
        (integer(), "-7", -7),
        (number(), "1e-3", 1e-3),
        (list_of(integer()), "1,3,9", [1, 3, 9]),
        (list_of(integer()), "none", []),
        (per_axis(integer()), "4", 4),
        (per_axis(integer()), "4,2", [4, 2]),
        (optional(number()), "none", None),
        (choice(4, 8), "8", 8),
        (choice("a", "b"), "b", "b"),
        (table(), '{"a": 1}', {"a": 1}),
    ],
)
def test_flags_are_read_as_values(check: Check, given_text: str, value: Any) -> None:
    assert check.parse(given_text) == value


@pytest.mark.parametrize(
    ("check", "given_text"), [(integer(), "1.5"), (list_of(integer()), ""), (number(), "x"), (table(), "{")]
)
def test_flags_that_are_no_values_raise(check: Check, given_text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        check.parse(given_text)
    assert not isinstance(caught.value, InputError)


# --- classes of settings ----------------------------------------------------------------------------------


def test_settings_come_back_from_json() -> None:
    outer = Outer("a", Inner(size=2), bounds=(1, 3), notes={"b": [1]}, flag=True)
    text_ = json.dumps(outer.to_dict())
    assert json.loads(text_)["inner"] == {"size": 2, "share": 0.5}
    assert Outer.from_dict(json.loads(text_)) == outer
    assert Outer.from_dict({"name": "a"}) == Outer("a")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "the whole has no ['name']"),
        ([], "the whole must be a table of keys and values, got []"),
        (
            {"name": "a", "inner": {"sizes": 1}},
            "unknown keys ['sizes'] in [inner]; the valid ones are ['size', ",
        ),
        ({"name": "a", "nam": 1}, "unknown keys ['nam'] in the whole; the valid ones are ['name', 'inner', "),
        ({"name": "a", "inner": {"size": 0}}, "inner.size must be an integer of at least 1, got 0"),
        ({"name": "a", "inner": 5}, "inner must be a table of keys and values, got 5"),
        ({"name": 1}, "name must be a string, got 1"),
        ({"name": "a", "bounds": [2, 1]}, "bounds must be ascending, got (2.0, 1.0)"),
    ],
)
def test_tables_that_do_not_fit_are_refused(values: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        Outer.from_dict(values)
    assert str(caught.value).startswith(message)


def test_values_are_changed_by_dotted_keys() -> None:
    outer = Outer("a", notes={"x": 1})
    changed = outer.with_values({"inner.size": 9, "notes.y": 2, "flag": True})
    assert changed == Outer("a", Inner(size=9), notes={"x": 1, "y": 2}, flag=True)
    assert outer == Outer("a", notes={"x": 1})
    both = outer.with_values({"inner": Inner(share=0.25), "inner.size": 4})
    assert both.inner == Inner(size=4, share=0.25)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("iner.size", "unknown keys ['iner'] in the whole"),
        ("inner.sizes", "unknown keys ['sizes'] in [inner]"),
        ("name.first", "name has no keys ['first'] within; give name itself"),
    ],
)
def test_unknown_dotted_keys_are_refused(key: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        Outer("a").with_values({key: 1})
    assert str(caught.value).startswith(message)


def test_leaves_are_the_settings_without_parts() -> None:
    assert [leaf.key for leaf in leaves(Outer)] == [
        *("name", "inner.size", "inner.share", "bounds", "notes", "flag"),
    ]
    found = {leaf.key: leaf for leaf in leaves(Outer, inference=True)}
    assert list(found) == ["inner.size", "inner.share", "flag"]
    size = found["inner.size"]
    assert (size.flag, size.default, size.declared.tries) == ("--size", 3, (1, 2))


def test_no_two_settings_share_a_table() -> None:
    notes = {"x": 1}
    outer = Outer("a", notes=notes)
    notes["x"] = 2
    assert outer.notes == {"x": 1}
    assert Outer("a").notes is not Outer("b").notes
