"""Fine-tuning: what is held out, at which scale, for how long, and that nothing gets worse."""

from __future__ import annotations

import hashlib
import itertools
import math
import pickle
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny3d import tiny_config_3d

from pixel_embedded_affinity import Segmenter, samples
from pixel_embedded_affinity.cli import main
from pixel_embedded_affinity.config.model import ModelConfig, NetworkConfig
from pixel_embedded_affinity.data.layouts import Example
from pixel_embedded_affinity.errors import CheckpointError, InputError
from pixel_embedded_affinity.labels import extent_of
from pixel_embedded_affinity.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.network.build import build_network
from pixel_embedded_affinity.training import finetune as module
from pixel_embedded_affinity.training.data.synthetic import synthetic_volume
from pixel_embedded_affinity.training.finetune import Budget, as_seen, divided, scales_to_try
from pixel_embedded_affinity.training.recipe import Recipe

Pair = tuple[np.ndarray, np.ndarray]


def squares(seed: int, side: int = 10, count: int = 3) -> Pair:
    """An image of bright squares of one size, and its labels."""
    labels = np.zeros((2 * side * count, 2 * side), np.int32)
    for number in range(count):
        labels[2 * side * number + 2 :][:side, 3 : side + 3] = number + 1
    noise = np.random.default_rng(seed).normal(0, 10, labels.shape)
    return np.where(labels > 0, 800, 100) + noise, labels


@pytest.fixture
def pairs() -> list[Pair]:
    return [squares(seed) for seed in range(3)]


@pytest.fixture
def start(checkpoint_file: Path) -> Segmenter:
    return Segmenter.from_file(checkpoint_file, device="cpu", precision="float32")


def scores_of(values: list[float]) -> Callable[[Any, Any], float]:
    """A metric that gives one value after the other, and then the last one forever."""
    given = itertools.chain(values, itertools.repeat(values[-1]))
    return lambda truth, prediction: next(given)


def tuned(segmenter: Segmenter, pairs: list[Pair], **options: Any) -> Any:
    images, labels = zip(*pairs, strict=True)
    return segmenter.finetune(images, labels, **{"steps": 2, **options})


