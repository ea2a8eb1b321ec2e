"""Output of the commands: results to standard output, complaints and the log to standard error."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

_PACKAGE_LOGGER = logging.getLogger("pixel_embedded_affinity")


def say(text: str) -> None:
    """Write a line to standard output, if there is one: a service may run without."""
    if sys.stdout is not None:
        sys.stdout.write(f"{text}\n")


def complain(text: str) -> None:
    """Write a line to standard error, above a progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows of equal length as columns, the last one ragged."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def add_progress_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--progress`` and ``--no-progress``."""
    text = "show a progress bar (default: if standard error is a terminal)"
    parser.add_argument("--progress", action=argparse.BooleanOptionalAction, help=text)


def bar_wanted(arguments: argparse.Namespace) -> bool:
    """Tell whether to show a progress bar: as the user says, else only on a terminal."""
    return sys.stderr.isatty() if arguments.progress is None else bool(arguments.progress)


_subject: ContextVar[str] = ContextVar("subject", default="")


@contextmanager
def about(subject: str) -> Iterator[None]:
    """Say what the log is about, such as an image, while the block runs; messages that name it stay as they are."""
    token = _subject.set(subject)
    try:
        yield
    finally:
        _subject.reset(token)


class _StderrHandler(logging.Handler):
    """Writes the log as `complain` does, so that it does not tear a progress bar.

    A warning that names no subject is given once: more of the same volumes have the same to say.
    """

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._given: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text, subject = self.format(record), _subject.get()
        if not subject and record.levelno >= logging.WARNING:
            if text in self._given:
                return
            self._given.add(text)
        named = not subject or subject in text
        complain(f"pea: {text}" if named else f"pea: {subject}: {text}")


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
