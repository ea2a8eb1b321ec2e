"""Synthetic labeled images of touching blobs, and volumes of touching tubes, to try a training before there is data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pixel_embedded_affinity.export.labels import write_labels
from pixel_embedded_affinity.fields import integer
from pixel_embedded_affinity.geometry.per_axis import per_axis
from pixel_embedded_affinity.labels import relabel

_RADII = (7.0, 13.0)
_CROWDING = 0.8
_DIMMER_RIM = 0.6
_TRIES = 6
_BACKGROUND, _BRIGHTEST, _NOISE = 200, 3000, 60
_TUBE_AREA, _SLANT, _MEMBRANE = 900, 0.6, 2.5


def synthetic_example(size: int = 128, seed: int = 0) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int32]]:
    """Make one image of touching elliptic blobs of different brightness, dimmer at the rim, blurred and noisy.

    Parameters
    ----------
    size : int
        Height and width in pixels, at least 32.
    seed : int
        The same seed gives the same image.

    Returns
    -------
    image : numpy.ndarray
        uint16 (size, size).
    labels : numpy.ndarray
        int32 (size, size): 0 = background, blobs 1..n.

    Raises
    ------
    InputError
        If the size is below 32.
    """
    integer(32)(size, "size")
    generator = np.random.default_rng(seed)
    distance = np.stack([_blob(size, center, generator) for center in _centers(size, generator)])
    nearest, from_center = distance.argmin(axis=0), distance.min(axis=0)
    inside = from_center < 1
    brightness = generator.uniform(0.4, 1.0, len(distance))[nearest] * (1 - _DIMMER_RIM * from_center**2)
    shown = np.where(inside, _BACKGROUND + (_BRIGHTEST - _BACKGROUND) * brightness, _BACKGROUND)
    noisy = ndimage.gaussian_filter(shown, 1.2) + generator.normal(0, _NOISE, shown.shape)
    labels = np.unique(np.where(inside, nearest + 1, 0), return_inverse=True)[1].reshape(shown.shape)
    return noisy.clip(0, 65535).astype(np.uint16), labels.astype(np.int32)


def synthetic_volume(
    shape: Sequence[int] = (16, 128, 128), seed: int = 0
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Make one volume of sections through touching tubes, bright with dark membranes, as neurons in EM.

    Parameters
    ----------
    shape : (int, int, int)
        Sections, height and width in voxels, height and width at least 32. Tubes run across the sections, aslant.
    seed : int
        The same seed gives the same volume.

    Returns
    -------
    image : numpy.ndarray
        uint8, of that shape.
    labels : numpy.ndarray
        int32, of that shape: 0 = membrane, tubes 1..n.

    Raises
    ------
    InputError
        If the shape is not three integers, or too small.
    """
    depth, height, width = per_axis(tuple(shape), 3, "shape")
    integer(32)(min(height, width), "the smaller of height and width")
    generator = np.random.default_rng(seed)
    count = max(2, height * width // _TUBE_AREA)
    start = generator.uniform(0, (height, width), (count, 2))
    paths = start + generator.normal(0, 1, (count, 2)) * _SLANT * np.arange(depth)[:, None, None]
    sections = [_tubes(centers, (height, width)) for centers in paths]
    nearest, to_border = (np.stack(parts) for parts in zip(*sections))
    membrane = to_border < _MEMBRANE
    shown = np.where(membrane, 60, generator.uniform(140, 200, count)[nearest])
    noisy = ndimage.gaussian_filter(shown, (0, 0.8, 0.8)) + generator.normal(0, 12, shown.shape)
    return noisy.clip(0, 255).astype(np.uint8), relabel(np.where(membrane, 0, nearest + 1))


def write_synthetic_data(directory: str | Path, *, images: int = 10, size: int = 128, seed: int = 0) -> Path:
    """Write ``images/synthetic_00.tif``, ``labels/synthetic_00.tif``, ... for the recipe ``quick``.

    Parameters
    ----------
    directory : str or Path
        Folder for both; made if absent. Files of these names are replaced.
    images : int
        Number of images.
    size, seed : int
        As for `synthetic_example`; the seed increases by 1 from image to image.

    Returns
    -------
    Path
        The folder, for ``data`` of `run.train`.

    Raises
    ------
    InputError
        If the number is below 1, or the size below 32.
    """
    integer(1)(images, "images")
    return _write(directory, (synthetic_example(size, seed + index) for index in range(images)))


def write_synthetic_volumes(
    directory: str | Path, *, volumes: int = 4, shape: Sequence[int] = (16, 128, 128), seed: int = 0
) -> Path:
    """Write ``images/synthetic_00.tif``, ``labels/synthetic_00.tif``, ... with a volume each, its sections as pages.

    Parameters
    ----------
    directory : str or Path
        Folder for both; made if absent. Files of these names are replaced.
    volumes : int
        Number of volumes.
    shape, seed
        As for `synthetic_volume`; the seed increases by 1 from volume to volume.

    Returns
    -------
    Path
        The folder, for ``data`` of `run.train`.

    Raises
    ------
    InputError
        If the number is below 1, or the shape too small.
    """
    integer(1)(volumes, "volumes")
    return _write(directory, (synthetic_volume(shape, seed + index) for index in range(volumes)))


def _write(directory: str | Path, examples: Iterable[tuple[npt.NDArray[Any], npt.NDArray[np.int32]]]) -> Path:
    """Write examples in the layout ``folders``."""
    import tifffile

    folder = Path(directory)
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for index, (image, labels) in enumerate(examples):
        name = f"synthetic_{index:02d}.tif"
        tifffile.imwrite(folder / "images" / name, image, photometric="minisblack")
        write_labels(folder / "labels" / name, labels)
    return folder


def _tubes(
    centers: npt.NDArray[np.float64], shape: tuple[int, int]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """The nearest center of each pixel of a section, and the distance to the border with the next one."""
    relative = np.indices(shape)[None] - centers[:, :, None, None]
    distance = np.sqrt((relative**2).sum(axis=1))
    closest, second = np.partition(distance, 1, axis=0)[:2]
    return distance.argmin(axis=0), (second - closest) / 2


def _centers(size: int, generator: np.random.Generator) -> list[npt.NDArray[np.float64]]:
    """Random points of the image, not much closer to each other than two blobs are wide."""
    apart = _CROWDING * sum(_RADII)
    centers = [generator.uniform(0, size, 2)]
    for _ in range(_TRIES * int(size / apart) ** 2):
        candidate = generator.uniform(0, size, 2)
        if min(np.linalg.norm(candidate - center) for center in centers) >= apart:
            centers.append(candidate)
    return centers


def _blob(
    size: int, center: npt.NDArray[np.float64], generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Distance of every pixel from a center, in units of the radii of a random ellipse."""
    radii, angle = generator.uniform(*_RADII, 2), generator.uniform(0, np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.array([[cos, -sin], [sin, cos]])
    relative = np.indices((size, size)) - center[:, None, None]
    turned = np.tensordot(rotation, relative, axes=1) / radii[:, None, None]
    distance: npt.NDArray[np.float64] = np.sqrt((turned**2).sum(axis=0))
    return distance
