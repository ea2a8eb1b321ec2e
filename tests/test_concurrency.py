"""One segmenter in several threads, in forked and spawned processes, and as a pickle or a copy."""

from __future__ import annotations

import copy
import dataclasses
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pixel_embedded_affinity.errors import DeviceError, InputError
from pixel_embedded_affinity.geometry.tiling import Tiling
from pixel_embedded_affinity.pipeline import Embedder
from pixel_embedded_affinity.runtime import device as devices
from pixel_embedded_affinity.segmenter import Segmenter

Array = np.ndarray[Any, np.dtype[Any]]

can_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@pytest.fixture(scope="module")
def images() -> list[Array]:
    generator = np.random.default_rng(5)
    return [generator.integers(0, 4000, (40 + index, 48)).astype(np.uint16) for index in range(8)]


@pytest.fixture(scope="module")
def expected(segmenter: Segmenter, images: list[Array]) -> list[Array]:
    found = [segmenter.segment(image) for image in images]
    assert all(labels.max() > 3 for labels in found)
    return found


def assert_same(found: list[Array], expected: list[Array]) -> None:
    for labels, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(labels, right)


# --- pickle and copies ------------------------------------------------------------------------------------


COPIES: dict[str, Callable[[Segmenter], Segmenter]] = {
    "pickle": lambda original: pickle.loads(pickle.dumps(original)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_segments_as_the_original(
    segmenter: Segmenter, images: list[Array], expected: list[Array], way: str
) -> None:
    made = COPIES[way](segmenter)
    assert made is not segmenter
    assert (made.config, made.device, made.precision) == (
        segmenter.config,
        segmenter.device,
        segmenter.precision,
    )
    assert_same([made.segment(image) for image in images], expected)


@pytest.mark.parametrize(("way", "shared"), [("pickle", False), ("deepcopy", False), ("copy", True)])
def test_only_a_shallow_copy_shares_the_weights(segmenter: Segmenter, way: str, shared: bool) -> None:
    first, second = (
        next(iter(made.embedder.network.parameters())) for made in (segmenter, COPIES[way](segmenter))
    )
    assert (first.data_ptr() == second.data_ptr()) is shared


def test_changed_settings_survive_a_pickle(segmenter: Segmenter) -> None:
    changed = segmenter.with_settings(foreground_threshold=0.25, clusterer="connected_components")
    assert pickle.loads(pickle.dumps(changed)).config == changed.config


def test_a_pickle_carries_the_weights_in_main_memory_and_names_the_device(segmenter: Segmenter) -> None:
    class Elsewhere(torch.nn.Module):
        """Stands for a network on a GPU."""

        moved_to: Any = "gpu"

        def cpu(self) -> Elsewhere:
            self.moved_to = "cpu"
            return self

    original = dataclasses.replace(segmenter.embedder, device=torch.device("cuda:0"), network=Elsewhere())
    state = original.__getstate__()
    assert state["device"] == "cuda:0"
    assert state["network"].moved_to == "cpu"
    assert original.network.moved_to == "gpu"


def test_a_pickle_of_a_device_that_is_missing_is_refused(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    state = {**segmenter.embedder.__getstate__(), "device": "cuda:0"}
    restored = object.__new__(Embedder)
    with pytest.raises(DeviceError, match="no CUDA device is visible"):
        restored.__setstate__(state)


def test_results_can_be_pickled(segmenter: Segmenter, images: list[Array], expected: list[Array]) -> None:
    result = pickle.loads(pickle.dumps(segmenter.analyze(images[0])))
    np.testing.assert_array_equal(result.labels, expected[0])
    assert result.settings == segmenter.config
    embedding = pickle.loads(pickle.dumps(segmenter.embed(images[0])))
    np.testing.assert_array_equal(segmenter.cluster(embedding), expected[0])


# --- threads ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_share_one_segmenter(
    segmenter: Segmenter, images: list[Array], expected: list[Array], threads: int
) -> None:
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(segmenter.segment, images * 3))
    assert_same(found, expected * 3)


def test_threads_with_settings_of_their_own_do_not_mix_them(
    segmenter: Segmenter, images: list[Array]
) -> None:
    sizes = [0, 5, 20, 80] * 4
    expected = {size: segmenter.segment(images[0], min_size=size) for size in set(sizes)}
    assert len({labels.max() for labels in expected.values()}) > 2
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda size: segmenter.segment(images[0], min_size=size), sizes))
    assert_same(found, [expected[size] for size in sizes])


def test_the_number_of_torch_s_threads_does_not_change_labels(
    segmenter: Segmenter, images: list[Array], expected: list[Array]
) -> None:
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert_same([segmenter.segment(image) for image in images], expected)
    finally:
        torch.set_num_threads(before)


