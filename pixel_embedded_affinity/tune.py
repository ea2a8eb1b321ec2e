"""Tuning without training: find the inference settings that suit a few labeled images."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity import metrics, pipeline
from pixel_embedded_affinity.affinity import affinities
from pixel_embedded_affinity.clustering import get_clusterer
from pixel_embedded_affinity.config.model import AUTO, SETTINGS, ModelConfig, inference_leaves
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export.table import write_table
from pixel_embedded_affinity.fields import Settings, leaves
from pixel_embedded_affinity.geometry.tiling import Tiling
from pixel_embedded_affinity.io.selection import Selection
from pixel_embedded_affinity.labels import Labels, refuse_masks, relabel
from pixel_embedded_affinity.neighborhood import Neighborhood, new_axes
from pixel_embedded_affinity.postprocess import Postprocess
from pixel_embedded_affinity.runtime.progress import Progress, track
from pixel_embedded_affinity.runtime.subject import about, silent
from pixel_embedded_affinity.truth import true_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Metric = Callable[[Any, Any], float]
Row = dict[str, float | int | str | bool]


class Tunable(Protocol):
    """What `tune` needs of a `Segmenter`."""

    config: ModelConfig

    @property
    def embedder(self) -> pipeline.Embedder:
        """The network on its device."""

    def with_settings(self, **settings: Any) -> Any:
        """The method that returns the same with other settings."""


_ROUNDS = 2
_THRESHOLD = "foreground_threshold"

_METRICS: dict[str, Metric] = {
    "aggregated_jaccard_index": metrics.aggregated_jaccard_index,
    "symmetric_best_dice": metrics.symmetric_best_dice,
    "panoptic_quality": lambda truth, prediction: metrics.panoptic_quality(truth, prediction).panoptic,
    "f1_score": metrics.f1_score,
    "dice": metrics.dice,
    "variation_of_information": lambda truth, prediction: -_neurons(truth, prediction)["voi"],
    "adapted_rand_error": lambda truth, prediction: -_neurons(truth, prediction)["adapted_rand_error"],
}
_LOW = ("variation_of_information", "adapted_rand_error")
"""Metrics that are to be low: their negatives are the scores."""

_SHORT_NAMES = {
    "AJI": "aggregated_jaccard_index",
    "SBD": "symmetric_best_dice",
    "PQ": "panoptic_quality",
    "F1": "f1_score",
    "Dice": "dice",
    "VOI": "variation_of_information",
    "ARAND": "adapted_rand_error",
}

# The settings that fields of a `Search` hold, by key and in the order of the search, with their names in the table.
_NAMES = {
    _THRESHOLD: "foreground_threshold",
    "neighborhood": "neighborhood",
    "neighborhood.strides": "strides",
    "clusterer": "clusterer",
    "postprocess.merge_sizes": "merge_sizes",
    "postprocess.min_size": "min_size",
    "postprocess.fill_holes": "fill_holes",
}
_BY_MODEL = ("ranges", "directions", "strides", "clusterers")
"""Fields of a `Search` whose values, if the caller gives none, depend on the model."""

_TRIES = {leaf.key: leaf.declared.tries for leaf in inference_leaves()}


@dataclass(frozen=True)
class Search:
    """Values that `tune` tries. It always tries the model's own value of each setting as well.

    The first value of each setting should be a usual one: all first values together are a second start.

    Parameters
    ----------
    ranges : sequence of sequences of int, optional
        Ranges in pixels, as for `Neighborhood.from_ranges`; each is combined with each of `directions`. Default: the
        usual ones for images; for volumes, whose voxels are longer along one axis, only the model's own pairs.
    directions : sequence of int, optional
        Of 4 and 8, or, for volumes, of 6, 18 and 26. Default: 8 and 4, or 6.
    strides : sequence of int, or of sequences of int, optional
        One stride for all axes, or one per axis. Default: the usual ones for images, for volumes the model's own.
    foreground_thresholds : sequence of float
        From 0 to 1; without effect where the foreground is given, or the model has none. Thresholds halfway
        between the best one and its neighbors are tried as well.
    merge_sizes : sequence of sequences of int
        As for `Postprocess`.
    min_sizes : sequence of int
        In pixels.
    fill_holes : sequence of bool
        Whether holes of objects are filled.
    clusterers : sequence of (str, dict), optional
        Names and settings. Default: the model's clusterer with the values that its settings declare for tuning.
        An empty sequence keeps the model's clusterer.
    values : mapping of str to sequence, optional
        Values of other inference settings by their dotted keys, such as ``{"postprocess.merge_similarity": [0.9]}``
        or ``{"clusterer_settings.smoothing": [1, 2]}``; they are searched last. The key of a setting above replaces
        its values. Settings that declare values for tuning need not be named.

    Raises
    ------
    InputError
        If an entry is not a list or tuple. `tune` checks the values themselves.
    """

    ranges: Sequence[Sequence[int]] | None = None
    directions: Sequence[int] | None = None
    strides: Sequence[int | Sequence[int]] | None = None
    foreground_thresholds: Sequence[float] = _TRIES[_THRESHOLD]
    merge_sizes: Sequence[Sequence[int]] = _TRIES["postprocess.merge_sizes"]
    min_sizes: Sequence[int] = _TRIES["postprocess.min_size"]
    fill_holes: Sequence[bool] = _TRIES["postprocess.fill_holes"]
    clusterers: Sequence[tuple[str, dict[str, Any]]] | None = None
    values: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lists = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        if not isinstance(lists.pop("values"), Mapping):
            raise InputError(f"values of a Search must be a dictionary of lists by key, got {self.values!r}")
        for name, value in {**lists, **self.values}.items():
            if not isinstance(value, (list, tuple)) and not (value is None and name in _BY_MODEL):
                raise InputError(f"{name} of a Search must be a list of values to try, got {value!r}")


@dataclass(frozen=True, eq=False)
class Tuning:
    """What `tune` found.

    Attributes
    ----------
    segmenter : Segmenter
        With the best settings found; it shares its network with the tuned segmenter.
    table : tuple of dict
        One row per trial, in the order of the trials: the setting that was varied (``varied``; ``"start"`` for the
        model's own settings, in the first row, and ``"usual"`` for the second start), the settings, ``score``
        (mean over the images), ``score_1``, ``score_2``, ... of each image, and ``chosen``, True in the row of the
        chosen settings. Another row may have a slightly higher mean, but is not surely better, see `tune`.
    held_out_scores : tuple of float
        Leave-one-out: the score of each image with the settings that the search finds on the other images, from the
        same start and among the same trials. Empty for a single image. All images decided what was tried, so this is
        a little too good, but far less so than the score of the chosen row.
    """

    segmenter: Any
    table: tuple[Row, ...]
    held_out_scores: tuple[float, ...]

    @property
    def score(self) -> float:
        """Mean score of the chosen settings over the images that they were chosen on."""
        return float(self.chosen["score"])

    @property
    def chosen(self) -> Row:
        """The row of the chosen settings."""
        return next(row for row in self.table if row["chosen"])

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
        """Draw the score of every trial in order, with a color for each varied setting.

        Dots are means over the images, gray dots single images. The ring marks the chosen settings, the dashed line
        the score at the start.

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
    ring = {"color": "black", "markersize": 12, "fillstyle": "none", "label": "chosen"}
    axes.plot(chosen, table[chosen - 1]["score"], "o", **ring)


def tune(
    segmenter: Tunable,
    images: Iterable[Any],
    labels: Iterable[Any] | None = None,
    *,
    metric: str | Metric | None = None,
    search: Search | None = None,
    foregrounds: Iterable[Any] | None = None,
    axes: str | None = None,
    channel: int | str | None = None,
    time: int | None = None,
    z: int | None = None,
    series: int | None = None,
    pixel_size: float | Sequence[float] | None = None,
    progress: Progress = False,
) -> Tuning:
    """Find the inference settings that score surely better on a few labeled images.

    The network runs once per image. The search starts from the segmenter's settings, or from the first values
    of `search` if their mean score is higher, so that a bad start does not lead astray. Then one setting at a
    time is varied, while the others keep the best values found so far, in this order: foreground threshold,
    ranges and directions, strides, clusterer and its settings, merge sizes, smallest size, filling of holes.
    If that improved anything, there is a second round. No settings are scored twice.

    A new value is *surely better* if its mean gain over the present one exceeds the standard error of this
    mean over the images; with two images, if both gain. Of several such values, the search takes the one whose
    gain minus its standard error is largest. A value that only seems better on the few images at hand changes
    nothing.

    Parameters
    ----------
    segmenter : Segmenter
        Where the search starts; it stays as it is.
    images : iterable
        Arrays or paths, as for `Segmenter.segment`, at the scale at which they will be segmented.
    labels : iterable, optional
        True labels of each image, of its spatial shape: whole numbers, 0 = background, or the path of a TIFF or PNG
        that holds them. Without them, only the scale is chosen, see below.
    metric : str or callable, optional
        The score to raise; by default AJI, for a model of volumes VOI. A name
        (``aggregated_jaccard_index`` or ``AJI``, ``symmetric_best_dice`` or
        ``SBD``, ``panoptic_quality`` or ``PQ``, ``f1_score`` or ``F1``, ``dice`` or ``Dice``; for neurons
        ``variation_of_information`` or ``VOI``, ``adapted_rand_error`` or ``ARAND``, whose negatives are raised,
        without the background of the truth), or a function of ``(truth, prediction)`` that returns a number, where
        higher is better.
    search : Search, optional
        The values to try. Default: ``Search()``.
    foregrounds : iterable, optional
        Foreground of each image, or None for the model's, as for `Segmenter.segment`.
    axes, channel, time, series, pixel_size, z
        Which part of each source is the image, and the size of its pixels, as for `Segmenter.segment`.
    progress : bool or callable
        True shows bars.

    Returns
    -------
    Tuning
        The segmenter with the best settings, the table of all trials, leave-one-out scores.

    Raises
    ------
    InputError
        If there is no image or no object, images and labels differ in number, all labels look like binary masks, or
        an image, labels, a foreground, a value of the search, the metric or its result cannot be used.
    UnknownClustererError
        If a clusterer to try does not exist.

    Notes
    -----
    Coordinate search was chosen over random, racing or model-based search: a trial is cheap once the embeddings
    exist, the settings interact weakly, and a few dozen trials cover each of them. The result is the same at every
    call, the table shows every step, and there is nothing to install. Every trial uses all images, since a score on
    a part of so few says little. The embeddings of all images stay in memory, 4 bytes per pixel and channel.

    Without labels, the scale of each image is found as ``scale="auto"`` finds it, and the median of these scales is
    tried. The score is the mean confidence of all objects of an image. `metric` and `search` are not used.
    Foreground thresholds and settings of clusterers cannot be chosen this way: confidence does not tell whether an
    object that is sure of itself is the right one.

    If many settings are tried on few images, the highest mean usually belongs to a setting that was lucky on one
    image. Images differ far more from each other than settings do, so gains are compared image by image. The
    comparison with the standard error is the one-standard-error rule of cost-complexity pruning [1]_; the present
    settings take the role of the smallest tree.

    References
    ----------
    .. [1] L. Breiman, J. Friedman, R. Olshen, C. Stone, "Classification and Regression Trees", 1984,
           section 3.4.3.
    """
    selection = Selection(axes, channel, time, series, pixel_size, z)
    if labels is None:
        return _tuned_without_labels(segmenter, images, foregrounds, selection, progress)
    measure = as_metric(usual_metric(segmenter.config.ndim) if metric is None else metric)
    values = _values(segmenter.config, Search() if search is None else search)
    samples = _samples(segmenter, images, labels, foregrounds, selection, progress)
    if not any(sample.chooses_foreground for sample in samples):
        del values[_THRESHOLD]
    trials = _Trials(segmenter, samples, measure)
    start = _start(trials, segmenter.config, values)
    best = _searched(trials.of, start, values, range(len(samples)), progress)
    further = [key for key in values if key not in _NAMES]
    rows = tuple({**_row(trial, further), "chosen": trial is best} for trial in trials.all)
    found = segmenter.with_settings(**{name: getattr(best.config, name) for name in SETTINGS})
    return Tuning(found, rows, _held_out(trials, start, values))


def _tuned_without_labels(
    segmenter: Tunable,
    images: Iterable[Any],
    foregrounds: Iterable[Any] | None,
    selection: Selection,
    progress: Progress,
) -> Tuning:
    """Choose one scale for all images by the confidence of their objects."""
    start, sources = segmenter.config, list(images)
    if not sources:
        raise InputError("there is no image to tune on; expected at least one")
    given = [None] * len(sources) if foregrounds is None else list(foregrounds)
    if len(given) != len(sources):
        raise InputError(f"{len(given)} foregrounds for {len(sources)} images; expected one for each image")

    def results(config: ModelConfig, desc: str) -> list[pipeline.Segmentation]:
        labeler = pipeline.Labeler(config, pipeline.checked_clusterer(None, config))
        pairs = track(list(zip(sources, given)), progress, desc=desc)
        look = partial(pipeline.see, segmenter.embedder, config=config, selection=selection)
        return [pipeline.analyzed(look(image, foreground=mask), labeler) for image, mask in pairs]

    found = results(start.with_values({"scale": AUTO}), "finding scales")
    scale = float(f"{math.exp(np.mean(np.log([float(np.min(one.scale)) for one in found]))):.2g}")
    configs = [start, start.with_values({"scale": scale})]
    scores = [tuple(_mean_confidence(one) for one in results(config, "trying scales")) for config in configs]
    trials = [_Trial(*entry) for entry in zip(configs, ("start", "scale"), scores)]
    best = _surest(trials[0], trials[1:], range(len(sources)))
    rows = tuple({**_row(trial, ["scale"]), "chosen": trial is best} for trial in trials)
    return Tuning(segmenter.with_settings(scale=best.config.scale), rows, ())


def _mean_confidence(found: pipeline.Segmentation) -> float:
    confidence = found.table()["confidence"]
    return float(confidence.mean()) if len(confidence) else 0.0


class _Sample(NamedTuple):
    """One image: what the network saw of it, and the truth in the network's order of axes."""

    seen: pipeline.Seen
    truth: Labels

    @property
    def chooses_foreground(self) -> bool:
        return self.seen.given is None and self.seen.embedding.foreground is not None


class _Trial(NamedTuple):
    """Settings, and their score on each image."""

    config: ModelConfig
    varied: str
    scores: tuple[float, ...]

    @property
    def score(self) -> float:
        return float(np.mean(self.scores))


_Values = dict[str, list[Any]]
_Attempt = Callable[[ModelConfig, str], _Trial | None]


class _Trials:
    """Scores of settings, each computed once; only the labels of the last clustering are kept."""

    def __init__(self, segmenter: Tunable, samples: Sequence[_Sample], measure: Metric) -> None:
        self._segmenter, self._samples, self._measure = segmenter, samples, measure
        self._tried: dict[str, _Trial] = {}
        self._clustered: tuple[str, list[npt.NDArray[np.integer[Any]]]] = ("", [])

    @property
    def all(self) -> list[_Trial]:
        """Everything that was tried, in its order."""
        return list(self._tried.values())

    def of(self, config: ModelConfig, varied: str) -> _Trial:
        """Try settings, unless they were tried before."""
        key = _key(config)
        if key not in self._tried:
            pairs = zip(self._samples, self._clusters(config), strict=True)
            scores = tuple(self._score(sample, config, clusters) for sample, clusters in pairs)
            self._tried[key] = _Trial(config, varied, scores)
        return self._tried[key]

    def known(self, config: ModelConfig, varied: str) -> _Trial | None:
        """The trial of settings; None if they were not tried."""
        return self._tried.get(_key(config))

    def _clusters(self, config: ModelConfig) -> list[npt.NDArray[np.integer[Any]]]:
        """The clusterer's objects in every image, before the postprocessing."""
        key = _key(config.changed(postprocess=Postprocess()))
        if key != self._clustered[0]:
            clusterer = pipeline.checked_clusterer(None, config)
            labeler = pipeline.Labeler(config, clusterer, self._segmenter.embedder.threads)
            self._clustered = (key, [_clusters(sample.seen, labeler) for sample in self._samples])
        return self._clustered[1]

    def _score(self, sample: _Sample, config: ModelConfig, clusters: npt.NDArray[np.integer[Any]]) -> float:
        embedding, given = sample.seen.embedding, sample.seen.given
        with silent():  # settings that are only tried are no fault of the image
            found = pipeline.postprocessed(clusters, embedding.values, config)
        score = self._measure(sample.truth, pipeline.restore(found, embedding, given, config))
        try:
            value = float(score)
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"the metric gave {score!r}; expected a finite number, where higher is better")
        return value


