"""TIFF: the stored values or a refusal, whatever the codec; and all that a file declares."""

from __future__ import annotations

import importlib.util
import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from tiff_by_hand import DEFLATE, LZW, NONE, write_tiff

from pixel_embedded_affinity.errors import InputError, MissingDependencyError
from pixel_embedded_affinity.image import as_image
from pixel_embedded_affinity.io.read import list_series, read_image, read_source
from pixel_embedded_affinity.io.selection import Selection
from pixel_embedded_affinity.large.lazy import open_image

HAS_CODECS = importlib.util.find_spec("imagecodecs") is not None
without_imagecodecs = pytest.mark.skipif(HAS_CODECS, reason="imagecodecs decodes every compression")
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
Array = np.ndarray[Any, Any]


def noise(dtype: str, shape: tuple[int, ...] = (23, 31)) -> Array:
    """Values over the whole range of a type."""
    random = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return random.normal(0, 1e4, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)


def gray(*shape: int) -> Array:
    return np.random.default_rng(1).integers(0, 250, shape).astype(np.uint8)


# --- exact or refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("dtype", "predictor"),
    [*((dtype, kind) for dtype in DTYPES for kind in (1, 2)), ("float32", 3), ("float64", 3)],
)
@pytest.mark.parametrize("compression", [NONE, LZW, DEFLATE])
def test_a_file_gives_the_values_that_were_written_or_asks_for_the_codecs(
    tmp_path: Path, order: str, dtype: str, compression: int, predictor: int
) -> None:
    source = noise(dtype)
    path = write_tiff(tmp_path / "a.tif", source, order, compression, predictor)
    if compression == NONE and predictor > 1:
        for read in (read_image, lambda path: open_image(path, channels=1)):
            with pytest.raises(InputError, match=r"holds differences of values, but is not compressed"):
                read(path)
        return
    found = read_or_none(path)
    if found is None:
        assert not HAS_CODECS
        assert compression == LZW or predictor == 3
        return
    assert found.dtype == source.dtype
    np.testing.assert_array_equal(found, source)


def read_or_none(path: Path) -> Array | None:
    """Read a file; None where the codecs are missing, which the message says."""
    try:
        return read_image(path)
    except MissingDependencyError as error:
        return None if "pip install imagecodecs" in str(error) else np.array(str(error))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_common_lzw_files_need_no_codecs(tmp_path: Path, dtype: str, order: str) -> None:
    source = noise(dtype)
    np.testing.assert_array_equal(read_image(write_tiff(tmp_path / "a.tif", source, order, LZW)), source)


@without_imagecodecs
@pytest.mark.parametrize(
    ("bits", "compression"),
    [
        (12, NONE),
        (10, NONE),
        (14, NONE),
        (8, 50000),
        (8, 34712),
        (8, 34887),
        (8, 50001),
        (8, 33005),
        (16, 34933),
    ],
)
def test_an_intact_file_whose_codec_is_missing_is_not_called_damaged(
    tmp_path: Path, bits: int, compression: int
) -> None:
    path = write_tiff(
        tmp_path / "a.tif", np.zeros((16, 16), np.uint16), compression=compression, bits=bits, body=bytes(512)
    )
    with pytest.raises(MissingDependencyError, match=r"needs the package imagecodecs; install it") as caught:
        read_image(path)
    assert "damaged" not in str(caught.value)


# --- which image ------------------------------------------------------------------------------------------


def two_series(path: Path) -> list[Array]:
    images = [gray(20, 30), gray(40, 50)]
    with tifffile.TiffWriter(path) as file:
        for image in images:
            file.write(image, metadata=None)
    return images


def test_a_file_of_several_images_is_refused_by_every_way_of_reading(tmp_path: Path) -> None:
    path = tmp_path / "two.tif"
    two_series(path)
    for read in (
        read_image,
        lambda path: as_image(path, channels=1),
        lambda path: open_image(path, channels=1),
    ):
        with pytest.raises(
            InputError, match=r"2 separate images: 0 \(axes YX, shape \(20, 30\)\), 1 .*series=0"
        ):
            read(path)


