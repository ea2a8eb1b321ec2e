"""Memory: how much is free, which errors say that none is left, and how freed memory is used again."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from pixel_embedded_affinity.runtime.device import Device, loaded_torch

if TYPE_CHECKING:
    import torch

_MEMINFO = Path("/proc/meminfo")
_GROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_SIGNS = ("allocate memory", "not enough memory", "out of memory")

_KEPT = 2**30  # bytes that may stay with the process for the next image
_TUNING = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_TRIM_THRESHOLD_")
_MAPPED, _USUALLY_MAPPED = 2**29, 2**25  # bytes; larger arrays go back to the system when freed
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as malloc.h numbers them


def free_memory(device: torch.device | Device) -> int:
    """Free bytes on a device; on the CPU, what the machine and the limits of a container or job leave.

    If neither the system nor the device says what is free, this is half of the main memory.
    """
    if device.type == "cuda":
        return _free_on(cast("torch.device", device))
    left = _left_in_groups()
    return _free_in_machine() if left is None else min(left, _free_in_machine())


def _free_on(device: torch.device) -> int:
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free + cached)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out, on the CPU or on a device."""
    torch = loaded_torch()
    if isinstance(error, MemoryError) or (torch and isinstance(error, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


@contextmanager
def memory_reused() -> Iterator[None]:
    """Context in which freed main memory is used for the next arrays.

    A network allocates and frees large arrays, layer by layer. By default malloc returns each of them to the system
    and gets new pages, which the system clears one by one: up to half of a network's time. Arrays of 512 MiB and more
    still go back, since the gaps that they leave would make the heap much larger.

    Several contexts may be open at once. When the last one ends, up to 1 GiB stays with the process for the next
    image; if more is free, all of it goes back. malloc has one setting per process, so arrays of other threads are
    meanwhile treated alike. The context does nothing if malloc does not come from glibc, or if the environment tunes
    it (``GLIBC_TUNABLES``, ``MALLOC_MMAP_MAX_`` and others).
    """
    if _malloc.is_ours:
        _malloc.keep()
    try:
        yield
    finally:
        if _malloc.is_ours:
            _malloc.release()


class _Counts(ctypes.Structure):
    """What mallinfo2 returns; ``fordblks`` is the number of free bytes."""

    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = tuple((name, ctypes.c_size_t) for name in _names.split())


class _Malloc:
    """The malloc of glibc, which several contexts may tune at the same time."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin with no context, as in a forked process, where those of other threads never end."""
        self._lock = threading.Lock()
        self._users = 0

    @cached_property
    def is_ours(self) -> bool:
        """Whether the process has it, and nobody else has tuned it."""
        tuned = any(name in os.environ for name in _TUNING)
        tuned = tuned or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")
        return not tuned and hasattr(self._library, "gnu_get_libc_version")

    @cached_property
    def _library(self) -> Any:
        """The C library of this process; None if none can be loaded."""
        try:
            return ctypes.CDLL(None)
        except (OSError, TypeError):  # no such call on Windows
            return None

    def keep(self) -> None:
        """Take all but the largest arrays from the heap, and never shrink the heap."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._library.mallopt(_MMAP_THRESHOLD, _MAPPED)  # an old glibc refuses more than its default
                self._library.mallopt(_TRIM_THRESHOLD, -1)

    def release(self) -> None:
        """End a context; the last one maps large arrays again, and empties a heap with more than 1 GiB free."""
        with self._lock:
            self._users = max(0, self._users - 1)  # a fork within the context has forgotten it
            last = self._users == 0
            if last:
                self._library.mallopt(_MMAP_THRESHOLD, _USUALLY_MAPPED)
                self._library.mallopt(_TRIM_THRESHOLD, _KEPT)
        if last and self._free() > _KEPT:
            self._library.malloc_trim(0)

    def _free(self) -> float:
        """Free bytes in the heap; infinite if glibc is too old to say."""
        if not hasattr(self._library, "mallinfo2"):
            return float("inf")
        self._library.mallinfo2.restype = _Counts
        counts: int = self._library.mallinfo2().fordblks
        return counts


_malloc = _Malloc()

if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_malloc.forget)


def _free_in_machine() -> int:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return _main_memory() // 2
    entries = dict(line.split(":", 1) for line in lines if ":" in line)
    if "MemAvailable" not in entries:
        return _main_memory() // 2
    return int(entries["MemAvailable"].split()[0]) * 1024


def _main_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # no such call on Windows
        return 8 * 2**30


def _left_in_groups() -> int | None:
    """Bytes that the process's control groups leave, such as a container's or a job's; None without limits."""
    return min((left for left in map(_left_in, _groups()) if left is not None), default=None)


class _Group(NamedTuple):
    """A control group's folder, and what its files are called."""

    folder: Path
    limit: str
    used: str
    cached: str


def _groups() -> Iterator[_Group]:
    """The control groups of this process in both versions, and the groups above them, whose limits count as well.

    In a container, the mounted folder may be the group itself, whatever its path says.
    """
    try:
        lines = _MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        lines = ["0::/"]
    for line in lines:
        _, controllers, path = line.split(":", 2) if line.count(":") >= 2 else ("", "none", "/")
        below = Path(path.lstrip("/"))
        for part in (below, *below.parents):
            if not controllers:
                yield _Group(_GROUPS / part, "memory.max", "memory.current", "inactive_file")
            elif "memory" in controllers.split(","):
                names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
                yield _Group(_GROUPS / "memory" / part, *names)


def _left_in(group: _Group) -> int | None:
    """Bytes that a group's limit leaves; None if there is no such group, or no limit."""
    try:
        limit = int((group.folder / group.limit).read_text(encoding="ascii"))
        used = int((group.folder / group.used).read_text(encoding="ascii"))
        entries = (group.folder / "memory.stat").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    # Cached files count as used, but make room when a process needs memory.
    cached = sum(int(line.split()[1]) for line in entries if line.startswith(f"{group.cached} "))
    return max(0, limit - used + cached)
