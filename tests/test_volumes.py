"""Volumes through every verb of the segmenter: the code of images, with one axis more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from pixel_embedded_affinity import Neighborhood, Segmenter
from pixel_embedded_affinity.config.model import ModelConfig, NetworkConfig
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export import write_labels
from pixel_embedded_affinity.geometry.strides import borders_flooded
from pixel_embedded_affinity.geometry.tiling import Tiling
from pixel_embedded_affinity.labels import relabel
from pixel_embedded_affinity.large import segment
from pixel_embedded_affinity.large.blockwise import label_blockwise
from pixel_embedded_affinity.large.plan import Plan
from pixel_embedded_affinity.metrics import adapted_rand_error
from pixel_embedded_affinity.network.build import build_network
from pixel_embedded_affinity.tune import Search

Array = np.ndarray[Any, np.dtype[Any]]


@pytest.fixture(scope="module")
def volume() -> Array:
    """Boxes of different brightness, 4 x 8 x 8 voxels each."""
    coarse = np.random.default_rng(0).integers(0, 4000, (3, 4, 5))
    return coarse.repeat(4, 0).repeat(8, 1).repeat(8, 2).astype(np.uint16)


@pytest.fixture(scope="module")
def expected(volume_segmenter: Segmenter, volume: Array) -> Array:
    return volume_segmenter.segment(volume)


def test_a_volume_has_labels_of_its_shape(volume: Array, expected: Array) -> None:
    assert expected.shape == volume.shape
    assert expected.dtype == np.int32
    assert expected.max() > 3


@pytest.mark.parametrize(("axes", "order"), [("YXZ", (1, 2, 0)), ("XYZ", (2, 1, 0))])
def test_labels_come_in_the_order_of_the_axes(
    volume_segmenter: Segmenter, volume: Array, expected: Array, axes: str, order: tuple[int, ...]
) -> None:
    found = volume_segmenter.segment(volume.transpose(order), axes=axes)
    back = found.transpose([order.index(axis) for axis in range(3)])
    assert adapted_rand_error(expected, back) == 0


def test_pages_of_a_file_are_planes(
    volume_segmenter: Segmenter, volume: Array, expected: Array, tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", volume, photometric="minisblack")
    found = list(volume_segmenter.segment_many([tmp_path / "stack.tif", volume]))
    for labels in found:
        np.testing.assert_array_equal(labels, expected)
    write_labels(tmp_path / "labels.tif", expected)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "labels.tif"), expected)


def test_the_table_has_a_column_for_each_axis(volume_segmenter: Segmenter, volume: Array) -> None:
    result = volume_segmenter.analyze(volume)
    table = result.table(volume)
    assert result.axes == "ZYX"
    assert {"centroid-z", "centroid-y", "centroid-x", "mean_intensity", "confidence"} <= set(table)
    assert len(table["area"]) == result.labels.max()


def test_an_embedding_is_clustered_in_other_ways(volume_segmenter: Segmenter, volume: Array) -> None:
    embedding = volume_segmenter.embed(volume)
    wide = Neighborhood.from_ranges([1, (1, 3, 3), (2, 6, 6)], 18, strides=(1, 2, 2))
    found = volume_segmenter.cluster(embedding, neighborhood=wide)
    np.testing.assert_array_equal(found, volume_segmenter.segment(volume, neighborhood=wide))


@pytest.mark.parametrize("views", [4, 8, 16])
def test_views_of_a_volume(volume_segmenter: Segmenter, volume: Array, views: int) -> None:
    several = volume_segmenter.with_settings(views=views)
    labels = several.segment(volume)
    assert labels.shape == volume.shape
    tiled = several.segment(
        volume, tile=Tiling((4, 16, 16), halo=several.embedder.network.receptive_radius())
    )
    np.testing.assert_array_equal(labels, tiled)


def test_views_that_a_volume_does_not_have_are_refused(volume_segmenter: Segmenter) -> None:
    with pytest.raises(InputError, match="views must be 1, 4, 8 or 16, got 48"):
        volume_segmenter.with_settings(views=48)


@pytest.mark.parametrize("out", ["labels.tif", "labels.zarr"])
def test_blocks_of_a_volume_go_to_a_file(
    volume_segmenter: Segmenter, volume: Array, tmp_path: Path, out: str
) -> None:
    zarr = pytest.importorskip("zarr", reason="zarr is not installed")
    tifffile.imwrite(tmp_path / "stack.tif", volume, photometric="minisblack", metadata={"axes": "ZYX"})
    options: dict[str, Any] = {"block": (8, 24, 24), "overlap": (4, 8, 8)}
    count = volume_segmenter.segment_large(tmp_path / "stack.tif", tmp_path / out, **options)
    memory = np.zeros(volume.shape, np.int32)
    assert count == volume_segmenter.segment_large(volume, memory, **options) == memory.max()
    path = tmp_path / out
    found = tifffile.imread(path) if path.suffix == ".tif" else zarr.open_array(str(path), mode="r")[:]
    np.testing.assert_array_equal(found, memory)


def test_blocks_of_a_volume_suit_network_and_voxels(
    volume_segmenter: Segmenter, volume: Array, expected: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(volume_segmenter.config, pixel_size=(0.03, 0.006, 0.006))
    segmenter = Segmenter(volume_segmenter.embedder.network, config, precision="float32")
    plans: list[Plan] = []

    def label(plan: Plan, *rest: Any, **options: Any) -> int:
        plans.append(plan)
        return label_blockwise(plan, *rest, **options)

    monkeypatch.setattr(segment, "label_blockwise", label)
    out = np.zeros(volume.shape, np.int32)
    segmenter.segment_large(volume, out)
    assert plans[0].overlap == (8, 32, 32)
    assert plans[0].block == tuple(map(max, volume.shape, (8, 32, 32)))
    np.testing.assert_array_equal(out, expected)
    segmenter.segment_large(volume, out, block=40, overlap=20)
    assert (plans[1].block, plans[1].overlap) == ((40,) * 3, (20,) * 3)


def test_settings_are_tuned_on_volumes(volume_segmenter: Segmenter, volume: Array, expected: Array) -> None:
    worse = volume_segmenter.with_settings(foreground_threshold=0.9)
    search = Search(
        ranges=(),
        directions=(),
        strides=(),
        foreground_thresholds=(0.5, 0.7),
        merge_sizes=(),
        min_sizes=(),
        fill_holes=(),
        clusterers=(),
    )
    tuning = worse.tune([volume] * 2, [expected] * 2, metric="AJI", search=search)
    assert tuning.segmenter.config.foreground_threshold == 0.5
    assert tuning.score == 1
    np.testing.assert_array_equal(tuning.segmenter.segment(volume), expected)


def test_an_image_is_no_volume(volume_segmenter: Segmenter, volume: Array) -> None:
    with pytest.raises(InputError, match=r"expected 3 \(ZYX\) or 4 \(ZYXC\) for a 3D model"):
        volume_segmenter.segment(volume[0])
    with pytest.raises(InputError, match="ndim is 3, but the neighborhood has 2 axes"):
        volume_segmenter.with_settings(neighborhood=Neighborhood.from_ranges([1, 3]))


def strided(foreground_head: bool) -> Segmenter:
    """A model of volumes that embeds every second pixel of a section; many small objects."""
    network = NetworkConfig(
        "sections_unet",
        in_channels=1,
        filters=(4, 4, 4, 4, 4),
        embedding_channels=4,
        foreground_head=foreground_head,
    )
    config = ModelConfig(
        network=network,
        neighborhood=Neighborhood.from_ranges([1, (1, 2, 2)], 6),
        foreground_threshold=0.0,
        clusterer="agglomeration",
        clusterer_settings={"threshold": 0.999},
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Segmenter(build_network(network), config, device="cpu", precision="float32")


@pytest.fixture(scope="module")
def noise() -> Array:
    return np.random.default_rng(0).integers(0, 255, (3, 31, 40)).astype(np.uint8)


def test_a_position_of_a_strided_volume_gives_its_label_to_all_its_voxels(noise: Array) -> None:
    segmenter = strided(foreground_head=False)
    embedding = segmenter.embed(noise)
    assert embedding.spatial_shape == (3, 16, 20)
    labels = segmenter.cluster(embedding)
    assert labels.shape == (3, 31, 40)
    positions = labels[:, ::2, ::2]
    np.testing.assert_array_equal(labels, positions.repeat(2, 1).repeat(2, 2)[:, :31])
    assert positions.max() > 1


def test_borders_in_a_strided_volume_are_placed_where_the_foreground_is_least_likely(noise: Array) -> None:
    segmenter = strided(foreground_head=True)
    embedding = segmenter.embed(noise)
    without = segmenter.cluster(replace(embedding, foreground=None, seen=noise.shape))
    assert embedding.foreground is not None
    expected = borders_flooded(without, embedding.foreground.numpy(), (1, 2, 2), smoothing=1)
    np.testing.assert_array_equal(segmenter.cluster(embedding), relabel(expected))
    assert (expected != without).any()
