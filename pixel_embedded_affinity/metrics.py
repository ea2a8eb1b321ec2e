"""How well predicted labels agree with the truth: the measures of leaf, nucleus and neuron segmentation.

All measures take ``(truth, prediction)`` in this order: two label images of one shape, 2D or 3D, integers, 0
for background. All follow from one sparse contingency table, `Contingency`; `evaluate` computes all of them from one
table. No measure depends on how objects are numbered or on the orientation of the images.

Unless a function says otherwise, two images without objects agree perfectly, and the score is the worst one if only
one of them has objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import number

LabelArray = npt.NDArray[np.integer]
Counts = npt.NDArray[np.int64]
Indices = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]

# Literals: computed multiples of 0.05 have rounding errors, which matter where an IoU equals a threshold.
THRESHOLDS: tuple[float, ...] = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


class PanopticQuality(NamedTuple):
    """Panoptic quality and its two factors, each in [0, 1]; see `panoptic_quality`."""

    panoptic: float
    segmentation: float
    detection: float


class VariationOfInformation(NamedTuple):
    """The two halves of the variation of information, in bits; see `variation_of_information`."""

    split: float
    merge: float


class SplitsAndMerges(NamedTuple):
    """How often objects are falsely split, and falsely merged; see `splits_and_merges`."""

    splits: int
    merges: int


@dataclass(frozen=True, eq=False)
class Contingency:
    """How many pixels each label of the truth shares with each label of the prediction, without empty cells.

    Index 0 is the background on both sides, also if an image has none (its size is then 0). Objects follow in the
    order of their labels.

    Attributes
    ----------
    truth_labels, prediction_labels : (T,), (P,) integer ndarray
        The labels, ascending, 0 first; in the data type of the images.
    truth_sizes, prediction_sizes : (T,), (P,) int64 ndarray
        Pixels of each label.
    truth_index, prediction_index : (N,) intp ndarray
        The two labels of each cell that is not empty, as indices into the arrays above.
    pixels : (N,) int64 ndarray
        Pixels of each of these cells; their sum is the number of pixels of the image.
    """

    truth_labels: LabelArray
    prediction_labels: LabelArray
    truth_sizes: Counts
    prediction_sizes: Counts
    truth_index: Indices
    prediction_index: Indices
    pixels: Counts

    @classmethod
    def of(cls, truth: npt.ArrayLike, prediction: npt.ArrayLike) -> Contingency:
        """Build the table of two label images.

        Parameters
        ----------
        truth, prediction : (Y, X) or (Z, Y, X) integer array-like
            Label images of one shape, 0 is background. Labels need not be consecutive. Not modified.

        Returns
        -------
        Contingency

        Raises
        ------
        InputError
            If an image has no integer data type, negative labels, masked entries, no pixel, or is neither 2D
            nor 3D, or if the shapes differ.
        """
        truth_image, prediction_image = _label_image(truth, "truth"), _label_image(prediction, "prediction")
        if truth_image.shape != prediction_image.shape:
            shapes = f"truth has shape {truth_image.shape}, prediction {prediction_image.shape}"
            raise InputError(f"{shapes}; expected one shape; crop or pad one of them")
        truth_runs, prediction_runs, lengths = _runs(truth_image.ravel(), prediction_image.ravel())
        truth_labels, truth_index = _indexed(truth_runs)
        prediction_labels, prediction_index = _indexed(prediction_runs)
        codes = truth_index * len(prediction_labels) + prediction_index
        cells, cell_of_run = np.unique(codes, return_inverse=True)
        return cls(
            truth_labels=truth_labels,
            prediction_labels=prediction_labels,
            truth_sizes=_summed(lengths, truth_index, len(truth_labels)),
            prediction_sizes=_summed(lengths, prediction_index, len(prediction_labels)),
            truth_index=cells // len(prediction_labels),
            prediction_index=cells % len(prediction_labels),
            pixels=_summed(lengths, cell_of_run, len(cells)),
        )

    @property
    def truth_count(self) -> int:
        """Number of objects of the truth."""
        return len(self.truth_labels) - 1

    @property
    def prediction_count(self) -> int:
        """Number of objects of the prediction."""
        return len(self.prediction_labels) - 1

    def transposed(self) -> Contingency:
        """Return the table with the two images exchanged."""
        return Contingency(
            truth_labels=self.prediction_labels,
            prediction_labels=self.truth_labels,
            truth_sizes=self.prediction_sizes,
            prediction_sizes=self.truth_sizes,
            truth_index=self.prediction_index,
            prediction_index=self.truth_index,
            pixels=self.pixels,
        )


def best_dice(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Best Dice of `a` with respect to `b`: how well the best object of `b` covers each object of `a`.

    The mean, over the objects ``i`` of `a`, of the largest ``2 |a_i & b_j| / (|a_i| + |b_j|)`` over the
    objects ``j`` of `b` (Scharr et al. 2016 [1]_, equation of BD). An object of `b` may be the best partner
    of several. Background is no object.

    Parameters
    ----------
    a, b : (Y, X) or (Z, Y, X) integer array-like
        Label images of one shape, 0 is background. The measure is not symmetric.

    Returns
    -------
    float
        In [0, 1]; 1 if both have no object, 0 if one has none.

    Raises
    ------
    InputError
        See `Contingency.of`.

    References
    ----------
    .. [1] H. Scharr et al., "Leaf segmentation in plant phenotyping: a collation study", Machine Vision and
           Applications 27, 585-606, 2016. doi:10.1007/s00138-015-0737-3
    """
    return _best_dice(Contingency.of(a, b))


