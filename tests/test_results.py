"""A result: what it is measured on, what it looks like, and what it writes, in the image's own convention."""

from __future__ import annotations

import base64
import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from pixel_embedded_affinity import Segmenter, samples
from pixel_embedded_affinity.confidence import object_confidence
from pixel_embedded_affinity.errors import InputError, MissingDependencyError
from pixel_embedded_affinity.export import object_table, render_overlay, write_labels, write_overlay
from pixel_embedded_affinity.image import as_image
from pixel_embedded_affinity.io.marks import is_marked
from pixel_embedded_affinity.io.selection import Selection

Array = np.ndarray[Any, Any]


@pytest.fixture
def image() -> Array:
    return np.random.default_rng(0).integers(100, 4000, (36, 44)).astype(np.uint16)


@pytest.fixture
def calibrated(tmp_path: Path, image: Array) -> Path:
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, image, imagej=True, resolution=(2, 4), metadata={"unit": "um"})
    return path


# --- one convention for images ----------------------------------------------------------------------------

LABELS = np.array([[1, 1, 0, 2], [0, 3, 3, 2], [0, 3, 0, 0]], np.int32)


def colors() -> Array:
    return np.random.default_rng(0).integers(0, 256, (3, 4, 3)).astype(np.uint8)


def test_overlays_and_tables_take_what_segment_takes(tmp_path: Path) -> None:
    last = colors()
    PillowImage.fromarray(last).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(last, -1, 0), photometric="rgb", planarconfig="separate")
    ways: list[tuple[Any, dict[str, str]]] = [
        (last, {}),
        (np.moveaxis(last, -1, 0), {"axes": "CYX"}),
        (last.transpose(0, 2, 1), {"axes": "YCX"}),
        (tmp_path / "a.png", {}),
        (str(tmp_path / "a.tif"), {}),
    ]
    expected = render_overlay(last, LABELS, axes="YXC")
    for source, axes in ways:
        np.testing.assert_array_equal(render_overlay(source, LABELS, **axes), expected)
        table = object_table(LABELS, source, **axes)
        for channel in range(3):
            means = [last[..., channel][LABELS == number].mean() for number in (1, 2, 3)]
            np.testing.assert_allclose(table[f"mean_intensity-{channel}"], means)


def test_channels_first_are_told_apart_by_the_labels() -> None:
    first = np.moveaxis(np.random.default_rng(0).integers(0, 256, (3, 4, 2)).astype(np.uint8), -1, 0)
    np.testing.assert_array_equal(
        render_overlay(first, LABELS), render_overlay(np.moveaxis(first, 0, -1), LABELS)
    )


def test_a_gray_file_has_one_mean(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.arange(12, dtype=np.uint8).reshape(3, 4))
    np.testing.assert_allclose(object_table(LABELS, tmp_path / "a.tif")["mean_intensity"], [0.5, 5, 20 / 3])


def test_a_movie_is_no_image_to_draw_on(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 3, 4), np.uint8), imagej=True, metadata={"axes": "TYX"})
    with pytest.raises(InputError, match="2 time points; expected one image"):
        write_overlay(tmp_path / "a.png", tmp_path / "a.tif", LABELS)


# --- sizes ------------------------------------------------------------------------------------------------


def test_a_table_has_micrometers_beside_pixels(segmenter: Segmenter, calibrated: Path) -> None:
    result = segmenter.analyze(calibrated)
    assert result.pixel_size == (0.25, 0.5)
    table = result.table()
    np.testing.assert_allclose(table["area_um2"], table["area"] * 0.125)
    np.testing.assert_allclose(table["centroid-y_um"], table["centroid-y"] * 0.25)
    np.testing.assert_allclose(table["centroid-x_um"], table["centroid-x"] * 0.5)
    np.testing.assert_allclose(np.pi * table["equivalent_diameter_um"] ** 2 / 4, table["area_um2"])


@pytest.mark.parametrize("given", ["0.0005 mm", "500 nm", "0.5um", ("500nm", 0.5), 0.5])
def test_sizes_are_micrometers_or_lengths(segmenter: Segmenter, image: Array, given: Any) -> None:
    assert segmenter.analyze(image, pixel_size=given).pixel_size == pytest.approx((0.5, 0.5))


def test_sizes_follow_the_axes_of_the_source(segmenter: Segmenter, image: Array) -> None:
    result = segmenter.analyze(image.T, axes="XY", pixel_size=(0.25, 0.5))
    assert result.pixel_size == (0.5, 0.25)


