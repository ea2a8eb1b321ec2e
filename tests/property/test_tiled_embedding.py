"""Tiled = whole: the embedding does not tell in which parts the image went through the network."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from pixel_embedded_affinity import embedding as embedding_module
from pixel_embedded_affinity.config.model import NetworkConfig
from pixel_embedded_affinity.embedding import Embedding, embed, stride_of
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.per_axis import per_axis
from pixel_embedded_affinity.geometry.tiling import Tiling
from pixel_embedded_affinity.geometry.views import geometries
from pixel_embedded_affinity.network.base import NetworkOutput
from pixel_embedded_affinity.network.build import build_network

CPU = torch.device("cpu")


class Exact(nn.Module):
    """A network in double precision: in single, rounding depends on the shape of what it sees."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).double().eval()
        for name in ("ndim", "grid", "stride", "receptive_radius"):
            if hasattr(network, name):
                setattr(self, name, getattr(network, name))

    def forward(self, images: torch.Tensor) -> Any:
        return self.network(images.double())


class Volumes(nn.Module):
    """Embeds volumes, whose planes are farther apart than their pixels; strided, at every second pixel of a plane."""

    ndim, grid = 3, (2, 4, 4)

    def __init__(self, strided: bool) -> None:
        super().__init__()
        self.stride = (1, 2, 2) if strided else (1, 1, 1)
        self.fine = nn.Conv3d(1, 4, 3, padding=1)
        self.planes = nn.Conv3d(4, 4, (1, 3, 3), padding=(0, 1, 1))
        self.deep = nn.Conv3d(4, 4, 3, padding=1)
        self.heads = nn.Conv3d(4, 5, 1)

    def receptive_radius(self) -> tuple[int, ...]:
        return (4, 10, 10)

    def forward(self, images: torch.Tensor) -> NetworkOutput:
        shape = images.shape[2:]
        missing = [(0, -length % step) for length, step in zip(shape, self.grid, strict=True)]
        padded = functional.pad(images, sum(missing[::-1], ()), mode="replicate")
        fine = torch.tanh(self.fine(padded))
        half = torch.tanh(self.planes(functional.max_pool3d(fine, (1, 2, 2))))
        deep = torch.tanh(self.deep(functional.max_pool3d(half, 2)))
        half = half + functional.interpolate(deep, scale_factor=2)
        full = fine + functional.interpolate(half, scale_factor=(1, 2, 2))
        embedding = self.heads(half if max(self.stride) > 1 else full)[:, :4]
        ends = [-(-length // step) for length, step in zip(shape, self.stride, strict=True)]
        inside = self.heads(full)[:, 4:]
        return NetworkOutput(embedding[cut(ends)], inside[cut(shape)], ())


def cut(shape: Sequence[int]) -> tuple[Any, ...]:
    return (..., *(slice(length) for length in shape))


NAMES = ("plane", "strided plane", "volume", "strided volume")


@pytest.fixture(scope="module")
def exact(make_network: Any, tiny_network: nn.Module) -> dict[str, Exact]:
    """Networks of two and three axes, with an embedding vector at each pixel, and at every second one."""
    config = NetworkConfig("half_unet", in_channels=1, filters=(4,) * 5, embedding_channels=4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        volumes = [Volumes(strided) for strided in (False, True)]
    networks = (tiny_network, half_network(config), *volumes)
    return {name: Exact(network) for name, network in zip(NAMES, networks, strict=True)}


def half_network(config: NetworkConfig) -> nn.Module:
    """A half-resolution network of seeded random weights whose batch norms all do something."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(config).eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.normal_(module.bias, std=0.3)
                nn.init.normal_(module.running_mean, std=0.3)
                nn.init.uniform_(module.running_var, 0.5, 2)
    return network


def difference(one: Embedding, other: Embedding) -> float:
    assert one.foreground is not None
    assert other.foreground is not None
    assert one.values.shape == other.values.shape
    assert one.foreground.shape == other.foreground.shape
    assert (one.stride, one.seen_shape) == (other.stride, other.seen_shape)
    pairs = ((one.values, other.values), (one.foreground, other.foreground))
    return max(float((a - b).abs().max()) for a, b in pairs)


@st.composite
def pictures(draw: st.DrawFn, name: str) -> Any:
    """An image long along one axis, and the lengths of tiles that cut it there."""
    long, axes = (60, 2) if "volume" in name else (460 if "strided" in name else 330, 1)
    shape = [draw(st.integers(1, 33 if axes == 1 else 12)) for _ in range(axes)]
    shape.insert(draw(st.integers(0, axes)), draw(st.integers(2 * long // 3, long)))
    tile = tuple(draw(st.integers(long // 15, long // 3)) for _ in shape)
    return draw(st.integers(0, 2**32 - 1)), tuple(shape), tile


def image_of(seed: int, shape: Sequence[int]) -> Any:
    return np.random.default_rng(seed).random((1, *shape), np.float32)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(data=st.data(), extra=st.integers(0, 4), batch=st.integers(1, 4))
def test_tiles_with_the_receptive_radius_around_give_the_embedding_of_the_whole(
    exact: dict[str, Exact], name: str, data: st.DataObject, extra: int, batch: int
) -> None:
    network = exact[name]
    seed, shape, tile = data.draw(pictures(name))
    image = image_of(seed, shape)
    radius = network.receptive_radius()
    halo = tuple(one + extra for one in per_axis(radius, len(shape), "radius"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding_module, "_batch_size", lambda *_: batch)
        tiled = embed(network, image, CPU, "float32", tiling=Tiling(tile, halo=halo))
    whole = embed(network, image, CPU, "float32")
    assert difference(tiled, whole) < 1e-6
    assert tiled.seen_shape == shape
    ends = [-(-length // step) for length, step in zip(shape, stride_of(network), strict=True)]
    assert tiled.spatial_shape == tuple(ends)


@pytest.mark.parametrize("name", NAMES)
def test_a_halo_of_less_than_the_receptive_radius_shows(exact: dict[str, Exact], name: str) -> None:
    network = exact[name]
    image = image_of(0, (8, 12, 60) if "volume" in name else (33, 330))
    tiled = embed(network, image, CPU, "float32", tiling=Tiling(24, halo=0))
    assert difference(tiled, embed(network, image, CPU, "float32")) > 1e-4


@pytest.mark.parametrize(("name", "views"), [*((name, 4) for name in NAMES), *((name, 8) for name in NAMES)])
@pytest.mark.parametrize("tiling", [Tiling(None), "tiles"])
@pytest.mark.parametrize("odd", [False, True])
def test_each_view_is_that_of_the_turned_image_and_the_foreground_their_mean(
    exact: dict[str, Exact], name: str, views: int, tiling: Any, odd: bool
) -> None:
    network = exact[name]
    shape = (5 + odd, 10 + odd, 30 + odd) if "volume" in name else (46 + odd, 250 + odd)
    if tiling == "tiles":
        tiling = Tiling(8 if "volume" in name else 32, halo=network.receptive_radius())
    image = image_of(1, shape)
    found = embed(network, image, CPU, "float32", views=views, tiling=tiling)
    assert (found.seen_shape, found.values.shape[0]) == (shape, 4 * views)
    grid = per_axis(network.grid, len(shape), "grid")
    missing = [(0, -length % step) for length, step in zip(shape, grid, strict=True)]
    padded = np.pad(image, [(0, 0), *missing], mode="edge")
    whole = tuple(slice(length) for length in shape)
    inside = []
    for number, geometry in enumerate(geometries(views, len(shape))):
        seen = np.ascontiguousarray(geometry.apply(torch.from_numpy(padded)).numpy())
        one = embed(network, seen, CPU, "float32")
        assert one.foreground is not None
        turned = Embedding(geometry.invert(one.values), geometry.invert(one.foreground), stride=one.stride)
        expected = turned.crop(whole)
        vectors = found.values[4 * number : 4 * number + 4] * views**0.5
        np.testing.assert_allclose(vectors, expected.values, atol=1e-6)
        inside.append(expected.foreground)
    assert found.foreground is not None
    np.testing.assert_allclose(found.foreground, np.mean(inside, axis=0), atol=1e-6)


def test_axes_on_which_the_network_differs_are_not_swapped(exact: dict[str, Exact]) -> None:
    image = image_of(0, (4, 8, 8))
    swapped = embed(exact["volume"], image, CPU, "float32", views=16, pixel_size=(3, 1, 1))
    assert swapped.values.shape == (64, 4, 8, 8)
    with pytest.raises(InputError, match="views must be 1, 4, 8 or 16, got 48"):
        embed(exact["volume"], image, CPU, "float32", views=48, pixel_size=(1, 1, 1))


@pytest.mark.parametrize("name", [name for name in NAMES if "strided" in name])
def test_a_part_of_a_strided_embedding_starts_at_a_vector(exact: dict[str, Exact], name: str) -> None:
    shape = (5, 9, 11) if "volume" in name else (21, 35)
    found = embed(exact[name], image_of(0, shape), CPU, "float32")
    box = (*(slice(1, 4) for _ in shape[2:]), slice(2, 9), slice(4, shape[-1]))
    part = found.crop(box)
    assert part.stride == found.stride
    assert part.seen_shape == tuple(side.stop - side.start for side in box)
    assert part.spatial_shape[-2:] == (4, -(-shape[-1] // 2) - 2)
    assert torch.equal(
        part.values, found.values[..., 1:5, 2:][:, box[0]] if len(shape) == 3 else found.values[:, 1:5, 2:]
    )
    bare = Embedding(found.values, stride=found.stride, seen=shape)
    assert bare.crop(box).seen_shape == part.seen_shape
    with pytest.raises(
        InputError, match="expected a box without gaps that starts at multiples of the stride"
    ):
        found.crop((*(slice(1, 4) for _ in shape[2:]), slice(1, 9), slice(4, 8)))
    with pytest.raises(InputError, match="expected a box without gaps"):
        found.crop(tuple(slice(0, 4, 2) for _ in shape))


def test_a_strided_embedding_without_a_foreground_knows_what_was_seen() -> None:
    network = half_network(
        NetworkConfig("half_unet", 1, filters=(4,) * 5, embedding_channels=4, foreground_head=False)
    )
    for tiling, views in ((Tiling(None), 1), (Tiling(32, halo=32), 1), (Tiling(32, halo=32), 8)):
        found = embed(network, image_of(0, (35, 201)), CPU, "float32", tiling=tiling, views=views)
        assert (found.foreground, found.stride, found.seen_shape) == (None, (2, 2), (35, 201))
        assert found.spatial_shape == (18, 101)


def test_an_image_has_as_many_axes_as_the_network_takes(exact: dict[str, Exact]) -> None:
    with pytest.raises(InputError, match=r"takes an image \(C, Z, Y, X\), got one of shape \(1, 8, 8\)"):
        embed(exact["volume"], image_of(0, (8, 8)), CPU, "float32")
    with pytest.raises(InputError, match=r"takes an image \(C, Y, X\), got one of shape \(1, 8, 8, 8\)"):
        embed(exact["plane"], image_of(0, (8, 8, 8)), CPU, "float32")


def test_a_volume_is_cut_into_tiles_for_which_there_is_memory(
    exact: dict[str, Exact], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = exact["volume"]
    seen: list[Any] = []
    network.register_forward_pre_hook(lambda _, images: seen.append(images[0].shape[2:]))
    network.memory_per_pixel = lambda: 100  # type: ignore[assignment]
    monkeypatch.setattr(embedding_module, "free_memory", lambda _: 2 * 100 * 20_000)
    image = image_of(0, (12, 70, 65))
    found = embed(network, image, CPU, "float32", tiling=Tiling())
    assert len(seen) > 1
    assert {np.prod(shape) <= 20_000 for shape in seen} == {True}
    assert difference(found, embed(network, image, CPU, "float32")) < 1e-6


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