def running_statistics(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return {name: value for name, value in checkpoint.tensors.items() if "running" in name}


# --- the result ------------------------------------------------------------------------------------------------------


def test_the_same_steps_and_seed_give_the_same_model(start: Segmenter, pairs: list[Pair]) -> None:
    first, second = (tuned(start, pairs, steps=6, seed=3) for _ in range(2))
    rows = [[{**row, "minutes": 0} for row in found.table] for found in (first, second)]
    assert rows[0] == rows[1]
    assert [row["step"] for row in first.table] == [0, 1, 2, 3, 4, 5, 6][: len(first.table)]
    assert first.held_out == second.held_out
    for name, value in first.checkpoint.tensors.items():
        assert torch.equal(value, second.checkpoint.tensors[name]), name


def test_it_learns_what_it_did_not_know(start: Segmenter, pairs: list[Pair], caplog: Any) -> None:
    found = tuned(start, pairs, steps=40, metric="Dice")
    assert found.score > found.start_score
    assert found.score == max(row["score"] for row in found.table)
    assert found.has_new_weights
    assert "stay as they were" not in caplog.text


def test_the_start_stays_as_it_is(start: Segmenter, pairs: list[Pair]) -> None:
    before = start.segment(pairs[0][0]), start.config
    tuned(start, pairs, metric=scores_of([0.1, 0.5]))
    assert np.array_equal(start.segment(pairs[0][0]), before[0])
    assert start.config is before[1]


def test_new_weights_keep_the_statistics_and_say_where_they_come_from(
    start: Segmenter, pairs: list[Pair], checkpoint_file: Path, tmp_path: Path
) -> None:
    found = tuned(start, pairs, metric=scores_of([0.1, 0.5]))
    own = read_checkpoint(checkpoint_file)
    for name, value in running_statistics(own).items():
        assert torch.equal(value, found.checkpoint.tensors[name]), name
    assert any(not torch.equal(value, found.checkpoint.tensors[name]) for name, value in own.tensors.items())
    found.save(tmp_path / "mine.safetensors")
    loaded = Segmenter.from_file(tmp_path / "mine.safetensors", device="cpu", precision="float32")
    assert np.array_equal(loaded.segment(pairs[0][0]), found.segmenter.segment(pairs[0][0]))
    assert loaded.config == found.segmenter.config
    said = loaded.config.provenance
    digest = hashlib.sha256(checkpoint_file.read_bytes()).hexdigest()
    assert said["start"] == {"name": "tiny", "version": "1", "sha256": digest}
    assert (said["score_before"], said["score"], said["images"], said["steps"]) == (0.1, 0.5, 2, 1)
    assert said["held_out"] == list(found.held_out)
    assert said["recipe"]["schedule"]["frozen_statistics"] is True
    assert loaded.config.name == "tiny-finetuned"


def test_what_was_fine_tuned_can_be_fine_tuned_again(start: Segmenter, pairs: list[Pair]) -> None:
    first = tuned(start, pairs, metric=scores_of([0.1, 0.5]))
    second = tuned(first.segmenter, pairs, metric=scores_of([0.1, 0.5]))
    assert second.segmenter.config.name == "tiny-finetuned"
    assert second.segmenter.config.provenance["start"]["name"] == "tiny-finetuned"


@pytest.mark.parametrize("later", [0.3, 0.5])
def test_where_nothing_is_better_the_weights_stay(
    later: float, start: Segmenter, pairs: list[Pair], tmp_path: Path, caplog: Any
) -> None:
    found = tuned(start, pairs, metric=scores_of([0.5, later]))
    assert not found.has_new_weights
    assert found.segmenter is start
    assert found.score == found.start_score == 0.5
    assert "no trained model scored higher on the held-out part than 0.5000" in caplog.text
    found.save(tmp_path / "same.safetensors")
    loaded = Segmenter.from_file(tmp_path / "same.safetensors", device="cpu", precision="float32")
    assert np.array_equal(loaded.segment(pairs[0][0]), start.segment(pairs[0][0]))


def test_settings_of_the_start_are_kept(start: Segmenter, pairs: list[Pair]) -> None:
    changed = start.with_settings(foreground_threshold=0.4, views=4)
    found = tuned(changed, pairs, metric=scores_of([0.1, 0.5]))
    assert found.segmenter.config.foreground_threshold == 0.4
    assert found.segmenter.config.views == 4


def test_three_scores_that_are_no_better_end_the_training(start: Segmenter, pairs: list[Pair]) -> None:
    found = tuned(start, pairs, steps=16, metric=scores_of([0.1, 0.2, 0.3, 0.3, 0.2, 0.25, 0.9]))
    assert [row["step"] for row in found.table] == [0, 2, 4, 6, 8, 10]
    assert next(row["step"] for row in found.table if row["chosen"]) == 4


def test_scores_of_zero_do_not_end_the_training_and_a_hint_says_what_may_help(
    start: Segmenter, pairs: list[Pair], caplog: Any
) -> None:
    segmenter = start.with_settings(**{"postprocess.noise_floor": 0.3})
    found = tuned(segmenter, pairs, steps=16, metric=scores_of([0.0] * 7 + [0.4]))
    assert [row["step"] for row in found.table] == [0, 2, 4, 6, 8, 10, 12, 14, 16]
    assert found.score == 0.4
    assert "--noise-floor 0" not in caplog.text
    tuned(segmenter, pairs, steps=2, metric=scores_of([0.0]))
    assert "--noise-floor 0 --min-confidence 0" in caplog.text


def test_objects_without_a_label_are_said(caplog: Any) -> None:
    sample = samples.nuclei()
    labels = np.where(sample.labels % 4 == 1, sample.labels, 0)
    parts = [np.s_[:, :260], np.s_[:, 260:]]
    model = Segmenter.pretrained("bbbc039-fast", device="cpu")
    for used, said in ((labels, True), (sample.labels, False)):
        caplog.clear()
        model.finetune([sample.image[part] for part in parts], [used[part] for part in parts], steps=1)
        assert ("objects where nothing is labeled" in caplog.text) == said


def test_an_exported_file_cannot_learn(onnx_segmenter: Segmenter, pairs: list[Pair]) -> None:
    with pytest.raises(InputError, match=r"exported file \(\.onnx\) cannot learn.*exported from"):
        tuned(onnx_segmenter, pairs)


def test_the_last_step_is_scored(start: Segmenter, pairs: list[Pair]) -> None:
    found = tuned(start, pairs, steps=11, metric=scores_of([n / 100 for n in range(50)]))
    assert found.table[-1]["step"] == 11
    assert found.table[-1]["chosen"]


@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_interruption_keeps_the_best_model_so_far(
    start: Segmenter, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch, caplog: Any, after: int
) -> None:
    """Ctrl-C comes while the next round is trained."""
    enter, scored = module._enter, []

    def watched(*arguments: Any) -> float:
        if len(scored) == after:
            raise KeyboardInterrupt
        scored.append(enter(*arguments))
        return float(scored[-1])

    monkeypatch.setattr(module, "_enter", watched)
    scores = scores_of([0.1, 0.3, 0.2])
    if not after:
        with pytest.raises(KeyboardInterrupt):
            tuned(start, pairs, steps=8, metric=scores)
        return
    found = tuned(start, pairs, steps=8, metric=scores)
    assert len(found.table) == 1 + after
    assert found.score == pytest.approx(0.3)
    assert [row["chosen"] for row in found.table] == [False, True, False][: 1 + after]
    assert "the best model so far is the result" in caplog.text


def test_a_time_ends_the_training(start: Segmenter, pairs: list[Pair]) -> None:
    found = tuned(start, pairs, steps=None, minutes=0.001)
    assert [row["model"] for row in found.table] == ["start", "trained"]
    longer = tuned(start, pairs, steps=None, minutes=0.05, metric=scores_of([n / 1000 for n in range(900)]))
    assert longer.table[-1]["step"] > 1
    assert longer.table[-1]["minutes"] < 1


def test_a_single_image_is_divided(start: Segmenter, pairs: list[Pair]) -> None:
    found = tuned(start, pairs[:1], metric=scores_of([0.1, 0.5]))
    assert found.held_out == ("part of image 1",)
    assert found.segmenter.segment(pairs[0][0]).shape == pairs[0][1].shape


def test_a_half_unet_learns_too(
    strided_segmenter: Segmenter, pairs: list[Pair], tmp_path: Path, make_network: Any
) -> None:
    config = strided_segmenter.config
    write_checkpoint(
        tmp_path / "half.safetensors", Checkpoint(config.to_json(), make_network(config.network).state_dict())
    )
    half = Segmenter.from_file(tmp_path / "half.safetensors", device="cpu")
    assert tuned(half, pairs, metric=scores_of([0.1, 0.5])).has_new_weights


def test_files_and_axes_are_read_as_segment_reads_them(
    start: Segmenter, pairs: list[Pair], tmp_path: Path
) -> None:
    files = [tmp_path / f"{number}.tif" for number in range(len(pairs))]
    for file, (image, _) in zip(files, pairs, strict=True):
        tifffile.imwrite(file, image.astype(np.float32))
    turned = [(image.T, labels.T) for image, labels in pairs]
    one = tuned(start, pairs, metric="Dice")
    other = tuned(start, turned, metric="Dice", axes="XY")
    assert [row["score"] for row in one.table] == [row["score"] for row in other.table]
    read = start.finetune(files, [labels for _, labels in pairs], steps=2, metric="Dice")
    assert [row["score"] for row in one.table] == [row["score"] for row in read.table]
    assert set(read.held_out) < {"0.tif", "1.tif", "2.tif"}


def test_the_bar_shows_the_time_left(start: Segmenter, pairs: list[Pair]) -> None:
    shown: list[dict[str, str]] = []

    class Bar:
        def __init__(self, items: Any, **details: Any) -> None:
            self.items = items
            assert details == {"desc": "learning", "unit": "step", "total": 2}

        def __iter__(self) -> Any:
            return iter(self.items)

        def set_postfix(self, values: dict[str, str], refresh: bool) -> None:
            shown.append(values)

    tuned(start, pairs, progress=Bar, metric=scores_of([0.1, 0.5]))
    assert [entry["best"] for entry in shown] == ["0.500", "0.500"]
    assert shown[-1]["left"] == "0:00"


def test_a_loaded_segmenter_can_be_pickled_and_then_fine_tuned(start: Segmenter, pairs: list[Pair]) -> None:
    copied = pickle.loads(pickle.dumps(start))
    first = tuned(copied, pairs, metric=scores_of([0.1, 0.5]))
    again = pickle.loads(pickle.dumps(first.segmenter))
    assert tuned(again, pairs, metric=scores_of([0.1, 0.5])).has_new_weights


# --- the scale -------------------------------------------------------------------------------------------------------


def with_diameter(path: Path, diameter: float) -> Segmenter:
    """The tiny model, which says the diameter of its objects."""
    stored = read_checkpoint(path)
    config = ModelConfig.from_json(stored.config_json).changed(object_diameter=diameter)
    write_checkpoint(path, replace(stored, config_json=config.to_json()))
    return Segmenter.from_file(path, device="cpu", precision="float32")


def test_a_better_scale_is_taken_before_the_training(checkpoint_file: Path, pairs: list[Pair]) -> None:
    model = with_diameter(checkpoint_file, 2 * 10 * 2 / math.sqrt(math.pi))
    # start; on two images to learn from: own scale, 2, 1.4, auto; the scale; two trained models
    metric = scores_of([0.2, *[0.1] * 2, *[0.6] * 2, *[0.3] * 2, *[0.2] * 2, 0.4, 0.5, 0.5])
    found = tuned(model, pairs, metric=metric)
    assert [(row["model"], row["scale"]) for row in found.table[:3]] == [
        ("start", 1.0),
        ("scale", 2.0),
        ("trained", 2.0),
    ]
    assert found.segmenter.config.scale == 2.0
    kept = tuned(model, pairs, metric=scores_of([0.2, *[0.1] * 2, *[0.6] * 2, *[0.3] * 4, 0.4, 0.3]))
    assert (kept.segmenter.config.scale, kept.has_new_weights) == (2.0, False)


@pytest.mark.parametrize(("score", "expected"), [(0.115, "auto"), (0.125, 2.0)])
def test_a_fixed_scale_must_be_clearly_better_than_those_found_in_the_images(
    checkpoint_file: Path, pairs: list[Pair], score: float, expected: float | str
) -> None:
    model = with_diameter(checkpoint_file, 2 * 10 * 2 / math.sqrt(math.pi)).with_settings(scale="auto")
    # start; on two images to learn from: auto, 2, 1.4; perhaps the scale; two trained models, which are worse
    found = tuned(model, pairs, metric=scores_of([0.2, *[0.1] * 2, *[score] * 2, *[0.05] * 2, *[0.1] * 3]))
    assert [row["scale"] for row in found.table][-1] == expected


def test_no_fixed_scale_is_tried_where_the_objects_of_images_differ_in_size(
    checkpoint_file: Path, pairs: list[Pair]
) -> None:
    model = with_diameter(checkpoint_file, 2 * 10 * 2 / math.sqrt(math.pi)).with_settings(scale="auto")
    twice = [np.kron(array, np.ones((2, 2), array.dtype)) for array in pairs[1]]
    found = tuned(model, [pairs[0], (twice[0], twice[1]), pairs[2], pairs[0]], metric=scores_of([0.2]))
    assert [row["scale"] for row in found.table] == ["auto"] * len(found.table)
    assert "scale" not in [row["model"] for row in found.table]


@settings(deadline=None, max_examples=40)
@given(sides=st.lists(st.integers(3, 30), min_size=1, max_size=5), diameter=st.floats(4, 60))
def test_scales_are_those_of_the_labels(sides: list[int], diameter: float) -> None:
    examples = [Example("e", np.zeros((1, 9, 9), np.float32), squares(0, side)[1]) for side in sides]
    ratios = [min(max(diameter * math.sqrt(math.pi) / (2 * side), 1 / 32), 4.0) for side in sides]
    median = statistics.median(ratios)
    expected: list[Any] = ["auto"]
    for ratio in (median, math.sqrt(median)):
        if not 1 / 1.35 < ratio < 1.35 and float(f"{ratio:.2g}") not in expected:
            expected.append(float(f"{ratio:.2g}"))
    found = scales_to_try(ModelConfig(object_diameter=diameter), examples)
    assert sorted(map(str, found)) == sorted(map(str, expected))


def test_a_model_that_knows_an_extent_brings_all_objects_together_to_it() -> None:
    image, labels = squares(0, 10)
    examples = [Example("e", image[None].astype(np.float32), labels)]
    config = ModelConfig(object_extent=3.0 * extent_of(labels > 0), scale="auto")
    (seen,) = as_seen(examples, config)
    assert seen.labels.shape == tuple(3 * length for length in labels.shape)
    assert scales_to_try(config, examples) == [3.0, 1.7]


def test_a_model_that_knows_no_diameter_keeps_its_scale() -> None:
    examples = [Example("e", np.zeros((1, 9, 9), np.float32), squares(0)[1])]
    assert scales_to_try(ModelConfig(scale=0.5), examples) == []


def test_a_scale_that_is_found_in_each_image_is_that_of_its_labels_in_training() -> None:
    pairs = [squares(0, 10), squares(0, 20), (np.zeros((8, 12)), np.zeros((8, 12), np.int32))]
    examples = [Example("e", image[None].astype(np.float32), labels) for image, labels in pairs]
    config = ModelConfig(object_diameter=40 / math.sqrt(math.pi), scale="auto")
    shapes = [example.labels.shape for example in as_seen(examples, config)]
    assert shapes == [(120, 40), (120, 40), (12, 18)]  # resized by 2, by 1, and by their median
    for example in as_seen(examples, config.changed(scale=0.5)):
        assert example.image.shape[1:] == example.labels.shape
    assert as_seen(examples, config.changed(scale=0.5))[1].labels.max() == 3


# --- what is held out ------------------------------------------------------------------------------------------------


def example(labels: Any, name: str = "e") -> Example:
    array = np.asarray(labels, np.int32)
    return Example(name, np.arange(array.size, dtype=np.float32).reshape(1, *array.shape), array)


@settings(deadline=None, max_examples=60)
@given(filled=st.lists(st.booleans(), min_size=2, max_size=24), seed=st.integers(0, 99))
def test_a_quarter_of_the_images_with_objects_is_held_out(filled: list[bool], seed: int) -> None:
    if sum(filled) < 2:
        filled = [True, True, *filled]
    examples = [example(np.full((2, 2), int(has)), str(number)) for number, has in enumerate(filled)]
    learned, held_out = divided(examples, seed)
    assert sorted(map(id, [*learned, *held_out])) == sorted(map(id, examples))
    assert all(one.labels.any() for one in held_out)
    assert any(one.labels.any() for one in learned)
    assert len(held_out) == max(1, round(sum(filled) / 4))
    assert [one.name for one in divided(examples, seed)[1]] == [one.name for one in held_out]


def test_the_seed_chooses_what_is_held_out() -> None:
    examples = [example([[1]], str(number)) for number in range(8)]
    assert len({tuple(one.name for one in divided(examples, seed)[1]) for seed in range(9)}) > 1


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("objects", "end"), [((1, 6), slice(6, 8)), ((0, 4), slice(0, 2))])
def test_a_quarter_of_a_single_image_is_held_out(objects: tuple[int, int], end: slice, turned: bool) -> None:
    labels = np.zeros((8, 3), np.int32)
    for number, place in enumerate(objects, start=1):
        labels[place : place + 2, 1] = number
    whole = example(labels.T if turned else labels)
    empty = example(np.zeros((2, 2)))
    (learned, other), (held_out,) = divided([empty, whole], 0)
    assert other is empty
    expected = labels[end].T if turned else labels[end]
    assert np.array_equal(held_out.labels > 0, expected > 0)
    assert learned.labels.size + held_out.labels.size == labels.size
    assert learned.labels.max() == len(np.unique(learned.labels[learned.labels > 0]))
    assert held_out.image.shape[1:] == held_out.labels.shape
    assert held_out.name == "part of e"


