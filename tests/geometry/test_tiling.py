"""Geometry of tiles: they cover the image, lie on the network's grid, and have the context asked for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.tiling import (
    DEFAULT_HALO,
    Tile,
    Tiling,
    as_tiling,
    blocks,
    grown,
    halved,
    intersection,
    outer_shape,
    rounded_up,
    shape_of,
    shifted,
    tiles,
)

many = settings(max_examples=100, deadline=None)
shapes = st.lists(st.integers(1, 70), min_size=2, max_size=2).map(tuple)


@st.composite
def geometries(draw: st.DrawFn) -> dict[str, Any]:
    shape = draw(shapes)
    size = tuple(draw(st.integers(5, 60)) for _ in shape)
    return {
        "shape": shape,
        "size": size,
        "halo": draw(st.integers(0, 30)),
        "grid": draw(st.sampled_from([1, 4, 16])),
    }


@many
@given(geometry=geometries())
def test_cores_cover_each_pixel_once_in_order(geometry: dict[str, Any]) -> None:
    count = np.zeros(geometry["shape"], int)
    starts = []
    for tile in tiles(**geometry):
        count[tile.core] += 1
        starts.append(tuple(side.start for side in tile.core))
    assert (count == 1).all()
    assert starts == sorted(starts)


@many
@given(geometry=geometries())
def test_a_tile_starts_on_the_grid_and_has_its_halo_unless_the_image_ends(geometry: dict[str, Any]) -> None:
    shape, grid, halo = geometry["shape"], geometry["grid"], geometry["halo"]
    for tile in tiles(**geometry):
        for outer, core, length in zip(tile.outer, tile.core, shape):
            padded = rounded_up(length, grid)
            assert outer.start % grid == outer.stop % grid == 0
            assert 0 <= outer.start <= core.start < core.stop <= min(outer.stop, length)
            assert outer.stop <= padded
            assert outer.start == 0 or core.start - outer.start >= halo
            assert outer.stop == padded or outer.stop - core.stop >= halo


@many
@given(geometry=geometries())
def test_all_tiles_have_the_shape_that_is_foretold_and_keep_no_more_than_asked(
    geometry: dict[str, Any],
) -> None:
    expected, context = outer_shape(**geometry), rounded_up(geometry["halo"], geometry["grid"])
    for tile in tiles(**geometry):
        assert shape_of(tile.outer) == expected
        for core, size, length in zip(tile.core, geometry["size"], geometry["shape"]):
            ends = (core.start == 0) + (core.stop == length)  # of the image, where no halo is needed
            assert core.stop - core.start <= rounded_up(size, geometry["grid"]) + ends * context


@many
@given(geometry=geometries())
def test_inner_is_the_core_seen_from_the_outer_box(geometry: dict[str, Any]) -> None:
    padded = tuple(rounded_up(length, geometry["grid"]) for length in geometry["shape"])
    image = np.arange(math.prod(padded)).reshape(padded)
    for tile in tiles(**geometry)[:5]:
        np.testing.assert_array_equal(image[tile.outer][tile.inner], image[tile.core])


def test_the_network_sees_nothing_twice_but_halos() -> None:
    found = tiles((64, 2432), (64, 1152), halo=60, grid=16)
    assert [tile.outer[1] for tile in found] == [slice(0, 1280), slice(1152, 2432)]
    assert [tile.core[1] for tile in found] == [slice(0, 1216), slice(1216, 2432)]
    assert len(tiles((64, 1280), (64, 1152), halo=64, grid=16)) == 1


def test_tiles_of_a_row_are_evened_out() -> None:
    found = tiles((16, 1040), (16, 1024), halo=0, grid=16)
    assert [shape_of(tile.core)[1] for tile in found] == [512, 528]


@many
@given(shape=shapes, size=st.integers(5, 60), margin=st.integers(0, 40), grid=st.sampled_from([1, 3, 16]))
def test_blocks_partition_the_image_and_grow_within_it_from_the_grid(
    shape: tuple[int, ...], size: int, margin: int, grid: int
) -> None:
    count = np.zeros(shape, int)
    for box in blocks(shape, (size,) * len(shape)):
        count[box] += 1
        larger = grown(box, margin, shape, (grid,) * len(shape))
        for inner, outer, length in zip(box, larger, shape):
            assert outer.start % grid == 0
            assert max(0, inner.start - margin - grid) < outer.start + 1 <= max(0, inner.start - margin) + 1
            assert outer.stop == min(inner.stop + margin, length)
    assert count.max() == 1
    assert len(blocks(shape, (size,) * len(shape))) == math.prod(-(-length // size) for length in shape)


def test_boxes_that_only_touch_share_nothing() -> None:
    one, other = (slice(0, 5), slice(0, 5)), (slice(5, 9), slice(0, 9))
    assert intersection(one, other) is None
    assert intersection(one, (slice(4, 9), slice(3, 9))) == (slice(4, 5), slice(3, 5))
    assert shifted((slice(4, 5), slice(3, 5)), (slice(4, 9), slice(3, 9))) == (slice(0, 1), slice(0, 2))


def test_halves_stay_on_the_grid_down_to_one_coarsest_pixel() -> None:
    assert halved((1000, 40), 16) == (512, 32)
    assert halved((16, 1), 16) == (16, 16)


@pytest.mark.parametrize("size", ["auto", None, 1, 512, (512, 256), np.int64(7)])
def test_a_size_is_a_tiling_with_the_default_halo(size: Any) -> None:
    assert as_tiling(size) == Tiling(size, DEFAULT_HALO)
    assert as_tiling(Tiling(size, 5)).halo == 5


@pytest.mark.parametrize("size", ["whole", 0, -1, 2.5, True, (), (0, 5), (5, "a"), b"auto", [1.0]])
def test_anything_else_is_refused(size: Any) -> None:
    with pytest.raises(InputError, match="tile must be 'auto', None or an integer of at least 1, in pixels"):
        as_tiling(size)


@pytest.mark.parametrize("halo", [-1, 1.5, None, "92", False])
def test_a_halo_is_a_number_of_pixels(halo: Any) -> None:
    with pytest.raises(InputError, match="halo must be an integer of at least 0, in pixels"):
        Tiling(512, halo)


def test_tilings_and_tiles_are_values_that_compare_serve_as_keys_and_cannot_be_changed() -> None:
    (tile,) = tiles((20, 30), (32, 32), halo=0, grid=16)
    for value, same, field in (
        (Tiling(64, 8), Tiling(64, halo=8), "halo"),
        (tile, Tile(tile.outer, tile.core), "core"),
    ):
        assert value == same
        with pytest.raises(AttributeError):
            setattr(value, field, None)
    assert len({Tiling(64, 8), Tiling(64, halo=8)}) == 1
