"""Blockwise labeling: as if the image were one, resumed after a kill, written in any form."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.tiling import Box
from pixel_embedded_affinity.io.read import stored_source
from pixel_embedded_affinity.labels import relabel
from pixel_embedded_affinity.large.blockwise import label_blockwise
from pixel_embedded_affinity.large.plan import Plan, default_block, default_overlap
from pixel_embedded_affinity.large.store import PLAN_FILE, Store, block_folder, check_output, opened_output

Array = np.ndarray[Any, np.dtype[Any]]


class Looker:
    """Finds the objects of a window by their pixels' values: pieces that do not touch in it are not one."""

    def __init__(self, truth: Array, fail_after: int = 10**9) -> None:
        self.truth, self.fail_after = truth, fail_after
        self.windows: list[Box] = []

    def __call__(self, window: Box) -> Array:
        if len(self.windows) == self.fail_after:
            raise KeyboardInterrupt
        self.windows.append(window)
        return components(self.truth[window])


def components(values: Array) -> Array:
    """Connected pixels of equal value, each value by itself."""
    found = np.zeros(values.shape, np.int64)
    for value in range(1, int(values.max(initial=0)) + 1):
        regions, _ = ndimage.label(values == value)
        found += np.where(regions > 0, regions + found.max(), 0)
    return relabel(found)


