"""HDF5 datasets, and folders of sections, as volumes."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.image import as_image
from pixel_embedded_affinity.io.read import list_series, read_image, read_source

VOLUME = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a b.h5"
    with h5py.File(path, "w") as content:
        content["volumes/raw"] = VOLUME
        content["volumes/labels"] = np.zeros((3, 4, 5), np.uint32)
        content["line"] = np.arange(4)
        content["text"] = "not an image"
    return path


@pytest.fixture
def sections(tmp_path: Path) -> Path:
    folder = tmp_path / "sections"
    folder.mkdir()
    for number, section in zip((9, 10, 100), VOLUME):
        tifffile.imwrite(folder / f"s{number}.tif", section)
    (folder / "notes.txt").write_text("not a section")
    return folder


def test_a_dataset_is_named_after_the_file(file: Path) -> None:
    np.testing.assert_array_equal(read_image(f"{file}:/volumes/raw"), VOLUME)
    np.testing.assert_array_equal(read_image(f"{file}:volumes/raw"), VOLUME)
    np.testing.assert_array_equal(as_image(f"{file}:/volumes/raw", channels=1, ndim=3).values[0], VOLUME)


def test_the_datasets_of_numbers_are_series(file: Path) -> None:
    assert [one.name for one in list_series(file)] == ["volumes/labels", "volumes/raw"]
    np.testing.assert_array_equal(read_image(file, series=1), VOLUME)
    with pytest.raises(InputError, match=r"2 separate images.*'volumes/raw'\).*--series 0\), or by its name"):
        read_image(file)


def test_a_dataset_is_read_in_parts_also_in_another_process(file: Path) -> None:
    lazy = pickle.loads(pickle.dumps(read_source(Path(f"{file}:/volumes/raw"), lazily=True).values))
    assert (lazy.shape, lazy.dtype) == ((3, 4, 5), np.uint8)
    np.testing.assert_array_equal(lazy[1:, 2], VOLUME[1:, 2])


def test_a_dataset_or_a_file_that_is_not_there_is_named(file: Path) -> None:
    with pytest.raises(InputError, match=r"no dataset 'nope'.*it has 'volumes/labels', 'volumes/raw'"):
        read_image(f"{file}:/nope")
    with pytest.raises(InputError, match=r"other.h5' does not exist"):
        read_image(f"{file.with_name('other.h5')}:/nope")
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(InputError, match="cannot be read"):
        read_image(file)


def test_the_files_of_a_folder_are_the_sections_of_a_volume_in_the_order_of_their_numbers(
    sections: Path,
) -> None:
    np.testing.assert_array_equal(as_image(sections, channels=1, ndim=3).values[0], VOLUME)
    lazy = read_source(sections, sections=True).values
    for index in (np.s_[...], np.s_[1], np.s_[-1, 2], np.s_[1:, :, 3], np.s_[::2, 1:3], np.s_[0:0]):
        np.testing.assert_array_equal(lazy[index], VOLUME[index])


def test_sections_of_another_size_and_a_folder_without_images_are_refused(
    sections: Path, tmp_path: Path
) -> None:
    tifffile.imwrite(sections / "s11.tif", np.zeros((4, 6), np.uint8))
    with pytest.raises(InputError, match=r"s11.tif' has shape \(4, 6\).*expected \(4, 5\) and uint8"):
        as_image(sections, channels=1, ndim=3)
    tifffile.imwrite(sections / "s1.tif", np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(InputError, match="expected gray sections"):
        as_image(sections, channels=1, ndim=3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no image"):
        as_image(tmp_path / "empty", channels=1, ndim=3)
    # A model of images still takes the files of a folder one by one.
    with pytest.raises(InputError, match="use segment_many"):
        as_image(sections, channels=1)


@pytest.mark.parametrize(
    ("attributes", "axes", "sizes"),
    [
        ({}, "", None),
        ({"element_size_um": (0.03, 0.01, 0.02)}, "ZYX", {"Z": 0.03, "Y": 0.01, "X": 0.02}),
        ({"resolution": (30.0, 10.0, 20.0)}, "ZYX", {"Z": 0.03, "Y": 0.01, "X": 0.02}),
        ({"resolution": (30, 0, 20)}, "", None),
        ({"resolution": "30 nm"}, "", None),
        ({"axistags": json.dumps({"axes": [{"key": "z"}, {"key": "y"}, {"key": "x"}]})}, "ZYX", None),
        ({"axistags": json.dumps({"axes": [{"key": "y"}, {"key": "x"}, {"key": "c"}]})}, "YXC", None),
        ({"axistags": json.dumps({"axes": [{"key": "z"}, {"key": "y"}]})}, "", None),
        ({"axistags": "no json", "element_size_um": (1.0, 2.0)}, "", None),
    ],
)
def test_axes_and_sizes_are_read_where_programs_write_them(
    tmp_path: Path, attributes: dict[str, Any], axes: str, sizes: dict[str, float] | None
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as content:
        content["raw"] = VOLUME
        content["raw"].attrs.update(attributes)
    source = read_source(tmp_path / "a.h5")
    assert (source.axes, source.pixel_size) == (axes, None if sizes is None else pytest.approx(sizes))


def test_the_labels_of_dimensions_are_axes_and_sections_have_the_sizes_of_their_axes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as content:
        content["raw"], content["plane"] = VOLUME[np.newaxis], VOLUME[0]
        for dimension, label in zip(content["raw"].dims, "czyx"):
            dimension.label = label
        for name in ("raw", "plane"):
            content[name].attrs["element_size_um"] = (0.03, 0.01, 0.02)
    source = read_source(tmp_path / "a.h5", series=1)
    assert (source.axes, source.pixel_size) == ("CZYX", {"Z": 0.03, "Y": 0.01, "X": 0.02})
    image = as_image(f"{tmp_path / 'a.h5'}:/raw", channels=1, ndim=3)
    assert image.pixel_size == (0.03, 0.01, 0.02)
    assert as_image(f"{tmp_path / 'a.h5'}:/plane", channels=1).pixel_size == (0.01, 0.02)
