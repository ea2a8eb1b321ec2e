"""``pea segment --all-series``: each image of a file that holds several has results of its own."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.cli import main

Array = np.ndarray[Any, Any]
Streams = pytest.CaptureFixture[str]


def positions(count: int = 3) -> list[Array]:
    draw = np.random.default_rng(0)
    return [draw.integers(100, 4000, (20, 24 + number)).astype(np.uint16) for number in range(count)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three positions of a stage, whose sizes of a pixel differ."""
    path = tmp_path / "in" / "stage {1}.ome.tif"
    path.parent.mkdir()
    with tifffile.TiffWriter(path, ome=True) as writer:
        for number, image in enumerate(positions()):
            size = {"PhysicalSizeX": number + 1.0, "PhysicalSizeY": number + 1.0}
            writer.write(image, metadata={"axes": "YX", "Name": f"position {number}", **size})
    return path


def segment(weights: Path, inputs: Path, output: Path, *words: str) -> int:
    common = ["--weights", str(weights), "--device", "cpu", "--scale", "1", "--output", str(output)]
    return main(["segment", str(inputs), *common, *words])


def stems(output: Path, end: str = "_labels.tif") -> list[str]:
    return sorted(path.name.removesuffix(end) for path in output.glob(f"*{end}"))


def rows(output: Path) -> list[dict[str, str]]:
    with (output / "summary.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_series_is_an_image_of_its_own(weights: Path, file: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert segment(weights, file, output, "--all-series", "--table", "--summary") == 0
    names = [f"stage {{1}}.ome_series{number}" for number in range(3)]
    assert stems(output) == stems(output, "_objects.csv") == names
    segmenter = Segmenter.from_file(weights, device="cpu").with_settings(scale=1)
    for number, (name, image) in enumerate(zip(names, positions())):
        labels = tifffile.imread(output / f"{name}_labels.tif")
        assert np.array_equal(labels, segmenter.segment(image))
        assert np.array_equal(labels, segmenter.segment(file, series=number))
    # Each has its own size of a pixel.
    found = [float(row["area_um2"]) / float(row["area"]) for row in rows(output)]
    assert found == pytest.approx([1, 4, 9])


def test_a_run_goes_on_and_keeps_what_a_person_corrected(
    weights: Path, file: Path, tmp_path: Path, capsys: Streams
) -> None:
    output = tmp_path / "out"
    words = ["--all-series", "--table", "--summary"]
    assert segment(weights, file, output, *words) == 0
    assert "3 of 3 images segmented" in capsys.readouterr().out
    mine = output / "stage {1}.ome_series1_labels.tif"
    tifffile.imwrite(mine, np.ones((20, 25), np.uint8))
    (output / "stage {1}.ome_series2_objects.csv").unlink()
    assert segment(weights, file, output, *words, "--resume") == 0
    told = capsys.readouterr()
    assert "1 of 3 images segmented, 1 done before, labels of 1 kept" in told.out
    assert tifffile.imread(mine).min() == 1
    assert [row["objects"] for row in rows(output)][1] == "1"
    assert float(rows(output)[1]["area_um2"]) == pytest.approx(4 * 20 * 25)
    assert segment(weights, file, output, *words, "--resume") == 0
    assert "0 of 3 images segmented, 2 done before, labels of 1 kept" in capsys.readouterr().out


def test_without_it_the_message_names_it(weights: Path, file: Path, tmp_path: Path, capsys: Streams) -> None:
    assert segment(weights, file, tmp_path / "out") == 1
    assert "pea segment --all-series takes each of them" in capsys.readouterr().err


def test_files_with_one_image_keep_their_names(
    weights: Path, file: Path, tmp_path: Path, capsys: Streams
) -> None:
    folder, output = file.parent, tmp_path / "out"
    tifffile.imwrite(folder / "one.tif", positions()[0])
    (folder / "torn.tif").write_bytes(b"II*\0" + bytes(40))
    with tifffile.TiffWriter(folder / "preview.tif") as writer:
        writer.write(positions()[0], metadata=None)
        writer.write(positions()[0][::2, ::2], subfiletype=1, metadata=None)
    assert segment(weights, folder, output, "--all-series", "--summary") == 1
    told = capsys.readouterr()
    assert "torn.tif: " in told.err
    assert told.err.count("error") == 1
    assert "5 of 6 images segmented, 1 failed" in told.out
    assert [name for name in stems(output) if "stage" not in name] == ["one", "preview"]
    assert [bool(row["objects"]) for row in rows(output)] == [True, True, *[True] * 3, False]


def test_a_series_that_fails_is_named_and_the_others_are_done(
    weights: Path, tmp_path: Path, capsys: Streams
) -> None:
    path, output = tmp_path / "mixed.ome.tif", tmp_path / "out"
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(positions()[0], metadata={"axes": "YX"})
        writer.write(np.zeros((4, 20, 24), np.uint16), metadata={"axes": "ZYX"})
    assert segment(weights, path, output, "--all-series", "--summary") == 1
    told = capsys.readouterr()
    assert f"pea: error: {path}, series 1: " in told.err
    assert "1 of 2 images segmented, 1 failed" in told.out
    assert stems(output) == ["mixed.ome_series0"]
    assert [bool(row["objects"]) for row in rows(output)] == [True, False]


def test_one_series_and_all_of_them_exclude_each_other(
    weights: Path, file: Path, tmp_path: Path, capsys: Streams
) -> None:
    assert segment(weights, file, tmp_path / "out", "--all-series", "--series", "1") == 2
    assert "--series 1 names one image of a file, --all-series all of them" in capsys.readouterr().err


def test_blocks_and_datasets_of_a_file(weights: Path, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="needs the package h5py")
    path, output = tmp_path / "sites.h5", tmp_path / "out"
    with h5py.File(path, "w") as file:
        for number, image in enumerate(positions(2)):
            file[f"site{number}/raw"] = image
    assert segment(weights, path, output, "--all-series", "--blocks", "always") == 0
    assert stems(output) == ["sites_series0", "sites_series1"]
    for number, image in enumerate(positions(2)):
        labels = tifffile.imread(output / f"sites_series{number}_labels.tif")
        assert labels.shape == image.shape
