"""The half-resolution U-Net: its weights keep their names, and what it gives at which resolution."""

from __future__ import annotations

import re
import weakref
from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pixel_embedded_affinity.config.model import NetworkConfig
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.network.base import ready
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


def test_each_level_has_as_many_blocks_as_asked_for_in_encoder_and_decoder() -> None:
    network = HalfUNet(1, (4, 5, 6, 7, 8), 4, blocks=(2, 1, 3, 1, 4))
    assert [len(level) for level in network.encoder_more] == [1, 0, 2, 0, 3]
    assert [len(level) for level in network.decoder_more] == [0, 2, 0, 1]  # coarsest first
    assert [level.enter.convolution.out_channels for part in network.encoder_more for level in part] == [
        4, 6, 6, 8, 8, 8,
    ]  # fmt: skip


def test_a_trained_block_counts_and_reads_farther() -> None:
    plain, deep = HalfUNet(1, (4,) * 5, 4), HalfUNet(1, (4,) * 5, 4, blocks=(1, 1, 1, 1, 2))
    deep.load_state_dict(plain.state_dict(), strict=False)
    image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = plain.eval()(image).embedding
        assert torch.equal(deep.eval()(image).embedding, before)
        torch.nn.init.ones_(deep.encoder_more[4][0].refine.norm.weight)
        assert not torch.allclose(deep(image).embedding, before)
    assert deep.receptive_radius() > plain.receptive_radius()


def test_a_new_block_learns_from_the_first_step() -> None:
    network = HalfUNet(1, (4,) * 5, 4, blocks=(2, 2, 2, 2, 2))
    network(torch.rand(2, 1, 64, 64)).embedding.square().sum().backward()
    scales = [value for name, value in network.named_parameters() if name.endswith("refine.norm.weight")]
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in scales)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ((1, 1, 1, 1), "half_unet takes 5 blocks, one per level, got 4"),
        ((1, 1, 1, 1, 0), "blocks must be a list of positive integers, got (1, 1, 1, 1, 0)"),
        (2, "blocks must be a list of positive integers, got 2"),
    ],
)
def test_bad_blocks_are_refused(blocks: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        build_network(NetworkConfig("half_unet", filters=(4,) * 5, blocks=blocks))
    assert message in str(caught.value)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that operations made and that are still in use, and the most at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.users: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self._change(storage.data_ptr(), storage.nbytes(), 1)
                weakref.finalize(tensor, self._change, storage.data_ptr(), storage.nbytes(), -1)
        return result

    def _change(self, place: int, size: int, users: int) -> None:
        before = self.users[place] > 0
        self.users[place] += users
        self.now += size * ((self.users[place] > 0) - before)
        self.peak = max(self.peak, self.now)


def test_a_forward_pass_takes_no_more_memory_than_the_network_says() -> None:
    network = ready(HalfUNet())
    image = torch.zeros(1, 1, 256, 256).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), LiveBytes() as live:
        network(image)
    said = network.memory_per_pixel() * 256 * 256
    assert said / 2 < live.peak < said
