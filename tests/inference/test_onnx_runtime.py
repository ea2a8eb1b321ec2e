"""The runtime "onnx" gives the labels of torch, in every verb, for images of any size; what it cannot do is refused."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scripts import loaded

from pixel_embedded_affinity import Embedding, Neighborhood, Segmenter, affinities
from pixel_embedded_affinity.config.model import NetworkConfig
from pixel_embedded_affinity.errors import CheckpointError, DeviceError, InputError, MissingDependencyError
from pixel_embedded_affinity.geometry.tiling import Tiling
from pixel_embedded_affinity.inference import base, onnx_runtime
from pixel_embedded_affinity.inference.graphs import graph_for
from pixel_embedded_affinity.models.checkpoint import (
    Checkpoint,
    read_arrays,
    read_checkpoint,
    write_checkpoint,
)
from pixel_embedded_affinity.models.fetch import resolve
from pixel_embedded_affinity.models.registry import read_registry
from pixel_embedded_affinity.samples import nuclei

Array = np.ndarray[Any, np.dtype[Any]]
golden = loaded(Path(__file__).parents[1] / "golden" / "make_golden.py")

CLOSE = 1e-4
PART = np.s_[180:310, 280:440]
"""A part of the bundled field, to save time."""

can_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def pretrained(name: str, runtime: str) -> Segmenter:
    return Segmenter.pretrained(name, runtime=runtime, device="cpu", precision="float32", offline=True)


@pytest.fixture(scope="module")
def in_torch() -> Segmenter:
    return pretrained("nuclei", "torch")


@pytest.fixture(scope="module")
def in_onnx() -> Segmenter:
    return pretrained("nuclei", "onnx")


@pytest.fixture(scope="module")
def part() -> Array:
    return np.asarray(nuclei().image[PART])


def rosette(size: int = 160) -> Array:
    """A drawn plant of seven leaves, in color."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    image = np.full((size, size, 3), (90, 70, 60), np.float64)
    for leaf in range(7):
        angle = 2 * np.pi * leaf / 7
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        inside = ((along - 0.26) / 0.2) ** 2 + (across / 0.1) ** 2 < 1
        image[inside] = (40 + 12 * (leaf % 3), 130 + 20 * (leaf % 2), 30)
        image[inside & (np.abs(across) < 0.008)] += 25
    noise = np.random.default_rng(0).normal(0, 4, image.shape)
    return np.asarray((image + noise).clip(0, 255).astype(np.uint8))


# --- the same labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", golden.models())
def test_labels_of_the_bundled_field_are_those_of_torch_and_the_golden_ones(name: str) -> None:
    one, other = pretrained(name, "torch"), pretrained(name, "onnx")
    image = golden.sample(one)
    found = other.segment(image)
    # In a volume, single voxels on the border between two neurons follow the last bits of the embedding.
    most = 0 if image.ndim == 2 else 1e-3
    for expected in (one.segment(image), tifffile.imread(golden.golden_file(name))):
        assert found.shape == expected.shape
        assert np.mean(found != expected) <= most


@pytest.mark.parametrize("name", ["cvppp", "leaves"])
def test_leaves_are_those_of_torch(name: str) -> None:
    one, other = (pretrained(name, runtime).with_settings(views=1) for runtime in ("torch", "onnx"))
    expected = one.segment(rosette(), scale=1)
    assert expected.max() == 7
    np.testing.assert_array_equal(other.segment(rosette(), scale=1), expected)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70), seed=st.integers(0, 99))
def test_embeddings_of_any_size_are_those_of_torch(
    in_torch: Segmenter, in_onnx: Segmenter, height: int, width: int, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 4000, (height, width))
    expected, found = (one.embed(image, scale=1) for one in (in_torch, in_onnx))
    assert isinstance(found.values, np.ndarray)
    assert isinstance(found.foreground, np.ndarray)
    assert found.numpy().dtype == np.float32
    assert (found.spatial_shape, found.seen_shape) == (expected.spatial_shape, expected.seen_shape)
    assert (found.image_shape, found.stride) == (expected.image_shape, expected.stride)
    assert np.abs(found.numpy() - expected.numpy()).max() < CLOSE
    assert np.abs(found.foreground_numpy() - expected.foreground_numpy()).max() < CLOSE


