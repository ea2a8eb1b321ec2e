"""The loop: it learns, stops in time, and goes on exactly where it was."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.errors import CheckpointError, InputError, PixelEmbeddedAffinityError
from pixel_embedded_affinity.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pixel_embedded_affinity.network.build import load_network
from pixel_embedded_affinity.normalize import Contrast, Normalization
from pixel_embedded_affinity.segmenter import Segmenter
from pixel_embedded_affinity.training.losses.objective import Objective
from pixel_embedded_affinity.training.run.logs import read_rows
from pixel_embedded_affinity.training.run.loop import LOG_FILE, MODEL_FILE, STATE_FILE, Trainer

LOSSES = ("self_correlation", "cross_correlation", "pyramid", "foreground", "total")


def trained(recipe, examples, output, *, until=None, resume=False, **kwargs):
    """A trainer that ran to its end, or was dropped after a number of steps as by a kill."""
    trainer = Trainer(recipe, examples, output, device="cpu", **kwargs)
    if resume:
        trainer.resume()
    for result in trainer.steps():
        if result.step == until:
            break
    return trainer


def logged(output):
    return [
        {name: row[name] for name in ("step", "learning_rate", *LOSSES)}
        for row in read_rows(output / LOG_FILE)
    ]


def test_the_loss_falls_on_a_synthetic_problem(recipe, examples, tmp_path):
    trained(recipe.scheduled(steps=40, batch=2), examples, tmp_path)
    totals = [float(row["total"]) for row in logged(tmp_path)]
    assert len(totals) == 40
    assert np.mean(totals[-8:]) < 0.85 * np.mean(totals[:8])


def test_a_run_writes_its_log_its_state_and_a_model_that_segments(recipe, examples, tmp_path):
    trainer = trained(recipe, examples, tmp_path / "deep" / "run")
    assert trainer.finished
    folder = tmp_path / "deep" / "run"
    assert {file.name for file in folder.iterdir()} == {LOG_FILE, STATE_FILE, MODEL_FILE}
    rows = logged(folder)
    assert [row["step"] for row in rows] == [str(step) for step in range(1, 7)]
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates == [recipe.schedule.learning_rate_at(step) for step in range(6)]
    labels = Segmenter.from_file(folder / MODEL_FILE, device="cpu").segment(np.zeros((20, 30)))
    assert labels.shape == (20, 30)


def test_the_model_says_how_it_was_made(recipe, examples, tmp_path):
    trained(recipe, examples, tmp_path)
    config = ModelConfig.from_json(read_checkpoint(tmp_path / MODEL_FILE).config_json)
    made = config.provenance
    assert config.changed(provenance={}) == recipe.model
    assert (made["steps"], made["images"], made["device"]) == (6, 2, "cpu")
    assert made["recipe"] == {name: value for name, value in recipe.to_dict().items() if name != "model"}
    assert "start" not in made


def test_the_model_names_the_weights_that_it_started_from_also_after_it_was_resumed(
    recipe, examples, tmp_path
):
    trained(recipe, examples, tmp_path / "first")
    first = tmp_path / "first" / MODEL_FILE
    trained(recipe, examples, tmp_path / "second", until=2, warm_start=first)
    resumed = trained(recipe, examples, tmp_path / "second", resume=True)
    start = {
        "name": recipe.model.name,
        "version": recipe.model.version,
        "sha256": hashlib.sha256(first.read_bytes()).hexdigest(),
    }
    assert resumed.config().provenance["start"] == start


@pytest.mark.parametrize("until", [1, 4, 5])
def test_an_interrupted_run_ends_as_one_without_interruption(recipe, examples, tmp_path, until):
    whole = trained(recipe, examples, tmp_path / "whole")
    trained(recipe, examples, tmp_path / "cut", until=until)
    resumed = trained(recipe, examples, tmp_path / "cut", resume=True)
    assert logged(tmp_path / "cut") == logged(tmp_path / "whole")
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name])
        assert torch.equal(whole.average[name], resumed.average[name])


def test_a_resumed_trainer_is_the_saved_one(recipe, examples, tmp_path):
    first = trained(recipe, examples, tmp_path, until=4)
    second = Trainer(recipe, examples, tmp_path, device="cpu")
    second.resume()
    assert (first.step, second.step) == (4, 4)
    states = [trainer.optimizer.state_dict()["state"] for trainer in (first, second)]
    assert list(states[0]) == list(states[1])
    for before, after in zip(states[0].values(), states[1].values(), strict=True):
        for name, value in before.items():
            assert torch.equal(value, after[name])
            assert value.stride() == after[name].stride()


def test_the_state_has_no_part_in_the_global_random_state(recipe, examples, tmp_path):
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    expected = torch.rand(2), np.random.random(2)  # noqa: NPY002
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    first = trained(recipe, examples, tmp_path / "a")
    assert torch.equal(torch.rand(2), expected[0])
    assert np.array_equal(np.random.random(2), expected[1])  # noqa: NPY002
    torch.manual_seed(99)
    second = trained(recipe, examples, tmp_path / "b")
    assert all(
        torch.equal(a, b) for a, b in zip(first.average.values(), second.average.values(), strict=True)
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda recipe: recipe.scheduled(learning_rate=0.5), "schedule"),
        (lambda recipe: recipe.scheduled(seed=7), "schedule"),
        (lambda recipe: replace(recipe, loss=replace(recipe.loss, pyramid=False)), "loss"),
        (lambda recipe: replace(recipe, view=replace(recipe.view, flips=False)), "view"),
        (lambda recipe: replace(recipe, model=recipe.model.changed(scale=2)), "model"),
    ],
)
def test_another_recipe_is_not_resumed(recipe, examples, tmp_path, change, named):
    trained(recipe, examples, tmp_path, until=1)
    with pytest.raises(InputError, match=f"started with another {named}"):
        Trainer(change(recipe), examples, tmp_path, device="cpu").resume()


def test_other_images_are_not_resumed(recipe, examples, tmp_path):
    trained(recipe, examples, tmp_path, until=1)
    with pytest.raises(InputError, match="started with another set of images"):
        Trainer(recipe, examples[:1], tmp_path, device="cpu").resume()
    corrected = [replace(examples[0], labels=np.roll(examples[0].labels, 1, axis=0)), *examples[1:]]
    with pytest.raises(InputError, match="started with another set of images"):
        Trainer(recipe, corrected, tmp_path, device="cpu").resume()
    Trainer(recipe, examples, tmp_path, device="cpu").resume()


def test_a_run_may_be_resumed_with_more_steps_and_says_so(recipe, examples, tmp_path, caplog):
    trained(recipe, examples, tmp_path)
    trained(recipe.scheduled(steps=8, save_every=3), examples, tmp_path, resume=True)
    assert "resumed with 8 steps instead of 6" in caplog.text
    assert [row["step"] for row in logged(tmp_path)] == [str(step) for step in range(1, 9)]


def test_a_finished_run_has_no_more_steps(recipe, examples, tmp_path):
    trained(recipe, examples, tmp_path)
    before = (tmp_path / LOG_FILE).read_bytes()
    assert trained(recipe, examples, tmp_path, resume=True).finished
    assert (tmp_path / LOG_FILE).read_bytes() == before


def test_without_a_state_there_is_nothing_to_resume(recipe, examples, tmp_path):
    with pytest.raises(InputError, match="nothing to resume"):
        Trainer(recipe, examples, tmp_path, device="cpu").resume()


def test_a_state_of_another_network_or_kind_is_refused(recipe, examples, tmp_path):
    trained(recipe, examples, tmp_path, until=1)
    wider = replace(recipe.model.network, filters=(4, 4, 4, 4, 8))
    other = replace(recipe, model=recipe.model.changed(network=wider))
    with pytest.raises(CheckpointError, match="another network"):
        Trainer(other, examples, tmp_path, device="cpu").resume()
    (tmp_path / STATE_FILE).write_bytes((tmp_path / MODEL_FILE).read_bytes())
    with pytest.raises(CheckpointError, match="no training state"):
        Trainer(recipe, examples, tmp_path, device="cpu").resume()
    (tmp_path / STATE_FILE).write_bytes(b"cut")
    with pytest.raises(CheckpointError):
        Trainer(recipe, examples, tmp_path, device="cpu").resume()


def test_a_warm_start_begins_with_the_weights_of_a_model(recipe, examples, tmp_path):
    first = trained(recipe, examples, tmp_path / "a")
    second = Trainer(recipe, examples, tmp_path / "b", device="cpu", warm_start=tmp_path / "a" / MODEL_FILE)
    for name, value in second.network.state_dict().items():
        assert torch.equal(value, first.average[name])
    assert second.step == 0
    with pytest.raises(CheckpointError, match="no such file"):
        Trainer(recipe, examples, tmp_path / "b", device="cpu", warm_start=tmp_path / "none.safetensors")


class Clock:
    """A clock on which training a step takes a second and saving half of one."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        self._slow(monkeypatch, "_train_step", 1.0)
        self._slow(monkeypatch, "save", 0.5)
        self.saved = []

    def _slow(self, monkeypatch, name, seconds):
        original = getattr(Trainer, name)

        def slow(trainer, *arguments):
            self.now += seconds
            if name == "save":
                self.saved.append((trainer.step, self.now))
            return original(trainer, *arguments)

        monkeypatch.setattr(Trainer, name, slow)


