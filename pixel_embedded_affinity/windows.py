"""Windows: the whole pipeline on one part of an image, as it would run on all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.image import as_foreground
from pixel_embedded_affinity.lazy_image import LazyImage
from pixel_embedded_affinity.normalize import Normalization, normalize
from pixel_embedded_affinity.tiling import Box, grown, shape_of, shifted

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
    halo : int
        Pixels around a window that the network sees as well.
    grid : int
        What the network sees starts at multiples of it.

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
    halo: int
    grid: int

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
        region = grown(window, self.halo, shape, (self.grid,) * len(shape))
        values = normalize(self.image.read(region), self.normalization)
        inside = None
        if self.foreground is not None:
            inside = as_foreground(self.foreground[window], shape_of(window))
        return self.cluster(self.embed(values).crop(shifted(window, region)), foreground=inside)
