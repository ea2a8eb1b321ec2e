"""Which images a batch takes: each once, whatever leads to it; what it leaves out is counted and named."""

from __future__ import annotations

import glob
import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from pixel_embedded_affinity.cli import inputs
from pixel_embedded_affinity.cli.inputs import Findings, find_images
from pixel_embedded_affinity.cli.records import RECORDS, Source, write_record
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export import write_labels, write_overlay


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images among other things: only the suffix counts here, nothing can be decoded."""
    for name in (
        "b.TIF",
        "a.png",
        "c.jpeg",
        "notes.txt",
        ".hidden.tif",
        "sub/d.tiff",
        "sub/.git/e.tif",
        "x.tif/f.jpg",
    ):
        touch(tmp_path / name)
    return tmp_path


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def names(findings: Findings, folder: Path) -> list[str]:
    return [one.image.relative_to(folder).as_posix() for one in findings.images]


def places(findings: Findings) -> list[str]:
    return [one.place.as_posix() for one in findings.images]


def left_out(findings: Findings, reason: str, folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in findings.left_out.get(reason, {}).values()]


# --- files, folders, patterns -----------------------------------------------------------------------------


def test_a_folder_stands_for_its_visible_images_sorted(folder: Path) -> None:
    assert names(find_images([str(folder)]), folder) == ["a.png", "b.TIF", "c.jpeg"]


def test_recursive_enters_folders_but_not_hidden_ones(folder: Path) -> None:
    found = find_images([str(folder)], recursive=True)
    assert names(found, folder) == ["a.png", "b.TIF", "c.jpeg", "sub/d.tiff", "x.tif/f.jpg"]
    assert places(found) == names(found, folder)


def test_a_pattern_stands_for_the_images_that_fit(folder: Path) -> None:
    assert names(find_images([str(folder / "*.[tT]*")]), folder) == ["b.TIF"]
    assert names(find_images([str(folder / "**" / "*.tiff")]), folder) == ["sub/d.tiff"]


def test_the_place_in_a_pattern_starts_at_its_last_literal_folder(folder: Path) -> None:
    for pattern in ("*/*.[tj]*", "**/*.[tj]*", "**/?*/*.[tj]*", "[sx]*/**"):
        found = find_images([str(folder / pattern)])
        assert [place for place in places(found) if "/" in place] == ["sub/d.tiff", "x.tif/f.jpg"]
    assert places(find_images([str(folder / "sub" / "*")])) == ["d.tiff"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders within folders whose names recur, without links."""
    top = tmp_path_factory.mktemp("tree")
    for name in (
        "a.tif",
        "b/a.tif",
        "b/b/a.tif",
        "b/b/c.tif",
        "a/b/c/a.tif",
        "a/c.tif",
        "c/.d/a.tif",
        "c/c/c/c.tif",
    ):
        touch(top / name)
    return top


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(["**", "*", "a", "b", "?", "a.tif", "*.tif", "c*"]), min_size=1, max_size=5
    ).filter(lambda parts: glob.has_magic("/".join(parts)))
)
def test_a_pattern_stands_for_the_files_that_glob_finds(tree: Path, parts: list[str]) -> None:
    pattern = str(tree.joinpath(*parts))
    # Below a file, glob finds "a.tif/", which is none.
    expected = {path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)}
    if expected:
        assert {str(one.image) for one in find_images([pattern]).images} == expected
    else:
        with pytest.raises(InputError, match="no image fits"):
            find_images([pattern])


def test_folders_that_fit_a_pattern_are_entered_if_recursive_and_else_named(folder: Path) -> None:
    assert names(find_images([str(folder / "s*")], recursive=True), folder) == ["sub/d.tiff"]
    found = find_images([str(folder / "*")])
    assert left_out(found, inputs.DEEPER, folder) == ["sub", "x.tif"]


