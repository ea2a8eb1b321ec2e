"""Images larger than the memory: blocks with overlap, each labeled on its own, kept as files, and stitched.

An image is cut into cores that cover each pixel once; a block's window is its core with a margin around. Blocks are
labeled in their windows. Each core takes the labels of its own block; objects of neighboring blocks become one where
both blocks agree on them in the pixels that both windows hold (see `stitching.matches`). An object that is no
longer than the margin along each axis lies within the window of every block whose core it reaches: all see it whole.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixel_embedded_affinity.atomic import atomic_file
from pixel_embedded_affinity.errors import InputError, MissingDependencyError
from pixel_embedded_affinity.progress import Progress, track
from pixel_embedded_affinity.stitching import Pairs, Pieces, matches, numbers, pieces
from pixel_embedded_affinity.tiling import Box, blocks, grown, intersection, shifted

Labels = NDArray[np.int32]
Labeler = Callable[[Box], Labels]

_PLAN = "plan.json"
_CHUNK = 1024
_KEPT = 6  # a block and its neighbors in the next row, which the next block meets again
_BIG_TIFF = 2**32 - 2**20


@dataclass(frozen=True)
class Plan:
    """How an image is cut into blocks.

    Parameters
    ----------
    shape : tuple of int
        Spatial shape of the image in pixels.
    block : int
        Length of a core in pixels along each axis; those at the end of the image are shorter.
    overlap : int
        Pixels around a core that its block sees as well: no more than `block`.
    grid : tuple of int
        Windows start at multiples of it along each axis: the strides of the neighborhood, so that the same
        pixels take part in the clustering in each block.

    Raises
    ------
    InputError
        If `block` or `overlap` is not an integer in its range.
    """

    shape: tuple[int, ...]
    block: int
    overlap: int
    grid: tuple[int, ...]

    def __post_init__(self) -> None:
        for name, least in (("block", 1), ("overlap", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise InputError(f"{name} must be an integer of at least {least}, in pixels, got {value!r}")
        if self.overlap > self.block:
            raise InputError(
                f"overlap {self.overlap} is more than block {self.block}; expected at most that; take larger blocks"
            )

    @cached_property
    def cores(self) -> list[Box]:
        """The part of the image that each block is to label, in C order."""
        return blocks(self.shape, (self.block,) * len(self.shape))

    @cached_property
    def windows(self) -> list[Box]:
        """The part of the image that each block sees."""
        return [grown(core, self.overlap, self.shape, self.grid) for core in self.cores]

    def neighbors(self) -> list[tuple[int, int]]:
        """Blocks that touch at a side, an edge or a corner: indices of each pair once."""
        counts = [-(-length // self.block) for length in self.shape]
        steps = [step for step in product((-1, 0, 1), repeat=len(counts)) if step > (0,) * len(counts)]
        places = list(product(*map(range, counts)))
        index = {place: position for position, place in enumerate(places)}
        moved = ((place, tuple(map(sum, zip(place, step)))) for place in places for step in steps)
        return [(index[place], index[other]) for place, other in moved if other in index]


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
        killed = (*self.folder.glob(".block_[0-9]*.npz.*.part"), *self.folder.glob(f".{_PLAN}.*.part"))
        for path in (*self.finished(), *killed, self.folder / _PLAN):
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


def label_blockwise(
    plan: Plan,
    label: Labeler,
    out: Any,
    *,
    folder: Path,
    settings: dict[str, Any],
    min_size: int = 0,
    clear_border: bool = False,
    client: Any = None,
    progress: Progress = False,
) -> int:
    """Label an image block by block.

    Parameters
    ----------
    plan : Plan
        The blocks.
    label : callable
        Takes the window of a block and returns its labels, int32, consecutive from 1, 0 = background.
    out : path or array
        See `check_output`. A path appears when all is done.
    folder : pathlib.Path
        Where blocks are kept until all is done; those that it holds from an earlier run are not done again. In the
        end they are removed, and the folder with them if nothing else lies in it.
    settings : dict
        All that the labels depend on, as JSON holds it: blocks of other settings are refused.
    min_size, clear_border
        What is done to the objects of the whole image, see `stitching.numbers`.
    client : dask.distributed.Client, optional
        Blocks are labeled by its workers, which must see `folder`. Default: one after the other, here.
    progress : bool or callable
        Over the blocks.

    Returns
    -------
    int
        Number of objects.

    Raises
    ------
    InputError
        If `folder` holds blocks of other settings.
    """
    store = Store(folder.absolute())  # workers may run elsewhere
    _resume(store, plan, settings)
    work = partial(_finish, plan, label, store)
    todo = [index for index in range(len(plan.cores)) if not store.path(index).exists()]
    for _ in track(_done(work, todo, client), progress, total=len(todo), desc="blocks"):
        pass
    tables = _tables(plan, store, min_size, clear_border)
    _write(plan, store, tables, out)
    store.remove()
    return max((int(table.max()) for table in tables), default=0)


def _finish(plan: Plan, label: Labeler, store: Store, index: int) -> None:
    """Label one block and keep the result."""
    store.write(index, label(plan.windows[index]))


def _done(work: Callable[[int], None], todo: list[int], client: Any) -> Iterator[None]:
    """Do the blocks, here or by the workers of dask."""
    if client is None:
        yield from map(work, todo)
        return
    import distributed

    remote = client.scatter(work, broadcast=True)
    futures = [client.submit(_called, remote, index, pure=False) for index in todo]
    for future in distributed.as_completed(futures):  # type: ignore[no-untyped-call]
        yield future.result()


def _called(work: Callable[[int], None], index: int) -> None:
    work(index)


def _resume(store: Store, plan: Plan, settings: dict[str, Any]) -> None:
    """Take up the work of a folder, if it is the same work."""
    wanted = {
        "shape": plan.shape,
        "block": plan.block,
        "overlap": plan.overlap,
        "grid": plan.grid,
        **settings,
    }
    text = json.dumps(wanted, indent=2, sort_keys=True)
    path = store.folder / _PLAN
    store.folder.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise InputError(
            f"'{store.folder}' holds blocks of an image or of settings other than these; expected the same; "
            "delete the folder, or name another one"
        )
    if not path.exists() and (strange := store.finished()):
        raise InputError(
            f"'{store.folder}' holds '{strange[0].name}', but no {_PLAN} that says what it is a block of; expected a "
            "new folder, or that of an earlier run; name another one"
        )
    with atomic_file(path) as file:
        file.write(text.encode())


def _tables(plan: Plan, store: Store, min_size: int, clear_border: bool) -> list[Labels]:
    """Final label of each label of each block."""
    found = [_described(plan, store, index) for index in range(len(plan.cores))]
    starts = np.cumsum([0, *(len(piece.areas) for piece in found)])
    read = lru_cache(maxsize=_KEPT)(store.read)
    pairs = [
        np.add(_shared(plan, read, one, other), [starts[one] - 1, starts[other] - 1])
        for one, other in plan.neighbors()
    ]
    whole = Pieces(*map(np.concatenate, zip(*found)))
    joined = np.concatenate(pairs) if pairs else np.zeros((0, 2), np.int64)
    final = numbers(whole, joined, min_size=min_size, clear_border=clear_border)
    background = np.zeros(1, np.int32)
    return [np.concatenate((background, final[a:b])) for a, b in pairwise(starts)]


def _described(plan: Plan, store: Store, index: int) -> Pieces:
    core, window = plan.cores[index], plan.windows[index]
    labels = store.read(index)
    begin = tuple(side.start for side in core)
    return pieces(labels[shifted(core, window)], int(labels.max(initial=0)), begin, plan.shape)


def _shared(plan: Plan, read: Callable[[int], Labels], one: int, other: int) -> Pairs:
    """Objects that two blocks agree on in the pixels that both see."""
    windows = plan.windows[one], plan.windows[other]
    both = intersection(*windows)
    if both is None:
        return np.zeros((0, 2), np.int64)
    views = (read(index)[shifted(both, window)] for index, window in zip((one, other), windows))
    return matches(*views)


def _write(plan: Plan, store: Store, tables: list[Labels], out: Any) -> None:
    with _opened(out, plan.shape) as target:
        for index, (core, window) in enumerate(zip(plan.cores, plan.windows)):
            target[core] = tables[index][store.read(index)[shifted(core, window)]]


@contextmanager
def _opened(out: Any, shape: tuple[int, ...]) -> Iterator[Any]:
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
