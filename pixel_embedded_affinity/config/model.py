"""Model configuration: all that a checkpoint says about itself, strict on unknown keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from numbers import Real
from typing import Any

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.scaling import checked_scale
from pixel_embedded_affinity.geometry.views import checked_views
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.normalize import Normalization
from pixel_embedded_affinity.postprocess import Postprocess

_MOST_CHANNELS = 65536
"""Far above any network; it bounds what a hostile file can make us allocate."""

_MOST_PARTS = 64
"""The same for the list of an option."""


_RESIDUAL_UNET = {"filters": (16, 32, 64, 128, 256), "full_resolution_skip": False}
"""Options that format 1 of the checkpoint always writes of a residual_unet."""


@dataclass(frozen=True, init=False)
class NetworkConfig:
    """Which network, and how wide.

    Parameters
    ----------
    architecture : str
        Name of the architecture: ``"residual_unet"``, ``"half_unet"``, or one of another package.
    in_channels : int
        Channels of the image.
    embedding_channels : int
        Length of a pixel's embedding.
    foreground_head : bool
        Whether the network tells foreground from background.
    options : mapping of str to object, optional
        Options of the architecture, as its constructor takes them; it checks them when the network is built.
    **more
        The same, one by one, such as ``filters``; they come before those of `options`.

    Raises
    ------
    InputError
        If a value is of another type, or a number is above 65536.
    """

    architecture: str
    in_channels: int
    embedding_channels: int
    foreground_head: bool
    options: dict[str, Any]

    def __init__(
        self,
        architecture: str = "residual_unet",
        in_channels: int = 3,
        embedding_channels: int = 16,
        foreground_head: bool = True,
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        defaults = _RESIDUAL_UNET if architecture == "residual_unet" else {}
        merged = {**defaults, **_table({} if options is None else options, "network options"), **more}
        values = (architecture, in_channels, embedding_channels, foreground_head, _checked_options(merged))
        for entry, value in zip(fields(self), values):
            object.__setattr__(self, entry.name, value)
        if not isinstance(architecture, str):
            raise InputError(f"architecture must be a string, got {architecture!r}")
        if not (_is_channel_count(in_channels) and _is_channel_count(embedding_channels)):
            raise InputError(
                "in_channels and embedding_channels must be positive integers of at most "
                f"{_MOST_CHANNELS}, got {in_channels!r} and {embedding_channels!r}"
            )
        if not isinstance(foreground_head, bool):
            raise InputError(f"foreground_head must be true or false, got {foreground_head!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return a flat JSON-compatible dictionary, the options among the others."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "options"}
        return values | {name: _as_list(value) for name, value in self.options.items()}


@dataclass(frozen=True)
class ModelConfig:
    """Everything that inference needs to know of a model; the caller may override the inference settings.

    Parameters
    ----------
    name, version : str
        Under which the model is known.
    network : NetworkConfig
        The network that the weights fit.
    normalization : Normalization
        How intensities become network input.
    neighborhood : Neighborhood
        Pairs of pixels for clustering.
    clusterer : str
        Name of the clusterer.
    clusterer_settings : dict
        Settings of the clusterer.
    foreground_threshold : float
        A pixel is foreground where the head's probability is above it.
    postprocess : Postprocess
        What is done to the labels afterwards.
    scale : float
        Factor by which images are resized for the network and all that follows: ranges and sizes are in pixels
        of the resized image, labels come back in the image's size.
    views : {1, 4, 8}
        Views in which the network sees an image (test-time augmentation), see
        `pixel_embedded_affinity.embedding.embed`.
    license, description : str
        Terms of the weights, and a sentence on what they are for.
    provenance : dict
        How the weights were made: recipe, seed, data, split, minutes, device.

    Raises
    ------
    InputError
        If a value is of another type, the threshold is not from 0 to 1, the scale not positive, or there
        cannot be so many views.
    """

    name: str = "unnamed"
    version: str = "0"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    normalization: Normalization = field(default_factory=Normalization)
    neighborhood: Neighborhood = field(
        default_factory=lambda: Neighborhood.from_ranges([1, 3, 5, 9, 11], directions=4, strides=5)
    )
    clusterer: str = "mutex_watershed"
    clusterer_settings: dict[str, Any] = field(default_factory=dict)
    foreground_threshold: float = 0.5
    postprocess: Postprocess = field(default_factory=Postprocess)
    scale: float = 1.0
    views: int = 1
    license: str = ""
    description: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("name", "version", "clusterer", "license", "description"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"model {name} must be a string, got {getattr(self, name)!r}")
        for name, kind in _PARTS.items():
            if not isinstance(getattr(self, name), kind):
                raise InputError(f"{name} must be a {kind.__name__}, got {getattr(self, name)!r}")
        for name in ("clusterer_settings", "provenance"):
            # A copy: no two configurations share what a caller may change.
            object.__setattr__(self, name, _table(getattr(self, name), name))
        threshold = self.foreground_threshold
        if isinstance(threshold, bool) or not isinstance(threshold, Real) or not 0 <= threshold <= 1:
            raise InputError(f"foreground_threshold must be a number from 0 to 1, got {threshold!r}")
        object.__setattr__(self, "foreground_threshold", float(threshold))
        object.__setattr__(self, "scale", checked_scale(self.scale))
        object.__setattr__(self, "views", checked_views(self.views))

    def to_dict(self) -> dict[str, Any]:
        """Return nested JSON-compatible dictionaries; `from_dict` is the inverse."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        for part in ("network", "normalization", "neighborhood", "postprocess"):
            values[part] = getattr(self, part).to_dict()
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Build a configuration from nested dictionaries; absent keys keep their defaults.

        Raises
        ------
        InputError
            If a key is unknown or a value is not valid.
        """
        _refuse_unknown(cls, values, "model")
        parts = dict(values)
        readers = {
            "network": _network,
            "normalization": Normalization.from_dict,
            "neighborhood": Neighborhood.from_dict,
            "postprocess": Postprocess.from_dict,
        }
        for name, reader in readers.items():
            if name in parts:
                parts[name] = reader(_table(parts[name], name))
        return cls(**parts)

    def to_json(self) -> str:
        """Return the configuration as JSON text, keys sorted."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Read the output of `to_json`.

        Raises
        ------
        InputError
            If the text is not JSON, or `from_dict` refuses it.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:  # also integers of thousands of digits
            raise InputError(f"the model configuration is not JSON: {error}") from error
        return cls.from_dict(_table(values, "model"))

    def changed(self, **changes: Any) -> ModelConfig:
        """Return a copy with some entries replaced."""
        return replace(self, **changes)


