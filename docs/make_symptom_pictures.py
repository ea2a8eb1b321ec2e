"""Draw the pictures of the tutorial: what is wrong with a wrong setting, and the same with the right one.

Run it from any folder, whenever the model or the tutorial has changed::

    python docs/make_symptom_pictures.py [FOLDER]
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from pictures import Picture, output_folder, resized, row, save

from pixel_embedded_affinity import Embedding, Neighborhood, Postprocess, Segmenter
from pixel_embedded_affinity.export import render_overlay
from pixel_embedded_affinity.geometry.scaling import resize_image
from pixel_embedded_affinity.samples import nuclei

MODEL = "bbbc039-fast"
WIDTH = 360
ENLARGED = 3

Window = tuple[slice, slice]


def main() -> None:
    """Write ``symptom_NAME.png`` for each symptom."""
    folder = output_folder()
    segmenter = Segmenter.pretrained(MODEL, device="cpu", precision="float32").with_settings(scale=1)
    embedding = segmenter.embed(nuclei().image)
    for name, captions, panels in (*of_clustering(segmenter, embedding), of_scale(segmenter)):
        pictures = [resized(panel, WIDTH) for panel in panels]
        save(row(dict(zip(captions, pictures, strict=True))), folder / f"symptom_{name}.png")


def of_clustering(
    segmenter: Segmenter, embedding: Embedding
) -> Iterator[tuple[str, tuple[str, str], list[Picture]]]:
    """Symptoms that another clustering of the same embedding cures."""
    right = segmenter.cluster(embedding)
    for name, (before, after), window, settings in symptoms():
        wrong = segmenter.with_settings(**settings).cluster(embedding)
        yield name, (before, after), [drawn(labels, window) for labels in (wrong, right)]


def symptoms() -> list[tuple[str, tuple[str, str], Window, dict[str, object]]]:
    """The name of each symptom, its captions, a part of the field that shows it, and the wrong setting."""
    near = Neighborhood.from_ranges([1, 3], strides=20)
    cut = {"clusterer": "agglomeration", "clusterer_settings": {"threshold": 0.95}}
    return [
        ("merged", ("ranges 1, 3", "ranges 1 to 21"), part(245, 40), {"neighborhood": near}),
        (
            "cut",
            ("threshold 0.95", "the model's clusterer"),
            part(80, 450),
            {**cut, "postprocess": Postprocess()},
        ),
        ("specks", ("no smallest size", "min_size=30"), part(230, 210), {"postprocess": Postprocess()}),
        ("foreground", ("threshold 0.99", "threshold 0.53"), part(230, 210), {"foreground_threshold": 0.99}),
    ]


def of_scale(segmenter: Segmenter) -> tuple[str, tuple[str, str], list[Picture]]:
    """A part of the field, enlarged: seen as it is, and at the scale that is found."""
    y, x = part(300, 500)
    image = resize_image(nuclei().image[np.newaxis, y, x].astype(np.float32), ENLARGED)[0]
    found = segmenter.analyze(image, scale="auto")
    panels = [render_overlay(image, labels) for labels in (segmenter.segment(image, scale=1), found.labels)]
    return "scale", ("scale 1", f'scale="auto": {found.scale}'), panels


def part(top: int, left: int) -> Window:
    """A window of the field."""
    return slice(top, top + 110), slice(left, left + 150)


def drawn(labels: npt.NDArray[np.int32], window: Window) -> Picture:
    """The overlay of a window."""
    return render_overlay(nuclei().image[window], labels[window], scale=3)


if __name__ == "__main__":
    main()
