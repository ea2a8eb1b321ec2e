"""Random crops: scaled, rotated, bent, flipped, and changed in intensity, drawn from one generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from numpy.random import Generator
from scipy import ndimage
from torch.nn import functional

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import Settings, integer, list_of, number, setting, switch
from pixel_embedded_affinity.training.data.compression import compressed

FloatArray = npt.NDArray[np.float32]
LabelArray = npt.NDArray[np.int32]
Coordinates = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

OUTSIDE = -1
"""Label of a crop's pixels outside the image: the network sees them, the loss ignores them."""

MEMBRANE = -2
"""Label of a crop's pixels on a membrane: they belong to no object, and the loss ignores pairs of two of them."""


_SOFTEST = 1.2
"""Largest standard deviation, in pixels, of the Gaussian that softens the edge of an object laid over others."""

_SHOWN = 0.35
"""An object of which less than this share stays visible is not learned: a person would not draw it either."""


@dataclass(frozen=True)
class Augmentation(Settings, section="augmentation"):
    """How a training crop is drawn from an image.

    Parameters
    ----------
    scale : (float, float)
        Bounds of the magnification, whose logarithm is drawn uniformly; the model's ``scale`` comes on top of it.
    rotation : float
        Largest rotation in degrees, either way.
    elastic : float
        Standard deviation of the elastic displacement in pixels; 0 switches it off.
    elastic_spacing : int
        Distance between the control points of the displacement, in pixels.
    flip : bool
        Whether to flip along each axis with probability 1/2.
    contrast, brightness : float
        Largest relative change of contrast, and largest shift in units of the normalized image.
    gamma : float
        Largest change of the logarithm of gamma.
    color : float
        Largest relative change of each channel on its own; the change of contrast, which all channels share, comes
        on top of it. 0 keeps the colors.
    noise : float
        Largest standard deviation of added Gaussian noise, in units of the normalized image.
    blur : float
        Largest standard deviation, in pixels, of a Gaussian that blurs half of the crops.
    shading : float
        Largest relative change of brightness by a smooth, uneven illumination.
    invert : float
        Share of the crops whose intensities are inverted: dark objects on a bright ground.
    focus : float
        Share of the crops that are centered near a pixel of an object, where every object of the image is equally
        likely. The other crops lie anywhere: if background fills most of an image, they show little else.
    object_contrast : float
        Largest change of the logarithm of each object's brightness, by a factor of its own. For bright objects on a
        dark ground; not for volumes.
    crowding : float
        Share of the crops over which objects of another crop are laid, so that they touch and hide others; not for
        volumes.
    compression : float
        Share of the crops that are stored as a JPEG of up to 5 times fewer pixels along each axis, and read again. For
        images of 1 or 3 channels; not for volumes.

    Raises
    ------
    InputError
        If a value is negative, `focus`, `invert`, `crowding` or `compression` is above 1, or the bounds of the scale
        are not positive and ascending.
    """

    scale: tuple[float, float] = setting((0.7, 1.3), list_of(number(above=0), 2))
    rotation: float = setting(180.0, number(0))
    elastic: float = setting(2.0, number(0))
    elastic_spacing: int = setting(32, integer(1))
    flip: bool = setting(True, switch())
    contrast: float = setting(0.2, number(0))
    brightness: float = setting(0.1, number(0))
    gamma: float = setting(0.2, number(0))
    color: float = setting(0.0, number(0))
    noise: float = setting(0.02, number(0))
    blur: float = setting(0.0, number(0))
    shading: float = setting(0.0, number(0))
    invert: float = setting(0.0, number(0, 1))
    focus: float = setting(0.0, number(0, 1))
    object_contrast: float = setting(0.0, number(0))
    crowding: float = setting(0.0, number(0, 1))
    compression: float = setting(0.0, number(0, 1))

    def _check_together(self) -> None:
        if self.scale[0] > self.scale[1]:
            raise InputError(f"augmentation.scale must be two ascending numbers, got {self.scale}")

    def magnified(self, factor: float) -> Augmentation:
        """Return the same augmentation for images that are resized by a factor first."""
        low, high = self.scale
        return replace(self, scale=(low * factor, high * factor))


def random_crop(
    image: FloatArray,
    labels: LabelArray,
    size: int,
    settings: Augmentation,
    generator: Generator,
    above: tuple[FloatArray, LabelArray] | None = None,
) -> tuple[FloatArray, LabelArray]:
    """Draw one augmented crop.

    Parameters
    ----------
    image : numpy.ndarray
        Normalized image (C, H, W).
    labels : numpy.ndarray
        Labels (H, W).
    size : int
        Height and width of the crop in pixels.
    settings : Augmentation
        What may change.
    generator : numpy.random.Generator
        Source of all chance.
    above : (numpy.ndarray, numpy.ndarray), optional
        Another image and its labels, which must differ from those of the first one. Objects of a crop of it are laid
        over the crop.

    Returns
    -------
    image : numpy.ndarray
        float32 (C, size, size), mirrored where the crop leaves the image.
    labels : numpy.ndarray
        int32 (size, size), the nearest label of each pixel; `OUTSIDE` where the crop leaves the image, since an
        object and its mirror image are not the same object.
    """
    crop, picked = _placed(image, labels, size, settings, generator)
    if above is not None:
        crop, picked = _laid_over(crop, picked, *_placed(*above, size, settings, generator), generator)
    changed = changed_intensity(crop, settings, generator)
    if settings.compression and generator.random() < settings.compression:
        changed = compressed(changed, generator)
    return changed, picked