def _clusters(seen: pipeline.Seen, labeler: pipeline.Labeler) -> npt.NDArray[np.integer[Any]]:
    """Return the clusterer's objects in an image, before the postprocessing."""
    pairs = affinities(seen.embedding, labeler.config.neighborhood).numpy()
    return labeler.clustered(pairs, pipeline.positions_inside(seen.embedding, seen.given, labeler.config))


def _start(trials: _Trials, config: ModelConfig, values: _Values) -> _Trial:
    """The model's own settings, or, if they score higher, the first values to try of all but the clusterer."""
    own = trials.of(config, "start")
    for setting, candidates in values.items():
        if setting != "clusterer" and len(candidates) > 1:
            config = _changed(config, setting, candidates[1])
    usual = trials.of(config, "usual")
    return usual if usual.score > own.score else own


def _searched(
    attempt: _Attempt, best: _Trial, values: _Values, images: Sequence[int], progress: Progress = False
) -> _Trial:
    """The best settings on some of the images; trials for which `attempt` gives None are skipped."""
    for _ in range(_ROUNDS):
        before = best
        for setting, candidates in values.items():
            tracked = track(candidates, progress, desc=_name(setting))
            best = _best_value(attempt, best, setting, tracked, images)
            finer = _finer(best.config, setting, candidates)
            best = _best_value(attempt, best, setting, finer, images)
        if best is before:
            break
    return best


