"""Measures of agreement against slow, literal definitions on small images, and their symmetries."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pixel_embedded_affinity import metrics

pytestmark = pytest.mark.filterwarnings("error")

Pair = tuple[np.ndarray, np.ndarray]
few = settings(max_examples=60, deadline=None)


@st.composite
def pairs(draw: st.DrawFn, most: int = 4, side: int = 5) -> Pair:
    """Two label images of one shape, 2D or 3D, with up to `most` objects each and gaps in the numbering."""
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=side))
    values = st.sampled_from([0, *(3 * label - 1 for label in range(1, most + 1))])
    image = hnp.arrays(np.int32, shape, elements=values, fill=st.nothing())
    truth = draw(image)
    if draw(st.booleans()):
        return truth, draw(image)
    # A prediction close to the truth, where matches above one half are common.
    changed = draw(
        hnp.arrays(bool, shape, elements=st.sampled_from([False, False, False, True]), fill=st.nothing())
    )
    return truth, np.where(changed, draw(image), truth)


def masks(labels: np.ndarray) -> list[np.ndarray]:
    return [labels == label for label in sorted(set(labels.ravel().tolist()) - {0})]


def count(mask: np.ndarray) -> int:
    return int(np.count_nonzero(mask))


def iou(a: np.ndarray, b: np.ndarray) -> Fraction:
    return Fraction(count(a & b), count(a | b))


def slow_best_dice(a: np.ndarray, b: np.ndarray) -> Fraction:
    ours, others = masks(a), masks(b)
    if not ours or not others:
        return Fraction(not ours and not others)
    best = [max(Fraction(2 * count(m & n), count(m) + count(n)) for n in others) for m in ours]
    return sum(best, Fraction(0)) / len(best)


def slow_dice(truth: np.ndarray, prediction: np.ndarray) -> Fraction:
    a, b = truth > 0, prediction > 0
    return Fraction(2 * count(a & b), count(a) + count(b)) if a.any() or b.any() else Fraction(1)


def best_partners(truth: np.ndarray, prediction: np.ndarray) -> list[list[int | None]]:
    """For each true object, the indices of all predicted objects of highest IoU; None if it touches none."""
    partners: list[list[int | None]] = []
    for m in masks(truth):
        values = [iou(m, n) for n in masks(prediction)]
        best = max(values, default=Fraction(0))
        partners.append([j for j, value in enumerate(values) if value == best] if best else [None])
    return partners


def slow_aggregated_jaccard_index(truth: np.ndarray, prediction: np.ndarray) -> Fraction:
    ours, others = masks(truth), masks(prediction)
    intersections = unions = 0
    for choice in itertools.product(*best_partners(truth, prediction)):
        for m, j in zip(ours, choice):
            intersections += 0 if j is None else count(m & others[j])
            unions += count(m) if j is None else count(m | others[j])
        unions += sum(count(n) for j, n in enumerate(others) if j not in choice)
    return Fraction(intersections, unions) if unions else Fraction(1)


def matchings(rows: int, columns: int) -> Iterator[list[tuple[int, int]]]:
    """All one-to-one matchings, the empty one included."""
    if rows == 0:
        yield []
        return
    for matching in matchings(rows - 1, columns):
        yield matching
        taken = {column for _, column in matching}
        yield from ([*matching, (rows - 1, column)] for column in range(columns) if column not in taken)


def slow_matches(truth: np.ndarray, prediction: np.ndarray, threshold: float) -> tuple[int, Fraction]:
    """Number of matches and sum of their IoUs, of the best of all matchings."""
    table = [[iou(m, n) for n in masks(prediction)] for m in masks(truth)]
    limit = Fraction(str(threshold))
    return max(
        (len(matching), sum((table[i][j] for i, j in matching), Fraction(0)))
        for matching in matchings(len(table), len(masks(prediction)))
        if all(table[i][j] > limit for i, j in matching)
    )


def slow_entropies(truth: np.ndarray, prediction: np.ndarray, counted: np.ndarray) -> tuple[float, float]:
    """H(prediction | truth) and H(truth | prediction) in bits, from joint minus marginal entropies."""

    def entropy(keys: list[object]) -> float:
        shares = [keys.count(key) / len(keys) for key in set(keys)]
        return -sum(share * math.log2(share) for share in shares)

    a, b = truth[counted].tolist(), prediction[counted].tolist()
    joint = entropy(list(zip(a, b)))
    return joint - entropy(a), joint - entropy(b)


def slow_adapted_rand_error(truth: np.ndarray, prediction: np.ndarray) -> Fraction:
    counted = truth > 0
    if not counted.any() or not prediction.any():
        return Fraction(bool(counted.any() or prediction.any()))
    pixels = list(zip(truth[counted].tolist(), prediction[counted].tolist()))
    together = [(a == c, b == d) for (a, b), (c, d) in itertools.combinations(pixels, 2)]
    in_truth, in_prediction = sum(t for t, _ in together), sum(p for _, p in together)
    both = sum(t and p for t, p in together)
    return 1 - Fraction(2 * both, in_truth + in_prediction) if in_truth + in_prediction else Fraction(0)


def close(value: object) -> object:
    return pytest.approx(value, rel=1e-9, abs=1e-9)


@few
@given(pairs())
def test_best_dice_is_the_mean_of_the_best_dice_of_masks(pair: Pair) -> None:
    a, b = pair
    forward, backward = slow_best_dice(a, b), slow_best_dice(b, a)
    assert metrics.best_dice(a, b) == close(float(forward))
    assert metrics.symmetric_best_dice(a, b) == close(float(min(forward, backward)))


@few
@given(pairs())
def test_dice_is_that_of_foreground_masks(pair: Pair) -> None:
    assert metrics.dice(*pair) == metrics.foreground_dice(*pair) == close(float(slow_dice(*pair)))


@few
@given(pairs())
def test_difference_in_count_counts_masks(pair: Pair) -> None:
    assert metrics.difference_in_count(*pair) == len(masks(pair[1])) - len(masks(pair[0]))


@settings(max_examples=100, deadline=None)
@given(pairs(side=4))
def test_aggregated_jaccard_index_is_that_of_all_choices_of_partners(pair: Pair) -> None:
    assert metrics.aggregated_jaccard_index(*pair) == close(float(slow_aggregated_jaccard_index(*pair)))


@settings(max_examples=100, deadline=None)
@given(pairs(), st.sampled_from([0, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 0.95]))
def test_matching_measures_are_those_of_the_best_of_all_matchings(pair: Pair, threshold: float) -> None:
    matched, total = slow_matches(*pair, threshold)
    objects = len(masks(pair[0])) + len(masks(pair[1]))
    quality = metrics.panoptic_quality(*pair, threshold=threshold)
    assert quality.detection == metrics.f1_score(*pair, threshold=threshold)
    assert quality.detection == close(2 * matched / objects if objects else 1)
    assert quality.segmentation == close(float(total / matched) if matched else float(objects == 0))
    assert quality.panoptic == close(float(2 * total / objects) if objects else 1)
    precision = metrics.average_precision(*pair, [threshold])
    assert precision.tolist() == [close(matched / (objects - matched) if objects else 1)]


@few
@given(pairs(), st.booleans())
def test_variation_of_information_is_the_two_conditional_entropies(pair: Pair, ignore: bool) -> None:
    counted = pair[0] > 0 if ignore else np.ones(pair[0].shape, bool)
    expected = slow_entropies(*pair, counted) if counted.any() else (0, 0)
    assert metrics.variation_of_information(*pair, ignore_background=ignore) == close(expected)


@few
@given(pairs(side=4))
def test_adapted_rand_error_counts_pairs_of_pixels(pair: Pair) -> None:
    assert metrics.adapted_rand_error(*pair) == close(float(slow_adapted_rand_error(*pair)))


def slow_splits(whole: np.ndarray, parts: np.ndarray) -> int:
    """Parts, but for the first, of which more than half lies in the same whole."""
    homes = [
        j
        for n in masks(parts)
        for j, m in enumerate(masks(whole))
        if Fraction(count(m & n), count(n)) > 1 / 2
    ]
    return len(homes) - len(set(homes))


@few
@given(pairs(most=6))
def test_splits_and_merges_are_counted_object_by_object(pair: Pair) -> None:
    truth, prediction = pair[0], np.where(pair[0] > 0, pair[1], 0)
    assert metrics.splits_and_merges(*pair) == (
        slow_splits(truth, prediction),
        slow_splits(prediction, truth),
    )


@few
@given(pairs(most=6), st.permutations(range(1, 18)), st.permutations(range(1, 18)))
def test_scores_do_not_depend_on_the_numbering(pair: Pair, first: list[int], second: list[int]) -> None:
    renumbered = [np.array([0, *numbers])[labels] for numbers, labels in zip((first, second), pair)]
    expected = metrics.evaluate(*pair, thresholds=[0.1, 0.5])
    assert metrics.evaluate(*renumbered, thresholds=[0.1, 0.5]) == close(expected)


@few
@given(pairs(most=6), st.data())
def test_scores_do_not_depend_on_flips_and_axis_order(pair: Pair, data: st.DataObject) -> None:
    ndim = pair[0].ndim
    flips = tuple(slice(None, None, data.draw(st.sampled_from([1, -1]))) for _ in range(ndim))
    order = data.draw(st.permutations(range(ndim)))
    moved = [labels[flips].transpose(order) for labels in pair]
    assert metrics.evaluate(*moved, thresholds=[0.1, 0.5]) == close(
        metrics.evaluate(*pair, thresholds=[0.1, 0.5])
    )


@few
@given(pairs(most=6))
def test_an_image_agrees_perfectly_with_itself(pair: Pair) -> None:
    worst_at_zero = {"difference_in_count", "absolute_difference_in_count", "voi_split", "voi_merge", "voi"}
    worst_at_zero |= {"adapted_rand_error", "false_splits", "false_merges"}
    for name, value in metrics.evaluate(pair[0], pair[0]).items():
        assert value == (0 if name in worst_at_zero else 1), name


@few
@given(pairs(most=6))
def test_scores_stay_in_their_range(pair: Pair) -> None:
    unbounded = {"difference_in_count", "absolute_difference_in_count", "voi_split", "voi_merge", "voi"}
    unbounded |= {"false_splits", "false_merges"}
    scores = metrics.evaluate(*pair)
    assert all(0 <= value <= 1 for name, value in scores.items() if name not in unbounded)
    assert all(0 <= scores[name] <= math.log2(pair[0].size) + 1e-9 for name in ("voi_split", "voi_merge"))
    assert scores["panoptic_quality"] <= scores["detection_quality"]


@few
@given(pairs(most=6))
def test_symmetric_measures_are_symmetric(pair: Pair) -> None:
    forward, backward = metrics.evaluate(*pair), metrics.evaluate(*pair[::-1])
    for name in (
        "symmetric_best_dice",
        "dice",
        "f1_score",
        "panoptic_quality",
        "mean_average_precision",
        "voi",
    ):
        assert forward[name] == close(backward[name])
    assert forward["voi_split"] == close(backward["voi_merge"])
    assert forward["difference_in_count"] == -backward["difference_in_count"]


@few
@given(pairs(most=6))
def test_average_precision_falls_with_the_threshold(pair: Pair) -> None:
    precisions = metrics.average_precision(*pair, [0, 0.2, 0.4, *metrics.THRESHOLDS])
    assert (np.diff(precisions) <= 0).all()


@few
@given(pairs(most=6))
def test_contingency_accounts_for_every_pixel(pair: Pair) -> None:
    table = metrics.Contingency.of(*pair)
    dense = np.zeros((len(table.truth_labels), len(table.prediction_labels)), int)
    dense[table.truth_index, table.prediction_index] = table.pixels
    expected = [
        [count((pair[0] == a) & (pair[1] == b)) for b in table.prediction_labels] for a in table.truth_labels
    ]
    assert dense.tolist() == expected
    assert (table.pixels > 0).all()
    assert dense.sum(1).tolist() == table.truth_sizes.tolist()
    assert dense.sum(0).tolist() == table.prediction_sizes.tolist()
