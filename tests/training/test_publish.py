"""Publishing: the shipped file is half the size, segments, and is what its registry entry says."""

from __future__ import annotations

import hashlib

import torch

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.models.checkpoint import read_checkpoint
from pixel_embedded_affinity.models.config import ModelConfig
from pixel_embedded_affinity.models.registry import read_toml
from pixel_embedded_affinity.training.publish import publish


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
