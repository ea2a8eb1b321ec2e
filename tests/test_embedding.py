"""Embeddings: of unit length, of the image's shape, and the same at any precision up to rounding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pixel_embedded_affinity.device import PRECISIONS
from pixel_embedded_affinity.embedding import Embedding, embed, unit_length
from pixel_embedded_affinity.errors import DeviceError, InputError
from pixel_embedded_affinity.models.config import ModelConfig

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
