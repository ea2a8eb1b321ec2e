"""Postprocessing of labels: merge fragments, drop specks, fill holes, clear the border, number anew.

All functions take 2D or 3D labels of any integer dtype, 0 being background, and return new int32 labels that
are consecutive from 1 and ordered by first pixel in C order. Two pixels are neighbors if they share a face.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import (
    Settings,
    choice,
    integer,
    list_of,
    number,
    optional,
    setting,
    switch,
)
from pixel_embedded_affinity.geometry.per_axis import numbers_per_axis
from pixel_embedded_affinity.labels import Labels, Mask, Runs, ordered_runs, painted, summed_pairs
from pixel_embedded_affinity.labels import relabel as relabel
from pixel_embedded_affinity.links import Held
from pixel_embedded_affinity.runtime.subject import ImageLogger

logger = ImageLogger(__name__)

MERGE_RADII_BY = ("border", "similarity")
"""How `Postprocess` chooses the neighbor that a thin object joins."""

_Integers = NDArray[np.intp]
_Floats = NDArray[np.float64]

_SIZE, _SIMILARITY = integer(0), number(-1, 1)
_SHARE = number(0, 1)
_FEW = 5
_SIZES, _RADII = list_of(_SIZE), list_of(number(0))


def merge_fragments(labels: ArrayLike, sizes: Sequence[int], *, held: Held | None = None) -> Labels:
    """Merge small objects into the neighboring object with which they share the longest border.

    There is one pass for each size, in the given order. In a pass, every object with fewer than `size` pixels is a
    fragment, and all fragments choose at the same time, on the labels at the start of the pass. A fragment joins
    the neighbor with the longest common border. Neighbors that are no fragments come before neighbors that are;
    of equal borders, the object whose first pixel comes first in C order wins. A fragment that joins a fragment
    goes where that one goes. Two fragments that choose each other become one object, which a later pass may merge
    further. A fragment that touches no other object stays (see `remove_small`). The result does not depend on how
    the objects were numbered.

    Parameters
    ----------
    labels : array-like of int
        2D or 3D labels of any integer dtype, 0 = background. Nothing is merged across background.
    sizes : sequence of int
        Sizes in pixels, at least 0.
    held : Held, optional
        Objects that stay, see `Postprocess`.

    Returns
    -------
    ndarray of int32
        Merged labels.

    Raises
    ------
    InputError
        If `labels` are not labels, or a size is not an integer of at least 0.

    Notes
    -----
    The border of two objects is the number of pairs of face-adjacent pixels, one in each object. It is counted
    once; the passes work on the graph of objects.
    """
    thresholds = _SIZES(sizes, "sizes")
    runs = ordered_runs(labels)
    areas = _areas(runs)
    if areas[1:].min(initial=max(thresholds, default=0)) >= max(thresholds, default=0):
        return painted(runs)
    borders = _object_borders(painted(runs), len(areas))
    target = np.arange(len(areas))
    stays = _objects_of(held, runs)
    for size in thresholds:
        fragment = areas < size
        fragment[target[stays]] = False
        moved = _targets(borders, fragment, borders.length)
        areas = np.bincount(moved, weights=areas, minlength=len(areas)).astype(np.intp)
        borders = _moved_borders(borders, moved)
        target = moved[target]
    return painted(_kept(runs, areas > 0, target))


def merge_thin(
    labels: ArrayLike,
    radii: Sequence[float],
    embedding: ArrayLike | None = None,
    *,
    sampling: Sequence[float] | None = None,
    held: Held | None = None,
) -> Labels:
    """Merge thin objects into a neighboring object, by the longest common border or by the most similar embedding.

    Slivers along the border of two objects are thin, but often too large for `merge_fragments`, which would merge
    small objects, too. There is one pass for each radius, in the given order. In a pass, every object of a smaller
    radius is a fragment, and joins the neighbor that `merge_fragments` would choose. With an embedding, it joins
    the neighbor with the highest cosine of the mean embeddings instead. The radius of an object is the distance
    from its innermost pixel to the nearest pixel of the image outside the object: 1 for a line one pixel wide.

    Parameters
    ----------
    labels : array-like of int
        2D or 3D labels of any integer dtype, 0 = background. Nothing is merged across background.
    radii : sequence of float
        Radii in pixels, at least 0.
    embedding : array-like of float, optional
        Unit-length embedding ``(D, *spatial)`` of the labels' spatial shape. Not modified.
    sampling : sequence of float, optional
        Distance of neighboring pixels along each axis, in the unit of the radii, such as ``(4, 1, 1)`` if planes are
        four times as far apart as pixels within a plane. Default: 1 along each axis.
    held : Held, optional
        Objects that stay, see `Postprocess`.

    Returns
    -------
    ndarray of int32
        Merged labels.

    Raises
    ------
    InputError
        If `labels` are not labels, a radius is not a finite number of at least 0, the embedding does not fit the
        labels, or `sampling` is not one positive number per axis.
    """
    merged = relabel(labels)
    sums = None
    if embedding is not None:
        sums = _summed_embeddings(merged, _checked_embedding(embedding, merged.shape), int(merged.max()) + 1)
    spacing = numbers_per_axis(1 if sampling is None else sampling, merged.ndim, "sampling")
    for radius in _RADII(radii, "radii"):
        thin = _radii(merged, spacing) < radius
        if held is not None:
            thin[held.objects(merged)] = False
        if thin.any():
            merged, sums = _merged_where(merged, thin, sums)
    return merged


def merge_alike(
    labels: ArrayLike, embedding: ArrayLike, similarity: float, *, held: Held | None = None
) -> Labels:
    """Merge neighboring objects whose embeddings are alike on the whole.

    A few unlike pairs of pixels may keep two parts of one thing apart. Among all neighboring objects, this merges
    the two with the highest cosine of their mean embeddings, and repeats that with the new mean, as long as the
    cosine is at least `similarity`. Of equal cosines, the objects with the smaller numbers go first.

    Parameters
    ----------
    labels : array-like of int
        2D or 3D labels of any integer dtype, 0 = background. Nothing is merged across background.
    embedding : array-like of float
        Unit-length embedding ``(D, *spatial)`` of the labels' spatial shape. Not modified.
    similarity : float
        Cosine in [-1, 1] from which on two neighbors are one.
    held : Held, optional
        Objects that never become one, see `Postprocess`.

    Returns
    -------
    ndarray of int32
        Merged labels.

    Raises
    ------
    InputError
        If `labels` are not labels, the embedding does not fit the labels, or `similarity` is not a number in
        [-1, 1].
    """
    least = _SIMILARITY(similarity, "similarity")
    runs = ordered_runs(labels)
    ordered = painted(runs)
    count = len(_areas(runs))
    sums = _summed_embeddings(ordered, _checked_embedding(embedding, ordered.shape), count)
    borders = _object_borders(ordered, count)
    apart = np.zeros((0, 2), np.intp) if held is None else held.objects(ordered)[held.apart]
    target = _joined_alike(sums, borders.first.tolist(), borders.second.tolist(), least, apart.tolist())
    return painted(_kept(runs, np.bincount(target, minlength=count) > 0, target))


def remove_uncertain(
    labels: ArrayLike,
    confidence: ArrayLike,
    min_confidence: float = 0,
    *,
    noise_floor: float = 0,
    held: Held | None = None,
) -> Labels:
    """Turn objects of little confidence into background.

    A network that is shown nothing but noise finds objects in it, all of which have little confidence. So if more than
    five objects have a median confidence below `noise_floor`, none of them stays, and the log says so.

    Parameters
    ----------
    labels : array-like of int
        2D or 3D labels of any integer dtype, 0 = background.
    confidence : array-like of float
        One number per object in ascending order of labels, such as
        `pixel_embedded_affinity.confidence.object_confidence` gives.
    min_confidence : float
        Least confidence that an object must have to stay, from 0 to 1.
    noise_floor : float
        Least median confidence of more than five objects, from 0 to 1; 0 keeps any.
    held : Held, optional
        Objects that stay, see `Postprocess`.

    Returns
    -------
    ndarray of int32
        Labels without these objects.

    Raises
    ------
    InputError
        If `labels` are not labels, the confidences are not one per object, or a number is not one from 0 to 1.
    """
    least, floor = _SHARE(min_confidence, "min_confidence"), _SHARE(noise_floor, "noise_floor")
    runs, found = ordered_runs(labels), np.asarray(confidence, dtype=np.float64)
    # The runs number objects by their first pixel, the confidences by their label.
    ids, first = np.unique(np.asarray(labels)[np.asarray(labels) > 0], return_index=True)
    if found.shape != ids.shape:
        raise InputError(
            f"confidence of shape {found.shape} for {len(ids)} objects; expected one number per object"
        )
    kept = np.concatenate(([False], found[np.argsort(first)] >= least))
    if len(ids) > _FEW and np.median(found) < floor:
        text = (
            "%d objects have a median confidence of %.2f, as in noise: none of them stays "
            "(postprocess.noise_floor, --noise-floor, is %g; with 0 they do)"
        )
        logger.warning(text, len(ids), np.median(found), floor)
        kept[:] = False
    kept[_objects_of(held, runs)] = True
    return painted(_kept(runs, kept))


def remove_small(labels: ArrayLike, min_size: int, *, held: Held | None = None) -> Labels:
    """Turn objects with fewer than `min_size` pixels into background.

    Parameters
    ----------
    labels : array-like of int
        2D or 3D labels of any integer dtype, 0 = background.
    min_size : int
        Fewest pixels that an object must have to stay. All its pieces count together.
    held : Held, optional
        Objects that stay, see `Postprocess`.

    Returns
    -------
    ndarray of int32
        Labels without the small objects.

    Raises
    ------
    InputError
        If `labels` are not labels, or `min_size` is not an integer of at least 0.
    """
    smallest = _SIZE(min_size, "min_size")
    runs = ordered_runs(labels)
    kept = _areas(runs) >= smallest
    kept[_objects_of(held, runs)] = True
    return painted(_kept(runs, kept))


def fill_holes(labels: ArrayLike) -> Labels:
    """Fill the holes of objects.

    A hole is a face-connected region of background that touches one object only, and not the border of the image.
    It becomes part of that object. Gaps that several objects enclose stay background.

    Parameters
    ----------
    labels : array-like of int
        2D or 3D labels of any integer dtype, 0 = background.

    Returns
    -------
    ndarray of int32
        Labels with filled holes.

    Raises
    ------
    InputError
        If `labels` are not labels.
    """
    from scipy import ndimage

    ordered = relabel(labels)
    regions, count = ndimage.label(ordered == 0)
    owners = _hole_owners(regions, count, ordered)
    # The first pixel of an object lies before all of its holes, so that the order of the labels stays.
    return ordered + owners[regions] if owners.any() else ordered


def clear_border(labels: ArrayLike, *, held: Held | None = None) -> Labels:
    """Turn objects that touch the border of the image into background.

    Parameters
    ----------
    labels : array-like of int
        2D or 3D labels of any integer dtype, 0 = background. In 3D all six faces of the volume are its
        border.
    held : Held, optional
        Objects that stay, see `Postprocess`.

    Returns
    -------
    ndarray of int32
        Labels without the objects that touch the border.

    Raises
    ------
    InputError
        If `labels` are not labels.
    """
    runs = ordered_runs(labels)
    inside = np.ones(len(_areas(runs)), bool)
    for face in _faces(painted(runs)):
        inside[face] = False
    inside[_objects_of(held, runs)] = True
    return painted(_kept(runs, inside))


@dataclass(frozen=True)
class Postprocess(Settings, section="postprocess"):
    """Postprocessing steps, applied in the order of the parameters; only `merge_similarity` comes first.

    Parameters
    ----------
    merge_sizes : sequence of int
        Sizes in positions of the embedding for `merge_fragments`. Default: nothing is merged.
    merge_radii : sequence of float
        Radii in positions of the embedding for `merge_thin`. Default: nothing is merged.
    min_size : int
        Smallest size in positions of the embedding for `remove_small`. Default 0: every object stays.
    fill_holes : bool
        Whether `fill_holes` is applied.
    clear_border : bool
        Whether `clear_border` is applied.
    merge_similarity : float, optional
        Cosine for `merge_alike`, before all other steps; it needs the embedding. Default None: no such step.
    merge_radii_by : {"border", "similarity"}
        Which neighbor a thin object joins: the one with the longest common border, or the one with the most similar
        embedding, which `merge_thin` then needs.
    min_confidence, noise_floor : float
        For `remove_uncertain`, after all other steps, which needs the confidences; 0 for no such step.

    Raises
    ------
    InputError
        If a size is not an integer of at least 0, a radius is not a finite number of at least 0, the
        similarity is not in [-1, 1], a switch is not a bool, or `merge_radii_by` has another value.

    Examples
    --------
    >>> Postprocess(merge_sizes=(25, 50), min_size=25)([[1, 1], [0, 0]])
    array([[0, 0],
           [0, 0]], dtype=int32)
    """

    merge_sizes: tuple[int, ...] = setting(
        (),
        _SIZES,
        "Sizes in positions of the embedding, below which objects are merged into a neighbor, one pass each.",
        tries=((25, 50), (), (25,), (25, 50, 100), (50, 100, 200)),
    )
    merge_radii: tuple[float, ...] = setting(
        (),
        _RADII,
        "Radii in positions of the embedding, below which objects are merged into a neighbor, one pass each.",
    )
    min_size: int = setting(
        0, _SIZE, "Objects of fewer positions of the embedding are removed.", tries=(30, 0, 10, 60, 100)
    )
    fill_holes: bool = setting(False, switch(), "Whether holes of objects are filled.", tries=(True, False))
    clear_border: bool = setting(False, switch(), "Whether objects at the border of the image are removed.")
    merge_similarity: float | None = setting(
        None,
        optional(_SIMILARITY),
        "Cosine of mean embeddings from which neighbors are merged, first of all.",
    )
    merge_radii_by: str = setting(
        "border",
        choice(*MERGE_RADII_BY),
        "Which neighbor a thin object joins: of longest border, or most alike.",
    )
    min_confidence: float = setting(0.0, _SHARE, "Objects of less confidence are removed.")
    noise_floor: float = setting(
        0.0,
        _SHARE,
        "If more than five objects have a lower median confidence, the image is noise, and none of them stays.",
    )

    @property
    def needs_embedding(self) -> bool:
        """Whether objects are compared by their embeddings."""
        return self.merge_similarity is not None or self._radii_by_similarity or self.needs_confidence

    @property
    def needs_confidence(self) -> bool:
        """Whether objects are removed by their confidences."""
        return self.min_confidence > 0 or self.noise_floor > 0

    @property
    def _radii_by_similarity(self) -> bool:
        return bool(self.merge_radii) and self.merge_radii_by == "similarity"

    def without_embedding(self) -> Postprocess:
        """Return the same steps for labels that come without an embedding."""
        plain = replace(self, merge_similarity=None, merge_radii_by="border")
        return replace(plain, min_confidence=0.0, noise_floor=0.0)

    def __call__(
        self,
        labels: ArrayLike,
        embedding: ArrayLike | None = None,
        *,
        sampling: Sequence[float] | None = None,
        measure: Callable[[Labels], ArrayLike] | None = None,
        held: Held | None = None,
        filled: bool = False,
    ) -> Labels:
        """Apply the steps to labels; returns new int32 labels, consecutive and ordered by first pixel.

        Parameters
        ----------
        labels : array-like of int
            2D or 3D labels of any integer dtype, 0 = background.
        embedding : array-like of float, optional
            Unit-length embedding ``(D, *spatial)``, where `needs_embedding`.
        sampling : sequence of float, optional
            Distance of neighboring pixels along each axis, see `merge_thin`.
        measure : callable, optional
            Gives the confidences of labels, for `remove_uncertain`, where `needs_confidence`.
        held : Held, optional
            Objects that a user has marked. They are never removed, and join no other object because they are small or
            thin; other objects may join them. Those that are apart never become one.
        filled : bool
            Whether objects fill the space, as neurons do: objects that are too small then go to their neighbors, and
            only those without one are removed.

        Raises
        ------
        InputError
            If `labels` are not labels, or a step needs an embedding or confidences and there are none.
        """
        self._check_embedding(embedding, measure)
        result = labels
        if self.merge_similarity is not None and embedding is not None:
            result = merge_alike(result, embedding, self.merge_similarity, held=held)
        result = merge_fragments(result, self.merge_sizes, held=held)
        if self.merge_radii:
            alike = embedding if self._radii_by_similarity else None
            result = merge_thin(result, self.merge_radii, alike, sampling=sampling, held=held)
        if self.min_size:
            if filled:
                result = merge_fragments(result, (self.min_size,), held=held)
            result = remove_small(result, self.min_size, held=held)
        if self.fill_holes:
            result = fill_holes(result)
        if self.clear_border:
            result = clear_border(result, held=held)
        if self.needs_confidence and measure is not None:
            found = measure(relabel(result))
            result = remove_uncertain(
                relabel(result), found, self.min_confidence, noise_floor=self.noise_floor, held=held
            )
        return result

    def _check_embedding(self, embedding: ArrayLike | None, measure: object) -> None:
        if self.needs_confidence and measure is None:
            raise InputError(
                "min_confidence or noise_floor is above 0, but nothing measures confidences; give an embedding to "
                "compare objects by, or set both to 0"
            )
        if self.needs_embedding and not self.needs_confidence and embedding is None:
            asking = "merge_similarity" if self.merge_similarity is not None else "merge_radii_by"
            plain = {"merge_similarity": None, "merge_radii_by": "'border'"}[asking]
            raise InputError(
                f"{asking} is {getattr(self, asking)!r}, but there is no embedding to compare objects by; give "
                f"affinities that were made from one, or set {asking} to {plain}"
            )


class _Borders(NamedTuple):
    """Touching objects, each pair once with ``first < second``, and how many pixel pairs they share."""

    first: _Integers
    second: _Integers
    length: _Integers


def _checked_embedding(embedding: ArrayLike, shape: tuple[int, ...]) -> NDArray[Any]:
    array = np.asarray(embedding)
    if array.dtype.kind != "f" or array.shape[1:] != shape or array.ndim != len(shape) + 1:
        raise InputError(
            f"embedding of dtype {array.dtype} and shape {array.shape} for labels of shape {shape}; "
            "expected floating-point numbers (D, *spatial) with the same spatial shape"
        )
    return array


def _summed_embeddings(ordered: Labels, embedding: NDArray[Any], count: int) -> _Floats:
    """Sum of the embeddings of each object's pixels, (count, D); 0 for background."""
    from scipy import sparse

    inside = ordered > 0
    objects = ordered[inside]
    of_object = sparse.csr_array(
        (np.ones(len(objects), np.float32), (objects, np.arange(len(objects)))), shape=(count, len(objects))
    )
    vectors = np.moveaxis(embedding, 0, -1)[inside]
    sums: _Floats = (of_object @ vectors).astype(np.float64)
    return sums


