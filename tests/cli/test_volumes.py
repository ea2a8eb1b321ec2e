"""``pea segment`` on volumes: datasets of HDF5 files, and folders of sections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage
from tiny3d import tiny_config_3d, tiny_network_3d

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.cli import main
from pixel_embedded_affinity.cli.inputs import find_images
from pixel_embedded_affinity.export import render_overlay
from pixel_embedded_affinity.models.checkpoint import Checkpoint, write_checkpoint

VOLUME = np.random.default_rng(3).integers(0, 255, (5, 40, 48)).astype(np.uint8)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "volumes.safetensors"
    write_checkpoint(path, Checkpoint(tiny_config_3d().to_json(), tiny_network_3d().state_dict()))
    return path


@pytest.fixture
def sections(tmp_path: Path) -> Path:
    folder = tmp_path / "stack.v1"
    folder.mkdir()
    for number, section in enumerate(VOLUME, start=8):
        tifffile.imwrite(folder / f"s{number}.tif", section)
    return folder


def run(*words: object) -> int:
    return main(["segment", *map(str, words), "--precision", "float32", "--no-progress"])


def test_a_dataset_is_an_input_of_its_own(
    model: Path, tmp_path: Path, volume_segmenter: Segmenter, capsys: pytest.CaptureFixture[str]
) -> None:
    h5py = pytest.importorskip("h5py", reason="the extra hdf5 reads HDF5")
    file, output = tmp_path / "stack.h5", tmp_path / "out"
    with h5py.File(file, "w") as content:
        content["volumes/raw"], content["volumes/other"] = VOLUME, VOLUME[:, ::-1]
    names = [f"{file}:/volumes/{name}" for name in ("raw", "other")]
    for way in ("never", "always"):
        assert run(*names, "--weights", model, "--output", output, "--blocks", way, "--overwrite") == 0
        labels = {path.name for path in output.glob("*.tif")}
        assert labels == {"stack_volumes_raw_labels.tif", "stack_volumes_other_labels.tif"}
        found = tifffile.imread(output / "stack_volumes_raw_labels.tif")
        np.testing.assert_array_equal(found, volume_segmenter.segment(VOLUME))
    assert run(*names, "--weights", model, "--output", output, "--resume") == 0
    assert "2 done before" in capsys.readouterr().out
    with h5py.File(file, "a") as content:
        content["volumes/raw"][0, 0, 0] ^= 1
    assert run(names[0], "--weights", model, "--output", output, "--resume") == 0
    assert "1 of 1 images segmented" in capsys.readouterr().out
    assert run(f"{file}:/nope", "--weights", model, "--output", output) == 1
    assert "no dataset 'nope' of numbers" in capsys.readouterr().err


def test_a_folder_of_sections_is_one_volume(
    model: Path, sections: Path, volume_segmenter: Segmenter, capsys: pytest.CaptureFixture[str]
) -> None:
    # The results lie among the sections, and are none.
    expected = volume_segmenter.segment(VOLUME)
    for way in ("never", "auto"):
        words = (sections, "--sections", "--weights", model, "--output", sections, "--blocks", way)
        assert run(*words, "--overwrite") == 0
        assert [path.name for path in sections.glob("*_labels.tif")] == ["stack.v1_labels.tif"]
        np.testing.assert_array_equal(tifffile.imread(sections / "stack.v1_labels.tif"), expected)
    assert run(sections, "--sections", "--weights", model, "--output", sections, "--resume") == 0
    assert "1 done before" in capsys.readouterr().out
    tifffile.imwrite(sections / "s99.tif", VOLUME[0])
    assert run(sections, "--sections", "--weights", model, "--output", sections, "--resume") == 0
    assert tifffile.imread(sections / "stack.v1_labels.tif").shape == (6, 40, 48)


def test_a_folder_of_sections_without_the_flag_names_it(
    model: Path, sections: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(sections, "--weights", model, "--output", tmp_path / "out") == 1
    assert "give the folder (with --sections in a shell)" in capsys.readouterr().err


def test_the_flag_is_for_volumes(
    weights: Path, sections: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(sections, "--sections", "--weights", weights, "--output", tmp_path / "out") == 2
    assert "--sections is for models of volumes" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_name_of_the_working_folder_is_that_of_its_volume(
    sections: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sections)
    assert [one.place.stem for one in find_images(["."], sections=True).images] == ["stack.v1"]


@pytest.mark.parametrize("way", ["never", "always"])
def test_the_overlay_of_a_volume_shows_its_middle_section(
    way: str, model: Path, sections: Path, tmp_path: Path, volume_segmenter: Segmenter
) -> None:
    output = tmp_path / "out"
    words = ["--sections", "--weights", model, "--output", output, "--overlay", "--blocks", way]
    assert run(sections, *words) == 0
    labels = tifffile.imread(output / "stack.v1_labels.tif")
    expected = render_overlay(VOLUME[2], labels[2])
    with PillowImage.open(output / "stack.v1_overlay.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), expected)
    (output / "stack.v1_overlay.png").unlink()
    assert run(sections, *words, "--resume") == 0
    with PillowImage.open(output / "stack.v1_overlay.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), expected)
