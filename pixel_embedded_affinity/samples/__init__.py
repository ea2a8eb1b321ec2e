"""Real images that ship with the package, to try things out: nuclei with true labels, a plant, and a tray of plants."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Sample(NamedTuple):
    """An image and its true labels.

    Attributes
    ----------
    image : numpy.ndarray
        uint16 (H, W).
    labels : numpy.ndarray
        int32 (H, W), 0 = background.
    """

    image: npt.NDArray[np.uint16]
    labels: npt.NDArray[np.int32]


def nuclei() -> Sample:
    """Return a field of 146 nuclei, 520 x 696 pixels, from the validation part of BBBC039 (public domain, CC0 1.0)."""
    return Sample(_read("nuclei.tif").astype(np.uint16), _read("nuclei_labels.tif").astype(np.int32))


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
