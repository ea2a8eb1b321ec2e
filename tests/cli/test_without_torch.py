"""The commands where torch is not installed: they run on onnxruntime, or say what they need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import tifffile

from pixel_embedded_affinity.samples import nuclei

RUN = """
import contextlib, io, json, sys
sys.modules["torch"] = None  # as if it were not installed
from pixel_embedded_affinity.cli import main
found = {}
for name, arguments in json.loads(sys.argv[1]).items():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(arguments)
        except SystemExit as ended:  # --help
            status = ended.code
    found[name] = [status, out.getvalue(), err.getvalue()]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Exit status, standard output and standard error of commands."""
    pytest.importorskip("onnxruntime", reason="onnxruntime runs networks where torch is not installed")
    folder = tmp_path_factory.mktemp("data")
    field = nuclei()
    for name, values in (("images", field.image), ("labels", field.labels)):
        (folder / name).mkdir()
        for number in range(2):
            part = values[128 * number : 128 * (number + 1), :128]
            tifffile.imwrite(folder / name / f"{number}.tif", part)
    recipe = folder / "mine.toml"
    recipe.write_text('[model]\nname = "mine"\n[data]\nvalidation = ["1"]\n', encoding="utf-8")
    data = ["--model", "bbbc039-fast", "--data", str(folder)]
    commands = {
        "evaluate": ["evaluate", *data, "--layout", "folders", "--split", "all"],
        "evaluate by recipe": ["evaluate", *data, "--recipe", str(recipe)],
        "tune": ["tune", *data, "--layout", "folders", "--output", str(folder / "settings.json")],
        "finetune": [
            "finetune",
            str(folder),
            "--model",
            "bbbc039-fast",
            "--output",
            str(folder / "m.safetensors"),
        ],
        "adapt": ["adapt", str(folder), "--model", "neurons", "--output", str(folder / "m.safetensors")],
        "compare --help": ["compare", "--help"],
        "train --help": ["train", "--help"],
        "compare": ["compare", "quick", "--data", str(folder), "--output", str(folder / "c"), "--steps", "1"],
        "train": ["train", "quick", "--data", str(folder), "--output", str(folder / "t")],
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands)],
        env={**os.environ, "PEA_OFFLINE": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, list[Any]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    "command", ["evaluate", "evaluate by recipe", "tune", "compare --help", "train --help"]
)
def test_what_trains_nothing_runs(results: dict[str, list[Any]], command: str) -> None:
    status, output, errors = results[command]
    assert status == 0, errors
    assert ("AJI" in output) != command.endswith("--help")


@pytest.mark.parametrize(
    ("command", "what"),
    [("finetune", "Fine-tuning"), ("adapt", "Adapting"), ("compare", "Training"), ("train", "Training")],
)
def test_what_trains_says_how_to_install_torch(
    results: dict[str, list[Any]], command: str, what: str
) -> None:
    status, _, errors = results[command]
    assert status == 2
    (line,) = errors.splitlines()
    assert f"{what} needs torch, which is not installed; run: pip install" in line


def test_a_segmenter_says_how_to_install_torch_for_what_changes_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime runs networks where torch is not installed")
    from pixel_embedded_affinity import Segmenter
    from pixel_embedded_affinity.errors import MissingDependencyError

    segmenter = Segmenter.pretrained("nuclei", runtime="onnx", offline=True)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match="Fine-tuning needs torch, which is not installed"):
        segmenter.finetune([nuclei().image], [nuclei().labels])
    with pytest.raises(MissingDependencyError, match="Adapting needs torch, which is not installed"):
        segmenter.adapt(nuclei().image)