def test_an_image_without_a_size_has_no_micrometers(segmenter: Segmenter, image: Array) -> None:
    result = segmenter.analyze(image)
    assert result.pixel_size is None
    assert not [name for name in result.table() if "_um" in name]


def test_a_volume_has_cubic_micrometers() -> None:
    table = object_table(np.ones((2, 3, 4), np.int32), pixel_size=(2, 0.5, 0.5))
    assert table["volume_um3"].tolist() == [12.0]
    assert table["equivalent_diameter_um"] == pytest.approx([(6 * 12 / np.pi) ** (1 / 3)])
    with pytest.raises(InputError, match="pixel_size must be a positive number, or 3 of them"):
        object_table(np.ones((2, 3, 4), np.int32), pixel_size=(1, 2))


@pytest.mark.parametrize(
    ("axes", "shape", "sizes"),
    [("YX", (3, 4), (0.3, 0.5)), ("ZYX", (2, 3, 4), (2.0, 0.3, 0.5)), ("TYX", (2, 3, 4), (0.3, 0.5))],
)
def test_labels_carry_axes_and_sizes_which_the_library_reads_again(
    tmp_path: Path, axes: str, shape: tuple[int, ...], sizes: tuple[float, ...]
) -> None:
    labels = np.arange(np.prod(shape)).reshape(shape)
    write_labels(tmp_path / "a.tif", labels, axes=axes, pixel_size=sizes)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.series[0].axes == axes
    ndim = 3 if "Z" in axes else 2
    chosen = Selection(time=1) if "T" in axes else Selection()
    found = as_image(tmp_path / "a.tif", channels=1, ndim=ndim, selection=chosen)
    assert found.pixel_size == pytest.approx(sizes, rel=1e-5)
    np.testing.assert_array_equal(found.values[0], labels[1] if "T" in axes else labels)


def test_axes_that_do_not_fit_labels_are_refused(tmp_path: Path) -> None:
    for axes in ("TYX", "YY"):
        with pytest.raises(InputError, match="expected a letter per axis"):
            write_labels(tmp_path / "a.tif", LABELS, axes=axes)


# --- orders of axes ---------------------------------------------------------------------------------------


def ordered(image: Array, axes: str) -> Array:
    """An image ``(Y, X)`` or ``(Z, Y, X)`` in another order."""
    usual = "ZYX"[-image.ndim :]
    return image.transpose([usual.index(letter) for letter in axes])


def rows(table: dict[str, Array]) -> dict[str, Array]:
    """A table in the order of its objects' places, without their numbers."""
    places = [name for name in table if name.startswith("centroid") and not name.endswith("um")]
    order = np.lexsort([table[name] for name in places])
    return {name: column[order] for name, column in table.items() if name != "label"}


def assert_same_rows(found: dict[str, Array], expected: dict[str, Array]) -> None:
    assert list(found) == list(expected)
    for name, column in rows(expected).items():
        np.testing.assert_allclose(rows(found)[name], column, rtol=1e-6, atol=1e-9, err_msg=name)


def test_columns_are_those_of_the_axes_that_they_name(segmenter: Segmenter, image: Array) -> None:
    upright = segmenter.analyze(image, pixel_size=(0.25, 0.5))
    turned = segmenter.analyze(image.T, axes="XY", pixel_size=(0.25, 0.5))
    assert (turned.axes, turned.pixel_size) == ("XY", (0.5, 0.25))
    assert_same_rows(turned.table(), upright.table())
    expected = upright.table(image)
    for intensity, axes in ((image.T, None), (image.T, "XY"), (image, "YX")):
        assert_same_rows(turned.table(intensity, axes=axes), expected)
    assert_same_rows(object_table(turned.labels, image.T, axes="XY"), object_table(upright.labels, image))
    sizes = object_table(turned.labels, axes="XY", pixel_size=(0.5, 0.25))
    assert_same_rows(sizes, object_table(upright.labels, pixel_size=(0.25, 0.5)))
    with pytest.raises(InputError, match="axes='XX' for labels of 2 axes"):
        object_table(turned.labels, axes="XX")


