"""From an image to labels: see, label, restore. Nothing else in the library makes labels of an image.

*see*: the image is read, normalized, scaled, and the network embeds it.
*label*: a clusterer makes objects of the embedding's affinities, and the objects are postprocessed.
*restore*: the labels get the image's size and stay inside the caller's foreground.
"""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pixel_embedded_affinity.affinity import Affinities, Array, affinities, numpy_of
from pixel_embedded_affinity.clustering import Clusterer, get_clusterer
from pixel_embedded_affinity.clustering.base import described
from pixel_embedded_affinity.confidence import object_confidence
from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.embedding import WHOLE, Embedding, embed, ndim_of
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export.table import object_table
from pixel_embedded_affinity.geometry.scaling import labels_of_image, resize_image, resize_labels
from pixel_embedded_affinity.geometry.strides import at_positions, borders_flooded, borders_placed, spread
from pixel_embedded_affinity.geometry.tiling import Tiling
from pixel_embedded_affinity.image import Image, as_image
from pixel_embedded_affinity.io.arrays import FloatArray
from pixel_embedded_affinity.labels import Labels, Mask, as_foreground, as_labels, relabel
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.normalize import normalize
from pixel_embedded_affinity.runtime.ahead import one_ahead
from pixel_embedded_affinity.runtime.device import cpu_threads, resolve_device
from pixel_embedded_affinity.runtime.memory import memory_reused
from pixel_embedded_affinity.runtime.progress import Progress, track

Integers = npt.NDArray[np.integer[Any]]


@contextmanager
def working(threads: int | None) -> Iterator[None]:
    """Context in which the pipeline works: its own number of CPU threads, and freed memory used again."""
    with memory_reused(), cpu_threads(threads):
        yield


@dataclass(eq=False)
class Embedder:
    """A network on its device.

    Another process can be given it: the weights go through main memory, and it uses the same device there.

    Attributes
    ----------
    network : torch.nn.Module
        Ready for inference, on `device`.
    device : torch.device
        Where the network computes.
    precision : str
        ``"auto"``, ``"float32"`` or ``"bfloat16"``.
    threads : int or None
        CPU threads; None leaves torch's own number.
    """

    network: nn.Module
    device: torch.device
    precision: str = "auto"
    threads: int | None = None

    @property
    def ndim(self) -> int:
        """Spatial axes of the images that the network takes, 2 or 3."""
        return ndim_of(self.network)

    def __call__(self, values: FloatArray, config: ModelConfig, tiling: Tiling = WHOLE) -> Embedding:
        """Embed normalized, scaled values ``(C, *spatial)``."""
        device, views, size = self.device, config.views, config.pixel_size
        with working(self.threads):
            return embed(
                self.network, values, device, self.precision, tiling=tiling, views=views, pixel_size=size
            )

    def __getstate__(self) -> dict[str, Any]:
        network = self.network if self.device.type == "cpu" else copy.deepcopy(self.network).cpu()
        return {**self.__dict__, "device": str(self.device), "network": network}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.device = resolve_device(state["device"])
        self.network = state["network"].to(self.device)


class Seen(NamedTuple):
    """What the network saw of an image, and the caller's foreground in the network's order of axes."""

    picture: Image
    given: Mask | None
    embedding: Embedding


@dataclass(frozen=True, eq=False)
class Labeler:
    """How affinities become labels: a clusterer, and the postprocessing of a configuration."""

    config: ModelConfig
    clusterer: Clusterer
    threads: int | None = None

    def __call__(self, pairs: Affinities, inside: Mask | None) -> Labels:
        """Cluster and postprocess, at the embedding's resolution."""
        return postprocessed(self.clustered(pairs, inside), pairs.source, self.config)

    def clustered(self, pairs: Affinities, inside: Mask | None) -> Integers:
        """Return the clusterer's objects; the labels of a plug-in are checked."""
        with working(self.threads):
            return as_labels(self.clusterer(pairs, foreground=inside), pairs.spatial_shape)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """All that `Segmenter.analyze` found in one image.

    Attributes
    ----------
    labels : numpy.ndarray
        int32, the image's spatial shape: 0 = background, objects 1..n.
    foreground : numpy.ndarray or None
        bool, the spatial shape of `labels`: where objects were looked for; None if everywhere.
    embedding : Embedding
        At the network's resolution, which differs from the image's where a scale was given. Its spatial axes are
        ``ZYX`` or ``YX``, whatever the image's order.
    affinities : Affinities
        NumPy arrays with the embedding's resolution and axes.
    settings : ModelConfig
        What the result was made with.
    axes : str
        Axes of `labels` in their order, such as ``"YX"``.
    """

    labels: Labels
    foreground: Mask | None
    embedding: Embedding
    affinities: Affinities
    settings: ModelConfig
    axes: str = "YX"

    def table(self, intensity: npt.NDArray[Any] | None = None) -> dict[str, npt.NDArray[Any]]:
        """Measure the objects: a dictionary of columns, one row per object.

        Parameters
        ----------
        intensity : numpy.ndarray, optional
            Image of the labels' shape, whose mean is taken in each object.

        Returns
        -------
        dict of str to numpy.ndarray
            See `pixel_embedded_affinity.export.table.object_table`; and ``confidence``, see
            `pixel_embedded_affinity.confidence.object_confidence`.
        """
        table = object_table(self.labels, intensity)
        order = [self.axes.index(letter) for letter in sorted(self.axes, reverse=True)]
        labels = self.labels.transpose(order)
        table["confidence"] = object_confidence(labels, self.embedding, self.affinities.neighborhood)
        return table


