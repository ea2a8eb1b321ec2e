"""The segmenter: it loads a model, holds its settings, and runs the pipeline."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pixel_embedded_affinity.call import Call
from pixel_embedded_affinity.clustering import Clusterer, get_clusterer
from pixel_embedded_affinity.config.model import ModelConfig, may_be_none, refuse_other_keywords
from pixel_embedded_affinity.config.settings import read_settings, write_settings
from pixel_embedded_affinity.embedding import Embedding
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.tiling import TileSize
from pixel_embedded_affinity.inference.base import AUTO, ONNX, TORCH, Runtime
from pixel_embedded_affinity.inference.loading import load
from pixel_embedded_affinity.io.selection import Selection
from pixel_embedded_affinity.labels import Labels
from pixel_embedded_affinity.models.checkpoint import Checkpoint
from pixel_embedded_affinity.models.fetch import resolve
from pixel_embedded_affinity.models.registry import get_entry
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.pipeline import Embedder, Segmentation
from pixel_embedded_affinity.runtime.device import Device, checked_threads, require_torch
from pixel_embedded_affinity.runtime.progress import Progress

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pixel_embedded_affinity.training.adapt import Adaptation
    from pixel_embedded_affinity.training.finetune import FineTuning
    from pixel_embedded_affinity.tune import Tuning

PathLike = str | os.PathLike[str]


class Segmenter:
    """Segments images with one model.

    Use `Segmenter.pretrained` or `Segmenter.from_file`; the constructor takes a network of your own.

    Parameters
    ----------
    network : torch.nn.Module or Runtime
        A network of `pixel_embedded_affinity.network` with its weights. It is changed: moved to the device,
        put into evaluation mode, its batch norms folded into the convolutions. Or what runs a network without torch.
    config : ModelConfig
        The model's configuration.
    device : str
        ``"auto"`` (CUDA if there is one, else CPU), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    precision : {"auto", "float32", "bfloat16"}
        What the network computes in; ``"auto"`` takes bfloat16 where the device computes in it natively. Without torch
        always float32.
    threads : int, optional
        CPU threads on which this segmenter computes; the labels do not depend on it. Torch has one number per
        process: other threads that use torch during a call may get this number, too. After each call torch has its
        own number again. Default: torch's own number.
    origin : callable, optional
        Gives the model as it is stored, for `finetune` and `adapt`. Default: the segmenter cannot be fine-tuned or
        adapted.

    Raises
    ------
    DeviceError
        If the device is missing, or the precision unknown.
    InputError
        If `config` is none, or `threads` is not an integer from 1 to 1024.
    """

    def __init__(
        self,
        network: nn.Module | Runtime,
        config: ModelConfig,
        *,
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        origin: Callable[[], Checkpoint] | None = None,
    ) -> None:
        if not isinstance(config, ModelConfig):
            raise InputError(
                f"config of type {type(config).__name__}; expected a ModelConfig, such as "
                "Segmenter.pretrained(name).config"
            )
        self.config, self._origin = config, origin
        self._embedder = Embedder.of(network, config, device, precision, checked_threads(threads))

    @property
    def embedder(self) -> Embedder:
        """The network on its device."""
        return self._embedder

    @property
    def device(self) -> torch.device | Device:
        """Where the network computes."""
        place: torch.device | Device = self._embedder.device
        return place

    @property
    def runtime(self) -> str:
        """What runs the network, ``"torch"`` or ``"onnx"``."""
        return ONNX if isinstance(self._embedder.network, Runtime) else TORCH

    @property
    def precision(self) -> str:
        """What the network computes in, as the caller gave it."""
        return self._embedder.precision

    @property
    def threads(self) -> int | None:
        """CPU threads on which this segmenter computes; None leaves torch's own number."""
        return self._embedder.threads

    @property
    def origin(self) -> Callable[[], Checkpoint] | None:
        """What gives the model as it is stored; None where it is not known."""
        return self._origin

    @classmethod
    def pretrained(
        cls,
        name: str,
        *,
        runtime: str = AUTO,
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        offline: bool | None = None,
    ) -> Segmenter:
        """Load a model by name; its weights are fetched if they are not on this machine, and always verified.

        Parameters
        ----------
        name : str
            One of `list_models`. ``"nuclei@0.2.0"`` asks for a version: after an update, you get the same labels, or
            an error if the library no longer has this version.
        runtime : {"auto", "torch", "onnx"}
            What runs the network. ``"onnx"``, which is onnxruntime, needs no torch, and computes on the CPU in float32;
            the labels are the same. ``"auto"`` takes torch if it is installed, else onnxruntime.
        device, precision, threads
            See the class.
        offline : bool, optional
            True never uses the network. Default: the environment variable ``PEA_OFFLINE``.

        Raises
        ------
        UnknownModelError
            If there is no such model or version; the message lists the valid ones.
        DownloadError
            If no place provides the weights.
        DeviceError
            If the device is missing.
        InputError
            If `threads` is not a number of threads.
        """
        # The very bytes that become weights are checked against the hash.
        entry = get_entry(name)
        path = resolve(name, offline=offline)
        network, config, origin = load(path, runtime, device, precision, sha256=entry.sha256)
        config = config.with_values(entry.settings).changed(version=entry.version)
        return cls(network, config, device=device, precision=precision, threads=threads, origin=origin)

    @classmethod
    def from_file(
        cls,
        path: PathLike,
        *,
        runtime: str = AUTO,
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
    ) -> Segmenter:
        """Load a model file, such as ``pea train`` writes.

        Parameters
        ----------
        path : str or os.PathLike
            A ``.safetensors`` checkpoint of this library; or, for runtime ``"onnx"``, an ``.onnx`` file that
            ``pea export`` wrote.
        runtime : {"auto", "torch", "onnx"}
            See `pretrained`. A checkpoint needs the network of a shipped model to run without torch; an ``.onnx`` file
            may hold any network, and is always run by onnxruntime.
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
        network, config, origin = load(path, runtime, device, precision)
        return cls(network, config, device=device, precision=precision, threads=threads, origin=origin)

    def __repr__(self) -> str:
        name, version, device = self.config.name, self.config.version, str(self.device)
        runtime = f", runtime={self.runtime!r}" if self.runtime != TORCH else ""
        return f"Segmenter({name!r}, version={version!r}, device={device!r}{runtime})"

    def with_settings(self, **settings: Any) -> Segmenter:
        """Return a segmenter with the same weights and other inference settings; this one stays as it is.

        Parameters
        ----------
        neighborhood : Neighborhood, optional
            Pairs of pixels for clustering.
        clusterer : str, optional
            Name of the clusterer, which gets its default settings unless `clusterer_settings` are given.
        clusterer_settings : dict, optional
            Settings of the clusterer. Without `clusterer`, those that are not given stay as they are.
        foreground_threshold : float, optional
            Probability above which a pixel is foreground.
        postprocess : Postprocess, optional
            What is done to the labels.
        scale : float or "auto", optional
            Factor by which images are resized for the network, unless a call gives another one.
        diameter : float, str or None, optional
            Median diameter of the objects in the images, which says the scale, see `segment`; None takes an earlier one
            back.
        views : {1, 4, 8}, optional
            Number of views in which the network sees an image (test-time augmentation): 1, the image as it is; 4,
            also its flips; 8, also these transposed. With n views the network takes n times as long.
        **dotted
            Single settings by their dotted keys: ``with_settings(**{"postprocess.min_size": 30})``.

        Returns
        -------
        Segmenter
            It shares the network with this one.

        Raises
        ------
        UnknownClustererError, InputError
            If a setting is not valid, or a dotted key names none.
        TypeError
            If a keyword is neither a setting nor a dotted key.
        """
        refuse_other_keywords(settings)
        given = {name: value for name, value in settings.items() if value is not None or may_be_none(name)}
        config = self.config.with_values(given)
        get_clusterer(config.clusterer, **config.clusterer_settings)
        changed = copy.copy(self)
        changed.config = config
        return changed

    def with_settings_from(self, path: PathLike) -> Segmenter:
        """Return a segmenter with the same weights and the settings of a file; this one stays as it is.

        Parameters
        ----------
        path : str or os.PathLike
            From `save_settings`; settings that the file does not hold stay as they are. The log warns of settings
            that were saved for another model, or another version of it.

        Raises
        ------
        UnknownClustererError, InputError
            If the file is no settings file, or a setting is not valid.
        OSError
            If the file cannot be read.
        """
        return self.with_settings(**read_settings(path, self.config.name, self.config.version))

    def save_settings(self, path: PathLike) -> None:
        """Write the inference settings as JSON, for `with_settings_from`.

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

    def tune(self, images: Iterable[Any], labels: Iterable[Any] | None = None, **options: Any) -> Tuning:
        """Find better settings on a few images: `pixel_embedded_affinity.tune.tune` of this segmenter.

        With labels, all settings; without labels, the scale.

        Parameters
        ----------
        images, labels, **options
            See `pixel_embedded_affinity.tune.tune`: ``metric``, ``search``, ``foregrounds``, ``axes``,
            ``channel``, ``time``, ``z``, ``series``, ``pixel_size``, ``progress``.

        Returns
        -------
        Tuning
            With the new segmenter; this one stays as it is.
        """
        from pixel_embedded_affinity.tune import tune

        return tune(self, images, labels, **options)

    def finetune(
        self, images: Iterable[Any], labels: Iterable[Any], *, minutes: float | None = None, **options: Any
    ) -> FineTuning:
        """Let the model learn from a few labeled images: `pixel_embedded_affinity.training.finetune.finetune`.

        Parameters
        ----------
        images, labels, minutes, **options
            See `pixel_embedded_affinity.training.finetune.finetune`: ``steps``, ``metric``, ``seed``, ``axes``,
            ``channel``, ``time``, ``z``, ``series``, ``pixel_size``, ``progress``.

        Returns
        -------
        FineTuning
            With the new segmenter; this one stays as it is.
        """
        require_torch("Fine-tuning")
        from pixel_embedded_affinity.training.finetune import finetune

        return finetune(self, images, labels, minutes=minutes, **options)

    def adapt(self, volumes: Any, **options: Any) -> Adaptation:
        """Fit a model of volumes to another microscope, without labels: `pixel_embedded_affinity.training.adapt.adapt`.

        Parameters
        ----------
        volumes, **options
            See `pixel_embedded_affinity.training.adapt.adapt`: ``axes``, ``channel``, ``time``, ``series``,
            ``pixel_size``, ``progress``.

        Returns
        -------
        Adaptation
            With the new segmenter; this one stays as it is.
        """
        require_torch("Adapting")
        from pixel_embedded_affinity.training.adapt import adapt

        return adapt(self, volumes, **options)

    def segment(
        self,
        image: Any,
        *,
        axes: str | None = None,
        channel: int | str | None = None,
        time: int | None = None,
        series: int | None = None,
        pixel_size: float | str | Sequence[float | str] | None = None,
        z: int | None = None,
        foreground: Any = None,
        scale: float | str | None = None,
        diameter: float | str | None = None,
        neighborhood: Neighborhood | None = None,
        clusterer: str | Clusterer | None = None,
        tile: TileSize = "auto",
        min_size: int | None = None,
    ) -> Labels:
        """Segment one image.

        Parameters
        ----------
        image : array-like or path
            Anything with ``shape``, ``dtype`` and indexing, of any integer, floating-point or boolean type.
            A path is read as TIFF, PNG, JPEG, OME-Zarr or HDF5. Or the content of such a file: bytes, or a file that is
            open for reading in mode ``"rb"``, such as an upload. Never modified.
        axes : str, optional
            One letter per axis: ``"YX"``, ``"YXC"``, ``"CYX"``; with T for time points, which are labeled one by one.
            Default: what a file declares; for an array, spatial axes, then the channels if there is one more axis.
        channel : int or str, optional
            The channel to take, by its number from 0, or by its name in the file. Default: all channels.
        time : int, optional
            The time point to take, from 0. Default: all.
        series : int, optional
            The image to take of a file that holds several, from 0. Default: there must be one.
        pixel_size : float, str, or sequence of these, optional
            Size of a pixel in micrometers, or a length such as ``"0.2 mm"``: one, or one per spatial axis in the order
            ``YX`` or ``ZYX``, for tables, written labels, and the scale of volumes. Default: what the file declares.
        z : int, optional
            The section of a stack to take for a model of images, from 0. Default: there must be one, or all are taken
            one by one if `axes` names them, such as ``"ZYX"``.
        foreground : array-like, optional
            Where objects may be, of the image's spatial shape: bools, or numbers that are 0 and 1, or integers,
            where 0 is background. Default: the model's own foreground, or everywhere if it has none.
        scale : float or "auto", optional
            Factor by which the image is resized for the network; the labels come back in the image's size.
            Use it where your objects are larger or smaller than the model's training objects. ``"auto"`` finds it in
            the image; for a volume, it compares the sizes of the voxels. Default: the model's.
        diameter : float or str, optional
            Instead of `scale`: the median diameter of your objects, in pixels of the image, or as a length such as
            ``"12 um"`` where the size of a pixel is known.
        neighborhood : Neighborhood, optional
            Pairs of pixels for clustering. Default: the model's.
        clusterer : str or Clusterer, optional
            Name of a clusterer, with its default settings, or a clusterer itself. Default: the model's.
        tile : "auto", int, (int, int), Tiling or None
            Height and width in pixels of the tiles in which the image goes through the network; see
            `pixel_embedded_affinity.geometry.tiling.Tiling` for when the result equals the whole image's. ``"auto"``:
            the whole image if it fits into memory, else the largest tiles that do. None: the whole image.
        min_size : int, optional
            Objects of fewer positions of the embedding are removed. Most models have one for every 2 x 2 pixels of the
            image at the scale at which the network sees it, `bbbc039-fast` one for each. Default: the model's.

        Returns
        -------
        numpy.ndarray
            int32, the image's shape and order of axes without channels: 0 = background, objects 1..n in the order of
            their first pixel. Each of several time points has its own objects 1..n; the objects of the sections of a
            stack are numbered on from section to section, so that no number stands for two objects of the stack.

        Raises
        ------
        InputError
            If the image, the axes, the foreground or a setting cannot be used.
        UnknownClustererError
            If there is no clusterer of that name.
        """
        selection = Selection(axes, channel, time, series, pixel_size, z)
        call = Call.of(self, selection, tile, scale, diameter, neighborhood, clusterer, min_size)
        return call.segment(image, foreground)

    def analyze(
        self,
        image: Any,
        *,
        axes: str | None = None,
        channel: int | str | None = None,
        time: int | None = None,
        series: int | None = None,
        pixel_size: float | str | Sequence[float | str] | None = None,
        z: int | None = None,
        foreground: Any = None,
        scale: float | str | None = None,
        diameter: float | str | None = None,
        neighborhood: Neighborhood | None = None,
        clusterer: str | Clusterer | None = None,
        tile: TileSize = "auto",
        min_size: int | None = None,
    ) -> Segmentation:
        """Segment one image and also return what the labels were made from; parameters and errors as for `segment`.

        Of several time points, `time` must choose one.

        Returns
        -------
        Segmentation
            The labels, and what they were made from.
        """
        selection = Selection(axes, channel, time, series, pixel_size, z)
        call = Call.of(self, selection, tile, scale, diameter, neighborhood, clusterer, min_size)
        return call.analyze(image, foreground)

    def embed(
        self,
        image: Any,
        *,
        axes: str | None = None,
        channel: int | str | None = None,
        time: int | None = None,
        series: int | None = None,
        pixel_size: float | str | Sequence[float | str] | None = None,
        z: int | None = None,
        scale: float | str | None = None,
        diameter: float | str | None = None,
        tile: TileSize = "auto",
    ) -> Embedding:
        """Run the network once; `cluster` then takes the embedding any number of times.

        Parameters
        ----------
        image, axes, channel, time, series, pixel_size, z, scale, diameter, tile
            As for `segment`; of several time points, `time` must choose one.

        Returns
        -------
        Embedding
            At the scaled image's resolution, on the segmenter's device; spatial axes in the order ``YX``.

        Raises
        ------
        InputError
            If the image or the axes cannot be used.
        """
        selection = Selection(axes, channel, time, series, pixel_size, z)
        return Call.of(self, selection, tile, scale, diameter).embed(image)

    def cluster(
        self,
        embedding: Embedding,
        *,
        labels: Any = None,
        same: Sequence[Any] | None = None,
        different: Sequence[Any] | None = None,
        foreground: Any = None,
        neighborhood: Neighborhood | None = None,
        clusterer: str | Clusterer | None = None,
        min_size: int | None = None,
    ) -> Labels:
        """Cluster an embedding without running the network, and within the corrections of a user.

        Parameters
        ----------
        embedding : Embedding
            From `embed`.
        labels : array-like of int, optional
            Labels to change by the strokes, such as those that you corrected before, of the spatial shape of the image,
            axes in the order ``YX``. Objects without a stroke stay as they are, to the pixel; nothing is clustered or
            postprocessed but an object that is cut. Default: what the clusterer finds.
        same : sequence of array-like of int, optional
            Strokes. A stroke is an array ``(N, 2)`` or ``(N, 3)`` with a row for each pixel of the image, ``(y, x)`` or
            ``(z, y, x)``; a single pixel is a stroke, too. The objects that a stroke goes through become one, whether
            or not they touch. Its pixels belong to this object, also where the model or `foreground` say background.
            Strokes that share a pixel are one.
        different : sequence of pairs of array-like of int, optional
            Pairs of such strokes, ``(one, other)``. Each is one object, and the two are different objects: an object
            that both go through is cut. Objects without a stroke stay as they are. Postprocessing neither removes an
            object with a stroke nor merges it into another because it is small or thin.
        foreground, neighborhood, clusterer, min_size
            As for `segment`; the foreground has the spatial shape of the image, axes in the order ``YX``. With
            ``scale="auto"``, `segment` finds the scale in the given foreground, which `embed` does not know of: the
            labels may differ, unless both get the same number as scale.

        Returns
        -------
        numpy.ndarray
            int32 labels of the spatial shape of the image that was embedded, axes in the order ``YX``.

        Raises
        ------
        InputError
            If a setting cannot be used, or `embedding` is not an `Embedding`; if labels come without strokes or with a
            foreground; if a stroke leaves the image, or strokes
            contradict each other; or if an object is to be cut, and the neighborhood has no attractive offset.
        """
        call = Call.of(self, neighborhood=neighborhood, clusterer=clusterer, min_size=min_size)
        return call.cluster(embedding, labels, same, different, foreground)

    def segment_many(
        self,
        images: Iterable[Any],
        *,
        axes: str | None = None,
        channel: int | str | None = None,
        time: int | None = None,
        series: int | None = None,
        pixel_size: float | str | Sequence[float | str] | None = None,
        z: int | None = None,
        scale: float | str | None = None,
        diameter: float | str | None = None,
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
        axes, channel, time, series, pixel_size, z, scale, diameter, neighborhood, clusterer, tile, min_size
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
            At once, if `images` is a single path or array, or a setting cannot be used; later, when the first
            unusable image comes.
        UnknownClustererError
            If there is no clusterer of that name.
        """
        selection = Selection(axes, channel, time, series, pixel_size, z)
        call = Call.of(self, selection, tile, scale, diameter, neighborhood, clusterer, min_size)
        return call.segment_each(images, progress)

    def segment_large(
        self,
        image: Any,
        out: Any,
        *,
        axes: str | None = None,
        channel: int | str | None = None,
        time: int | None = None,
        series: int | None = None,
        pixel_size: float | str | Sequence[float | str] | None = None,
        z: int | None = None,
        foreground: Any = None,
        scale: float | str | None = None,
        diameter: float | str | None = None,
        neighborhood: Neighborhood | None = None,
        clusterer: str | Clusterer | None = None,
        tile: TileSize = "auto",
        min_size: int | None = None,
        block: int | Sequence[int] | None = None,
        overlap: int | Sequence[int] | None = None,
        folder: PathLike | None = None,
        client: Any = None,
        progress: Progress = False,
    ) -> int:
        """Segment an image that is larger than the memory, block by block.

        An object that is no longer than `overlap` along each axis comes out as from `segment`, also where a block
        ends inside it, provided that nothing farther away than `overlap` influences it. A run that was killed and
        starts again does not redo finished blocks.

        Parameters
        ----------
        image : path or array-like
            Path of an OME-Zarr, a zarr array or a TIFF (a compressed one needs zarr); or anything with ``shape``,
            ``dtype`` and slicing: a zarr, dask, HDF5 or memory-mapped array. Read in parts, never modified. If it has
            more than four million pixels, percentiles are taken from every k-th pixel along each axis.
        out : path or array
            A new path ending in ``.zarr``, ``.tif`` or ``.tiff``, or ``IMAGE/labels/NAME`` within an OME-Zarr image
            or, ending in ``.zarr``, a new name for ``IMAGE``,
            which appears when all is done; or an array of integers of the image's spatial shape. It gets int32 labels:
            0 = background, objects 1..n in the order of their first pixel.
        axes : str, optional
            Axes of the image: ``"YX"``, ``"YXC"`` or ``"CYX"``, with Z in front of Y for a model of volumes. Default:
            what a file declares, else the spatial axes, then the channels if there is one more axis.
        channel, time, series, pixel_size, z
            As for `segment`; of several time points, `time` must choose one.
        foreground : array-like, optional
            As for `segment`, but anything with slicing, which is read in parts.
        scale, diameter, neighborhood, clusterer, min_size
            As for `segment`.
        tile : int, sequence of int, Tiling, "auto" or None
            As for `segment`; but ``"auto"`` gives tiles of 1152 embedding vectors along each axis: 2304 pixels for a
            network at half resolution.
        block : int or sequence of int, optional
            Length in pixels of the blocks, which are labeled one by one: one number or one per axis. The memory
            grows with the pixels of a block. Default: for images, 2048 embedding vectors, so 4096 pixels for a network
            at half resolution; for volumes, blocks with which the network sees few voxels twice, and at most 50
            million at once. An image that is enlarged for the network gets smaller blocks.
        overlap : int or sequence of int, optional
            Pixels around a block that are labeled with it, at most `block`. Default: 128 for images, 32 for volumes;
            along axes on which the model's voxels are longer, as many as are equally long together, but at least 8.
            These are pixels of the image as the network sees it, where its objects have their usual size.
        folder : path, optional
            Where finished blocks are kept until all is done. Then they are removed, and the folder with them if
            nothing else lies in it. Default: `out` with ``.blocks`` at its end; for an array a temporary folder,
            from which a killed run does not resume.
        client : dask.distributed.Client, optional
            Its workers label the blocks. They must see `folder` and the image: each worker opens a path itself, and
            is sent an array in memory whole. Default: this process labels them one by one.
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
        from pixel_embedded_affinity.large.segment import segment_large

        selection = Selection(axes, channel, time, series, pixel_size, z)
        call = Call.of(self, selection, tile, scale, diameter, neighborhood, clusterer, min_size)
        return segment_large(
            call.embedder,
            call.labeler,
            image,
            out,
            selection=selection,
            foreground=foreground,
            tiling=call.tiling,
            block=block,
            overlap=overlap,
            folder=folder,
            client=client,
            progress=progress,
        )
