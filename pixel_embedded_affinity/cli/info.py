"""``pea info``: what a bug report should say, or what a file says about its images. Uses no network."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from pixel_embedded_affinity import __version__
from pixel_embedded_affinity.cli.messages import aligned, complain, say
from pixel_embedded_affinity.errors import InputError, PixelEmbeddedAffinityError, readable
from pixel_embedded_affinity.inference.base import TORCH, is_installed
from pixel_embedded_affinity.io.read import Source, list_series
from pixel_embedded_affinity.io.readers.base import Series
from pixel_embedded_affinity.io.selection import channel_names, listed_channels
from pixel_embedded_affinity.models.fetch import cache_folder, plan
from pixel_embedded_affinity.models.registry import REGISTRY_PATH, get_entry, list_models
from pixel_embedded_affinity.registry import plug_ins
from pixel_embedded_affinity.runtime.device import has_fast_bfloat16, thread_count

if TYPE_CHECKING:
    import torch

_PACKAGES = ("torch", "onnxruntime", "numpy", "bioimage-cpp")

Row = tuple[str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pea info``."""
    text = "image files to describe: their series, axes, channels, type and pixel size"
    parser.add_argument("files", metavar="FILE", nargs="*", help=text)


def run(arguments: argparse.Namespace) -> int:
    """Describe files; without any, print versions, devices, the cache folder, which models are here, and plug-ins."""
    if arguments.files:
        return _describe([Path(file) for file in arguments.files])
    models = [(f"model {name}", _place(name)) for name in list_models()]
    extensions = [("plug-in", name) for name in plug_ins()] or [("plug-ins", "none")]
    say(aligned([*_versions(), *_devices(), ("cache folder", str(cache_folder())), *models, *extensions]))
    return 0


def _describe(files: Sequence[Path]) -> int:
    """Describe each file that can be read, and say what is wrong with the others; the exit status."""
    described = []
    for file in files:
        try:
            described.append(aligned(_file_rows(file)))
        except PixelEmbeddedAffinityError as error:
            if len(files) == 1:
                raise
            complain(f"pea: error: {error}")
    if described:
        say("\n\n".join(described))
    return 0 if len(described) == len(files) else 1


def _file_rows(path: Path) -> list[Row]:
    """What was understood of a file."""
    if path.suffix == ".safetensors":
        raise InputError(f"'{path}' is a model file; expected images; see: pea models show {path}")
    rows = [("file", readable(str(path)))]
    for number, series in enumerate(list_series(path)):
        rows += _series_rows(number, series)
    return rows


def _series_rows(number: int, series: Series) -> list[Row]:
    source = series.source
    sizes, letters = source.pixel_size or {}, source.axes or "not declared"
    lengths = " x ".join(map(str, source.values.shape))
    rows = [
        (f"series {number}", readable(series.name) or "-"),
        ("  axes", f"{letters}, {lengths}"),
        ("  type", str(source.values.dtype)),
        ("  channels", readable(_channels(source))),
        (
            "  pixel size",
            ", ".join(f"{axis} {sizes[axis]:.6g} um" for axis in sorted(sizes)) or "not declared",
        ),
    ]
    rows += [("  resolutions", f"{series.levels}, of which the finest is used")] if series.levels > 1 else []
    rows += [("  white is zero", "yes, so it is inverted")] if source.white is not None else []
    rows += [("  palette", "yes, its colors are used")] if source.colors is not None else []
    return rows


def _channels(source: Source) -> str:
    letter = "S" if "S" in source.axes else "C"
    count = dict(zip(source.axes, source.values.shape)).get(letter, 1)
    names = channel_names(source)
    alpha = source.has_alpha and "alpha" not in names
    return listed_channels(count, names) + (", the last one is alpha" if alpha else "")


def _versions() -> list[Row]:
    return [
        ("pixel_embedded_affinity", __version__),
        ("python", f"{platform.python_version()} on {platform.platform()}"),
        *((name, _version(name)) for name in _PACKAGES),
    ]


def _version(package: str) -> str:
    if package == TORCH and is_installed(TORCH):
        import torch

        return torch.__version__  # also which build: +cpu, +cu130
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _devices() -> list[Row]:
    if not is_installed(TORCH):
        return [("device cpu", f"{thread_count()} threads, float32")]
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
