"""Make the page that segments in a browser: one file, without a server, that connects to nothing.

``python docs/browser/make_page.py`` writes ``docs/_browser/browser.html``. It needs npm (Node.js 20 or newer) and the
extra ``onnx``. Packages and models that did not change since the last call are used again.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "src"
OUTPUT = HERE.parent / "_browser"
PAGE = OUTPUT / "browser.html"
PACKAGES = HERE / "node_modules"
RUNTIME = PACKAGES / "onnxruntime-web" / "dist" / "ort-wasm-simd-threaded.wasm"

MODELS = ("nuclei", "bbbc039-fast")
"""The models of the page, the first one chosen."""

MOST_BYTES = 3_000_000
"""Size of a model that a visitor may be asked to load."""


class PageError(Exception):
    """What the page cannot be made without is missing, or failed."""


def missing() -> str:
    """Say what the page cannot be made without; empty if all is there."""
    if shutil.which("npm") is None:
        return "npm is missing: install Node.js 20 or newer, such as by 'apt-get install nodejs npm'"
    absent = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if absent:
        return f"{' and '.join(absent)} is missing: pip install 'pixel_embedded_affinity[onnx]'"
    return ""


def build() -> Path:
    """Write the page, and return where it is.

    Raises
    ------
    PageError
        If something is missing, or a step failed.
    """
    if complaint := missing():
        raise PageError(complaint)
    OUTPUT.mkdir(exist_ok=True)
    install()
    PAGE.write_text(_page(), encoding="utf-8")
    return PAGE


def install() -> None:
    """Install the pinned packages of package-lock.json, unless they are there."""
    installed, wanted = PACKAGES / ".package-lock.json", HERE / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < wanted.stat().st_mtime:
        _run("npm", "ci", "--no-audit", "--no-fund")
        installed.touch()


def _run(*command: str) -> str:
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    if done.returncode:
        raise PageError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


# --- models -----------------------------------------------------------------------------------------------


def network(name: str) -> bytes:
    """Return a model as ONNX, its weights stored as in the model's own file."""
    kept = OUTPUT / f"{name}-{_state_of(name)}.onnx"
    if not kept.exists():
        kept.write_bytes(_exported(name))
    return kept.read_bytes()


def _state_of(name: str) -> str:
    """Return a digest of all that an exported model depends on."""
    import inspect

    from pixel_embedded_affinity import exchange
    from pixel_embedded_affinity.models.registry import get_entry

    code = [inspect.getsource(part) for part in (_exported, halve, _factor, _times)]
    files = sorted(Path(exchange.__file__).parent.glob("*.py"))
    text = "".join([get_entry(name).sha256, *code, *(file.read_text(encoding="utf-8") for file in files)])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _exported(name: str) -> bytes:
    from pixel_embedded_affinity import Segmenter
    from pixel_embedded_affinity.exchange import ExportedModel

    segmenter = Segmenter.pretrained(name, device="cpu", precision="float32", offline=True)
    proto = ExportedModel(segmenter).onnx
    halve(proto, _stored(name))
    content: bytes = proto.SerializeToString(deterministic=True)
    if len(content) > MOST_BYTES:
        raise PageError(f"model {name} has {len(content)} bytes; expected at most {MOST_BYTES}")
    return content


def _stored(name: str) -> dict[str, Any]:
    """Return the weights of a model as its file has them, in half precision."""
    from safetensors.numpy import load_file

    from pixel_embedded_affinity import models
    from pixel_embedded_affinity.models.registry import get_entry

    return load_file(Path(models.__file__).parent / "bundled" / get_entry(name).file)


def halve(proto: Any, stored: dict[str, Any]) -> None:
    """Store weights in half precision, times a factor for each output channel, where that gives the same numbers.

    A batch norm that was put into a convolution multiplies each of its output channels by one number.
    """
    from onnx import numpy_helper

    graph, nodes = proto.graph, []
    for tensor in graph.initializer:
        half = stored.get(tensor.name.removeprefix("network."))
        whole = numpy_helper.to_array(tensor)
        if half is None or whole.ndim < 2 or half.dtype != np.float16 or half.shape != whole.shape:
            continue
        factor = _factor(half.astype(np.float32), whole)
        if np.allclose(half.astype(np.float32) * factor, whole, rtol=1e-6, atol=0):
            nodes += _times(tensor, half, factor, graph)
    for place, node in enumerate(nodes):
        graph.node.insert(place, node)


