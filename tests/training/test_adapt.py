"""A model of volumes takes the statistics of its batch norms from other volumes."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from tiny3d import tiny_config_3d, tiny_network_3d

from pixel_embedded_affinity import Segmenter, samples
from pixel_embedded_affinity.cli import main
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.scaling import resize_image
from pixel_embedded_affinity.models.checkpoint import Checkpoint
from pixel_embedded_affinity.training import adapt as module
from pixel_embedded_affinity.training.adapt import adapt

SIZE = (0.03, 0.006, 0.006)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.pretrained("neurons", device="cpu", precision="float32", threads=1)


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return np.asarray(samples.neurons().image)[:4, :96, :96].astype(np.float32)


def test_only_statistics_change_and_the_saved_file_segments_alike(
    tmp_path: Path, segmenter: Segmenter, volume: np.ndarray
) -> None:
    found = adapt(segmenter, volume, pixel_size=SIZE)
    assert found.windows == 1
    assert found.shift > 0
    assert segmenter.origin is not None
    before, after = segmenter.origin().tensors, found.checkpoint.tensors
    changed = {name for name, value in before.items() if not torch.equal(value.float(), after[name].float())}
    assert changed
    assert all(before[name].dtype == after[name].dtype for name in before.keys() - changed)
    assert all(name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in changed)
    found.save(tmp_path / "mine.safetensors")
    again = Segmenter.from_file(tmp_path / "mine.safetensors", device="cpu", precision="float32", threads=1)
    assert again.config.name == "neurons-adapted"
    assert again.config.provenance["adapted"][0]["start"]["name"] == "neurons"
    labels = [one.segment(volume, pixel_size=SIZE) for one in (found.segmenter, again)]
    np.testing.assert_array_equal(*labels)


def test_a_model_of_images_is_refused(volume: np.ndarray) -> None:
    nuclei = Segmenter.pretrained("nuclei", device="cpu", threads=1)
    with pytest.raises(InputError, match="is for images; expected a model of volumes"):
        adapt(nuclei, volume)


@pytest.mark.parametrize(("given", "message"), [(np.zeros((4, 64, 64)), "is blank"), ([], "no volume")])
def test_what_shows_nothing_is_refused(segmenter: Segmenter, given: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        adapt(segmenter, given, pixel_size=SIZE)


def test_a_network_without_batch_norms_is_refused(volume: np.ndarray) -> None:
    config = tiny_config_3d()
    plain = Segmenter(tiny_network_3d(), config, origin=lambda: Checkpoint(config.to_json(), {}))
    with pytest.raises(InputError, match="has no batch norms"):
        adapt(plain, volume)


def test_windows_that_are_mostly_black_do_not_count(
    monkeypatch: pytest.MonkeyPatch, segmenter: Segmenter, volume: np.ndarray
) -> None:
    monkeypatch.setattr(module, "_WINDOW", (4, 32, 32))
    assert adapt(segmenter, volume, pixel_size=SIZE).windows == module._WINDOWS  # of nine
    volume = volume.copy()
    volume[:, :, 32:] = 0
    assert adapt(segmenter, volume, pixel_size=SIZE).windows == 3


def test_of_a_large_volume_only_windows_are_read(
    monkeypatch: pytest.MonkeyPatch, segmenter: Segmenter, volume: np.ndarray
) -> None:
    class Counted:
        """An array that counts the voxels that are read, as one on disk would have to."""

        def __init__(self, values: np.ndarray) -> None:
            self.values, self.read = values, 0
            self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim

        def __getitem__(self, index: Any) -> np.ndarray:
            part = self.values[index]
            self.read += part.size
            return part

    monkeypatch.setattr(module, "_WINDOW", (4, 32, 32))
    monkeypatch.setattr("pixel_embedded_affinity.large.lazy._SAMPLES", volume.size // 8)
    many = Counted(np.tile(volume, (4, 6, 6)))
    many.values[:8] = 0  # half of it is blank
    assert adapt(segmenter, many, pixel_size=SIZE).windows == module._WINDOWS
    assert many.read < many.values.size / 10


def test_one_window_is_held_at_a_time(
    monkeypatch: pytest.MonkeyPatch, segmenter: Segmenter, volume: np.ndarray
) -> None:
    held: list[weakref.ref[Any]] = []
    most = 0

    class Window(np.ndarray):
        """An array that is counted as long as it lives."""

    def counted(values: np.ndarray, scale: Any) -> np.ndarray:
        nonlocal most
        gc.collect()
        window = resize_image(values, scale).copy().view(Window)
        held.append(weakref.ref(window))
        most = max(most, sum(one() is not None for one in held))
        return window

    monkeypatch.setattr(module, "_WINDOW", (4, 32, 32))
    monkeypatch.setattr(module, "resize_image", counted)
    assert adapt(segmenter, [volume, volume], pixel_size=SIZE).windows == 2 * module._WINDOWS
    assert most <= 2  # one is read while the network has the other


def test_all_volumes_are_checked_before_the_work(
    monkeypatch: pytest.MonkeyPatch, segmenter: Segmenter, volume: np.ndarray
) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("nothing may be read")

    monkeypatch.setattr(module, "fixed_normalization", fail)
    with pytest.raises(InputError, match="volume 2 to adapt to: it has"):
        adapt(segmenter, [volume, volume[:, :32]], pixel_size=SIZE)


def test_voxels_of_another_size_are_resized_as_they_are_for_the_network(
    segmenter: Segmenter, volume: np.ndarray
) -> None:
    coarse = segmenter.with_settings(scale="auto")
    same, half = (adapt(coarse, volume, pixel_size=(0.03, side, side)) for side in (0.006, 0.012))
    assert same.shift != half.shift
    enlarged = resize_image(volume[None], (1.0, 2.0, 2.0))[0]
    assert adapt(segmenter, enlarged, pixel_size=SIZE).shift == pytest.approx(half.shift, rel=0.05)
    with pytest.raises(InputError, match="volume 1 to adapt to: scale 'auto' compares"):
        adapt(coarse, volume)


def test_the_first_windows_lie_evenly_and_others_between_them() -> None:
    tried = list(module._parts((16, 512 * 10, 512 * 10), (16, 512, 512)))
    first = [10 * (box[1].start // 512) + box[2].start // 512 for box in tried[: module._WINDOWS]]
    assert first[0] == 0
    assert first[-1] == 99
    assert set(np.diff(first)) <= {14, 15}
    assert len({str(box) for box in tried}) == len(tried)
    assert module._LOOKED <= len(tried) < module._LOOKED + module._WINDOWS
    assert list(module._parts((4, 96, 96), (16, 512, 512))) == [(slice(0, 4), slice(0, 96), slice(0, 96))]
    huge = list(module._parts((10**4, 10**5, 10**5), (16, 512, 512)))
    assert max(box[2].stop for box in huge) == 10**5


@pytest.mark.parametrize(
    ("length", "windows"), [(512, 1), (640, 1), (641, 2), (760, 2), (1300, 3), (5000, 10)]
)
def test_no_window_is_longer_than_a_quarter_more_than_wanted(length: int, windows: int) -> None:
    boxes = list(module._parts((16, length, 512), (16, 512, 512)))
    assert all(box[1].stop - box[1].start <= 640 for box in boxes)
    assert sum(box[1].stop - box[1].start for box in boxes) == length
    assert len(boxes) == windows


def test_what_is_too_small_for_statistics_is_refused(segmenter: Segmenter, volume: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"it has 4 x 96 x 32 voxels .* expected at least 64 along y and x"):
        adapt(segmenter, volume[:, :, :32], pixel_size=SIZE)
    with pytest.raises(InputError, match="it has 1 x 8 x 8 voxels"):
        adapt(segmenter, volume[:1, :8, :8], pixel_size=SIZE)


def test_a_second_adaptation_remembers_the_first(segmenter: Segmenter, volume: np.ndarray) -> None:
    again = adapt(adapt(segmenter, volume, pixel_size=SIZE).segmenter, volume[:, ::-1], pixel_size=SIZE)
    made = again.segmenter.config.provenance["adapted"]
    assert [one["start"]["name"] for one in made] == ["neurons", "neurons-adapted"]
    assert len(repr(again)) < 500


# --- the verb and the command ----------------------------------------------------------------------------------------


def test_the_command_writes_the_model_that_the_verb_makes(
    tmp_path: Path, segmenter: Segmenter, volume: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    sections = tmp_path / "stack"
    sections.mkdir()
    for number, section in enumerate(volume):
        tifffile.imwrite(sections / f"s{number:03d}.tif", section)
    (sections / "notes.txt").write_text("not an image")
    tifffile.imwrite(
        tmp_path / "other.tif", volume[:, ::-1], metadata={"axes": "ZYX"}, photometric="minisblack"
    )
    output = tmp_path / "mine.safetensors"
    command = ["adapt", "--model", "neurons", "--output", str(output), "--pixel-size", "0.03,0.006,0.006"]
    command += ["--device", "cpu", "--precision", "float32", "--threads", "1"]
    assert main([*command, "--sections", str(sections), str(tmp_path / "other.tif")]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == str(output)
    said = dict(line.split("  ", 1) for line in lines)
    assert said["volumes"].strip() == said["windows"].strip() == "2"
    found = segmenter.adapt([volume, volume[:, ::-1]], pixel_size=SIZE)
    assert said["statistics moved by"].strip() == f"{found.shift:.2f} standard deviations"
    tensors = Segmenter.from_file(output, device="cpu").origin().tensors
    assert all(torch.equal(value, tensors[name]) for name, value in found.checkpoint.tensors.items())
    assert main(["models", "show", str(output)]) == 0
    assert f"to {sections}, {tmp_path / 'other.tif'} (2 windows)" in capsys.readouterr().out


def test_the_command_refuses_before_the_work(
    tmp_path: Path, volume: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    stack, output = str(tmp_path / "stack.tif"), str(tmp_path / "m.safetensors")
    tifffile.imwrite(stack, volume, metadata={"axes": "ZYX"}, photometric="minisblack")
    for arguments, message in (
        ([stack, "--model", "neurons", "--output", str(tmp_path / "m.pt")], "a name ending in .safetensors"),
        ([str(tmp_path / "none.tif"), "--model", "neurons", "--output", output], "none.tif' does not exist"),
        (
            [stack, "--model", "nuclei", "--output", output],
            "'nuclei' is for images; expected a model of volumes",
        ),
        (
            [stack, "--model", "neurons", "--axes", "TYX", "--output", output],
            f"volume 1 to adapt to ({stack!r})",
        ),
    ):
        assert main(["adapt", *arguments]) == 2
        assert message in capsys.readouterr().err
    assert not Path(output).exists()
