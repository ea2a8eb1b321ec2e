"""Devices: which one to use, in which precision, and on how many threads."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pixel_embedded_affinity.errors import DeviceError, MissingDependencyError
from pixel_embedded_affinity.fields import integer

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

PRECISIONS = ("auto", "float32", "bfloat16")

_MOST_THREADS = 1024  # OpenMP ends a process that cannot start as many threads as it was told to

_forked_with_torch = False
"""Whether this process was forked from one that had loaded torch."""

_one_thread = False
"""Whether torch was told to use one thread for that reason."""


@dataclass(frozen=True)
class Device:
    """A device that needs no torch, named as torch names it."""

    type: str = "cpu"

    def __str__(self) -> str:
        return self.type


CPU = Device()


INSTALL_TORCH = "pip install 'pixel_embedded_affinity[torch]'"


def require_torch(purpose: str) -> None:
    """Refuse to go on without torch.

    Parameters
    ----------
    purpose : str
        What needs it, as the subject of a sentence.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingDependencyError(f"{purpose} needs torch, which is not installed; run: {INSTALL_TORCH}")


def loaded_torch() -> Any:
    """Return torch if this process has loaded it, else None: nothing can have been computed by it then."""
    module = sys.modules.get("torch")
    return module if hasattr(module, "set_num_threads") else None


def resolve_device(name: str) -> torch.device:
    """Turn a device name into a device of this machine.

    Parameters
    ----------
    name : str
        ``"auto"`` takes CUDA if there is one, else the CPU, and says so in the log.

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
    """Tell whether the device computes in bfloat16 natively; emulated bfloat16 is slower than float32."""
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
    """Make torch compute on one thread in a process that was forked from one that had loaded torch.

    Call this before torch computes. Torch computes on threads of GNU OpenMP. A forked process lacks them and would
    wait for them forever; nobody knows whether the parent's own code had torch compute. To compute on several threads,
    start a process by "spawn".
    """
    global _one_thread
    torch = loaded_torch()
    if torch is None or not _forked_with_torch or _one_thread:
        return
    logger.info("this process was forked after torch was loaded: torch now uses one thread in it")
    torch.set_num_threads(1)
    _one_thread = True


def _after_fork() -> None:
    """Begin anew in a forked process: the contexts of the parent's other threads never end in it."""
    global _forked_with_torch, _one_thread
    _forked_with_torch, _one_thread = loaded_torch() is not None, False
    _number.forget()


def checked_threads(threads: Any) -> int | None:
    """Return a number of threads as an int, or None as it is.

    Raises
    ------
    InputError
        If it is not an integer from 1 to 1024.
    """
    check = integer(1, _MOST_THREADS, advice="None leaves the number to torch")
    return None if threads is None else int(check(threads, "threads"))


def thread_count() -> int:
    """Return the number of CPU threads on which to compute now.

    It is torch's number, which `cpu_threads` sets. In a process that has not loaded torch, it is the number that
    `cpu_threads` was given, else ``OMP_NUM_THREADS``, else the CPUs that the process may use.
    """
    torch = loaded_torch()
    if torch is not None:
        return int(torch.get_num_threads())
    return _number.wanted or _usual_threads()


def _usual_threads() -> int:
    told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if told.isdecimal() and int(told) > 0:
        return min(int(told), _MOST_THREADS)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Context in which the library computes on `count` CPU threads; None leaves the number alone.

    Torch has one number per process, which a thread takes over when it first computes. Several contexts may be
    open at once: as each of them ends, it restores the number from before the first of them. A process that was
    forked after torch was loaded stays at one thread, see `survive_fork`.

    Parameters
    ----------
    count : int or None
        From `checked_threads`.
    """
    if count is None:
        yield
        return
    survive_fork()
    if _one_thread:
        yield
        return
    _number.replace(count)
    try:
        yield
    finally:
        _number.restore()


class _Number:
    """The number of threads, which several contexts may replace at the same time; torch is told if it is loaded."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin with no context."""
        self._lock = threading.Lock()
        self._users = 0
        self._before: int | None = None
        self.wanted: int | None = None

    def replace(self, count: int) -> None:
        torch = loaded_torch()
        with self._lock:
            if self._users == 0:
                self._before = None if torch is None else torch.get_num_threads()
            self._users += 1
            self.wanted = count
            if torch is not None:
                torch.set_num_threads(count)

    def restore(self) -> None:
        torch = loaded_torch()
        with self._lock:
            self._users = max(0, self._users - 1)  # a fork within the context has forgotten it
            if self._users == 0:
                self.wanted = None
            if torch is not None and self._before is not None:
                torch.set_num_threads(self._before)


_number = _Number()

if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
