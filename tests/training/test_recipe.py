"""Recipes: what is valid is read and written back, and all else is refused with the key that is wrong."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.training.recipe import Recipe, Schedule
from pixel_embedded_affinity.training.recipe_files import list_recipes, recipe_path

MODEL = '[model]\nname = "m"\n'
SHIPPED = """
    ac3ac4 bbbc039 bbbc039-fast bbbc039-residual cvppp cvppp-constant cvppp-further
    cvppp-half leaves leaves-further leaves-jpeg neurons neurons-further nuclei nuclei-constant
    nuclei-further nuclei-stained quick
""".split()
PLANTS = "002 016 029 037 045 046 055 061 072 080 088 099 104 108 115 127 130 142 148 159"


@pytest.fixture
def recipe_of(tmp_path: Path) -> Callable[[str], Recipe]:
    """Return a function that reads a recipe of some TOML text after a minimal [model]."""

    def read(text: str) -> Recipe:
        path = tmp_path / "recipe.toml"
        path.write_text(MODEL + text, encoding="utf-8")
        return Recipe.from_file(path)

    return read


@pytest.mark.parametrize("name", SHIPPED)
def test_each_shipped_recipe_is_valid_named_as_its_model_and_survives_the_way_to_dict_and_back(name):
    recipe = Recipe.from_file(name)
    own_names = ("bbbc039-fast", "bbbc039-residual")
    assert recipe.model.name == (name if name in own_names else name.split("-")[0])
    assert recipe.model.license
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_the_shipped_recipes_are_listed():
    assert list_recipes() == SHIPPED


@pytest.mark.parametrize("name", ["leaves", "leaves-further", "leaves-jpeg", "cvppp-constant"])
def test_recipes_for_both_sets_never_train_on_the_validation_plants_of_the_paper_or_a_fifth_of_ara2013(name):
    held_out = Recipe.from_file(name).data.held_out
    every_fifth = [f"ara2013_plant{number:03d}" for number in range(1, 166, 5)]
    assert sorted(held_out) == sorted([f"plant{number}" for number in PLANTS.split()] + every_fifth)


@pytest.mark.parametrize(("name", "part"), [("cvppp", "validation"), ("cvppp-half", "held_out")])
def test_the_cvppp_recipes_never_train_on_the_validation_plants_of_the_paper(name, part):
    data = Recipe.from_file(name).data
    assert sorted(getattr(data, part)) == [f"plant{number}" for number in PLANTS.split()]


def test_the_defaults_are_those_of_the_classes(recipe_of):
    recipe = recipe_of("")
    assert recipe == Recipe(model=recipe.model)


@pytest.mark.parametrize(
    "table", [entry for entry in fields(Recipe) if entry.name != "model"], ids=lambda e: e.name
)
def test_every_key_of_a_recipe_is_in_its_reference(table):
    """The page holds the docstring of every table's class; the docstring has to name every key, and no other."""
    kind = table.default_factory
    section = inspect.getdoc(kind).split("Parameters\n----------\n")[1].split("\nRaises\n")[0]
    heads = re.findall(r"^(\w[\w, ]*) : ", section, re.M)
    assert sorted(name for head in heads for name in head.split(", ")) == sorted(e.name for e in fields(kind))
    page = (Path(__file__).parents[2] / "docs" / "explanation" / "training.rst").read_text(encoding="utf-8")
    assert f"``[{table.name}]``\n   .. autoclass:: {kind.__module__}.{kind.__name__}\n" in page


