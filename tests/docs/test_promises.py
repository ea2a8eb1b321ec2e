from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scripts import loaded

REPOSITORY = Path(__file__).resolve().parents[2]
PROMISES = (REPOSITORY / "docs" / "promises.rst").read_text(encoding="utf-8")
NAMED = re.findall(r"^- ``(\S+?)::(\w+)``$", PROMISES, re.M)


BROKEN = loaded(REPOSITORY / "tests" / "broken_promises.py")


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_promise_names_a_test_that_is_there(file: str, name: str) -> None:
    tree = ast.parse((REPOSITORY / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_promise_names_a_test() -> None:
    sections = re.split(r"\n-{3,}\n", PROMISES)[1:]
    assert sections
    assert all(re.search(r"^- ``tests/\S+::test_\w+``$", section, re.M) for section in sections)


def test_every_line_of_the_list_is_understood() -> None:
    assert len(NAMED) == len(re.findall(r"^- ", PROMISES, re.M))


def test_every_promise_is_broken_at_least_once_and_nothing_else_is() -> None:
    headings = re.findall(r"^(.+)\n-{3,}$", PROMISES, re.M)
    assert {one.promise for one in BROKEN.FAULTS} == set(headings)


def test_the_tests_of_a_promise_are_those_of_its_section() -> None:
    found = [test for tests in BROKEN.promised().values() for test in tests]
    assert found == [f"{file}::{name}" for file, name in NAMED]


@pytest.mark.parametrize("one", BROKEN.FAULTS, ids=lambda one: one.words)
def test_a_fault_names_what_is_there_and_tests_of_its_promise(one: Any) -> None:
    module = importlib.import_module(one.module)
    owner, name = BROKEN.owner(module, one.target)
    assert inspect.getattr_static(owner, name) is not None
    assert one.tests
    assert set(one.tests) <= set(BROKEN.promised()[one.promise])


def test_no_two_faults_are_told_alike() -> None:
    words = [one.words for one in BROKEN.FAULTS]
    assert len(set(words)) == len(words)


def test_a_fault_is_there_in_the_module_and_where_it_was_imported_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    holder, importer = ModuleType(f"{BROKEN.PACKAGE}._holder"), ModuleType(f"{BROKEN.PACKAGE}._importer")
    holder.length = importer.length = len  # type: ignore[attr-defined]
    for module in (holder, importer):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    one = BROKEN.Fault("", "", f"{holder.__name__}:length", lambda right: lambda thing: right(thing) + 1, ())
    BROKEN.apply(one, holder)
    assert (holder.length(""), importer.length("")) == (1, 1)


def test_a_fault_is_noticed_and_without_it_the_test_passes() -> None:
    one = next(fault for fault in BROKEN.FAULTS if fault.target.endswith(":readable"))
    assert BROKEN.noticed_by(one) == one.tests[0]
    assert BROKEN.always_failing(list(one.tests)) == []
