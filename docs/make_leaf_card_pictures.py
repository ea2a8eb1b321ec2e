"""Draw the pictures of the cards of ``leaves`` and ``cvppp``: four good results, and two with errors.

Run it from any folder, whenever a model has changed::

    python docs/make_leaf_card_pictures.py [FOLDER]
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pictures import GAP, Picture, colored, output_folder, plain, resized, row, save

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.samples import rosette, tray

GOOD_SIDE, BAD_SIDE = 200, 400

Photographs = dict[str, npt.NDArray[np.uint8]]
Labels = dict[str, npt.NDArray[np.int32]]


class Part(NamedTuple):
    """A square part of one of the two photographs."""

    photograph: str
    top: int
    left: int
    side: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.top, self.top + self.side), slice(self.left, self.left + self.side)


# All parts are chosen by eye.
GOOD = {
    "a plant": Part("plant", 45, 62, 330),
    "a pot of a tray": Part("tray", 84, 95, 66),
    "another pot": Part("tray", 84, 166, 66),
    "a third pot": Part("tray", 152, 236, 66),
}
BAD = {
    "leaves": {
        "young leaves, merged": Part("plant", 150, 165, 110),
        "a seedling, missed": Part("tray", 2, 30, 70),
    },
    "cvppp": {
        "a small plant, in part": Part("tray", 2, 168, 66),
        "young leaves, merged": Part("tray", 222, 95, 66),
    },
}


def main() -> None:
    """Write ``card_MODEL_good.jpg`` and ``card_MODEL_bad.jpg`` for each model."""
    folder = output_folder()
    photographs = {"plant": rosette(), "tray": tray()}
    for model, errors in BAD.items():
        labels = found(Segmenter.pretrained(model, device="cpu", precision="float32"), photographs)
        good = {caption: with_photograph(part, photographs, labels) for caption, part in GOOD.items()}
        save(row(good), folder / f"card_{model}_good.jpg")
        bad = {caption: drawn(part, photographs, labels, BAD_SIDE) for caption, part in errors.items()}
        save(row(bad), folder / f"card_{model}_bad.jpg")


def found(segmenter: Segmenter, photographs: Photographs) -> Labels:
    """The leaves in both photographs."""
    in_tray = segmenter.with_settings(regions="components")
    return {"plant": segmenter.segment(photographs["plant"]), "tray": in_tray.segment(photographs["tray"])}


def with_photograph(part: Part, photographs: Photographs, labels: Labels) -> Picture:
    """A part as it is, above the same part with its leaves in color."""
    image = resized(plain(photographs[part.photograph][part.window]), GOOD_SIDE)
    gap = np.full((GAP, GOOD_SIDE, 3), 255, np.uint8)
    return np.concatenate([image, gap, drawn(part, photographs, labels, GOOD_SIDE)])


def drawn(part: Part, photographs: Photographs, labels: Labels, side: int) -> Picture:
    """A part with its leaves in color."""
    image, leaves = photographs[part.photograph], labels[part.photograph]
    return resized(colored(image[part.window], leaves[part.window]), side)


if __name__ == "__main__":
    main()
