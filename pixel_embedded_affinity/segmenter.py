"""The segmenter: from an image to labels, readable as the list of its steps."""

from __future__ import annotations

import copy
import hashlib
import inspect
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, is_dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pixel_embedded_affinity import __version__
from pixel_embedded_affinity.affinity import Affinities, affinities
from pixel_embedded_affinity.clustering import Clusterer, get_clusterer
from pixel_embedded_affinity.confidence import object_confidence
from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.config.settings import read_settings, write_settings
from pixel_embedded_affinity.embedding import Embedding, embed, grid_of, halo_of
from pixel_embedded_affinity.errors import CheckpointError, InputError
from pixel_embedded_affinity.export.table import object_table
from pixel_embedded_affinity.geometry.scaling import labels_of_image, resize_image, resize_labels
from pixel_embedded_affinity.geometry.tiling import Tiling, as_tiling
from pixel_embedded_affinity.image import Image, as_image
from pixel_embedded_affinity.labels import as_foreground, as_labels, relabel
from pixel_embedded_affinity.large.blockwise import label_blockwise
from pixel_embedded_affinity.large.lazy import LazyImage, fingerprint, fixed_normalization, open_image
from pixel_embedded_affinity.large.plan import Plan
from pixel_embedded_affinity.large.store import block_folder, check_output
from pixel_embedded_affinity.large.window import WindowLabeler
from pixel_embedded_affinity.models.checkpoint import read_checkpoint
from pixel_embedded_affinity.models.fetch import resolve
from pixel_embedded_affinity.models.registry import get_entry
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.network.build import load_network
from pixel_embedded_affinity.normalize import normalize
from pixel_embedded_affinity.postprocess import Postprocess
from pixel_embedded_affinity.runtime.ahead import overlapped
from pixel_embedded_affinity.runtime.device import (
    checked_threads,
    cpu_threads,
    resolve_device,
    resolve_precision,
)
from pixel_embedded_affinity.runtime.memory import memory_reused
from pixel_embedded_affinity.runtime.progress import Progress, track

if TYPE_CHECKING:
    from pixel_embedded_affinity.tune import Tuning

