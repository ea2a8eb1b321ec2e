"""Postprocessing: examples that a person can check by eye, and input that is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.labels import relabel
from pixel_embedded_affinity.postprocess import (
    Postprocess,
    clear_border,
    fill_holes,
    merge_alike,
    merge_fragments,
    merge_thin,
    remove_small,
    remove_uncertain,
)
from pixel_embedded_affinity.testing import label_images


def picture(text):
    """Labels from rows of digits."""
    return np.array([[int(digit) for digit in row] for row in text.split()], np.int32)


FUNCTIONS = {
    "relabel": relabel,
    "merge_fragments": lambda labels: merge_fragments(labels, [2]),
    "merge_thin": lambda labels: merge_thin(labels, [2]),
    "remove_small": lambda labels: remove_small(labels, 2),
    "fill_holes": fill_holes,
    "clear_border": clear_border,
    "Postprocess": Postprocess(
        merge_sizes=(2,), merge_radii=(1.5,), min_size=2, fill_holes=True, clear_border=True
    ),
}
every_function = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS.keys())


def test_relabel_numbers_objects_by_their_first_pixel():
    np.testing.assert_array_equal(relabel(picture("0770 2270 2050")), picture("0110 2210 2030"))


@pytest.mark.parametrize("dtype", ["u1", "i2", "<u2", ">u2", ">i4", "u8", "i8"])
def test_relabel_takes_every_integer_dtype(dtype):
    result = relabel(np.array([[0, 9], [100, 9]], dtype))
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result, picture("01 21"))


def test_relabel_takes_numbers_beyond_int32():
    labels = np.array([[2**63 + 5, 0], [2**63 + 6, 2**63 + 5]], np.uint64)
    np.testing.assert_array_equal(relabel(labels), picture("10 21"))


@pytest.mark.parametrize(
    "view", [lambda a: a[::-1, ::2], lambda a: a.T, np.asfortranarray], ids=["steps", "T", "F"]
)
def test_relabel_goes_by_position_in_the_array_and_not_by_memory(view):
    labels = view(np.arange(1, 21).reshape(4, 5))
    np.testing.assert_array_equal(relabel(labels).ravel(), np.arange(1, labels.size + 1))


@every_function
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (4, 5), (1, 1, 1), (2, 3, 4)])
def test_zero_objects_is_a_normal_result(function, shape):
    result = function(np.zeros(shape, np.uint16))
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result, np.zeros(shape))


@every_function
def test_input_is_never_modified(function):
    labels = picture("55555 57005 50025 55555 30000")
    labels.setflags(write=False)
    copy = labels.copy()
    result = function(labels)
    np.testing.assert_array_equal(labels, copy)
    assert not np.shares_memory(result, labels)


@every_function
@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        (np.zeros((2, 2), np.float32), "integer"),
        (np.zeros((2, 2), bool), "integer"),
        (np.array([[0, -3]]), "-3"),
        (np.zeros(5, np.int32), r"\(5,\)"),
        (np.zeros((1, 2, 3, 4), np.int32), r"\(1, 2, 3, 4\)"),
        (np.zeros((0, 5), np.int32), r"\(0, 5\)"),
        (np.array([["a", "b"]]), "dtype"),
    ],
)
def test_what_is_not_a_label_image_is_refused(function, labels, complaint):
    with pytest.raises(InputError, match=complaint):
        function(labels)


def test_a_fragment_joins_the_neighbor_with_the_longest_border():
    labels = picture("111222 113222 133322")
    # The fragment shares four pairs of pixels with 1 and three with 2; its mirror image, the other way round.
    np.testing.assert_array_equal(merge_fragments(labels, [5]), picture("111222 111222 111122"))
    np.testing.assert_array_equal(merge_fragments(labels[:, ::-1], [5]), picture("111222 111222 112222"))


def test_of_equal_borders_the_object_that_comes_first_wins():
    labels = picture("999555 993355 999555")
    np.testing.assert_array_equal(merge_fragments(labels, [3]), picture("111222 111122 111222"))


def test_objects_are_not_merged_when_as_large_as_the_size():
    labels = picture("1122 1122")
    np.testing.assert_array_equal(merge_fragments(labels, [4]), labels)


def test_a_neighbor_that_is_no_fragment_comes_before_a_longer_border_with_a_fragment():
    labels = picture("111100 111100 020000 023333 022333")
    # Fragment 2 shares one pair of pixels with 1 and three with 3, which is a fragment as well.
    np.testing.assert_array_equal(merge_fragments(labels, [8]), picture("111100 111100 010000 011111 011111"))


def test_a_chain_of_fragments_ends_in_one_object():
    labels = picture("1111234 1111000")
    np.testing.assert_array_equal(merge_fragments(labels, [2]), picture("1111111 1111000"))


def test_two_fragments_that_choose_each_other_become_one_object():
    labels = picture("120333 000333")
    np.testing.assert_array_equal(merge_fragments(labels, [2]), picture("110222 000222"))


def test_sizes_are_taken_in_the_given_order():
    # Upward, 2 joins 1, and both together are large enough to stay; downward, 1 and 2 are fragments at once.
    labels = picture("1112333 1110333 0000333")
    upward = merge_fragments(labels, [2, 7])
    downward = merge_fragments(labels, [7, 2])
    np.testing.assert_array_equal(upward, picture("1111222 1110222 0000222"))
    np.testing.assert_array_equal(downward, picture("1111111 1110111 0000111"))


def test_a_fragment_that_touches_no_object_stays():
    labels = picture("10022 00022 30022")
    np.testing.assert_array_equal(merge_fragments(labels, [5]), picture("10022 00022 30022"))


def test_touching_at_a_corner_is_no_border():
    labels = picture("100 022 022")
    np.testing.assert_array_equal(merge_fragments(labels, [2]), labels)


def test_fragments_merge_along_every_axis_of_a_volume():
    for axis in range(3):
        labels = np.moveaxis(np.array([[[1, 1, 1]], [[1, 1, 1]], [[0, 2, 0]]]), 0, axis)
        assert merge_fragments(labels, [2]).max() == 1


def test_no_size_leaves_labels_as_they_are():
    np.testing.assert_array_equal(merge_fragments(picture("20 13"), []), picture("10 23"))


def test_a_sliver_joins_the_neighbor_with_the_longest_border():
    labels = picture("1111222 1113222 1113222 1113222 1111222")
    # As large as three pixels and one pixel wide; it shares five pairs of pixels with 1, and three with 2.
    np.testing.assert_array_equal(merge_thin(labels, [1.5]), np.where(labels == 3, 1, labels))


def test_with_an_embedding_a_sliver_joins_the_most_alike_neighbor():
    labels = picture("1111222 1113222 1113222 1113222 1111222")
    steps = Postprocess(merge_radii=(1.5,), merge_radii_by="similarity")
    for angle, joined in ((10, 1), (70, 2)):
        embedding = along(labels, [0, 0, 90, angle])
        expected = np.where(labels == 3, joined, labels)
        np.testing.assert_array_equal(merge_thin(labels, [1.5], embedding), expected)
        np.testing.assert_array_equal(steps(labels, embedding), expected)


def test_of_two_slivers_the_merged_one_is_compared_by_all_its_pixels():
    """The thinner one turns the object that it joins towards the other side."""
    labels = np.repeat([1, 1, 1, 1, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4], 14).reshape(14, 14)
    for angle, joined in ((60, 2), (30, 1)):
        embedding = along(labels, [0, 0, angle, 44, 90])
        found = merge_thin(labels, [1.5, 2.5], embedding)
        assert found[0, 0] == 1
        assert found[6, 0] == joined
        assert found.max() == 2


def test_a_sliver_that_is_alike_nothing_joins_the_first_of_its_neighbors():
    labels = picture("1111222 1113222 1113222 1113222 1111222")
    embedding = np.where(labels == 3, 0, along(labels, [0, 0, 0, 0]))
    assert (merge_thin(labels, [1.5], embedding) == np.where(labels == 3, 1, labels)).all()


def test_thin_objects_by_similarity_need_a_fitting_embedding_and_a_known_word():
    labels, steps = picture("12 12"), Postprocess(merge_radii=(2,), merge_radii_by="similarity")
    with pytest.raises(InputError, match="expected floating-point numbers"):
        merge_thin(labels, [2], np.ones((3, 2, 3)))
    with pytest.raises(InputError, match=r"merge_radii_by is 'similarity', but there is no .*to 'border'"):
        steps(labels)
    for word in ("size", None, True, ["border"]):
        with pytest.raises(
            InputError, match=r"postprocess\.merge_radii_by must be one of 'border', 'similarity', got"
        ):
            Postprocess(merge_radii_by=word)


@pytest.mark.parametrize(
    ("settings", "needs"),
    [
        ({}, False),
        ({"merge_radii": (2,)}, False),
        ({"merge_radii_by": "similarity"}, False),
        ({"merge_radii": (2,), "merge_radii_by": "similarity"}, True),
        ({"merge_similarity": 0.5}, True),
    ],
)
def test_steps_say_whether_they_need_the_embedding(settings, needs):
    steps = Postprocess(min_size=3, **settings)
    assert steps.needs_embedding is needs
    assert not steps.without_embedding().needs_embedding
    assert steps.without_embedding().min_size == 3


def test_an_object_as_thick_as_the_radius_stays():
    labels = np.full((15, 15), 2)
    labels[5:10, 5:10] = 1  # its innermost pixel is three pixels from the nearest one outside
    np.testing.assert_array_equal(merge_thin(labels, [3]), relabel(labels))
    assert merge_thin(labels, [3.01]).max() == 1


def test_beyond_the_image_nothing_makes_an_object_thin():
    labels = np.full((3, 12), 1)
    labels[:, 6:] = 2  # two halves of a strip, each six pixels long
    np.testing.assert_array_equal(merge_thin(labels, [6]), labels)
    assert merge_thin(np.ones((2, 2), int), [1e9]).all()


def test_a_thin_plane_of_a_volume_is_thick_where_planes_lie_far_apart():
    labels = np.full((5, 8, 8), 2)
    labels[2] = 1
    assert merge_thin(labels, [2]).max() == 1
    np.testing.assert_array_equal(merge_thin(labels, [2], sampling=(4, 1, 1)), relabel(labels))
    for sampling in ((1, 1), (1, 1, 0), (1, 1, -2), "111", (1, 1, float("nan"))):
        with pytest.raises(
            InputError, match="sampling must be a positive number, or 3 of them, one per axis, got"
        ):
            merge_thin(labels, [2], sampling=sampling)


def test_a_thin_object_that_touches_no_other_stays():
    labels = picture("1110 0000 2222")
    np.testing.assert_array_equal(merge_thin(labels, [9]), labels)


def test_removal_counts_all_pieces_of_an_object_together():
    labels = picture("1010 0020")
    np.testing.assert_array_equal(remove_small(labels, 2), picture("1010 0000"))


def test_a_hole_of_one_object_is_filled():
    labels = picture("111100 101122 111102")
    np.testing.assert_array_equal(fill_holes(labels), picture("111100 111122 111102"))


def test_a_single_object_away_from_the_border_keeps_its_number_and_gets_its_hole_filled():
    plain, ring = picture("00000 01110 01110 00000"), picture("00000 01110 01010 01110 00000")
    np.testing.assert_array_equal(fill_holes(plain), plain)
    np.testing.assert_array_equal(fill_holes(ring), picture("00000 01110 01110 01110 00000"))


def test_a_gap_between_two_objects_stays():
    labels = picture("1122 1002 1122")
    np.testing.assert_array_equal(fill_holes(labels), labels)


def test_a_bay_at_the_image_border_stays():
    labels = picture("111 101 101")
    np.testing.assert_array_equal(fill_holes(labels), labels)


def test_background_that_leaks_through_a_corner_only_is_a_hole():
    labels = picture("11110 10110 11000")
    np.testing.assert_array_equal(fill_holes(labels), picture("11110 11110 11000"))


def test_a_hole_in_a_volume_is_closed_in_all_three_axes():
    labels = np.ones((3, 3, 3), np.int32)
    labels[1, 1, 1] = 0
    assert fill_holes(labels).all()
    tunnel = labels.copy()
    tunnel[2, 1, 1] = 0
    np.testing.assert_array_equal(fill_holes(tunnel), tunnel)


def test_objects_at_the_border_are_cleared_and_the_others_numbered_anew():
    labels = picture("10000 00220 03320 00000")
    np.testing.assert_array_equal(clear_border(labels), picture("00000 00110 02210 00000"))


@pytest.mark.parametrize(
    "sizes", [[-1], [2.0], [True], ["5"], 5, "55", None, [None]], ids=lambda sizes: repr(sizes)
)
def test_sizes_that_are_not_whole_pixels_are_refused(sizes):
    with pytest.raises(InputError, match="sizes"):
        merge_fragments(picture("12"), sizes)
    with pytest.raises(InputError, match="merge_sizes"):
        Postprocess(merge_sizes=sizes)


@pytest.mark.parametrize(
    "radii",
    [[-1], [float("nan")], [float("inf")], [True], ["5"], 5, "55", None],
    ids=lambda radii: repr(radii),
)
def test_radii_that_are_not_finite_numbers_are_refused(radii):
    with pytest.raises(InputError, match="radii must be"):
        merge_thin(picture("12"), radii)
    with pytest.raises(InputError, match="merge_radii"):
        Postprocess(merge_radii=radii)


@pytest.mark.parametrize("size", [-1, 2.5, True, "5", None])
def test_a_least_size_that_is_not_whole_pixels_is_refused(size):
    with pytest.raises(InputError, match="min_size"):
        remove_small(picture("12"), size)
    with pytest.raises(InputError, match="min_size"):
        Postprocess(min_size=size)


@pytest.mark.parametrize("switch", ["fill_holes", "clear_border"])
@pytest.mark.parametrize("value", [1, "yes", None])
def test_switches_that_are_not_bool_are_refused(switch, value):
    with pytest.raises(InputError, match=switch):
        Postprocess(**{switch: value})


def test_sizes_may_be_numpy_integers_and_come_back_as_plain_ones():
    steps = Postprocess(merge_sizes=np.array([5, 9]), min_size=np.int64(3))
    assert steps == Postprocess(merge_sizes=(5, 9), min_size=3)
    assert [type(size) for size in (*steps.merge_sizes, steps.min_size)] == [int, int, int]


def test_settings_survive_a_round_trip_through_json():
    import json

    steps = Postprocess((5, 20, 50), (2.5, 4.0), 25, True, False, 0.75, "similarity")
    assert Postprocess.from_dict(json.loads(json.dumps(steps.to_dict()))) == steps
    assert Postprocess.from_dict({}) == Postprocess()


def along(labels, angles):
    """A two-dimensional embedding in which each label points into a direction, in degrees."""
    turned = np.deg2rad(np.array(angles, float))[labels]
    return np.stack((np.cos(turned), np.sin(turned)))


def test_neighbors_of_like_embeddings_merge_and_others_do_not():
    labels = picture("1122 1122 0033 4433")
    embedding = along(labels, [0, 0, 20, 90, 25])
    np.testing.assert_array_equal(merge_alike(labels, embedding, 0.9), picture("1111 1111 0022 3322"))
    np.testing.assert_array_equal(merge_alike(labels, embedding, 0.95), labels)
    np.testing.assert_array_equal(merge_alike(labels, embedding, -1), picture("1111 1111 0011 1111"))


def test_the_mean_of_merged_objects_decides_about_the_next_one():
    """20 degrees apart each: the ends are 40 apart, and the third is 30 from the mean of the first two."""
    labels = picture("123")
    embedding = along(labels, [0, 0, 20, 40.1])
    assert merge_alike(labels, embedding, np.cos(np.deg2rad(29))).max() == 2
    assert merge_alike(labels, embedding, np.cos(np.deg2rad(31))).max() == 1


def test_merging_by_similarity_needs_a_fitting_embedding_and_a_cosine():
    labels = picture("12 12")
    for embedding in (np.ones((2, 2)), np.ones((3, 2, 3)), np.ones((3, 2, 2), int), np.ones((1, 3, 2, 2))):
        with pytest.raises(InputError, match="expected floating-point numbers"):
            merge_alike(labels, embedding, 0.5)
    for similarity in (1.1, -2, np.nan, "0.5", None, True, [0.5]):
        with pytest.raises(InputError, match=r"^similarity must be a number from -1 to 1, got "):
            merge_alike(labels, np.ones((3, 2, 2)), similarity)
    with pytest.raises(InputError, match="merge_similarity must be a number from -1 to 1, got 2"):
        Postprocess(merge_similarity=2)


def test_similarity_comes_first_of_the_steps_and_needs_the_embedding():
    labels, steps = picture("11233 11233"), Postprocess(min_size=5, merge_similarity=0.9)
    embedding = along(labels, [0, 0, 10, 90])
    np.testing.assert_array_equal(steps(labels, embedding), picture("11100 11100"))
    with pytest.raises(InputError, match=r"merge_similarity is 0\.9, but there is no embedding"):
        steps(labels)


def test_objects_without_pixels_of_length_are_alike_nothing():
    labels = picture("12")
    assert merge_alike(labels, np.zeros((3, 1, 2)), 0.1).max() == 2


def test_without_settings_no_step_is_taken_and_settings_cannot_be_changed():
    steps = Postprocess()
    assert steps.to_dict() == {
        "merge_sizes": [],
        "merge_radii": [],
        "min_size": 0,
        "fill_holes": False,
        "clear_border": False,
        "merge_similarity": None,
        "merge_radii_by": "border",
        "min_confidence": 0.0,
        "noise_floor": 0.0,
    }
    labels = picture("111110 101200 111110")
    np.testing.assert_array_equal(steps(labels), labels)
    with pytest.raises(AttributeError):
        steps.min_size = 5
    assert len({steps, Postprocess((), (), 0, False, False)}) == 1


def test_unknown_settings_are_refused_with_the_valid_ones():
    with pytest.raises(
        InputError, match=r"min_sizes.*merge_sizes.*merge_radii.*min_size.*fill_holes.*clear_border"
    ):
        Postprocess.from_dict({"min_sizes": 3})


# --- confidence -------------------------------------------------------------------------------------------


def test_objects_of_little_confidence_are_removed_whatever_their_numbers():
    labels = np.array([[7, 7, 0, 3], [0, 5, 5, 3]])
    # In ascending order of labels: 3, 5, 7.
    found = remove_uncertain(labels, [0.9, 0.2, 0.5], 0.5)
    np.testing.assert_array_equal(found, [[1, 1, 0, 2], [0, 0, 0, 2]])
    np.testing.assert_array_equal(remove_uncertain(labels, [0.9, 0.2, 0.5]), relabel(labels))


@pytest.mark.parametrize(("count", "stays"), [(5, True), (6, False)])
def test_many_objects_of_little_confidence_are_noise(count, stays, caplog):
    labels = np.arange(count)[np.newaxis] + 1
    found = remove_uncertain(labels, [0.3] * (count - 1) + [0.9], noise_floor=0.4)
    assert found.max() == (count if stays else 0)
    assert ("as in noise" in caplog.text) is not stays


@given(label_images(max_side=6, max_labels=8), st.data())
def test_what_stays_is_what_a_loop_over_the_objects_keeps(labels, data):
    ids = [number for number in np.unique(labels) if number]
    confidence = data.draw(st.lists(st.floats(0, 1), min_size=len(ids), max_size=len(ids)))
    least, floor = data.draw(st.floats(0, 1)), data.draw(st.floats(0, 1))
    noise = len(ids) > 5 and np.median(confidence) < floor
    expected = np.zeros_like(labels)
    for number, value in zip(ids, confidence, strict=True):
        expected[(labels == number) & (value >= least) & (not noise)] = number
    np.testing.assert_array_equal(
        remove_uncertain(labels, confidence, least, noise_floor=floor), relabel(expected)
    )


def test_confidences_must_be_one_per_object():
    with pytest.raises(InputError, match=r"shape \(1,\) for 2 objects"):
        remove_uncertain([[1, 2]], [0.5], 0.5)


def test_settings_of_confidence_need_something_that_measures_it():
    for steps in (Postprocess(min_confidence=0.5), Postprocess(noise_floor=0.5)):
        with pytest.raises(InputError, match="nothing measures confidences"):
            steps([[1, 2]])
        assert steps.without_embedding()([[1, 2]]).tolist() == [[1, 2]]
    found = Postprocess(min_confidence=0.5)(
        [[1, 2]], np.ones((1, 1, 2), np.float32), measure=lambda _: [0.4, 0.6]
    )
    assert found.tolist() == [[0, 1]]


def test_small_objects_go_to_their_neighbors_where_objects_fill_the_space() -> None:
    labels = np.array([[1, 1, 1, 1, 0, 5], [1, 2, 3, 3, 0, 0], [4, 4, 3, 3, 0, 6]])
    steps = Postprocess(min_size=3)
    np.testing.assert_array_equal(steps(labels), [[1, 1, 1, 1, 0, 0], [1, 0, 2, 2, 0, 0], [0, 0, 2, 2, 0, 0]])
    filled = steps(labels, filled=True)
    np.testing.assert_array_equal(filled > 0, (labels > 0) & (labels < 5))  # what has no neighbor goes
    assert filled.max() == 2
    assert (filled[labels == 1] == 1).all()
    assert (filled[labels == 3] == 2).all()
