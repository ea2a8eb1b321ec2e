"""Where finished blocks are kept, and where the labels of the whole image go."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pixel_embedded_affinity.errors import InputError, MissingDependencyError
from pixel_embedded_affinity.io.atomic import atomic_file
from pixel_embedded_affinity.labels import Labels

PLAN_FILE = "plan.json"

_CHUNK = 1024
_BIG_TIFF = 2**32 - 2**20


class Store(NamedTuple):
    """Folder of the blocks that are done, one file each, written whole or not at all."""

    folder: Path

    def path(self, index: int) -> Path:
        """File of a block."""
        return self.folder / f"block_{index:06d}.npz"

    def write(self, index: int, labels: Labels) -> None:
        """Keep the labels of a window."""
        with atomic_file(self.path(index)) as file:
            np.savez_compressed(file, labels=labels)

    def read(self, index: int) -> Labels:
        """Return the labels of a window.

        Raises
        ------
        InputError
            If the file is damaged.
        """
        try:
            with np.load(self.path(index), allow_pickle=False) as content:  # numbers only
                labels: Labels = content["labels"]
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"'{self.path(index)}' cannot be read ({error}); delete it, and run again"
            ) from error
        return labels

    def finished(self) -> list[Path]:
        """Files of the blocks that are done."""
        return sorted(self.folder.glob("block_[0-9]*.npz"))

    def remove(self) -> None:
        """Delete the blocks and their plan, and the folder unless it holds anything else."""
        killed = (*self.folder.glob(".block_[0-9]*.npz.*.part"), *self.folder.glob(f".{PLAN_FILE}.*.part"))
        for path in (*self.finished(), *killed, self.folder / PLAN_FILE):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            self.folder.rmdir()


def check_output(out: Any, shape: Sequence[int]) -> None:
    """Refuse an output before any work is done.

    Raises
    ------
    InputError
        If it is neither a new path ending in ``.zarr``, ``.tif`` or ``.tiff`` in an existing folder, nor an
        array of integers of the image's spatial shape that can be written to.
    """
    if isinstance(out, (str, os.PathLike)):
        _check_path(Path(out))
    elif not all(hasattr(out, name) for name in ("shape", "dtype", "__setitem__")):
        raise InputError(
            f"out of type {type(out).__name__}; expected a path ending in .zarr or .tif, or an array to write to"
        )
    elif tuple(out.shape) != tuple(shape) or np.dtype(out.dtype).kind not in "iu" or out.dtype.itemsize < 4:
        raise InputError(
            f"out has shape {tuple(out.shape)} and dtype {out.dtype}; expected {tuple(shape)} and int32"
        )


@contextmanager
def block_folder(out: Any, folder: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Say where blocks are kept: where the caller wants, else beside a path; else in a temporary folder."""
    if folder is not None:
        yield Path(folder)
    elif isinstance(out, (str, os.PathLike)):
        yield Path(out).with_name(f"{Path(out).name}.blocks")
    else:
        with tempfile.TemporaryDirectory(prefix="blocks-") as temporary:
            yield Path(temporary) / "blocks"


@contextmanager
def opened_output(out: Any, shape: tuple[int, ...]) -> Iterator[Any]:
    """Give an array to write labels to; a path gets its name when all is written."""
    if not isinstance(out, (str, os.PathLike)):
        yield out
    elif Path(out).suffix.lower() == ".zarr":
        with _new_zarr(Path(out), shape) as array:
            yield array
    else:
        with _new_tiff(Path(out), shape) as array:
            yield array


def _part_of(path: Path) -> Path:
    """What an output is called until it is whole; always the same, so that none is left by a run that goes on."""
    return path.with_name(f".{path.name}.part")


@contextmanager
def _new_tiff(path: Path, shape: tuple[int, ...]) -> Iterator[Any]:
    import tifffile

    part, big = _part_of(path), 4 * int(np.prod(shape, dtype=np.int64)) > _BIG_TIFF
    try:
        array = tifffile.memmap(part, shape=shape, dtype=np.int32, bigtiff=big, metadata={"axes": "YX"})
        yield array
        array.flush()
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _new_zarr(path: Path, shape: tuple[int, ...]) -> Iterator[Any]:
    import zarr

    part = _part_of(path)
    shutil.rmtree(part, ignore_errors=True)
    chunks = tuple(min(_CHUNK, length) for length in shape)
    yield zarr.create_array(os.fspath(part), shape=shape, chunks=chunks, dtype="int32")
    os.replace(part, path)


def _check_path(path: Path) -> None:
    if path.suffix.lower() not in (".zarr", ".tif", ".tiff"):
        raise InputError(
            f"out '{path}' ends in '{path.suffix}'; expected .zarr, .tif or .tiff; rename the output"
        )
    if path.exists():
        raise InputError(f"out '{path}' exists already; expected a new name; delete it, or name another one")
    if not path.absolute().parent.is_dir():
        raise InputError(
            f"the folder of '{path}' does not exist; expected an existing folder; create it first"
        )
    if path.suffix.lower() == ".zarr":
        try:
            import zarr  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError(
                f"out '{path}' needs the package zarr; install it (pip install zarr), or name a .tif"
            ) from error
