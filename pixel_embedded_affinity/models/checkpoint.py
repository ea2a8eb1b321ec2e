"""The file format of a trained model: one safetensors file that also holds the model's configuration.

The file is a plain safetensors file: the length of the header in 8 bytes (little-endian), the header as
JSON, then the tensors. The metadata in its header holds what a reader needs besides the tensors::

    format           "pixel_embedded_affinity"
    format_version   "1"
    config           the configuration of the model, a JSON text

Writing is deterministic: equal tensors and an equal configuration give equal bytes, so a hash names a model.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pixel_embedded_affinity.errors import CheckpointError, one_line
from pixel_embedded_affinity.io.arrays import FloatArray
from pixel_embedded_affinity.io.atomic import atomic_file
from pixel_embedded_affinity.runtime.device import require_torch

if TYPE_CHECKING:
    import torch

FORMAT = "pixel_embedded_affinity"
FORMAT_VERSION = "1"

# Far above any model of this library: they limit what a hostile file can make us read.
_MAX_HEADER_BYTES = 4 * 1024**2
_MAX_FILE_BYTES = 2 * 1024**3

_LENGTH_BYTES = 8
_DTYPES = frozenset({"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"})
_FOREIGN_KINDS = {
    b"PK\x03\x04": "a zip archive (as torch.save writes it)",
    **{bytes((0x80, version)): "a pickle" for version in range(2, 6)},  # recognized to be refused
    b"\x89HDF": "an HDF5 file",
}


@dataclass(frozen=True)
class Checkpoint:
    """Content of a weights file.

    Parameters
    ----------
    config_json : str
        Configuration of the model as JSON text.
    tensors : dict of str to torch.Tensor
        Weights by name, in the precision in which they are stored.
    """

    config_json: str
    tensors: dict[str, torch.Tensor]


def write_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write a weights file; it appears whole or not at all, and replaces a file of that name.

    Parameters
    ----------
    path : str or os.PathLike
        File to write; its folder must exist.
    checkpoint : Checkpoint
        What to write. Tensors may lie on any device and need not be contiguous; they are not modified.

    Raises
    ------
    CheckpointError
        If a tensor holds NaN or infinite values or has a type that the format does not take (complex, sparse,
        8-bit float), or the configuration is empty or not encodable as UTF-8.
    OSError
        If the file cannot be written.
    """
    target = Path(path)
    data = _encode(target, checkpoint)
    with atomic_file(target) as file:
        file.write(data)


def read_checkpoint(path: str | os.PathLike[str], *, sha256: str | None = None) -> Checkpoint:
    """Read and check a weights file. Nothing in the file is ever executed.

    Parameters
    ----------
    path : str or os.PathLike
        File to read.
    sha256 : str, optional
        Expected SHA-256 of the file in hexadecimal digits. The very bytes that become tensors are checked.

    Returns
    -------
    Checkpoint
        The tensors are on the CPU and own their memory.

    Raises
    ------
    CheckpointError
        If the file is missing, a folder, damaged or no safetensors file, was not written by this library, is of another
        format version, holds no configuration, NaN or infinite weights, or has another SHA-256.
    """
    source = Path(path)
    config_json, data = _checked(source, sha256)
    tensors = _decode(source, data)
    _check_finite(source, tensors)
    return Checkpoint(config_json=config_json, tensors=tensors)


def read_arrays(
    path: str | os.PathLike[str], *, sha256: str | None = None
) -> tuple[str, dict[str, FloatArray]]:
    """Read and check a weights file without torch. Nothing in the file is ever executed.

    Parameters
    ----------
    path, sha256
        As for `read_checkpoint`.

    Returns
    -------
    config_json : str
        Configuration of the model as JSON text.
    arrays : dict of str to numpy.ndarray
        The weights by name, as float32. What is stored as integers is left out: it counts batches of the training.

    Raises
    ------
    CheckpointError
        As for `read_checkpoint`.
    """
    source = Path(path)
    config_json, data = _checked(source, sha256)
    arrays = _decode_arrays(source, data)
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise _not_finite(source, name)
    return config_json, arrays


