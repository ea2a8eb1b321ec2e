"""``pea segment --measure``: the channels beside the segmented one are measured in each object."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from pixel_embedded_affinity.cli import main

Array = np.ndarray[Any, Any]
VALUES = np.random.default_rng(5).integers(0, 4000, (3, 2, 40, 44)).astype(np.uint16)


def run(*words: object) -> int:
    return main(["segment", *map(str, words), "--table", "--no-progress"])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, values: Array, axes: str, names: list[str] | None = None) -> Path:
    metadata: dict[str, Any] = {"axes": axes}
    if names:
        metadata["Channel"] = {"Name": names}
    tifffile.imwrite(path, values, metadata=metadata, ome=True)
    return path


@pytest.mark.parametrize("blocks", ["never", "always"])
def test_the_means_of_another_channel_are_those_of_numpy(weights: Path, tmp_path: Path, blocks: str) -> None:
    file = write(tmp_path / "well.ome.tif", VALUES[0], "CYX", ["DAPI", "GFP"])
    words = [file, "--weights", weights, "--channel", "DAPI", "--blocks", blocks]
    assert run(*words, "--output", tmp_path / "plain") == 0
    assert run(*words, "--output", tmp_path / "more", "--measure", "GFP") == 0
    plain, more = (rows(tmp_path / name / "well.ome_objects.csv") for name in ("plain", "more"))
    assert [{name: row[name] for name in plain[0]} for row in more] == plain
    added = set(more[0]) - set(plain[0])
    assert added == {f"{name}_intensity-GFP" for name in ("mean", "min", "max", "sd")}
    labels = tifffile.imread(tmp_path / "more" / "well.ome_labels.tif")
    assert len(more) == labels.max() > 0
    for row in more:
        inside = VALUES[0, 1][labels == int(row["label"])]
        assert float(row["mean_intensity-GFP"]) == pytest.approx(inside.mean(), rel=1e-5)
        assert float(row["max_intensity-GFP"]) == inside.max()


def test_each_frame_of_a_movie_is_measured_in_its_own_frame(weights: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "movie.ome.tif", VALUES, "TCYX")
    assert (
        run(file, "--weights", weights, "--channel", 1, "--measure", "all", "--output", tmp_path / "out") == 0
    )
    labels = tifffile.imread(tmp_path / "out" / "movie.ome_labels.tif")
    found = rows(tmp_path / "out" / "movie.ome_objects.csv")
    assert len(found) == sum(len(np.unique(frame[frame > 0])) for frame in labels)
    for row in found:
        time, label = int(row["frame"]), int(row["label"])
        for channel in (0, 1):
            inside = VALUES[time, channel][labels[time] == label]
            assert float(row[f"mean_intensity-{channel}"]) == pytest.approx(inside.mean(), rel=1e-5)
        assert row["mean_intensity"] == row["mean_intensity-1"]


def test_a_channel_that_is_not_there_is_refused_before_the_image_is_segmented(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "well.ome.tif", VALUES[0], "CYX", ["DAPI", "GFP"])
    words = [file, "--weights", weights, "--channel", "DAPI", "--output", tmp_path / "out"]
    assert run(*words, "--measure", "RFP") == 1
    assert "no channel(s) of the name 'RFP'" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.csv"))


def test_wavelengths_are_names_of_channels_unless_there_are_so_many(weights: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "well.ome.tif", VALUES[0], "CYX", ["488", "1"])
    words = ["--weights", weights, "--measure", "488"]
    assert run(file, *words, "--channel", "488", "--output", tmp_path / "out") == 0
    labels = tifffile.imread(tmp_path / "out" / "well.ome_labels.tif")
    row = rows(tmp_path / "out" / "well.ome_objects.csv")[0]
    inside = VALUES[0, 0][labels == int(row["label"])]
    assert (
        float(row["mean_intensity-488"])
        == float(row["mean_intensity"])
        == pytest.approx(inside.mean(), rel=1e-5)
    )
    # A number that a channel has is the number.
    assert run(file, *words, "--channel", "1", "--output", tmp_path / "second") == 0
    row = rows(tmp_path / "second" / "well.ome_objects.csv")[0]
    inside = VALUES[0, 1][tifffile.imread(tmp_path / "second" / "well.ome_labels.tif") == int(row["label"])]
    assert float(row["mean_intensity"]) == pytest.approx(inside.mean(), rel=1e-5)


def test_all_channels_are_measured_where_two_share_a_name(weights: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "well.ome.tif", VALUES[0], "CYX", ["DAPI", "DAPI"])
    words = [file, "--weights", weights, "--channel", 1, "--measure", "all", "--output", tmp_path / "out"]
    assert run(*words) == 0
    row = rows(tmp_path / "out" / "well.ome_objects.csv")[0]
    assert row["mean_intensity-1"] == row["mean_intensity"] != row["mean_intensity-0"]


def test_corrected_frames_of_a_movie_are_measured_again(weights: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "movie.ome.tif", VALUES, "TCYX")
    words = [file, "--weights", weights, "--channel", 1, "--measure", "0", "--output", tmp_path / "out"]
    assert run(*words) == 0
    corrected = np.zeros((3, 40, 44), np.uint8)
    corrected[0, :5, :5], corrected[2, 10:20, 7:9], corrected[2, 30:33, 30:40] = 6, 2, 9
    tifffile.imwrite(
        tmp_path / "out" / "movie.ome_labels.tif",
        corrected,
        metadata={"axes": "TYX"},
        photometric="minisblack",
    )
    assert run(*words, "--resume") == 0
    found = rows(tmp_path / "out" / "movie.ome_objects.csv")
    assert [(row["frame"], row["label"], row["area"]) for row in found] == [
        ("0", "6", "25"),
        ("2", "2", "20"),
        ("2", "9", "30"),
    ]
    for row in found:
        inside = VALUES[int(row["frame"])][:, corrected[int(row["frame"])] == int(row["label"])]
        assert float(row["mean_intensity"]) == pytest.approx(inside[1].mean(), rel=1e-5)
        assert float(row["mean_intensity-0"]) == pytest.approx(inside[0].mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("axes", "chosen", "place"),
    [
        ("ZYX", ["--z", "2"], {"z": 2, "t": 0}),
        ("TYX", ["--time", "1"], {"z": 0, "t": 1}),
        ("TZYX", ["--time", "1", "--z", "0"], {"z": 0, "t": 1}),
    ],
)
def test_outlines_lie_on_the_section_and_time_point_that_was_chosen(
    weights: Path, tmp_path: Path, axes: str, chosen: list[str], place: dict[str, int]
) -> None:
    roifile = pytest.importorskip("roifile")
    values = VALUES[:, 0] if len(axes) == 3 else VALUES
    file = write(tmp_path / "stack.ome.tif", values, axes)
    words = [file, "--weights", weights, "--qupath", "--imagej-rois", "--output", tmp_path / "out"]
    assert run(*words, *chosen) == 0
    content = json.loads((tmp_path / "out" / "stack.ome_objects.geojson").read_text())
    assert {tuple(one["geometry"]["plane"].items()) for one in content["features"]} == {
        (("c", -1), *place.items())
    }
    regions = roifile.roiread(tmp_path / "out" / "stack.ome_rois.zip")
    expected = {f"{axis}_position": position + 1 for axis, position in place.items() if axis.upper() in axes}
    for region in regions:
        assert {name: getattr(region, name) for name in expected} == expected


def test_all_colors_are_measured_by_their_names(weights: Path, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 200, (20, 24, 3)).astype(np.uint8)
    PillowImage.fromarray(picture).save(tmp_path / "a.png")
    words = [tmp_path / "a.png", "--weights", weights, "--channel", "green", "--measure", "all"]
    assert run(*words, "--output", tmp_path / "out") == 0
    columns = (tmp_path / "out" / "a_objects.csv").read_text().splitlines()[0].split(",")
    assert {f"mean_intensity-{color}" for color in ("red", "green", "blue")} <= set(columns)
