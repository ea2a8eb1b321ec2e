"""The library's exceptions: each message says what came, what was expected, and what to do."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LONGEST = 2000
_LONGEST_OF_OTHERS = 200


def readable(text: str) -> str:
    r"""Return a text as one line that is safe to print; a very long text loses its middle.

    Foreign files and file names may hold line breaks, control characters of terminals, and halves of characters.
    These are shown as Python writes them, such as ``\x1b``.
    """
    shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
    if len(shown) <= _LONGEST:
        return shown
    return f"{shown[: _LONGEST * 2 // 3]} ... {shown[-(_LONGEST // 4) :]}"


def one_line(error: BaseException) -> str:
    """Return the start of another library's message on one line; the error's type if it has no message."""
    return " ".join(str(error).split())[:_LONGEST_OF_OTHERS] or type(error).__name__


class PixelEmbeddedAffinityError(Exception):
    """Base class of all errors that the library raises on purpose; the message is one readable line."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(readable(part) if isinstance(part, str) else part for part in arguments))


class InputError(PixelEmbeddedAffinityError, ValueError):
    """An image, an array, an axis string or a setting that cannot be used."""


class NotEnoughMemoryError(InputError, MemoryError):
    """An image does not fit into memory, or a damaged file claims such an image."""


class CheckpointError(PixelEmbeddedAffinityError, ValueError):
    """A weights file that is damaged, foreign, or does not fit its own configuration."""


class UnknownModelError(PixelEmbeddedAffinityError, ValueError):
    """A model name that the registry does not hold."""


class UnknownClustererError(PixelEmbeddedAffinityError, ValueError):
    """A clusterer name that is neither built in nor provided by a plug-in."""


class DownloadError(PixelEmbeddedAffinityError, OSError):
    """Weights that no place could provide."""


class DeviceError(PixelEmbeddedAffinityError, RuntimeError):
    """A device that the caller named and that is missing, or a precision that is unknown."""


class MissingDependencyError(PixelEmbeddedAffinityError, ImportError):
    """An optional package that a feature needs and that is not installed."""


def optional_module(name: str, complaint: str) -> Any:
    """Import a module of a package that need not be installed.

    Raises
    ------
    MissingDependencyError
        If it is not there, with the complaint as its message.
    """
    try:
        importlib.import_module(name.partition(".")[0])
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(complaint) from error


@contextmanager
def compiled_library() -> Iterator[None]:
    """Import bioimage-cpp inside; where it has no build for the machine, the error says what works there.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "this needs the package bioimage-cpp, which is not installed; it has builds for Linux on x86-64, macOS on "
            "arm64 and Windows: pip install bioimage-cpp. Elsewhere, the mutex watershed has another engine: pip "
            'install mwatershed, and segmenter.with_settings(clusterer_settings={"engine": "mwatershed"})'
        ) from error
