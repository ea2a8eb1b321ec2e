"""Files that appear complete or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pixel_embedded_affinity.errors import InputError


@contextmanager
def atomic_path(path: str | os.PathLike[str], suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Give a temporary path to write to, and move it to `path` when the block ends without an error.

    A reader, or a process that dies half way, never leaves or meets half a file under the final name. The
    file gets the access rights of any new file of the user.

    Parameters
    ----------
    path : str or path-like
        Where the file shall be; its folder must exist. A file there is replaced.
    suffixes : tuple of str
        Endings that the name may have, in lower case.

    Yields
    ------
    pathlib.Path
        An empty file in the same folder, with the same ending.

    Raises
    ------
    InputError
        If the name ends otherwise, the folder does not exist, or `path` is a folder.
    """
    target = Path(os.path.realpath(path))
    _check_target(Path(path), target, suffixes)
    # A name of fixed length: one made from the target's could be too long for the file system.
    with replacing(target, f".{secrets.token_hex(8)}{target.suffix}") as temporary:
        temporary.touch(exist_ok=False)
        yield temporary


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """File that gets its name only once it is written and flushed to disk.

    The bytes go to a temporary file in the same folder, named ``.NAME.RANDOM.part``. It is renamed to `path`
    when the block ends, replacing a file of that name, and removed when the block fails.

    Parameters
    ----------
    path : Path
        Final name. The mode of the new file follows the umask.

    Yields
    ------
    BinaryIO
        File open for writing.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    with (
        replacing(path, f".{path.name}.{secrets.token_hex(8)}.part") as temporary,
        # Mode "x" leaves the permissions to the umask, unlike tempfile, whose files nobody else can read.
        temporary.open("xb") as file,
    ):
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing(target: Path, name: str) -> Iterator[Path]:
    """Give a path of a temporary name beside the target, and move what is written there to the target.

    If the block fails, what it wrote is removed. It may be a file, or a folder where the target is none yet.

    Yields
    ------
    Path
        Where to write; nothing is made there.
    """
    temporary = target.with_name(name)
    try:
        yield temporary
        temporary.replace(target)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


def _check_target(path: Path, target: Path, suffixes: tuple[str, ...]) -> None:
    if path.suffix.lower() not in suffixes:
        raise InputError(
            f"'{path}' ends in '{path.suffix}'; expected {' or '.join(suffixes)}; rename the output"
        )
    if not target.parent.is_dir():
        raise InputError(
            f"the folder of '{path}' does not exist; expected an existing folder; create it first"
        )
    if target.is_dir():
        raise InputError(f"'{path}' is a folder; expected the path of a file to write; add a file name")
