"""Tuning without training: find the inference settings that suit a few labeled images."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity import metrics
from pixel_embedded_affinity.clustering import get_clusterer
from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.config.settings import SETTINGS
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export.table import write_table
from pixel_embedded_affinity.geometry.scaling import labels_of_image, resize_labels
from pixel_embedded_affinity.image import as_image
from pixel_embedded_affinity.labels import as_foreground, as_labels, relabel
from pixel_embedded_affinity.neighborhood import Neighborhood, new_axes
from pixel_embedded_affinity.postprocess import Postprocess
from pixel_embedded_affinity.runtime.progress import Progress, track

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pixel_embedded_affinity.embedding import Embedding
    from pixel_embedded_affinity.segmenter import Segmenter

Labels = npt.NDArray[np.int32]
Metric = Callable[[Any, Any], float]
Row = dict[str, float | int | str | bool]

_ROUNDS = 2
_THRESHOLD = "foreground_threshold"

_METRICS: dict[str, Metric] = {
    "aggregated_jaccard_index": metrics.aggregated_jaccard_index,
    "symmetric_best_dice": metrics.symmetric_best_dice,
    "panoptic_quality": lambda truth, prediction: metrics.panoptic_quality(truth, prediction).panoptic,
    "f1_score": metrics.f1_score,
    "dice": metrics.dice,
}
_SHORT_NAMES = {
    "AJI": "aggregated_jaccard_index",
    "SBD": "symmetric_best_dice",
    "PQ": "panoptic_quality",
    "F1": "f1_score",
    "Dice": "dice",
}

# The setting of each built-in clusterer that decides how much is joined, from much to little.
_USUAL_VALUES: dict[str, tuple[str, tuple[float, ...]]] = {
    "agglomeration": ("threshold", (0.2, 0.35, 0.5, 0.65, 0.8)),
    "connected_components": ("threshold", (0.5, 0.7, 0.8, 0.9, 0.95)),
    "lifted_multicut": ("beta", (0.3, 0.4, 0.5, 0.6, 0.7)),
    "mean_shift": ("bandwidth", (1.0, 0.85, 0.75, 0.6, 0.45)),
    "multicut": ("beta", (0.3, 0.4, 0.5, 0.6, 0.7)),
    "mutex_watershed": ("repulsion", (0.5, 0.6, 0.7, 0.85, 1.0)),
}


@dataclass(frozen=True)
class Search:
    """Values that `tune` tries; the model's own value of each setting is tried as well, always.

    The first value of each setting should be a usual one: all of these together are tried as a second start.

    Parameters
    ----------
    ranges : sequence of sequences of int
        Ranges in pixels, as for `Neighborhood.from_ranges`; each is combined with each of `directions`.
    directions : sequence of int
        Of 4 and 8.
    strides : sequence of int, or of sequences of int
        One stride for all axes, or one per axis.
    foreground_thresholds : sequence of float
        From 0 to 1; without effect where the foreground is given, or the model has none. Those halfway
        between the best and its neighbors are tried as well.
    merge_sizes : sequence of sequences of int
        As for `Postprocess`.
    min_sizes : sequence of int
        In pixels.
    fill_holes : sequence of bool
        Whether holes of objects are filled.
    clusterers : sequence of (str, dict), optional
        Names and settings. Default: the model's clusterer with five values of its main setting, if it is one
        of this library's. An empty sequence keeps the model's.

    Raises
    ------
    InputError
        If an entry is not a list or tuple. The values themselves are checked when `tune` is called.
    """

    ranges: Sequence[Sequence[int]] = (
        (1, 3, 5, 9, 11),
        (1, 3),
        (1, 3, 5, 9),
        (1, 3, 9, 15, 27),
        (1, 3, 5, 9, 11, 15, 21),
    )
    directions: Sequence[int] = (8, 4)
    strides: Sequence[int | Sequence[int]] = (5, 2, 3, 10)
    foreground_thresholds: Sequence[float] = (0.5, 0.3, 0.4, 0.45, 0.55, 0.6, 0.7)
    merge_sizes: Sequence[Sequence[int]] = ((25, 50), (), (25,), (25, 50, 100), (50, 100, 200))
    min_sizes: Sequence[int] = (30, 0, 10, 60, 100)
    fill_holes: Sequence[bool] = (True, False)
    clusterers: Sequence[tuple[str, dict[str, Any]]] | None = None

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if not isinstance(value, (list, tuple)) and not (value is None and entry.name == "clusterers"):
                raise InputError(f"{entry.name} of a Search must be a list of values to try, got {value!r}")


@dataclass(frozen=True, eq=False)
class Tuning:
    """What `tune` found.

    Attributes
    ----------
    segmenter : Segmenter
        With the best settings found; it shares its network with the one that was tuned.
    table : tuple of dict
        One row per settings tried, in the order in which they were: the setting that was varied (``varied``;
        ``"start"`` for the model's own settings, in the first row, and ``"usual"`` for the second start), the
        settings, ``score`` (mean over the images), ``score_1``, ``score_2``, ... of each image, and
        ``chosen``, True in the row of those that were chosen; the mean of another row may be a little higher,
        but not surely so, see `tune`.
    held_out_scores : tuple of float
        Leave-one-out: the score of each image with the settings that the search finds on the other images,
        from the same start and among those that were tried. Empty where there is only one image. Since the
        search that decided what is tried saw all images, this is a little too good; it is far less so than the
        score of the chosen row.
    """

    segmenter: Segmenter
    table: tuple[Row, ...]
    held_out_scores: tuple[float, ...]

    @property
    def score(self) -> float:
        """Mean score of the chosen settings over the images that they were chosen on."""
        return next(float(row["score"]) for row in self.table if row["chosen"])

    @property
    def start_score(self) -> float:
        """Mean score of the settings at the start."""
        return float(self.table[0]["score"])

    @property
    def held_out_score(self) -> float:
        """Mean of `held_out_scores`; NaN where there are none."""
        return float(np.mean(self.held_out_scores)) if self.held_out_scores else math.nan

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the table as CSV; the file appears whole or not at all.

        Parameters
        ----------
        path : str or path-like
            A name ending in ``.csv`` in an existing folder; a file there is replaced.

        Raises
        ------
        InputError
            If the path does not fit.
        """
        write_table(path, {name: [row[name] for row in self.table] for name in self.table[0]})

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the score of all settings in the order in which they were tried, by the setting varied.

        Dots are means over the images, gray ones the single images, the ring marks the chosen settings, and
        the dashed line the score at the start.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw. Default: a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            What was drawn on.

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed; the extra ``plot`` brings it.
        """
        axes = new_axes() if ax is None else ax
        _draw_scores(axes, self.table)
        axes.axhline(self.start_score, color="black", linestyle="--", linewidth=1, label="score at the start")
        axes.set(xlabel="settings, in the order tried", ylabel="score")
        axes.legend(fontsize="small")
        return axes


def _draw_scores(axes: Any, table: Sequence[Row]) -> None:
    numbers = range(1, len(table) + 1)
    for name in (name for name in table[0] if name.startswith("score_")):
        axes.plot(numbers, [row[name] for row in table], ".", color="0.8", zorder=1)
    for varied in dict.fromkeys(str(row["varied"]) for row in table):
        points = [(n, row["score"]) for n, row in zip(numbers, table) if row["varied"] == varied]
        axes.plot(*zip(*points), "o", label=varied.replace("_", " "), zorder=2)
    chosen = next(number for number, row in zip(numbers, table) if row["chosen"])
    axes.plot(
        chosen,
        table[chosen - 1]["score"],
        "o",
        color="black",
        markersize=12,
        fillstyle="none",
        label="chosen",
    )


def tune(
    segmenter: Segmenter,
    images: Iterable[Any],
    labels: Iterable[Any],
    *,
    metric: str | Metric = "aggregated_jaccard_index",
    search: Search | None = None,
    foregrounds: Iterable[Any] | None = None,
    axes: str | None = None,
    progress: Progress = False,
) -> Tuning:
    """Find the inference settings that score surely better on a few labeled images.

    The network runs once per image. The search starts from the segmenter's settings, or from the first values
    of `search` if their mean score is higher, so that a bad start does not lead astray. Then one setting at a
    time is varied, while the others keep the best values found so far, in this order: foreground threshold,
    ranges and directions, strides, clusterer and its settings, merge sizes, smallest size, filling of holes.
    If that improved anything, there is a second round. No settings are scored twice.

    A new value is *surely better* if its mean gain over the present one exceeds the standard error of this
    mean, the gains being those of the single images; with two images, if both gain. Of several such values
    the one is taken whose gain less its standard error is largest. What only seems better on the few images
    at hand leaves the setting as it is.

    Parameters
    ----------
    segmenter : Segmenter
        Where the search starts; it stays as it is.
    images : iterable
        Arrays or paths, as for `Segmenter.segment`, at the scale at which they will be segmented.
    labels : iterable
        True labels of each image, of its spatial shape: integers, 0 = background.
    metric : str or callable
        What is to be high: a name (``aggregated_jaccard_index`` or ``AJI``, ``symmetric_best_dice`` or
        ``SBD``, ``panoptic_quality`` or ``PQ``, ``f1_score`` or ``F1``, ``dice`` or ``Dice``), or a function
        of ``(truth, prediction)`` that returns a number, higher being better.
    search : Search, optional
        The values to try. Default: ``Search()``.
    foregrounds : iterable, optional
        Foreground of each image, or None for the model's, as for `Segmenter.segment`.
    axes : str, optional
        Axes of the images, as for `Segmenter.segment`.
    progress : bool or callable
        True shows bars.

    Returns
    -------
    Tuning
        The segmenter with the best settings, the table of all that was tried, leave-one-out scores.

    Raises
    ------
    InputError
        If there is no image or no object, numbers of images and labels differ, or an image, labels, a
        foreground, a value of the search, the metric or its result cannot be used.
    UnknownClustererError
        If a clusterer to try does not exist.

    Notes
    -----
    Coordinate search was chosen over random, racing or model-based search because a trial is cheap once the
    embeddings are there, the settings interact weakly, and a few dozen trials cover each of them: the result
    is the same at every call, every step of it can be read in the table, and there is nothing to install. All
    images are used in all trials: with the few that there are, a score on part of them says little. The
    embeddings of all images are kept in memory, 4 bytes per pixel and channel.

    The highest mean of many trials on few images is as a rule that of a setting which was lucky on one of
    them. Images differ far more from each other than settings do, hence gains are compared per image. The
    comparison with the standard error is the one-standard-error rule of cost-complexity pruning [1]_, with
    the present settings in the place of the smallest tree.

    References
    ----------
    .. [1] L. Breiman, J. Friedman, R. Olshen, C. Stone, "Classification and Regression Trees", 1984,
           section 3.4.3.
    """
    measure = _measure(metric)
    values = _values(segmenter.config, Search() if search is None else search)
    samples = _samples(segmenter, images, labels, foregrounds, axes, progress)
    if not any(sample.chooses_foreground for sample in samples):
        del values[_THRESHOLD]
    trials = _Trials(segmenter, samples, measure)
    start = _start(trials, segmenter.config, values)
    best = _searched(trials.of, start, values, range(len(samples)), progress)
    return _tuning(segmenter, trials.all, best, _held_out(trials, start, values))


class _Sample(NamedTuple):
    """One image: what the network knows of it, in the size that it saw; the truth, and the caller's foreground."""

    embedding: Embedding
    truth: Labels
    given: npt.NDArray[np.bool_] | None

    @property
    def chooses_foreground(self) -> bool:
        return self.given is None and self.embedding.foreground is not None

    @property
    def inside(self) -> npt.NDArray[np.bool_] | None:
        """The caller's foreground, in the size that the network saw."""
        return None if self.given is None else resize_labels(self.given, self.embedding.spatial_shape)


class _Trial(NamedTuple):
    """Settings, and their score on each image."""

    config: ModelConfig
    varied: str
    scores: tuple[float, ...]

    @property
    def score(self) -> float:
        return float(np.mean(self.scores))


_Attempt = Callable[[ModelConfig, str], _Trial | None]


class _Trials:
    """Scores of settings, each worked out once; of clusterings, only the last one's labels are kept."""

    def __init__(self, segmenter: Segmenter, samples: Sequence[_Sample], measure: Metric) -> None:
        self._segmenter, self._samples, self._measure = segmenter, samples, measure
        self._tried: dict[str, _Trial] = {}
        self._clustered: tuple[str, list[Labels]] = ("", [])

    @property
    def all(self) -> list[_Trial]:
        """Everything that was tried, in its order."""
        return list(self._tried.values())

    def of(self, config: ModelConfig, varied: str) -> _Trial:
        """Try settings, unless they were tried before."""
        key = _key(config)
        if key not in self._tried:
            pairs = zip(self._samples, self._labels(config), strict=True)
            scores = tuple(self._score(sample, config, labels) for sample, labels in pairs)
            self._tried[key] = _Trial(config, varied, scores)
        return self._tried[key]

    def known(self, config: ModelConfig, varied: str) -> _Trial | None:
        """What `of` gives, but None for settings that were not tried."""
        return self._tried.get(_key(config))

    def _labels(self, config: ModelConfig) -> list[Labels]:
        """Labels of every image before postprocessing."""
        plain = _unprocessed(config)
        key = _key(plain)
        if key != self._clustered[0]:
            run = _with_settings(self._segmenter, plain)
            found = [run.cluster(sample.embedding, foreground=sample.inside) for sample in self._samples]
            self._clustered = (key, found)
        return self._clustered[1]

    def _score(self, sample: _Sample, config: ModelConfig, labels: Labels) -> float:
        embedding = sample.embedding.numpy() if config.postprocess.needs_embedding else None
        found = config.postprocess(labels, embedding)
        prediction = labels_of_image(found, sample.truth.shape, sample.given)
        score = self._measure(sample.truth, prediction)
        try:
            value = float(score)
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"the metric gave {score!r}; expected a finite number, higher being better")
        return value