def test_integers_pass_for_floats_and_lists_for_tuples(recipe_of):
    recipe = recipe_of("[augmentation]\nscale = [1, 2]\nelastic = 0\n")
    assert recipe.augmentation.scale == (1.0, 2.0)
    assert isinstance(recipe.augmentation.elastic, float)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[modle]\n", r"unknown keys \['modle'\] in the recipe.*model.*schedule"),
        ("[schedule]\nstep = 3\n", r"unknown keys \['step'\] in \[schedule\].*steps"),
        ("[view]\nflip = true\n", r"unknown keys \['flip'\] in \[view\].*flips"),
        ("[schedule]\nsteps = 3.0\n", "schedule.steps must be an integer of at least 1, got 3.0"),
        ("[schedule]\nsteps = true\n", "schedule.steps must be an integer of at least 1, got True"),
        ('[schedule]\nsteps = "3"\n', "schedule.steps must be an integer"),
        (
            '[schedule]\nlearning_rate = "high"\n',
            "schedule.learning_rate must be a finite number above 0, got",
        ),
        ("[schedule]\nlearning_rate = true\n", "schedule.learning_rate must be a finite number above 0, got"),
        ("[view]\nflips = 1\n", "view.flips must be true or false, got 1"),
        ("[data]\nlayout = 3\n", "data.layout must be one of 'folders', 'bbbc039', 'cvppp', 'ac3ac4', got 3"),
        ('[data]\nvalidation = "plant1"\n', "data.validation must be a list"),
        ("[data]\nvalidation = [1]\n", "each entry of data.validation must be a string, got 1"),
        ("[augmentation]\nscale = [1.0]\n", "augmentation.scale must be a list of 2 values"),
        ("[neighborhood]\nranges = 5\n", "neighborhood.ranges must be a list"),
        ("[neighborhood]\nranges = [1.5]\n", "each entry of neighborhood.ranges must be an integer"),
        ("[neighborhood]\nranges = []\n", "empty"),
        ("[neighborhood]\ndirections = 6\n", "neighborhood.directions must be one of 4, 8, got 6"),
        ("[schedule]\nsteps = 0\n", "schedule.steps must be an integer of at least 1, got 0"),
        ("[schedule]\nbatch = -1\n", "schedule.batch"),
        ("[schedule]\nsave_every = 0\n", "schedule.save_every"),
        ("[schedule]\nvalidate_every = -1\n", "schedule.validate_every"),
        ("[schedule]\nseed = -1\n", "schedule.seed"),
        ("[schedule]\ncrop = 40\n", "schedule.crop must be a positive multiple of 16, got 40"),
        ("[schedule]\ncrop = 0\n", "schedule.crop"),
        ("[schedule]\nlearning_rate = nan\n", "schedule.learning_rate must be a finite number above 0"),
        ("[schedule]\nclip = 0\n", "schedule.clip"),
        ("[schedule]\naverage = 1.5\n", "schedule.average must be a number from 0 to 1, got 1.5"),
        ("[schedule]\nwarm_up = inf\n", "schedule.warm_up"),
        ('[schedule]\ndecay = "linear"\n', "schedule.decay must be one of 'cosine', 'constant'"),
        ('[schedule]\nbest_by = "voi"\n', "schedule.best_by must be one of 'aggregated_jaccard_index'"),
        ("[loss]\nborder_weight = -1\n", "loss.border_weight"),
        (
            '[loss]\nkind = "margin"\n',
            "loss.kind must be one of 'affinity', 'direct_affinity', 'discriminative', 'malis', got",
        ),
        (
            "[loss]\nself_correlation = false\ncross_correlation = false\n",
            "self_correlation and loss.cross_correlation are both false",
        ),
        ('[loss]\nkind = "direct_affinity"\n', "loss.cross_correlation is True, which is not defined for"),
        ('[loss]\nkind = "discriminative"\ncross_correlation = false\n', "loss.pyramid is True"),
        (
            '[loss]\nkind = "discriminative"\ncross_correlation = false\npyramid = false\nsmall_weight = 1\n',
            "loss.small_weight is 1.0",
        ),
        ('[loss]\nkind = "malis"\ncross_correlation = false\n', "loss.pyramid is True"),
        (
            '[loss]\nkind = "malis"\ncross_correlation = false\npyramid = false\n',
            "'malis' predicts 10 affinities, but model.network.embedding_channels is 16; set it to 10",
        ),
        (
            '[loss]\nkind = "direct_affinity"\ncross_correlation = false\n',
            "predicts 10 affinities, but model.network.embedding_channels is 16; set it to 10",
        ),
        ("[augmentation]\nfocus = 1.5\n", "augmentation.focus must be a number from 0 to 1, got 1.5"),
        ("[loss]\nsmall_area = 0\n", "loss.small_area must be a finite number above 0"),
        (
            '[data]\nlayout = "coco"\n',
            "data.layout must be one of 'folders', 'bbbc039', 'cvppp', 'ac3ac4', got 'coco'",
        ),
        ('[data]\nvalidation = ["a"]\nheld_out = ["a"]\n', r"share \['a'\]"),
        ('[data]\nlayout = "bbbc039"\nvalidation = ["a"]\n', "brings its own split"),
        ("[model.network]\nforeground_head = false\n", "loss.foreground is 1.0"),
        ("[model.network]\nfilter = [1]\n", r"unknown settings \['filter'\]"),
    ],
)
def test_what_is_not_valid_is_refused_with_the_key(recipe_of, text, expected):
    with pytest.raises(InputError, match=expected):
        recipe_of(text)


