"""The residual U-Net for volumes: its size, what reads what, and what its weights are called."""

from __future__ import annotations

import re

import pytest
import torch

from pixel_embedded_affinity.config.model import NetworkConfig
from pixel_embedded_affinity.network.anisotropic_unet import AnisotropicBlock, AnisotropicUNet
from pixel_embedded_affinity.network.build import build_network

NARROW = NetworkConfig("anisotropic_unet", in_channels=1, filters=(4, 4, 4, 4, 4), embedding_channels=4)


def test_it_has_the_published_widths_and_levels() -> None:
    network = AnisotropicUNet()
    assert [block.enter.convolution.out_channels for block in network.encoder] == [28, 36, 48, 64, 80]
    assert network.stem.convolution.kernel_size == network.last.convolution.kernel_size == (1, 5, 5)
    assert sum(values.numel() for values in network.parameters()) == 1_481_657


def test_weights_are_named_as_in_files_that_exist() -> None:
    names = {re.sub(r"\.\d+", "", name.rsplit(".", 1)[0]) for name in build_network(NARROW).state_dict()}
    blocks = [f"{coder}.{part}" for coder in ("encoder", "decoder") for part in ("enter", "first", "second")]
    assert names == {
        f"{part}.{layer}" for part in ("stem", "last", "lift", *blocks) for layer in ("convolution", "norm")
    } | {"pyramid_heads", "embedding_head", "foreground_head"}


@pytest.mark.parametrize("depth", [1, 2, 9])
def test_a_volume_may_have_any_size(depth: int) -> None:
    with torch.inference_mode():
        output = build_network(NARROW).eval()(torch.rand(2, 1, depth, 33, 62), pyramid=True)
    assert output.embedding.shape == (2, 4, depth, 33, 62)
    assert output.foreground is not None
    assert output.foreground.shape == (2, 1, depth, 33, 62)
    assert [tuple(coarse.shape[2:]) for coarse in output.pyramid] == [
        (depth, 48 // step, 64 // step) for _, step, _ in AnisotropicUNet.pyramid_strides
    ]


def test_a_block_adds_what_it_enters_with() -> None:
    block = AnisotropicBlock(2, 3).eval()
    features = torch.rand(1, 2, 4, 6, 6)
    with torch.inference_mode():
        entered = torch.nn.functional.elu(block.enter(features))
        refined = block.second(torch.nn.functional.elu(block.first(entered)))
        torch.testing.assert_close(block(features), torch.nn.functional.elu(entered + refined))


def test_a_section_reads_eighteen_sections_to_either_side() -> None:
    assert build_network(NARROW).eval().receptive_radius()[0] == 18
