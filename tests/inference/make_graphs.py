"""Write the graphs of runtime "onnx" for all models of the registry: ``python tests/inference/make_graphs.py``.

Models with the same network share a graph, which is named after the first of them. Run it after a model with another
network was added, or after the export has changed; a test says if that is needed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.exchange import ExportedModel
from pixel_embedded_affinity.inference.graphs import FOLDER
from pixel_embedded_affinity.models.registry import read_registry


def names() -> dict[str, Segmenter]:
    """Return the model after which each graph is named."""
    found: dict[str, Segmenter] = {}
    for name in sorted(read_registry()):
        segmenter = Segmenter.pretrained(
            name, runtime="torch", device="cpu", precision="float32", offline=True
        )
        if not any(segmenter.config.network == other.config.network for other in found.values()):
            found[name] = segmenter
    return found


def write(folder: Path) -> None:
    """Write all graphs into a folder."""
    for name, segmenter in names().items():
        ExportedModel(segmenter).write_graph(folder, name)


def main() -> None:
    """Replace the graphs of the package."""
    FOLDER.mkdir(exist_ok=True)
    for path in (*FOLDER.glob("*.onnx"), *FOLDER.glob("*.json")):
        path.unlink()
    write(FOLDER)
    sys.stdout.write("".join(f"{path}\n" for path in sorted(FOLDER.iterdir())))


if __name__ == "__main__":
    main()
