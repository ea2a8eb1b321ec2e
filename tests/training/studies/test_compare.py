"""Comparisons at toy size: every row is there, none is done twice, and what does not fit is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from pixel_embedded_affinity.cli import main
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.training.run.logs import read_rows
from pixel_embedded_affinity.training.run.loop import Trainer
from pixel_embedded_affinity.training.studies import compare as module
from pixel_embedded_affinity.training.studies.compare import Budget, compare, format_comparison

ROWS = [("ML-De", "mean-shift"), ("ML-De", "mutex"), ("AL", "mutex"), ("PEA", "mean-shift"), ("PEA", "mutex")]


def study(recipe, data, output, steps=2, **kwargs):
    return compare(recipe, data, output, Budget(steps=steps), device="cpu", **kwargs)


def names_of(rows):
    return [(row["method"], row["clustering"]) for row in rows]


@pytest.fixture
def narrow(recipe):
    """The tiny recipe, its model on the pairs that it trains."""
    pairs = type(recipe.model.neighborhood)(recipe.neighborhood.offsets(), strides=(2, 2))
    return replace(recipe, model=recipe.model.changed(neighborhood=pairs))


def test_the_baselines_are_trained_scored_and_written(narrow, data, tmp_path):
    output = tmp_path / "deep" / "comparison"
    rows = study(narrow, data, output)
    assert names_of(rows) == ROWS
    assert {row["steps"] for row in rows} == {2}
    written = read_rows(output / "baselines.csv")
    assert names_of(written) == ROWS
    for row, line in zip(rows, written, strict=True):
        assert float(line["aggregated_jaccard_index"]) == row["aggregated_jaccard_index"]
    assert (output / "baselines.md").read_text() == format_comparison(rows, narrow) + "\n"
    per_image = read_rows(output / "ml_de" / "mean-shift.csv")
    assert [row["name"] for row in per_image] == ["c"]
    assert float(per_image[0]["dice"]) == rows[0]["dice"]
    assert not (output / "al" / "model.safetensors").exists()
    assert not (output / "ml_de" / "model.safetensors").exists()
    assert (output / "pea" / "model.safetensors").exists()


@pytest.mark.parametrize(("name", "count"), [("modules", 4), ("views", 5)])
def test_the_ablations_have_a_row_for_each_variant(narrow, data, tmp_path, name, count):
    rows = study(narrow, data, tmp_path, steps=1, study=name)
    assert len(rows) == count
    assert len({row["method"] for row in rows}) == count
    assert len(read_rows(tmp_path / f"{name}.csv")) == count
    assert len((tmp_path / f"{name}.md").read_text().splitlines()) == count + 2


def test_a_finished_row_is_not_redone_and_an_interrupted_training_goes_on(
    narrow, data, tmp_path, monkeypatch
):
    whole = study(narrow, data, tmp_path / "whole", steps=5)
    trained = []
    original = Trainer._train_step

    def cut(trainer, batch):
        trained.append((trainer.recipe.loss.kind, trainer.step))
        if trained[-1] == ("direct_affinity", 4) and len(trained) == 10:
            raise KeyboardInterrupt
        return original(trainer, batch)

    monkeypatch.setattr(Trainer, "_train_step", cut)
    changed = narrow.scheduled(save_every=3)
    with pytest.raises(KeyboardInterrupt):
        study(changed, data, tmp_path / "cut", steps=5)
    assert names_of(read_rows(tmp_path / "cut" / "baselines.csv")) == ROWS[:2]
    scores = (tmp_path / "cut" / "ml_de" / "mutex.csv").stat().st_mtime_ns
    del trained[:]
    rows = study(changed, data, tmp_path / "cut", steps=5)
    assert trained == [("direct_affinity", 3), ("direct_affinity", 4), *(("affinity", s) for s in range(5))]
    assert (tmp_path / "cut" / "ml_de" / "mutex.csv").stat().st_mtime_ns == scores
    timeless = [{k: v for k, v in row.items() if k != "minutes"} for row in rows]
    assert timeless == [{k: v for k, v in row.items() if k != "minutes"} for row in whole]
    del trained[:]
    assert study(changed, data, tmp_path / "cut", steps=5) == rows
    assert trained == []


def test_minutes_become_as_many_steps_as_fit_once_for_each_variant(narrow, data, tmp_path, monkeypatch):
    def rounds(trainer, minutes=None):
        for step in range(trainer.recipe.schedule.steps):
            # The first step is slow: it is not counted. A step of ML-De takes a second, others two.
            cost = 1.0 if trainer.recipe.loss.kind == "discriminative" else 2.0
            trainer.seconds += cost if step else 60.0
            yield step

    run = module._Run(variants(narrow)[0], tmp_path, loaded(narrow, data), Budget(minutes=1), "cpu", "model")
    other = module._Run(variants(narrow)[2], tmp_path / "b", run.data, Budget(minutes=1), "cpu", "model")
    monkeypatch.setattr(Trainer, "steps", rounds)
    assert (run._steps(), other._steps()) == (60, 30)
    monkeypatch.setattr(Trainer, "steps", None)
    assert run._steps() == 60


def variants(recipe):
    return module.variants_of("baselines", recipe)


def loaded(recipe, data):
    return module._Data.load(recipe, data)


def test_a_comparison_by_minutes_trains_and_reports_them(narrow, data, tmp_path):
    rows = compare(narrow, data, tmp_path, Budget(minutes=0.002), study="modules", device="cpu")
    assert all(int(row["steps"]) >= 1 for row in rows)
    steps = json.loads((tmp_path / "scm" / "budget.json").read_text())["steps"]
    assert rows[0]["steps"] == steps


def test_another_comparison_in_the_folder_is_refused(narrow, data, tmp_path, monkeypatch):
    monkeypatch.setattr(module._Run, "row", lambda run, clustering, progress: stop())
    with pytest.raises(KeyboardInterrupt):
        study(narrow, data, tmp_path)
    for changed, kwargs, named in [
        (narrow, {"steps": 3}, "steps"),
        (narrow, {"study": "modules"}, "study"),
        (narrow, {"foreground": "truth"}, "foreground"),
        (narrow.scheduled(seed=9), {}, "recipe"),
        (replace(narrow, data=replace(narrow.data, held_out=("a",))), {}, "recipe, training"),
    ]:
        with pytest.raises(InputError, match=f"started with another {named};"):
            study(changed, data, tmp_path, **kwargs)


def stop():
    raise KeyboardInterrupt


def test_a_given_foreground_is_that_of_the_labels(narrow, data, tmp_path):
    rows = study(narrow, data, tmp_path, steps=1, study="modules", foreground="truth")
    assert [row["foreground_dice"] for row in rows] == [1.0] * 4


def test_without_a_foreground_head_the_foreground_must_be_given(narrow, data, tmp_path):
    network = replace(narrow.model.network, foreground_head=False)
    loss = replace(narrow.loss, foreground=0.0)
    headless = replace(narrow, model=narrow.model.changed(network=network), loss=loss)
    with pytest.raises(InputError, match="give foreground 'truth'"):
        study(headless, data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_recipe_without_validation_images_is_refused(narrow, data, tmp_path):
    with pytest.raises(InputError, match="no validation images"):
        study(replace(narrow, data=replace(narrow.data, validation=())), data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, "either minutes or steps"),
        ({"minutes": 1, "steps": 1}, "either minutes or steps"),
        ({"minutes": 0}, "minutes must be a positive number"),
        ({"minutes": np.inf}, "minutes must be a positive number"),
        ({"steps": 0}, "steps must be"),
    ],
)
def test_a_budget_is_a_time_or_a_number_of_steps(arguments, expected):
    with pytest.raises(InputError, match=expected):
        Budget(**arguments)


def cells(line):
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_the_table_has_the_measures_of_leaves_or_of_nuclei(recipe):
    row = {"method": "PEA", "clustering": "mutex", "steps": 30, "minutes": 1.26}
    row |= {"symmetric_best_dice": 0.891, "absolute_difference_in_count": 0.85}
    row |= {"aggregated_jaccard_index": 0.8674, "dice": 0.9673, "panoptic_quality": 0.842}
    leaves = format_comparison([row], recipe.scheduled(best_by="symmetric_best_dice")).splitlines()
    nuclei = format_comparison([row], recipe).splitlines()
    assert cells(leaves[0]) == ["method", "clustering", "SBD", "abs. DiC", "steps", "minutes"]
    assert cells(leaves[2]) == ["PEA", "mutex", "0.8910", "0.8500", "30", "1.3"]
    assert cells(nuclei[0]) == ["method", "clustering", "AJI", "Dice", "PQ", "steps", "minutes"]
    assert cells(nuclei[2])[2:5] == ["0.8674", "0.9673", "0.8420"]
    assert len({len(line) for line in nuclei}) == 1


def test_the_command_line_compares_and_prints_the_table(recipe_file, data, tmp_path, capsys):
    command = ["compare", str(recipe_file), "--data", str(data), "--output", str(tmp_path / "out")]
    command += ["--device", "cpu", "--study", "modules"]
    assert main([*command, "--steps", "1"]) == 0
    captured = capsys.readouterr()
    assert captured.out == (tmp_path / "out" / "modules.md").read_text()
    assert captured.err == ""
    assert main([*command, "--steps", "2"]) == 2
    assert "started with another steps" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(command)