Labels = npt.NDArray[np.int32]
PathLike = str | os.PathLike[str]
TileSize = str | int | tuple[int, int] | Tiling | None


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
        At the network's resolution, which differs from the image's where a scale was given; spatial axes in
        the order ``YX``, whatever that of the image.
    affinities : Affinities
        NumPy arrays, at the network's resolution, axes as those of the embedding.
    settings : ModelConfig
        What the result was made with.
    axes : str
        Axes of `labels` in their order, such as ``"YX"``.
    """

    labels: Labels
    foreground: npt.NDArray[np.bool_] | None
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
        labels = self.labels.transpose(
            [self.axes.index(letter) for letter in sorted(self.axes, reverse=True)]
        )
        table["confidence"] = object_confidence(labels, self.embedding, self.affinities.neighborhood)
        return table


class _View(NamedTuple):
    """An image as the network sees it, with the caller's foreground in the network's order of axes."""

    picture: Image
    given: npt.NDArray[np.bool_] | None
    embedding: Embedding


class Segmenter:
    """Segments images with one model.

    Use `Segmenter.pretrained` or `Segmenter.from_file`; the constructor takes a network of your own.

    Parameters
    ----------
    network : torch.nn.Module
        A network of `pixel_embedded_affinity.network` with its weights. It is changed: moved to the device,
        put into evaluation mode, its batch norms folded into the convolutions.
    config : ModelConfig
        The model's configuration.
    device : str
        ``"auto"`` (CUDA if there is one, else CPU), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    precision : {"auto", "float32", "bfloat16"}
        What the network computes in; ``"auto"`` takes bfloat16 where the device computes in it natively.
    threads : int, optional
        CPU threads on which this segmenter computes; the labels do not depend on it. Torch's own number is as
        before after each call. That is one number per process: what other threads compute with torch during a
        call may use it as well. Default: torch's own number.

    Raises
    ------
    DeviceError
        If the device is missing, or the precision unknown.
    InputError
        If `threads` is not an integer from 1 to 1024.
    """

    def __init__(
        self,
        network: nn.Module,
        config: ModelConfig,
        *,
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
    ) -> None:
        self.device = resolve_device(device)
        resolve_precision(precision, self.device)
        self.config, self.precision = config, precision
        self.threads = checked_threads(threads)
        self._network = _prepared(network).to(self.device)

    @classmethod
    def pretrained(
        cls,
        name: str,
        *,
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        offline: bool | None = None,
    ) -> Segmenter:
        """Load a model by name; its weights are fetched if they are not here yet, and verified in any case.

        Parameters
        ----------
        name : str
            One of `list_models`.
        device, precision, threads
            See the class.
        offline : bool, optional
            True never uses the network. Default: the environment variable ``PEA_OFFLINE``.

        Raises
        ------
        UnknownModelError
            If there is no such model; the message lists those that are.
        DownloadError
            If the weights cannot be had.
        DeviceError
            If the device is missing.
        InputError
            If `threads` is not a number of threads.
        """
        path = resolve(name, offline=offline)
        return cls._load(path, get_entry(name).sha256, device=device, precision=precision, threads=threads)

    @classmethod
    def from_file(
        cls, path: PathLike, *, device: str = "auto", precision: str = "auto", threads: int | None = None
    ) -> Segmenter:
        """Load a model file, such as ``pea train`` writes.

        Parameters
        ----------
        path : str or os.PathLike
            A ``.safetensors`` checkpoint of this library.
        device, precision, threads
            See the class.

        Raises
        ------
        CheckpointError
            If the file is missing, damaged, foreign, or does not fit its own configuration.
        DeviceError
            If the device is missing.
        InputError
            If `threads` is not a number of threads.
        """
        return cls._load(path, None, device=device, precision=precision, threads=threads)

    @classmethod
    def _load(
        cls, path: PathLike, sha256: str | None, *, device: str, precision: str, threads: int | None
    ) -> Segmenter:
        """Read a model file; with a hash, the very bytes that become weights are checked against it."""
        checkpoint = read_checkpoint(path, sha256=sha256)
        try:
            config = ModelConfig.from_json(checkpoint.config_json)
            network = load_network(config.network, checkpoint.tensors)
        except (InputError, CheckpointError) as error:
            raise CheckpointError(f"{os.fspath(path)}: {error}") from error
        return cls(network, config, device=device, precision=precision, threads=threads)

    def __repr__(self) -> str:
        name, version, device = self.config.name, self.config.version, str(self.device)
        return f"Segmenter({name!r}, version={version!r}, device={device!r})"

    def __copy__(self) -> Segmenter:
        """Share the network, as `with_settings` does."""
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    def __getstate__(self) -> dict[str, Any]:
        """Give what another process needs: the weights are in it, in main memory whatever the device."""
        network = self._network if self.device.type == "cpu" else copy.deepcopy(self._network).cpu()
        return {**self.__dict__, "device": str(self.device), "_network": network}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Come back on the same device; where that is missing, raise `DeviceError`."""
        self.__dict__.update(state)
        self.device = resolve_device(state["device"])
        self._network = state["_network"].to(self.device)

    def with_settings(
        self,
        *,
        neighborhood: Neighborhood | None = None,
        clusterer: str | None = None,
        clusterer_settings: dict[str, Any] | None = None,
        foreground_threshold: float | None = None,
        postprocess: Postprocess | None = None,
        scale: float | None = None,
        views: int | None = None,
    ) -> Segmenter:
        """Return a segmenter of the same weights with other inference settings; this one stays as it is.

        Parameters
        ----------
        neighborhood : Neighborhood, optional
            Pairs of pixels for clustering.
        clusterer : str, optional
            Name of the clusterer; its settings are then the defaults unless `clusterer_settings` are given.
        clusterer_settings : dict, optional
            Settings of the clusterer.
        foreground_threshold : float, optional
            Probability above which a pixel is foreground.
        postprocess : Postprocess, optional
            What is done to the labels.
        scale : float, optional
            Factor by which images are resized for the network, where a call does not say otherwise.
        views : {1, 4, 8}, optional
            Views in which the network sees an image: as it is, also its flips, also these transposed
            (test-time augmentation). The network takes so many times as long.

        Returns
        -------
        Segmenter
            It shares the network with this one.

        Raises
        ------
        UnknownClustererError, InputError
            If a setting is not valid.
        """
        if clusterer is not None and clusterer_settings is None:
            clusterer_settings = {}
        settings = {
            "neighborhood": neighborhood,
            "clusterer": clusterer,
            "clusterer_settings": clusterer_settings,
            "foreground_threshold": foreground_threshold,
            "postprocess": postprocess,
            "scale": scale,
            "views": views,
        }
        config = self.config.changed(**{name: value for name, value in settings.items() if value is not None})
        get_clusterer(config.clusterer, **config.clusterer_settings)
        changed = copy.copy(self)
        changed.config = config
        return changed

    def with_settings_from(self, path: PathLike) -> Segmenter:
        """Return a segmenter of the same weights with the settings of a file; this one stays as it is.

        Parameters
        ----------
        path : str or os.PathLike
            From `save_settings`; what the file does not hold stays as it is.

        Raises
        ------
        UnknownClustererError, InputError
            If the file is not one of settings, or a setting is not valid.
        OSError
            If the file cannot be read.
        """
        return self.with_settings(**read_settings(path))

    def save_settings(self, path: PathLike) -> None:
        """Write the inference settings, those of `with_settings`, as JSON.

        Parameters
        ----------
        path : str or os.PathLike
            A name ending in ``.json`` in an existing folder; a file there is replaced.

        Raises
        ------
        InputError
            If the path does not fit, or a setting of the clusterer cannot be written as JSON.
        """
        write_settings(path, self.config)

    def tune(self, images: Iterable[Any], labels: Iterable[Any], **options: Any) -> Tuning:
        """Find better settings on a few labeled images: `pixel_embedded_affinity.tune.tune` of this segmenter.

        Parameters
        ----------
        images, labels, **options
            See `pixel_embedded_affinity.tune.tune`: ``metric``, ``search``, ``foregrounds``, ``axes``,
            ``progress``.

        Returns
        -------
        Tuning
            With the new segmenter; this one stays as it is.
        """
        from pixel_embedded_affinity.tune import tune

        return tune(self, images, labels, **options)

    def segment(
        self,
        image: Any,
        *,
        axes: str | None = None,
        foreground: Any = None,
        scale: float | None = None,
        neighborhood: Neighborhood | None = None,
        clusterer: str | Clusterer | None = None,
        tile: TileSize = "auto",
        min_size: int | None = None,
    ) -> Labels:
        """Segment one image.

        Parameters
        ----------
        image : array-like or path
            Of any integer, floating-point or boolean type; anything with ``shape``, ``dtype`` and indexing.
            A path is read as TIFF, PNG or JPEG. Never modified.
        axes : str, optional
            One letter per axis: ``"YX"``, ``"YXC"``, ``"CYX"``. Default: spatial axes, then the channels if
            there is one more.
        foreground : array-like, optional
            Where objects may be, of the image's spatial shape: a mask, bool or of the numbers 0 and 1, or
            integers of which all but 0 are foreground. Default: the model's own foreground, or everywhere
            if it has none.
        scale : float, optional
            Factor by which the image is resized for the network; the labels come back in the image's size.
            Use it where objects differ in size from those that the model was trained on. Default: the model's.
        neighborhood : Neighborhood, optional
            Pairs of pixels for clustering. Default: the model's.
        clusterer : str or Clusterer, optional
            Name of a clusterer, with its default settings, or a clusterer itself. Default: the model's.
        tile : "auto", int, (int, int), Tiling or None
            Height and width in pixels of the parts in which the image goes through the network; the result
            is that of the whole, see `pixel_embedded_affinity.geometry.tiling.Tiling`. ``"auto"``: the whole image if
            there is memory for it, else the largest parts for which there is. None: the whole image.
        min_size : int, optional
            Objects of fewer pixels (of the scaled image) are removed. Default: the model's.

        Returns
        -------
        numpy.ndarray
            int32, the image's spatial shape and order of axes: 0 = background, objects 1..n in the order of
            their first pixel.

        Raises
        ------
        InputError
            If the image, the axes, the foreground or a setting cannot be used.
        UnknownClustererError
            If there is no clusterer of that name.
        """
        result = self.analyze(
            image,
            axes=axes,
            foreground=foreground,
            scale=scale,
            neighborhood=neighborhood,
            clusterer=clusterer,
            tile=tile,
            min_size=min_size,
        )
        return result.labels

    def analyze(
        self,
        image: Any,
        *,
        axes: str | None = None,
        foreground: Any = None,
        scale: float | None = None,
        neighborhood: Neighborhood | None = None,
        clusterer: str | Clusterer | None = None,
        tile: TileSize = "auto",
        min_size: int | None = None,
    ) -> Segmentation:
        """Segment one image and return all that was found on the way; parameters and errors as for `segment`.

        Returns
        -------
        Segmentation
            The labels, and what they were made from.
        """
        settings = self._settings(neighborhood, clusterer, min_size, scale)
        run = _clusterer_of(settings, clusterer)
        view = self._view(image, axes, foreground, settings.scale, as_tiling(tile))
        return self._found(view, run, settings)

    def embed(
        self, image: Any, *, axes: str | None = None, scale: float | None = None, tile: TileSize = "auto"
    ) -> Embedding:
        """Run the network once; `cluster` then takes the embedding any number of times.

        Parameters
        ----------
        image, axes, scale, tile
            As for `segment`.

        Returns
        -------
        Embedding
            At the scaled image's resolution, on the segmenter's device; spatial axes in the order ``YX``.

        Raises
        ------
        InputError
            If the image or the axes cannot be used.
        """
        return self._view(image, axes, None, self._settings(scale=scale).scale, as_tiling(tile)).embedding

    def cluster(
        self,
        embedding: Embedding,
        *,
        foreground: Any = None,
        neighborhood: Neighborhood | None = None,
        clusterer: str | Clusterer | None = None,
        min_size: int | None = None,
    ) -> Labels:
        """Cluster an embedding, without running the network.

        Parameters
        ----------
        embedding : Embedding
            From `embed`.
        foreground, neighborhood, clusterer, min_size
            As for `segment`; the foreground has the spatial shape of the image, axes in the order ``YX``.

        Returns
        -------
        numpy.ndarray
            int32 labels of the spatial shape of the image that was embedded, axes in the order ``YX``.

        Raises
        ------
        InputError
            If a setting cannot be used, or `embedding` is not an `Embedding`.
        """
        if not isinstance(embedding, Embedding):
            raise InputError(
                f"cluster takes what embed returns, an Embedding, got {type(embedding).__name__}"
            )
        settings = self._settings(neighborhood, clusterer, min_size)
        run = _clusterer_of(settings, clusterer)
        shape = embedding.image_shape or embedding.spatial_shape
        given = None if foreground is None else as_foreground(foreground, shape)
        inside = _foreground_of(embedding, given, settings)
        with memory_reused(), cpu_threads(self.threads):
            pairs = affinities(embedding, settings.neighborhood).numpy()
            labels = _labels_of(run, pairs, inside, settings.postprocess)
        return labels_of_image(labels, shape, given)

    def segment_many(
        self,
        images: Iterable[Any],
        *,
        axes: str | None = None,
        scale: float | None = None,
        neighborhood: Neighborhood | None = None,
        clusterer: str | Clusterer | None = None,
        tile: TileSize = "auto",
        min_size: int | None = None,
        progress: Progress = False,
    ) -> Iterator[Labels]:
        """Segment images one after the other, lazily; the settings are checked at once.

        While the labels of an image are being found, in a thread, the network runs on the next one.

        Parameters
        ----------
        images : iterable
            Arrays or paths, as for `segment`.
        axes, scale, neighborhood, clusterer, tile, min_size
            As for `segment`, the same for every image.
        progress : bool or callable
            True shows a bar; a callable is used as ``tqdm`` is.

        Returns
        -------
        iterator of numpy.ndarray
            int32 labels of each image, in order.

        Raises
        ------
        InputError
            If `images` is a single path or array, or a setting cannot be used; later, when the first image
            that cannot be used is reached.
        UnknownClustererError
            If there is no clusterer of that name.
        """
        _check_sequence(images)
        settings = self._settings(neighborhood, clusterer, min_size, scale)
        run = _clusterer_of(settings, clusterer)
        prepare = partial(
            self._view, axes=axes, foreground=None, scale=settings.scale, tiling=as_tiling(tile)
        )
        find = partial(self._labels_found, run=run, settings=settings)
        return _labels_of_each(prepare, find, images, progress)

    def segment_large(
        self,
        image: Any,
        out: Any,
        *,
        axes: str | None = None,
        foreground: Any = None,
        scale: float | None = None,
        neighborhood: Neighborhood | None = None,
        clusterer: str | Clusterer | None = None,
        tile: TileSize = 1152,
        min_size: int | None = None,
        block: int = 2048,
        overlap: int = 128,
        folder: PathLike | None = None,
        client: Any = None,
        progress: Progress = False,
    ) -> int:
        """Segment an image that is larger than the memory, block by block.

        Objects that are no longer than `overlap` along each axis come out as from `segment`, whether or not
        a block ends in them, if what becomes of an object depends on nothing farther from it than that. A run
        that was killed and is started again does not redo the blocks that were finished.

        Parameters
        ----------
        image : path or array-like
            Path of a zarr array or of an uncompressed TIFF; or anything with ``shape``, ``dtype`` and slicing:
            a zarr, dask, HDF5 or memory-mapped array. Read in parts, never modified. Percentiles for its
            normalization are those of every k-th pixel along each axis where it has more than four million.
        out : path or array
            A new path ending in ``.zarr``, or in ``.tif`` or ``.tiff``, which appears when all is done; or an
            array of integers of the image's spatial shape. It gets int32 labels: 0 = background, objects 1..n
            in the order of their first pixel.
        axes : {"YX", "YXC", "CYX"}, optional
            Axes of the image. Default: what a TIFF declares, else ``"YX"``, with a third axis ``"YXC"``.
        foreground : array-like, optional
            As for `segment`, but read in parts, from anything with slicing.
        scale, neighborhood, clusterer, tile, min_size
            As for `segment`.
        block : int
            Length in pixels of the parts that are labeled at a time; the memory grows with its square.
        overlap : int
            Pixels around a block that are labeled with it, at most `block`.
        folder : path, optional
            Where finished blocks are kept until all is done; then they are removed, and the folder with them if
            nothing else lies in it. Default: `out` with ``.blocks`` at its end; for an array a temporary folder,
            from which a killed run does not resume.
        client : dask.distributed.Client, optional
            Its workers do the blocks; they must see `folder` and be able to read the image: a path is opened by
            each of them, an array in memory is sent to them whole. Default: this process does them one by one.
        progress : bool or callable
            True shows a bar over the blocks; a callable is used as ``tqdm`` is.

        Returns
        -------
        int
            Number of objects.

        Raises
        ------
        InputError
            If an argument cannot be used, or `folder` holds blocks of another image or of other settings.
        UnknownClustererError
            If there is no clusterer of that name.
        MissingDependencyError
            If a zarr array is named, and zarr is not installed.
        """
        settings = self._settings(neighborhood, clusterer, min_size, scale)
        run = _clusterer_of(settings, clusterer)
        picture = open_image(image, axes=axes, channels=settings.network.in_channels)
        plan = Plan(picture.spatial_shape, block, overlap, settings.neighborhood.strides)
        check_output(out, plan.shape)
        windows = self._windows(picture, foreground, run, settings, as_tiling(tile))
        with block_folder(out, folder) as kept:
            return label_blockwise(
                plan,
                windows,
                out,
                folder=kept,
                settings=self._fingerprint(windows, run, settings),
                # Of a resized image, objects are measured before their labels take the image's size.
                min_size=settings.postprocess.min_size if settings.scale == 1 else 0,
                clear_border=settings.postprocess.clear_border,
                client=client,
                progress=progress,
            )

    def _windows(
        self, picture: LazyImage, foreground: Any, run: Clusterer, settings: ModelConfig, tiling: Tiling
    ) -> WindowLabeler:
        """The pipeline on a part of an image, but for what can be decided on the whole only."""
        inner = copy.copy(self)
        inner.config = settings.changed(postprocess=replace(settings.postprocess, clear_border=False))
        return WindowLabeler(
            picture,
            fixed_normalization(picture, settings.normalization),
            foreground,
            embed=partial(inner._embed, tiling=tiling),
            cluster=partial(inner.cluster, clusterer=run),
            halo=halo_of(self._network, tiling),
            grid=grid_of(self._network),
            strides=settings.neighborhood.strides,
            scale=settings.scale,
        )

    def _fingerprint(self, windows: WindowLabeler, run: Clusterer, settings: ModelConfig) -> dict[str, Any]:
        """All that the labels of a block depend on, the pixels of the image and of the foreground among it."""
        return {
            "image": [windows.image.axes, fingerprint(windows.image.source)],
            "config": settings.to_dict(),
            "clusterer": repr(run) if is_dataclass(run) else type(run).__qualname__,
            "weights": _digest(self._network),
            "precision": str(resolve_precision(self.precision, self.device)),
            "halo": windows.halo,
            "normalization": windows.normalization.to_dict(),
            "foreground": None if windows.foreground is None else fingerprint(windows.foreground),
            "version": __version__,
        }

    def _embed(self, values: npt.NDArray[np.float32], tiling: Tiling) -> Embedding:
        with memory_reused(), cpu_threads(self.threads):
            return embed(
                self._network, values, self.device, self.precision, tiling=tiling, views=self.config.views
            )

    def _view(self, image: Any, axes: str | None, foreground: Any, scale: float, tiling: Tiling) -> _View:
        """Read an image and run the network."""
        picture = as_image(image, axes=axes, channels=self.config.network.in_channels)
        given = None if foreground is None else _foreground_of_image(foreground, picture)
        values = resize_image(normalize(picture.values, self.config.normalization), scale)
        embedding = replace(self._embed(values, tiling), image_shape=picture.spatial_shape)
        return _View(picture, given, embedding)

    def _found(self, view: _View, run: Clusterer, settings: ModelConfig) -> Segmentation:
        with memory_reused(), cpu_threads(self.threads):
            return _segmentation(view, run, settings)

    def _labels_found(self, view: _View, run: Clusterer, settings: ModelConfig) -> Labels:
        """The labels alone: what they were made from need not stay in memory."""
        return self._found(view, run, settings).labels

    def _settings(
        self,
        neighborhood: Neighborhood | None = None,
        clusterer: str | Clusterer | None = None,
        min_size: int | None = None,
        scale: float | None = None,
    ) -> ModelConfig:
        """The model's configuration with the caller's settings in the place of its own."""
        changes: dict[str, Any] = {}
        if neighborhood is not None:
            changes["neighborhood"] = neighborhood
        if clusterer is not None:
            name = clusterer if isinstance(clusterer, str) else type(clusterer).__name__
            changes |= {"clusterer": name, "clusterer_settings": {}}
        if min_size is not None:
            changes["postprocess"] = replace(self.config.postprocess, min_size=min_size)
        if scale is not None:
            changes["scale"] = scale
        return self.config.changed(**changes)


