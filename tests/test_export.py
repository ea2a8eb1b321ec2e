"""Export: labels as TIFF, picture and table; files appear whole or not at all."""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as PillowImage
from scipy import ndimage

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export import (
    object_table,
    region_table,
    render_overlay,
    write_labels,
    write_overlay,
    write_table,
)
from pixel_embedded_affinity.export.base import Result
from pixel_embedded_affinity.export.numbered_overlay import NumberedOverlay
from pixel_embedded_affinity.export.overlay import picture_of
from pixel_embedded_affinity.export.region_overlay import RegionOverlay
from pixel_embedded_affinity.io.atomic import atomic_path
from pixel_embedded_affinity.io.marks import is_marked
from pixel_embedded_affinity.io.read import stored_source

Array = np.ndarray[Any, Any]
LABELS = np.array([[1, 1, 0, 0], [1, 0, 0, 7], [0, 0, 7, 7]], dtype=np.int32)


def label_images(dims: int = 2, side: int = 9, objects: int = 5) -> st.SearchStrategy[Array]:
    shapes = hnp.array_shapes(min_dims=dims, max_dims=dims, max_side=side)
    return hnp.arrays(np.int32, shapes, elements=st.integers(0, objects))


# --- TIFF -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("highest", "dtype"),
    [(0, "u2"), (7, "u2"), (65535, "u2"), (65536, "u4"), (2**31 - 1, "u4"), (2**32 - 1, "u4")],
)
def test_labels_come_back_in_the_smallest_dtype_that_holds_them(
    tmp_path: Path, highest: int, dtype: str
) -> None:
    labels = np.where(LABELS == 7, np.int64(highest), 0)
    write_labels(tmp_path / "labels.tif", labels)
    read = tifffile.imread(tmp_path / "labels.tif")
    assert read.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(read, labels)


def test_labels_are_stored_as_imagej_reads_them(tmp_path: Path) -> None:
    write_labels(tmp_path / "labels.tif", LABELS)
    with tifffile.TiffFile(tmp_path / "labels.tif") as file:
        page = file.pages.first
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert page.predictor == tifffile.PREDICTOR.NONE
        assert page.photometric == tifffile.PHOTOMETRIC.MINISBLACK
        assert not file.is_bigtiff


def test_labels_of_a_volume_are_one_page_per_plane(tmp_path: Path) -> None:
    volume = np.stack([LABELS, LABELS * 0, LABELS * 2])
    write_labels(tmp_path / "labels.tiff", volume)
    with tifffile.TiffFile(tmp_path / "labels.tiff") as file:
        assert len(file.pages) == 3
        assert file.series[0].axes == "ZYX"
        np.testing.assert_array_equal(file.asarray(), volume)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 4), (3, 1, 1), (1, 3, 4), (4, 3, 2), (2, 5, 4)])
def test_shape_of_the_labels_survives_even_if_it_looks_like_color(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    write_labels(tmp_path / "labels.tif", np.ones(shape, dtype=np.int32))
    assert tifffile.imread(tmp_path / "labels.tif").shape == shape


@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [
        ("ZYX", (3, 4, 5), {"images": 3, "slices": 3, "unit": "um", "spacing": 2.0}),
        ("TYX", (3, 4, 5), {"images": 3, "frames": 3, "hyperstack": True, "unit": "um"}),
        (
            "TZYX",
            (2, 3, 4, 5),
            {"images": 6, "slices": 3, "frames": 2, "hyperstack": True, "unit": "um", "spacing": 2.0},
        ),
    ],
)
def test_imagej_tells_frames_from_sections_and_knows_their_distance(
    axes: str, shape: tuple[int, ...], expected: dict[str, Any], tmp_path: Path
) -> None:
    """ImageJ 1.53 was seen to open such files so; in others, it took frames for sections, at a distance of 1."""
    sizes = {"Z": 2.0, "Y": 0.5, "X": 0.25}
    write_labels(
        tmp_path / "labels.tif",
        np.ones(shape, np.int32),
        axes=axes,
        pixel_size=[sizes[letter] for letter in axes if letter in sizes],
    )
    with tifffile.TiffFile(tmp_path / "labels.tif") as file:
        assert file.is_imagej
        told = file.imagej_metadata
        assert {name: told[name] for name in expected} == expected
        assert not {"slices", "frames", "spacing"} & (told.keys() - expected.keys())
        tags = file.pages.first.tags
        assert [tags[name].value for name in ("XResolution", "YResolution")] == [(4, 1), (2, 1)]


