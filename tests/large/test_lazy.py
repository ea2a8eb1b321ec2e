"""Lazy images: only the parts that are asked for are read, and statistics are taken from the whole."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from tiff_by_hand import LZW, write_tiff

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.errors import InputError, MissingDependencyError
from pixel_embedded_affinity.image import as_image, read_image
from pixel_embedded_affinity.large import lazy as lazy_image
from pixel_embedded_affinity.large.lazy import fingerprint, fixed_normalization, open_image
from pixel_embedded_affinity.normalize import Contrast, Normalization, normalize

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
    with pytest.raises(InputError, match="is a folder; use segment_many"):
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
    assert found.kind == "fixed"
    assert (*found.mean, *found.std) == pytest.approx((low, high - low), rel=1e-6)


def test_debris_in_a_large_image_does_not_set_the_contrast() -> None:
    values = np.random.default_rng(0).normal(100, 5, (100, 120))
    values[20:70, 10:60] = 500
    values[90:98, 100:110] = 60000
    values = values.astype(np.uint16)
    limits = Contrast(outlier_factor=4)
    image = open_image(values, channels=1)
    whole = image.read((slice(0, 100), slice(0, 120)))
    found = normalize(whole, fixed_normalization(image, Normalization(), limits))
    np.testing.assert_allclose(found, normalize(whole, Normalization(), limits), atol=1e-4)


def test_a_missing_part_of_a_large_image_does_not_set_the_contrast() -> None:
    values = np.random.default_rng(0).normal(500, 5, (100, 120))
    values[20:40, 10:30] = 900
    values[:, 80:] = 0
    limits = Contrast(skip_missing=True)
    image = open_image(values.astype(np.uint16), channels=1)
    whole = image.read((slice(0, 100), slice(0, 120)))
    found = normalize(whole, fixed_normalization(image, Normalization(), limits))
    assert found.min() > -0.2
    np.testing.assert_allclose(found, normalize(whole, Normalization(), limits), atol=1e-4)


@pytest.mark.parametrize(
    "limits", [Contrast(median_brightness=(0.4, 0.5)), Contrast(4, median_brightness=(0.4, 0.5))]
)
@pytest.mark.parametrize("own", [1.0, 1.5])
def test_the_curve_of_a_large_image_is_the_one_of_the_image_in_memory(limits: Contrast, own: float) -> None:
    values = np.random.default_rng(0).beta(2, 5, (100, 120)) * 1000
    values[20:70, 10:60] += 500
    values[90:98, 100:110] = 60000
    image = open_image(values.astype(np.uint16), channels=1)
    whole = image.read((slice(0, 100), slice(0, 120)))
    normalization = Normalization(gamma=own)
    found = normalize(whole, fixed_normalization(image, normalization, limits))
    np.testing.assert_allclose(found, normalize(whole, normalization, limits), atol=1e-4)


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
        (picture(20, 30), "XY", "has axes XY; expected one letter per axis, YX, YXC, CYX; transpose"),
        (picture(20, 30), "YXC", "axes='YXC' names 3 axes of an image of 2"),
        (picture(4, 20, 30, 2), None, "has 4 axes; expected 2 .YX. or 3 .YXC."),
        (picture(0, 30), None, "is empty; expected at least one pixel"),
        ([[1, 2], [3, 4]], None, "image of type list has no shape; expected an array to read in parts"),
    ],
)
def test_what_cannot_be_read_in_parts_is_refused(image: Any, axes: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_image(image, axes=axes, channels=1)


def test_a_compressed_tiff_is_refused_with_a_way_out_where_nothing_reads_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile.imwrite(tmp_path / "image.tif", picture(20, 30), compression="zlib")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"cannot be mapped into memory .*install it \(pip install zarr\)"):
        open_image(tmp_path / "image.tif", channels=1)
    with pytest.raises(InputError, match=r"missing\.tif' does not exist"):
        open_image(tmp_path / "missing.tif", channels=1)


@pytest.mark.parametrize(
    "written",
    [
        {"compression": "zlib"},
        {"compression": "zlib", "tile": (16, 16)},
        {"tile": (16, 32)},
        {"compression": "zlib", "predictor": True, "rowsperstrip": 3},
        {"compression": "lzma", "byteorder": ">"},
        {"compression": "zlib", "bigtiff": True, "photometric": "miniswhite"},
    ],
    ids=str,
)
def test_a_compressed_tiff_is_read_in_parts_by_zarr(tmp_path: Path, written: dict[str, Any]) -> None:
    pytest.importorskip("zarr", reason="the extra zarr is not installed")
    values, path = picture(3, 61, 47), tmp_path / "image.tif"
    tifffile.imwrite(path, values, **{"photometric": "minisblack", "metadata": {"axes": "CYX"}, **written})
    expected = read_image(path).astype(np.float32)
    image = pickle.loads(pickle.dumps(open_image(path, channels=3)))
    assert not isinstance(image.source, (np.ndarray, np.memmap))
    for box in (BOX, (slice(0, 61, 7), slice(5, 47, 3)), (slice(60, 61), slice(0, 1))):
        np.testing.assert_array_equal(image.read(box), expected[(slice(None), *box)])
    assert fingerprint(image.source) == fingerprint(read_image(path))


def test_a_compressed_tiff_is_segmented_as_it_is_in_memory(segmenter: Segmenter, tmp_path: Path) -> None:
    pytest.importorskip("zarr", reason="the extra zarr is not installed")
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, picture(60, 70), compression="zlib", tile=(32, 32))
    assert segmenter.segment_large(path, tmp_path / "out.tif", block=48, overlap=24) > 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif") > 0, segmenter.segment(path) > 0)


def test_a_damaged_part_of_a_compressed_tiff_is_named(tmp_path: Path) -> None:
    pytest.importorskip("zarr", reason="the extra zarr is not installed")
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, picture(60, 70), compression="zlib", rowsperstrip=10)
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        start, count = page.dataoffsets[3], page.databytecounts[3]
    content = bytearray(path.read_bytes())
    content[start : start + count] = b"?" * count
    path.write_bytes(content)
    image = open_image(path, channels=1)
    assert image.read((slice(0, 30), slice(0, 70))).shape == (1, 30, 70)
    with pytest.raises(
        InputError, match=r"a part of '.*image\.tif' cannot be read .*copy or export it again"
    ):
        image.read((slice(30, 40), slice(0, 70)))


@pytest.mark.skipif(
    importlib.util.find_spec("imagecodecs") is not None, reason="imagecodecs is there, which decodes LZW"
)
def test_a_codec_that_is_missing_is_named_before_any_work(tmp_path: Path) -> None:
    pytest.importorskip("zarr", reason="the extra zarr is not installed")
    path = write_tiff(tmp_path / "image.tif", picture(20, 30), compression=LZW)
    with pytest.raises(
        MissingDependencyError, match="compressed by LZW, which needs the package imagecodecs"
    ):
        open_image(path, channels=1)


# --- volumes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axes", "order"),
    [("ZYXC", (1, 2, 3, 0)), ("CZYX", (0, 1, 2, 3)), (None, (1, 2, 3, 0)), ("ZYX", None), (None, None)],
)
def test_a_volume_is_read_in_parts(axes: str | None, order: Any) -> None:
    values = picture(2, 12, 20, 30)
    source = values.transpose(order) if order else values[0]
    image = open_image(source, axes=axes, channels=2 if order else 1, ndim=3)
    assert image.spatial_shape == (12, 20, 30)
    box = (slice(1, 4), *BOX)
    np.testing.assert_array_equal(image.read(box), values[(slice(None if order else 1), *box)])
    found = pickle.loads(pickle.dumps(image))
    np.testing.assert_array_equal(found.read(box), image.read(box))


def test_pages_of_a_tiff_are_the_planes_of_a_volume(tmp_path: Path) -> None:
    values = picture(5, 20, 30)
    for name, metadata in (("pages.tif", None), ("named.tif", {"axes": "ZYX"})):
        tifffile.imwrite(tmp_path / name, values, metadata=metadata, photometric="minisblack")
        image = open_image(tmp_path / name, channels=1, ndim=3)
        assert (image.axes, image.spatial_shape) == ("ZYX", (5, 20, 30))
        np.testing.assert_array_equal(image.read((slice(2, 3), *BOX))[0, 0], values[2][BOX])
        assert pickle.loads(pickle.dumps(image)).axes == "ZYX"


def test_axes_of_a_volume_are_checked() -> None:
    cases = (
        (picture(20, 30), None, "2 axes; expected 3"),
        (picture(4, 20, 30), "YXC", "does not fit a 3D model"),
        (picture(4, 20, 30), "XYZ", "expected one letter per axis, ZYX, ZYXC, CZYX; transpose"),
    )
    for values, axes, message in cases:
        with pytest.raises(InputError, match=message):
            open_image(values, axes=axes, channels=1, ndim=3)


# --- fingerprints -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 3), (6, 40, 50)])
def test_a_fingerprint_tells_every_pixel_and_is_taken_in_parts(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lazy_image, "_HASHED", 8 * 100)
    values = picture(*shape)
    source = Recorder(values)
    expected = fingerprint(source)
    assert max(values[index].size for index in source.read) <= 100
    count = np.zeros(shape, int)
    for index in source.read:
        count[index] += 1
    assert (count == 1).all()
    for place in (0, values.size // 2, values.size - 1):
        other = values.copy()
        other.flat[place] += 1
        assert fingerprint(other) != expected
    assert fingerprint(values[::-1]) != expected
    assert fingerprint(values[:-1]) != expected
    assert fingerprint(values.astype(np.int16)) != expected


def test_a_fingerprint_is_that_of_the_values_however_they_are_stored(tmp_path: Path) -> None:
    zarr, dask = pytest.importorskip("zarr"), pytest.importorskip("dask.array")
    values = picture(40, 50)
    zarr.create_array(str(tmp_path / "image.zarr"), data=values, chunks=(8, 8))
    tifffile.imwrite(tmp_path / "image.tif", values)
    tifffile.imwrite(tmp_path / "big.tif", values, byteorder=">")
    sources = [open_image(path, channels=1).source for path in sorted(tmp_path.iterdir())]
    sources += [np.asfortranarray(values), values.astype(">u2"), dask.from_array(values, chunks=7)]
    assert {fingerprint(source) for source in sources} == {fingerprint(values)}
    assert fingerprint(values > 2000) != fingerprint((values > 2000).astype(np.uint8))


def test_what_holds_no_numbers_has_no_fingerprint() -> None:
    with pytest.raises(InputError, match="image of dtype"):
        fingerprint(np.array([["a", "b"]]))


# --- colors -----------------------------------------------------------------------------------------------


def test_gray_in_color_is_decided_on_the_whole_image(caplog: pytest.LogCaptureFixture) -> None:
    gray = np.repeat(picture(40, 50)[..., np.newaxis], 3, axis=-1)
    image = open_image(gray, channels=1)
    assert "three equal channels" in caplog.text
    assert image.axes == "YX"
    np.testing.assert_array_equal(image.read(BOX)[0], gray[(*BOX, 0)])
    colored = gray.copy()
    colored[39, 49, 2] += 1
    with pytest.raises(InputError, match=r"image of 3 channel\(s\) \(axes YXC\) for a model of 1"):
        open_image(colored, channels=1)


@pytest.mark.parametrize(("count", "channels", "kept"), [(4, 3, 3), (3, 3, 3), (1, 3, 3), (4, 4, 4)])
def test_channels_are_fitted_as_in_memory(count: int, channels: int, kept: int) -> None:
    values = picture(40, 50, count)
    found = open_image(values, channels=channels).read(BOX)
    assert found.shape == (kept, 6, 5)
    np.testing.assert_array_equal(found, as_image(values[BOX], channels=channels).values)


def test_values_that_no_image_has_are_refused_in_the_part_that_holds_them() -> None:
    values = picture(40, 50).astype(np.float32)
    values[30, 30] = np.nan
    image = open_image(values, channels=1)
    image.read(BOX)
    with pytest.raises(InputError, match="not finite"):
        image.read((slice(25, 35), slice(25, 35)))
