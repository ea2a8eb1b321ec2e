"""Images that must be refused, each by one line that names it, and files with traps that have a rule."""

from __future__ import annotations

import logging
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from pixel_embedded_affinity.errors import InputError, PixelEmbeddedAffinityError
from pixel_embedded_affinity.image import as_image
from pixel_embedded_affinity.io.read import read_image
from pixel_embedded_affinity.labels import as_foreground


def refusal(source: Any, **arguments: Any) -> str:
    """Return the message with which `as_image` refuses, after checking its form: one line, several parts."""
    with pytest.raises(InputError) as caught:
        as_image(source, **{"channels": 1, **arguments})
    message = str(caught.value)
    assert "\n" not in message
    assert "; " in message
    return message


def gray(*shape: int) -> np.ndarray[Any, Any]:
    return np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)


# --- values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "longdouble"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted_and_the_first_is_named(dtype: str, value: float) -> None:
    source = np.zeros((4, 5), dtype=dtype)
    source[2, 3] = source[3, 0] = value
    message = refusal(source)
    assert "2 value(s)" in message
    assert str(value) in message
    assert "(2, 3)" in message


def test_first_bad_value_is_named_in_the_order_of_the_source_axes() -> None:
    source = np.zeros((2, 4, 5), dtype=np.float32)
    source[1, 3, 2] = np.nan
    assert "(1, 3, 2)" in refusal(source, axes="CXY", channels=2)


def test_values_beyond_float32_are_refused_without_a_warning() -> None:
    message = refusal(np.array([[0.0, 1e39]]))
    assert "1e+39" in message
    assert "float32" in message


def test_largest_float32_is_an_image() -> None:
    largest = float(np.finfo(np.float32).max)
    assert as_image(np.array([[largest, -largest]]), channels=1).values.tolist() == [[[largest, -largest]]]


def test_bad_values_in_a_dropped_alpha_channel_do_not_matter() -> None:
    source = np.zeros((2, 3, 4))
    source[..., 3] = np.nan
    assert not as_image(source, channels=3).values.any()


def test_strict_floating_point_settings_of_the_host_do_not_matter() -> None:
    with np.errstate(all="raise"):
        assert as_image(np.array([[1e-300, 1.0]]), channels=1).values.tolist() == [[[0.0, 1.0]]]


def test_masked_values_are_refused_and_counted() -> None:
    assert "2 masked" in refusal(
        np.ma.masked_array(gray(2, 3), mask=[[True, False, False], [False, False, True]])
    )


# --- types ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        np.zeros((2, 3), dtype=object),
        np.zeros((2, 3), dtype=np.complex64),
        np.array([["a", "b"]]),
        np.array([[b"a", b"b"]]),
        np.zeros((2, 3), dtype="datetime64[s]"),
        np.zeros((2, 3), dtype="timedelta64[s]"),
        np.zeros((2, 3), dtype=[("r", "u1"), ("g", "u1")]),
        [["1", "2"]],
        [[None, 1]],
    ],
    ids=lambda source: str(np.asarray(source).dtype),
)
def test_dtypes_that_are_no_numbers_are_refused_by_name(source: Any) -> None:
    assert f"dtype {np.asarray(source).dtype}" in refusal(source)


@pytest.mark.parametrize(
    "source", [None, 5, 2.5, b"image.png", {1: 2}, {1, 2}, iter([1]), range(4), object()]
)
def test_objects_that_are_no_arrays_are_refused_by_type(source: Any) -> None:
    assert type(source).__name__ in refusal(source)


class Claims:
    """Claims a shape, and gives other values."""

    dtype = np.dtype("uint8")

    def __init__(self, shape: Any, values: Any = None) -> None:
        self.shape, self.values = shape, values

    def __getitem__(self, key: object) -> Any:
        if isinstance(self.values, Exception):
            raise self.values
        return self.values


@pytest.mark.parametrize("shape", [None, 5, (2.5, 3), ("a", "b"), (-1, 5), (None, 3), "ab"])
def test_an_array_whose_shape_is_none_is_refused(shape: Any) -> None:
    assert "expected a tuple of lengths" in refusal(Claims(shape))


def test_an_array_that_gives_another_shape_than_it_claims_is_refused() -> None:
    assert "gives values of shape (3, 3)" in refusal(Claims((6, 7), gray(3, 3)))