@pytest.mark.parametrize("number", [0, 1])
def test_the_series_that_the_message_offers_is_read(tmp_path: Path, number: int) -> None:
    path = tmp_path / "two.tif"
    images = two_series(path)
    chosen = Selection(series=number)
    np.testing.assert_array_equal(read_image(path, series=number), images[number])
    np.testing.assert_array_equal(as_image(path, channels=1, selection=chosen).values[0], images[number])
    lazy = open_image(path, channels=1, selection=chosen)
    np.testing.assert_array_equal(lazy.read((slice(3, 9), slice(2, 7)))[0], images[number][3:9, 2:7])


def test_a_series_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    two_series(tmp_path / "two.tif")
    with pytest.raises(InputError, match=r"has no series 2; expected one of 0 .*, 1 "):
        read_image(tmp_path / "two.tif", series=2)


@pytest.mark.parametrize("first", [True, False])
def test_smaller_copies_that_say_so_are_left_out(tmp_path: Path, first: bool) -> None:
    image = gray(40, 50)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for values, kind in sorted([(image[::2, ::2], 1), (image, 0)], key=lambda pair: first != pair[1]):
            file.write(values, metadata=None, subfiletype=kind)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), image)
    np.testing.assert_array_equal(open_image(tmp_path / "a.tif", channels=1).source, image)


def test_the_finest_level_of_a_pyramid_is_read(tmp_path: Path) -> None:
    image = gray(64, 80)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        file.write(image, subifds=2, metadata={"axes": "YX"})
        file.write(image[::2, ::2], subfiletype=1)
        file.write(image[::4, ::4], subfiletype=1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.ome.tif"), image)
    np.testing.assert_array_equal(open_image(tmp_path / "a.ome.tif", channels=1).source, image)
    (only,) = list_series(tmp_path / "a.ome.tif")
    assert (only.levels, only.source.values.shape) == (3, (64, 80))


def test_positions_of_ome_are_series_with_their_own_pixel_size_and_channels(tmp_path: Path) -> None:
    images = [gray(2, 20, 30), gray(2, 20, 30)]
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        for number, image in enumerate(images):
            size = {f"PhysicalSize{axis}": 0.5 + number for axis in "XY"}
            names = [f"DAPI{number}", "GFP"]
            file.write(
                image, metadata={"axes": "CYX", "Channel": {"Name": names}, **size}, photometric="minisblack"
            )
    assert [one.source.channels for one in list_series(tmp_path / "a.ome.tif")] == [
        ("DAPI0", "GFP"),
        ("DAPI1", "GFP"),
    ]
    found = as_image(tmp_path / "a.ome.tif", channels=1, selection=Selection(series=1, channel="DAPI1"))
    np.testing.assert_array_equal(found.values[0], images[1][0])
    assert found.pixel_size == (1.5, 1.5)


# --- what the values mean ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "bool"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_white_is_zero_looks_as_in_every_viewer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, dtype: str, compression: str | None
) -> None:
    stored = noise("uint8").astype(bool) if dtype == "bool" else noise(dtype)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="miniswhite", compression=compression)
    expected = ~stored if dtype == "bool" else np.iinfo(dtype).max + np.iinfo(dtype).min - stored.astype(int)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), expected)
    assert "white is zero" in caplog.text
    if compression is None and dtype != "bool":
        lazy = open_image(tmp_path / "a.tif", channels=1)
        np.testing.assert_array_equal(lazy.read((slice(2, 9), slice(3, 8)))[0], expected[2:9, 3:8])


def test_white_is_zero_of_floats_is_refused(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", noise("float32"), photometric=0)
    with pytest.raises(InputError, match=r"white is zero, but holds float32 .*invert the image"):
        read_image(tmp_path / "a.tif")


def test_a_palette_whose_colors_are_no_intensities_gives_its_colors(tmp_path: Path) -> None:
    table = np.random.default_rng(0).integers(0, 256, (3, 256)).astype(np.uint16) * 257
    indices = gray(20, 30)
    tifffile.imwrite(tmp_path / "a.tif", indices, photometric="palette", colormap=table)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), (table // 257).T[indices])
    assert read_image(tmp_path / "a.tif").dtype == np.uint8


def test_the_lookup_table_of_imagej_does_not_change_intensities(tmp_path: Path) -> None:
    table = np.zeros((3, 256), np.uint8)
    table[2] = np.arange(256)[::-1]
    tifffile.imwrite(tmp_path / "a.tif", gray(20, 30), imagej=True, colormap=table.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), gray(20, 30))