def _joined_alike(
    sums: _Floats, first: list[int], second: list[int], least: float, apart: list[list[int]]
) -> _Integers:
    """For each object, the first of the objects that it becomes one with; objects that are apart stay so."""
    excluded: list[set[int]] = [set() for _ in sums]
    for one, other in apart:
        excluded[one].add(other)
        excluded[other].add(one)
    neighbors: list[set[int]] = [set() for _ in sums]
    for one, other in zip(first, second):
        neighbors[one].add(other)
        neighbors[other].add(one)
    target, version = np.arange(len(sums)), [0] * len(sums)
    queue = [(*_unlike(sums, one, other), 0, 0) for one, other in zip(first, second)]
    heapq.heapify(queue)
    while queue and -queue[0][0] >= least:
        _, one, other, *versions = heapq.heappop(queue)
        if versions != [version[one], version[other]]:
            continue  # one of the two has changed since
        if other in excluded[one]:
            continue
        excluded[one] |= excluded[other]
        for enemy in excluded[other]:
            excluded[enemy].add(one)
        sums[one] += sums[other]
        version[one], version[other] = version[one] + 1, -1
        target[target == other] = one
        joined = (neighbors[one] | neighbors[other]) - {one, other}
        neighbors[one] = joined
        for neighbor in joined:
            neighbors[neighbor] = (neighbors[neighbor] - {other}) | {one}
            negative, low, high = _unlike(sums, one, neighbor)
            heapq.heappush(queue, (negative, low, high, version[low], version[high]))
    return target


