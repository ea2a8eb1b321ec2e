"""``pea info``: what a bug report should say. Uses no network."""

from __future__ import annotations

import argparse
import platform
from importlib import metadata
from typing import TYPE_CHECKING

from pixel_embedded_affinity import __version__
from pixel_embedded_affinity.cli.messages import aligned, say
from pixel_embedded_affinity.models.fetch import cache_folder, plan
from pixel_embedded_affinity.models.registry import REGISTRY_PATH, get_entry, list_models
from pixel_embedded_affinity.runtime.device import has_fast_bfloat16

if TYPE_CHECKING:
    import torch

_PACKAGES = ("torch", "numpy", "bioimage-cpp")

Row = tuple[str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``pea info`` has no arguments of its own."""


def run(arguments: argparse.Namespace) -> int:
    """Print versions, devices, the cache folder and which models are on this machine."""
    models = [(f"model {name}", _place(name)) for name in list_models()]
    say(aligned([*_versions(), *_devices(), ("cache folder", str(cache_folder())), *models]))
    return 0


def _versions() -> list[Row]:
    return [
        ("pixel_embedded_affinity", __version__),
        ("python", f"{platform.python_version()} on {platform.platform()}"),
        *((name, _version(name)) for name in _PACKAGES),
    ]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _devices() -> list[Row]:
    import torch

    rows = [("device cpu", _described(torch.device("cpu"), f"{torch.get_num_threads()} threads"))]
    for index in range(torch.cuda.device_count()):
        device = torch.device("cuda", index)
        rows.append((f"device {device}", _described(device, torch.cuda.get_device_name(device))))
    if torch.backends.mps.is_available():
        rows.append(("device mps", _described(torch.device("mps"), "Apple GPU")))
    return rows


def _described(device: torch.device, name: str) -> str:
    return f"{name}, bfloat16 {'native' if has_fast_bfloat16(device) else 'not native'}"


def _place(name: str) -> str:
    """Say where a model's file is, without checking it: this would take seconds, and each load checks it."""
    entry = get_entry(name)
    bundled = REGISTRY_PATH.with_name("bundled")
    local = plan(entry, cache=cache_folder(), bundled=bundled, mirror=None, offline=True).local
    present = [path for path in local if path.is_file()]
    return f"{entry.version} at {present[0]}" if present else f"{entry.version}, not on this machine"
