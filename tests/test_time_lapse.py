"""Time points: each is labeled on its own, in the order of the source's axes, from arrays and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.errors import InputError

Array = np.ndarray[Any, Any]


@pytest.fixture
def movie() -> Array:
    return np.random.default_rng(0).integers(100, 4000, (3, 36, 44)).astype(np.uint16)


@pytest.mark.parametrize("axes", ["TYX", "YXT", "YTX", "TXY"])
def test_each_frame_is_labeled_as_an_image_of_its_own(segmenter: Segmenter, movie: Array, axes: str) -> None:
    order = ["TYX".index(letter) for letter in axes]
    labels = segmenter.segment(movie.transpose(order), axes=axes)
    assert labels.shape == movie.transpose(order).shape
    assert labels.dtype == np.int32
    back = labels.transpose([axes.index(letter) for letter in "TYX"])
    for frame, found in zip(movie, back, strict=True):
        # Objects are numbered in the order of the source's axes.
        expected = (
            segmenter.segment(frame.T, axes="XY").T
            if "XY" in axes.replace("T", "")
            else segmenter.segment(frame)
        )
        np.testing.assert_array_equal(found, expected)


def test_a_file_says_itself_that_it_has_frames(segmenter: Segmenter, movie: Array, tmp_path: Path) -> None:
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, movie, imagej=True, metadata={"axes": "TYX"})
    expected = np.stack([segmenter.segment(frame) for frame in movie])
    np.testing.assert_array_equal(segmenter.segment(path), expected)
    np.testing.assert_array_equal(segmenter.segment(path, time=1), expected[1])
    (found, single) = segmenter.segment_many([path, movie[0]])
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(single, expected[0])
    np.testing.assert_array_equal(segmenter.analyze(path, time=2).labels, expected[2])


def test_pages_without_names_are_frames_where_the_axes_say_so(
    segmenter: Segmenter, movie: Array, tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "pages.tif", movie, photometric="minisblack")
    with pytest.raises(InputError, match=r"give axes='TYX' \(--axes TYX\) .* or axes='CYX' with channel=0"):
        segmenter.segment(tmp_path / "pages.tif")
    assert segmenter.segment(tmp_path / "pages.tif", axes="TYX").shape == movie.shape
    assert segmenter.segment(tmp_path / "pages.tif", axes="CYX", channel=0).shape == movie.shape[1:]


def test_the_foreground_has_frames_too(segmenter: Segmenter, movie: Array) -> None:
    inside = np.zeros(movie.shape, bool)
    inside[0, 5:20], inside[2, :, 8:] = True, True
    labels = segmenter.segment(movie, axes="TYX", foreground=inside)
    assert not labels[~inside].any()
    assert not labels[1].any()
    np.testing.assert_array_equal(labels[0], segmenter.segment(movie[0], foreground=inside[0]))
    with pytest.raises(
        InputError, match=r"foreground of shape \(36, 44\) for an image of spatial shape \(3, 36, 44\)"
    ):
        segmenter.segment(movie, axes="TYX", foreground=inside[0])


def test_what_gives_one_result_wants_one_frame(segmenter: Segmenter, movie: Array, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "movie.tif", movie, imagej=True, metadata={"axes": "TYX"})
    for verb in (segmenter.analyze, segmenter.embed):
        with pytest.raises(
            InputError, match=r"3 time points \(axes TYX\); .* by time=0 \(--time 0\), or use segment"
        ):
            verb(movie, axes="TYX")
        verb(movie, axes="TYX", time=0)
    with pytest.raises(InputError, match=r"has axes TYX; .* choose a time point by time=0"):
        segmenter.segment_large(tmp_path / "movie.tif", tmp_path / "out.tif")
    assert segmenter.segment_large(tmp_path / "movie.tif", tmp_path / "out.tif", time=0) >= 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"axes": "TYX", "time": 3}, "time=3 .* 3 time point.* expected 0 to 2"),
        ({"axes": "TYX", "time": -1}, "time must be an integer of at least 0"),
        ({"axes": "CYX", "channel": 3}, "channel=3 .* 3 channel.* 0 to 2"),
        (
            {"axes": "CYX", "channel": "DAPI"},
            "no names of channels, for channel='DAPI'; expected one of 0 to 2",
        ),
        ({"axes": "CYX", "channel": -1}, "channel must be the number of a channel, from 0, or its name"),
        ({"axes": "CYX", "channel": True}, "channel must be the number"),
        ({"axes": "TYX", "series": 0}, "series=0 for an array; expected a file"),
        (
            {"axes": "TYX", "pixel_size": 0},
            "pixel_size must be a number of micrometers above 0, or a length such as",
        ),
        ({"axes": "TYX", "pixel_size": "0.2"}, "pixel_size must be a number of micrometers"),
        ({"axes": "TYX", "pixel_size": ("1 um", "-2 um")}, "pixel_size must be a number of micrometers"),
    ],
)
def test_choices_that_do_not_fit_are_refused(
    segmenter: Segmenter, movie: Array, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        segmenter.segment(movie, **given)


def test_the_advice_about_a_stack_works(segmenter: Segmenter, movie: Array) -> None:
    with pytest.raises(InputError, match=r"pass list\(stack\)"):
        segmenter.segment_many(movie)
    assert len(list(segmenter.segment_many(list(movie)))) == 3
    with pytest.raises(InputError, match="if the first axis holds time points, pass axes='TYX'"):
        list(segmenter.segment_many([movie]))
    (labels,) = segmenter.segment_many([movie], axes="TYX")
    assert labels.shape == movie.shape


def test_a_volume_may_have_time_points(volume_segmenter: Segmenter) -> None:
    movie = np.random.default_rng(0).integers(0, 4000, (2, 8, 20, 24)).astype(np.uint16)
    labels = volume_segmenter.segment(movie, axes="TZYX")
    np.testing.assert_array_equal(labels, np.stack([volume_segmenter.segment(volume) for volume in movie]))
