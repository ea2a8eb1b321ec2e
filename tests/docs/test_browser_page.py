"""The page that segments in a browser: what its tests compare with is what the library gives; .ci/browser runs them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts import loaded

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "browser"
onnx = pytest.importorskip("onnx", reason="the models of the page are ONNX; the extra onnx brings it")
reference = pytest.importorskip("onnx.reference")
build = loaded(FOLDER / "make_page.py")
golden = loaded(FOLDER / "tests" / "make_golden.py")


def close(one: Any, other: Any) -> bool:
    """Whether two outcomes are equal, but for rounding of numbers."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    return bool(one == other) or (isinstance(one, float) and one == pytest.approx(other, rel=1e-5))


def plain(value: Any, name: str = "") -> Any:
    """Outcomes with stored numbers as lists."""
    if isinstance(value, dict):
        return {key: plain(one, key) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return golden.read_floats(value, -1).tolist() if name == "values" else value


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(golden.FILE.read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("step", sorted(golden.STEPS))
def test_the_stored_outcomes_are_those_of_the_library(step: str, stored: dict[str, Any]) -> None:
    found = plain(golden.STEPS[step](stored["stored"]))
    assert close(found, plain(stored["outcomes"][step])), "run docs/browser/tests/make_golden.py"


def test_the_stored_configuration_is_that_of_the_model(stored: dict[str, Any]) -> None:
    assert close(plain(build.configuration(golden.MODEL)), stored["stored"]["config"])


def test_weights_in_half_precision_give_the_same_numbers() -> None:
    generator = np.random.default_rng(0)
    half = generator.normal(size=(4, 3, 2, 2)).astype(np.float16)
    half[2] = 0
    whole = half.astype(np.float32) * generator.uniform(0.1, 9, size=(4, 1, 1, 1)).astype(np.float32)
    other = generator.normal(size=(4, 3, 2, 2)).astype(np.float32)
    proto = model_of({"network.a": whole, "network.b": other, "bias": whole[:, 0, 0, 0]})
    before = reference.ReferenceEvaluator(proto).run(None, {})
    build.halve(proto, {"a": half, "b": other.astype(np.float16)})
    names = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    assert names["network.a.half"] == onnx.TensorProto.FLOAT16
    assert names["network.b"] == onnx.TensorProto.FLOAT, "this one would be rounded"
    onnx.checker.check_model(proto)
    for one, found in zip(before, reference.ReferenceEvaluator(proto).run(None, {}), strict=True):
        np.testing.assert_allclose(found, one, rtol=1e-6)


def model_of(tensors: dict[str, np.ndarray]) -> Any:
    """Return a model that gives its own tensors."""
    helper = onnx.helper
    nodes = [helper.make_node("Identity", [name], [f"{name}.out"]) for name in tensors]
    outputs = [
        helper.make_tensor_value_info(f"{name}.out", onnx.TensorProto.FLOAT, list(tensor.shape))
        for name, tensor in tensors.items()
    ]
    values = [onnx.numpy_helper.from_array(tensor, name) for name, tensor in tensors.items()]
    graph = helper.make_graph(nodes, "given", [], outputs, values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_the_policy_names_the_script_and_style_and_allows_no_connection() -> None:
    policy = dict(part.split(" ", 1) for part in build.policy("script()", "style{}").split("; "))
    assert policy["default-src"] == policy["connect-src"] == policy["form-action"] == "'none'"
    assert not re.search(r"https?:|\*|unsafe-inline|'self'|'unsafe-eval'", " ".join(policy.values()))
    digest = base64.b64encode(hashlib.sha256(b"script()").digest()).decode()
    assert f"'sha256-{digest}'" in policy["script-src"]


def test_without_npm_the_page_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    assert build.main() == 1
    assert "install Node.js 20 or newer" in capsys.readouterr().err


def test_without_onnx_the_page_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.shutil, "which", lambda name: name)
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(build.PageError, match=re.escape("pip install 'pixel_embedded_affinity[onnx]'")):
        build.build()


def test_packages_are_pinned() -> None:
    package = json.loads((FOLDER / "package.json").read_text(encoding="utf-8"))
    locked = json.loads((FOLDER / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    named = package["dependencies"] | package["devDependencies"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in named} == named


def test_the_models_are_small_enough_for_a_page() -> None:
    from pixel_embedded_affinity.models.registry import get_entry

    assert all(get_entry(name).size <= build.MOST_BYTES for name in build.MODELS)
