"""Devices and precisions: what is chosen, and that nothing is replaced by something else."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch

from pixel_embedded_affinity.errors import DeviceError, InputError
from pixel_embedded_affinity.runtime import device as devices
from pixel_embedded_affinity.runtime.device import (
    PRECISIONS,
    autocast,
    checked_threads,
    cpu_threads,
    has_fast_bfloat16,
    resolve_device,
    resolve_precision,
)

CPU = torch.device("cpu")


def refusal(name: Any) -> str:
    with pytest.raises(DeviceError) as caught:
        resolve_device(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def with_cuda(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def with_bfloat16(monkeypatch: pytest.MonkeyPatch, present: bool) -> None:
    for check in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, check, lambda: present, raising=False)


# --- devices ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "expected"), [(0, "cpu"), (1, "cuda")])
def test_auto_takes_cuda_where_there_is_one_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, count: int, expected: str
) -> None:
    with_cuda(monkeypatch, count)
    with caplog.at_level(logging.INFO, "pixel_embedded_affinity"):
        assert resolve_device("auto") == torch.device(expected)
    assert caplog.messages == [f"device 'auto' is {expected}"]


def test_cpu_is_always_there() -> None:
    assert resolve_device("cpu") == CPU


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:1"])
def test_cuda_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with_cuda(monkeypatch, 0)
    expected = (
        f"device {name!r} was asked for, but no CUDA device is visible; check the driver and whether this "
        "torch is a CPU build (pea info), or use 'cpu' or 'auto'"
    )
    assert refusal(name) == expected


def test_a_cuda_device_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cuda(monkeypatch, 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    assert "there are 2 CUDA devices" in refusal("cuda:2")


def test_devices_that_torch_counts_but_cannot_use_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cuda(monkeypatch, 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no CUDA device is visible" in refusal("cuda")


@pytest.mark.parametrize("present", [True, False])
def test_mps_is_taken_or_refused(monkeypatch: pytest.MonkeyPatch, present: bool) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: present)
    if present:
        assert resolve_device("mps") == torch.device("mps")
    else:
        assert refusal("mps") == "device 'mps' was asked for, but is not available here; use 'cpu' or 'auto'"


@pytest.mark.parametrize("name", ["gpu", "CPU", "", "cuda:x", "cpu cuda", None, 1.5, ["cpu"]])
def test_an_unknown_device_is_refused_with_the_known_ones(name: Any) -> None:
    assert (
        refusal(name) == f"device {name!r} is unknown; expected 'auto', 'cpu', 'cuda', 'cuda:0', ... or 'mps'"
    )


@pytest.mark.parametrize("name", ["meta", "xla"])
def test_a_device_that_torch_knows_but_we_do_not_is_refused(name: str) -> None:
    assert refusal(name) == f"device {name!r} is not supported; expected 'auto', 'cpu', 'cuda' or 'mps'"


# --- precisions -------------------------------------------------------------------------------------------


def test_a_precision_that_is_named_is_taken() -> None:
    assert resolve_precision("float32", CPU) == torch.float32
    assert resolve_precision("bfloat16", CPU) == torch.bfloat16


@pytest.mark.parametrize("present", [True, False])
def test_auto_takes_bfloat16_where_the_cpu_has_it(monkeypatch: pytest.MonkeyPatch, present: bool) -> None:
    with_bfloat16(monkeypatch, present)
    assert has_fast_bfloat16(CPU) is present
    assert resolve_precision("auto", CPU) == (torch.bfloat16 if present else torch.float32)


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_gpus_have_bfloat16_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert has_fast_bfloat16(torch.device("cuda")) is expected


def test_mps_computes_in_float32_by_default() -> None:
    assert resolve_precision("auto", torch.device("mps")) == torch.float32


@pytest.mark.parametrize("name", ["half", "float16", "bf16", "", None, torch.float32])
def test_an_unknown_precision_is_refused_with_the_known_ones(name: Any) -> None:
    with pytest.raises(DeviceError) as caught:
        resolve_precision(name, CPU)
    assert str(caught.value) == f"precision {name!r} is unknown; expected one of {', '.join(PRECISIONS)}"


def test_autocast_computes_in_the_precision_that_is_asked_for() -> None:
    layer, images = torch.nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 2, 2)
    with autocast(CPU, "bfloat16"):
        assert layer(images).dtype == torch.bfloat16
    with autocast(CPU, "float32"):
        assert layer(images).dtype == torch.float32
    with pytest.raises(DeviceError, match="precision 'double'"):
        autocast(CPU, "double")


# --- threads ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 1024, np.int32(3)])
def test_a_number_of_threads_is_an_int(threads: Any) -> None:
    found = checked_threads(threads)
    assert type(found) is int
    assert found == threads


def test_none_leaves_the_number_of_threads_to_torch() -> None:
    before = torch.get_num_threads()
    assert checked_threads(None) is None
    with cpu_threads(None):
        assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    "threads", [0, -1, 1025, 2**40, True, False, 2.0, np.float64(2), "2", "auto", [2], np.array([2]), 1j]
)
def test_what_is_no_number_of_threads_is_refused(threads: Any) -> None:
    with pytest.raises(InputError) as caught:
        checked_threads(threads)
    expected = f"threads must be an integer from 1 to 1024, got {threads!r}; None leaves the number to torch"
    assert str(caught.value) == expected


def test_a_forked_process_that_has_one_thread_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", asked.append)
    monkeypatch.setattr(devices, "_forked_with_torch", True)
    monkeypatch.setattr(devices, "_one_thread", False)
    for _ in range(2):
        with cpu_threads(2):
            pass
    assert asked == [1]
