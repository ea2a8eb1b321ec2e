"""The page on training, executed at toy size: its commands as they are, but for a step or two only."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.cli import main
from pixel_embedded_affinity.training.data.synthetic import write_synthetic_data
from pixel_embedded_affinity.training.run.logs import read_rows

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "howto" / "own_weights.rst").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^   pea ((?:train|evaluate) .*)$", PAGE, re.M)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the page's reader: synthetic images, also under the names of the recipe; a smaller recipe."""
    write_synthetic_data(tmp_path / "synthetic", size=64)
    write_synthetic_data(tmp_path / "my_data", images=13, size=64)
    for path in sorted((tmp_path / "my_data").glob("*/*.tif")):
        path.rename(path.with_name(path.name.replace("synthetic", "image")))
    recipe = (DOCS / "howto" / "recipe.toml").read_text(encoding="utf-8")
    small = recipe.replace("crop = 128", "crop = 32").replace("batch = 4", "batch = 1")
    assert small.count("= 32") == small.count("batch = 1") == 1
    (tmp_path / "recipe.toml").write_text(small, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_of_the_page_train_and_evaluate(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [command.split()[0] for command in COMMANDS] == ["train", "evaluate"] * 2
    for command in COMMANDS:
        words = [*shlex.split(command), "--device", "cpu"]
        extra = ["--steps", "2"] if words[0] == "train" else []
        assert main([*words, *extra]) == 0, command
        assert "AJI" in capsys.readouterr().out
    for run in ("quick_run", "my_run"):
        assert len(read_rows(place / run / "log.csv")) == 2
        assert any((place / run / "validation").glob("*.png"))
        assert Segmenter.from_file(place / run / "model.safetensors", device="cpu").config.license


def test_the_page_writes_the_images_that_it_trains_on() -> None:
    assert 'write_synthetic_data("synthetic")' in PAGE
    assert "--data synthetic --output quick_run --minutes 3" in PAGE