@pytest.mark.parametrize("axes", ["XYZ", "YXZ", "XZY"])
def test_columns_of_volumes_are_those_of_the_axes(volume_segmenter: Segmenter, axes: str) -> None:
    volume = np.random.default_rng(0).integers(0, 4000, (8, 20, 24)).astype(np.uint16)
    upright = volume_segmenter.analyze(volume, pixel_size=(2, 0.25, 0.5))
    found = volume_segmenter.analyze(ordered(volume, axes), axes=axes, pixel_size=(2, 0.25, 0.5))
    assert upright.labels.any()
    assert_same_rows(found.table(), upright.table())
    assert_same_rows(found.table(ordered(volume, axes)), upright.table(volume))


def test_a_file_that_is_read_in_another_order_is_measured_in_it(
    segmenter: Segmenter, image: Array, tmp_path: Path
) -> None:
    square = image[:32, :32]
    size = {"resolution": (4e4, 2e4), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "a.tif", square.T, **size)
    turned = segmenter.analyze(tmp_path / "a.tif", axes="XY")
    assert turned.pixel_size == pytest.approx((0.5, 0.25))
    upright = segmenter.analyze(square, pixel_size=(0.25, 0.5))
    assert_same_rows(turned.table(tmp_path / "a.tif"), upright.table(square))


def test_pictures_are_upright_whatever_the_order(segmenter: Segmenter, image: Array) -> None:
    turned = segmenter.analyze(image.T, axes="XY")
    expected = render_overlay(image, turned.labels.T)
    np.testing.assert_array_equal(turned.overlay(), expected)
    np.testing.assert_array_equal(render_overlay(image.T, turned.labels, axes="XY"), expected)