Verb = Callable[[Segmenter, Array], Array]


def labels_of_large(segmenter: Segmenter, image: Array) -> Array:
    out = np.zeros(image.shape, np.int32)
    segmenter.segment_large(image, out, block=96, overlap=32)
    return out


VERBS: dict[str, Verb] = {
    "scale auto": lambda one, image: one.segment(image, scale="auto"),
    "another scale": lambda one, image: one.segment(image, scale=1.7),
    "tiles": lambda one, image: one.segment(image, scale=1, tile=64),
    "views": lambda one, image: one.with_settings(views=8).segment(image, scale=1),
    "views in tiles": lambda one, image: one.with_settings(views=4).segment(image, scale=1, tile=64),
    "foreground": lambda one, image: one.segment(image, scale=1, foreground=image > np.median(image)),
    "large": labels_of_large,
    "many": lambda one, image: np.concatenate(list(one.segment_many([image, image[:90]], scale=1))),
    "cluster": lambda one, image: one.cluster(
        one.embed(image, scale=1), neighborhood=Neighborhood.from_ranges([1, 2, 7, 15], directions=8)
    ),
    "multicut": lambda one, image: one.segment(image, scale=1, clusterer="multicut"),
    "mean shift": lambda one, image: one.segment(image, scale=1, clusterer="mean_shift"),
    "components": lambda one, image: one.with_settings(regions="components").segment(image),
    "one crop": lambda one, image: one.segment(image[:1, :1], scale=1),
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_gives_the_labels_of_torch(
    in_torch: Segmenter, in_onnx: Segmenter, part: Array, verb: str
) -> None:
    expected = VERBS[verb](in_torch, part)
    assert expected.max() > 3 or verb == "one crop"
    np.testing.assert_array_equal(VERBS[verb](in_onnx, part), expected)


def test_analysis_and_its_table_are_those_of_torch(
    in_torch: Segmenter, in_onnx: Segmenter, part: Array
) -> None:
    one, other = (segmenter.analyze(part, scale=1) for segmenter in (in_torch, in_onnx))
    np.testing.assert_array_equal(other.foreground, one.foreground)
    assert isinstance(other.affinities.values, np.ndarray)
    assert np.abs(other.affinities.values - one.affinities.values).max() < CLOSE
    expected, found = one.table(), other.table()
    assert list(found) == list(expected)
    for name, column in found.items():
        np.testing.assert_allclose(column, expected[name], atol=CLOSE, err_msg=name)
    assert min(found["confidence"]) > 0


def test_embeddings_of_volumes_are_those_of_torch() -> None:
    image = np.random.default_rng(0).integers(0, 255, (5, 40, 70))
    one, other = (pretrained("ac3ac4", runtime) for runtime in ("torch", "onnx"))
    for tile in (None, Tiling((4, 32, 32), halo=8)):
        expected, found = (segmenter.embed(image, tile=tile).numpy() for segmenter in (one, other))
        assert np.abs(found - expected).max() < CLOSE


def test_tiles_give_what_the_whole_image_gives(in_onnx: Segmenter, part: Array) -> None:
    whole = in_onnx.embed(part, scale=1, tile=None)
    tiled = in_onnx.embed(part, scale=1, tile=Tiling(64, halo=in_onnx.embedder.network.receptive_radius()))
    assert np.abs(tiled.numpy() - whole.numpy()).max() < 1e-5


def test_an_embedding_of_one_runtime_is_clustered_by_a_segmenter_of_the_other(
    in_torch: Segmenter, in_onnx: Segmenter, part: Array
) -> None:
    expected = in_torch.segment(part, scale=1)
    np.testing.assert_array_equal(in_torch.cluster(in_onnx.embed(part, scale=1)), expected)
    np.testing.assert_array_equal(in_onnx.cluster(in_torch.embed(part, scale=1)), expected)


@settings(max_examples=30, deadline=None)
@given(data=st.data(), ndim=st.sampled_from([2, 3]))
def test_affinities_by_numpy_are_those_by_torch(data: st.DataObject, ndim: int) -> None:
    shape = data.draw(st.tuples(*(st.integers(1, 9) for _ in range(ndim))))
    seed, dtype = data.draw(st.integers(0, 99)), data.draw(st.sampled_from(["f2", "f4", "f8", ">f4"]))
    vectors = np.random.default_rng(seed).normal(size=(3, *shape)).astype(dtype)
    vectors[:, *(0 for _ in shape)] = 0
    pairs = Neighborhood.from_ranges([1, 3], directions=4 if ndim == 2 else 6)
    found = affinities(vectors, pairs).values
    expected = affinities(torch.from_numpy(vectors.astype("f8")), pairs).values.numpy()
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-3 if dtype == "f2" else 1e-6)


