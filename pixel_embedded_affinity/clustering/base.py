"""What a clusterer is, how one is found by name, and the checks of its input that all built-in ones share."""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pixel_embedded_affinity.affinity import Affinities
from pixel_embedded_affinity.config.fields import plain
from pixel_embedded_affinity.errors import (
    InputError,
    MissingDependencyError,
    PixelEmbeddedAffinityError,
    UnknownClustererError,
)

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from pixel_embedded_affinity.neighborhood import Neighborhood

logger = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "pixel_embedded_affinity.clusterers"

# Cosines of vectors that were brought to unit length in bfloat16 leave [-1, 1] by up to this.
_ROUNDING = 0.01


@runtime_checkable
class Clusterer(Protocol):
    """A callable that turns affinities into labels.

    Any callable of this form is a clusterer; nothing needs to be inherited.
    `pixel_embedded_affinity.testing.check_clusterer` checks that one keeps the contract.
    """

    def __call__(
        self, affinities: Affinities, *, foreground: NDArray[Any] | None = None
    ) -> NDArray[np.int32]:
        """Cluster pixels.

        Parameters
        ----------
        affinities : Affinities
            Similarities of pairs of pixels, shape (K, *spatial), and the neighborhood that says which pairs;
            2 or 3 spatial axes. ``affinities.values`` holds all of them; ``affinities.channel`` and
            ``affinities.pairs`` compute only what is asked for. Not modified.
        foreground : ndarray, shape (*spatial), optional
            True where objects may be. Default: everywhere. Not modified.

        Returns
        -------
        ndarray of int32, shape (*spatial)
            Labels: 0 = background, objects consecutive from 1, ordered by first pixel in C order. The same
            input gives the same labels.
        """
        ...


ClustererFactory = Callable[..., Clusterer]

_BUILT_IN = {
    "agglomeration": ("pixel_embedded_affinity.clustering.agglomeration", "Agglomeration"),
    "connected_components": (
        "pixel_embedded_affinity.clustering.connected_components",
        "ConnectedComponents",
    ),
    "lifted_multicut": ("pixel_embedded_affinity.clustering.multicut", "LiftedMulticut"),
    "mean_shift": ("pixel_embedded_affinity.clustering.mean_shift", "MeanShift"),
    "multicut": ("pixel_embedded_affinity.clustering.multicut", "Multicut"),
    "mutex_watershed": ("pixel_embedded_affinity.clustering.mutex_watershed", "MutexWatershed"),
}
_registered: dict[str, ClustererFactory] = {}


def register(name: str, factory: ClustererFactory) -> None:
    """Make a clusterer known by a name, for this process.

    Installed packages need not call this: they name their factory in the entry-point group
    ``pixel_embedded_affinity.clusterers``.

    Parameters
    ----------
    name : str
        Name for `get_clusterer`.
    factory : callable
        Takes the settings as keywords and returns a clusterer; the class of the clusterer, as a rule.

    Raises
    ------
    InputError
        If the name is empty or taken, or the factory cannot be called.
    """
    if not isinstance(name, str) or not name:
        raise InputError(f"the name of a clusterer must be a non-empty string, got {name!r}")
    if not callable(factory):
        raise InputError(
            f"the factory of clusterer {name!r} must be callable, got {type(factory).__name__}; pass a class"
        )
    if name in list_clusterers():
        raise InputError(f"a clusterer named {name!r} exists already; choose another name")
    _registered[name] = factory


def list_clusterers() -> list[str]:
    """Return the names of all clusterers: built in, registered, or of plug-ins, which this does not load."""
    return sorted({*_BUILT_IN, *_registered, *_plugins()})


def get_clusterer(name: str, /, **settings: Any) -> Clusterer:
    """Return the clusterer of a name, with the given settings.

    Parameters
    ----------
    name : str
        One of `list_clusterers()`. A built-in clusterer comes before a registered one, and that before a
        plug-in; a plug-in never replaces a built-in one.
    **settings
        Settings of that clusterer.

    Returns
    -------
    Clusterer

    Raises
    ------
    UnknownClustererError
        If there is no clusterer of that name.
    InputError
        If the clusterer has no such setting, or refuses its value.
    MissingDependencyError
        If the plug-in that provides it cannot be loaded, or two plug-ins provide the same name.
    """
    factory = _factory(name)
    _refuse_unknown_settings(name, factory, settings)
    try:
        clusterer = factory(**settings)
    except PixelEmbeddedAffinityError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"clusterer {name!r} refuses its settings {settings}: {error}") from error
    if not callable(clusterer):
        raise InputError(
            f"clusterer {name!r} must be callable, got {type(clusterer).__name__}; report this to its authors"
        )
    return clusterer