def see(
    embedder: Embedder,
    image: Any,
    config: ModelConfig,
    *,
    axes: str | None = None,
    foreground: Any = None,
    tiling: Tiling = WHOLE,
) -> Seen:
    """Read an image, normalize and scale it, and let the network embed it.

    Parameters
    ----------
    embedder : Embedder
        The network.
    image : path or array-like
        As for `image.as_image`.
    config : ModelConfig
        Normalization, scale and views.
    axes : str, optional
        A letter per axis of the image.
    foreground : array-like, optional
        Where objects may be, in the image's order of axes.
    tiling : Tiling
        How the image is cut for the network.

    Raises
    ------
    InputError
        If the image, its axes or the foreground cannot be used.
    """
    picture = as_image(image, axes=axes, channels=config.network.in_channels, ndim=embedder.ndim)
    given = None if foreground is None else given_foreground(foreground, picture)
    values = resize_image(normalize(picture.values, config.normalization), config.scale)
    embedding = embedder(values, config, tiling)
    return Seen(picture, given, replace(embedding, image_shape=picture.spatial_shape))


def given_foreground(foreground: Any, picture: Image) -> Mask:
    """Return the caller's foreground with its axes in the network's order."""
    shape = picture.to_source_order(np.empty(picture.spatial_shape, np.bool_)).shape
    return picture.from_source_order(as_foreground(foreground, shape))


def label(embedding: Embedding, given: Mask | None, labeler: Labeler) -> tuple[Labels, Affinities]:
    """Return labels at the embedding's positions, and the affinities that they were made from.

    Parameters
    ----------
    embedding : Embedding
        From `see`.
    given : numpy.ndarray or None
        The caller's foreground, of the image's spatial shape; None for the network's own.
    labeler : Labeler
        Clusterer and settings.
    """
    with working(labeler.threads):
        pairs = affinities(embedding, labeler.config.neighborhood).numpy()
        return labeler(pairs, positions_inside(embedding, given, labeler.config)), pairs


def restore(labels: Labels, embedding: Embedding, given: Mask | None, config: ModelConfig) -> Labels:
    """Give labels of the embedding's positions the size of the image; they stay inside the caller's foreground.

    Borders between touching objects are placed to the pixel: in an image by the embedding between the positions, in a
    volume where the network's foreground is least likely.

    Small objects may vanish when labels shrink: the objects that remain are numbered consecutively.
    """
    seen = labels
    if embedding.stride is not None:
        inside = seen_foreground(embedding, given, config)
        seen = spread(labels, inside, embedding.seen_shape, embedding.stride)
        seen = relabel(_to_the_pixel(seen, labels, embedding, embedding.stride))
    return labels_of_image(seen, embedding.image_shape or embedding.seen_shape, given)


def _to_the_pixel(seen: Labels, labels: Labels, embedding: Embedding, stride: tuple[int, ...]) -> Labels:
    """Place the borders between touching objects; without a foreground, those of a volume stay as they are."""
    if len(stride) == 2:
        return borders_placed(seen, labels, embedding.numpy(), stride)
    # The mean vector of a neuron, which runs through many ranges, says nothing about its border.
    if embedding.foreground is None:
        return seen
    return borders_flooded(seen, embedding.foreground.cpu().numpy(), stride)


def postprocessed(labels: Integers, embedding: Array | None, config: ModelConfig) -> Labels:
    """Postprocess labels at the embedding's positions; the embedding is fetched from its device only if needed."""
    if embedding is None or not config.postprocess.needs_embedding:
        return config.postprocess(labels, sampling=config.sampling)
    return config.postprocess(labels, numpy_of(embedding), sampling=config.sampling)