# --- threads, processes, copies ---------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_no_bit(part: Array, in_onnx: Segmenter, threads: int) -> None:
    expected = in_onnx.embed(part, scale=1).numpy()
    chosen = Segmenter.pretrained("nuclei", runtime="onnx", threads=threads, offline=True)
    np.testing.assert_array_equal(chosen.embed(part, scale=1).numpy(), expected)
    assert (
        list(chosen.embedder.network._sessions)
        == [torch.get_num_threads(), threads][threads == torch.get_num_threads() :]
    )


def test_threads_share_one_segmenter(part: Array, in_onnx: Segmenter) -> None:
    expected = in_onnx.segment(part, scale=1)
    with ThreadPoolExecutor(4) as pool:
        for labels in pool.map(lambda _: in_onnx.segment(part, scale=1), range(8)):
            np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_segments_as_the_original(part: Array, in_onnx: Segmenter, way: Any) -> None:
    made = way(in_onnx)
    assert (made.config, made.device, made.runtime) == (in_onnx.config, in_onnx.device, "onnx")
    np.testing.assert_array_equal(made.segment(part, scale=1), in_onnx.segment(part, scale=1))


@can_fork
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_get_the_same_labels(part: Array, method: str) -> None:
    """In a process of its own: onnxruntime has computed there before it forks."""
    code = FORKED if method == "fork" else SPAWNED
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.split() == ["True"], done.stderr


FORKED = """
import os, numpy as np
from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.samples import nuclei
segmenter = Segmenter.pretrained("nuclei", runtime="onnx", offline=True, threads=2)
image = nuclei().image[180:310, 280:440]
expected = segmenter.segment(image, scale=1)
read, write = os.pipe()
child = os.fork()
if child == 0:
    same = np.array_equal(segmenter.segment(image, scale=1), expected)
    os.write(write, b"1" if same else b"0")
    os._exit(0)
os.close(write)  # or the end of the child would not end the waiting
print(os.read(read, 1) == b"1")
os.waitpid(child, 0)
"""

SPAWNED = """
import multiprocessing, numpy as np
from functools import partial
from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.samples import nuclei
if __name__ == "__main__":
    segmenter = Segmenter.pretrained("nuclei", runtime="onnx", offline=True, threads=2)
    image = nuclei().image[180:310, 280:440]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(segmenter.segment, (image,), {"scale": 1})
    print(np.array_equal(found, segmenter.segment(image, scale=1)))
"""

PROBE = """
import json, sys
from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.samples import nuclei
image = nuclei().image[180:310, 280:440]
segmenter = Segmenter.pretrained("nuclei", runtime="onnx", offline=True)
result = segmenter.analyze(image)
result.table()
list(segmenter.segment_many([image]))
segmenter.with_settings(views=4).segment(image, tile=64)
print(json.dumps([repr(segmenter), "torch" in sys.modules, "onnx" in sys.modules]))
"""


def test_nothing_on_the_way_from_an_image_to_its_table_imports_torch() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said = "Segmenter('nuclei', version='0.5.0', device='cpu', runtime='onnx')"
    assert json.loads(done.stdout) == [said, False, False]


# --- which runtime ----------------------------------------------------------------------------------------


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """As if packages were not installed."""
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)


def test_torch_runs_a_network_if_it_is_installed(checkpoint_file: Path) -> None:
    segmenter = Segmenter.from_file(checkpoint_file)
    assert segmenter.runtime == "torch"
    assert "runtime" not in repr(segmenter)


