"""Images: files and arrays become float32 with channels first, by documented rules only."""

from __future__ import annotations

import errno
import importlib.util
import io
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from pixel_embedded_affinity.errors import InputError, MissingDependencyError
from pixel_embedded_affinity.image import Image, as_channels, as_image
from pixel_embedded_affinity.io.read import read_image
from pixel_embedded_affinity.io.selection import Selection
from pixel_embedded_affinity.labels import as_foreground, as_labels

without_imagecodecs = pytest.mark.skipif(
    importlib.util.find_spec("imagecodecs") is not None, reason="imagecodecs decodes every compression"
)


def ramp(*shape: int, dtype: str = "uint8") -> np.ndarray[Any, Any]:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


# --- arrays -----------------------------------------------------------------------------------------------


def test_gray_array_becomes_one_float32_channel() -> None:
    image = as_image(ramp(2, 3), channels=1)
    assert image.values.dtype == np.float32
    assert image.values.tolist() == [[[0, 1, 2], [3, 4, 5]]]
    assert image.source_axes == "YX"
    assert image.spatial_shape == (2, 3)


def test_default_axes_of_one_axis_more_have_channels_last() -> None:
    source = ramp(4, 5, 3)
    image = as_image(source, channels=3)
    assert image.source_axes == "YXC"
    np.testing.assert_array_equal(image.values[1], source[..., 1])


def test_default_axes_never_follow_from_lengths() -> None:
    with pytest.raises(InputError, match=r"5 channel\(s\).*axes='CYX'"):
        as_image(ramp(3, 4, 5), channels=3)


def test_default_axes_in_3d_are_zyx_and_zyxc() -> None:
    assert as_image(ramp(2, 3, 4), channels=1, ndim=3).source_axes == "ZYX"
    volume = as_image(ramp(2, 3, 4, 2), channels=2, ndim=3)
    assert (volume.source_axes, volume.values.shape) == ("ZYXC", (2, 2, 3, 4))


@pytest.mark.parametrize(("axes", "index"), [("CYX", (2, 0, 1)), ("XYC", (1, 0, 2)), ("YCX", (0, 2, 1))])
def test_given_axes_decide_where_each_value_goes(axes: str, index: tuple[int, ...]) -> None:
    lengths = {"C": 3, "Y": 4, "X": 5}
    source = ramp(*(lengths[letter] for letter in axes))
    image = as_image(source, axes=axes, channels=3)
    assert image.values.shape == (3, 4, 5)
    assert image.values[2, 0, 1] == source[index]


@pytest.mark.parametrize(
    ("shape", "ndim", "example"),
    [
        ((2, 3), 2, "'YX'"),
        ((2, 3, 4), 2, "'YXC' or 'CYX'"),
        ((2, 3, 4), 3, "'ZYX'"),
        ((2, 3, 4, 5), 3, "'ZYXC' or 'CZYX'"),
    ],
)
def test_axes_of_the_error_fit_the_array(shape: tuple[int, ...], ndim: int, example: str) -> None:
    with pytest.raises(InputError) as caught:
        as_image(np.zeros(shape), axes="T", channels=1, ndim=ndim)
    assert str(caught.value).endswith(f"such as axes={example}")


def test_axes_in_lower_case_are_told_apart_from_unknown_letters() -> None:
    with pytest.raises(InputError, match=r"unknown letters xy; .*; use upper case$"):
        as_image(ramp(2, 3), axes="yx", channels=1)
    with pytest.raises(InputError, match=r"unknown letters qy; .*'YX'$"):
        as_image(ramp(2, 3), axes="qy", channels=1)


@pytest.mark.parametrize(
    ("images", "count"),
    [
        ([np.zeros((4, 5)), np.zeros((4, 5))], "2 images"),
        ((np.zeros((4, 5)), np.zeros((6, 5, 3)), np.zeros((4, 5))), "3 images"),
        (["a.tif", Path("b.tif")], "2 images"),
        ([np.zeros((4, 5))], "1 image"),
    ],
)
@pytest.mark.parametrize("axes", [None, "YX"])
def test_a_list_of_images_is_not_an_image(images: Any, count: str, axes: str | None) -> None:
    with pytest.raises(InputError, match=f"^a list of {count}; use segment_many$"):
        as_image(images, axes=axes, channels=1)


