"""``pea segment`` and images that are too large for memory: block by block, said, and resumed after a kill."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.cli import kept as kept_module
from pixel_embedded_affinity.cli import main
from pixel_embedded_affinity.cli.records import RECORDS
from pixel_embedded_affinity.geometry.tiling import Tiling
from pixel_embedded_affinity.large import need
from pixel_embedded_affinity.large.store import Store


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for the image a.tif of 20 x 28 pixels, and not for twice as many."""
    monkeypatch.setattr(need, "free_memory", lambda device: 500_000)


@pytest.fixture
def large(images: Path) -> Path:
    path = images / "large.tif"
    values = np.random.default_rng(9).integers(0, 4000, (64, 80), dtype=np.uint16)
    resolution = {"resolution": (20000.0, 20000.0), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, values, **resolution)
    return path


def segment(weights: Path, images: Path, *more: str) -> int:
    words = ["--weights", str(weights), "--device", "cpu", "--output", str(images.parent / "out")]
    return main(["segment", str(images), *words, *more])


def kept(folder: Path) -> list[str]:
    """What is not the record of a result."""
    return sorted(path.name for path in (folder / RECORDS).iterdir() if path.suffix != ".json")


@pytest.mark.usefixtures("little_memory")
def test_an_image_that_is_too_large_for_memory_goes_block_by_block_and_it_is_said(
    weights: Path, images: Path, large: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment(weights, images) == 0
    said = capsys.readouterr()
    assert "large.tif is segmented block by block" in said.err
    assert "a.tif is segmented" not in said.err
    assert "4 of 4 images segmented" in said.out
    out = images.parent / "out"
    expected = Segmenter.from_file(weights, device="cpu").segment(large)
    with tifffile.TiffFile(out / "large_labels.tif") as file:
        np.testing.assert_array_equal(file.asarray(), expected)
        assert (
            file.pages.first.tags["XResolution"].value[0]
            == 20000 * file.pages.first.tags["XResolution"].value[1]
        )
    assert kept(out) == []
    assert segment(weights, images, "--resume") == 0
    assert "0 of 4 images segmented, 4 done before" in capsys.readouterr().out


@pytest.mark.usefixtures("little_memory")
def test_blocks_are_the_choice_of_the_user(
    weights: Path, images: Path, large: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment(weights, images, "--blocks", "never") == 0
    assert "block by block" not in capsys.readouterr().err
    assert segment(weights, images, "--blocks", "always", "--overwrite") == 0
    assert capsys.readouterr().err.count("block by block") == 4


def test_regions_that_blocks_do_not_tell_apart_are_mentioned(
    weights: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--blocks", "always", "--regions", "components", "--object-diameter", "20", "--scale", "1"]
    assert segment(weights, images, *words, "--table") == 0
    assert "all its regions get one scale" in capsys.readouterr().err


@pytest.mark.usefixtures("little_memory", "large")
def test_other_results_of_a_large_image_are_made_without_confidence_which_is_said(
    weights: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment(weights, images, "--table", "--overlay") == 0
    assert "its table has no confidence" in capsys.readouterr().err
    out = images.parent / "out"
    labels = tifffile.imread(out / "large_labels.tif")
    with (out / "large_objects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["area"]) for row in rows] == np.bincount(labels.ravel())[1:].tolist()
    assert "confidence" not in rows[0]
    assert float(rows[0]["area_um2"]) == pytest.approx(float(rows[0]["area"]) * 0.25)
    assert (out / "large_overlay.png").is_file()


@pytest.mark.usefixtures("little_memory", "large")
def test_results_that_do_not_fit_are_refused_and_labels_alone_are_made(
    weights: Path, images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kept_module, "free_memory", lambda device: 1)
    assert segment(weights, images, "--table") == 1
    assert "large.tif' needs 0.0 GB for its table" in capsys.readouterr().err
    assert not (images.parent / "out" / "large_labels.tif").exists()
    assert segment(weights, images, "--resume") == 0


@pytest.mark.usefixtures("little_memory", "large")
def test_a_killed_run_goes_on_with_its_blocks_and_drops_blocks_of_other_settings(
    weights: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    write, remove = Store.write, Store.remove

    def counted(store: Store, index: int, labels: Any) -> None:
        written.append(index)
        write(store, index, labels)

    def dying(store: Store) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "write", counted)
    monkeypatch.setattr(Store, "remove", dying)
    assert segment(weights, images) == 130
    monkeypatch.setattr(Store, "remove", remove)
    out = images.parent / "out"
    assert len(kept(out)) >= 1
    count = len(written)
    assert count > 0
    assert segment(weights, images, "--resume") == 0
    assert len(written) == count
    monkeypatch.setattr(Store, "remove", dying)
    assert segment(weights, images, "--overwrite", "--min-size", "3") == 130
    monkeypatch.setattr(Store, "remove", remove)
    assert segment(weights, images, "--resume", "--min-size", "4") == 0
    assert kept(out) == []
    expected = Segmenter.from_file(weights, device="cpu").segment(images / "large.tif", min_size=4)
    np.testing.assert_array_equal(tifffile.imread(out / "large_labels.tif"), expected)


@pytest.mark.usefixtures("little_memory")
def test_a_large_zarr_in_a_folder_is_one_image_with_a_record(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zarr = pytest.importorskip("zarr", reason="the extra zarr is not installed")
    values = np.random.default_rng(1).integers(0, 4000, (64, 80), dtype=np.uint16)
    folder = tmp_path / "plate"
    for name in ("A01/x.zarr", "A02/x.zarr"):
        (folder / name).parent.mkdir(parents=True)
        zarr.save_array(str(folder / name), values)
    assert segment(weights, folder, "--recursive") == 0
    out = tmp_path / "out"
    expected = Segmenter.from_file(weights, device="cpu").segment(values)
    for well in ("A01", "A02"):
        np.testing.assert_array_equal(tifffile.imread(out / well / "x_labels.tif"), expected)
    assert segment(weights, folder, "--recursive", "--resume") == 0
    assert "0 of 2 images segmented, 2 done before" in capsys.readouterr().out
    array = zarr.open_array(str(folder / "A01" / "x.zarr"), mode="r+")
    array[0, 0] = 1
    assert segment(weights, folder, "--recursive", "--resume") == 0
    assert "1 of 2 images segmented, 1 done before" in capsys.readouterr().out


def test_tiles_are_those_of_segment_large_unless_the_user_names_others(
    weights: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    real = Segmenter.segment_large

    def watched(*positional: Any, **named: Any) -> int:
        asked.append(named.get("tile", "none named"))
        return real(*positional, **named)

    monkeypatch.setattr(Segmenter, "segment_large", watched)
    for words in ([], ["--tile", "auto"], ["--tile", "64"]):
        assert segment(weights, images, "--blocks", "always", "--overwrite", *words) == 0
    assert asked[::3] == ["none named", Tiling(), Tiling(64)]
