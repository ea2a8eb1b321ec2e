"""The half-resolution U-Net: its weights keep their names, and what it gives at which resolution."""

from __future__ import annotations

import re

import pytest
import torch

from pixel_embedded_affinity.config.model import NetworkConfig
from pixel_embedded_affinity.network.build import build_network
from pixel_embedded_affinity.network.half_unet import HalfUNet

NARROW = NetworkConfig("half_unet", in_channels=1, filters=(4, 4, 4, 4, 4), embedding_channels=4)


def test_weights_are_named_as_in_files_that_exist() -> None:
    names = {re.sub(r"\.\d+", "", name.rsplit(".", 1)[0]) for name in build_network(NARROW).state_dict()}
    assert names == {
        f"{part}.{layer}"
        for part in (
            "stem",
            "stem_refine",
            "encoder.enter",
            "encoder.refine",
            "decoder.enter",
            "decoder.refine",
            "foreground_enter",
        )
        for layer in ("convolution", "norm")
    } | {"lift", "pyramid_heads", "embedding_head", "foreground_head"}


@pytest.mark.parametrize("shape", [(1, 1), (31, 2), (33, 64)])
def test_vectors_are_two_pixels_apart_and_the_foreground_has_every_pixel(shape: tuple[int, int]) -> None:
    with torch.inference_mode():
        output = build_network(NARROW).eval()(torch.rand(1, 1, *shape), pyramid=True)
    assert output.embedding.shape[2:] == tuple(-(-length // 2) for length in shape)
    assert output.foreground is not None
    assert output.foreground.shape[2:] == shape
    padded = [-(-length // 32) * 32 for length in shape]
    assert [tuple(coarse.shape[2:]) for coarse in output.pyramid] == [
        (padded[0] // step, padded[1] // step) for step, _ in HalfUNet.pyramid_strides
    ]
