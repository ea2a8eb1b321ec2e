"""A lock that keeps two processes from writing into one folder."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from pixel_embedded_affinity.errors import InputError

logger = logging.getLogger(__name__)

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}
"""What file systems say that cannot lock files, such as some of those that machines share."""


@contextmanager
def locked(path: Path, refusal: str, *, wait: float = 0) -> Iterator[None]:
    """Hold a lock file while the block runs; its folder must exist, and the file goes in the end.

    The system unlocks it when the process ends, even if it is killed. Where files cannot be locked, a warning goes to
    the log.

    Parameters
    ----------
    path : Path
        The lock file.
    refusal : str
        What the error says.
    wait : float
        Seconds to wait for another process.

    Raises
    ------
    InputError
        With this message, if another process holds the lock.
    """
    if not _can_lock(path.parent):
        logger.warning("'%s' cannot be locked; make sure that no other run uses its folder", path)
        yield
        return
    import filelock

    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=wait)
    except filelock.Timeout as error:
        raise InputError(refusal) from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes the file when it is free
            path.unlink()
        lock.release()


def _can_lock(folder: Path) -> bool:
    """Tried on a file of its own: releases of `filelock` differ in what they do where the system refuses."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        with TemporaryFile(dir=folder) as probe:
            fcntl.flock(probe, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True
