"""Synthetic images of touching blobs with labels, to try a training before there is data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pixel_embedded_affinity.export.labels import write_labels
from pixel_embedded_affinity.fields import integer

_RADII = (7.0, 13.0)
_CROWDING = 0.8
_DIMMER_RIM = 0.6
_TRIES = 6
_BACKGROUND, _BRIGHTEST, _NOISE = 200, 3000, 60


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
    import tifffile

    integer(1)(images, "images")
    folder = Path(directory)
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for index in range(images):
        image, labels = synthetic_example(size, seed + index)
        tifffile.imwrite(folder / "images" / f"synthetic_{index:02d}.tif", image)
        write_labels(folder / "labels" / f"synthetic_{index:02d}.tif", labels)
    return folder


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
