"""Labels of several images that look like binary masks."""

from __future__ import annotations

import numpy as np
import pytest

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.labels import refuse_masks

MASK = np.array([[255, 0, 255, 0, 255]])
LABELS = np.array([[1, 0, 2, 0, 3]])
HIDDEN_IN_PART = np.array([[1, 1, 0, 1, 1]])
EMPTY = np.zeros((1, 5), int)


def test_masks_are_refused_if_all_images_have_them() -> None:
    with pytest.raises(InputError, match="all 2 label images hold a single object, of 6 pieces"):
        refuse_masks([MASK, EMPTY, MASK])
    with pytest.raises(InputError, match="all 1 label images"):
        refuse_masks([MASK > 0])


@pytest.mark.parametrize(
    "every", [[], [EMPTY], [LABELS], [MASK, LABELS], [HIDDEN_IN_PART], [HIDDEN_IN_PART] * 3]
)
def test_other_labels_are_taken(every: list[np.ndarray]) -> None:
    refuse_masks(every)


BACKGROUND = np.ones((6, 8), int)
BACKGROUND[2:4, 2:4], BACKGROUND[2:4, 5:7] = 2, 3


def test_a_background_with_a_number_of_its_own_is_refused_where_something_learns() -> None:
    text = "label image 2 of 2: no pixel is 0, and object 1 touches all sides and covers 83% of the image"
    with pytest.raises(InputError, match=text):
        refuse_masks([BACKGROUND - 1, BACKGROUND, np.zeros((6, 8), int)])


@pytest.mark.parametrize(
    "labels",
    [
        BACKGROUND - 1,
        np.stack([BACKGROUND] * 2),  # a volume
        np.arange(1, 49).reshape(6, 8),  # cells that fill the image
        np.ones((6, 8), int),  # one object, larger than the image
    ],
)
def test_objects_that_fill_the_image_are_taken(labels: np.ndarray) -> None:
    refuse_masks([labels])