def symmetric_best_dice(truth: npt.ArrayLike, prediction: npt.ArrayLike) -> float:
    """Symmetric best Dice (SBD): the smaller of the two `best_dice` directions (Scharr et al. 2016).

    ``min(best_dice(truth, prediction), best_dice(prediction, truth))``. Figures that take the maximum instead
    are higher, and cannot be compared.

    Parameters
    ----------
    truth, prediction : (Y, X) or (Z, Y, X) integer array-like
        Label images of one shape, 0 is background.

    Returns
    -------
    float
        In [0, 1]; 1 if both have no object, 0 if one has none.

    Raises
    ------
    InputError
        See `Contingency.of`.
    """
    table = Contingency.of(truth, prediction)
    return min(_best_dice(table), _best_dice(table.transposed()))


def difference_in_count(truth: npt.ArrayLike, prediction: npt.ArrayLike) -> int:
    """Difference in count (DiC): predicted objects minus true objects (Scharr et al. 2016, see `best_dice`).

    Positive if there are too many. Tables usually give the mean of its absolute value over images.

    Parameters
    ----------
    truth, prediction : (Y, X) or (Z, Y, X) integer array-like
        Label images of one shape, 0 is background.

    Returns
    -------
    int
        0 is best. Images without objects count as 0 objects, with no exception.

    Raises
    ------
    InputError
        See `Contingency.of`.
    """
    return _difference_in_count(Contingency.of(truth, prediction))


def foreground_dice(truth: npt.ArrayLike, prediction: npt.ArrayLike) -> float:
    """Foreground Dice (FG-Dice, FBD): Dice coefficient of the two foregrounds, without telling objects apart.

    ``2 |T & P| / (|T| + |P|)`` with ``T = truth > 0`` and ``P = prediction > 0``; Scharr et al. 2016
    call it FBD, see `best_dice`.

    Parameters
    ----------
    truth, prediction : (Y, X) or (Z, Y, X) integer array-like
        Label images of one shape, 0 is background.

    Returns
    -------
    float
        In [0, 1]; 1 if both have no object, 0 if one has none.

    Raises
    ------
    InputError
        See `Contingency.of`.
    """
    return _foreground_dice(Contingency.of(truth, prediction))


def dice(truth: npt.ArrayLike, prediction: npt.ArrayLike) -> float:
    """Dice as the BBBC039 tables give it: the F1 score of foreground pixels, the same as `foreground_dice`.

    It is neither the mean Dice of matched objects nor the "ensemble Dice" of histology challenges.

    Parameters
    ----------
    truth, prediction : (Y, X) or (Z, Y, X) integer array-like
        Label images of one shape, 0 is background.

    Returns
    -------
    float
        In [0, 1]; 1 if both have no object, 0 if one has none.

    Raises
    ------
    InputError
        See `Contingency.of`.
    """
    return foreground_dice(truth, prediction)