def test_saved_files_say_their_order(segmenter: Segmenter, image: Array, tmp_path: Path) -> None:
    turned = segmenter.analyze(image.T, axes="XY", pixel_size=(0.25, 0.5))
    turned.save(tmp_path, exporters=["labels", "table", "overlay"])
    with tifffile.TiffFile(tmp_path / "image_labels.tif") as file:
        assert file.series[0].axes == "XY"
        # Other programs call the last axis X.
        assert file.pages[0].tags["XResolution"].value[0] / file.pages[0].tags["XResolution"].value[
            1
        ] == pytest.approx(4e4)
    found = as_image(tmp_path / "image_labels.tif", channels=1)
    np.testing.assert_array_equal(found.values[0], turned.labels.T)
    assert found.pixel_size == pytest.approx((0.25, 0.5))
    with (tmp_path / "image_objects.csv").open() as file:
        (first, *_) = csv.DictReader(file)
    y, x = np.argwhere(turned.labels.T == 1).mean(axis=0)
    assert (float(first["centroid-y"]), float(first["centroid-x"])) == pytest.approx((y, x))
    with PillowImage.open(tmp_path / "image_overlay.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), turned.overlay())


def test_sizes_stay_with_the_axes_that_are_called_otherwise(tmp_path: Path) -> None:
    image = np.zeros((3, 20, 30), np.uint8)
    metadata = {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 2.0}
    tifffile.imwrite(tmp_path / "a.ome.tif", image, metadata=metadata)
    for axes, ndim, expected in (
        ("ZXY", 3, (2.0, 0.5, 0.25)),
        ("YXZ", 3, (0.5, 2.0, 0.25)),
        ("TYX", 2, (0.25, 0.5)),
    ):
        chosen = Selection(time=0) if "T" in axes else Selection()
        found = as_image(tmp_path / "a.ome.tif", channels=1, ndim=ndim, axes=axes, selection=chosen)
        assert found.pixel_size == pytest.approx(expected)


# --- a result on its own ----------------------------------------------------------------------------------


def test_a_result_draws_itself(segmenter: Segmenter, image: Array, calibrated: Path) -> None:
    result = segmenter.analyze(calibrated)
    np.testing.assert_array_equal(result.overlay(), render_overlay(image, result.labels))
    assert result.overlay(scale=2).shape == (72, 88, 3)
    assert repr(result).startswith(
        f"Segmentation({result.labels.max()} objects in 36 x 44 pixels, model tiny"
    )
    assert repr(result.embedding) == "Embedding(36 x 44 vectors of 4 values, stride 1)"
    page = result._repr_html_()
    assert f"{result.labels.max()} objects in 36 x 44 pixels" in page
    data = page.partition("base64,")[2].partition('"')[0]
    with PillowImage.open(io.BytesIO(base64.b64decode(data))) as picture:
        np.testing.assert_array_equal(np.asarray(picture), result.overlay())


def test_a_result_saves_what_the_command_writes(
    segmenter: Segmenter, calibrated: Path, tmp_path: Path
) -> None:
    result = segmenter.analyze(calibrated)
    paths = result.save(tmp_path / "out")
    assert sorted(path.name for path in paths) == [
        "cells_labels.tif",
        "cells_objects.csv",
        "cells_overlay.png",
    ]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / "cells_labels.tif"), result.labels)
    with (tmp_path / "out" / "cells_objects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == result.labels.max()
    assert {"mean_intensity", "area_um2", "confidence"} <= set(rows[0])
    assert all(is_marked(path) for path in paths if path.suffix != ".csv")
    (only,) = result.save(tmp_path / "out", name="other", exporters=["labels"])
    assert only.name == "other_labels.tif"
    with pytest.raises(InputError, match="unknown exporter 'gone'"):
        result.save(tmp_path / "out", exporters=["gone"])


@pytest.mark.parametrize("name", ["../a", "sub/a", "/a", ".", "a\0", "..\\a"])
def test_a_result_is_saved_in_its_folder_and_nowhere_else(
    segmenter: Segmenter, calibrated: Path, tmp_path: Path, name: str
) -> None:
    result = segmenter.analyze(calibrated)
    (tmp_path / "out" / "sub").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="is no name of a file; expected one without folders"):
        result.save(tmp_path / "out", name=name)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_result_with_corrected_labels_is_measured_drawn_and_saved_anew(
    segmenter: Segmenter, calibrated: Path, tmp_path: Path
) -> None:
    result = segmenter.analyze(calibrated)
    before = result.labels.copy()
    labels = np.zeros((36, 44), np.uint16)
    labels[3:9, 4:12], labels[20:30, 20:40] = 12, 500
    corrected = result.with_labels(labels)
    np.testing.assert_array_equal(result.labels, before)
    table = corrected.table(calibrated)
    assert table["label"].tolist() == [12, 500]
    assert table["area"].tolist() == [48, 200]
    assert table["area_um2"].tolist() == pytest.approx([48 / 8, 200 / 8])
    neighborhood = result.settings.neighborhood
    np.testing.assert_array_equal(
        table["confidence"], object_confidence(labels, result.embedding, neighborhood)
    )
    np.testing.assert_array_equal(corrected.overlay(), render_overlay(calibrated, labels))
    np.testing.assert_array_equal(
        corrected.overlay(numbers=True), render_overlay(calibrated, labels, numbers=True)
    )
    corrected.save(tmp_path)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "cells_labels.tif"), labels)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros((36, 43), int), "expected"),
        (np.full((36, 44), 2**31), "an object has the number 2147483648"),
        (np.zeros((36, 44)), "labels of dtype float64; expected integers"),
    ],
)
def test_corrected_labels_that_do_not_fit_are_refused(
    segmenter: Segmenter, image: Array, labels: Array, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        segmenter.analyze(image).with_labels(labels)


def test_corrected_labels_have_no_scale_where_components_had_their_own(segmenter: Segmenter) -> None:
    image = samples.nuclei().image[:60, :70]
    one = segmenter.with_settings(object_diameter=20.0, scale="auto").analyze(image)
    assert "scale" in one.table()
    assert "scale" in one.with_labels(one.labels).table()
    own = segmenter.with_settings(object_diameter=20.0, scale="auto", regions="components").analyze(image)
    assert "scale" in own.table()
    assert "scale" not in own.with_labels(own.labels).table()


def test_parts_of_a_file_are_saved_under_names_of_their_own(segmenter: Segmenter, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="HDF5 needs h5py")
    movie = np.random.default_rng(0).integers(0, 4000, (3, 20, 24)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "movie.tif", movie, imagej=True, metadata={"axes": "TYX"})
    for time in range(3):
        segmenter.analyze(tmp_path / "movie.tif", time=time).save(tmp_path / "out", exporters="labels")
    for name in ("p1", "p2"):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["volumes/raw"] = movie[0]
        found = segmenter.analyze(f"{tmp_path / name}.h5:/volumes/raw")
        found.save(tmp_path / "out", exporters=["coco"])
        about = json.loads((tmp_path / "out" / f"{name}_volumes_raw_coco.json").read_text())
        assert about["images"][0]["file_name"] == f"{name}.h5:/volumes/raw"
    (alone,) = segmenter.analyze(movie, axes="ZYX", z=1).save(tmp_path / "out", exporters="labels")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "image_z1_labels.tif",
        "movie_t0_labels.tif",
        "movie_t1_labels.tif",
        "movie_t2_labels.tif",
        "p1_volumes_raw_coco.json",
        "p2_volumes_raw_coco.json",
    ]
    assert alone.name == "image_z1_labels.tif"


