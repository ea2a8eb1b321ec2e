"""Tuning: what it chooses is surely better, its scores are the scores of segmenting, settings survive a file."""

from __future__ import annotations

import csv
import json
import math
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import torch
from torch import nn

from pixel_embedded_affinity import Neighborhood, Postprocess, Segmenter, samples
from pixel_embedded_affinity.cli import main
from pixel_embedded_affinity.config.model import ModelConfig, NetworkConfig
from pixel_embedded_affinity.config.settings import write_settings
from pixel_embedded_affinity.errors import InputError, MissingDependencyError, UnknownClustererError
from pixel_embedded_affinity.geometry.scaling import resize_image
from pixel_embedded_affinity.metrics import (
    aggregated_jaccard_index,
    dice,
    f1_score,
    panoptic_quality,
    symmetric_best_dice,
)
from pixel_embedded_affinity.network.base import NetworkOutput
from pixel_embedded_affinity.normalize import Normalization
from pixel_embedded_affinity.tune import Search, _surest, _Trial, tune

Array = npt.NDArray[Any]

SMALL = Search(
    ranges=[[1, 3], [1, 2, 5]],
    directions=[4],
    strides=[1, 2],
    foreground_thresholds=[0.3, 0.6],
    merge_sizes=[[], [20]],
    min_sizes=[0, 15],
    fill_holes=[False],
)
NOTHING = Search(
    ranges=[],
    directions=[],
    strides=[],
    foreground_thresholds=[],
    merge_sizes=[],
    min_sizes=[],
    fill_holes=[],
    clusterers=[],
)


class HueNetwork(nn.Module):
    """An intensity is an angle, whose vector is the embedding; what is not negative is foreground."""

    calls = 0

    def forward(self, images: torch.Tensor) -> NetworkOutput:
        """Map (N, 1, H, W) to two channels and a foreground of probability 0.88 or 0.12."""
        self.calls += 1
        angle = images * (2 * math.pi)
        foreground = torch.where(images >= 0, 2.0, -2.0)
        return NetworkOutput(torch.cat((angle.cos(), angle.sin()), 1), foreground, ())


GOOD = ModelConfig(
    network=NetworkConfig(in_channels=1, embedding_channels=2),
    normalization=Normalization(kind="none"),
    neighborhood=Neighborhood.from_ranges([1, 3, 5, 9], directions=8, strides=2),
    postprocess=Postprocess(merge_sizes=(25,), min_size=10),
)


def hue_segmenter(config: ModelConfig = GOOD) -> Segmenter:
    return Segmenter(HueNetwork(), config, device="cpu", precision="float32")


def field(seed: int) -> tuple[Array, Array]:
    """Touching squares of 14 pixels with a noisy hue each, in a frame of background."""
    random = np.random.default_rng(seed)
    labels = np.zeros((50, 50), np.int32)
    labels[4:46, 4:46] = np.kron(np.arange(1, 10).reshape(3, 3), np.ones((14, 14), np.int32))
    rows, columns = np.divmod(np.arange(9), 3)
    hues = np.concatenate(([0], (rows + columns + random.integers(3)) % 3 / 3 + 0.2))
    image = np.clip(hues[labels] + random.normal(0, 0.04, labels.shape), 0, 1)
    return np.where(labels > 0, image, -1).astype(np.float32), labels


def fields(count: int = 3) -> tuple[list[Array], list[Array]]:
    images, labels = zip(*(field(seed) for seed in range(count)))
    return list(images), list(labels)


def score(segmenter: Segmenter, images: list[Array], labels: list[Array]) -> float:
    found = [segmenter.segment(image) for image in images]
    return float(np.mean([aggregated_jaccard_index(t, p) for t, p in zip(labels, found)]))


def spoiled(segmenter: Segmenter) -> Segmenter:
    return segmenter.with_settings(
        neighborhood=Neighborhood.from_ranges([1, 3], strides=20),
        foreground_threshold=0.95,
        postprocess=Postprocess(),
    )


def test_bad_settings_come_back_to_the_score_of_good_ones_also_on_other_images() -> None:
    images, labels = fields(4)
    good = hue_segmenter()
    bad = spoiled(good)
    tuning = bad.tune(images[:2], labels[:2])
    assert score(bad, images[2:], labels[2:]) < 0.5
    assert score(good, images[2:], labels[2:]) > 0.9
    assert score(tuning.segmenter, images[2:], labels[2:]) >= score(good, images[2:], labels[2:]) - 0.005
    assert tuning.start_score == 0


def test_each_image_is_embedded_once() -> None:
    images, labels = fields(2)
    network = HueNetwork()
    Segmenter(network, GOOD, device="cpu").tune(images, labels, search=SMALL)
    assert network.calls == 2


@pytest.fixture(scope="module")
def noisy() -> tuple[list[Array], list[Array]]:
    """Images for the tiny network, and labels that it does not know."""
    random = np.random.default_rng(7)
    images = [random.integers(0, 4000, (28, 36), dtype=np.uint16) for _ in range(3)]
    labels = [np.kron(random.integers(0, 6, (4, 4)), np.ones((7, 9), int)) for _ in range(3)]
    return images, labels


