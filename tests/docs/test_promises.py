from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PROMISES = (REPOSITORY / "docs" / "promises.rst").read_text(encoding="utf-8")
NAMED = re.findall(r"^- ``(\S+?)::(\w+)``$", PROMISES, re.M)


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