def _placed(
    image: FloatArray, labels: LabelArray, size: int, settings: Augmentation, generator: Generator
) -> tuple[FloatArray, LabelArray]:
    """Draw where a crop comes from, and the brightness of each of its objects."""
    coordinates = drawn_coordinates(labels, size, settings, generator)
    crop, taken = sampled(image[None], coordinates[None])[0], picked(labels, coordinates)
    if settings.object_contrast:
        crop = _changed_objects(crop, taken, settings.object_contrast, generator)
    return crop, taken


def _laid_over(
    below: FloatArray,
    below_labels: LabelArray,
    above: FloatArray,
    above_labels: LabelArray,
    generator: Generator,
) -> tuple[FloatArray, LabelArray]:
    """Lay a random share of the objects of one crop over another crop, whose labels must be others.

    Pixels of an object of the lower crop become `OUTSIDE` where hardly anything is left to be seen of it.
    """
    objects = np.unique(above_labels[above_labels > 0])
    taken = objects[generator.random(objects.size) < generator.uniform()]
    softness = generator.uniform(0, _SOFTEST)
    mask = np.isin(above_labels, taken)
    share = ndimage.gaussian_filter(mask.astype(np.float32), softness) if softness else mask
    crop: FloatArray = (below + share * (above - below)).astype(np.float32)
    seen = np.where(_hidden(below_labels, mask), OUTSIDE, below_labels)
    return crop, np.where(mask, above_labels, seen).astype(np.int32)


def _hidden(labels: LabelArray, mask: Mask) -> Mask:
    """Pixels of objects of which too little stays visible beside the mask."""
    inside = np.maximum(labels, 0)
    before = np.bincount(inside.ravel())
    after = np.bincount(inside[~mask], minlength=before.size)
    lost = after < _SHOWN * before
    lost[0] = False
    hidden: Mask = lost[inside]
    return hidden


def sampled(images: FloatArray, coordinates: Coordinates) -> FloatArray:
    """Interpolate linearly between the pixels of images, mirrored at their outermost pixels.

    Parameters
    ----------
    images : numpy.ndarray
        Shape (N, C, H, W).
    coordinates : numpy.ndarray
        Shape (N, 2, height, width): rows and columns for each image.
    """
    place = torch.cat([places(one, images.shape[2:]) for one in coordinates])
    found: FloatArray = functional.grid_sample(
        torch.from_numpy(images), place, mode="bilinear", padding_mode="reflection", align_corners=True
    ).numpy()
    return found


def picked(labels: LabelArray, positions: Coordinates) -> LabelArray:
    """Take the nearest label, and `OUTSIDE` beyond the outermost pixels, in an image or a volume.

    Parameters
    ----------
    labels : numpy.ndarray
        Shape (*spatial).
    positions : numpy.ndarray
        Shape (ndim, ...): a coordinate along each axis.
    """
    nearest = np.rint(positions).astype(np.intp)
    shape = np.reshape(labels.shape, (-1, *[1] * (nearest.ndim - 1)))
    inside = ((nearest >= 0) & (nearest < shape)).all(axis=0)
    return np.where(inside, labels[tuple(np.clip(nearest, 0, shape - 1))], OUTSIDE).astype(np.int32)


def places(coordinates: Coordinates, shape: Sequence[int]) -> torch.Tensor:
    """Coordinates (2, H, W) in pixels, as `grid_sample` takes them: x first, from -1 to 1 over the pixels' centers."""
    halves = [max(length - 1, 1) / 2 for length in shape]
    scaled = [line / half - 1 for line, half in zip(coordinates, halves)]
    return torch.from_numpy(np.stack(scaled[::-1], axis=-1).astype(np.float32))[None]


def drawn_coordinates(
    labels: LabelArray, size: int, settings: Augmentation, generator: Generator
) -> Coordinates:
    """Where each pixel of the crop comes from: (2, size, size) in pixels of the image."""
    scale = np.exp(generator.uniform(*np.log(settings.scale)))
    angle = np.deg2rad(generator.uniform(-settings.rotation, settings.rotation))
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    matrix = np.array([[cos, -sin], [sin, cos]])
    if settings.flip:
        matrix = matrix * np.where(generator.random(2) < 0.5, -1.0, 1.0)
    reach = size / scale / 2
    center = _draw_center(labels, reach, settings.focus, generator)
    grid = np.indices((size, size), dtype=np.float64) - (size - 1) / 2
    coordinates = np.tensordot(matrix, grid, axes=1) + np.array(center)[:, None, None]
    displaced: Coordinates = coordinates + _displacement(size, settings, generator)
    return displaced


