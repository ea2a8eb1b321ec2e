"""What the plug-in for napari computes, without a viewer."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pixel_embedded_affinity import Neighborhood, Segmenter
from pixel_embedded_affinity.confidence import object_confidence
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.samples import nuclei
from pixel_embedded_affinity.viewer import sample_data
from pixel_embedded_affinity.viewer.workbench import (
    Choice,
    Stopped,
    Workbench,
    in_steps,
    merge_passes,
    on_objects,
    pixels_of,
    ranges_of,
    save_example,
    spread_ranges,
    stoppable,
)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 127, (10, 12)).repeat(4, 0).repeat(4, 1)


@pytest.fixture
def bench(segmenter: Segmenter, image: np.ndarray) -> Workbench:
    return Workbench(segmenter, segmenter.embed(image))


def test_without_strokes_the_labels_are_those_of_the_model(
    bench: Workbench, segmenter: Segmenter, image: np.ndarray
) -> None:
    np.testing.assert_array_equal(bench.labels(), segmenter.segment(image))


def test_a_line_makes_its_objects_one_and_leaves_gaps_as_they_are(bench: Workbench) -> None:
    plain = bench.labels()
    line = pixels_of([(2, 2), (37, 45)], plain.shape)
    there = plain[tuple(line.T)]
    assert len(np.unique(there[there > 0])) > 1
    assert (there == 0).any()
    labels = bench.with_strokes([line], []).labels()
    found = labels[tuple(line.T)]
    assert len(np.unique(found[there > 0])) == 1
    assert not found[there == 0].any()


def test_the_ends_of_a_line_are_different_objects(bench: Workbench) -> None:
    plain = bench.labels()
    largest = np.argwhere(plain == np.bincount(plain.ravel())[1:].argmax() + 1)
    line = pixels_of([largest[0], largest[-1]], plain.shape)
    labels = bench.with_strokes([], [line]).labels()
    assert labels[tuple(largest[0])] != labels[tuple(largest[-1])]


def test_strokes_that_contradict_each_other_are_an_error_of_the_library(bench: Workbench) -> None:
    line = np.argwhere(bench.plain == 1)
    with pytest.raises(InputError, match=r"different\[0\]"):
        bench.with_strokes([line], [line]).labels()


def test_the_labels_without_strokes_are_found_once(bench: Workbench) -> None:
    plain = bench.plain
    assert bench.with_strokes([], []).plain is plain
    assert bench.with_strokes([np.array([[0, 0]])], []).plain is plain


def test_rows_begin_with_the_least_confident_object(bench: Workbench) -> None:
    labels = bench.labels()
    rows = bench.rows(labels)
    sure = object_confidence(labels, bench.embedding, bench.segmenter.config.neighborhood)
    assert [row.confidence for row in rows] == sorted(sure.tolist())
    assert sorted(row.label for row in rows) == list(range(1, labels.max() + 1))
    for row in rows:
        places = np.argwhere(labels == row.label)
        assert row.pixels == len(places)
        np.testing.assert_allclose(row.middle, (places.min(0) + places.max(0)) / 2)
    assert Workbench(bench.segmenter, bench.embedding).rows(np.zeros_like(labels)) == []


# --- sliders --------------------------------------------------------------------------------------------------


def test_a_choice_of_nothing_leaves_the_settings(segmenter: Segmenter) -> None:
    assert Choice().of(segmenter).config == segmenter.config


def test_a_choice_changes_what_it_names(segmenter: Segmenter) -> None:
    choice = Choice((1, 3, 9), 4, 5, 0.3, 40, 7)
    config = choice.of(segmenter).config
    assert config.neighborhood == Neighborhood.from_ranges([1, 3, 9], 4, strides=5)
    assert config.foreground_threshold == 0.3
    assert config.postprocess.merge_sizes == (10, 20, 40)
    assert config.postprocess.min_size == 7


def test_ranges_of_a_volume_are_shorter_where_voxels_are_longer(volume_segmenter: Segmenter) -> None:
    sampling = volume_segmenter.config.sampling
    chosen = Choice((1, 4), 6, 2).neighborhood(volume_segmenter)
    assert chosen.ndim == 3
    assert in_steps([1, 4, 5], (4.0, 1.0, 1.0)) == [(1, 1, 1), (1, 4, 4), (1, 5, 5)]
    if sampling is not None:
        assert set(map(max, np.abs(chosen.offsets).tolist())) <= {1, 4}


@given(longest=st.integers(1, 64), count=st.integers(1, 8))
def test_ranges_of_the_sliders_rise_from_one_to_the_longest(longest: int, count: int) -> None:
    ranges = spread_ranges(longest, count)
    assert ranges[0] == 1
    assert count == 1 or ranges[-1] == longest
    assert list(ranges) == sorted(set(ranges))
    assert len(ranges) <= count
    assert ranges_of(Neighborhood.from_ranges(ranges, 8)) == ranges


def test_merging_goes_in_passes_and_not_at_all_at_zero() -> None:
    assert merge_passes(100) == (25, 50, 100)
    assert merge_passes(1) == (1,)
    assert merge_passes(0) == ()


# --- lines ----------------------------------------------------------------------------------------------------

points = st.tuples(st.integers(1, 5), st.integers(2, 3)).flatmap(
    lambda shape: arrays.arrays(float, shape, elements=st.floats(-5, 15))
)


@given(vertices=points)
def test_the_pixels_of_a_line_are_in_the_image_and_each_next_to_the_one_before(vertices: np.ndarray) -> None:
    pixels = pixels_of(vertices, (1000,) * vertices.shape[1])
    whole = pixels_of(vertices + 10, (1000,) * vertices.shape[1])
    assert (pixels >= 0).all()
    assert len(np.unique(whole, axis=0)) == len(whole)
    assert np.array_equal(whole[0], np.rint(vertices[0] + 10))
    ends = {tuple(end) for end in np.rint(vertices + 10).astype(int).tolist()}
    assert ends <= set(map(tuple, whole.tolist()))
    if len(vertices) == 2:
        assert (np.abs(np.diff(whole, axis=0)).max(axis=1, initial=0) <= 1).all()


def test_what_leaves_the_image_is_left_out() -> None:
    assert pixels_of([(-2, 0), (1, 0)], (5, 5)).tolist() == [[0, 0], [1, 0]]
    assert len(pixels_of([(-9, -9), (-2, -2)], (5, 5))) == 0


def test_a_line_over_background_alone_stays_whole() -> None:
    line = pixels_of([(0, 0), (0, 3)], (4, 4))
    labels = np.zeros((4, 4), np.int32)
    np.testing.assert_array_equal(on_objects(line, labels), line)
    labels[0, 2] = 1
    assert on_objects(line, labels).tolist() == [[0, 2]]


# --- saving, samples, stopping --------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [(), (3,), (2,)])
def test_saved_examples_are_those_that_fine_tuning_takes(tmp_path: Path, channels: tuple[int, ...]) -> None:
    image = np.arange(20 * 30 * (channels or (1,))[0], dtype=np.uint16).reshape(20, 30, *channels)
    labels = np.zeros((20, 30), np.int32)
    labels[3:9, 4:12] = 1
    paths = save_example(tmp_path / "data", "first", image, labels)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "data/images/first.tif",
        "data/labels/first.tif",
    ]
    np.testing.assert_array_equal(tifffile.imread(paths[0]), image)
    np.testing.assert_array_equal(tifffile.imread(paths[1]), labels)


@pytest.mark.parametrize("name", ["", "a/b", "../b"])
def test_a_name_with_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="name must be that of a file"):
        save_example(tmp_path, name, np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.int32))


def test_samples_are_layers() -> None:
    for sample, shape in ((sample_data.nuclei, (520, 696)), (sample_data.volume, (16, 128, 128))):
        ((data, options, kind),) = sample()
        assert (data.shape, kind, set(options)) == (shape, "image", {"name"})


def test_a_network_stops_at_its_next_layer_and_works_again_afterwards(
    segmenter: Segmenter, image: np.ndarray
) -> None:
    stop = threading.Event()
    expected = segmenter.segment(image)
    with stoppable(segmenter.embedder.network, stop):
        np.testing.assert_array_equal(segmenter.segment(image), expected)
        stop.set()
        with pytest.raises(Stopped):
            segmenter.segment(image)
    np.testing.assert_array_equal(segmenter.segment(image), expected)


def test_the_package_does_not_import_a_viewer() -> None:
    viewers = "{'napari', 'qtpy', 'magicgui', 'pixel_embedded_affinity.viewer'}"
    program = f"import sys, pixel_embedded_affinity.segmenter; assert not {viewers} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_network_that_onnxruntime_runs_can_be_explored_too() -> None:
    segmenter = Segmenter.pretrained("bbbc039-fast", runtime="onnx")
    field = nuclei().image[:120, :120]
    with stoppable(segmenter.embedder.network, threading.Event()):
        embedding = segmenter.embed(field, scale=1)
    np.testing.assert_array_equal(Workbench(segmenter, embedding).labels(), segmenter.segment(field, scale=1))
