"""Views: flipped and transposed images, and the embedding of several of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pixel_embedded_affinity import affinities
from pixel_embedded_affinity.config.model import NetworkConfig
from pixel_embedded_affinity.embedding import embed
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.tiling import Tiling
from pixel_embedded_affinity.geometry.views import Geometry, checked_views, geometries
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.segmenter import Segmenter

Array = np.ndarray[Any, np.dtype[Any]]
CPU = torch.device("cpu")


def image_of(height: int, width: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random((height, width), dtype=np.float32)


# --- geometry ---------------------------------------------------------------------------------------------


def turned(array: Array, geometry: Geometry) -> Array:
    """What `Geometry.apply` does, by NumPy."""
    steps = tuple(slice(None, None, -1 if flip else 1) for flip in geometry.flips)
    return array[(..., *steps)].transpose(0, *(1 + axis for axis in geometry.order))


@pytest.mark.parametrize(
    ("views", "ndim", "sizes"),
    [
        *((1, 2, None), (4, 2, None), (8, 2, None), (4, 2, (2, 1))),
        *((1, 3, None), (4, 3, None), (8, 3, None), (16, 3, None)),
        *((16, 3, (1, 1, 2)), (48, 3, (0.5, 0.5, 0.5)), (16, 3, (1, 1, 1)), (8, 3, (1, 2, 3))),
    ],
)
def test_the_views_differ_and_lead_back(views: int, ndim: int, sizes: Any) -> None:
    shape = range(5 - ndim, 5)
    image = torch.arange(float(np.prod(shape))).reshape(1, *shape)
    found = geometries(views, ndim, sizes)
    assert found == geometries(48 if ndim == 3 else 8, ndim, (1,) * ndim)[:views] or sizes == (1, 1, 2)
    seen = [geometry.apply(image) for geometry in found]
    assert len({str(view.tolist()) for view in seen}) == len(seen) == views
    assert torch.equal(seen[0], image)
    flips = 2**ndim
    assert [view.shape == image.shape for view in seen] == [number < flips for number in range(views)]
    for geometry, view in zip(found, seen):
        np.testing.assert_array_equal(view, turned(image.numpy(), geometry))
        assert torch.equal(geometry.invert(view), image)


def test_the_first_views_of_a_volume_are_those_of_its_planes() -> None:
    for plane, volume in zip(geometries(4), geometries(4, 3), strict=True):
        assert volume == Geometry((False, *plane.flips), (0, 1, 2))
    assert [geometry.flips[0] for geometry in geometries(8, 3)] == [False] * 4 + [True] * 4
    assert {geometry.order for geometry in geometries(16, 3)[8:]} == {(0, 2, 1)}
    assert {geometry.order for geometry in geometries(16, 3, (1, 1, 2))[8:]} == {(1, 0, 2)}


@pytest.mark.parametrize(
    ("given", "ndim"), [(1, 2), (4, 2), (8, 2), (np.int64(4), 2), (np.uint8(8), 3), (16, 3)]
)
def test_one_four_and_eight_are_numbers_of_views_and_sixteen_of_a_volume(given: Any, ndim: int) -> None:
    assert checked_views(given, ndim) == int(given)
    assert type(checked_views(given, ndim)) is int


@pytest.mark.parametrize("given", [0, 2, 16, -1, 4.0, True, "4", None, [4]])
def test_any_other_number_of_views_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match="views must be 1, 4 or 8, got "):
        checked_views(given)


def test_axes_of_other_pixel_sizes_are_not_swapped() -> None:
    with pytest.raises(
        InputError, match="views must be 1 or 4, got 8; 1 shows the network the image as it is, 4"
    ):
        checked_views(8, 2, (1, 2))
    with pytest.raises(
        InputError, match=r"views must be 1, 4, 8 or 16, got 48; .* 16 also with axes of equal"
    ):
        checked_views(48, 3)
    with pytest.raises(InputError, match="views must be 1, 4 or 8, got 16"):
        geometries(16, 3, (3, 2, 1))
    assert checked_views(48, 3, (2, 2, 2)) == 48


# --- embedding --------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    views=st.sampled_from([4, 8]),
    seed=st.integers(0, 99),
)
def test_the_affinity_is_the_mean_of_the_views_and_so_is_the_foreground(
    segmenter: Segmenter, height: int, width: int, views: int, seed: int
) -> None:
    """Against an oracle: each view on its own, its pairs turned back one by one by NumPy."""
    image = image_of(16 * height // 10 + 1, width, seed)
    padded = np.pad(image, [(0, -length % 16) for length in image.shape], mode="edge")
    several = segmenter.with_settings(views=views)
    found = embed(several.embedder.network, image[np.newaxis], CPU, "float32", views=views)
    turns: list[Callable[[Array], Array]] = [
        lambda a: a,
        lambda a: a[..., ::-1],
        lambda a: a[..., ::-1, :],
        lambda a: a[..., ::-1, ::-1],
    ]
    vectors, foregrounds = [], []
    for transpose in (False, True)[: views // 4]:
        for turn in turns:
            seen = turn(padded).T if transpose else turn(padded)
            one = embed(several.embedder.network, np.ascontiguousarray(seen)[np.newaxis], CPU, "float32")
            back = one.numpy().swapaxes(1, 2) if transpose else one.numpy()
            assert one.foreground is not None
            probability = one.foreground.numpy().T if transpose else one.foreground.numpy()
            vectors.append(turn(back)[:, : image.shape[0], : image.shape[1]])
            foregrounds.append(turn(probability)[: image.shape[0], : image.shape[1]])
    neighborhood = Neighborhood.from_ranges([1, 3], 8)
    expected = np.mean([affinities(np.array(one), neighborhood).values for one in vectors], axis=0)
    np.testing.assert_allclose(affinities(found, neighborhood).numpy().values, expected, atol=1e-5)
    assert found.foreground is not None
    np.testing.assert_allclose(found.foreground.numpy(), np.mean(foregrounds, axis=0), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found.numpy(), axis=0), 1, atol=1e-5)


def test_with_eight_views_a_turned_image_has_the_turned_affinities_whatever_the_network(
    segmenter: Segmenter,
) -> None:
    """Sides are multiples of 16. With one view this holds for no network of such weights."""
    image, neighborhood = image_of(48, 32), Neighborhood(((3, 0), (0, 3)))
    differences = {}
    for views in (1, 8):
        several = segmenter.with_settings(views=views)
        straight = affinities(several.embed(image), neighborhood).numpy().values
        mirrored = affinities(several.embed(image[:, ::-1].T), neighborhood).numpy().values
        # The pair (p, p + (0, 3)) of the image is a pair along the other axis of the turned one, seen from its end.
        back = mirrored[0].T[:, ::-1]
        differences[views] = np.abs(straight[1][:, :-3] - back[:, 3:]).max()
    assert differences[8] < 1e-4 < 0.1 < differences[1]


def test_one_view_is_the_image_as_it_is(segmenter: Segmenter) -> None:
    image = image_of(33, 20)
    assert np.array_equal(
        segmenter.embed(image).numpy(), segmenter.with_settings(views=1).embed(image).numpy()
    )


@pytest.mark.parametrize("views", [4, 8])
def test_several_views_in_tiles_are_those_of_the_whole_image(segmenter: Segmenter, views: int) -> None:
    several, image = segmenter.with_settings(views=views), image_of(230, 197)
    whole = several.embed(image, tile=None)
    tiled = several.embed(image, tile=Tiling(16, halo=96))
    np.testing.assert_allclose(tiled.numpy(), whole.numpy(), atol=1e-5)


def test_a_large_image_in_several_views_is_that_of_segment(segmenter: Segmenter) -> None:
    several, image = segmenter.with_settings(views=4), image_of(150, 170)
    expected = several.segment(image)
    found = np.zeros(image.shape, np.int32)
    several.segment_large(image, found, block=64, overlap=64, tile=Tiling(16, halo=96))
    np.testing.assert_array_equal(found > 0, expected > 0)


def test_several_views_without_a_foreground_head(make_network: Callable[..., nn.Module]) -> None:
    network = make_network(
        NetworkConfig(in_channels=1, filters=(4,) * 5, embedding_channels=4, foreground_head=False)
    )
    found = embed(network, image_of(20, 30)[np.newaxis], CPU, "float32", views=4)
    assert found.foreground is None
    assert found.values.shape == (16, 20, 30)


def test_several_views_need_the_axes_of_the_network_and_a_grid(segmenter: Segmenter) -> None:
    with pytest.raises(
        InputError, match=r"takes an image \(C, Y, X\), got one of shape \(1, 2, 16, 16\); expected 2 spatial"
    ):
        embed(segmenter.embedder.network, np.zeros((1, 2, 16, 16), np.float32), CPU, views=4)
    with pytest.raises(InputError, match="does not say how tiles must lie"):
        embed(nn.Identity(), np.zeros((1, 16, 16), np.float32), CPU, views=4)


# --- settings ---------------------------------------------------------------------------------------------


def test_views_are_a_setting_of_the_model(segmenter: Segmenter, tmp_path: Any) -> None:
    several = segmenter.with_settings(views=4)
    assert (segmenter.config.views, several.config.views) == (1, 4)
    several.save_settings(tmp_path / "settings.json")
    assert segmenter.with_settings_from(tmp_path / "settings.json").config.views == 4
    with pytest.raises(InputError, match="views must be 1, 4 or 8, got 3"):
        segmenter.with_settings(views=3)


def test_labels_of_several_views_come_through_every_method(segmenter: Segmenter) -> None:
    several, image = segmenter.with_settings(views=8), image_of(40, 56)
    expected = several.segment(image)
    np.testing.assert_array_equal(several.cluster(several.embed(image)), expected)
    np.testing.assert_array_equal(next(several.segment_many([image])), expected)
    assert several.analyze(image).embedding.values.shape == (8 * 4, 40, 56)
