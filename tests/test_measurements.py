"""Every measurement of the objects' table equals the one of scikit-image, for objects of any form."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import regionprops_table

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export import object_table, write_table

Array = np.ndarray[Any, Any]

FIRST = [
    "label",
    "area",
    "centroid-y",
    "centroid-x",
    "bbox-y-start",
    "bbox-y-stop",
    "bbox-x-start",
    "bbox-x-stop",
    "equivalent_diameter",
]
"""The columns of the first release, to which others come at the end."""

FORM = [
    "axis_major_length",
    "axis_minor_length",
    "extent",
    "eccentricity",
    "orientation",
    "perimeter",
    "solidity",
]
INTENSITY = {
    "min_intensity": "intensity_min",
    "max_intensity": "intensity_max",
    "sd_intensity": "intensity_std",
}
MEAN = {"mean_intensity": "intensity_mean"}


def label_images(dims: int, side: int, objects: int = 4) -> st.SearchStrategy[Array]:
    shapes = hnp.array_shapes(min_dims=dims, max_dims=dims, max_side=side)
    noise = hnp.arrays(np.int32, shapes, elements=st.integers(0, objects))
    # Objects of blocks are less ragged than noise, and longer.
    blocks = noise.map(lambda labels: np.kron(labels, np.ones((2, 3, 2)[:dims], np.int32)))
    return st.one_of(noise, blocks)


def theirs(labels: Array, image: Array, names: list[str]) -> dict[str, Array]:
    """The table of scikit-image, which has no rows without objects."""
    return regionprops_table(labels, image, properties=["label", *names])  # type: ignore[no-any-return]


def check_orientation(ours: dict[str, Array], expected: Array) -> None:
    """A direction is the same after half a turn; a round object has any."""
    turned = np.abs(np.sin(ours["orientation"] - expected))
    assert ((turned < 1e-6) | (ours["eccentricity"] < 1e-3)).all()


@settings(deadline=None, max_examples=150)
@given(labels=label_images(2, 8), seed=st.integers(0, 9))
def test_forms_in_2d_are_those_of_scikit_image(labels: Array, seed: int) -> None:
    image = np.random.default_rng(seed).normal(100, 20, labels.shape).astype(np.float32)
    ours = object_table(labels, image)
    expected = theirs(labels, image, [*FORM, *INTENSITY.values(), *MEAN.values()])
    assert list(ours) == [*FIRST, "mean_intensity", "axis_major_length", "axis_minor_length", "extent", "eccentricity",
                          "orientation", "perimeter", "solidity", *INTENSITY]  # fmt: skip
    check_orientation(ours, expected.pop("orientation"))
    for name in (*FORM, *INTENSITY, *MEAN):
        if name != "orientation":
            other = {**INTENSITY, **MEAN}.get(name, name)
            np.testing.assert_allclose(ours[name], expected[other], rtol=2e-5, atol=2e-6, err_msg=name)


@settings(deadline=None, max_examples=60)
@given(labels=label_images(3, 5))
def test_forms_in_3d_are_those_of_scikit_image(labels: Array) -> None:
    image = np.random.default_rng(0).random(labels.shape).astype(np.float32)
    ours = object_table(labels, image)
    names = ["axis_major_length", "axis_minor_length", "extent"]
    expected = theirs(labels, image, [*names, *INTENSITY.values()])
    assert list(ours)[-6:] == [*names, *INTENSITY]
    for name in (*names, *INTENSITY):
        # scikit-image takes the root of a difference that may be zero.
        np.testing.assert_allclose(
            ours[name], expected[INTENSITY.get(name, name)], rtol=2e-5, atol=1e-5, err_msg=name
        )


@settings(deadline=None, max_examples=60)
@given(
    labels=st.one_of(label_images(2, 8), label_images(3, 5)),
    numbers=st.tuples(*[st.sampled_from((0.25, 0.5, 3))] * 3),
)
def test_lengths_in_micrometers_are_those_of_scikit_image(labels: Array, numbers: tuple[float, ...]) -> None:
    sizes = numbers[: labels.ndim]
    ours = object_table(labels, pixel_size=sizes)
    names = ["area", "equivalent_diameter", "axis_major_length", "axis_minor_length"]
    area = ["area_um2" if labels.ndim == 2 else "volume_um3"]
    square = labels.ndim == 2 and sizes[0] == sizes[1]
    perimeter = ["perimeter"] if square else []
    centers = [f"centroid-{axis}_um" for axis in "zyx"[-labels.ndim :]]
    columns = [f"{name}_um" for name in names[1:] + perimeter]
    assert list(ours) == [*object_table(labels), *area, *centers, *columns]
    alias = {"equivalent_diameter": "equivalent_diameter_area"}
    expected = regionprops_table(
        labels, properties=[alias.get(name, name) for name in names + perimeter], spacing=sizes
    )
    for name, column in zip(names + perimeter, area + columns, strict=True):
        other = expected[alias.get(name, name)]
        # scikit-image takes the root of a difference that may be zero.
        np.testing.assert_allclose(ours[column], other, rtol=2e-5, atol=3e-5, err_msg=name)


@pytest.mark.parametrize("seed", range(3))
def test_large_ragged_objects_are_measured_alike(seed: int) -> None:
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(seed)
    labels = np.digitize(gaussian_filter(random.normal(size=(150, 170)), 3), [0, 0.05, 0.1])
    ours = object_table(labels, labels.astype(np.float32))
    expected = theirs(labels, labels, FORM)
    check_orientation(ours, expected.pop("orientation"))
    for name in expected:
        np.testing.assert_allclose(ours[name], expected[name], rtol=1e-9, atol=1e-9, err_msg=name)
    assert not ours["sd_intensity"].any()


def test_known_forms() -> None:
    labels = np.zeros((12, 30), int)
    labels[1:5, 1:5] = 1
    labels[7, 3:23] = 2
    labels[1:11, 25] = 3
    labels[9, 1] = 4
    table = object_table(labels)
    # The ends of a line count nothing: scikit-image sees a border that comes from two sides only.
    assert table["perimeter"].tolist() == [12, 18, 8, 0]
    assert table["solidity"].tolist() == table["extent"].tolist() == [1, 1, 1, 1]
    assert table["eccentricity"].tolist() == [0, 1, 1, 0]
    assert table["orientation"] == pytest.approx([-np.pi / 4, np.pi / 2, 0, -np.pi / 4])
    assert table["axis_major_length"] == pytest.approx(
        [4 * np.sqrt(15 / 12), 4 * np.sqrt(399 / 12), 4 * np.sqrt(99 / 12), 0]
    )
    assert table["axis_minor_length"] == pytest.approx([4 * np.sqrt(15 / 12), 0, 0, 0])


def test_sizes_of_numbers_and_memory_order_do_not_matter() -> None:
    labels = np.random.default_rng(0).integers(0, 5, (20, 30))
    image = np.random.default_rng(1).random((20, 30))
    expected = object_table(labels, image)
    for other in (
        labels.astype(np.uint8),
        np.asfortranarray(labels),
        labels.astype(">i8"),
        labels.astype(np.uint64) * 2**40,
    ):
        found = object_table(other, image)
        for name in set(expected) - {"label"}:
            np.testing.assert_array_equal(found[name], expected[name])


def test_a_huge_object_is_measured_without_overflow() -> None:
    labels = np.ones((1500, 4000), np.uint8)
    table = object_table(labels)
    assert table["axis_major_length"] == pytest.approx(4 * np.sqrt((4000**2 - 1) / 12), rel=1e-9)
    assert table["perimeter"] == pytest.approx(2 * (1499 + 3999))
    assert table["solidity"] == 1


@pytest.mark.parametrize("dims", [2, 3])
def test_channels_are_measured_one_by_one_and_the_first_columns_stay(dims: int) -> None:
    labels = np.random.default_rng(0).integers(0, 5, (4, 6, 7)[-dims:])
    image = np.random.default_rng(1).random((3, *labels.shape))
    table = object_table(labels, image, np.arange(4))
    means = [f"mean_intensity-{channel}" for channel in range(3)]
    start = list(table).index("mean_intensity-0")
    assert list(table)[start : start + 4] == [*means, "confidence"]
    last = [f"{name}-{channel}" for channel in range(3) for name in INTENSITY]
    assert list(table)[-9:] == last
    for channel in range(3):
        single = object_table(labels, image[channel])
        for name in (*INTENSITY, *MEAN):
            np.testing.assert_array_equal(table[f"{name}-{channel}"], single[name])


def test_one_confidence_is_needed_for_each_object() -> None:
    with pytest.raises(InputError, match=r"confidence of shape \(2,\) for 1 object"):
        object_table(np.ones((2, 2), int), confidence=[1, 2])


@pytest.mark.parametrize("dims", [2, 3])
def test_without_objects_the_columns_are_empty_and_of_the_same_type(dims: int) -> None:
    labels = np.zeros((3, 4, 5)[-dims:], int)
    image = np.zeros((2, *labels.shape))
    empty, full = object_table(labels, image, []), object_table(labels + 1, image, [0.5])
    assert list(empty) == list(full)
    for name, values in full.items():
        assert (empty[name].shape, empty[name].dtype) == ((0,), values.dtype), name


def test_pandas_takes_the_table_as_it_is_and_the_file_is_the_same(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas takes tables, and is no dependency")
    labels = np.random.default_rng(0).integers(0, 5, (20, 30))
    table = object_table(labels, labels)
    frame = pandas.DataFrame(table)
    assert list(frame.columns) == list(table)
    write_table(tmp_path / "a.csv", table)
    pandas.testing.assert_frame_equal(pandas.read_csv(tmp_path / "a.csv"), frame, check_exact=True)
    with (tmp_path / "a.csv").open(newline="") as file:
        assert next(csv.reader(file)) == list(table)


def test_a_result_has_the_same_measurements(segmenter: Segmenter) -> None:
    image = np.random.default_rng(0).random((30, 40)).astype(np.float32)
    result = segmenter.analyze(image)
    table = result.table(image)
    expected = object_table(result.labels, image, table["confidence"])
    assert list(table) == list(expected)
    assert list(table)[9:12] == ["mean_intensity", "confidence", "axis_major_length"]
    for name, values in expected.items():
        np.testing.assert_array_equal(table[name], values)


@pytest.mark.parametrize("axes", ["TYX", "YXT", "TCYX", "CTYX", "TYXC"])
def test_frames_of_a_movie_are_measured_one_by_one(axes: str) -> None:
    """A number in two frames is two objects, wherever the axis of the time lies."""
    generator = np.random.default_rng(6)
    frames = generator.integers(0, 3, (4, 9, 11)).astype(np.int32)
    values = generator.random((4, 2, 9, 11)).astype(np.float32)
    one = "C" not in axes
    source = values[:, 0] if one else values
    order = ["TYX".index(letter) if one else "TCYX".index(letter) for letter in axes]
    labels = frames.transpose(["TYX".index(letter) for letter in axes.replace("C", "")])
    found = object_table(labels, source.transpose(order), axes=axes, pixel_size=0.5)
    rest = axes.replace("T", "")
    expected = [
        object_table(
            frames[number],
            (
                values[number, 0]
                if one
                else values[number].transpose(["CYX".index(letter) for letter in rest])
            ),
            axes=rest,
            pixel_size=0.5,
        )
        for number in range(4)
    ]
    assert list(found) == ["frame", *expected[0]]
    assert found["frame"].tolist() == [n for n, table in enumerate(expected) for _ in table["label"]]
    for name in expected[0]:
        np.testing.assert_array_equal(found[name], np.concatenate([table[name] for table in expected]))


@pytest.mark.parametrize(
    ("labels", "intensity", "more", "message"),
    [
        (np.ones((3, 4), int), None, {"axes": "TYX"}, r"axes='TYX' for labels of shape \(3, 4\)"),
        (np.ones((2, 3, 4), int), np.ones((3, 4)), {"axes": "TYX"}, r"intensity of shape \(3, 4\)"),
        (np.ones((2, 3, 4), int), None, {"axes": "TTX"}, "a letter for each axis"),
        (np.ones((2, 3, 4), int), None, {"axes": "TYX", "confidence": [1]}, "confidence= is for one image"),
    ],
)
def test_frames_that_cannot_be_measured_are_refused(
    labels: Array, intensity: Any, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        object_table(labels, intensity, **more)


def test_a_file_of_a_movie_is_measured_frame_by_frame(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 200, (2, 3, 8, 9)).astype(np.uint8)
    labels = np.zeros((2, 8, 9), np.int32)
    labels[:, 2:5, 3:7] = 1
    tifffile.imwrite(tmp_path / "movie.tif", values, imagej=True, metadata={"axes": "TCYX"})
    found, expected = (object_table(labels, one, axes="TCYX") for one in (tmp_path / "movie.tif", values))
    assert found.keys() == expected.keys()
    for name, column in expected.items():
        np.testing.assert_array_equal(found[name], column)
