"""How much memory an image takes that is segmented at once, and whether there is as much."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pixel_embedded_affinity.config.model import AUTO, ModelConfig
from pixel_embedded_affinity.embedding import stride_of
from pixel_embedded_affinity.io.readers.base import Source
from pixel_embedded_affinity.io.selection import SPATIAL, Selection
from pixel_embedded_affinity.pipeline import Embedder
from pixel_embedded_affinity.runtime.device import CPU
from pixel_embedded_affinity.runtime.memory import free_memory

_FLOAT = 4
_PER_VECTOR = 2  # the embedding, and what clustering makes of it at a time
_PER_PIXEL = 500  # bytes: affinities, sorted pairs, labels; measured with the mutex watershed of bbbc039-fast


def spatial_shape(source: Source, selection: Selection, ndim: int) -> tuple[int, ...]:
    """Return the lengths of the spatial axes of a file that need not be read.

    Axes that are not known yet, or do not fit, count as far as they are there: whoever opens the image refuses them.
    """
    shape = tuple(source.values.shape)
    letters = selection.axes or source.axes or SPATIAL[ndim] + "C" * (len(shape) - ndim)
    # Pages without a name are planes of a volume.
    known = SPATIAL[ndim] if ndim == 2 or "Z" in letters else f"{SPATIAL[ndim]}QI"
    return tuple(int(length) for letter, length in zip(letters, shape) if letter in known)


def bytes_needed(embedder: Embedder, config: ModelConfig, shape: Sequence[int]) -> tuple[int, int]:
    """Estimate the bytes that an image takes in main memory, and those of its embedding on the device.

    Parameters
    ----------
    embedder : Embedder
        The network.
    config : ModelConfig
        Settings; a scale that is to be found counts as 1, and so does one that needs the size of a pixel.
    shape : sequence of int
        Spatial shape of the image.

    Returns
    -------
    tuple of int
        The two numbers of bytes. Tiles, which follow the free memory, do not count.
    """
    scale = _stated(config)
    pixels = math.prod(shape)
    seen = pixels * scale ** len(shape)
    vectors = seen / math.prod(stride_of(embedder.network))
    embedding = _FLOAT * config.network.embedding_channels * vectors
    # The image as it is, and normalized.
    images = _FLOAT * config.network.in_channels * (pixels + seen)
    return int(images + _PER_PIXEL * seen + _PER_VECTOR * embedding), int(_PER_VECTOR * embedding)


def _stated(config: ModelConfig) -> float:
    if config.object_diameter is not None and isinstance(config.diameter, float):
        return config.object_diameter / config.diameter
    return 1.0 if config.scale == AUTO else float(config.scale)


def is_too_large(embedder: Embedder, config: ModelConfig, shape: Sequence[int]) -> bool:
    """Tell whether an image needs more memory than is free, so that it must be segmented block by block."""
    total, embedding = bytes_needed(embedder, config, shape)
    if total > free_memory(CPU):
        return True
    return embedder.device.type != "cpu" and embedding > free_memory(embedder.device)
