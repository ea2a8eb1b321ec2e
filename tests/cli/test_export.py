"""``pea export`` writes what it is asked for, and refuses early what it cannot write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pixel_embedded_affinity.cli import main
from pixel_embedded_affinity.segmenter import Segmenter


def test_a_model_file_is_written_in_two_formats(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
    pytest.importorskip("onnxscript", reason="needs the package onnxscript")
    onnx, program = tmp_path / "tiny.onnx", tmp_path / "tiny.pt2"
    given = ["export", "--weights", str(weights), "--onnx", str(onnx), "--torch-export", str(program)]
    assert main(given) == 0
    assert capsys.readouterr().out.split() == [str(onnx), str(program)]
    image = np.random.default_rng(0).random((1, 1, 21, 34), np.float32)
    network = Segmenter.from_file(weights, device="cpu", precision="float32").embedder
    expected = network(image[0], Segmenter.from_file(weights).config).numpy()
    # This model has no foreground head.
    (by_onnx,) = onnxruntime.InferenceSession(onnx.read_bytes()).run(None, {"image": image})
    (by_torch,) = torch.export.load(program).module(check_guards=False)(torch.from_numpy(image))
    # Random weights give some vectors almost no length, and what is rounded grows when they get the length 1.
    assert np.abs(by_onnx[0] - expected).max() < 1e-3
    assert np.abs(by_torch[0].numpy() - expected).max() < 1e-3


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "nothing says what to write"),
        (["--onnx", "model.bin"], "expected a name ending in .onnx"),
        (["--torch-export", "absent/model.pt2"], "in a folder that exists"),
        (["--onnx", "model.onnx", "--author", "A"], "give --bioimageio"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(
    options: list[str], complaint: str, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "--weights", str(weights), *options]) == 2
    assert complaint in capsys.readouterr().err


def test_a_model_that_is_unknown_is_refused(registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "absent", "--onnx", "model.onnx"]) == 2
    assert "unknown model" in capsys.readouterr().err
