"""Draw docs/images/scale.png: nuclei in an enlarged field, at scale 1 and at the scale that is found.

Run it from any folder, whenever the model has changed::

    python docs/make_scale_picture.py [OUTPUT.png]

It also prints the confidence at several scales, for the page "Objects of another size".
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.export import render_overlay
from pixel_embedded_affinity.geometry.scaling import resize_image
from pixel_embedded_affinity.io.atomic import atomic_path
from pixel_embedded_affinity.samples import nuclei

MODEL = "bbbc039-fast"
ENLARGED = 3
WINDOW = (slice(60, 300), slice(60, 380))
SCALES = (1.4, 1.0, 0.7, 0.5, 0.35, 0.25, 0.18)
GAP = 8


def main() -> None:
    """Write the picture, and print the table."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images" / "scale.png"
    segmenter = Segmenter.pretrained(MODEL, precision="float32")
    image = resize_image(nuclei().image[WINDOW][np.newaxis].astype(np.float32), ENLARGED)[0]
    found = segmenter.analyze(image, scale="auto")
    panels = [
        render_overlay(image, segmenter.segment(image, scale=scale))[::2, ::2] for scale in (1, found.scale)
    ]
    gap = np.full((panels[0].shape[0], GAP, 3), 255, np.uint8)
    with atomic_path(target, (".png",)) as temporary:
        Image.fromarray(np.concatenate([panels[0], gap, panels[1]], axis=1)).save(temporary, optimize=True)
    print(f"{target}: scale found {found.scale}")
    for scale in SCALES:
        table = segmenter.analyze(image, scale=scale).table()
        count = len(table["label"])
        diameter = np.median(table["equivalent_diameter"]) * scale if count else 0
        confidence = table["confidence"].mean() if count else 0
        print(f"scale {scale}: {count} objects, diameter {diameter:.0f}, confidence {confidence:.2f}")


if __name__ == "__main__":
    main()
