"""A network in onnxruntime, on the CPU; torch is not needed."""

from __future__ import annotations

import ctypes
import hashlib
import os
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.errors import CheckpointError, InputError, one_line, optional_module
from pixel_embedded_affinity.inference.base import EXPORTED, NEEDS, ONNX, Output, Runtime, refuse_overflow
from pixel_embedded_affinity.inference.graphs import Facts, graph_for
from pixel_embedded_affinity.io.arrays import FloatArray
from pixel_embedded_affinity.models.checkpoint import read_arrays
from pixel_embedded_affinity.runtime.device import CPU, thread_count
from pixel_embedded_affinity.runtime.memory import is_out_of_memory

_COMPLAINT = f"onnxruntime is not installed; expected it for runtime 'onnx'; run: {NEEDS[ONNX][1]}"
_ERRORS_ONLY = 3
"""The level of onnxruntime's log: it warns of what callers cannot change."""


class OnnxNetwork(Runtime):
    """A network as a graph of ONNX, which onnxruntime runs.

    It can be copied and sent to another process. In a forked process it works, too: sessions are made anew there.

    Parameters
    ----------
    graph : bytes
        The graph, with or without the weights.
    weights : mapping of str to numpy.ndarray
        float32, by the name that the graph gives them: those that it does not hold.
    facts : Facts
        How the network reads images.

    Raises
    ------
    MissingDependencyError
        If onnxruntime is not installed.
    CheckpointError
        If onnxruntime refuses the graph or the weights.
    """

    device = CPU

    def __init__(self, graph: bytes, weights: Mapping[str, FloatArray], facts: Facts) -> None:
        self.network = self
        self.ndim, self.grid, self.stride, self.halo = facts.ndim, facts.grid, facts.stride, facts.halo
        if facts.receptive_radius is not None:
            self.receptive_radius = partial(tuple, facts.receptive_radius)
        if facts.memory_per_pixel is not None:
            self.memory_per_pixel = partial(int, facts.memory_per_pixel)
        self._graph, self._weights = graph, dict(weights)
        self._prepare()
        self._session()

    def outputs(self, images: FloatArray) -> list[Output]:
        """See `Runtime.outputs`."""
        try:
            found = self._session().run(None, {"image": np.ascontiguousarray(images)})
        except Exception as error:  # onnxruntime's own types
            raise _as_usual(error) from error
        embedding, *foreground = found
        inside = foreground[0][:, 0] if foreground else [None] * len(embedding)
        refuse_overflow(images, embedding, *foreground)
        return [Output(*one) for one in zip(embedding, inside)]

    def identity(self) -> dict[str, str]:
        """See `Runtime.identity`."""
        found = hashlib.sha256(self._graph)
        for name, values in self._weights.items():
            found.update(name.encode())
            found.update(np.ascontiguousarray(values).tobytes())
        return {"weights": found.hexdigest(), "precision": "onnxruntime float32"}

    def _prepare(self) -> None:
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._sessions: dict[int, Any] = {}

    def _session(self) -> Any:
        """The session of this process for the present number of threads."""
        if self._process != os.getpid():  # the threads of a session stay behind in the parent
            _never_freed(self._sessions)
            self._prepare()
        threads = thread_count()
        with self._lock:
            if threads not in self._sessions:
                self._sessions[threads] = _new_session(self._graph, self._weights, threads)
            return self._sessions[threads]

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("network", "_lock", "_process", "_sessions")
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.network = self
        self._prepare()


def read_onnx_model(
    path: str | os.PathLike[str], *, sha256: str | None = None
) -> tuple[OnnxNetwork, ModelConfig]:
    """Read a model file for onnxruntime: its network, with the weights, and its configuration.

    Parameters
    ----------
    path : str or os.PathLike
        A checkpoint of this library; or, ending in ``.onnx``, what ``pea export`` wrote.
    sha256 : str, optional
        Expected SHA-256 of a checkpoint.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged or foreign, has another SHA-256, or no graph fits its configuration.
    MissingDependencyError
        If onnxruntime is not installed.
    """
    if Path(path).suffix.lower() == EXPORTED:
        return _read_export(path)
    config_json, weights = read_arrays(path, sha256=sha256)
    try:
        config = ModelConfig.from_json(config_json)
        graph = graph_for(config.network)
        return OnnxNetwork(graph.content, graph.weights_of(weights), graph.facts), config
    except (InputError, CheckpointError) as error:
        raise CheckpointError(f"{os.fspath(path)}: {error}") from error


def _read_export(path: str | os.PathLike[str]) -> tuple[OnnxNetwork, ModelConfig]:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{os.fspath(path)}: cannot be read ({one_line(error)})") from error
    try:
        told = _new_session(content, {}, 1).get_modelmeta().custom_metadata_map
        config, facts = ModelConfig.from_json(told["config"]), Facts.from_text(told["network"])
        return OnnxNetwork(content, {}, facts), config
    except (InputError, CheckpointError) as error:
        raise CheckpointError(f"{os.fspath(path)}: {error}") from error
    except KeyError as error:
        raise CheckpointError(
            f"{os.fspath(path)}: says nothing about {error} of its model; expected a file that 'pea export' of this "
            "release wrote; export the model again"
        ) from error


def _new_session(graph: bytes, weights: Mapping[str, FloatArray], threads: int) -> Any:
    runtime = optional_module("onnxruntime", _COMPLAINT)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, _ERRORS_ONLY
    # Threads that wait for work would take it from the clusterer's.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    values = [runtime.OrtValue.ortvalue_from_numpy(one) for one in weights.values()]
    options.add_external_initializers(list(weights), values)
    try:
        return runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own types
        raise CheckpointError(f"onnxruntime does not take the graph ({one_line(error)})") from error


def _never_freed(sessions: dict[int, Any]) -> None:
    """Keep the sessions of the parent in a forked process: to free them is to wait for their threads forever."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(sessions))


def _as_usual(error: Exception) -> Exception:
    """An error of onnxruntime as Python's own: what says that memory ran out is told apart by its type."""
    usual = RuntimeError(one_line(error))
    lacking = is_out_of_memory(usual) or "bad allocation" in str(error) or "bad_alloc" in str(error)
    return MemoryError(one_line(error)) if lacking else usual
