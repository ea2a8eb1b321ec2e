"""Draw the pictures of the first page: nuclei, leaves and neurons.

All are shown as the models find them. Run it from any folder, whenever a model has changed::

    python docs/make_door_pictures.py [FOLDER]
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pictures import Picture, colored, output_folder, resized, save

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.export import render_overlay
from pixel_embedded_affinity.samples import neurons, nuclei, rosette

WIDTH, HEIGHT = 640, 480
# A part of the field in which many nuclei touch, and the plant without the rim of its pot; both four to three.
NUCLEI = (slice(260, 440), slice(456, 696))
PLANT = (slice(45, 345), slice(0, 400))
# The sections that are shown, where each lies in the picture, and how large.
SECTIONS, STEP, SIDE, FRAME = (0, 7, 14), (142, 68), 304, 3
GROUND = (32, 36, 44)


def main() -> None:
    """Write the three pictures."""
    folder = output_folder()
    image, plant = nuclei().image, rosette()
    found, leaves = segmented("bbbc039-fast", image)[NUCLEI], segmented("leaves", plant)[PLANT]
    save(resized(render_overlay(image[NUCLEI], found, scale=3), WIDTH), folder / "door_nuclei.jpg")
    save(resized(colored(plant[PLANT], leaves), WIDTH), folder / "door_leaves.jpg")
    save(stack_of_sections(), folder / "door_neurons.jpg")


def segmented(model: str, image: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """What a model finds."""
    return Segmenter.pretrained(model, device="cpu", precision="float32").segment(image)


def stack_of_sections() -> Picture:
    """Some sections of the volume, one before the other; each neuron has one color in all of them."""
    sample = neurons()
    segmenter = Segmenter.pretrained("neurons", device="cpu", precision="float32")
    found = segmenter.segment(sample.image, scale="auto", pixel_size=sample.pixel_size)
    canvas = np.full((HEIGHT, WIDTH, 3), GROUND, np.uint8)
    for place, section in enumerate(SECTIONS):
        sheet = resized(colored(sample.image[section], found[section]), SIDE)
        top, left = 18 + place * STEP[1], 26 + place * STEP[0]
        canvas[top - FRAME : top + SIDE + FRAME, left - FRAME : left + SIDE + FRAME] = 235
        canvas[top : top + SIDE, left : left + SIDE] = sheet
    return canvas


if __name__ == "__main__":
    main()
