"""Devices: which one is used, and in which precision it computes."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from pixel_embedded_affinity.errors import DeviceError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

PRECISIONS = ("auto", "float32", "bfloat16")

_computed_in: int | None = None
"""The process in which torch last computed for the library."""


def resolve_device(name: str) -> torch.device:
    """Turn a device name into a device that is there.

    Parameters
    ----------
    name : str
        ``"auto"`` takes CUDA if there is one, else the CPU, and says so in the log; any other name is taken
        as it is.

    Raises
    ------
    DeviceError
        If the name is not a device, or the device is missing. A missing device is never replaced.
    """
    import torch

    if name == "auto":
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        logger.info("device 'auto' is %s", device)
        return device
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise DeviceError(
            f"device {name!r} is unknown; expected 'auto', 'cpu', 'cuda', 'cuda:0', ... or 'mps'"
        ) from error
    _check_present(device)
    return device


def _check_present(device: torch.device) -> None:
    import torch

    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise DeviceError(
                f"device {str(device)!r} was asked for, but no CUDA device is visible; check the driver and "
                "whether this torch is a CPU build (pea info), or use 'cpu' or 'auto'"
            )
        if (device.index or 0) >= count:
            raise DeviceError(
                f"device {str(device)!r} was asked for, but there are {count} CUDA devices; "
                "use 'cpu' or 'auto'"
            )
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError("device 'mps' was asked for, but is not available here; use 'cpu' or 'auto'")
    elif device.type != "cpu":
        raise DeviceError(f"device {str(device)!r} is not supported; expected 'auto', 'cpu', 'cuda' or 'mps'")


def has_fast_bfloat16(device: torch.device) -> bool:
    """Tell whether the device computes in bfloat16 natively: emulated, it is slower than float32."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(bool(getattr(torch.cpu, check, bool)()) for check in checks)
    return False


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Turn ``"auto"``, ``"float32"`` or ``"bfloat16"`` into the type that the network computes in.

    Raises
    ------
    DeviceError
        If the name is none of these.
    """
    import torch

    if name not in PRECISIONS:
        raise DeviceError(f"precision {name!r} is unknown; expected one of {', '.join(PRECISIONS)}")
    if name == "auto":
        return torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def autocast(device: torch.device, precision: str = "auto") -> AbstractContextManager[object]:
    """Context in which a network computes in the chosen precision."""
    import torch

    dtype = resolve_precision(precision, device)
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def survive_fork() -> None:
    """Make torch compute on one thread in a process that was forked from one in which it has computed.

    To be called before torch computes. The threads of GNU OpenMP, on which torch computes, are not there in a
    forked process, which would wait for them forever. A process that wants several threads starts by "spawn".
    """
    global _computed_in
    process = os.getpid()
    if _computed_in not in (None, process):
        import torch

        logger.info("this process was forked after torch had computed: torch now uses one thread in it")
        torch.set_num_threads(1)
    _computed_in = process