def test_corrected_labels_of_a_tray_have_regions(segmenter: Segmenter) -> None:
    known = segmenter.with_settings(object_diameter=20.0, regions="components", scale=1)
    found = known.analyze(samples.nuclei().image[:60, :70])
    labels = np.where(found.labels > 0, 3 * found.labels + 1, 0)
    table, corrected = found.table(), found.with_labels(labels).table()
    np.testing.assert_array_equal(corrected["region"], table["region"])
    np.testing.assert_array_equal(corrected["label"], 3 * table["label"] + 1)


def test_a_result_saves_outlines_by_the_name_of_its_image(
    segmenter: Segmenter, image: Array, calibrated: Path, tmp_path: Path
) -> None:
    for source, name, expected in (
        (calibrated, None, "cells.tif"),
        (calibrated, "other", "cells.tif"),
        (image, None, "image"),
        (image, "other", "other"),
    ):
        result = segmenter.analyze(source)
        (path,) = result.save(tmp_path, name=name, exporters=["coco"])
        assert path.name == f"{name or Path(expected).stem}_coco.json"
        assert json.loads(path.read_text())["images"][0]["file_name"] == expected


def test_the_picture_of_a_volume_is_its_middle_section(volume_segmenter: Segmenter, tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 4000, (8, 20, 24)).astype(np.uint16)
    result = volume_segmenter.analyze(volume)
    expected = render_overlay(volume[4], result.labels[4])
    np.testing.assert_array_equal(result.overlay(), expected)
    assert "img" in result._repr_html_()
    names = ["image_overlay.png", "image_objects.csv", "image_labels.tif", "image_numbers.png"]
    exporters = ["overlay", "table", "labels", "numbered_overlay"]
    assert [path.name for path in result.save(tmp_path, exporters=exporters)] == names
    assert [path.name for path in result.save(tmp_path)] == names[:3]
    with PillowImage.open(tmp_path / names[0]) as picture:
        np.testing.assert_array_equal(np.asarray(picture), expected)
    turned = volume_segmenter.analyze(volume.transpose(2, 1, 0), axes="XYZ")
    upright = turned.labels.transpose(2, 1, 0)[4]
    np.testing.assert_array_equal(turned.overlay(), render_overlay(volume[4], upright))


def test_show_draws_the_overlay(segmenter: Segmenter, image: Array) -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib draws it")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    result = segmenter.analyze(image)
    axes = result.show()
    assert np.array_equal(axes.images[0].get_array(), result.overlay())
    assert axes.get_title() == f"{result.labels.max()} objects"
    assert result.show(axes) is axes
    pyplot.close("all")


def test_show_without_matplotlib_says_how_to_get_it(
    segmenter: Segmenter, image: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[plot\]"):
        segmenter.analyze(image).show()


def test_a_table_measures_another_channel_of_the_file(segmenter: Segmenter, tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(0, 4000, (3, 2, 40, 44)).astype(np.uint16)
    path = tmp_path / "movie.ome.tif"
    tifffile.imwrite(path, values, metadata={"axes": "TCYX", "Channel": {"Name": ["DAPI", "GFP"]}})
    result = segmenter.analyze(path, channel="DAPI", time=1)
    own, other = result.table(path, channel="DAPI", time=1), result.table(path, channel="GFP", time=1)
    for table, channel in ((own, 0), (other, 1), (result.table(values[1], axes="CYX", channel=1), 1)):
        expected = [values[1, channel][result.labels == label].mean() for label in table["label"]]
        np.testing.assert_allclose(table["mean_intensity"], expected, rtol=1e-5)
    with pytest.raises(InputError, match="holds 3 time points"):
        result.table(path, channel="GFP")


@pytest.mark.parametrize(
    ("exporter", "message"), [("neuroglancer", "describes volumes"), ("cell_tracking", "T")]
)
def test_what_one_exporter_cannot_write_is_refused_before_the_others_write(
    segmenter: Segmenter, image: Array, tmp_path: Path, exporter: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        segmenter.analyze(image).save(tmp_path / "out", exporters=["labels", exporter])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("folder", [None, 5, b"out", "", "a\0b"])
def test_a_result_is_saved_in_no_folder_without_a_name(
    segmenter: Segmenter, image: Array, folder: Any
) -> None:
    with pytest.raises(InputError, match="folder"):
        segmenter.analyze(image).save(folder)
