"""Segment an image that is larger than the memory: the pipeline runs on the window of each block."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import secrets
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from pixel_embedded_affinity import __version__
from pixel_embedded_affinity.clustering import Clusterer
from pixel_embedded_affinity.embedding import halo_of, stride_of
from pixel_embedded_affinity.geometry.per_axis import numbers_per_axis, per_axis
from pixel_embedded_affinity.geometry.tiling import Box, Tiling, shape_of, whole_box
from pixel_embedded_affinity.io.selection import WHOLE, Selection
from pixel_embedded_affinity.labels import as_foreground
from pixel_embedded_affinity.large.blockwise import label_blockwise
from pixel_embedded_affinity.large.lazy import fingerprint, fixed_normalization, open_image
from pixel_embedded_affinity.large.plan import Plan, Sizes, default_block, default_overlap
from pixel_embedded_affinity.large.store import block_folder, check_output
from pixel_embedded_affinity.large.window import WindowLabeler, clustering_strides
from pixel_embedded_affinity.normalize import normalize
from pixel_embedded_affinity.pipeline import Embedder, Labeler, scale_of, stated_scale
from pixel_embedded_affinity.runtime.progress import Progress
from pixel_embedded_affinity.scale import FoundScale

logger = logging.getLogger(__name__)

_TILE = 1152
"""Embedding vectors of a tile along each axis, by default: a window of a block has two by two tiles."""

_ROUNDING = 1e-6
"""Pixels by which a length may lie above a whole number through rounding."""

_SAMPLE = 1024
"""Pixels along each axis of a part in which the scale is looked for."""


def segment_large(
    embedder: Embedder,
    labeler: Labeler,
    image: Any,
    out: Any,
    *,
    selection: Selection = WHOLE,
    foreground: Any = None,
    tiling: Tiling,
    block: Sizes | None,
    overlap: Sizes | None,
    folder: str | os.PathLike[str] | None = None,
    client: Any = None,
    progress: Progress = False,
) -> int:
    """Segment an image block by block; see `Segmenter.segment_large` for the arguments, errors and result."""
    config = labeler.config
    channels = config.network.in_channels
    picture = open_image(image, channels=channels, ndim=embedder.ndim, selection=selection)
    if config.regions != "image":
        logger.warning(
            "block by block, regions=%r is not used: the whole image gets one scale", config.regions
        )
    strides = clustering_strides(embedder.network, config)
    check_output(out, picture.spatial_shape)
    if tiling.size == "auto":
        tiling = replace(tiling, size=tuple(_TILE * step for step in stride_of(embedder.network)))
    # What is decided on the whole image is not decided on a part of it.
    inner = replace(config, postprocess=replace(config.postprocess, clear_border=False, noise_floor=0.0))
    within = replace(labeler, config=inner)
    windows = WindowLabeler(picture, config.normalization, foreground, embedder, within, tiling)
    windows, plan = _prepared(windows, block, overlap, strides)
    with block_folder(out, folder) as kept:
        return label_blockwise(
            plan,
            windows,
            out,
            folder=kept,
            identity=_identity(windows, labeler),
            # In a resized image, the pipeline has measured objects before their labels take the image's size.
            min_size=config.postprocess.min_size if windows.scale == 1 else 0,
            clear_border=config.postprocess.clear_border,
            pixel_size=picture.pixel_size,
            client=client,
            progress=progress,
        )


def _prepared(
    windows: WindowLabeler, block: Sizes | None, overlap: Sizes | None, strides: Sizes
) -> tuple[WindowLabeler, Plan]:
    """Find what blocks share, the normalization and the scale, and cut the image into blocks.

    What the caller says is checked before the image is read. Where the scale must be found first, the default overlap
    is not known before.
    """
    picture, config, stated = windows.image, windows.labeler.config, _stated_scale(windows)
    if stated is None:
        sizes = block, 1 if overlap is None else overlap
    else:
        windows = replace(windows, scale=stated.scale)
        sizes = _sizes(windows, block, overlap)
    plan = Plan(picture.spatial_shape, *sizes, strides)
    normalization = fixed_normalization(picture, config.normalization, config.contrast)
    windows = replace(windows, normalization=normalization)
    if stated is None:
        windows = replace(windows, scale=_found_scale(windows).scale)
        plan = Plan(picture.spatial_shape, *_sizes(windows, block, overlap), strides)
    return windows, plan


def _sizes(windows: WindowLabeler, block: Sizes | None, overlap: Sizes | None) -> tuple[Sizes, Sizes]:
    """Return block and overlap in pixels of the image: the caller's, or what suits the network and the scale.

    An image that shrinks shows larger objects, which need a longer overlap. One that grows takes more memory.
    """
    network, shape = windows.embedder.network, windows.image.spatial_shape
    config, ndim = windows.labeler.config, len(shape)
    factors = numbers_per_axis(windows.scale, ndim, "scale")
    if overlap is None:
        overlap = _times(default_overlap(ndim, config.pixel_size), [1 / factor for factor in factors])
    if block is None:
        finer = [max(1.0, factor) for factor in factors]
        halo = _times(halo_of(network, windows.tiling), [1 / min(1.0, factor) for factor in factors])
        margin = _times(per_axis(overlap, ndim, "overlap"), finer)
        seen = default_block(_times(shape, finer), margin, halo, stride_of(network))
        block = _times(seen, [1 / factor for factor in finer])
    return block, overlap


def _times(lengths: Sequence[int], factors: Sequence[float]) -> tuple[int, ...]:
    """Return the lengths in pixels of an image that is resized by these factors, rounded up."""
    return tuple(math.ceil(length * factor - _ROUNDING) for length, factor in zip(lengths, factors))


def _stated_scale(windows: WindowLabeler) -> FoundScale | None:
    """Return the scale that the settings state, if they do; a part does not show what extent the image shows."""
    return stated_scale(windows.labeler.config.changed(object_extent=None), windows.image.pixel_size)


def _found_scale(windows: WindowLabeler) -> FoundScale:
    """Find the scale in parts of the image, where the best look decides: the diameter of objects counts."""
    config, clusterer = windows.labeler.config.changed(object_extent=None), windows.labeler.clusterer
    found = []
    for box in _samples(windows.image.spatial_shape):
        values = normalize(windows.image.read(box), windows.normalization)
        given = None if windows.foreground is None else as_foreground(windows.foreground[box], shape_of(box))
        size = windows.image.pixel_size
        found.append(scale_of(windows.embedder, values, given, size, config, clusterer))
    best = max(found, key=lambda one: one.best.evidence if one.best else 0.0)
    logger.info("scale %g was found in %d parts of the image", best.scale, len(found))
    return best


def _samples(shape: Sequence[int]) -> list[Box]:
    """The middle of an image, and the middles of its quarters; the whole image if it is small."""
    if max(shape) <= _SAMPLE:
        return [whole_box(shape)]
    places = [(0.5,) * len(shape), *product((0.25, 0.75), repeat=len(shape))]
    return [tuple(_around(place, length) for place, length in zip(shares, shape)) for shares in places]


def _around(share: float, length: int) -> slice:
    start = min(max(0, round(share * length) - _SAMPLE // 2), max(0, length - _SAMPLE))
    return slice(start, min(length, start + _SAMPLE))


def _identity(windows: WindowLabeler, labeler: Labeler) -> dict[str, Any]:
    """All that the labels of a block depend on, fit for JSON."""
    embedder = windows.embedder
    return {
        "image": [windows.image.axes, fingerprint(windows.image.source)],
        "part": str(windows.image.index),
        "config": labeler.config.to_dict(),
        "clusterer": clusterer_identity(labeler.clusterer),
        **embedder.runtime.identity(),
        "halo": halo_of(embedder.network, windows.tiling),
        "scale": windows.scale,
        "normalization": windows.normalization.to_dict(),
        "foreground": None if windows.foreground is None else fingerprint(windows.foreground),
        "version": __version__,
    }


def clusterer_identity(clusterer: Clusterer) -> str:
    """Return a text that two clusterers share only if they label alike.

    It holds the clusterer's type and the state of the object, or the code of a function and what it encloses. A
    clusterer whose state holds anything but numbers, texts, arrays and lists or tables of these is like no other: a
    run with it does not go on with the blocks of an earlier run.
    """
    known = clusterer if isinstance(clusterer, FunctionType) else type(clusterer)
    try:
        return f"{known.__module__}.{known.__qualname__}: {_state(clusterer)}"
    except (TypeError, ValueError, RecursionError):
        return f"{known.__module__}.{known.__qualname__}: {secrets.token_hex(16)}"


def _state(value: Any) -> str:
    """Text of a state; raises `TypeError` where an object in it has a state that is not known."""
    if isinstance(value, str | int | float | complex | bool | bytes | None):
        return repr(value)
    if isinstance(value, np.ndarray | np.generic):
        array = np.ascontiguousarray(value)
        return f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
    if isinstance(value, list | tuple | set | frozenset):
        return f"{type(value).__name__} {[_state(entry) for entry in value]}"
    if isinstance(value, dict):
        return str({_state(key): _state(entry) for key, entry in value.items()})
    if isinstance(value, CodeType):
        return f"{value.co_code.hex()} {value.co_names} {[_state(one) for one in value.co_consts]}"
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        return _state([value.__code__, value.__defaults__, value.__kwdefaults__, cells])
    if isinstance(value, partial):
        return _state([value.func, value.args, value.keywords])
    return _state(vars(value))
