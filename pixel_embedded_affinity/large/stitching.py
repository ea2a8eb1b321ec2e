"""Stitching: which objects of neighboring blocks are one, and how all objects are numbered."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixel_embedded_affinity.labels import Labels

Matches = NDArray[np.int64]


class Pieces(NamedTuple):
    """The objects of a block, one entry per object.

    Attributes
    ----------
    areas : ndarray of int64
        Pixels in the block's core, which is its part of the result; 0 for an object that lies in its overlap only.
    firsts : ndarray of int64
        Index, in C order of the whole image, of the first pixel in the core.
    on_border : ndarray of bool
        Whether it touches the border of the whole image.
    """

    areas: NDArray[np.int64]
    firsts: NDArray[np.int64]
    on_border: NDArray[np.bool_]


def matches(one: Labels, other: Labels) -> Matches:
    """Find the objects on which two segmentations of the same pixels agree.

    Two objects are one if each has more than half of its pixels in the other, so that no object matches two.

    Parameters
    ----------
    one, other : ndarray of int, of equal shape
        Labels, 0 = background.

    Returns
    -------
    ndarray of int64, shape (N, 2)
        Labels in `one` and in `other`, sorted.
    """
    both = (one > 0) & (other > 0)
    base = int(other.max(initial=0)) + 1
    keys, shared = np.unique(one[both].astype(np.int64) * base + other[both], return_counts=True)
    first, second = keys // base, keys % base
    agreed = (2 * shared > _areas(one)[first]) & (2 * shared > _areas(other)[second])
    found: Matches = np.stack((first, second), axis=1)[agreed]
    return found


def pieces(core: Labels, count: int, start: tuple[int, ...], shape: tuple[int, ...]) -> Pieces:
    """Describe the objects of a block by the pixels of its core.

    Parameters
    ----------
    core : ndarray of int
        Labels of the block's core, up to `count`.
    count : int
        Number of objects in the block, also in its overlap.
    start : tuple of int
        Where the core begins in the whole image.
    shape : tuple of int
        Shape of the whole image.
    """
    labels, first = np.unique(core, return_index=True)
    inside = np.unravel_index(first, core.shape)
    position = np.ravel_multi_index([axis + at for axis, at in zip(inside, start)], shape)
    firsts = np.full(count + 1, np.iinfo(np.int64).max)
    firsts[labels] = position
    on_border = np.zeros(count + 1, bool)
    for axis, (begin, length) in enumerate(zip(start, shape)):
        moved = np.moveaxis(core, axis, 0)
        on_border[moved[0]] |= begin == 0
        on_border[moved[-1]] |= begin + len(moved) == length
    areas = np.bincount(core.ravel(), minlength=count + 1)
    return Pieces(areas[1:].astype(np.int64), firsts[1:], on_border[1:])


def numbers(found: Pieces, matched: Matches, *, min_size: int = 0, clear_border: bool = False) -> Labels:
    """Number the objects that the pieces of all blocks form.

    Parameters
    ----------
    found : Pieces
        Of all blocks, one after the other.
    matched : ndarray of int64, shape (N, 2)
        Indices of two pieces that are one object. Pieces that a chain of such rows connects are one object, too.
    min_size : int
        Objects of fewer pixels become background.
    clear_border : bool
        Whether objects that touch the border of the image become background.

    Returns
    -------
    ndarray of int32
        Label of each piece: consecutive from 1 in the order of the objects' first pixels; 0 = background.
    """
    groups, count = _groups(len(found.areas), matched)
    areas, firsts = np.zeros(count, np.int64), np.full(count, np.iinfo(np.int64).max)
    np.add.at(areas, groups, found.areas)
    np.minimum.at(firsts, groups, found.firsts)
    kept = areas >= max(1, min_size)
    if clear_border:
        kept[groups[found.on_border]] = False
    ordered = np.flatnonzero(kept)
    ordered = ordered[np.argsort(firsts[ordered])]
    labels = np.zeros(count, np.int32)
    labels[ordered] = np.arange(1, len(ordered) + 1)
    return labels[groups]


def _groups(count: int, matched: Matches) -> tuple[NDArray[np.int32], int]:
    """Group of each piece, and how many groups there are."""
    from scipy import sparse

    ones = np.ones(len(matched), bool)
    graph = sparse.coo_array((ones, (matched[:, 0], matched[:, 1])), shape=(count, count))
    if count == 0:
        return np.zeros(0, np.int32), 0
    found, groups = sparse.csgraph.connected_components(graph, directed=False)
    return groups, int(found)


def _areas(labels: Labels) -> NDArray[np.int64]:
    return np.bincount(labels.ravel()).astype(np.int64)
