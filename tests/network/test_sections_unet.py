"""The U-Net for stacks of sections: what reads what, and what its weights are called."""

from __future__ import annotations

import re

import pytest
import torch

from pixel_embedded_affinity.config.model import NetworkConfig
from pixel_embedded_affinity.errors import InputError
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
    network = weights_channels_last(SectionsUNet(1, (4,) * 5, 4, blocks=(2, 1, 3, 1, 2))).eval()
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


def test_each_level_has_as_many_blocks_and_mixes_as_asked_for() -> None:
    network = SectionsUNet(1, (4, 5, 6, 7, 8), 4, blocks=(2, 1, 3, 1, 4))
    for further in (network.encoder_more, network.encoder_more_mix):
        assert [len(level) for level in further] == [1, 0, 2, 0, 3]
    for further in (network.decoder_more, network.decoder_more_mix):
        assert [len(level) for level in further] == [0, 2, 0, 1]  # coarsest first
    widths = [mix.map.out_channels for level in network.encoder_more_mix for mix in level]
    assert widths == [4, 6, 6, 8, 8, 8]


def test_new_blocks_and_mixes_change_nothing_until_they_are_trained() -> None:
    plain, deep = SectionsUNet(1, (4,) * 5, 4), SectionsUNet(1, (4,) * 5, 4, blocks=(2, 2, 2, 2, 2))
    plain.apply(_with_random_statistics)
    found = deep.load_state_dict(plain.state_dict(), strict=False)
    assert not found.unexpected_keys
    assert all("_more" in name for name in found.missing_keys)
    image = channels_last(torch.rand(1, 1, 5, 64, 64, generator=torch.Generator().manual_seed(0)))
    with torch.inference_mode():
        before = plain.eval()(image, pyramid=True)
        torch.testing.assert_close(deep.eval()(image, pyramid=True), before)


@pytest.mark.parametrize("part", ["encoder_more", "encoder_more_mix", "decoder_more", "decoder_more_mix"])
def test_each_new_block_and_mix_counts_once_trained(part: str) -> None:
    network = SectionsUNet(1, (4,) * 5, 4, blocks=(2, 2, 2, 2, 2)).eval()
    image = channels_last(torch.rand(1, 1, 5, 64, 64, generator=torch.Generator().manual_seed(0)))
    for level in getattr(network, part):
        last = level[0].map if part.endswith("mix") else level[0].refine.norm
        with torch.inference_mode():
            before = network(image).embedding
            torch.nn.init.normal_(last.weight)
            assert not torch.allclose(network(image).embedding, before)


def test_a_new_block_and_its_mix_learn_from_the_first_step_and_read_farther() -> None:
    network = SectionsUNet(1, (4,) * 5, 4, blocks=(2, 2, 2, 2, 2))
    network(torch.rand(1, 1, 3, 64, 64)).embedding.square().sum().backward()
    new = [
        value
        for name, value in network.named_parameters()
        if "_more" in name and name.endswith(("refine.norm.weight", "map.weight"))
    ]
    assert len(new) == 18
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in new)
    # A mix more at each of five levels of the encoder and four of the decoder.
    assert network.receptive_radius()[0] == 8 + 9


def test_bad_blocks_are_refused() -> None:
    with pytest.raises(InputError, match="sections_unet takes 5 blocks, one per level, got 1"):
        build_network(NetworkConfig("sections_unet", filters=(4,) * 5, blocks=(2,)))


def _with_random_statistics(module: torch.nn.Module) -> None:
    if isinstance(module, torch.nn.BatchNorm2d):
        torch.nn.init.uniform_(module.weight, 0.5, 1.5)
        torch.nn.init.uniform_(module.bias, -0.5, 0.5)


def test_a_section_reads_eight_sections_to_either_side() -> None:
    network = build_network(NARROW).eval()
    assert network.receptive_radius()[0] == 8