def _segmentation(view: _View, run: Clusterer, settings: ModelConfig) -> Segmentation:
    """Find the objects of an image that the network has seen."""
    inside = _foreground_of(view.embedding, view.given, settings)
    pairs = affinities(view.embedding, settings.neighborhood).numpy()
    labels = _labels_of(run, pairs, inside, settings.postprocess)
    if inside is not None:
        inside = resize_labels(inside, view.picture.spatial_shape) if view.given is None else view.given
        inside = view.picture.to_source_order(inside)
    labels = _labels_of_image(labels, view.picture, view.given)
    spatial_axes = view.picture.source_axes.replace("C", "")
    return Segmentation(labels, inside, view.embedding, pairs, settings, spatial_axes)


def _labels_of_each(
    prepare: Callable[[Any], _View],
    find: Callable[[_View], Labels],
    images: Iterable[Any],
    progress: Progress,
) -> Iterator[Labels]:
    """Labels of images, the network being one image ahead."""
    with memory_reused(), closing(overlapped(prepare, find, track(images, progress))) as found:
        yield from found


def _digest(network: nn.Module) -> str:
    """Hash of the weights."""
    found = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _prepared(network: nn.Module) -> nn.Module:
    """Make a network fit for inference: evaluation mode, batch norm folded, channels last."""
    network.eval().requires_grad_(False)
    fold_batch_norm = getattr(network, "fold_batch_norm", None)
    if callable(fold_batch_norm):
        fold_batch_norm()
    prepared: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return prepared


