from __future__ import annotations

import csv
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from scripts import loaded

from pixel_embedded_affinity import list_models, samples
from pixel_embedded_affinity.io.read import read_image

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))
# The part of the bundled field that stands for it below.
PART = np.s_[250:, 330:]
SHAPE = (270, 366)

needs_model = pytest.mark.skipif("bbbc039" not in list_models(), reason="the registry lists no model bbbc039")

Run = Callable[..., None]


def run_alone(script: Path, folder: Path) -> None:
    """Run a script in a process of its own, as a user would, its temporary files in `folder`."""
    temporary = folder / "temporary"
    temporary.mkdir()
    result = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(temporary), "TEMP": str(temporary), "PEA_OFFLINE": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give scripts of this process a part of the field, and no network."""
    field = samples.nuclei()
    monkeypatch.setattr(samples, "nuclei", lambda: samples.Sample(field.image[PART], field.labels[PART]))
    monkeypatch.setenv("PEA_OFFLINE", "1")


@pytest.fixture
def run(
    tmp_path: Path, part: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run a script in this process, which has imported what it needs; warnings are errors here, too."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def call(script: Path, *arguments: str | Path) -> None:
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
        runpy.run_path(str(script), run_name="__main__")
        assert capsys.readouterr().err == ""

    return call


def written(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted(folder.rglob("*")) if path.is_file()}


def check_labels(path: Path, shape: tuple[int, int], at_least: int) -> None:
    labels = tifffile.imread(path)
    assert labels.shape == shape
    assert labels.max() == len(np.unique(labels)) - 1 >= at_least


def test_every_example_has_a_test() -> None:
    tested = {"quick_start", "batch_folder", "own_checkpoint", "embeddings_for_another_pipeline"}
    assert {path.stem for path in EXAMPLES} == tested


@needs_model
def test_quick_start_writes_labels_overlay_and_table(tmp_path: Path, run: Run) -> None:
    run(REPOSITORY / "examples" / "quick_start.py")
    files = written(tmp_path)
    assert set(files) == {"labels.tif", "overlay.png", "objects.csv"}
    check_labels(files["labels.tif"], SHAPE, at_least=25)
    assert read_image(files["overlay.png"]).shape == (540, 732, 3)
    with files["objects.csv"].open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == tifffile.imread(files["labels.tif"]).max()
    assert sum(int(row["area"]) for row in rows) == np.count_nonzero(tifffile.imread(files["labels.tif"]))


@needs_model
def test_batch_folder_segments_every_image_of_a_folder(tmp_path: Path) -> None:
    run_alone(REPOSITORY / "examples" / "batch_folder.py", tmp_path)
    files = written(tmp_path)
    for index in range(3):
        check_labels(files[f"part_{index}_labels.tif"], (260, 348), at_least=10)
    with files["counts.csv"].open(encoding="utf-8") as file:
        counts = {row["image"]: int(row["objects"]) for row in csv.DictReader(file)}
    expected = {f"part_{i}.tif": int(tifffile.imread(files[f"part_{i}_labels.tif"]).max()) for i in range(3)}
    assert counts == expected


@needs_model
def test_own_checkpoint_writes_a_model_with_other_settings(tmp_path: Path, run: Run) -> None:
    run(REPOSITORY / "examples" / "own_checkpoint.py")
    files = written(tmp_path)
    assert "without_border.safetensors" in files
    labels = tifffile.imread(files["labels.tif"])
    check_labels(files["labels.tif"], SHAPE, at_least=15)
    assert not any(side.any() for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]))


@needs_model
def test_embeddings_go_to_another_pipeline_and_come_back(tmp_path: Path, run: Run) -> None:
    run(REPOSITORY / "examples" / "embeddings_for_another_pipeline.py", tmp_path / "given")
    files = written(tmp_path / "given")
    with np.load(files["embedding.npz"]) as arrays:
        embedding, values, valid = (arrays[name] for name in ("embedding", "affinities", "valid"))
        offsets = arrays["offsets"].tolist()
    assert embedding.shape[1:] == SHAPE
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=0), 1, atol=1e-5)
    y, x, channel = 200, 300, offsets.index([-3, 0])
    assert valid[channel, y, x]
    assert not valid[channel, 2, x]
    assert values[channel, y, x] == pytest.approx(embedding[:, y, x] @ embedding[:, y - 3, x], abs=1e-5)
    check_labels(files["labels.tif"], SHAPE, at_least=25)


@needs_model
def test_the_overview_has_four_different_panels(
    tmp_path: Path, part: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(REPOSITORY / "docs")
    script = loaded(REPOSITORY / "docs" / "make_overview.py")
    monkeypatch.setattr(script, "WINDOW", np.s_[17:217, 166:366])  # the same window, in the part
    monkeypatch.setattr(sys, "argv", ["make_overview.py", str(tmp_path / "overview.png")])
    script.main()
    with Image.open(tmp_path / "overview.png") as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=float)
    assert pixels.shape == (430, 1630, 3)
    panels = [pixels[30:, start : start + 400] for start in range(0, 1630, 410)]
    gray = [np.ptp(panel, axis=2).max() == 0 for panel in panels]
    assert gray == [True, False, True, False]
    assert all(panel.std() > 10 for panel in panels)
