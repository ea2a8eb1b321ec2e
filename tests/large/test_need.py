"""How much memory an image needs: what counts as one image, and what grows with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pixel_embedded_affinity.config.model import ModelConfig, NetworkConfig
from pixel_embedded_affinity.io.readers.base import NotRead, Source
from pixel_embedded_affinity.io.selection import WHOLE, Selection
from pixel_embedded_affinity.large import need
from pixel_embedded_affinity.large.need import bytes_needed, is_too_large, spatial_shape
from pixel_embedded_affinity.pipeline import Embedder


def unread(axes: str, *shape: int) -> Source:
    return Source(NotRead(shape, np.dtype(np.uint16)), axes)


@pytest.mark.parametrize(
    ("axes", "shape", "given_axes", "ndim", "expected"),
    [
        ("YX", (7, 9), None, 2, (7, 9)),
        ("TCYX", (3, 2, 7, 9), None, 2, (7, 9)),
        ("YXS", (7, 9, 3), None, 2, (7, 9)),
        ("", (7, 9, 3), None, 2, (7, 9)),
        ("", (5, 7, 9), None, 3, (5, 7, 9)),
        ("TCZYX", (3, 2, 5, 7, 9), None, 3, (5, 7, 9)),
        ("QYX", (5, 7, 9), None, 3, (5, 7, 9)),
        ("QYX", (5, 7, 9), None, 2, (7, 9)),
        ("QZYX", (4, 5, 7, 9), None, 3, (5, 7, 9)),
        ("YX", (7, 9), "XY", 2, (7, 9)),
        ("QYX", (5, 7, 9), "CYX", 3, (7, 9)),
        ("YX", (7, 9), "Y", 2, (7,)),
        ("YX", (7, 9), "!?", 2, ()),
    ],
)
def test_the_spatial_axes_count(
    axes: str, shape: tuple[int, ...], given_axes: str | None, ndim: int, expected: tuple[int, ...]
) -> None:
    assert spatial_shape(unread(axes, *shape), Selection(axes=given_axes), ndim) == expected
    assert spatial_shape(unread("YX", 2**40, 2**40), WHOLE, 2) == (2**40, 2**40)


@pytest.fixture(scope="module")
def embedder(make_network: Callable[..., nn.Module]) -> Embedder:
    return Embedder(make_network(CONFIG.network), torch.device("cpu"))


CONFIG = ModelConfig(
    name="tiny",
    version="1",
    network=NetworkConfig(
        in_channels=1, filters=(2, 2, 2, 2, 2), embedding_channels=4, foreground_head=False
    ),
)


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_twice_the_pixels_take_twice_the_memory_and_half_the_scale_less(
    embedder: Embedder, height: int, width: int
) -> None:
    total, embedding = bytes_needed(embedder, CONFIG, (height, width))
    assert bytes_needed(embedder, CONFIG, (2 * height, width)) == (2 * total, 2 * embedding)
    smaller, of_embedding = bytes_needed(embedder, replace(CONFIG, scale=0.5), (height, width))
    assert smaller < total
    assert of_embedding == embedding // 4
    # The embedding alone, as float32.
    assert embedding >= 4 * 4 * height * width


def test_what_is_free_decides(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    total, _ = bytes_needed(embedder, CONFIG, (100, 100))
    for free, expected in ((total - 1, True), (total, False)):
        monkeypatch.setattr(need, "free_memory", lambda device, free=free: free)
        assert is_too_large(embedder, CONFIG, (100, 100)) is expected


def test_a_diameter_in_pixels_counts_as_the_scale_that_it_states(embedder: Embedder) -> None:
    sized = CONFIG.changed(object_diameter=20.0)
    by_diameter = bytes_needed(embedder, sized.with_values({"diameter": 40}), (64, 80))
    assert by_diameter == bytes_needed(embedder, sized.with_values({"scale": 0.5}), (64, 80))
    assert by_diameter < bytes_needed(embedder, sized, (64, 80))
    unknown = bytes_needed(embedder, sized.with_values({"diameter": "12 um"}), (64, 80))
    assert unknown == bytes_needed(embedder, sized.with_values({"scale": "auto"}), (64, 80))