def test_a_list_of_rows_or_of_named_planes_is_an_image() -> None:
    assert as_image(list(ramp(3, 4)), channels=1).values.tolist() == [ramp(3, 4).tolist()]
    assert as_image(list(ramp(3, 4, 5)), axes="CYX", channels=3).values.shape == (3, 4, 5)
    assert as_image(list(ramp(3, 4, 5)), channels=1, ndim=3).values.shape == (1, 3, 4, 5)


def test_labels_of_a_transposed_source_find_the_way_back() -> None:
    image = as_image(ramp(5, 4), axes="XY", channels=1)
    labels = ramp(4, 5)
    np.testing.assert_array_equal(image.to_source_order(labels), labels.T)
    np.testing.assert_array_equal(image.from_source_order(image.to_source_order(labels)), labels)


def test_way_back_refuses_another_number_of_axes() -> None:
    image = as_image(ramp(4, 5), channels=1)
    with pytest.raises(InputError, match="3 axes; expected the 2 spatial axes"):
        image.to_source_order(ramp(1, 4, 5))
    with pytest.raises(InputError, match="3 axes; expected the 2 spatial axes"):
        image.from_source_order(ramp(1, 4, 5))


def test_gray_is_repeated_for_three_channels_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="pixel_embedded_affinity"):
        image = as_image(ramp(2, 3), channels=3)
    assert image.values.shape == (3, 2, 3)
    assert (image.values == image.values[0]).all()
    assert image.values.flags.c_contiguous
    assert "is gray, and the model knows images of 3 channels" in caplog.text


def test_single_channel_axis_is_repeated_for_three_channels() -> None:
    np.testing.assert_array_equal(
        as_image(ramp(2, 3, 1), channels=3).values, as_image(ramp(2, 3), channels=3).values
    )


def test_fourth_channel_is_dropped_for_three_channels_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    source = ramp(2, 3, 4)
    with caplog.at_level(logging.INFO, logger="pixel_embedded_affinity"):
        image = as_image(source, channels=3)
    np.testing.assert_array_equal(image.values, np.moveaxis(source[..., :3], -1, 0))
    assert "alpha" in caplog.text


def test_four_channels_stay_for_a_model_of_four() -> None:
    assert as_image(ramp(2, 3, 4), channels=4).values.shape == (4, 2, 3)


@pytest.mark.parametrize(("count", "channels"), [(2, 1), (3, 1), (2, 3), (5, 3), (1, 2), (4, 1)])
def test_other_channel_counts_are_refused(count: int, channels: int) -> None:
    with pytest.raises(InputError, match=rf"{count} channel\(s\).*model of {channels}"):
        as_image(ramp(2, 3, count), channels=channels)


def test_image_owns_its_memory_even_if_nothing_had_to_change() -> None:
    source = np.zeros((1, 4, 5), dtype=np.float32)
    image = as_image(source, axes="CYX", channels=1)
    image.values[...] = 7
    assert not source.any()


def test_nested_lists_are_images() -> None:
    assert as_image([[0, 1], [2, 3]], channels=1).values.tolist() == [[[0, 1], [2, 3]]]


@pytest.mark.parametrize("mask", [False, True])
def test_masked_records_are_refused_for_their_type(mask: bool) -> None:
    source = np.ma.masked_array(np.zeros((2, 3), "?,?"), mask=mask)
    with pytest.raises(InputError, match="image of dtype"):
        as_image(source, channels=1)


def test_masked_array_with_nothing_masked_is_an_image() -> None:
    source = np.ma.masked_array(ramp(2, 3), mask=False)
    assert type(as_image(source, channels=1).values) is np.ndarray


def test_shape_of_a_lazy_array_is_checked_before_it_is_loaded() -> None:
    class Untouchable:
        shape = (2, 3, 4, 5, 6)
        dtype = np.dtype("uint8")

        def __getitem__(self, key: object) -> np.ndarray[Any, Any]:
            raise AssertionError("loaded")

    with pytest.raises(InputError, match="5 axes"):
        as_image(Untouchable(), channels=1)


