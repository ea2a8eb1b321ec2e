"""The U-Net for stacks of sections: what reads what, and what its weights are called."""

from __future__ import annotations

import re

import pytest
import torch

from pixel_embedded_affinity.config.model import NetworkConfig
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


def test_a_section_reads_eight_sections_to_either_side() -> None:
    network = build_network(NARROW).eval()
    assert network.receptive_radius()[0] == 8