_PARTS: dict[str, type] = {
    "network": NetworkConfig,
    "normalization": Normalization,
    "neighborhood": Neighborhood,
    "postprocess": Postprocess,
}


def _is_channel_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST_CHANNELS


def _table(values: Any, name: str) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise InputError(f"{name} must be a table of keys and values, got {type(values).__name__}")
    return dict(values)


def _refuse_unknown(kind: Any, values: Mapping[str, Any], name: str) -> None:
    known = {entry.name for entry in fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise InputError(
            f"unknown keys {unknown} in the {name} configuration; the valid ones are {sorted(known)}"
        )


def _network(values: Mapping[str, Any]) -> NetworkConfig:
    common = {entry.name for entry in fields(NetworkConfig)} - {"options"}
    options = {name: value for name, value in values.items() if name not in common}
    # Early files say this of an architecture that has no such option.
    if values.get("architecture") == "half_unet" and options.get("full_resolution_skip") is False:
        del options["full_resolution_skip"]
    return NetworkConfig(**{name: values[name] for name in common & set(values)}, options=options)


def _checked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as numbers, texts, and tuples of them; none can make a network of any size."""
    for name, value in options.items():
        parts = value if isinstance(value, (list, tuple)) else [value]
        if not isinstance(name, str) or len(parts) > _MOST_PARTS or not all(map(_is_plain, parts)):
            raise InputError(
                f"network option {name!r} must be a number of at most {_MOST_CHANNELS}, a string, true or false, or a "
                f"list of at most {_MOST_PARTS} of them, got {value!r}"
            )
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


def _is_plain(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, (int, float)) and abs(value) <= _MOST_CHANNELS)


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
