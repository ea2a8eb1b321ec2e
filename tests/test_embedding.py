"""Embeddings: of unit length, of the image's shape, and the same at any precision up to rounding."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.config.model import ModelConfig, NetworkConfig
from pixel_embedded_affinity.embedding import Embedding, embed, halo_of
from pixel_embedded_affinity.errors import DeviceError, InputError
from pixel_embedded_affinity.geometry.tiling import Tiling
from pixel_embedded_affinity.inference.torch_runtime import unit_length
from pixel_embedded_affinity.network.build import build_network
from pixel_embedded_affinity.runtime.device import PRECISIONS

CPU = torch.device("cpu")


def picture(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(0).random((1, *shape), np.float32)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(1, 1), (17, 31), (32, 32), (1, 100)])
def test_embedding_has_unit_length_and_the_shape_of_the_image(
    tiny_network: nn.Module, shape: tuple[int, int], precision: str
) -> None:
    found = embed(tiny_network, picture(*shape), CPU, precision)
    assert found.values.shape == (4, *shape)
    assert found.values.dtype == torch.float32
    assert found.spatial_shape == shape
    np.testing.assert_allclose(found.values.norm(dim=0), 1, atol=1e-5)
    assert found.foreground is not None
    assert found.foreground.shape == shape
    assert found.foreground.dtype == torch.float32
    assert found.foreground.min() >= 0
    assert found.foreground.max() <= 1


def test_values_are_the_network_s_output_at_unit_length(tiny_network: nn.Module) -> None:
    image = picture(20, 30)
    with torch.no_grad():
        output = tiny_network(torch.from_numpy(image)[None])
    found = embed(tiny_network, image, CPU, "float32")
    expected = output.embedding[0] / output.embedding[0].norm(dim=0)
    np.testing.assert_allclose(found.values, expected, atol=1e-5)
    np.testing.assert_allclose(found.foreground, torch.sigmoid(output.foreground[0, 0]), atol=1e-5)


def test_bfloat16_is_close_to_float32(tiny_network: nn.Module) -> None:
    image = picture(48, 48)
    exact = embed(tiny_network, image, CPU, "float32")
    rough = embed(tiny_network, image, CPU, "bfloat16")
    cosine = (exact.values * rough.values).sum(0)
    assert cosine.median() > 0.99
    assert cosine.mean() > 0.95
    assert not torch.equal(exact.values, rough.values)
    assert exact.foreground is not None
    assert (exact.foreground - rough.foreground).abs().mean() < 0.02


def test_a_network_without_a_foreground_head_gives_none(make_network: Any, tiny_config: ModelConfig) -> None:
    network = make_network(replace(tiny_config.network, foreground_head=False))
    assert embed(network, picture(8, 8), CPU, "float32").foreground is None


def test_numpy_form_holds_the_same_numbers(tiny_network: nn.Module) -> None:
    found = embed(tiny_network, picture(8, 9), CPU, "float32")
    assert isinstance(found.numpy(), np.ndarray)
    np.testing.assert_array_equal(found.numpy(), found.values)


def test_no_gradient_is_tracked_and_the_image_stays(tiny_network: nn.Module) -> None:
    image = picture(8, 9)
    before = image.copy()
    assert not embed(tiny_network, image, CPU, "float32").values.requires_grad
    np.testing.assert_array_equal(image, before)


def test_unknown_precision_is_refused(tiny_network: nn.Module) -> None:
    with pytest.raises(DeviceError, match="precision 'float16' is unknown; expected one of auto, float32"):
        embed(tiny_network, picture(8, 9), CPU, "float16")


def test_an_image_on_which_the_network_overflows_is_refused(tiny_network: nn.Module) -> None:
    image = picture(20, 20)
    image[0, 3, 4] = 3e38
    with pytest.raises(InputError, match=r"overflows on this image.* to 3e\+38; expected values"):
        embed(tiny_network, image, CPU, "float32")


def test_a_foreground_that_is_not_finite_is_refused(make_network: Any, tiny_config: ModelConfig) -> None:
    network = make_network(tiny_config.network)
    network.foreground_head[-1].bias.data.fill_(torch.nan)
    with pytest.raises(InputError, match="overflows on this image"):
        embed(network, picture(20, 20), CPU, "float32")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_unit_length_works_in_float32_and_leaves_zero_vectors(dtype: torch.dtype) -> None:
    given = torch.tensor([[[3.0, 0.0]], [[4.0, 0.0]]], dtype=dtype)
    found = unit_length(given)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, [[[0.6, 0]], [[0.8, 0]]], atol=1e-7)


def test_embeddings_are_compared_by_identity() -> None:
    one, other = (Embedding(torch.ones(2, 3, 3)) for _ in range(2))
    assert one == one
    assert one != other
    assert len({one, other}) == 2


# --- tiles and memory -------------------------------------------------------------------------------------


class Greedy(nn.Module):
    """A network for which there is memory only for images up to a number of pixels."""

    grid = 16

    def __init__(self, network: nn.Module, pixels: int, error: Exception) -> None:
        super().__init__()
        self.network, self.pixels, self.error = network, pixels, error
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: torch.Tensor) -> Any:
        self.seen.append(tuple(images.shape))
        if images[0, 0].numel() > self.pixels:
            raise self.error
        return self.network(images.to(next(self.network.parameters()).dtype))


ERRORS = [
    MemoryError(),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes."),
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_tiles_are_halved_where_memory_runs_out_which_is_logged_and_changes_nothing(
    tiny_network: nn.Module, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    image = picture(16, 330)
    exact = copy.deepcopy(tiny_network).double()  # in float32, rounding would depend on the shape of a tile
    greedy = Greedy(exact, 16 * 300, error)
    tiling = Tiling(280, halo=tiny_network.receptive_radius()[0])
    with caplog.at_level(logging.WARNING):
        found = embed(greedy, image, CPU, "float32", tiling=tiling)
    assert "memory does not suffice for tiles of (280, 280); going on with tiles of" in caplog.text
    assert greedy.seen[-1][-1] < greedy.seen[0][-1]
    whole = embed(Greedy(exact, 10**9, error), image, CPU, "float32")
    np.testing.assert_allclose(found.values, whole.values, atol=1e-6)


def test_other_errors_and_a_lack_of_memory_for_the_least_tile_are_raised(tiny_network: nn.Module) -> None:
    broken = Greedy(tiny_network, 0, RuntimeError("no such operation"))
    with pytest.raises(RuntimeError, match="no such operation"):
        embed(broken, picture(16, 330), CPU, "float32", tiling=Tiling(64))
    assert len(broken.seen) == 1
    with pytest.raises(MemoryError):
        embed(Greedy(tiny_network, 0, MemoryError()), picture(16, 64), CPU, "float32", tiling=Tiling(64, 0))


def test_an_image_that_is_to_go_through_whole_never_is_cut(tiny_network: nn.Module) -> None:
    greedy = Greedy(tiny_network, 100, MemoryError())
    with pytest.raises(MemoryError):
        embed(greedy, picture(16, 64), CPU, "float32", tiling=Tiling(None))
    assert greedy.seen == [(1, 1, 16, 64)]


def test_tiles_are_chosen_from_the_free_memory(
    tiny_network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Seen(Greedy):
        def memory_per_pixel(self) -> int:
            return 100

    monkeypatch.setattr("pixel_embedded_affinity.embedding.free_memory", lambda _: 2 * 100 * 48 * 208)
    small = Seen(tiny_network, 10**9, MemoryError())
    embed(small, picture(40, 200), CPU, "float32", tiling=Tiling("auto"))
    assert small.seen == [(1, 1, 40, 200)]
    large = Seen(tiny_network, 10**9, MemoryError())
    embed(large, picture(48, 330), CPU, "float32", tiling=Tiling("auto", halo=16))
    assert len(large.seen) > 1
    assert {shape[-1] * shape[-2] <= 48 * 208 for shape in large.seen} == {True}


def test_how_far_a_network_reads_is_asked_only_where_an_image_is_cut(tiny_network: nn.Module) -> None:
    class Asked(Greedy):
        asked = 0

        def memory_per_pixel(self) -> int:
            return 1

        def receptive_radius(self) -> int:
            self.asked += 1
            return 24

    network = Asked(tiny_network, 10**9, MemoryError())
    for tiling in (Tiling(), Tiling(64), Tiling(None), Tiling(16, halo=0)):
        embed(network, picture(20, 64), CPU, "float32", tiling=tiling)
    assert network.asked == 0
    network.seen.clear()
    embed(network, picture(16, 330), CPU, "float32", tiling=Tiling(64))
    assert network.seen[0][-1] == 64 + 2 * 32


def test_a_network_that_does_not_say_how_tiles_must_lie_runs_whole_or_is_refused(
    tiny_network: nn.Module,
) -> None:
    class Wrapped(nn.Module):
        def forward(self, images: torch.Tensor) -> Any:
            return tiny_network(images)

    embed(Wrapped(), picture(8, 9), CPU, "float32", tiling=Tiling("auto"))
    with pytest.raises(
        InputError, match="network Wrapped does not say how tiles must lie; expected an attribute"
    ):
        embed(Wrapped(), picture(8, 9), CPU, "float32", tiling=Tiling(64))


def test_a_tile_has_a_size_for_each_axis(tiny_network: nn.Module) -> None:
    with pytest.raises(
        InputError, match=r"tile must be .* or 2 of them, one per axis, in pixels, got \(16, 16"
    ):
        embed(tiny_network, picture(8, 9), CPU, "float32", tiling=Tiling((16, 16, 16)))


def test_a_cropped_embedding_is_a_window_of_it(tiny_network: nn.Module) -> None:
    found = embed(tiny_network, picture(20, 30), CPU, "float32")
    part = found.crop((slice(3, 8), slice(10, 30)))
    assert part.spatial_shape == (5, 20)
    assert torch.equal(part.values, found.values[:, 3:8, 10:])
    assert part.foreground is not None
    assert found.foreground is not None
    assert torch.equal(part.foreground, found.foreground[3:8, 10:])
    assert Embedding(found.values).crop((slice(1), slice(1))).foreground is None


@pytest.mark.parametrize(("halo", "expected"), [("auto", (160, 160)), (7, (7, 7)), ((3, 5), (3, 5))])
def test_a_network_may_say_its_halo_which_a_tiling_replaces(halo: Any, expected: tuple[int, int]) -> None:
    network = build_network(NetworkConfig("half_unet", 1, filters=(4,) * 5))
    assert halo_of(network, Tiling(64, halo=halo)) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"foreground": lambda f: f * np.nan}, "values from nan to nan; expected probabilities"),
        ({"foreground": lambda f: f * 20 - 10}, "expected probabilities, from 0 to 1"),
        (
            {"foreground": lambda f: f[None]},
            r"foreground of an embedding has the shape \(1, 20, 24\); expected its 2",
        ),
        ({"foreground": lambda f: "a"}, "foreground of an embedding is of type str"),
        ({"foreground": lambda f: f[:10]}, "do not fit the stride"),
        ({"values": lambda v: v.tolist()}, "values of an embedding is of type list"),
        ({"values": lambda v: v.astype(complex)}, "dtype complex128; expected floating-point"),
        ({"values": lambda v: v[0]}, r"expected \(D, \*spatial\) with 2 spatial axes"),
        ({"stride": lambda s: None}, "give stride=, the pixels between two vectors"),
        ({"stride": lambda s: 2}, "stride of an embedding is 2; expected 2 integers above 0"),
        ({"stride": lambda s: (0, 0)}, "expected 2 integers above 0"),
        ({"stride": lambda s: (2.0, 2.0)}, "expected 2 integers above 0"),
        (
            {"image_shape": lambda s: (20, 24, 3)},
            r"image_shape of an embedding is \(20, 24, 3\); expected 2 integers",
        ),
        ({"image_shape": lambda s: 5}, "image_shape of an embedding is 5"),
    ],
)
def test_an_embedding_of_parts_that_do_not_fit_is_refused(
    strided_segmenter: Segmenter, changes: dict[str, Any], message: str
) -> None:
    found = strided_segmenter.embed(np.random.default_rng(0).random((20, 24)))
    parts = {"values": found.numpy(), "foreground": found.foreground_numpy(), "stride": found.stride}
    parts |= {"image_shape": (20, 24)}
    np.testing.assert_array_equal(
        strided_segmenter.cluster(Embedding(**parts)), strided_segmenter.cluster(found)
    )
    changed = {name: change(parts[name]) for name, change in changes.items()}
    with pytest.raises(InputError, match=message):
        strided_segmenter.cluster(Embedding(**(parts | changed)))
