"""Images larger than the memory: blocks are labeled one by one, kept as files, and stitched.

An image is cut into cores that cover each pixel once. A block's window is its core with the overlap around, and the
block is labeled in its window. Each core takes the labels of its own block. Objects of neighboring blocks become one
where both blocks agree on them in the pixels that both windows hold (see `stitching.matches`). An object that is no
longer than the overlap along each axis lies within the window of every block whose core it reaches: all see it whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.tiling import Box, intersection, shifted
from pixel_embedded_affinity.io.atomic import atomic_file
from pixel_embedded_affinity.labels import Labels
from pixel_embedded_affinity.large.plan import Plan
from pixel_embedded_affinity.large.stitching import Matches, Pieces, matches, numbers, pieces
from pixel_embedded_affinity.large.store import PLAN_FILE, Store, check_output, opened_output
from pixel_embedded_affinity.runtime.progress import Progress, track

Labeler = Callable[[Box], Labels]

_OF_PLAN = ("shape", "block", "overlap", "strides")
_KEY = 12  # hexadecimal digits that tell plans apart
_SHOWN, _LONG = 3, 80
"""Differing values that a message names, and the length from which it gives a value's name alone."""


def label_blockwise(
    plan: Plan,
    label: Labeler,
    out: Any,
    *,
    folder: Path,
    identity: dict[str, Any],
    min_size: int = 0,
    clear_border: bool = False,
    pixel_size: Sequence[float] | None = None,
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
        Where blocks are kept until all is done. Blocks that it holds from an earlier run are not done again. In the
        end the blocks are removed, and the folder with them if nothing else lies in it.
    identity : dict
        All that the labels depend on, also the pixels (see `lazy.fingerprint`), fit for JSON. If they differ, blocks
        of an earlier run are refused.
    min_size, clear_border
        For the objects of the whole image, see `stitching.numbers`.
    pixel_size : sequence of float, optional
        Size of a pixel along each axis in micrometers, for a TIFF.
    client : dask.distributed.Client, optional
        Its workers label the blocks; they must see `folder`. Default: this process labels them one by one.
    progress : bool or callable
        True shows a bar over the blocks.

    Returns
    -------
    int
        Number of objects.

    Raises
    ------
    InputError
        If `folder` holds blocks of other settings, another run uses it, or `client` is none.
    """
    if client is not None and not hasattr(client, "scatter"):
        raise InputError(
            f"client must be a dask.distributed.Client, got {client!r}; pass Client(address), or leave it out"
        )
    text = _plan_text(plan, identity)
    key = f"-{hashlib.sha256(text.encode()).hexdigest()[:_KEY]}"
    store = Store(folder.absolute(), key)  # workers may run elsewhere
    with store.locked():
        check_output(out, plan.shape)  # another run may just have written it
        _resume(store, text)
        work = partial(_finish, plan, label, store)
        todo = [index for index in range(len(plan.cores)) if not store.holds(index)]
        for _ in track(_done(work, todo, client), progress, total=len(todo), desc="blocks"):
            pass
        tables = _tables(plan, store, min_size, clear_border)
        _write(plan, store, tables, out, pixel_size)
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


def _plan_text(plan: Plan, identity: dict[str, Any]) -> str:
    wanted = {name: getattr(plan, name) for name in _OF_PLAN} | identity
    return json.dumps(wanted, indent=2, sort_keys=True)


def _resume(store: Store, text: str) -> None:
    """Take up the work of a folder, if it is the same work; a plan of which no block was done is replaced."""
    path = store.folder / PLAN_FILE
    before = path.read_text(encoding="utf-8") if path.exists() else text
    if before != text and (store.finished() or not _is_plan(before)):
        raise InputError(
            f"'{store.folder}' holds blocks of another image or of other settings ({_differing(before, text)}); "
            "expected the same; delete the folder, or name another one"
        )
    if not path.exists() and (strange := store.finished()):
        raise InputError(
            f"'{store.folder}' holds '{strange[0].name}', but no {PLAN_FILE} that says which image it belongs to; "
            "expected a new folder, or the folder of an earlier run; name another one"
        )
    with atomic_file(path) as file:
        file.write(text.encode())


def _is_plan(text: str) -> bool:
    try:
        return set(_OF_PLAN) <= set(json.loads(text))
    except (ValueError, TypeError):
        return False


def _differing(before: str, now: str) -> str:
    """Say which values of two JSON texts differ; long ones, such as those that stand for pixels, by name only."""
    try:
        old, new = _leaves(json.loads(before)), _leaves(json.loads(now))
    except ValueError:
        return f"its {PLAN_FILE} cannot be read"
    names = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    parts = (f"{name} was {old.get(name)}, is {new.get(name)}" for name in names[:_SHOWN])
    said = [part if len(part) <= _LONG else name for part, name in zip(parts, names)]
    return ", ".join([*said, *(["others"] if len(names) > _SHOWN else [])])


def _leaves(value: Any, name: str = "") -> dict[str, str]:
    """The values of nested tables by their dotted names, as texts."""
    if not isinstance(value, dict):
        return {name: json.dumps(value)}
    inner = (_leaves(entry, f"{name}.{key}" if name else key) for key, entry in value.items())
    return {key: text for leaves in inner for key, text in leaves.items()}


def _tables(plan: Plan, store: Store, min_size: int, clear_border: bool) -> list[Labels]:
    """Final label of each label of each block."""
    found = [_described(plan, store, index) for index in range(len(plan.cores))]
    starts = np.cumsum([0, *(len(piece.areas) for piece in found)])
    read = lru_cache(maxsize=_kept(len(plan.shape)))(store.read)
    matched = [
        np.add(_shared(plan, read, one, other), [starts[one] - 1, starts[other] - 1])
        for one, other in plan.neighbors()
    ]
    whole = Pieces(*map(np.concatenate, zip(*found)))
    joined = np.concatenate(matched) if matched else np.zeros((0, 2), np.int64)
    final = numbers(whole, joined, min_size=min_size, clear_border=clear_border)
    background = np.zeros(1, np.int32)
    return [np.concatenate((background, final[a:b])) for a, b in pairwise(starts)]


def _kept(ndim: int) -> int:
    """How many blocks stay in memory: a block and the neighbors that the next block needs again."""
    return int(2 * 3 ** (ndim - 1))


def _described(plan: Plan, store: Store, index: int) -> Pieces:
    core, window = plan.cores[index], plan.windows[index]
    labels = store.read(index)
    begin = tuple(side.start for side in core)
    return pieces(labels[shifted(core, window)], int(labels.max(initial=0)), begin, plan.shape)


def _shared(plan: Plan, read: Callable[[int], Labels], one: int, other: int) -> Matches:
    """Objects on which two blocks agree, in the pixels near both."""
    windows = plan.windows[one], plan.windows[other]
    both = intersection(plan.inner[one], plan.inner[other])
    if both is None:
        return np.zeros((0, 2), np.int64)
    shared = (read(index)[shifted(both, window)] for index, window in zip((one, other), windows))
    return matches(*shared)


def _write(
    plan: Plan, store: Store, tables: list[Labels], out: Any, pixel_size: Sequence[float] | None
) -> None:
    with opened_output(out, plan.shape, store.folder, pixel_size) as target:
        for index, (core, window) in enumerate(zip(plan.cores, plan.windows)):
            target[core] = tables[index][store.read(index)[shifted(core, window)]]