def aggregated_jaccard_index(truth: npt.ArrayLike, prediction: npt.ArrayLike) -> float:
    """Aggregated Jaccard index (AJI) of Kumar et al. 2017 [1]_, in the form of Algorithm 1 of that paper.

    Each object of the truth is matched with the predicted object of highest IoU. The index is ``C / U``, where
    ``C`` sums the intersections of these matches, and ``U`` their unions plus the sizes of all predicted objects
    without a match. A predicted object may have several matches, and counts in each. An object of the truth that
    touches no predicted object adds its own size to ``U``.

    Parameters
    ----------
    truth, prediction : (Y, X) or (Z, Y, X) integer array-like
        Label images of one shape, 0 is background.

    Returns
    -------
    float
        In [0, 1]; 1 if both have no object, 0 if one has none.

    Raises
    ------
    InputError
        See `Contingency.of`.

    Notes
    -----
    Two variants in circulation differ where a predicted object is the best partner of several true ones. Some
    scripts remove a predicted object once it is used: the score then depends on the order of the objects, and is
    lower for merged objects. AJI+ matches one to one by optimal assignment.

    The paper does not say which of several predicted objects of equal, highest IoU to take. Taking the first would
    make the score depend on the numbering, so ``C`` and ``U`` are both averaged over all choices.

    References
    ----------
    .. [1] N. Kumar et al., "A dataset and a technique for generalized nuclear segmentation for computational
           pathology", IEEE Transactions on Medical Imaging 36, 1550-1560, 2017. doi:10.1109/TMI.2017.2677499
    """
    return _aggregated_jaccard_index(Contingency.of(truth, prediction))


def f1_score(truth: npt.ArrayLike, prediction: npt.ArrayLike, *, threshold: float = 0.5) -> float:
    """F1 score of detected objects, ``2 TP / (2 TP + FP + FN)`` (for example Caicedo et al. 2019 [1]_).

    TP is the number of matches, FP of predicted and FN of true objects without a match. Two objects may match if
    their IoU is strictly greater than `threshold`. From 0.5 on, an object can match only one other. Below 0.5,
    objects are matched one to one, with as many matches as possible, and then with the greatest sum of IoUs.

    Parameters
    ----------
    truth, prediction : (Y, X) or (Z, Y, X) integer array-like
        Label images of one shape, 0 is background.
    threshold : float
        IoU that a match must exceed, at least 0 and below 1. Thresholds below 0.5 need SciPy.

    Returns
    -------
    float
        In [0, 1]; 1 if both have no object, 0 if one has none.

    Raises
    ------
    InputError
        See `Contingency.of`; or if `threshold` is not a number in [0, 1).

    References
    ----------
    .. [1] J. C. Caicedo et al., "Evaluation of deep learning strategies for nucleus segmentation in
           fluorescence images", Cytometry Part A 95, 952-965, 2019. doi:10.1002/cyto.a.23863
    """
    return _panoptic_quality(Contingency.of(truth, prediction), _checked_threshold(threshold)).detection


def panoptic_quality(
    truth: npt.ArrayLike, prediction: npt.ArrayLike, *, threshold: float = 0.5
) -> PanopticQuality:
    """Panoptic quality (PQ) of Kirillov et al. 2019 [1]_ for one class of objects: ``PQ = SQ * DQ``.

    SQ, the segmentation quality, is the mean IoU of the matches; DQ, the detection quality (RQ in the paper), is
    the `f1_score`, which says which objects match.

    Parameters
    ----------
    truth, prediction : (Y, X) or (Z, Y, X) integer array-like
        Label images of one shape, 0 is background.
    threshold : float
        IoU that a match must exceed, at least 0 and below 1. The paper's PQ has 0.5.

    Returns
    -------
    PanopticQuality
        ``(panoptic, segmentation, detection)``, each in [0, 1]; all 1 if both have no object, all 0 if there
        is no match.

    Raises
    ------
    InputError
        See `Contingency.of`; or if `threshold` is not a number in [0, 1).

    References
    ----------
    .. [1] A. Kirillov et al., "Panoptic segmentation", CVPR 2019, 9404-9413. doi:10.1109/CVPR.2019.00963
    """
    return _panoptic_quality(Contingency.of(truth, prediction), _checked_threshold(threshold))


