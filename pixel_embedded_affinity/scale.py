"""The scale at which objects have the size that a model knows, found without labels."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import micrometers
from pixel_embedded_affinity.geometry.blobs import blob_diameter
from pixel_embedded_affinity.geometry.scaling import resize_image
from pixel_embedded_affinity.geometry.tiling import Box, grown, shape_of, whole_box
from pixel_embedded_affinity.io.arrays import FloatArray
from pixel_embedded_affinity.labels import Labels, Mask

if TYPE_CHECKING:
    from pixel_embedded_affinity.embedding import Embedding

logger = logging.getLogger(__name__)

SMALLEST, LARGEST = 1 / 32, 4.0
"""Scales between which the search stays."""

_SIDE = 176
"""Most pixels along an axis that the network sees in a look; the first one shows the whole image."""

_FIRST = 0.5
"""Largest scale of the first look: small images show small objects, too."""

_AIM = 0.8
"""The next look should show objects at this share of the diameter that the model knows."""

_MOST = 0.3
"""Share of the image that a first look shows at most; else it shows all of it, at the diameter that the model knows."""

_FEW = 3
"""Objects from which a look tells a diameter."""

_CONCLUSIVE = 0.45, 1.5
"""Diameters, as shares of the known one, at which a confident look ends the search."""

_CONFIDENT, _AGREED, _UNSURE = 0.75, 0.5, 0.3
"""Shares of the model's usual confidence: from the first a look is confident; from the second if blobs of this diameter
were expected; below the third it shows nothing."""

KEPT = 1.35
"""An image whose objects differ less than this factor from those that the model knows is seen as it is."""

_PAST = 0.9
"""Share of the best evidence so far below which a look ends the search."""

_UNLIKE = 0.55
"""Share of the usual confidence below which an image is unlike those that the model knows."""

_UNLIKE_PARTS = 0.45
"""The same for things that consist of objects, such as plants: the mean of all objects of the result."""

_OVERVIEW, _WIDEST = 384, 1536
"""Pixels along the longer axis of the overview, and the most that a closer look at the whole image may have."""

_LOOKS, _CLOSE = 2, 2.0
"""Number of looks, and the factor from which a look is made closer."""

_GAP, _MARGIN, _CONSIDERABLE = 0.02, 0.06, 0.1
"""Half of the gap, as a share of the image, over which pieces belong together; the margin around a thing, as a share of
it; and the share of the largest thing from which another one counts."""

_FARTHEST = 8
"""Factor by which an image is resized at most to give its pixels the size of the model's."""

_SAME = 1.1
"""Voxels that differ less than this factor from the model's are not resized."""


class KnownObjects(NamedTuple):
    """What a model knows: the median diameter of its training objects in pixels, and its usual confidence.

    The extent in pixels is known where objects are parts of one thing, as leaves are parts of a plant.
    """

    diameter: float
    confidence: float
    extent: float | None = None

    def remark(self, found: FoundScale) -> str:
        """Say what a user should know about a scale that was found; empty if all is well."""
        best = found.best
        if best is None:
            return ""
        if not best.objects:
            tried = ", ".join(f"{look.scale:.2g}" for look in found.looks)
            return f"no objects were found at scale {tried}; the image was taken as it is"
        # Of things with an extent, a look at the whole image shows how sure they are too coarsely.
        if best.confidence >= _UNLIKE * self.confidence or self.extent is not None:
            return ""
        return self._unlike(f"even at the best scale, {found.number:.2g}, objects", best.confidence)

    def remark_on_parts(self, found: FoundScale, confidence: npt.NDArray[np.float64]) -> str:
        """Say so if the objects of things with an extent, at the scale that was found, are hardly sure; else empty."""
        if self.extent is None or found.best is None or not len(confidence):
            return ""
        sure = float(confidence.mean())
        return self._unlike("objects", sure) if sure < _UNLIKE_PARTS * self.confidence else ""

    def _unlike(self, objects: str, sure: float) -> str:
        return (
            f"this image is unlike those that the model knows: {objects} have a confidence of {sure:.2f}, where "
            f"{self.confidence:.2f} is usual; look at the result before you use it"
        )


class Look(NamedTuple):
    """What the network found in a part of the image at one scale.

    Attributes
    ----------
    scale : float
        Factor by which the part was resized.
    objects : int
        Number of objects; objects that the part cuts are left out where others remain.
    diameter : float
        Diameter in pixels of the resized part of a disk with the objects' median area; 0 without objects.
    confidence : float
        Mean confidence of the objects; 0 without objects.
    """

    scale: float
    objects: int
    diameter: float
    confidence: float

    @property
    def evidence(self) -> float:
        """The confidence, less where it is the mean of few objects."""
        return self.confidence * self.objects / (self.objects + _FEW)