@pytest.mark.parametrize(
    "labels", [np.zeros((8, 8)), np.eye(8, dtype=int)[:, :1], [[1, 1]], [[1, 0, 0, 0, 0, 0, 0, 0]]]
)
def test_too_few_objects_are_refused(labels: Any) -> None:
    with pytest.raises(InputError, match=r"no objects to hold out beside others.*label more"):
        divided([example(labels)], 0)


def test_binary_masks_in_place_of_labels_are_refused(start: Segmenter, pairs: list[Pair]) -> None:
    images, masks = [image for image, _ in pairs], [(labels > 0) * 255 for _, labels in pairs]
    with pytest.raises(InputError, match=r"all \d+ label images hold a single object.*binary masks"):
        start.finetune(images, masks, steps=1)
    with pytest.raises(InputError, match=r"all \d+ label images hold a single object.*binary masks"):
        start.tune(images, masks)


# --- the budget ------------------------------------------------------------------------------------------------------


def test_time_is_divided_into_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    budget = Budget(1.0)
    now[0] += 12  # a fifth is used up before the training: rounds last 6 s
    budget.start_round(0)
    assert budget.minutes_of_training(3.0) == pytest.approx(45 / 60)
    over = []
    for step in range(1, 25):
        now[0] += 2
        if budget.is_round_over(step):
            over.append(step)
            budget.start_round(step)
    assert over == [3, 6, 9, 12, 15, 18, 21, 24]
    assert budget.left(24) == 0
    now[0] += 100
    assert budget.left(24) == 0
    assert budget.minutes_of_training(3.0) > 0