def _best_value(
    attempt: _Attempt, best: _Trial, setting: str, candidates: Iterable[Any], images: Sequence[int]
) -> _Trial:
    """Try the values of one setting; the best trial stays unless another is surely better."""
    tried = [attempt(_changed(best.config, setting, value), _name(setting)) for value in candidates]
    return _surest(best, [trial for trial in tried if trial is not None], images)


def _surest(best: _Trial, others: Sequence[_Trial], images: Sequence[int]) -> _Trial:
    """The trial with the surest gain, the earliest of equal ones; `best` if none gains."""
    gains = [_sure_gain(trial, best, images) for trial in others]
    if max(gains, default=0) <= 0:
        return best
    return others[gains.index(max(gains))]


def _sure_gain(trial: _Trial, best: _Trial, images: Sequence[int]) -> float:
    """Mean gain of a trial over the images, minus the standard error of this mean."""
    gains = np.array([trial.scores[image] - best.scores[image] for image in images])
    error = gains.std(ddof=1) / math.sqrt(len(gains)) if len(gains) > 1 else 0
    return float(gains.mean() - error)


def _name(key: str) -> str:
    """Name of a setting in the table and on the progress bar."""
    return _NAMES.get(key, key)


def _finer(config: ModelConfig, setting: str, candidates: Sequence[Any]) -> list[float]:
    """Foreground thresholds halfway between the present one and its neighbors; nothing for other settings."""
    if setting != _THRESHOLD:
        return []
    present = config.foreground_threshold
    nearest = (
        max((value for value in candidates if value < present), default=present),
        min((value for value in candidates if value > present), default=present),
    )
    return [round((value + present) / 2, 6) for value in nearest if value != present]


