"""What identifies a clusterer to a run that goes on, and how an image is cut by default."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.clustering import MutexWatershed
from pixel_embedded_affinity.embedding import halo_of
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.tiling import Tiling
from pixel_embedded_affinity.image import as_image
from pixel_embedded_affinity.large import segment
from pixel_embedded_affinity.large.plan import Plan, default_overlap
from pixel_embedded_affinity.large.segment import clusterer_identity
from pixel_embedded_affinity.large.window import WindowLabeler
from pixel_embedded_affinity.normalize import Normalization
from pixel_embedded_affinity.scale import FoundScale


class Threshold:
    """A clusterer that is no dataclass."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, affinities: Any, *, foreground: Any = None) -> Any:
        return foreground


def enclosing(value: Any) -> Callable[..., Any]:
    def cluster(affinities: Any, *, foreground: Any = None) -> Any:
        return value

    return cluster


MAKERS = [Threshold, enclosing, lambda value: partial(enclosing(0), value)]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.5, 0.6),
        (None, 0),
        ("a", "b"),
        ([1, 2], [2, 1]),
        ({"a": 1}, {"a": 2}),
        (np.zeros(3), np.ones(3)),
        (1, True),
    ],
)
def test_clusterers_of_another_state_are_others(make: Any, one: Any, other: Any) -> None:
    assert clusterer_identity(make(one)) == clusterer_identity(make(one))
    assert clusterer_identity(make(one)) != clusterer_identity(make(other))


def test_settings_of_a_clusterer_belong_to_it() -> None:
    one, same, other = MutexWatershed(repulsion=0.5), MutexWatershed(repulsion=0.5), MutexWatershed()
    assert clusterer_identity(one) == clusterer_identity(same) != clusterer_identity(other)


def test_functions_of_other_code_are_others() -> None:
    def cluster(affinities: Any, *, foreground: Any = None) -> Any:
        return foreground

    def other(affinities: Any, *, foreground: Any = None) -> Any:
        return None

    other.__qualname__ = cluster.__qualname__
    assert clusterer_identity(cluster) != clusterer_identity(other)


def test_a_state_that_is_not_known_is_like_no_other() -> None:
    clusterer = Threshold(object())
    assert clusterer_identity(clusterer) != clusterer_identity(clusterer)


def test_the_size_of_a_pixel_goes_into_a_tiff(segmenter: Segmenter, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(100, 4000, (40, 50)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=True, resolution=(2, 4), metadata={"unit": "um"})
    segmenter.segment_large(tmp_path / "a.tif", tmp_path / "out.tif")
    assert as_image(tmp_path / "out.tif", channels=1).pixel_size == pytest.approx((0.25, 0.5))


class Image:
    """An image of which only the shape is known: whoever reads it fails."""

    def __init__(self, *shape: int) -> None:
        self.shape, self.ndim, self.dtype = shape, len(shape), np.dtype(np.uint8)

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError("nothing may be read")


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[Plan, Tiling]]:
    """Return how `segment_large` would cut an image, and its blocks, without segmenting it."""

    def find(
        segmenter: Segmenter, *shape: int, scale: Any = 1.0, stated: bool = False, **choices: Any
    ) -> tuple[Plan, Tiling]:
        found: list[tuple[Plan, Tiling]] = []

        def keep(plan: Plan, windows: WindowLabeler, *_: Any, **__: Any) -> int:
            found.append((plan, windows.tiling))
            return 0

        monkeypatch.setattr(segment, "label_blockwise", keep)
        monkeypatch.setattr(segment, "fingerprint", lambda image: "")
        monkeypatch.setattr(segment, "fixed_normalization", lambda *_: Normalization("none"))
        monkeypatch.setattr(segment, "_stated_scale", lambda windows: FoundScale(scale) if stated else None)
        monkeypatch.setattr(segment, "_found_scale", lambda windows: FoundScale(scale))
        segmenter.segment_large(Image(*shape), tmp_path / "labels.tif", **choices)
        return found[0]

    return find


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize(
    ("scale", "block", "overlap"), [(1.0, 4096, 128), (0.5, 4096, 256), (0.3, 4096, 427), (2.0, 2048, 64)]
)
def test_blocks_suit_the_network_and_the_scale(
    planned: Any, strided_segmenter: Segmenter, scale: float, stated: bool, block: int, overlap: int
) -> None:
    plan, tiling = planned(strided_segmenter, 9000, 8000, scale=scale, stated=stated)
    assert (plan.block, plan.overlap) == ((block,) * 2, (overlap,) * 2)
    assert tiling.size == (2304, 2304)


def test_a_network_at_full_resolution_sees_smaller_blocks(planned: Any, segmenter: Segmenter) -> None:
    plan, tiling = planned(segmenter, 9000, 8000)
    assert (plan.block, plan.overlap, tiling.size) == ((2048,) * 2, (128,) * 2, (1152, 1152))


@pytest.mark.parametrize("scale", [1.0, (1.0, 5 / 3, 5 / 3), 0.5, 2.0])
def test_a_network_of_volumes_sees_a_block_of_its_own_size(
    planned: Any, volume_segmenter: Segmenter, scale: Any
) -> None:
    plan, _ = planned(volume_segmenter, 200, 2000, 2000, scale=scale)
    factors, halo = np.broadcast_to(scale, 3), np.array(halo_of(volume_segmenter.embedder.network, Tiling()))
    margin = np.add(plan.overlap, halo / factors)
    largest = np.minimum(np.add(plan.block, 2 * margin), plan.shape)
    assert np.prod(largest) * max(1.0, np.prod(factors)) < 1.1 * 48 * 2**20
    assert all(
        np.multiply(plan.overlap, factors)
        >= np.array(default_overlap(3, volume_segmenter.config.pixel_size)) - 1e-6
    )


def test_sizes_of_the_caller_are_kept(planned: Any, strided_segmenter: Segmenter) -> None:
    plan, tiling = planned(strided_segmenter, 900, 800, scale=0.5, block=200, overlap=(10, 20), tile=64)
    assert (plan.block, plan.overlap, tiling.size) == ((200, 200), (10, 20), 64)


def test_blocks_are_no_shorter_than_the_overlap_of_the_caller(planned: Any, segmenter: Segmenter) -> None:
    plan, _ = planned(segmenter, 9000, 8000, overlap=3000)
    assert (plan.block, plan.overlap) == ((3000,) * 2, (3000,) * 2)


@pytest.mark.parametrize(
    ("choices", "message"), [({"block": 0}, "block"), ({"block": 9, "overlap": 10}, "overlap=")]
)
def test_wrong_sizes_are_refused_before_the_image_is_read(
    segmenter: Segmenter, choices: dict[str, int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        segmenter.segment_large(Image(900, 800), np.zeros((900, 800), np.int32), **choices)


def test_a_block_too_short_for_the_overlap_at_a_stated_scale_is_refused_before_the_image_is_read(
    segmenter: Segmenter,
) -> None:
    coarse = segmenter.with_settings(scale=0.5)
    with pytest.raises(InputError, match=r"overlap \(256, 256\) is more than block 200; .*overlap="):
        coarse.segment_large(Image(900, 800), np.zeros((900, 800), np.int32), block=200)