def test_without_torch_onnxruntime_does(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "torch")
    assert base.chosen_runtime("auto") == "onnx"
    assert Segmenter.pretrained("nuclei", offline=True).runtime == "onnx"


def test_a_runtime_that_is_missing_is_never_replaced(
    monkeypatch: pytest.MonkeyPatch, checkpoint_file: Path
) -> None:
    without(monkeypatch, "torch")
    with pytest.raises(MissingDependencyError, match=r"\[torch\].*use runtime 'onnx', which is there"):
        Segmenter.from_file(checkpoint_file, runtime="torch")
    monkeypatch.undo()
    without(monkeypatch, "onnxruntime")
    with pytest.raises(MissingDependencyError, match=r"\[onnx\].*use runtime 'torch', which is there"):
        Segmenter.from_file(checkpoint_file, runtime="onnx")


def test_without_any_runtime_both_commands_are_named(
    monkeypatch: pytest.MonkeyPatch, checkpoint_file: Path
) -> None:
    without(monkeypatch, "torch", "onnxruntime")
    with pytest.raises(MissingDependencyError, match=r"\[onnx\].*\[torch\]"):
        Segmenter.from_file(checkpoint_file)


def test_an_unknown_runtime_is_refused_with_the_known_ones(checkpoint_file: Path) -> None:
    with pytest.raises(InputError, match=r"'tensorrt' is unknown; expected one of auto, torch, onnx"):
        Segmenter.from_file(checkpoint_file, runtime="tensorrt")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"device": "cuda"}, r"computes on the CPU, got device 'cuda'.*runtime='torch'"),
        ({"device": "gpu"}, "got device 'gpu'"),
        ({"precision": "bfloat16"}, r"computes in float32, got precision 'bfloat16'.*runtime='torch'"),
        ({"precision": "half"}, "precision 'half' is unknown"),
    ],
)
def test_what_onnxruntime_does_not_have_is_refused(choice: dict[str, str], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        Segmenter.pretrained("nuclei", runtime="onnx", offline=True, **choice)


def test_threads_are_checked() -> None:
    with pytest.raises(InputError, match="threads"):
        Segmenter.pretrained("nuclei", runtime="onnx", offline=True, threads=0)


def test_mean_shift_says_that_it_needs_torch(
    monkeypatch: pytest.MonkeyPatch, in_onnx: Segmenter, part: Array
) -> None:
    embedding = in_onnx.embed(part, scale=1)
    without(monkeypatch, "torch")
    with pytest.raises(MissingDependencyError, match=r"\[torch\].*mutex_watershed"):
        in_onnx.cluster(embedding, clusterer="mean_shift")


# --- model files ------------------------------------------------------------------------------------------


def test_a_network_without_a_graph_is_refused_with_what_to_do(checkpoint_file: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no graph ships for architecture 'residual_unet'.*pea export"):
        Segmenter.from_file(checkpoint_file, runtime="onnx")


def test_any_network_runs_from_the_file_of_an_export(strided_segmenter: Segmenter, onnx_file: Path) -> None:
    image = np.random.default_rng(3).integers(0, 4000, (50, 37))
    for runtime in ("auto", "onnx"):
        segmenter = Segmenter.from_file(onnx_file, runtime=runtime)
        assert (segmenter.runtime, segmenter.config) == ("onnx", strided_segmenter.config)
        for tile in (None, 32):
            np.testing.assert_array_equal(
                segmenter.segment(image, tile=tile), strided_segmenter.segment(image, tile=tile)
            )


def test_torch_does_not_run_the_file_of_an_export(onnx_file: Path) -> None:
    with pytest.raises(InputError, match=r"run by onnxruntime, got runtime 'torch'.*safetensors"):
        Segmenter.from_file(onnx_file, runtime="torch")


def test_a_segmenter_from_an_export_cannot_be_finetuned(onnx_segmenter: Segmenter) -> None:
    assert onnx_segmenter.origin is None


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x08\x0a" * 400])
def test_what_is_no_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged\.onnx.*onnxruntime does not take the graph"):
        Segmenter.from_file(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        Segmenter.from_file(tmp_path / "nothing.onnx")


def test_a_graph_of_another_program_is_refused(tmp_path: Path, onnx_file: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="needs the package onnx")
    foreign = onnx.load(onnx_file)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(CheckpointError, match=r"says nothing about 'config'.*export the model again"):
        Segmenter.from_file(tmp_path / "foreign.onnx")


@pytest.mark.parametrize("power", [15, 20, 25, 30, 38])
def test_what_overflows_is_refused_and_never_becomes_zero(in_onnx: Segmenter, power: int) -> None:
    values = np.full((1, 32, 32), 3 * 10.0 ** (power - 1), np.float32)
    values[0, ::3] *= -1
    message = ""
    try:
        found = in_onnx.embedder(values, in_onnx.config).numpy()
    except InputError as error:
        message = str(error)
    assert "overflows" in message or np.allclose(np.linalg.norm(found, axis=0), 1, atol=1e-4)
    assert power < 38 or message


def test_a_lack_of_memory_is_told_as_such() -> None:
    for text in ("Failed to allocate memory for requested buffer of size 99", "bad allocation"):
        assert isinstance(onnx_runtime._as_usual(RuntimeError(text)), MemoryError)
    assert isinstance(onnx_runtime._as_usual(ValueError("no such input")), RuntimeError)


@pytest.mark.parametrize("name", sorted(read_registry()))
def test_weights_read_without_torch_are_those_read_with_it(name: str) -> None:
    expected = read_checkpoint(resolve(name))
    config_json, found = read_arrays(resolve(name))
    assert config_json == expected.config_json
    floating = {name: values for name, values in expected.tensors.items() if values.is_floating_point()}
    assert set(found) == set(floating)
    for key, values in found.items():
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, floating[key].float().numpy())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_every_precision_of_weights_is_read(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {
        "a": torch.linspace(-3, 70000, 24).reshape(2, 3, 4).clamp(max=60000).to(dtype),
        "b": torch.ones(()),
    }
    write_checkpoint(tmp_path / "w.safetensors", Checkpoint("{}", {**tensors, "n": torch.arange(3)}))
    found = read_arrays(tmp_path / "w.safetensors")[1]
    assert set(found) == {"a", "b"}
    np.testing.assert_array_equal(found["a"], tensors["a"].float().numpy())


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_checkpoint(path, Checkpoint("{}", {"a": torch.full((4,), 2.0)}))
    content = path.read_bytes()
    path.write_bytes(content[:-4] + np.float32(np.nan).tobytes())
    with pytest.raises(CheckpointError, match="'a' has NaN"):
        read_arrays(path)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(resolve("nuclei"))
    few = {name: values for name, values in checkpoint.tensors.items() if name != "embedding_head.weight"}
    write_checkpoint(tmp_path / "few.safetensors", Checkpoint(checkpoint.config_json, few))
    with pytest.raises(CheckpointError, match=r"few\.safetensors.*missing"):
        Segmenter.from_file(tmp_path / "few.safetensors", runtime="onnx")


def test_a_hash_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="SHA-256"):
        onnx_runtime.read_onnx_model(resolve("nuclei"), sha256="0" * 64)


def test_options_that_a_model_does_not_state_have_their_defaults() -> None:
    stated = NetworkConfig("half_unet", 1, filters=(32, 64, 96, 128, 128))
    assert graph_for(stated).facts.stride == (2, 2)
    with pytest.raises(CheckpointError, match="no graph ships"):
        graph_for(NetworkConfig("half_unet", 1))
    with pytest.raises(CheckpointError, match="no graph ships"):
        graph_for(NetworkConfig("half_unet", 1, foreground_head=False, filters=(32, 64, 96, 128, 128)))


def test_a_part_of_an_embedding_shares_its_memory(in_onnx: Segmenter, part: Array) -> None:
    embedding = in_onnx.embed(part, scale=1)
    crop = embedding.crop((slice(16, 64), slice(0, 32)))
    assert isinstance(crop, Embedding)
    assert np.shares_memory(crop.values, embedding.values)
    assert np.shares_memory(crop.foreground, embedding.foreground)


def test_spawned_pools_take_a_segmenter(part: Array, in_onnx: Segmenter) -> None:
    expected = in_onnx.segment(part, scale=1)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        np.testing.assert_array_equal(pool.submit(in_onnx.segment, part, scale=1).result(300), expected)
