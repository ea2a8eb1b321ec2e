"""The Dockerfile copies what its commands need: the wheel that it installs is built from these files alone."""

from __future__ import annotations

import configparser
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
COPIED = [
    name for names in re.findall(r"^COPY (?!--)(.+) \S+$", TEXT, re.MULTILINE) for name in names.split()
]


def test_what_is_copied_is_there() -> None:
    assert "constraints.txt" in COPIED
    assert all((REPOSITORY / name).exists() for name in COPIED)


def test_the_wheel_is_built_from_what_is_copied_and_is_whole(tmp_path: Path) -> None:
    if not all(map(importlib.util.find_spec, ("pip", "setuptools"))):
        pytest.skip("a wheel is built by pip and setuptools")
    source = tmp_path / "source"
    source.mkdir()
    for name in COPIED:
        path = REPOSITORY / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source)
    (command,) = re.findall(r"^RUN python -m (pip wheel .*)$", TEXT, re.MULTILINE)
    words = command.replace("/wheel", str(tmp_path / "wheel")).split()
    # The tests use no network: setuptools is the one that is installed.
    build = [sys.executable, "-m", *words[:2], "--no-build-isolation", *words[2:]]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    subprocess.run([sys.executable, REPOSITORY / ".ci" / "wheel.py", wheel], check=True, capture_output=True)


def test_the_extras_that_it_installs_are_there() -> None:
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    (extras,) = re.findall(r"\*\.whl\)\[([\w,]+)\]", TEXT)
    assert set(extras.split(",")) <= set(setup["options.extras_require"])


def test_it_starts_the_command_of_the_package() -> None:
    (command,) = re.findall(r'^ENTRYPOINT \["(\w+)"\]$', TEXT, re.MULTILINE)
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    assert f"{command} = " in setup["options.entry_points"]["console_scripts"]
