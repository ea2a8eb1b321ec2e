"""Importing the package is fast and has no effects; its public names are there when they are asked for."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import pixel_embedded_affinity

HEAVY = [
    "torch",
    "skimage",
    "scipy",
    "numpy",
    "tifffile",
    "pooch",
    "bioimage_cpp",
    "safetensors",
    "tqdm",
    "PIL",
]

PROBE = """
import json, os, sys, time

written, calls = [], []
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

def watch(event, arguments):
    if event == "open" and arguments[2] & WRITING:
        written.append(str(arguments[0]))
    if event.split(".")[0] in ("socket", "subprocess", "urllib") or event in ("os.mkdir", "os.remove"):
        calls.append(event)

sys.addaudithook(watch)
start = time.process_time()
import pixel_embedded_affinity
seconds = time.process_time() - start
import logging
package = logging.getLogger("pixel_embedded_affinity")
print(json.dumps({
    "seconds": seconds,
    "modules": sorted(sys.modules),
    "written": written,
    "calls": calls,
    "root_handlers": len(logging.getLogger().handlers),
    "handlers": [type(handler).__name__ for handler in package.handlers],
    "levels": [package.level, logging.getLogger().level],
    "propagate": package.propagate,
}))
"""


def probe() -> dict[str, Any]:
    """Import the package in a fresh interpreter, and return what that did."""
    home = Path(pixel_embedded_affinity.__file__).parents[1]
    finished = subprocess.run(
        [sys.executable, "-B", "-W", "error", "-c", PROBE],
        env={**os.environ, "PYTHONPATH": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert finished.stderr == ""
    found: dict[str, Any] = json.loads(finished.stdout)
    return found


@cache
def imported() -> dict[str, Any]:
    return probe()


@pytest.mark.parametrize("name", HEAVY)
def test_import_loads_no_heavy_package(name: str) -> None:
    assert name not in imported()["modules"]


def test_import_writes_no_file_and_reaches_for_nothing() -> None:
    assert imported()["written"] == []
    assert imported()["calls"] == []


def test_import_configures_no_logging() -> None:
    found = imported()
    # Without a handler, Python itself writes warnings to standard error.
    assert found["handlers"] == []
    assert found["root_handlers"] == 0
    assert found["levels"] == [0, 30]
    assert found["propagate"]


def test_import_takes_less_than_three_tenths_of_a_second() -> None:
    assert min(probe()["seconds"] for _ in range(3)) < 0.3


@pytest.mark.parametrize("name", pixel_embedded_affinity.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(pixel_embedded_affinity, name) is not None
    assert name in dir(pixel_embedded_affinity)


def test_public_names_are_what_their_modules_define() -> None:
    from pixel_embedded_affinity.affinity import affinities
    from pixel_embedded_affinity.segmenter import Segmenter

    assert pixel_embedded_affinity.Segmenter is Segmenter
    assert pixel_embedded_affinity.affinities is affinities


def test_an_unknown_name_is_refused_with_the_public_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Segmentor'.*Segmenter, .*list_models"):
        pixel_embedded_affinity.Segmentor  # noqa: B018
    with pytest.raises(ImportError, match="Segmentor"):
        from pixel_embedded_affinity import Segmentor  # noqa: F401


def test_version_is_one_of_three_numbers() -> None:
    parts = pixel_embedded_affinity.__version__.split(".")
    assert len(parts) == 3
    assert all(part.isdigit() for part in parts[:2])


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("tiling", "geometry.tiling", ["Tiling"]),
        ("settings", "config.settings", ["read_settings", "write_settings"]),
        ("models.config", "config.model", ["ModelConfig", "NetworkConfig"]),
        ("postprocess", "labels", ["relabel"]),
        ("image", "labels", ["as_foreground"]),
        ("image", "io.read", ["read_image"]),
        ("segmenter", "pipeline", ["Segmentation"]),
    ],
)
def test_documented_import_paths_from_before_the_rooms_still_work(
    old: str, new: str, names: list[str]
) -> None:
    before, now = (importlib.import_module(f"pixel_embedded_affinity.{module}") for module in (old, new))
    for name in names:
        assert getattr(before, name) is getattr(now, name)