def test_counted_steps_tell_the_time_left_from_their_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    budget = Budget(steps=16)
    now[0] = 5.0
    budget.start_round(0)
    assert budget.minutes_of_training(3.0) is None
    now[0] = 9.0
    assert not budget.is_round_over(1)
    assert budget.is_round_over(2)
    assert budget.left(2) == pytest.approx(28)


# --- the recipe ------------------------------------------------------------------------------------------------------


def recipe_of(config: ModelConfig, examples: Sequence[Example] = ()) -> Recipe:
    return module._plan(config, examples, Budget(steps=5), 0)


def test_losses_are_those_of_the_models_own_recipe(tiny_config: ModelConfig, tmp_path: Path) -> None:
    said = {
        "loss": {"foreground": 3.0, "cross_correlation": True},
        "neighborhood": {"ranges": [1, 2], "directions": 8},
    }
    recipe = recipe_of(tiny_config.changed(provenance={"recipe": said}))
    assert (recipe.loss.foreground, recipe.loss.cross_correlation) == (3.0, False)
    assert recipe.neighborhood.ranges == (1, 2)
    named = recipe_of(tiny_config.changed(provenance={"recipe": "cvppp"}))
    assert named.loss.small_weight == Recipe.from_file("cvppp").loss.small_weight


def test_without_a_recipe_the_configuration_says_the_pairs(
    tiny_config: ModelConfig, tmp_path: Path, caplog: Any
) -> None:
    recipe = recipe_of(tiny_config)
    assert recipe.neighborhood.ranges == (1, 2, 4)
    assert caplog.text == ""
    broken = recipe_of(tiny_config.changed(provenance={"recipe": {"loss": {"pyramids": 1}}}))
    assert broken == replace(recipe, model=broken.model)
    assert "is not usable" in caplog.text
    assert "pyramids" in caplog.text