def test_the_score_is_that_of_segmenting_with_the_tuned_settings(
    segmenter: Segmenter, noisy: tuple[list[Array], list[Array]]
) -> None:
    tuning = tune(segmenter, *noisy, search=SMALL)
    assert tuning.score == score(tuning.segmenter, *noisy)
    assert tuning.start_score == score(segmenter, *noisy)
    assert tuning.score > tuning.start_score


def test_the_chosen_row_is_that_of_the_settings_and_none_are_tried_twice(
    segmenter: Segmenter, noisy: tuple[list[Array], list[Array]]
) -> None:
    tuning = tune(segmenter, *noisy, search=SMALL)
    chosen = [row for row in tuning.table if row["chosen"]]
    assert len(chosen) == 1
    assert chosen[0]["score"] == tuning.score > tuning.start_score
    outcome = ("varied", "chosen", "score", "score_1", "score_2", "score_3")
    tried = [tuple(value for name, value in row.items() if name not in outcome) for row in tuning.table]
    assert len(set(tried)) == len(tried)
    config = tuning.segmenter.config
    assert chosen[0]["min_size"] == config.postprocess.min_size
    assert chosen[0]["foreground_threshold"] == config.foreground_threshold
    assert chosen[0]["offsets"] == len(config.neighborhood)


def test_every_value_of_the_search_is_tried(
    segmenter: Segmenter, noisy: tuple[list[Array], list[Array]]
) -> None:
    table = tune(segmenter, *noisy, search=SMALL).table
    assert {row["ranges"] for row in table} == {"1 2 4", "1 3", "1 2 5"}
    assert {row["strides"] for row in table} == {"1 1", "2 2"}
    assert {row["foreground_threshold"] for row in table} >= {0.3, 0.5, 0.6}
    assert {row["merge_sizes"] for row in table} == {"", "20"}
    assert {row["min_size"] for row in table} == {0, 15}
    assert table[0]["varied"] == "start"


def test_tuning_is_deterministic_and_changes_nothing_that_it_was_given(
    segmenter: Segmenter, noisy: tuple[list[Array], list[Array]]
) -> None:
    before = segmenter.config.to_json()
    copies = [[array.copy() for array in arrays] for arrays in noisy]
    first, second = tune(segmenter, *noisy, search=SMALL), tune(segmenter, *noisy, search=SMALL)
    assert first.table == second.table
    assert first.segmenter.config == second.segmenter.config
    assert segmenter.config.to_json() == before
    for given, kept in zip(noisy, copies):
        assert all(np.array_equal(a, b) for a, b in zip(given, kept))


def test_held_out_scores_are_those_of_tuning_on_the_other_images(
    segmenter: Segmenter, noisy: tuple[list[Array], list[Array]]
) -> None:
    images, labels = noisy
    # With one setting to vary, the search on fewer images can try nothing that the search on all did not; as
    # the first value is the model's own, there is one start.
    search = Search(**{**vars(NOTHING), "min_sizes": [0, 15, 40, 300]})
    tuning = tune(segmenter, images, labels, search=search)
    expected = []
    for image in range(3):
        others = [number for number in range(3) if number != image]
        fewer = tune(segmenter, [images[k] for k in others], [labels[k] for k in others], search=search)
        expected.append(score(fewer.segmenter, [images[image]], [labels[image]]))
    assert tuning.held_out_scores == tuple(expected)
    assert tuning.held_out_score == pytest.approx(np.mean(expected))
    for row in tuning.table:
        assert row["score"] == np.mean([float(row[f"score_{number}"]) for number in (1, 2, 3)])


def metric_of_gains(gains: tuple[float, ...]) -> tuple[list[Array], list[Array], Any]:
    """Images, labels, and a metric by which losing all objects gains this much on each of the images."""
    images, labels = fields(len(gains))
    for number, truth in enumerate(labels):
        truth[truth > 9 - number] = 0

    def metric(truth: Array, prediction: Array) -> float:
        return 0.5 if prediction.any() else 0.5 + gains[9 - truth.max()]

    return images, labels, metric


@pytest.mark.parametrize(
    ("gains", "taken"),
    [
        ((0.01,), True),
        ((0.0,), False),
        ((0.3, 0.01), True),
        ((0.5, -0.01), False),
        ((0.3, 0.3, -0.1), True),  # 0.17 with a standard error of 0.13
        ((0.6, 0.0, -0.1), False),  # 0.17 with a standard error of 0.22
        ((-0.1, -0.1, -0.1), False),
    ],
)
def test_a_value_is_taken_if_its_mean_gain_exceeds_the_standard_error(
    gains: tuple[float, ...], taken: bool
) -> None:
    images, labels, metric = metric_of_gains(gains)
    own = GOOD.postprocess.min_size
    search = Search(**{**vars(NOTHING), "min_sizes": [own, 2500]})
    tuning = hue_segmenter().tune(images, labels, metric=metric, search=search)
    assert tuning.segmenter.config.postprocess.min_size == (2500 if taken else own)
    assert tuning.score == pytest.approx(0.5 + (np.mean(gains) if taken else 0))


