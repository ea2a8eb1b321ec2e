"""Tiled = whole: the embedding does not tell in which parts the image went through the network."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pixel_embedded_affinity import embedding as embedding_module
from pixel_embedded_affinity.embedding import Embedding, embed
from pixel_embedded_affinity.geometry.tiling import Tiling

CPU = torch.device("cpu")


class Exact(nn.Module):
    """A network in double precision: in single, rounding depends on the shape of what it sees."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).double()
        self.grid = network.grid

    def forward(self, images: torch.Tensor) -> Any:
        return self.network(images.double())


@pytest.fixture(scope="module")
def exact(tiny_network: nn.Module) -> Exact:
    return Exact(tiny_network)


def difference(one: Embedding, other: Embedding) -> float:
    assert one.foreground is not None
    assert other.foreground is not None
    assert one.values.shape == other.values.shape
    assert one.foreground.shape == other.foreground.shape
    pairs = ((one.values, other.values), (one.foreground, other.foreground))
    return max(float((a - b).abs().max()) for a, b in pairs)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 33), st.integers(200, 330)),
    turned=st.booleans(),
    tile=st.tuples(st.integers(20, 100), st.integers(60, 140)),
    extra=st.integers(0, 4),
    batch=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_tiles_with_the_receptive_radius_around_give_the_embedding_of_the_whole(
    exact: Exact,
    shape: tuple[int, int],
    turned: bool,
    tile: tuple[int, int],
    extra: int,
    batch: int,
    seed: int,
) -> None:
    image = np.random.default_rng(seed).random((1, *(shape[::-1] if turned else shape)), np.float32)
    tiling = Tiling(tile, halo=exact.network.receptive_radius()[0] + extra)  # type: ignore[operator]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding_module, "_batch_size", lambda *_: batch)
        tiled = embed(exact, image, CPU, "float32", tiling=tiling)
    assert difference(tiled, embed(exact, image, CPU, "float32")) < 1e-6


def test_in_single_precision_the_embedding_differs_by_rounding_only(tiny_network: nn.Module) -> None:
    image = np.random.default_rng(0).random((1, 32, 330), np.float32)
    tiling = Tiling(64, halo=tiny_network.receptive_radius()[0])  # type: ignore[operator]
    tiled = embed(tiny_network, image, CPU, "float32", tiling=tiling)
    whole = embed(tiny_network, image, CPU, "float32")
    away = (tiled.values - whole.values).abs()
    assert float(away.quantile(0.99)) < 1e-5  # more only where a short vector is scaled to unit length
    assert float(away.max()) < 1e-3


def test_without_any_halo_the_seams_show(tiny_network: nn.Module) -> None:
    image = np.random.default_rng(0).random((1, 32, 200), np.float32)
    tiled = embed(tiny_network, image, CPU, "float32", tiling=Tiling(64, halo=0))
    assert difference(tiled, embed(tiny_network, image, CPU, "float32")) > 1e-2
