"""Studies: variants differ in what is compared and in nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.training.recipe import LossSettings, Recipe
from pixel_embedded_affinity.training.studies.pipeline import training_pairs
from pixel_embedded_affinity.training.studies.variants import STUDIES, variants_of


@pytest.fixture(params=["bbbc039-residual", "cvppp", "quick"])
def shipped(request):
    return Recipe.from_file(request.param)


@pytest.mark.parametrize("study", sorted(STUDIES))
def test_variants_share_data_schedule_augmentation_pairs_and_inference_settings(shipped, study):
    for variant in variants_of(study, shipped):
        recipe = variant.recipe
        for part in ("data", "augmentation"):
            assert getattr(recipe, part) == getattr(shipped, part)
        assert recipe.loss.foreground == shipped.loss.foreground
        if study == "networks":  # what they share is in test_networks.py
            continue
        for part in ("schedule", "neighborhood"):
            assert getattr(recipe, part) == getattr(shipped, part)
        widened = replace(recipe.model.network, embedding_channels=16)
        assert recipe.model.changed(network=widened) == shipped.model
        assert (recipe.loss.foreground, recipe.loss.foreground_weight) == (1.0, 1.0)


@pytest.mark.parametrize("study", sorted(STUDIES))
def test_folders_of_variants_differ_and_are_plain_names(shipped, study):
    folders = [variant.folder for variant in variants_of(study, shipped)]
    assert len(set(folders)) == len(folders)
    assert all(folder.replace("_", "").isalnum() and folder == folder.lower() for folder in folders)


def test_the_baselines_are_the_two_other_kinds_of_loss_and_the_recipe_itself(shipped):
    metric, direct, own = variants_of("baselines", shipped)
    assert [variant.name for variant in (metric, direct, own)] == ["ML-De", "AL", "PEA"]
    assert metric.recipe.loss == LossSettings(
        kind="discriminative",
        cross_correlation=False,
        pyramid=False,
        border_width=shipped.loss.border_width,
        small_area=shipped.loss.small_area,
    )
    assert (direct.recipe.loss.kind, direct.recipe.loss.cross_correlation) == ("direct_affinity", False)
    assert direct.recipe.loss.pyramid
    assert direct.recipe.model.network.embedding_channels == len(shipped.neighborhood.offsets())
    assert own.recipe == shipped
    assert (metric.clusterings, direct.clusterings) == (("mean-shift", "mutex"), ("mutex",))


def test_the_adaptive_row_is_there_where_the_model_compares_other_pairs_than_the_training():
    nuclei, leaves = (
        variants_of("baselines", Recipe.from_file(name))[2] for name in ("bbbc039-residual", "cvppp")
    )
    assert nuclei.clusterings == ("mean-shift", "mutex", "adaptive mutex")
    assert leaves.clusterings == ("mean-shift", "mutex")
    recipe = Recipe.from_file("cvppp")
    assert training_pairs(recipe) == recipe.model.neighborhood


def test_the_modules_are_switched_one_by_one(shipped):
    found = {
        v.name: (v.recipe.loss.cross_correlation, v.recipe.loss.pyramid)
        for v in variants_of("modules", shipped)
    }
    assert found == {
        "SCM": (False, False),
        "SCM + EPM": (False, True),
        "SCM + CCM": (True, False),
        "SCM + CCM + EPM": (True, True),
        "all without flips and transposition": (True, True),
        "all without intensity": (True, True),
        "all without cutout": (True, True),
    }


def test_the_last_rows_of_the_modules_lack_one_kind_of_transformation(shipped):
    found = {}
    for variant in variants_of("modules", shipped):
        view = variant.recipe.view
        found[variant.name] = (view.flips, view.transposition, view.intensity, view.cutout)
    assert found["all without flips and transposition"] == (False, False, True, True)
    assert found["all without intensity"] == (True, True, False, True)
    assert found["all without cutout"] == (True, True, True, False)
    assert found["SCM + CCM + EPM"] == (True, True, True, True)


def test_the_dimensions_are_lengths_of_the_embedding(shipped):
    found = {v.name: v.recipe.model.network.embedding_channels for v in variants_of("dimensions", shipped)}
    assert found == {f"dimension {count}": count for count in (4, 8, 16, 32, 64)}


# --- volumes ----------------------------------------------------------------------------------------------------


@pytest.fixture
def volumes():
    return Recipe.from_file("ac3ac4")


def test_the_baselines_of_volumes_are_those_of_the_paper_on_the_pairs_that_they_can_have(volumes):
    direct, malis, metric, own = variants_of("baselines", volumes)
    assert [variant.name for variant in (direct, malis, metric, own)] == [
        "SuperHuman",
        "MALA",
        "ML-De",
        "PEA",
    ]
    assert own.recipe == volumes
    assert own.clusterings == ("mutex", "agglomeration", "adaptive mutex")
    straight = {(-1, 0, 0), (-2, 0, 0), (-3, 0, 0)}
    straight |= {(0, -reach, 0) for reach in (1, 2, 5, 9, 14)} | {
        (0, 0, -reach) for reach in (1, 2, 5, 9, 14)
    }
    assert set(direct.recipe.neighborhood.offsets()) == straight
    assert set(training_pairs(own.recipe).offsets) == set(training_pairs(metric.recipe).offsets) == straight
    assert direct.recipe.model.network.architecture == "sections_unet"
    assert direct.recipe.model.network.embedding_channels == 13
    assert (direct.recipe.loss.kind, direct.recipe.loss.pyramid) == ("direct_affinity", False)
    assert (metric.recipe.loss.kind, metric.clusterings) == ("discriminative", ("mutex", "agglomeration"))
    assert malis.recipe.loss.kind == "malis"
    assert malis.recipe.model.network.architecture == "mala_unet"
    assert malis.recipe.neighborhood.offsets() == ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
    assert malis.recipe.crop == (16, 216, 216)
    assert malis.clusterings == ("agglomeration",)


def test_volumes_have_no_second_view_to_compare(volumes):
    assert [variant.name for variant in variants_of("modules", volumes)] == ["SCM", "SCM + EPM"]
    with pytest.raises(InputError, match="study 'views' compares second views"):
        variants_of("views", volumes)


def test_where_pairs_are_drawn_affinities_are_predicted_along_the_axes():
    direct = variants_of("baselines", Recipe.from_file("cvppp-half"))[1].recipe
    assert direct.neighborhood.offsets() == tuple(
        offset for reach in (1, 2, 3, 5, 8, 14, 21) for offset in ((-reach, 0), (0, -reach))
    )
    assert direct.model.network.embedding_channels == 14


def test_the_transformations_of_the_view_are_switched_one_by_one(recipe):
    without = replace(recipe, loss=replace(recipe.loss, cross_correlation=False))
    found = {}
    for variant in variants_of("views", without):
        view = variant.recipe.view
        assert variant.recipe.loss.cross_correlation
        found[variant.name] = (view.flips, view.transposition, view.intensity, view.cutout)
    assert found == {
        "no transformation": (False, False, False, False),
        "flips and transposition": (True, True, False, False),
        "intensity": (False, False, True, False),
        "cutout": (False, False, False, True),
        "all transformations": (True, True, True, True),
    }


def test_an_unknown_study_or_a_recipe_of_a_baseline_is_refused(recipe):
    with pytest.raises(InputError, match=r"study must be one of 'baselines', .*'dimensions', got 'all'"):
        variants_of("all", recipe)
    baseline = variants_of("baselines", recipe)[0].recipe
    with pytest.raises(InputError, match=r"loss\.kind is 'discriminative'"):
        variants_of("baselines", baseline)
