"""Blockwise = in memory, through the whole pipeline: the network's embedding is perfect, only blocks can err."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import nn
from torch.nn import functional

from pixel_embedded_affinity.config.model import ModelConfig, NetworkConfig
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.tiling import Tiling
from pixel_embedded_affinity.metrics import adapted_rand_error
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.network.base import NetworkOutput
from pixel_embedded_affinity.normalize import Normalization
from pixel_embedded_affinity.postprocess import Postprocess
from pixel_embedded_affinity.samples import nuclei
from pixel_embedded_affinity.segmenter import Segmenter

Array = np.ndarray[Any, np.dtype[Any]]


class Perfect(nn.Module):
    """Embeds a pixel by its value, 0 to 9, and takes all but 0 for foreground."""

    def __init__(self, ndim: int) -> None:
        super().__init__()
        self.ndim, self.grid = ndim, (16, 16) if ndim == 2 else (2, 4, 4)

    def forward(self, images: torch.Tensor) -> NetworkOutput:
        embedding = functional.one_hot(images[:, 0].round().long(), 10).movedim(-1, 1).float()
        return NetworkOutput(embedding, 40 * (images > 0).float() - 20, ())


def perfect_segmenter(ndim: int) -> Segmenter:
    config = ModelConfig(
        name="perfect",
        version="1",
        network=NetworkConfig(in_channels=1),
        neighborhood=Neighborhood.from_ranges([1, 3, 7], 4 if ndim == 2 else 6, strides=3),
        normalization=Normalization("none"),
        postprocess=Postprocess(merge_sizes=(4,), min_size=6, fill_holes=True),
    )
    return Segmenter(Perfect(ndim), config, device="cpu", precision="float32")


@pytest.fixture(scope="module")
def perfect() -> Segmenter:
    return perfect_segmenter(2)


@pytest.fixture(scope="module")
def perfect_of_ndim(perfect: Segmenter) -> dict[int, Segmenter]:
    return {2: perfect, 3: perfect_segmenter(3)}


def field(shape: tuple[int, ...], cell: int, seed: int) -> Array:
    """Discs or balls with holes, one in each cell of a grid, many touching; neighbors have values that differ."""
    generator = np.random.default_rng(seed)
    values, period = np.zeros(shape, np.uint8), {2: 3, 3: 2}[len(shape)]
    distance = np.sqrt(((np.indices((cell,) * len(shape)) - (cell - 1) / 2) ** 2).sum(axis=0))
    for place in np.ndindex(*(-(-length // cell) for length in shape)):
        here = values[tuple(slice(cell * start, cell * (start + 1)) for start in place)]
        radius, hole = generator.uniform(1, 0.7 * cell), generator.uniform(0, 2)
        inside = ((distance <= radius) & (distance >= hole))[tuple(map(slice, here.shape))]
        here[inside] = 1 + sum(step % period * period**axis for axis, step in enumerate(place))
    return values


FIELDS = {2: (100, 12, (20, 60), (14, 20)), 3: (22, 6, (10, 18), (8, 10))}
"""By number of axes: longest side, cell of an object, blocks, overlaps."""


@pytest.mark.parametrize("ndim", [2, 3])
@settings(max_examples=25, deadline=None)
@given(data=st.data(), clear=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_blocks_give_the_labels_of_the_whole(
    perfect_of_ndim: dict[int, Segmenter], ndim: int, data: st.DataObject, clear: bool, seed: int
) -> None:
    longest, cell, blocks, overlaps = FIELDS[ndim]
    shape = tuple(data.draw(st.integers(1, longest)) for _ in range(ndim))
    block, overlap = (
        tuple(data.draw(st.integers(*ends)) for _ in range(ndim)) for ends in (blocks, overlaps)
    )
    image = field(shape, cell, seed)
    segmenter = perfect_of_ndim[ndim].with_settings(
        postprocess=Postprocess(merge_sizes=(4,), min_size=6, fill_holes=True, clear_border=clear)
    )
    found = np.full(shape, -1, np.int32)
    count = segmenter.segment_large(image, found, block=block, overlap=overlap, tile=Tiling(32, halo=0))
    expected = segmenter.segment(image)
    np.testing.assert_array_equal(found, expected)
    assert count == expected.max()


def test_an_object_that_a_window_cuts_does_not_take_its_neighbor_with_it(perfect_of_ndim) -> None:
    """The lower half of the object at z 0 to 5 has no pair that repels it from the object below, at z 6 to 11."""
    image = field((12, 3, 22), 6, 306)
    found = np.zeros(image.shape, np.int32)
    tile = Tiling(32, halo=0)
    perfect_of_ndim[3].segment_large(image, found, block=(11, 10, 10), overlap=(8, 8, 8), tile=tile)
    np.testing.assert_array_equal(found, perfect_of_ndim[3].segment(image))


def test_of_thousands_of_objects_none_is_cut_and_none_merged(perfect: Segmenter, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    image = field((600, 620), 12, 0)
    zarr.create_array(str(tmp_path / "image.zarr"), data=image, chunks=(128, 128))
    out = tmp_path / "labels.zarr"
    count = perfect.segment_large(tmp_path / "image.zarr", out, block=192, overlap=16, tile=128)
    expected = perfect.segment(image)
    assert count == expected.max() > 2000
    np.testing.assert_array_equal(zarr.open_array(str(out), mode="r")[:], expected)


def test_a_foreground_is_read_in_parts_and_kept_to_the_pixel(perfect: Segmenter) -> None:
    image = field((90, 70), 12, 3)
    mask = np.random.default_rng(0).random(image.shape) < 0.9
    found = np.zeros(image.shape, np.int32)
    perfect.segment_large(image, found, block=32, overlap=24, tile=None, foreground=mask)
    np.testing.assert_array_equal(found, perfect.segment(image, foreground=mask))
    with pytest.raises(InputError, match=r"foreground of shape \(70, 90\) for an image of spatial shape"):
        perfect.segment_large(image, found, foreground=mask.T)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(9, 90), st.integers(9, 90)),
    scale=st.sampled_from([0.5, 0.7, 1.3, 1.5, 2]),
    block=st.integers(40, 60),
    given_foreground=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_blocks_of_a_resized_image_give_the_labels_of_the_whole(
    perfect: Segmenter, shape: tuple[int, int], scale: float, block: int, given_foreground: bool, seed: int
) -> None:
    image = field(shape, 12, seed)
    mask = np.random.default_rng(seed).random(shape) < 0.95 if given_foreground else None
    found = np.full(shape, -1, np.int32)
    plain = perfect.with_settings(scale=scale, postprocess=Postprocess())
    count = plain.segment_large(image, found, block=block, overlap=40, tile=None, foreground=mask)
    expected = plain.segment(image, foreground=mask)
    # Values between two discs may join some into an object longer than the overlap, about which nothing is promised.
    boxes = ndimage.find_objects(expected)
    assume(all(side.stop - side.start <= 40 for box in boxes for side in box))
    np.testing.assert_array_equal(found, expected)
    assert count == expected.max()
    np.testing.assert_array_equal(plain.segment(image, foreground=mask, scale=scale), expected)


def test_settings_of_the_call_are_used_and_belong_to_the_blocks(perfect: Segmenter, tmp_path: Path) -> None:
    image, found = field((60, 50), 12, 3), np.zeros((60, 50), np.int32)
    options: dict[str, Any] = {"clusterer": "connected_components", "min_size": 30}
    perfect.segment_large(image, found, block=32, overlap=24, **options)
    np.testing.assert_array_equal(found, perfect.segment(image, **options))

    def killed(items: Any, **_: Any) -> Any:
        yield next(iter(items))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        perfect.segment_large(image, found, block=32, overlap=24, folder=tmp_path, progress=killed)
    with pytest.raises(InputError, match="holds blocks of another image or of other settings"):
        perfect.segment_large(image, found, block=32, overlap=24, folder=tmp_path, min_size=3)
    perfect.segment_large(image, found, block=32, overlap=24, folder=tmp_path)
    np.testing.assert_array_equal(found, perfect.segment(image))


def test_the_tiny_network_sees_in_blocks_what_it_sees_in_the_whole(segmenter: Segmenter) -> None:
    image = np.random.default_rng(0).integers(0, 4000, (60, 400)).astype(np.uint16)
    radius = segmenter.embedder.network.receptive_radius()[0]  # type: ignore[operator]
    pieces: list[float] = []

    def compare(pairs: Any, *, foreground: Array | None = None) -> Array:
        pieces.append(float(np.abs(np.asarray(pairs.embedding)).sum()))
        return np.asarray(foreground).astype(np.int32)

    found = np.zeros(image.shape, np.int32)
    segmenter.segment_large(
        image, found, block=128, overlap=8, tile=Tiling(None, halo=radius), clusterer=compare, min_size=0
    )
    inside = segmenter.embed(image, tile=None).foreground
    assert inside is not None
    near = (inside - segmenter.config.foreground_threshold).abs() < 1e-4
    np.testing.assert_array_equal((found > 0) | near.numpy(), (inside > 0.5).numpy() | near.numpy())
    assert len(pieces) == 4


@pytest.mark.parametrize("change", ["image", "foreground", "no foreground"])
def test_blocks_of_another_image_or_foreground_are_refused(
    perfect: Segmenter, tmp_path: Path, change: str
) -> None:
    image = field((60, 50), 12, 3)
    mask = image > 0
    options: dict[str, Any] = {"block": 32, "overlap": 24, "folder": tmp_path / "blocks"}

    def killed(items: Any, **_: Any) -> Any:
        yield next(iter(items))
        raise KeyboardInterrupt

    found = np.zeros(image.shape, np.int32)
    with pytest.raises(KeyboardInterrupt):
        perfect.segment_large(image, found, foreground=mask, progress=killed, **options)
    other = image[:, ::-1] if change == "image" else image  # same shape, type and percentiles
    given = {"image": mask, "foreground": mask & (image != 5), "no foreground": None}[change]
    with pytest.raises(InputError, match="holds blocks of another image or of other settings"):
        perfect.segment_large(other, found, foreground=given, **options)
    perfect.segment_large(image, found, foreground=mask, **options)
    np.testing.assert_array_equal(found, perfect.segment(image, foreground=mask))


KILLED = """
import os
import signal
from pixel_embedded_affinity import Segmenter