def average_precision(
    truth: npt.ArrayLike, prediction: npt.ArrayLike, thresholds: Sequence[float] = THRESHOLDS
) -> Floats:
    """Average precision (AP) at IoU thresholds, ``TP / (TP + FP + FN)``.

    The nucleus segmentation literature defines it so (Caicedo et al. 2019 [1]_; StarDist, Cellpose); elsewhere it is
    called threat score or accuracy. It is not the area under a precision-recall curve. Objects match if their IoU is
    strictly greater than the threshold (StarDist also takes equality); see `f1_score`.

    Parameters
    ----------
    truth, prediction : (Y, X) or (Z, Y, X) integer array-like
        Label images of one shape, 0 is background.
    thresholds : sequence of float
        IoUs that a match must exceed, each at least 0 and below 1. Default: 0.5, 0.55, ..., 0.95.

    Returns
    -------
    (len(thresholds),) float64 ndarray
        In [0, 1]; 1 if both have no object, 0 if one has none. One value per threshold, in the given order.

    Raises
    ------
    InputError
        See `Contingency.of`; or if `thresholds` is empty or holds anything but numbers in [0, 1).

    References
    ----------
    .. [1] J. C. Caicedo et al., "Evaluation of deep learning strategies for nucleus segmentation in
           fluorescence images", Cytometry Part A 95, 952-965, 2019. doi:10.1002/cyto.a.23863
    """
    return _average_precision(Contingency.of(truth, prediction), _checked_thresholds(thresholds))


def variation_of_information(
    truth: npt.ArrayLike, prediction: npt.ArrayLike, *, ignore_background: bool = False
) -> VariationOfInformation:
    """Variation of information (VOI) in bits, as its two halves (Meila 2007 [1]_).

    ``split = H(prediction | truth)`` grows with false splits, ``merge = H(truth | prediction)`` with false
    merges; their sum is the VOI. Logarithms are to base 2, and the halves are in the order of
    ``skimage.metrics.variation_of_information``, with which the values agree. Background is one more segment.

    Parameters
    ----------
    truth, prediction : (Y, X) or (Z, Y, X) integer array-like
        Label images of one shape, 0 is background.
    ignore_background : bool
        Leave out the pixels that are background in the truth, as is usual for neurons (scikit-image's
        ``ignore_labels=(0,)``). Background of the prediction stays one more segment.

    Returns
    -------
    VariationOfInformation
        ``(split, merge)``, each 0 at best and at most log2 of the number of pixels.

    Raises
    ------
    InputError
        See `Contingency.of`.

    Notes
    -----
    An image without objects is a single segment and has no special value here: with `ignore_background`, it
    is perfect against a truth of one object. If no pixel is left to count, both halves are 0.

    References
    ----------
    .. [1] M. Meila, "Comparing clusterings: an information based distance", Journal of Multivariate Analysis
           98, 873-895, 2007. doi:10.1016/j.jmva.2006.11.013
    """
    return _variation_of_information(Contingency.of(truth, prediction), ignore_background)


def adapted_rand_error(truth: npt.ArrayLike, prediction: npt.ArrayLike) -> float:
    """Adapted Rand error (ARAND) of the SNEMI3D and CREMI challenges (Arganda-Carreras et al. 2015 [1]_).

    One minus the F-score of pixel pairs: of all pairs of distinct pixels within the truth's foreground, ``1 -
    2 B / (T + P)``, where ``T`` are in one segment in the truth, ``P`` in the prediction, ``B`` in both.
    Pixels that are background in the truth are left out; background of the prediction is one more segment.
    The values agree with ``skimage.metrics.adapted_rand_error``.

    Parameters
    ----------
    truth, prediction : (Y, X) or (Z, Y, X) integer array-like
        Label images of one shape, 0 is background.

    Returns
    -------
    float
        In [0, 1], 0 is best; 0 if both have no object, 1 if one has none.

    Raises
    ------
    InputError
        See `Contingency.of`.

    Notes
    -----
    The value of 1 for a prediction without objects is a convention of this function (scikit-image sees one
    segment). If neither image has two pixels in one segment, where scikit-image gives NaN, the error is 0.
    The original script of the challenges treats each background pixel of the prediction as a segment of its own,
    and counts pairs of a pixel with itself, which matters little for segments of many pixels.

    References
    ----------
    .. [1] I. Arganda-Carreras et al., "Crowdsourcing the creation of image segmentation algorithms for
           connectomics", Frontiers in Neuroanatomy 9, 142, 2015. doi:10.3389/fnana.2015.00142
    """
    return _adapted_rand_error(Contingency.of(truth, prediction))