@pytest.mark.parametrize("name", ["bbbc039", "bbbc039-fast", "cvppp", "nuclei"])
def test_every_shipped_model_has_a_plan(name: str, tmp_path: Path, caplog: Any) -> None:
    config = Segmenter.pretrained(name, device="cpu", offline=True).config
    recipe = recipe_of(config.changed(scale="auto"))
    assert recipe.neighborhood.ranges[0] == 1
    assert recipe.schedule.frozen_statistics
    assert "usual losses" not in caplog.text


# --- volumes ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def tubes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Segmenter:
    """A model of volumes that knows nothing yet, and small crops to learn from."""
    monkeypatch.setitem(module._CROPS, 3, (4, 32, 32))
    network = NetworkConfig(
        "sections_unet", in_channels=1, embedding_channels=4, options={"filters": [4] * 5}
    )
    neighborhood = Neighborhood.from_ranges([1, (1, 3, 3)], 6)
    size = (0.03, 0.006, 0.006)
    said = {
        "neighborhood": {"ranges": [1, 2, 4], "directions": 8, "across": [[1, 0], [2, 0]]},
        "loss": {"cross_correlation": False, "membrane": 1, "foreground": 3.0},
        "sections": {"shift": 1.0},
    }
    config = tiny_config_3d(
        network=network,
        neighborhood=neighborhood,
        clusterer="agglomeration",
        foreground_threshold=0.0,
        pixel_size=size,
    )
    torch.manual_seed(0)
    tensors = build_network(network).state_dict()
    path = tmp_path / "tubes.safetensors"
    write_checkpoint(path, Checkpoint(config.changed(provenance={"recipe": said}).to_json(), tensors))
    return Segmenter.from_file(path, device="cpu", precision="float32")