def _changed(config: ModelConfig, key: str, value: Any) -> ModelConfig:
    """The configuration with another value of one setting; another neighborhood keeps the strides."""
    if key == "neighborhood":
        return config.with_values({key: value, "neighborhood.strides": config.neighborhood.strides})
    if key == "clusterer":
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise InputError(f"a clusterer to try must be a pair of a name and its settings, got {value!r}")
        return config.with_values({key: value[0], "clusterer_settings": value[1]})
    return config.with_values({key: value})


def _values(config: ModelConfig, search: Search) -> _Values:
    """The values to try of each setting, in the order of the search, the model's own first; all are checked."""
    if not isinstance(search, Search):
        raise InputError(f"search must be a Search, got {type(search).__name__}")
    tries = {**_own_tries(config, search), **_further_tries(), **search.values}
    values = {key: [_present(config, key), *candidates] for key, candidates in tries.items()}
    for key, candidates in values.items():
        for value in candidates:
            changed = _changed(config, key, value)
            get_clusterer(changed.clusterer, **changed.clusterer_settings)
    return values


def _own_tries(config: ModelConfig, search: Search) -> dict[str, Sequence[Any]]:
    """The values in the fields of a search, by key and in the order of the search."""
    usual = {key: _TRIES[f"neighborhood.{key}"] for key in ("ranges", "directions", "strides")}
    if config.ndim == 3:
        usual = {"ranges": (), "directions": (6,), "strides": ()}
    ranges, directions, strides = (
        usual[key] if getattr(search, key) is None else getattr(search, key) for key in usual
    )
    pairs = itertools.product(ranges, directions)
    neighborhoods = [Neighborhood.from_ranges(ranges, directions) for ranges, directions in pairs]
    clusterers = _usual_clusterers(config) if search.clusterers is None else search.clusterers
    values = (search.foreground_thresholds, neighborhoods, strides, clusterers)
    return dict(zip(_NAMES, (*values, search.merge_sizes, search.min_sizes, search.fill_holes), strict=True))


