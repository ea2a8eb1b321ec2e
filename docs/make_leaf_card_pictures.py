"""Draw the pictures of the card of the model ``leaves``: a plant, a tray, and where leaves are missed or merged.

Run it from any folder, whenever the model has changed::

    python docs/make_leaf_card_pictures.py [FOLDER]
"""

from __future__ import annotations

from pictures import colored, output_folder, plain, resized, row, save

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.samples import rosette, tray

WIDTH = 400
# Parts of the photographs: the plant without its pot, some pots, the middle of the plant, and a pot with a seedling.
PLANT = (slice(45, 355), slice(60, 395))
POTS = (slice(75, 225), slice(20, 220))
MIDDLE = (slice(150, 260), slice(160, 290))
SEEDLING = (slice(2, 71), slice(22, 104))


def main() -> None:
    """Write three pictures."""
    folder = output_folder()
    model = Segmenter.pretrained("leaves", device="cpu")
    plant, pots = rosette(), tray()
    leaves = model.segment(plant)
    of_tray = model.with_settings(regions="components").segment(pots)
    for name, image, labels, window in (
        ("card_rosette.jpg", plant, leaves, PLANT),
        ("card_tray.jpg", pots, of_tray, POTS),
    ):
        found = colored(image[window], labels[window])
        save(
            row({"photograph": resized(plain(image[window]), WIDTH), "found": resized(found, WIDTH)}),
            folder / name,
        )
    merged = colored(plant[MIDDLE], leaves[MIDDLE])
    missed = colored(pots[SEEDLING], of_tray[SEEDLING])
    height = min(resized(panel, WIDTH).shape[0] for panel in (merged, missed))
    bad = {"young leaves, merged": merged, "a seedling, missed": missed}
    save(
        row({name: resized(panel, WIDTH)[:height] for name, panel in bad.items()}),
        folder / "card_leaves_bad.jpg",
    )


if __name__ == "__main__":
    main()
