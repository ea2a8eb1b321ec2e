"""Draw the pictures of the first page: nuclei and leaves with the outlines that the models find.

Run it from any folder, whenever a model has changed::

    python docs/make_door_pictures.py [FOLDER]
"""

from __future__ import annotations

from pictures import output_folder, resized, save

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.export import render_overlay
from pixel_embedded_affinity.samples import nuclei, rosette

WIDTH = 640
# A part of the field in which many nuclei touch, and the plant without the rim of its pot; both four to three.
NUCLEI = (slice(260, 440), slice(456, 696))
PLANT = (slice(45, 345), slice(0, 400))


def main() -> None:
    """Write both pictures."""
    folder = output_folder()
    for name, model, image, window in (
        ("door_nuclei.jpg", "bbbc039-fast", nuclei().image, NUCLEI),
        ("door_leaves.jpg", "leaves", rosette(), PLANT),
    ):
        labels = Segmenter.pretrained(model, device="cpu").segment(image)
        overlay = render_overlay(image[window], labels[window], scale=3)
        save(resized(overlay, WIDTH), folder / name)


if __name__ == "__main__":
    main()
