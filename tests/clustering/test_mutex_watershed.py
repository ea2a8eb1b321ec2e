"""Mutex watershed: what it gives on known scenes, and what it refuses."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from pixel_embedded_affinity.affinity import Affinities, affinities
from pixel_embedded_affinity.clustering import MutexWatershed
from pixel_embedded_affinity.clustering.mutex_watershed import _groups
from pixel_embedded_affinity.errors import InputError, MissingDependencyError
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.runtime.device import cpu_threads
from pixel_embedded_affinity.testing import check_clusterer, synthetic_embedding

PLANE = Neighborhood.from_ranges([1, 3, 9], 4)


def boxes():
    labels = np.zeros((40, 50), np.int32)
    labels[4:20, 5:22] = 1
    labels[4:20, 22:40] = 2
    labels[25:35, 10:30] = 3
    return labels


def random_affinities(neighborhood, shape, seed=0):
    generator = np.random.default_rng(seed)
    values = generator.uniform(-1, 1, (len(neighborhood), *shape)).astype(np.float32)
    return Affinities(values, neighborhood)


def test_it_keeps_the_contract_of_clusterers():
    check_clusterer(MutexWatershed())


def test_the_other_engine_keeps_the_contract_of_clusterers():
    pytest.importorskip("mwatershed")
    check_clusterer(MutexWatershed("mwatershed"))


@pytest.mark.parametrize("strides", [1, 2, 5])
def test_touching_objects_are_found_exactly(strides):
    truth = boxes()
    neighborhood = Neighborhood.from_ranges([1, 3, 9], 4, strides=strides)
    given = affinities(synthetic_embedding(truth, noise=0.05), neighborhood)
    np.testing.assert_array_equal(MutexWatershed()(given, foreground=truth > 0), truth)


def test_without_foreground_the_background_is_one_more_object():
    truth = boxes()
    labels = MutexWatershed()(affinities(synthetic_embedding(truth), PLANE))
    np.testing.assert_array_equal(labels, np.array([1, 2, 3, 4])[truth])


def test_labels_are_consecutive_although_the_library_skips_numbers_under_a_mask():
    # In opposite corners, so that the window around them holds what is masked.
    foreground = np.zeros((4, 4), bool)
    foreground[0, 0] = foreground[3, 3] = True
    labels = MutexWatershed()(random_affinities(PLANE, (4, 4)), foreground=foreground)
    np.testing.assert_array_equal(labels, np.diag([1, 0, 0, 2]))


def test_attractive_channels_may_stand_anywhere():
    truth = boxes()
    embedding = synthetic_embedding(truth, noise=0.05)
    mixed = Neighborhood([(-9, 0), (0, -1), (0, -9), (-1, 0)], [False, True, False, True])
    labels = MutexWatershed()(affinities(embedding, mixed), foreground=truth > 0)
    np.testing.assert_array_equal(labels, truth)


def test_a_pair_may_attract_over_any_distance():
    values = np.zeros((2, 1, 5), np.float32)
    values[0, 0, 0] = 0.9
    neighborhood = Neighborhood([(0, 4), (0, 1)], [True, False])
    labels = MutexWatershed()(Affinities(values, neighborhood))
    np.testing.assert_array_equal(labels, [[1, 2, 3, 4, 1]])


def test_a_repulsion_stronger_than_the_attraction_keeps_pixels_apart():
    neighborhood = Neighborhood([(0, 1), (0, 2)], [True, False])
    values = np.array([[[0.8, 0.7, 0]], [[0.25, 0, 0]]], np.float32)
    assert MutexWatershed()(Affinities(values, neighborhood)).tolist() == [[1, 1, 2]]
    values = np.array([[[0.8, 0.7, 0]], [[0.35, 0, 0]]], np.float32)
    assert MutexWatershed()(Affinities(values, neighborhood)).tolist() == [[1, 1, 1]]


def test_negative_affinities_count_as_zero():
    given = random_affinities(PLANE, (12, 12))
    clipped = Affinities(np.maximum(given.values, 0), PLANE)
    np.testing.assert_array_equal(MutexWatershed()(given), MutexWatershed()(clipped))
    # At -0.5, the repulsion must not weigh 1.5 and precede the attraction of 1.
    values = np.array([[[1, 1, 0]], [[-0.5, 0, 0]]], np.float32)
    opposed = Affinities(values, Neighborhood([(0, 1), (0, 2)], [True, False]))
    assert MutexWatershed()(opposed).tolist() == [[1, 1, 1]]


def test_of_equal_weights_attraction_comes_first():
    neighborhood = Neighborhood([(0, 2), (0, 1)], [False, True])
    values = np.full((2, 1, 3), 0.5, np.float32)
    assert MutexWatershed()(Affinities(values, neighborhood)).tolist() == [[1, 1, 1]]


def test_of_equal_weights_of_one_role_the_earlier_pixel_comes_first():
    neighborhood = Neighborhood([(0, 2), (0, 1)], [False, True])
    values = np.array([[[0, 0, 0, 0]], [[0.5, 0.5, 0, 0]]], np.float32)
    assert MutexWatershed()(Affinities(values, neighborhood)).tolist() == [[1, 1, 2, 2]]


def test_repulsion_is_used_on_the_grid_of_the_strides_only():
    values = np.zeros((2, 1, 8), np.float32)
    values[0] = 0.5
    neighborhood = Neighborhood([(0, 1), (0, 2)], [True, False], (1, 3))
    # Repulsive pairs start at 0, 3 and 6 (which leaves the image): 0 excludes 2, and 3 excludes 5.
    assert MutexWatershed()(Affinities(values, neighborhood)).tolist() == [[1, 1, 2, 2, 2, 3, 3, 3]]


@pytest.mark.parametrize("strides", [(1, 1), (2, 3), (5, 5), (7, 4)])
def test_cropping_to_the_foreground_does_not_move_the_grid_of_the_strides(strides):
    neighborhood = Neighborhood.from_ranges([1, 2, 4], 8, strides=strides)
    given = random_affinities(neighborhood, (30, 30))
    foreground = np.zeros((30, 30), bool)
    foreground[11:24, 8:21] = True
    cropped = MutexWatershed()(given, foreground=foreground)
    # A pixel in each corner widens the window to the whole image and touches nothing.
    foreground[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    whole = MutexWatershed()(given, foreground=foreground)
    inside = (slice(11, 24), slice(8, 21))
    np.testing.assert_array_equal(cropped[inside], whole[inside] - 2)
    assert np.count_nonzero(cropped) == 13 * 13


def test_an_offset_longer_than_the_image_has_no_pairs():
    given = random_affinities(Neighborhood.from_ranges([1, 50], 4), (5, 6))
    assert MutexWatershed()(given).max() == 1


def test_affinities_outside_the_foreground_have_no_influence():
    given = random_affinities(PLANE, (20, 20))
    foreground = np.zeros((20, 20), bool)
    foreground[5:15, 6:18] = True
    changed = np.where(foreground, given.values, 0)
    np.testing.assert_array_equal(
        MutexWatershed()(given, foreground=foreground),
        MutexWatershed()(Affinities(changed, PLANE), foreground=foreground),
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, bool])
def test_foreground_may_be_any_numbers(dtype):
    truth = boxes()
    given = affinities(synthetic_embedding(truth), PLANE)
    labels = MutexWatershed()(given, foreground=(truth > 0).astype(dtype))
    np.testing.assert_array_equal(labels, truth)


def test_an_empty_foreground_does_not_need_the_library():
    program = """
