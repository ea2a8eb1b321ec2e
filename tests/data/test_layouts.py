"""Files of images and labels: layouts, splits, label formats, and every way in which they can be wrong."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage.measure import label

from pixel_embedded_affinity.data.layouts import (
    RAW,
    DataSettings,
    Example,
    find_files,
    load,
    require_objects,
)
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.normalize import Normalization, normalize
from pixel_embedded_affinity.truth import read_labels

LABELS = np.array([[0, 0, 5, 5], [7, 7, 0, 5], [7, 0, 0, 0]])


def names(folder, settings, split):
    return [entry.name for entry in find_files(folder, settings, split)]


def write_labels(path: Path, values: np.ndarray) -> Path:
    tifffile.imwrite(path, values)
    return path


# --- layout "folders" -----------------------------------------------------------------------------------


def test_folders_are_split_by_name(data):
    settings = DataSettings(validation=("b",), held_out=("a",))
    assert names(data, settings, "training") == ["c"]
    assert names(data, settings, "validation") == ["b"]
    assert names(data, settings, "test") == ["a"]
    assert names(data, settings, "all") == ["a", "b", "c"]


def test_loaded_examples_are_normalized_or_raw(data):
    files = find_files(data, DataSettings(), "all")
    percentile = Normalization()
    example, raw = load(files[:1], percentile, 1)[0], load(files[:1], RAW, 1)[0]
    stored = tifffile.imread(data / "images" / "a.tif")
    assert (example.name, example.image.dtype, example.labels.dtype) == ("a", np.float32, np.int32)
    assert np.array_equal(raw.image[0], stored.astype(np.float32))
    assert np.array_equal(example.image, normalize(raw.image, percentile))
    assert np.array_equal(example.labels, tifffile.imread(data / "labels" / "a.tif"))
    assert load(files[:1], RAW, 3)[0].image.shape == (3, 40, 44)


def test_image_and_label_files_may_be_of_different_formats_and_others_are_ignored(data):
    labels = tifffile.imread(data / "labels" / "a.tif").astype(np.uint8)
    (data / "labels" / "a.tif").unlink()
    Image.fromarray(labels).save(data / "labels" / "a.PNG")
    (data / "images" / "notes.txt").write_text("x")
    (data / "labels" / "._a.tif").write_text("x")
    assert names(data, DataSettings(), "training") == ["a", "b", "c"]


@pytest.mark.parametrize("ending", ["_labels", "_label", "_masks", "_mask", "_cp_masks"])
def test_labels_may_be_named_as_programs_name_them(data, ending):
    (data / "labels" / "a.tif").rename(data / "labels" / f"a{ending}.tif")
    found = find_files(data, DataSettings(), "all")
    assert [entry.name for entry in found] == ["a", "b", "c"]
    assert found[0].labels.name == f"a{ending}.tif"


def test_two_label_files_of_an_image_are_refused(data):
    write_labels(data / "labels" / "a_labels.tif", LABELS)
    with pytest.raises(InputError, match=r"a_labels.tif' and 'a.tif' are labels of one image, a"):
        find_files(data, DataSettings(), "all")


def test_an_umlaut_is_the_same_letter_in_whatever_form_a_system_stores_it(data):
    (data / "images" / "a.tif").rename(data / "images" / unicodedata.normalize("NFD", "Zellkörper.tif"))
    (data / "labels" / "a.tif").rename(data / "labels" / unicodedata.normalize("NFC", "Zellkörper.tif"))
    assert "Zellkörper" in [entry.name for entry in find_files(data, DataSettings(), "all")]


def test_an_image_whose_name_has_such_an_ending_keeps_its_own_labels(data):
    for folder in ("images", "labels"):
        (data / folder / "b.tif").rename(data / folder / "a_labels.tif")
    found = {entry.name: entry.labels.name for entry in find_files(data, DataSettings(), "all")}
    assert found == {"a": "a.tif", "a_labels": "a_labels.tif", "c": "c.tif"}


@pytest.mark.parametrize(("part", "other"), [("images", "labels"), ("labels", "images")])
def test_a_missing_partner_is_named(data, part, other):
    (data / other / "b.tif").unlink()
    with pytest.raises(InputError, match=rf"{part}.b\.tif.* has no "):
        find_files(data, DataSettings(), "training")


def test_two_files_of_one_name_are_refused(data):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(data / "images" / "a.png")
    with pytest.raises(InputError, match=r"a\.tif.*a\.png.*share a name"):
        find_files(data, DataSettings(), "training")


@pytest.mark.parametrize("settings", [{"validation": ("z",)}, {"held_out": ("z",)}])
def test_names_that_are_not_there_are_refused(data, settings):
    with pytest.raises(InputError, match=r"\['z'\].*3 images"):
        find_files(data, DataSettings(**settings), "training")


def test_an_empty_split_is_refused(data):
    with pytest.raises(InputError, match=r"no validation images.*data\.validation, or take the split 'all'"):
        find_files(data, DataSettings(), "validation")
    with pytest.raises(InputError, match=r"no test images.*data\.held_out, or take the split 'all'"):
        find_files(data, DataSettings(), "test")
    with pytest.raises(InputError, match=r"no training images.*leave some out"):
        find_files(data, DataSettings(validation=("a", "b", "c")), "training")


def test_an_empty_folder_is_not_blamed_on_the_split(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=r"no training images.*expected images and their labels there"):
        find_files(tmp_path, DataSettings(), "training")


def test_unknown_splits_and_missing_folders_are_refused(data, tmp_path):
    with pytest.raises(InputError, match=r"split must be one of 'training'.*'tset'"):
        find_files(data, DataSettings(), "tset")
    with pytest.raises(InputError, match="no data at"):
        find_files(tmp_path / "none", DataSettings(), "training")
    with pytest.raises(InputError, match=r"no folder.*images"):
        find_files(tmp_path, DataSettings(), "training")


def test_sizes_that_differ_are_refused_with_both_files(data):
    write_labels(data / "labels" / "b.tif", np.ones((44, 40), np.uint8))
    with pytest.raises(InputError, match=r"images.b\.tif.*\(40, 44\).*labels.b\.tif.*\(44, 40\)"):
        load(find_files(data, DataSettings(), "all"), RAW, 1)


def test_an_image_that_cannot_be_used_is_named(data):
    (data / "images" / "b.tif").write_bytes(b"II*\x00 cut")
    with pytest.raises(InputError, match=r"b\.tif"):
        load(find_files(data, DataSettings(), "all"), RAW, 1)
    tifffile.imwrite(data / "images" / "b.tif", np.full((40, 44), np.nan, np.float32))
    with pytest.raises(InputError, match=r"b\.tif.*not finite"):
        load(find_files(data, DataSettings(), "all"), RAW, 1)
    colors = np.zeros((40, 44, 3), np.uint8)
    colors[..., 1] = 200
    tifffile.imwrite(data / "images" / "b.tif", colors, photometric="rgb")
    with pytest.raises(InputError, match=r"b\.tif"):
        load(find_files(data, DataSettings(), "all"), RAW, 1)


def test_some_images_without_objects_are_fine_but_not_all():
    empty = Example("e", np.zeros((1, 4, 4), np.float32), np.zeros((4, 4), np.int32))
    one = Example("o", np.zeros((1, 4, 4), np.float32), np.ones((4, 4), np.int32))
    require_objects([empty, one])
    with pytest.raises(InputError, match="none of the 2 training label images holds an object"):
        require_objects([empty, empty])
    with pytest.raises(InputError, match="none of the 0"):
        require_objects([])


# --- list files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", " , ", "\t"])
def test_a_list_file_names_pairs_relative_to_itself(data, separator):
    listed = data / "list.csv"
    lines = [f"images/{name}.tif{separator}labels/{name}.tif" for name in "ba"]
    listed.write_text("\ufeff" + "\n\n".join(lines) + "\n", encoding="utf-8")
    assert names(listed, DataSettings(validation=("b",)), "training") == ["a"]
    assert names(listed, DataSettings(validation=("b",)), "all") == ["a", "b"]
    entry = find_files(listed, DataSettings(), "all")[0]
    assert (entry.image, entry.labels) == (data / "images" / "a.tif", data / "labels" / "a.tif")


def test_a_list_with_tabs_may_have_commas_in_names(data):
    (data / "images" / "a.tif").rename(data / "images" / "a, b.tif")
    listed = data / "list.txt"
    listed.write_text("images/a, b.tif\tlabels/a.tif\n", encoding="utf-8")
    assert names(listed, DataSettings(), "all") == ["a, b"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("images/a.tif", "line 2: expected an image and a label path"),
        ("images/a.tif,", "line 2: expected"),
        ("images/a.tif,labels/a.tif,more", "line 2: expected"),
        ("images/a.tif,labels/none.tif", r"line 2: no file.*none\.tif"),
        ("images/b.tif,labels/b.tif", r"several images are named \['b'\]"),
    ],
)
def test_a_wrong_line_of_a_list_is_named(data, line, expected):
    listed = data / "list.csv"
    listed.write_text(f"images/b.tif,labels/b.tif\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=expected):
        find_files(listed, DataSettings(), "all")


def test_a_file_that_is_no_list_is_refused(data):
    (data / "a.tif").write_bytes(b"II*\x00\xff\xfe\xfd")
    with pytest.raises(InputError, match=r"a\.tif.*is no text"):
        find_files(data / "a.tif", DataSettings(), "all")


# --- label images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int16, np.uint16, ">u2", np.int32, np.uint32, np.int64, np.float32, np.float64]
)
def test_labels_of_every_type_become_consecutive_int32(tmp_path, dtype):
    labels = read_labels(write_labels(tmp_path / "l.tif", LABELS.astype(dtype)))
    assert labels.dtype == np.int32
    assert labels.tolist() == [[0, 0, 1, 1], [2, 2, 0, 1], [2, 0, 0, 0]]


def test_labels_beyond_32_bits_are_not_wrapped(tmp_path):
    large = np.array([[0, 2**32 + 1], [1, 2**40]], np.int64)
    assert read_labels(write_labels(tmp_path / "l.tif", large)).tolist() == [[0, 1], [2, 3]]


def test_an_object_keeps_all_its_pieces(tmp_path):
    pieces = np.array([[3, 0, 3], [0, 9, 0]], np.uint8)
    assert read_labels(write_labels(tmp_path / "l.tif", pieces)).tolist() == [[1, 0, 1], [0, 2, 0]]


def test_a_palette_png_gives_its_indices_not_its_colors(tmp_path):
    picture = Image.fromarray(LABELS.astype(np.uint8)).convert("P")
    picture.putdata(LABELS.flatten().tolist())
    picture.putpalette([0, 0, 0] * 8)
    picture.save(tmp_path / "l.png")
    assert read_labels(tmp_path / "l.png").max() == 2


@pytest.mark.parametrize("mode", ["L", "I;16", "1"])
def test_a_gray_png_gives_its_values(tmp_path, mode):
    dtype = {"L": np.uint8, "I;16": np.uint16, "1": bool}[mode]
    Image.fromarray((LABELS > 0 if mode == "1" else LABELS).astype(dtype)).save(tmp_path / "l.png")
    assert read_labels(tmp_path / "l.png").max() == (1 if mode == "1" else 2)


def test_a_label_image_without_objects_is_read(tmp_path):
    assert not read_labels(write_labels(tmp_path / "l.tif", np.zeros((3, 3), np.uint8))).any()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (LABELS + 0.5, "fractions"),
        (np.array([[0.0, np.nan]]), "fractions, NaN or infinite"),
        (np.array([[0.0, np.inf]]), "fractions, NaN or infinite"),
        (np.array([[0.0, 1e300]]), "fractions, NaN or infinite"),
        (LABELS - 1, "down to -1"),
        (-LABELS.astype(np.float32), "down to -7"),
        (np.zeros((4, 5, 3), np.uint8), r"shape \(4, 5, 3\)"),
    ],
)
def test_what_is_no_label_image_is_refused_with_its_name(tmp_path, values, expected):
    with pytest.raises(InputError, match=rf"wrong\.tif.*{expected}"):
        read_labels(write_labels(tmp_path / "wrong.tif", values))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colors_are_not_labels(tmp_path, mode):
    Image.new(mode, (4, 4), (255, 0, 0)).save(tmp_path / "colors.png")
    with pytest.raises(InputError, match=r"colors\.png.*colors are not labels"):
        read_labels(tmp_path / "colors.png")


def test_a_jpeg_is_refused_since_it_changes_values(tmp_path):
    Image.fromarray(LABELS.astype(np.uint8)).save(tmp_path / "l.jpg")
    with pytest.raises(InputError, match=r"l\.jpg.*JPEG"):
        read_labels(tmp_path / "l.jpg")


def test_a_damaged_label_png_is_refused_with_its_name(tmp_path):
    (tmp_path / "l.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    with pytest.raises(InputError, match=r"l\.png"):
        read_labels(tmp_path / "l.png")


# --- BBBC039 and CVPPP as published ---------------------------------------------------------------------

CODES = np.array([[1, 1, 2, 2, 0, 1], [1, 1, 2, 2, 0, 1], [0, 0, 0, 0, 0, 0], [0, 3, 0, 0, 0, 0]], np.uint8)


@pytest.fixture
def bbbc039(tmp_path: Path) -> Path:
    """Four fields in the arrangement of BBBC039: color codes in the red channel, split files."""
    for part in ("images", "masks", "metadata"):
        (tmp_path / part).mkdir()
    for name in "abcd":
        tifffile.imwrite(tmp_path / "images" / f"{name}.tif", CODES.astype(np.uint16) * 100)
        colors = np.zeros((*CODES.shape, 4), np.uint8)
        colors[..., 0] = CODES
        Image.fromarray(colors).save(tmp_path / "masks" / f"{name}.png")
    for split, fields in {"training": "b.png\na.png\n", "validation": "c.png\n", "test": "d.png\n"}.items():
        (tmp_path / "metadata" / f"{split}.txt").write_text(fields)
    return tmp_path


def test_bbbc039_has_its_own_split(bbbc039):
    settings = DataSettings(layout="bbbc039", held_out=("b",))
    assert names(bbbc039, settings, "training") == ["a"]
    assert names(bbbc039, settings, "validation") == ["c"]
    assert names(bbbc039, settings, "test") == ["d"]
    assert names(bbbc039, DataSettings(layout="bbbc039"), "all") == ["a", "b", "c"]


def test_bbbc039_objects_are_the_connected_patches_of_one_code(bbbc039):
    (example,) = load(find_files(bbbc039, DataSettings(layout="bbbc039"), "validation"), RAW, 1)
    assert example.labels.max() == 4
    assert len(set(zip(example.labels.flatten().tolist(), CODES.flatten().tolist(), strict=True))) == 5
    assert np.array_equal(example.labels > 0, CODES > 0)
    assert np.array_equal(example.labels, label(CODES))


def test_bbbc039_without_a_mask_or_a_split_file_is_refused(bbbc039):
    settings = DataSettings(layout="bbbc039")
    (bbbc039 / "masks" / "a.png").unlink()
    with pytest.raises(InputError, match=r"no file.*a\.png"):
        find_files(bbbc039, settings, "training")
    (bbbc039 / "metadata" / "test.txt").unlink()
    with pytest.raises(InputError, match=r"no split file.*test\.txt.*--layout folders"):
        find_files(bbbc039, settings, "test")


@pytest.fixture
def cvppp(tmp_path: Path) -> Path:
    """Three plants in the arrangement of CVPPP: RGB with alpha, palette labels."""
    for index, name in enumerate(("plant001", "plant002", "plant003")):
        Image.new("RGBA", (4, 3), (10 * index, 100, 20, 255)).save(tmp_path / f"{name}_rgb.png")
        picture = Image.new("P", (4, 3))
        picture.putdata(LABELS.flatten().tolist())
        picture.putpalette([value for index in range(8) for value in (index * 30, 255 - index, 7)])
        picture.save(tmp_path / f"{name}_label.png")
        Image.new("L", (4, 3)).save(tmp_path / f"{name}_fg.png")
    return tmp_path


def test_cvppp_is_split_by_plant_and_gives_colors_and_palette_indices(cvppp):
    settings = DataSettings(layout="cvppp", validation=("plant002",), held_out=("plant003",))
    assert names(cvppp, settings, "training") == ["plant001"]
    assert names(cvppp, settings, "test") == ["plant003"]
    (example,) = load(find_files(cvppp, settings, "validation"), RAW, 3)
    assert example.name == "plant002"
    assert example.image[:, 0, 0].tolist() == [10, 100, 20]
    assert example.labels.tolist() == [[0, 0, 1, 1], [2, 2, 0, 1], [2, 0, 0, 0]]


def test_plants_of_several_folders_are_found_and_must_have_names_that_differ(cvppp):
    (cvppp / "ara2013").mkdir()
    for part in ("rgb", "label"):
        picture = (cvppp / f"plant001_{part}.png").read_bytes()
        (cvppp / "ara2013" / f"ara2013_plant001_{part}.png").write_bytes(picture)
    settings = DataSettings(layout="cvppp")
    assert names(cvppp, settings, "all") == ["ara2013_plant001", "plant001", "plant002", "plant003"]
    (cvppp / "ara2013" / "plant001_rgb.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"several images are named \['plant001'\]"):
        find_files(cvppp, settings, "all")


def test_folders_that_are_links_are_entered_each_once(cvppp, tmp_path):
    linked = tmp_path / "linked"
    linked.mkdir()
    for name in ("A1", "again"):
        (linked / name).symlink_to(cvppp, target_is_directory=True)
    (cvppp / "back").symlink_to(linked, target_is_directory=True)
    assert names(linked, DataSettings(layout="cvppp"), "all") == ["plant001", "plant002", "plant003"]


def test_cvppp_without_a_partner_a_named_plant_or_any_plant_is_refused(cvppp, tmp_path):
    with pytest.raises(InputError, match="plant009"):
        find_files(cvppp, DataSettings(layout="cvppp", validation=("plant009",)), "training")
    (cvppp / "plant001_label.png").unlink()
    with pytest.raises(InputError, match=r"no file.*plant001_label\.png"):
        find_files(cvppp, DataSettings(layout="cvppp"), "training")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no file NAME_rgb\.png in .*empty"):
        find_files(tmp_path / "empty", DataSettings(layout="cvppp"), "training")


def test_files_that_are_not_read_are_counted_and_named(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("d.czi", "e.nd2", ".hidden"):
        (data / "images" / name).touch()
    assert [entry.name for entry in find_files(data, DataSettings(), "all")] == ["a", "b", "c"]
    assert f"'{data / 'images'}': left out 2 files that are not read, such as 'd.czi'" in caplog.text


def test_a_binary_mask_in_the_place_of_labels_is_noticed(tmp_path, caplog):
    mask = np.zeros((10, 12), np.uint8)
    mask[1:3, 1:4], mask[5:8, 6:9] = 255, 255
    Image.fromarray(mask).save(tmp_path / "a.png")
    assert read_labels(tmp_path / "a.png").max() == 1
    assert "a single object, 255, of 2 pieces; if it is a binary mask" in caplog.text
    caplog.clear()
    mask[5:8, 6:9] = 0
    Image.fromarray(mask).save(tmp_path / "b.png")
    tifffile.imwrite(tmp_path / "c.tif", np.array([[1, 0, 2], [0, 0, 1]], np.uint8))
    assert read_labels(tmp_path / "b.png").max() == 1
    assert read_labels(tmp_path / "c.tif").max() == 2
    assert not caplog.records


def test_a_background_with_a_number_of_its_own_is_noticed(tmp_path, caplog):
    labels = np.ones((10, 12), np.uint8)
    labels[2:5, 3:6] = 2
    tifffile.imwrite(tmp_path / "a.tif", labels)
    assert read_labels(tmp_path / "a.tif").max() == 2
    assert "a.tif': no pixel is 0, and object 1 touches all sides and covers 92% of the image" in caplog.text


@pytest.mark.parametrize("shape", [(1, 4, 6), (4, 6, 1), (1, 1, 4, 6)])
def test_axes_of_length_1_of_a_label_image_do_not_count(tmp_path, shape):
    labels = np.arange(24).reshape(4, 6).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", labels.reshape(shape), photometric="minisblack")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif"), labels)


def test_a_label_image_with_another_number_of_axes_gets_advice_for_its_kind(tmp_path):
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((5, 6, 7), np.uint16))
    with pytest.raises(InputError, match=r"shape \(5, 6, 7\).*save the labels of each image"):
        read_labels(tmp_path / "stack.tif")
    colors = np.zeros((6, 7, 3), np.uint8)
    colors[1:3, 1:3], colors[4:, 4:] = (200, 0, 0), (0, 90, 9)
    Image.fromarray(colors).save(tmp_path / "colors.png")
    with pytest.raises(InputError, match="a color of its own on black, number them: ") as refused:
        read_labels(tmp_path / "colors.png")
    expression = str(refused.value).split("number them: ")[1]
    numbered = eval(expression, {"numpy": np, "colors": colors})
    assert sorted(np.unique(numbered).tolist()) == [0, 1, 2]
    assert numbered[0, 0] == 0


def test_labels_are_read_as_they_are_stored_whatever_they_show(tmp_path):
    labels = np.array([[0, 1, 1], [2, 0, 3]], np.uint8)
    colors = np.random.default_rng(0).integers(0, 65536, (3, 256)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "palette.tif", labels, photometric="palette", colormap=colors)
    tifffile.imwrite(tmp_path / "white.tif", labels, photometric="miniswhite")
    for name in ("palette.tif", "white.tif"):
        np.testing.assert_array_equal(read_labels(tmp_path / name), labels)


def test_training_may_use_one_channel_of_the_images(data):
    stack = np.stack([tifffile.imread(data / "images" / "a.tif")] * 2)
    stack[1] += 5
    for name in "abc":
        tifffile.imwrite(data / "images" / f"{name}.tif", stack, imagej=True, metadata={"axes": "CYX"})
    settings = DataSettings.from_dict({"image": {"channel": 1}})
    files = find_files(data, settings, "all")
    with pytest.raises(InputError, match=r"a\.tif.*choose one of the channels 0 to 1"):
        load(files, RAW, 1)
    for example in load(files, RAW, 1, selection=settings.image):
        np.testing.assert_array_equal(example.image[0], stack[1])
