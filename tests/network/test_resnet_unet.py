"""The U-Nets with the encoder of a ResNet: their size, their weights' names, what they compute, how far they see."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision_names import DEPTHS, torchvision_shapes, torchvision_weights

from pixel_embedded_affinity.config.model import NetworkConfig
from pixel_embedded_affinity.embedding import Embedding, embed, halo_of
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.tiling import Tiling
from pixel_embedded_affinity.network.base import NETWORKS, NetworkOutput, ready
from pixel_embedded_affinity.network.build import build_network
from pixel_embedded_affinity.network.resnet import ResNetEncoder

NAMES = tuple(DEPTHS)
PUBLISHED = {"resnet50_unet": 15.3e6, "resnet101_unet": 34.3e6}
RADIUS = {"resnet50_unet": 225, "resnet101_unet": 497}


def narrow(name: str, **changes: Any) -> NetworkConfig:
    config = NetworkConfig(name, in_channels=1, width=4, filters=(4,) * 5, embedding_channels=4)
    return replace(config, **changes)


def on_meta(name: str, **options: Any) -> Any:
    with torch.device("meta"):
        return NETWORKS.build(name, **options)


def images(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


# --- size and names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_network_has_the_published_number_of_parameters_within_a_percent(name: str) -> None:
    count = sum(parameter.numel() for parameter in on_meta(name).parameters())
    assert count == pytest.approx(PUBLISHED[name], rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_the_encoder_has_torchvision_s_names_and_shapes_but_for_the_last_stage_and_the_classifier(
    name: str,
) -> None:
    found = {key: tuple(value.shape) for key, value in on_meta(name).encoder.state_dict().items()}
    assert found == torchvision_shapes(DEPTHS[name][:3])
    whole = torchvision_shapes(DEPTHS[name])
    rest = {key for key in whole if key.startswith(ResNetEncoder.left_out)}
    assert found == {key: shape for key, shape in whole.items() if key not in rest}


def test_the_names_of_the_test_are_those_of_a_whole_resnet() -> None:
    # 25,557,032 and 44,549,160 parameters are what torchvision states for its models.
    for name, count in {"resnet50_unet": 25_557_032, "resnet101_unet": 44_549_160}.items():
        shapes = torchvision_shapes(DEPTHS[name])
        sizes = [int(np.prod(shape)) for key, shape in shapes.items() if not key.endswith(STATISTICS)]
        assert sum(sizes) == count


STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_beside_the_encoder_have_names_that_files_may_rely_on(name: str) -> None:
    parts = {key.split(".")[0] for key in on_meta(name).state_dict()}
    heads = {"pyramid_heads", "embedding_head", "foreground_head"}
    assert parts == {"encoder", "bottom", "decoder"} | heads
    assert not any("foreground" in key for key in on_meta(name, foreground_head=False).state_dict())


# --- function ---------------------------------------------------------------------------------------------


def normed(values: torch.Tensor, weights: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    mean, variance, scale, shift = (
        weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    shape = (1, -1, 1, 1)
    unit = (values - mean.view(shape)) / (variance.view(shape) + 1e-5).sqrt()
    return unit * scale.view(shape) + shift.view(shape)


def block_by_hand(values: torch.Tensor, weights: dict[str, torch.Tensor], name: str, step: int) -> Any:
    path = values
    for number, (stride, rim) in enumerate([(1, 0), (step, 1), (1, 0)], 1):
        path = functional.conv2d(path, weights[f"{name}.conv{number}.weight"], stride=stride, padding=rim)
        path = normed(path, weights, f"{name}.bn{number}")
        path = path.relu() if number < 3 else path
    if f"{name}.downsample.0.weight" in weights:
        values = functional.conv2d(values, weights[f"{name}.downsample.0.weight"], stride=step)
        values = normed(values, weights, f"{name}.downsample.1")
    return (path + values).relu()


def encoder_by_hand(values: torch.Tensor, weights: dict[str, torch.Tensor], depths: Any) -> Any:
    """The maps of a ResNet, from its weights and functions of torch alone."""
    values = functional.conv2d(values, weights["conv1.weight"], stride=2, padding=3)
    maps = [normed(values, weights, "bn1").relu()]
    values = functional.max_pool2d(maps[0], 3, 2, 1)
    for stage, depth in enumerate(depths, 1):
        for index in range(depth):
            step = 2 if stage > 1 and index == 0 else 1
            values = block_by_hand(values, weights, f"layer{stage}.{index}", step)
        maps.append(values)
    return maps


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("folded", [False, True])
def test_the_encoder_is_a_resnet(name: str, folded: bool) -> None:
    depths = DEPTHS[name][:3]
    weights = torchvision_weights(depths, 4)
    encoder = ResNetEncoder(3, 4, depths)
    encoder.load_state_dict(weights)
    encoder = encoder.double().eval()
    if folded:
        for module in encoder.modules():
            if module is not encoder and hasattr(module, "fold_batch_norm"):
                module.fold_batch_norm()
        encoder.fold_batch_norm()
    given = images(2, 3, 32, 48).double()
    with torch.no_grad():
        found = encoder(given)
        expected = encoder_by_hand(given, {key: value.double() for key, value in weights.items()}, depths)
    assert [tuple(values.shape[1:]) for values in found] == [
        (channels, 32 // step, 48 // step) for channels, step in zip((4, 16, 32, 64), (2, 4, 8, 16))
    ]
    for values, other in zip(found, expected, strict=True):
        torch.testing.assert_close(values, other)


@pytest.mark.parametrize("name", NAMES)
def test_no_batch_norm_is_left_for_inference(make_network: Any, name: str) -> None:
    network = ready(make_network(narrow(name)))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 1), (16, 17), (33, 50)])
def test_output_has_the_shape_of_the_input_and_the_pyramid_goes_to_a_sixteenth(
    make_network: Any, name: str, shape: tuple[int, int]
) -> None:
    with torch.no_grad():
        output = make_network(narrow(name))(images(2, 1, *shape), pyramid=True)
    assert output.embedding.shape == (2, 4, *shape)
    assert output.foreground.shape == (2, 1, *shape)
    height, width = (-(-length // 16) * 16 for length in shape)
    assert [tuple(level.shape) for level in output.pyramid] == [
        (2, 4, height // step, width // step) for step in (16, 8, 4, 2)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_takes_part(make_network: Any, name: str) -> None:
    network = make_network(narrow(name)).train()
    output = network(images(2, 1, 64, 64), pyramid=True)
    sum((part**2).sum() for part in (output.embedding, output.foreground, *output.pyramid)).backward()
    still = [key for key, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert still == []


# --- reach ------------------------------------------------------------------------------------------------


def reached(position: int, depths: tuple[int, ...]) -> tuple[int, int]:
    """First and last pixel that an output pixel reads, by the arithmetic of the layers, from the output back."""
    first = last = position
    for _ in range(4):  # decoder: a block of two 3x3 convolutions on a map of bilinear interpolation
        first, last = (first - 2 - 1) // 2, (last + 2 + 1) // 2
    first, last = first - 2, last + 2
    for stage in (3, 2, 1):  # one 3x3 convolution a bottleneck; that of the first one strides after stage 1
        first, last = first - depths[stage - 1] + 1, last + depths[stage - 1] - 1
        step = 1 if stage == 1 else 2
        first, last = step * first - 1, step * last + 1
    first, last = 2 * first - 1, 2 * last + 1  # max-pooling of 3x3
    return 2 * first - 3, 2 * last + 3


@pytest.mark.parametrize("name", NAMES)
def test_the_measured_receptive_radius_is_that_of_the_layers(name: str) -> None:
    spans = {position: reached(position, DEPTHS[name]) for position in range(16)}
    expected = max(max(place - first, last - place) for place, (first, last) in spans.items())
    assert on_meta(name).receptive_radius() == (expected, expected) == (RADIUS[name],) * 2


@pytest.mark.parametrize("name", NAMES)
def test_tiles_have_the_network_s_own_halo_which_is_less_than_its_radius(name: str) -> None:
    network = on_meta(name)
    assert halo_of(network, Tiling()) == network.halo
    assert max(network.halo) < RADIUS[name]


class Exact(nn.Module):
    """A network in double precision: in single, rounding depends on the shape of what it sees."""

    ndim, stride = 2, (1, 1)

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network, self.grid, self.receptive_radius = (
            network.double(),
            network.grid,
            network.receptive_radius,
        )

    def forward(self, values: torch.Tensor) -> NetworkOutput:
        output: NetworkOutput = self.network(values.double())
        return output


def difference(one: Embedding, other: Embedding) -> float:
    assert one.foreground is not None
    assert other.foreground is not None
    pairs = ((one.values, other.values), (one.foreground, other.foreground))
    return max(float((a - b).abs().max()) for a, b in pairs)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("along", [0, 1])
def test_tiles_with_the_receptive_radius_around_give_the_embedding_of_the_whole(
    make_network: Any, name: str, along: int
) -> None:
    network = Exact(make_network(narrow(name)))
    radius = RADIUS[name]
    shape = np.array([1, 11, 3 * radius])
    shape[1:] = shape[1:] if along else shape[:0:-1]
    image = np.random.default_rng(0).random(tuple(shape), np.float32)
    whole = embed(network, image, torch.device("cpu"), "float32")
    tile = Tiling(2 * radius // 3, halo=radius)
    assert difference(embed(network, image, torch.device("cpu"), "float32", tiling=tile), whole) < 1e-6
    bare = Tiling(2 * radius // 3, halo=0)
    assert difference(embed(network, image, torch.device("cpu"), "float32", tiling=bare), whole) > 1e-4


# --- options ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [0, -1, 2.0, True, "64"])
def test_a_width_that_is_no_positive_integer_is_refused(width: Any) -> None:
    with pytest.raises(InputError, match=r"width must be a positive integer, got "):
        build_network(narrow("resnet50_unet", options={"width": width}))


def test_the_memory_of_a_pixel_follows_the_widest_of_the_last_two_blocks() -> None:
    assert on_meta("resnet50_unet").memory_per_pixel() == 32 * 4 * 13 // 2
    wide = on_meta("resnet50_unet", width=256)
    assert wide.memory_per_pixel() == (256 + 64) // 4 * 4 * 13 // 2


@pytest.mark.parametrize("name", NAMES)
def test_another_number_of_levels_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} takes 5 filters, one per level, got 4"):
        build_network(narrow(name, options={"filters": (4,) * 4}))
