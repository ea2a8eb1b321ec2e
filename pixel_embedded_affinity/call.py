"""One call of a verb of `Segmenter`: its checked settings, and which part of a source is the image."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol, TypeVar

import numpy as np

from pixel_embedded_affinity.clustering import Clusterer
from pixel_embedded_affinity.clustering.base import described
from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.embedding import Embedding, check_embedding
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.tiling import TileSize, Tiling, as_tiling
from pixel_embedded_affinity.image import Picture, open_picture
from pixel_embedded_affinity.io.selection import WHOLE, Selection
from pixel_embedded_affinity.labels import Labels, as_foreground, as_labels, number_on, relabel
from pixel_embedded_affinity.links import read_links
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.pipeline import (
    Embedder,
    Labeler,
    Seen,
    Segmentation,
    analyzed,
    checked_clusterer,
    cluster,
    see,
)
from pixel_embedded_affinity.runtime.ahead import one_ahead
from pixel_embedded_affinity.runtime.memory import memory_reused
from pixel_embedded_affinity.runtime.progress import Progress, track
from pixel_embedded_affinity.runtime.subject import about
from pixel_embedded_affinity.strokes import linked, relinked

T = TypeVar("T")


class Model(Protocol):
    """What a call needs of a segmenter."""

    config: ModelConfig

    @property
    def embedder(self) -> Embedder:
        """The network on its device."""
        ...


@dataclass(frozen=True, eq=False)
class Call:
    """What a caller asks for.

    Attributes
    ----------
    embedder : Embedder
        The network.
    config : ModelConfig
        The model's configuration with the settings of the call.
    clusterer : str, Clusterer or None
        As the caller gave it.
    selection : Selection
        Which part of a source is the image.
    tiling : Tiling
        How an image is cut for the network.
    """

    embedder: Embedder
    config: ModelConfig
    clusterer: str | Clusterer | None
    selection: Selection
    tiling: Tiling

    @classmethod
    def of(
        cls,
        model: Model,
        selection: Selection = WHOLE,
        tile: TileSize = None,
        scale: float | str | None = None,
        diameter: float | str | None = None,
        neighborhood: Neighborhood | None = None,
        clusterer: str | Clusterer | None = None,
        min_size: int | None = None,
    ) -> Call:
        """Check the settings of a call; None leaves the model's own.

        Raises
        ------
        InputError
            If a setting cannot be used.
        """
        values: dict[str, Any] = {
            "neighborhood": neighborhood,
            "postprocess.min_size": min_size,
            "scale": scale,
            "diameter": diameter,
        }
        if clusterer is not None:
            name, settings = (clusterer, {}) if isinstance(clusterer, str) else described(clusterer)
            values |= {"clusterer": name, "clusterer_settings": settings}
        config = model.config.with_values({key: value for key, value in values.items() if value is not None})
        return cls(model.embedder, config, clusterer, selection, as_tiling(tile))

    @cached_property
    def labeler(self) -> Labeler:
        """Clusterer and settings; the clusterer is checked here, since `embed` needs none."""
        return Labeler(self.config, checked_clusterer(self.clusterer, self.config), self.embedder.threads)

    def embed(self, image: Any) -> Embedding:
        """Run the network over an image, at the scale that the settings ask for."""
        picture = self._opened(image)
        with about(picture.name):
            return see(self.embedder, picture, self.config, tiling=self.tiling).embedding

    def cluster(
        self, embedding: Embedding, labels: Any, same: Any, different: Any, foreground: Any
    ) -> Labels:
        """Label an embedding, within the strokes of a user; or change labels by strokes."""
        if not isinstance(embedding, Embedding):
            raise InputError(
                f"cluster takes what embed returns, an Embedding, got {type(embedding).__name__}"
            )
        check_embedding(embedding, self.config.ndim)
        labeler, shape = self.labeler, embedding.image_shape or embedding.seen_shape
        given = None if foreground is None else as_foreground(foreground, shape)
        links = read_links(same, different, shape)
        if labels is None:
            return (
                cluster(embedding, given, labeler)
                if links is None
                else linked(embedding, given, labeler, links)
            )
        if links is None or foreground is not None:
            raise InputError(
                "labels= are changed by strokes alone; expected same= or different=, and no foreground="
            )
        return relinked(relabel(as_labels(labels, shape)), embedding, labeler, links)

    def analyze(self, image: Any, foreground: Any) -> Segmentation:
        """Label one image, and return it with all that the labels were made from."""
        labeler, picture = self.labeler, self._opened(image)
        with about(picture.name):
            return analyzed(self._see(picture, foreground), labeler)

    def segment(self, image: Any, foreground: Any) -> Labels:
        """Label a source, each of its time points or sections on its own."""
        labeler, picture = self.labeler, self._opened(image)
        with about(picture.name):
            return _labels_of_frames(
                picture, lambda frame, given: _labels(self._see(frame, given), labeler=labeler), foreground
            )

    def segment_each(self, images: Iterable[Any], progress: Progress) -> Iterator[Labels]:
        """Label images lazily; the network works one image ahead.

        Raises
        ------
        InputError
            If `images` is a single path or array, which would be taken apart.
        """
        find = partial(_labels, labeler=self.labeler)
        _check_sequence(images)
        return _labels_of_each(self._prepared, find, images, progress)

    def _prepared(self, image: Any) -> Seen | Labels:
        """Embed an image that is still to be labeled, or label one that has several frames."""
        picture = self._opened(image)
        return self.segment(picture, None) if picture.frame_axis else self._see(picture)

    def _opened(self, image: Any) -> Picture:
        """Find out which part of a source is the image."""
        channels, ndim = self.config.network.in_channels, self.embedder.ndim
        return open_picture(image, self.selection, channels=channels, ndim=ndim)

    def _see(self, picture: Picture, foreground: Any = None) -> Seen:
        """Read an image and embed it."""
        tiling, clusterer = self.tiling, self.labeler.clusterer
        return see(
            self.embedder, picture, self.config, foreground=foreground, tiling=tiling, clusterer=clusterer
        )


def _labels(seen: Seen | Labels, labeler: Labeler) -> Labels:
    """Return the labels alone, so that the embedding need not stay in memory; labels come back as they are."""
    return seen if isinstance(seen, np.ndarray) else analyzed(seen, labeler).labels


def _labels_of_frames(
    picture: Picture, label_frame: Callable[[Picture, Any], Labels], foreground: Any
) -> Labels:
    """Label each time point or section of a source on its own; the labels have the source's order of axes.

    Each time point has its own objects 1..n. The objects of sections are numbered on, so that no number stands for two
    objects of a stack.
    """
    if not picture.frame_axis:
        return label_frame(picture, foreground)
    place, given = picture.axes.replace("C", "").index(picture.frame_axis), None
    if foreground is not None:
        given = np.moveaxis(as_foreground(foreground, picture.label_shape), place, 0)
    frames = range(picture.frame_count)
    found = [label_frame(picture.frame(n), None if given is None else given[n]) for n in frames]
    if picture.frame_axis == "Z":
        number_on(found)
    return np.stack(found, axis=place)


def _labels_of_each(
    prepare: Callable[[Any], Seen | Labels],
    find: Callable[[Seen | Labels], Labels],
    images: Iterable[Any],
    progress: Progress,
) -> Iterator[Labels]:
    numbered = enumerate(track(images, progress))
    work = one_ahead(partial(_numbered, prepare), partial(_numbered, find), numbered)
    with memory_reused(), closing(work) as found:
        for _, labels in found:
            yield labels


def _numbered(function: Callable[[Any], T], numbered: tuple[int, Any]) -> tuple[int, T]:
    """Call a function of an image; its error says which image it was."""
    number, image = numbered
    try:
        with about(f"images[{number}]"):
            return number, function(image)
    except Exception as error:
        error.add_note(f"It is images[{number}] of segment_many.")
        raise


def _check_sequence(images: Any) -> None:
    shape = tuple(getattr(images, "shape", None) or ())
    if isinstance(images, (str, os.PathLike)):
        found, advice = "path", "put it in a list"
    elif isinstance(images, bytes) or hasattr(images, "read"):
        found, advice = "file", "put it in a list"
    elif len(shape) > 1:
        found, advice = (
            f"array of shape {shape}",
            "put it in a list if it is one image; if it is a stack of images, pass list(stack)",
        )
    elif not hasattr(images, "__iter__") and not hasattr(images, "__getitem__"):
        found, advice = type(images).__name__, "pass a list of arrays or paths"
    elif hasattr(images, "shape") and not shape:
        found, advice = "number", "pass a list of arrays or paths"
    else:
        return
    raise InputError(f"segment_many takes a sequence of images, got one {found}; {advice}")
