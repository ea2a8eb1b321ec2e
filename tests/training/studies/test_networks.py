"""A recipe with another network compares the same pairs of pixels, as near as its positions allow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.network.base import NETWORKS
from pixel_embedded_affinity.training.recipe import Recipe
from pixel_embedded_affinity.training.studies.networks import ARCHITECTURES, with_network
from pixel_embedded_affinity.training.studies.variants import variants_of


def test_the_study_has_every_built_in_network() -> None:
    assert sorted(name for names in ARCHITECTURES.values() for name in names) == list(NETWORKS.built_in)
    for ndim, names in ARCHITECTURES.items():
        assert all(NETWORKS.get(name).ndim == ndim for name in names)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["cvppp", "bbbc039-residual", "ac3ac4"])
def test_its_own_network_is_the_recipe_itself_and_others_have_their_defaults(name: str) -> None:
    recipe = Recipe.from_file(name)
    variants = {variant.name: variant.recipe for variant in variants_of("networks", recipe)}
    assert list(variants) == list(ARCHITECTURES[recipe.model.ndim])
    own = recipe.model.network
    assert variants[own.architecture] == recipe
    for architecture, other in variants.items():
        network = other.model.network
        assert network.architecture == architecture
        assert (network.in_channels, network.embedding_channels) == (own.in_channels, own.embedding_channels)
        if architecture not in (own.architecture, "residual_unet"):
            assert network.options == {}
        assert (other.loss, other.view) == (recipe.loss, recipe.view)
        assert replace(other.schedule, crop=recipe.schedule.crop) == recipe.schedule


def test_at_half_resolution_distances_are_halved_and_sizes_quartered() -> None:
    recipe = Recipe.from_file("cvppp")
    half = with_network(recipe, "half_unet")
    assert half.neighborhood.ranges == (1, 2, 3, 5, 8, 14, 21)
    assert half.model.neighborhood.offsets == half.neighborhood.offsets()
    assert half.model.neighborhood.strides == (2, 2)
    assert half.model.postprocess.merge_sizes == (1, 5, 12)
    assert half.model.postprocess.merge_radii == (1.5, 2.75)
    assert half.model.postprocess.min_size == 15
    assert half.crop == recipe.crop


def test_from_half_resolution_they_are_doubled_and_sections_are_still_sections() -> None:
    recipe = Recipe.from_file("ac3ac4")
    fine = with_network(recipe, "anisotropic_unet")
    assert fine.neighborhood.ranges == (1, 4, 10, 18, 28)
    assert fine.neighborhood.across[:4] == ((1, 0), (2, 0), (3, 0), (1, 6))
    assert fine.neighborhood.drawn == recipe.neighborhood.drawn
    assert fine.model.neighborhood.strides == (1, 8, 8)
    assert fine.model.neighborhood.offsets == (
        *((-1, 0, 0), (0, -1, 0), (0, 0, -1)),
        *((0, -6, 0), (0, 0, -6), (-2, 0, 0), (0, -18, 0), (0, 0, -18)),
    )
    assert fine.model.neighborhood.attractive == recipe.model.neighborhood.attractive
    assert fine.crop == recipe.crop
    assert with_network(recipe, "mala_unet").crop == (16, 216, 216)


def test_a_network_for_another_number_of_axes_is_refused() -> None:
    with pytest.raises(InputError):
        with_network(Recipe.from_file("cvppp"), "sections_unet")
