"""The U-Net for stacks of sections: what reads what, and what its weights are called."""

from __future__ import annotations

import re

import pytest
import torch

from pixel_embedded_affinity.config.model import NetworkConfig
from pixel_embedded_affinity.network import sections_unet
from pixel_embedded_affinity.network.base import channels_last, weights_channels_last
from pixel_embedded_affinity.network.build import build_network
from pixel_embedded_affinity.network.sections_unet import Neighbors, SectionsUNet

NARROW = NetworkConfig("sections_unet", in_channels=1, filters=(4, 4, 4, 4, 4), embedding_channels=4)


def test_weights_are_named_as_in_files_that_exist() -> None:
    names = {re.sub(r"\.\d+", "", name.rsplit(".", 1)[0]) for name in build_network(NARROW).state_dict()}
    blocks = ("stem", "stem_refine", "encoder.enter", "encoder.refine", "decoder.enter", "decoder.refine")
    assert names == {f"{part}.{layer}" for part in blocks for layer in ("convolution", "norm")} | {
        "encoder_mix.map",
        "decoder_mix.map",
        "lift",
        "pyramid_heads",
        "embedding_head",
        "foreground_head",
    }


def test_a_mix_reads_a_section_and_its_two_neighbors_of_the_same_volume() -> None:
    mix = Neighbors(2)
    features = torch.rand(2 * 5, 2, 3, 3)
    weight, bias = mix.map.weight[..., 0, 0], mix.map.bias
    with torch.no_grad():
        found = mix(features.clone(), 5)
        for index, section in enumerate(features):
            expected = section + bias[:, None, None]
            for tap, step in enumerate((-1, 0, 1)):
                if 0 <= index % 5 + step < 5:
                    expected = expected + torch.einsum(
                        "oi,ihw->ohw", weight[:, :, tap], features[index + step]
                    )
            torch.testing.assert_close(found[index], expected)


@pytest.mark.parametrize("depth", [1, 2, 9])
def test_a_stack_may_have_any_number_of_sections(depth: int) -> None:
    with torch.inference_mode():
        output = build_network(NARROW).eval()(torch.rand(2, 1, depth, 33, 62), pyramid=True)
    assert output.embedding.shape == (2, 4, depth, 17, 31)
    assert output.foreground is not None
    assert output.foreground.shape == (2, 1, depth, 33, 62)
    assert [tuple(coarse.shape[2:]) for coarse in output.pyramid] == [
        (depth, 64 // step, 64 // step) for _, step, _ in SectionsUNet.pyramid_strides
    ]


@pytest.mark.parametrize("shape", [(1, 1, 1, 32, 32), (2, 1, 5, 33, 62), (1, 1, 4, 1, 40), (3, 1, 2, 64, 2)])
@pytest.mark.parametrize("at_once", [1, 700, 2**17])
def test_section_by_section_gives_what_all_at_once_gives(
    shape: tuple[int, ...], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sections_unet, "_AT_ONCE", at_once)
    network = weights_channels_last(build_network(NARROW)).eval()
    network.apply(_with_random_statistics)
    images = channels_last(torch.randn(shape))
    with torch.no_grad():
        expected = network(images, pyramid=True)
    with torch.inference_mode():
        found = network(images, pyramid=True)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_bfloat16_goes_section_by_section_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections_unet, "_AT_ONCE", 1)
    network, images = build_network(NARROW).eval(), channels_last(torch.randn(1, 1, 3, 64, 64))
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            expected = network(images)
        with torch.inference_mode():
            found = network(images)
    assert found.embedding.dtype == torch.bfloat16
    torch.testing.assert_close(found.embedding, expected.embedding)


def test_blocks_see_few_sections_at_a_time_in_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections_unet, "_AT_ONCE", 2 * 32 * 32)
    network, seen = build_network(NARROW).eval(), []
    network.stem.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    with torch.inference_mode():
        network(channels_last(torch.randn(1, 1, 5, 64, 64)))
    with torch.no_grad():
        network(channels_last(torch.randn(1, 1, 5, 64, 64)))
    assert seen == [2, 2, 1, 5]


def _with_random_statistics(module: torch.nn.Module) -> None:
    if isinstance(module, torch.nn.BatchNorm2d):
        torch.nn.init.uniform_(module.weight, 0.5, 1.5)
        torch.nn.init.uniform_(module.bias, -0.5, 0.5)


def test_a_section_reads_eight_sections_to_either_side() -> None:
    network = build_network(NARROW).eval()
    assert network.receptive_radius()[0] == 8
