"""Memory: what is free is read from the system, and the errors that say it is used up are known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pixel_embedded_affinity.runtime import memory
from pixel_embedded_affinity.runtime.memory import free_memory, is_out_of_memory, memory_reused

CPU = torch.device("cpu")
needs_glibc = pytest.mark.skipif(
    not memory._malloc.is_ours, reason="malloc does not come from glibc, or the environment tunes it"
)


def test_something_is_free_on_this_machine() -> None:
    assert 2**20 < free_memory(CPU) < 2**50


def write_group(folder: Path, limit: str) -> None:
    """Files of a control group, under the names of both versions."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        (folder / name).write_text(f"{limit}\n", encoding="ascii")
    for name in ("memory.current", "memory.usage_in_bytes"):
        (folder / name).write_text("700\n", encoding="ascii")
    entries = "anon 500\ninactive_file 200\ntotal_inactive_file 200\n"
    (folder / "memory.stat").write_text(entries, encoding="ascii")


@pytest.mark.parametrize(("limit", "expected"), [("1000", 500), ("100", 0), ("max", 2048000)])
def test_the_limit_of_a_container_counts_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, expected: int
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    2000 kB\n", encoding="ascii")
    write_group(tmp_path, limit)
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    assert free_memory(CPU) == expected


@pytest.mark.parametrize(
    ("membership", "limits", "expected"),
    [
        ("0::/job/step", {"job/step": 1000}, 500),  # a group below the root
        ("0::/job/step", {"job": 900, "job/step": 1000}, 400),  # the group above has less
        ("0::/job/step", {"job": 2000, "job/step": 1000}, 500),
        ("0::/host/path", {"": 1000}, 500),  # a container that does not see its own path
        ("9:cpu:/other\n4:memory:/job\n0::/", {"memory/job": 1000}, 500),  # the first version of groups
        ("4:cpu,memory:/job", {"memory": 800, "memory/job": 1000}, 300),
        ("4:cpu:/job", {"job": 1000, "memory/job": 1000}, 2048000),  # groups of other things
        ("nonsense\n", {}, 2048000),
        (None, {"": 1000}, 500),  # no file that says it
    ],
)
def test_the_least_that_a_job_or_a_group_above_it_leaves_counts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    membership: str | None,
    limits: dict[str, int],
    expected: int,
) -> None:
    (tmp_path / "meminfo").write_text("MemAvailable:    2000 kB\n", encoding="ascii")
    if membership is not None:
        (tmp_path / "membership").write_text(membership, encoding="ascii")
    for name, limit in limits.items():
        (tmp_path / "groups" / name).mkdir(parents=True, exist_ok=True)
        write_group(tmp_path / "groups" / name, str(limit))
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "groups")
    assert free_memory(CPU) == expected


@pytest.mark.parametrize("text", [None, "MemTotal: 9000 kB\n"])
def test_where_the_system_does_not_say_half_of_the_main_memory_is_taken_as_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    if text is not None:
        (tmp_path / "meminfo").write_text(text, encoding="ascii")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    monkeypatch.setattr(memory, "_main_memory", lambda: 800)
    assert free_memory(CPU) == 400


def test_errors_of_python_and_torch_that_mean_no_memory_are_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory"))


@pytest.mark.parametrize(
    "error", [RuntimeError("shape mismatch"), ValueError("out of memory"), OSError(12, "x")]
)
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert not is_out_of_memory(error)


# --- using memory again -----------------------------------------------------------------------------------

COUNTING = """
import json, resource
from pixel_embedded_affinity.runtime import memory

SIZE = 2**26
PAGES = SIZE / resource.getpagesize()

def taken():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        b"x" * SIZE
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / PAGES

def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) / PAGES

found = {"outside": taken(), "before": held()}
with memory.memory_reused():
    found["first"] = taken()
    with memory.memory_reused():
        found["nested"] = taken()
    found["still inside"] = taken()
    found["inside"] = held()
found["after"] = held()
memory._KEPT = SIZE // 2
with memory.memory_reused():
    taken()
found["after, too much"] = held()
found["outside again"] = taken()
print(json.dumps(found))
"""
"""Fills 64 MiB eight times; prints, in units of that, the memory that the system gave for it, and what is held."""


def counted(**environment: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", COUNTING],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def found() -> dict[str, float]:
    return counted()


@needs_glibc
def test_memory_is_used_again_inside_and_as_by_default_outside(found: dict[str, float]) -> None:
    assert found["outside"] == pytest.approx(8, abs=0.2)
    assert found["first"] <= 1.2
    assert found["nested"] <= 0.2
    assert found["still inside"] <= 0.2
    assert found["outside again"] == pytest.approx(8, abs=0.2)


@needs_glibc
def test_what_was_used_stays_for_the_next_image_unless_it_is_too_much(found: dict[str, float]) -> None:
    assert found["inside"] - found["before"] == pytest.approx(1, abs=0.2)
    assert found["after"] - found["before"] == pytest.approx(1, abs=0.2)
    assert found["after, too much"] - found["before"] == pytest.approx(0, abs=0.2)


@needs_glibc
@pytest.mark.parametrize(
    ("name", "value"),
    [("GLIBC_TUNABLES", "glibc.malloc.arena_max=4"), ("MALLOC_MMAP_THRESHOLD_", "131072")],
)
def test_a_malloc_that_the_environment_tunes_is_left_alone(name: str, value: str) -> None:
    found = counted(**{name: value})
    assert found["first"] == pytest.approx(8, abs=0.2)


class Recorded:
    """Replaces the C library, and keeps the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[int, ...]]] = []

    def mallopt(self, *values: int) -> None:
        self.calls.append(("mallopt", values))

    def malloc_trim(self, *values: int) -> None:
        self.calls.append(("malloc_trim", values))


def recorded(monkeypatch: pytest.MonkeyPatch, *, ours: bool = True) -> Recorded:
    malloc: Any = memory._Malloc()
    library = Recorded()
    malloc.__dict__ |= {"is_ours": ours, "_library": library}
    monkeypatch.setattr(memory, "_malloc", malloc)
    return library


def test_overlapping_contexts_set_and_restore_once_and_an_old_glibc_gives_all_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = recorded(monkeypatch)
    one, other = memory_reused(), memory_reused()
    one.__enter__()
    other.__enter__()
    assert library.calls == [("mallopt", (-3, 2**29)), ("mallopt", (-1, -1))]
    one.__exit__(None, None, None)
    assert len(library.calls) == 2
    other.__exit__(None, None, None)
    assert [name for name, _ in library.calls[2:]] == ["mallopt"] * 2 + ["malloc_trim"]


def test_an_error_inside_restores_too(monkeypatch: pytest.MonkeyPatch) -> None:
    library = recorded(monkeypatch)
    with pytest.raises(KeyError), memory_reused():
        raise KeyError
    assert library.calls[-1] == ("malloc_trim", (0,))


def test_another_malloc_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    library = recorded(monkeypatch, ours=False)
    with memory_reused():
        pass
    assert library.calls == []


@pytest.mark.parametrize("error", [TypeError("no None on Windows"), OSError("no such library")])
def test_a_system_without_a_c_library_of_that_kind_has_no_glibc(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(name: object) -> None:
        raise error

    monkeypatch.setattr(memory.ctypes, "CDLL", refuse)
    assert memory._Malloc().is_ours is False
