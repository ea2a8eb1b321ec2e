"""Random crops of volumes: each section transformed alike within its plane, then displaced and changed on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from scipy import ndimage

from pixel_embedded_affinity.fields import Settings, number, setting
from pixel_embedded_affinity.training.data.augment import (
    Augmentation,
    Coordinates,
    FloatArray,
    LabelArray,
    changed_intensity,
    drawn_coordinates,
    picked,
    sampled,
)


@dataclass(frozen=True)
class SectionSettings(Settings, section="sections"):
    """How the sections of a training crop differ from each other, besides what they show; for volumes only.

    Parameters
    ----------
    shift : float
        Largest standard deviation, in pixels, of the displacement of each section; every second crop has none.
    jump : float
        Largest displacement, in pixels along y and along x, at a place where the stack is misaligned: either all
        sections after it are displaced alike, or one section alone. Every second crop has none.
    contrast, brightness : float
        Largest relative change of a section's contrast, and largest shift in units of the normalized image.
    missing : float
        Share of the sections that show nothing but their mean brightness.
    blurred : float
        Share of the sections that are out of focus.
    blur : float
        Largest standard deviation, in pixels, of the Gaussian that blurs these.

    Raises
    ------
    InputError
        If a value is negative, or a share is above 1.
    """

    shift: float = setting(0.0, number(0))
    jump: float = setting(0.0, number(0))
    contrast: float = setting(0.0, number(0))
    brightness: float = setting(0.0, number(0))
    missing: float = setting(0.0, number(0, 1))
    blurred: float = setting(0.0, number(0, 1))
    blur: float = setting(0.0, number(0))


def random_stack(
    image: FloatArray,
    labels: LabelArray,
    size: Sequence[int],
    settings: Augmentation,
    sections: SectionSettings,
    generator: Generator,
) -> tuple[FloatArray, LabelArray]:
    """Draw one augmented crop of a volume.

    Parameters
    ----------
    image : numpy.ndarray
        Normalized volume (C, D, H, W).
    labels : numpy.ndarray
        Labels (D, H, W).
    size : (int, int, int)
        Sections, height and width of the crop; height and width are equal.
    settings : Augmentation
        What may change, alike in all sections; a flip may also reverse their order.
    sections : SectionSettings
        What may change in each section on its own.
    generator : numpy.random.Generator
        Source of all chance.

    Returns
    -------
    image : numpy.ndarray
        float32 (C, *size), mirrored where the crop leaves the volume.
    labels : numpy.ndarray
        int32 (*size), the nearest label of each voxel; `augment.OUTSIDE` where the crop leaves the volume.
    """
    depth, side, _ = size
    planes = _drawn_planes(len(labels), depth, settings, generator)
    taken = np.clip(planes, 0, len(labels) - 1)
    coordinates = drawn_coordinates(labels[taken[depth // 2]], side, settings, generator)
    moved = coordinates + _displacements(depth, sections, generator)
    crop = np.ascontiguousarray(sampled(image[:, taken].swapaxes(0, 1), moved).swapaxes(0, 1))
    flat = changed_intensity(crop.reshape(-1, side, side), settings, generator)
    changed = _sections_changed(flat.reshape(crop.shape), settings, sections, generator)
    z = np.broadcast_to(planes[:, None, None], moved[:, 0].shape)
    return changed, picked(labels, np.stack((z, *moved.swapaxes(0, 1))))


def _drawn_planes(
    count: int, depth: int, settings: Augmentation, generator: Generator
) -> npt.NDArray[np.intp]:
    """Consecutive sections in either order; those of a volume with fewer sections are in the middle."""
    first = int(generator.integers(count - depth + 1)) if count >= depth else (count - depth) // 2
    planes = np.arange(first, first + depth)
    return planes[::-1] if settings.flip and generator.random() < 0.5 else planes


def _displacements(depth: int, sections: SectionSettings, generator: Generator) -> Coordinates:
    """Displacement of each section along y and x: (depth, 2, 1, 1)."""
    deviation = max(0.0, generator.uniform(-1, 1)) * sections.shift
    drawn: Coordinates = generator.normal(0, 1, (depth, 2, 1, 1)) * deviation
    # Without jumps nothing is drawn for them: a recipe without them gives the run that it always gave.
    if sections.jump and depth > 1 and generator.random() < 0.5:
        first = int(generator.integers(1, depth))
        last = depth if generator.random() < 0.5 else first + 1
        drawn[first:last] += generator.uniform(-1, 1, (2, 1, 1)) * sections.jump
    return drawn


def _sections_changed(
    crop: FloatArray, settings: Augmentation, sections: SectionSettings, generator: Generator
) -> FloatArray:
    """Change the contrast and brightness of each section of a crop (C, D, H, W), blur some, and blank some."""
    depth = crop.shape[1]
    gains, shifts = generator.uniform(-1, 1, (2, depth, 1, 1)).astype(np.float32)
    fate = generator.random(depth)
    deviations = sections.blur * generator.random((depth,))
    changed: FloatArray = crop * (1 + gains * sections.contrast) + shifts * sections.brightness
    for plane in np.flatnonzero(fate < sections.missing):
        changed[:, plane] = changed[:, plane].mean(axis=(1, 2), keepdims=True)
    for plane in np.flatnonzero(fate > 1 - sections.blurred):
        deviation = deviations[plane]
        changed[:, plane] = ndimage.gaussian_filter(changed[:, plane], (0, deviation, deviation), truncate=3)
    return changed
