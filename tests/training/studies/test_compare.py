"""Comparisons at toy size: every row is there, none is done twice, and what does not fit is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from pixel_embedded_affinity.cli import main
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.training.data.synthetic import write_synthetic_volumes
from pixel_embedded_affinity.training.recipe import Recipe
from pixel_embedded_affinity.training.run.logs import read_rows
from pixel_embedded_affinity.training.run.loop import Trainer
from pixel_embedded_affinity.training.studies import compare as module
from pixel_embedded_affinity.training.studies import networks
from pixel_embedded_affinity.training.studies.compare import Budget, compare
from pixel_embedded_affinity.training.studies.scores import format_comparison

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


NARROW = {
    "residual_unet": {},
    "half_unet": {"filters": [4, 4, 4, 4, 4]},
    "resnet50_unet": {"filters": [4, 4, 4, 4, 4], "width": 4},
    "resnet101_unet": {"filters": [4, 4, 4, 4, 4], "width": 4},
}


def test_networks_are_compared_in_the_order_of_the_paper(narrow, data, tmp_path, monkeypatch):
    monkeypatch.setitem(networks.ARCHITECTURES, 2, NARROW)
    rows = study(narrow, data, tmp_path, steps=1, study="networks")
    assert names_of(rows) == [(name, "mutex") for name in NARROW]


@pytest.mark.parametrize(("name", "count"), [("modules", 7), ("views", 5), ("dimensions", 5)])
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

    common = module._Common(module._Data.load(narrow, data), Budget(minutes=1), "cpu", "model")
    run, again = (module._Run(variants(narrow)[0], tmp_path, common, number) for number in (0, 1))
    other = module._Run(variants(narrow)[2], tmp_path, common)
    monkeypatch.setattr(Trainer, "steps", rounds)
    assert (run._steps(), other._steps()) == (60, 30)
    monkeypatch.setattr(Trainer, "steps", None)
    assert run._steps() == again._steps() == 60


def test_timing_ends_with_its_share_of_the_minutes(narrow, data, tmp_path, monkeypatch):
    common = module._Common(module._Data.load(narrow, data), Budget(minutes=2), "cpu", "model")

    def one_round(trainer, minutes=None):
        trainer.seconds += 40
        assert minutes == 0.5
        yield 0

    monkeypatch.setattr(Trainer, "steps", one_round)
    assert module._Run(variants(narrow)[0], tmp_path, common)._steps() == 3


def variants(recipe):
    return module.variants_of("baselines", recipe)


def test_a_comparison_by_minutes_trains_and_reports_them(narrow, data, tmp_path):
    rows = compare(narrow, data, tmp_path, Budget(minutes=0.002), study="modules", device="cpu")
    assert all(int(row["steps"]) >= 1 for row in rows)
    steps = json.loads((tmp_path / "scm" / "budget.json").read_text())["steps"]
    assert rows[0]["steps"] == steps


def test_another_comparison_in_the_folder_is_refused(narrow, data, tmp_path, monkeypatch):
    monkeypatch.setattr(module._Run, "scores", lambda run, clustering, progress: stop())
    with pytest.raises(KeyboardInterrupt):
        study(narrow, data, tmp_path)
    for changed, kwargs, named in [
        (narrow, {"steps": 3}, "steps"),
        (narrow, {"study": "modules"}, "study"),
        (narrow, {"foreground": "truth"}, "foreground"),
        (narrow, {"validation_crop": 20}, "validation_crop"),
        (narrow.scheduled(seed=9), {}, "recipe"),
        (replace(narrow, data=replace(narrow.data, held_out=("a",))), {}, "recipe, training"),
    ]:
        with pytest.raises(InputError, match=f"started with another {named};"):
            study(changed, data, tmp_path, **kwargs)


def stop():
    raise KeyboardInterrupt


def test_a_given_foreground_is_that_of_the_labels(narrow, data, tmp_path):
    rows = study(narrow, data, tmp_path, steps=1, study="modules", foreground="truth")
    assert [row["foreground_dice"] for row in rows] == [1.0] * 7


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
    given = ["seeds", "steps", "minutes"]
    assert cells(leaves[0]) == ["method", "clustering", "SBD", "abs. DiC", "Δ SBD", "Δ abs. DiC", *given]
    assert cells(leaves[2]) == ["PEA", "mutex", "0.8910", "0.8500", "", "", "1", "30", "1.3"]
    assert cells(nuclei[0])[:8] == ["method", "clustering", "AJI", "Dice", "PQ", "Δ AJI", "Δ Dice", "Δ PQ"]
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


# --- seeds ------------------------------------------------------------------------------------------------------


def test_each_seed_is_trained_and_the_table_has_errors_and_differences(narrow, data, tmp_path):
    rows = study(narrow, data, tmp_path, seeds=2)
    assert names_of(rows) == ROWS
    assert {row["seeds"] for row in rows} == {2}
    name = "aggregated_jaccard_index"
    for row in rows:
        parts = [
            float(read_rows(tmp_path / folder / f"{row['clustering']}.csv")[0][name])
            for number in ("", "_seed_2")
            for folder in [row["method"].lower().replace("-", "_") + number]
        ]
        assert row[name] == pytest.approx(np.mean(parts))
        assert row[f"{name}_error"] == pytest.approx(abs(parts[0] - parts[1]) / 2)
        assert row[f"{name}_difference"] == (
            "" if row is rows[0] else pytest.approx(row[name] - rows[0][name])
        )
    assert "±" in (tmp_path / "baselines.md").read_text()
    logs = [read_rows(tmp_path / folder / "log.csv") for folder in ("pea", "pea_seed_2")]
    assert logs[0][0]["total"] != logs[1][0]["total"]


def test_a_comparison_with_one_seed_goes_on_with_more(narrow, data, tmp_path, monkeypatch):
    alone = study(narrow, data, tmp_path, study="dimensions")
    trained = []
    original = Trainer._train_step

    def counted(trainer, batch):
        trained.append(trainer.recipe.schedule.seed)
        return original(trainer, batch)

    monkeypatch.setattr(Trainer, "_train_step", counted)
    study(narrow, data, tmp_path, study="dimensions", seeds=2)
    assert trained == [narrow.schedule.seed + 1] * 10
    assert study(narrow, data, tmp_path, study="dimensions") == alone
    assert len(trained) == 10


def test_a_folder_from_before_there_were_seeds_and_crops_goes_on(narrow, data, tmp_path):
    rows = study(narrow, data, tmp_path, study="modules")
    request = json.loads((tmp_path / "comparison.json").read_text())
    del request["validation_crop"]
    (tmp_path / "comparison.json").write_text(json.dumps(request))
    assert study(narrow, data, tmp_path, study="modules") == rows


@pytest.mark.parametrize(("argument", "value"), [("seeds", 0), ("validation_crop", -1)])
def test_bad_numbers_are_refused(narrow, data, tmp_path, argument, value):
    with pytest.raises(InputError, match=f"{argument} must be an integer of at least"):
        study(narrow, data, tmp_path / "out", **{argument: value})
    assert not (tmp_path / "out").exists()


# --- volumes ----------------------------------------------------------------------------------------------------

VOLUMES = """
[model]
name = "tubes"
clusterer = "multicut"
clusterer_settings = { regions = "sections", smoothing = [0.0, 1.0, 1.0] }
foreground_threshold = 0.0
[model.network]
architecture = "sections_unet"
in_channels = 1
filters = [4, 4, 4, 4, 4]
embedding_channels = 4
[model.neighborhood]
ranges = [1, [1, 3, 3]]
directions = 6
strides = [1, 2, 2]
[data]
validation = ["synthetic_01"]
[neighborhood]
ranges = [1, 2, 4]
directions = 8
across = [[1, 0], [2, 0], [1, 3]]
drawn = 5
[loss]
cross_correlation = false
membrane = 1
[schedule]
batch = 1
crop = [4, 32, 32]
"""
OF_VOLUMES = [
    ("SuperHuman", "mutex"),
    ("SuperHuman", "agglomeration"),
    ("MALA", "agglomeration"),
    ("ML-De", "mutex"),
    ("ML-De", "agglomeration"),
    ("PEA", "mutex"),
    ("PEA", "agglomeration"),
    ("PEA", "adaptive mutex"),
]


@pytest.fixture
def tubes(tmp_path, monkeypatch):
    """A recipe of volumes, and MALA's network with few channels."""
    path = tmp_path / "tubes.toml"
    path.write_text(VOLUMES, encoding="utf-8")
    original = networks.NetworkConfig
    thin = {"mala_unet": {"filters": [2, 2, 2, 2]}}
    monkeypatch.setattr(
        networks, "NetworkConfig", lambda name, *given, **more: original(name, *given, **thin.get(name, more))
    )
    return path