@pytest.mark.parametrize("error", [KeyError("chunk"), OSError("gone"), MemoryError(), StopIteration()])
def test_whatever_an_array_raises_it_is_refused(error: Exception) -> None:
    assert "Claims" in refusal(Claims((6, 7), error))


@pytest.mark.parametrize("shape", [(2**16, 2**15), (2**31, 1), (2**20, 2**20)])
def test_a_lazy_array_of_too_many_pixels_is_refused_before_it_is_loaded(shape: tuple[int, int]) -> None:
    class Untouchable(Claims):
        def __getitem__(self, key: object) -> Any:
            raise AssertionError("it was loaded")

    assert "expected at most 2147483647 at a time" in refusal(Untouchable(shape))


def test_ragged_lists_are_refused() -> None:
    assert "list" in refusal([[1, 2], [3]])


def test_array_whose_conversion_fails_is_refused_with_the_reason() -> None:
    class Broken:
        shape = (2, 3)
        dtype = np.dtype("uint8")

        def __getitem__(self, key: object) -> Any:
            raise RuntimeError("chunk 3\nis lost")

    assert "Broken" in refusal(Broken())
    assert "chunk 3 is lost" in refusal(Broken())


@pytest.mark.parametrize("kind", ["complex", "sparse", "meta"])
def test_tensors_without_plain_numbers_are_refused(kind: str) -> None:
    torch = pytest.importorskip("torch")
    tensors = {
        "complex": lambda: torch.zeros(2, 3, dtype=torch.complex64),
        "sparse": lambda: torch.eye(3).to_sparse(),
        "meta": lambda: torch.zeros(2, 3, device="meta"),
    }
    assert refusal(tensors[kind]())


# --- shapes and axes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (5,), (1, 2, 3, 4), (1, 2, 3, 4, 5)])
def test_wrong_number_of_axes_is_refused_naming_the_shape(shape: tuple[int, ...]) -> None:
    message = refusal(np.zeros(shape))
    assert str(shape) in message
    assert f"{len(shape)} axes" in message


@pytest.mark.parametrize("shape", [(5,), (4, 5), (1, 2, 3, 4, 5)])
def test_wrong_number_of_axes_is_refused_in_3d(shape: tuple[int, ...]) -> None:
    assert f"{len(shape)} axes" in refusal(np.zeros(shape), ndim=3)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (4, 5, 0)])
def test_empty_axis_is_refused(shape: tuple[int, ...]) -> None:
    assert "empty" in refusal(np.zeros(shape))


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ("YX", "names 2 axes of an image of 3"),
        ("CZYX", "names 4 axes of an image of 3"),
        ("", "names 0 axes"),
        ("YXS", "unknown letters S"),
        ("yxc", "unknown letters cxy"),
        ("YYC", "repeats"),
        ("CCX", "repeats"),
        ("ZYX", "holds 4 sections"),
        ("ZYC", "2D model"),
        (("Y", "X", "C"), "tuple"),
        (3, "int"),
    ],
)
def test_axes_that_do_not_fit_are_refused(axes: Any, message: str) -> None:
    assert message in refusal(gray(4, 5, 1), axes=axes)


def test_3d_model_refuses_axes_without_z() -> None:
    assert "3D model" in refusal(gray(4, 5, 1), axes="YXC", ndim=3)


@pytest.mark.parametrize("arguments", [{"ndim": 1}, {"ndim": 4}, {"channels": 0}])
def test_model_that_cannot_be_is_refused(arguments: dict[str, int]) -> None:
    assert next(iter(arguments)) in refusal(gray(4, 5), **arguments)


