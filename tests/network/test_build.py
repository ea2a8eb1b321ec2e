"""From configuration and weights to a network; weights that do not fit are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from pixel_embedded_affinity.config.model import ModelConfig, NetworkConfig
from pixel_embedded_affinity.errors import CheckpointError, InputError
from pixel_embedded_affinity.network.build import build_network, completed, load_network
from pixel_embedded_affinity.network.residual_unet import ResidualUNet

Weights = dict[str, torch.Tensor]
TINY = NetworkConfig(in_channels=1, filters=(4, 4, 4, 4, 4), embedding_channels=4)


@pytest.fixture
def weights(tiny_network: nn.Module) -> Weights:
    return {name: tensor.clone() for name, tensor in tiny_network.state_dict().items()}


def refusal(config: NetworkConfig, weights: Weights) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_network(config, weights)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- building ---------------------------------------------------------------------------------------------


def test_every_setting_of_the_configuration_arrives() -> None:
    config = NetworkConfig(
        in_channels=2,
        filters=(3, 4, 5, 6, 7),
        embedding_channels=9,
        foreground_head=False,
        full_resolution_skip=True,
    )
    network = build_network(config)
    assert isinstance(network, ResidualUNet)
    assert network.stem.enter.in_channels == 2
    assert [block.out_channels for block in (network.stem, *network.encoder)] == [3, 4, 5, 6, 7]
    assert network.embedding_head.out_channels == 9
    assert network.foreground_head is None
    assert network.full_resolution_skip


def test_an_unknown_architecture_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError) as caught:
        build_network(replace(TINY, architecture="resnet"))
    text = str(caught.value)
    assert text.startswith(
        "unknown architecture 'resnet'; the valid ones are anisotropic_unet, half_unet, mala_unet"
    )


@pytest.mark.parametrize("filters", [(), (4,), (4, 4, 4, 4), (4,) * 6])
def test_another_number_of_levels_is_refused(filters: tuple[int, ...]) -> None:
    with pytest.raises(InputError) as caught:
        build_network(replace(TINY, filters=filters))
    assert str(caught.value) == f"residual_unet takes 5 filters, one per level, got {len(filters)}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filters": 5}, "filters must be a list of positive integers, got 5"),
        ({"filters": "12345"}, "filters must be a list of positive integers, got '12345'"),
        (
            {"filters": [1, 2.0, 3, 4, 5]},
            "filters must be a list of positive integers, got (1, 2.0, 3, 4, 5)",
        ),
        ({"filters": [1, 2, 3, 4, True]}, "filters must be a list of positive integers"),
        ({"filters": [1, 2, 3, 4, 0]}, "filters must be a list of positive integers"),
        ({"full_resolution_skip": "no"}, "full_resolution_skip must be true or false, got 'no'"),
        (
            {"filter": 1},
            "unknown settings ['filter'] of architecture 'residual_unet'; the valid ones are ['embedding_",
        ),
    ],
)
def test_options_that_the_architecture_does_not_take_are_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        build_network(replace(TINY, **options))
    assert message in str(caught.value)


def test_options_that_are_not_given_are_completed_from_the_constructor() -> None:
    config = NetworkConfig("half_unet", in_channels=1)
    assert config.options == {}
    assert completed(config).options == {"filters": (32, 32, 64, 64, 96), "blocks": (1, 1, 1, 1, 1)}
    chosen = replace(config, filters=(8,) * 5, blocks=(1, 2, 1, 1, 3))
    assert completed(chosen) == chosen


# --- loading ----------------------------------------------------------------------------------------------


def test_a_loaded_network_is_the_one_that_the_weights_came_from(
    tiny_network: nn.Module, tiny_config: ModelConfig, weights: Weights
) -> None:
    network = load_network(tiny_config.network, weights).eval()
    given = torch.rand(1, 1, 20, 30, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, expected = network(given, pyramid=True), tiny_network(given, pyramid=True)
    assert torch.equal(found.embedding, expected.embedding)
    assert torch.equal(found.foreground, expected.foreground)
    assert all(torch.equal(a, b) for a, b in zip(found.pyramid, expected.pyramid, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_become_single_precision(weights: Weights, dtype: torch.dtype) -> None:
    stored = {name: t.to(dtype) if t.is_floating_point() else t for name, t in weights.items()}
    found = load_network(TINY, stored).state_dict()
    for name, tensor in found.items():
        assert tensor.dtype == (torch.float32 if tensor.is_floating_point() else torch.int64)
        torch.testing.assert_close(tensor, stored[name].to(tensor.dtype), rtol=0, atol=0)


def test_a_loaded_network_has_weights_of_its_own_and_can_be_trained(weights: Weights) -> None:
    network = load_network(TINY, weights)
    before = {name: tensor.clone() for name, tensor in weights.items()}
    with torch.no_grad():
        for parameter in network.parameters():
            assert parameter.requires_grad
            assert parameter.device.type == "cpu"
            parameter.fill_(7)
    assert all(torch.equal(weights[name], before[name]) for name in before)


def test_loading_leaves_the_random_numbers_of_the_process_alone(weights: Weights) -> None:
    state = torch.get_rng_state()
    load_network(TINY, weights)
    assert torch.equal(torch.get_rng_state(), state)


def test_missing_weights_are_counted_and_named(weights: Weights) -> None:
    del weights["embedding_head.bias"], weights["stem.enter.weight"]
    message = refusal(TINY, weights)
    assert "missing ['embedding_head.bias', 'stem.enter.weight'] (2 in all)" in message
    assert "not expected [] (0 in all)" in message
    assert "another architecture" in message


def test_surplus_weights_are_counted_and_the_first_ones_named(weights: Weights) -> None:
    weights |= {f"extra.{index}": torch.zeros(1) for index in range(5)}
    message = refusal(TINY, weights)
    assert "missing [] (0 in all)" in message
    assert "not expected ['extra.0', 'extra.1', 'extra.2'] (5 in all)" in message


def test_no_weights_at_all_are_refused(weights: Weights) -> None:
    assert f"({len(weights)} in all), not expected []" in refusal(TINY, {})


@pytest.mark.parametrize("shape", [(4, 4, 3, 3), (4, 4, 1), (1, 4, 1, 1), ()])
def test_a_misshapen_weight_is_named_with_both_shapes(weights: Weights, shape: tuple[int, ...]) -> None:
    weights["embedding_head.weight"] = torch.zeros(shape)
    message = refusal(TINY, weights)
    assert f"weight 'embedding_head.weight' has shape {shape}, expected (4, 4, 1, 1)" in message


@pytest.mark.parametrize(
    "change",
    [
        {"foreground_head": False},
        {"full_resolution_skip": True},
        {"in_channels": 3},
        {"embedding_channels": 5},
        {"filters": (4, 4, 4, 4, 5)},
        {"filters": (65536,) * 5},
    ],
)
def test_weights_of_another_network_are_refused(weights: Weights, change: dict[str, Any]) -> None:
    assert "the file is of another architecture" in refusal(replace(TINY, **change), weights)


@pytest.mark.parametrize("change", [{"architecture": "resnet"}, {"filters": (4, 4)}])
def test_a_configuration_that_builds_no_network_is_an_error_of_the_file(
    weights: Weights, change: dict[str, Any]
) -> None:
    assert "the weights' configuration is not valid: " in refusal(replace(TINY, **change), weights)
