"""A real image with true labels, which ships with the package, to try things out."""

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


def _read(name: str) -> npt.NDArray[Any]:
    from tifffile import imread

    return np.asarray(imread(Path(__file__).parent / name))