def test_the_table_of_volumes_takes_one_command_and_goes_on_after_an_interruption(
    tubes, tmp_path, capsys, monkeypatch
):
    data, output = (
        write_synthetic_volumes(tmp_path / "volumes", volumes=2, shape=(5, 40, 44)),
        tmp_path / "out",
    )
    command = ["compare", str(tubes), "--data", str(data), "--output", str(output), "--steps", "2"]
    command += ["--device", "cpu", "--validation-crop", "36"]
    original = module.Pipeline.segment

    def cut(pipeline, *given, **settings):
        if pipeline.recipe.loss.kind == "malis":
            raise KeyboardInterrupt
        return original(pipeline, *given, **settings)

    monkeypatch.setattr(module.Pipeline, "segment", cut)
    assert main(command) == 130
    assert names_of(read_rows(output / "baselines.csv")) == OF_VOLUMES[:2]
    monkeypatch.setattr(module.Pipeline, "segment", original)
    first = (output / "superhuman" / "mutex.csv").stat().st_mtime_ns
    capsys.readouterr()
    assert main(command) == 0
    assert (output / "superhuman" / "mutex.csv").stat().st_mtime_ns == first
    assert capsys.readouterr().out == (output / "baselines.md").read_text()
    rows = read_rows(output / "baselines.csv")
    assert names_of(rows) == OF_VOLUMES
    assert all(bool(row["threshold"]) == (row["clustering"] == "agglomeration") for row in rows)
    assert all(
        float(row["voi"]) == pytest.approx(float(row["voi_split"]) + float(row["voi_merge"])) for row in rows
    )


def test_the_middle_of_a_validation_volume_is_scored_and_all_sections(tubes, tmp_path):
    recipe, folder = Recipe.from_file(tubes), tmp_path / "volumes"
    data = module._Data.load(recipe, write_synthetic_volumes(folder, volumes=2, shape=(5, 40, 44)), 37)
    whole = module._Data.load(recipe, folder)
    assert data.validation[0].labels.shape == (5, 37, 37)
    np.testing.assert_array_equal(data.validation[0].labels, whole.validation[0].labels[:, 1:38, 3:40])
    np.testing.assert_array_equal(data.validation[0].image, whole.validation[0].image[:, :, 1:38, 3:40])
    assert data.training[0].labels.shape == (5, 40, 44)
