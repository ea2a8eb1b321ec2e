"""Which part of a file is the image: the same flags for each command that segments, and what ``pea info`` says."""

from __future__ import annotations

import csv
import json
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.cli import main
from pixel_embedded_affinity.data.outlines.base import read_outlines
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.io.read import stored_source

Array = np.ndarray[Any, Any]
FLAGS = ("--axes", "--channel", "--time", "--series", "--pixel-size", "--z")


@pytest.fixture
def gray(stack: Array) -> Array:
    """One plane of the stack."""
    return stack[0]


@pytest.fixture
def stack() -> Array:
    return np.random.default_rng(0).integers(100, 4000, (3, 24, 28)).astype(np.uint16)


def segment(weights: Path, image: Path, output: Path, *words: str) -> int:
    common = ["--weights", str(weights), "--device", "cpu", "--output", str(output)]
    return main(["segment", str(image), *common, *words])


@pytest.mark.parametrize("command", ["segment", "evaluate", "tune"])
def test_each_command_that_segments_has_the_flags(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert not [flag for flag in FLAGS if flag not in shown]


def test_one_stain_of_several_is_segmented(
    weights: Path, stack: Array, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "stains.tif"
    labels = ["DAPI", "GFP", "RFP"]
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "CYX", "Labels": labels})
    assert segment(weights, path, tmp_path / "none") == 1
    assert (
        "channels 0 ('DAPI'), 1 ('GFP'), 2 ('RFP'), the one with the stain, such as channel=0 (--channel 0)"
        in capsys.readouterr().err
    )
    expected = Segmenter.from_file(weights, device="cpu").segment(stack[1])
    for word in ("1", "GFP"):
        assert segment(weights, path, tmp_path / word, "--channel", word, "--table") == 0
        np.testing.assert_array_equal(tifffile.imread(tmp_path / word / "stains_labels.tif"), expected)


def test_a_movie_is_segmented_frame_by_frame(weights: Path, stack: Array, tmp_path: Path) -> None:
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "TYX"})
    segmenter = Segmenter.from_file(weights, device="cpu")
    expected = np.stack([segmenter.segment(frame) for frame in stack])
    assert segment(weights, path, tmp_path / "out", "--table", "--overlay") == 0
    with tifffile.TiffFile(tmp_path / "out" / "movie_labels.tif") as file:
        assert file.series[0].axes == "TYX"
        np.testing.assert_array_equal(file.asarray(), expected)
    with (tmp_path / "out" / "movie_objects.csv").open() as file:
        frames = [int(row["frame"]) for row in csv.DictReader(file)]
    assert frames == [number for number, labels in enumerate(expected) for _ in range(labels.max())]
    with PillowImage.open(tmp_path / "out" / "movie_overlay.png") as picture:
        assert picture.size == (28, 3 * 24)
    assert segment(weights, path, tmp_path / "one", "--time", "2") == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "one" / "movie_labels.tif"), expected[2])


