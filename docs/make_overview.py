"""Draw docs/images/overview.png: a field, its embedding, its affinities, and its labels.

Run it from any folder, whenever the model has changed::

    python docs/make_overview.py [OUTPUT.png]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from pictures import IMAGES, row, save

from pixel_embedded_affinity import Neighborhood, Segmenter, affinities
from pixel_embedded_affinity.export import render_overlay
from pixel_embedded_affinity.samples import nuclei

MODEL = "bbbc039-fast"
# A part of the field in which many nuclei touch.
WINDOW = (slice(267, 467), slice(496, 696))
RANGE = 3
ENLARGEMENT = 2


def main() -> None:
    """Write the figure to the path given as the first argument, or into the documentation."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES / "overview.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    save(row(panels(), font_size=22), target)


def panels() -> dict[str, np.ndarray]:
    """Return the captions and the uint8 pictures (Y, X, 3) of the window, enlarged."""
    image = nuclei().image
    result = Segmenter.pretrained(MODEL, precision="float32").analyze(image)
    part, labels = image[WINDOW], result.labels[WINDOW]
    embedding = result.embedding.numpy()
    return {
        "image": render_overlay(part, np.zeros_like(labels), scale=ENLARGEMENT),
        "embedding, 16-D as RGB": enlarged(principal_colors(embedding, result.foreground)[WINDOW]),
        f"affinities, range {RANGE}": enlarged(weakest_affinity(embedding)[WINDOW]),
        "labels": render_overlay(part, labels, scale=ENLARGEMENT),
    }


def principal_colors(embedding: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """Show the three principal components of the foreground's embedding (D, Y, X) as red, green and blue."""
    pixels = embedding[:, foreground].T
    center = pixels.mean(axis=0)
    _, _, components = np.linalg.svd(np.cov((pixels - center).T))
    # The sign of a component is arbitrary; with its largest entry positive the picture is always the same.
    largest = np.abs(components).argmax(axis=1)
    components *= np.sign(components[np.arange(len(components)), largest])[:, None]
    projected = np.einsum("cd,dyx->yxc", components[:3], embedding - center[:, None, None])
    low, high = np.percentile(projected[foreground], (2, 98), axis=0)
    colors = np.clip((projected - low) / (high - low), 0, 1)
    return to_bytes(np.where(foreground[..., None], colors, 0.25 * colors))


def weakest_affinity(embedding: np.ndarray) -> np.ndarray:
    """Show the smaller of the affinities up and left of each pixel: dark lines are borders of objects."""
    pairs = affinities(embedding, Neighborhood.from_ranges([RANGE], directions=4))
    weakest = np.where(pairs.valid, pairs.values, 1).min(axis=0)
    return to_bytes(np.repeat(np.clip(weakest, 0, 1)[..., None], 3, axis=2))


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Convert values from 0 to 1 to uint8."""
    return np.rint(255 * values).astype(np.uint8)


def enlarged(picture: np.ndarray) -> np.ndarray:
    """Repeat each pixel along both axes."""
    return picture.repeat(ENLARGEMENT, axis=0).repeat(ENLARGEMENT, axis=1)


if __name__ == "__main__":
    main()