def test_object_with_shape_dtype_and_getitem_is_an_image() -> None:
    class Lazy:
        shape = (2, 3)
        dtype = np.dtype(">i2")

        def __getitem__(self, key: Any) -> Any:
            return ramp(2, 3, dtype=">i2")[key]

    assert as_image(Lazy(), channels=1).values.tolist() == [[[0, 1, 2], [3, 4, 5]]]


def test_images_compare_by_identity_without_an_error() -> None:
    image = as_image(ramp(2, 3), channels=1)
    assert image in [image]
    assert image not in [Image(image.values, image.source_axes)]


# --- masks and labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32", ">f8"])
def test_foreground_is_all_that_is_not_zero(dtype: str) -> None:
    source = np.array([[0, 1, 0], [1, 1, 0]]).astype(dtype)
    foreground = as_foreground(source, (2, 3))
    assert foreground.dtype == np.bool_
    assert foreground.tolist() == [[False, True, False], [True, True, False]]
    assert not np.shares_memory(foreground, source)


def test_foreground_takes_lists_and_any_integer() -> None:
    assert as_foreground([[0, -2], [5, 2**60]], [2, 2]).tolist() == [[False, True], [True, True]]


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f8"])
def test_a_probability_is_not_taken_as_foreground(dtype: str) -> None:
    expected = (
        "foreground holds values between 0 and 1 (a probability?); expected a mask; threshold it, "
        "e.g. foreground > 0.5"
    )
    with pytest.raises(InputError) as caught:
        as_foreground(np.array([[0, 0.25], [1, 1]]).astype(dtype), (2, 2))
    assert str(caught.value) == expected
    with pytest.raises(InputError, match=r"values from 0 to 255; expected a mask; threshold it"):
        as_foreground(np.array([[0, 255], [1, 1]]).astype(dtype), (2, 2))


def test_foreground_of_another_shape_is_refused_naming_both() -> None:
    with pytest.raises(InputError, match=r"\(3, 2\).*\(2, 3\)"):
        as_foreground(np.ones((3, 2)), (2, 3))


def test_labels_keep_dtype_and_memory() -> None:
    labels = ramp(2, 3, dtype="uint16")
    checked = as_labels(labels, (2, 3))
    assert checked.dtype == np.uint16
    assert np.shares_memory(checked, labels)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((2, 3)), "float64"),
        (np.zeros((2, 3), dtype=bool), r"a mask.*scipy.ndimage.label\(mask\)\[0\] gives them"),
        (np.zeros(3, dtype=int), r"\(3,\)"),
        (np.zeros((0, 3), dtype=int), r"\(0, 3\)"),
        (np.array([[0, -4]]), "-4"),
        ([[1, 2], [3]], "list"),
    ],
)
def test_labels_that_are_none_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_labels(labels)


def test_channels_of_any_count_stay() -> None:
    assert as_channels(ramp(2, 3)).values.shape == (1, 2, 3)
    assert as_channels(ramp(5, 2, 3)).values.shape == (5, 2, 3)
    assert as_channels(ramp(5, 2, 3), ndim=3).values.shape == (1, 5, 2, 3)
    with pytest.raises(InputError, match="4 axes"):
        as_channels(ramp(1, 2, 3, 4))


