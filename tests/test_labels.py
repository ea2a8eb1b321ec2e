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
