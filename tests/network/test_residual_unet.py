"""The residual U-Net: its size, the shapes it gives, its blocks, and that folding changes nothing."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from pixel_embedded_affinity.config.model import ModelConfig, NetworkConfig
from pixel_embedded_affinity.network.base import measured_radius
from pixel_embedded_affinity.network.blocks import ResidualBlock, fold
from pixel_embedded_affinity.network.residual_unet import ResidualUNet

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture
def no_gradients() -> Any:
    with torch.no_grad():
        yield


def images(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# --- size -------------------------------------------------------------------------------------------------


def test_default_network_has_the_published_number_of_parameters() -> None:
    assert parameters(ResidualUNet()) == pytest.approx(4.7e6, rel=0.02)


def test_full_resolution_skip_adds_less_than_half_a_percent() -> None:
    with torch.device("meta"):
        plain, sharp = ResidualUNet(), ResidualUNet(full_resolution_skip=True)
    added = parameters(sharp) - parameters(plain)
    # 32 more channels into the last block's first convolution, which has 2 x 32 filters of 3 x 3.
    assert added == 32 * 64 * 9
    assert added / parameters(plain) < 0.005


# --- shapes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (15, 16), (16, 16), (17, 16), (1, 70), (33, 50)])
def test_output_has_the_shape_of_the_input(
    make_network: Any, tiny_config: ModelConfig, shape: tuple[int, int], skip: bool
) -> None:
    network = make_network(replace(tiny_config.network, full_resolution_skip=skip))
    output = network(images(2, 1, *shape))
    assert output.embedding.shape == (2, 4, *shape)
    assert output.foreground.shape == (2, 1, *shape)
    assert output.pyramid == ()
    assert output.embedding.isfinite().all()


def test_without_the_head_there_is_no_foreground(make_network: Any, tiny_config: ModelConfig) -> None:
    network = make_network(replace(tiny_config.network, foreground_head=False))
    assert network(images(1, 1, 16, 16)).foreground is None
    assert not any("foreground" in name for name in network.state_dict())


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_image_and_embedding_may_have_any_number_of_channels(make_network: Any, channels: int) -> None:
    config = NetworkConfig(in_channels=channels, filters=(2, 3, 4, 5, 6), embedding_channels=channels + 1)
    output = make_network(config)(images(1, channels, 20, 20))
    assert output.embedding.shape == (1, channels + 1, 20, 20)


@pytest.mark.parametrize(
    ("shape", "padded"), [((64, 96), (64, 96)), ((1, 17), (16, 32)), ((50, 33), (64, 48))]
)
def test_pyramid_goes_from_a_sixteenth_to_a_half_of_the_padded_size(
    tiny_network: nn.Module, shape: tuple[int, int], padded: tuple[int, int]
) -> None:
    output = tiny_network(images(1, 1, *shape), pyramid=True)
    expected = [(1, 4, padded[0] // scale, padded[1] // scale) for scale in (16, 8, 4, 2)]
    assert [tuple(level.shape) for level in output.pyramid] == expected
    assert output.embedding.shape[-2:] == shape


def test_the_pyramid_changes_nothing_else_and_is_not_computed_unless_asked_for(
    make_network: Any, tiny_config: ModelConfig
) -> None:
    network = make_network(tiny_config.network)
    given = images(1, 1, 32, 32)
    with_pyramid = network(given, pyramid=True)

    def refuse(*_: Any) -> None:
        raise AssertionError("a pyramid head was computed")

    for head in network.pyramid_heads:
        head.register_forward_hook(refuse)
    without = network(given)
    torch.testing.assert_close(without.embedding, with_pyramid.embedding, rtol=0, atol=0)
    torch.testing.assert_close(without.foreground, with_pyramid.foreground, rtol=0, atol=0)


# --- function ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (17, 30), (31, 16)])
def test_an_image_is_padded_by_repeating_its_last_row_and_column(
    tiny_network: nn.Module, shape: tuple[int, int]
) -> None:
    image = images(1, 1, *shape)
    below, right = -shape[0] % 16, -shape[1] % 16
    padded = torch.from_numpy(np.pad(image.numpy(), ((0, 0), (0, 0), (0, below), (0, right)), mode="edge"))
    expected = tiny_network(padded).embedding[..., : shape[0], : shape[1]]
    torch.testing.assert_close(tiny_network(image).embedding, expected)


def test_images_of_a_batch_do_not_influence_each_other(tiny_network: nn.Module) -> None:
    batch = images(3, 1, 24, 40)
    together = tiny_network(batch).embedding
    alone = torch.cat([tiny_network(image[None]).embedding for image in batch])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_far_from_its_edges_a_crop_on_a_multiple_of_sixteen_gives_what_the_image_gives(
    tiny_network: nn.Module,
) -> None:
    strip = images(1, 1, 16, 960)
    whole = tiny_network(strip).embedding[..., 400:560]
    crop = tiny_network(strip[..., 160:800]).embedding[..., 240:400]
    torch.testing.assert_close(crop, whole, rtol=1e-4, atol=1e-5)
    shifted = tiny_network(strip[..., 161:801]).embedding[..., 239:399]
    assert (shifted - whole).abs().max() > 1e-3


@pytest.mark.parametrize("skip", [False, True])
def test_the_skip_decides_whether_the_last_block_sees_full_resolution(
    make_network: Any, tiny_config: ModelConfig, skip: bool
) -> None:
    network = make_network(replace(tiny_config.network, full_resolution_skip=skip))
    given = images(1, 1, 32, 32)
    before = network(given).embedding
    last = network.decoder[-1].enter.weight
    assert last.shape[1] == (12 if skip else 8)
    last[:, 8:] = 0
    assert torch.equal(network(given).embedding, before) is not skip


def test_every_parameter_takes_part(make_network: Any, tiny_config: ModelConfig) -> None:
    for skip in (False, True):
        network = make_network(replace(tiny_config.network, full_resolution_skip=skip)).train()
        with torch.enable_grad():
            output = network(images(2, 1, 64, 64), pyramid=True)
            sum((part**2).sum() for part in (output.embedding, output.foreground, *output.pyramid)).backward()
        still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
        assert still == []


def test_a_block_is_two_convolutions_added_to_a_projection() -> None:
    torch.manual_seed(0)
    block = ResidualBlock(3, 5).eval()
    for norm in (block.enter_norm, block.refine_norm):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    given = images(2, 3, 7, 9)

    def convolved(features: torch.Tensor, weight: torch.Tensor, norm: Any, part: slice) -> torch.Tensor:
        return functional.batch_norm(
            functional.conv2d(features, weight[part], padding=1),
            norm.running_mean[part],
            norm.running_var[part],
            norm.weight[part],
            norm.bias[part],
        )

    first, second = slice(0, 5), slice(5, 10)
    path = torch.relu(convolved(given, block.enter.weight, block.enter_norm, first))
    path = convolved(path, block.refine.weight, block.refine_norm, slice(None))
    projection = convolved(given, block.enter.weight, block.enter_norm, second)
    torch.testing.assert_close(block(given), torch.relu(path + projection))


# --- folding ----------------------------------------------------------------------------------------------

WIDE = NetworkConfig()
SHARP = NetworkConfig(in_channels=1, filters=(8, 8, 8, 8, 8), full_resolution_skip=True)
BARE = NetworkConfig(in_channels=2, filters=(4, 6, 8, 10, 12), foreground_head=False)


@pytest.mark.parametrize("config", [WIDE, SHARP, BARE], ids=["default", "skip", "no foreground"])
def test_folding_batch_norm_changes_no_output(make_network: Any, config: NetworkConfig) -> None:
    network = make_network(config).double()  # in float32 processors differ in the last digits
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(norm.running_mean.abs().max() > 0.1 for norm in norms)
    folded = copy.deepcopy(network)
    folded.fold_batch_norm()
    given = images(1, config.in_channels, 50, 40).double()
    expected, found = network(given, pyramid=True), folded(given, pyramid=True)
    tolerance = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(found.embedding, expected.embedding, **tolerance)
    torch.testing.assert_close(found.foreground, expected.foreground, **tolerance)
    torch.testing.assert_close(found.pyramid, expected.pyramid, **tolerance)


def test_after_folding_no_batch_norm_is_left_and_folding_again_does_nothing(
    make_network: Any, tiny_config: ModelConfig
) -> None:
    network = make_network(tiny_config.network)
    network.fold_batch_norm()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.fold_batch_norm()
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_folding_leaves_the_given_convolution_alone() -> None:
    convolution, norm = nn.Conv2d(2, 3, 3, bias=False).eval(), nn.BatchNorm2d(3).eval()
    nn.init.uniform_(norm.running_var, 0.5, 2)
    before = convolution.weight.clone()
    folded, rest = fold(convolution, norm)
    assert folded is not convolution
    assert torch.equal(convolution.weight, before)
    assert isinstance(rest, nn.Identity)
    given = images(1, 2, 5, 5)
    torch.testing.assert_close(rest(folded(given)), norm(convolution(given)))


# --- receptive field --------------------------------------------------------------------------------------


def reached(position: int) -> tuple[int, int]:
    """First and last pixel that an output pixel reads, by the arithmetic of the layers, from the output back."""
    first = last = position
    for _ in range(4):  # decoder: a block of two 3x3 convolutions on a map of bilinear interpolation
        first, last = (first - 2 - 1) // 2, (last + 2 + 1) // 2
    for _ in range(4):  # encoder: a block, then pooling
        first, last = 2 * first - 2, 2 * last + 1 + 2
    return first - 2, last + 2


@pytest.mark.parametrize("skip", [False, True])
def test_the_measured_receptive_radius_is_that_of_the_layers(skip: bool) -> None:
    with torch.device("meta"):
        network = ResidualUNet(full_resolution_skip=skip)
    expected = max(max(p - reached(p)[0], reached(p)[1] - p) for p in range(network.grid[0]))
    assert network.receptive_radius() == (expected, expected) == (92, 92)


def test_measuring_the_receptive_field_leaves_random_numbers_alone() -> None:
    measured_radius.cache_clear()
    before = torch.get_rng_state()
    ResidualUNet(filters=(1,) * 5)
    drawn = torch.get_rng_state()
    assert not torch.equal(drawn, before)
    torch.set_rng_state(before)
    with torch.device("meta"):
        network = ResidualUNet()
    network.receptive_radius()
    assert torch.equal(torch.get_rng_state(), before)