def _check_sequence(images: Any) -> None:
    """Refuse one image in the place of several: a text or an array would be taken apart."""
    if isinstance(images, (str, os.PathLike)):
        found = "path"
    elif len(shape := tuple(getattr(images, "shape", ()))) > 1:
        found = f"array of shape {shape}"
    else:
        return
    raise InputError(f"segment_many takes a sequence of images, got one {found}; put it in a list")


def _clusterer_of(settings: ModelConfig, given: str | Clusterer | None) -> Clusterer:
    """The caller's clusterer, or the one that the settings name."""
    if given is None or isinstance(given, str):
        return get_clusterer(settings.clusterer, **settings.clusterer_settings)
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
        signature = inspect.signature(clusterer)
    except ValueError:
        return True
    try:
        signature.bind(None, foreground=None)
    except TypeError:
        return False
    return True


def _foreground_of_image(foreground: Any, picture: Image) -> npt.NDArray[np.bool_]:
    """The caller's foreground, which has the image's order of axes, in the network's order."""
    source_shape = picture.to_source_order(np.empty(picture.spatial_shape, np.bool_)).shape
    return picture.from_source_order(as_foreground(foreground, source_shape))


def _foreground_of(
    embedding: Embedding, given: npt.NDArray[np.bool_] | None, settings: ModelConfig
) -> npt.NDArray[np.bool_] | None:
    """The caller's foreground at the embedding's resolution, or the network's, or None for everywhere."""
    if given is not None:
        return resize_labels(given, embedding.spatial_shape)
    if embedding.foreground is None:
        return None
    inside: npt.NDArray[np.bool_] = (embedding.foreground > settings.foreground_threshold).cpu().numpy()
    return inside


def _labels_of(
    run: Clusterer, pairs: Affinities, inside: npt.NDArray[np.bool_] | None, postprocess: Postprocess
) -> Labels:
    """Cluster and postprocess; a plug-in's labels are checked."""
    # Fetched only where it is used: it may be on another device.
    embedding = pairs.embedding if postprocess.needs_embedding else None
    return postprocess(as_labels(run(pairs, foreground=inside), pairs.spatial_shape), embedding)


def _labels_of_image(labels: Labels, picture: Image, given: npt.NDArray[np.bool_] | None) -> Labels:
    """Labels in the image's size and order of axes; objects that vanish in resizing leave no gap."""
    return relabel(picture.to_source_order(labels_of_image(labels, picture.spatial_shape, given)))