# --- number of threads ------------------------------------------------------------------------------------


@pytest.fixture
def three_threads() -> Iterator[None]:
    """Torch has three threads: few machines choose that by themselves, and no test here does."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


class Counted:
    """A segmenter with a number of threads, and the numbers that torch had in its network and clusterer."""

    def __init__(self, segmenter: Segmenter, threads: int | None) -> None:
        network = copy.deepcopy(segmenter.embedder.network)
        self.segmenter = Segmenter(
            network, segmenter.config, device="cpu", precision="float32", threads=threads
        )
        network.register_forward_hook(lambda *_: self.in_network.append(torch.get_num_threads()))
        self.in_network: list[int] = []
        self.in_clusterer: list[int] = []

    def cluster(self, pairs: Any, *, foreground: Array | None = None) -> Array:
        self.in_clusterer.append(torch.get_num_threads())
        return np.zeros(pairs.spatial_shape, np.int32)


def call_segment_large(counted: Counted, image: Array) -> None:
    out = np.zeros(image.shape, np.int32)
    counted.segmenter.segment_large(image, out, block=32, overlap=16, clusterer=counted.cluster)


def call_cluster(counted: Counted, image: Array) -> None:
    counted.segmenter.cluster(counted.segmenter.embed(image), clusterer=counted.cluster)


CALLS: dict[str, Callable[[Counted, Array], Any]] = {
    "segment": lambda counted, image: counted.segmenter.segment(image, clusterer=counted.cluster),
    "tiled": lambda counted, image: counted.segmenter.segment(
        image, tile=Tiling(16, halo=0), clusterer=counted.cluster
    ),
    "cluster": call_cluster,
    "segment_many": lambda counted, image: list(
        counted.segmenter.segment_many([image] * 3, clusterer=counted.cluster)
    ),
    "segment_large": call_segment_large,
}


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("threads", [None, 1, 2, np.int64(4)])
@pytest.mark.parametrize("call", CALLS)
def test_torch_has_the_number_of_threads_at_work_and_its_own_afterwards(
    segmenter: Segmenter, images: list[Array], call: str, threads: Any
) -> None:
    counted = Counted(segmenter, threads)
    CALLS[call](counted, images[0])
    assert set(counted.in_network) == set(counted.in_clusterer) == {3 if threads is None else threads}
    assert torch.get_num_threads() == 3
    assert in_a_new_thread(torch.get_num_threads) == 3


def in_a_new_thread(call: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


@pytest.mark.usefixtures("three_threads")
def test_between_images_that_are_asked_for_one_by_one_torch_has_its_own_number(
    segmenter: Segmenter, images: list[Array]
) -> None:
    numbers = [
        torch.get_num_threads() for _ in Counted(segmenter, 1).segmenter.segment_many(images, min_size=3)
    ]
    assert numbers == [3] * len(images)
    assert in_a_new_thread(torch.get_num_threads) == 3


@pytest.mark.usefixtures("three_threads")
def test_a_call_that_fails_gives_the_number_back(segmenter: Segmenter) -> None:
    single = Counted(segmenter, 1).segmenter

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("on purpose")

    with pytest.raises(InputError):
        single.segment(np.full((8, 8), np.nan))
    with pytest.raises(RuntimeError, match="on purpose"):
        single.segment(np.zeros((8, 8)), clusterer=fail)
    single.embedder.network.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="on purpose"):
        single.embed(np.zeros((8, 8)))
    assert torch.get_num_threads() == in_a_new_thread(torch.get_num_threads) == 3


@pytest.mark.usefixtures("three_threads")
def test_calls_that_overlap_leave_the_number_of_before_the_first() -> None:
    """The second starts while the number is the first's, and ends after it."""
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))

    def first() -> int:
        with devices.cpu_threads(1):
            first_is_in.set()
            assert second_is_in.wait(60)
            found = torch.get_num_threads()
        first_is_out.set()
        return found

    def second() -> int:
        assert first_is_in.wait(60)
        with devices.cpu_threads(2):
            second_is_in.set()
            assert first_is_out.wait(60)
        return torch.get_num_threads()

    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(work) for work in (first, second)]
        assert found[0].result() in (1, 2)  # OpenMP keeps them apart, torch does not promise it
        assert found[1].result() == 3
    assert torch.get_num_threads() == in_a_new_thread(torch.get_num_threads) == 3


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_a_segmenter_s_threads_does_not_change_labels(
    segmenter: Segmenter, images: list[Array], expected: list[Array], threads: int
) -> None:
    chosen = Counted(segmenter, threads).segmenter
    assert_same([chosen.segment(image) for image in images], expected)
    assert_same(list(chosen.segment_many(images)), expected)
    with ThreadPoolExecutor(3) as pool:
        assert_same(list(pool.map(chosen.segment, images)), expected)


