"""True labels that a caller gives: arrays of whole numbers, or files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.truth import true_labels

LABELS = np.array([[0, 3, 3], [7, 0, 3]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("kind", ["array", "TIFF", "text"])
def test_whole_numbers_are_labels_in_an_array_and_in_a_file(tmp_path: Path, dtype: Any, kind: str) -> None:
    source: Any = LABELS.astype(dtype)
    if kind != "array":
        tifffile.imwrite(tmp_path / "labels.tif", source)
        source = tmp_path / "labels.tif" if kind == "TIFF" else str(tmp_path / "labels.tif")
    found = true_labels(source, (2, 3), "image 1")
    assert found.dtype.kind in "iu"
    assert [
        [found[0, 1] == found[0, 2] == found[1, 2], found[1, 0] != found[0, 1]],
        [found[0, 0], found[1, 1]],
    ] == [
        [True, True],
        [0, 0],
    ]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full((2, 3), 0.5), "the truth holds fractions, NaN or infinite values; expected whole numbers"),
        (np.full((2, 3), np.nan), "holds fractions, NaN or infinite values"),
        (np.full((2, 3), -1.0), "labels down to -1"),
        (np.ones((3, 2)), r"labels of shape \(3, 2\) for an image of spatial shape \(2, 3\)"),
        (np.ones((2, 3), bool), "labels of dtype bool are a mask"),
    ],
)
def test_what_is_no_label_is_refused(labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        true_labels(labels, (2, 3), "image 1")


def test_a_file_of_another_shape_or_a_jpeg_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "turned.tif", LABELS.T.astype(np.uint8))
    with pytest.raises(InputError, match=r"labels of shape \(3, 2\)"):
        true_labels(tmp_path / "turned.tif", (2, 3), "image 1")
    Image.fromarray(LABELS.astype(np.uint8)).save(tmp_path / "labels.jpg")
    with pytest.raises(InputError, match="JPEG, which changes values"):
        true_labels(tmp_path / "labels.jpg", (2, 3), "image 1")
    with pytest.raises(InputError, match=r"absent.tif.* does not exist"):
        true_labels(tmp_path / "absent.tif", (2, 3), "image 1")


def test_tune_takes_paths_of_images_and_labels(tmp_path: Path, segmenter: Segmenter) -> None:
    generator = np.random.default_rng(0)
    images, labels, paths = [], [], []
    for number in range(2):
        truth = np.zeros((40, 40), np.int32)
        truth[5:15, 5:15], truth[20:35, 20:35] = 1, 2
        images.append(
            np.where(truth > 0, 200, 20).astype(np.uint8) + generator.integers(0, 9, truth.shape, np.uint8)
        )
        labels.append(truth)
        tifffile.imwrite(tmp_path / f"{number}.tif", images[-1])
        tifffile.imwrite(tmp_path / f"{number}_labels.tif", truth.astype(np.float32))
        paths.append(tmp_path / f"{number}.tif")
    files = [path.with_name(f"{path.stem}_labels.tif") for path in paths]
    search = {"search": None}
    assert segmenter.tune(paths, files, **search).table == segmenter.tune(images, labels, **search).table
