"""Corrections: what the strokes of a user change in the objects that a clusterer found."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixel_embedded_affinity.affinity import Affinities, Box
from pixel_embedded_affinity.clustering.base import refuse_no_attraction
from pixel_embedded_affinity.clustering.mutex_watershed import AS_PUBLISHED, Repulsion, box_around, by_edges
from pixel_embedded_affinity.labels import Labels, Mask, relabel
from pixel_embedded_affinity.links import Parties, Seeds

_Integers = NDArray[np.integer[Any]]
_Numbers = NDArray[np.intp]


def corrected(
    labels: _Integers, affinities: Affinities, seeds: Seeds, repulsion: Repulsion = AS_PUBLISHED
) -> Labels:
    """Join the objects that a stroke goes through, and cut the objects that different strokes share.

    Objects without a stroke stay as they are. An object becomes part of the one object of its strokes, unless two of
    them are different objects. Then it is clustered again, on its own, by a mutex watershed with the strokes as seeds.
    Strokes that are one because of one object are one everywhere. Pixels of a stroke over background join the stroke's
    object; their surroundings stay background.

    Parameters
    ----------
    labels : ndarray of int, shape (*spatial)
        Objects of any clusterer, 0 = background. Not modified.
    affinities : Affinities
        From which the objects were made, in NumPy arrays.
    seeds : Seeds
        The strokes.
    repulsion : Repulsion
        How strongly pairs repel each other where an object is cut.

    Returns
    -------
    ndarray of int32, shape (*spatial)
        Each seed lies in one object, and seeds that are apart lie in different ones.

    Raises
    ------
    InputError
        If an object is to be cut, and the neighborhood has no attractive offset.
    """
    known = np.nonzero(seeds.numbers)
    numbers = seeds.numbers[known]
    parties = Parties(int(seeds.seed.max()) + 1, seeds.apart)
    whole, shared = _of_objects(labels[known], numbers, parties)
    parts = labels.astype(np.intp)
    owners, size = dict(whole), int(labels.max(initial=0)) + 1
    for item in shared:
        inside = labels == item
        box = box_around(inside, affinities.neighborhood.strides)
        pieces = _cut(_cropped(affinities, box), inside[box], seeds.numbers[box], parties, repulsion)
        parts[box][inside[box]] = pieces[inside[box]] + size
        owners |= {
            size + piece: seed for piece, seed in _joined(pieces, seeds.numbers[box], inside[box], parties)
        }
        size += int(pieces.max()) + 1
    target = np.arange(size)
    for part, seed in owners.items():
        target[part] = size + parties.of(seed)
    result: _Numbers = target[parts]
    result[known] = size + np.array([parties.of(seed) for seed in numbers.tolist()], np.intp)
    return relabel(result)


def _of_objects(
    labels: _Integers, numbers: _Numbers, parties: Parties
) -> tuple[list[tuple[int, int]], list[int]]:
    """Objects that fall to one of their seeds as a whole, with this seed, and those that different seeds share."""
    whole, shared = [], []
    pairs = np.unique(np.stack((labels.astype(np.intp), numbers), axis=1), axis=0)
    for item in np.unique(pairs[pairs[:, 0] > 0, 0]).tolist():
        seeds = pairs[pairs[:, 0] == item, 1].tolist()
        if any(parties.apart(one, other) for one, other in combinations(seeds, 2)):
            shared.append(item)
            continue
        whole.append((item, seeds[0]))
        for seed in seeds[1:]:
            parties.join(seeds[0], seed)
    return whole, shared


def _cropped(affinities: Affinities, box: Box) -> Affinities:
    """The affinities within a box that starts on the grid of the strides."""
    everywhere = (slice(None), *box)
    source = None if affinities.source is None else affinities.source[everywhere]
    values = affinities.values[everywhere] if affinities.is_given else None
    return Affinities(values, affinities.neighborhood, source).numpy()


def _cut(
    given: Affinities, inside: Mask, numbers: _Numbers, parties: Parties, repulsion: Repulsion
) -> Labels:
    """The pieces of an object, 1..n; each of its seeds lies in one, and seeds that are apart in different ones."""
    refuse_no_attraction(given)
    own = np.array([parties.of(seed) for seed in range(int(numbers.max()) + 1)])
    seeds = np.where(inside, own[numbers], 0)
    found = np.unique(seeds[seeds > 0]).tolist()
    apart = [pair for pair in combinations(found, 2) if parties.apart(*pair)]
    return by_edges(given, repulsion, inside, seeds, np.array(apart, np.intp))


def _joined(pieces: Labels, numbers: _Numbers, inside: Mask, parties: Parties) -> list[tuple[int, int]]:
    """Pieces that have a seed, with the seed; several seeds of a piece become one everywhere."""
    seeded = inside & (numbers > 0)
    whole, _ = _of_objects(pieces[seeded], numbers[seeded], parties)
    return whole
