"""What a reader is: a format of image files; and the registry that finds them by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

from pixel_embedded_affinity.registry import Registry


class Source(NamedTuple):
    """Raw values (lazy or not), the axes that a file declares, and whether its last channel is alpha."""

    values: Any
    axes: str
    has_alpha: bool = False


class Reader(Protocol):
    """A format of image files; nothing needs to be inherited, and the class is built without arguments.

    Attributes
    ----------
    suffixes : tuple of str
        Endings of file names, in small letters, with the dot.
    signatures : tuple of bytes
        What the content starts with, one of them; none for a format without.
    """

    suffixes: ClassVar[tuple[str, ...]]
    signatures: ClassVar[tuple[bytes, ...]]

    def read(self, path: Path) -> Source:
        """Read a file; `InputError` says what cannot be used, any other error that the file is damaged."""
        ...


READERS: Registry[Reader] = Registry(
    "reader",
    "pixel_embedded_affinity.io.readers",
    helpers=("base", "pictures"),
    group="pixel_embedded_affinity.readers",
)