def test_a_file_is_taken_whatever_its_name(folder: Path) -> None:
    assert names(find_images([str(folder / "notes.txt")]), folder) == ["notes.txt"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder: Path) -> None:
    touch(folder / "plate[1].tif")
    assert names(find_images([str(folder / "plate[1].tif")]), folder) == ["plate[1].tif"]


def test_the_images_of_a_folder_come_as_a_person_counts(tmp_path: Path) -> None:
    names = ["day1.png", "day2.png", "day10.png", "plant2/day1.png", "plant10/day1.png", "well_a.png"]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    assert [found.place.as_posix() for found in find_images([str(tmp_path)], recursive=True).images] == names
    listed = find_images([str(tmp_path / "day*.png")]).images
    assert [found.image.name for found in listed] == names[:3]


def test_inputs_keep_their_order_and_a_file_named_twice_comes_once(folder: Path) -> None:
    found = find_images([str(folder / "c.jpeg"), str(folder), os.path.relpath(folder / "a.png")])
    assert [one.image.name for one in found.images] == ["c.jpeg", "a.png", "b.TIF"]


def test_a_folder_that_is_an_image_is_not_entered_whatever_its_name(tmp_path: Path) -> None:
    for name in ("v.ome.zarr/0/c/0.png", "v.ome.zarr/zarr.json", "w/0/0.png", "w/.zgroup", "no.zarr/a.png"):
        touch(tmp_path / name)
    for words in ([str(tmp_path)], [str(tmp_path / "*")]):
        found = find_images(words, recursive=True)
        assert names(found, tmp_path) == ["no.zarr/a.png", "v.ome.zarr", "w"]
    for name in ("v.ome.zarr", "w"):
        assert names(find_images([str(tmp_path / name)]), tmp_path) == [name]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("missing.tif", "does not exist"),
        ("missing", "does not exist"),
        ("*.gif", "no image fits the pattern"),
        ("*.txt", r"no image fits the pattern.*not read \(1\): '.*notes\.txt'"),
        ("sub/.git/nothing*", "no image fits the pattern"),
        ("empty", "holds no image.*--recursive"),
    ],
)
def test_an_input_that_stands_for_nothing_is_refused_by_name(folder: Path, entry: str, expected: str) -> None:
    (folder / "empty" / "below").mkdir(parents=True)
    with pytest.raises(InputError, match=expected) as refusal:
        find_images([str(folder / "a.png"), str(folder / entry)])
    assert str(folder / entry) in str(refusal.value)


# --- links ------------------------------------------------------------------------------------------------


def test_links_that_lead_back_are_followed_once(folder: Path) -> None:
    expected = names(find_images([str(folder)], recursive=True), folder)
    for place, target in (
        ("latest", "."),
        ("a_first", "sub"),
        ("sub/up", ".."),
        ("sub/loop", "loop"),
        ("also", str(folder)),
        ("0.png", "a.png"),
        ("sub/0.tiff", "../sub/d.tiff"),
    ):
        (folder / place).symlink_to(target)
    assert names(find_images([str(folder)], recursive=True), folder) == expected
    for pattern in ("**/*.*", "**/**/*.*", "**"):
        assert names(find_images([str(folder / pattern)]), folder) == expected


def test_a_folder_elsewhere_is_entered_by_the_first_link_to_it(folder: Path, tmp_path: Path) -> None:
    touch(folder / "store" / "plate" / "x.tif")
    (folder / "runs").mkdir()
    for name in ("b", "a"):
        (folder / "runs" / name).symlink_to(folder / "store", target_is_directory=True)
    found = find_images([str(folder / "runs")], recursive=True)
    assert places(found) == ["a/plate/x.tif"]