def _factor(half: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return what each output channel is multiplied by, (N, 1, ...)."""
    rows, target = half.reshape(len(half), -1), whole.reshape(len(whole), -1)
    place = np.abs(rows).argmax(axis=1)[:, np.newaxis]
    largest = np.take_along_axis(rows, place, axis=1)
    factor = np.take_along_axis(target, place, axis=1) / np.where(largest == 0, 1, largest)
    return factor.astype(np.float32).reshape(-1, *[1] * (half.ndim - 1))


def _times(tensor: Any, half: np.ndarray, factor: np.ndarray, graph: Any) -> Iterator[Any]:
    """Replace a tensor by its half and the factor; yield the nodes that compute it."""
    from onnx import TensorProto, helper, numpy_helper

    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
    graph.initializer.append(numpy_helper.from_array(factor, f"{name}.factor"))
    yield helper.make_node("Cast", [f"{name}.half"], [f"{name}.single"], to=TensorProto.FLOAT)
    yield helper.make_node("Mul", [f"{name}.single", f"{name}.factor"], [name])


def configuration(name: str) -> dict[str, Any]:
    """Return the configuration of a model, without how it was made."""
    from pixel_embedded_affinity import Segmenter

    config: dict[str, Any] = Segmenter.pretrained(name, device="cpu", offline=True).config.to_dict()
    return {key: value for key, value in config.items() if key not in ("provenance", "network")}


# --- the page ---------------------------------------------------------------------------------------------


def _page() -> str:
    import pixel_embedded_affinity as library

    style, script = (SOURCE / "page.css").read_text(encoding="utf-8"), bundled("page.js")
    parts = {
        "POLICY": policy(script, style),
        "STYLE": style,
        "VERSION": library.__version__,
        "ASSETS": "\n".join(_assets()),
        "PAGE": script,
    }
    page = (SOURCE / "index.html").read_text(encoding="utf-8")
    for name, text in parts.items():
        page = page.replace(f"@{name}@", text, 1)
    return page


def bundled(name: str) -> str:
    """Return a script with all that it imports, fit to stand in a page."""
    target = OUTPUT / name
    # A page from a file may start a worker only from a classic script, which has no address. Nothing is loaded from
    # the one that stands in for it.
    address = '--define:import.meta.url="https://page.invalid/"'
    options = ("--bundle", "--format=iife", "--minify", "--target=es2022", "--log-level=warning", address)
    _run(str(PACKAGES / ".bin" / "esbuild"), str(SOURCE / name), *options, f"--outfile={target}")
    return target.read_text(encoding="utf-8").replace("</script", "<\\/script").strip()


def policy(script: str, style: str) -> str:
    """Return the Content-Security-Policy: this script and style, and no connection to anything."""
    return "; ".join(
        [
            "default-src 'none'",
            "connect-src 'none'",
            f"script-src 'sha256-{_digest(script)}' 'wasm-unsafe-eval' blob:",
            "worker-src blob:",
            f"style-src 'sha256-{_digest(style)}'",
            "img-src blob: data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _assets() -> Iterator[str]:
    from pixel_embedded_affinity import samples

    configurations = {name: configuration(name) for name in MODELS}
    yield _asset("models", json.dumps(configurations).replace("</", "<\\/"))
    yield _asset("worker", bundled("worker.js"))
    yield _asset("wasm", _encoded(gzip.compress(RUNTIME.read_bytes(), 9, mtime=0)))
    yield _asset("sample-image", _encoded((Path(samples.__file__).parent / "nuclei.tif").read_bytes()))
    for name in MODELS:
        yield _asset(f"network-{name}", _encoded(network(name)))


def _asset(name: str, text: str) -> str:
    return f'<script type="text/plain" id="{name}">{text}</script>'


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def main() -> int:
    """Write the page, and say where it is, or why it cannot be made."""
    try:
        sys.stdout.write(f"{build()}\n")
    except PageError as error:
        sys.stderr.write(f"the page cannot be made: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