@dataclass(frozen=True)
class FoundScale:
    """The scale of an image, and how it was found.

    Attributes
    ----------
    scale : float or tuple of float
        Factor by which the image is resized, or one per axis.
    looks : tuple of Look
        All looks, in the order in which they were made; none where the scale was given.
    box : tuple of slice or None
        The part of the image that need be segmented; None for all of it.
    embedding : Embedding or None
        What the network made of the whole image at this scale, if a look has shown that.
    """

    scale: float | tuple[float, ...]
    looks: tuple[Look, ...] = ()
    box: Box | None = None
    embedding: Embedding | None = field(default=None, repr=False, compare=False)

    @property
    def number(self) -> float:
        """The scale as one number, the smallest of the axes."""
        return min(self.scale) if isinstance(self.scale, tuple) else self.scale

    @property
    def best(self) -> Look | None:
        """The look that decided; None where the scale was given."""
        return max(self.looks, key=lambda look: look.evidence, default=None)


GIVEN = FoundScale(1.0)
"""The image as it is."""


class Sight(NamedTuple):
    """What the network saw of a part of the image.

    Attributes
    ----------
    labels : numpy.ndarray
        Labels at the network's positions.
    stride : tuple of int
        Pixels between two positions along each axis.
    confidence : numpy.ndarray
        Confidence of each object.
    embedding : Embedding or None
        What was labeled, if it may serve as the result.
    """

    labels: Labels
    stride: tuple[int, ...]
    confidence: npt.NDArray[np.float64]
    embedding: Embedding | None = None


Observe = Callable[[FloatArray, Mask | None], Sight]
"""Label a resized part of the image, given the caller's foreground in it."""


def find_scale(
    values: FloatArray,
    given: Mask | None,
    known: KnownObjects,
    observe: Observe,
    first: float | None = None,
) -> FoundScale:
    """Find the scale at which the objects of an image have the diameter that a model knows.

    The first look is at the scale that the diameter of blobs in the image suggests, see `geometry.blobs`. If it is not
    conclusive, the next one shows the whole image, small; the first is forgotten if it showed fewer than three objects.
    Each further look is closer, at a part where the one before found objects. The search ends at a confident look whose
    objects have about the known diameter, at a look that shows less than an earlier one, or at the largest scale. Then
    the look with the best confidence decides: its diameter says what is missing.

    The first look at a small image shows all of it. If a look at all of the image decides, and its objects have about
    the known diameter, its scale is the result, and the network need not see the image again.

    Parameters
    ----------
    values : numpy.ndarray
        The normalized image (C, *spatial).
    given : numpy.ndarray or None
        The caller's foreground (*spatial).
    known : KnownObjects
        Diameter and usual confidence of the model's objects.
    observe : callable
        Labels a part, see `Observe`.
    first : float, optional
        A scale that is likely, for the first look, in place of the one that the blobs suggest. If that look is not
        conclusive, the search begins anew.

    Returns
    -------
    FoundScale
        Its scale is 1 if no look showed objects with some confidence.
    """
    looks: list[Look] = []
    embeddings: list[Embedding | None] = []
    shape = values.shape[1:]
    whole = whole_box(shape)
    least = _least(shape)
    start = max(least, min(_FIRST, _SIDE / max(shape)))
    likely = _first_look(values, known, first)
    box, scale = likely or (whole, start)
    while True:
        part = resize_image(values[(slice(None), *box)], scale)
        sight = observe(part, None if given is None else given[box])
        look = _look(sight, scale, box, shape)
        looks.append(look)
        embeddings.append(sight.embedding if box == whole else None)
        logger.debug("scale %.3g: %d objects, diameter %.1f, confidence %.2f", *look)
        if _is_conclusive(look, known, likely is not None) or _is_past(looks, known):
            break
        if likely is not None:
            # Blobs where hardly anything is found are none: shading, or stains.
            if look.objects < _FEW and first is None:
                looks, embeddings = [], []
            box, scale, likely = whole, start, None
            continue
        if scale >= LARGEST:
            break
        scale = _next_scale(look, known)
        box = _window(_interest(sight, part), box, scale)
    return _decided(looks, embeddings, known, least)