def test_links_to_one_file_elsewhere_are_images_of_their_own(folder: Path, tmp_path: Path) -> None:
    """Workflow programs give their inputs as links, such as of wells that hold the same blank image."""
    touch(tmp_path / "store" / "blank.tif")
    for name in ("wellA", "wellB"):
        (folder / "sub" / f"{name}.tif").symlink_to(tmp_path / "store" / "blank.tif")
    expected = ["sub/d.tiff", "sub/wellA.tif", "sub/wellB.tif"]
    assert names(find_images([str(folder / "sub")]), folder) == expected
    (folder / "link").symlink_to("sub", target_is_directory=True)
    assert names(find_images([str(folder / "sub"), str(folder / "link")]), folder) == expected
    both = find_images([str(folder / "sub"), str(tmp_path / "store" / "blank.tif")])
    assert [one.image.name for one in both.images] == ["d.tiff", "blank.tif"]
    assert left_out(both, inputs.ALIAS, folder) == ["sub/wellA.tif", "sub/wellB.tif"]


def test_one_file_by_two_inputs_comes_once(folder: Path) -> None:
    (folder / "link").symlink_to("sub", target_is_directory=True)
    found = find_images([str(folder / "sub"), str(folder / "link"), str(folder / "link" / "d.tiff")])
    assert names(found, folder) == ["sub/d.tiff"]


def test_a_link_that_leads_nowhere_is_named(folder: Path) -> None:
    (folder / "gone.tif").symlink_to("missing.tif")
    found = find_images([str(folder)])
    assert left_out(found, inputs.BROKEN, folder) == ["gone.tif"]
    assert "b.TIF" in names(found, folder)
    with pytest.raises(InputError, match="does not exist"):
        find_images([str(folder / "gone.tif")])


# --- left out ---------------------------------------------------------------------------------------------


def test_what_is_left_out_is_counted_and_named(folder: Path) -> None:
    for name in ("d", "e.bmp", "old.BMP"):
        touch(folder / name)
    found = find_images([str(folder)])
    assert names(found, folder) == ["a.png", "b.TIF", "c.jpeg"]
    assert left_out(found, inputs.OTHER, folder) == ["d", "e.bmp", "notes.txt", "old.BMP"]
    assert left_out(found, inputs.HIDDEN, folder) == [".hidden.tif"]
    assert left_out(found, inputs.DEEPER, folder) == ["sub", "x.tif"]
    (other,) = (line for line in found.lines() if inputs.OTHER in line)
    assert "(4: 2 .bmp, 1 without ending, 1 .txt): " in other
    assert other.endswith(f"'{folder / 'notes.txt'}' and 1 more")


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) for name in ("bioio", "bioio_czi", "bioio_bioformats")),
    reason="the extra bioio is installed, which reads these files",
)
def test_files_that_a_package_would_read_are_named_with_it(folder: Path) -> None:
    for name in ("a.czi", "b.CZI", "c.nd2", "d.lif", "e.vsi", "f.lsm", "g.oib"):
        touch(folder / name)
    found = find_images([str(folder)])
    lines = [line for line in found.lines() if inputs.LACKING in line]
    assert len(lines) == 2
    extra, java = sorted(lines, key=lambda line: "Java" in line)
    assert "pip install 'pixel-embedded-affinity[bioio]' (4: 2 .czi, 1 .nd2, 1 .lif): " in extra
    assert "pip install bioio bioio-bioformats, which needs Java (3): " in java
    with pytest.raises(InputError, match=r"no image fits.*that need a package"):
        find_images([str(folder / "*.czi")])


