"""A model of images and a stack of sections: one is chosen, or all are taken one by one if the axes say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.labels import number_on

Array = np.ndarray[Any, Any]


@pytest.fixture
def stack() -> Array:
    return np.random.default_rng(0).integers(100, 4000, (2, 3, 36, 44)).astype(np.uint16)


def write(path: Path, values: Array, axes: str) -> Path:
    tifffile.imwrite(path, values, imagej=True, metadata={"axes": axes})
    return path


def numbered(segmenter: Segmenter, sections: Array) -> Array:
    """An oracle: shift each section by the highest number so far."""
    found, last = [], 0
    for section in sections:
        labels = segmenter.segment(section)
        found.append(np.where(labels, labels + last, 0))
        last += len(np.unique(labels[labels > 0]))
    return np.stack(found)


def test_a_section_is_chosen_and_none_is_taken_unasked(
    segmenter: Segmenter, stack: Array, tmp_path: Path
) -> None:
    path = write(tmp_path / "stack.tif", stack[0], "ZYX")
    with pytest.raises(InputError, match=r"choose a section by z=0 \(--z 0\), or give axes='ZYX'"):
        segmenter.segment(path)
    expected = segmenter.segment(stack[0, 1])
    np.testing.assert_array_equal(segmenter.segment(path, z=1), expected)
    np.testing.assert_array_equal(segmenter.analyze(path, z=1).labels, expected)
    np.testing.assert_array_equal(next(segmenter.segment_many([path], z=1)), expected)
    np.testing.assert_array_equal(segmenter.segment(stack[0], axes="ZYX", z=1), expected)
    assert segmenter.segment_large(path, tmp_path / "out.tif", z=1) == expected.max()
    with pytest.raises(InputError, match=r"has axes ZYX.*choose a section by z=0"):
        segmenter.segment_large(path, tmp_path / "all.tif", axes="ZYX")


@pytest.mark.parametrize("axes", ["ZYX", "YXZ", "YZX"])
def test_sections_are_segmented_one_by_one_and_numbered_on(
    segmenter: Segmenter, stack: Array, axes: str
) -> None:
    order = ["ZYX".index(letter) for letter in axes]
    labels = segmenter.segment(stack[0].transpose(order), axes=axes)
    expected = numbered(segmenter, stack[0])
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels.transpose([axes.index(letter) for letter in "ZYX"]), expected)
    np.testing.assert_array_equal(np.unique(labels[labels > 0]), np.arange(1, labels.max() + 1))
    inside = np.zeros(stack[0].shape, bool)
    inside[1, 5:20] = True
    found = segmenter.segment(stack[0], axes="ZYX", foreground=inside)
    assert found[1].any()
    assert not found[~inside].any()


def test_of_five_axes_all_but_one_are_chosen(segmenter: Segmenter, stack: Array, tmp_path: Path) -> None:
    path = write(tmp_path / "five.tif", np.stack([stack, stack[::-1]], axis=2), "TZCYX")
    expected = segmenter.segment(stack[::-1][1, 2])
    np.testing.assert_array_equal(segmenter.segment(path, time=1, z=2, channel=1), expected)
    movie = segmenter.segment(path, z=2, channel=1)
    np.testing.assert_array_equal(movie[1], expected)
    sections = segmenter.segment(path, axes="TZCYX", time=1, channel=1)
    np.testing.assert_array_equal(sections, numbered(segmenter, stack[0]))
    message = r"choose a section by z=0 \(--z 0\), or a time point by time=0 \(--time 0\) with axes='TZCYX'"
    for axes in (None, "TZCYX"):
        with pytest.raises(InputError, match=message):
            segmenter.segment(path, channel=1, axes=axes)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"z": 3}, r"z=3 of .* 3 section\(s\) \(axes ZYX\); expected 0 to 2"),
        ({"z": -1}, "z must be an integer of at least 0"),
        ({"axes": "TYX", "z": 1}, r"z=1 of .* 1 section\(s\).*name the axis of sections Z by axes="),
    ],
)
def test_choices_that_do_not_fit_are_refused(
    segmenter: Segmenter, stack: Array, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        segmenter.segment(stack[0], **{"axes": "ZYX", **given})


def test_a_model_of_volumes_takes_all_sections(volume_segmenter: Segmenter, stack: Array) -> None:
    with pytest.raises(InputError, match="z=1 for a model of volumes"):
        volume_segmenter.segment(stack[0], z=1)


@given(st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4), max_size=5))
def test_numbers_go_on(rows: list[list[int]]) -> None:
    labels = [np.unique(row, return_inverse=True)[1].astype(np.int32) for row in rows]
    kept = [row.copy() for row in labels]
    added = number_on(labels)
    assert len(added) == len(rows)
    positive = [set(row[row > 0].tolist()) for row in labels]
    assert sum(map(len, positive)) == len(set().union(*positive))
    for row, old, more in zip(labels, kept, added, strict=True):
        np.testing.assert_array_equal(row, np.where(old, old + more, 0))


def test_an_axis_of_frames_that_the_caller_names_stays_if_there_is_one_frame(
    segmenter: Segmenter, stack: Array, tmp_path: Path
) -> None:
    one = stack[:1, 0]
    expected = segmenter.segment(one[0])
    for letter in "TZ":
        np.testing.assert_array_equal(segmenter.segment(one, axes=f"{letter}YX"), expected[None])
        assert segmenter.analyze(one, axes=f"{letter}YX").labels.shape == expected.shape
        assert segmenter.embed(one, axes=f"{letter}YX").image_shape == expected.shape
    np.testing.assert_array_equal(next(segmenter.segment_many([one], axes="TYX")), expected[None])
    np.testing.assert_array_equal(segmenter.segment(one, axes="TYX", time=0), expected)
    assert segmenter.segment_large(one, tmp_path / "labels.tif", axes="TYX") == expected.max()
    # A file that declares it keeps to what it was: nobody asked for the axis.
    path = tmp_path / "one.ome.tif"
    tifffile.imwrite(path, stack[:1, :1], metadata={"axes": "TZYX"})
    np.testing.assert_array_equal(segmenter.segment(path), expected)
