"""``pea evaluate``: it prints and writes the scores of the library's pipeline and metrics."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.cli import main
from pixel_embedded_affinity.metrics import evaluate


@pytest.fixture
def data(tmp_path: Path, images: Path) -> Path:
    """A data folder: three images and their labels; c has no objects."""
    folder = tmp_path / "data"
    folder.mkdir()
    images.rename(folder / "images")
    (folder / "labels").mkdir()
    for name in "abc":
        labels = np.zeros((20, 28), np.uint16)
        if name != "c":
            labels[2:9, 3:12], labels[12:18, 10:25] = 1, 2
        tifffile.imwrite(folder / "labels" / f"{name}.tif", labels)
    return folder


def write_recipe(path: Path) -> Path:
    path.write_text('[model]\nname = "mine"\n[data]\nvalidation = ["b"]\n', encoding="utf-8")
    return path


def read_rows(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def scoring(data: Path, made: Path, flag: str = "--weights") -> list[str]:
    """Return the words that score a model, or label files, on all images of a folder."""
    return [
        "evaluate",
        flag,
        str(made),
        "--data",
        str(data),
        *"--layout folders --split all".split(),
    ]


def test_settings_and_views_are_those_of_the_arguments(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, settings = tmp_path / "scores.csv", tmp_path / "settings.json"
    segmenter = Segmenter.from_file(weights).with_settings(clusterer="connected_components", views=4)
    segmenter.save_settings(settings)
    more = ["--split", "all", "--settings", str(settings), "--views", "8", "--output", str(table)]
    assert (
        main(["evaluate", "--weights", str(weights), "--data", str(data), "--layout", "folders", *more]) == 0
    )
    labels = segmenter.with_settings(views=8).segment(data / "images" / "a.tif")
    truth = tifffile.imread(data / "labels" / "a.tif")
    expected = evaluate(truth, labels)["aggregated_jaccard_index"]
    assert float(read_rows(table)["a"]["aggregated_jaccard_index"]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("foreground", ["model", "truth"])
def test_scores_are_printed_and_written_per_image(
    foreground: str, data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "scores.csv"
    more = ["--split", "all", "--foreground", foreground, "--output", str(table)]
    assert (
        main(["evaluate", "--weights", str(weights), "--data", str(data), "--layout", "folders", *more]) == 0
    )
    rows = read_rows(table)
    assert list(rows) == ["a", "b", "c"]
    truth = tifffile.imread(data / "labels" / "a.tif")
    given = truth > 0 if foreground == "truth" else None
    labels = Segmenter.from_file(weights).segment(data / "images" / "a.tif", foreground=given)
    for name, value in evaluate(truth, labels).items():
        assert float(rows["a"][name]) == pytest.approx(value, abs=1e-12)
    heading, *lines = capsys.readouterr().out.splitlines()
    assert "AJI" in heading.split()
    assert [line.split()[0] for line in lines] == ["a", "b", "c", "mean"]


def test_a_recipe_says_which_images_are_validation(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(tmp_path / "mine.toml")
    assert main(["evaluate", "--weights", str(weights), "--data", str(data), "--recipe", str(recipe)]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == ["b", "mean"]


def test_the_recipe_of_the_models_name_is_the_default(
    data: Path, registry: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--model", "tiny", "--data", str(data)]
    assert main(command) == 2
    assert "no recipe file 'tiny'" in capsys.readouterr().err
    monkeypatch.setattr("pixel_embedded_affinity.training.recipe_files._RECIPES", registry)
    write_recipe(registry / "tiny.toml")
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("b")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ([], "--layout"),
        (["--layout", "pile"], "'pile'"),
        (["--layout", "folders", "--split", "tset"], "'tset'"),
        (["--recipe", "none_such"], "none_such"),
        (["--layout", "folders", "--split", "training", "--output", "scores.txt"], ".csv"),
        (["--layout", "folders", "--split", "training", "--output", "missing/scores.csv"], "missing"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    more: list[str], expected: str, data: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--weights", str(weights), "--data", str(data), *more]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("pea: error: ")
    assert expected in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_bar_is_shown_when_asked_for(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--weights", str(weights), "--data", str(data)]
    command += ["--recipe", str(write_recipe(tmp_path / "mine.toml"))]
    assert main([*command, "--progress"]) == 0
    assert "1/1" in capsys.readouterr().err
    assert main(command) == 0
    assert capsys.readouterr().err == ""


def test_the_change_from_an_earlier_table_is_printed_with_its_error(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = tmp_path / "before.csv", tmp_path / "after.csv"
    words = scoring(data, weights)
    assert main([*words, "--output", str(before)]) == 0
    capsys.readouterr()
    changed = ["--clusterer", "connected_components", "--output", str(after), "--against", str(before)]
    assert main([*words, *changed]) == 0
    lines = {line[:18].strip(): line[18:].split() for line in capsys.readouterr().out.splitlines()}
    first, second = read_rows(before), read_rows(after)
    place = lines["image"].index("SBD") if "SBD" in lines["image"] else -1
    assert place >= 0
    found = [
        float(second[name]["symmetric_best_dice"]) - float(first[name]["symmetric_best_dice"])
        for name in first
    ]
    assert float(lines["change"][place]) == pytest.approx(np.mean(found), abs=6e-5)
    expected = np.std(found, ddof=1) / len(found) ** 0.5
    assert float(lines["its standard error"][place]) == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file"),
        ("a,b\n1,2\n", "is no table of scores (KeyError: 'name')"),
        ("", "has no row"),
        ("other", "4 images have scores in only one of the two tables, such as a, b, c"),
    ],
)
def test_a_table_that_cannot_be_compared_is_refused_before_work_starts(
    data: Path,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    text: str | None,
    message: str,
) -> None:
    before = tmp_path / "before.csv"
    words = scoring(data, weights)
    if text == "other":
        assert main([*words, "--output", str(before)]) == 0
        lines = before.read_text().splitlines()
        before.write_text("\n".join([lines[0], lines[1].replace("a,", "z,", 1)]))
    elif text is not None:
        before.write_text(text)
    monkeypatch.setattr(Segmenter, "segment", lambda *_, **__: pytest.fail("work was done"))
    assert main([*words, "--against", str(before)]) == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def labeled(data: Path, tmp_path: Path) -> Path:
    """Label files of another program for the three images: one object, shifted, in each."""
    folder = tmp_path / "results"
    (folder / "day1").mkdir(parents=True)
    for file in ("a.png", "day1/b_labels.tif", "c_cp_masks.png"):
        labels = np.zeros((20, 28), np.uint16)
        labels[3:9, 3:12] = 7
        write = imageio.imwrite if file.endswith("png") else tifffile.imwrite
        write(folder / file, labels)
    return folder


def test_label_files_of_any_program_are_scored(
    data: Path, labeled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "scores.csv"
    assert main([*scoring(data, labeled, "--labels"), "--output", str(table)]) == 0
    rows = read_rows(table)
    assert list(rows) == ["a", "b", "c"]
    truth = tifffile.imread(data / "labels" / "a.tif")
    found = np.zeros_like(truth)
    found[3:9, 3:12] = 1
    for row in rows.values():
        expected = truth if row["name"] != "c" else np.zeros_like(truth)
        for name, value in evaluate(expected, found).items():
            assert float(row[name]) == pytest.approx(value, abs=1e-12)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == ["a", "b", "c", "mean"]


def test_scores_of_label_files_are_those_of_the_model_that_made_them(
    data: Path, weights: Path, tmp_path: Path
) -> None:
    tables = tmp_path / "model.csv", tmp_path / "files.csv"
    assert main([*scoring(data, weights), "--output", str(tables[0])]) == 0
    made = str(tmp_path / "made")
    assert main(["segment", str(data / "images"), "--weights", str(weights), "--output", made]) == 0
    assert (
        main(
            [*scoring(data, Path(made), "--labels"), "--against", str(tables[0]), "--output", str(tables[1])]
        )
        == 0
    )
    assert tables[0].read_text() == tables[1].read_text()


def test_volumes_of_label_files_are_scored_without_the_background(tmp_path: Path) -> None:
    truth = np.zeros((3, 20, 30), np.uint16)
    truth[:, :9, :14], truth[:, 10:, 15:] = 1, 2
    gray: dict[str, Any] = {"photometric": "minisblack"}
    for folder in ("data/images", "data/labels", "results"):
        (tmp_path / folder).mkdir(parents=True)
    tifffile.imwrite(tmp_path / "data" / "images" / "v.tif", (truth * 40).astype(np.uint8), **gray)
    tifffile.imwrite(tmp_path / "data" / "labels" / "v.tif", truth, **gray)
    tifffile.imwrite(tmp_path / "results" / "v_labels.tif", np.ones_like(truth), **gray)
    table = tmp_path / "scores.csv"
    assert main([*scoring(tmp_path / "data", tmp_path / "results", "--labels"), "--output", str(table)]) == 0
    expected = evaluate(truth, np.ones_like(truth), ignore_background=True)
    assert float(read_rows(table)["v"]["voi_merge"]) == pytest.approx(expected["voi_merge"], abs=1e-12)


@pytest.mark.parametrize(
    ("spoil", "more", "expected"),
    [
        (lambda folder: (folder / "a.png").unlink(), [], "such as a; expected"),
        (
            lambda folder: tifffile.imwrite(folder / "a_labels.tif", np.ones((20, 28), np.uint8)),
            [],
            "image a has 2 label files",
        ),
        (lambda folder: imageio.imwrite(folder / "a.png", np.ones((9, 9), np.uint8)), [], "(9, 9) pixels"),
        (
            lambda folder: imageio.imwrite(folder / "a.png", np.ones((20, 28, 3), np.uint8)),
            [],
            "colors are not labels",
        ),
        (lambda folder: folder.rename(folder.parent / "moved"), [], "is no folder"),
        (lambda folder: None, ["--views", "8"], "leave out the settings"),
        (lambda folder: None, ["--foreground", "truth"], "--foreground"),
        (lambda folder: None, ["--channel", "1"], "choices of the image"),
    ],
)
def test_label_files_that_cannot_be_scored_are_refused(
    spoil: Callable[[Path], object],
    more: list[str],
    expected: str,
    data: Path,
    labeled: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(labeled)
    assert main([*scoring(data, labeled, "--labels"), *more]) == 2
    captured = capsys.readouterr()
    assert expected in captured.err
    assert captured.out == ""
