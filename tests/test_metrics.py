"""Measures of agreement: hand-computed examples, agreement with scikit-image, empty images, hostile input."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pixel_embedded_affinity import metrics
from pixel_embedded_affinity.errors import InputError

pytestmark = pytest.mark.filterwarnings("error")

EMPTY = np.zeros((6, 8), np.int32)

# Truth: 1 has 4 pixels, 2 has 4, 3 has 2. Prediction: 1 is 3 pixels of truth 1 and 1 of background; 2 is
# all of truth 2 and of truth 3; 3 is a false object of 2 pixels; 4 is the last pixel of truth 1.
TRUTH = np.array([[1, 1, 1, 1, 0, 0], [2, 2, 2, 2, 3, 3], [0, 0, 0, 0, 0, 0]])
PREDICTION = np.array([[1, 1, 1, 4, 0, 0], [2, 2, 2, 2, 2, 2], [1, 0, 0, 0, 3, 3]])


def random_labels(seed: int, shape: tuple[int, ...] = (40, 50), count: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, count + 1, shape)


def field(
    seed: int, shape: tuple[int, int] = (520, 696), spacing: int = 40, radius: float = 14
) -> np.ndarray:
    """Disks on a jittered grid, like a field of nuclei."""
    random = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    rows, columns = np.indices(shape)
    grid = [(y, x) for y in range(20, shape[0], spacing) for x in range(20, shape[1], spacing)]
    for label, center in enumerate(grid, start=1):
        y, x = center + random.uniform(-5, 5, 2)
        box = np.s_[max(0, int(y) - 20) : int(y) + 21, max(0, int(x) - 20) : int(x) + 21]
        inside = (rows[box] - y) ** 2 + (columns[box] - x) ** 2 < radius**2
        labels[box][inside] = label
    return labels


def test_contingency_holds_labels_sizes_and_overlaps() -> None:
    table = metrics.Contingency.of(TRUTH, PREDICTION)
    assert table.truth_labels.tolist() == [0, 1, 2, 3]
    assert table.truth_sizes.tolist() == [8, 4, 4, 2]
    assert table.prediction_labels.tolist() == [0, 1, 2, 3, 4]
    assert table.prediction_sizes.tolist() == [5, 4, 6, 2, 1]
    columns = (table.truth_index, table.prediction_index, table.pixels)
    cells = {(t, p): n for t, p, n in np.transpose(columns).tolist()}
    assert cells == {(0, 0): 5, (0, 1): 1, (0, 3): 2, (1, 1): 3, (1, 4): 1, (2, 2): 4, (3, 2): 2}
    assert (table.truth_count, table.prediction_count) == (3, 4)


def test_contingency_lists_background_first_also_where_there_is_none() -> None:
    table = metrics.Contingency.of([[7, 7], [9, 7]], [[3, 3], [3, 0]])
    assert table.truth_labels.tolist() == [0, 7, 9]
    assert table.truth_sizes.tolist() == [0, 3, 1]
    assert table.prediction_labels.tolist() == [0, 3]
    assert table.prediction_sizes.tolist() == [1, 3]


def test_transposed_contingency_is_that_of_exchanged_images() -> None:
    transposed = metrics.Contingency.of(TRUTH, PREDICTION).transposed()
    exchanged = metrics.Contingency.of(PREDICTION, TRUTH)
    cells = [sorted(zip(t.truth_index, t.prediction_index, t.pixels)) for t in (transposed, exchanged)]
    assert cells[0] == cells[1]
    for name in ("truth_labels", "prediction_labels", "truth_sizes", "prediction_sizes"):
        np.testing.assert_array_equal(getattr(transposed, name), getattr(exchanged, name))


def test_best_dice_averages_over_the_objects_of_the_first_image() -> None:
    assert metrics.best_dice(TRUTH, PREDICTION) == pytest.approx((6 / 8 + 8 / 10 + 4 / 8) / 3)
    assert metrics.best_dice(PREDICTION, TRUTH) == pytest.approx((6 / 8 + 8 / 10 + 0 + 2 / 5) / 4)


def test_symmetric_best_dice_is_the_smaller_direction() -> None:
    expected = (6 / 8 + 8 / 10 + 0 + 2 / 5) / 4
    assert metrics.symmetric_best_dice(TRUTH, PREDICTION) == pytest.approx(expected)
    assert metrics.symmetric_best_dice(PREDICTION, TRUTH) == pytest.approx(expected)


def test_difference_in_count_is_positive_for_too_many_objects() -> None:
    assert metrics.difference_in_count(TRUTH, PREDICTION) == 1
    assert metrics.difference_in_count(PREDICTION, TRUTH) == -1


@pytest.mark.parametrize("function", [metrics.dice, metrics.foreground_dice])
def test_dice_compares_foregrounds_and_not_objects(function: Callable[..., float]) -> None:
    assert function(TRUTH, PREDICTION) == pytest.approx(2 * 10 / (10 + 13))
    assert function(TRUTH, (TRUTH > 0).astype(int)) == 1


def test_aggregated_jaccard_index_reuses_predictions_and_adds_unused_ones() -> None:
    # Pairs (1, 1) 3 of 5, (2, 2) 4 of 6, (3, 2) 2 of 6; predictions 3 and 4 are in no pair.
    assert metrics.aggregated_jaccard_index(TRUTH, PREDICTION) == pytest.approx(9 / (17 + 3))


def test_aggregated_jaccard_index_adds_the_size_of_untouched_truth() -> None:
    truth = np.array([[1, 1, 0, 2, 2, 2]])
    assert metrics.aggregated_jaccard_index(truth, np.array([[1, 1, 0, 0, 0, 0]])) == pytest.approx(2 / 5)


def test_aggregated_jaccard_index_of_two_merged_halves_counts_the_merged_object_twice() -> None:
    assert metrics.aggregated_jaccard_index([[1, 1, 2, 2]], [[1, 1, 1, 1]]) == pytest.approx(4 / 8)


def test_aggregated_jaccard_index_averages_over_equally_good_partners() -> None:
    # Predictions 1 and 2 both share 2 of 5 pixels with truth 1; 1 is the only partner of truth 2 (1 of 3).
    # Choosing 1 leaves the 3 pixels of prediction 2 unused, U = 5 + 3 + 3; choosing 2 leaves none, U = 5 + 3.
    truth, prediction = np.array([[0, 1, 1, 1, 1, 2]]), np.array([[2, 2, 2, 1, 1, 1]])
    assert metrics.aggregated_jaccard_index(truth, prediction) == pytest.approx(3 / ((11 + 8) / 2))


def test_f1_panoptic_quality_and_precision_of_the_example() -> None:
    # IoUs 3/5 and 4/6 match, out of 3 true and 4 predicted objects.
    quality = metrics.panoptic_quality(TRUTH, PREDICTION)
    assert quality.detection == metrics.f1_score(TRUTH, PREDICTION) == pytest.approx(4 / 7)
    assert quality.segmentation == pytest.approx((3 / 5 + 4 / 6) / 2)
    assert quality.panoptic == pytest.approx((3 / 5 + 4 / 6) / (2 + 2 / 2 + 1 / 2))
    precisions = metrics.average_precision(TRUTH, PREDICTION, [0.5, 0.65, 0.7])
    np.testing.assert_allclose(precisions, [2 / 5, 1 / 6, 0])


def test_an_iou_that_equals_the_threshold_is_no_match() -> None:
    truth, prediction = np.array([[1, 1, 0, 0]]), np.array([[1, 0, 0, 0]])
    assert metrics.f1_score(truth, prediction) == 0
    assert metrics.f1_score(truth, prediction, threshold=0.49) == 1
    assert metrics.panoptic_quality(truth, prediction) == (0, 0, 0)
    eleven_of_twenty = np.repeat([[1, 0]], [11, 9], axis=1)
    np.testing.assert_array_equal(
        metrics.average_precision(np.ones((1, 20), int), eleven_of_twenty), [1] + 9 * [0]
    )


def test_below_one_half_objects_are_matched_one_to_one_as_often_as_possible() -> None:
    # IoUs: (1, 1) 3/6, (1, 2) 1/4, (2, 1) 2/5. The best pair (1, 1) would leave truth 2 without a partner.
    truth, prediction = np.array([[1, 1, 1, 1, 2, 2]]), np.array([[1, 1, 1, 2, 1, 1]])
    quality = metrics.panoptic_quality(truth, prediction, threshold=0.2)
    assert quality.detection == 1
    assert quality.segmentation == pytest.approx((1 / 4 + 2 / 5) / 2)
    assert metrics.panoptic_quality(truth, prediction, threshold=0.3) == pytest.approx((1 / 4, 1 / 2, 1 / 2))


def test_below_one_half_more_matches_count_more_than_better_ones() -> None:
    # IoUs: (1, 1) 9/11, (1, 2) 1/10, (2, 1) 1/10: the two poor pairs together have the smaller sum.
    truth, prediction = np.array([10 * [1] + [2]]), np.array([9 * [1] + [2, 1]])
    assert metrics.panoptic_quality(truth, prediction, threshold=0.05) == pytest.approx((1 / 10, 1 / 10, 1))


def test_below_one_half_the_greatest_sum_of_ious_decides_between_equally_many_matches() -> None:
    truth, prediction = np.array([[1, 1, 1, 1, 1, 1]]), np.array([[1, 1, 2, 2, 2, 0]])
    quality = metrics.panoptic_quality(truth, prediction, threshold=0.25)
    assert quality == pytest.approx((0.5 * 2 / 3, 0.5, 2 / 3))


def test_variation_of_information_is_in_bits_and_tells_splits_from_merges() -> None:
    one, two = np.ones((2, 4), int), np.repeat([[1, 2]], 4, axis=1).reshape(2, 4)
    assert metrics.variation_of_information(one, two) == (1.0, 0.0)
    assert metrics.variation_of_information(two, one) == (0.0, 1.0)
    assert metrics.variation_of_information(two, one).merge == 1.0


def test_variation_of_information_can_leave_out_the_background_of_the_truth() -> None:
    truth, prediction = np.array([[1, 1, 0, 0]]), np.array([[5, 5, 5, 6]])
    assert metrics.variation_of_information(truth, prediction, ignore_background=True) == (0.0, 0.0)
    assert sum(metrics.variation_of_information(truth, prediction)) > 0.5


def test_adapted_rand_error_of_a_merge_and_of_a_split() -> None:
    # Ordered pairs: 56 in the whole, 12 in each half.
    one, two = np.ones((2, 4), int), np.repeat([[1], [2]], 4, axis=1)
    expected = 1 - 2 * 24 / (24 + 56)
    assert metrics.adapted_rand_error(one, two) == pytest.approx(expected)
    assert metrics.adapted_rand_error(two, one) == pytest.approx(expected)


def test_adapted_rand_error_of_objects_of_one_pixel_is_zero() -> None:
    assert metrics.adapted_rand_error([[1, 2, 0]], [[3, 4, 4]]) == 0
    assert metrics.adapted_rand_error([[1, 2, 0]], [[3, 3, 4]]) == 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", [(40, 50), (5, 12, 9)])
def test_variation_of_information_equals_that_of_scikit_image(seed: int, shape: tuple[int, ...]) -> None:
    from skimage.metrics import variation_of_information

    truth, prediction = random_labels(seed, shape), random_labels(seed + 100, shape, count=7)
    ours = metrics.variation_of_information(truth, prediction)
    np.testing.assert_allclose(ours, variation_of_information(truth, prediction), rtol=1e-10)
    ours = metrics.variation_of_information(truth, prediction, ignore_background=True)
    theirs = variation_of_information(truth, prediction, ignore_labels=(0,))
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", [(40, 50), (5, 12, 9)])
def test_adapted_rand_error_equals_that_of_scikit_image(seed: int, shape: tuple[int, ...]) -> None:
    from skimage.metrics import adapted_rand_error

    truth, prediction = random_labels(seed, shape), random_labels(seed + 100, shape, count=7)
    ours = metrics.adapted_rand_error(truth, prediction)
    assert ours == pytest.approx(adapted_rand_error(truth, prediction)[0], rel=1e-10)


WORST_IS_ZERO = [
    metrics.symmetric_best_dice,
    metrics.best_dice,
    metrics.foreground_dice,
    metrics.dice,
    metrics.aggregated_jaccard_index,
    metrics.f1_score,
]


@pytest.mark.parametrize("function", WORST_IS_ZERO)
def test_empty_images_agree_perfectly_and_one_empty_image_is_worst(function: Callable[..., float]) -> None:
    assert function(EMPTY, EMPTY) == 1
    assert function(EMPTY, EMPTY + 1) == 0
    assert function(EMPTY + 1, EMPTY) == 0


def test_panoptic_quality_and_precision_of_empty_images() -> None:
    assert metrics.panoptic_quality(EMPTY, EMPTY) == (1, 1, 1)
    assert metrics.panoptic_quality(EMPTY, EMPTY + 1) == (0, 0, 0)
    assert metrics.panoptic_quality(EMPTY + 1, EMPTY, threshold=0.2) == (0, 0, 0)
    assert metrics.average_precision(EMPTY, EMPTY).tolist() == 10 * [1]
    assert metrics.average_precision(EMPTY, EMPTY + 1).tolist() == 10 * [0]
    assert metrics.average_precision(EMPTY + 1, EMPTY, [0.1, 0.9]).tolist() == [0, 0]


def test_neuron_measures_of_empty_images() -> None:
    assert metrics.adapted_rand_error(EMPTY, EMPTY) == 0
    assert metrics.adapted_rand_error(EMPTY, EMPTY + 1) == 1
    assert metrics.adapted_rand_error(EMPTY + 1, EMPTY) == 1
    for ignore in (False, True):
        assert metrics.variation_of_information(EMPTY, EMPTY, ignore_background=ignore) == (0, 0)
    halves = EMPTY + np.repeat([1, 2], 4)
    assert metrics.variation_of_information(halves, EMPTY) == (0, 1)
    assert metrics.variation_of_information(EMPTY, halves, ignore_background=True) == (0, 0)


def test_difference_in_count_of_empty_images() -> None:
    assert metrics.difference_in_count(EMPTY, EMPTY) == 0
    assert metrics.difference_in_count(EMPTY, EMPTY + 1) == 1
    assert metrics.difference_in_count(EMPTY + 1, EMPTY) == -1


def test_splits_and_merges_of_neurons_cut_joined_and_missed() -> None:
    truth = np.array([[1, 1, 1, 1, 0, 2, 2, 3, 3, 0, 4]])
    found = np.array([[5, 5, 6, 7, 7, 8, 8, 8, 8, 9, 0]])
    # 1 is in three pieces; 8 joins 2 and 3; 9 lies in the background, and 4 is not found: neither counts.
    assert metrics.splits_and_merges(truth, found) == (2, 1)
    # The other way round, half of 7 is not more than half of it.
    assert metrics.splits_and_merges(found, truth) == (1, 1)
    assert metrics.splits_and_merges(truth, truth) == metrics.splits_and_merges(EMPTY, EMPTY) == (0, 0)


def test_evaluate_gives_the_values_of_the_single_functions() -> None:
    scores = metrics.evaluate(TRUTH, PREDICTION, thresholds=[0.3, 0.5, 0.65], ignore_background=True)
    quality = metrics.panoptic_quality(TRUTH, PREDICTION)
    split, merge = metrics.variation_of_information(TRUTH, PREDICTION, ignore_background=True)
    precisions = metrics.average_precision(TRUTH, PREDICTION, [0.3, 0.5, 0.65])
    assert scores == {
        "symmetric_best_dice": metrics.symmetric_best_dice(TRUTH, PREDICTION),
        "best_dice_truth": metrics.best_dice(TRUTH, PREDICTION),
        "best_dice_prediction": metrics.best_dice(PREDICTION, TRUTH),
        "difference_in_count": 1.0,
        "absolute_difference_in_count": 1.0,
        "foreground_dice": metrics.foreground_dice(TRUTH, PREDICTION),
        "dice": metrics.dice(TRUTH, PREDICTION),
        "aggregated_jaccard_index": metrics.aggregated_jaccard_index(TRUTH, PREDICTION),
        "f1_score": metrics.f1_score(TRUTH, PREDICTION),
        "panoptic_quality": quality.panoptic,
        "segmentation_quality": quality.segmentation,
        "detection_quality": quality.detection,
        "average_precision_0.3": precisions[0],
        "average_precision_0.5": precisions[1],
        "average_precision_0.65": precisions[2],
        "mean_average_precision": precisions.mean(),
        "voi_split": split,
        "voi_merge": merge,
        "voi": split + merge,
        "adapted_rand_error": metrics.adapted_rand_error(TRUTH, PREDICTION),
        "false_splits": metrics.splits_and_merges(TRUTH, PREDICTION).splits,
        "false_merges": metrics.splits_and_merges(TRUTH, PREDICTION).merges,
    }


def test_evaluate_returns_plain_floats_with_default_thresholds() -> None:
    scores = metrics.evaluate(TRUTH, PREDICTION)
    assert all(type(value) is float for value in scores.values())
    names = [name for name in scores if name.startswith("average_precision_")]
    assert names == [f"average_precision_{t}" for t in metrics.THRESHOLDS]


def test_evaluate_of_exchanged_absolute_difference_stays_positive() -> None:
    scores = metrics.evaluate(PREDICTION, TRUTH)
    assert (scores["difference_in_count"], scores["absolute_difference_in_count"]) == (-1, 1)


@pytest.mark.parametrize("truth", [EMPTY, EMPTY + 1])
@pytest.mark.parametrize("prediction", [EMPTY, EMPTY + 1])
def test_evaluate_is_finite_for_empty_images(truth: np.ndarray, prediction: np.ndarray) -> None:
    assert all(math.isfinite(value) for value in metrics.evaluate(truth, prediction).values())


BAD_IMAGES: list[tuple[Any, str]] = [
    (TRUTH.astype(float), "data type float64"),
    (TRUTH > 0, "data type bool"),
    (TRUTH.astype(complex), "data type complex128"),
    (TRUTH.astype(object), "data type object"),
    (TRUTH.astype("m8[s]"), "data type timedelta64"),
    (np.full((3, 6), "1"), "data type <U1"),
    (None, "data type object"),
    (TRUTH - 1, "negative labels, down to -1"),
    (TRUTH.ravel(), "expected 2 or 3 axes"),
    (TRUTH[None, None], "expected 2 or 3 axes"),
    (np.int32(3), "expected 2 or 3 axes"),
    (TRUTH[:0], "no pixel"),
    (np.ma.masked_equal(TRUTH, 2), "masked"),
    ([[1, 2], [3]], "is no array"),
]


@pytest.mark.parametrize(("bad", "message"), BAD_IMAGES)
def test_what_is_no_label_image_is_refused_by_name(bad: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^truth .*{message}"):
        metrics.evaluate(bad, TRUTH)
    with pytest.raises(InputError, match=f"^prediction .*{message}"):
        metrics.symmetric_best_dice(TRUTH, bad)


@pytest.mark.parametrize("shape", [(3, 7), (6, 3), (1, 3, 6)])
def test_different_shapes_are_refused_even_where_they_broadcast(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"truth has shape \(3, 6\), prediction"):
        metrics.evaluate(TRUTH, np.ones(shape, int))


@pytest.mark.parametrize("threshold", [-0.1, 1, 1.5, math.nan, math.inf, "0.5", None, True, 0.5j, [0.5]])
def test_an_impossible_threshold_is_refused(threshold: Any) -> None:
    for function in (metrics.f1_score, metrics.panoptic_quality):
        with pytest.raises(InputError, match="threshold"):
            function(TRUTH, PREDICTION, threshold=threshold)
    with pytest.raises(InputError, match="threshold"):
        metrics.average_precision(TRUTH, PREDICTION, [0.5, threshold])


@pytest.mark.parametrize("thresholds", [[], 0.5, "0.5", None])
def test_thresholds_that_are_no_sequence_are_refused(thresholds: Any) -> None:
    with pytest.raises(InputError, match="thresholds"):
        metrics.evaluate(TRUTH, PREDICTION, thresholds=thresholds)


@pytest.mark.parametrize("dtype", ["u1", "i1", ">i2", "<u4", ">i8", "u8"])
def test_every_integer_type_and_byte_order_gives_the_same_scores(dtype: str) -> None:
    assert metrics.evaluate(TRUTH.astype(dtype), PREDICTION) == metrics.evaluate(TRUTH, PREDICTION)


def test_labels_at_the_end_of_the_range_of_their_type_are_told_apart() -> None:
    truth = np.where(TRUTH > 0, TRUTH.astype(np.uint64) + np.uint64(2**64 - 4), np.uint64(0))
    prediction = np.where(PREDICTION > 0, PREDICTION + (2**63 - 5), 0)
    assert metrics.evaluate(truth, prediction) == metrics.evaluate(TRUTH, PREDICTION)
    assert metrics.Contingency.of(truth, prediction).truth_labels.tolist() == [
        0,
        2**64 - 3,
        2**64 - 2,
        2**64 - 1,
    ]


def test_memory_layout_does_not_matter_and_inputs_stay_as_they_are() -> None:
    reversed_view = np.ascontiguousarray(TRUTH[::-1, ::-1])[::-1, ::-1]
    fortran = np.asfortranarray(PREDICTION)
    before = reversed_view.copy(), fortran.copy()
    reversed_view.flags.writeable = fortran.flags.writeable = False
    assert metrics.evaluate(reversed_view, fortran) == metrics.evaluate(TRUTH, PREDICTION)
    np.testing.assert_array_equal(reversed_view, before[0])
    np.testing.assert_array_equal(fortran, before[1])


def test_lists_and_objects_with_the_array_protocol_are_read() -> None:
    class Lazy:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return PREDICTION

    expected = metrics.evaluate(TRUTH, PREDICTION)
    assert metrics.evaluate(TRUTH.tolist(), Lazy()) == expected
    assert metrics.evaluate(np.ma.masked_array(TRUTH), PREDICTION) == expected


def test_one_pixel_images_are_scored() -> None:
    assert metrics.symmetric_best_dice([[5]], [[7]]) == 1
    assert metrics.evaluate([[[5]]], [[[7]]])["adapted_rand_error"] == 0


def test_sizes_beyond_int32_pairs_do_not_overflow() -> None:
    truth = np.ones((300, 300), np.uint8)
    assert metrics.adapted_rand_error(truth, truth) == 0
    table = metrics.Contingency.of(truth, truth)
    assert table.pixels.dtype == table.truth_sizes.dtype == np.int64


def test_evaluating_a_field_of_nuclei_takes_milliseconds() -> None:
    truth, prediction = field(0), field(1)
    assert metrics.Contingency.of(truth, prediction).truth_count > 200
    times = []
    for _ in range(5):
        start = time.process_time()
        metrics.evaluate(truth, prediction)
        times.append(time.process_time() - start)
    assert min(times) < 0.060


def test_evaluating_does_not_import_torch_or_image_libraries() -> None:
    code = (
        "import sys; from pixel_embedded_affinity import metrics; metrics.evaluate([[1, 0]], [[1, 0]]);"
        "heavy = {'torch', 'skimage', 'scipy'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_scores_raise_no_warnings_on_noise() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.evaluate(random_labels(1), random_labels(2, count=40), thresholds=[0.0, 0.1, 0.4])