def _start(trials: _Trials, config: ModelConfig, values: dict[str, list[Any]]) -> _Trial:
    """The model's own settings, or the first values to try, except of the clusterer, if these score higher."""
    own = trials.of(config, "start")
    for setting, candidates in values.items():
        if setting != "clusterer" and len(candidates) > 1:
            config = _CHANGES[setting](config, candidates[1])
    usual = trials.of(config, "usual")
    return usual if usual.score > own.score else own


def _searched(
    attempt: _Attempt,
    best: _Trial,
    values: dict[str, list[Any]],
    images: Sequence[int],
    progress: Progress = False,
) -> _Trial:
    """The best settings on some of the images; what `attempt` does not know is passed over."""
    for _ in range(_ROUNDS):
        before = best
        for setting, candidates in values.items():
            best = _best_value(attempt, best, setting, track(candidates, progress, desc=setting), images)
            finer = _finer(best.config, setting, candidates)
            best = _best_value(attempt, best, setting, finer, images)
        if best is before:
            break
    return best


def _best_value(
    attempt: _Attempt, best: _Trial, setting: str, candidates: Iterable[Any], images: Sequence[int]
) -> _Trial:
    """Try the values of one setting; that of the best stays unless another is surely better."""
    tried = [attempt(_CHANGES[setting](best.config, value), setting) for value in candidates]
    return _surest(best, [trial for trial in tried if trial is not None], images)