def splits_and_merges(truth: npt.ArrayLike, prediction: npt.ArrayLike) -> SplitsAndMerges:
    """Count how often true objects are split, and how often they are merged.

    A predicted object belongs to the true object that holds more than half of it. A true object to which n predicted
    objects belong has n - 1 splits. In the same way, a predicted object that holds more than half of each of n true
    objects has n - 1 merges. Pixels that are background in the truth are left out.

    Parameters
    ----------
    truth, prediction : (Y, X) or (Z, Y, X) integer array-like
        Label images of one shape, 0 is background.

    Returns
    -------
    SplitsAndMerges
        ``(splits, merges)``, summed over the objects, each 0 at best.

    Raises
    ------
    InputError
        See `Contingency.of`.
    """
    return _splits_and_merges(Contingency.of(truth, prediction))


def evaluate(
    truth: npt.ArrayLike,
    prediction: npt.ArrayLike,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    ignore_background: bool = False,
) -> dict[str, float]:
    """Compute all measures from one contingency table.

    Parameters
    ----------
    truth, prediction : (Y, X) or (Z, Y, X) integer array-like
        Label images of one shape, 0 is background. Not modified.
    thresholds : sequence of float
        IoU thresholds of `average_precision`.
    ignore_background : bool
        Passed to `variation_of_information`.

    Returns
    -------
    dict of str to float
        ``symmetric_best_dice``, ``best_dice_truth`` (mean over true objects), ``best_dice_prediction`` (mean
        over predicted objects), ``difference_in_count``, ``absolute_difference_in_count``,
        ``foreground_dice``, ``dice``, ``aggregated_jaccard_index``, ``f1_score``, ``panoptic_quality``,
        ``segmentation_quality``, ``detection_quality`` (these four at IoU 0.5), ``average_precision_T`` for
        each threshold ``T``, ``mean_average_precision`` (over the thresholds), ``voi_split``, ``voi_merge``,
        ``voi`` (their sum), ``adapted_rand_error``, ``false_splits``, ``false_merges`` (see `splits_and_merges`). The
        function of the same name defines each of the others.

    Raises
    ------
    InputError
        See `Contingency.of` and `average_precision`.
    """
    limits = _checked_thresholds(thresholds)
    table = Contingency.of(truth, prediction)
    return _leaf_scores(table) | _nucleus_scores(table, limits) | _neuron_scores(table, ignore_background)


def _leaf_scores(table: Contingency) -> dict[str, float]:
    of_truth, of_prediction = _best_dice(table), _best_dice(table.transposed())
    surplus = float(_difference_in_count(table))
    return {
        "symmetric_best_dice": min(of_truth, of_prediction),
        "best_dice_truth": of_truth,
        "best_dice_prediction": of_prediction,
        "difference_in_count": surplus,
        "absolute_difference_in_count": abs(surplus),
        "foreground_dice": _foreground_dice(table),
    }


def _nucleus_scores(table: Contingency, thresholds: tuple[float, ...]) -> dict[str, float]:
    quality = _panoptic_quality(table, 0.5)
    precisions = _average_precision(table, thresholds)
    return {
        "dice": _foreground_dice(table),
        "aggregated_jaccard_index": _aggregated_jaccard_index(table),
        "f1_score": quality.detection,
        "panoptic_quality": quality.panoptic,
        "segmentation_quality": quality.segmentation,
        "detection_quality": quality.detection,
        **{f"average_precision_{t}": float(value) for t, value in zip(thresholds, precisions)},
        "mean_average_precision": float(precisions.mean()),
    }


def _neuron_scores(table: Contingency, ignore_background: bool) -> dict[str, float]:
    information, counts = _variation_of_information(table, ignore_background), _splits_and_merges(table)
    return {
        "voi_split": information.split,
        "voi_merge": information.merge,
        "voi": information.split + information.merge,
        "adapted_rand_error": _adapted_rand_error(table),
        "false_splits": float(counts.splits),
        "false_merges": float(counts.merges),
    }