def _further_tries() -> dict[str, Sequence[Any]]:
    """Values to try of the settings that no field of a search names."""
    named = {*_NAMES, "neighborhood.ranges", "neighborhood.directions"}
    return {key: tries for key, tries in _TRIES.items() if tries and key not in named}


def _usual_clusterers(config: ModelConfig) -> list[tuple[str, dict[str, Any]]]:
    """The model's clusterer with each value to try that its class declares."""
    kind = type(get_clusterer(config.clusterer, **config.clusterer_settings))
    if not issubclass(kind, Settings):
        return []
    tries = [(leaf.key, value) for leaf in leaves(kind) for value in leaf.declared.tries]
    return [(config.clusterer, {**config.clusterer_settings, key: value}) for key, value in tries]


def _present(config: ModelConfig, key: str) -> Any:
    """The configuration's own value of a setting."""
    head, _, within = key.partition(".")
    if key == "clusterer":
        return config.clusterer, config.clusterer_settings
    whole = getattr(config, head, None)
    if head == "clusterer_settings":
        whole = get_clusterer(config.clusterer, **config.clusterer_settings)
    if head not in SETTINGS or (within and not hasattr(whole, within)):
        raise InputError(
            f"a Search cannot vary {key!r}; expected a key such as 'postprocess.min_size', or its own fields"
        )
    return getattr(whole, within) if within else whole


