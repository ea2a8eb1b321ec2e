"""Model configuration: all that a checkpoint says about its model; unknown keys are refused."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping
from typing import Any, Self

from pixel_embedded_affinity import fields
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.views import checked_views
from pixel_embedded_affinity.labels import SPATIAL
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.normalize import Contrast, Normalization
from pixel_embedded_affinity.postprocess import Postprocess

AUTO = "auto"
"""The scale that says: find it in the image."""

_MOST_CHANNELS = 65536
"""Far above any real network: it limits the memory that a hostile file can make us allocate."""

_MOST_PARTS = 64
"""Most entries of an option that is a list, for the same reason."""


_RESIDUAL_UNET = {"filters": (16, 32, 64, 128, 256), "full_resolution_skip": False}
"""Options that checkpoint format 1 always writes for a residual_unet."""


@dataclasses.dataclass(frozen=True, init=False)
class NetworkConfig:
    """Which network, and how wide.

    Parameters
    ----------
    architecture : str
        Name of the architecture: ``"residual_unet"``, ``"half_unet"``, ``"resnet50_unet"``, ``"resnet101_unet"``,
        ``"sections_unet"``, ``"anisotropic_unet"``, ``"mala_unet"``, or a name from another package.
    in_channels : int
        Channels of the image.
    embedding_channels : int
        Length of a pixel's embedding.
    foreground_head : bool
        Whether the network tells foreground from background.
    options : mapping of str to object, optional
        Options of the architecture. Its constructor takes and checks them when the network is built.
    **more
        Options one by one, such as ``filters``; they replace entries of `options`.

    Raises
    ------
    InputError
        If a value is of another type, or a number is above 65536.
    """

    architecture: str
    in_channels: int
    embedding_channels: int
    foreground_head: bool
    options: dict[str, Any]

    def __init__(
        self,
        architecture: str = "residual_unet",
        in_channels: int = 3,
        embedding_channels: int = 16,
        foreground_head: bool = True,
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        defaults = _RESIDUAL_UNET if architecture == "residual_unet" else {}
        merged = {**defaults, **fields.table()({} if options is None else options, "network options"), **more}
        values = (architecture, in_channels, embedding_channels, foreground_head, _checked_options(merged))
        for entry, value in zip(dataclasses.fields(self), values):
            object.__setattr__(self, entry.name, value)
        if not isinstance(architecture, str):
            raise InputError(f"architecture must be a string, got {architecture!r}")
        if not (_is_channel_count(in_channels) and _is_channel_count(embedding_channels)):
            raise InputError(
                "in_channels and embedding_channels must be positive integers of at most "
                f"{_MOST_CHANNELS}, got {in_channels!r} and {embedding_channels!r}"
            )
        if not isinstance(foreground_head, bool):
            raise InputError(f"foreground_head must be true or false, got {foreground_head!r}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NetworkConfig:
        """Build the configuration from the output of `to_dict`; absent keys keep their defaults."""
        common = {entry.name for entry in dataclasses.fields(cls)} - {"options"}
        options = {name: value for name, value in values.items() if name not in common}
        # Early files say this of an architecture that has no such option.
        if values.get("architecture") == "half_unet" and options.get("full_resolution_skip") is False:
            del options["full_resolution_skip"]
        return cls(**{name: values[name] for name in common & set(values)}, options=options)

    def to_dict(self) -> dict[str, Any]:
        """Return a flat JSON-compatible dictionary in which options stand beside the other values."""
        values = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        options = values.pop("options")
        return values | {name: fields.plain(value) for name, value in options.items()}


@dataclasses.dataclass(frozen=True)
class NeighborhoodKeys(fields.Settings, section="neighborhood"):
    """The keys of a neighborhood in files, flags and searches; `Neighborhood.from_ranges` checks the values."""

    ranges: Any = fields.setting(
        dataclasses.MISSING,
        fields.list_of(fields.integer(1)),
        "Distances of the compared pairs, in positions of the embedding.",
        tries=((1, 3, 5, 9, 11), (1, 3), (1, 3, 5, 9), (1, 3, 9, 15, 27), (1, 3, 5, 9, 11, 15, 21)),
    )
    directions: int = fields.setting(
        4,
        fields.choice(4, 8, 6, 18, 26),
        "Size of the full neighborhood: 4 or 8 in two dimensions, 6, 18 or 26 in three. Kept if only ranges change.",
        tries=(8, 4),
    )
    strides: Any = fields.setting(
        1,
        fields.per_axis(fields.integer(1)),
        "Repulsive pairs are taken only at every Nth position along each axis. Kept if only ranges change.",
        tries=(5, 2, 3, 10),
    )


@dataclasses.dataclass(frozen=True)
class ModelConfig(fields.Settings, section="", title="the model configuration"):
    """Everything that inference needs to know about a model; the caller may change its inference settings.

    Parameters
    ----------
    name, version : str
        The model's name and version.
    network : NetworkConfig
        The network that the weights fit.
    normalization : Normalization
        How intensities become network input.
    neighborhood : Neighborhood
        Pairs of pixels for clustering.
    clusterer : str
        Name of the clusterer.
    clusterer_settings : dict
        Settings of the clusterer.
    foreground_threshold : float
        A pixel is foreground where the head's probability is above it.
    postprocess : Postprocess
        What is done to the labels afterwards.
    scale : float or "auto"
        Factor by which images are resized for the network and all that follows: ranges and sizes are in pixels
        of the resized image. Labels come back in the image's size. ``"auto"`` finds the factor in each image, see
        `pixel_embedded_affinity.scale.find_scale`, or by its `object_extent`.
    diameter : float or str, optional
        Median diameter of the objects in the images, in pixels, or as a length such as ``"12 um"`` where the size of a
        pixel is known. It says the scale: images are resized so that their objects have the `object_diameter`.
    regions : {"image", "components"}
        ``"image"`` segments an image at one scale. ``"components"`` segments each component of the foreground whose
        objects do not fit this scale at a scale of its own, see `pixel_embedded_affinity.regions.by_components`.
    object_diameter : float, optional
        Median diameter in pixels of the objects that the model was trained on, as the network saw them.
    object_extent : float, optional
        For models of one thing in an image that consists of objects, as a plant consists of leaves: its extent along
        the longer axis in pixels, as the network saw it in training. Scale ``"auto"`` then gives the largest thing
        in an image this extent, see `pixel_embedded_affinity.scale.find_extent`.
    usual_confidence : float
        Mean confidence of objects in images that the model was made for. The search for the scale needs it, and the
        warning about unlike images.
    views : {1, 4, 8, 16, 48}
        Number of views in which the network sees an image (test-time augmentation), see
        `pixel_embedded_affinity.geometry.views.geometries`; an image has up to 8.
    license, description : str
        Terms of the weights, and a sentence on their purpose.
    provenance : dict
        How the weights were made: recipe, seed, data, split, minutes, device.
    ndim : {2, 3}
        Spatial axes of the images. Default: as many as the neighborhood has.
    contrast : Contrast
        Limits of what the normalization stretches to full contrast.
    pixel_size : sequence of float, optional
        Size of a pixel along each spatial axis of the images that the model was trained on, in micrometers.
        Default: unknown.

    Raises
    ------
    InputError
        If a value has the wrong type or is out of range, or `neighborhood`, `views` or `pixel_size` does not fit
        `ndim`.
    """

    name: str = fields.setting("unnamed", fields.text())
    version: str = fields.setting("0", fields.text())
    network: NetworkConfig = fields.setting(NetworkConfig, fields.part(NetworkConfig))
    normalization: Normalization = fields.setting(Normalization, fields.part(Normalization))
    neighborhood: Neighborhood = fields.setting(
        Neighborhood.from_ranges([1, 3, 5, 9, 11], directions=4, strides=5),
        fields.part(Neighborhood, NeighborhoodKeys),
        "Pairs of pixels for clustering.",
        inference=True,
    )
    clusterer: str = fields.setting(
        "mutex_watershed",
        fields.text("the name of a clusterer (a clusterer itself goes to segment, analyze or cluster)"),
        "Name of the clusterer, which then has its default settings.",
        inference=True,
    )
    clusterer_settings: dict[str, Any] = fields.setting(
        {}, fields.table(), "Settings of the clusterer, as a JSON table on the command line.", inference=True
    )
    foreground_threshold: float = fields.setting(
        0.5,
        fields.number(0, 1),
        "A pixel is foreground where the probability is above it.",
        tries=(0.5, 0.3, 0.4, 0.45, 0.55, 0.6, 0.7),
        inference=True,
    )
    postprocess: Postprocess = fields.setting(
        Postprocess, fields.part(Postprocess), "What is done to the labels.", inference=True
    )
    scale: float | str = fields.setting(
        1.0,
        fields.word_or(AUTO, fields.number(above=0, advice="0.5 halves the image for the network")),
        "Factor by which images are resized for the network; auto finds it in each image.",
        inference=True,
    )
    diameter: float | str | None = fields.setting(
        None,
        fields.optional(fields.length()),
        "Median diameter of the objects in the images, which says the scale.",
        inference=True,
    )
    regions: str = fields.setting(
        "image",
        fields.choice("image", "components"),
        "What is segmented at one scale: the image, or each component of the foreground.",
        inference=True,
    )
    object_diameter: float | None = fields.setting(
        None,
        fields.optional(fields.number(above=0)),
        "Median diameter in pixels of the objects that the model was trained on.",
        inference=True,
    )
    object_extent: float | None = fields.setting(
        None,
        fields.optional(fields.number(above=0)),
        "Extent in pixels of the thing that consists of objects, such as a plant of leaves.",
        inference=True,
    )
    usual_confidence: float = fields.setting(
        0.6,
        fields.number(0, 1),
        "Mean confidence of objects in images that the model was made for.",
        inference=True,
    )
    views: int = fields.setting(
        1,
        fields.integer(1),
        "1: the network sees the image as it is; 4: also its flips along y and x; 8: also these transposed. "
        "Of a volume: 8: also its flips along z; 16: also these with y and x swapped.",
        inference=True,
    )
    license: str = fields.setting("", fields.text())
    description: str = fields.setting("", fields.text())
    provenance: dict[str, Any] = fields.setting({}, fields.table())
    ndim: int = fields.setting(None, fields.optional(fields.choice(2, 3)))
    contrast: Contrast = fields.setting(
        Contrast, fields.part(Contrast), "Limits of what is stretched to full contrast.", inference=True
    )
    pixel_size: tuple[float, ...] | None = fields.setting(
        None, fields.optional(fields.list_of(fields.number(above=0)))
    )

    def _check_together(self) -> None:
        ndim = self.neighborhood.ndim
        if self.ndim is None:
            object.__setattr__(self, "ndim", ndim)
        if self.ndim != ndim:
            raise InputError(
                f"ndim is {self.ndim}, but the neighborhood has {ndim} axes; give a neighborhood of {self.ndim} axes"
            )
        if self.pixel_size is not None and len(self.pixel_size) != ndim:
            raise InputError(f"pixel_size must be {ndim} numbers, one per axis, got {self.pixel_size}")
        checked_views(self.views, ndim, self.pixel_size)
        if self.diameter is not None and self.object_diameter is None:
            raise InputError(
                f"diameter {self.diameter!r} needs the diameter of the model's own objects, which the model does not "
                "say; set object_diameter, or give the scale"
            )
        sizes = self.object_diameter is not None or self.object_extent is not None
        if self.regions != "image" and (not sizes or self.ndim != 2):
            raise InputError(
                f"regions {self.regions!r} needs a model of images that says the diameter of its objects; set "
                "object_diameter, or leave regions 'image'"
            )
        if self.scale == AUTO and not sizes and self.pixel_size is None:
            raise InputError(
                "scale 'auto' needs the diameter of the model's own objects, which the model does not say; set "
                "object_diameter, or give the scale as a number"
            )
        if self.object_extent is not None and self.ndim != 2:
            raise InputError(
                f"object_extent {self.object_extent:g} is for images, but ndim is {self.ndim}; expected 2; leave it out"
            )

    @property
    def axes(self) -> str:
        """Axes of an image with its channels first, such as ``"CYX"``."""
        return f"C{SPATIAL[self.ndim]}"

    @property
    def sampling(self) -> tuple[float, ...] | None:
        """Size of a pixel along each axis, divided by the smallest one; None if it is not known."""
        if self.pixel_size is None:
            return None
        return tuple(size / min(self.pixel_size) for size in self.pixel_size)

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """Return a copy with other inference settings.

        Parameters
        ----------
        values : mapping
            By name, such as ``"scale"``, or by dotted key, such as ``"postprocess.min_size"`` or
            ``"clusterer_settings.repulsion"``. A named clusterer starts with its default settings; without a name,
            settings of the clusterer that are not given stay as they are. A scale replaces a diameter.

        Raises
        ------
        InputError
            If a key names no inference setting, a value is not valid, or there are both scale and diameter.
        """
        fields.refuse_unknown({key.partition(".")[0] for key in values}, SETTINGS, "the inference settings")
        if "clusterer" in values:
            values = {"clusterer_settings": {}, **values}
        elif isinstance(given := values.get("clusterer_settings"), Mapping):
            values = {**values, "clusterer_settings": {**self.clusterer_settings, **given}}
        if values.get("diameter") is not None:
            # The diameter says the scale. A file of settings holds both.
            values = {"scale": AUTO, **values}
            if values["scale"] not in (None, AUTO):
                raise InputError(
                    f"scale {values['scale']!r} and diameter {values['diameter']!r} were given, which say the same; "
                    "give one of them"
                )
        if values.get("scale") is not None:
            values = {"diameter": None, **values}
        return super().with_values(values)

    def to_json(self) -> str:
        """Return the configuration as JSON text, keys sorted."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Read the output of `to_json`.

        Raises
        ------
        InputError
            If the text is not JSON, or `from_dict` refuses it.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:  # also integers of thousands of digits
            raise InputError(f"the model configuration is not JSON: {error}") from error
        return cls.from_dict(values)

    def changed(self, **changes: Any) -> ModelConfig:
        """Return a copy with some entries replaced, inference settings or not."""
        return dataclasses.replace(self, **changes)


