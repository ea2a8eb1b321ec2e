"""Readers of image files: the protocol and the registry."""

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
    """A format of image files. The class need not inherit anything, and takes no arguments.

    Attributes
    ----------
    suffixes : tuple of str
        Endings of file names, in lower case, with the dot.
    signatures : tuple of bytes
        The content starts with one of them; empty for a format without signatures.
    """

    suffixes: ClassVar[tuple[str, ...]]
    signatures: ClassVar[tuple[bytes, ...]]

    def read(self, path: Path) -> Source:
        """Read a file; raise `InputError` for a file that cannot be used. Any other error means a damaged file."""
        ...


READERS: Registry[Reader] = Registry(
    "reader",
    "pixel_embedded_affinity.io.readers",
    helpers=("base", "pictures"),
    group="pixel_embedded_affinity.readers",
)