def test_a_folder_that_cannot_be_opened_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Path.iterdir

    def refusing(path: Path) -> object:
        if path.name == "sub":
            raise PermissionError(13, "Permission denied")
        return right(path)

    monkeypatch.setattr(Path, "iterdir", refusing)
    found = find_images([str(folder)], recursive=True)
    assert left_out(found, inputs.CLOSED, folder) == ["sub"]
    assert "x.tif/f.jpg" in names(found, folder)


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(["a.tif", "b.czi", ".c.tif", "sub/d.png", "sub/e", "sub/f/g.jpg", "h.nd2", "i.TIFF"]),
        unique=True,
        min_size=1,
    )
)
def test_every_file_is_taken_or_named(tmp_path_factory: pytest.TempPathFactory, files: list[str]) -> None:
    folder = tmp_path_factory.mktemp("any")
    for name in files:
        touch(folder / name)
    touch(folder / "z.tif")
    found = find_images([str(folder)], recursive=True)
    named = [path for paths in found.left_out.values() for path in paths.values()]
    assert sorted([*(one.image for one in found.images), *named]) == sorted(
        folder / name for name in [*files, "z.tif"]
    )


# --- results ----------------------------------------------------------------------------------------------

SQUARES = np.kron(np.array([[1, 0], [0, 2]]), np.ones((4, 4), int))


def test_files_of_the_library_are_never_inputs_whatever_they_are_called(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", SQUARES.astype(np.uint8))
    write_labels(tmp_path / "renamed.tiff", SQUARES)
    write_overlay(tmp_path / "shown.png", SQUARES, SQUARES)
    (tmp_path / "renamed.tiff").rename(tmp_path / "odd.TIF")
    for entries in ([str(tmp_path)], [str(tmp_path / "*")], sorted(map(str, tmp_path.iterdir()))):
        found = find_images(entries)
        assert names(found, tmp_path) == ["x.tif"]
        assert sorted(left_out(found, inputs.RESULT, tmp_path)) == ["odd.TIF", "shown.png"]


@pytest.mark.parametrize("entry", ["", "*", "a.tif"])
def test_inputs_that_are_only_results_are_refused(tmp_path: Path, entry: str) -> None:
    write_labels(tmp_path / "a.tif", SQUARES)
    with pytest.raises(InputError, match=r"no image.*results of earlier runs \(1\): '.*a\.tif'"):
        find_images([str(tmp_path / entry)])


def test_files_that_a_record_names_are_results(tmp_path: Path) -> None:
    for name in ("z.tif", "out/a/x_objects.csv", "out/a/x_drawn.png"):
        touch(tmp_path / name)
    files = {name: tmp_path / "out" / "a" / f"x_{name}" for name in ("objects.csv", "drawn.png")}
    write_record(
        tmp_path / "out" / RECORDS / "a" / "x_labels.tif.json", Path("x.tif"), Source("", "", {}), files
    )
    found = find_images([str(tmp_path)], recursive=True)
    assert names(found, tmp_path) == ["z.tif"]
    assert sorted(left_out(found, inputs.RESULT, tmp_path)) == ["out/a/x_drawn.png", "out/a/x_objects.csv"]


def test_labels_by_hand_beside_an_image_are_left_out_but_taken_alone(tmp_path: Path) -> None:
    for name in ("a.tif", "a_labels.png", "b_labels.tif"):
        touch(tmp_path / name)
    found = find_images([str(tmp_path)])
    assert names(found, tmp_path) == ["a.tif", "b_labels.tif"]
    assert left_out(found, inputs.BESIDE, tmp_path) == ["a_labels.png"]
    assert names(find_images([str(tmp_path / "a_labels.png")]), tmp_path) == ["a_labels.png"]


def test_masks_and_labels_of_any_usual_name_are_left_out(tmp_path: Path) -> None:
    """As in the data sets of plants: NAME_rgb.png, NAME_label.png, NAME_fg.png, NAME_centers.png."""
    taken = ["cell.tif", "flower_fg.png", "plant1_rgb.png", "plant2_rgb.png"]
    beside = ["cell_mask.png", "cell_masks.tif", "plant1_centers.png", "plant1_fg.png", "plant2_label.png"]
    for name in (*taken, *beside):
        touch(tmp_path / name)
    found = find_images([str(tmp_path)])
    assert names(found, tmp_path) == taken
    assert left_out(found, inputs.BESIDE, tmp_path) == beside
