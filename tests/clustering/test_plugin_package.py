"""A package of another lab, really installed: its clusterer is found by name and keeps the contract."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "plugin_package"

PROGRAM = """
import sys
from pixel_embedded_affinity.clustering import get_clusterer, list_clusterers

assert "graph_components" in list_clusterers()
assert "pea_graph_components" not in sys.modules
print(get_clusterer("graph_components", threshold=0.25))
"""


def run(folder: Path, *arguments: str | Path) -> str:
    """Run Python in an empty folder, with a folder of installed packages; return what it prints."""
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder.parent,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which pip has installed the package, without a network."""
    for name in ("pip", "setuptools"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}")
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(PACKAGE, folder / "source")
    target = folder / "installed"
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    run(target, "-m", "pip", "install", *options, "--target", target, source)
    return target


def test_the_installed_clusterer_is_found_by_name_and_loaded_when_asked(installed: Path) -> None:
    assert run(installed, "-c", PROGRAM).strip() == "GraphComponents(threshold=0.25)"


def test_the_installed_clusterer_keeps_the_contract(installed: Path) -> None:
    run(installed, "-W", "error", PACKAGE / "check.py")


def test_a_clusterer_takes_about_twenty_lines() -> None:
    lines = (PACKAGE / "pea_graph_components.py").read_text(encoding="utf-8").splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 20