@pytest.mark.parametrize("seconds", [5.0, 6.0, 10.0])
def test_the_last_state_is_saved_before_the_minutes_are_up(recipe, examples, tmp_path, monkeypatch, seconds):
    clock = Clock(monkeypatch)
    trainer = Trainer(recipe.scheduled(steps=100), examples, tmp_path, device="cpu")
    done = [result.step for result in trainer.steps(seconds / 60)]
    step, when = clock.saved[-1]
    assert step == trainer.step == done[-1]
    assert seconds - 4 < when <= seconds
    assert not trainer.finished


def test_a_limit_too_short_for_anything_still_makes_a_step(recipe, examples, tmp_path):
    trainer = Trainer(recipe, examples, tmp_path, device="cpu")
    assert [result.step for result in trainer.steps(1e-9)] == [1]
    again = Trainer(recipe, examples, tmp_path, device="cpu")
    again.resume()
    assert again.step == 1


def test_what_the_caller_does_between_steps_is_no_part_of_a_round(recipe, examples, tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    trainer = Trainer(recipe.scheduled(steps=100), examples, tmp_path, device="cpu")
    done = 0
    for result in trainer.steps(0.5):
        done = result.step
        clock.now += 10 if done == 1 else 0
    assert done > 10
    assert trainer.seconds < 21


def test_the_state_is_on_disk_when_a_validation_is_due(recipe, examples, tmp_path):
    trainer = Trainer(recipe.scheduled(validate_every=3, save_every=100), examples, tmp_path, device="cpu")
    for result in trainer.steps():
        if result.step == 3:
            again = Trainer(recipe, examples, tmp_path, device="cpu")
            again.resume()
            assert again.step == 3


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_state(recipe, examples, tmp_path, monkeypatch):
    trainer = Trainer(recipe, examples, tmp_path, device="cpu")
    steps = trainer.steps()
    for _ in range(4):
        next(steps)
    original = Objective.__call__

    def broken(*arguments):
        return replace(original(*arguments), total=torch.tensor(float("nan")))

    monkeypatch.setattr(Objective, "__call__", broken)
    with pytest.raises(PixelEmbeddedAffinityError, match=r"nan at step 5.*learning_rate"):
        next(steps)
    again = Trainer(recipe, examples, tmp_path, device="cpu")
    again.resume()
    assert again.step == 4


def test_the_average_follows_the_weights_more_slowly_as_the_run_goes_on(recipe, examples, tmp_path):
    trainer = Trainer(recipe.scheduled(average=0.9), examples, tmp_path, device="cpu")
    name = "stem.enter.weight"
    steps = trainer.steps()
    before = trainer.average[name].clone()
    next(steps)
    weight = trainer.network.state_dict()[name]
    torch.testing.assert_close(trainer.average[name], before * (1 / 11) + weight * (10 / 11))
    before = trainer.average[name].clone()
    next(steps)
    torch.testing.assert_close(trainer.average[name], before * (2 / 12) + weight * (10 / 12))
    steps.close()


def test_training_images_without_any_object_are_refused(recipe, examples, tmp_path):
    empty = [replace(example, labels=np.zeros_like(example.labels)) for example in examples]
    with pytest.raises(InputError, match="holds an object"):
        Trainer(recipe, empty, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_an_averaged_network_is_a_copy(recipe, examples, tmp_path):
    trainer = Trainer(recipe, examples, tmp_path, device="cpu")
    network = trainer.averaged_network()
    next(iter(network.parameters())).data.zero_()
    assert load_network(recipe.model.network, trainer.average)
    assert bool(trainer.average["stem.enter.weight"].any())


def test_a_state_with_tensors_of_no_known_part_is_refused(recipe, examples, tmp_path):
    write_checkpoint(tmp_path / STATE_FILE, Checkpoint("{}", {"other.x": torch.zeros(1)}))
    with pytest.raises(CheckpointError, match="no training state"):
        Trainer(recipe, examples, tmp_path, device="cpu").resume()


def test_frozen_statistics_stay_while_weights_learn(recipe, examples, tmp_path):
    trainer = Trainer(recipe.scheduled(frozen_statistics=True), examples, tmp_path / "run", device="cpu")
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    list(trainer.steps())
    for name, value in trainer.network.state_dict().items():
        is_statistic = "running" in name or "num_batches" in name
        assert torch.equal(value, before[name]) == is_statistic or "pyramid" in name, name


def test_a_state_from_before_the_statistics_could_be_frozen_can_be_resumed(recipe, examples, tmp_path):
    trainer = Trainer(recipe, examples, tmp_path / "run", device="cpu")
    next(trainer.steps())
    trainer.save()
    saved = json.loads(read_checkpoint(tmp_path / "run" / "state.safetensors").config_json)
    assert "frozen_statistics" not in saved["identity"]["schedule"]
    assert "gamma" not in saved["identity"]["model"]["normalization"]
    assert "contrast" not in saved["identity"]["model"]
    frozen = Trainer(recipe.scheduled(frozen_statistics=True), examples, tmp_path / "run", device="cpu")
    with pytest.raises(InputError, match="another schedule"):
        frozen.resume()


@pytest.mark.parametrize(
    "changes",
    [{"contrast": Contrast(median_brightness=(0.5, 0.6))}, {"normalization": Normalization(gamma=1.2)}],
)
def test_a_run_with_another_contrast_is_not_resumed(recipe, examples, tmp_path, changes):
    Trainer(recipe, examples, tmp_path, device="cpu").save()
    other = replace(recipe, model=recipe.model.changed(**changes))
    with pytest.raises(InputError, match="another model"):
        Trainer(other, examples, tmp_path, device="cpu").resume()