@given(data=st.data(), axes=st.sampled_from(["YX", "XY", "ZYX", "TYX", "YXZ", "TZYX", "ZTYX", "TZXY"]))
def test_axes_sizes_and_values_of_labels_survive(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, axes: str
) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 4)] * len(axes)))
    highest = data.draw(st.sampled_from([1, 300, 70_000]))
    labels = data.draw(hnp.arrays(np.int32, shape, elements=st.integers(0, highest)))
    space = axes.replace("T", "")
    sizes = data.draw(
        st.none() | st.lists(st.sampled_from([0.25, 0.5, 2.0]), min_size=len(space), max_size=len(space))
    )
    path = tmp_path_factory.mktemp("labels") / "labels.tif"
    write_labels(path, labels, axes=axes, pixel_size=sizes)
    found = stored_source(path)
    assert found.axes == axes
    np.testing.assert_array_equal(found.values, labels)
    assert found.pixel_size == (None if sizes is None else dict(zip(space, sizes)))


def test_same_labels_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.tif", "b.tif"):
        write_labels(tmp_path / name, LABELS)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    # A time in seconds is the same in two files that are written one after the other.
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert "DateTime" not in file.pages.first.tags


@pytest.mark.parametrize(
    "labels",
    [
        LABELS.astype(float),
        LABELS - 5,
        LABELS > 0,
        LABELS[0],
        LABELS[:0],
        LABELS[None, None],
        LABELS + np.int64(2**32),
    ],
)
def test_labels_that_are_none_are_not_written(tmp_path: Path, labels: Array) -> None:
    with pytest.raises(InputError):
        write_labels(tmp_path / "labels.tif", labels)
    assert not list(tmp_path.iterdir())


# --- overlay ----------------------------------------------------------------------------------------------


def is_gray(pixels: Array) -> bool:
    return bool((pixels == pixels[..., :1]).all())


def test_overlay_colors_objects_and_leaves_the_background_gray() -> None:
    image = np.random.default_rng(0).random((20, 30))
    labels = np.zeros((20, 30), dtype=np.int32)
    labels[5:15, 5:15] = 1
    picture = render_overlay(image, labels)
    assert picture.shape == (20, 30, 3)
    assert picture.dtype == np.uint8
    assert is_gray(picture[labels == 0])
    assert not is_gray(picture[labels == 1])


def test_outline_is_one_pixel_inside_the_border_and_what_is_within_stays_visible() -> None:
    image = np.random.default_rng(0).random((20, 30))
    labels = np.zeros((20, 30), dtype=np.int32)
    labels[5:15, 5:15] = 1
    picture = render_overlay(image, labels)
    ring = labels.astype(bool)
    ring[6:14, 6:14] = False
    assert len(np.unique(picture[ring], axis=0)) == 1
    assert len(np.unique(picture[6:14, 6:14].reshape(-1, 3), axis=0)) > 32


def test_border_of_the_image_is_no_border_of_an_object() -> None:
    image = np.random.default_rng(0).random((6, 6))
    assert len(np.unique(render_overlay(image, np.ones((6, 6), dtype=int)).reshape(-1, 3), axis=0)) > 30