def test_a_gray_palette_of_falling_brightness_is_one_gray_channel(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = np.tile(np.arange(256, dtype=np.uint16)[::-1] * 257, (3, 1))
    tifffile.imwrite(tmp_path / "a.tif", gray(20, 30), photometric="palette", colormap=table)
    with caplog.at_level(logging.WARNING):
        found = as_image(tmp_path / "a.tif", channels=1).values[0]
    np.testing.assert_array_equal(found, 255 - gray(20, 30).astype(int))
    assert "three equal channels" in caplog.text


# --- axes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", ["TZCYX", "TCZYX", "CTZYX"])
def test_axes_of_length_one_are_dropped_whatever_their_order(tmp_path: Path, axes: str) -> None:
    image = gray(20, 30)
    tifffile.imwrite(
        tmp_path / "a.ome.tif", image[None, None, None], metadata={"axes": axes}, photometric="minisblack"
    )
    for found in (
        as_image(tmp_path / "a.ome.tif", channels=1),
        open_image(tmp_path / "a.ome.tif", channels=1),
    ):
        assert found.spatial_shape == (20, 30)


def test_colors_of_ome_are_channels_although_its_channel_axis_has_length_one(tmp_path: Path) -> None:
    colors = gray(20, 30, 3)
    tifffile.imwrite(tmp_path / "a.ome.tif", colors[None], metadata={"axes": "CYXS"}, photometric="rgb")
    np.testing.assert_array_equal(
        as_image(tmp_path / "a.ome.tif", channels=3).values, np.moveaxis(colors, -1, 0)
    )


@pytest.mark.parametrize(
    ("axes", "shape", "chosen", "index"),
    [
        ("CYX", (2, 20, 30), Selection(channel=1), (1,)),
        ("TYX", (3, 20, 30), Selection(time=2), (2,)),
        ("TCYX", (3, 2, 20, 30), Selection(time=2, channel=0), (2, 0)),
        ("ZCYX", (1, 2, 20, 30), Selection(channel=1), (0, 1)),
    ],
)
def test_a_channel_and_a_time_point_may_be_chosen(
    tmp_path: Path, axes: str, shape: tuple[int, ...], chosen: Selection, index: tuple[int, ...]
) -> None:
    source = gray(*shape)
    tifffile.imwrite(tmp_path / "a.tif", source.astype(np.uint16), imagej=True, metadata={"axes": axes})
    np.testing.assert_array_equal(
        as_image(tmp_path / "a.tif", channels=1, selection=chosen).values[0], source[index]
    )
    lazy = open_image(tmp_path / "a.tif", channels=1, selection=chosen)
    np.testing.assert_array_equal(lazy.read((slice(0, 20), slice(0, 30)))[0], source[index])


def test_names_of_imagej_are_names_of_channels(tmp_path: Path) -> None:
    source = gray(2, 3, 20, 30)
    labels = [
        f"c:{c + 1}/3 t:{t + 1}/2 - {name}" for t in range(2) for c, name in enumerate(("DAPI", "GFP", "RFP"))
    ]
    tifffile.imwrite(tmp_path / "a.tif", source, imagej=True, metadata={"axes": "TCYX", "Labels": labels})
    assert read_source(tmp_path / "a.tif").channels == ("DAPI", "GFP", "RFP")
    found = as_image(tmp_path / "a.tif", channels=1, selection=Selection(channel="RFP", time=1))
    np.testing.assert_array_equal(found.values[0], source[1, 2])


# --- pixel size -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "size"), [("um", 0.325), ("micron", 0.325), ("\\u00B5m", 0.325), ("nm", 0.000325), ("mm", 325.0)]
)
def test_pixel_size_of_imagej(tmp_path: Path, unit: str, size: float) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        gray(20, 30),
        imagej=True,
        resolution=(1 / 0.325, 1 / 0.65),
        metadata={"unit": unit},
    )
    assert as_image(tmp_path / "a.tif", channels=1).pixel_size == pytest.approx((2 * size, size))


