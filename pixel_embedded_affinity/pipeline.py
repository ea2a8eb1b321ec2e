"""From an image to labels: see, label, restore. Nothing else in the library makes labels of an image.

*see*: the image is read, normalized, scaled, and the network embeds it.
*label*: a clusterer makes objects of the embedding's affinities, and the objects are postprocessed.
*restore*: the labels get the image's size and stay inside the caller's foreground.
"""

from __future__ import annotations

import base64
import copy
import inspect
import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.affinity import Affinities, Array, affinities, numpy_of
from pixel_embedded_affinity.clustering import Clusterer, get_clusterer
from pixel_embedded_affinity.confidence import object_confidence
from pixel_embedded_affinity.config.model import AUTO, ModelConfig
from pixel_embedded_affinity.embedding import WHOLE, Embedding, embed, ndim_of, runtime_of, stride_of
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export.base import EXPORTERS, Result, check_exporter
from pixel_embedded_affinity.export.overlay import picture_of
from pixel_embedded_affinity.export.table import channels_of, table_of
from pixel_embedded_affinity.geometry.scaling import labels_of_image, resize_image, resize_labels
from pixel_embedded_affinity.geometry.strides import at_positions, borders_flooded, borders_placed, spread
from pixel_embedded_affinity.geometry.tiling import Box, Tiling
from pixel_embedded_affinity.image import Image, as_channels, as_image, in_usual_order
from pixel_embedded_affinity.inference.base import Runtime, check_onnx_device
from pixel_embedded_affinity.io.arrays import FloatArray
from pixel_embedded_affinity.io.atomic import as_path
from pixel_embedded_affinity.io.selection import SPATIAL, Selection
from pixel_embedded_affinity.io.selection import WHOLE as ALL
from pixel_embedded_affinity.labels import Labels, Mask, as_foreground, as_labels, relabel
from pixel_embedded_affinity.links import Held
from pixel_embedded_affinity.neighborhood import new_axes
from pixel_embedded_affinity.normalize import normalize
from pixel_embedded_affinity.regions import Again, Part, by_components, region_column
from pixel_embedded_affinity.runtime.device import cpu_threads, resolve_device, resolve_precision
from pixel_embedded_affinity.runtime.memory import memory_reused
from pixel_embedded_affinity.runtime.subject import ImageLogger
from pixel_embedded_affinity.scale import (
    GIVEN,
    FoundScale,
    KnownObjects,
    Observe,
    Sight,
    check_factors,
    diameter_in_pixels,
    find_extent,
    find_scale,
    remark_on_size,
    scale_by_size,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = ImageLogger(__name__)

Integers = npt.NDArray[np.integer[Any]]

_SMALL = 0.5
"""Share of the usual object's area: while the scale is looked for, larger objects stay, whatever `min_size` says."""

_BORDER_SMOOTHING = 1.0
"""Standard deviation, in pixels, that smooths the foreground of a volume before borders are placed. It was best, or
within 0.001 of the best VOI, of 0 to 3 on three stacks of AC4 and two of FIB-25."""


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
    network : torch.nn.Module or Runtime
        A module ready for inference, on `device`; or what runs a network without torch.
    device : torch.device or Device
        Where the network computes.
    precision : str
        ``"auto"``, ``"float32"`` or ``"bfloat16"``.
    threads : int or None
        CPU threads; None leaves torch's own number.
    """

    network: Any
    device: Any
    precision: str = "auto"
    threads: int | None = None

    @classmethod
    def of(
        cls, network: Any, config: ModelConfig, device: str, precision: str, threads: int | None
    ) -> Embedder:
        """Bring a network to a device and make it ready for inference; what runs a network without torch stays.

        Raises
        ------
        DeviceError, InputError
            If the device is missing, the precision unknown, or the network has other axes than the configuration.
        """
        if isinstance(network, Runtime):
            check_onnx_device(device, precision)
            return cls(network, network.device, precision, threads)
        from pixel_embedded_affinity.network.base import check_ndim, ready

        place = resolve_device(device)
        resolve_precision(precision, place)
        check_ndim(network, config.neighborhood.ndim, "the model's neighborhood")
        return cls(ready(network).to(place), place, precision, threads)

    @property
    def ndim(self) -> int:
        """Spatial axes of the images that the network takes, 2 or 3."""
        return ndim_of(self.network)

    @property
    def runtime(self) -> Runtime:
        """What runs the network."""
        return runtime_of(self.network, self.device, self.precision)

    def __call__(self, values: FloatArray, config: ModelConfig, tiling: Tiling = WHOLE) -> Embedding:
        """Embed normalized, scaled values ``(C, *spatial)``."""
        device, views, size = self.device, config.views, config.pixel_size
        with working(self.threads):
            return embed(
                self.network, values, device, self.precision, tiling=tiling, views=views, pixel_size=size
            )

    def __getstate__(self) -> dict[str, Any]:
        network: Any = self.network
        if self.device.type != "cpu":
            network = copy.deepcopy(network).cpu()
        return {**self.__dict__, "device": str(self.device), "network": network}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self.network, Runtime):
            self.device = self.network.device
        else:
            self.device = resolve_device(state["device"])
            self.network = state["network"].to(self.device)


class Seen(NamedTuple):
    """What the network saw of an image, the caller's foreground in the network's order of axes, and the scale.

    `again` segments a part of the image at a scale of its own, where the settings ask for it.
    """

    picture: Image
    given: Mask | None
    embedding: Embedding
    found: FoundScale
    again: Again | None = None


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
            return self._called(pairs, inside)

    def _called(self, pairs: Affinities, inside: Mask | None) -> Integers:
        """Call the clusterer, and name it if it fails."""
        name = getattr(self.clusterer, "__qualname__", type(self.clusterer).__qualname__)
        try:
            found = self.clusterer(pairs, foreground=inside)
        except Exception as error:
            error.add_note(f"The clusterer {name} raised this.")
            raise
        try:
            return as_labels(found, pairs.spatial_shape)
        except InputError as error:
            raise InputError(f"the clusterer {name} returned {error}") from error


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
    image : Image or None
        What was segmented, before normalization.
    found : FoundScale
        The scale at which the network saw the image, and how it was found, see `pixel_embedded_affinity.scale`.
    own : dict of str to numpy.ndarray
        Confidence and scale of each object where components had scales of their own; else empty.
    """

    labels: Labels
    foreground: Mask | None
    embedding: Embedding
    affinities: Affinities
    settings: ModelConfig
    axes: str = "YX"
    image: Image | None = None
    found: FoundScale = GIVEN
    own: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)

    @property
    def scale(self) -> float | tuple[float, ...]:
        """Factor by which the image was resized for the network, or one per axis."""
        return self.found.scale

    @property
    def pixel_size(self) -> tuple[float, ...] | None:
        """Size of a pixel along each axis of `labels`, in micrometers; None where it is not known."""
        return None if self.image is None else self.image.source_pixel_size

    def table(
        self,
        intensity: Any = None,
        *,
        axes: str | None = None,
        channel: int | str | None = None,
        time: int | None = None,
        z: int | None = None,
        series: int | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Measure the objects: a dictionary of columns, one row per object.

        Parameters
        ----------
        intensity : path or array-like, optional
            An image, as `Segmenter.segment` takes it, of the labels' size, whose values are measured in each object.
        axes : str, optional
            A letter per axis of `intensity`, as for `Segmenter.segment`. Default: those of what was segmented.
        channel, time, z, series
            Which part of `intensity` is measured, as for `Segmenter.segment`: say, another channel than was segmented.

        Returns
        -------
        dict of str to numpy.ndarray
            See `pixel_embedded_affinity.export.table.object_table`, with lengths in micrometers where the size of a
            pixel is known; with ``confidence``, see `pixel_embedded_affinity.confidence.object_confidence`; with
            ``scale`` where it was found; and with ``region``, the number of the component of the foreground that an
            object lies in, where the settings say ``regions="components"``. Of a model that knows the extent of a
            plant, regions are plants: pieces that are near each other count as one.
        """
        sure = self.own.get("confidence")
        if sure is None:
            sure = object_confidence(self._upright(), self.embedding, self.affinities.neighborhood)
        part = Selection(channel=channel, time=time, z=z, series=series)
        channels = {} if intensity is None else self._channels(intensity, axes, part)
        table = table_of(self.labels, self.axes, channels, sure, self.pixel_size)
        one_scale = self.settings.regions == "image"
        if "scale" in self.own or (one_scale and (self.found.looks or self.found.box)):
            table["scale"] = self.own.get("scale", np.full(len(sure), self.scale))
        return table | region_column(self.labels, self.foreground, self.settings)

    def with_labels(self, labels: Any) -> Segmentation:
        """Return this result with other labels, such as those that a person has corrected; this one stays as it is.

        Parameters
        ----------
        labels : array-like of integers
            From `Segmenter.cluster` with strokes, or from another program: the shape and the axes of `labels`, 0 =
            background. Objects keep their numbers.

        Returns
        -------
        Segmentation
            Its table, pictures and files are those of the new labels. The confidence of objects is found anew, in the
            embedding of this result; where components had scales of their own, it has no column ``scale``.

        Raises
        ------
        InputError
            If the labels cannot be used, or have another shape.
        """
        array = as_labels(labels, self.labels.shape)
        if array.max(initial=0) > np.iinfo(np.int32).max:
            raise InputError(
                f"an object has the number {array.max()}; expected numbers below 2147483648; use "
                "pixel_embedded_affinity.labels.relabel(labels)"
            )
        return replace(self, labels=array.astype(np.int32), own={})

    def _channels(
        self, intensity: Any, axes: str | None, part: Selection
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Read an image of which the objects are measured, with its axes in their usual order."""
        ndim, shape = self.labels.ndim, self.labels.shape
        image = as_channels(
            intensity, ndim=ndim, axes=axes, spatial_shape=shape, spatial_axes=self.axes, selection=part
        )
        return channels_of(intensity, image)

    def _upright(self) -> Labels:
        """Return the labels with their axes in the usual order, whatever that of the source."""
        return in_usual_order(self.labels, self.axes)

    def overlay(self, *, scale: int = 1, numbers: bool = False) -> npt.NDArray[np.uint8]:
        """Draw the objects over the image, or over the middle section of a volume.

        See `pixel_embedded_affinity.export.render_overlay`.

        Parameters
        ----------
        scale : int
            Enlargement of the picture.
        numbers : bool
            Whether each object gets its number, which is its ``label`` in the table.

        Returns
        -------
        numpy.ndarray
            uint8, shape ``(Y * scale, X * scale, 3)``.

        Raises
        ------
        InputError
            If the result was made without an image.
        """
        return picture_of(self.as_result(""), scale=scale, numbers=numbers)

    def show(self, ax: Axes | None = None) -> Axes:
        """Draw the objects over the image with matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw. Default: a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            What was drawn on.

        Raises
        ------
        InputError
            As for `overlay`.
        MissingDependencyError
            If matplotlib is not installed; the extra ``plot`` brings it.
        """
        picture = self.overlay()
        axes = new_axes() if ax is None else ax
        axes.imshow(picture)
        axes.set_axis_off()
        axes.set_title(f"{self.labels.max(initial=0)} objects")
        return axes

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        name: str | None = None,
        exporters: str | Sequence[str] | None = None,
    ) -> list[Path]:
        """Write the result as ``pea segment`` does: labels, a table and an overlay.

        Parameters
        ----------
        folder : path
            It is made if it is absent; files of these names are replaced.
        name : str, optional
            Start of the files' names, without folders. Default: the name of the image file, or ``"image"``; with the
            dataset, the series, and the number of the time point or the section where the file holds several:
            ``movie_t3``.
        exporters : str or sequence of str, optional
            What to write. Default: ``"overlay"``, ``"table"`` and ``"labels"``.

        Returns
        -------
        list of pathlib.Path
            The files.

        Raises
        ------
        InputError
            If there is no such exporter, one cannot write this result, or `name` is no name of a file.
        OSError
            If a file cannot be written.
        """
        if name is not None and (Path(name).name != name or "\0" in name or "\\" in name):
            raise InputError(
                f"name={name!r} is no name of a file; expected one without folders, such as 'plate1_A3'"
            )
        default = ("overlay", "table", "labels")
        wanted = default if exporters is None else (exporters,) if isinstance(exporters, str) else exporters
        built = [EXPORTERS.build(one) for one in wanted]
        for exporter in built:
            check_exporter(exporter, self.labels.ndim, self.axes)
        target, file = as_path(folder, "folder"), "" if self.image is None else self.image.name
        stem = name or ("image" if self.image is None else self.image.stem)
        result = self.as_result(file or stem)
        target.mkdir(parents=True, exist_ok=True)
        paths = [target / f"{stem}{exporter.suffix}" for exporter in built]
        for path, exporter in zip(paths, built):
            exporter.write(path, result)
        return paths

    def as_result(self, file: str) -> Result:
        """Return the result as exporters take it.

        Parameters
        ----------
        file : str
            Name of the image file.

        Returns
        -------
        Result
            Labels and image with their axes in the usual order, and the labels to store as they are.

        Raises
        ------
        InputError
            If the result was made without an image.
        """
        shown = self._shown()
        measured = partial(self.table, shown, axes=self._axes_of(shown))
        return Result(self._upright(), shown, self.labels, measured, self.axes, self.pixel_size, file)

    def _shown(self) -> npt.NDArray[np.float32]:
        """The image with its axes in the usual order, channels first."""
        if self.image is None:
            raise InputError(
                "this result was made without an image; expected one of Segmenter.analyze; use that"
            )
        return self.image.shown

    def _axes_of(self, shown: npt.NDArray[np.float32]) -> str:
        spatial = SPATIAL[self.labels.ndim]
        return spatial if shown.ndim == self.labels.ndim else f"C{spatial}"

    def __repr__(self) -> str:
        return f"Segmentation({self._summary()}, model {self.settings.name} {self.settings.version})"

    def _summary(self) -> str:
        return f"{self.labels.max(initial=0)} objects in {' x '.join(map(str, self.labels.shape))} pixels"

    def _repr_html_(self) -> str:
        """A picture with the number of objects, for notebooks."""
        text = self._summary()
        if self.image is None:
            return f"<p>{text}</p>"
        from PIL import Image as PillowImage

        content = io.BytesIO()
        PillowImage.fromarray(self.overlay()).save(content, format="PNG")
        data = base64.b64encode(content.getvalue()).decode()
        return f'<p>{text}</p><img alt="{text}" src="data:image/png;base64,{data}"/>'