@pytest.mark.parametrize(
    ("foreground", "message"),
    [
        ("mask.png", "str"),
        (None, "NoneType"),
        (np.full((2, 3), np.nan), "6 value(s)"),
        (np.zeros((2, 3), dtype=complex), "complex128"),
        (np.zeros((2, 3, 1)), "(2, 3, 1)"),
        (np.ma.masked_array(gray(2, 3), mask=True), "masked"),
    ],
)
def test_foreground_that_is_no_mask_is_refused(foreground: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        as_foreground(foreground, (2, 3))
    assert message in str(caught.value)


# --- files that are refused -------------------------------------------------------------------------------


def test_missing_file_is_named(tmp_path: Path) -> None:
    assert "gone.tif' does not exist" in refusal(tmp_path / "gone.tif")


@pytest.mark.parametrize("name", ["9" * 5000 + ".tif", "nul\x00.tif", "half\ud800.tif"])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    assert "does not exist" in refusal(name)


def test_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.tif").mkdir()
    assert "folder.tif' is a folder" in refusal(str(tmp_path / "folder.tif"))


@pytest.mark.parametrize("name", ["a.bmp", "a", "a.npy", "a.tif.gz", ".tif"])
def test_unknown_ending_is_refused_with_the_known_ones(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"II*\0")
    message = refusal(tmp_path / name)
    assert name in message
    assert ".jpg, .jpeg, .png, .tif, .tiff" in message


@pytest.mark.parametrize(("name", "kind"), [("a.tif", "PNG"), ("a.png", "TIFF"), ("a.jpg", "PNG")])
def test_wrong_ending_is_refused_with_the_right_format(tmp_path: Path, name: str, kind: str) -> None:
    PillowImage.fromarray(gray(4, 5)).save(tmp_path / name, format=kind)
    assert f"{name}' is named as" in refusal(tmp_path / name)
    assert f"content is {kind}" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.jpeg"])
@pytest.mark.parametrize("content", [b"I", b"not an image at all", b"\x80\x04K\x01."])
def test_content_that_is_no_image_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert "another format" in refusal(tmp_path / name)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"rowsperstrip": 4}])
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.95])
def test_truncated_tiff_is_refused(tmp_path: Path, options: dict[str, Any], kept: float) -> None:
    path = tmp_path / "cut.tif"
    noise = np.random.default_rng(0).integers(0, 4096, (40, 30)).astype(np.uint16)
    tifffile.imwrite(path, noise, **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert "cut.tif" in refusal(path)


@pytest.mark.parametrize(("name", "kept"), [("cut.png", 0.3), ("cut.png", 0.9), ("cut.jpg", 0.5)])
def test_truncated_picture_is_refused(tmp_path: Path, name: str, kept: float) -> None:
    path = tmp_path / name
    noise = np.random.default_rng(0).integers(0, 256, (40, 30)).astype(np.uint8)
    PillowImage.fromarray(noise).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert "cut short" in refusal(path)


def test_tiff_that_declares_a_huge_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.tif"
    tags = [
        (256, 4, 1 << 31),
        (257, 4, 1 << 31),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (279, 4, 1),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4))
    assert "huge.tif" in refusal(path)


def test_pages_are_refused_where_one_2d_image_is_expected(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "pages.tif", gray(5, 20, 30), photometric="minisblack")
    message = refusal(tmp_path / "pages.tif")
    assert "pages.tif" in message
    assert "(5, 20, 30)" in message
    assert "2D" in message


def test_single_plane_is_refused_where_a_volume_is_expected(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "plane.tif", gray(20, 30))
    assert "3D" in refusal(tmp_path / "plane.tif", ndim=3)


def test_time_series_is_no_volume(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "movie.tif", gray(5, 20, 30).astype("u2"), metadata={"axes": "TYX"}, imagej=True
    )
    assert "TYX" in refusal(tmp_path / "movie.tif", ndim=3)


def test_color_picture_is_no_volume(tmp_path: Path) -> None:
    PillowImage.fromarray(gray(4, 5, 3)).save(tmp_path / "color.png")
    assert "YXC" in refusal(tmp_path / "color.png", ndim=3)


def test_tiff_of_unrelated_images_is_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        file.write(gray(20, 30))
        file.write(gray(8, 9))
    message = refusal(tmp_path / "two.tif")
    assert "2 separate images" in message
    assert "(8, 9)" in message


def test_ome_tiff_that_lacks_pages_is_refused_instead_of_filled_with_zeros(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.ome.tif", gray(3, 4, 5), photometric="minisblack", metadata={"axes": "ZYX"}
    )
    content = (tmp_path / "a.ome.tif").read_bytes()
    assert content.count(b'SizeZ="3"') == 1
    path = tmp_path / "b.ome.tif"
    path.write_bytes(
        content.replace(b'SizeZ="3"', b'SizeZ="4"').replace(b'PlaneCount="3"', b'PlaneCount="4"')
    )
    assert "b.ome.tif' lacks some of the pages" in refusal(path, ndim=3)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_that_lacks_strips_is_refused_instead_of_filled_with_zeros(
    tmp_path: Path, compression: str | None
) -> None:
    path = tmp_path / "tall.tif"
    tifffile.imwrite(path, gray(16, 9), rowsperstrip=8, compression=compression)
    with tifffile.TiffFile(path) as file:
        height = file.pages.first.tags["ImageLength"]
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, height.valueoffset, 10**6)
    path.write_bytes(content)
    assert "tall.tif' lacks some of the pages, strips or tiles" in refusal(path)