def test_no_more_than_one_embedding_of_a_movie_is_kept(
    weights: Path, stack: Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile.imwrite(tmp_path / "movie.tif", stack, imagej=True, metadata={"axes": "TYX"})
    analyze, alive = Segmenter.analyze, weakref.WeakSet[Any]()
    counts = []

    def counted(*arguments: Any, **options: Any) -> Any:
        counts.append(len(alive))
        found = analyze(*arguments, **options)
        alive.add(found)
        return found

    monkeypatch.setattr(Segmenter, "analyze", counted)
    assert segment(weights, tmp_path / "movie.tif", tmp_path / "out", "--table") == 0
    assert len(counts) >= len(stack)
    assert max(counts) <= 1


def test_a_movie_becomes_a_folder_for_trackers(
    weights: Path, stack: Array, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(tmp_path / "movie.tif", stack, imagej=True, metadata={"axes": "TYX"})
    words = (weights, tmp_path / "movie.tif", tmp_path / "out", "--cell-tracking")
    assert segment(*words) == 0
    masks = tmp_path / "out" / "movie_masks"
    labels = tifffile.imread(tmp_path / "out" / "movie_labels.tif")
    names = ["mask000.tif", "mask001.tif", "mask002.tif"]
    assert sorted(path.name for path in masks.iterdir()) == names
    for name, frame in zip(names, labels, strict=True):
        np.testing.assert_array_equal(tifffile.imread(masks / name), frame)
    assert segment(*words) == 2
    assert segment(*words, "--resume") == 0
    assert "1 done before" in capsys.readouterr().out
    (masks / "mask001.tif").unlink()
    assert segment(*words, "--resume") == 0
    assert sorted(path.name for path in masks.iterdir()) == names
    assert segment(*words, "--overwrite", "--time", "1") == 1
    assert "--cell-tracking writes the frames of a time-lapse, and the axes are YX" in capsys.readouterr().err
    assert segment(weights, tmp_path / "out", tmp_path / "again", "--recursive") == 2
    assert "results of earlier runs" in capsys.readouterr().err


def test_an_image_that_is_no_time_lapse_is_refused_before_it_is_segmented(
    weights: Path, stack: Array, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", stack[0])
    for blocks in ("never", "always"):
        words = ("--cell-tracking", "--blocks", blocks)
        assert segment(weights, tmp_path / "a.tif", tmp_path / "out", *words) == 1
        said = capsys.readouterr().err
        assert "the axes are YX; expected T among them" in said
        assert "block by block" not in said
    assert not list((tmp_path / "out").glob("*.tif"))


def test_sections_are_segmented_one_by_one_if_the_axes_say_so(
    weights: Path, stack: Array, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "stack.tif", tmp_path / "out"
    sizes = {"resolution": (2.0, 2.0), "metadata": {"axes": "ZYX", "unit": "um", "spacing": 3.0}}
    tifffile.imwrite(path, stack, imagej=True, **sizes)
    assert segment(weights, path, tmp_path / "none") == 1
    assert "choose a section by z=0 (--z 0), or give axes='ZYX' (--axes ZYX)" in capsys.readouterr().err
    segmenter = Segmenter.from_file(weights, device="cpu")
    expected = segmenter.segment(path, axes="ZYX")
    flags = ["--axes", "ZYX", "--table", "--overlay", "--coco", "--qupath"]
    assert segment(weights, path, out, *flags) == 0
    with tifffile.TiffFile(out / "stack_labels.tif") as file:
        assert file.series[0].axes == "ZYX"
        assert file.imagej_metadata["spacing"] == 3.0
        np.testing.assert_array_equal(file.asarray(), expected)
    with (out / "stack_objects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["label"]) for row in rows] == list(range(1, expected.max() + 1))
    for row in rows:
        area = np.count_nonzero(expected[int(row["section"])] == int(row["label"]))
        assert int(row["area"]) == area > 0
    with PillowImage.open(out / "stack_overlay.png") as picture:
        assert picture.size == (28, 3 * 24)
    features = json.loads((out / "stack_objects.geojson").read_text())["features"]
    for number, section in enumerate(expected):
        found = read_outlines(out / "stack_coco.json", Path(f"stack_z{number:04}.tif"), section.shape)
        np.testing.assert_array_equal(found > 0, section > 0)
        here = [one["properties"]["name"] for one in features if one["geometry"]["plane"]["z"] == number]
        assert sorted(map(int, here)) == np.unique(section[section > 0]).tolist()
    assert segment(weights, path, tmp_path / "one", "--z", "2") == 0
    np.testing.assert_array_equal(
        tifffile.imread(tmp_path / "one" / "stack_labels.tif"), segmenter.segment(stack[2])
    )


def test_sections_whose_distance_is_not_known_keep_the_size_of_a_pixel(
    weights: Path, stack: Array, tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack", metadata={"axes": "ZYX"})
    words = ["--axes", "ZYX", "--pixel-size", "0.5"]
    assert segment(weights, tmp_path / "stack.tif", tmp_path / "out", *words) == 0
    path = tmp_path / "out" / "stack_labels.tif"
    assert stored_source(path).pixel_size == {"Y": 0.5, "X": 0.5}
    with tifffile.TiffFile(path) as file:
        assert "spacing" not in file.imagej_metadata


def test_the_regions_of_sections_lie_on_their_section(weights: Path, stack: Array, tmp_path: Path) -> None:
    roifile = pytest.importorskip("roifile", reason="the extra imagej writes ROIs")
    tifffile.imwrite(tmp_path / "stack.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    assert segment(weights, tmp_path / "stack.tif", tmp_path / "out", "--axes", "ZYX", "--imagej-rois") == 0
    labels = tifffile.imread(tmp_path / "out" / "stack_labels.tif")
    regions = roifile.roiread(tmp_path / "out" / "stack_rois.zip")
    counts = [sum(region.z_position == number + 1 for region in regions) for number in range(3)]
    assert counts == [len(np.unique(section[section > 0])) for section in labels]
    assert {region.t_position for region in regions} == {0}


def test_the_frames_of_a_movie_have_outlines_of_their_own(
    weights: Path, stack: Array, tmp_path: Path
) -> None:
    roifile = pytest.importorskip("roifile", reason="the extra imagej writes ROIs")
    path, out = tmp_path / "movie.tif", tmp_path / "out"
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "TYX"})
    flags = ["--coco", "--coco-rle", "--qupath", "--imagej-rois"]
    assert segment(weights, path, out, *flags) == 0
    labels = tifffile.imread(out / "movie_labels.tif")
    features = json.loads((out / "movie_objects.geojson").read_text())["features"]
    regions = roifile.roiread(out / "movie_rois.zip")
    assert len(features) == len(regions) == sum(frame.max() for frame in labels)
    assert len({region.name for region in regions}) == len(regions)
    for number, frame in enumerate(labels):
        for name in ("movie_coco.json", "movie_coco_rle.json"):
            found = read_outlines(out / name, Path(f"movie_t{number:04}.tif"), frame.shape)
            np.testing.assert_array_equal(found, frame)
        here = [feature for feature in features if feature["geometry"]["plane"]["t"] == number]
        (tmp_path / "one.geojson").write_text(json.dumps(here))
        np.testing.assert_array_equal(read_outlines(tmp_path / "one.geojson", path, frame.shape), frame)
        areas = [feature["properties"]["measurements"]["area"] for feature in here]
        assert areas == np.bincount(frame.ravel())[1:].tolist()
        roifile.roiwrite(
            tmp_path / "one.zip", [one for one in regions if one.t_position == number + 1], mode="w"
        )
        np.testing.assert_array_equal(read_outlines(tmp_path / "one.zip", path, frame.shape), frame)
    for name in ("movie_objects.geojson", "movie_rois.zip"):
        with pytest.raises(InputError, match="lie on 3 planes of a stack; expected those of one image"):
            read_outlines(out / name, path, labels[0].shape)


def test_the_advice_about_pages_works(
    weights: Path, stack: Array, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pages.tif"
    tifffile.imwrite(path, stack, photometric="minisblack")
    assert segment(weights, path, tmp_path / "out") == 1
    assert "(--axes TYX)" in capsys.readouterr().err
    assert segment(weights, path, tmp_path / "out", "--axes", "TYX") == 0
    assert tifffile.imread(tmp_path / "out" / "pages_labels.tif").shape == stack.shape
    assert segment(weights, path, tmp_path / "one", "--axes", "CYX", "--channel", "0") == 0


def test_the_advice_about_several_images_works(
    weights: Path, stack: Array, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "two.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(stack[0, :10, :12], metadata=None)
        file.write(stack[0], metadata=None)
    assert segment(weights, path, tmp_path / "out") == 1
    assert "(--series 0)" in capsys.readouterr().err
    assert segment(weights, path, tmp_path / "out", "--series", "1") == 0
    assert tifffile.imread(tmp_path / "out" / "two_labels.tif").shape == (24, 28)


@pytest.mark.parametrize("words", [["--pixel-size", "0.5"], ["--pixel-size", "0.5,0.5"], []])
def test_the_pixel_size_goes_into_labels_and_tables(
    weights: Path, stack: Array, tmp_path: Path, words: list[str]
) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", stack[0], imagej=True, resolution=(1 / 0.325, 1 / 0.325), metadata={"unit": "um"}
    )
    assert segment(weights, tmp_path / "a.tif", tmp_path / "out", "--table", *words) == 0
    size = 0.5 if words else 0.325
    with tifffile.TiffFile(tmp_path / "out" / "a_labels.tif") as file:
        numerator, denominator = file.pages.first.tags["XResolution"].value
        assert numerator / denominator == pytest.approx(1e4 / size, rel=1e-5)
    with (tmp_path / "out" / "a_objects.csv").open() as file:
        for row in csv.DictReader(file):
            assert float(row["area_um2"]) == pytest.approx(float(row["area"]) * size**2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--time", "-1"], "time must be"),
        (["--channel", "9"], "which has 1 channel(s)"),
        (["--series", "4"], "has no series 4"),
        (["--pixel-size", "0"], "pixel_size must be"),
    ],
)
def test_choices_that_do_not_fit_are_named(
    weights: Path,
    stack: Array,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", stack[0])
    assert segment(weights, tmp_path / "a.tif", tmp_path / "out", *words) in (1, 2)
    assert message in capsys.readouterr().err


def test_gray_files_of_color_are_segmented_which_is_said(
    weights: Path, stack: Array, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gray = (stack[0] >> 4).astype(np.uint8)
    (tmp_path / "in").mkdir()
    PillowImage.fromarray(np.dstack([gray] * 3)).save(tmp_path / "in" / "rgb.png")
    PillowImage.fromarray(np.dstack([gray] * 3 + [gray * 0 + 255])).save(tmp_path / "in" / "rgba.png")
    PillowImage.fromarray(gray).convert("P").save(tmp_path / "in" / "palette.png")
    PillowImage.fromarray(np.dstack([gray] * 3)).save(tmp_path / "in" / "tiff.tif")
    assert segment(weights, tmp_path / "in", tmp_path / "out", "--table", "--overlay") == 0
    assert capsys.readouterr().err.count("three equal channels: it is gray") == 4
    expected = Segmenter.from_file(weights, device="cpu").segment(gray)
    for name in ("rgb", "rgba", "palette", "tiff"):
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / f"{name}_labels.tif"), expected)


def test_evaluate_takes_a_channel(
    weights: Path, stack: Array, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in ("images", "labels"):
        (tmp_path / "data" / part).mkdir(parents=True)
    tifffile.imwrite(tmp_path / "data" / "images" / "a.tif", stack, imagej=True, metadata={"axes": "CYX"})
    tifffile.imwrite(tmp_path / "data" / "labels" / "a.tif", np.eye(24, 28, dtype=np.uint8))
    words = ["evaluate", "--weights", str(weights), "--device", "cpu", "--data", str(tmp_path / "data")]
    words += ["--layout", "folders", "--split", "all"]
    assert main(words) == 2
    assert "such as channel=0 (--channel 0)" in capsys.readouterr().err
    assert main([*words, "--channel", "1"]) == 0


def test_an_ome_zarr_is_an_input_and_no_folder_of_images(weights: Path, stack: Array, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr", reason="the extra zarr is not installed")
    group = zarr.open_group(str(tmp_path / "in" / "a.ome.zarr"), mode="w")
    plane = stack[0]
    group.create_array("0", shape=plane.shape, dtype=plane.dtype, chunks=plane.shape)[...] = plane
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [0.5, 0.5]}]}]
    group.attrs.update({"ome": {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}})
    tifffile.imwrite(tmp_path / "in" / "b.tif", stack[1])
    expected = Segmenter.from_file(weights, device="cpu").segment(stack[0])
    for words, names in (
        ("in/a.ome.zarr", ["a.ome_labels.tif"]),
        ("in", ["a.ome_labels.tif", "b_labels.tif"]),
    ):
        assert segment(weights, tmp_path / words, tmp_path / "out", "--overwrite") == 0
        assert sorted(path.name for path in (tmp_path / "out").glob("*.tif")) == names
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / "a.ome_labels.tif"), expected)


# --- pea info FILE ----------------------------------------------------------------------------------------


def described(capsys: pytest.CaptureFixture[str], *files: Path) -> str:
    assert main(["info", *map(str, files)]) == 0
    return capsys.readouterr().out


def test_info_shows_what_was_understood_of_a_file(
    stack: Array, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.ome.tif"
    names = {"Channel": {"Name": ["DAPI", "GFP", "RFP"]}}
    tifffile.imwrite(
        path,
        stack,
        photometric="minisblack",
        metadata={
            "axes": "CYX",
            "PhysicalSizeX": 325.0,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": 0.5,
            **names,
        },
    )
    shown = described(capsys, path)
    for part in (str(path), "series 0", "CYX, 3 x 24 x 28", "uint16", "0 ('DAPI'), 1 ('GFP'), 2 ('RFP')"):
        assert part in shown
    assert "X 0.325 um, Y 0.5 um" in shown


def test_info_lists_each_series_and_what_colors_mean(
    stack: Array, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(stack[0, :10], metadata=None)
        file.write(stack[0].astype(np.uint8), photometric="miniswhite", metadata=None)
    PillowImage.fromarray(np.zeros((4, 5, 4), np.uint8)).save(tmp_path / "b.png")
    shown = described(capsys, tmp_path / "a.tif", tmp_path / "b.png")
    assert "series 1" in shown
    assert "so it is inverted" in shown
    assert "0 ('red'), 1 ('green'), 2 ('blue'), 3 ('alpha')" in shown
    assert "not declared" in shown


def test_info_of_a_file_that_cannot_be_read_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0 cut")
    assert main(["info", str(tmp_path / "a.tif")]) == 2
    assert "a.tif' cannot be read" in capsys.readouterr().err


def test_a_decimal_comma_is_not_read_as_two_numbers(
    weights: Path, gray: Array, tmp_path: Path, capsys
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", gray)
    command = [
        "segment",
        str(tmp_path / "a.tif"),
        "--weights",
        str(weights),
        "--output",
        str(tmp_path / "out"),
    ]
    for given, point in (("1,5", "1.5"), ("0,65", "0.65"), ("0,2 mm", "0.2 mm"), ("12,5um", "12.5um")):
        with pytest.raises(SystemExit):
            main([*command, "--pixel-size", given])
        assert f"'{given}' may be one number or two; write {point} for one, or " in capsys.readouterr().err
    assert main([*command, "--pixel-size", "1.0,5"]) == 0


def test_the_channel_that_shows_something_is_named(
    weights: Path, gray: Array, tmp_path: Path, capsys
) -> None:
    blue = np.stack([gray * 0, gray * 0, gray], -1).astype(np.uint8)
    PillowImage.fromarray(blue).save(tmp_path / "blue.png")
    command = [
        "segment",
        str(tmp_path / "blue.png"),
        "--weights",
        str(weights),
        "--output",
        str(tmp_path / "out"),
    ]
    assert main(command) == 1
    assert "such as channel=2 (--channel 2)" in capsys.readouterr().err


def test_a_short_last_axis_is_advised_as_channels(weights: Path, gray: Array, tmp_path: Path, capsys) -> None:
    tifffile.imwrite(
        tmp_path / "last.tif", np.stack([gray, gray], -1), metadata=None, photometric="minisblack"
    )
    command = [
        "segment",
        str(tmp_path / "last.tif"),
        "--weights",
        str(weights),
        "--output",
        str(tmp_path / "out"),
    ]
    assert main(command) == 1
    assert "give axes='YXC' with channel=0 (--axes YXC --channel 0)" in capsys.readouterr().err
    assert main([*command, "--axes", "YXC", "--channel", "0"]) == 0
    assert tifffile.imread(tmp_path / "out" / "last_labels.tif").shape == gray.shape


def test_another_part_of_a_file_is_another_image(weights: Path, gray: Array, tmp_path: Path, capsys) -> None:
    tifffile.imwrite(
        tmp_path / "movie.tif", np.stack([gray, gray[::-1]]), imagej=True, metadata={"axes": "TYX"}
    )
    output = tmp_path / "out"
    command = ["segment", str(tmp_path / "movie.tif"), "--weights", str(weights), "--output", str(output)]
    assert main([*command, "--time", "0"]) == 0
    before = (output / "movie_labels.tif").read_bytes()
    assert main([*command, "--time", "1", "--resume"]) == 2
    error = capsys.readouterr().err
    assert "holds the results of another part of" in error
    assert "(--time 0)" in error
    assert (output / "movie_labels.tif").read_bytes() == before
    assert main([*command, "--time", "0", "--resume"]) == 0
    assert main([*command, "--time", "1", "--overwrite"]) == 0


def test_a_pattern_in_the_wrong_case_is_said(weights: Path, gray: Array, tmp_path: Path, capsys) -> None:
    tifffile.imwrite(tmp_path / "A01_w1.TIF", gray)
    command = ["segment", "--weights", str(weights), "--output", str(tmp_path / "out")]
    assert main([*command, str(tmp_path / "*_w1.tif")]) == 2
    assert "the case of letters counts" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "*_w2.tif")]) == 2
    assert "the case of letters counts" not in capsys.readouterr().err


def test_a_channel_whose_name_has_a_comma_is_measured(weights: Path, gray: Array, tmp_path: Path) -> None:
    names = {"axes": "CYX", "Channel": {"Name": ["DAPI", "Alexa, 488"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.stack([gray, gray // 2]), ome=True, metadata=names)
    command = [
        "segment",
        str(tmp_path / "a.ome.tif"),
        "--weights",
        str(weights),
        "--channel",
        "DAPI",
        "--table",
    ]
    assert main([*command, "--measure", "Alexa, 488", "--output", str(tmp_path / "out")]) == 0
    assert "mean_intensity-Alexa, 488" in (tmp_path / "out" / "a.ome_objects.csv").read_text().splitlines()[0]
