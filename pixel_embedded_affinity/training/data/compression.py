"""Crops as a small JPEG shows them: fewer pixels, blocks, and coarse colors."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from PIL import Image

FloatArray = npt.NDArray[np.float32]

_SMALLEST = 5.0
"""An object was photographed with up to this many times fewer pixels along each axis."""

_QUALITIES = (50, 96)
"""Qualities of the JPEG: the lowest, and the first that is not drawn."""

CHANNELS = (1, 3)
"""Numbers of channels that a JPEG can hold."""


def compressed(image: FloatArray, generator: Generator) -> FloatArray:
    """Store a crop as a smaller JPEG, and read it again.

    Parameters
    ----------
    image : numpy.ndarray
        float32 (C, H, W), with 1 or 3 channels.
    generator : numpy.random.Generator
        Draws how much smaller the picture is, and its quality.

    Returns
    -------
    numpy.ndarray
        float32 (C, H, W), in the units of the crop. A JPEG has 256 steps from the crop's lowest value to its highest.
    """
    factor = np.exp(generator.uniform(0, np.log(_SMALLEST)))
    quality = int(generator.integers(*_QUALITIES))
    low, high = float(image.min()), float(image.max())
    steps = np.rint((image - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
    picture = Image.fromarray(steps[0] if len(steps) == 1 else np.ascontiguousarray(steps.transpose(1, 2, 0)))
    height, width = (max(round(length / factor), 1) for length in image.shape[1:])
    small = picture.resize((width, height), Image.Resampling.BOX)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=quality, subsampling="4:2:0")
    read = Image.open(file).resize(picture.size, Image.Resampling.BILINEAR)
    values = np.asarray(read, dtype=np.float32).reshape(*image.shape[1:], len(image))
    restored: FloatArray = (values.transpose(2, 0, 1) * ((high - low) / 255) + low).astype(np.float32)
    return restored