@pytest.mark.parametrize(("gains", "taken"), [((0.6, 0.0, -0.1), True), ((0.1, 0.1, -0.3), False)])
def test_the_search_starts_from_its_first_values_if_their_mean_is_higher(
    gains: tuple[float, ...], taken: bool
) -> None:
    images, labels, metric = metric_of_gains(gains)
    search = Search(**{**vars(NOTHING), "min_sizes": [2500]})
    tuning = hue_segmenter().tune(images, labels, metric=metric, search=search)
    assert tuning.segmenter.config.postprocess.min_size == (2500 if taken else GOOD.postprocess.min_size)
    assert [row["varied"] for row in tuning.table] == ["start", "usual"]


def test_of_several_sure_gains_the_surest_is_taken_and_of_equal_ones_the_first() -> None:
    start, lucky, steady, again = (
        _Trial(GOOD, name, scores)
        for name, scores in {
            "start": (0.5, 0.5, 0.5),
            "lucky": (0.5, 0.5, 0.8),
            "steady": (0.55, 0.56, 0.57),
            "again": (0.55, 0.56, 0.57),
        }.items()
    )
    assert _surest(start, [lucky, steady, again], range(3)) is steady
    assert _surest(start, [lucky, again, steady], [2]) is lucky
    assert _surest(start, [lucky], range(3)) is start
    assert _surest(steady, [start, again], range(3)) is steady
    assert _surest(start, [], range(3)) is start


def test_thresholds_halfway_to_the_neighbors_of_the_best_are_tried() -> None:
    search = Search(**{**vars(NOTHING), "foreground_thresholds": [0.2, 0.9, 0.6]})
    table = hue_segmenter().tune(*fields(1), search=search).table
    assert [row["foreground_threshold"] for row in table] == [0.5, 0.2, 0.9, 0.6, 0.35, 0.55]


def test_one_image_has_no_held_out_score(
    segmenter: Segmenter, noisy: tuple[list[Array], list[Array]]
) -> None:
    images, labels = noisy
    tuning = tune(segmenter, images[:1], labels[:1], search=NOTHING)
    assert tuning.held_out_scores == ()
    assert math.isnan(tuning.held_out_score)


def test_an_empty_search_keeps_the_settings(
    segmenter: Segmenter, noisy: tuple[list[Array], list[Array]]
) -> None:
    tuning = tune(segmenter, *noisy, search=NOTHING)
    assert len(tuning.table) == 1
    assert tuning.segmenter.config == segmenter.config


@pytest.mark.parametrize(
    ("names", "function"),
    [
        (("AJI", "aggregated_jaccard_index"), aggregated_jaccard_index),
        (("SBD", "symmetric_best_dice"), symmetric_best_dice),
        (("PQ", "panoptic_quality"), lambda truth, prediction: panoptic_quality(truth, prediction)[0]),
        (("F1", "f1_score"), f1_score),
        (("Dice", "dice"), dice),
    ],
)
def test_metrics_go_by_short_and_long_names(names: tuple[str, str], function: Any) -> None:
    images, labels = fields(1)
    labels[0][18:25] = 0
    wrong = hue_segmenter().with_settings(neighborhood=Neighborhood.from_ranges([1, 3], strides=10))
    expected = function(labels[0], wrong.segment(images[0]))
    assert 0 < expected < 1
    for name in names:
        assert wrong.tune(images, labels, metric=name, search=NOTHING).score == expected


def test_a_function_is_a_metric_and_gets_truth_before_prediction() -> None:
    images, labels = fields(1)
    seen = []

    def fewest(truth: Array, prediction: Array) -> float:
        seen.append((truth, prediction))
        return -float(prediction.max())

    tuning = hue_segmenter().tune(images, labels, metric=fewest, search=SMALL)
    assert all(np.array_equal(truth, labels[0]) for truth, _ in seen)
    assert tuning.score == max(-prediction.max() for _, prediction in seen)


@pytest.mark.parametrize("value", [math.nan, math.inf, "much", None])
def test_a_metric_without_a_finite_number_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="finite number"):
        hue_segmenter().tune(*fields(1), metric=lambda truth, prediction: value)