SETTINGS = tuple(name for name, declared in fields.declarations(ModelConfig).items() if declared.inference)
"""The entries of a `ModelConfig` that may differ without other weights."""


def refuse_other_keywords(settings: Mapping[str, Any]) -> None:
    """Refuse keywords that name no setting, as Python refuses unknown keywords.

    Raises
    ------
    TypeError
        If a keyword is neither a setting nor a dotted key.
    """
    unknown = [name for name in settings if name.partition(".")[0] not in SETTINGS]
    if unknown:
        raise TypeError(
            f"with_settings got unknown settings {unknown}; the valid ones are {', '.join(SETTINGS)}, and "
            f"dotted keys{meant_setting(unknown[0])}"
        )


def may_be_none(name: str) -> bool:
    """Whether None is a value of a setting, such as of a diameter, and not the same as no value."""
    return "." in name or any(leaf.key == name and leaf.default is None for leaf in inference_leaves())


def meant_setting(name: str) -> str:
    """Advice on an unknown setting: the part that has it, or a name that is spelled alike; empty if there is none."""
    keys = [leaf.key for leaf in inference_leaves()]
    within = [key for key in keys if key.endswith(f".{name}")]
    for near in within or difflib.get_close_matches(name, [*SETTINGS, *keys], n=1):
        return f"; did you mean **{{{near!r}: ...}}?" if "." in near else f"; did you mean {near!r}?"
    return ""


def inference_leaves() -> list[fields.Leaf]:
    """All inference settings that hold no further settings, in the order of `ModelConfig`."""
    return list(fields.leaves(ModelConfig, inference=True))


def _is_channel_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST_CHANNELS


def _checked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as numbers, strings, and tuples of them, small enough for any machine."""
    for name, value in options.items():
        parts = value if isinstance(value, (list, tuple)) else [value]
        if not isinstance(name, str) or len(parts) > _MOST_PARTS or not all(map(_is_plain, parts)):
            raise InputError(
                f"network option {name!r} must be a number of at most {_MOST_CHANNELS}, a string, true or false, or a "
                f"list of at most {_MOST_PARTS} of them, got {value!r}"
            )
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


def _is_plain(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, (int, float)) and abs(value) <= _MOST_CHANNELS)