def _label_image(labels: npt.ArrayLike, name: str) -> LabelArray:
    """Check one label image; `name` is the argument that the error message blames."""
    if np.ma.is_masked(labels):
        raise InputError(f"{name} has masked entries; fill them, with 0 for background, before comparing")
    try:
        image = np.asarray(labels)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is no array: {error}; pass a NumPy array of labels") from error
    if image.dtype.kind not in "iu":
        raise InputError(f"{name} has data type {image.dtype}, expected integers; use astype(np.int32)")
    if image.ndim not in (2, 3):
        raise InputError(f"{name} has shape {image.shape}, expected 2 or 3 axes; remove or index the others")
    if image.size == 0:
        raise InputError(f"{name} has shape {image.shape}, which holds no pixel; nothing can be compared")
    if image.min() < 0:
        raise InputError(f"{name} has negative labels, down to {image.min()}; expected 0 for background")
    return image


def _runs(truth: LabelArray, prediction: LabelArray) -> tuple[LabelArray, LabelArray, Counts]:
    """Collapse runs of pixels with the same two labels; label images have few, so sorting them is cheap."""
    changes = (truth[1:] != truth[:-1]) | (prediction[1:] != prediction[:-1])
    starts = np.concatenate(([0], np.flatnonzero(changes) + 1))
    lengths = np.diff(starts, append=truth.size)
    return truth[starts], prediction[starts], lengths


def _indexed(labels: LabelArray) -> tuple[LabelArray, Indices]:
    """Distinct labels with 0 always first, and the position of each label among them."""
    # A zero of the same type: mixing int64 and uint64 would give floats.
    with_background = np.concatenate((np.zeros(1, labels.dtype), labels))
    distinct, index = np.unique(with_background, return_inverse=True)
    return distinct, index[1:]


def _summed(values: Counts, index: Indices, length: int) -> Counts:
    """Sum of the values at each index; bincount adds in float64, which is exact up to 2**53 pixels."""
    return np.bincount(index, weights=values, minlength=length).astype(np.int64)


def _object_pairs(table: Contingency) -> tuple[Indices, Indices, Counts, Counts]:
    """Objects that share pixels: their indices in truth and prediction, pixels of intersection and of union."""
    objects = (table.truth_index > 0) & (table.prediction_index > 0)
    t, p, shared = table.truth_index[objects], table.prediction_index[objects], table.pixels[objects]
    return t, p, shared, table.truth_sizes[t] + table.prediction_sizes[p] - shared


def _ratio(part: float, whole: float) -> float:
    """Share of a whole; 1 if the whole is empty, since then both images are empty and agree."""
    return float(part / whole) if whole else 1.0


def _best_dice(table: Contingency) -> float:
    t, _, shared, union = _object_pairs(table)
    best = np.zeros(table.truth_count + 1)
    np.maximum.at(best, t, 2 * shared / (shared + union))
    if table.truth_count == 0:
        return float(table.prediction_count == 0)
    return float(best[1:].mean())


def _difference_in_count(table: Contingency) -> int:
    return table.prediction_count - table.truth_count


def _foreground_dice(table: Contingency) -> float:
    shared = _object_pairs(table)[2].sum()
    return _ratio(2 * shared, table.truth_sizes[1:].sum() + table.prediction_sizes[1:].sum())


def _aggregated_jaccard_index(table: Contingency) -> float:
    t, p, shared, union = _object_pairs(table)
    iou = shared / union
    best = np.zeros(table.truth_count + 1)
    np.maximum.at(best, t, iou)
    tied = iou == best[t]
    t, p, shared, union = t[tied], p[tied], shared[tied], union[tied]
    # Each of n tied partners is chosen in one n-th of all ways to choose, independently for each true object.
    chosen = 1 / np.bincount(t)[t]
    unused = np.ones(table.prediction_count + 1)
    np.multiply.at(unused, p, 1 - chosen)
    missed = table.truth_sizes[1:][best[1:] == 0].sum()
    false = (unused * table.prediction_sizes)[1:].sum()
    return _ratio((chosen * shared).sum(), (chosen * union).sum() + missed + false)


def _matched_ious(table: Contingency, threshold: float) -> Floats:
    """IoUs of the matches at this threshold."""
    t, p, shared, union = _object_pairs(table)
    iou = shared / union
    candidates = iou > threshold
    t, p, iou = t[candidates], p[candidates], iou[candidates]
    if threshold >= 0.5 or len(iou) == 0:
        return iou
    return iou[_optimal_matching(t, p, iou)]


