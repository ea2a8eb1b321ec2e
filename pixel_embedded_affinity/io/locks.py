"""A lock that keeps two processes from writing into one folder."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from inspect import signature
from pathlib import Path
from typing import Any

from pixel_embedded_affinity.errors import InputError

logger = logging.getLogger(__name__)

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}
"""What file systems say that cannot lock files, such as some of those that machines share."""

_FALLBACK = "fallback_to_soft"


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
    import filelock

    # In place of a lock, newer releases of the package would leave a file that outlives a killed process.
    strict: dict[str, Any] = (
        {"fallback_to_soft": False} if _FALLBACK in signature(filelock.FileLock).parameters else {}
    )
    lock = filelock.FileLock(path, **strict)
    try:
        lock.acquire(timeout=wait)
    except filelock.Timeout as error:
        raise InputError(refusal) from error
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        logger.warning("'%s' cannot be locked; make sure that no other run uses its folder", path)
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes the file when it is free
            path.unlink()
        lock.release()
