"""Folders of the Cell Tracking Challenge: a mask for each frame, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export import write_cell_tracking

LABELS = np.random.default_rng(0).integers(0, 9, (3, 5, 7))


@pytest.mark.parametrize("labels", [LABELS, np.stack([LABELS, LABELS[:, ::-1]]), LABELS[:1].astype(np.uint8)])
def test_each_frame_is_a_mask(tmp_path: Path, labels: np.ndarray[Any, Any]) -> None:
    write_cell_tracking(tmp_path / "01_RES", labels)
    names = sorted(path.name for path in (tmp_path / "01_RES").iterdir())
    assert names == [f"mask{frame:03}.tif" for frame in range(len(labels))]
    for name, frame in zip(names, labels, strict=True):
        mask = tifffile.imread(tmp_path / "01_RES" / name)
        assert mask.dtype == np.uint16
        np.testing.assert_array_equal(mask, frame)


def test_a_thousand_frames_have_three_digits_and_more_have_four(tmp_path: Path) -> None:
    frame = np.ones((1, 2), int)
    write_cell_tracking(tmp_path / "a", [frame] * 1000)
    assert (tmp_path / "a" / "mask999.tif").is_file()
    write_cell_tracking(tmp_path / "b", [frame] * 1001)
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == [
        f"mask{i:04}.tif" for i in range(1001)
    ]


def test_labels_may_come_one_after_the_other(tmp_path: Path, segmenter: Segmenter) -> None:
    images = list(np.random.default_rng(0).random((2, 20, 30)).astype(np.float32))
    write_cell_tracking(tmp_path / "lapse", segmenter.segment_many(images))
    mask = tifffile.imread(tmp_path / "lapse" / "mask001.tif")
    np.testing.assert_array_equal(mask, segmenter.segment(images[1]))


def failing() -> Iterator[Any]:
    yield LABELS[0]
    raise OSError("disk lost")


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "no frames"),
        ([LABELS[0], LABELS[0, 1:]], r"\(4, 7\)"),
        ([LABELS[0] * 10_000], "frame 0 has labels up to 80000"),
        (LABELS[0], r"labels of shape \(7,\)"),
        (LABELS.astype(float), "float64"),
        (LABELS - 1, "down to -1"),
        (failing(), "disk lost"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, frames: Any, message: str) -> None:
    with pytest.raises((InputError, OSError), match=message):
        write_cell_tracking(tmp_path / "lapse", frames)
    assert not list(tmp_path.iterdir())


def test_more_frames_than_numbers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixel_embedded_affinity.export.cell_tracking._MOST_FRAMES", 2)
    with pytest.raises(InputError, match="the format holds 2 frames"):
        write_cell_tracking(tmp_path / "lapse", LABELS)


def test_a_folder_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "lapse").mkdir()
    for name in ("lapse", "missing/lapse"):
        with pytest.raises(InputError, match="expected a new name"):
            write_cell_tracking(tmp_path / name, LABELS)
    assert not list((tmp_path / "lapse").iterdir())