# --- files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", ">u2", "uint32", "float32", "float64"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_gives_its_raw_values(tmp_path: Path, dtype: str, compression: str | None) -> None:
    source = ramp(7, 5, dtype=dtype) * np.array(5, dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", source, compression=compression)
    read = read_image(tmp_path / "a.tif")
    assert read.dtype == source.dtype.newbyteorder("=")
    np.testing.assert_array_equal(read, source)


@pytest.mark.parametrize("name", ["a.tif", "a.TIFF", "a.png", "a.PNG"])
def test_ending_counts_in_any_letter_case_and_path_may_be_str(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    PillowImage.fromarray(ramp(4, 5)).save(path)
    np.testing.assert_array_equal(read_image(str(path)), ramp(4, 5))
    np.testing.assert_array_equal(as_image(path, channels=1).values[0], ramp(4, 5))


@pytest.mark.parametrize("name", ["folder", "folder.tif"])
def test_a_folder_is_refused_whatever_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=f"{name}' is a folder; use segment_many .*or pea segment"):
        read_image(tmp_path / name)


def test_an_empty_file_is_refused_as_empty(tmp_path: Path) -> None:
    (tmp_path / "a.tif").touch()
    with pytest.raises(InputError, match=r"a.tif' is empty \(0 bytes\); copy it again"):
        read_image(tmp_path / "a.tif")


def test_jpeg_is_read(tmp_path: Path) -> None:
    PillowImage.new("RGB", (5, 4), (200, 100, 50)).save(tmp_path / "a.jpg", quality=100)
    read = read_image(tmp_path / "a.jpg")
    assert read.shape == (4, 5, 3)
    np.testing.assert_allclose(read.reshape(-1, 3), np.tile([200, 100, 50], (20, 1)), atol=3)


def test_image_read_from_a_file_can_be_written_to(tmp_path: Path) -> None:
    PillowImage.fromarray(ramp(4, 5)).save(tmp_path / "a.png")
    read_image(tmp_path / "a.png")[0, 0] = 1


def test_one_bit_png_is_bool(tmp_path: Path) -> None:
    source = ramp(4, 5) % 2 == 1
    PillowImage.fromarray(source).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert read.dtype == np.bool_
    np.testing.assert_array_equal(read, source)


def test_png_of_gray_and_alpha_fits_a_model_of_one_channel(tmp_path: Path) -> None:
    gray = ramp(4, 5)
    PillowImage.fromarray(np.stack([gray, 255 - gray], axis=-1)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(as_image(tmp_path / "a.png", channels=1).values, gray[None])
    np.testing.assert_array_equal(as_image(tmp_path / "a.png", channels=3).values, [gray, gray, gray])


def test_axes_that_a_tiff_declares_are_used(tmp_path: Path) -> None:
    source = ramp(3, 4, 5, dtype="uint16")
    tifffile.imwrite(tmp_path / "a.tif", source, imagej=True, metadata={"axes": "CYX"})
    image = as_image(tmp_path / "a.tif", channels=3)
    assert image.source_axes == "CYX"
    np.testing.assert_array_equal(image.values, source)


def test_declared_axes_of_length_one_are_dropped(tmp_path: Path) -> None:
    source = ramp(1, 4, 5, dtype="uint16")
    tifffile.imwrite(tmp_path / "a.tif", source, metadata={"axes": "TYX"})
    image = as_image(tmp_path / "a.tif", channels=1)
    assert image.source_axes == "YX"
    np.testing.assert_array_equal(image.values, source)


def test_ome_volume_with_channels_fits_a_3d_model(tmp_path: Path) -> None:
    source = ramp(4, 2, 5, 6, dtype="uint16")
    tifffile.imwrite(tmp_path / "a.ome.tif", source, metadata={"axes": "ZCYX"})
    image = as_image(tmp_path / "a.ome.tif", channels=2, ndim=3)
    assert image.source_axes == "ZCYX"
    np.testing.assert_array_equal(image.values, source.swapaxes(0, 1))


def test_unnamed_pages_are_planes_of_a_3d_model(tmp_path: Path) -> None:
    source = ramp(6, 4, 5)
    tifffile.imwrite(tmp_path / "named.tif", source, photometric="minisblack")
    tifffile.imwrite(tmp_path / "bare.tif", source, photometric="minisblack", metadata=None)
    for name in ("named.tif", "bare.tif"):
        image = as_image(tmp_path / name, channels=1, ndim=3)
        assert image.source_axes == "ZYX"
        np.testing.assert_array_equal(image.values[0], source)


@pytest.mark.parametrize("axes", ["TYX", "CYX", "XCY"])
def test_colors_of_a_picture_are_no_pixels(tmp_path: Path, axes: str) -> None:
    path = tmp_path / "plant.png"
    PillowImage.fromarray(np.zeros((8, 9, 3), np.uint8)).save(path)
    with pytest.raises(
        InputError, match=rf"axes='{axes}' takes the 3 colors of .*plant.png' for [XY], .* 'YXC'; leave"
    ):
        as_channels(path, axes=axes)
    assert as_channels(path, axes="XYC").values.shape == (3, 9, 8)


def test_axes_given_for_a_file_outrank_those_it_declares(tmp_path: Path) -> None:
    source = ramp(3, 4, 5)
    tifffile.imwrite(tmp_path / "a.tif", source, photometric="minisblack")
    np.testing.assert_array_equal(as_image(tmp_path / "a.tif", axes="CYX", channels=3).values, source)


def test_alpha_that_a_tiff_declares_is_dropped(tmp_path: Path) -> None:
    source = ramp(4, 5, 2)
    tifffile.imwrite(
        tmp_path / "a.tif",
        source,
        photometric="minisblack",
        planarconfig="contig",
        extrasamples=["unassalpha"],
    )
    np.testing.assert_array_equal(as_image(tmp_path / "a.tif", channels=1).values[0], source[..., 0])


def test_a_color_table_that_keeps_the_order_of_values_is_not_applied_but_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", ramp(4, 5), photometric="palette", colormap=ramp(3, 256, dtype="uint16")
    )
    with caplog.at_level(logging.INFO, logger="pixel_embedded_affinity"):
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), ramp(4, 5))
    assert "PALETTE" in caplog.text


