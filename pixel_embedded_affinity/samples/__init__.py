"""Real images that ship with the package, to try things out: nuclei and neurons with true labels, plants without."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Sample(NamedTuple):
    """An image or volume and its true labels.

    Attributes
    ----------
    image : numpy.ndarray
        uint16 (H, W), or uint8 (sections, H, W).
    labels : numpy.ndarray
        int32 of the same shape, 0 = background.
    pixel_size : tuple of float or None
        Size of a voxel in micrometers, per axis; None if it is not known.
    """

    image: npt.NDArray[np.uint16] | npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]
    pixel_size: tuple[float, ...] | None = None


def nuclei() -> Sample:
    """Return a field of 146 nuclei, 520 x 696 pixels, from the validation part of BBBC039 (public domain, CC0 1.0)."""
    return Sample(_read("nuclei.tif").astype(np.uint16), _read("nuclei_labels.tif").astype(np.int32))


def neurons() -> Sample:
    """Return 16 sections through the brain of a fly, 200 x 200 pixels, with true labels; a voxel has 30 x 10 x 10 nm.

    They are every third section of a part of FIB-25, electron microscopy of the medulla of *Drosophila* (Takemura et
    al., PNAS 112:13711, 2015; Creative Commons Attribution).
    """
    labels = _read("neurons_labels.tif").astype(np.int32)
    return Sample(_read("neurons.tif").astype(np.uint8), labels, (0.03, 0.01, 0.01))


def rosette() -> npt.NDArray[np.uint8]:
    """Return a rosette of *Arabidopsis* seen from above, uint8 (400, 400, 3), without labels.

    The image is from the documentation of PlantCV (Mozilla Public License 2.0). No model was trained on it.
    """
    return _photograph("rosette.jpg")


def tray() -> npt.NDArray[np.uint8]:
    """Return a tray of some twenty small rosettes of *Arabidopsis*, uint8 (300, 400, 3), without labels.

    The image is from the documentation of PlantCV (Mozilla Public License 2.0). No model was trained on it.
    """
    return _photograph("tray.jpg")


def _read(name: str) -> npt.NDArray[Any]:
    from tifffile import imread

    return np.asarray(imread(_path(name)))


def _photograph(name: str) -> npt.NDArray[np.uint8]:
    from PIL import Image

    with Image.open(_path(name)) as image:
        return np.asarray(image.convert("RGB"))


def _path(name: str) -> Path:
    return Path(__file__).parent / name
