"""The folder of finished blocks, and the output for the labels of the whole image."""

from __future__ import annotations

import logging
import math
import os
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile, is_zipfile

import numpy as np

from pixel_embedded_affinity.errors import InputError, one_line, optional_module
from pixel_embedded_affinity.export.labels import sizes_by_axis, tiff_description
from pixel_embedded_affinity.geometry.tiling import largest_part
from pixel_embedded_affinity.io.atomic import as_path, atomic_file, replacing
from pixel_embedded_affinity.io.label_images import check_label_image, image_of, new_label_image
from pixel_embedded_affinity.io.locks import locked
from pixel_embedded_affinity.io.marks import MARK
from pixel_embedded_affinity.labels import SPATIAL, Labels

logger = logging.getLogger(__name__)

PLAN_FILE = "plan.json"

_LOCK_FILE = ".lock"
_CHUNK = 2**20  # labels, which are 4 MiB
_BIG_TIFF = 2**32 - 2**20


class Store(NamedTuple):
    """Folder of the finished blocks, one file each, written whole or not at all.

    The key of a plan is part of the names: a worker that still runs for an earlier plan writes no block of this one.
    """

    folder: Path
    key: str = ""

    def path(self, index: int) -> Path:
        """File of a block."""
        return self.folder / f"block_{index:06d}{self.key}.npz"

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
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            raise InputError(
                f"'{self.path(index)}' cannot be read ({error}); delete it, and run again"
            ) from error
        return labels

    def holds(self, index: int) -> bool:
        """Tell whether the labels of a window are there; a file that was cut short is none, and is done again."""
        return is_zipfile(self.path(index))

    def finished(self) -> list[Path]:
        """Files of the finished blocks."""
        return sorted(self.folder.glob("block_[0-9]*.npz"))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder and keep other runs out of it; in the end remove it if nothing lies in it.

        The system unlocks it when the process ends, even if it is killed.

        Raises
        ------
        InputError
            If another run uses it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        refusal = (
            f"another run keeps its blocks in '{self.folder}'; expected one run at a time; wait until it has "
            "ended, or name another output and another folder"
        )
        try:
            with locked(self.folder / _LOCK_FILE, refusal):
                yield
        finally:
            with suppress(OSError):  # not empty
                self.folder.rmdir()

    def remove(self) -> None:
        """Delete the blocks and their plan."""
        killed = (*self.folder.glob(".block_[0-9]*.npz.*.part"), *self.folder.glob(f".{PLAN_FILE}.*.part"))
        for path in (*self.finished(), *killed, self.folder / PLAN_FILE):
            path.unlink(missing_ok=True)


def check_output(out: Any, shape: Sequence[int]) -> None:
    """Refuse an output that cannot be used, before any work is done.

    Raises
    ------
    InputError
        If it is neither a new path ending in ``.zarr``, ``.tif`` or ``.tiff`` in an existing folder, nor one of labels
        within an OME-Zarr, nor an array of integers of the image's spatial shape that can be written to.
    """
    if isinstance(out, (str, os.PathLike)):
        path = as_path(out, "out")
        if image_of(path) is not None:
            check_label_image(path, SPATIAL[len(shape)], shape)
        else:
            _check_path(path)
    elif not all(hasattr(out, name) for name in ("shape", "dtype", "__setitem__")):
        raise InputError(
            f"out of type {type(out).__name__}; expected a path ending in .zarr or .tif, or an array to write to"
        )
    elif tuple(out.shape) != tuple(shape) or not _holds_labels(out.dtype):
        raise InputError(
            f"out has shape {tuple(out.shape)} and dtype {out.dtype}; expected {tuple(shape)} and int32"
        )
    else:
        _check_writable(out)


def _holds_labels(dtype: Any) -> bool:
    """Whether a dtype of NumPy has integers of 32 bits or more; other libraries have dtypes of their own."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        return False
    return found.kind in "iu" and found.itemsize >= 4


def _check_writable(out: Any) -> None:
    """Write a pixel of an array as it is: only that shows for every library whether it can be written to."""
    first = (0,) * len(out.shape)
    try:
        out[first] = out[first]
    except Exception as error:  # each library has its own
        raise InputError(
            f"out cannot be written to ({one_line(error)}); expected an array that can; open or copy it for writing"
        ) from error


def _new_folder(given: Any) -> Path:
    path = as_path(given, "folder")
    if path.exists() and not path.is_dir():
        raise InputError(f"folder '{path}' is a file; expected the folder of the blocks; name another one")
    return path


@contextmanager
def block_folder(out: Any, folder: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Give the folder of the blocks: the caller's, else one beside the output's path, else a temporary one."""
    if folder is not None:
        yield _new_folder(folder)
    elif isinstance(out, (str, os.PathLike)):
        yield Path(out).with_name(f"{Path(out).name}.blocks")
    else:
        with tempfile.TemporaryDirectory(prefix="blocks-") as temporary:
            yield Path(temporary) / "blocks"


@contextmanager
def opened_output(
    out: Any, shape: tuple[int, ...], folder: Path, pixel_size: Sequence[float] | None = None
) -> Iterator[Any]:
    """Give an array for the labels of all blocks; a path gets its name when all is written.

    A TIFF says how large a pixel is, in micrometers, where that is known.
    """
    if not isinstance(out, (str, os.PathLike)):
        yield out
        return
    path = Path(out)
    if image_of(path) is not None:
        letters = SPATIAL[len(shape)]
        with new_label_image(path, letters, shape, dict(zip(letters, pixel_size or ()))) as labels:
            yield labels
        return
    # A killed run that goes on finds this file again. A run with another folder of blocks uses another name.
    name = f".{path.name}.{zlib.crc32(os.fsencode(folder)):08x}.part"
    new = _new_zarr if path.suffix.lower() == ".zarr" else partial(_new_tiff, pixel_size=pixel_size)
    with replacing(path, name) as part:
        array = new(part, shape)
        yield array
        if hasattr(array, "flush"):
            array.flush()


def _new_tiff(path: Path, shape: tuple[int, ...], pixel_size: Sequence[float] | None) -> Any:
    import tifffile

    big = 4 * math.prod(shape) > _BIG_TIFF
    axes = SPATIAL[len(shape)]
    described = tiff_description(axes, shape, sizes_by_axis(axes, pixel_size))
    return tifffile.memmap(path, shape=shape, dtype=np.int32, bigtiff=big, **described)


def _new_zarr(path: Path, shape: tuple[int, ...]) -> Any:
    import zarr

    chunks = largest_part(shape, _CHUNK)
    return zarr.create_array(
        os.fspath(path),
        shape=shape,
        chunks=chunks,
        dtype="int32",
        overwrite=True,
        attributes={"software": MARK},
    )


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
        needs = f"out '{path}' needs the package zarr; install it (pip install zarr), or name a .tif"
        optional_module("zarr", needs)