def see(
    embedder: Embedder,
    image: Any,
    config: ModelConfig,
    *,
    axes: str | None = None,
    selection: Selection = ALL,
    foreground: Any = None,
    tiling: Tiling = WHOLE,
    clusterer: Clusterer | None = None,
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
    selection : Selection
        Which part of the source is the image, see `image.as_image`.
    foreground : array-like, optional
        Where objects may be, in the image's order of axes.
    tiling : Tiling
        How the image is cut for the network.
    clusterer : Clusterer, optional
        What finds objects where the scale is to be found. Default: the one that `config` names.

    Raises
    ------
    InputError
        If the image, its axes or the foreground cannot be used.
    """
    channels = config.network.in_channels
    picture = as_image(image, axes=axes, channels=channels, ndim=embedder.ndim, selection=selection)
    given = None if foreground is None else given_foreground(foreground, picture)
    values = normalize(picture.values, config.normalization, config.contrast)
    found = scale_of(embedder, values, given, picture.pixel_size, config, clusterer)
    embedding = _embedded(embedder, values, found, config, tiling)
    again = None if config.regions == "image" else _again(embedder, values, config, clusterer)
    placed = replace(embedding, image_shape=picture.spatial_shape, box=found.box)
    return Seen(picture, given, placed, replace(found, embedding=None), again)


def _embedded(
    embedder: Embedder, values: FloatArray, found: FoundScale, config: ModelConfig, tiling: Tiling = WHOLE
) -> Embedding:
    """Embed the image at the scale that was found, unless the search has done so."""
    if found.embedding is not None:
        return found.embedding
    shown = values if found.box is None else values[(slice(None), *found.box)]
    return embedder(resize_image(shown, found.scale), config, tiling)


def scale_of(
    embedder: Embedder,
    values: FloatArray,
    given: Mask | None,
    pixel_size: Sequence[float] | None,
    config: ModelConfig,
    clusterer: Clusterer | None = None,
) -> FoundScale:
    """Return the scale that the settings state, or find it in the image.

    Parameters
    ----------
    embedder, config, clusterer
        As for `see`.
    values : numpy.ndarray
        The normalized image (C, *spatial).
    given : numpy.ndarray or None
        The caller's foreground (*spatial).
    pixel_size : sequence of float or None
        Size of the image's pixels in micrometers.

    Raises
    ------
    InputError
        If the setting needs the size of a pixel, and the image or the model does not state it.
    """
    stated = stated_scale(config, pixel_size)
    if stated is not None:
        return stated
    likely = scale_by_size(pixel_size, config.pixel_size)
    known, observe = _known(config), _observer(embedder, config, clusterer)
    if known.extent is not None:
        found = find_extent(values, given, known.extent, observe, many=config.regions == "components")
    else:
        found = find_scale(values, given, known, observe, None if likely is None else min(likely))
    logger.info("scale %g was found in the image", found.scale)
    if remark := known.remark(found):
        one_value = "; all its pixels have one value: look whether it is the right channel"
        logger.warning(remark + (one_value if values.min() == values.max() else ""))
    return found


def stated_scale(config: ModelConfig, pixel_size: Sequence[float] | None) -> FoundScale | None:
    """Return the scale that follows from the settings and the size of a pixel; None if it is to be found.

    Raises
    ------
    InputError
        If the setting needs the size of a pixel, and the image or the model does not state it.
    """
    if config.diameter is not None and config.object_diameter is not None:
        return FoundScale(config.object_diameter / diameter_in_pixels(config.diameter, pixel_size))
    if config.scale != AUTO:
        if config.scale == 1 and (remark := remark_on_size(pixel_size, config.pixel_size)):
            logger.warning(remark)
        return FoundScale(float(config.scale))
    if config.ndim == 2 and (config.object_diameter is not None or config.object_extent is not None):
        return None
    by_size = scale_by_size(pixel_size, config.pixel_size)
    if by_size is None:
        # A number would resize a volume along z, too.
        number = ", or the scale as a number" if config.ndim == 2 or config.pixel_size is None else ""
        raise InputError(
            f"scale 'auto' compares the size of the image's pixels, {pixel_size}, with the model's, "
            f"{config.pixel_size}, in micrometers; one is not known; give pixel_size= (--pixel-size){number}"
        )
    check_factors(by_size, pixel_size, config.pixel_size)
    return FoundScale(by_size)


def _known(config: ModelConfig) -> KnownObjects:
    """What a model that says the diameter of its objects knows about them."""
    return KnownObjects(config.object_diameter or 0.0, config.usual_confidence, config.object_extent)


def _again(embedder: Embedder, values: FloatArray, config: ModelConfig, clusterer: Clusterer | None) -> Again:
    """Segments parts of an image, each at the scale that is found in it."""
    plain = replace(config.postprocess, noise_floor=0.0)
    single = config.changed(scale=AUTO, diameter=None, postprocess=plain)
    labeler = Labeler(single, clusterer or checked_clusterer(None, single), embedder.threads)
    known = _known(config)

    def again(box: Box, mask: Mask) -> Part:
        part = values[(slice(None), *box)]
        observe = _observer(embedder, single, clusterer)
        if known.extent is None:
            found = find_scale(part, mask, known, observe)
        else:
            found = find_extent(part, mask, known.extent, observe)
        seen = _embedded(embedder, part, replace(found, box=None), single)
        embedding = replace(seen, image_shape=mask.shape)
        labels = cluster(embedding, mask, labeler)
        sure = object_confidence(labels, embedding, single.neighborhood)
        return Part(labels, sure, found.number)

    return again


def _observer(embedder: Embedder, config: ModelConfig, clusterer: Clusterer | None) -> Observe:
    """Labels parts of an image as the configuration says, in one view; small or uncertain objects stay."""
    usual = math.pi / 4 * (config.object_diameter or 0) ** 2 / math.prod(stride_of(embedder.network))
    smallest = min(config.postprocess.min_size, int(usual * _SMALL))
    plain = replace(config.postprocess, min_size=smallest, min_confidence=0.0, noise_floor=0.0)
    single = config.changed(views=1, postprocess=plain)
    labeler = Labeler(single, clusterer or checked_clusterer(None, single), embedder.threads)

    def observe(values: FloatArray, given: Mask | None) -> Sight:
        embedding = embedder(values, single)
        labels, _ = label(embedding, given, labeler)
        confidence = object_confidence(labels, embedding, single.neighborhood)
        stride = embedding.stride or (1,) * labels.ndim
        return Sight(labels, stride, confidence, embedding if config.views == 1 else None)

    return observe


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
    seen = labels_seen(labels, embedding, given, config)
    seen = seen if seen is labels else relabel(seen)
    if given is not None:
        given = embedding.part(given)
    return embedding.whole(labels_of_image(seen, embedding.part_shape, given))


def shown(labels: Labels, embedding: Embedding, given: Mask | None, config: ModelConfig) -> Labels:
    """What `restore` makes of the labels of positions, under their numbers."""
    seen = labels_seen(labels, embedding, given, config)
    full = embedding.whole(resize_labels(seen, embedding.part_shape))
    return full if given is None else np.where(given, full, 0)


def labels_seen(labels: Labels, embedding: Embedding, given: Mask | None, config: ModelConfig) -> Labels:
    """Give labels of the embedding's positions, under their numbers, to the pixels that the network saw."""
    if embedding.stride is None:
        return labels
    inside = seen_foreground(embedding, given, config)
    seen = spread(labels, inside, embedding.seen_shape, embedding.stride)
    return _to_the_pixel(seen, labels, embedding, embedding.stride)


def _to_the_pixel(seen: Labels, labels: Labels, embedding: Embedding, stride: tuple[int, ...]) -> Labels:
    """Place the borders between touching objects; without a foreground, those of a volume stay as they are."""
    if len(stride) == 2:
        return borders_placed(seen, labels, embedding.numpy(), stride)
    # The mean vector of a neuron, which runs through many ranges, says nothing about its border.
    if embedding.foreground is None:
        return seen
    return borders_flooded(seen, numpy_of(embedding.foreground), stride, smoothing=_BORDER_SMOOTHING)


def postprocessed(
    labels: Integers, embedding: Array | None, config: ModelConfig, held: Held | None = None
) -> Labels:
    """Postprocess labels at the embedding's positions; the embedding is fetched from its device only if needed."""
    finish = partial(
        config.postprocess, sampling=config.sampling, held=held, filled=config.foreground_threshold == 0
    )
    if embedding is None or not config.postprocess.needs_embedding:
        return finish(labels)
    vectors = numpy_of(embedding)
    whole = Embedding(vectors)  # of unit length already, so that nothing is divided again

    def measure(found: Labels) -> npt.NDArray[np.float64]:
        return object_confidence(found, whole, config.neighborhood)

    return finish(labels, vectors, measure=measure)


def seen_foreground(embedding: Embedding, given: Mask | None, config: ModelConfig) -> Mask | None:
    """Return where objects may be, in the size that the network saw; None where neither caller nor network says."""
    if given is not None:
        return resize_labels(embedding.part(given), embedding.seen_shape)
    if embedding.foreground is None:
        return None
    inside: Mask = numpy_of(embedding.foreground) > config.foreground_threshold
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
    (picture, given, embedding, scale, again), config = seen, labeler.config
    found, pairs = label(embedding, given, labeler)
    restored = restore(found, embedding, given, config)
    inside = seen_foreground(embedding, given, config)
    if inside is not None:
        inside = embedding.whole(resize_labels(inside, embedding.part_shape)) if given is None else given
    columns: dict[str, npt.NDArray[np.float64]] = {}
    known, sure = _known(config), np.zeros(0)
    if again is not None or known.extent is not None:
        sure = object_confidence(restored, embedding, config.neighborhood)
    if again is not None:
        objects = by_components(restored, inside, sure, scale.number, known, again)
        restored = objects.labels
        columns = {"confidence": objects.confidence, "scale": objects.scale}
        sure = objects.confidence[np.unique(restored[restored > 0]) - 1]
    if remark := known.remark_on_parts(scale, sure):
        logger.warning(remark)
    stored = picture.to_source_order(restored)
    labels = relabel(stored)
    own = {name: _in_order(column, stored, labels) for name, column in columns.items()}
    inside = None if inside is None else picture.to_source_order(inside)
    axes = picture.source_axes.replace("C", "")
    return Segmentation(labels, inside, embedding, pairs, config, axes, picture, scale, own)


def _in_order(column: npt.NDArray[np.float64], stored: Labels, labels: Labels) -> npt.NDArray[np.float64]:
    """Values of objects in the order of their new numbers."""
    old = np.zeros(int(labels.max(initial=0)), np.intp)
    old[labels[labels > 0] - 1] = stored[labels > 0] - 1
    return column[old]


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
