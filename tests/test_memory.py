"""Memory: what is free is read from the system, and the errors that say it is used up are known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pixel_embedded_affinity import memory
from pixel_embedded_affinity.memory import free_memory, is_out_of_memory

CPU = torch.device("cpu")


def test_something_is_free_on_this_machine() -> None:
    assert 2**20 < free_memory(CPU) < 2**50


def write_group(folder: Path, limit: str) -> None:
    (folder / "memory.max").write_text(f"{limit}\n", encoding="ascii")
    (folder / "memory.current").write_text("700\n", encoding="ascii")
    (folder / "memory.stat").write_text("anon 500\ninactive_file 200\n", encoding="ascii")


@pytest.mark.parametrize(("limit", "expected"), [("1000", 500), ("100", 0), ("max", 2048000)])
def test_the_limit_of_a_container_counts_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, expected: int
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    2000 kB\n", encoding="ascii")
    write_group(tmp_path, limit)
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
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
