"""A model for another microscope, without labels: its batch norms take their statistics from your own volumes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.optim.swa_utils import update_bn

from pixel_embedded_affinity import __version__
from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.config.settings import ADAPTED, derived_name
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.scaling import Scale, resize_image, scaled_shape
from pixel_embedded_affinity.geometry.tiling import Box
from pixel_embedded_affinity.io.arrays import FloatArray
from pixel_embedded_affinity.io.selection import Selection
from pixel_embedded_affinity.large.lazy import LazyImage, fixed_normalization, open_image
from pixel_embedded_affinity.models.checkpoint import Checkpoint
from pixel_embedded_affinity.network.base import channels_last
from pixel_embedded_affinity.network.build import load_network
from pixel_embedded_affinity.normalize import normalize
from pixel_embedded_affinity.pipeline import stated_scale, working
from pixel_embedded_affinity.runtime.progress import Progress, track
from pixel_embedded_affinity.segmenter import Segmenter
from pixel_embedded_affinity.training.stored import Savable, stored_model, with_weights

Tensors = dict[str, torch.Tensor]

_WINDOW = (16, 512, 512)
"""Voxels of a window along each axis. In the training, too, each crop of a volume has its statistics to itself."""

_WINDOWS = 8
"""Windows of a volume that give statistics, at most."""

_LOOKED = 64
"""Windows that are read, at most, to find those that are not blank."""

_LONGEST = 1.25
"""A window is at most longer by this factor along each axis, so that it fits into memory."""

_LEAST = 64
"""Voxels of a volume along y and x from which it is taken. From 16 x 16, statistics merged all neurons."""

_BLANK = 0.5
"""A window is left out if a larger share of its voxels is as dark, or as bright, as its darkest or brightest voxel."""

_MEAN, _VARIANCE, _COUNT = "running_mean", "running_var", "num_batches_tracked"


@dataclass(frozen=True, eq=False)
class Adaptation(Savable):
    """What `adapt` made.

    Attributes
    ----------
    segmenter : Segmenter
        The adapted model.
    windows : int
        Number of windows that the statistics come from.
    shift : float
        How far the statistics moved: the mean over all channels of the distance between the old and the new mean, in
        old standard deviations.
    checkpoint : Checkpoint
        What `save` writes.
    """

    segmenter: Segmenter
    windows: int
    shift: float
    checkpoint: Checkpoint = field(repr=False)


def adapt(
    segmenter: Segmenter,
    volumes: Any,
    *,
    axes: str | None = None,
    channel: int | str | None = None,
    time: int | None = None,
    series: int | None = None,
    pixel_size: float | str | Sequence[float | str] | None = None,
    progress: Progress = False,
) -> Adaptation:
    """Adapt a model of volumes to another microscope or tissue, without labels.

    A network's batch norms hold the mean and the variance of each channel, as they were in the training. In a stack
    of another contrast, focus or tissue they differ, and errors follow. Here they are measured anew, in up to 8
    windows of each volume, spread evenly; windows of which more than half is black or white are left out. All other
    weights stay (Li et al., "Adaptive batch normalization for practical domain adaptation", Pattern Recognition
    80:109, 2018).

    Parameters
    ----------
    segmenter : Segmenter
        From `Segmenter.pretrained` or `Segmenter.from_file`, of volumes; it stays as it is.
    volumes : array or path, or list of them
        What is to be segmented, or parts of it, as for `Segmenter.segment_large`: evenly spread voxels of it tell its
        contrast, and then only the windows are read, of about 16 x 512 x 512 voxels.
    axes, channel, time, series, pixel_size
        Which part of each source is the volume, and the size of its voxels, as for `Segmenter.segment`.
    progress : bool or callable
        True shows a bar over the windows.

    Returns
    -------
    Adaptation
        The segmenter, and the file to write.

    Raises
    ------
    InputError
        If a volume cannot be used, has fewer than 64 x 64 voxels along y and x, or all of it is blank; if the model is
        for images or has no batch norms, or the segmenter was made from a network in memory.
    CheckpointError
        If the model's file has changed or gone since it was loaded.
    """
    selection = Selection(axes, channel, time, series, pixel_size, None)
    return adapt_selected(segmenter, volumes, selection, progress=progress)


def adapt_selected(
    segmenter: Segmenter, volumes: Any, selection: Selection, *, progress: Progress = False
) -> Adaptation:
    """Adapt a model to the selected part of each volume; all else as for `adapt`."""
    checkpoint = _stored(segmenter)
    listed = enumerate(_listed(volumes), start=1)
    sources = [_opened(segmenter.config, number, source, selection) for number, source in listed]
    network = load_network(segmenter.config.network, checkpoint.tensors).to(str(segmenter.device))
    windows = (window for source in sources for window in _windows(source, segmenter.config))
    most = sum(len(list(islice(_tried(source), _WINDOWS))) for source in sources)
    bar = track(windows, progress, desc="adapting", unit="window", total=most)
    with working(segmenter.threads):
        update_bn(map(_batch, bar), network, torch.device(str(segmenter.device)))
    new = {name: value.cpu() for name, value in network.state_dict().items()}
    count = next(int(value) for name, value in new.items() if name.endswith(_COUNT))
    config = _provenance(segmenter.config, [source.name for source in sources], count)
    # Other weights stay as they are stored, which may be in half precision.
    measured = {name: new[name] for name in checkpoint.tensors if name.endswith((_MEAN, _VARIANCE, _COUNT))}
    adapted = Checkpoint(config.to_json(), checkpoint.tensors | measured)
    made = with_weights(segmenter, config, adapted.tensors)
    return Adaptation(made, count, _shift(checkpoint.tensors, new), adapted)


def _stored(segmenter: Segmenter) -> Checkpoint:
    """Return the model as it is stored; refuse one that cannot be adapted."""
    config = segmenter.config
    if config.ndim != 3:
        raise InputError(
            f"model {config.name!r} is for images; expected a model of volumes: the statistics of images depend on how "
            "much of them is background; use finetune, with a few labeled images"
        )
    checkpoint = stored_model(segmenter)()
    if not any(name.endswith(_MEAN) for name in checkpoint.tensors):
        raise InputError(
            f"the network of model {config.name!r} has no batch norms; expected some; nothing of it can be adapted"
        )
    return checkpoint


def _listed(volumes: Any) -> list[Any]:
    """Return the volumes as a list; what is not a list or another collection is one volume."""
    many = isinstance(volumes, Iterable) and not isinstance(volumes, (str, bytes, os.PathLike))
    found = list(volumes) if many and not hasattr(volumes, "shape") else [volumes]
    if not found:
        raise InputError("no volume to adapt to; expected at least one")
    return found


@dataclass(frozen=True)
class _Source:
    """A volume to adapt to, of which nothing was read yet; errors call it by `what`."""

    name: str
    what: str
    volume: LazyImage
    scale: Scale


def _opened(config: ModelConfig, number: int, source: Any, selection: Selection) -> _Source:
    """Open a volume; refuse one that cannot be used before any is read."""
    path = str(source) if isinstance(source, (str, os.PathLike)) else ""
    what = f"volume {number} to adapt to" + (f" ({path!r})" if path else "")
    try:
        volume = open_image(
            source, channels=config.network.in_channels, ndim=config.ndim, selection=selection
        )
        found = stated_scale(config, volume.pixel_size)
        scale = 1.0 if found is None else found.scale
        _check_size(scaled_shape(volume.spatial_shape, scale))
    except InputError as error:
        raise InputError(f"{what}: {error}") from error
    return _Source(path or f"volume {number}", what, volume, scale)


def _windows(source: _Source, config: ModelConfig) -> Iterator[FloatArray]:
    """Read some windows of a volume, one by one, as the network sees them."""
    volume, seen = source.volume, 0
    try:
        normalization = fixed_normalization(volume, config.normalization, config.contrast)
        for box in _tried(source):
            values = normalize(volume.read(box), normalization)
            if not _is_blank(values):
                seen += 1
                yield resize_image(values, source.scale)
            if seen == _WINDOWS:
                return
    except InputError as error:
        raise InputError(f"{source.what}: {error}") from error
    if not seen:
        raise InputError(
            f"{source.what} is blank: more than half of each part is black or white; expected an image of tissue; "
            "is it the right channel? cut off margins without tissue"
        )


def _tried(source: _Source) -> Iterator[Box]:
    """Give the parts of a volume that are looked at for windows, in this order."""
    return _parts(source.volume.spatial_shape, np.divide(_WINDOW, source.scale))


def _parts(shape: Sequence[int], lengths: Iterable[float]) -> Iterator[Box]:
    """Give parts of a volume in the order in which they are looked at: some spread evenly, then others between these.

    The volume is divided evenly into parts of about these lengths. They are longer by a quarter at most.
    """
    counts = []
    for length, wanted in zip(shape, lengths):
        count = max(1, round(length / wanted))
        counts.append(count if length <= _LONGEST * wanted * count else count + 1)
    last = math.prod(counts) - 1
    steps = [round(last * part / (most - 1)) for most in (_WINDOWS, _LOOKED) for part in range(most)]
    for index in dict.fromkeys(steps):
        place = np.unravel_index(index, counts)
        yield tuple(
            slice(int(length * at // count), int(length * (at + 1) // count))
            for length, at, count in zip(shape, place, counts)
        )


def _check_size(shape: Sequence[int]) -> None:
    """Refuse what is too small for statistics: a network halves it several times, and few values remain."""
    if min(shape[1:]) < _LEAST:
        raise InputError(
            f"it has {' x '.join(map(str, shape))} voxels (z, y, x) of the model's size; expected at least {_LEAST} "
            "along y and x, better 256: fewer do not show how tissue looks; take a larger part"
        )


def _is_blank(window: FloatArray) -> bool:
    """Whether most of a window is beyond the tissue."""
    return any(np.mean(window == limit) > _BLANK for limit in (window.min(), window.max()))


def _batch(window: FloatArray) -> torch.Tensor:
    return channels_last(torch.from_numpy(window)[None])


def _provenance(config: ModelConfig, names: list[str], windows: int) -> ModelConfig:
    """Name the adapted model, and say what it was made from."""
    start = {"name": config.name, "version": config.version}
    made = {"start": start, "volumes": names, "windows": windows, "library": __version__}
    every = [*config.provenance.get("adapted", []), made]
    name = derived_name(config.name, ADAPTED)
    return config.changed(name=name, provenance={**config.provenance, "adapted": every})


def _shift(old: Tensors, new: Tensors) -> float:
    """See `Adaptation.shift`; channels that never varied in the training do not count."""
    found = []
    for name in old:
        if name.endswith(_MEAN):
            spread = old[name.replace(_MEAN, _VARIANCE)].float().sqrt()
            moved = (new[name] - old[name].float()).abs() / spread
            found.append(moved[spread > 0])
    return float(torch.cat(found).mean())
