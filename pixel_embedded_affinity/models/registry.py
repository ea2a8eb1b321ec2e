"""The models that a registry file lists: names, versions, file hashes, addresses, licenses, scores."""

from __future__ import annotations

import difflib
import math
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pixel_embedded_affinity.errors import InputError, UnknownModelError

#: The registry that ships with the library; weights that ship too are in ``bundled`` next to it.
REGISTRY_PATH = Path(__file__).with_name("registry.toml")

_AT = "@"
"""Between the name of a model and its version."""


@dataclass(frozen=True)
class ModelEntry:
    """One model of a registry.

    Parameters
    ----------
    name : str
        Name by which callers ask for the model.
    version : str
        Version of the weights.
    file : str
        Plain name of the checkpoint file, ending in ``.safetensors``.
    sha256 : str
        SHA-256 of that file, 64 lower-case hexadecimal digits.
    size : int
        Size of that file in bytes.
    urls : tuple of str
        Public ``http`` or ``https`` addresses of the file, tried in turn. May be empty.
    license, data, description : str
        License of the weights, training data, and what the model segments.
    scores : mapping of str to float
        Measured scores by name.
    settings : mapping of str to object
        Inference settings that replace those in the file, by their dotted keys.

    Raises
    ------
    InputError
        If a field has another type or form. Names, versions and files never hold a path separator or ``..``,
        because paths are made of them.
    """

    name: str
    version: str
    file: str
    sha256: str
    size: int
    urls: tuple[str, ...]
    license: str
    data: str
    description: str
    scores: Mapping[str, float]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (is_valid, expected) in _FIELD_RULES.items():
            value = getattr(self, name)
            if not is_valid(value):
                raise InputError(f"model {self.name!r}: {name} is {value!r}, expected {expected}")


def list_models(registry: Path | None = None) -> list[str]:
    """Return the names of all models of a registry, sorted; earlier versions are not among them.

    Parameters
    ----------
    registry : Path, optional
        Registry file. Default: the one that ships with the library.

    Returns
    -------
    list of str

    Raises
    ------
    InputError
        If the registry file cannot be read or has a wrong entry.
    """
    return list(newest_entries(registry))


def newest_entries(registry: Path | None = None) -> dict[str, ModelEntry]:
    """Return the newest version of each model of a registry, by name, sorted.

    Parameters
    ----------
    registry : Path, optional
        Registry file. Default: the one that ships with the library.

    Raises
    ------
    InputError
        If the registry file cannot be read or has a wrong entry.
    """
    return _newest(read_registry(registry))


def _newest(entries: Mapping[str, ModelEntry]) -> dict[str, ModelEntry]:
    return {key: entries[key] for key in sorted(entries) if _AT not in key}


def get_entry(name: str, registry: Path | None = None) -> ModelEntry:
    """Return the entry of one model.

    Parameters
    ----------
    name : str
        Name of the model, as in `list_models`, or name and version, such as ``"nuclei@1.0"``.
    registry : Path, optional
        Registry file. Default: the one that ships with the library.

    Returns
    -------
    ModelEntry

    Raises
    ------
    UnknownModelError
        If the registry does not hold the name or the version; the message lists the valid ones, and may suggest a
        similar name.
    InputError
        If the registry file cannot be read or has a wrong entry.
    """
    entries = read_registry(registry)
    if isinstance(name, str):
        if name in entries:
            return entries[name]
        model, _, version = name.partition(_AT)
        if model in entries and version:
            return _of_version(entries, model, version)
    names = list(_newest(entries))
    valid = ", ".join(names) or "none (the registry is empty)"
    raise UnknownModelError(f"unknown model {name!r}; valid models: {valid}{_advice(name, names)}")


def _of_version(entries: Mapping[str, ModelEntry], model: str, version: str) -> ModelEntry:
    """The newest version of a model, if it is the one asked for; earlier ones have keys of their own."""
    if entries[model].version == version:
        return entries[model]
    valid = ", ".join(_versions(entries, model))
    raise UnknownModelError(f"model {model!r} has no version {version!r}; valid versions: {valid}")


def list_versions(model: str, registry: Path | None = None) -> list[str]:
    """Return the versions of a model that a registry holds, the newest one first."""
    return _versions(read_registry(registry), model)


def _versions(entries: Mapping[str, ModelEntry], model: str) -> list[str]:
    earlier = (entry.version for key, entry in entries.items() if key.startswith(f"{model}{_AT}"))
    return [entries[model].version, *sorted(earlier, reverse=True)]