def _neurons(truth: Any, prediction: Any) -> dict[str, float]:
    """Errors of volumes, without the background of the truth, as in `metrics.evaluate`."""
    return metrics.evaluate(truth, prediction, ignore_background=True)


def usual_metric(ndim: int) -> str:
    """Name of the metric that is raised if none is named, for models of so many spatial axes."""
    return "AJI" if ndim == 2 else "VOI"


def as_metric(metric: str | Metric) -> Metric:
    """Return a metric by its name, or the function that it is.

    Parameters
    ----------
    metric : str or callable
        As for `tune`.

    Raises
    ------
    InputError
        If there is no metric of this name, or it is neither a name nor a function.
    """
    if isinstance(metric, str):
        name = _SHORT_NAMES.get(metric, metric)
        if name in _METRICS:
            return _METRICS[name]
    elif callable(metric):
        return metric
    known = ", ".join([*_SHORT_NAMES, *_METRICS])
    raise InputError(f"unknown metric {metric!r}; expected one of {known}, or a function")


def metric_value(metric: str, score: float) -> float:
    """Return what a metric is, as all tables show it, for a score; scores of VOI and ARAND are negative."""
    return -score if _SHORT_NAMES.get(metric, metric) in _LOW else score


def _samples(
    segmenter: Tunable,
    images: Iterable[Any],
    labels: Iterable[Any],
    foregrounds: Iterable[Any] | None,
    selection: Selection,
    progress: Progress,
) -> list[_Sample]:
    """Embed every image once."""
    pictures, truths = listed(images, "images"), listed(labels, "labels")
    inside = [None] * len(pictures) if foregrounds is None else listed(foregrounds, "foregrounds")
    if not len(pictures) == len(truths) == len(inside) or not pictures:
        raise InputError(
            f"{len(pictures)} images, {len(truths)} labels"
            f"{'' if foregrounds is None else f' and {len(inside)} foregrounds'}; expected at least one image, and "
            "labels for each"
        )
    tasks = list(enumerate(zip(pictures, truths, inside), start=1))
    tracked = track(tasks, progress, desc="embedding")
    samples = [_sample(segmenter, number, *parts, selection) for number, parts in tracked]
    if not any(sample.truth.any() for sample in samples):
        raise InputError(f"the labels of all {len(samples)} images are empty; expected objects in some")
    refuse_masks(sample.truth for sample in samples)
    return samples