def _first_look(
    values: FloatArray, known: KnownObjects, first: float | None = None
) -> tuple[Box, float] | None:
    """Part and scale of a look at the scale that is likely, or that the blobs of the image suggest; None without blobs.

    In a part, blobs are shown a little smaller than the objects that the model knows.
    """
    shape = values.shape[1:]
    least, exact = _least(shape), first
    if exact is None:
        diameter = blob_diameter(values[0])
        if diameter is None:
            return None
        exact = known.diameter / diameter
    scale = settled(max(least, searched(exact)))
    if math.prod(min(1.0, _SIDE / (scale * length)) for length in shape) > _MOST:
        return whole_box(shape), scale
    closer = max(least, float(f"{searched(_AIM * exact):.2g}")) if first is None else first
    return _window(_contrast(values), whole_box(shape), closer), closer


def find_extent(
    values: FloatArray, given: Mask | None, extent: float, observe: Observe, *, many: bool = False
) -> FoundScale:
    """Find the largest thing in an image, such as a plant, and the scale that gives it a known extent.

    Parameters
    ----------
    values : numpy.ndarray
        The normalized image (C, Y, X).
    given : numpy.ndarray or None
        The caller's foreground (Y, X); it need not be looked for then.
    extent : float
        Wanted length in pixels along the longer axis.
    observe : callable
        Labels a part, see `Observe`. The whole image is seen at one size, then, if the thing is much smaller, closer.
    many : bool
        Whether there may be several things close together, such as the plants of a tray. Then pieces are of one thing
        only if they touch, or nearly so.

    Returns
    -------
    FoundScale
        With the part of the image that holds all foreground, if this is one thing or the caller's. Where there is no
        foreground, the scale is 1.
    """
    shape = values.shape[1:]
    box = whole_box(shape)
    if given is not None:
        thing = _largest_thing(given, many=many)
        return GIVEN if thing is None else _fitted(thing, extent, shape, thing.all)
    looks: list[Look] = []
    found, scale = GIVEN, max(_least(shape), min(LARGEST, _OVERVIEW / max(shape)))
    while len(looks) < _LOOKS:
        sight = observe(resize_image(values[(slice(None), *box)], scale), None)
        looks.append(_look(sight, scale, box, shape))
        thing = _largest_thing(sight.labels > 0, many=many)
        if thing is not None:
            pixels = [(side.stop - side.start) / length for side, length in zip(box, sight.labels.shape)]
            thing = thing.placed(pixels, box)
            found = _fitted(thing, extent, shape, thing.all if thing.alone else None)
        closer = _closer(found if thing is not None else FoundScale(LARGEST), scale, box)
        if closer is None:
            break
        box, scale = found.box or box, closer
    return replace(found, looks=tuple(looks))


def _closer(found: FoundScale, scale: float, box: Box) -> float | None:
    """Scale of a closer look, if things are much too small, or none were seen; None if it would gain little."""
    if found.number <= scale * _CLOSE:
        return None
    longest = max(side.stop - side.start for side in found.box or box)
    closer = min(found.number / math.sqrt(_CLOSE), max(_WIDEST / longest, scale))
    return closer if closer > scale * math.sqrt(_CLOSE) else None


class _Thing(NamedTuple):
    """The box around the largest thing, the box around all foreground, and whether the largest is all there is."""

    largest: Box
    all: Box
    alone: bool

    def placed(self, pixels: Sequence[float], box: Box) -> _Thing:
        """The thing of a look at a box of the image, in the image; a pixel of the look has some pixels of the image."""
        return _Thing(_enlarged(self.largest, pixels, box), _enlarged(self.all, pixels, box), self.alone)


def _largest_thing(inside: Mask, *, many: bool) -> _Thing | None:
    """Find the largest thing, whose pieces are not far apart, or nearly touch; None if there is nothing."""
    reach = 1 if many else max(1, round(_GAP * max(inside.shape)))
    found, _ = ndimage.label(ndimage.maximum_filter(inside, 2 * reach + 1))
    areas = np.bincount(found[inside], minlength=1)
    if not areas.any():
        return None
    largest = inside & (found == areas.argmax())
    alone = bool(np.count_nonzero(areas > _CONSIDERABLE * areas.max()) == 1)
    return _Thing(_around(largest), _around(inside), alone)


def _around(inside: Mask) -> Box:
    box: Box = ndimage.find_objects(inside.astype(np.uint8))[0]
    return box


