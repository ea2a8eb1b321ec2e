"""The loss of the baseline MALA: pairs of voxels are judged by the weakest affinity on the best path between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from torch import Tensor

from pixel_embedded_affinity.affinity import pair_boxes
from pixel_embedded_affinity.training.losses.affinity import Offsets

Integers = npt.NDArray[np.integer[Any]]
Counts = npt.NDArray[np.float64]


def malis_loss(logits: Tensor, labels: Tensor, offsets: Offsets) -> Tensor:
    """Mean over the images of a batch of the constrained MALIS loss.

    The affinity of two voxels is the smallest one on the path between them on which the smallest is largest. It is
    an edge of the maximum spanning tree of the affinities, which Kruskal's algorithm gives, with the number of pairs
    that each edge decides. In the positive pass, paths stay within the object, and each pair of voxels of one object
    costs ``(1 - a)^2``; pairs that no path within the crop joins are left out. In the negative pass, all edges within
    objects have affinity 1, and each pair of voxels of different objects costs ``a^2``. Each pass is divided by its
    number of pairs. Voxels that belong to no object only connect.

    Parameters
    ----------
    logits : torch.Tensor
        (N, K, *spatial): the sigmoid of channel k at pixel p is the affinity of p and ``p + offsets[k]``. The loss
        ignores channels beyond the offsets.
    labels : torch.Tensor
        Integer (N, *spatial): objects are the positive numbers.
    offsets : sequence of tuple of int
        The edges of the graph.

    Returns
    -------
    torch.Tensor
        The loss, a scalar, in single precision or better; 0 where there are no pairs.

    References
    ----------
    S. C. Turaga et al., "Maximin affinity learning of image segmentation", NIPS 2009; with the two constrained passes
    of J. Funke et al., "Large Scale Image Segmentation with Structured Loss based Deep Learning for Connectome
    Reconstruction", IEEE TPAMI 41(7), 2019.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    values = wide[:, : len(offsets)].sigmoid()
    losses = [_loss_of_image(image, truth, offsets) for image, truth in zip(values, labels)]
    return torch.stack(losses).mean()


def _loss_of_image(values: Tensor, labels: Tensor, offsets: Offsets) -> Tensor:
    """Loss of the affinities (K, *spatial) of one image."""
    pull, push = malis_weights(values.detach().cpu().numpy(), labels.cpu().numpy(), offsets)
    parts = ((pull, (1 - values).square()), (push, values.square()))
    losses = [
        (torch.from_numpy(count / max(1.0, count.sum())).to(cost) * cost).sum() for count, cost in parts
    ]
    return torch.stack(losses).sum()


def malis_weights(
    affinities: npt.NDArray[Any], labels: Integers, offsets: Sequence[tuple[int, ...]]
) -> tuple[Counts, Counts]:
    """How many pairs of voxels each edge decides, in the positive and in the negative pass of `malis_loss`.

    Parameters
    ----------
    affinities : numpy.ndarray
        Float (K, *spatial).
    labels : numpy.ndarray
        Integer (*spatial): objects are the positive numbers.
    offsets : sequence of tuple of int
        The K edges of a voxel.

    Returns
    -------
    pull, push : numpy.ndarray
        float64 (K, *spatial): pairs of one object, and pairs of two objects. 0 where an edge leaves the image.
    """
    ends, places = _edges(labels.shape, offsets)
    order = np.argsort(-affinities.reshape(-1)[places], kind="stable")
    ends, places = ends[order], places[order]
    flat = labels.reshape(-1)
    first, second = flat[ends].T
    within = (first == second) & (first > 0)
    pull, push = np.zeros((2, affinities.size))
    pull[places[within]] = _pulls(ends[within], flat.size)
    pieces = _components(ends[within], flat.size)
    push[places[~within]] = _pushes(pieces[ends[~within]], pieces, flat)
    return pull.reshape(affinities.shape), push.reshape(affinities.shape)


def _edges(shape: tuple[int, ...], offsets: Sequence[tuple[int, ...]]) -> tuple[Integers, Integers]:
    """The two voxels of each edge inside the image, shape (E, 2), and its place in the raveled affinities."""
    voxels = np.arange(np.prod(shape)).reshape(shape)
    boxes = [pair_boxes(shape, offset) for offset in offsets]
    ends = [np.stack((voxels[here].ravel(), voxels[there].ravel()), axis=1) for here, there in boxes]
    places = [voxels[here].ravel() + channel * voxels.size for channel, (here, _) in enumerate(boxes)]
    return np.concatenate(ends), np.concatenate(places)


