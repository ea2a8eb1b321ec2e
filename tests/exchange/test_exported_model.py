"""An exported model gives what the library gives, whatever runs it and whatever the size."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pixel_embedded_affinity import Embedding, samples
from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.embedding import embed
from pixel_embedded_affinity.errors import InputError, MissingDependencyError
from pixel_embedded_affinity.exchange import ExportedModel
from pixel_embedded_affinity.inference.graphs import FOLDER
from pixel_embedded_affinity.segmenter import Segmenter

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
pytest.importorskip("onnxscript", reason="needs the package onnxscript")

Exported = Callable[[str], ExportedModel]

# Models with the same network share a graph, which is named after the first of them. An export follows the network,
# which takes long, and copies the weights; that each model's own weights fit the graph, tests/inference checks.
PINNED = (Path(__file__).parents[2] / "constraints.txt").read_text(encoding="utf-8").splitlines()
GRAPHS = sorted(path.stem for path in FOLDER.glob("*.onnx"))
SIZES = ((1, 1), (16, 33), (64, 64), (75, 41))
DEPTHS = (1, 2, 3, 5)
CLOSE = 1e-4


def session(model: ExportedModel) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.onnx.SerializeToString(), options)


def images(model: ExportedModel) -> list[np.ndarray]:
    """Normalized images of several sizes."""
    draw, config = np.random.default_rng(0), model.segmenter.config
    shapes = [(*(depth,) * (config.ndim - 2), *size) for depth, size in zip(DEPTHS, SIZES)]
    return [draw.random((config.network.in_channels, *shape), np.float32) for shape in shapes]


def of_library(model: ExportedModel, image: np.ndarray) -> list[np.ndarray]:
    found = embed(model.segmenter.embedder.network, image, torch.device("cpu"), "float32")
    assert found.foreground is not None
    return [found.numpy(), found.foreground.numpy()[None]]


@pytest.mark.no_cover
@pytest.mark.parametrize("name", GRAPHS)
def test_onnx_gives_what_the_library_gives(name: str, exported: Exported) -> None:
    model = exported(name)
    run = session(model).run
    for image in images(model):
        for found, expected in zip(run(None, {"image": image[None]}), of_library(model, image), strict=True):
            assert found.shape == (1, *expected.shape)
            assert np.abs(found[0] - expected).max() < CLOSE


@pytest.mark.no_cover
@pytest.mark.parametrize("name", GRAPHS)
def test_torch_export_gives_what_the_library_gives(name: str, exported: Exported, tmp_path: Path) -> None:
    model = exported(name)
    model.write_torch_export(tmp_path / "model.pt2")
    run = torch.export.load(tmp_path / "model.pt2").module(check_guards=False)
    for image in images(model):
        outputs = run(torch.from_numpy(image[None]))
        for found, expected in zip(outputs, of_library(model, image), strict=True):
            assert np.abs(found[0].numpy() - expected).max() < CLOSE


@pytest.mark.parametrize("name", GRAPHS)
def test_a_batch_gives_what_its_images_give(name: str, exported: Exported) -> None:
    model = exported(name)
    run, image = session(model).run, images(model)[1]
    batch = run(None, {"image": np.stack([image, 1 - image])})
    for number, one in enumerate((image, 1 - image)):
        for found, expected in zip(batch, run(None, {"image": one[None]})):
            assert np.abs(found[number] - expected[0]).max() < CLOSE


def seen_by(segmenter: Segmenter, image: np.ndarray) -> tuple[Embedding, np.ndarray]:
    """The embedding of an image, and what the network saw for it, normalized and scaled."""
    seen: list[torch.Tensor] = []
    network = segmenter.embedder.network
    hook = network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        embedding = segmenter.embed(image)
    finally:
        hook.remove()
    return embedding, seen[-1].contiguous().numpy()


@pytest.mark.parametrize("name", GRAPHS)
def test_the_graph_that_ships_is_what_an_export_gives(name: str, exported: Exported, tmp_path: Path) -> None:
    """Else run ``python tests/inference/make_graphs.py``."""
    if f"torch=={torch.__version__.partition('+')[0]}" not in PINNED:
        pytest.skip(
            f"the graphs that ship come from the torch of constraints.txt, not from {torch.__version__}"
        )
    exported(name).write_graph(tmp_path, name)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (FOLDER / path.name).read_bytes(), path.name


@pytest.mark.parametrize("name", ["bbbc039-fast", "nuclei"])
def test_labels_of_the_bundled_field_are_identical(name: str, exported: Exported) -> None:
    model = exported(name)
    segmenter = model.segmenter
    expected, image = seen_by(segmenter, samples.nuclei().image)
    vectors, foreground = session(model).run(None, {"image": image})
    stride = model.stride if max(model.stride) > 1 else None
    found = Embedding(
        torch.from_numpy(vectors[0]),
        torch.from_numpy(foreground[0, 0]),
        image_shape=samples.nuclei().image.shape,
        stride=stride,
    )
    labels = segmenter.cluster(expected)
    assert labels.max() > 100
    assert np.array_equal(segmenter.cluster(found), labels)


def test_files_say_all_about_their_model(exported: Exported, tmp_path: Path) -> None:
    onnx, model = pytest.importorskip("onnx"), exported("nuclei")
    model.write_onnx(tmp_path / "model.onnx")
    told = {entry.key: entry.value for entry in onnx.load(tmp_path / "model.onnx").metadata_props}
    model.write_torch_export(tmp_path / "model.pt2")
    extra = dict.fromkeys(told, "")
    torch.export.load(tmp_path / "model.pt2", extra_files=extra)
    assert told == extra == model.metadata
    assert (told["name"], told["version"], told["license"]) == ("nuclei", "0.5.0", "CC0-1.0")
    assert json.loads(told["stride"]) == [2, 2]
    assert ModelConfig.from_json(told["config"]) == model.segmenter.config


def test_inputs_and_outputs_say_what_may_change(exported: Exported) -> None:
    run = session(exported("nuclei"))
    assert [(value.name, value.shape) for value in (*run.get_inputs(), *run.get_outputs())] == [
        ("image", ["batch", 1, "height", "width"]),
        ("embedding", ["batch", 16, "embedding_height", "embedding_width"]),
        ("foreground", ["batch", 1, "height", "width"]),
    ]


def test_files_hold_no_batch_norm_and_no_path_of_this_machine(exported: Exported, tmp_path: Path) -> None:
    model = exported("nuclei")
    assert not [node for node in model.onnx.graph.node if "Norm" in node.op_type]
    model.write_torch_export(tmp_path / "model.pt2")
    content = model.onnx.SerializeToString() + (tmp_path / "model.pt2").read_bytes()
    for place in (Path(__file__).parents[2], Path(sys.prefix), Path(torch.__file__).parent):
        assert str(place).encode() not in content


def test_a_missing_package_is_named_with_its_extra(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = ExportedModel(segmenter)
    model.__dict__["program"] = None
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match=r"\[export\]"):
        model.write_onnx(tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["write_onnx", "write_torch_export"])
def test_a_name_with_another_ending_is_refused_before_any_work(
    verb: str, segmenter: Segmenter, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="ends in"):
        getattr(ExportedModel(segmenter), verb)(tmp_path / "model.bin")
