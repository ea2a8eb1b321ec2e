"""Labels and masks: checked arrays of integers and bools, and objects numbered consecutively."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.io.arrays import not_finite, numeric, opened
from pixel_embedded_affinity.io.selection import SPATIAL as SPATIAL

logger = logging.getLogger(__name__)

Labels = npt.NDArray[np.int32]
"""int32, 0 = background, objects 1..n."""

Mask = npt.NDArray[np.bool_]
"""Whether something is at a pixel."""


def relabel(labels: ArrayLike) -> Labels:
    """Number the objects anew: consecutive from 1, in the order of their first pixels.

    Parameters
    ----------
    labels : array-like of int
        2D or 3D labels of any integer dtype, 0 = background.

    Returns
    -------
    ndarray of int32
        The same objects under new numbers. Background stays 0.

    Raises
    ------
    InputError
        If `labels` are not integers, negative, empty, or neither 2D nor 3D.
    """
    return painted(ordered_runs(labels))


def extent_of(mask: Mask) -> int:
    """Return the longest side in pixels of the box around all that a mask holds; 1 if it holds nothing."""
    from scipy import ndimage

    boxes = ndimage.find_objects(mask.astype(np.uint8))
    return max((side.stop - side.start for side in boxes[0]), default=1) if boxes else 1


def as_foreground(foreground: Any, spatial_shape: Sequence[int]) -> Mask:
    """Convert a foreground mask into a bool array of its own.

    Parameters
    ----------
    foreground : array-like
        Anything that `as_image` takes, except files: bool, integers (0 is background, as in a label image), or
        floating-point numbers that are all 0 or 1. Never modified.
    spatial_shape : sequence of int
        Shape that the mask must have, in pixels.

    Returns
    -------
    numpy.ndarray
        bool, shape `spatial_shape`, C-contiguous.

    Raises
    ------
    InputError
        If the shape differs, the dtype is not a number or bool, a value is not finite, or a floating-point
        value is neither 0 nor 1: a probability is no mask until it is thresholded.
    """
    source = opened(foreground, "foreground")
    if tuple(source.shape) != tuple(spatial_shape):
        raise InputError(
            f"foreground of shape {tuple(source.shape)} for an image of spatial shape "
            f"{tuple(spatial_shape)}; expected equal shapes; pass one value per pixel, without channels"
        )
    array = numeric(source, "foreground")
    if not np.isfinite(array).all():
        raise not_finite(array, "foreground")
    _check_mask_values(array)
    return np.array(array != 0, dtype=np.bool_, order="C")


def _check_mask_values(array: npt.NDArray[Any]) -> None:
    """Refuse floating-point values besides 0 and 1, whose threshold only the caller knows."""
    if array.dtype.kind != "f" or bool(((array == 0) | (array == 1)).all()):
        return
    if array.min() >= 0 and array.max() <= 1:
        found = "values between 0 and 1 (a probability?)"
    else:
        found = f"{array.dtype} values from {array.min():g} to {array.max():g}"
    raise InputError(f"foreground holds {found}; expected a mask; threshold it, e.g. foreground > 0.5")


def as_labels(
    labels: Any, spatial_shape: Sequence[int] | None = None, *, frames: bool = False
) -> npt.NDArray[np.integer[Any]]:
    """Check a label image and return it as a NumPy array, without a copy where it is one.

    Parameters
    ----------
    labels : array-like of integers
        2D or 3D, 0 = background, positive = objects.
    spatial_shape : sequence of int, optional
        Shape that the labels must have, in pixels.
    frames : bool
        Whether there may be one axis more, of the frames of a time-lapse.

    Returns
    -------
    numpy.ndarray
        The labels in their own integer dtype.

    Raises
    ------
    InputError
        If they are not integers, negative, empty, neither 2D nor 3D, or of another shape.
    """
    array = numeric(opened(labels, "labels"), "labels")
    if array.dtype == bool:
        raise InputError(
            "labels of dtype bool are a mask, which does not tell objects from each other; expected integers, a number "
            "for each object; where no two objects touch, scipy.ndimage.label(mask)[0] gives them"
        )
    if array.dtype.kind not in "iu":
        raise InputError(
            f"labels of dtype {array.dtype}; expected integers; convert them, e.g. by labels.astype('int32')"
        )
    if (array.ndim not in SPATIAL and not (frames and array.ndim - 1 in SPATIAL)) or array.size == 0:
        raise InputError(f"labels of shape {array.shape}; expected a 2D or 3D array with at least one pixel")
    if spatial_shape is not None and array.shape != tuple(spatial_shape):
        raise InputError(
            f"labels of shape {array.shape} for an image of spatial shape {tuple(spatial_shape)}; expected "
            "equal shapes; pass the labels of this image (an image with channels has shape (C, *spatial))"
        )
    if array.min() < 0:
        raise InputError(
            f"labels down to {array.min()}; expected 0 for background and positive numbers for objects"
        )
    return array


class SummedPairs(NamedTuple):
    """Pairs of regions, in lexicographic order; for each the sum of its values, and how many there are."""

    regions: npt.NDArray[np.intp]
    total: npt.NDArray[np.float64]
    length: npt.NDArray[np.intp]


def summed_pairs(
    first: npt.NDArray[np.intp],
    second: npt.NDArray[np.intp],
    regions: int,
    values: npt.NDArray[np.floating[Any] | np.integer[Any]],
) -> SummedPairs:
    """Sum up the values of each pair of regions, whatever its order; pairs of a region with itself are left out.

    Parameters
    ----------
    first, second : numpy.ndarray
        Shape (N,): the two regions of each value, numbered from 0.
    regions : int
        Number of regions.
    values : numpy.ndarray
        Shape (N,).
    """
    apart = first != second
    keys = (np.minimum(first, second) * regions + np.maximum(first, second))[apart]
    keys, pair, length = np.unique(keys, return_inverse=True, return_counts=True)
    total = np.bincount(pair, values[apart], len(keys)).astype(np.float64)
    return SummedPairs(np.stack(np.divmod(keys, regions), axis=1), total, length)


def number_on(sections: Iterable[Labels]) -> list[int]:
    """Number the objects 1..n of several label images on from one to the next, in place.

    Returns
    -------
    list of int
        What was added to the numbers of each.
    """
    added, last = [], 0
    for labels in sections:
        count = int(labels.max(initial=0))
        labels[labels > 0] += last
        added.append(last)
        last += count
    return added


_MOST_CLASSES, _PIECES_OF_A_CLASS = 5, 4
"""Labels of at most so many objects, of more than so many pieces each on average, look like classes."""

_LINE, _FEWEST_WITHIN = 3, 3
"""Lines between objects are less wide than so many pixels. An object that touches all sides, and that lines cut from at
least so many others, looks like background."""

_MOST, _FEW_GAPS = 0.5, 2
"""A single object that covers at least this share of an image, with more than so many gaps, looks like background."""


def warn_of_mask(labels: Any, what: str) -> None:
    """Say in the log if labels look like a mask of one class or several, or of the background.

    They are used as they are, since a single object may be hidden in part. A mask would make all scores and all
    training wrong, though.

    Parameters
    ----------
    labels : array-like of integers or bools
        2D or 3D, 0 = background.
    what : str
        How messages call them.
    """
    pieces = _pieces_of_mask(labels)
    if pieces > 1:
        text = (
            "%s holds a single object, %d, of %d pieces; if it is a binary mask, give each object its own number, e.g. "
            "by skimage.measure.label, which joins objects that touch"
        )
        logger.warning(text, what, np.max(labels), pieces)
    for text in filter(None, (_classes(labels), _background_object(labels), _inverted(labels))):
        logger.warning("%s: %s", what, text)


def refuse_masks(every: Iterable[Any]) -> None:
    """Refuse labels to learn from if all of them look like masks, or one has a number for its background.

    Parameters
    ----------
    every : iterable of array-like of integers
        The labels of several images, 0 = background; those without an object say nothing.

    Raises
    ------
    InputError
        If each of them holds a single object, and these have more than two pieces on average; if each has a few objects
        of many pieces, as of classes, or holds the background in place of the objects; or if no pixel of an image is 0,
        and one of its objects touches all sides.
    """
    used = [labels for labels in every if np.any(labels)]
    for number, labels in enumerate(used, start=1):
        if text := _background_object(labels):
            raise InputError(f"label image {number} of {len(used)}: {text}")
    for described in (_classes, _inverted):
        texts = [described(labels) for labels in used]
        if texts and all(texts):
            raise InputError(f"all {len(texts)} label images look like masks; the first one: {texts[0]}")
    pieces = [_pieces_of_mask(labels) for labels in used]
    if pieces and all(pieces) and sum(pieces) > 2 * len(pieces):
        raise InputError(
            f"all {len(pieces)} label images hold a single object, of {sum(pieces)} pieces together; expected labels "
            "1..n, a number for each object, and these look like binary masks; number the objects, e.g. by "
            "skimage.measure.label, which joins objects that touch"
        )


def _background_object(labels: Any) -> str:
    """Describe the object of an image that seems to be its background; empty if 0 is the background, or in a volume.

    Such labels come from a pixel classifier, where no pixel is 0, or from a watershed, where only the lines between the
    objects are 0. One of several objects touches all sides.
    """
    array = np.asarray(labels)
    if array.ndim != len("YX") or not array.size or (array < 0).any():
        return ""
    sides = [set(np.unique(side).tolist()) for side in (array[0], array[-1], array[:, 0], array[:, -1])]
    around = sorted(set.intersection(*sides) - {0})
    if not around or (array == around[0]).all():
        return ""
    lines = bool((array == 0).any())
    if lines and (
        _has_block(array == 0, _LINE) or len(np.unique(array)) - len([0, around[0]]) < _FEWEST_WITHIN
    ):
        return ""
    found = "0 is only on thin lines" if lines else "no pixel is 0"
    tools = "MorphoLibJ's watershed" if lines else "ilastik"
    return (
        f"{found}, and object {around[0]} touches all sides and covers {np.mean(array == around[0]):.0%} of the "
        f"image; expected 0 for the background; if this object is the background, which {tools} and others count as 1, "
        "set it to 0, and number each object"
    )


def _has_block(mask: Mask, side: int) -> bool:
    """Whether a 2D mask holds a whole square of so many pixels a side."""
    if min(mask.shape) < side:
        return False
    for _ in mask.shape:
        windows = np.lib.stride_tricks.sliding_window_view(mask, side, axis=0)
        mask = np.logical_and.reduce([windows[..., shift] for shift in range(side)]).T
    return bool(mask.any())


def _classes(labels: Any) -> str:
    """Describe labels of an image that seem to be classes, such as inside and border; empty if they do not."""
    array = np.asarray(labels)
    highest = int(array.max(initial=0))
    if array.ndim != len("YX") or not 1 < highest <= np.iinfo(np.uint8).max or array.min(initial=0) < 0:
        return ""
    values = np.flatnonzero(np.bincount(array.ravel().astype(np.uint8)))
    objects = values[values > 0]
    if not 1 < len(objects) <= _MOST_CLASSES:
        return ""
    pieces = sum(_count_pieces(array == value) for value in objects)
    if pieces <= _PIECES_OF_A_CLASS * len(objects):
        return ""
    return (
        f"its {len(objects)} objects have {pieces} pieces together; expected a number for each object; if the numbers "
        "are classes, such as inside and border, number the objects of one class, e.g. by "
        "skimage.measure.label(labels == 1)"
    )


def _inverted(labels: Any) -> str:
    """Describe labels of an image whose only object seems to be the background; empty if they do not."""
    array = np.asarray(labels)
    if array.ndim != len("YX") or not array.size:
        return ""
    highest = array.max()
    if highest <= 0 or not ((array == 0) | (array == highest)).all():
        return ""
    share = float(np.mean(array == highest))
    around = all((side == highest).any() for side in (array[0], array[-1], array[:, 0], array[:, -1]))
    if not around or share < _MOST or (gaps := _count_pieces(array == 0)) <= _FEW_GAPS:
        return ""
    return (
        f"its only object covers {share:.0%} of the image, touches all sides and has {gaps} gaps; expected 0 for the "
        "background; if this is a mask that was turned round, number the gaps: skimage.measure.label(labels == 0)"
    )


def _pieces_of_mask(labels: Any) -> int:
    """Number of pieces of the object if labels hold a single one, else 0."""
    array = np.asarray(labels)
    highest = array.max(initial=0)
    if highest == 0 or not ((array == 0) | (array == highest)).all():
        return 0
    return _count_pieces(array != 0)


def _count_pieces(mask: npt.NDArray[np.bool_]) -> int:
    from scipy import ndimage

    return int(ndimage.label(mask, np.ones((3,) * mask.ndim))[1])


class Runs(NamedTuple):
    """Labels as runs of equal pixels in C order: far fewer than pixels, so quick to renumber."""

    labels: Labels
    lengths: npt.NDArray[np.intp]
    shape: tuple[int, ...]


def ordered_runs(labels: ArrayLike) -> Runs:
    """Runs of labels, numbered anew in the order of their first pixels."""
    array = as_labels(labels)
    flat = array.ravel()
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    # The first pixel of an object always starts a run.
    values, first, inverse = np.unique(flat[starts], return_index=True, return_inverse=True)
    objects = np.flatnonzero(values)
    numbers = np.zeros(len(values), np.int32)
    numbers[objects[np.argsort(first[objects])]] = np.arange(1, len(objects) + 1, dtype=np.int32)
    return Runs(numbers[inverse], np.diff(starts, append=flat.size), array.shape)


def painted(runs: Runs) -> Labels:
    """Turn runs back into a label image."""
    return np.repeat(runs.labels, runs.lengths).reshape(runs.shape)