def test_orientation_tag_of_a_tiff_is_not_applied_but_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", ramp(4, 5), extratags=[(274, 3, 1, 6, True)])
    with caplog.at_level(logging.INFO, logger="pixel_embedded_affinity"):
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), ramp(4, 5))
    assert "orientation tag 6" in caplog.text


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits"])
def test_compressed_gray_tiff_gives_its_raw_values(tmp_path: Path, dtype: str, compression: str) -> None:
    source = ramp(40, 30, dtype=dtype)
    PillowImage.fromarray(source).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), source)
    np.testing.assert_array_equal(as_image(tmp_path / "a.tif", channels=1).values[0], source)


def test_lzw_tiff_of_signed_16_bits_gives_its_raw_values(tmp_path: Path) -> None:
    source = ramp(40, 30, dtype="int16") - np.int16(600)
    signed = {339: 2}
    PillowImage.fromarray(source.view("uint16")).save(
        tmp_path / "a.tif", compression="tiff_lzw", tiffinfo=signed
    )
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), source)


@pytest.mark.parametrize("count", [3, 4])
def test_lzw_color_tiff_gives_its_raw_values(tmp_path: Path, count: int) -> None:
    source = ramp(40, 30, count)
    PillowImage.fromarray(source).save(tmp_path / "a.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), source)


@without_imagecodecs
def test_compressed_tiff_that_pillow_would_change_asks_for_the_codecs(tmp_path: Path) -> None:
    gray = PillowImage.fromarray(ramp(4, 5))
    gray.save(tmp_path / "pages.tif", compression="tiff_lzw", save_all=True, append_images=[gray])
    gray.convert("P").save(tmp_path / "palette.tif", compression="tiff_lzw")
    gray.save(tmp_path / "turned.tif", compression="tiff_lzw", tiffinfo={274: 6})
    for name in ("pages.tif", "palette.tif", "turned.tif"):
        with pytest.raises(MissingDependencyError, match=rf"{name}.*LZW.*pip install imagecodecs"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("values", [ramp(4, 5, dtype="int64") + 2**40, ramp(4, 5, dtype="float64") * 1e-300])
def test_values_that_are_all_one_in_float32_are_refused(values: np.ndarray[Any, Any]) -> None:
    with pytest.raises(InputError, match=r"which are all .* in float32; expected values that differ there"):
        as_image(values, channels=1)
    constant = np.full((4, 5), 2**40)
    assert as_image(constant, channels=1).values.shape == (1, 4, 5)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO])
