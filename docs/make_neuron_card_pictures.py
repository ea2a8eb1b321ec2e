"""Draw the pictures of the cards of ``neurons`` and ``ac3ac4``, chosen by a rule.

Run it from any folder, whenever a model has changed::

    python docs/make_neuron_card_pictures.py [FOLDER]

Each model segments the stack of a fly's brain that comes with the library (``samples.neurons``). Its sections are
ranked by their adapted Rand error, each section for itself. The best of each quarter of the stack are the good results,
the two worst are the bad ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pictures import Picture, below_each_other, colored, output_folder, plain, resized, row, save

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.metrics import adapted_rand_error
from pixel_embedded_affinity.samples import neurons

WIDTH = 260


class Section(NamedTuple):
    """A section, its true neurons, and what the model found."""

    number: int
    image: npt.NDArray[np.uint8]
    truth: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int32]

    @property
    def error(self) -> float:
        """The adapted Rand error of this section alone."""
        return adapted_rand_error(self.truth, self.labels)


def main() -> None:
    """Write ``card_neurons_good.jpg`` and ``card_neurons_bad.jpg``, and ``card_ac3ac4_bad.jpg``."""
    folder = output_folder()
    ranked = sections("neurons")
    size = len(ranked) // 4
    quarters = ([one for one in ranked if one.number // size == quarter] for quarter in range(4))
    good = [quarter[-1] for quarter in quarters]
    rows = [row({caption(one): drawn(one.image, one.labels) for one in good[i : i + 2]}) for i in (0, 2)]
    save(below_each_other(rows), folder / "card_neurons_good.jpg")
    save(with_truth(ranked[:2]), folder / "card_neurons_bad.jpg")
    # It was not made for this tissue, and its own images are not ours to show.
    save(with_truth(sections("ac3ac4")[:2]), folder / "card_ac3ac4_bad.jpg")


def sections(model: str) -> list[Section]:
    """All sections, the worst first."""
    sample = neurons()
    segmenter = Segmenter.pretrained(model, device="cpu", precision="float32")
    labels = segmenter.segment(sample.image, scale="auto", pixel_size=sample.pixel_size)
    parts = zip(sample.image, sample.labels, labels, strict=True)
    return sorted((Section(number, *part) for number, part in enumerate(parts)), key=lambda one: -one.error)


def with_truth(worst: list[Section]) -> Picture:
    """Rows of a section, what the model found in it, and the truth."""
    return np.asarray(
        below_each_other(
            [
                row(
                    {
                        f"section {one.number}": resized(plain(one.image), WIDTH),
                        f"found, ARAND {one.error:.2f}": drawn(one.image, one.labels),
                        "truth": drawn(one.image, one.truth),
                    }
                )
                for one in worst
            ]
        )
    )


def caption(section: Section) -> str:
    """Its number and its error."""
    return f"section {section.number}, ARAND {section.error:.2f}"


def drawn(image: npt.NDArray[np.uint8], labels: npt.NDArray[np.int32]) -> Picture:
    """A section with its neurons in color."""
    return resized(colored(image, labels), WIDTH)


if __name__ == "__main__":
    main()
