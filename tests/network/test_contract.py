"""Every architecture keeps the contract; the suite of checks finds those that do not."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import tiny3d
import torch
from tiny3d import TinyUNet3d
from torch import nn

from pixel_embedded_affinity.config.model import ModelConfig, NetworkConfig
from pixel_embedded_affinity.embedding import embed
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.network.base import NETWORKS, NetworkOutput, measured_radius
from pixel_embedded_affinity.network.build import build_network, load_network
from pixel_embedded_affinity.segmenter import Segmenter
from pixel_embedded_affinity.testing import ConformanceError, check_network

NARROW = (4, 4, 4, 4, 4)


@pytest.mark.parametrize("name", NETWORKS.built_in)
def test_every_built_in_architecture_keeps_the_contract(name: str) -> None:
    width = {"width": 2} if name.startswith("resnet") else {}
    filters = NARROW[1:] if name == "mala_unet" else NARROW
    check_network(partial(NETWORKS.get(name), filters=filters, **width))


def test_the_sharper_residual_unet_does_so_too() -> None:
    check_network(partial(NETWORKS.get("residual_unet"), filters=NARROW, full_resolution_skip=True))


def test_a_deeper_half_unet_does_so_too() -> None:
    check_network(partial(NETWORKS.get("half_unet"), filters=NARROW, blocks=(2, 1, 3, 1, 2)))


def test_a_network_for_volumes_keeps_the_contract() -> None:
    check_network(TinyUNet3d)


def test_an_architecture_is_found_by_the_name_of_its_file() -> None:
    assert NETWORKS.built_in == (
        "anisotropic_unet",
        "half_unet",
        "mala_unet",
        "residual_unet",
        "resnet101_unet",
        "resnet50_unet",
        "sections_unet",
    )
    assert [NETWORKS.get(name).__name__ for name in NETWORKS.built_in] == [
        "AnisotropicUNet",
        "HalfUNet",
        "MalaUNet",
        "ResidualUNet",
        "ResNet101UNet",
        "ResNet50UNet",
        "SectionsUNet",
    ]


def test_a_registered_architecture_is_built_and_loaded_with_its_own_options() -> None:
    tiny3d.register()
    config = NetworkConfig(tiny3d.NAME, in_channels=2, embedding_channels=3, width=5)
    network = build_network(config)
    assert isinstance(network, TinyUNet3d)
    assert network.width == 5
    loaded = load_network(config, network.state_dict())
    assert loaded.state_dict().keys() == network.state_dict().keys()
    with pytest.raises(
        InputError, match=r"unknown settings \['depth'\] of architecture 'tiny_unet3d'.*'width'"
    ):
        build_network(NetworkConfig(tiny3d.NAME, depth=3))
    with pytest.raises(InputError, match="'tiny_unet3d' refuses its settings"):
        build_network(NetworkConfig(tiny3d.NAME, width=-1))


# --- what does not keep it ----------------------------------------------------------------------------------


class ShortSighted(TinyUNet3d):
    def receptive_radius(self) -> tuple[int, ...]:
        depth, *others = super().receptive_radius()
        return (depth - 1, *others)


class FineGrid(TinyUNet3d):
    grid = (1, 4, 4)
    pyramid_strides = ((1, 4, 4), (1, 2, 2))


class Forgetful(TinyUNet3d):
    pyramid_strides = ((2, 4, 4), (1, 2, 2), (1, 1, 1))


class Positioned(TinyUNet3d):
    """It knows where in the image a pixel is."""

    def forward(self, images: torch.Tensor, pyramid: bool = False) -> NetworkOutput:
        output = super().forward(images, pyramid)
        places = torch.arange(images.shape[-1], dtype=images.dtype)
        return output._replace(embedding=output.embedding + places)


class Blended(TinyUNet3d):
    """Each image gets something of the others of its batch."""

    def forward(self, images: torch.Tensor, pyramid: bool = False) -> NetworkOutput:
        return super().forward(images - images.mean(dim=(0, 2, 3, 4), keepdim=True), pyramid)


class Noisy(TinyUNet3d):
    def forward(self, images: torch.Tensor, pyramid: bool = False) -> NetworkOutput:
        return super().forward(images + torch.rand_like(images), pyramid)


class Misfolded(TinyUNet3d):
    def fold_batch_norm(self) -> None:
        self.stem[1] = nn.Identity()


class Hidden(TinyUNet3d):
    """It has numbers that its ``state_dict`` does not hold."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.gain = torch.ones(1)

    def forward(self, images: torch.Tensor, pyramid: bool = False) -> NetworkOutput:
        return super().forward(images * self.gain.to(images.dtype), pyramid)