@pytest.mark.parametrize("values", [{}, {"model": 3}, {"model": {"name": "m"}, "schedule": [1]}])
def test_missing_and_misshapen_tables_are_refused(values):
    with pytest.raises(InputError, match=r"model|schedule"):
        Recipe.from_dict(values)


def test_a_recipe_file_is_named_in_its_errors(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text(MODEL + "[schedule]\nstep = 1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.toml.*unknown keys"):
        Recipe.from_file(path)
    path.write_text("[model\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.toml.*TOML"):
        Recipe.from_file(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"mine\.toml.*UTF-8"):
        Recipe.from_file(path)


@pytest.mark.parametrize("name", ["none_such", "missing.toml", "../recipes/quick", ""])
def test_an_unknown_recipe_is_refused_with_the_shipped_ones(name):
    with pytest.raises(InputError, match=", ".join(SHIPPED)):
        recipe_path(name)


def test_a_file_comes_before_a_shipped_recipe_only_by_its_path(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert recipe_path("quick").parent.name == "recipes"
    (tmp_path / "quick.toml").write_text(MODEL, encoding="utf-8")
    assert recipe_path("quick").parent.name == "recipes"
    assert recipe_path("quick.toml") == Path("quick.toml")


def test_scheduled_changes_the_copy_only_and_is_checked(recipe_of):
    recipe = recipe_of("")
    assert recipe.scheduled(steps=7).schedule.steps == 7
    assert recipe.schedule.steps == Schedule().steps
    with pytest.raises(InputError, match=r"schedule\.steps"):
        recipe.scheduled(steps=0)


def test_the_rate_rises_linearly_and_falls_by_a_cosine_to_zero():
    schedule = Schedule(steps=110, warm_up=10 / 110, learning_rate=2.0)
    rates = [schedule.learning_rate_at(step) for step in range(110)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10] == 2.0
    assert rates[60] == pytest.approx(1.0)
    assert rates[35] == pytest.approx(1 + math.cos(math.pi / 4))
    assert 0 < rates[109] < 0.001


def test_the_rates_are_those_of_the_schedulers_of_torch():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=2.0)
    parts = [LinearLR(optimizer, 0.1, 1.0, total_iters=9), CosineAnnealingLR(optimizer, 100)]
    scheduler = SequentialLR(optimizer, parts, milestones=[10])
    expected = []
    for _ in range(110):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    schedule = Schedule(steps=110, warm_up=10 / 110, learning_rate=2.0)
    assert [schedule.learning_rate_at(step) for step in range(110)] == pytest.approx(expected)


def test_a_constant_rate_stays():
    schedule = Schedule(steps=100, warm_up=0.1, decay="constant", learning_rate=3.0)
    assert [schedule.learning_rate_at(step) for step in (9, 10, 99)] == [3.0, 3.0, 3.0]


@given(steps=st.integers(1, 50), warm_up=st.floats(0, 1), decay=st.sampled_from(["cosine", "constant"]))
@settings(max_examples=50, deadline=None)
def test_every_rate_of_every_schedule_is_positive_and_at_most_the_highest(steps, warm_up, decay):
    schedule = Schedule(steps=steps, warm_up=warm_up, decay=decay, learning_rate=0.5)
    assert all(0 < schedule.learning_rate_at(step) <= 0.5 for step in range(steps))


def test_validation_is_due_at_multiples_and_never_before_the_first_step():
    schedule = Schedule(validate_every=3)
    assert [step for step in range(10) if schedule.validates_after(step)] == [3, 6, 9]
    assert not any(Schedule(validate_every=0).validates_after(step) for step in range(10))
