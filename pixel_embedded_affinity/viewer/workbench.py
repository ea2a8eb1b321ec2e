"""What the plug-in computes, without a viewer: labels of an embedding under settings and strokes that change."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.confidence import object_confidence
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export import write_labels
from pixel_embedded_affinity.inference.base import Runtime
from pixel_embedded_affinity.io.atomic import atomic_path
from pixel_embedded_affinity.labels import Labels
from pixel_embedded_affinity.neighborhood import Neighborhood

if TYPE_CHECKING:
    from torch import nn

    from pixel_embedded_affinity.embedding import Embedding
    from pixel_embedded_affinity.segmenter import Segmenter

Pixels = npt.NDArray[np.intp]


class Row(NamedTuple):
    """One object in the list of the least confident ones: its label, confidence, pixels, and the middle of its box."""

    label: int
    confidence: float
    pixels: int
    middle: tuple[float, ...]


@dataclass(frozen=True)
class Choice:
    """Settings that the sliders choose; None leaves the model's own.

    Attributes
    ----------
    ranges : tuple of int or None
        In pixels that the network embeds.
    directions : int or None
        Only used with `ranges`.
    stride : int or None
        The same along each axis, in which the model has a stride.
    threshold : float or None
        Probability above which a pixel is foreground.
    merge_size, min_size : int or None
        Objects of fewer pixels are merged into a neighbor, and removed.
    """

    ranges: tuple[int, ...] | None = None
    directions: int | None = None
    stride: int | None = None
    threshold: float | None = None
    merge_size: int | None = None
    min_size: int | None = None

    def of(self, segmenter: Segmenter) -> Segmenter:
        """Return the segmenter with these settings."""
        values = {
            "neighborhood": self.neighborhood(segmenter),
            "foreground_threshold": self.threshold,
            "postprocess.merge_sizes": None if self.merge_size is None else merge_passes(self.merge_size),
            "postprocess.min_size": self.min_size,
        }
        return segmenter.with_settings(**{key: value for key, value in values.items() if value is not None})

    def neighborhood(self, segmenter: Segmenter) -> Neighborhood:
        """Return the pairs of pixels."""
        own, config = segmenter.config.neighborhood, segmenter.config
        chosen = own
        if self.ranges is not None:
            directions = self.directions or directions_of(own)
            sampling = config.sampling or (1.0,) * own.ndim
            chosen = Neighborhood.from_ranges(
                in_steps(self.ranges, sampling), directions, strides=own.strides, attractive="straight"
            )
        if self.stride is None:
            return chosen
        strides = [self.stride if step > 1 or max(own.strides) == 1 else 1 for step in own.strides]
        return chosen.with_values({"strides": strides})


def directions_of(neighborhood: Neighborhood) -> int:
    """Return the number of directions of a neighborhood: 4 or 8 of an image, 6 or 26 of a volume."""
    slanted = any(np.count_nonzero(offset) > 1 for offset in neighborhood.offsets)
    straight, all_of_them = {2: (4, 8), 3: (6, 26)}[neighborhood.ndim]
    return all_of_them if slanted else straight


def ranges_of(neighborhood: Neighborhood) -> tuple[int, ...]:
    """Return the ranges of a neighborhood in pixels, the shortest first."""
    return tuple(sorted({max(map(abs, offset)) for offset in neighborhood.offsets}))


def spread_ranges(longest: int, count: int) -> tuple[int, ...]:
    """Return at most `count` ranges from 1 to the longest one, each about as many times the one before."""
    return tuple(np.unique(np.rint(np.geomspace(1, longest, count)).astype(int)).tolist())


def in_steps(ranges: Sequence[int], sampling: Sequence[float]) -> list[tuple[int, ...]]:
    """Return ranges as steps along each axis: fewer where pixels are longer, but one at least."""
    steps = [tuple(max(1, round(length / size)) for size in sampling) for length in ranges]
    return list(dict.fromkeys(steps))


def merge_passes(size: int) -> tuple[int, ...]:
    """Return the sizes of three passes that merge objects, each twice as large as the one before."""
    return tuple(sorted({size // 4, size // 2, size} - {0}))


@dataclass(frozen=True, eq=False)
class Workbench:
    """An embedding with its settings and strokes. Nothing changes in place, so that threads may compute with it.

    Attributes
    ----------
    segmenter : Segmenter
        The model, with the settings in use.
    embedding : Embedding
        Of the image, from `Segmenter.embed`.
    same : tuple of numpy.ndarray
        Strokes through what is one object.
    different : tuple of numpy.ndarray
        Strokes whose two ends are different objects.
    """

    segmenter: Segmenter
    embedding: Embedding
    same: tuple[Pixels, ...] = ()
    different: tuple[Pixels, ...] = ()

    @cached_property
    def plain(self) -> Labels:
        """The labels without strokes."""
        return self.segmenter.cluster(self.embedding)

    def labels(self) -> Labels:
        """Return the labels within the strokes.

        Raises
        ------
        InputError
            If strokes contradict each other.
        """
        if not self.same and not self.different:
            return self.plain
        same = [on_objects(stroke, self.plain) for stroke in self.same]
        different = [(stroke[:1], stroke[-1:]) for stroke in self.different]
        return self.segmenter.cluster(self.embedding, same=same, different=different)

    def with_strokes(self, same: Sequence[Pixels], different: Sequence[Pixels]) -> Workbench:
        """Return a workbench with other strokes, which still knows the labels without any."""
        changed = replace(self, same=tuple(same), different=tuple(different))
        if "plain" in self.__dict__:
            changed.__dict__["plain"] = self.plain
        return changed

    def rows(self, labels: Labels) -> list[Row]:
        """Return all objects of some labels, the least confident first."""
        from scipy import ndimage

        sure = object_confidence(labels, self.embedding, self.segmenter.config.neighborhood)
        numbers = np.unique(labels[labels > 0])
        sizes, boxes = np.bincount(labels.ravel()), ndimage.find_objects(labels)
        middles = [
            tuple((side.start + side.stop - 1) / 2 for side in boxes[number - 1]) for number in numbers
        ]
        rows = [Row(int(n), float(c), int(sizes[n]), m) for n, c, m in zip(numbers, sure, middles)]
        return sorted(rows, key=lambda row: row.confidence)


def pixels_of(vertices: Any, shape: Sequence[int]) -> Pixels:
    """Return the pixels of a line through vertices, in its order, each once; those outside of the image are left out.

    Parameters
    ----------
    vertices : array-like of float, shape (N, ndim)
        In pixels; the middle of a pixel is an integer.
    shape : sequence of int
        Shape of the image.
    """
    points = np.asarray(vertices, float)
    parts = [points[:1]]
    for start, end in pairwise(points):
        count = int(np.ceil(np.abs(end - start).max())) + 1
        parts.append(np.linspace(start, end, count))
    pixels = np.rint(np.concatenate(parts)).astype(np.intp)
    _, first = np.unique(pixels, axis=0, return_index=True)
    pixels = pixels[np.sort(first)]
    inside: Pixels = pixels[((pixels >= 0) & (pixels < np.asarray(shape))).all(axis=1)]
    return inside


def on_objects(pixels: Pixels, labels: Labels) -> Pixels:
    """Return the pixels that lie on objects, so that a line across a gap does not fill it; all if none does."""
    there = labels[tuple(pixels.T)] > 0
    return pixels[there] if there.any() else pixels


def save_example(folder: str | Path, name: str, image: Any, labels: Labels) -> tuple[Path, Path]:
    """Write an image and its labels as ``pea tune`` and ``pea finetune`` take them.

    Parameters
    ----------
    folder : path
        It gets ``images/NAME.tif`` and ``labels/NAME.tif``; files of these names are replaced.
    name : str
        Name of the image.
    image, labels : numpy.ndarray
        What to write.

    Raises
    ------
    InputError
        If the name is empty or names another folder.
    """
    import tifffile

    if not name or Path(name).name != name:
        raise InputError(f"name must be that of a file, got {name!r}; leave out slashes")
    paths = [Path(folder) / part / f"{name}.tif" for part in ("images", "labels")]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(image)
    with atomic_path(paths[0], (".tif",)) as temporary:
        tifffile.imwrite(temporary, array, photometric="rgb" if is_rgb(array, labels) else "minisblack")
    write_labels(paths[1], labels)
    return paths[0], paths[1]


def is_rgb(image: npt.NDArray[Any], labels: Labels) -> bool:
    """Whether an image of these labels has its colors last."""
    return image.ndim == labels.ndim + 1 and image.shape[-1] == 3


class Failure(NamedTuple):
    """What a thread gives instead of a result: an error that a panel shows. Any other error is raised."""

    error: Exception


class Stopped(Exception):
    """A user has stopped the network."""


@contextmanager
def stoppable(network: nn.Module | Runtime, stop: threading.Event) -> Iterator[None]:
    """Context in which a network raises `Stopped` before its next layer, once `stop` is set; only torch has layers."""

    def check(*_: Any) -> None:
        if stop.is_set():
            raise Stopped

    layers = () if isinstance(network, Runtime) else network.modules()
    handles = [layer.register_forward_pre_hook(check) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
