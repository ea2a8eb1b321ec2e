"""Which images a batch takes and which files it writes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixel_embedded_affinity.cli.batch import find_images, plan_jobs, refuse_existing, without_results
from pixel_embedded_affinity.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images among other things: only the suffix counts here, nothing is opened."""
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
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(paths: list[Path], folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]


def test_a_folder_stands_for_its_visible_images_sorted(folder: Path) -> None:
    assert names(find_images([str(folder)]), folder) == ["a.png", "b.TIF", "c.jpeg"]


def test_recursive_enters_folders_but_not_hidden_ones(folder: Path) -> None:
    found = names(find_images([str(folder)], recursive=True), folder)
    assert found == ["a.png", "b.TIF", "c.jpeg", "sub/d.tiff", "x.tif/f.jpg"]


def test_a_pattern_stands_for_the_images_that_fit(folder: Path) -> None:
    assert names(find_images([str(folder / "*.[tT]*")]), folder) == ["b.TIF"]
    assert names(find_images([str(folder / "**" / "*.tiff")]), folder) == ["sub/d.tiff"]


def test_a_file_is_taken_whatever_its_name(folder: Path) -> None:
    assert names(find_images([str(folder / "notes.txt")]), folder) == ["notes.txt"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder: Path) -> None:
    (folder / "plate[1].tif").touch()
    assert names(find_images([str(folder / "plate[1].tif")]), folder) == ["plate[1].tif"]


def test_inputs_keep_their_order_and_a_file_named_twice_comes_once(folder: Path) -> None:
    inputs = [str(folder / "c.jpeg"), str(folder), os.path.relpath(folder / "a.png")]
    found = find_images(inputs)
    assert [path.name for path in found] == ["c.jpeg", "a.png", "b.TIF"]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("missing.tif", "does not exist"),
        ("missing", "does not exist"),
        ("*.gif", "no image fits the pattern"),
        ("*.txt", "no image fits the pattern"),
        ("sub/.git/nothing*", "no image fits the pattern"),
        ("empty", "holds no image.*--recursive"),
    ],
)
def test_an_input_that_stands_for_nothing_is_refused_by_name(folder: Path, entry: str, expected: str) -> None:
    (folder / "empty" / "below").mkdir(parents=True)
    with pytest.raises(InputError, match=expected) as refusal:
        find_images([str(folder / "a.png"), str(folder / entry)])
    assert str(folder / entry) in str(refusal.value)


def test_images_of_equal_names_are_refused_and_both_are_named() -> None:
    with pytest.raises(
        InputError, match=r"one.a\.tif' and '.*two.a\.png' would both become '.*a_labels\.tif'"
    ):
        plan_jobs([Path("one/a.tif"), Path("b.tif"), Path("two/a.png")], Path("out"))


@given(
    stems=st.lists(st.text("ab_.", min_size=1, max_size=6).filter(lambda stem: stem.strip(".")), unique=True),
    exporters=st.lists(st.sampled_from(["overlay", "table", "labels"])),
)
def test_no_two_images_share_a_result(stems: list[str], exporters: list[str]) -> None:
    jobs = plan_jobs([Path(f"{stem}.png") for stem in stems], Path("out"), exporters)
    results = [path for job in jobs for path in job.outputs.values()]
    assert len(set(results)) == len(results) == len(stems) * len({*exporters, "labels"})
    assert all([*job.outputs][-1] == "labels" for job in jobs)
    assert all(path.parent == Path("out") for path in results)


def test_results_of_other_images_are_left_out_where_they_share_a_folder() -> None:
    images = [
        Path("data/a.tif"),
        Path("data/a_labels.tif"),
        Path("data/a_overlay.png"),
        Path("data/b_labels.tif"),
    ]
    assert without_results(images, Path("data/../data")) == [images[0], images[3]]
    assert without_results(images, Path("out")) == images


def test_any_existing_result_is_refused_with_the_ways_out(tmp_path: Path) -> None:
    jobs = plan_jobs([Path(f"{name}.tif") for name in "abcde"], tmp_path, ["table"])
    refuse_existing(jobs)
    for job in jobs:
        job.outputs["table"].touch()
    with pytest.raises(InputError, match=r"c_objects\.csv' and 2 more exist already.*--resume.*--overwrite"):
        refuse_existing(jobs)
