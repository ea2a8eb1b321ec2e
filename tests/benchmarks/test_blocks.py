"""``benchmarks/blocks.py`` compares blocks with the whole."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import tifffile

from pixel_embedded_affinity import samples


def test_blocks_of_neurons_are_close_to_the_whole_and_one_block_is_equal(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(tmp_path / "part.tif", samples.neurons()[0][:, :96, :96])
    blocks = load("blocks")
    monkeypatch.setattr(blocks, "CUTS", (((12, 64, 64), (8, 24, 24)), ((16, 96, 96), (8, 32, 32))))
    monkeypatch.setattr(sys, "argv", ["blocks.py", str(tmp_path)])
    blocks.main()
    small, one, mean = capsys.readouterr().out.splitlines()
    parts = [float(word) for word in small.split() if word.startswith("0.")]
    assert sum(parts) < 0.02
    assert one == "part, blocks of (16, 96, 96): VOI 0.0000 split + 0.0000 merged"
    assert mean.startswith("mean of 2: ")
