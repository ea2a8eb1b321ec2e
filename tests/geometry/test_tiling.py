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


@st.composite
def geometries(draw: st.DrawFn) -> dict[str, Any]:
    """Two or three axes, each of its own length, tile, halo and grid."""
    ndim = draw(st.integers(2, 3))
    lengths = {"shape": st.integers(1, 70 if ndim == 2 else 40), "size": st.integers(5, 60)}
    others = {"halo": st.integers(0, 30), "grid": st.sampled_from([1, 4, 16])}
    return {name: tuple(draw(one) for _ in range(ndim)) for name, one in (lengths | others).items()}


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
    for tile in tiles(**geometry):
        axes = (geometry[name] for name in ("shape", "grid", "halo"))
        for outer, core, length, grid, halo in zip(tile.outer, tile.core, *axes, strict=True):
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
    expected = outer_shape(**geometry)
    for tile in tiles(**geometry):
        assert shape_of(tile.outer) == expected
        axes = (geometry[name] for name in ("size", "shape", "halo", "grid"))
        for core, size, length, halo, grid in zip(tile.core, *axes, strict=True):
            ends = (core.start == 0) + (core.stop == length)  # of the image, where no halo is needed
            assert core.stop - core.start <= rounded_up(size, grid) + ends * rounded_up(halo, grid)


@many
@given(geometry=geometries())
def test_inner_is_the_core_seen_from_the_outer_box(geometry: dict[str, Any]) -> None:
    padded = tuple(map(rounded_up, geometry["shape"], geometry["grid"]))
    image = np.arange(math.prod(padded)).reshape(padded)
    for tile in tiles(**geometry)[:5]:
        np.testing.assert_array_equal(image[tile.outer][tile.inner], image[tile.core])


def test_the_network_sees_nothing_twice_but_halos() -> None:
    found = tiles((64, 2432), (64, 1152), halo=(60, 60), grid=(16, 16))
    assert [tile.outer[1] for tile in found] == [slice(0, 1280), slice(1152, 2432)]
    assert [tile.core[1] for tile in found] == [slice(0, 1216), slice(1216, 2432)]
    assert len(tiles((64, 1280), (64, 1152), halo=(64, 64), grid=(16, 16))) == 1


def test_tiles_of_a_row_are_evened_out() -> None:
    found = tiles((16, 1040), (16, 1024), halo=(0, 0), grid=(16, 16))
    assert [shape_of(tile.core)[1] for tile in found] == [512, 528]


@many
@given(geometry=geometries())
def test_blocks_partition_the_image_and_grow_within_it_from_the_grid(geometry: dict[str, Any]) -> None:
    shape, sizes, margins, grids = geometry.values()
    count = np.zeros(shape, int)
    for box in blocks(shape, sizes):
        count[box] += 1
        larger = grown(box, margins, shape, grids)
        for inner, outer, length, margin, grid in zip(box, larger, shape, margins, grids, strict=True):
            assert outer.start % grid == 0
            assert max(0, inner.start - margin - grid) < outer.start + 1 <= max(0, inner.start - margin) + 1
            assert outer.stop == min(inner.stop + margin, length)
    assert count.min() == count.max() == 1
    counts = [-(-length // size) for length, size in zip(shape, sizes, strict=True)]
    assert len(blocks(shape, sizes)) == math.prod(counts)


def test_boxes_that_only_touch_share_nothing() -> None:
    one, other = (slice(0, 5), slice(0, 5)), (slice(5, 9), slice(0, 9))
    assert intersection(one, other) is None
    assert intersection(one, (slice(4, 9), slice(3, 9))) == (slice(4, 5), slice(3, 5))
    assert shifted((slice(4, 5), slice(3, 5)), (slice(4, 9), slice(3, 9))) == (slice(0, 1), slice(0, 2))


def test_halves_stay_on_the_grid_down_to_one_coarsest_pixel() -> None:
    assert halved((1000, 40), (16, 16)) == (512, 32)
    assert halved((16, 1), (16, 16)) == (16, 16)
    assert halved((5, 40, 32), (1, 16, 32)) == (3, 32, 32)


@pytest.mark.parametrize("size", ["auto", None, 1, 512, (512, 256), [8, 4, 2], np.array([3, 4]), np.int64(7)])
def test_a_size_is_a_tiling_with_the_default_halo(size: Any) -> None:
    assert as_tiling(size) == Tiling(size, "auto")
    assert as_tiling(Tiling(size, 5)).halo == 5
    assert hash(Tiling(size)) == hash(Tiling(size))


def test_a_size_and_a_halo_are_one_for_all_axes_or_one_per_axis() -> None:
    assert Tiling(64, 8).size_of(2) == (64, 64)
    assert Tiling(64, (1, 8, 8)).halo_of(3) == (1, 8, 8)
    assert Tiling("auto").size_of(3) is Tiling(None).size_of(2) is None
    with pytest.raises(
        InputError, match=r"tile must be .* or 3 of them, one per axis, in pixels, got \(64, 32\)"
    ):
        Tiling((64, 32)).size_of(3)
    with pytest.raises(InputError, match="halo must be an integer of at least 0, or 2 of them"):
        Tiling(64, (1, 2, 3)).halo_of(2)


def test_the_default_halo_is_never_more_than_the_network_reads() -> None:
    assert Tiling().halo_of(2) == Tiling().halo_of(2, (92, 92)) == (DEFAULT_HALO,) * 2
    assert Tiling().halo_of(3, (4, 92, 30)) == (4, DEFAULT_HALO, 30)
    assert Tiling(halo=80).halo_of(3, (4, 92, 30)) == (80, 80, 80)


@pytest.mark.parametrize("size", ["whole", 0, -1, 2.5, True, (), (0, 5), (5, "a"), b"auto", [1.0]])
def test_anything_else_is_refused(size: Any) -> None:
    with pytest.raises(InputError, match=r"tile must be .*an integer of at least 1, or .*, in pixels, got "):
        as_tiling(size)


@pytest.mark.parametrize("halo", [-1, 1.5, None, "92", False, (), (5, -1)])
def test_a_halo_is_a_number_of_pixels(halo: Any) -> None:
    with pytest.raises(InputError, match=r"halo must be .*an integer of at least 0, or .*, in pixels, got "):
        Tiling(512, halo)


def test_tilings_and_tiles_are_values_that_compare_serve_as_keys_and_cannot_be_changed() -> None:
    (tile,) = tiles((20, 30), (32, 32), halo=(0, 0), grid=(16, 16))
    for value, same, field in (
        (Tiling(64, 8), Tiling(64, halo=8), "halo"),
        (tile, Tile(tile.outer, tile.core), "core"),
    ):
        assert value == same
        with pytest.raises(AttributeError):
            setattr(value, field, None)
    assert len({Tiling(64, 8), Tiling(64, halo=8)}) == 1