def dies(items, **_):
    for done, item in enumerate(items, start=1):
        yield item
        if done == 3:
            os.kill(os.getpid(), signal.SIGKILL)

segmenter = Segmenter.pretrained("bbbc039-fast", device="cpu", precision="float32")
segmenter.segment_large("image.tif", "labels.tif", block=60, overlap=48, progress=dies)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_a_run_that_was_killed_goes_on_and_gives_the_labels_of_one_that_was_not(tmp_path: Path) -> None:
    image, truth = tmp_path / "image.tif", np.zeros((150, 200), np.int32)
    tifffile.imwrite(image, nuclei().image[:150, :200])
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.tif", "labels.tif.blocks"]
    left = []

    def bar(items: Any, *, total: int, desc: str) -> Any:
        left.append(total)
        return items

    segmenter = Segmenter.pretrained("bbbc039-fast", device="cpu", precision="float32")
    options: dict[str, Any] = {"block": 60, "overlap": 48}
    count = segmenter.segment_large(image, tmp_path / "labels.tif", progress=bar, **options)
    assert left == [12 - 3]
    found = tifffile.imread(tmp_path / "labels.tif")
    assert count == segmenter.segment_large(image, truth, **options) > 5
    assert adapted_rand_error(truth, found) < 0.0005
    whole = segmenter.segment(image)
    assert count == whole.max()
    assert adapted_rand_error(whole, found) < 0.0005
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.tif", "labels.tif"]


def test_processes_of_dask_open_the_image_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed", reason="dask's distributed scheduler is not installed")
    image = nuclei().image[:150, :200]
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("image.tif", image)
    segmenter = Segmenter.pretrained("bbbc039-fast", device="cpu", precision="float32")
    options: dict[str, Any] = {"block": 100, "overlap": 64, "tile": None}
    cluster = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with (
        patch.dict(os.environ),  # dask leaves in it what it tunes malloc by in its workers
        distributed.LocalCluster(**cluster) as workers,
        distributed.Client(workers) as client,
    ):
        count = segmenter.segment_large("image.tif", "labels.tif", client=client, **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.tif", "labels.tif"]
    found, expected = tifffile.imread("labels.tif"), np.zeros(image.shape, np.int32)
    assert count == found.max() == segmenter.segment_large(image, expected, **options) > 5
    assert adapted_rand_error(expected, found) < 0.0005  # other processes may have other numbers of threads