def listed(values: Any, name: str) -> list[Any]:
    """Return one entry for each image as a list.

    Raises
    ------
    InputError
        If it is a text or a path, or has no entries at all; the message says the name.
    """
    if isinstance(values, (str, bytes, os.PathLike)) or not hasattr(values, "__iter__"):
        raise InputError(f"{name} must be a list, one entry per image, got {type(values).__name__}")
    if getattr(values, "ndim", None) == len("YX"):
        raise InputError(
            f"{name} must be a list, one entry per image, got one image of shape {tuple(values.shape)}; pass [{name}]"
        )
    return list(values)


def _sample(
    segmenter: Tunable, number: int, image: Any, labels: Any, foreground: Any, selection: Selection
) -> _Sample:
    name = f"image {number} of the images to tune on"
    try:
        with about(name):
            seen = pipeline.see(
                segmenter.embedder,
                image,
                segmenter.config,
                selection=selection,
                foreground=foreground,
                tiling=Tiling(),
            )
        shape = seen.picture.to_source_order(np.empty(seen.picture.spatial_shape, np.bool_)).shape
        truth = true_labels(labels, shape, name)
        return _Sample(seen, relabel(seen.picture.from_source_order(truth)))
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _key(config: ModelConfig) -> str:
    values = config.to_dict()
    return repr([values[name] for name in SETTINGS])


def _held_out(trials: _Trials, start: _Trial, values: _Values) -> tuple[float, ...]:
    """The score of each image with the settings that the search finds on the others, among all trials."""
    count = len(start.scores)
    if count < 2:
        return ()
    scores = []
    for image in range(count):
        others = [other for other in range(count) if other != image]
        scores.append(_searched(trials.known, start, values, others).scores[image])
    return tuple(scores)


def _row(trial: _Trial, further: Sequence[str]) -> Row:
    """A row of the table; the settings of further keys have columns of their own."""
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
        **{key: str(_present(config, key)) for key in further},
        "score": trial.score,
        **{f"score_{number}": score for number, score in enumerate(trial.scores, start=1)},
    }
