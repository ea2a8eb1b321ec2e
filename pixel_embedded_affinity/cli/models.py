"""``pea models``: list, show and download the models with a name."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from pixel_embedded_affinity.cli.messages import aligned, path_argument, say
from pixel_embedded_affinity.io.digest import sha256_of
from pixel_embedded_affinity.models.registry import ModelEntry, get_entry, list_versions, newest_entries

_START = {"name", "version"}
"""What provenance says of the model that a training started from, at least."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of ``pea models``."""
    parser.set_defaults(act=_list)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", parser_class=argparse.ArgumentParser)
    listed = actions.add_parser("list", help="one line per model (the default)", allow_abbrev=False)
    listed.set_defaults(act=_list)
    shown = actions.add_parser("show", help="all that is known of a model", allow_abbrev=False)
    shown.add_argument(
        "name", metavar="NAME", help="one of 'pea models list', or a model file (.safetensors)"
    )
    shown.set_defaults(act=_show)
    fetched = actions.add_parser(
        "download", help="get a model's file now, for machines without a network", allow_abbrev=False
    )
    fetched.add_argument("name", metavar="NAME")
    place = "folder to put the file into, made if absent (default: the cache, see 'pea info')"
    fetched.add_argument("--to", metavar="DIR", type=path_argument, help=place)
    fetched.set_defaults(act=_download)


def run(arguments: argparse.Namespace) -> int:
    """Do the chosen action."""
    arguments.act(arguments)
    return 0


def _list(arguments: argparse.Namespace) -> None:
    entries = list(newest_entries().values())
    header = ("NAME", "VERSION", "SIZE", "LICENSE", "SEGMENTS")
    rows = [(entry.name, entry.version, _size(entry), entry.license, entry.description) for entry in entries]
    say(aligned([header, *rows]))


def _show(arguments: argparse.Namespace) -> None:
    if arguments.name.endswith(".safetensors"):
        _show_file(Path(arguments.name))
        return
    entry = get_entry(arguments.name)
    rows = [
        ("name", entry.name),
        ("version", entry.version),
        ("all versions", ", ".join(list_versions(entry.name))),
        ("description", entry.description),
        *((name.replace("_", " "), f"{value:.3f}") for name, value in entry.scores.items()),
        ("data", entry.data),
        ("license", entry.license),
        ("file", entry.file),
        ("size", f"{_size(entry)} ({entry.size} bytes)"),
        ("sha256", entry.sha256),
        *(("url", url) for url in entry.urls),
    ]
    say(aligned(rows))


def _show_file(path: Path) -> None:
    """Show what a model file says of itself: its tables, such as the recipe, by their names only."""
    from pixel_embedded_affinity.config.model import ModelConfig
    from pixel_embedded_affinity.models.checkpoint import read_arrays

    config = ModelConfig.from_json(read_arrays(path)[0])
    origin = {
        name: value
        for name, value in config.provenance.items()
        if not isinstance(value, Mapping) or value.keys() >= _START
    }
    rows = [
        ("name", config.name),
        ("version", config.version),
        ("description", config.description),
        ("license", config.license),
        ("network", config.network.architecture),
        *((name.replace("_", " "), _listed(value)) for name, value in origin.items()),
        ("file", str(path)),
        ("size", f"{path.stat().st_size} bytes"),
        ("sha256", sha256_of(path)),
    ]
    rows += [(name, "in the file") for name in config.provenance if name not in origin]
    say(aligned(rows))


def _listed(value: object) -> str:
    if isinstance(value, Mapping) and value.keys() >= _START:
        return f"{value['name']} {value['version']}"
    if isinstance(value, Mapping) and "volumes" in value:
        return f"to {', '.join(value['volumes'])} ({value['windows']} windows)"
    return ", ".join(map(_listed, value)) if isinstance(value, (list, tuple)) else str(value)


def _download(arguments: argparse.Namespace) -> None:
    from pixel_embedded_affinity.models.fetch import download

    path = download(arguments.name, arguments.to)
    entry = get_entry(arguments.name)
    say(f"{entry.name} {entry.version} is at {path}")


def _size(entry: ModelEntry) -> str:
    return f"{entry.size / 1e6:.1f} MB"