def _enlarged(part: Box, pixels: Sequence[float], box: Box) -> Box:
    """The part of the image that is a part of a look at a box."""
    return tuple(
        slice(side.start + math.floor(inner.start * size), side.start + math.ceil(inner.stop * size))
        for side, inner, size in zip(box, part, pixels)
    )


def _fitted(thing: _Thing, extent: float, shape: Sequence[int], part: Box | None) -> FoundScale:
    """The scale that gives the largest thing the extent, and the part with a margin around it."""
    longest = max(side.stop - side.start for side in thing.largest)
    shown, box = tuple(shape), None
    if part is not None:
        margin = math.ceil(_MARGIN * longest)
        box = grown(part, (margin,) * len(shape), shape, (1,) * len(shape))
        shown = shape_of(box)
    scale = max(_least(shown), float(f"{searched(extent / longest):.3g}"))
    return FoundScale(scale, box=box)


def _look(sight: Sight, scale: float, box: Box, shape: Sequence[int]) -> Look:
    """Measure the objects of a look, without those that the part cuts if enough others remain."""
    areas = np.bincount(sight.labels.ravel())[1:]
    if not len(areas):
        return Look(scale, 0, 0.0, 0.0)
    counted = np.ones(len(areas), dtype=bool)
    counted[_cut(sight.labels, box, shape) - 1] = False
    if counted.sum() < _FEW:
        counted[:] = True
    area = float(np.median(areas[counted])) * math.prod(sight.stride)
    return Look(
        scale, int(counted.sum()), math.sqrt(4 * area / math.pi), float(sight.confidence[counted].mean())
    )


def _cut(labels: Labels, box: Box, shape: Sequence[int]) -> npt.NDArray[np.int32]:
    """Objects at the sides where the part ends but the image goes on."""
    cut = [np.empty(0, labels.dtype)]
    for axis, (side, length) in enumerate(zip(box, shape)):
        ends = np.moveaxis(labels, axis, 0)
        cut += [ends[0].ravel()] if side.start > 0 else []
        cut += [ends[-1].ravel()] if side.stop < length else []
    found = np.unique(np.concatenate(cut))
    return found[found > 0]


def _is_conclusive(look: Look, known: KnownObjects, expected: bool) -> bool:
    """Whether a look shows confident objects that are large enough; less confident ones do where they were expected."""
    if look.objects < _FEW:
        return False
    if expected and is_kept(look.diameter / known.diameter):
        return look.confidence >= _AGREED * known.confidence
    low, high = (share * known.diameter for share in _CONCLUSIVE)
    return look.confidence >= _CONFIDENT * known.confidence and low <= look.diameter <= high


def _is_past(looks: Sequence[Look], known: KnownObjects) -> bool:
    """Whether the last look shows less than an earlier one that shows something."""
    best = max(looks, key=lambda look: look.evidence)
    shown = best.objects >= _FEW and best.confidence >= _UNSURE * known.confidence
    return shown and looks[-1].evidence < _PAST * best.evidence


def _next_scale(look: Look, known: KnownObjects) -> float:
    """Twice the scale, or what brings the objects near the known diameter if the look tells one."""
    factor = 2.0
    if look.objects >= _FEW and look.confidence >= _UNSURE * known.confidence:
        factor = float(np.clip(_AIM * known.diameter / look.diameter, math.sqrt(2), 4))
    return min(look.scale * factor, LARGEST)


def _interest(sight: Sight, part: FloatArray) -> npt.NDArray[np.float32]:
    """How much each position deserves a closer look: objects do; where there are none, what differs from the rest."""
    if sight.labels.any():
        return (sight.labels > 0).astype(np.float32)
    return _contrast(part[(slice(None), *(slice(None, None, step) for step in sight.stride))])


def _contrast(values: FloatArray) -> npt.NDArray[np.float32]:
    difference: npt.NDArray[np.float32] = np.abs(values[0] - np.median(values[0]))
    return difference


def _window(interest: npt.NDArray[np.float32], box: Box, scale: float) -> Box:
    """Return the part for the next look: the most interesting one, as large as the network may see."""
    lengths = np.array([side.stop - side.start for side in box])
    wanted = np.minimum(lengths, round(_SIDE / scale))
    pixels = lengths / interest.shape
    mean = ndimage.uniform_filter(
        interest, np.maximum(1, np.rint(wanted / pixels)).astype(int), mode="constant"
    )
    center = np.array(np.unravel_index(int(mean.argmax()), mean.shape))
    starts = np.clip(np.rint((center + 0.5) * pixels - wanted / 2).astype(int), 0, lengths - wanted)
    return tuple(
        slice(side.start + start, side.start + start + length)
        for side, start, length in zip(box, starts.tolist(), wanted.tolist())
    )


