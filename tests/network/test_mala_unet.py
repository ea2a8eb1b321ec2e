"""The U-Net of MALA: its size, its levels, and any size of volumes."""

from __future__ import annotations

import pytest
import torch

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.network.mala_unet import MalaUNet


def test_it_has_the_published_widths_and_levels() -> None:
    with torch.device("meta"):
        network = MalaUNet(embedding_channels=3, foreground_head=False)
    assert [block[2].out_channels for block in network.encoder] == [12, 60, 300, 1500]
    assert [block[0].in_channels for block in network.decoder] == [600, 120, 24]
    assert {tuple(lift.stride) for lift in network.raise_level} == {(1, 3, 3)}
    assert sum(values.numel() for values in network.parameters()) == 87_753_495
    assert network.embedding_head.out_channels == 3


@pytest.mark.parametrize("depth", [1, 2, 9])
def test_a_volume_may_have_any_size(depth: int) -> None:
    network = MalaUNet(filters=(2, 3, 4, 5), embedding_channels=4).eval()
    with torch.inference_mode():
        output = network(torch.rand(2, 1, depth, 33, 55), pyramid=True)
    assert output.embedding.shape == (2, 4, depth, 33, 55)
    assert output.foreground is not None
    assert output.foreground.shape == (2, 1, depth, 33, 55)
    assert output.pyramid == ()


def test_a_section_reads_fourteen_sections_to_either_side() -> None:
    assert MalaUNet(filters=(2, 2, 2, 2)).receptive_radius()[0] == 14


def test_another_number_of_levels_is_refused() -> None:
    with pytest.raises(InputError, match="mala_unet takes 4 filters, one per level, got 5"):
        MalaUNet(filters=(2, 2, 2, 2, 2))