def _surest(best: _Trial, others: Sequence[_Trial], images: Sequence[int]) -> _Trial:
    """The trial with the surest gain, if there is one; of equal ones, the earliest."""
    gains = [_sure_gain(trial, best, images) for trial in others]
    if max(gains, default=0) <= 0:
        return best
    return others[gains.index(max(gains))]


def _sure_gain(trial: _Trial, best: _Trial, images: Sequence[int]) -> float:
    """Mean over images of what a trial gains, less the standard error of this mean."""
    gains = np.array([trial.scores[image] - best.scores[image] for image in images])
    error = gains.std(ddof=1) / math.sqrt(len(gains)) if len(gains) > 1 else 0
    return float(gains.mean() - error)


def _finer(config: ModelConfig, setting: str, candidates: Sequence[Any]) -> list[float]:
    """Foreground thresholds halfway to the neighbors of the present one; no values of other settings."""
    if setting != _THRESHOLD:
        return []
    present = config.foreground_threshold
    nearest = (
        max((value for value in candidates if value < present), default=present),
        min((value for value in candidates if value > present), default=present),
    )
    return [round((value + present) / 2, 6) for value in nearest if value != present]


def _with_neighborhood(config: ModelConfig, value: Neighborhood) -> ModelConfig:
    return config.changed(neighborhood=replace(value, strides=config.neighborhood.strides))