def field(shape: tuple[int, ...], cell: int, seed: int) -> Array:
    """Arches, one in each cell of a grid, many touching; neighbors have different values from 1 to 9, or 27.

    They open to any side: who does not see the whole of one may see two objects.
    """
    generator = np.random.default_rng(seed)
    values = np.zeros(shape, np.uint8)
    for place in np.ndindex(*(-(-length // cell) for length in shape)):
        sides = generator.integers(1, cell, len(shape), endpoint=True)
        starts = [cell * at + int(generator.integers(0, cell - side + 1)) for at, side in zip(place, sides)]
        arch = values[tuple(slice(start, start + side) for start, side in zip(starts, sides))]
        arch[...] = np.ravel_multi_index([at % 3 for at in place], (3,) * len(shape)) + 1
        opening = [slice(1, -1)] * len(shape)
        axis = int(generator.integers(len(shape)))
        opening[axis] = slice(1, None) if generator.integers(2) else slice(None, -1)
        arch[tuple(opening)] = 0
    return values


def run(plan: Plan, label: Any, folder: Path, **options: Any) -> tuple[Array, int]:
    out = np.zeros(plan.shape, np.int32)
    count = label_blockwise(plan, label, out, folder=folder, identity={"a": 1}, **options)
    return out, count


@pytest.mark.parametrize("ndim", [2, 3])
@settings(max_examples=25, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_objects_no_longer_than_the_overlap_are_those_of_the_whole_image(
    tmp_path_factory: pytest.TempPathFactory, ndim: int, data: st.DataObject, seed: int
) -> None:
    cell, longest = {2: (9, 90), 3: (5, 30)}[ndim]
    ranges = {
        "shape": (1, longest),
        "block": (cell + 3, 2 * longest // 3),
        "overlap": (cell, cell + 3),
        "strides": (1, 5),
    }
    plan = Plan(*(tuple(data.draw(st.integers(*ends)) for _ in range(ndim)) for ends in ranges.values()))
    truth = field(plan.shape, cell, seed)
    found, count = run(plan, Looker(truth), tmp_path_factory.mktemp("blocks"))
    expected = components(truth)
    np.testing.assert_array_equal(found, expected)
    assert count == expected.max()


def test_of_thousands_of_objects_none_is_cut_and_none_merged(tmp_path: Path) -> None:
    truth = field((560, 590), 11, 0)
    found, count = run(Plan(truth.shape, 100, 11, (3, 3)), Looker(truth), tmp_path / "blocks")
    expected = components(truth)
    assert count == expected.max() > 2000
    np.testing.assert_array_equal(found, expected)


def test_an_object_over_many_blocks_is_one_where_neighbors_agree(tmp_path: Path) -> None:
    truth = np.zeros((100, 100), np.uint8)
    truth[10:90, 40:44] = 1
    found, count = run(Plan(truth.shape, 20, 5, (1, 1)), Looker(truth), tmp_path / "blocks")
    assert count == 1
    np.testing.assert_array_equal(found, truth)


def test_small_objects_and_those_on_the_border_are_judged_by_the_whole(tmp_path: Path) -> None:
    truth = np.zeros((40, 40), np.uint8)
    truth[8:12, 18:24] = 1  # 24 pixels, over two blocks
    truth[30:33, 38:40] = 2
    plan = Plan(truth.shape, 20, 8, (1, 1))
    found, _ = run(plan, Looker(truth), tmp_path / "a", min_size=24, clear_border=True)
    np.testing.assert_array_equal(found, truth == 1)
    assert run(plan, Looker(truth), tmp_path / "b", min_size=25)[1] == 0
    assert run(plan, Looker(truth), tmp_path / "c", clear_border=False)[1] == 2


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    truth = field((60, 60), 9, 1)
    plan, folder = Plan(truth.shape, 20, 9, (1, 1)), tmp_path / "blocks"
    first = Looker(truth, fail_after=4)
    with pytest.raises(KeyboardInterrupt):
        run(plan, first, folder)
    second = Looker(truth)
    found, _ = run(plan, second, folder)
    assert first.windows + second.windows == plan.windows
    np.testing.assert_array_equal(found, components(truth))
    assert not folder.exists()


def test_a_block_that_was_cut_short_is_done_again(tmp_path: Path) -> None:
    truth = field((60, 60), 9, 1)
    plan, folder = Plan(truth.shape, 20, 9, (1, 1)), tmp_path / "blocks"
    with pytest.raises(KeyboardInterrupt):
        run(plan, Looker(truth, fail_after=4), folder)
    cut = Store(folder).finished()[1]
    cut.write_bytes(cut.read_bytes()[:20])
    second = Looker(truth)
    found, _ = run(plan, second, folder)
    assert second.windows == [plan.windows[1], *plan.windows[4:]]
    np.testing.assert_array_equal(found, components(truth))


def test_a_file_that_was_being_written_when_the_run_was_killed_does_not_count(tmp_path: Path) -> None:
    truth = field((40, 20), 9, 1)
    plan = Plan(truth.shape, 20, 9, (1, 1))
    (tmp_path / ".block_000000.npz.0123.part").write_bytes(b"half")
    looker = Looker(truth)
    run(plan, looker, tmp_path)
    assert len(looker.windows) == 2


def test_blocks_of_other_settings_or_another_cut_are_refused(tmp_path: Path) -> None:
    truth = field((40, 40), 9, 1)
    with pytest.raises(KeyboardInterrupt):
        run(Plan(truth.shape, 20, 9, (1, 1)), Looker(truth, 1), tmp_path)
    with pytest.raises(InputError, match="holds blocks of another image or of other settings") as refusal:
        run(Plan(truth.shape, 20, 10, (1, 1)), Looker(truth), tmp_path)
    assert "overlap was [9, 9], is [10, 10]" in str(refusal.value)
    plan = Plan(truth.shape, 20, 9, (1, 1))
    with pytest.raises(InputError, match="holds blocks of another image or of other settings"):
        label_blockwise(plan, Looker(truth), truth.astype(np.int32), folder=tmp_path, identity={"a": 2})


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({"image": ["YX", "f" * 64]}, {"image": ["YX", "0" * 64]}, "(image)"),
        (
            {"config": {"views": 1, "scale": "auto"}},
            {"config": {"views": 8, "scale": "auto"}},
            "(config.views was 1, is 8)",
        ),
        ({"a": 1}, {"b": 1}, "(a was 1, is None, b was None, is 1)"),
        (
            dict.fromkeys("abcde", 1),
            dict.fromkeys("abcde", 2),
            "(a was 1, is 2, b was 1, is 2, c was 1, is 2, others)",
        ),
    ],
)
def test_what_differs_from_an_earlier_run_is_said(
    before: dict[str, Any], now: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    truth = field((40, 40), 9, 1)
    plan, out = Plan(truth.shape, 20, 9, (1, 1)), truth.astype(np.int32)
    with pytest.raises(KeyboardInterrupt):
        label_blockwise(plan, Looker(truth, 1), out, folder=tmp_path, identity=before)
    with pytest.raises(InputError, match="holds blocks") as refusal:
        label_blockwise(plan, Looker(truth), out, folder=tmp_path, identity=now)
    assert expected in str(refusal.value)


def test_a_plan_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    truth = field((40, 40), 9, 1)
    (tmp_path / PLAN_FILE).write_text("{")
    with pytest.raises(InputError, match=f"{PLAN_FILE} cannot be read"):
        run(Plan(truth.shape, 20, 9, (1, 1)), Looker(truth), tmp_path)


def test_a_damaged_block_is_named(tmp_path: Path) -> None:
    truth = field((60, 20), 9, 1)
    plan = Plan(truth.shape, 20, 9, (1, 1))
    with pytest.raises(KeyboardInterrupt):
        run(plan, Looker(truth, 2), tmp_path)
    np.savez(next(tmp_path.glob("block_000001-*.npz")), other=np.zeros(3))
    with pytest.raises(InputError, match=r"block_000001-\w+\.npz' cannot be read"):
        run(plan, Looker(truth), tmp_path)


def test_what_else_lies_in_the_folder_stays_there(tmp_path: Path) -> None:
    truth = field((40, 20), 9, 1)
    plan, out = Plan(truth.shape, 20, 9, (1, 1)), tmp_path / "labels.tif"
    (tmp_path / "image.tif").write_bytes(b"not ours")
    (tmp_path / "block_of_flats.npz").write_bytes(b"not ours either")
    (tmp_path / ".block_000000.npz.0123.part").write_bytes(b"ours, of a run that was killed")
    label_blockwise(plan, Looker(truth), out, folder=tmp_path, identity={})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "block_of_flats.npz",
        "image.tif",
        "labels.tif",
    ]
    np.testing.assert_array_equal(tifffile.imread(out), components(truth))


def test_blocks_of_nobody_knows_what_are_not_taken_for_ours(tmp_path: Path) -> None:
    truth = field((40, 20), 9, 1)
    (tmp_path / "block_000001.npz").write_bytes(b"of another program")
    with pytest.raises(InputError, match=r"holds 'block_000001\.npz', but no plan\.json that says which"):
        run(Plan(truth.shape, 20, 9, (1, 1)), Looker(truth), tmp_path)
    assert (tmp_path / "block_000001.npz").read_bytes() == b"of another program"


def test_a_relative_folder_is_the_same_one_to_workers_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = field((40, 20), 9, 1)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)

    class Mover(Looker):
        def __call__(self, window: Box) -> Array:
            monkeypatch.chdir(tmp_path / "elsewhere")
            return super().__call__(window)

    found, _ = run(Plan(truth.shape, 20, 9, (1, 1)), Mover(truth), Path("blocks"))
    np.testing.assert_array_equal(found, components(truth))
    assert not list((tmp_path / "elsewhere").iterdir())


def test_labels_are_written_as_tiff_once_all_is_done(tmp_path: Path) -> None:
    truth = field((50, 40), 9, 1)
    plan, out = Plan(truth.shape, 20, 9, (1, 1)), tmp_path / "labels.tif"
    with pytest.raises(KeyboardInterrupt):
        label_blockwise(plan, Looker(truth, 2), out, folder=tmp_path / "blocks", identity={})
    assert not out.exists()
    with opened_output(out, plan.shape, tmp_path / "blocks"):
        (left,) = tmp_path.glob(".labels.tif.*.part")
        half = left.read_bytes()[:100]
    out.unlink()
    left.write_bytes(half)  # of a run that was killed while it wrote
    label_blockwise(plan, Looker(truth), out, folder=tmp_path / "blocks", identity={})
    found = tifffile.imread(out)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, components(truth))
    assert [path.name for path in tmp_path.iterdir()] == ["labels.tif"]


@pytest.mark.parametrize("shape", [(50, 40), (12, 20, 18)])
def test_a_tiff_says_its_axes_and_is_a_big_one_where_it_must_be(
    tmp_path: Path, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = field(shape, 5, 1)
    plan = Plan(truth.shape, 10, 5, 1)
    for limit, big in ((4 * truth.size, False), (4 * truth.size - 1, True)):
        monkeypatch.setattr("pixel_embedded_affinity.large.store._BIG_TIFF", limit)
        out = tmp_path / f"{limit}.tif"
        label_blockwise(plan, Looker(truth), out, folder=tmp_path / "blocks", identity={})
        with tifffile.TiffFile(out) as file:
            assert (file.series[0].axes, file.is_bigtiff) == ("ZYX"[-len(shape) :], big)
            np.testing.assert_array_equal(file.asarray(), components(truth))


@pytest.mark.parametrize("shape", [(50, 40), (12, 20, 18)])
def test_labels_are_written_as_zarr(tmp_path: Path, shape: tuple[int, ...]) -> None:
    zarr = pytest.importorskip("zarr")
    truth = field(shape, 5, 1)
    out = tmp_path / "labels.zarr"
    plan = Plan(truth.shape, 10, 5, 1)
    with pytest.raises(RuntimeError, match="half way"), opened_output(out, shape, tmp_path / "blocks"):
        raise RuntimeError("half way")
    assert not list(tmp_path.iterdir())
    label_blockwise(plan, Looker(truth), str(out), folder=tmp_path / "blocks", identity={})
    found = zarr.open_array(str(out), mode="r")
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found[:], components(truth))
    assert [path.name for path in tmp_path.iterdir()] == ["labels.zarr"]


def test_blocks_are_kept_where_asked_else_beside_the_output_else_in_a_temporary_folder(
    tmp_path: Path,
) -> None:
    with block_folder(tmp_path / "a.tif", tmp_path / "here") as folder:
        assert folder == tmp_path / "here"
    with block_folder(str(tmp_path / "a.tif"), None) as folder:
        assert folder == tmp_path / "a.tif.blocks"
    with block_folder(np.zeros(3), None) as folder:
        folder.mkdir()
    assert not folder.parent.exists()


def test_progress_goes_over_the_blocks_that_are_left(tmp_path: Path) -> None:
    truth = field((40, 40), 9, 1)
    plan = Plan(truth.shape, 20, 9, (1, 1))
    with pytest.raises(KeyboardInterrupt):
        run(plan, Looker(truth, 1), tmp_path)
    totals = []

    def bar(items: Any, *, total: int, desc: str) -> Any:
        totals.append((total, desc))
        return items

    run(plan, Looker(truth), tmp_path, progress=bar)
    assert totals == [(3, "blocks")]


def test_blocks_run_on_dask_with_the_same_labels(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="dask's distributed scheduler is not installed")
    truth = field((60, 60), 9, 1)
    plan = Plan(truth.shape, 20, 9, (1, 1))
    options = {"processes": False, "n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        found, _ = run(plan, Looker(truth), tmp_path / "blocks", client=client)
    np.testing.assert_array_equal(found, components(truth))


def test_a_worker_of_a_failed_run_writes_no_block_of_the_next_one(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="dask's distributed scheduler is not installed")
    truth, folder, go = field((40, 20), 9, 1), tmp_path / "blocks", tmp_path / "go"
    plan = Plan(truth.shape, 20, 9, (1, 1))
    options = {"processes": False, "n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}

    def late(window: Box) -> Array:
        if window[0].start == 0:
            raise RuntimeError("the first block failed")
        while not go.exists():
            time.sleep(0.01)
        return np.ones_like(components(truth[window]))

    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        with pytest.raises(RuntimeError, match="the first block failed"):
            run(plan, late, folder, client=client)
        shutil.rmtree(folder)
        with pytest.raises(KeyboardInterrupt):
            label_blockwise(plan, Looker(truth, 1), truth.astype(np.int32), folder=folder, identity={"a": 2})
        go.touch()
        deadline = time.monotonic() + 30
        while len(list(folder.glob("block_000001-*.npz"))) < 1 and time.monotonic() < deadline:
            time.sleep(0.01)
    out = np.zeros(truth.shape, np.int32)
    label_blockwise(plan, Looker(truth), out, folder=folder, identity={"a": 2})
    np.testing.assert_array_equal(out, components(truth))


def test_what_is_no_client_is_refused_before_any_work(tmp_path: Path) -> None:
    truth = field((40, 20), 9, 1)
    with pytest.raises(
        InputError, match=r"client must be a dask\.distributed\.Client, got 'tcp://host:8786'"
    ):
        run(Plan(truth.shape, 20, 9, (1, 1)), Looker(truth), tmp_path / "blocks", client="tcp://host:8786")
    assert not (tmp_path / "blocks").exists()


def test_a_plan_of_which_no_block_was_done_is_replaced(tmp_path: Path) -> None:
    truth = field((40, 20), 9, 1)
    with pytest.raises(KeyboardInterrupt):
        run(Plan(truth.shape, 20, 9, (1, 1)), Looker(truth, 0), tmp_path)
    found, _ = run(Plan(truth.shape, 20, 10, (1, 1)), Looker(truth), tmp_path)
    np.testing.assert_array_equal(found, components(truth))


def test_lengths_are_one_for_all_axes_or_one_per_axis() -> None:
    assert Plan((50, 50), 20, 9, 3) == Plan((50, 50), (20, 20), (9, 9), (3, 3))
    plan = Plan((9, 50, 50), (4, 20, 20), (2, 9, 9), 1)
    assert plan.windows[0] == (slice(0, 6), slice(0, 29), slice(0, 29))
    assert (len(plan.cores), len(plan.neighbors())) == (27, 158)


def test_blocks_of_images_have_2048_embedding_vectors() -> None:
    plan = Plan((9, 9), None, None, 1)
    assert (plan.block, plan.overlap) == ((2048,) * 2, (128,) * 2)
    assert default_block((9, 9), (128, 128), (64, 64), (1, 2)) == (2048, 4096)
    assert default_block((9, 9), (128, 3000), (64, 64), (1, 1)) == (2048, 3000)


def test_an_overlap_is_as_long_along_thick_axes_but_has_eight_sections() -> None:
    assert default_overlap(2, (0.5, 0.1)) == (128, 128)
    assert default_overlap(3) == Plan((9, 9, 9), None, None, 1).overlap == (32,) * 3
    assert default_overlap(3, (0.02, 0.01, 0.01)) == (16, 32, 32)
    assert default_overlap(3, (0.03, 0.006, 0.006)) == (8, 32, 32)


def seen_voxels(
    shape: tuple[int, ...], block: tuple[int, ...], overlap: tuple[int, ...], halo: tuple[int, ...]
) -> list[int]:
    """An oracle: voxels that the network sees of each block."""
    cores = Plan(shape, block, overlap, 1).cores
    margin = np.add(overlap, halo)
    return [
        int(np.prod([min(s.stop + m, n) - max(s.start - m, 0) for s, m, n in zip(core, margin, shape)]))
        for core in cores
    ]


@pytest.mark.parametrize(
    ("shape", "overlap", "halo", "most"),
    [
        ((100, 1024, 1024), (8, 32, 32), (6, 96, 96), 1.6),
        ((1000, 4096, 4096), (8, 32, 32), (6, 96, 96), 3.2),
        ((600, 600, 600), (32, 32, 32), (0, 0, 0), 1.4),
        ((600, 600, 600), (32, 32, 32), (64, 64, 64), 4.1),
        ((1, 20000, 300), (8, 32, 32), (6, 96, 96), 1.3),
    ],
)
def test_blocks_of_volumes_keep_what_the_network_sees_small(
    shape: tuple[int, ...], overlap: tuple[int, ...], halo: tuple[int, ...], most: float
) -> None:
    block = default_block(shape, overlap, halo, (1, 1, 1))
    assert all(length >= least for length, least in zip(block, overlap))
    seen = seen_voxels(shape, block, overlap, halo)
    assert max(seen) <= 48 * 2**20
    assert sum(seen) <= most * np.prod(shape)
    usual = min(160, max(shape))
    assert sum(seen) <= sum(seen_voxels(shape, (usual,) * 3, overlap, halo))


def test_a_volume_that_can_be_seen_at_once_is_one_block() -> None:
    assert default_block((20, 1024, 1024), (8, 32, 32), (6, 96, 96), (1, 2, 2)) == (20, 1024, 1024)
    assert default_block((3, 5, 7), (8, 32, 32), (6, 96, 96), (1, 2, 2)) == (8, 32, 32)


def test_an_overlap_too_large_for_the_memory_gets_the_smallest_blocks() -> None:
    block = default_block((2000, 2000, 2000), (200, 200, 200), (96, 96, 96), (1, 1, 1))
    assert all(200 <= length <= 232 for length in block)


@pytest.mark.parametrize(
    ("block", "overlap", "message"),
    [
        (0, 1, "block must be an integer of at least 1"),
        (20, 0, "overlap must be an integer of at least 1"),
        (20.5, 1, "block must be an integer of at least 1"),
        (20, True, "overlap must be an integer of at least 1"),
        (20, 21, "overlap 21 is more than block 20"),
        ((20, 5), 9, r"overlap 9 is more than block \(20, 5\); expected at most the block along each axis"),
        ((20, 5, 9), 9, "block must be an integer of at least 1, or 2 of them, one per axis"),
    ],
)
def test_blocks_that_make_no_sense_are_refused(block: Any, overlap: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Plan((50, 50), block, overlap, (1, 1))


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_sections_of_a_tiff_are_no_colors_and_keep_their_distance(depth: int, tmp_path: Path) -> None:
    """ImageJ 1.53 refused three sections that were written as red, green and blue."""
    path = tmp_path / "labels.tif"
    with opened_output(path, (depth, 5, 6), tmp_path / "blocks", pixel_size=(3, 0.5, 0.5)) as array:
        array[...] = np.arange(depth * 30).reshape(depth, 5, 6)
    with tifffile.TiffFile(path) as file:
        assert (len(file.pages), file.pages.first.photometric) == (depth, tifffile.PHOTOMETRIC.MINISBLACK)
        assert file.imagej_metadata["spacing"] == 3
    found = stored_source(path)
    assert (found.axes, found.pixel_size) == ("ZYX", {"Z": 3, "Y": 0.5, "X": 0.5})
    np.testing.assert_array_equal(found.values.ravel(), np.arange(depth * 30))


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [((5000, 5000), (1024, 1024)), ((300, 400, 500), (64, 128, 128)), ((4, 10**6), (4, 2**18))],
)
def test_a_chunk_of_an_output_has_four_million_bytes(
    tmp_path: Path, shape: tuple[int, ...], chunks: tuple[int, ...]
) -> None:
    pytest.importorskip("zarr")
    with opened_output(tmp_path / "labels.zarr", shape, tmp_path) as array:
        assert array.chunks == chunks


# --- two runs at a time -----------------------------------------------------------------------------------


def test_a_second_run_in_a_folder_is_told_and_the_first_one_goes_on(tmp_path: Path) -> None:
    truth = field((60, 60), 9, 1)
    plan, told = Plan(truth.shape, 20, 9, 1), []

    class Meets(Looker):
        def __call__(self, window: Box) -> Array:
            with pytest.raises(
                InputError, match=r"another run keeps its blocks in .*; expected one run at a time"
            ):
                run(plan, Looker(truth), tmp_path / "blocks")
            told.append(window)
            return super().__call__(window)

    found, _ = run(plan, Meets(truth), tmp_path / "blocks")
    assert told == plan.windows
    np.testing.assert_array_equal(found, components(truth))
    assert not list(tmp_path.iterdir())


HOLDS = """
import sys, time
from pathlib import Path
from pixel_embedded_affinity.large.store import Store
with Store(Path(sys.argv[1])).locked():
    print("locked", flush=True)
    time.sleep(60)
"""


def test_another_process_holds_a_folder_until_it_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "blocks"
    holder = subprocess.Popen([sys.executable, "-c", HOLDS, str(folder)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    with holder.stdout:
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(InputError, match="another run keeps its blocks"), Store(folder).locked():
            pass
        holder.kill()
        holder.wait()
    with Store(folder).locked():
        assert folder.exists()
    assert not folder.exists()


def test_a_run_that_meets_the_output_of_another_that_just_ended_does_not_replace_it(tmp_path: Path) -> None:
    truth = field((20, 20), 9, 1)
    plan, out = Plan(truth.shape, 20, 9, 1), tmp_path / "labels.tif"
    label_blockwise(plan, Looker(truth), out, folder=tmp_path / "blocks", identity={})
    looker = Looker(truth)
    with pytest.raises(InputError, match="exists already"):
        label_blockwise(plan, looker, out, folder=tmp_path / "blocks", identity={})
    assert not looker.windows
    assert [path.name for path in tmp_path.iterdir()] == ["labels.tif"]


def test_runs_that_keep_their_blocks_apart_write_one_output_without_meeting(tmp_path: Path) -> None:
    out = tmp_path / "labels.tif"
    with (
        opened_output(out, (5, 6), tmp_path / "a") as one,
        opened_output(out, (5, 6), tmp_path / "b") as other,
    ):
        one[...], other[...] = 1, 2
    np.testing.assert_array_equal(tifffile.imread(out), np.ones((5, 6)))
    assert [path.name for path in tmp_path.iterdir()] == ["labels.tif"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")
@pytest.mark.parametrize("reason", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_nothing_can_be_locked_a_run_goes_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, reason: int
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr("fcntl.flock", refused)
    truth = field((40, 20), 9, 1)
    found, _ = run(Plan(truth.shape, 20, 9, 1), Looker(truth), tmp_path / "blocks")
    np.testing.assert_array_equal(found, components(truth))
    assert "cannot be locked; make sure that no other run uses it" in caplog.text


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("labels.png", "ends in '.png'; expected .zarr, .tif or .tiff"),
        ("missing/labels.tif", "does not exist; expected an existing folder"),
        ("there.tif", "exists already; expected a new name"),
        (5, "out of type int; expected a path"),
        (np.zeros((5, 6)), "dtype float64; expected"),
        (np.zeros((5, 6), np.int16), "dtype int16; expected"),
        (np.zeros((6, 5), np.int32), r"shape \(6, 5\)"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_first(tmp_path: Path, out: Any, message: str) -> None:
    (tmp_path / "there.tif").touch()
    with pytest.raises(InputError, match=message):
        check_output(tmp_path / out if isinstance(out, str) else out, (5, 6))
