"""Blockwise labeling: as if the image were one, resumed after a kill, written in any form."""

from __future__ import annotations

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
from pixel_embedded_affinity.labels import relabel
from pixel_embedded_affinity.large.blockwise import label_blockwise
from pixel_embedded_affinity.large.plan import Plan
from pixel_embedded_affinity.large.store import block_folder, check_output

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


def field(shape: tuple[int, int], cell: int, seed: int) -> Array:
    """Arches, one in each cell of a grid, many touching; neighbors have different values from 1 to 9.

    They open to any side: who does not see the whole of one may see two objects.
    """
    generator = np.random.default_rng(seed)
    values = np.zeros(shape, np.uint8)
    for top in range(0, shape[0], cell):
        for left in range(0, shape[1], cell):
            height, width = generator.integers(1, cell, 2, endpoint=True)
            y, x = (
                top + generator.integers(0, cell - height + 1),
                left + generator.integers(0, cell - width + 1),
            )
            arch = np.rot90(values[y : y + height, x : x + width], generator.integers(4))
            arch[...] = top // cell % 3 * 3 + left // cell % 3 + 1
            arch[1:, 1:-1] = 0
    return values


def run(plan: Plan, label: Any, folder: Path, **options: Any) -> tuple[Array, int]:
    out = np.zeros(plan.shape, np.int32)
    count = label_blockwise(plan, label, out, folder=folder, settings={"a": 1}, **options)
    return out, count


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    block=st.integers(12, 60),
    overlap=st.integers(9, 12),
    grid=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_objects_no_longer_than_the_overlap_are_those_of_the_whole_image(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, int],
    block: int,
    overlap: int,
    grid: int,
    seed: int,
) -> None:
    truth = field(shape, 9, seed)
    plan = Plan(shape, block, overlap, (grid, grid))
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
    with pytest.raises(InputError, match="holds blocks of an image or of settings other than these"):
        run(Plan(truth.shape, 20, 10, (1, 1)), Looker(truth), tmp_path)
    plan = Plan(truth.shape, 20, 9, (1, 1))
    with pytest.raises(InputError, match="holds blocks of an image or of settings other than these"):
        label_blockwise(plan, Looker(truth), truth.astype(np.int32), folder=tmp_path, settings={"a": 2})


def test_a_damaged_block_is_named(tmp_path: Path) -> None:
    truth = field((60, 20), 9, 1)
    plan = Plan(truth.shape, 20, 9, (1, 1))
    with pytest.raises(KeyboardInterrupt):
        run(plan, Looker(truth, 2), tmp_path)
    (tmp_path / "block_000001.npz").write_bytes(b"no block")
    with pytest.raises(InputError, match=r"block_000001\.npz' cannot be read"):
        run(plan, Looker(truth), tmp_path)


def test_what_else_lies_in_the_folder_stays_there(tmp_path: Path) -> None:
    truth = field((40, 20), 9, 1)
    plan, out = Plan(truth.shape, 20, 9, (1, 1)), tmp_path / "labels.tif"
    (tmp_path / "image.tif").write_bytes(b"not ours")
    (tmp_path / "block_of_flats.npz").write_bytes(b"not ours either")
    (tmp_path / ".block_000000.npz.0123.part").write_bytes(b"ours, of a run that was killed")
    label_blockwise(plan, Looker(truth), out, folder=tmp_path, settings={})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "block_of_flats.npz",
        "image.tif",
        "labels.tif",
    ]
    np.testing.assert_array_equal(tifffile.imread(out), components(truth))


def test_blocks_of_nobody_knows_what_are_not_taken_for_ours(tmp_path: Path) -> None:
    truth = field((40, 20), 9, 1)
    (tmp_path / "block_000001.npz").write_bytes(b"of another program")
    with pytest.raises(InputError, match=r"holds 'block_000001\.npz', but no plan\.json that says what"):
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
        label_blockwise(plan, Looker(truth, 2), out, folder=tmp_path / "blocks", settings={})
    assert not out.exists()
    (tmp_path / ".labels.tif.part").write_bytes(b"half, of a run that was killed while it wrote")
    label_blockwise(plan, Looker(truth), out, folder=tmp_path / "blocks", settings={})
    found = tifffile.imread(out)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, components(truth))
    assert [path.name for path in tmp_path.iterdir()] == ["labels.tif"]


def test_labels_are_written_as_zarr(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    truth = field((50, 40), 9, 1)
    out = tmp_path / "labels.zarr"
    plan = Plan(truth.shape, 20, 9, (1, 1))
    label_blockwise(plan, Looker(truth), str(out), folder=tmp_path / "blocks", settings={})
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


@pytest.mark.parametrize(
    ("block", "overlap", "message"),
    [
        (0, 1, "block must be an integer of at least 1"),
        (20, 0, "overlap must be an integer of at least 1"),
        (20.5, 1, "block must be an integer of at least 1"),
        (20, True, "overlap must be an integer of at least 1"),
        (20, 21, "overlap 21 is more than block 20"),
    ],
)
def test_blocks_that_make_no_sense_are_refused(block: Any, overlap: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Plan((50, 50), block, overlap, (1, 1))


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
