"""From a computation that torch has followed to ONNX."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from pixel_embedded_affinity.errors import optional_module

if TYPE_CHECKING:
    from torch.export import ExportedProgram

OPSET = 18
"""Version of the ONNX operators; runtimes since 2023 have it."""

_COMPLAINT = (
    "ONNX needs the packages onnx and onnxscript; expected them to be installed; "
    "run: pip install 'pixel_embedded_affinity[export]'"
)
_LOUD = logging.getLogger("torch.onnx._internal.exporter._registration")

Dimensions = Mapping[str, Sequence[str | int]]
"""By name of an input or output: what its lengths are called, or the lengths that never change."""


def onnx_of(program: ExportedProgram, dimensions: Dimensions, metadata: Mapping[str, str]) -> Any:
    """Return a computation as an ``onnx.ModelProto``, whose input comes first in `dimensions`.

    Raises
    ------
    MissingDependencyError
        If onnx or onnxscript is not installed; the extra ``export`` brings them.
    """
    onnx = optional_module("onnx", _COMPLAINT)
    optional_module("onnxscript", _COMPLAINT)
    image, *outputs = dimensions
    with _quiet():
        found = torch.onnx.export(
            program,
            (),
            dynamo=True,
            opset_version=OPSET,
            input_names=[image],
            output_names=outputs,
            verbose=False,
        )
    proto = found.model_proto  # type: ignore[union-attr]
    _strip(proto)
    _name_dimensions(proto.graph, dimensions)
    onnx.helper.set_model_props(proto, dict(metadata))
    proto.producer_name = metadata["format"]
    proto.producer_version = metadata["library_version"]
    onnx.checker.check_model(proto)
    return proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's remarks about packages that are not needed, and about its own code."""
    before = _LOUD.level
    _LOUD.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        _LOUD.setLevel(before)


def _strip(proto: Any) -> None:
    """Remove what the exporter says about its own work; a third of a small file."""
    graph = proto.graph
    for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.value_info[:]


def _name_dimensions(graph: Any, dimensions: Dimensions) -> None:
    """Say what the lengths are called, in place of formulas."""
    for value in (*graph.input, *graph.output):
        for length, name in zip(value.type.tensor_type.shape.dim, dimensions[value.name]):
            if isinstance(name, str):
                length.dim_param = name
