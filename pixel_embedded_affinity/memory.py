"""Memory: how much of it is free, and which errors say that there is none left."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_MEMINFO = Path("/proc/meminfo")
_GROUPS = Path("/sys/fs/cgroup")
_SIGNS = ("allocate memory", "not enough memory", "out of memory")


def free_memory(device: torch.device) -> int:
    """Bytes that can be taken on a device; on the CPU, what the machine and the container's limit leave.

    Where neither the system nor the device says what is free, half of the main memory is taken as free.
    """
    import torch

    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + cached)
    left = _left_in_group()
    return _free_in_machine() if left is None else min(left, _free_in_machine())


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out, on the CPU or on a device."""
    import torch

    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


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


def _left_in_group() -> int | None:
    """What the limit of a Linux container leaves; None where there is no limit."""
    try:
        limit = int((_GROUPS / "memory.max").read_text(encoding="ascii"))
        used = int((_GROUPS / "memory.current").read_text(encoding="ascii"))
        entries = (_GROUPS / "memory.stat").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    # Cached files count as used, and are given up when memory is asked for.
    cached = sum(int(line.split()[1]) for line in entries if line.startswith("inactive_file "))
    return max(0, limit - used + cached)