def test_a_given_foreground_is_used_and_the_threshold_is_left_alone() -> None:
    images, labels = fields(2)
    foregrounds = [truth > 3 for truth in labels]
    truths = [np.where(truth > 3, truth, 0) for truth in labels]
    tuning = hue_segmenter().tune(images, truths, foregrounds=foregrounds, search=SMALL)
    assert {row["foreground_threshold"] for row in tuning.table} == {0.5}
    found = [tuning.segmenter.segment(i, foreground=f) for i, f in zip(images, foregrounds)]
    assert tuning.score == np.mean([aggregated_jaccard_index(t, p) for t, p in zip(truths, found)])


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_the_score_of_a_model_that_resizes_images_is_that_of_segmenting(given: bool, scale: float) -> None:
    images, labels = fields(2)
    masks = [truth > 1 for truth in labels] if given else [None, None]
    tuning = hue_segmenter().with_settings(scale=scale).tune(images, labels, search=SMALL, foregrounds=masks)
    found = [tuning.segmenter.segment(image, foreground=mask) for image, mask in zip(images, masks)]
    assert tuning.segmenter.config.scale == scale
    expected = np.mean([aggregated_jaccard_index(t, p) for t, p in zip(labels, found)])
    assert tuning.score == pytest.approx(expected)
    assert tuning.score > 0.5


def test_filled_holes_stay_in_a_given_foreground() -> None:
    image, labels = field(0)
    holed = np.where(labels == 5, labels, 0)
    holed[23:26, 23:26] = 0
    filling = hue_segmenter().with_settings(postprocess=Postprocess(fill_holes=True))
    tuning = filling.tune([image], [holed], foregrounds=[holed > 0], search=NOTHING)
    assert tuning.score == 1


def test_axes_say_how_images_labels_and_foregrounds_lie() -> None:
    images, labels = fields(1)
    upright = hue_segmenter().tune([images[0][:, :40]], [labels[0][:, :40]], search=NOTHING)
    turned = hue_segmenter().tune([images[0][:, :40].T], [labels[0][:, :40].T], axes="XY", search=NOTHING)
    assert turned.score == upright.score > 0.9


def test_clusterers_and_their_settings_are_compared() -> None:
    images, labels = fields(1)
    own = hue_segmenter(GOOD.changed(clusterer="connected_components", clusterer_settings={"threshold": 0.0}))
    usual = own.tune(images, labels, search=Search(**{**vars(NOTHING), "clusterers": None}))
    assert {row["clusterer"] for row in usual.table} == {"connected_components"}
    assert len(usual.table) == 6
    mutex = hue_segmenter().tune(images, labels, search=Search(**{**vars(NOTHING), "clusterers": None}))
    settings = [row["varied"] for row in mutex.table if row["varied"] == "clusterer"]
    assert len(settings) == 5 + 4  # values of the repulsion, and of the agreement
    named = Search(**{**vars(NOTHING), "clusterers": [("mutex_watershed", {})]})
    tuning = own.tune(images, labels, search=named)
    assert tuning.segmenter.config.clusterer == "mutex_watershed"
    assert tuning.segmenter.config.clusterer_settings == {}
    assert tuning.score > tuning.start_score


def test_any_setting_is_searched_by_its_dotted_key() -> None:
    images, labels = fields(1)
    values = {"postprocess.merge_similarity": [0.5], "clusterer_settings.repulsion": [0.5, 2.0], "views": [4]}
    tuning = hue_segmenter().tune(images, labels, search=Search(**{**vars(NOTHING), "values": values}))
    assert {row["varied"] for row in tuning.table} == {"start", "usual", *values}
    assert tuning.table[0]["postprocess.merge_similarity"] == "None"
    assert {row["clusterer_settings.repulsion"] for row in tuning.table} == {"1.0", "0.5", "2.0"}
    assert list(tuning.table[0])[-3:-1] == ["score", "score_1"]


def test_a_key_goes_before_the_field_of_the_same_setting() -> None:
    search = Search(**{**vars(NOTHING), "min_sizes": [3], "values": {"postprocess.min_size": [15]}})
    tuning = hue_segmenter().tune(*fields(1), search=search)
    assert {row["min_size"] for row in tuning.table} == {10, 15}


def test_progress_is_told_of_images_and_of_values() -> None:
    bars = []

    def bar(items: Any, **details: Any) -> Any:
        bars.append((details["desc"], len(items)))
        return items

    hue_segmenter().tune(*fields(2), search=SMALL, progress=bar)
    assert bars[:4] == [("embedding", 2), ("foreground_threshold", 3), ("neighborhood", 3), ("strides", 3)]