def _unlike(sums: _Floats, one: int, other: int) -> tuple[float, int, int]:
    """The negative cosine of two sums of embeddings, and the two objects in ascending order."""
    low, high = min(one, other), max(one, other)
    lengths = np.linalg.norm(sums[low]) * np.linalg.norm(sums[high])
    return -float(sums[low] @ sums[high] / lengths) if lengths else 0.0, low, high


def _objects_of(held: Held | None, runs: Runs) -> _Integers:
    """The objects that stay, in the numbers of the runs."""
    return np.zeros(0, np.intp) if held is None else held.objects(painted(runs))


def _areas(runs: Runs) -> _Integers:
    """Pixels of each label; the background has 0, since it is no object."""
    areas = np.bincount(runs.labels, weights=runs.lengths).astype(np.intp)
    areas[0] = 0
    return areas


def _kept(runs: Runs, kept: Mask, target: _Integers | None = None) -> Runs:
    """Runs of the kept objects, numbered anew; each object becomes its `target` before."""
    numbers = np.cumsum(kept[1:], dtype=np.int32)
    table = np.concatenate((np.zeros(1, np.int32), np.where(kept[1:], numbers, np.int32(0))))
    return runs._replace(labels=(table if target is None else table[target])[runs.labels])


def _neighbors(array: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Both ends of all face-adjacent pairs of pixels, axis by axis; they share the array's memory."""
    for axis in range(array.ndim):
        moved = np.moveaxis(array, axis, 0)
        yield moved[:-1], moved[1:]


def _faces(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """First and last layer of pixels along each axis; they share the array's memory."""
    for axis in range(array.ndim):
        moved = np.moveaxis(array, axis, 0)
        yield from (moved[0], moved[-1])


def _object_borders(ordered: Labels, count: int) -> _Borders:
    """Borders of all touching objects of an image; `count` is one more than the largest label."""
    ends = []
    for here, there in _neighbors(ordered):
        border = (here != there) & (here > 0) & (there > 0)
        ends.append((here[border], there[border]))
    first, second = (np.concatenate(side).astype(np.intp) for side in zip(*ends, strict=True))
    return _summed_borders(first, second, np.ones(len(first), np.intp), count)


def _summed_borders(first: _Integers, second: _Integers, length: _Integers, count: int) -> _Borders:
    """Sum up the borders of the same two objects; the border of an object with itself vanishes."""
    summed = summed_pairs(first, second, count, length)
    return _Borders(summed.regions[:, 0], summed.regions[:, 1], summed.total.astype(np.intp))


def _moved_borders(borders: _Borders, target: _Integers) -> _Borders:
    """Borders after each object has become part of its target."""
    return _summed_borders(target[borders.first], target[borders.second], borders.length, len(target))


def _targets(borders: _Borders, fragment: Mask, nearness: NDArray[Any]) -> _Integers:
    """For each object, the first of the objects that it becomes one with when fragments merge.

    A fragment joins its nearest neighbor; `nearness` has a number for each entry of `borders`.
    """
    target = _choices(borders, fragment, nearness)
    labels = np.arange(len(target))
    # Two fragments that chose each other would make a circle. Longer circles cannot arise: along a chain the
    # nearness can only grow, and of equal neighbors the smallest label is chosen.
    mutual = (target[target] == labels) & (labels < target)
    target[mutual] = labels[mutual]
    while not np.array_equal(target, target[target]):
        target = target[target]
    smallest: _Integers = labels.copy()
    np.minimum.at(smallest, target, labels)
    merged: _Integers = smallest[target]
    return merged


def _radii(ordered: Labels, spacing: Sequence[float]) -> _Floats:
    """Distance from the innermost pixel of each object to the nearest one outside; infinite for background."""
    from scipy import ndimage

    boxes = ndimage.find_objects(ordered)
    radii = np.full(len(boxes) + 1, np.inf)
    for label, box in enumerate(boxes, start=1):
        # One pixel more, where the image has one: pixels beyond the image do not count as outside.
        wider = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
        inside = ordered[wider] == label
        if not inside.all():
            radii[label] = ndimage.distance_transform_edt(inside, sampling=spacing).max()
    return radii


def _merged_where(ordered: Labels, fragment: Mask, sums: _Floats | None) -> tuple[Labels, _Floats | None]:
    """Labels, and sums of their embeddings, after one pass in which the given objects are the fragments."""
    runs = ordered_runs(ordered)
    borders = _object_borders(ordered, len(fragment))
    nearness = borders.length if sums is None else _cosines(sums, borders)
    target = _targets(borders, fragment, nearness)
    kept = np.bincount(target, minlength=len(target)) > 0
    if sums is not None:
        merged = np.zeros_like(sums)
        np.add.at(merged, target, sums)
        sums = merged[kept]
    return painted(_kept(runs, kept, target)), sums


def _cosines(sums: _Floats, borders: _Borders) -> _Floats:
    """Cosine of the summed embeddings of every two neighbors, 0 where a sum is zero."""
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    unit = np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)
    cosines: _Floats = np.einsum("ij,ij->i", unit[borders.first], unit[borders.second])
    return cosines


def _choices(borders: _Borders, fragment: Mask, nearness: NDArray[Any]) -> _Integers:
    """Neighbor that each fragment joins; every other object stays with itself."""
    source = np.concatenate((borders.first, borders.second))
    neighbor = np.concatenate((borders.second, borders.first))
    rank = np.lexsort((neighbor, -np.concatenate((nearness, nearness)), fragment[neighbor], source))
    rank = rank[fragment[source[rank]]]
    sources, best = np.unique(source[rank], return_index=True)
    target = np.arange(len(fragment))
    target[sources] = neighbor[rank[best]]
    return target


def _hole_owners(regions: Labels, count: int, ordered: Labels) -> Labels:
    """Label of the object that owns each background region, where the region is a hole, else 0."""
    closed = np.ones(count + 1, bool)
    closed[0] = False
    for face in _faces(regions):
        closed[face] = False
    owners = np.zeros(count + 1, np.int32)
    if not closed.any():
        return owners
    region, label = _region_contacts(regions, closed, ordered)
    single = np.bincount(region, minlength=count + 1)[region] == 1
    owners[region[single]] = label[single]
    return owners


def _region_contacts(regions: Labels, closed: Mask, ordered: Labels) -> tuple[_Integers, _Integers]:
    """Pairs of a closed background region and an object that it touches, each pair once."""
    count = int(ordered.max()) + 1
    enclosed = closed[regions]
    contacts = []
    for sides in zip(_neighbors(enclosed), _neighbors(regions), _neighbors(ordered), strict=True):
        for (hole, _), (region, _), (_, label) in (sides, [side[::-1] for side in sides]):
            touching = hole & (label > 0)
            contacts.append(region[touching].astype(np.intp) * count + label[touching])
    keys = np.unique(np.concatenate(contacts))
    return keys // count, keys % count