import sys, numpy as np
from pixel_embedded_affinity.affinity import Affinities
from pixel_embedded_affinity.clustering import MutexWatershed
from pixel_embedded_affinity.clustering.mutex_watershed import _groups
from pixel_embedded_affinity.runtime.device import cpu_threads
from pixel_embedded_affinity.neighborhood import Neighborhood
given = Affinities(np.zeros((4, 5, 5), np.float32), Neighborhood.from_ranges([1, 3], 4))
assert not MutexWatershed()(given, foreground=np.zeros((5, 5), bool)).any()
assert "bioimage_cpp" not in sys.modules and "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_numpys_global_random_state_is_neither_used_nor_moved(monkeypatch):
    given = random_affinities(Neighborhood.from_ranges([1, 3, 9], 4, strides=3), (30, 30))

    def refuse(*arguments, **settings):
        raise RuntimeError("the global random state was used")

    for name in ("random", "rand", "uniform", "random_sample", "permutation", "shuffle", "choice"):
        monkeypatch.setattr(np.random, name, refuse)
    assert MutexWatershed()(given).max() > 1


def test_tensors_give_the_same_labels_as_arrays():
    torch = pytest.importorskip("torch")
    given = random_affinities(PLANE, (16, 16))
    tensors = Affinities(torch.from_numpy(given.values.copy()), PLANE)
    np.testing.assert_array_equal(MutexWatershed()(tensors), MutexWatershed()(given))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_affinities_that_are_not_finite_are_refused(wrong):
    given = random_affinities(PLANE, (6, 6))
    given.values[3, 4, 5] = wrong
    with pytest.raises(InputError, match=r"1 NaN or infinite.*\(3, 4, 5\)"):
        MutexWatershed()(given)


