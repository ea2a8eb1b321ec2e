"""Links: strokes of a user that say which pixels are one object, and which are different objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.scaling import nearest
from pixel_embedded_affinity.geometry.tiling import Box, whole_box
from pixel_embedded_affinity.labels import Labels, relabel

Numbers = npt.NDArray[np.intp]


class Stroke(NamedTuple):
    """Pixels that are one object: how messages call them, and their places in C order."""

    name: str
    pixels: Numbers


@dataclass(frozen=True, eq=False)
class Links:
    """What strokes say about an image. Strokes that share a pixel are one group.

    Attributes
    ----------
    shape : tuple of int
        Spatial shape of the image.
    pixels : numpy.ndarray
        Shape (N,): the pixels of all strokes, each once, numbered in C order.
    group : numpy.ndarray
        Shape (N,): the group of each pixel, from 0. The pixels of a group are one object.
    apart : numpy.ndarray
        Shape (M, 2): groups that are different objects.
    """

    shape: tuple[int, ...]
    pixels: Numbers
    group: Numbers
    apart: Numbers

    def agree_with(self, labels: Labels) -> bool:
        """Whether each group lies in one object already, and groups that are different objects in different ones."""
        pairs = np.unique(np.stack((self.group, labels.ravel()[self.pixels]), axis=1), axis=0)
        if len(np.unique(pairs[:, 0])) < len(pairs) or not pairs[:, 1].all():
            return False
        return bool(np.all(pairs[self.apart[:, 0], 1] != pairs[self.apart[:, 1], 1]))


class Held(NamedTuple):
    """Objects that stay while labels are postprocessed.

    Attributes
    ----------
    places : numpy.ndarray
        Shape (G,): one pixel of each of these objects, numbered in C order.
    apart : numpy.ndarray
        Shape (M, 2): entries of `places` that never become one object.
    """

    places: Numbers
    apart: Numbers

    def objects(self, labels: npt.NDArray[Any]) -> Numbers:
        """Return the label of each of these objects."""
        return labels.ravel()[self.places].astype(np.intp)


@dataclass(frozen=True, eq=False)
class Seeds:
    """Links at the positions of an embedding.

    Attributes
    ----------
    numbers : numpy.ndarray
        Integers of the embedding's spatial shape: the seed of each position, from 1; 0 = no stroke.
    apart : numpy.ndarray
        Shape (M, 2): numbers of seeds that are different objects.
    seed : numpy.ndarray
        Shape (G,): the seed of each group; 0 for a group that no position is left for.
    """

    numbers: Numbers
    apart: Numbers
    seed: Numbers

    @property
    def held(self) -> Held:
        """One pixel of each seed, and which of them are different objects."""
        found, places = np.unique(self.numbers, return_index=True)
        known = found > 0
        return Held(places[known], np.searchsorted(found[known], self.apart))


class Parties:
    """Strokes that become one, step by step, but never two that are different objects.

    Parameters
    ----------
    count : int
        Number of strokes, which are numbered from 0.
    apart : numpy.ndarray
        Shape (M, 2): strokes that are different objects.
    """

    def __init__(self, count: int, apart: Numbers) -> None:
        self._party = list(range(count))
        self._others: list[set[int]] = [set() for _ in range(count)]
        for one, other in apart.tolist():
            self._others[one].add(other)
            self._others[other].add(one)

    def of(self, stroke: int) -> int:
        """Return one stroke of a party, the same for all of the party."""
        return self._party[stroke]

    def apart(self, one: int, other: int) -> bool:
        """Whether two strokes are different objects."""
        return self._party[other] in self._others[self._party[one]]

    def join(self, one: int, other: int) -> bool:
        """Make two strokes one, and say whether they are one now: not if they are apart."""
        kept, gone = self._party[one], self._party[other]
        if kept == gone or self.apart(one, other):
            return kept == gone
        self._party = [kept if party == gone else party for party in self._party]
        for party in self._others[gone]:
            self._others[party] = (self._others[party] - {gone}) | {kept}
        self._others[kept] |= self._others[gone]
        return True


def read_links(same: Any, different: Any, shape: Sequence[int]) -> Links | None:
    """Check the strokes of a user.

    Parameters
    ----------
    same, different
        As for `pixel_embedded_affinity.Segmenter.cluster`.
    shape : sequence of int
        Spatial shape of the image.

    Returns
    -------
    Links or None
        None if there is no stroke.

    Raises
    ------
    InputError
        If a stroke is no array of pixels of the image, or two strokes contradict each other.
    """
    size = tuple(shape)
    strokes = [_stroke(points, f"same[{n}]", size) for n, points in enumerate(_listed(same, "same"))]
    pairs = [
        [_stroke(points, f"different[{n}][{side}]", size) for side, points in enumerate(_pair(entry, n))]
        for n, entry in enumerate(_listed(different, "different"))
    ]
    alone = len(strokes)
    strokes += [stroke for pair in pairs for stroke in pair]
    if not strokes:
        return None
    pixels, place = np.unique(np.concatenate([stroke.pixels for stroke in strokes]), return_inverse=True)
    member = np.repeat(np.arange(len(strokes)), [len(stroke.pixels) for stroke in strokes])
    groups = _groups(member, place, len(strokes), len(pixels))
    ends = np.arange(alone, len(strokes)).reshape(-1, 2)
    for one, other in ends[groups[ends[:, 0]] == groups[ends[:, 1]]]:
        raise _contradiction(strokes, int(one), int(other), size)
    group = np.zeros(len(pixels), np.intp)
    group[place] = groups[member]
    return Links(size, pixels, group, _distinct(groups[ends]))


def seeds_at(
    links: Links,
    positions: Sequence[int],
    *,
    box: Box | None = None,
    seen: Sequence[int],
    stride: Sequence[int] | None = None,
    labels: Labels | None = None,
    shown: Labels | None = None,
) -> Seeds:
    """Find the positions of an embedding that strokes lie on.

    Borders between objects are placed to the pixel, so a pixel may show another object than the one of its position. A
    stroke means what is shown: such a pixel stands for the nearest position of the object that it shows, if no other
    pixel of the group does. A pixel that shows background, at a position of an object, stands for no position.

    A position that several groups lie on belongs to the group with most pixels in it. A group that no position is
    left for joins the seed that it lies on, unless the two are different objects.

    Parameters
    ----------
    links : Links
        Of the image.
    positions : sequence of int
        Spatial shape of the embedding.
    box : tuple of slice, optional
        The part of the image that was embedded. Default: all of it.
    seen : sequence of int
        Spatial shape of this part as the network saw it.
    stride : sequence of int, optional
        Pixels that the network saw between two positions, along each axis. Default: 1.
    labels, shown : numpy.ndarray, optional
        Labels of the positions, and of the pixels in the same numbers. Default: pixels show what their position has.
    """
    part = whole_box(links.shape) if box is None else box
    steps = (1,) * len(positions) if stride is None else stride
    lines = np.unravel_index(links.pixels, links.shape)
    inside = np.all([(side.start <= line) & (line < side.stop) for line, side in zip(lines, part)], axis=0)
    places = [
        _seen(line[inside] - side.start, side, length) // step
        for line, side, length, step in zip(lines, part, seen, steps)
    ]
    position, group = np.ravel_multi_index(places, tuple(positions)), links.group[inside]
    if labels is not None and shown is not None:
        position, group = _as_shown(position, group, shown.ravel()[links.pixels[inside]], labels)
    owned = _owned(position, group)
    seed = _seed_of_each(owned, links)
    numbers = np.zeros(tuple(positions), np.intp)
    numbers.ravel()[owned.position] = seed[owned.owner]
    ends = seed[links.apart]
    return Seeds(numbers, _distinct(ends[(ends > 0).all(axis=1)]), seed)


def painted_over(labels: Labels, found: npt.NDArray[Any], links: Links, seeds: Seeds) -> Labels:
    """Give the pixels of all strokes to their objects, and number the objects anew.

    Parameters
    ----------
    labels : numpy.ndarray
        Labels of the image, in the numbers of `found`. Not modified.
    found : numpy.ndarray
        Labels at the positions of the embedding.
    links, seeds
        The links in the image, and at these positions. A group without a seed becomes an object of its own.
    """
    held, alone = seeds.held, seeds.seed == 0
    numbers = np.empty(len(seeds.seed), np.intp)
    numbers[~alone] = held.objects(found)[seeds.seed[~alone] - 1]
    numbers[alone] = int(found.max()) + 1 + np.arange(np.count_nonzero(alone))
    painted = labels.copy()
    painted.ravel()[links.pixels] = numbers[links.group]
    return relabel(painted)


def _listed(entries: Any, name: str) -> list[Any]:
    if entries is None:
        return []
    if isinstance(entries, (str, bytes)) or not hasattr(entries, "__iter__"):
        raise InputError(f"{name} must be a list, got {type(entries).__name__}; put the strokes into a list")
    return list(entries)


def _pair(entry: Any, number: int) -> list[Any]:
    strokes = _listed(entry, f"different[{number}]")
    if len(strokes) != 2:
        raise InputError(
            f"different[{number}] holds {len(strokes)} strokes; expected two, which are different objects: (one, other)"
        )
    return strokes


def _stroke(points: Any, name: str, shape: tuple[int, ...]) -> Stroke:
    """Check one stroke; a single point is a stroke, too."""
    try:
        array = np.asarray(points)
    except ValueError:
        array = np.asarray(points, object)
    array = array[np.newaxis] if array.shape == (len(shape),) else array
    if array.ndim != 2 or array.shape[1] != len(shape) or not len(array) or array.dtype.kind not in "iu":
        raise InputError(
            f"{name} must be integers of shape (N, {len(shape)}), a row for each pixel, got {array.dtype} of shape "
            f"{array.shape}; {_advice(name, array)}"
        )
    outside = ((array < 0) | (array >= shape)).any(axis=1)
    if outside.any():
        first = tuple(map(int, array[outside][0]))
        raise InputError(
            f"{name} has pixel {first} outside the image of shape {shape}; expected pixels of the image, from 0 on; "
            "clip the stroke to the image"
        )
    return Stroke(name, np.unique(np.ravel_multi_index(tuple(array.T.astype(np.intp)), shape)))


def _advice(name: str, array: npt.NDArray[Any]) -> str:
    """What to do about a stroke that is none."""
    if array.dtype.kind == "f" and array.ndim == 2:
        return "round coordinates, e.g. numpy.rint(points).astype(int)"
    kind = name.partition("[")[0]
    form = (
        "[(one, other)], a list of pairs of strokes"
        if kind == "different"
        else "[stroke, stroke], a list of strokes"
    )
    return f"{kind} is {form}, and a stroke is a list of pixels, or a pixel"


def _meetings(member: Numbers, place: Numbers, strokes: int, pixels: int) -> Any:
    """The graph of strokes, numbered first, and their pixels."""
    from scipy import sparse

    size = strokes + pixels
    return sparse.csr_array((np.ones(len(member), np.int8), (member, strokes + place)), shape=(size, size))


def _groups(member: Numbers, place: Numbers, strokes: int, pixels: int) -> Numbers:
    """Group of each stroke: strokes that share pixels, directly or through others, are one; in order of strokes."""
    from scipy.sparse import csgraph

    _, part = csgraph.connected_components(_meetings(member, place, strokes, pixels), directed=False)
    _, first, group = np.unique(part[:strokes], return_index=True, return_inverse=True)
    numbers: Numbers = np.argsort(np.argsort(first))[group]
    return numbers


def _contradiction(strokes: list[Stroke], one: int, other: int, shape: tuple[int, ...]) -> InputError:
    """Say which strokes, from one to the next by a common pixel, join two that are different objects."""
    from scipy.sparse import csgraph

    pixels, place = np.unique(np.concatenate([stroke.pixels for stroke in strokes]), return_inverse=True)
    member = np.repeat(np.arange(len(strokes)), [len(stroke.pixels) for stroke in strokes])
    graph = _meetings(member, place, len(strokes), len(pixels))
    _, before = csgraph.breadth_first_order(graph, one, directed=False)
    chain = [other]
    while chain[-1] != one:
        chain.append(int(before[chain[-1]]))
    pair = strokes[one].name.rpartition("[")[0]
    met = tuple(map(int, np.unravel_index(pixels[chain[1] - len(strokes)], shape)))
    between = [strokes[node].name for node in chain[2:-1:2]]
    if not between:
        return InputError(
            f"{pair} says that its two strokes are different objects, but both go through pixel {met}; move one of them"
        )
    names = " and ".join(reversed(between))
    return InputError(
        f"{pair} says that two strokes are different objects, but {names} makes them one object, as at pixel {met}; "
        f"remove {pair} or {names}"
    )


def _distinct(pairs: Numbers) -> Numbers:
    """Pairs of numbers, each once, the smaller number first."""
    return np.unique(np.sort(pairs.reshape(-1, 2), axis=1), axis=0)


def _seen(pixels: Numbers, side: slice, length: int) -> Numbers:
    """For pixels of one axis, the pixels of the axis resized to a length from which their labels come."""
    count = side.stop - side.start
    return nearest(slice(0, count), length, count)[pixels]


class _Owned(NamedTuple):
    """Positions that strokes lie on, the group that owns each; and for each group, the owner where it mostly lies."""

    position: Numbers
    owner: Numbers
    host: dict[int, int]


def _owned(position: Numbers, group: Numbers) -> _Owned:
    """Give each position to the group with most pixels in it; of equal ones, to the first."""
    pairs, count = np.unique(np.stack((position, group), axis=1), axis=0, return_counts=True)
    order = np.lexsort((pairs[:, 1], -count, pairs[:, 0]))
    owned, first = np.unique(pairs[order, 0], return_index=True)
    owner = pairs[order][first, 1]
    hosts = owner[np.searchsorted(owned, pairs[:, 0])]
    best = np.lexsort((count, pairs[:, 1]))
    return _Owned(owned, owner, dict(zip(pairs[best, 1].tolist(), hosts[best].tolist())))


def _as_shown(
    position: Numbers, group: Numbers, shown: npt.NDArray[Any], labels: Labels
) -> tuple[Numbers, Numbers]:
    """Replace the pixels of strokes that show another object than that of their position, see `seeds_at`."""
    fits = labels.ravel()[position] == shown
    strange = ~fits & (shown > 0)
    met = set(zip(group[fits].tolist(), shown[fits].tolist(), strict=True))
    wanted = dict(zip(zip(group[strange].tolist(), shown[strange].tolist()), position[strange].tolist()))
    missed = {pair: place for pair, place in wanted.items() if pair not in met}
    added = [(_nearest(labels, item, place), one) for (one, item), place in missed.items()]
    more = np.array([pair for pair in added if pair[0] is not None], np.intp).reshape(-1, 2)
    return np.concatenate((position[fits], more[:, 0])), np.concatenate((group[fits], more[:, 1]))


def _nearest(labels: Labels, item: int, place: int) -> int | None:
    """The position of an object that is nearest to a place, both numbered in C order; None if it has no position."""
    positions = np.flatnonzero(labels == item)
    if not len(positions):
        return None
    lines = np.stack(np.unravel_index(positions, labels.shape))
    here = np.array(np.unravel_index(place, labels.shape))[:, np.newaxis]
    return int(positions[np.square(lines - here).sum(axis=0).argmin()])


def _seed_of_each(owned: _Owned, links: Links) -> Numbers:
    """Number of each group's seed: its own, or that of the group that owns its positions; 0 for none."""
    parties = Parties(int(links.group.max()) + 1, links.apart)
    owners = np.unique(owned.owner)
    seed = np.zeros(int(links.group.max()) + 1, np.intp)
    seed[owners] = np.arange(1, len(owners) + 1)
    for group, host in sorted(owned.host.items()):
        if seed[group] == 0 and parties.join(host, group):
            seed[group] = seed[host]
    return seed
