"""Files of inference settings."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pixel_embedded_affinity.config.model import SETTINGS, ModelConfig
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import Settings, read_table
from pixel_embedded_affinity.io.atomic import atomic_path

logger = logging.getLogger(__name__)

_MODEL, _VERSION = "model", "version"
"""Key of the model's name."""

FINETUNED, ADAPTED = "-finetuned", "-adapted"
"""What fine-tuning and adapting add to the name of a model."""


def derived_name(name: str, suffix: str) -> str:
    """Name what was made of a model; it has the suffix once, also where it was made a second time."""
    return name.removesuffix(suffix) + suffix


def _start_of(name: str) -> str:
    """The name of the model that this one was made of."""
    return name.removesuffix(FINETUNED).removesuffix(ADAPTED)


def write_settings(path: str | os.PathLike[str], config: ModelConfig) -> None:
    """Write the inference settings of a configuration as JSON; the file appears whole or not at all.

    Parameters
    ----------
    path : str or path-like
        A name ending in ``.json`` in an existing folder; a file there is replaced.
    config : ModelConfig
        Only its name, its version and its inference settings, named in `SETTINGS`, are written.

    Raises
    ------
    InputError
        If the path does not fit, or a setting of the clusterer cannot be written as JSON.
    """
    values = config.to_dict()
    try:
        stored = {_MODEL: config.name, _VERSION: config.version} | {name: values[name] for name in SETTINGS}
        text = json.dumps(stored, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"clusterer_settings {config.clusterer_settings} cannot be written as JSON: {error}; use plain "
            "numbers, strings and lists"
        ) from error
    with atomic_path(path, (".json",)) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_settings(path: str | os.PathLike[str], model: str = "", version: str = "") -> dict[str, Any]:
    """Read a file of inference settings; the log warns if the file names another model, or another version of it.

    Parameters
    ----------
    path : str or path-like
        From `write_settings`, or written by hand. A neighborhood may also be ``ranges``, ``directions`` and
        ``strides``.
    model : str
        Name of the model to be used; what fine-tuning or adapting made of a model counts as this model. Default:
        nothing is compared.
    version : str
        Version of that model. Default: versions are not compared.

    Returns
    -------
    dict of str to object
        Arguments for `Segmenter.with_settings`, only for the settings that the file holds: of a part, such as
        ``postprocess``, each by its dotted key.

    Raises
    ------
    InputError
        If the file is not a JSON object, a key is unknown, or a value is not valid; the message names the file.
    OSError
        If the file cannot be read.
    """
    content = Path(path).read_bytes()
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{os.fspath(path)!r} is not JSON: {error}") from error
    if isinstance(values, dict):
        written = str(values.pop(_MODEL, "") or ""), str(values.pop(_VERSION, "") or "")
        _compare(os.fspath(path), written, (model, version))
    if not isinstance(values, dict) or not set(values) <= set(SETTINGS):
        found = sorted(values) if isinstance(values, dict) else type(values).__name__
        raise InputError(f"{os.fspath(path)!r} holds {found}; expected a table of {', '.join(SETTINGS)}")
    try:
        return _by_their_keys(values, read_table(ModelConfig, values))
    except InputError as error:
        raise InputError(f"{os.fspath(path)!r}: {error}") from error


def _compare(path: str, written: tuple[str, str], used: tuple[str, str]) -> None:
    """Warn of settings that were written for another model, or another version of it."""
    if not (written[0] and used[0]):
        return
    same = written[0] == used[0] and all((written[1], used[1]))
    if _start_of(written[0]) != _start_of(used[0]) or (same and written[1] != used[1]):
        logger.warning(
            "the settings in '%s' were written for the model %s, and are used with %s: its scale, sizes and thresholds "
            "are now those of the other model",
            path,
            " ".join(written).strip() if same else written[0],
            " ".join(used) if same else used[0],
        )


def _by_their_keys(stored: Mapping[str, Any], read: Mapping[str, Any]) -> dict[str, Any]:
    """Give settings within a part dotted keys, so that those that the file lacks stay as they are in the model."""
    found: dict[str, Any] = {}
    for key, value in read.items():
        if isinstance(value, Settings):
            found |= {f"{key}.{name}": getattr(value, name) for name in stored[key]}
        elif key == "clusterer_settings" and "clusterer" not in stored:
            found |= {f"{key}.{name}": one for name, one in value.items()}
        else:
            found[key] = value
    return found
