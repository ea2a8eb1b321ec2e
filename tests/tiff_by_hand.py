"""TIFF files written byte by byte, independent of any library that reads them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

NONE, LZW, DEFLATE = 1, 5, 8
_FORMATS = {"u": 1, "i": 2, "f": 3}


def lzw(data: bytes) -> bytes:
    """Compress by literals only: the table is cleared before codes need ten bits."""
    codes: list[int] = []
    for start in range(0, len(data), 250):
        codes += [256, *data[start : start + 250]]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def differences(array: np.ndarray[Any, Any], order: str) -> bytes:
    """The horizontal differences of predictor 2."""
    integers = array.view(f"u{array.itemsize}").astype(np.uint64)
    steps = integers.copy()
    steps[:, 1:] -= integers[:, :-1]
    return steps.astype(f"u{array.itemsize}").astype(f"{order}u{array.itemsize}").tobytes()


def float_bytes(array: np.ndarray[Any, Any]) -> bytes:
    """The byte planes of predictor 3, most significant first, and their differences along each row."""
    big = array.astype(array.dtype.newbyteorder(">"))
    rows = []
    for row in big:
        planes = np.frombuffer(row.tobytes(), np.uint8).reshape(-1, array.itemsize).T.ravel().astype(np.int16)
        rows.append(np.diff(planes, prepend=0).astype(np.uint8).tobytes())
    return b"".join(rows)


def write_tiff(
    path: Path,
    array: np.ndarray[Any, Any],
    order: str = "<",
    compression: int = NONE,
    predictor: int = 1,
    photometric: int = 1,
    bits: int | None = None,
    body: bytes | None = None,
) -> Path:
    """Write a gray image as one strip."""
    height, width = array.shape
    raw = {
        1: lambda: array.astype(array.dtype.newbyteorder(order)).tobytes(),
        2: lambda: differences(array, order),
        3: lambda: float_bytes(array),
    }[predictor]()
    packed = body or {NONE: bytes, LZW: lzw, DEFLATE: zlib.compress}[compression](raw)
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, bits or array.itemsize * 8),
        (259, 3, compression),
        (262, 3, photometric),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, len(packed)),
        (317, 3, predictor),
        (339, 3, _FORMATS[array.dtype.kind]),
    ]
    pad = len(packed) % 2
    head = (b"MM" if order == ">" else b"II") + struct.pack(order + "HI", 42, 8 + len(packed) + pad)
    entries = b"".join(_entry(order, *tag) for tag in tags)
    path.write_bytes(head + packed + b"\0" * pad + struct.pack(order + "H", len(tags)) + entries + bytes(4))
    return path


def _entry(order: str, tag: int, kind: int, value: int) -> bytes:
    content = struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
    return struct.pack(order + "HHI", tag, kind, 1) + content
