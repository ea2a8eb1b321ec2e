"""Segment an image that is larger than the memory, block by block, with the pipeline on each window."""

from __future__ import annotations

import hashlib
import os
import pickle
import secrets
from dataclasses import is_dataclass, replace
from typing import Any

from torch import nn

from pixel_embedded_affinity import __version__
from pixel_embedded_affinity.clustering import Clusterer
from pixel_embedded_affinity.embedding import halo_of
from pixel_embedded_affinity.geometry.tiling import Tiling
from pixel_embedded_affinity.large.blockwise import label_blockwise
from pixel_embedded_affinity.large.lazy import fingerprint, fixed_normalization, open_image
from pixel_embedded_affinity.large.plan import Plan, Sizes
from pixel_embedded_affinity.large.store import block_folder, check_output
from pixel_embedded_affinity.large.window import WindowLabeler, clustering_grid
from pixel_embedded_affinity.pipeline import Embedder, Labeler
from pixel_embedded_affinity.runtime.device import resolve_precision
from pixel_embedded_affinity.runtime.progress import Progress


def segment_large(
    embedder: Embedder,
    labeler: Labeler,
    image: Any,
    out: Any,
    *,
    axes: str | None = None,
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
    picture = open_image(image, axes=axes, channels=config.network.in_channels, ndim=embedder.ndim)
    plan = Plan(picture.spatial_shape, block, overlap, clustering_grid(embedder.network, config))
    check_output(out, plan.shape)
    inner = replace(config, postprocess=replace(config.postprocess, clear_border=False))
    normalization = fixed_normalization(picture, config.normalization)
    within = replace(labeler, config=inner)
    windows = WindowLabeler(picture, normalization, foreground, embedder, within, tiling)
    with block_folder(out, folder) as kept:
        return label_blockwise(
            plan,
            windows,
            out,
            folder=kept,
            settings=_fingerprint(windows, labeler),
            # Of a resized image, objects are measured before their labels take the image's size.
            min_size=config.postprocess.min_size if config.scale == 1 else 0,
            clear_border=config.postprocess.clear_border,
            client=client,
            progress=progress,
        )


def _fingerprint(windows: WindowLabeler, labeler: Labeler) -> dict[str, Any]:
    """All that the labels of a block depend on, as JSON holds it."""
    embedder = windows.embedder
    return {
        "image": [windows.image.axes, fingerprint(windows.image.source)],
        "config": labeler.config.to_dict(),
        "clusterer": clusterer_identity(labeler.clusterer),
        "weights": _digest(embedder.network),
        "precision": str(resolve_precision(embedder.precision, embedder.device)),
        "halo": halo_of(embedder.network, windows.tiling),
        "normalization": windows.normalization.to_dict(),
        "foreground": None if windows.foreground is None else fingerprint(windows.foreground),
        "version": __version__,
    }


def clusterer_identity(clusterer: Clusterer) -> str:
    """Return a text that two clusterers share only if they label alike.

    The text of a dataclass names its settings, any other object is identified by what pickle makes of it. One
    that cannot be pickled is like no other: a run with it does not go on with blocks of an earlier run.
    """
    kind = f"{type(clusterer).__module__}.{type(clusterer).__qualname__}"
    if is_dataclass(clusterer):
        return f"{kind}: {clusterer!r}"
    try:
        content = pickle.dumps(clusterer)
    except Exception:  # an object of others may raise anything
        return f"{kind}: {secrets.token_hex(16)}"
    return f"{kind}: {hashlib.sha256(content).hexdigest()}"


def _digest(network: nn.Module) -> str:
    """Hash of the weights."""
    found = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
