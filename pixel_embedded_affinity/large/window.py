"""Windows: the whole pipeline on one part of an image, as it would run on all of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.scaling import nearest, resize_part, scaled_shape, source_box
from pixel_embedded_affinity.geometry.tiling import Box, grown, shape_of, shifted
from pixel_embedded_affinity.labels import as_foreground
from pixel_embedded_affinity.large.lazy import LazyImage
from pixel_embedded_affinity.normalize import Normalization, normalize

if TYPE_CHECKING:
    from pixel_embedded_affinity.embedding import Embedding


@dataclass(frozen=True, eq=False)
class WindowLabeler:
    """Labels parts of an image: what `blockwise.label_blockwise` takes.

    Attributes
    ----------
    image : LazyImage
        What the parts are read from.
    normalization : Normalization
        That of the whole image, see `lazy_image.fixed_normalization`.
    foreground : array-like or None
        Where objects may be, of the image's spatial shape.
    embed : callable
        Takes a normalized part and returns its `Embedding`.
    cluster : callable
        Takes an embedding and, as ``foreground``, a mask or None; returns labels.
    halo : tuple of int
        Pixels around a window that the network sees as well, along each axis.
    grid : tuple of int
        What the network sees starts at multiples of it.
    strides : tuple of int
        What is clustered starts at multiples of them.
    scale : float
        Factor by which the image is resized for the network and the clusterer; `halo`, `grid` and `strides` are in
        pixels of the resized image.

    Raises
    ------
    InputError
        If the foreground has another shape than the image.
    """

    image: LazyImage
    normalization: Normalization
    foreground: Any
    embed: Callable[[npt.NDArray[np.float32]], Embedding]
    cluster: Callable[..., npt.NDArray[np.int32]]
    halo: tuple[int, ...]
    grid: tuple[int, ...]
    strides: tuple[int, ...]
    scale: float = 1.0

    def __post_init__(self) -> None:
        shape = self.image.spatial_shape
        found = None if self.foreground is None else tuple(getattr(self.foreground, "shape", ()))
        if found not in (None, shape):
            raise InputError(
                f"foreground of shape {found} for an image of spatial shape {shape}; expected an array of equal "
                "shape that can be sliced"
            )

    def __call__(self, window: Box) -> npt.NDArray[np.int32]:
        """Return the labels of a window."""
        shape = self.image.spatial_shape
        scaled = scaled_shape(shape, self.scale)
        pixels = [nearest(side, new, old) for side, new, old in zip(window, scaled, shape)]
        seen = grown(_box(pixels), (0,) * len(shape), scaled, self.strides)
        region = grown(seen, self.halo, scaled, self.grid)
        embedding = self.embed(self._values(region, scaled)).crop(shifted(seen, region))
        labels = self.cluster(embedding, foreground=self._inside(seen, scaled))
        labels = labels[_index(pixels, seen)]
        # Labels of a resized image may leave the caller's foreground.
        return labels if self.scale == 1 or self.foreground is None else labels * self._mask(window)

    def _values(self, region: Box, scaled: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """A part of the resized image, normalized."""
        shape = self.image.spatial_shape
        source = source_box(region, shape, scaled)
        values = normalize(self.image.read(source), self.normalization)
        return resize_part(values, source, region, shape, scaled)

    def _inside(self, seen: Box, scaled: tuple[int, ...]) -> npt.NDArray[np.bool_] | None:
        """The caller's foreground in a part of the resized image."""
        if self.foreground is None:
            return None
        pixels = [nearest(side, old, new) for side, old, new in zip(seen, self.image.spatial_shape, scaled)]
        box = _box(pixels)
        return self._mask(box)[_index(pixels, box)]

    def _mask(self, box: Box) -> npt.NDArray[np.bool_]:
        """The caller's foreground in a part of the image."""
        return as_foreground(self.foreground[box], shape_of(box))


def _box(pixels: Sequence[npt.NDArray[np.intp]]) -> Box:
    """The part of an image that some rows and columns, in ascending order, lie in."""
    return tuple(slice(int(side[0]), int(side[-1]) + 1) for side in pixels)


def _index(pixels: Sequence[npt.NDArray[np.intp]], box: Box) -> tuple[npt.NDArray[np.intp], ...]:
    """Index of some rows and columns in a part of the image."""
    return np.ix_(*(side - there.start for side, there in zip(pixels, box)))
