"""What the log speaks of: warnings that are about an image say its name."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

_subject: ContextVar[str] = ContextVar("subject", default="")
_silent: ContextVar[bool] = ContextVar("silent", default=False)

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


@contextmanager
def about(name: str) -> Iterator[None]:
    """Say what the log is about, such as an image, while the block runs; an outer block's name goes before."""
    token = _subject.set(_subject.get() or name)
    try:
        yield
    finally:
        _subject.reset(token)


@contextmanager
def silent() -> Iterator[None]:
    """Leave out what the log says about images while the block runs, such as while settings are only tried."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def subject() -> str:
    """What the log is about now; empty if nobody has said it."""
    return _subject.get()


class ImageLogger(_Adapter):
    """A logger whose messages start with what they are about."""

    def __init__(self, name: str) -> None:
        super().__init__(logging.getLogger(name), {})

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a message, after the name of its image."""
        if _silent.get():
            return
        if name := _subject.get():
            text = msg if args else str(msg).replace("%", "%%")
            msg, args = f"%s: {text}", (name, *args)
        super().log(level, msg, *args, **{"stacklevel": 2, **kwargs})
