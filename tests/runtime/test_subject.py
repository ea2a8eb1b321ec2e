"""Warnings about an image say its name, in every thread."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.runtime.subject import ImageLogger, about, subject

logger = ImageLogger("pixel_embedded_affinity.test")


def test_a_message_starts_with_what_it_is_about(caplog: pytest.LogCaptureFixture) -> None:
    logger.warning("100 % alone")
    with about("50 % a.tif"), about("inner"):
        logger.warning("30 %% of %s, %d", "b", 3)
        logger.warning("40 % of the pixels")
        assert subject() == "50 % a.tif"
    logger.warning("%s", "after")
    assert caplog.messages == [
        "100 % alone",
        "50 % a.tif: 30 % of b, 3",
        "50 % a.tif: 40 % of the pixels",
        "after",
    ]
    assert {record.filename for record in caplog.records} == {"test_subject.py"}
    assert subject() == ""


def test_warnings_of_an_image_say_which(
    segmenter: Segmenter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An image of two values has equal percentiles if the second one is rare."""
    caplog.set_level(logging.WARNING)
    odd = np.zeros((64, 64), np.uint8)
    odd[3, 4] = 1
    path = tmp_path / "odd.tif"
    tifffile.imwrite(path, odd)
    segmenter.segment(path)
    assert caplog.messages[0].startswith("odd.tif: percentiles ")
    caplog.clear()
    segmenter.segment(odd)
    assert caplog.messages[0].startswith("percentiles ")
    caplog.clear()
    list(segmenter.segment_many([np.arange(4096.0).reshape(64, 64), path, odd]))
    assert [
        message.partition(": percentiles")[0] for message in caplog.messages if "percentiles" in message
    ] == [
        "images[1]",
        "images[2]",
    ]