@pytest.mark.parametrize("target", [0, 1])
def test_pages_that_lead_back_to_an_earlier_one_come_to_an_end(tmp_path: Path, target: int) -> None:
    path = tmp_path / "loop.tif"
    with tifffile.TiffWriter(path, bigtiff=False, byteorder="<") as writer:
        for plane in gray(2, 4, 5):
            writer.write(plane, metadata=None, contiguous=False)
    with tifffile.TiffFile(path) as file:
        offsets = [page.offset for page in file.pages]
    content = bytearray(path.read_bytes())
    (tags,) = struct.unpack_from("<H", content, offsets[1])
    struct.pack_into("<I", content, offsets[1] + 2 + 12 * tags, offsets[target])
    path.write_bytes(content)
    assert "loop.tif" in refusal(path)


@pytest.mark.parametrize("name", ["cmyk.tif", "cmyk.jpg"])
def test_cmyk_is_refused_instead_of_read_as_rgb_with_alpha(tmp_path: Path, name: str) -> None:
    PillowImage.new("CMYK", (5, 4), (1, 2, 3, 4)).save(tmp_path / name)
    assert "convert it to RGB" in refusal(tmp_path / name, channels=3)


def test_animated_png_is_refused(tmp_path: Path) -> None:
    frames = [PillowImage.fromarray(gray(4, 5) + i) for i in range(3)]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    assert "3 pictures" in refusal(tmp_path / "moving.png")


