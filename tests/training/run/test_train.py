"""A whole training, from files to a model file; killed, resumed, refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.cli import main
from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.data.evaluate import evaluate_model, mean_row
from pixel_embedded_affinity.data.layouts import RAW, DataSettings, find_files, load
from pixel_embedded_affinity.errors import CheckpointError, InputError
from pixel_embedded_affinity.models.checkpoint import read_checkpoint
from pixel_embedded_affinity.normalize import Contrast
from pixel_embedded_affinity.training.data.synthetic import write_synthetic_data
from pixel_embedded_affinity.training.recipe import Recipe
from pixel_embedded_affinity.training.recipe_files import list_recipes
from pixel_embedded_affinity.training.run.logs import read_rows
from pixel_embedded_affinity.training.run.train import _load, train

# Kills itself, as the system would, after the fifth step: the last state is from the fourth step.
KILLED = """
import os, signal, sys
from pixel_embedded_affinity.training.run.train import train

def bar(results, **details):
    for result in results:
        yield result
        if result.step == 5:
            os.kill(os.getpid(), signal.SIGKILL)

train(*sys.argv[1:], device="cpu", progress=bar)
"""


def log_of(folder):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_rows(folder / "log.csv")]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_a_run_that_was_killed_and_resumed_is_one_that_was_not(recipe_file, data, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(recipe_file, data, whole, device="cpu")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED, str(recipe_file), str(data), str(cut)]
    killed = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(log_of(cut)) == 5
    train(recipe_file, data, cut, device="cpu", resume=True)
    assert log_of(cut) == log_of(whole)
    assert [row["step"] for row in log_of(cut)] == ["1", "2", "3", "4", "5", "6"]
    tensors = [read_checkpoint(folder / "model.safetensors").tensors for folder in (cut, whole)]
    assert all(np.array_equal(tensors[0][name], tensors[1][name]) for name in tensors[1])
    assert (cut / "validation.csv").read_text() == (whole / "validation.csv").read_text()


def test_a_run_validates_draws_and_keeps_the_best(recipe, data, tmp_path):
    output = tmp_path / "run"
    model = train(recipe.scheduled(validate_every=2), data, output, device="cpu")
    assert model == output / "model.safetensors"
    rows = read_rows(output / "validation.csv")
    assert [row["step"] for row in rows] == ["2", "4", "6"]
    files = find_files(data, recipe.data, "validation")
    expected = mean_row(evaluate_model(Segmenter.from_file(model, device="cpu"), files))
    assert {k: float(v) for k, v in rows[-1].items() if k != "step"} == pytest.approx(
        {k: v for k, v in expected.items() if k != "name"}
    )
    scores = [float(row["aggregated_jaccard_index"]) for row in rows]
    best = ModelConfig.from_json(read_checkpoint(output / "best.safetensors").config_json)
    assert best.provenance["steps"] == 2 * (1 + scores.index(max(scores)))
    with Image.open(output / "validation" / "c.png") as picture:
        assert picture.size == (88, 40)


def test_the_best_is_chosen_by_the_recipes_measure(recipe, data, tmp_path, monkeypatch):
    from pixel_embedded_affinity.training.run import validation

    scores = iter([0.1, 0.9, 0.9])
    original = validation.mean_row
    monkeypatch.setattr(validation, "mean_row", lambda rows: {**original(rows), "dice": next(scores)})
    train(recipe.scheduled(validate_every=2, best_by="dice"), data, tmp_path / "run", device="cpu")
    best = ModelConfig.from_json(read_checkpoint(tmp_path / "run" / "best.safetensors").config_json)
    assert best.provenance["steps"] == 4


def test_a_validation_that_was_cut_off_is_done_on_resuming(recipe, data, tmp_path, monkeypatch):
    from pixel_embedded_affinity.training.run.validation import Validation

    changed = recipe.scheduled(validate_every=3)
    train(changed, data, tmp_path / "whole", device="cpu")

    def cut(validation):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Validation, "run", cut)
        with pytest.raises(KeyboardInterrupt):
            train(changed, data, tmp_path / "cut", device="cpu")
    train(changed, data, tmp_path / "cut", device="cpu", resume=True)
    for name in ("validation.csv", "log.csv"):
        steps = [row["step"] for row in read_rows(tmp_path / "cut" / name)]
        assert steps == [row["step"] for row in read_rows(tmp_path / "whole" / name)]
    train(changed, data, tmp_path / "cut", device="cpu", resume=True)
    assert [row["step"] for row in read_rows(tmp_path / "cut" / "validation.csv")] == ["3", "6"]


def test_a_model_without_a_foreground_head_is_validated_within_the_true_foreground(recipe, data, tmp_path):
    network = replace(recipe.model.network, foreground_head=False)
    headless = replace(
        recipe, model=recipe.model.changed(network=network), loss=replace(recipe.loss, foreground=0.0)
    )
    train(headless, data, tmp_path / "run", device="cpu", steps=1)
    assert float(read_rows(tmp_path / "run" / "validation.csv")[0]["foreground_dice"]) == 1


def test_only_so_many_validation_images_are_used(recipe, data, tmp_path):
    some = replace(recipe, data=DataSettings(validation=("b", "c"))).scheduled(validation_images=1)
    train(some, data, tmp_path / "run", device="cpu", steps=1)
    assert [file.name for file in (tmp_path / "run" / "validation").iterdir()] == ["b.png"]


def test_without_validation_images_a_warning_is_logged_and_nothing_is_scored(recipe, data, tmp_path, caplog):
    train(replace(recipe, data=DataSettings()), data, tmp_path / "run", device="cpu", steps=1)
    assert "will not be validated" in caplog.text
    assert not (tmp_path / "run" / "validation.csv").exists()
    assert not (tmp_path / "run" / "best.safetensors").exists()


def test_an_output_folder_that_holds_a_run_is_refused_and_left_alone(recipe, data, tmp_path):
    output = tmp_path / "run"
    train(recipe, data, output, device="cpu", steps=1)
    before = {file: file.read_bytes() for file in output.iterdir() if file.is_file()}
    with pytest.raises(InputError, match=r"already holds a run \(state.safetensors.*resume"):
        train(recipe, data, output, device="cpu", steps=1)
    assert before == {file: file.read_bytes() for file in output.iterdir() if file.is_file()}


def test_an_output_folder_with_other_files_is_fine(recipe, data, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert train(recipe, data, tmp_path, device="cpu", steps=1).is_file()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"minutes": 0}, "minutes must be a positive number, got 0"),
        ({"minutes": float("nan")}, "minutes must be a positive number"),
        ({"steps": 0}, r"schedule\.steps"),
        ({"resume": True}, "nothing to resume"),
        ({"resume": True, "warm_start": "model.safetensors"}, "either resume or a warm start"),
    ],
)
def test_arguments_that_cannot_work_are_refused_before_anything_is_written(
    recipe, data, tmp_path, arguments, expected
):
    with pytest.raises(InputError, match=expected):
        train(recipe, data, tmp_path / "run", device="cpu", **arguments)
    assert not (tmp_path / "run").exists()


def test_an_output_that_is_a_file_is_refused(recipe, data, tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        train(recipe, data, tmp_path / "run", device="cpu")


def _palette_colors(data, name):
    (data / "labels" / f"{name}.tif").unlink()
    Image.new("RGB", (44, 40), (255, 0, 0)).save(data / "labels" / f"{name}.png")


def _written(values):
    return lambda data, name: tifffile.imwrite(data / "labels" / f"{name}.tif", values)


BAD_DATA = {
    "size mismatch": (_written(np.ones((40, 45), np.uint8)), r"\(40, 44\) pixels.*\(40, 45\)"),
    "missing partner": (lambda data, name: (data / "labels" / f"{name}.tif").unlink(), "has no labels"),
    "colors of a palette": (_palette_colors, "colors are not labels"),
    "fractions": (_written(np.full((40, 44), 0.5, np.float32)), "fractions"),
    "negative labels": (_written(np.full((40, 44), -3, np.int16)), "down to -3"),
}


@pytest.mark.parametrize("name", ["a", "c"])
@pytest.mark.parametrize("problem", BAD_DATA)
def test_bad_data_are_named_before_the_first_step(recipe, data, tmp_path, problem, name):
    spoil, expected = BAD_DATA[problem]
    spoil(data, name)
    with pytest.raises(InputError, match=rf"{name}\.(tif|png).*{expected}"):
        train(recipe, data, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_images_of_background_alone_are_trained_beside_others_but_not_alone(recipe, data, tmp_path):
    _written(np.zeros((40, 44), np.uint8))(data, "a")
    assert train(recipe, data, tmp_path / "run", device="cpu", steps=1).is_file()
    _written(np.zeros((40, 44), np.uint8))(data, "b")
    with pytest.raises(InputError, match="none of the 2 training label images holds an object"):
        train(recipe, data, tmp_path / "none", device="cpu")
    assert not (tmp_path / "none").exists()


def test_binary_masks_are_not_trained_on(recipe, data, tmp_path):
    for path in (data / "labels").iterdir():
        mask = np.zeros_like(tifffile.imread(path))
        mask[::4, ::4] = 255
        tifffile.imwrite(path, mask)
    with pytest.raises(InputError, match="look like binary masks"):
        train(recipe, data, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_choices_of_the_image_are_said_as_a_recipe_has_them(recipe, data, tmp_path):
    for path in (data / "images").iterdir():
        values = tifffile.imread(path)
        tifffile.imwrite(path, np.stack([values, values / 2]), metadata={"axes": "CYX"})
    with pytest.raises(InputError, match=r"these choices stand in \[data\.image\]: channel = 0"):
        train(recipe, data, tmp_path / "run", device="cpu")
    chosen = replace(recipe, data=replace(recipe.data, image=replace(recipe.data.image, channel=0)))
    train(chosen, data, tmp_path / "run", device="cpu", steps=1)


def test_training_images_have_the_contrast_of_the_model(recipe, data):
    plain, _ = _load(recipe, data)
    changed = replace(recipe, model=recipe.model.changed(contrast=Contrast(median_brightness=(0.9, 0.95))))
    lifted, validation = _load(changed, data)
    assert all(new.image.mean() > old.image.mean() + 0.1 for new, old in zip(lifted, plain))
    raw = load(find_files(data, recipe.data, "validation"), RAW, 1)
    assert all((new.image == old.image).all() for new, old in zip(validation, raw))


def test_another_seed_is_another_run_and_is_resumed_with_it(recipe, data, tmp_path):
    number = recipe.schedule.seed + 1
    model = train(recipe, data, tmp_path / "a", device="cpu", steps=2, seed=number)
    same = train(recipe.scheduled(seed=number), data, tmp_path / "b", device="cpu", steps=2)
    other = train(recipe, data, tmp_path / "c", device="cpu", steps=2)
    found, expected, differing = (read_checkpoint(path) for path in (model, same, other))
    assert all(torch.equal(found.tensors[name], values) for name, values in expected.tensors.items())
    assert any(not torch.equal(found.tensors[name], values) for name, values in differing.tensors.items())
    assert json.loads(found.config_json)["provenance"]["recipe"]["schedule"]["seed"] == number
    with pytest.raises(InputError, match="started with another"):
        train(recipe, data, tmp_path / "a", device="cpu", steps=3, resume=True)


def test_a_baseline_is_not_trained_here(recipe, data, tmp_path):
    from pixel_embedded_affinity.training.studies.variants import variants_of

    for variant in variants_of("baselines", recipe)[:2]:
        with pytest.raises(InputError, match=r"is a baseline.*pea compare"):
            train(variant.recipe, data, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_warm_start_that_does_not_fit_is_refused(recipe, data, tmp_path):
    model = train(recipe, data, tmp_path / "a", device="cpu", steps=1)
    wider = replace(recipe.model.network, filters=(4, 4, 4, 4, 8))
    other = replace(recipe, model=recipe.model.changed(network=wider))
    with pytest.raises(CheckpointError, match="another architecture"):
        train(other, data, tmp_path / "b", device="cpu", warm_start=model)
    assert train(recipe, data, tmp_path / "c", device="cpu", steps=1, warm_start=model).is_file()


def test_minutes_end_a_run_cleanly_and_it_can_go_on(recipe, data, tmp_path):
    output = tmp_path / "run"
    train(recipe, data, output, device="cpu", minutes=1e-6)
    assert [row["step"] for row in read_rows(output / "log.csv")] == ["1"]
    assert [row["step"] for row in read_rows(output / "validation.csv")] == ["1"]
    train(recipe, data, output, device="cpu", resume=True)
    assert [row["step"] for row in read_rows(output / "validation.csv")] == ["1", "6"]
    assert len(read_rows(output / "log.csv")) == 6


def test_the_bar_shows_the_losses(recipe, data, tmp_path):
    shown = []

    class Bar:
        def __init__(self, results, **details):
            self.results, self.details = results, details
            shown.append(details)

        def __iter__(self):
            return iter(self.results)

        def set_postfix(self, losses, refresh):
            shown.append(losses)

    train(recipe, data, tmp_path / "run", device="cpu", steps=2, progress=Bar)
    assert shown[0] == {"desc": "training", "unit": "step", "total": 2, "initial": 0}
    assert list(shown[1]) == ["loss", "self", "cross", "pyramid", "foreground"]
    total = read_rows(tmp_path / "run" / "log.csv")[-1]["total"]
    assert shown[2]["loss"] == f"{float(total):.3f}"


def test_the_command_line_trains_scores_and_names_the_model(recipe_file, data, tmp_path, capsys):
    output = tmp_path / "run"
    command = ["train", str(recipe_file), "--data", str(data), "--output", str(output), "--device", "cpu"]
    assert main([*command, "--steps", "2"]) == 0
    captured = capsys.readouterr()
    heading, scores, model = captured.out.splitlines()
    assert "AJI" in heading
    assert scores.startswith("step 2")
    assert model == str(output / "model.safetensors")
    assert captured.err == ""
    assert main([*command, "--steps", "2"]) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert main([*command, "--steps", "3", "--resume", "--minutes", "1", "--progress"]) == 0
    assert "3/3" in capsys.readouterr().err


def test_a_run_starts_from_a_model_by_its_name(recipe, data, tmp_path, monkeypatch, capsys):
    first = train(recipe, data, tmp_path / "first", device="cpu", steps=1)
    asked = []
    monkeypatch.setattr(
        "pixel_embedded_affinity.training.run.train.resolve", lambda name: asked.append(name) or first
    )
    named = train(recipe, data, tmp_path / "named", device="cpu", steps=1, init="mine")
    given = train(recipe, data, tmp_path / "given", device="cpu", steps=1, warm_start=first)
    assert asked == ["mine"]
    assert named.read_bytes()[-1000:] == given.read_bytes()[-1000:]


def test_a_model_to_start_from_must_be_known_and_fit(recipe_file, data, tmp_path, capsys):
    command = ["train", str(recipe_file), "--data", str(data), "--output", str(tmp_path / "run")]
    assert main([*command, "--init", "nucleii"]) == 2
    assert "did you mean 'nuclei'" in capsys.readouterr().err
    assert main([*command, "--init", "bbbc039-fast"]) == 2
    refusal = capsys.readouterr().err
    assert "the file is of another architecture" in refusal
    assert (
        "bbbc039-fast-1.1.0.safetensors has embedding_channels = 16, filters = [8, 16, 24, 48, 96],"
        in refusal
    )
    assert "; the run embedding_channels = 4, filters = [4," in refusal
    with pytest.raises(SystemExit):
        main([*command, "--init", "nuclei", "--warm-start", "file.safetensors"])
    with pytest.raises(InputError, match="give either a warm start or init"):
        train(recipe_file, data, tmp_path / "run", init="nuclei", warm_start="file.safetensors")
    with pytest.raises(InputError, match=r"give either resume or a warm start"):
        train(recipe_file, data, tmp_path / "run", init="nuclei", resume=True)
    assert not (tmp_path / "run").exists()


def test_the_module_is_the_same_command():
    command = [sys.executable, "-m", "pixel_embedded_affinity.training", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    for option in (
        "--data",
        "--output",
        "--resume",
        "--minutes",
        "--steps",
        "--device",
        "--warm-start",
        "--init",
        "--encoder-weights",
    ):
        assert option in result.stdout
    shown = " ".join(result.stdout.split()).replace("- ", "-")  # a line may end within a name
    assert ", ".join(list_recipes()) in shown


def test_the_quick_recipe_runs_on_the_synthetic_images(tmp_path):
    data = write_synthetic_data(tmp_path / "data")
    recipe = Recipe.from_file("quick").scheduled(crop=32, batch=1, validation_images=1)
    model = train(recipe, data, tmp_path / "run", device="cpu", steps=2)
    (example,) = load(find_files(data, recipe.data, "validation"), RAW, 1)[:1]
    labels = Segmenter.from_file(model, device="cpu").segment(example.image[0])
    assert labels.shape == example.labels.shape