def _optimal_matching(t: Indices, p: Indices, iou: Floats) -> npt.NDArray[np.bool_]:
    """Choose the best one-to-one matching: the most matches, then the greatest sum of IoUs."""
    from scipy import sparse  # type: ignore[import-untyped, unused-ignore]

    rows, columns = np.unique(t, return_inverse=True)[1], np.unique(p, return_inverse=True)[1]
    height, width = rows.max() + 1, columns.max() + 1
    # Every row also has a column of its own that stands for no match and costs at least 1 more than a match;
    # all IoUs together weigh at most half of that, so they never outweigh a match.
    pair_costs = 1 - iou / (2 * height)
    costs = np.concatenate((pair_costs, np.full(height, 2.0)))
    own = np.arange(height)
    # The matching of older SciPy (1.13) takes indices of 32 bits only.
    ends = [np.concatenate(pair).astype(np.int32) for pair in ((rows, own), (columns, width + own))]
    graph = sparse.coo_array((costs, tuple(ends)), shape=(height, width + height)).tocsr()
    partner = sparse.csgraph.min_weight_full_bipartite_matching(graph)[1]
    return np.asarray(partner[rows] == columns)


def _panoptic_quality(table: Contingency, threshold: float) -> PanopticQuality:
    iou = _matched_ious(table, threshold)
    objects = table.truth_count + table.prediction_count
    segmentation = float(iou.mean()) if len(iou) else float(objects == 0)
    detection = _ratio(2 * len(iou), objects)
    return PanopticQuality(segmentation * detection, segmentation, detection)


def _average_precision(table: Contingency, thresholds: tuple[float, ...]) -> Floats:
    objects = table.truth_count + table.prediction_count
    matches = [len(_matched_ious(table, threshold)) for threshold in thresholds]
    return np.array([_ratio(count, objects - count) for count in matches])


def _variation_of_information(table: Contingency, ignore_background: bool) -> VariationOfInformation:
    counted = table.truth_index >= (1 if ignore_background else 0)
    t, p, pixels = table.truth_index[counted], table.prediction_index[counted], table.pixels[counted]
    if len(pixels) == 0:
        return VariationOfInformation(0.0, 0.0)
    in_prediction = _summed(pixels, p, table.prediction_count + 1)
    weights = pixels / pixels.sum()
    split = weights @ np.log2(table.truth_sizes[t] / pixels)
    merge = weights @ np.log2(in_prediction[p] / pixels)
    return VariationOfInformation(float(split), float(merge))


def _adapted_rand_error(table: Contingency) -> float:
    if table.truth_count == 0 or table.prediction_count == 0:
        return float(table.truth_count != table.prediction_count)
    counted = table.truth_index > 0
    pixels = table.pixels[counted]
    in_prediction = _summed(pixels, table.prediction_index[counted], table.prediction_count + 1)
    both, truth, prediction = _pairs(pixels), _pairs(table.truth_sizes[1:]), _pairs(in_prediction)
    return max(0.0, 1.0 - _ratio(2 * both, truth + prediction))


def _splits_and_merges(table: Contingency) -> SplitsAndMerges:
    counted = (table.truth_index > 0) & (table.prediction_index > 0)
    t, p, shared = table.truth_index[counted], table.prediction_index[counted], table.pixels[counted]
    in_truth = _summed(shared, p, table.prediction_count + 1)
    parts = np.bincount(t[2 * shared > in_truth[p]])
    whole = np.bincount(p[2 * shared > table.truth_sizes[t]])
    return SplitsAndMerges(*(int(np.maximum(number - 1, 0).sum()) for number in (parts, whole)))


def _pairs(sizes: Counts) -> float:
    """Ordered pairs of distinct pixels in segments of these sizes; float64, as squares may exceed int64."""
    return float((sizes.astype(np.float64) * (sizes - 1.0)).sum())


def _checked_threshold(threshold: float) -> float:
    return float(number(0, below=1)(threshold, "an IoU threshold"))


def _checked_thresholds(thresholds: Sequence[float]) -> tuple[float, ...]:
    if isinstance(thresholds, (str, bytes)) or not hasattr(thresholds, "__iter__"):
        raise InputError(f"thresholds must be a sequence of numbers, got {thresholds!r}; write [0.5]")
    checked = tuple(_checked_threshold(threshold) for threshold in thresholds)
    if not checked:
        raise InputError("thresholds is empty; give at least one IoU threshold, for example [0.5]")
    return checked
