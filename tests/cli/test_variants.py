"""Folders as people have them: odd names, links, colors that are gray, movies, stacks, zarr and plates."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from tiff_by_hand import LZW, write_tiff

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.cli import main

Array = np.ndarray[Any, Any]


@pytest.fixture
def gray() -> Array:
    return np.random.default_rng(0).integers(10, 250, (24, 28)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def segment(weights: Path, source: Path, *more: str) -> int:
    """Write the results beside the folder of the images."""
    output = ["--output", str(source.parent / "out")]
    return main(["segment", str(source), "--weights", str(weights), "--device", "cpu", *output, *more])


def made(source: Path) -> list[str]:
    out = source.parent / "out"
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*_labels.tif"))


def labels(source: Path, name: str) -> Array:
    return np.asarray(tifffile.imread(source.parent / "out" / f"{name}_labels.tif"))


def test_names_with_spaces_brackets_dots_and_umlauts(weights: Path, folder: Path, gray: Array) -> None:
    for name in ("A 01/\u00e4 \u00f6.tif", "A[02]/\u00e4 \u00f6.TIF", "c.d/x.y.z.tiff", "-v/--help.tif"):
        (folder / name).parent.mkdir(exist_ok=True)
        tifffile.imwrite(folder / name, gray)
    assert segment(weights, folder, "--recursive") == 0
    expected = ["-v/--help", "A 01/\u00e4 \u00f6", "A[02]/\u00e4 \u00f6", "c.d/x.y.z"]
    assert made(folder) == [f"{name}_labels.tif" for name in expected]


def test_links_to_a_file_to_a_parent_and_to_nothing(
    weights: Path, folder: Path, gray: Array, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a").mkdir()
    tifffile.imwrite(folder / "a" / "x.tif", gray)
    os.symlink(folder / "a" / "x.tif", folder / "y.tif")
    os.symlink("..", folder / "a" / "up", target_is_directory=True)
    os.symlink("gone.tif", folder / "z.tif")
    assert segment(weights, folder, "--recursive") == 0
    assert made(folder) == ["a/x_labels.tif"]
    assert "links that lead nowhere (1)" in capsys.readouterr().err


def test_gray_images_in_all_kinds_of_files(weights: Path, folder: Path, gray: Array) -> None:
    deep, full = gray.astype(np.uint16) * 200, np.full_like(gray, 255)
    Image.fromarray(np.dstack([gray, full]), "LA").save(folder / "alpha.png")
    Image.fromarray(deep).save(folder / "deep.png")
    Image.fromarray(gray).convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "adaptive.png")
    Image.fromarray(gray).convert("P").save(folder / "palette.tif")
    colors = np.dstack([deep] * 3 + [np.full_like(deep, 65535)])
    tifffile.imwrite(folder / "colors.tif", colors, photometric="rgb", extrasamples=["unassalpha"])
    write_tiff(folder / "lzw.tif", gray, ">", LZW)
    tifffile.imwrite(folder / "big.tif", gray, bigtiff=True, byteorder=">")
    assert segment(weights, folder) == 0
    expected = Segmenter.from_file(weights, device="cpu").segment(gray)
    for name in ("alpha", "deep", "adaptive", "palette", "colors", "lzw", "big"):
        np.testing.assert_array_equal(labels(folder, name), expected, err_msg=name)


def test_movies_of_one_frame_one_section_and_several_stains(weights: Path, folder: Path, gray: Array) -> None:
    movie = np.stack([gray, gray[::-1]])
    tifffile.imwrite(folder / "ome.ome.tif", movie, ome=True, metadata={"axes": "TYX"})
    tifffile.imwrite(folder / "stains.tif", np.stack([movie] * 2, 1), imagej=True, metadata={"axes": "TCYX"})
    tifffile.imwrite(folder / "section.tif", movie[:, None], imagej=True, metadata={"axes": "TZYX"})
    tifffile.imwrite(folder / "one.tif", movie[:1], imagej=True, metadata={"axes": "TYX"})
    assert segment(weights, folder, "--channel", "0") == 0
    segmenter = Segmenter.from_file(weights, device="cpu")
    expected = np.stack([segmenter.segment(frame) for frame in movie])
    for name in ("ome.ome", "stains", "section"):
        np.testing.assert_array_equal(labels(folder, name), expected, err_msg=name)
    np.testing.assert_array_equal(labels(folder, "one"), expected[0])


def test_five_axes_in_two_orders(weights: Path, folder: Path, gray: Array) -> None:
    values = np.random.default_rng(1).integers(0, 200, (2, 3, 2, *gray.shape)).astype(np.uint8)
    values[1, 2, 1] = gray
    tifffile.imwrite(folder / "imagej.tif", values, imagej=True, metadata={"axes": "TZCYX"})
    tifffile.imwrite(
        folder / "b.ome.tif", values.transpose(2, 1, 0, 3, 4), ome=True, metadata={"axes": "CZTYX"}
    )
    assert segment(weights, folder, "--channel", "1", "--time", "1", "--z", "2") == 0
    expected = Segmenter.from_file(weights, device="cpu").segment(gray)
    for name in ("imagej", "b.ome"):
        np.testing.assert_array_equal(labels(folder, name), expected)


def test_pages_without_a_name_are_sections_only_if_the_axes_say_so(
    weights: Path, folder: Path, gray: Array, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(folder / "pages.tif", np.stack([gray] * 4), photometric="minisblack")
    assert segment(weights, folder, "--z", "1") == 1
    assert "name the axis of sections Z by axes=" in capsys.readouterr().err
    assert segment(weights, folder, "--z", "1", "--axes", "ZYX") == 0


def ome_zarr(path: Path, values: Array, form: int = 3) -> None:
    zarr = pytest.importorskip("zarr", reason="the extra zarr is not installed")
    group = zarr.open_group(str(path), mode="w", zarr_format=form)
    group.create_array("0", shape=values.shape, dtype=values.dtype, chunks=values.shape)[...] = values
    axes = [{"name": name, "type": "space"} for name in "yx"]
    images = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]
    group.attrs.update({"multiscales": images} if form == 2 else {"ome": {"multiscales": images}})


def test_zarr_folders_among_others(
    weights: Path, folder: Path, gray: Array, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, form in (("w/A/f.ome.zarr", 2), ("b.zarr", 3), ("noending", 3), ("x.tif", 3), (".h.zarr", 3)):
        ome_zarr(folder / name, gray, form)
    os.symlink(folder / "b.zarr", folder / "link.zarr")
    (folder / "empty.zarr").mkdir()
    assert segment(weights, folder, "--recursive") == 0
    assert "hidden files (1)" in capsys.readouterr().err
    assert made(folder) == [f"{name}_labels.tif" for name in ("b", "noending", "w/A/f.ome", "x")]
    assert segment(weights, folder, "--recursive", "--resume") == 0
    assert "4 done before" in capsys.readouterr().out


@pytest.mark.parametrize("form", [2, 3])
def test_a_plate_says_how_its_fields_are_segmented_and_that_works(
    weights: Path, tmp_path: Path, gray: Array, form: int, capsys: pytest.CaptureFixture[str]
) -> None:
    zarr = pytest.importorskip("zarr", reason="the extra zarr is not installed")
    plate = tmp_path / "plate.zarr"
    found = {"plate": {"wells": [{"path": "A/1"}]}}
    zarr.open_group(str(plate), mode="w", zarr_format=form).attrs.update(
        found if form == 2 else {"ome": found}
    )
    zarr.open_group(str(plate / "A" / "1"), mode="w", zarr_format=form)
    for number in "01":
        ome_zarr(plate / "A" / "1" / number, gray, form)
    assert segment(weights, plate) == 1
    said = capsys.readouterr().err
    assert "is a plate of many images" in said
    pattern = said.split("the quoted pattern '")[1].split("'")[0]
    words = ["--weights", str(weights), "--device", "cpu", "--output", str(tmp_path / "fields")]
    assert main(["segment", pattern, *words]) == 0
    names = sorted(
        path.relative_to(tmp_path / "fields").as_posix() for path in (tmp_path / "fields").rglob("*.tif")
    )
    assert names == ["A/1/0_labels.tif", "A/1/1_labels.tif"]


def test_blocks_of_all_kinds_of_files(weights: Path, folder: Path, gray: Array) -> None:
    ome_zarr(folder / "zarr.zarr", gray)
    Image.fromarray(np.dstack([gray] * 3)).save(folder / "colors.png")
    tifffile.imwrite(folder / "tiles.tif", gray, compression="zlib", tile=(16, 16))
    tifffile.imwrite(folder / "white.tif", 255 - gray, photometric="miniswhite")
    Image.fromarray(gray).convert("P").save(folder / "palette.png")
    assert segment(weights, folder, "--blocks", "always", "--table") == 0
    expected = Segmenter.from_file(weights, device="cpu").segment(gray)
    for name in ("zarr", "colors", "tiles", "white", "palette"):
        np.testing.assert_array_equal(labels(folder, name), expected, err_msg=name)