def _least(shape: Sequence[int]) -> float:
    """The scale at which an image has one pixel along its shortest axis."""
    return 1 / min(shape)


def _decided(
    looks: Sequence[Look], embeddings: Sequence[Embedding | None], known: KnownObjects, least: float
) -> FoundScale:
    """The scale that the best look tells; or its own, with its embedding, if it shows the whole image well."""
    found = FoundScale(1.0, tuple(looks))
    best = found.best
    if best is None or best.confidence < _UNSURE * known.confidence:
        return found
    factor, embedding = known.diameter / best.diameter, embeddings[looks.index(best)]
    if embedding is not None and is_kept(factor):
        return replace(found, scale=best.scale, embedding=embedding)
    return replace(found, scale=settled(max(least, searched(best.scale * factor))))


def searched(scale: float) -> float:
    """Bring a scale between those of the search."""
    return float(np.clip(scale, SMALLEST, LARGEST))


def is_kept(factor: float) -> bool:
    """Tell whether objects that differ by a factor from those that the model knows stay as they are."""
    return 1 / KEPT < factor < KEPT


def settled(scale: float) -> float:
    """Round a scale to two digits; 1 if it is about 1."""
    return 1.0 if is_kept(scale) else float(f"{scale:.2g}")


def diameter_in_pixels(diameter: float | str, pixel_size: Sequence[float] | None) -> float:
    """Return a diameter in pixels of the image.

    Parameters
    ----------
    diameter : float or str
        In pixels, or a length such as ``"12 um"``.
    pixel_size : sequence of float or None
        Size of a pixel along each axis in micrometers; the smallest counts.

    Raises
    ------
    InputError
        If a length is given, and the size of a pixel is not known.
    """
    if not isinstance(diameter, str):
        return diameter
    if pixel_size is None:
        raise InputError(
            f"diameter {diameter!r} needs the size of a pixel, which the image does not state; give pixel_size= "
            "(--pixel-size), or the diameter in pixels"
        )
    return micrometers(diameter) / min(pixel_size)


def remark_on_size(image: Sequence[float] | None, model: Sequence[float] | None) -> str:
    """Say that an image's pixels have another size than those that a model knows; empty if they have not.

    Also say so if the size of the voxels of a volume is not known, and the model knows one.
    """
    if image is None and model is not None and len(model) == len("ZYX"):
        return (
            f"the size of the volume's voxels is not known, and the model knows {_size(model)} micrometers (z, y, x); "
            "give pixel_size= with scale='auto' (--pixel-size, --scale auto)"
        )
    factors = scale_by_size(image, model)
    if image is None or model is None or factors is None or all(1 / KEPT < one < KEPT for one in factors):
        return ""
    return (
        f"the image's pixels measure {_size(image)} micrometers, those that the model knows {_size(model)}; the "
        "image was taken as it is; scale='auto' (--scale auto) resizes it for the model"
    )


def check_factors(
    factors: Sequence[float], image: Sequence[float] | None, model: Sequence[float] | None
) -> None:
    """Refuse to resize an image by a factor that no right size of its pixels asks for.

    Raises
    ------
    InputError
        If an axis would become more than eight times as long, or less than an eighth.
    """
    if image and model and not all(1 / _FARTHEST <= factor <= _FARTHEST for factor in factors):
        raise InputError(
            f"the image's pixels measure {_size(image)} micrometers, those that the model knows {_size(model)}; "
            f"expected at most {_FARTHEST} times as much or as little along each axis; sizes are in micrometers, so 30 "
            "nm are 0.03"
        )


def _size(values: Sequence[float]) -> str:
    """Write the size of a pixel, such as ``0.03 x 0.006 x 0.006``."""
    return " x ".join(f"{value:.4g}" for value in values)


def scale_by_size(image: Sequence[float] | None, model: Sequence[float] | None) -> tuple[float, ...] | None:
    """Return the factor per axis that gives the image's pixels the size of the model's; None if one is not known."""
    if image is None or model is None:
        return None
    factors = tuple(float(f"{one / other:.3g}") for one, other in zip(image, model))
    return (1.0,) * len(factors) if all(1 / _SAME < factor < _SAME for factor in factors) else factors