def _draw_center(labels: LabelArray, reach: float, focus: float, generator: Generator) -> list[float]:
    """Draw a crop's center, in pixels of the image: near an object with the probability `focus`, else anywhere."""
    near: Sequence[float | None] = [None] * labels.ndim
    if focus and generator.random() < focus:
        near = _pixel_of_an_object(labels, generator) or near
    wanted = zip(labels.shape, near, strict=True)
    return [place_center(length, reach, place, generator) for length, place in wanted]


def _pixel_of_an_object(labels: LabelArray, generator: Generator) -> list[float] | None:
    """Draw an object, then one of its pixels; None where the image shows background alone."""
    objects = np.flatnonzero(np.bincount(labels.ravel())[1:]) + 1
    if not objects.size:
        return None
    pixels = np.flatnonzero(labels == generator.choice(objects))
    return [float(position) for position in np.unravel_index(generator.choice(pixels), labels.shape)]


def place_center(length: int, reach: float, wanted: float | None, generator: Generator) -> float:
    """Place the center along one axis: an unrotated crop stays inside the image, or is centered on a smaller one."""
    if length <= 2 * reach:
        return (length - 1) / 2
    lowest, highest = reach - 0.5, length - reach - 0.5
    if wanted is None:
        return float(generator.uniform(lowest, highest))
    return float(np.clip(wanted + generator.uniform(-reach / 2, reach / 2), lowest, highest))


def _displacement(size: int, settings: Augmentation, generator: Generator) -> Coordinates:
    """Smooth random displacement: cubic interpolation between control points."""
    if settings.elastic <= 0:
        return np.zeros((2, size, size))
    points = size // settings.elastic_spacing + 3
    control = generator.normal(0, settings.elastic, (2, points, points)).astype(np.float32)
    steps = np.linspace(1, points - 2, size)
    place = places(np.stack(np.meshgrid(steps, steps, indexing="ij")), (points, points))
    bent = functional.grid_sample(
        torch.from_numpy(control)[None], place, mode="bicubic", padding_mode="border", align_corners=True
    )
    displacement: Coordinates = bent[0].numpy().astype(np.float64)
    return displacement


def changed_intensity(image: FloatArray, settings: Augmentation, generator: Generator) -> FloatArray:
    """Bend, stretch and shift the intensities, and add noise; negative values are bent like positive ones."""
    image = _blurred(_shaded(image, settings, generator), settings, generator)
    contrast = 1 + generator.uniform(-settings.contrast, settings.contrast)
    brightness = generator.uniform(-settings.brightness, settings.brightness)
    gamma = np.exp(generator.uniform(-settings.gamma, settings.gamma))
    deviation = generator.uniform(0, settings.noise)
    curved = np.sign(image) * np.abs(image) ** gamma
    if settings.color:
        gains = 1 + generator.uniform(-settings.color, settings.color, len(image))
        curved = curved * gains.reshape(-1, *[1] * (image.ndim - 1)).astype(np.float32)
    noise = generator.standard_normal(image.shape, dtype=np.float32) * deviation
    changed: FloatArray = (curved * contrast + brightness + noise).astype(np.float32)
    if settings.invert and generator.random() < settings.invert:
        changed = 1 - changed
    return changed


def _changed_objects(
    crop: FloatArray, labels: LabelArray, strength: float, generator: Generator
) -> FloatArray:
    """Make each object brighter or darker by a factor of its own, up to ``exp(strength)``, with soft edges."""
    objects, numbers = np.unique(labels, return_inverse=True)
    factors = np.exp(generator.uniform(-strength, strength, objects.size))
    factors[objects <= 0] = 1.0
    field = ndimage.gaussian_filter(factors[numbers.reshape(labels.shape)].astype(np.float32), 1.0)
    changed: FloatArray = crop * field
    return changed


def _shaded(image: FloatArray, settings: Augmentation, generator: Generator) -> FloatArray:
    """Make the illumination uneven, by a smooth factor for all channels."""
    if not settings.shading:
        return image
    corners = generator.uniform(-1, 1, (1, 1, 3, 3)).astype(np.float32)
    corners *= generator.uniform(0, settings.shading)
    field = functional.interpolate(
        torch.from_numpy(corners), size=image.shape[1:], mode="bicubic", align_corners=True
    )
    shaded: FloatArray = image * (1 + field[0].numpy())
    return shaded


def _blurred(image: FloatArray, settings: Augmentation, generator: Generator) -> FloatArray:
    """Blur every second crop, as out of focus."""
    if not settings.blur:
        return image
    deviation = generator.uniform(-settings.blur, settings.blur)
    if deviation <= 0:
        return image
    blurred: FloatArray = ndimage.gaussian_filter(image, (0, deviation, deviation), truncate=3)
    return blurred
