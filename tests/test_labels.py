"""Labels of several images that look like binary masks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, label

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.labels import refuse_masks, warn_of_mask

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


DISCS = np.zeros((30, 30), int)
for row, column in ((2, 2), (2, 12), (12, 2), (12, 12), (22, 22)):
    DISCS[row : row + 5, column : column + 5] = 1
RINGS = np.where(binary_dilation(DISCS > 0) & (DISCS == 0), 2, DISCS)
TURNED = np.where(DISCS > 0, 0, 255)


NUMBERED = label(DISCS)[0]
CUT = np.where(RINGS == 2, 0, NUMBERED + 1)
"""As a watershed with lines gives it: the background is 1, and 0 is on the lines around the objects only."""

CELLS = np.where(np.minimum.outer(np.arange(30) % 10, np.arange(30) % 10) > 0, 1, 0)
CELLS *= 1 + np.add.outer(3 * (np.arange(30) // 10), np.arange(30) // 10)


def test_a_background_with_a_number_of_its_own_behind_lines_is_refused_where_something_learns() -> None:
    text = "0 is only on thin lines, and object 1 touches all sides and covers 75% of the image.* set it to 0"
    with pytest.raises(InputError, match=text):
        refuse_masks([NUMBERED, CUT])


@pytest.mark.parametrize(
    "labels",
    [
        NUMBERED,
        np.where(CUT > 1, CUT, 0),
        np.pad(CUT, 3),  # a large object that holds others, on background
        CELLS,
        np.pad(np.array([[1, 1, 0, 2, 2]] * 3), 1, constant_values=1),  # a small image of two objects
    ],
)
def test_objects_with_lines_between_them_are_taken(labels: np.ndarray) -> None:
    refuse_masks([labels])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            RINGS,
            "its 2 objects have 10 pieces together; expected a number for each object; if the numbers are classes",
        ),
        (TURNED, "its only object covers 86% of the image, touches all sides and has 5 gaps"),
        (TURNED > 0, "its only object covers 86% of the image"),
    ],
)
def test_classes_and_masks_turned_round_are_refused_where_something_learns(
    labels: np.ndarray, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InputError, match=message):
        refuse_masks([labels, EMPTY, labels])
    refuse_masks([labels, LABELS])
    assert not caplog.records
    warn_of_mask(labels, "label image 'a'")
    assert f"label image 'a': {message}" in caplog.text


@pytest.mark.parametrize(
    "labels",
    [
        np.where(DISCS > 0, np.arange(30) // 10 + 1, 0),  # three objects, the largest in three pieces
        np.pad(np.zeros((20, 2), int), 2, constant_values=1),  # an object around one gap
        np.stack([RINGS] * 2),  # a volume
    ],
)
def test_objects_of_a_few_pieces_are_taken(labels: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    refuse_masks([labels])
    warn_of_mask(labels, "label image 'a'")
    assert not caplog.records