class Cropped(TinyUNet3d):
    def forward(self, images: torch.Tensor, pyramid: bool = False) -> NetworkOutput:
        output = super().forward(images, pyramid)
        return output._replace(embedding=output.embedding[..., 1:])


class Boundless(TinyUNet3d):
    memory_per_pixel = staticmethod(lambda: 0)


class Undeclared(TinyUNet3d):
    stride = (1, 1)


class Bare(TinyUNet3d):
    """Its foreground head cannot be left out."""

    def __init__(self, foreground_head: bool = True, **options: Any) -> None:
        super().__init__(**options)


class Tupled(TinyUNet3d):
    def forward(self, images: torch.Tensor, pyramid: bool = False) -> Any:
        return tuple(super().forward(images, pyramid))


@pytest.mark.parametrize(
    ("factory", "check"),
    [
        (Boundless, "declaration"),
        (Undeclared, "declaration"),
        (Bare, "declaration"),
        (lambda: None, "declaration"),
        (Tupled, "declaration"),
        (Cropped, "shapes"),
        (Forgetful, "pyramid"),
        (Noisy, "pyramid"),
        (Blended, "batch"),
        (Positioned, "shift"),
        (ShortSighted, "reach"),
        (Misfolded, "folding"),
        (Hidden, "weights"),
    ],
)
def test_an_architecture_that_does_not_keep_the_contract_fails_in_the_check_of_it(
    factory: Any, check: str
) -> None:
    with pytest.raises(ConformanceError, match=f"check '{check}' failed: ") as caught:
        check_network(factory)
    assert "\n" not in str(caught.value)


def test_a_grid_that_is_too_fine_is_found() -> None:
    with pytest.raises(ConformanceError):
        check_network(FineGrid)


def test_a_check_may_be_left_out_by_its_name_only() -> None:
    check_network(Hidden, skip=["weights"])
    with pytest.raises(InputError, match="skip must be a collection of names among"):
        check_network(TinyUNet3d, skip=["weight"])


# --- reach ----------------------------------------------------------------------------------------------------


def test_the_radius_of_a_network_without_reach_is_zero_and_of_one_without_end_is_refused() -> None:
    class Pointwise(TinyUNet3d):
        grid = (1, 1, 1)

        def forward(self, images: torch.Tensor, pyramid: bool = False) -> NetworkOutput:
            return NetworkOutput(self.embedding_head(images.expand(-1, 4, -1, -1, -1)), None, ())

    class Endless(Pointwise):
        def forward(self, images: torch.Tensor, pyramid: bool = False) -> NetworkOutput:
            return super().forward(images + images.mean(dim=(2, 3, 4), keepdim=True), pyramid)

    assert measured_radius(Pointwise, in_channels=1) == (0, 0, 0)
    with pytest.raises(InputError, match="Endless reads pixels at any distance"):
        measured_radius(Endless, in_channels=1)


def test_the_foreground_of_a_half_unet_reads_one_position_more_than_its_embedding() -> None:
    options: dict[str, Any] = {"in_channels": 1, "filters": (1,) * 5, "embedding_channels": 1}
    with_head = measured_radius(NETWORKS.get("half_unet"), **options, foreground_head=True)  # type: ignore[arg-type]
    without = measured_radius(NETWORKS.get("half_unet"), **options, foreground_head=False)  # type: ignore[arg-type]
    assert [one - other for one, other in zip(with_head, without, strict=True)] == [2, 2]


# --- another number of axes -----------------------------------------------------------------------------------


def test_a_network_for_volumes_is_refused_by_a_model_of_planes_and_the_other_way_round(
    tiny_config: ModelConfig, tiny_network: nn.Module
) -> None:
    with pytest.raises(
        InputError, match="TinyUNet3d is for 3 spatial axes, but the model's neighborhood has 2"
    ):
        Segmenter(tiny3d.tiny_network_3d(), tiny_config, device="cpu")
    volumes = tiny3d.tiny_config_3d()
    with pytest.raises(
        InputError, match="ResidualUNet is for 2 spatial axes, but the model's neighborhood has 3"
    ):
        Segmenter(tiny_network, volumes, device="cpu")
    segmenter = Segmenter(tiny3d.tiny_network_3d(), volumes, device="cpu")
    weight = segmenter.embedder.network.stem[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_an_image_of_another_number_of_axes_is_refused_by_the_network(tiny_network: nn.Module) -> None:
    volume = torch.zeros(1, 4, 16, 16).numpy()
    with pytest.raises(
        InputError, match=r"ResidualUNet takes an image \(C, Y, X\), got one of shape \(1, 4, 16, 16\)"
    ):
        embed(tiny_network, volume, torch.device("cpu"))