def png_of_16_bits(color_type: int, values: np.ndarray[Any, Any]) -> bytes:
    """Return a PNG file of 16-bit samples, which Pillow cannot write for colors."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("color_type", "samples"), [(2, 3), (4, 2), (6, 4)])
def test_16_bit_color_png_is_refused_instead_of_cut_to_8_bits(
    tmp_path: Path, color_type: int, samples: int
) -> None:
    values = np.arange(20 * samples).reshape(4, 5, samples) * 500
    (tmp_path / "deep.png").write_bytes(png_of_16_bits(color_type, values))
    assert "16-bit colors" in refusal(tmp_path / "deep.png", channels=3)


# --- files with traps -------------------------------------------------------------------------------------


def test_16_bit_gray_png_keeps_all_its_bits(tmp_path: Path) -> None:
    values = np.arange(20).reshape(4, 5) * 3000 + 7
    (tmp_path / "deep.png").write_bytes(png_of_16_bits(0, values))
    assert read_image(tmp_path / "deep.png").dtype == np.uint16
    np.testing.assert_array_equal(as_image(tmp_path / "deep.png", channels=1).values[0], values)


def test_palette_png_gives_its_rgb_colors(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture = PillowImage.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8)).convert("P")
    picture.putpalette([9, 8, 7, 250, 0, 100, 1, 2, 3])
    picture.save(tmp_path / "palette.png", transparency=1)
    with caplog.at_level(logging.INFO, logger="pixel_embedded_affinity"):
        read = read_image(tmp_path / "palette.png")
    assert read.tolist() == [[[9, 8, 7], [250, 0, 100]], [[1, 2, 3], [250, 0, 100]]]
    assert "palette" in caplog.text


def test_rgba_png_keeps_alpha_when_read_and_loses_it_for_a_model_of_three(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = gray(4, 5, 4)
    PillowImage.fromarray(values).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), values)
    with caplog.at_level(logging.INFO, logger="pixel_embedded_affinity"):
        image = as_image(tmp_path / "rgba.png", channels=3)
    np.testing.assert_array_equal(image.values, np.moveaxis(values[..., :3], -1, 0))
    assert "alpha" in caplog.text


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (2, lambda stored: stored[:, ::-1]),
        (3, lambda stored: stored[::-1, ::-1]),
        (6, lambda stored: np.rot90(stored, -1)),
        (8, lambda stored: np.rot90(stored, 1)),
    ],
)
@pytest.mark.parametrize("name", ["turned.jpg", "turned.png"])
def test_exif_orientation_is_applied_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, orientation: int, turned: Any, name: str
) -> None:
    stored = np.zeros((16, 24), dtype=np.uint8)
    stored[:8, :8] = 255
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    PillowImage.fromarray(stored).save(tmp_path / name, exif=exif)
    with caplog.at_level(logging.INFO, logger="pixel_embedded_affinity"):
        read = read_image(tmp_path / name)
    np.testing.assert_array_equal(read > 127, turned(stored) > 127)
    assert f"EXIF orientation {orientation}" in caplog.text


def test_photograph_with_a_preview_gives_the_photograph(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    main, preview = PillowImage.new("L", (16, 8), 200), PillowImage.new("L", (8, 4), 10)
    main.save(tmp_path / "photo.jpg", format="MPO", save_all=True, append_images=[preview])
    with caplog.at_level(logging.INFO, logger="pixel_embedded_affinity"):
        read = read_image(tmp_path / "photo.jpg")
    assert read.shape == (8, 16)
    assert "2 pictures" in caplog.text


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(["a.tif", "a.png", "a.jpg"]),
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_damaged_bytes_give_an_image_or_one_line_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, name: str, flips: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("damaged") / name
    PillowImage.fromarray(gray(8, 9)).save(path)
    content = bytearray(path.read_bytes())
    for place, value in flips:
        content[place % len(content)] = value
    path.write_bytes(content)
    try:
        assert as_image(path, channels=1).values.ndim == 3
    except PixelEmbeddedAffinityError as error:
        one_line = "\n" not in str(error)
        assert one_line


# --- what files say of themselves -------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    description=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60),
    unit=st.sampled_from(["um", "\\u00B5m", "", "pixel", "nm", "furlong", "\0"]),
    spacing=st.one_of(st.floats(), st.text("0123456789.e-", max_size=6)),
    resolution=st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
)
def test_whatever_imagej_s_description_says_values_or_an_error_of_the_library_come_out(
    tmp_path_factory: pytest.TempPathFactory, description: str, unit: str, spacing: Any, resolution: Any
) -> None:
    path = tmp_path_factory.mktemp("imagej") / "a.tif"
    text = f"ImageJ=1.53\nunit={unit}\nspacing={spacing}\nchannels=2\n{description}"
    tifffile.imwrite(path, gray(20, 30), description=text.encode("ascii", "ignore"), metadata=None)
    with tifffile.TiffFile(path) as file:
        offset = file.pages.first.tags["XResolution"].valueoffset
    content = bytearray(path.read_bytes())
    struct.pack_into("<II", content, offset, *resolution)
    path.write_bytes(content)
    try:
        found = as_image(path, channels=1)
    except PixelEmbeddedAffinityError:
        return
    np.testing.assert_array_equal(found.values[0], gray(20, 30))
    assert found.pixel_size is None or all(0 < size < np.inf for size in found.pixel_size)


def test_entities_that_grow_in_ome_xml_do_no_harm(tmp_path: Path) -> None:
    lines = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    xml = f'<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY e0 "x">{lines}]><OME><Image Name="&e11;"/></OME>'
    tifffile.imwrite(tmp_path / "a.ome.tif", gray(20, 30), description=xml, metadata=None)
    np.testing.assert_array_equal(as_image(tmp_path / "a.ome.tif", channels=1).values[0], gray(20, 30))


def test_a_folder_that_only_claims_to_be_zarr_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("zarr", reason="the extra zarr is not installed")
    for number, content in enumerate(
        [b"", b"{", b"[]", b'{"zarr_format": 3}', b'{"zarr_format": 9, "node_type": "array"}']
    ):
        folder = tmp_path / f"{number}.zarr"
        folder.mkdir()
        (folder / "zarr.json").write_bytes(content)
        assert f"{number}.zarr" in refusal(folder)


def test_transparency_is_not_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    values = np.repeat(gray(4, 5)[..., np.newaxis], 4, axis=-1)
    for alpha, told in ((255, False), (values[..., 0], True)):
        values[..., 3] = alpha
        PillowImage.fromarray(values).save(tmp_path / "a.png")
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            as_image(tmp_path / "a.png", channels=3)
        assert ("transparent in part" in caplog.text) is told