@pytest.mark.parametrize(
    ("images", "labels", "options", "message"),
    [
        ([], [], {}, "0 images"),
        (np.zeros((2, 8, 8)), np.ones((1, 8, 8), int), {}, "2 images, 1 labels"),
        ("folder", [], {}, "images must be a list"),
        (np.zeros((8, 8)), [np.ones((8, 8), int)], {}, r"got one image of shape \(8, 8\); pass \[images\]"),
        ([np.zeros((8, 8))], np.ones((8, 8), int), {}, r"got one image of shape \(8, 8\); pass \[labels\]"),
        ([np.zeros((8, 8))], ["rois.zip"], {}, r"'rois\.zip' are outlines.*read_outlines"),
        (np.zeros((1, 8, 8)), 5, {}, "labels must be a list"),
        (np.zeros((1, 8, 8)), np.zeros((1, 8, 8), int), {}, "empty"),
        (np.zeros((2, 8, 8)), np.ones((2, 8, 9), int), {}, "image 1 of the images to tune on.*shape"),
        (np.zeros((1, 8, 8)), np.full((1, 8, 8), 0.5), {}, "image 1 of .*whole numbers"),
        (np.full((1, 8, 8), np.nan), np.ones((1, 8, 8), int), {}, "not finite"),
        (np.zeros((1, 8, 8)), np.ones((1, 8, 8), int), {"foregrounds": []}, "0 foregrounds"),
        (np.zeros((1, 8, 8)), np.ones((1, 8, 8), int), {"foregrounds": [np.ones((9, 8))]}, r"\(9, 8\)"),
        (np.zeros((1, 8, 8)), np.ones((1, 8, 8), int), {"metric": "aij"}, "unknown metric 'aij'.*AJI"),
        (np.zeros((1, 8, 8)), np.ones((1, 8, 8), int), {"metric": 3}, "unknown metric 3"),
        (np.zeros((1, 8, 8)), np.ones((1, 8, 8), int), {"search": {"ranges": []}}, "must be a Search"),
    ],
)
def test_what_cannot_be_tuned_on_is_refused(images: Any, labels: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        hue_segmenter().tune(images, labels, **options)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ranges": [[0]]}, "ranges"),
        ({"directions": [5]}, "directions"),
        ({"strides": [0]}, "strides"),
        ({"foreground_thresholds": [2]}, "foreground_threshold"),
        ({"merge_sizes": [[-1]]}, "sizes"),
        ({"min_sizes": [1.5]}, "min_size"),
        ({"fill_holes": [1]}, "fill_holes"),
        ({"clusterers": ["mutex_watershed"]}, "pair of a name and its settings"),
        ({"clusterers": [("mutex_watershed", {"threshold": 1})]}, "unknown settings"),
        ({"values": {"postprocess.min_size": [-1]}}, "min_size must be an integer of at least 0, got -1"),
        ({"values": {"postprocess.minsize": [1]}}, "cannot vary 'postprocess.minsize'"),
        ({"values": {"neighborhood.ranges": [[1]]}}, "cannot vary 'neighborhood.ranges'.*its own fields"),
        ({"values": {"name": ["x"]}}, "cannot vary 'name'"),
        ({"values": {"clusterer_settings.beta": [1]}}, "cannot vary 'clusterer_settings.beta'"),
    ],
)
def test_values_that_cannot_be_tried_are_refused_before_the_network_runs(
    values: dict[str, Any], message: str
) -> None:
    network = HueNetwork()
    with pytest.raises(InputError, match=message):
        Segmenter(network, GOOD, device="cpu").tune(*fields(1), search=Search(**values))
    assert network.calls == 0


def test_an_unknown_clusterer_is_refused() -> None:
    with pytest.raises(UnknownClustererError, match="mean_shift"):
        hue_segmenter().tune(*fields(1), search=Search(clusterers=[("mean_shaft", {})]))


@pytest.mark.parametrize(
    "values",
    [
        {"strides": 3},
        {"min_sizes": None},
        {"clusterers": "mean_shift"},
        {"values": {"views": 4}},
        {"values": {"views": None}},
    ],
)
def test_a_search_of_anything_but_lists_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="must be a list"):
        Search(**values)


def test_further_values_are_a_dictionary() -> None:
    with pytest.raises(
        InputError, match=r"values of a Search must be a dictionary of lists by key, got \[1\]"
    ):
        Search(values=[1])  # type: ignore[arg-type]


def test_the_table_is_written_with_all_digits(
    tmp_path: Path, segmenter: Segmenter, noisy: tuple[list[Array], list[Array]]
) -> None:
    tuning = tune(segmenter, *noisy, search=SMALL)
    tuning.write(tmp_path / "tried.csv")
    with (tmp_path / "tried.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(tuning.table[0])
    assert [float(row["score"]) for row in rows] == [row["score"] for row in tuning.table]
    assert [row["merge_sizes"] for row in rows] == [row["merge_sizes"] for row in tuning.table]


@pytest.fixture
def pyplot() -> Any:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


def test_a_plot_shows_every_trial_by_what_was_varied_and_rings_the_chosen(pyplot: Any) -> None:
    tuning = hue_segmenter().tune(*fields(2), search=SMALL)
    lines = tuning.plot().get_lines()
    drawn = {line.get_label(): [*zip(line.get_xdata(), line.get_ydata())] for line in lines}
    for varied in {row["varied"] for row in tuning.table}:
        expected = [(n, row["score"]) for n, row in enumerate(tuning.table, 1) if row["varied"] == varied]
        assert drawn[str(varied).replace("_", " ")] == expected
    ((number, value),) = drawn["chosen"]
    assert tuning.table[number - 1]["chosen"]
    assert value == tuning.score
    assert sum(line.get_color() == "0.8" for line in lines) == 2


def test_a_plot_goes_into_given_axes(pyplot: Any) -> None:
    axes = pyplot.figure().add_subplot()
    assert hue_segmenter().tune(*fields(1), search=NOTHING).plot(axes) is axes
    assert len(pyplot.get_fignums()) == 1


def test_a_plot_without_matplotlib_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    tuning = hue_segmenter().tune(*fields(1), search=NOTHING)
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[plot\]"):
        tuning.plot()


def test_settings_survive_a_file(tmp_path: Path, segmenter: Segmenter) -> None:
    changed = segmenter.with_settings(
        neighborhood=Neighborhood([(0, 1), (3, -2), (-1, 0)], (True, False, True), (4, 3)),
        clusterer="agglomeration",
        clusterer_settings={"threshold": 0.3, "smoothing": 2.0},
        foreground_threshold=0.1 + 0.2,
        postprocess=Postprocess(merge_sizes=(30, 20), min_size=7, fill_holes=True, clear_border=True),
    )
    changed.save_settings(tmp_path / "settings.json")
    again = segmenter.with_settings_from(tmp_path / "settings.json")
    assert again.config == changed.config
    assert again.config != segmenter.config
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]


