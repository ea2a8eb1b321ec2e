"""A package of another lab, really installed: what it brings is found by name and keeps the contract."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pixel_embedded_affinity

HOME = Path(pixel_embedded_affinity.__file__).parents[1]
PACKAGE = Path(__file__).resolve().parent / "plugin_package"

PROGRAM = """
import sys
from pixel_embedded_affinity.clustering import get_clusterer, list_clusterers

assert "graph_components" in list_clusterers()
assert "pea_graph_components" not in sys.modules
print(get_clusterer("graph_components", threshold=0.25))
"""


BATCH = """
import csv, sys
import numpy as np
import torch
from pixel_embedded_affinity.cli import main
from pixel_embedded_affinity.config.model import ModelConfig, NetworkConfig
from pixel_embedded_affinity.models.checkpoint import Checkpoint, write_checkpoint
from pixel_embedded_affinity.network.build import build_network

torch.manual_seed(0)
config = ModelConfig(network=NetworkConfig("plain_net", in_channels=1, foreground_head=False, width=4))
weights = build_network(config.network).state_dict()
write_checkpoint("plain.safetensors", Checkpoint(config.to_json(), weights))
np.save("image.npy", np.random.default_rng(0).random((20, 24)))
assert main(["segment", "image.npy", "--weights", "plain.safetensors", "--output", "out", "--points"]) == 0
with open("out/image_points.csv", newline="") as file:
    rows = list(csv.reader(file))
assert rows[0] == ["index", "axis-0", "axis-1"]
print(len(rows) > 1)
"""


def run(folder: Path, *arguments: str | Path) -> str:
    """Run Python in an empty folder, with a folder of installed packages; return what it prints."""
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(HOME)))},
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


def test_an_installed_reader_network_and_exporter_work_together_on_the_command_line(installed: Path) -> None:
    assert run(installed, "-c", BATCH).strip().endswith("True")


def test_the_installed_clusterer_and_network_keep_their_contracts(installed: Path) -> None:
    run(installed, "-W", "error", PACKAGE / "check.py")


def test_a_bug_report_names_what_the_package_brings(installed: Path) -> None:
    lines = run(installed, "-m", "pixel_embedded_affinity", "info").splitlines()
    found = [line.split(maxsplit=1)[1] for line in lines if line.startswith("plug-in ")]
    package = "(pea-graph-components 1.0)"
    assert found == [
        f"clusterers: graph_components {package}",
        f"exporters: points {package}",
        f"networks: plain_net {package}",
        f"readers: npy {package}",
    ]


@pytest.mark.parametrize(
    ("name", "most"), [("graph_components", 20), ("points", 10), ("npy", 10), ("plain_net", 35)]
)
def test_each_takes_few_lines(name: str, most: int) -> None:
    lines = (PACKAGE / f"pea_{name}.py").read_text(encoding="utf-8").splitlines()
    assert sum(bool(line.strip()) for line in lines) <= most
