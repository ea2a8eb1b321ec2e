"""Registries find by name what can be extended: built in, registered in code, or from another package."""

from __future__ import annotations

import importlib
import inspect
import logging
import pkgutil
from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pixel_embedded_affinity.errors import InputError, MissingDependencyError, PixelEmbeddedAffinityError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")

logger = logging.getLogger(__name__)


def plug_ins() -> list[str]:
    """Name what other installed packages provide, such as ``"clusterers: grow (pea-grow 1.0)"``; loads none of it."""
    from importlib.metadata import distributions

    found = set()
    for package in distributions():
        for entry in package.entry_points:
            library, _, group = entry.group.partition(".")
            if library == "pixel_embedded_affinity":
                found.add(f"{group}: {entry.name} ({package.name} {package.version})")
    return sorted(found)


class Registry(Generic[T]):
    """Factories of one kind of thing, by name.

    - Built in: every file of the room except helpers. A file has the name of its class, which is in CamelCase:
      ``mutex_watershed.py`` holds ``MutexWatershed``. `get` imports a file only when its name is asked for.
    - Registered: what `register` was given in this process.
    - Plug-in: an entry point of an installed package. `get` imports it only when its name is asked for.

    They come in this order: a plug-in never replaces what is built in.

    Parameters
    ----------
    kind : str
        What messages call one of them, such as ``"clusterer"``.
    room : str
        The package whose files are the built-in ones.
    helpers : collection of str
        Files of the room that hold none.
    group : str
        The group of entry points.
    unknown : type of error
        What `get` raises for an unknown name.
    """

    def __init__(
        self,
        kind: str,
        room: str,
        *,
        helpers: Collection[str] = (),
        group: str,
        unknown: type[PixelEmbeddedAffinityError] = InputError,
    ) -> None:
        self.kind, self.room, self.group = kind, room, group
        self._helpers, self._unknown = frozenset(helpers), unknown
        self._registered: dict[str, Callable[..., T]] = {}

    @cached_property
    def built_in(self) -> tuple[str, ...]:
        """Names of the built-in ones, sorted."""
        found = {module.name for module in pkgutil.iter_modules(importlib.import_module(self.room).__path__)}
        return tuple(sorted(found - self._helpers))

    def names(self) -> list[str]:
        """Return all names, sorted; this loads none of them."""
        return sorted({*self.built_in, *self._registered, *self._plugins()})

    def register(self, name: str, factory: Callable[..., T]) -> None:
        """Make a factory known by a name, for this process.

        Raises
        ------
        InputError
            If the name is empty or taken, or the factory cannot be called.
        """
        if not isinstance(name, str) or not name:
            raise InputError(f"the name of each {self.kind} must be a non-empty string, got {name!r}")
        if not callable(factory):
            raise InputError(
                f"the factory of {self.kind} {name!r} must be callable, got {type(factory).__name__}; "
                "pass a class"
            )
        if name in self.names() and not _is_same(self._registered.get(name), factory):
            raise InputError(f"{self.kind} {name!r} exists already; choose another name")
        self._registered[name] = factory

    def get(self, name: str) -> Callable[..., T]:
        """Return the factory of a name.

        Raises
        ------
        PixelEmbeddedAffinityError
            The registry's `unknown`, if the name is unknown; the message lists the valid ones.
        MissingDependencyError
            If the plug-in that provides it cannot be loaded, or two plug-ins provide the same name.
        """
        if name in self.built_in:
            return self._of_room(name)
        if name in self._registered:
            return self._registered[name]
        entries = self._plugins().get(name, [])
        if not entries:
            valid = ", ".join(self.names())
            raise self._unknown(
                f"unknown {self.kind} {name!r}; the valid ones are {valid}; one of a plug-in is valid once its package "
                "is installed"
            )
        return self._loaded(entries)

    def build(self, name: str, /, **settings: Any) -> T:
        """Call the factory of a name with settings, and return what it makes.

        Raises
        ------
        PixelEmbeddedAffinityError
            As for `get`.
        InputError
            If the factory has no such setting, or refuses its value.
        """
        factory = self.get(name)
        self._refuse_unknown(name, factory, settings)
        try:
            return factory(**settings)
        except PixelEmbeddedAffinityError:
            raise
        except (TypeError, ValueError, ArithmeticError, LookupError, RuntimeError) as error:
            raise InputError(f"{self.kind} {name!r} refuses its settings {settings}: {error}") from error

    def every(self) -> Iterator[tuple[str, T]]:
        """Build all of them without settings, the built-in ones first.

        A plug-in that cannot be built is left out, with a warning in the log.
        """
        for name in self.built_in:
            yield name, self.build(name)
        for name in sorted(set(self.names()) - set(self.built_in)):
            try:
                yield name, self.build(name)
            except PixelEmbeddedAffinityError as error:
                logger.warning("%s %r is left out: %s", self.kind, name, error)

    def of_class(self, name: str) -> Callable[..., T]:
        """Return the built-in class of a name in CamelCase."""
        return self.get(next(file for file in self.built_in if file.replace("_", "") == name.lower()))

    def name_of(self, factory: Any) -> str | None:
        """Return the name of a factory that is built in or registered; None for any other."""
        known = (*self.built_in, *self._registered)
        return next((name for name in known if self.get(name) is factory), None)

    def _of_room(self, name: str) -> Callable[..., T]:
        module = importlib.import_module(f"{self.room}.{name}")
        wanted = name.replace("_", "")
        for attribute, value in vars(module).items():
            if attribute.lower() == wanted and inspect.isclass(value):
                return value  # type: ignore[return-value]
        raise self._unknown(
            f"{self.room}.{name} holds no class for the {self.kind} {name!r}; call it the same in CamelCase"
        )

    def _plugins(self) -> dict[str, list[EntryPoint]]:
        """Entry points of installed packages by name; more than one where packages disagree."""
        from importlib.metadata import entry_points

        found: dict[str, list[EntryPoint]] = {}
        for entry in entry_points(group=self.group):
            if entry.name in self.built_in:
                logger.warning(
                    "plug-in %s %s = %s is ignored: that name is built in", self.kind, entry.name, entry.value
                )
            else:
                found.setdefault(entry.name, []).append(entry)
        return found

    def _loaded(self, entries: list[EntryPoint]) -> Callable[..., T]:
        """Load the factory that a plug-in provides."""
        entry = entries[0]
        if len(entries) > 1:
            values = sorted(entry.value for entry in entries)
            raise MissingDependencyError(
                f"several plug-ins provide {self.kind} {entry.name!r}: {values}; uninstall all but one"
            )
        try:
            return entry.load()  # type: ignore[no-any-return]
        except (ImportError, AttributeError) as error:
            raise MissingDependencyError(
                f"the plug-in of {self.kind} {entry.name!r} ({entry.value}) cannot be loaded: {error}; "
                "install what it needs"
            ) from error

    def _refuse_unknown(self, name: str, factory: Callable[..., T], settings: dict[str, Any]) -> None:
        parameters = inspect.signature(factory).parameters
        if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
            return
        unknown = sorted(set(settings) - set(parameters))
        if unknown:
            valid = f"the valid ones are {sorted(parameters)}" if parameters else "it has none"
            raise InputError(f"unknown settings {unknown} of {self.kind} {name!r}; {valid}")


def _is_same(one: Any, other: Any) -> bool:
    """Whether two factories have the same name in the same module, as when a cell of a notebook runs again."""
    return all(
        getattr(one, name, None) == getattr(other, name, "") for name in ("__module__", "__qualname__")
    )