def _matrix(ends: Integers, values: npt.NDArray[Any], nodes: int) -> Any:
    return coo_array((values, (ends[:, 0], ends[:, 1])), shape=(nodes, nodes)).tocsr()


def _components(ends: Integers, nodes: int) -> Integers:
    """Number of each node's component, from 0."""
    found: Integers = connected_components(_matrix(ends, np.ones(len(ends)), nodes), directed=False)[1]
    return found


def _tree(ends: Integers, nodes: int) -> Integers:
    """Which of different edges, given in falling order of affinity, form a maximum spanning forest; in this order."""
    ranks = np.arange(1.0, len(ends) + 1)  # from 1: the library takes a weight of 0 for no edge
    chosen = minimum_spanning_tree(_matrix(ends, ranks, nodes)).data
    return np.sort(chosen).astype(np.intp) - 1


def _pulls(ends: Integers, nodes: int) -> Counts:
    """For each edge within objects, in falling order, how many pairs of voxels it decides."""
    counts, tree = np.zeros(len(ends)), _tree(ends, nodes)
    root, size = list(range(nodes)), [1] * nodes
    decided = []
    for first, second in ends[tree].tolist():
        one, other = _root(root, first), _root(root, second)
        decided.append(size[one] * size[other])
        if size[one] < size[other]:
            one, other = other, one
        root[other] = one
        size[one] += size[other]
    counts[tree] = decided
    return counts


def _root(root: list[int], node: int) -> int:
    """The root of a node's tree; paths to it are halved on the way."""
    while root[node] != node:
        root[node] = node = root[root[node]]
    return node


def _pushes(ends: Integers, pieces: Integers, labels: Integers) -> Counts:
    """For each edge between pieces, in falling order, how many pairs of voxels of different objects it decides.

    Pieces without an object only connect. Each first joins the object that it reaches best; the edges between the
    basins that form so are the only ones that decide a pair.
    """
    counts = np.zeros(len(ends))
    basins = _basins(ends, np.unique(pieces[labels > 0]), int(pieces.max()) + 1)
    across = _between(basins[ends])
    tree = across[_tree(basins[ends[across]], int(basins.max()) + 1)]
    held = _objects_of(basins[pieces], labels)
    root = list(range(int(basins.max()) + 1))
    for edge, (first, second) in zip(tree.tolist(), basins[ends[tree]].tolist()):
        one, other = _root(root, first), _root(root, second)
        if len(held.get(one, ())) < len(held.get(other, ())):
            one, other = other, one
        root[other] = one
        if few := held.pop(other, None):
            counts[edge] = _joined(held[one], few)
    return counts


def _basins(ends: Integers, seeds: Integers, nodes: int) -> Integers:
    """Number of the basin of each node: a seed with the nodes whose best path to any seed leads there."""
    source = np.stack((np.full(len(seeds), nodes), seeds), axis=1)
    kept = _between(ends)
    joined = np.concatenate((source, ends[kept]))
    tree = _tree(joined, nodes + 1)
    return _components(joined[tree[tree >= len(source)]], nodes)


def _between(ends: Integers) -> Integers:
    """Places of the edges that join different nodes, the first one of each two nodes, in their order."""
    low, high = np.sort(ends, axis=1).T.astype(np.int64)
    _, first = np.unique(low * (int(ends.max(initial=0)) + 1) + high, return_index=True)
    return np.sort(first[low[first] != high[first]])


def _objects_of(basins: Integers, labels: Integers) -> dict[int, dict[int, int]]:
    """For each basin with an object, the object and its voxels; `basins` is that of each voxel."""
    inside = labels > 0
    sizes = np.bincount(basins[inside])
    own = np.zeros(len(sizes), labels.dtype)
    own[basins[inside]] = labels[inside]
    found = np.flatnonzero(sizes)
    objects = zip(found.tolist(), own[found].tolist(), sizes[found].tolist())
    return {basin: {label: size} for basin, label, size in objects}


def _joined(many: dict[int, int], few: dict[int, int]) -> float:
    """Add the voxels of few objects to those of many; return the pairs of different objects between them."""
    alike = sum(size * many.get(label, 0) for label, size in few.items())
    pairs = sum(many.values()) * sum(few.values()) - alike
    for label, size in few.items():
        many[label] = many.get(label, 0) + size
    return float(pairs)
