"""A model of volumes takes the statistics of its batch norms from other volumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny3d import tiny_config_3d, tiny_network_3d

from pixel_embedded_affinity import Segmenter, samples
from pixel_embedded_affinity.errors import InputError
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
    assert all(name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in changed)
    found.save(tmp_path / "mine.safetensors")
    again = Segmenter.from_file(tmp_path / "mine.safetensors", device="cpu", precision="float32", threads=1)
    assert again.config.name == "neurons-adapted"
    assert again.config.provenance["adapted"]["start"]["name"] == "neurons"
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
