"""Output of the commands: results to standard output, complaints and the log to standard error."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from pixel_embedded_affinity.runtime.subject import subject

_PACKAGE_LOGGER = logging.getLogger("pixel_embedded_affinity")


def say(text: str) -> None:
    """Write a line to standard output, if there is one: a service may run without."""
    if sys.stdout is not None:
        sys.stdout.write(_writable(f"{text}\n", sys.stdout))


def complain(text: str) -> None:
    """Write a line to standard error, above a progress bar if there is one."""
    from tqdm import tqdm

    if sys.stderr is not None:
        tqdm.write(_writable(text, sys.stderr), file=sys.stderr)


def _writable(text: str, stream: TextIO) -> str:
    """Return a text with letters escaped that a stream cannot write, such as Japanese ones to an ASCII terminal."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows of equal length as columns, the last one ragged."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def add_progress_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--progress`` and ``--no-progress``."""
    text = "show a progress bar (default: if standard error is a terminal)"
    parser.add_argument("--progress", action=argparse.BooleanOptionalAction, help=text)


def path_argument(text: str) -> Path:
    """Read a path from the command line; an empty one would be the folder that the user is in."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty; is a variable of your script not set?")
    return Path(text)


def bar_wanted(arguments: argparse.Namespace) -> bool:
    """Tell whether to show a progress bar: as the user says, else only on a terminal."""
    if arguments.progress is None:
        return sys.stderr is not None and sys.stderr.isatty()
    return bool(arguments.progress)


class _StderrHandler(logging.Handler):
    """Writes the log as `complain` does, so that it does not tear a progress bar.

    A warning is given once for each image, and once if it names none.
    """

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._given: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text, name = self.format(record), subject()
        line = f"pea: {text}" if not name or name in text else f"pea: {name}: {text}"
        if record.levelno >= logging.WARNING:
            if line in self._given:
                return
            self._given.add(line)
        complain(line)


@contextmanager
def log_to_stderr(level: int) -> Iterator[None]:
    """Show the library's log from this level upwards while the block runs."""
    handler = _StderrHandler(level)
    before = _PACKAGE_LOGGER.level
    _PACKAGE_LOGGER.addHandler(handler)
    _PACKAGE_LOGGER.setLevel(level)
    try:
        yield
    finally:
        _PACKAGE_LOGGER.removeHandler(handler)
        _PACKAGE_LOGGER.setLevel(before)