@pytest.mark.parametrize("way", [*COPIES, "with_settings"])
def test_copies_keep_the_number_of_threads(segmenter: Segmenter, way: str) -> None:
    original = Segmenter(segmenter.embedder.network, segmenter.config, device="cpu", threads=5)
    copied = (
        original.with_settings(foreground_threshold=0.3) if way == "with_settings" else COPIES[way](original)
    )
    assert copied.threads == 5


# --- processes --------------------------------------------------------------------------------------------


def test_spawned_workers_get_the_segmenter_as_an_argument(
    segmenter: Segmenter, images: list[Array], expected: list[Array]
) -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        found = list(pool.map(segmenter.segment, images, timeout=300))
    assert_same(found, expected)


FORK = """
import os, sys
import numpy as np, torch
from pixel_embedded_affinity import Neighborhood, Segmenter, affinities
from pixel_embedded_affinity.clustering import get_clusterer

def computed(way):
    if way in segmenters:
        return segmenters[way].segment(image)
    if way == "affinities":
        return affinities(embedding, neighborhood).values
    return get_clusterer("mean_shift", bandwidth=0.5)(pairs, foreground=None)

torch.set_num_threads(3)
segmenters = {
    way: Segmenter.from_file(sys.argv[1], device="cpu", precision="float32", threads=threads)
    for way, threads in (("segment", None), ("segment on two threads", 2))
}
image = np.random.default_rng(0).integers(0, 4000, (200, 200))
embedding = segmenters["segment"].embed(image).numpy()
neighborhood = Neighborhood.from_ranges([1, 3])
pairs = affinities(embedding[:, :60, :60], neighborhood)
for way in ("segment", "segment on two threads", "affinities", "mean_shift"):
    expected = computed(way)
    process = os.fork()
    if process == 0:
        same = all(np.array_equal(computed(way), expected) for _ in range(2))
        os._exit(0 if same and torch.get_num_threads() == 1 else 3)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code:
        sys.exit(f"{way}: {code}")
"""


def status_of(program: str, argument: Path) -> int:
    """Run a program that forks, and kill it with its children if it waits forever."""
    with subprocess.Popen([sys.executable, "-c", program, argument], start_new_session=True) as parent:
        try:
            return parent.wait(timeout=240)
        finally:
            if parent.poll() is None:
                os.killpg(parent.pid, signal.SIGKILL)


@can_fork
def test_a_forked_process_computes_the_same_and_does_not_hang(checkpoint_file: Path) -> None:
    """Without care it waits forever for the threads of its parent."""
    assert status_of(FORK, checkpoint_file) == 0


def test_only_a_process_that_was_forked_after_torch_was_loaded_gets_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", asked.append)
    devices.survive_fork()
    devices.survive_fork()
    assert asked == []
    monkeypatch.setattr(devices, "_forked_with_torch", True)
    monkeypatch.setattr(devices, "_one_thread", False)
    devices.survive_fork()
    devices.survive_fork()
    assert asked == [1]


OTHERS = """
import os, sys, threading
import numpy as np, torch
from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.runtime import device, memory

torch.set_num_threads(2)
segmenter = Segmenter.from_file(sys.argv[1], runtime="torch")
torch.nn.Conv2d(32, 32, 3)(torch.rand(1, 32, 256, 256))  # another model of the program
entered, end = threading.Event(), threading.Event()

def busy():
    with device.cpu_threads(2), memory.memory_reused():
        entered.set()
        end.wait()

threading.Thread(target=busy).start()
entered.wait()
process = os.fork()
if process == 0:
    segmenter.segment(np.random.default_rng(0).random((64, 64), np.float32))
    os._exit(0 if device._number._users == memory._malloc._users == 0 else 3)
code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
end.set()
sys.exit(code)
"""


@can_fork
def test_a_process_forked_from_one_that_computed_for_itself_neither_hangs_nor_inherits_what_others_do(
    checkpoint_file: Path,
) -> None:
    assert status_of(OTHERS, checkpoint_file) == 0


def test_a_segmenter_may_be_pickled_while_threads_use_it(
    segmenter: Segmenter, images: list[Array], expected: list[Array]
) -> None:
    with ThreadPoolExecutor(2) as pool:
        busy = [pool.submit(segmenter.segment, image) for image in images]
        restored = pickle.loads(pickle.dumps(segmenter))
        assert_same([future.result() for future in busy], expected)
    assert_same([restored.segment(image) for image in images], expected)