def _with_strides(config: ModelConfig, value: Any) -> ModelConfig:
    return config.changed(neighborhood=replace(config.neighborhood, strides=value))


def _with_threshold(config: ModelConfig, value: float) -> ModelConfig:
    return config.changed(foreground_threshold=value)


def _with_merge_sizes(config: ModelConfig, value: Any) -> ModelConfig:
    return config.changed(postprocess=replace(config.postprocess, merge_sizes=value))


def _with_min_size(config: ModelConfig, value: int) -> ModelConfig:
    return config.changed(postprocess=replace(config.postprocess, min_size=value))


def _with_fill_holes(config: ModelConfig, value: bool) -> ModelConfig:
    return config.changed(postprocess=replace(config.postprocess, fill_holes=value))


def _with_clusterer(config: ModelConfig, value: Any) -> ModelConfig:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise InputError(f"a clusterer to try must be a pair of a name and its settings, got {value!r}")
    return config.changed(clusterer=value[0], clusterer_settings=value[1])


_CHANGES: dict[str, Callable[[ModelConfig, Any], ModelConfig]] = {
    _THRESHOLD: _with_threshold,
    "neighborhood": _with_neighborhood,
    "strides": _with_strides,
    "clusterer": _with_clusterer,
    "merge_sizes": _with_merge_sizes,
    "min_size": _with_min_size,
    "fill_holes": _with_fill_holes,
}


