"""Write files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from pixel_embedded_affinity.errors import InputError

LONGEST_NAME = 255
"""Bytes of a file name that the usual file systems take."""


def as_path(given: Any, what: str = "the output") -> Path:
    """Return the path of what is written.

    Raises
    ------
    InputError
        If it is no path, or empty, or no system could take it for a name.
    """
    if not isinstance(given, (str, os.PathLike)):
        raise InputError(
            f"{what} is of type {type(given).__name__}; expected a path, such as 'results/labels.tif'"
        )
    text = str(os.fspath(given))
    if not text or "\0" in text:
        raise InputError(f"{what} has the name {text!r}; expected a path, such as 'results/labels.tif'")
    return Path(text)


@contextmanager
def atomic_path(path: str | os.PathLike[str], suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Give a temporary path to write to, and move it to `path` when the block ends without an error.

    There is never half a file under the final name, even if the process dies. The file gets the access rights of
    any new file of the user.

    Parameters
    ----------
    path : str or path-like
        Final path; its folder must exist. A file there is replaced.
    suffixes : tuple of str
        Valid endings of the name, in lower case.

    Yields
    ------
    pathlib.Path
        An empty file in the same folder, with the same ending.

    Raises
    ------
    InputError
        If `path` is no path, the name has another ending, the folder does not exist, or `path` is a folder.
    """
    given = as_path(path)
    target = Path(os.path.realpath(given))
    _check_target(given, target, suffixes)
    # A name of fixed length: a name made from the target's name could be too long for the file system.
    with replacing(target, f".{secrets.token_hex(8)}{target.suffix}") as temporary:
        temporary.touch(exist_ok=False)
        yield temporary


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that gets its name only when it is written and flushed to disk.

    The bytes go to a temporary file in the same folder, named ``.NAME.RANDOM.part``. When the block ends, it is
    renamed to `path`, and replaces a file there. When the block fails, it is removed.

    Parameters
    ----------
    path : Path
        Final path. The mode of the new file follows the umask.

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
        replacing(path, _part_of(path)) as temporary,
        # Mode "x" follows the umask; files of tempfile could be read by their owner only.
        temporary.open("xb") as file,
    ):
        yield file
        file.flush()
        os.fsync(file.fileno())


def _part_of(path: Path) -> str:
    """Name of a temporary file: it tells what it is for, unless the file system takes no name of this length."""
    random = secrets.token_hex(8)
    name = f".{path.name}.{random}.part"
    return name if len(os.fsencode(name)) <= LONGEST_NAME else f".{random}.part"


@contextmanager
def replacing(target: Path, name: str) -> Iterator[Path]:
    """Give a temporary path beside the target; when the block ends, move the file or folder there to the target.

    A folder cannot replace a target that exists. If the block fails, what it wrote is removed.

    Yields
    ------
    Path
        Where to write; nothing is there yet.
    """
    temporary = target.with_name(name)
    try:
        yield temporary
        temporary.replace(target)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty temporary folder; when the block ends without an error, move it to `path`, where nothing may be.

    Raises
    ------
    InputError
        If something is at `path`, or the folder around it does not exist.
    """
    target = Path(os.path.realpath(path))
    if target.exists() or not target.parent.is_dir():
        raise InputError(
            f"'{target}' exists, or the folder around it does not; expected a new name; choose another"
        )
    with replacing(target, _part_of(target)) as part:
        part.mkdir()
        yield part


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Give a temporary path for a folder, which takes the place of a folder at `path` when the block ends."""
    with replacing(path, _part_of(path)) as part:
        yield part
        if path.is_dir():
            shutil.rmtree(path)


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
