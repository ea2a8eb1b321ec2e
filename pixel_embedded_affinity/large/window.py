"""Windows: the pipeline on one part of an image, with the same result as on the whole image."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.embedding import grid_of, halo_of, stride_of
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.scaling import Scale, nearest, resize_part, scaled_shape, source_box
from pixel_embedded_affinity.geometry.tiling import Box, Tiling, grown, shape_of, shifted
from pixel_embedded_affinity.labels import Labels, Mask, as_foreground
from pixel_embedded_affinity.large.lazy import LazyImage
from pixel_embedded_affinity.normalize import Normalization, normalize
from pixel_embedded_affinity.pipeline import Embedder, Labeler, cluster


@dataclass(frozen=True, eq=False)
class WindowLabeler:
    """Labels the windows of an image, for `blockwise.label_blockwise`.

    Attributes
    ----------
    image : LazyImage
        What the parts are read from.
    normalization : Normalization
        Of kind ``"fixed"`` or ``"none"``, see `lazy.fixed_normalization`.
    foreground : array-like or None
        Where objects may be, of the image's spatial shape.
    embedder : Embedder
        The network.
    labeler : Labeler
        Clusterer and settings.
    tiling : Tiling
        How a window is cut for the network, which also sees the halo around a window.
    scale : float or tuple of float
        Factor by which the image is resized, or one per axis.

    Raises
    ------
    InputError
        If the foreground has another shape than the image.
    """

    image: LazyImage
    normalization: Normalization
    foreground: Any
    embedder: Embedder
    labeler: Labeler
    tiling: Tiling
    scale: Scale = 1.0

    def __post_init__(self) -> None:
        shape = self.image.spatial_shape
        found = None if self.foreground is None else tuple(getattr(self.foreground, "shape", ()))
        if found not in (None, shape):
            raise InputError(
                f"foreground of shape {found} for an image of spatial shape {shape}; expected an array of equal "
                "shape that can be sliced"
            )

    def __call__(self, window: Box) -> Labels:
        """Return the labels of a window."""
        shape, config = self.image.spatial_shape, self.labeler.config
        scaled = scaled_shape(shape, self.scale)
        pixels = [nearest(side, new, old) for side, new, old in zip(window, scaled, shape)]
        network = self.embedder.network
        seen = grown(_box(pixels), (0,) * len(shape), scaled, clustering_strides(network, config))
        region = grown(seen, halo_of(network, self.tiling), scaled, grid_of(network))
        embedding = self.embedder(self._values(region, scaled), config, self.tiling)
        labels = cluster(embedding.crop(shifted(seen, region)), self._inside(seen, scaled), self.labeler)
        labels = labels[_index(pixels, seen)]
        # Labels of a resized image may leave the caller's foreground.
        return labels if scaled == shape or self.foreground is None else labels * self._mask(window)

    def _values(self, region: Box, scaled: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Return a part of the resized image, normalized."""
        shape = self.image.spatial_shape
        source = source_box(region, shape, scaled)
        values = normalize(self.image.read(source), self.normalization)
        return resize_part(values, source, region, shape, scaled)

    def _inside(self, seen: Box, scaled: tuple[int, ...]) -> Mask | None:
        """Return the caller's foreground in a part of the resized image."""
        if self.foreground is None:
            return None
        pixels = [nearest(side, old, new) for side, old, new in zip(seen, self.image.spatial_shape, scaled)]
        box = _box(pixels)
        return self._mask(box)[_index(pixels, box)]

    def _mask(self, box: Box) -> Mask:
        """Return the caller's foreground in a part of the image."""
        return as_foreground(self.foreground[box], shape_of(box))


def clustering_strides(network: Any, config: ModelConfig) -> tuple[int, ...]:
    """Return the pixels, along each axis, between two positions at which repulsive pairs start."""
    return tuple(map(operator.mul, config.neighborhood.strides, stride_of(network)))


def _box(pixels: Sequence[npt.NDArray[np.intp]]) -> Box:
    """Return the smallest box around some pixels along each axis, in ascending order."""
    return tuple(slice(int(side[0]), int(side[-1]) + 1) for side in pixels)


def _index(pixels: Sequence[npt.NDArray[np.intp]], box: Box) -> tuple[npt.NDArray[np.intp], ...]:
    """Return the index, within a box, of some pixels along each axis."""
    return np.ix_(*(side - there.start for side, there in zip(pixels, box)))
