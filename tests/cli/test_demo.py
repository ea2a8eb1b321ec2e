"""``pea demo``: the sample becomes a label file and a picture, and the printed scores fit the files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from pixel_embedded_affinity.cli import main
from pixel_embedded_affinity.labels import relabel
from pixel_embedded_affinity.metrics import evaluate
from pixel_embedded_affinity.samples import Sample, neurons, nuclei


def check_demo(folder: Path, said: str, sample: Sample) -> dict[str, float]:
    """Check the two files and the output about them; return the scores."""
    labels = tifffile.imread(folder / "nuclei_labels.tif")
    assert labels.shape == sample.image.shape
    with Image.open(folder / "nuclei_overlay.png") as overlay:
        assert overlay.size == (2 * labels.shape[1], 2 * labels.shape[0])
        assert np.asarray(overlay).std() > 0
    assert sorted(path.name for path in folder.iterdir()) == ["nuclei_labels.tif", "nuclei_overlay.png"]
    assert str(folder / "nuclei_labels.tif") in said
    assert str(folder / "nuclei_overlay.png") in said
    assert f"found {labels.max()} nuclei, the truth has {sample.labels.max()}" in said
    assert re.search(r"^\d+\.\d seconds on ", said, re.MULTILINE)
    scores = evaluate(sample.labels, labels)
    named = {"AJI": "aggregated_jaccard_index", "Dice": "dice", "PQ": "panoptic_quality", "F1": "f1_score"}
    for name, key in named.items():
        assert f"{name} {scores[key]:.3f}" in said
    return scores


def test_the_demo_writes_labels_and_overlay_and_says_the_scores(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = Sample(nuclei().image[:120, :90], relabel(nuclei().labels[:120, :90]))
    monkeypatch.setattr("pixel_embedded_affinity.samples.nuclei", lambda: small)
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--model", "tiny", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    check_demo(Path("pea_demo"), said, small)
    assert "on cpu by torch, model tiny 1.2" in said


def test_a_second_demo_replaces_the_results_of_the_first(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Sample(nuclei().image[:60, :50], relabel(nuclei().labels[:60, :50]))
    monkeypatch.setattr("pixel_embedded_affinity.samples.nuclei", lambda: small)
    labels = tmp_path / "nuclei_labels.tif"
    assert main(["demo", "--model", "tiny", "--output", str(tmp_path)]) == 0
    first = labels.read_bytes()
    labels.write_bytes(b"of an earlier demo")
    assert main(["demo", "--model", "tiny", "--output", str(tmp_path)]) == 0
    assert labels.read_bytes() == first


def test_a_model_or_device_that_is_missing_leaves_no_folder(
    registry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert main(["demo", "--model", "huge", "--output", str(output)]) == 2
    assert main(["demo", "--model", "tiny", "--device", "cuda:99", "--output", str(output)]) == 2
    assert capsys.readouterr().err.count("pea: error: ") == 2
    assert not output.exists()


def test_an_output_that_is_a_file_is_refused_before_the_model_is_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    output.write_text("mine")
    assert main(["demo", "--model", "huge", "--output", str(output)]) == 2
    assert capsys.readouterr().err == f"pea: error: --output '{output}' is a file; expected a folder\n"
    assert output.read_text() == "mine"


def test_the_demo_of_the_bundled_model_is_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "new" / "out"
    assert main(["demo", "--output", str(output)]) == 0
    scores = check_demo(output, capsys.readouterr().out, nuclei())
    assert scores["aggregated_jaccard_index"] > 0.8
    assert abs(scores["difference_in_count"]) <= 10


def test_the_demo_of_leaves_shows_a_plant_without_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--leaves", "--output", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    labels = tifffile.imread(tmp_path / "leaves_labels.tif")
    assert labels.shape == (400, 400)
    assert said.startswith(f"found {labels.max()} leaves\n")
    assert "truth" not in said
    assert 15 <= labels.max() <= 20
    with Image.open(tmp_path / "leaves_overlay.png") as overlay:
        assert overlay.size == (800, 800)


def test_the_demo_of_a_volume_says_how_its_neurons_agree_with_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = neurons()
    part = (slice(0, 6), slice(0, 96), slice(0, 80))
    small = Sample(whole.image[part], relabel(whole.labels[part]), whole.pixel_size)
    monkeypatch.setattr("pixel_embedded_affinity.samples.neurons", lambda: small)
    assert main(["demo", "--volume", "--output", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    labels = tifffile.imread(tmp_path / "neurons_labels.tif")
    assert labels.shape == (6, 96, 80)
    assert f"found {labels.max()} neurons, the truth has {small.labels.max()}" in said
    scores = evaluate(small.labels, labels)
    for name, key in {
        "VOI split": "voi_split",
        "VOI merge": "voi_merge",
        "ARAND": "adapted_rand_error",
    }.items():
        assert f"{name} {scores[key]:.3f}" in said
    with Image.open(tmp_path / "neurons_overlay.png") as overlay:
        assert overlay.size == (240, 288)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--volume", "--model", "tiny"],
            "segments a volume, and tiny 1.2 segments images; leave --model out for the ",
        ),
        (["--model", "neurons"], "segments an image, and neurons .* segments volumes; .*, or add --volume"),
    ],
)
def test_a_model_for_other_axes_than_those_of_the_demo_is_refused(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "tiny" in words:
        request.getfixturevalue("registry")
    assert main(["demo", *words, "--output", str(tmp_path / "out")]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_only_one_demo_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["demo", "--leaves", "--volume", "--output", str(tmp_path / "out")])
    assert "not allowed with argument" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
