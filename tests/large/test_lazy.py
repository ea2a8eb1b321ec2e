"""Lazy images: only what is asked for is read, and statistics are those of the whole."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.large import lazy as lazy_image
from pixel_embedded_affinity.large.lazy import fixed_normalization, open_image
from pixel_embedded_affinity.normalize import Normalization, normalize

Array = np.ndarray[Any, np.dtype[Any]]
BOX = (slice(3, 9), slice(2, 7))


class Recorder:
    """An array that knows what was read of it."""

    def __init__(self, values: Array) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.read: list[Any] = []

    def __getitem__(self, index: Any) -> Array:
        self.read.append(index)
        return self.values[index]


def picture(*shape: int) -> Array:
    return np.random.default_rng(0).integers(0, 4000, shape).astype(np.uint16)


def test_opening_reads_nothing_and_reading_only_the_part() -> None:
    source = Recorder(picture(20, 30))
    image = open_image(source, channels=1)
    assert (image.axes, image.spatial_shape, source.read) == ("YX", (20, 30), [])
    found = image.read(BOX)
    assert source.read == [BOX]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, source.values[BOX][np.newaxis])


@pytest.mark.parametrize(("axes", "order"), [("YXC", (1, 2, 0)), ("CYX", (0, 1, 2)), (None, (1, 2, 0))])
def test_channels_lie_where_the_axes_say(axes: str | None, order: tuple[int, ...]) -> None:
    values = picture(3, 20, 30)
    image = open_image(values.transpose(order), axes=axes, channels=3)
    assert image.spatial_shape == (20, 30)
    np.testing.assert_array_equal(image.read(BOX), values[(slice(None), *BOX)])


def test_a_gray_image_is_repeated_for_a_model_of_three_channels() -> None:
    assert open_image(picture(20, 30), channels=3).read(BOX).shape == (3, 6, 5)


def test_files_are_read_in_parts(tmp_path: Path) -> None:
    values = picture(20, 30)
    tifffile.imwrite(tmp_path / "image.tif", values)
    image = open_image(tmp_path / "image.tif", channels=1)
    assert isinstance(image.source, np.memmap)
    np.testing.assert_array_equal(image.read(BOX)[0], values[BOX])
    color = np.stack([values] * 3)
    tifffile.imwrite(tmp_path / "color.tif", color, photometric="rgb", planarconfig="separate")
    assert open_image(str(tmp_path / "color.tif"), channels=3).axes == "CYX"


def test_zarr_arrays_are_read_in_parts(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    values = picture(20, 30)
    zarr.create_array(str(tmp_path / "image.zarr"), data=values, chunks=(8, 8))
    np.testing.assert_array_equal(open_image(tmp_path / "image.zarr", channels=1).read(BOX)[0], values[BOX])
    with pytest.raises(InputError, match="is not a zarr array"):
        open_image(tmp_path, channels=1)


def test_dask_arrays_are_read_in_parts() -> None:
    dask = pytest.importorskip("dask.array")
    values = picture(20, 30)
    image = open_image(dask.from_array(values, chunks=8), channels=1)
    np.testing.assert_array_equal(image.read(BOX)[0], values[BOX])


def test_another_process_gets_a_path_and_not_the_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = picture(200, 300)
    tifffile.imwrite(tmp_path / "image.tif", values)
    monkeypatch.chdir(tmp_path)
    sent = pickle.dumps(open_image("image.tif", axes="YX", channels=3))
    assert len(sent) < 1000
    monkeypatch.chdir("/")
    found = pickle.loads(sent)
    assert isinstance(found.source, np.memmap)
    assert (found.axes, found.channels) == ("YX", 3)
    np.testing.assert_array_equal(found.read(BOX)[0], values[BOX])


def test_an_array_in_memory_is_sent_whole() -> None:
    values = picture(20, 30, 3)
    found = pickle.loads(pickle.dumps(open_image(values, axes="YXC", channels=3)))
    assert (found.axes, found.channels, found.path) == ("YXC", 3, None)
    np.testing.assert_array_equal(found.source, values)


@pytest.mark.parametrize("clip", [None, (0.0, 1.0)])
@pytest.mark.parametrize("values", [picture(40, 50), np.full((9, 9), 7, np.uint8), np.eye(30) * 1000])
def test_a_small_image_is_normalized_as_in_memory(values: Array, clip: tuple[float, float] | None) -> None:
    normalization = Normalization(lower=1, upper=99.8, clip=clip)
    image = open_image(values, channels=1)
    box = (slice(0, values.shape[0]), slice(0, values.shape[1]))
    found = normalize(image.read(box), fixed_normalization(image, normalization))
    np.testing.assert_allclose(found, normalize(image.read(box), normalization), atol=1e-5)


def test_percentiles_of_a_large_image_are_those_of_every_kth_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy_image, "_SAMPLES", 100)
    source = Recorder(picture(40, 50))
    found = fixed_normalization(open_image(source, channels=1), Normalization(lower=10, upper=90))
    assert source.read == [(slice(0, 40, 5), slice(0, 50, 5))]
    low, high = np.percentile(source.values[::5, ::5], (10, 90))
    assert found == Normalization("fixed", mean=(low,), std=(high - low,))


@pytest.mark.parametrize("kind", ["none", "fixed"])
def test_other_normalizations_read_nothing(kind: str) -> None:
    source = Recorder(picture(20, 30))
    statistics = {"mean": (1.0,), "std": (2.0,)} if kind == "fixed" else {}
    normalization = Normalization(kind, **statistics)
    assert fixed_normalization(open_image(source, channels=1), normalization) is normalization
    assert source.read == []


@pytest.mark.parametrize(
    ("image", "axes", "message"),
    [
        (picture(20, 30), "XY", "axes='XY' for an image of shape"),
        (picture(20, 30), "YXC", "axes='YXC' for an image of shape"),
        (picture(4, 20, 30, 2), None, "expected one letter per axis, YX, YXC, CYX"),
        (picture(0, 30), None, "is empty; expected at least one pixel"),
        ([[1, 2], [3, 4]], None, "image of type list has no shape; expected an array to read in parts"),
    ],
)
def test_what_cannot_be_read_in_parts_is_refused(image: Any, axes: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_image(image, axes=axes, channels=1)


def test_a_compressed_tiff_is_refused_with_a_way_out(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "image.tif", picture(20, 30), compression="zlib")
    with pytest.raises(InputError, match=r"cannot be mapped into memory .*convert it to zarr"):
        open_image(tmp_path / "image.tif", channels=1)
    with pytest.raises(InputError, match="cannot be mapped into memory"):
        open_image(tmp_path / "missing.tif", channels=1)
