"""``pea segment --summary``: one table of all images, with the number and the areas of their objects."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from pixel_embedded_affinity.cli import main, summary
from pixel_embedded_affinity.export.labels import write_labels
from pixel_embedded_affinity.io.selection import WHOLE

Array = np.ndarray[Any, Any]


def run(*words: object) -> int:
    return main(["segment", *map(str, words), "--summary", "--no-progress"])


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def areas_of(labels: Array) -> list[int]:
    return [int((labels == one).sum()) for one in np.unique(labels) if one]


def check(row: dict[str, str], labels: Array) -> None:
    areas = areas_of(labels)
    assert int(row["objects"]) == len(areas)
    assert int(row["area"]) == sum(areas)
    assert float(row["mean_area"]) == pytest.approx(np.mean(areas))
    assert float(row["median_area"]) == pytest.approx(np.median(areas))


@pytest.mark.parametrize("together", [1, 10**6])
def test_each_image_has_a_row_with_its_objects(
    weights: Path, images: Path, tmp_path: Path, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary, "_TOGETHER", together)
    output = tmp_path / "out"
    assert run(images, "--weights", weights, "--output", output) == 0
    found = rows(output)
    assert [Path(row["image"]) for row in found] == sorted(images.iterdir())
    for row in found:
        check(row, tifffile.imread(output / row["labels"]))


def test_each_time_point_has_a_row(weights: Path, tmp_path: Path) -> None:
    values = np.random.default_rng(3).integers(0, 4000, (3, 20, 28), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "movie.ome.tif", values, metadata={"axes": "TYX"}, ome=True)
    assert run(tmp_path / "movie.ome.tif", "--weights", weights, "--output", tmp_path / "out") == 0
    labels = tifffile.imread(tmp_path / "out" / "movie.ome_labels.tif")
    found = rows(tmp_path / "out")
    assert [row["frame"] for row in found] == ["0", "1", "2"]
    for row, frame in zip(found, labels, strict=True):
        check(row, frame)


def test_each_section_that_was_segmented_on_its_own_has_a_row(weights: Path, tmp_path: Path) -> None:
    values = np.random.default_rng(4).integers(0, 4000, (2, 20, 28), dtype=np.uint16)
    file = tmp_path / "stack.tif"
    tifffile.imwrite(file, values, metadata={"axes": "ZYX"}, imagej=True)
    assert run(file, "--weights", weights, "--axes", "ZYX", "--output", tmp_path / "out") == 0
    found = rows(tmp_path / "out")
    assert [row["section"] for row in found] == ["0", "1"]
    for row, section in zip(found, tifffile.imread(tmp_path / "out" / "stack_labels.tif"), strict=True):
        check(row, section)


def test_a_volume_is_one_image_and_has_its_volume_in_micrometers(tmp_path: Path) -> None:
    labels = np.zeros((2, 3, 4), int)
    labels[:, :, :2] = 7
    write_labels(tmp_path / "stack_labels.tif", labels, pixel_size=(0.5, 0.1, 0.2))
    job = summary.Job(Path("stack.tif"), {"labels": tmp_path / "stack_labels.tif"}, tmp_path / "record")
    summary.write_summary(tmp_path / "summary.csv", [job], WHOLE, lambda: 3)
    (row,) = rows(tmp_path)
    check(row, labels)
    assert float(row["volume_um3"]) == pytest.approx(12 * 0.5 * 0.1 * 0.2)
    assert "section" not in row


def test_labels_without_objects_and_without_a_file_are_told_apart(tmp_path: Path) -> None:
    write_labels(tmp_path / "empty_labels.tif", np.zeros((3, 4), int))
    jobs = [
        summary.Job(Path(f"{name}.tif"), {"labels": tmp_path / f"{name}_labels.tif"}, tmp_path / "record")
        for name in ("empty", "failed")
    ]
    summary.write_summary(tmp_path / "summary.csv", jobs, WHOLE, lambda: 2)
    assert [(row["objects"], row["area"]) for row in rows(tmp_path)] == [("0", "0"), ("", "")]


def test_images_of_an_earlier_run_keep_their_rows_as_long_as_their_labels_are_there(
    weights: Path, images: Path, tmp_path: Path
) -> None:
    """One folder of results grows from day to day."""
    output, second = tmp_path / "out", tmp_path / "day2"
    second.mkdir()
    assert run(images, "--weights", weights, "--output", output) == 0
    (images / "b.tif").rename(second / "d.tif")
    (output / "c_labels.tif").unlink()
    tifffile.imwrite(output / "a_labels.tif", np.ones((20, 28), np.uint8))
    assert run(second, "--weights", weights, "--output", output, "--resume") == 0
    found = rows(output)
    assert [row["labels"] for row in found] == ["a_labels.tif", "b_labels.tif", "d_labels.tif"]
    assert (found[0]["objects"], found[0]["area"]) == ("1", "560")
    assert Path(found[1]["image"]) == images / "b.tif"


@pytest.mark.parametrize("given", [[], ["--pixel-size", "500nm"], ["--pixel-size", "0.001 mm,2"]])
def test_corrected_labels_keep_their_size_in_micrometers(
    weights: Path, tmp_path: Path, given: list[str]
) -> None:
    """Programs that store labels again often leave out how large a pixel is."""
    values = np.random.default_rng(4).integers(0, 4000, (20, 28), dtype=np.uint16)
    file, output = tmp_path / "cells.ome.tif", tmp_path / "out"
    metadata = {"axes": "YX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
    tifffile.imwrite(file, values, metadata=metadata, ome=True)
    command = (file, "--weights", weights, "--output", output, *given)
    assert run(*command) == 0
    labels = np.zeros((20, 28), np.uint8)
    labels[:4, :5] = 3
    tifffile.imwrite(output / "cells.ome_labels.tif", labels)
    assert run(*command, "--resume") == 0
    (row,) = rows(output)
    pixel = {0: 0.25**2, 1: 0.5**2, 2: 1.0 * 2}[0 if not given else 1 if given[1] == "500nm" else 2]
    assert float(row["area_um2"]) == pytest.approx(20 * pixel)


@pytest.mark.parametrize(
    "how",
    [
        {"photometric": "rgb", "planarconfig": "separate"},
        {"imagej": True, "metadata": {"axes": "ZYX"}},
        {"photometric": "minisblack"},
    ],
)
@pytest.mark.parametrize("channels", [(), ("--channel", "0")])
def test_frames_of_corrected_labels_are_those_of_the_movie(
    weights: Path, tmp_path: Path, how: dict[str, Any], channels: tuple[str, ...]
) -> None:
    values = np.random.default_rng(0).integers(0, 4000, (3, 40, 50)).astype(np.uint16)
    shown = np.stack([values, values], 1) if channels else values
    axes = {"axes": "TCYX" if channels else "TYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(tmp_path / "movie.ome.tif", shown, metadata=axes, ome=True)
    output = tmp_path / "out"
    command = (tmp_path / "movie.ome.tif", "--weights", weights, "--output", output, *channels)
    assert run(*command) == 0
    before = rows(output)
    assert [row["frame"] for row in before] == ["0", "1", "2"]
    assert float(before[0]["area_um2"]) == int(before[0]["area"]) / 4
    labels = tifffile.imread(output / "movie.ome_labels.tif")
    tifffile.imwrite(output / "movie.ome_labels.tif", labels.astype(np.uint16), **how)
    assert run(*command, "--resume") == 0
    assert rows(output) == before


def test_each_region_of_a_tray_has_a_row(weights: Path, images: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "out"
    words = ["--regions", "components", "--object-diameter", "20", "--scale", "1", "--region-table"]
    command = (images, "--weights", weights, "--output", output, *words, "--pixel-size", "0.5")
    assert run(*command) == 0
    assert "--region-table" not in capsys.readouterr().err
    found = rows(output)
    for name in "abc":
        here = [row for row in found if row["labels"] == f"{name}_labels.tif"]
        with (output / f"{name}_regions.csv").open(newline="") as file:
            regions = list(csv.DictReader(file))
        assert [row["region"] for row in here] == [row["region"] for row in regions] != []
        assert all(row["objects"] == region["objects"] for row, region in zip(here, regions, strict=True))
        assert all(float(row["area_um2"]) == float(row["area"]) / 4 for row in here)
    # A person corrects a file: two plants of one leaf each.
    labels = np.zeros((20, 28), np.uint8)
    labels[:4, :5], labels[10:, 10:] = 3, 9
    tifffile.imwrite(output / "b_labels.tif", labels)
    assert run(*command, "--resume") == 0
    here = [row for row in rows(output) if row["labels"] == "b_labels.tif"]
    assert [(row["region"], row["objects"], row["area"]) for row in here] == [
        ("1", "1", "20"),
        ("2", "1", "180"),
    ]
    assert [row for row in rows(output) if row["labels"] != "b_labels.tif"] == [
        row for row in found if row["labels"] != "b_labels.tif"
    ]


def test_regions_of_other_labels_are_not_counted(weights: Path, images: Path, tmp_path: Path, capsys) -> None:
    """Someone replaced the labels of an earlier day, whose table of regions is not made again."""
    output, second = tmp_path / "out", tmp_path / "day2"
    assert run(images, "--weights", weights, "--output", output, "--region-table") == 0
    hint = "without --regions components, --region-table has one row for each image\n"
    said = capsys.readouterr().err
    assert said.count(hint) == 1
    assert "--region-overlay" not in said
    second.mkdir()
    (images / "b.tif").rename(second / "d.tif")
    tifffile.imwrite(output / "a_labels.tif", np.ones((20, 28), np.uint8))
    assert run(second, "--weights", weights, "--output", output, "--resume", "--region-table") == 0
    first, *others = rows(output)
    assert (first["region"], first["objects"], first["area"]) == ("", "1", "560")
    assert all(row["region"] == "1" for row in others)


def test_each_frame_of_a_movie_has_its_regions(weights: Path, tmp_path: Path) -> None:
    values = np.random.default_rng(3).integers(0, 4000, (3, 20, 28), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "movie.ome.tif", values, metadata={"axes": "TYX"}, ome=True)
    words = ["--weights", weights, "--output", tmp_path / "out", "--region-table"]
    assert run(tmp_path / "movie.ome.tif", *words) == 0
    labels = tifffile.imread(tmp_path / "out" / "movie.ome_labels.tif")
    found = rows(tmp_path / "out")
    assert [(row["frame"], row["region"]) for row in found] == [("0", "1"), ("1", "1"), ("2", "1")]
    for row, frame in zip(found, labels, strict=True):
        check(row, frame)


def test_an_image_that_fails_has_a_row_without_numbers(weights: Path, images: Path, tmp_path: Path) -> None:
    (images / "b.tif").write_bytes(b"II*\0 no image")
    assert run(images, "--weights", weights, "--output", tmp_path / "out") == 1
    found = rows(tmp_path / "out")
    assert [bool(row["objects"]) for row in found] == [True, False, True]


def test_labels_that_a_person_corrected_are_counted_as_they_are(
    weights: Path, images: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    assert run(images, "--weights", weights, "--output", output) == 0
    corrected = np.zeros((20, 28), np.uint16)
    corrected[3:6, 3:6], corrected[10:, 5:] = 9, 60_000
    tifffile.imwrite(output / "b_labels.tif", corrected)
    before = rows(output)
    assert run(images, "--weights", weights, "--output", output, "--resume") == 0
    after = rows(output)
    assert [after[0], after[2]] == [before[0], before[2]]
    check(after[1], corrected)


def test_the_shards_of_a_batch_make_the_table_of_all_images(
    weights: Path, images: Path, tmp_path: Path
) -> None:
    words = [images, "--weights", weights, "--output"]
    assert run(*words, tmp_path / "whole") == 0
    for number in (1, 2):
        assert run(*words, tmp_path / "out", "--shard", f"{number}/2") == 0
    assert rows(tmp_path / "out") == rows(tmp_path / "whole")


def test_a_table_that_is_there_is_replaced_only_if_asked(
    weights: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "summary.csv").write_text("mine")
    words = [images, "--weights", weights, "--output", output]
    assert run(*words) == 2
    assert "summary.csv' exists already" in capsys.readouterr().err
    assert (output / "summary.csv").read_text() == "mine"
    assert not (output / "a_labels.tif").exists()
    assert run(*words, "--overwrite") == 0
    assert len(rows(output)) == 3


def test_channels_are_measured_for_a_table_only(
    weights: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(images, "--weights", weights, "--output", tmp_path / "out", "--measure", "0") == 2
    assert "add --table" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
