"""Clusterers: the protocol, the registry, and the checks of input that all built-in ones share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pixel_embedded_affinity.affinity import Affinities
from pixel_embedded_affinity.errors import InputError, UnknownClustererError
from pixel_embedded_affinity.fields import plain
from pixel_embedded_affinity.labels import Labels
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.registry import Registry

# Cosines of vectors that were brought to unit length in bfloat16 leave [-1, 1] by up to this.
_ROUNDING = 0.01


@runtime_checkable
class Clusterer(Protocol):
    """A callable that turns affinities into labels.

    Any callable of this form is a clusterer; it need not inherit anything.
    `pixel_embedded_affinity.testing.check_clusterer` checks that it keeps the contract.
    """

    def __call__(self, affinities: Affinities, *, foreground: NDArray[Any] | None = None) -> Labels:
        """Cluster pixels.

        Parameters
        ----------
        affinities : Affinities
            The affinities of pairs, shape (K, *spatial) with 2 or 3 spatial axes, and the neighborhood that names
            the pairs. ``affinities.values`` holds all affinities; ``affinities.channel`` and ``affinities.pairs``
            compute only what is asked for. Not modified.
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

CLUSTERERS: Registry[Clusterer] = Registry(
    "clusterer",
    "pixel_embedded_affinity.clustering",
    helpers=("base", "blocks", "corrections", "density", "region_graph", "sections"),
    group="pixel_embedded_affinity.clusterers",
    unknown=UnknownClustererError,
)


def register(name: str, factory: ClustererFactory) -> None:
    """Make a clusterer known by a name, for this process.

    An installed package need not call this: it names its factory in the entry-point group
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
    CLUSTERERS.register(name, factory)


def list_clusterers() -> list[str]:
    """Return the names of all clusterers: built in, registered, and of plug-ins, without loading these."""
    return CLUSTERERS.names()


def get_clusterer(name: str, /, **settings: Any) -> Clusterer:
    """Return the clusterer of a name, with the given settings.

    Parameters
    ----------
    name : str
        One of `list_clusterers()`. Built-in clusterers come first, then registered ones, then plug-ins; a plug-in
        never replaces a built-in one.
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
    clusterer = CLUSTERERS.build(name, **settings)
    if not callable(clusterer):
        raise InputError(
            f"clusterer {name!r} must be callable, got {type(clusterer).__name__}; report this to its authors"
        )
    return clusterer


def described(clusterer: Clusterer) -> tuple[str, dict[str, Any]]:
    """Return the name and settings from which `get_clusterer` builds an equal clusterer.

    Parameters
    ----------
    clusterer : Clusterer
        Of a class that has a name here and is a dataclass.

    Returns
    -------
    name : str
        For any other clusterer, the name of its type: it is only a record, which `get_clusterer` does not take.
    settings : dict
        The settings that differ from the defaults; none for any other clusterer.
    """
    kind: Any = type(clusterer)
    name = CLUSTERERS.name_of(kind)
    if name is None or not is_dataclass(kind):
        return type(clusterer).__name__, {}
    default, given = plain(get_clusterer(name)), plain(clusterer)
    return name, {key: value for key, value in given.items() if value != default[key]}


def usable(affinities: Affinities) -> Affinities:
    """Return affinities in their NumPy form, checked for clustering.

    Parameters
    ----------
    affinities : Affinities
        In NumPy or torch, on any device.

    Returns
    -------
    Affinities
        Only given values are checked; cosines of an embedding need no check, and are not computed here.

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
    """Refuse affinities without an attractive channel: every pixel would be an object of its own.

    Raises
    ------
    InputError
        If no offset of the neighborhood is attractive.
    """
    if not any(affinities.neighborhood.attractive):
        raise InputError(
            f"{affinities.neighborhood!r} has no attractive offset, so no pixels could join; "
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