def test_a_fault_of_the_system_is_no_damage_of_the_file(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PillowImage.fromarray(ramp(4, 5)).save(tmp_path / "a.png")

    def refusing(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(PillowImage, "open", refusing)
    with pytest.raises(OSError, match=os.strerror(code)):
        read_image(tmp_path / "a.png")


def test_memory_that_runs_out_is_no_damage_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PillowImage.fromarray(ramp(4, 5)).save(tmp_path / "a.png")

    def refusing(*_: Any, **__: Any) -> None:
        raise MemoryError("Unable to allocate 429 MiB")

    monkeypatch.setattr(PillowImage, "open", refusing)
    with pytest.raises(
        MemoryError, match=r"a\.png' cannot be read, since memory ran out \(Unable to allocate"
    ):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("most", [3, 15])  # Pillow refuses the first, and warns of the second
@pytest.mark.filterwarnings("error")
def test_a_picture_of_more_pixels_than_pillow_opens_is_named(
    most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PillowImage.fromarray(ramp(4, 5)).save(tmp_path / "a.png")
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", most)
    with pytest.raises(InputError, match=r"has more pixels than Pillow opens .* store it as TIFF"):
        read_image(tmp_path / "a.png")


def test_the_channels_of_a_color_image_have_the_names_of_colors(tmp_path: Path) -> None:
    colors = ramp(40, 50, 4) | np.uint8(1)
    PillowImage.fromarray(colors[..., :3]).save(tmp_path / "color.png")
    PillowImage.fromarray(colors).save(tmp_path / "alpha.png")
    tifffile.imwrite(tmp_path / "color.tif", colors[..., :3], photometric="rgb")
    blue = Selection(channel="blue")
    for source in (*(tmp_path / name for name in ("color.png", "alpha.png", "color.tif")), colors[..., :3]):
        np.testing.assert_array_equal(as_image(source, channels=1, selection=blue).values[0], colors[..., 2])
    first = Selection(channel="blue", axes="CYX")
    with pytest.raises(InputError, match="no names of channels, for channel='blue'; expected one of 0 to 2"):
        as_image(colors[..., :3].transpose(2, 0, 1), channels=1, selection=first)
    with pytest.raises(InputError, match=r"'bleu'; expected one of 0 \('red'\), 1 \('green'\), 2 \('blue'\)"):
        as_image(tmp_path / "color.png", channels=1, selection=Selection(channel="bleu"))


def test_a_channel_of_an_array_with_channels_first_needs_the_axes() -> None:
    stack = np.zeros((2, 40, 50), np.float32)
    with pytest.raises(InputError, match=r"channel=0 of an image of shape .* such as axes='CYX'"):
        as_image(stack, channels=1, selection=Selection(channel=0))
    found = as_image(stack, channels=1, selection=Selection(channel=0, axes="CYX"))
    assert found.values.shape == (1, 40, 50)
    last = as_image(np.moveaxis(stack, 0, -1), channels=1, selection=Selection(channel=1))
    assert last.values.shape == (1, 40, 50)
    # A spectrum of many channels is taken where the other axes are long as well.
    many = as_image(np.zeros((20, 30, 40), np.float32), channels=1, selection=Selection(channel=39))
    assert many.values.shape == (1, 20, 30)


def test_a_closed_file_and_one_for_writing_are_refused(tmp_path: Path) -> None:
    closed = io.BytesIO(b"")
    closed.close()
    with pytest.raises(InputError, match="closed file"):
        as_image(closed, channels=1)
    with (tmp_path / "a.tif").open("wb") as file, pytest.raises(InputError, match="in mode 'rb'"):
        as_image(file, channels=1)


@pytest.mark.parametrize("mode", ["L", "I;16", "I", "F", "RGB"])
def test_an_open_picture_of_pillow_is_an_image(mode: str) -> None:
    values = ramp(5, 6, 3, dtype="uint8") if mode == "RGB" else ramp(5, 6, dtype="uint8")
    picture = (
        PillowImage.fromarray(values) if mode in ("L", "RGB") else PillowImage.fromarray(values).convert(mode)
    )
    found = as_image(picture, channels=3 if mode == "RGB" else 1)
    np.testing.assert_array_equal(found.values, np.moveaxis(values, -1, 0) if mode == "RGB" else values[None])


@pytest.mark.parametrize("mode", ["P", "CMYK", "1"])
def test_a_picture_whose_values_are_no_intensities_is_refused(mode: str) -> None:
    with pytest.raises(InputError, match="expected an array"):
        as_image(PillowImage.fromarray(ramp(5, 6, dtype="uint8")).convert(mode), channels=1)