def seen_foreground(embedding: Embedding, given: Mask | None, config: ModelConfig) -> Mask | None:
    """Return where objects may be, in the size that the network saw; None where neither caller nor network says."""
    if given is not None:
        return resize_labels(given, embedding.seen_shape)
    if embedding.foreground is None:
        return None
    inside: Mask = (embedding.foreground > config.foreground_threshold).cpu().numpy()
    return inside


def positions_inside(embedding: Embedding, given: Mask | None, config: ModelConfig) -> Mask | None:
    """Return where objects may be, at the embedding's positions: where at least half of the pixels are inside."""
    inside = seen_foreground(embedding, given, config)
    if inside is None or embedding.stride is None:
        return inside
    half: Mask = at_positions(inside, embedding.stride) >= 0.5
    return half


def cluster(embedding: Embedding, given: Mask | None, labeler: Labeler) -> Labels:
    """Label an embedding, and give the labels the size of the image that was embedded."""
    labels, _ = label(embedding, given, labeler)
    return restore(labels, embedding, given, labeler.config)


def analyzed(seen: Seen, labeler: Labeler) -> Segmentation:
    """Label what the network saw, and return it with all that the labels were made from."""
    picture, given, embedding = seen
    found, pairs = label(embedding, given, labeler)
    restored = restore(found, embedding, given, labeler.config)
    labels = relabel(picture.to_source_order(restored))
    inside = seen_foreground(embedding, given, labeler.config)
    if inside is not None:
        full = resize_labels(inside, picture.spatial_shape) if given is None else given
        inside = picture.to_source_order(full)
    axes = picture.source_axes.replace("C", "")
    return Segmentation(labels, inside, embedding, pairs, labeler.config, axes)


def segmented(seen: Seen, labeler: Labeler) -> Labels:
    """Return the labels alone, so that the embedding need not stay in memory."""
    return analyzed(seen, labeler).labels


def segmented_each(
    prepare: Callable[[Any], Seen], labeler: Labeler, images: Iterable[Any], progress: Progress
) -> Iterator[Labels]:
    """Return the labels of images, lazily; the network works one image ahead.

    Raises
    ------
    InputError
        If `images` is a single path or array, which would be taken apart.
    """
    _check_sequence(images)
    return _labels_of_each(prepare, partial(segmented, labeler=labeler), images, progress)


def _labels_of_each(
    prepare: Callable[[Any], Seen], find: Callable[[Seen], Labels], images: Iterable[Any], progress: Progress
) -> Iterator[Labels]:
    with memory_reused(), closing(one_ahead(prepare, find, track(images, progress))) as found:
        yield from found


def _check_sequence(images: Any) -> None:
    if isinstance(images, (str, os.PathLike)):
        found = "path"
    elif len(shape := tuple(getattr(images, "shape", ()))) > 1:
        found = f"array of shape {shape}"
    else:
        return
    raise InputError(f"segment_many takes a sequence of images, got one {found}; put it in a list")


def call_settings(
    config: ModelConfig,
    neighborhood: Neighborhood | None = None,
    clusterer: str | Clusterer | None = None,
    min_size: int | None = None,
    scale: float | None = None,
) -> ModelConfig:
    """Return a model's configuration with the settings of a call; None leaves the model's own."""
    values: dict[str, Any] = {"neighborhood": neighborhood, "postprocess.min_size": min_size, "scale": scale}
    if clusterer is not None:
        name, settings = (clusterer, {}) if isinstance(clusterer, str) else described(clusterer)
        values |= {"clusterer": name, "clusterer_settings": settings}
    return config.with_values({key: value for key, value in values.items() if value is not None})


def checked_clusterer(given: str | Clusterer | None, config: ModelConfig) -> Clusterer:
    """Return the caller's clusterer, or the one that the configuration names.

    Raises
    ------
    InputError
        If an object cannot be called as a clusterer, or a setting cannot be used.
    UnknownClustererError
        If there is no clusterer of the name.
    """
    if given is None or isinstance(given, str):
        return get_clusterer(config.clusterer, **config.clusterer_settings)
    if not callable(given) or isinstance(given, type):
        raise InputError(f"clusterer must be a name or a clusterer, got {given!r}; pass an instance")
    if not _takes_affinities(given):
        raise InputError(
            f"clusterer {given!r} cannot be called as clusterer(affinities, foreground=mask); expected that signature"
        )
    return given


def _takes_affinities(clusterer: Callable[..., Any]) -> bool:
    """Whether something can be called as clusterers are; True where Python cannot tell."""
    try:
        inspect.signature(clusterer).bind(None, foreground=None)
    except TypeError:
        return False
    except ValueError:
        return True
    return True
