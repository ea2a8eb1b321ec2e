"""When an image is done: a decision from a record, from what it should say, and from the files that are there."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixel_embedded_affinity.cli import records, segment
from pixel_embedded_affinity.cli.loading import results_maker
from pixel_embedded_affinity.cli.records import (
    CHANGED,
    DONE,
    FOREIGN,
    NEW,
    PARTIAL,
    RECORDS,
    Maker,
    Source,
    fingerprint,
    read_record,
    record_path,
    recorded_files,
    state,
    write_record,
)
from pixel_embedded_affinity.errors import MissingDependencyError
from pixel_embedded_affinity.export import write_labels
from pixel_embedded_affinity.models.registry import get_entry

SOURCE = Source("image", "model", {"scale": None, "ranges": (1, 3)})


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Labels and a table of an image in a folder of the output."""
    (tmp_path / "A01").mkdir()
    found = {"table": tmp_path / "A01" / "x_objects.csv", "labels": tmp_path / "A01" / "x_labels.tif"}
    found["table"].write_text("label\n1\n")
    write_labels(found["labels"], np.eye(3, dtype=int))
    return found


def recorded(tmp_path: Path, files: dict[str, Path]) -> Path:
    path = record_path(tmp_path, files["labels"])
    write_record(path, Path("a.tif"), SOURCE, files)
    return path


def decided(path: Path, files: dict[str, Path], source: Source = SOURCE) -> str:
    return state(read_record(path), lambda: source, files, files["labels"])


def test_the_same_source_and_whole_files_are_done(tmp_path: Path, files: dict[str, Path]) -> None:
    path = recorded(tmp_path, files)
    assert path == tmp_path / RECORDS / "A01" / "x_labels.tif.json"
    assert decided(path, files) == DONE
    assert decided(path, {"labels": files["labels"]}) == DONE
    assert sorted(recorded_files(tmp_path)) == sorted(files.values())


@pytest.mark.parametrize(
    "other",
    [{"image": "b"}, {"model": "b"}, {"settings": {}}, {"settings": {"scale": 1.0, "ranges": [1, 3]}}],
)
def test_any_other_source_is_a_change(tmp_path: Path, files: dict[str, Path], other: dict[str, Any]) -> None:
    assert decided(recorded(tmp_path, files), files, SOURCE._replace(**other)) == CHANGED


def test_a_file_that_is_newly_asked_for_is_missing(tmp_path: Path, files: dict[str, Path]) -> None:
    path = recorded(tmp_path, {"labels": files["labels"]})
    assert decided(path, files) == PARTIAL


@pytest.mark.parametrize("name", ["table", "labels"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "folder"])
def test_what_is_not_whole_is_made_again(
    tmp_path: Path, files: dict[str, Path], name: str, damage: str
) -> None:
    path, content = recorded(tmp_path, files), files[name].read_bytes()
    files[name].unlink()
    if damage == "folder":
        files[name].mkdir()
    elif damage != "missing":
        files[name].write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    assert decided(path, files) == PARTIAL


def test_one_byte_that_differs_is_noticed(tmp_path: Path, files: dict[str, Path]) -> None:
    path = recorded(tmp_path, files)
    files["table"].write_text("label\n2\n")
    assert decided(path, files) == PARTIAL


@pytest.mark.parametrize("record", [True, False])
def test_labels_that_no_run_wrote_are_foreign(tmp_path: Path, files: dict[str, Path], record: bool) -> None:
    path = recorded(tmp_path, files) if record else tmp_path / "none.json"
    write_labels(files["labels"], np.ones((3, 3), dtype=int))
    assert decided(path, files) == FOREIGN
    assert decided(path, files, SOURCE._replace(model="b")) == FOREIGN


def test_labels_whose_compression_cannot_be_read_here_are_kept(
    tmp_path: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise MissingDependencyError(f"'{path}' needs imagecodecs")

    monkeypatch.setattr(records, "read_image", refuse)
    assert decided(tmp_path / "none.json", files) == FOREIGN


@pytest.mark.parametrize("content", [None, b"", b"II*"])
def test_without_record_and_labels_an_image_is_new(
    tmp_path: Path, files: dict[str, Path], content: bytes | None
) -> None:
    files["labels"].unlink()
    if content is not None:
        files["labels"].write_bytes(content)
    assert decided(tmp_path / "none.json", files) == NEW


def test_a_run_that_was_about_to_write_is_not_done(tmp_path: Path, files: dict[str, Path]) -> None:
    path = record_path(tmp_path, files["labels"])
    write_record(path, Path("a.tif"), SOURCE, {})
    assert decided(path, files) == PARTIAL
    assert decided(path, files, SOURCE._replace(model="b")) == CHANGED


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc/x", 3, None])
def test_a_record_names_files_beside_each_other_only(
    tmp_path: Path, files: dict[str, Path], name: object
) -> None:
    path = recorded(tmp_path, files)
    content = json.loads(path.read_text())
    content["files"]["table"]["path"] = name
    path.write_text(json.dumps(content))
    assert read_record(path) is None
    assert list(recorded_files(tmp_path)) == []


def test_the_fingerprint_of_a_folder_follows_names_and_bytes(tmp_path: Path) -> None:
    folders = []
    for number, (name, content) in enumerate([("a", "x"), ("a", "x"), ("b", "x"), ("a", "y"), ("a/c", "x")]):
        path = tmp_path / str(number) / name
        path.parent.mkdir(parents=True)
        path.write_text(content)
        folders.append(fingerprint(tmp_path / str(number)))
    assert folders[0] == folders[1]
    assert len(set(folders)) == 4


# --- what results depend on -------------------------------------------------------------------------------


def maker_of(*words: str) -> Maker:
    """What `pea segment` with these flags makes results from."""
    parser = argparse.ArgumentParser()
    segment.add_arguments(parser)
    return results_maker(parser.parse_args(["a.tif", "--output", "o", "--model", "bbbc039-fast", *words]))


@pytest.mark.parametrize(
    "words",
    [
        ["--axes", "TYX"],
        ["--channel", "0"],
        ["--channel", "DAPI"],
        ["--time", "0"],
        ["--series", "0"],
        ["--pixel-size", "0.5"],
        ["--min-size", "9"],
        ["--scale", "0.5"],
        ["--diameter", "12 um"],
        ["--precision", "float32"],
    ],
)
def test_each_choice_that_may_change_results_counts(words: list[str]) -> None:
    assert maker_of(*words) == maker_of(*words) != maker_of()


@pytest.mark.parametrize("words", [["--tile", "512"], ["--threads", "1"], ["--table"], ["--shard", "1/2"]])
def test_how_results_are_made_does_not_count(words: list[str]) -> None:
    assert maker_of(*words) == maker_of()


def test_settings_that_the_registry_replaces_count(monkeypatch: pytest.MonkeyPatch) -> None:
    before, flagged = maker_of(), maker_of("--object-diameter", "30")
    entry = get_entry("bbbc039-fast")
    changed = replace(entry, settings={**entry.settings, "object_diameter": 30.0})
    monkeypatch.setattr("pixel_embedded_affinity.cli.loading.get_entry", lambda name: changed)
    assert maker_of() != before
    assert maker_of() == flagged