@pytest.mark.parametrize("wrong", [1.5, -20, 255])
def test_values_that_are_no_similarities_are_refused(wrong):
    given = random_affinities(PLANE, (6, 6))
    given.values[0, 2, 2] = wrong
    with pytest.raises(InputError, match=r"\[-1, 1\]"):
        MutexWatershed()(given)


def test_rounding_beyond_one_is_accepted():
    given = Affinities(np.full((6, 5, 5), 1.0078125, np.float32), PLANE)
    assert MutexWatershed()(given).max() == 1


def test_a_foreground_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"\(6, 5\).*\(5, 6\)"):
        MutexWatershed()(random_affinities(PLANE, (5, 6)), foreground=np.ones((6, 5), bool))


@pytest.mark.parametrize(
    ("offsets", "complaint"), [([(0, 3), (3, 0)], "no attractive"), ([(0, 1)], "no repulsive")]
)
def test_a_neighborhood_of_one_role_only_is_refused(offsets, complaint):
    with pytest.raises(InputError, match=complaint):
        MutexWatershed()(random_affinities(Neighborhood(offsets), (5, 6)))


def test_seeds_join_what_does_not_touch_and_part_what_is_alike():
    given = Affinities(np.ones((2, 1, 8), np.float32), Neighborhood([(0, 1), (0, 2)]))
    seeds = np.array([[5, 0, 0, 2, 0, 0, 0, 5]])
    foreground = np.array([[1, 1, 1, 1, 1, 0, 0, 1]])
    labels = MutexWatershed()(given, foreground=foreground, seeds=seeds)
    assert labels[0, 0] == labels[0, 7] == 1
    assert labels[0, 3] == 2
    assert set(labels[0, [1, 2, 4]].tolist()) <= {1, 2}
    assert not labels[0, 5:7].any()


def test_seeds_of_no_pixel_change_nothing():
    given = random_affinities(PLANE, (12, 12))
    labels = MutexWatershed()(given, seeds=np.zeros((12, 12), np.uint8))
    np.testing.assert_array_equal(labels, MutexWatershed()(given))


def test_seeds_in_the_background_are_refused():
    seeds = np.zeros((5, 6), int)
    seeds[0, :2] = 1
    with pytest.raises(InputError, match="2 pixels of seeds lie in the background"):
        MutexWatershed()(random_affinities(PLANE, (5, 6)), foreground=seeds == 0, seeds=seeds)


@pytest.mark.parametrize("seeds", [np.ones((6, 5), int), np.ones((5, 6)), -np.ones((5, 6), int)])
def test_seeds_that_are_no_labels_of_the_image_are_refused(seeds):
    with pytest.raises(InputError):
        MutexWatershed()(random_affinities(PLANE, (5, 6)), seeds=seeds)


def test_an_unknown_engine_is_refused_with_the_valid_ones():
    with pytest.raises(InputError, match=r"bioimage_cpp.*mwatershed.*'affogato'"):
        MutexWatershed("affogato")


@pytest.mark.parametrize("repulsion", [0, -1, math.inf, math.nan, True, "1", None, 1j])
def test_a_repulsion_that_is_no_positive_number_is_refused(repulsion):
    with pytest.raises(InputError, match="repulsion must be a finite number above 0, got"):
        MutexWatershed(repulsion=repulsion)


def test_two_halves_are_apart_only_as_long_as_their_repulsion_outweighs_what_attracts_them():
    neighborhood = Neighborhood([(0, -1), (0, -2)], attractive=[True, False])
    values = np.ones((2, 1, 6), np.float32)
    values[0, 0, 3], values[1, 0, 3:5] = 0.6, 0.2
    given = Affinities(values, neighborhood)
    counts = [MutexWatershed(repulsion=factor)(given).max() for factor in (2, 1, 0.76, 0.74, 0.01)]
    assert counts == [2, 2, 2, 1, 1]


@pytest.mark.parametrize("agreement", [-1, math.inf, math.nan, True, "1", None, 1j])
def test_an_agreement_that_is_no_number_of_at_least_0_is_refused(agreement):
    with pytest.raises(InputError, match="agreement must be a finite number of at least 0, got"):
        MutexWatershed(agreement=agreement)


