"""``pea segment``: the files it writes, and a batch that meets bad files, full disks and Ctrl-C."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from pixel_embedded_affinity import Neighborhood, Segmenter, samples
from pixel_embedded_affinity.cli import main, records
from pixel_embedded_affinity.cli.batch import Shard, alone
from pixel_embedded_affinity.cli.records import RECORDS, Source
from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.data.outlines.base import read_outlines
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export import write_table
from pixel_embedded_affinity.export.base import EXPORTERS, Result
from pixel_embedded_affinity.io.locks import locked
from pixel_embedded_affinity.labels import relabel


def read(path: Path) -> npt.NDArray[Any]:
    return np.asarray(tifffile.imread(path))


def listing(folder: Path) -> list[str]:
    """All names in the folder, hidden ones too, but for the records: temporary files must be gone."""
    records = folder / RECORDS
    assert all(
        path.suffix == ".json" and path.name[0] != "." for path in records.rglob("*") if path.is_file()
    )
    return sorted(path.name for path in folder.iterdir() if path != records) if folder.exists() else []


class Batch:
    """Calls ``pea segment`` with the tiny model, from the images folder into an output folder."""

    def __init__(self, images: Path, output: Path, weights: Path) -> None:
        self.images, self.output, self.weights = images, output, weights

    def __call__(self, *more: str, inputs: tuple[str, ...] | None = None) -> int:
        inputs = (str(self.images),) if inputs is None else inputs
        return main(["segment", *inputs, "--weights", str(self.weights), "--output", str(self.output), *more])


@pytest.fixture
def segment(images: Path, tmp_path: Path, weights: Path) -> Batch:
    return Batch(images, tmp_path / "deep" / "out", weights)


def test_the_labels_are_those_of_the_library(segment: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    assert segment() == 0
    assert listing(segment.output) == ["a_labels.tif", "b_labels.tif", "c_labels.tif"]
    segmenter = Segmenter.from_file(segment.weights)
    for name in "abc":
        labels = read(segment.output / f"{name}_labels.tif")
        np.testing.assert_array_equal(labels, segmenter.segment(segment.images / f"{name}.tif"))
        assert labels.max() > 1
    captured = capsys.readouterr()
    assert captured.out == f"3 of 3 images segmented; results in {segment.output}\n"
    assert captured.err == ""


@pytest.mark.parametrize("tile", ["auto", "whole", "512"])
def test_images_go_through_the_network_whole_or_in_tiles(segment: Batch, tile: str) -> None:
    assert segment("--tile", tile) == 0
    expected = Segmenter.from_file(segment.weights).segment(segment.images / "a.tif")
    np.testing.assert_array_equal(read(segment.output / "a_labels.tif"), expected)


@pytest.mark.parametrize("tile", ["none", "0", "-5", "1.5"])
def test_a_tile_that_is_none_is_refused(
    segment: Batch, tile: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        segment(f"--tile={tile}")
    assert stopped.value.code == 2
    assert f"'{tile}' is not auto, whole or a number of pixels" in capsys.readouterr().err


def test_overlay_and_table_come_with_the_labels(segment: Batch) -> None:
    assert segment("--overlay", "--table", inputs=(str(segment.images / "a.tif"),)) == 0
    assert listing(segment.output) == ["a_labels.tif", "a_objects.csv", "a_overlay.png"]
    labels, image = read(segment.output / "a_labels.tif"), read(segment.images / "a.tif")
    with Image.open(segment.output / "a_overlay.png") as overlay:
        assert overlay.size == labels.shape[::-1]
    with (segment.output / "a_objects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["label"]) for row in rows] == list(range(1, labels.max() + 1))
    assert float(rows[0]["mean_intensity"]) == pytest.approx(image[labels == 1].mean())


def test_a_pattern_and_a_file_name_with_spaces_work(segment: Batch) -> None:
    (segment.images / "b.tif").rename(segment.images / "plate é 1.tif")
    assert segment(inputs=(str(segment.images / "pl*.tif"), str(segment.images / "c.tif"))) == 0
    assert listing(segment.output) == ["c_labels.tif", "plate é 1_labels.tif"]


def test_settings_reach_the_segmenter(segment: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[ModelConfig] = []
    threads: list[int | None] = []
    original = Segmenter.segment

    def recording(self: Segmenter, image: Any, **settings: Any) -> Any:
        used.append(self.config)
        threads.append(self.threads)
        return original(self, image, **settings)

    monkeypatch.setattr(Segmenter, "segment", recording)
    pairs = ["--ranges", "1,2,5", "--directions", "8", "--strides", "2"]
    assert (
        segment(*pairs, "--min-size", "7", "--scale", "1.5", "--axes", "YX", "--threads", "1", "--views", "4")
        == 0
    )
    assert set(threads) == {1}
    config = used[-1]
    assert config.neighborhood == Neighborhood.from_ranges([1, 2, 5], 8, strides=2)
    assert config.postprocess.min_size == 7
    assert config.scale == 1.5
    assert config.views == 4
    expected = (
        Segmenter.from_file(segment.weights)
        .with_settings(views=4)
        .segment(segment.images / "a.tif", scale=1.5, neighborhood=config.neighborhood, min_size=7)
    )
    np.testing.assert_array_equal(read(segment.output / "a_labels.tif"), expected)


def test_a_clusterer_is_taken_by_name(segment: Batch) -> None:
    assert segment("--clusterer", "connected_components") == 0
    segmenter, path = Segmenter.from_file(segment.weights), segment.images / "a.tif"
    expected = segmenter.segment(path, clusterer="connected_components")
    np.testing.assert_array_equal(read(segment.output / "a_labels.tif"), expected)
    assert not np.array_equal(expected, segmenter.segment(path))


def test_a_model_of_the_registry_is_taken_by_name(
    registry: Path, images: Path, tmp_path: Path, weights: Path
) -> None:
    output = tmp_path / "out"
    assert main(["segment", str(images), "--model", "tiny", "--offline", "--output", str(output)]) == 0
    expected = Segmenter.from_file(weights).segment(images / "c.tif")
    np.testing.assert_array_equal(read(output / "c_labels.tif"), expected)


def test_offline_forbids_to_fetch_the_model(
    registry: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (registry / "bundled" / "tiny.safetensors").unlink()
    output = str(tmp_path / "out")
    assert main(["segment", str(images), "--model", "tiny", "--offline", "--output", output]) == 2
    assert "offline mode forbids https://weights.invalid/" in capsys.readouterr().err


def test_labels_lie_in_the_file_as_the_image_does(segment: Batch) -> None:
    image = read(segment.images / "a.tif")
    assert segment("--axes", "XY", inputs=(str(segment.images / "a.tif"),)) == 0
    expected = Segmenter.from_file(segment.weights).segment(image, axes="XY")
    np.testing.assert_array_equal(read(segment.output / "a_labels.tif"), expected)


def test_color_is_measured_per_channel_and_gray_once(segment: Batch, color_weights: Path) -> None:
    color = np.random.default_rng(0).integers(0, 255, (18, 20, 3), dtype=np.uint8)
    Image.fromarray(color).save(segment.images / "color.png")
    segment.weights = color_weights
    assert segment("--table", "--overlay") == 0
    headers = {
        name: (segment.output / f"{name}_objects.csv").read_text().splitlines()[0].split(",")
        for name in ("color", "a")
    }
    means = ["mean_intensity-0", "mean_intensity-1", "mean_intensity-2"]
    assert headers["color"][8:14] == ["equivalent_diameter", *means, "confidence", "axis_major_length"]
    assert headers["a"][8:12] == ["equivalent_diameter", "mean_intensity", "confidence", "axis_major_length"]
    assert headers["a"][-3:] == ["min_intensity", "max_intensity", "sd_intensity"]


def table_of(segment: Batch, name: str) -> dict[str, npt.NDArray[Any]]:
    """The table of an image, by the library."""
    image = read(segment.images / name).astype(np.float32)
    return Segmenter.from_file(segment.weights).analyze(image, axes="YX").table(intensity=image)


def test_the_table_is_that_of_analyze(segment: Batch, tmp_path: Path) -> None:
    assert segment("--table") == 0
    write_table(tmp_path / "expected.csv", table_of(segment, "a.tif"))
    assert (segment.output / "a_objects.csv").read_bytes() == (tmp_path / "expected.csv").read_bytes()


def test_the_table_is_that_of_analyze_in_any_order_of_axes(segment: Batch, tmp_path: Path) -> None:
    assert segment("--table", "--axes", "XY", inputs=(str(segment.images / "a.tif"),)) == 0
    image = read(segment.images / "a.tif").astype(np.float32)
    found = Segmenter.from_file(segment.weights).analyze(image, axes="XY")
    write_table(tmp_path / "expected.csv", found.table(image))
    assert (segment.output / "a_objects.csv").read_bytes() == (tmp_path / "expected.csv").read_bytes()


def test_polygons_come_in_the_formats_of_other_programs(segment: Batch) -> None:
    pytest.importorskip("roifile", reason="the extra imagej writes ROIs")
    flags = {
        "--imagej-rois": "rois.zip",
        "--qupath": "objects.geojson",
        "--coco": "coco.json",
        "--coco-rle": "coco_rle.json",
    }
    assert segment(*flags, "--axes", "XY", inputs=(str(segment.images / "a.tif"),)) == 0
    labels = read(segment.output / "a_labels.tif")
    for name in flags.values():
        found = read_outlines(segment.output / f"a_{name}", Path("a.tif"), labels.shape)
        np.testing.assert_array_equal(found, relabel(labels))
    features = json.loads((segment.output / "a_objects.geojson").read_text())["features"]
    assert "confidence" in features[0]["properties"]["measurements"]
    assert json.loads((segment.output / "a_coco.json").read_text())["images"][0]["file_name"] == "a.tif"


def test_what_every_image_would_lack_is_refused_before_work_starts(
    segment: Batch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "roifile", None)
    assert segment("--imagej-rois") == 2
    assert "need the package roifile; install it (pip install roifile)" in capsys.readouterr().err
    assert not segment.output.exists()


@pytest.mark.parametrize("name", ["imagej_rois", "qupath", "coco", "coco_rle"])
def test_exporters_of_images_refuse_volumes(name: str) -> None:
    exporter: Any = EXPORTERS.build(name)
    with pytest.raises(
        InputError, match=f"--{name.replace('_', '-')} describes images, and the model segments volumes"
    ):
        exporter.check(3)


class Count:
    suffix = "_count.txt"
    help = "100 % of the objects, counted"

    def write(self, path: Path, result: Result) -> None:
        path.write_text(f"{result.labels.max()} {len(result.table['confidence'])} {result.image.shape}")


def test_an_exporter_that_is_registered_has_a_flag_and_its_files_are_results_as_any(
    segment: Batch,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(EXPORTERS, "_registered", {})
    EXPORTERS.register("object_count", Count)
    EXPORTERS.register("overwrite", Count)
    with pytest.raises(SystemExit):
        main(["segment", "--help"])
    assert "also NAME_count.txt: 100 % of the objects" in " ".join(capsys.readouterr().out.split())
    assert "exporter 'overwrite' is left out: the flag --overwrite has another meaning" in caplog.text
    assert segment("--object-count") == 0
    count = read(segment.output / "a_labels.tif").max()
    shape = read(segment.images / "a.tif").shape
    assert (segment.output / "a_count.txt").read_text() == f"{count} {count} {shape}"
    assert segment("--object-count") == 2
    assert "exist already" in capsys.readouterr().err


def test_an_exporter_that_fails_is_named(
    segment: Batch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(Count):
        def write(self, path: Path, result: Result) -> None:
            raise RuntimeError("boom")

    monkeypatch.setattr(EXPORTERS, "_registered", {})
    EXPORTERS.register("broken", Broken)
    assert segment("--broken") == 1
    assert "the exporter broken failed (RuntimeError: boom)" in capsys.readouterr().err
    # Nothing that could be written is lost, and the next run does the image again.
    assert read(segment.output / "a_labels.tif").max() > 0
    assert segment("--broken", "--resume") == 1
    assert "made again" in capsys.readouterr().err
    assert segment("--resume") == 0


# --- refused before any work ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["--device", "cuda:99"], "cuda:99"),
        (["--device", "gpu"], "'gpu' is unknown"),
        (["--threads", "0"], "threads must be an integer from 1 to 1024, got 0"),
        (["--clusterer", "magic"], "unknown clusterer 'magic'"),
        (["--ranges", "3,9"], "no attractive offset"),
        (["--ranges", "1,3", "--strides", "2,2,2"], "strides"),
        (["--ranges", "0"], "ranges must be positive"),
        (["--directions", "8"], "--ranges"),
        (["--min-size", "-1"], "min_size"),
        (["--scale", "0"], "scale"),
        (["--scale", "inf"], "scale"),
        (["--views", "2"], "views must be 1, 4 or 8, got 2"),
    ],
)
def test_settings_that_cannot_work_are_refused_once_and_not_for_every_file(
    segment: Batch, settings: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment(*settings) == 2
    error = capsys.readouterr().err
    assert error.startswith("pea: error: ")
    assert expected in error
    assert error.count("\n") == 1
    assert not segment.output.exists()


@pytest.mark.parametrize("ranges", ["1,x", "1;3", "", "1.5"])
def test_ranges_that_are_no_integers_are_wrong_usage(segment: Batch, ranges: str) -> None:
    with pytest.raises(SystemExit) as stop:
        segment("--ranges", ranges)
    assert stop.value.code == 2


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (("images/nothing*.tif",), "no image fits"),
        (("empty",), "holds no image"),
        (("images", "x.tif"), "does not exist"),
    ],
)
def test_nothing_found_is_exit_code_2(
    segment: Batch,
    inputs: tuple[str, ...],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(segment.images.parent)
    Path("empty").mkdir()
    assert segment(inputs=inputs) == 2
    assert expected in capsys.readouterr().err
    assert not segment.output.exists()


def test_images_of_equal_names_are_refused_before_work_starts(
    segment: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(segment.images / "b.png")
    assert segment() == 2
    error = capsys.readouterr().err
    assert "b.png" in error
    assert "b.tif" in error
    assert not segment.output.exists()


def test_model_and_weights_exclude_each_other_and_one_is_needed(segment: Batch, images: Path) -> None:
    with pytest.raises(SystemExit):
        segment("--model", "tiny")
    with pytest.raises(SystemExit):
        main(["segment", str(images), "--output", "out"])


def test_a_weights_file_that_is_none_is_refused(segment: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    segment.weights = segment.images / "a.tif"
    assert segment() == 2
    assert "a.tif" in capsys.readouterr().err
    assert not segment.output.exists()


# --- results that are there already -----------------------------------------------------------------------


@pytest.fixture
def half_done(segment: Batch) -> Batch:
    """A batch with labels of b, in a way that is told from what the model would give."""
    segment.output.mkdir(parents=True)
    tifffile.imwrite(segment.output / "b_labels.tif", BY_HAND)
    return segment


BY_HAND = np.full((20, 28), 9, np.uint8)


def test_existing_results_are_refused_before_work_starts(
    half_done: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert half_done() == 2
    assert "b_labels.tif' exists already" in capsys.readouterr().err
    assert [path.name for path in half_done.output.iterdir()] == ["b_labels.tif"]


def test_an_existing_table_is_refused_only_if_one_is_asked_for(segment: Batch) -> None:
    segment.output.mkdir(parents=True)
    (segment.output / "a_objects.csv").write_text("mine")
    assert segment("--table") == 2
    assert segment() == 0
    assert (segment.output / "a_objects.csv").read_text() == "mine"


def test_a_table_of_an_earlier_run_is_not_replaced_without_a_word(
    segment: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment("--table") == 0
    for name in "abc":
        (segment.output / f"{name}_labels.tif").unlink()
    assert segment() == 2
    assert "a_objects.csv'" in capsys.readouterr().err


def test_overwrite_replaces_them(half_done: Batch) -> None:
    assert half_done("--overwrite") == 0
    assert read(half_done.output / "b_labels.tif").min() < 9


def test_overwrite_makes_all_files_again_that_an_earlier_run_wrote(segment: Batch) -> None:
    assert segment("--table") == 0
    before = (segment.output / "a_objects.csv").read_bytes()
    assert segment("--overwrite", "--clusterer", "connected_components") == 0
    assert (segment.output / "a_objects.csv").read_bytes() != before


def times(folder: Path) -> dict[str, int]:
    """When each result was written last."""
    return {name: (folder / name).stat().st_mtime_ns for name in listing(folder)}


def test_resume_does_the_rest_and_keeps_what_is_done(
    segment: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment(inputs=(str(segment.images / "b.tif"),)) == 0
    before = times(segment.output)
    assert segment("--resume") == 0
    assert times(segment.output)["b_labels.tif"] == before["b_labels.tif"]
    captured = capsys.readouterr()
    assert "2 of 3 images segmented, 1 done before;" in captured.out
    assert captured.err == ""


def test_resume_keeps_labels_that_no_run_wrote_and_says_so(
    half_done: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert half_done("--resume") == 0
    np.testing.assert_array_equal(read(half_done.output / "b_labels.tif"), BY_HAND)
    assert listing(half_done.output) == ["a_labels.tif", "b_labels.tif", "c_labels.tif"]
    captured = capsys.readouterr()
    assert captured.out.startswith(
        "2 of 3 images segmented, 0 done before, labels of 1 kept as somebody made them;"
    )
    kept = "kept: no run wrote these labels as they are now; other files follow them; --overwrite replaces"
    assert f"{kept} them (1): '{half_done.output}" in captured.err


def test_resume_keeps_labels_that_a_person_corrected(
    segment: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment("--table") == 0
    tifffile.imwrite(segment.output / "a_labels.tif", BY_HAND)
    for more in ([], ["--table"], ["--overlay"], ["--min-size", "5"]):
        assert segment("--resume", *more) == 0
        np.testing.assert_array_equal(read(segment.output / "a_labels.tif"), BY_HAND)
        assert "a_labels.tif'" in capsys.readouterr().err
    assert segment("--overwrite") == 0
    assert read(segment.output / "a_labels.tif").min() < 9


@pytest.mark.parametrize("more", [[], ["--table", "--imagej-rois"]])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_other_files_of_corrected_labels_are_made_from_them(
    segment: Batch, more: list[str], dtype: type
) -> None:
    """ImageJ often stores what it has changed as 32-bit floating-point numbers."""
    assert segment("--table", "--imagej-rois", "--overlay") == 0
    before = {path.name: path.read_bytes() for path in segment.output.glob("a_*")}
    corrected = np.zeros((20, 28), dtype)
    corrected[2:6, 3:8], corrected[10:14, 20:26] = 4, 7
    tifffile.imwrite(segment.output / "a_labels.tif", corrected)
    assert segment("--resume", *more) == 0
    np.testing.assert_array_equal(read(segment.output / "a_labels.tif"), corrected)
    with open(segment.output / "a_objects.csv", newline="") as file:
        rows = [(row["label"], row["area"]) for row in csv.DictReader(file)]
    assert rows == [("4", "20"), ("7", "24")]
    with zipfile.ZipFile(segment.output / "a_rois.zip") as file:
        assert len(file.namelist()) == 2
    assert (segment.output / "a_overlay.png").read_bytes() != before["a_overlay.png"]


def test_a_file_without_labels_is_refused_before_anything_is_written(
    segment: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment("--table", "--imagej-rois") == 0
    before = {path.name: path.read_bytes() for path in segment.output.glob("a_*")}
    tifffile.imwrite(segment.output / "a_labels.tif", np.full((20, 28), 0.5, np.float32))
    assert segment("--resume", "--table", "--imagej-rois") == 1
    assert "holds fractions, NaN or infinite values; expected whole numbers" in capsys.readouterr().err
    now = {path.name: path.read_bytes() for path in segment.output.glob("a_*")}
    assert {name for name in now if now[name] != before[name]} == {"a_labels.tif"}


def test_a_mask_that_replaces_labels_is_named(segment: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    assert segment("--table") == 0
    mask = np.zeros((20, 28), np.uint8)
    mask[2:6, 3:8] = mask[10:14, 20:26] = 255
    tifffile.imwrite(segment.output / "a_labels.tif", mask)
    assert segment("--resume") == 0
    assert (
        "a_labels.tif' holds a single object, 255, of 2 pieces; if it is a binary mask"
        in capsys.readouterr().err
    )


def test_labels_of_another_shape_than_the_image_are_kept_and_named(
    segment: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment("--table") == 0
    tifffile.imwrite(segment.output / "a_labels.tif", BY_HAND[:10])
    assert segment("--resume") == 1
    assert read(segment.output / "a_labels.tif").shape == (10, 28)
    captured = capsys.readouterr()
    assert "have the shape (10, 28), the image (20, 28)" in captured.err
    assert "0 of 3 images segmented, 2 done before, 1 failed" in captured.out


def test_corrected_labels_of_an_image_that_has_changed_are_named(
    segment: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment("--table") == 0
    tifffile.imwrite(segment.output / "a_labels.tif", BY_HAND)
    assert segment("--resume", "--table") == 0
    said = "the image has changed since these labels were made, and the tables now measure the new one"
    assert said not in capsys.readouterr().err
    tifffile.imwrite(segment.images / "a.tif", read(segment.images / "a.tif")[::-1])
    assert segment("--resume", "--table") == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if said in line]
    assert line.endswith(f"remove them (1): '{segment.output / 'a_labels.tif'}'")


def test_the_summary_has_no_numbers_of_labels_that_were_refused(segment: Batch) -> None:
    assert segment("--summary", "--table") == 0
    tifffile.imwrite(segment.output / "a_labels.tif", BY_HAND[:10])
    assert segment("--summary", "--table", "--resume") == 1
    with (segment.output / "summary.csv").open(newline="") as file:
        first, *others = csv.DictReader(file)
    assert (first["objects"], first["area"]) == ("", "")
    assert all(int(row["area"]) > 0 for row in others)


def test_resume_refuses_the_results_of_another_image_of_the_same_name(
    segment: Batch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment() == 0
    labels = (segment.output / "a_labels.tif").read_bytes()
    other = tmp_path / "day2"
    other.mkdir()
    tifffile.imwrite(other / "a.tif", read(segment.images / "a.tif")[::-1])
    assert segment("--resume", inputs=(str(other),)) == 2
    first, second = segment.images / "a.tif", other / "a.tif"
    assert f"holds the results of another image, '{first}', not of '{second}'" in capsys.readouterr().err
    assert (segment.output / "a_labels.tif").read_bytes() == labels
    # The same image elsewhere is the same image.
    shutil.copy(segment.images / "a.tif", other / "a.tif")
    assert segment("--resume", inputs=(str(other),)) == 0
    assert "1 done before" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"II*", "half"])
@pytest.mark.parametrize("name", ["a_labels.tif", "a_objects.csv"])
@pytest.mark.parametrize("recorded", [True, False])
def test_resume_does_an_image_again_whose_results_are_not_whole(
    segment: Batch, name: str, content: bytes | str, recorded: bool
) -> None:
    assert segment("--table") == 0
    whole = (segment.output / name).read_bytes()
    (segment.output / name).write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    if not recorded:
        shutil.rmtree(segment.output / RECORDS)
        (segment.output / "a_labels.tif").write_bytes(b"II*")
    assert segment("--resume", "--table") == 0
    assert (segment.output / name).read_bytes() == whole


@pytest.mark.parametrize("name", ["a_labels.tif", "a_objects.csv"])
def test_resume_does_an_image_again_whose_results_are_missing(segment: Batch, name: str) -> None:
    assert segment("--table") == 0
    whole, others = (segment.output / name).read_bytes(), times(segment.output)
    (segment.output / name).unlink()
    assert segment("--resume", "--table") == 0
    assert (segment.output / name).read_bytes() == whole
    assert {key for key, time in times(segment.output).items() if others[key] == time} == {
        f"{stem}_{kind}" for stem in "bc" for kind in ("labels.tif", "objects.csv")
    }


def test_resume_makes_results_that_are_newly_asked_for(
    segment: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment() == 0
    assert segment("--resume", "--table", "--overlay") == 0
    captured = capsys.readouterr()
    assert "made again, since results were missing or not whole (3): " in captured.err
    assert "3 of 3 images segmented, 0 done before" in captured.out
    assert len(listing(segment.output)) == 9
    before = times(segment.output)
    assert segment("--resume") == segment("--resume", "--table") == 0
    assert times(segment.output) == before


def test_resume_makes_results_of_other_settings_again_all_of_them(
    segment: Batch, tmp_path: Path, color_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.json"
    assert segment("--table") == 0
    for number, more in enumerate(
        (
            ["--min-size", "30"],
            ["--min-size", "31"],
            ["--axes", "YX"],
            ["--channel", "0"],
            ["--pixel-size", "0.5"],
            ["--precision", "float32"],
            ["--settings", str(settings)],
            ["--settings", str(settings)],
            [],
        )
    ):
        settings.write_text(json.dumps({"scale": 1.0 + number / 100}))
        assert segment("--resume", *more) == 0
        captured = capsys.readouterr()
        assert (
            "made again, since the library, the image, the model or the settings are others (3): "
            in captured.err
        )
        assert "3 of 3 images segmented, 0 done before" in captured.out
        assert segment("--resume", *more, "--device", "cpu", "--threads", "1", "--tile", "512") == 0
        assert "0 of 3 images segmented, 3 done before" in capsys.readouterr().out
    write_table(tmp_path / "expected.csv", table_of(segment, "a.tif"))
    assert (segment.output / "a_objects.csv").read_bytes() == (tmp_path / "expected.csv").read_bytes()
    segment.weights = color_weights
    assert segment("--resume") == 0
    assert "the model or the settings are others (3)" in capsys.readouterr().err


def test_resume_makes_results_of_another_version_of_the_library_again(
    segment: Batch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment() == 0
    monkeypatch.setattr("pixel_embedded_affinity.cli.loading.__version__", "9.9")
    assert segment("--resume") == 0
    assert "3 of 3 images segmented, 0 done before" in capsys.readouterr().out
    assert segment("--resume") == 0
    assert "0 of 3 images segmented, 3 done before" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["--resume", "--overwrite"])
def test_results_that_stay_where_a_later_run_fails_are_named_and_not_counted(
    segment: Batch, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment("--summary") == 0
    whole = (segment.images / "b.tif").read_bytes()
    before = read(segment.output / "b_labels.tif")
    (segment.images / "b.tif").write_bytes(whole[:100])
    assert segment(mode, "--summary", "--min-size", "3") == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "pea: error: " in line]
    assert line.endswith("; its results of an earlier run remain")
    np.testing.assert_array_equal(read(segment.output / "b_labels.tif"), before)
    # Another shard, which does not do this image, does not count its objects either.
    assert segment(mode, "--summary", "--min-size", "3", "--shard", "1/2") == 0
    rows = list(csv.DictReader((segment.output / "summary.csv").read_text().splitlines()))
    assert [bool(row["objects"]) for row in rows] == [True, False, True]
    capsys.readouterr()
    (segment.images / "b.tif").write_bytes(whole)
    assert segment("--resume", "--summary") == 0
    rows = list(csv.DictReader((segment.output / "summary.csv").read_text().splitlines()))
    assert all(row["objects"] for row in rows)
    assert segment("--resume") == 0
    assert "3 done before" in capsys.readouterr().out


def test_a_failed_image_without_earlier_results_has_none_that_remain(
    segment: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    (segment.images / "b.tif").write_bytes(b"II*")
    for _ in range(2):
        assert segment("--resume") == 1
        assert "remain" not in capsys.readouterr().err


def test_shards_write_the_summary_one_after_the_other(
    segment: Batch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pixel_embedded_affinity.cli.segment._PATIENCE", 0.1)
    (segment.output / RECORDS).mkdir(parents=True)
    with locked(segment.output / RECORDS / "lock-summary", "busy"):
        assert segment("--summary", "--shard", "1/2") == 2
        assert "another shard has been writing" in capsys.readouterr().err
    assert segment("--summary", "--shard", "1/2", "--resume") == 0
    assert listing(segment.output) == ["a_labels.tif", "c_labels.tif", "summary.csv"]


def test_an_empty_input_or_output_is_not_the_folder_that_one_is_in(
    segment: Batch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(segment.images)
    before = listing(segment.images)
    assert segment(inputs=("",)) == 2
    assert "one of the inputs is empty" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["segment", "a.tif", "--weights", str(segment.weights), "--output", ""])
    assert stop.value.code == 2
    assert "argument --output: the path is empty; is a variable" in capsys.readouterr().err
    assert listing(segment.images) == before


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no names that are not UTF-8")
def test_a_name_that_is_not_utf8_is_a_name(segment: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    odd = os.fsdecode(b"latin\xe9")
    (segment.images / "b.tif").rename(segment.images / f"{odd}.tif")
    assert segment("--summary", "--table") == 0
    assert f"{odd}_labels.tif" in listing(segment.output)
    assert segment("--resume", "--summary", "--table") == 0
    assert "3 done before" in capsys.readouterr().out


def test_letters_that_a_terminal_cannot_write_are_escaped(
    segment: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="ascii") for _ in range(2))
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    (segment.images / "b.tif").write_bytes(b"II*")
    segment.output = segment.output / "\u65e5"
    assert segment() == 1
    for stream in (out, err):
        stream.flush()
    assert out.buffer.getvalue().endswith(b"\\u65e5\n")
    assert b"b.tif" in err.buffer.getvalue()


def test_a_service_without_a_standard_error_is_served(
    segment: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", None)
    (segment.images / "b.tif").write_bytes(b"II*")
    assert segment() == 1
    assert listing(segment.output) == ["a_labels.tif", "c_labels.tif"]


def test_resume_makes_the_results_of_another_image_again(
    segment: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The image has the name, the size and the time of the one before."""
    assert segment() == 0
    path, before = segment.images / "b.tif", (segment.images / "b.tif").stat()
    path.write_bytes((segment.images / "c.tif").read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert segment("--resume") == 0
    expected = Segmenter.from_file(segment.weights).segment(path)
    np.testing.assert_array_equal(read(segment.output / "b_labels.tif"), expected)
    captured = capsys.readouterr()
    assert f"others (1): '{segment.output / 'b_labels.tif'}'" in captured.err
    assert "1 of 3 images segmented, 2 done before" in captured.out


def test_an_image_that_fails_when_it_is_made_again_is_not_done(segment: Batch) -> None:
    assert segment() == 0
    (segment.images / "b.tif").write_bytes(b"damaged")
    assert segment("--resume") == segment("--resume") == 1


def test_an_image_that_cannot_be_opened_does_not_stop_the_rest(
    segment: Batch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment() == 0
    right = records.fingerprint

    def refusing(path: Path) -> str:
        if path.name == "b.tif":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return right(path)

    monkeypatch.setattr(records, "fingerprint", refusing)
    assert segment("--resume") == 1
    captured = capsys.readouterr()
    assert "b.tif: PermissionError: " in captured.err
    assert "0 of 3 images segmented, 2 done before, 1 failed" in captured.out


def test_a_killed_run_is_made_again_whatever_it_left(segment: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies between the labels and their record."""
    assert segment() == 0
    kept = records.write_record

    def dying(path: Path, source: Source, files: dict[str, Path], model: str = "") -> None:
        if files:
            raise KeyboardInterrupt
        kept(path, source, files, model)

    monkeypatch.setattr(records, "write_record", dying)
    assert segment("--overwrite", "--min-size", "50") == 130
    monkeypatch.undo()
    assert segment("--resume") == 0
    expected = Segmenter.from_file(segment.weights).segment(segment.images / "a.tif")
    np.testing.assert_array_equal(read(segment.output / "a_labels.tif"), expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        "[]",
        '{"source": 1}',
        '{"source": 1, "files": {"labels": 3}}',
        '{"source": 1, "files": {"table": {"path": "../images/a.tif", "size": 1, "sha256": ""}}}',
        '{"source": 1, "files": {"table": {"path": "", "size": 1, "sha256": ""}}}',
        "9" * 9,
    ],
)
def test_a_damaged_record_is_none(segment: Batch, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert segment() == 0
    (segment.output / RECORDS / "a_labels.tif.json").write_text(text)
    assert segment("--resume") == 0
    assert "2 done before, labels of 1 kept as somebody made them" in capsys.readouterr().out


def test_resume_with_nothing_left_does_not_load_the_model(
    segment: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert segment() == 0

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(Segmenter, "from_file", refuse)
    assert segment("--resume") == 0


def test_resume_and_overwrite_exclude_each_other(segment: Batch) -> None:
    with pytest.raises(SystemExit):
        segment("--resume", "--overwrite")


def test_results_beside_the_images_are_not_taken_for_images(
    segment: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    segment.output = segment.images
    assert segment("--overlay", "--table") == 0
    assert segment("--overlay", "--resume") == 0
    captured = capsys.readouterr()
    assert "left out: results of earlier runs (9: 3 .tif, 3 .csv, 3 .png): " in captured.err
    assert "0 of 3 images segmented, 3 done before" in captured.out
    assert len(listing(segment.images)) == 12


def test_results_of_a_run_whose_images_have_gone_are_not_taken_for_images(segment: Batch) -> None:
    segment.output = segment.images
    assert segment() == 0
    (segment.images / "a.tif").unlink()
    assert segment("--resume") == 0
    assert not [name for name in listing(segment.images) if "labels_labels" in name]


def test_results_of_earlier_runs_below_the_images_are_not_taken_for_images(segment: Batch) -> None:
    for run in ("run1", "run2"):
        segment.output = segment.images / run
        assert segment("--recursive", "--overlay") == 0
        assert len(listing(segment.output)) == 6


# --- which images, which process --------------------------------------------------------------------------


def test_a_plate_with_a_folder_for_each_well_is_mirrored(segment: Batch) -> None:
    for number, well in enumerate(("A01", "B/02")):
        (segment.images / well).mkdir(parents=True)
        (segment.images / "abc"[number]).with_suffix(".tif").rename(segment.images / well / "site1.tif")
    assert segment("--recursive", "--table") == 0
    assert listing(segment.output) == ["A01", "B", "c_labels.tif", "c_objects.csv"]
    segmenter = Segmenter.from_file(segment.weights)
    for well in ("A01", "B/02"):
        labels = read(segment.output / well / "site1_labels.tif")
        np.testing.assert_array_equal(labels, segmenter.segment(segment.images / well / "site1.tif"))
    assert segment("--recursive", "--resume") == 0


def test_files_of_several_folders_with_equal_names_are_mirrored_and_it_is_said(
    segment: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    wells = [segment.images / well for well in ("A01", "A02")]
    for well in wells:
        well.mkdir()
        (well / "s.tif").write_bytes((segment.images / "a.tif").read_bytes())
    assert segment(inputs=tuple(str(well / "s.tif") for well in wells)) == 0
    assert "their results lie in folders as the images do" in capsys.readouterr().err
    assert listing(segment.output) == ["A01", "A02"]


def test_what_is_left_out_is_said(segment: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("c.txt", "d.xlsx"):
        (segment.images / name).write_bytes(bytes(500))
    assert segment() == 0
    expected = f"pea: left out: files of formats that are not read (2): '{segment.images / 'c.txt'}', "
    assert capsys.readouterr().err.startswith(expected)


def test_shards_do_the_batch_together(segment: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    assert segment("--shard", "2/2") == 0
    assert listing(segment.output) == ["b_labels.tif"]
    assert segment("--shard", "1/2") == 0
    assert listing(segment.output) == ["a_labels.tif", "b_labels.tif", "c_labels.tif"]
    assert segment("--shard", "9/9") == 0
    assert segment("--resume") == 0
    out, err = (text.splitlines() for text in capsys.readouterr())
    assert err == [
        "pea: 3 images in 9 shards: some shards are empty; give all images to each run, which takes its own "
        "part of them"
    ]
    assert [line.partition(";")[0] for line in out] == [
        "1 of 1 images of shard 2/2 segmented",
        "2 of 2 images of shard 1/2 segmented",
        "0 of 0 images of shard 9/9 segmented",
        "0 of 3 images segmented, 3 done before",
    ]


@pytest.mark.parametrize("shard", ["3/2", "0/2", "2", "a/b", ""])
def test_a_shard_that_is_none_is_wrong_usage(
    segment: Batch, shard: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        segment(f"--shard={shard}")
    assert stopped.value.code == 2
    assert "is not I/N with I from 1 to N, such as 2/8" in capsys.readouterr().err


def test_a_reason_is_given_once_for_images_that_fail_alike(
    segment: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.tif", "b.tif"):
        stack = np.zeros((2, 3, 20, 28), np.uint8)
        tifffile.imwrite(segment.images / name, stack, imagej=True, metadata={"axes": "TZYX"})
    (segment.images / "c.tif").write_bytes(b"II*\0 no image")
    assert segment() == 1
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.startswith(f"pea: error: {segment.images / 'a.tif'}: ")
    assert second == f"pea: error: {segment.images / 'b.tif'}: failed as the one before"
    assert third.startswith(f"pea: error: {segment.images / 'c.tif'}: ")
    assert "failed as" not in third


def test_the_longest_names_are_segmented(segment: Batch) -> None:
    (segment.images / "a.tif").rename(segment.images / f"{'a' * 240}.tif")
    assert segment("--table") == 0
    assert segment("--table", "--resume") == 0
    assert f"{'a' * 240}_labels.tif" in listing(segment.output)


def test_a_service_without_a_standard_output_is_served(
    segment: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout", None)
    assert segment() == 0
    assert len(listing(segment.output)) == 3


def test_a_second_run_on_one_output_is_told(segment: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    with alone(segment.output, Shard()):
        for more in ([], ["--resume"], ["--overwrite"], ["--shard", "1/2"]):
            assert segment(*more) == 2
            assert f"another run writes into '{segment.output}'" in capsys.readouterr().err
    assert segment() == 0


def test_an_output_that_is_a_file_is_refused_before_the_model_is_loaded(
    segment: Batch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    segment.output = tmp_path / "out"
    segment.output.write_text("mine")
    segment.weights = tmp_path / "missing.safetensors"
    assert segment() == 2
    expected = f"pea: error: --output '{segment.output}' is a file; expected a folder\n"
    assert capsys.readouterr().err == expected
    assert segment.output.read_text() == "mine"


# --- a batch in trouble -----------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["text", "truncated", "empty", "three axes", "NaN"])
def test_a_bad_file_is_reported_and_does_not_stop_the_rest(
    segment: Batch, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = segment.images / "b.tif"
    if damage == "three axes":
        tifffile.imwrite(path, np.zeros((4, 5, 6, 7), np.uint8), photometric="minisblack")
    elif damage == "NaN":
        tifffile.imwrite(path, np.full((8, 8), np.nan, np.float32))
    else:
        path.write_bytes({"text": b"hello", "truncated": path.read_bytes()[:200], "empty": b""}[damage])
    assert segment("--overlay", "--table") == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"pea: error: {path}: ")
    assert captured.err.count("\n") == 1
    assert captured.out.startswith("2 of 3 images segmented, 1 failed;")
    expected = [f"{name}_{kind}" for name in "ac" for kind in ("labels.tif", "objects.csv", "overlay.png")]
    assert listing(segment.output) == expected


def fail_at(monkeypatch: pytest.MonkeyPatch, call: int, error: BaseException) -> None:
    """Make one call of `Segmenter.analyze` fail, counted from 1: that of an image."""
    calls: list[None] = []
    original = Segmenter.analyze

    def failing(self: Segmenter, *arguments: Any, **settings: Any) -> Any:
        calls.append(None)
        if len(calls) == call:
            raise error
        return original(self, *arguments, **settings)

    monkeypatch.setattr(Segmenter, "analyze", failing)


def test_an_error_that_nobody_foresaw_does_not_stop_the_rest(
    segment: Batch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_at(monkeypatch, 2, RuntimeError("CUDA error:\n  device lost"))
    assert segment() == 1
    expected = f"pea: error: {segment.images / 'b.tif'}: RuntimeError: CUDA error: device lost\n"
    assert capsys.readouterr().err == expected
    assert listing(segment.output) == ["a_labels.tif", "c_labels.tif"]


def test_verbose_shows_where_a_file_failed(
    segment: Batch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_at(monkeypatch, 1, RuntimeError("lost"))
    assert segment("-v") == 1
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_keeps_finished_files_and_leaves_no_half_one(
    segment: Batch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_at(monkeypatch, 2, KeyboardInterrupt())
    assert segment() == 130
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("pea: interrupted")
    assert captured.err.count("\n") == 1
    assert listing(segment.output) == ["a_labels.tif"]
    assert read(segment.output / "a_labels.tif").shape == (20, 28)


def test_a_full_disk_leaves_no_half_file(
    segment: Batch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write_half(path: Path, *_: Any, **__: Any) -> None:
        Path(path).write_bytes(b"II*")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tifffile.imwrite", write_half)
    assert segment() == 1
    err = capsys.readouterr().err
    assert err.count("No space left on device") == 1
    assert err.count("failed as the one before") == 2
    assert listing(segment.output) == []


def test_labels_are_written_last(segment: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pixel_embedded_affinity.export.table.write_table", fail)
    assert segment("--table") == 1
    assert listing(segment.output) == []


def test_an_output_that_is_a_file_is_one_line(segment: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    segment.output = segment.images / "c.tif"
    before = segment.output.read_bytes()
    assert segment() == 2
    assert str(segment.output) in capsys.readouterr().err
    assert segment.output.read_bytes() == before


# --- progress ---------------------------------------------------------------------------------------------


def test_a_bar_is_shown_on_a_terminal_only_or_when_asked_for(
    segment: Batch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def bar_shown(*more: str, terminal: bool) -> bool:
        monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
        assert segment("--overwrite", *more) == 0
        return "3/3" in capsys.readouterr().err

    assert not bar_shown(terminal=False)
    assert bar_shown(terminal=True)
    assert bar_shown("--progress", terminal=False)
    assert not bar_shown("--no-progress", terminal=True)


def test_a_batch_says_which_images_were_seen_at_another_scale_than_most(tmp_path: Path, capsys) -> None:
    image = samples.nuclei()[0]
    (tmp_path / "images").mkdir()
    for number in range(5):
        part = image[:200, 90 * number : 90 * number + 200]
        tifffile.imwrite(tmp_path / "images" / f"{number}.tif", part)
    tifffile.imwrite(
        tmp_path / "images" / "odd.tif", np.kron(image[:100, :100], np.ones((2, 2), image.dtype))
    )
    command = ["segment", str(tmp_path / "images"), "--model", "nuclei", "--output", str(tmp_path / "out")]
    assert main(command) == 0
    said = "most images were seen at a scale of about 1, 1 of 6 at 0.6"
    advice = "segment them with --scale 1 --overwrite"
    error = capsys.readouterr().err
    assert said in error
    assert advice in error
    assert main([*command, "--scale", "1", "--overwrite"]) == 0
    assert "most images" not in capsys.readouterr().err