def _values(config: ModelConfig, search: Search) -> dict[str, list[Any]]:
    """The values to try of each setting, in the order of the search, the model's own first; all are checked."""
    if not isinstance(search, Search):
        raise InputError(f"search must be a Search, got {type(search).__name__}")
    neighborhoods = [
        Neighborhood.from_ranges(ranges, directions)
        for ranges in search.ranges
        for directions in search.directions
    ]
    values: dict[str, list[Any]] = {
        _THRESHOLD: [config.foreground_threshold, *search.foreground_thresholds],
        "neighborhood": [config.neighborhood, *neighborhoods],
        "strides": [config.neighborhood.strides, *search.strides],
        "clusterer": [(config.clusterer, config.clusterer_settings), *_clusterers(config, search)],
        "merge_sizes": [config.postprocess.merge_sizes, *search.merge_sizes],
        "min_size": [config.postprocess.min_size, *search.min_sizes],
        "fill_holes": [config.postprocess.fill_holes, *search.fill_holes],
    }
    for setting, candidates in values.items():
        for value in candidates:
            changed = _CHANGES[setting](config, value)
            get_clusterer(changed.clusterer, **changed.clusterer_settings)
    return values


def _clusterers(config: ModelConfig, search: Search) -> Sequence[tuple[str, dict[str, Any]]]:
    if search.clusterers is not None:
        return search.clusterers
    if config.clusterer not in _USUAL_VALUES:
        return ()
    setting, values = _USUAL_VALUES[config.clusterer]
    return [(config.clusterer, {**config.clusterer_settings, setting: value}) for value in values]


def _measure(metric: str | Metric) -> Metric:
    if isinstance(metric, str):
        name = _SHORT_NAMES.get(metric, metric)
        if name in _METRICS:
            return _METRICS[name]
    elif callable(metric):
        return metric
    known = ", ".join([*_SHORT_NAMES, *_METRICS])
    raise InputError(f"unknown metric {metric!r}; expected one of {known}, or a function")


