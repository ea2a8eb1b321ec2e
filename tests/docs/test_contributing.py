"""What CONTRIBUTING.md, the scripts of the checks and pre-commit name is there."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
SCRIPTS = {name: (REPOSITORY / ".ci" / name).read_text(encoding="utf-8") for name in ("run", "quick")}
HOOKS = (REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8")
# Paths in the text, those within the package without its name.
PATHS = re.findall(r"(?<![\w./-])((?:\.?\w+/)+(?:[\w.-]+)?|\w+\.(?:md|toml|txt|cff))(?![\w*])", PAGE)
MADE = ("dist/", ".venv/")


@pytest.mark.parametrize("path", sorted({path for path in PATHS if not path.startswith(MADE)}))
def test_a_path_of_the_page_is_there(path: str) -> None:
    assert (REPOSITORY / path).exists() or (REPOSITORY / "pixel_embedded_affinity" / path).exists()


def test_the_page_names_the_extras_that_there_are() -> None:
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    (named,) = re.findall(r'-e "\.\[([\w,]+)\]"', PAGE)
    assert set(named.split(",")) <= set(setup["options.extras_require"])


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_tests_that_a_script_names_are_there(name: str) -> None:
    named = re.findall(r"tests/[\w/{},.]+", SCRIPTS[name])
    assert named
    for pattern in named:
        subprocess.run(["bash", "-c", f"ls -d {pattern}"], cwd=REPOSITORY, check=True, capture_output=True)


def test_pre_commit_calls_the_tools_of_the_quick_checks_and_fetches_nothing() -> None:
    tools = {entry.split()[0] for entry in re.findall(r"^ +entry: (.+)$", HOOKS, re.MULTILINE)}
    assert tools == {"ruff", "mypy", "lint-imports"}
    assert all(re.search(rf"^{tool}\b", SCRIPTS["quick"], re.MULTILINE) for tool in tools)
    assert set(re.findall(r"language: (\w+)", HOOKS)) == {"system"}
    assert re.findall(r"repo: (\S+)", HOOKS) == ["local"]