def check_fit(expected: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse weights that do not fit a network in name and shape.

    Parameters
    ----------
    expected, given : mapping of str to tuple of int
        Shapes of the weights by name: of the network, and of the file.

    Raises
    ------
    CheckpointError
        If they differ.
    """
    missing, surplus = sorted(set(expected) - set(given)), sorted(set(given) - set(expected))
    if missing or surplus:
        raise CheckpointError(
            f"the weights do not fit the network: missing {missing[:3]} ({len(missing)} in all), "
            f"not expected {surplus[:3]} ({len(surplus)} in all); the file is of another architecture"
        )
    for name, shape in given.items():
        if shape != expected[name]:
            raise CheckpointError(
                f"weight {name!r} has shape {shape}, expected {expected[name]}; the file is of another architecture"
            )


def _encode(path: Path, checkpoint: Checkpoint) -> bytes:
    import safetensors.torch

    try:
        tensors = _owned(checkpoint.tensors)
        _check_finite(path, tensors)
        data, header = _with_metadata(safetensors.torch.save(tensors), checkpoint.config_json)
    except (RuntimeError, UnicodeError, KeyError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be written as safetensors ({one_line(error)})") from error
    _check_header(path, header)
    return data


def _owned(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copy tensors into memory of their own: the format takes neither shared nor strided memory."""
    import torch

    layout = torch.contiguous_format
    return {
        name: value.detach().to("cpu", copy=True, memory_format=layout) for name, value in tensors.items()
    }


def _with_metadata(data: bytes, config_json: str) -> tuple[bytes, dict[str, Any]]:
    """Add the metadata to a safetensors file that has none; also give the new header.

    safetensors itself writes metadata in random order, which would give every file another hash.
    """
    end = _LENGTH_BYTES + _header_length(data)
    metadata = {"format": FORMAT, "format_version": FORMAT_VERSION, "config": config_json}
    header = {"__metadata__": metadata, **json.loads(data[_LENGTH_BYTES:end])}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text + data[end:], header


def _read(path: Path) -> tuple[str, bytes]:
    """Read the configuration and all bytes of a file; check its size and header before reading the rest."""
    # These two answer False, and do not raise, if a name is too long.
    if os.path.isdir(path):
        raise CheckpointError(f"{path}: is a folder, expected a .safetensors file")
    if not os.path.isfile(path):
        raise CheckpointError(f"{path}: no such file, expected a .safetensors file")
    try:
        with path.open("rb") as file:
            start = file.read(_LENGTH_BYTES)
            _check_sizes(path, start, os.fstat(file.fileno()).st_size)
            text = file.read(_header_length(start))
            header = _parse_header(path, text)
            _check_header(path, header)
            return header["__metadata__"]["config"], start + text + file.read()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({one_line(error)})") from error


def _checked(path: Path, sha256: str | None) -> tuple[str, bytes]:
    """Read the configuration and all bytes of a file, and check its hash."""
    config_json, data = _read(path)
    if sha256 is not None:
        _check_digest(path, data, sha256)
    return config_json, data


def _check_digest(path: Path, data: bytes, expected: str) -> None:
    digest = hashlib.sha256(data).hexdigest()
    if digest != expected.lower():
        raise CheckpointError(f"{path}: SHA-256 is {digest}, expected {expected}; fetch the file again")


def _header_length(data: bytes) -> int:
    return int.from_bytes(data[:_LENGTH_BYTES], "little")


def _check_sizes(path: Path, start: bytes, size: int) -> None:
    length = _header_length(start)
    fits = len(start) == _LENGTH_BYTES and length <= size - _LENGTH_BYTES
    kinds = [kind for magic, kind in _FOREIGN_KINDS.items() if start.startswith(magic)]
    # The length of a header may look like the start of another kind of file: 640 looks like a pickle.
    if kinds and not (fits and length <= _MAX_HEADER_BYTES):
        raise CheckpointError(f"{path}: is {kinds[0]}, expected safetensors; no code in a file is ever run")
    if not fits:
        raise CheckpointError(
            f"{path}: is not a safetensors file, or truncated (header of {length} in {size} bytes)"
        )
    if length > _MAX_HEADER_BYTES:
        raise CheckpointError(f"{path}: header of {length} bytes, expected at most {_MAX_HEADER_BYTES}")
    if size > _MAX_FILE_BYTES:
        raise CheckpointError(f"{path}: {size} bytes, expected at most {_MAX_FILE_BYTES}")


def _parse_header(path: Path, text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: no safetensors file, bad header ({one_line(error)})") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: no safetensors file, header is no JSON object")
    return header


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key is repeated")
    return dict(pairs)


def _check_header(path: Path, header: Mapping[str, Any]) -> None:
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: metadata lacks format = {FORMAT!r}, not a file of this library")
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format version is {_short(version)}, expected {FORMAT_VERSION!r}; "
            "use the release of the library that wrote the file"
        )
    config = metadata.get("config")
    if not isinstance(config, str) or not config.strip():
        raise CheckpointError(f"{path}: metadata lacks 'config', the model's configuration as JSON")
    _check_dtypes(path, header)


def _check_dtypes(path: Path, header: Mapping[str, Any]) -> None:
    for name in header.keys() - {"__metadata__"}:
        dtype = header[name].get("dtype") if isinstance(header[name], dict) else None
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            found = f"tensor {_short(name)} has type {_short(dtype)}"
            raise CheckpointError(f"{path}: {found}, expected one of {', '.join(sorted(_DTYPES))}")


def _decode(path: Path, data: bytes) -> dict[str, torch.Tensor]:
    require_torch("Reading weights as tensors")
    import safetensors.torch

    try:
        return safetensors.torch.load(data)  # not torch's own load: a safetensors file holds no code
    except (safetensors.SafetensorError, RuntimeError, TypeError) as error:  # TypeError: a size above 2**63
        raise CheckpointError(f"{path}: no safetensors file, or damaged ({one_line(error)})") from error


def _decode_arrays(path: Path, data: bytes) -> dict[str, FloatArray]:
    import safetensors

    try:
        found = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except (safetensors.SafetensorError, RuntimeError, TypeError) as error:
        raise CheckpointError(f"{path}: no safetensors file, or damaged ({one_line(error)})") from error
    return {name: _array(entry) for name, entry in found if "F" in entry["dtype"]}


def _array(entry: Mapping[str, Any]) -> FloatArray:
    """Stored numbers as float32."""
    if entry["dtype"] == "BF16":  # the upper half of a float32
        values = (np.frombuffer(entry["data"], "<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        values = np.frombuffer(entry["data"], f"<f{int(entry['dtype'][1:]) // 8}").astype(np.float32)
    return values.reshape(entry["shape"])


def _check_finite(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise _not_finite(path, name)


def _not_finite(path: Path, name: str) -> CheckpointError:
    return CheckpointError(f"{path}: tensor {_short(name)} has NaN or infinite values, expected finite ones")


def _short(value: object) -> str:
    """A value from an untrusted file as text that fits into an error message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