@pytest.mark.parametrize("unit", ["pixel", "", "furlong"])
def test_a_unit_that_is_no_length_gives_no_size(tmp_path: Path, unit: str) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", gray(20, 30), imagej=True, resolution=(2, 2), metadata={"unit": unit}
    )
    assert as_image(tmp_path / "a.tif", channels=1).pixel_size is None


@pytest.mark.parametrize(("unit", "factor"), [("\u00b5m", 1), ("nm", 1e-3), ("mm", 1e3), (None, 1)])
def test_pixel_size_of_ome(tmp_path: Path, unit: str | None, factor: float) -> None:
    sizes: dict[str, Any] = {"PhysicalSizeX": 0.325, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    units = {f"{name}Unit": unit for name in sizes} if unit else {}
    tifffile.imwrite(tmp_path / "a.ome.tif", gray(5, 20, 30), metadata={"axes": "ZYX", **sizes, **units})
    found = as_image(tmp_path / "a.ome.tif", channels=1, ndim=3).pixel_size
    assert found == pytest.approx((2.0 * factor, 0.5 * factor, 0.325 * factor))


@pytest.mark.parametrize(
    ("resolution", "unit", "size"),
    [
        ((1e4 / 0.325, 1e4 / 0.325), "CENTIMETER", 0.325),
        ((25400 / 0.65, 25400 / 0.65), "INCH", 0.65),
        ((72, 72), "INCH", None),
        ((96, 96), "INCH", None),
        ((300, 300), "INCH", 25400 / 300),
        ((5, 5), "NONE", None),
    ],
)
def test_pixel_size_of_tags_unless_it_is_one_of_a_screen(
    tmp_path: Path, resolution: tuple[float, float], unit: str, size: float | None
) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", gray(20, 30), resolution=resolution, resolutionunit=unit, metadata=None
    )
    found = as_image(tmp_path / "a.tif", channels=1).pixel_size
    assert found == (None if size is None else pytest.approx((size, size), rel=1e-4))


def test_a_given_size_goes_before_the_declared_one(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", gray(20, 30), imagej=True, resolution=(2, 2), metadata={"unit": "um"}
    )
    found = [
        as_image(tmp_path / "a.tif", channels=1, selection=Selection(pixel_size=size)).pixel_size
        for size in (0.25, (0.5, 0.25))
    ]
    assert found == [(0.25, 0.25), (0.5, 0.25)]
    with pytest.raises(InputError, match=r"has 3 numbers; expected 2, one for each of YX"):
        as_image(tmp_path / "a.tif", channels=1, selection=Selection(pixel_size=(1, 2, 3)))


def test_damaged_xml_of_ome_says_nothing(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", gray(20, 30), metadata={"axes": "YX", "PhysicalSizeX": 1.0})
    content = (tmp_path / "a.ome.tif").read_bytes()
    (tmp_path / "a.ome.tif").write_bytes(content.replace(b"<Pixels ", b"<Pixel< "))
    found = as_image(tmp_path / "a.ome.tif", channels=1)
    assert found.pixel_size is None
    np.testing.assert_array_equal(found.values[0], gray(20, 30))


def test_rational_of_zero_is_no_resolution(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, gray(20, 30), resolution=(2, 2), resolutionunit="CENTIMETER", metadata=None)
    with tifffile.TiffFile(path) as file:
        offset = file.pages.first.tags["XResolution"].valueoffset
    content = bytearray(path.read_bytes())
    struct.pack_into("<II", content, offset, 0, 0)
    path.write_bytes(content)
    assert as_image(path, channels=1).pixel_size is None


@pytest.mark.parametrize(
    ("dots", "unit", "warned"),
    [(300, "INCH", True), (96, "INCH", False), (300.7, "INCH", False), (300, "CENTIMETER", False)],
)
def test_the_resolution_of_a_print_is_remarked_on(
    tmp_path: Path, dots: float, unit: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((5, 6), np.uint8), resolution=(dots, dots), resolutionunit=unit
    )
    image = as_image(tmp_path / "a.tif", channels=1)
    assert ("300 dots per inch, which are 84.67 micrometers a pixel" in caplog.text) == warned
    assert (image.pixel_size is None) == (dots == 96)