def test_what_a_settings_file_does_not_hold_stays(tmp_path: Path, segmenter: Segmenter) -> None:
    path = tmp_path / "mine.json"
    path.write_text('{"neighborhood": {"ranges": [1, 6], "strides": 3}}', encoding="utf-8")
    config = segmenter.with_settings_from(path).config
    assert config == segmenter.config.changed(neighborhood=Neighborhood.from_ranges([1, 6], strides=3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("\xff", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "holds list"),
        ('{"network": {}}', "holds .*network"),
        ('{"name": "x"}', "holds .*name"),
        ('{"foreground_threshold": NaN}', "foreground_threshold"),
        ('{"foreground_threshold": "0.5"}', "foreground_threshold"),
        ('{"postprocess": {"minsize": 3}}', "minsize"),
        ('{"postprocess": null}', "postprocess"),
        ('{"neighborhood": {"ranges": [1], "range": 3}}', "range"),
        ('{"clusterer": 3}', "clusterer"),
        ('{"clusterer_settings": {"x": 1}}', "'x'"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, segmenter: Segmenter, text: str, message: str) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=message):
        segmenter.with_settings_from(path)


def test_a_missing_settings_file_is_an_error_of_the_system(tmp_path: Path, segmenter: Segmenter) -> None:
    with pytest.raises(FileNotFoundError):
        segmenter.with_settings_from(tmp_path / "none.json")


def test_settings_that_json_does_not_know_are_refused_and_leave_the_file(
    tmp_path: Path, segmenter: Segmenter
) -> None:
    path = tmp_path / "settings.json"
    segmenter.save_settings(path)
    before = path.read_bytes()
    odd = segmenter.with_settings(
        clusterer="connected_components", clusterer_settings={"threshold": np.float32(0.5)}
    )
    with pytest.raises(InputError, match="JSON"):
        odd.save_settings(path)
    with pytest.raises(InputError, match="json"):
        segmenter.save_settings(tmp_path / "settings.txt")
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.fixture
def data(tmp_path: Path, noisy: tuple[list[Array], list[Array]]) -> Path:
    """A data folder of three images and their labels."""
    for part, arrays in zip(("images", "labels"), noisy):
        (tmp_path / "data" / part).mkdir(parents=True)
        for name, array in zip("abc", arrays):
            tifffile.imwrite(tmp_path / "data" / part / f"{name}.tif", array.astype(np.uint16))
    return tmp_path / "data"


@pytest.mark.parametrize("foreground", ["model", "truth"])
def test_the_command_writes_the_settings_that_tuning_finds(
    foreground: str,
    data: Path,
    noisy: tuple[list[Array], list[Array]],
    checkpoint_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("pixel_embedded_affinity.tune.tune", partial(tune, search=SMALL))  # to save time
    settings, table = tmp_path / "settings.json", tmp_path / "tried.csv"
    command = ["tune", "--weights", str(checkpoint_file), "--data", str(data), "--layout", "folders"]
    command += ["--limit", "2", "--metric", "SBD", "--foreground", foreground]
    command += ["--output", str(settings), "--table", str(table), "--device", "cpu"]
    assert main(command) == 0
    segmenter = Segmenter.from_file(checkpoint_file, device="cpu")
    images, labels = [noisy[0][0], noisy[0][1]], [noisy[1][0], noisy[1][1]]
    given = [truth > 0 for truth in labels] if foreground == "truth" else None
    expected = segmenter.tune(images, labels, metric="SBD", foregrounds=given)
    assert segmenter.with_settings_from(settings).config == expected.segmenter.config
    assert len(table.read_text().splitlines()) == len(expected.table) + 1
    summary, by_image = capsys.readouterr().out.split("\n\n")
    lines = dict(line.rsplit(maxsplit=1) for line in summary.splitlines())
    assert lines["images"] == "2"
    assert lines["SBD after"] == f"{expected.score:.4f}"
    chosen = next(row for row in expected.table if row["chosen"])
    assert [line.split() for line in by_image.splitlines()] == [
        ["image", "SBD", "before", "after", "leave-one-out"],
        *(
            [name, *(f"{score:.4f}" for score in scores)]
            for name, *scores in zip(
                "ab",
                (expected.table[0][key] for key in ("score_1", "score_2")),
                (chosen[key] for key in ("score_1", "score_2")),
                expected.held_out_scores,
            )
        ),
    ]


def test_the_command_says_that_settings_may_not_suit_other_images(
    data: Path,
    checkpoint_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def worse(*arguments: Any, **options: Any) -> Any:
        found = tune(*arguments, **options, search=SMALL)
        return replace(found, held_out_scores=(found.start_score - offset,) * 3)

    command = ["tune", "--weights", str(checkpoint_file), "--data", str(data), "--layout", "folders"]
    command += ["--output", str(tmp_path / "settings.json"), "--device", "cpu"]
    monkeypatch.setattr("pixel_embedded_affinity.tune.tune", worse)
    for offset in (0.1, -0.1):
        assert main(command) == 0
        assert ("may not suit further images" in capsys.readouterr().err) == (offset > 0)


def test_settings_that_are_only_tried_say_nothing_of_the_images(caplog: pytest.LogCaptureFixture) -> None:
    images, labels = fields(1)
    values = {"postprocess.noise_floor": [0.0, 1.0]}
    hue_segmenter().tune(images, labels, search=Search(values=values))
    assert "as in noise" not in caplog.text
    hue_segmenter().with_settings(**{"postprocess.noise_floor": 1.0}).segment(images[0])
    assert "as in noise" in caplog.text


def test_segment_takes_a_settings_file_and_options_go_before_it(
    data: Path, checkpoint_file: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.json"
    tuned = Segmenter.from_file(checkpoint_file, device="cpu").with_settings(
        neighborhood=Neighborhood.from_ranges([1, 3]), postprocess=Postprocess(merge_sizes=(40,), min_size=60)
    )
    tuned.save_settings(settings)
    image = data / "images" / "a.tif"
    command = ["segment", str(image), "--weights", str(checkpoint_file), "--device", "cpu"]
    command += ["--settings", str(settings), "--overwrite", "--output", str(tmp_path / "results")]
    for more, min_size in (([], 60), (["--min-size", "3"], 3)):
        assert main([*command, *more]) == 0
        labels = tifffile.imread(tmp_path / "results" / "a_labels.tif")
        assert np.array_equal(labels, tuned.segment(image, min_size=min_size))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--output", "settings.txt"], ".json"),
        (["--output", "missing/settings.json"], "missing"),
        (["--output", "s.json", "--table", "tried.txt"], ".csv"),
        (["--output", "s.json", "--limit", "0"], "--limit"),
        (["--output", "s.json", "--metric", "aij"], "unknown metric 'aij'"),
        (["--output", "s.json", "--settings", "none.json"], "none.json"),
        (["--output", "s.json", "--split", "tset"], "'tset'"),
    ],
)
def test_the_command_refuses_what_cannot_work_in_one_line(
    more: list[str],
    expected: str,
    data: Path,
    checkpoint_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["tune", "--weights", str(checkpoint_file), "--data", str(data), "--layout", "folders", *more]
    assert main(command) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("pea: error: ")
    assert expected in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "s.json").exists()


@pytest.mark.parametrize("metric", ["VOI", "adapted_rand_error"])
def test_the_command_shows_errors_as_they_are(
    data: Path,
    checkpoint_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    metric: str,
) -> None:
    """The scores are their negatives, since the best score is the highest."""
    found = []

    def kept(*arguments: Any, **options: Any) -> Any:
        found.append(tune(*arguments, **options, search=SMALL))
        return found[-1]

    monkeypatch.setattr("pixel_embedded_affinity.tune.tune", kept)
    command = ["tune", "--weights", str(checkpoint_file), "--data", str(data), "--layout", "folders"]
    assert main([*command, "--metric", metric, "--output", str(tmp_path / "s.json"), "--device", "cpu"]) == 0
    (tuning,) = found
    assert tuning.score < 0
    summary, by_image = capsys.readouterr().out.split("\n\n")
    assert f"{metric} before" in summary
    for score in (tuning.start_score, tuning.score, tuning.held_out_score):
        assert f" {-score:.4f}" in summary
    assert f" {-tuning.chosen['score_1']:.4f}" in by_image
    assert "-0." not in by_image


def test_a_limit_spreads_over_the_images(
    data: Path, checkpoint_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "defgh":
        for part in ("images", "labels"):
            (data / part / f"{name}.tif").write_bytes((data / part / "a.tif").read_bytes())
    seen: list[str] = []

    def note(pairs: Any, *_: Any, **__: Any) -> Any:
        seen.extend(pair.name for pair in pairs)
        raise InputError("enough")

    monkeypatch.setattr("pixel_embedded_affinity.data.layouts.load", note)
    command = ["tune", "--weights", str(checkpoint_file), "--data", str(data), "--layout", "folders"]
    assert main([*command, "--limit", "3", "--output", str(tmp_path / "s.json")]) == 2
    assert seen == ["a", "c", "f"]


def test_the_settings_file_is_json_that_a_person_can_read(tmp_path: Path, segmenter: Segmenter) -> None:
    segmenter.save_settings(tmp_path / "settings.json")
    text = (tmp_path / "settings.json").read_text(encoding="utf-8")
    values = json.loads(text)
    assert values["postprocess"]["min_size"] == 0
    assert values["foreground_threshold"] == 0.5
    assert len(text.splitlines()) > 5


@pytest.mark.parametrize(
    ("name", "warned"),
    [("leaves", True), ("nuclei", False), ("nuclei-finetuned", False), ("nuclei-adapted", False)],
)
def test_settings_of_another_model_are_used_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, warned: bool
) -> None:
    nuclei = Segmenter.pretrained("nuclei", device="cpu", threads=1)
    written = nuclei.config.changed(name=name, foreground_threshold=0.25)
    write_settings(tmp_path / "settings.json", written)
    assert nuclei.with_settings_from(tmp_path / "settings.json").config.foreground_threshold == 0.25
    message = f"were written for the model {name}, and are used with nuclei"
    assert (message in caplog.text) == warned


@pytest.mark.parametrize(("version", "warned"), [("0.1.0", True), (None, False), ("", False)])
def test_settings_of_another_version_of_the_model_are_used_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, version: str | None, warned: bool
) -> None:
    nuclei = Segmenter.pretrained("nuclei", device="cpu", threads=1)
    path = tmp_path / "settings.json"
    nuclei.save_settings(path)
    values = json.loads(path.read_text())
    assert values["version"] == nuclei.config.version
    path.write_text(json.dumps(values if version is None else {**values, "version": version}))
    assert nuclei.with_settings_from(path).config == nuclei.config
    message = f"were written for the model nuclei {version}, and are used with nuclei {nuclei.config.version}"
    assert (message in caplog.text) == warned
    assert bool(caplog.text) == warned


# --- without labels -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nuclei() -> Segmenter:
    return Segmenter.pretrained("bbbc039-fast", device="cpu", threads=1).with_settings(scale=1)


def test_without_labels_the_scale_of_the_images_is_found(nuclei: Segmenter) -> None:
    field = np.asarray(samples.nuclei().image)[:200, :260].astype(np.float32)
    enlarged = [resize_image(part[np.newaxis], 2.5)[0] for part in (field, field[::-1])]
    tuning = nuclei.tune(enlarged)
    assert 0.3 < tuning.segmenter.config.scale < 0.55
    assert [row["varied"] for row in tuning.table] == ["start", "scale"]
    assert [row["chosen"] for row in tuning.table] == [False, True]
    assert tuning.score > tuning.start_score
    assert nuclei.config.scale == 1
    confidences = [float(tuning.segmenter.analyze(image).table()["confidence"].mean()) for image in enlarged]
    assert tuning.score == pytest.approx(np.mean(confidences))


def test_without_labels_images_of_the_right_size_keep_their_scale(nuclei: Segmenter) -> None:
    tuning = nuclei.tune([samples.nuclei().image])
    assert tuning.segmenter.config.scale == 1
    assert tuning.score == tuning.start_score


def test_without_labels_and_images_there_is_nothing_to_tune_on(nuclei: Segmenter) -> None:
    with pytest.raises(InputError, match="there is no image to tune on; expected at least one"):
        nuclei.tune([])
    with pytest.raises(InputError, match="1 foregrounds for 2 images; expected one for each image"):
        nuclei.tune([samples.nuclei().image] * 2, foregrounds=[None])


def test_a_model_of_volumes_is_tuned_with_its_own_pairs_by_the_errors_of_neurons() -> None:
    sample = samples.neurons()
    part = np.s_[:4, :64, :64]
    segmenter = Segmenter.pretrained("neurons", device="cpu", threads=1)
    search = Search(merge_sizes=[(50,)], min_sizes=[], fill_holes=[], clusterers=[])
    volumes, size = [sample.image[part]], sample.pixel_size
    found = segmenter.tune(volumes, [sample.labels[part]], metric="VOI", search=search, pixel_size=size)
    assert found.score <= 0
    assert found.segmenter.config.neighborhood == segmenter.config.neighborhood
    assert {row["varied"] for row in found.table} >= {"start", "foreground_threshold", "merge_sizes"}
    wider = replace(search, ranges=[[1, 3]], directions=[6], strides=[[1, 2, 2]], foreground_thresholds=[])
    assert len(segmenter.tune(volumes, [sample.labels[part]], metric="ARAND", search=wider).table) > 3


def test_without_labels_the_size_of_voxels_says_the_scale() -> None:
    sample = samples.neurons()
    segmenter = Segmenter.pretrained("neurons", device="cpu", threads=1)
    found = segmenter.tune([sample.image[:4, :48, :48]], pixel_size=sample.pixel_size)
    assert len(found.table) == 2