def described(clusterer: Clusterer) -> tuple[str, dict[str, Any]]:
    """Return the name and settings for which `get_clusterer` gives an equal clusterer.

    Parameters
    ----------
    clusterer : Clusterer
        Of a class that is known by a name, and a dataclass; its settings are those that differ from the defaults.

    Returns
    -------
    name : str
    settings : dict
        Of any other clusterer, the name of its type and no settings: a record, which `get_clusterer` does not take.
    """
    kind: Any = type(clusterer)
    name = next((name for name in [*_BUILT_IN, *_registered] if _factory(name) is kind), None)
    if name is None or not is_dataclass(kind):
        return type(clusterer).__name__, {}
    default, given = plain(get_clusterer(name)), plain(clusterer)
    return name, {key: value for key, value in given.items() if value != default[key]}


def usable(affinities: Affinities) -> Affinities:
    """Return affinities in their NumPy form, checked for clustering.

    Parameters
    ----------
    affinities : Affinities
        Affinities in NumPy or torch, on any device.

    Returns
    -------
    Affinities
        Values that were not computed yet are still not: cosines of an embedding need no check.

    Raises
    ------
    InputError
        If the neighborhood does not fit the values, an axis has length 0, a value is NaN or infinite, or not
        a similarity in [-1, 1].
    """
    arrays = affinities.numpy()
    if not arrays.is_given:
        return arrays
    values = np.asarray(arrays.values, dtype=np.float32)
    _check_values(values, arrays.neighborhood)
    return Affinities(values, arrays.neighborhood, arrays.source)


def _check_values(values: NDArray[np.float32], neighborhood: Neighborhood) -> None:
    if values.ndim != neighborhood.ndim + 1 or len(values) != len(neighborhood):
        raise InputError(
            f"affinities of {neighborhood!r} must have {len(neighborhood)} channels and {neighborhood.ndim} "
            f"spatial axes, got shape {values.shape}"
        )
    if values.size == 0:
        raise InputError(f"affinities must have no axis of length 0, got shape {values.shape}")
    low, high = values.min(), values.max()
    if not (low >= -1 - _ROUNDING and high <= 1 + _ROUNDING):
        raise InputError(_complaint(values))


def refuse_no_attraction(affinities: Affinities) -> None:
    """Refuse affinities of which no channel attracts: every pixel would be an object of its own.

    Raises
    ------
    InputError
        If no offset of the neighborhood is attractive.
    """
    if not any(affinities.neighborhood.attractive):
        raise InputError(
            f"{affinities.neighborhood!r} has no attractive offset, so that no pixels could join; "
            "add range 1, or set `attractive`"
        )


def _complaint(values: NDArray[np.float32]) -> str:
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        first = tuple(int(index) for index in wrong[0])
        return (
            f"affinities must be finite, got {len(wrong)} NaN or infinite values, the first at {first}; "
            "check the embedding"
        )
    return (
        f"affinities must be similarities in [-1, 1], got values from {values.min():g} to {values.max():g}; "
        "pass cosines, not distances or raw network outputs"
    )


def _plugins() -> dict[str, list[EntryPoint]]:
    """Entry points of installed packages by name; more than one where packages disagree."""
    from importlib.metadata import entry_points

    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name in _BUILT_IN:
            logger.warning(
                "plug-in clusterer %s = %s is ignored: that name is built in", entry.name, entry.value
            )
        else:
            found.setdefault(entry.name, []).append(entry)
    return found


def _factory(name: str) -> ClustererFactory:
    if name in _BUILT_IN:
        module, attribute = _BUILT_IN[name]
        return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]
    if name in _registered:
        return _registered[name]
    entries = _plugins().get(name, [])
    if not entries:
        valid = ", ".join(list_clusterers())
        raise UnknownClustererError(f"unknown clusterer {name!r}; the valid ones are {valid}")
    return _loaded(entries)


def _loaded(entries: list[EntryPoint]) -> ClustererFactory:
    """Load the factory that a plug-in provides."""
    entry = entries[0]
    if len(entries) > 1:
        values = sorted(entry.value for entry in entries)
        raise MissingDependencyError(
            f"several plug-ins provide clusterer {entry.name!r}: {values}; uninstall all but one"
        )
    try:
        return entry.load()  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as error:
        raise MissingDependencyError(
            f"the plug-in of clusterer {entry.name!r} ({entry.value}) cannot be loaded: {error}; "
            "install what it needs"
        ) from error


def _refuse_unknown_settings(name: str, factory: ClustererFactory, settings: dict[str, Any]) -> None:
    parameters = inspect.signature(factory).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    unknown = sorted(set(settings) - set(parameters))
    if unknown:
        valid = f"the valid ones are {sorted(parameters)}" if parameters else "it has none"
        raise InputError(f"unknown settings {unknown} of clusterer {name!r}; {valid}")
