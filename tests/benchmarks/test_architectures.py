"""``benchmarks/architectures.py`` times the networks in turn and counts their parameters and arithmetic."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pixel_embedded_affinity.network.base import NETWORKS


def test_networks_are_counted_and_timed(load: Any, capsys: pytest.CaptureFixture[str]) -> None:
    module = load("architectures")
    module.main(["--names", "half_unet", "residual_unet", "--crop", "32", "--batch", "2", "--runs", "1"])
    heading, columns, *rows = capsys.readouterr().out.splitlines()
    assert heading.startswith("2 x 3 x 32 x 32, float32")
    assert columns.split() == ["network", "parameters", "GFLOP", "time", "GFLOP/s"]
    assert [row.split()[0] for row in rows] == ["half_unet", "residual_unet"]
    counts = [int(row.split()[1].replace(",", "")) for row in rows]
    networks = [NETWORKS.build(name, in_channels=3) for name in ("half_unet", "residual_unet")]
    assert counts == [sum(value.numel() for value in network.parameters()) for network in networks]


def test_the_names_are_those_of_the_library_and_arithmetic_grows_with_the_area(load: Any) -> None:
    module = load("architectures")
    assert set(module.NAMES) <= set(NETWORKS.built_in)
    network = NETWORKS.build("half_unet", in_channels=3)
    small, large = (module.arithmetic(network, torch.rand(2, 3, size, size)) for size in (32, 64))
    assert large == pytest.approx(4 * small, rel=0.01)