def test_pixels_between_two_objects_make_no_object_where_their_agreement_counts():
    angles = np.repeat([0, np.pi / 4, np.pi / 2], [6, 2, 6])
    embedding = np.stack((np.cos(angles), np.sin(angles)))[:, np.newaxis].astype(np.float32)
    neighborhood = Neighborhood([(0, -1), (0, -2), (0, -4)], attractive=[True, False, False])
    given = affinities(embedding, neighborhood)
    assert MutexWatershed(repulsion=3.0)(given).tolist() == [[1] * 6 + [2] * 2 + [3] * 6]
    found = MutexWatershed(repulsion=3.0, agreement=2.0)(given)
    assert found.max() == 2
    assert len(np.unique(found[0, :6])) == len(np.unique(found[0, -6:])) == 1


@pytest.mark.parametrize("offset", [(0, -5), (0, 5), (-5, 0), (5, 0), (7, -7)])
def test_a_foreground_smaller_than_the_range_has_no_pair_to_calm(offset):
    neighborhood = Neighborhood([(-1, 0), (0, -1), offset], attractive=[True, True, False], strides=(4, 3))
    foreground = np.zeros((20, 20), bool)
    foreground[7:10, 8:12] = True
    given = Affinities(np.full((3, 20, 20), 0.9, np.float32), neighborhood)
    labels = MutexWatershed(agreement=0.5)(given, foreground=foreground)
    np.testing.assert_array_equal(labels, foreground.astype(np.int32))


def test_a_missing_engine_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mwatershed", None)
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[mwatershed\]"):
        MutexWatershed("mwatershed")(random_affinities(PLANE, (5, 6)))


def test_only_attraction_is_computed_at_every_pixel(monkeypatch):
    neighborhood = Neighborhood.from_ranges([1, 3, 9], 4, strides=5)
    given = affinities(synthetic_embedding(boxes()), neighborhood)
    asked = []
    channel = Affinities.channel
    monkeypatch.setattr(
        Affinities, "channel", lambda self, k, where=None: asked.append((k, where)) or channel(self, k, where)
    )
    MutexWatershed()(given, foreground=boxes() > 0)
    asked = [(k, where) for k, where in asked if where[1].stop > 0]
    assert {k: {part.step for part in where} for k, where in asked} == {
        k: {None if role else 5} for k, role in enumerate(neighborhood.attractive)
    }
    assert all(where[1].start >= 5 and where[1].stop <= 40 for _, where in asked)


@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e30])
def test_weights_that_the_strides_leave_out_are_never_read(monkeypatch, poison):
    given = random_affinities(Neighborhood.from_ranges([1, 3, 9], 8, strides=(3, 2)), (30, 40))
    expected = MutexWatershed()(given)
    empty = np.empty

    def poisoned(shape, dtype=float):
        array = empty(shape, dtype)
        if array.dtype == np.float32:
            array.fill(poison)
        return array

    monkeypatch.setattr(np, "empty", poisoned)
    np.testing.assert_array_equal(MutexWatershed()(given), expected)


def test_parts_of_the_foreground_that_nothing_attracts_go_to_different_threads():
    foreground = np.zeros((60, 10), bool)
    foreground[[0, 20, 40], 1:9] = True  # 8 pixels each
    foreground[50:54, 1:9] = True  # 32 pixels
    neighborhood = Neighborhood.from_ranges([1, 3], 4)
    groups = _groups(foreground, neighborhood, 2)
    assert [group.sum() for group in groups] == [24, 32]
    np.testing.assert_array_equal(sum(groups), foreground)
    assert [group.sum() for group in _groups(foreground, neighborhood, 100)] == [8, 8, 8, 32]
    assert len(_groups(foreground, neighborhood, 1)) == 1


@pytest.mark.parametrize(("offset", "count"), [((-1, -1), 1), ((-1, 0), 2), ((-2, 0), 1)])
def test_what_a_pair_attracts_stays_together(offset, count):
    foreground = np.eye(4, dtype=bool)
    neighborhood = Neighborhood([offset, (0, -3)], [True, False])
    assert len(_groups(foreground, neighborhood, 2)) == count


@pytest.mark.parametrize("ndim", [2, 3])
def test_labels_do_not_depend_on_the_number_of_threads(ndim):
    shape = (6, 40, 50)[-ndim:]
    generator = np.random.default_rng(3)
    foreground = generator.random(shape) < 0.5
    given = random_affinities(Neighborhood.from_ranges([1, 3], 2 * ndim, strides=2), shape)
    found = []
    for count in (1, 2, 5, 64):
        with cpu_threads(count):
            found.append(MutexWatershed()(given, foreground=foreground))
    for labels in found[1:]:
        np.testing.assert_array_equal(labels, found[0])