def _samples(
    segmenter: Segmenter,
    images: Iterable[Any],
    labels: Iterable[Any],
    foregrounds: Iterable[Any] | None,
    axes: str | None,
    progress: Progress,
) -> list[_Sample]:
    """Embed every image once."""
    pictures, truths = _listed(images, "images"), _listed(labels, "labels")
    inside = [None] * len(pictures) if foregrounds is None else _listed(foregrounds, "foregrounds")
    if not len(pictures) == len(truths) == len(inside) or not pictures:
        raise InputError(
            f"{len(pictures)} images, {len(truths)} labels and {len(inside)} foregrounds; expected at least "
            "one image, and labels for each"
        )
    tasks = list(enumerate(zip(pictures, truths, inside), start=1))
    samples = [
        _sample(segmenter, number, *parts, axes) for number, parts in track(tasks, progress, desc="embedding")
    ]
    if not any(sample.truth.any() for sample in samples):
        raise InputError(f"the labels of all {len(samples)} images are empty; expected objects in some")
    return samples


def _listed(values: Any, name: str) -> list[Any]:
    if isinstance(values, (str, bytes, os.PathLike)) or not hasattr(values, "__iter__"):
        raise InputError(f"{name} must be a list, one entry per image, got {type(values).__name__}")
    return list(values)


def _sample(
    segmenter: Segmenter, number: int, image: Any, labels: Any, foreground: Any, axes: str | None
) -> _Sample:
    try:
        picture = as_image(image, axes=axes, channels=segmenter.config.network.in_channels)
        shape = picture.to_source_order(np.empty(picture.spatial_shape, np.bool_)).shape
        truth = relabel(picture.from_source_order(as_labels(labels, shape)))
        given = None
        if foreground is not None:
            given = picture.from_source_order(as_foreground(foreground, shape))
        embedding = segmenter.embed(picture.values, axes="CYX")
        return _Sample(replace(embedding, image_shape=None), truth, given)
    except InputError as error:
        raise InputError(f"image {number} of those to tune on: {error}") from error


def _key(config: ModelConfig) -> str:
    values = config.to_dict()
    return repr([values[name] for name in SETTINGS])


def _unprocessed(config: ModelConfig) -> ModelConfig:
    return config.changed(postprocess=Postprocess())


def _with_settings(segmenter: Segmenter, config: ModelConfig) -> Segmenter:
    return segmenter.with_settings(**{name: getattr(config, name) for name in SETTINGS})


def _tuning(
    segmenter: Segmenter, trials: Sequence[_Trial], best: _Trial, held_out: tuple[float, ...]
) -> Tuning:
    rows = tuple({**_row(trial), "chosen": trial is best} for trial in trials)
    return Tuning(_with_settings(segmenter, best.config), rows, held_out)


def _held_out(trials: _Trials, start: _Trial, values: dict[str, list[Any]]) -> tuple[float, ...]:
    """For each image its score with the settings that the search finds on the others, in what was tried."""
    count = len(start.scores)
    if count < 2:
        return ()
    scores = []
    for image in range(count):
        others = [other for other in range(count) if other != image]
        scores.append(_searched(trials.known, start, values, others).scores[image])
    return tuple(scores)


def _row(trial: _Trial) -> Row:
    config, pairs = trial.config, trial.config.neighborhood
    ranges = sorted({max(map(abs, offset)) for offset in pairs.offsets})
    return {
        "varied": trial.varied,
        "ranges": " ".join(map(str, ranges)),
        "offsets": len(pairs),
        "strides": " ".join(map(str, pairs.strides)),
        "foreground_threshold": config.foreground_threshold,
        "merge_sizes": " ".join(map(str, config.postprocess.merge_sizes)),
        "min_size": config.postprocess.min_size,
        "fill_holes": config.postprocess.fill_holes,
        "clusterer": config.clusterer,
        "clusterer_settings": repr(config.clusterer_settings) if config.clusterer_settings else "",
        "score": trial.score,
        **{f"score_{number}": score for number, score in enumerate(trial.scores, start=1)},
    }
