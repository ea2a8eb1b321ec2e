"""Publishing: the shipped file is half the size, segments, and is what its registry entry says."""

from __future__ import annotations

import hashlib
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pixel_embedded_affinity.models.registry import read_toml
from pixel_embedded_affinity.training.run.publish import publish, rounded


def test_a_published_model_is_what_its_registry_entry_says(checkpoint_file, tmp_path):
    config = ModelConfig.from_json(read_checkpoint(checkpoint_file).config_json).changed(license="CC0-1.0")
    entry = publish(checkpoint_file, tmp_path, config=config, data="made up", scores={"dice": 0.5})
    (tmp_path / "registry.toml").write_text(entry, encoding="utf-8")
    table = read_toml(tmp_path / "registry.toml")["models"]["tiny"]
    file = tmp_path / table["file"]
    assert table["size"] == file.stat().st_size
    assert table["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (table["license"], table["data"], table["scores"]) == ("CC0-1.0", "made up", {"dice": 0.5})
    assert Segmenter.from_file(file, device="cpu").config == config
    before, after = (read_checkpoint(path).tensors for path in (checkpoint_file, file))
    assert after["stem.enter.weight"].dtype == torch.float16
    torch.testing.assert_close(after["stem.enter.weight"], before["stem.enter.weight"].half())
    assert after["stem.enter_norm.num_batches_tracked"].dtype == torch.int64


@settings(deadline=None)
@given(
    values=hnp.arrays(np.float16, 20, elements=st.floats(allow_nan=False, allow_infinity=False, width=16)),
    mantissa=st.integers(1, 10),
)
def test_rounded_weights_are_the_nearest_of_so_many_bits(values, mantissa):
    found = rounded(torch.from_numpy(values), mantissa).numpy()
    assert np.isfinite(found).all()
    assert not (found.view(np.uint16) & ((1 << (10 - mantissa)) - 1)).any()
    step = 2.0 ** (10 - mantissa) * np.spacing(np.abs(values)).astype(np.float64)
    near_the_largest = np.abs(values.astype(np.float64)) + step / 2 >= 65504
    error = np.abs(found.astype(np.float64) - values.astype(np.float64))
    assert (error <= np.where(near_the_largest, step, step / 2)).all()
    assert (np.signbit(found) == np.signbit(values)).all()


def test_of_rounded_weights_less_is_left_when_they_are_packed(checkpoint_file, tmp_path):
    config = ModelConfig.from_json(read_checkpoint(checkpoint_file).config_json)
    sizes = []
    for mantissa in (10, 5):
        publish(checkpoint_file, tmp_path, config=config, data="", scores={}, mantissa=mantissa)
        path = tmp_path / f"{config.name}-{config.version}.safetensors"
        sizes.append((path.stat().st_size, len(zlib.compress(path.read_bytes()))))
    assert sizes[0][0] == sizes[1][0]
    assert sizes[1][1] < 0.9 * sizes[0][1]


@pytest.mark.parametrize(("mantissa", "half"), [(0, True), (11, True), (9, False)])
def test_bits_that_a_weight_does_not_have_are_refused(checkpoint_file, tmp_path, mantissa, half):
    config = ModelConfig.from_json(read_checkpoint(checkpoint_file).config_json)
    with pytest.raises(InputError, match=f"mantissa must be from 1 to 10.*got {mantissa}"):
        publish(checkpoint_file, tmp_path, config=config, data="", scores={}, mantissa=mantissa, half=half)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_weights_to_ship_may_be_a_mean_of_a_run_and_of_its_start(checkpoint_file, tmp_path, share):
    checkpoint = read_checkpoint(checkpoint_file)
    config = ModelConfig.from_json(checkpoint.config_json)
    later = {
        name: value + 1 if value.is_floating_point() else value + 8
        for name, value in checkpoint.tensors.items()
    }
    write_checkpoint(tmp_path / "run.safetensors", Checkpoint(checkpoint.config_json, later))
    shipped = {"config": config, "data": "", "scores": {}, "half": False}
    publish(tmp_path / "run.safetensors", tmp_path, others=[checkpoint_file], share=share, **shipped)
    shipped_file = read_checkpoint(tmp_path / f"{config.name}-{config.version}.safetensors")
    provenance = ModelConfig.from_json(shipped_file.config_json).provenance
    assert provenance["share"] == share
    digest = hashlib.sha256(checkpoint_file.read_bytes()).hexdigest()
    assert provenance["mean_with"] == [f"{config.name} {config.version}, sha256 {digest}"]
    found = shipped_file.tensors
    for name, value in checkpoint.tensors.items():
        torch.testing.assert_close(found[name], value + (share if value.is_floating_point() else 8))


def test_without_a_share_all_files_weigh_the_same(checkpoint_file, tmp_path):
    checkpoint = read_checkpoint(checkpoint_file)
    config = ModelConfig.from_json(checkpoint.config_json)
    files = []
    for added in (3.0, 7.0):
        later = {
            name: value + added if value.is_floating_point() else value
            for name, value in checkpoint.tensors.items()
        }
        files.append(tmp_path / f"{added}.safetensors")
        write_checkpoint(files[-1], Checkpoint(checkpoint.config_json, later))
    shipped = {"config": config, "data": "", "scores": {}, "half": False}
    publish(checkpoint_file, tmp_path, others=files, **shipped)
    found = read_checkpoint(tmp_path / f"{config.name}-{config.version}.safetensors").tensors
    for name, value in checkpoint.tensors.items():
        expected = value + 10 / 3 if value.is_floating_point() else value
        torch.testing.assert_close(found[name], expected)


def test_a_start_of_another_network_is_refused(checkpoint_file, tmp_path):
    checkpoint = read_checkpoint(checkpoint_file)
    config = ModelConfig.from_json(checkpoint.config_json)
    fewer = dict(list(checkpoint.tensors.items())[1:])
    write_checkpoint(tmp_path / "other.safetensors", Checkpoint(checkpoint.config_json, fewer))
    shipped = {"config": config, "data": "", "scores": {}}
    with pytest.raises(InputError, match="weights of another network"):
        publish(checkpoint_file, tmp_path, others=[tmp_path / "other.safetensors"], **shipped)
    with pytest.raises(InputError, match=r"share must be .*, got 1\.5"):
        publish(checkpoint_file, tmp_path, others=[checkpoint_file], share=1.5, **shipped)