def test_a_model_of_volumes_learns_too(
    tubes: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(module, "_RATE", 0.01)  # weights that know nothing have far to go
    volumes = [synthetic_volume((5, 64, 64), seed) for seed in range(2)]
    found = tuned(tubes, volumes, steps=60)
    assert "is not usable" not in caplog.text
    assert [row["model"] for row in found.table][:3] == ["start", "adapted", "trained"]
    assert found.score > found.start_score
    assert found.score <= 0  # the variation of information, turned round
    assert found.has_new_weights
    found.save(tmp_path / "mine.safetensors")
    again = Segmenter.from_file(tmp_path / "mine.safetensors", device="cpu", precision="float32")
    labels = [one.segment(volumes[0][0]) for one in (found.segmenter, again)]
    np.testing.assert_array_equal(*labels)


@pytest.mark.parametrize("better", [True, False])
def test_volumes_change_the_statistics_if_that_scores_better(tubes: Segmenter, better: bool) -> None:
    volumes = [synthetic_volume((5, 64, 64), seed) for seed in range(2)]
    found = tuned(tubes, volumes, metric=scores_of([0.3, 0.3 + (0.2 if better else -0.2), 0.6]))
    assert tubes.origin is not None
    own = running_statistics(tubes.origin())
    kept = all(torch.equal(value, found.checkpoint.tensors[name]) for name, value in own.items())
    assert kept is not better
    made = found.segmenter.config
    assert (made.name, made.provenance["start"]["name"]) == ("tiny3d-finetuned", "tiny3d")
    assert ("adapted" in made.provenance) is better
    stays = tuned(tubes, volumes, metric=scores_of([0.3, 0.3 + (0.2 if better else -0.2), 0.1]))
    assert [row["model"] for row in stays.table if row["chosen"]] == ["adapted" if better else "start"]
    assert stays.has_new_weights is better


def test_volumes_too_small_for_statistics_keep_those_of_the_model(tubes: Segmenter) -> None:
    volumes = [synthetic_volume((3, 48, 48), seed) for seed in range(2)]
    found = tuned(tubes, volumes)
    assert "adapted" not in [row["model"] for row in found.table]


def test_a_single_volume_is_divided_and_its_voxels_are_spoken_of_once(tubes: Segmenter, caplog: Any) -> None:
    image, labels = synthetic_volume((4, 128, 64))
    found = tubes.finetune([image], [labels], steps=2)
    assert found.held_out == ("part of image 1",)
    assert caplog.text.count("the size of the volume's voxels is not known") == 1


def test_volumes_of_other_voxels_are_learned_at_the_scale_of_the_model(tubes: Segmenter) -> None:
    volumes = [synthetic_volume((5, 64, 64), seed) for seed in range(2)]
    found = tuned(tubes.with_settings(scale="auto"), volumes, pixel_size=(0.03, 0.012, 0.006))
    assert found.segmenter.config.scale == "auto"
    examples = [
        Example("e", image[None].astype(np.float32), labels, (0.03, 0.012, 0.006))
        for image, labels in volumes
    ]
    seen = as_seen(examples, found.segmenter.config)
    assert [one.labels.shape for one in seen] == [(5, 128, 64)] * 2
    with pytest.raises(InputError, match="one is not known"):
        tuned(tubes.with_settings(scale="auto"), volumes)


@pytest.mark.parametrize("name", ["ac3ac4", "neurons"])
def test_volumes_are_learned_in_larger_crops_with_their_own_changes_of_sections(
    name: str, caplog: Any
) -> None:
    config = Segmenter.pretrained(name, device="cpu", offline=True).config
    volume = Example("e", np.zeros((1, 9, 200, 200), np.float32), np.ones((9, 200, 200), np.int32))
    recipe = recipe_of(config, [volume])
    assert recipe.crop == (9, 160, 160)
    assert recipe.schedule.frozen_statistics
    assert recipe.sections.shift > 0
    assert recipe.loss.membrane == 1
    assert "usual losses" not in caplog.text


def test_without_a_recipe_the_pairs_of_volumes_are_those_of_the_configuration() -> None:
    config = tiny_config_3d()
    volume = Example("e", np.zeros((1, 8, 32, 32), np.float32), np.ones((8, 32, 32), np.int32))
    recipe = recipe_of(config, [volume])
    assert recipe.neighborhood.ranges == (1, 2, 4)
    assert recipe.neighborhood.across == ((1, 0), (2, 0))
    assert recipe.crop == (8, 160, 160)


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minutes": 1, "steps": 2}, "minutes=1 and steps=2; expected one of them"),
        ({"steps": None, "minutes": 0}, "minutes must be a positive number, got 0"),
        ({"steps": None, "minutes": math.nan}, "minutes must be a positive number"),
        ({"steps": None, "minutes": "10"}, "minutes must be a positive number, got '10'"),
        ({"steps": None, "minutes": True}, "minutes must be a positive number, got True"),
        ({"steps": 0}, "steps must be an integer of at least 1"),
        ({"steps": 2.5}, "steps must be an integer"),
        ({"seed": -1}, "seed must be an integer"),
        ({"metric": "IoU"}, "unknown metric 'IoU'"),
        ({"metric": lambda truth, prediction: math.nan}, "the metric gave nan"),
        ({"axes": "YXC"}, "image 1 of the images to learn from"),
        ({"progress": 5}, "progress must be"),
    ],
)
def test_bad_options_are_refused(
    options: dict[str, Any], message: str, start: Segmenter, pairs: list[Pair]
) -> None:
    with pytest.raises(InputError, match=message):
        tuned(start, pairs, **options)