def _advice(name: object, names: Iterable[str]) -> str:
    """Advice on an unknown name: it may be a file, or misspelled."""
    text = str(name) if isinstance(name, (str, os.PathLike)) else ""
    if text.lower().endswith(".safetensors") or "/" in text or "\\" in text:
        return "; for a file use Segmenter.from_file (pea: --weights)"
    near = difflib.get_close_matches(text.lower(), names, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def read_registry(registry: Path | None = None) -> dict[str, ModelEntry]:
    """Read and check every entry of a registry file.

    Parameters
    ----------
    registry : Path, optional
        Registry file. Default: the one that ships with the library.

    Returns
    -------
    dict of str to ModelEntry
        By the name, or, for earlier versions, by ``name@version``.

    Raises
    ------
    InputError
        If the file is missing, is not UTF-8 TOML, holds an unknown, missing or ill-formed field, or an earlier version
        whose key does not fit it.
    """
    path = REGISTRY_PATH if registry is None else Path(registry)
    document = read_toml(path)
    models = document.pop("models", {})
    if document or not isinstance(models, dict):
        found = sorted(document) or models
        raise InputError(f"registry {path}: expected nothing but [models.NAME] tables, got {found!r}")
    try:
        return {key: _parse_entry(key, table, models) for key, table in models.items()}
    except InputError as error:
        raise InputError(f"registry {path}: {error}") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Parameters
    ----------
    path : Path
        File to read.

    Returns
    -------
    dict of str to Any

    Raises
    ------
    InputError
        If the file cannot be read or is not UTF-8 TOML.
    """
    try:
        document: dict[str, Any] = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a UTF-8 TOML file ({error})") from error
    return document


def _parse_entry(key: str, table: object, models: Mapping[str, object]) -> ModelEntry:
    if not isinstance(table, dict):
        raise InputError(f"model {key!r}: expected a table [models.{key}], got {table!r}")
    expected = {entry.name for entry in fields(ModelEntry)} - {"name"}
    unknown, missing = sorted(table.keys() - expected), sorted(expected - table.keys() - {"settings"})
    if unknown or missing:
        raise InputError(f"model {key!r}: unknown fields {unknown}, missing fields {missing}")
    urls = table["urls"]
    name, at, version = key.partition(_AT)
    if at and (name not in models or version != table["version"]):
        raise InputError(
            f'model {key!r}: an earlier version is [models."NAME{_AT}VERSION"], with the version '
            f"{table['version']!r} that it states, beside [models.NAME]"
        )
    return ModelEntry(name=name, **{**table, "urls": tuple(urls) if isinstance(urls, list) else urls})


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.strip() != ""


def _matches(pattern: str) -> Callable[[object], bool]:
    compiled = re.compile(rf"(?!.*\.\.){pattern}", re.ASCII)  # no two dots, so no path leads out of a folder
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_public_url(value: object) -> bool:
    if not isinstance(value, str) or not value.isprintable() or " " in value:
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None


def _are_urls(value: object) -> bool:
    return isinstance(value, tuple) and all(map(_is_public_url, value))


def _is_score(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf


def _are_scores(value: object) -> bool:
    return isinstance(value, Mapping) and all(map(_is_score, value.values()))


_TEXT_RULE = (_is_text, "a text that is not empty")
_FIELD_RULES: dict[str, tuple[Callable[[object], bool], str]] = {
    "name": (_matches(r"[a-z][a-z0-9_-]{0,63}"), "lower-case letters, digits, '_' and '-', a letter first"),
    "version": (_matches(r"[0-9][0-9A-Za-z.]{0,31}"), "a text of digits, letters and dots, such as '1.0'"),
    "file": (_matches(r"[0-9A-Za-z][\w.-]{0,127}\.safetensors"), "a plain name that ends in .safetensors"),
    "sha256": (_matches(r"[0-9a-f]{64}"), "64 lower-case hexadecimal digits"),
    "size": (_is_size, "a number of bytes above 0"),
    "urls": (_are_urls, "a list of http(s) addresses without credentials"),
    "license": _TEXT_RULE,
    "data": _TEXT_RULE,
    "description": _TEXT_RULE,
    "scores": (_are_scores, "a table of finite numbers by name"),
    "settings": (lambda value: isinstance(value, Mapping), "a table of settings by their dotted keys"),
}