@settings(deadline=None, max_examples=50)
@given(labels=label_images())
def test_objects_that_touch_have_different_outlines(labels: Array) -> None:
    picture = render_overlay(np.zeros(labels.shape), labels).astype(int)
    for axis in (0, 1):
        first, second = (np.moveaxis(labels, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        here, there = (np.moveaxis(picture, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        touching = (first != second) & (first > 0) & (second > 0)
        assert (here[touching] != there[touching]).any(axis=-1).all()


def test_objects_near_each_other_have_different_colors_in_a_crowd() -> None:
    y, x = np.mgrid[:90, :90]
    labels = (y // 9 * 10 + x // 9 + 1) * ((y % 9 < 6) & (x % 9 < 6))
    picture = render_overlay(np.zeros((90, 90)), labels)
    colors = picture[::9, ::9].astype(int)
    assert len(np.unique(colors.reshape(-1, 3), axis=0)) >= 5
    assert (colors[1:] != colors[:-1]).any(axis=-1).all()
    assert (colors[:, 1:] != colors[:, :-1]).any(axis=-1).all()
    assert (colors[1:, 1:] != colors[:-1, :-1]).any(axis=-1).all()


def test_more_neighbors_than_colors_are_still_drawn() -> None:
    labels = np.arange(1, 101).reshape(10, 10)
    assert len(np.unique(render_overlay(np.zeros((10, 10)), labels).reshape(-1, 3), axis=0)) >= 5


def test_enlarged_overlay_keeps_a_thin_outline() -> None:
    labels = np.zeros((8, 8), dtype=int)
    labels[2:6, 2:6] = 3
    image = np.arange(64).reshape(8, 8)
    picture = render_overlay(image, labels, scale=3)
    assert picture.shape == (24, 24, 3)
    outline = picture[6, 6]
    assert (picture[6:18, 6] == outline).all()
    assert not (picture[7:17, 7] == outline).all(axis=-1).any()


def test_numbers_lie_in_their_objects_and_name_them() -> None:
    labels = np.zeros((60, 90), np.int64)
    labels[5:55, 5:40], labels[20:40, 50:85] = 7, 70_000
    image = np.random.default_rng(0).integers(0, 255, labels.shape).astype(np.uint8)
    plain, numbered = render_overlay(image, labels), render_overlay(image, labels, numbers=True)
    changed = (plain != numbered).any(axis=-1)
    assert set(np.unique(labels[changed])) == {7, 70_000}
    for label in (7, 70_000):
        assert changed[labels == label].any()
        rows, columns = np.nonzero(changed & (labels == label))
        middle = np.argwhere(labels == label).mean(axis=0)
        np.testing.assert_allclose([rows.mean(), columns.mean()], middle, atol=4)
    alone = np.where(labels == 7, 8, labels)
    assert (render_overlay(image, alone, numbers=True) != numbered).any(axis=-1)[labels == 7].any()
    assert not (render_overlay(image, alone, numbers=True) != numbered).any(axis=-1)[labels == 70_000].any()


@pytest.mark.parametrize("label", [5, 12_345])
def test_numbers_of_objects_at_the_border_stay_in_the_picture(label: int) -> None:
    """The strip is thinner than any digit: the number is moved until it is seen whole."""
    labels = np.zeros((40, 60), np.int32)
    labels[:, :2] = label
    image = np.full(labels.shape, 100, np.uint8)
    left = render_overlay(image, labels, numbers=True) != render_overlay(image, labels)
    right = render_overlay(image, labels[:, ::-1], numbers=True) != render_overlay(image, labels[:, ::-1])
    middle = np.where(np.arange(60) // 2 == 14, labels[:, :1], 0)
    whole = render_overlay(image, middle, numbers=True) != render_overlay(image, middle)
    width = np.ptp(np.nonzero(whole.any(axis=(0, 2)))[0])
    for changed in (left, right):
        assert abs(int(np.ptp(np.nonzero(changed.any(axis=(0, 2)))[0])) - int(width)) <= 2


def test_numbers_of_nothing_are_no_error() -> None:
    labels = np.zeros((3, 4), np.int32)
    np.testing.assert_array_equal(
        render_overlay(labels, labels, numbers=True), render_overlay(labels, labels)
    )


@pytest.mark.parametrize(("side", "expected"), [(4, 4), (10, 3), (40, 1)])
def test_small_objects_are_enlarged_until_numbers_can_be_read(
    side: int, expected: int, tmp_path: Path
) -> None:
    labels = np.kron(np.arange(1, 5).reshape(2, 2), np.ones((side, side), int)).astype(np.int32)
    result = Result(labels, labels.astype(np.float32), labels, dict)
    NumberedOverlay().write(tmp_path / "a_numbers.png", result)
    with PillowImage.open(tmp_path / "a_numbers.png") as picture:
        assert picture.size == (2 * side * expected, 2 * side * expected)
    assert is_marked(tmp_path / "a_numbers.png")


@pytest.mark.parametrize("axes", ["YX", "TYX"])
def test_each_region_has_its_number_at_its_middle(axes: str, tmp_path: Path) -> None:
    labels = np.zeros((60, 90), np.int32)
    labels[5:25, 5:25], labels[5:25, 30:50], labels[35:55, 60:80] = 1, 2, 3
    labels = np.stack([labels, labels[::-1]]) if axes == "TYX" else labels
    count = len(object_table(labels, axes=axes)["label"])
    table = object_table(labels, axes=axes) | {"region": np.array([1, 1, 2] * (count // 3))}
    result = Result(labels, labels.astype(np.float32), labels, lambda: table, axes)
    RegionOverlay().write(tmp_path / "a_regions.png", result)
    plain, shown = picture_of(result, scale=2), np.asarray(PillowImage.open(tmp_path / "a_regions.png"))
    digits, count = ndimage.label((plain != shown).any(axis=2), np.ones((3, 3)))
    found = ndimage.center_of_mass(digits > 0, digits, range(1, count + 1))
    expected = [(14.5, 27), (44.5, 69.5), (104.5, 27), (74.5, 69.5)][
        : 2 * len(labels) if axes == "TYX" else 2
    ]
    np.testing.assert_allclose(sorted(found), sorted((2 * y, 2 * x) for y, x in expected), atol=4)
    assert is_marked(tmp_path / "a_regions.png")


def test_three_channels_are_shown_in_color_and_others_by_their_mean() -> None:
    nothing = np.zeros((4, 5), dtype=int)
    channels = np.random.default_rng(0).random((5, 4, 5))
    assert not is_gray(render_overlay(channels[:3], nothing))
    for count in (1, 2, 4, 5):
        np.testing.assert_array_equal(
            render_overlay(channels[:count], nothing),
            render_overlay(channels[:count].astype(np.float32).mean(axis=0), nothing),
        )


def test_contrast_is_stretched_whatever_the_range_of_the_camera() -> None:
    nothing = np.zeros((20, 30), dtype=int)
    image = np.random.default_rng(0).integers(110, 400, (20, 30)).astype(np.uint16)
    picture = render_overlay(image, nothing)
    assert picture.min() == 0
    assert picture.max() == 255


def test_single_bright_pixel_is_shown() -> None:
    image = np.zeros((100, 100))
    image[50, 50] = 1
    picture = render_overlay(image, np.zeros((100, 100), dtype=int))
    assert picture[50, 50].tolist() == [255, 255, 255]
    assert not picture[0].any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1)])
@pytest.mark.parametrize("label", [0, 5])
def test_smallest_images_are_drawn(shape: tuple[int, int], label: int) -> None:
    assert render_overlay(np.zeros(shape), np.full(shape, label)).shape == (*shape, 3)


def test_labels_may_be_any_large_numbers() -> None:
    np.testing.assert_array_equal(
        render_overlay(np.zeros((3, 4)), LABELS.astype(np.uint64) * 2**50),
        render_overlay(np.zeros((3, 4)), LABELS),
    )


def test_overlay_changes_neither_image_nor_labels() -> None:
    image, labels = np.arange(12, dtype=np.float32).reshape(3, 4), LABELS.copy()
    image.flags.writeable = labels.flags.writeable = False
    render_overlay(image, labels)
    np.testing.assert_array_equal(image, np.arange(12).reshape(3, 4))
    np.testing.assert_array_equal(labels, LABELS)


def test_overlay_is_written_as_png_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    image = np.arange(12).reshape(3, 4)
    for name in ("a.png", "b.png"):
        write_overlay(tmp_path / name, image, LABELS, scale=2)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with PillowImage.open(tmp_path / "a.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), render_overlay(image, LABELS, scale=2))


@pytest.mark.parametrize(
    ("image", "labels", "scale", "message"),
    [
        (np.zeros((3, 5)), LABELS, 1, r"\(3, 4\).*\(3, 5\)"),
        (np.zeros((3, 5, 3)), LABELS, 1, r"\(C, \*spatial\)"),
        (np.zeros((3, 5, 4)), LABELS, 1, r"\(3, 4\).*\(5, 4\)"),
        (np.zeros((2, 2, 3, 4)), LABELS, 1, "4 axes"),
        (np.full((3, 4), np.nan), LABELS, 1, "nan"),
        (np.zeros((3, 4)), LABELS.astype(float), 1, "float64"),
        (np.zeros((3, 4)), LABELS, 0, "scale=0"),
        (np.zeros((3, 4)), LABELS, 1.5, "scale=1.5"),
        (np.zeros((3, 4)), LABELS, True, "scale=True"),
    ],
)
def test_overlay_of_what_does_not_fit_is_refused(
    tmp_path: Path, image: Array, labels: Array, scale: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_overlay(tmp_path / "a.png", image, labels, scale=scale)
    assert not list(tmp_path.iterdir())


# --- table ------------------------------------------------------------------------------------------------


def test_table_measures_each_object() -> None:
    table = object_table(LABELS, np.arange(12).reshape(3, 4))
    assert {name: values.tolist() for name, values in list(table.items())[:10]} == {
        "label": [1, 7],
        "area": [3, 3],
        "centroid-y": pytest.approx([1 / 3, 5 / 3]),
        "centroid-x": pytest.approx([1 / 3, 8 / 3]),
        "bbox-y-start": [0, 1],
        "bbox-y-stop": [2, 3],
        "bbox-x-start": [0, 2],
        "bbox-x-stop": [2, 4],
        "equivalent_diameter": pytest.approx([2 * (3 / np.pi) ** 0.5] * 2),
        "mean_intensity": pytest.approx([5 / 3, 28 / 3]),
    }


@settings(deadline=None, max_examples=40)
@given(data=st.data(), dims=st.sampled_from([2, 3]))
def test_table_equals_one_object_at_a_time(data: st.DataObject, dims: int) -> None:
    labels = data.draw(label_images(dims, side=5))
    intensity = np.random.default_rng(0).random((2, *labels.shape)).astype(np.float32)
    table = object_table(labels, intensity)
    assert table["label"].tolist() == [label for label in range(1, 6) if (labels == label).any()]
    for row, label in enumerate(table["label"]):
        where = np.argwhere(labels == label)
        assert table["area"][row] == len(where)
        for axis, name in enumerate("zyx"[-dims:]):
            assert table[f"centroid-{name}"][row] == pytest.approx(where[:, axis].mean())
            assert table[f"bbox-{name}-start"][row] == where[:, axis].min()
            assert table[f"bbox-{name}-stop"][row] == where[:, axis].max() + 1
        for channel in range(2):
            expected = intensity[channel][labels == label].mean()
            assert table[f"mean_intensity-{channel}"][row] == pytest.approx(expected, rel=1e-5)


def test_equivalent_diameter_in_3d_is_that_of_the_ball() -> None:
    z, y, x = np.mgrid[-12:13, -12:13, -12:13]
    ball = (z**2 + y**2 + x**2 <= 100).astype(int)
    assert object_table(ball)["equivalent_diameter"] == pytest.approx(20, rel=0.02)


def test_table_agrees_with_scikit_image() -> None:
    measure = pytest.importorskip("skimage.measure")
    labels = np.random.default_rng(1).integers(0, 6, (20, 30)) * 3
    image = np.random.default_rng(2).random((20, 30))
    names = ("label", "area", "centroid", "bbox", "equivalent_diameter_area", "intensity_mean")
    theirs = measure.regionprops_table(labels, image, properties=names)
    ours = object_table(labels, image)
    for column, name in [
        ("label", "label"),
        ("area", "area"),
        ("centroid-y", "centroid-0"),
        ("centroid-x", "centroid-1"),
        ("bbox-y-start", "bbox-0"),
        ("bbox-x-stop", "bbox-3"),
        ("equivalent_diameter", "equivalent_diameter_area"),
        ("mean_intensity", "intensity_mean"),
    ]:
        np.testing.assert_allclose(ours[column], theirs[name], rtol=1e-5)


def test_table_without_objects_has_the_same_empty_columns() -> None:
    image = np.zeros((3, 4))
    table = object_table(LABELS * 0, image)
    assert list(table) == list(object_table(LABELS, image))
    assert all(values.shape == (0,) for values in table.values())
    for name, values in object_table(LABELS, image).items():
        assert table[name].dtype == values.dtype


def test_table_refuses_intensity_of_another_shape() -> None:
    with pytest.raises(InputError, match=r"\(3, 4\).*\(4, 3\)"):
        object_table(LABELS, np.zeros((4, 3)))


@given(data=st.data(), dims=st.sampled_from([2, 3]))
def test_a_table_of_regions_sums_up_the_pixels_of_their_objects(data: st.DataObject, dims: int) -> None:
    seed = data.draw(st.integers(0, 2**31))
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 6, (5, 6, 7)[:dims])
    sizes = (0.5, 0.25, 2.0)[:dims]
    table = object_table(labels, pixel_size=sizes)
    region = generator.integers(1, 4, len(table["label"]))
    found = region_table(table | {"region": region})
    np.testing.assert_array_equal(found["region"], np.unique(region))
    for row, number in enumerate(found["region"]):
        ids = table["label"][region == number]
        inside = np.isin(labels, ids)
        areas = [int((labels == one).sum()) for one in ids]
        assert (found["objects"][row], found["area"][row]) == (len(ids), inside.sum())
        assert found["mean_area"][row] == pytest.approx(np.mean(areas))
        assert found["median_area"][row] == pytest.approx(np.median(areas))
        unit = "area_um2" if dims == 2 else "volume_um3"
        assert found[unit][row] == pytest.approx(inside.sum() * np.prod(sizes))
        centroid = np.argwhere(inside).mean(axis=0)
        names = [f"centroid-{letter}" for letter in "zyx"[-dims:]]
        np.testing.assert_allclose([found[name][row] for name in names], centroid)


def test_without_regions_the_image_is_one_and_frames_are_apart() -> None:
    labels = np.array([[[1, 1, 0], [0, 2, 2]], [[0, 0, 0], [3, 0, 0]]])
    assert region_table(object_table(labels[0]))["objects"].tolist() == [2]
    found = region_table(object_table(labels, axes="TYX"))
    assert list(found)[:3] == ["frame", "region", "objects"]
    assert found["frame"].tolist() == [0, 1]
    assert found["region"].tolist() == [1, 1]
    assert found["area"].tolist() == [4, 1]
    empty = region_table(object_table(np.zeros((3, 4), int)))
    assert all(len(column) == 0 for column in empty.values())
    with pytest.raises(InputError, match="table without area, centroid-x; expected one of object_table"):
        region_table({"label": [1]})


def test_table_is_written_with_all_digits(tmp_path: Path) -> None:
    table = object_table(LABELS)
    write_table(tmp_path / "objects.csv", table)
    text = (tmp_path / "objects.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == 2
    assert rows[1]["label"] == "7"
    for name, values in table.items():
        assert [float(row[name]) for row in rows] == values.tolist()


def test_table_without_objects_is_a_header(tmp_path: Path) -> None:
    write_table(tmp_path / "objects.csv", object_table(LABELS * 0))
    assert (tmp_path / "objects.csv").read_bytes().startswith(b"label,area,centroid-y")
    assert (tmp_path / "objects.csv").read_bytes().count(b"\n") == 1


@pytest.mark.parametrize("table", [{}, {"a": [1], "b": [1, 2]}, {"a": 1}, {"a": [[1]]}])
def test_table_that_is_none_is_refused(tmp_path: Path, table: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="equal length"):
        write_table(tmp_path / "objects.csv", table)


@pytest.mark.parametrize("table", [[1, 2], None, np.zeros((2, 3)), "label"])
def test_a_table_that_is_not_a_mapping_is_refused(tmp_path: Path, table: Any) -> None:
    with pytest.raises(InputError, match=f"table of type {type(table).__name__}; expected a mapping"):
        write_table(tmp_path / "objects.csv", table)
    assert not list(tmp_path.iterdir())


# --- files ------------------------------------------------------------------------------------------------

WRITERS: dict[str, Callable[[Path], None]] = {
    ".tif": lambda path: write_labels(path, LABELS),
    ".png": lambda path: write_overlay(path, np.zeros((3, 4)), LABELS),
    ".csv": lambda path: write_table(path, object_table(LABELS)),
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_file_that_is_there_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    path.write_text("old")
    WRITERS[suffix](path)
    assert path.stat().st_size > 3
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", WRITERS)
def test_unfit_path_is_refused_in_one_line(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"folder{suffix}").mkdir()
    for name, message in [
        ("out.txt", "ends in '.txt'"),
        ("out", "ends in ''"),
        (f"missing/out{suffix}", "create it first"),
        (f"folder{suffix}", "is a folder"),
    ]:
        with pytest.raises(InputError, match=message):
            WRITERS[suffix](tmp_path / name)


@pytest.mark.skipif(os.name != "posix", reason="access rights of POSIX")
@pytest.mark.parametrize("suffix", WRITERS)
def test_file_has_the_access_rights_of_any_new_file(tmp_path: Path, suffix: str) -> None:
    WRITERS[suffix](tmp_path / f"out{suffix}")
    (tmp_path / "reference").touch()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_failure_half_way_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")

    def fail() -> None:
        with atomic_path(path, (".csv",)) as temporary:
            temporary.write_text("ne")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_file_is_not_seen_under_its_name_before_it_is_whole(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "out.csv", (".csv",)) as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "out.csv").exists()
        assert temporary.parent == tmp_path
    assert (tmp_path / "out.csv").read_text() == "new"


def test_link_keeps_pointing_to_the_file_that_is_written(tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    with atomic_path(tmp_path / "link.csv", (".csv",)) as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text() == "new"


def test_longest_file_name_can_be_written(tmp_path: Path) -> None:
    name = "n" * 251 + ".csv"
    write_table(tmp_path / name, object_table(LABELS))
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("path", [None, 5, b"a.tif", "", "a\0.tif"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    for write in (write_labels, write_table):
        given = LABELS if write is write_labels else {"label": [1]}
        with pytest.raises(InputError, match="the output"):
            write(path, given)


def test_a_confidence_is_a_number_and_a_region_an_integer() -> None:
    with pytest.raises(InputError, match="expected an integer, float or bool dtype"):
        object_table(LABELS, confidence=["a", "b"])
    table = object_table(LABELS)
    for regions in ([1.0, np.nan], ["a", "b"]):
        with pytest.raises(InputError, match="'region' has the dtype"):
            region_table({**table, "region": regions})