def test_bad_images_and_labels_are_refused(
    start: Segmenter, pairs: list[Pair], volume_segmenter: Segmenter
) -> None:
    images, labels = zip(*pairs, strict=True)
    refused: list[tuple[Any, Any, str]] = [
        (images, labels[:2], "3 images and 2 labels to learn from"),
        ([], [], "0 images and 0 labels"),
        ("image.tif", labels, "images must be a list"),
        (
            images,
            [labels[0], labels[1], labels[2][:5]],
            "image 3 of the images to learn from: labels of shape",
        ),
        (
            images,
            [labels[0], labels[1] - 1, labels[2]],
            "image 2 of the images to learn from: labels down to -1",
        ),
        (images, [one * 0 for one in labels], "the 3 images have no objects"),
    ]
    for some_images, some_labels, message in refused:
        with pytest.raises(InputError, match=message):
            start.finetune(some_images, some_labels, steps=1)


def test_a_network_in_memory_is_refused(segmenter: Segmenter, pairs: list[Pair]) -> None:
    with pytest.raises(InputError, match="made from a network in memory"):
        tuned(segmenter, pairs)


def test_a_file_that_has_changed_since_is_refused(
    start: Segmenter, pairs: list[Pair], checkpoint_file: Path
) -> None:
    with_diameter(checkpoint_file, 20.0)
    with pytest.raises(CheckpointError, match="SHA-256"):
        tuned(start, pairs)
    checkpoint_file.unlink()
    with pytest.raises(CheckpointError, match="no such file"):
        tuned(start, pairs)


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_writes_a_model_and_says_how_good_it_is(
    data: Path, checkpoint_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "mine.safetensors"
    command = [
        "finetune",
        str(data),
        "--weights",
        str(checkpoint_file),
        "--output",
        str(output),
        "--device",
        "cpu",
    ]
    assert main([*command, "--steps", "2", "--foreground-threshold", "0.45", "--metric", "Dice"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == str(output)
    said = dict(line.split("  ", 1) for line in lines)
    assert said["images"].strip() == "3"
    assert said["held out"].strip() in "abc"
    assert {"Dice before", "Dice after training", "weights"} <= set(said)
    config = Segmenter.from_file(output, device="cpu").config
    assert config.foreground_threshold == 0.45
    assert (config.name == "tiny-finetuned") == (said["weights"].strip() == "new")


def test_the_command_refuses_before_the_work(
    data: Path, checkpoint_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["finetune", str(data), "--weights", str(checkpoint_file)]
    assert main([*command, "--output", str(tmp_path / "mine.pt")]) == 2
    assert "expected a name ending in .safetensors" in capsys.readouterr().err
    (tmp_path / "folder.safetensors").mkdir()
    assert main([*command, "--output", str(tmp_path / "folder.safetensors")]) == 2
    assert "is a folder; expected the path of a file" in capsys.readouterr().err
    assert main([*command, "--output", str(tmp_path / "m.safetensors"), "--minutes", "-1"]) == 2
    assert "minutes must be a positive number" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "--output", str(tmp_path / "m.safetensors"), "--minutes", "1", "--steps", "2"])
    assert not (tmp_path / "m.safetensors").exists()


def test_a_folder_that_takes_no_files_is_refused_before_the_work(
    data: Path,
    checkpoint_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refused(**_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pixel_embedded_affinity.cli.loading.TemporaryFile", refused)
    output = tmp_path / "m.safetensors"
    command = ["finetune", str(data), "--weights", str(checkpoint_file), "--output", str(output)]
    assert main(command) == 2
    said = (
        f"--output {output}: nothing can be written in this folder (Permission denied); name another folder"
    )
    assert said in capsys.readouterr().err
