"""The comparison's way from a network to labels: the segmenter's own for PEA, exact for made-up outputs."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.network.base import NetworkOutput
from pixel_embedded_affinity.segmenter import Segmenter
from pixel_embedded_affinity.training.studies.pipeline import (
    CLUSTERINGS,
    THRESHOLDS,
    Pipeline,
    clusterings_of,
    settings_of,
)
from pixel_embedded_affinity.training.studies.variants import variants_of

CPU = torch.device("cpu")
LABELS = np.zeros((24, 26), np.int32)
LABELS[2:12, 2:12], LABELS[2:12, 12:24], LABELS[14:23, 5:20] = 1, 2, 3
OFFSETS = ((-1, 0), (0, -1), (-3, 0), (0, -3))


class Known(torch.nn.Module):
    """A network that knows the labels: perfect output of a kind of loss."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, images, pyramid=False):
        labels = torch.from_numpy(LABELS)
        if self.kind == "direct_affinity":
            same = [labels == labels.roll((-dy, -dx), (0, 1)) for dy, dx in OFFSETS]
            output = torch.stack(same).float() * 40 - 20
        else:
            # Means 5 apart, far beyond unit length.
            output = 5 * torch.nn.functional.one_hot(labels.long(), 4).permute(2, 0, 1).float() / 2**0.5
        return NetworkOutput(output[None], (labels > 0).float()[None, None] * 20 - 10, ())


@pytest.fixture
def variants(recipe):
    still = replace(recipe, model=recipe.model.changed(foreground_threshold=0.5))
    return {variant.recipe.loss.kind: variant.recipe for variant in variants_of("baselines", still)}


@pytest.mark.parametrize("foreground", [None, LABELS == 2])
@pytest.mark.parametrize("kind", ["affinity", "direct_affinity", "discriminative"])
def test_every_clustering_of_every_kind_finds_the_objects_of_a_perfect_output(variants, kind, foreground):
    pipeline = Pipeline(variants[kind], Known(kind), CPU)
    image = np.zeros((1, *LABELS.shape), np.float32)
    expected = LABELS if foreground is None else foreground.astype(np.int32)
    for clustering in clusterings_of(variants[kind]):
        labels = pipeline.segment(image, clustering, foreground)
        assert labels.dtype == np.int32
        assert np.array_equal(labels, expected), clustering


@pytest.mark.parametrize("kind", ["affinity", "direct_affinity", "discriminative"])
def test_the_best_threshold_is_the_first_of_those_that_find_the_objects(variants, kind):
    pipeline = Pipeline(variants[kind], Known(kind), CPU)
    image = np.zeros((1, *LABELS.shape), np.float32)
    best = pipeline.best_threshold(image, LABELS)
    assert best == THRESHOLDS[0]
    assert np.array_equal(pipeline.segment(image, "agglomeration", threshold=best), LABELS)


def test_a_threshold_that_merges_all_is_not_the_best(variants):
    class Vague(Known):
        """Affinities of 0.45 across borders, as after a short training."""

        def forward(self, images, pyramid=False):
            output = super().forward(images, pyramid)
            return output._replace(embedding=output.embedding.clamp(min=-0.2))

    pipeline = Pipeline(variants["direct_affinity"], Vague("direct_affinity"), CPU)
    assert pipeline.best_threshold(np.zeros((1, *LABELS.shape), np.float32), LABELS) == 0.5


@pytest.mark.parametrize("kind", ["direct_affinity", "discriminative"])
def test_baselines_with_an_embedding_at_every_second_pixel_are_spread_over_the_pixels(variants, kind):
    class Strided(Known):
        """What it knows, two pixels to a position."""

        stride = (2, 2)

        def forward(self, images, pyramid=False):
            output = super().forward(images, pyramid)
            large = torch.nn.functional.interpolate(output.foreground, scale_factor=2)
            return output._replace(foreground=large)

    pipeline = Pipeline(variants[kind], Strided(kind), CPU)
    labels = pipeline.segment(np.zeros((1, 48, 52), np.float32), "mutex")
    assert np.array_equal(labels, LABELS.repeat(2, 0).repeat(2, 1))


def test_agglomeration_takes_over_how_regions_grow(variants):
    other = {"beta": 0.3, "smoothing": 2.0, "regions": "watershed_cut"}
    model = variants["affinity"].model.changed(clusterer="multicut", clusterer_settings=other)
    recipe = replace(variants["affinity"], model=model)
    found = settings_of(recipe, "agglomeration", threshold=0.2).clusterer_settings
    assert found == {"smoothing": 2.0, "regions": "watershed_cut", "threshold": 0.2}
    assert settings_of(recipe, "mutex").clusterer_settings == {}


def test_the_network_sees_the_image_at_the_model_s_scale_and_labels_come_back(recipe):
    seen = []

    class Recording(Known):
        def forward(self, images, pyramid=False):
            seen.append(images.shape[2:])
            return super().forward(images, pyramid)

    halving = replace(recipe, model=recipe.model.changed(foreground_threshold=0.5, scale=0.5))
    pipeline = Pipeline(halving, Recording("affinity"), CPU)
    mask = np.repeat(np.repeat(LABELS == 2, 2, 0), 2, 1)
    labels = pipeline.segment(np.zeros((1, 48, 52), np.float32), "mutex", mask)
    assert seen == [LABELS.shape]
    assert np.array_equal(labels, mask)


@pytest.mark.parametrize("given", [False, True])
def test_the_method_of_the_library_is_segmented_as_by_the_segmenter(
    tiny_network, tiny_config, recipe, given, monkeypatch
):
    # In bfloat16, which a device may have natively, folded batch norms round a random network to other labels.
    monkeypatch.setattr("pixel_embedded_affinity.runtime.device.has_fast_bfloat16", lambda device: False)
    same = replace(recipe, model=tiny_config)
    image = np.random.default_rng(0).random((1, 40, 50), dtype=np.float32)
    foreground = image[0] > 0.3 if given else None
    segmenter = Segmenter(copy.deepcopy(tiny_network), tiny_config, device="cpu")
    pipeline = Pipeline(same, copy.deepcopy(tiny_network), CPU)
    expected = segmenter.segment(image, axes="CYX", foreground=foreground)
    assert expected.max() > 1
    found = pipeline.segment(image, "adaptive mutex", foreground)
    # The segmenter folds the batch norms: single pixels may be rounded to the other side.
    assert (found == expected).mean() > 0.99


def test_the_adaptive_watershed_compares_the_pairs_of_the_model(variants):
    recipe = variants["affinity"]
    wide = recipe.model.changed(neighborhood=type(recipe.model.neighborhood).from_ranges([1, 7], 8))
    recipe = replace(recipe, model=wide)
    assert settings_of(recipe, "mutex").neighborhood.offsets == recipe.neighborhood.offsets()
    assert settings_of(recipe, "adaptive mutex").neighborhood == wide.neighborhood


def test_the_clusterer_of_the_model_keeps_its_settings_and_another_has_its_defaults(variants):
    recipe = variants["affinity"]
    strong = recipe.model.changed(clusterer="mutex_watershed", clusterer_settings={"repulsion": 0.7})
    recipe = replace(recipe, model=strong)
    assert settings_of(recipe, "mutex").clusterer_settings == {"repulsion": 0.7}
    assert settings_of(recipe, "mean-shift").clusterer == "mean_shift"
    assert settings_of(recipe, "mean-shift").clusterer_settings == {}


def test_the_method_of_the_library_sees_as_many_views_as_its_model(variants):
    seen = []

    class Counting(Known):
        grid = 1

        def forward(self, images, pyramid=False):
            seen.append(images.shape)
            return super().forward(images, pyramid)

    recipe = variants["affinity"]
    four = replace(recipe, model=recipe.model.changed(views=4))
    Pipeline(four, Counting("affinity"), CPU).segment(np.zeros((1, *LABELS.shape), np.float32), "mutex")
    assert len(seen) == 4


def test_clusterings_that_a_kind_does_not_have_are_refused(variants):
    pipeline = Pipeline(variants["direct_affinity"], Known("direct_affinity"), CPU)
    image = np.zeros((1, *LABELS.shape), np.float32)
    for clustering in ("mean-shift", "adaptive mutex", "none"):
        with pytest.raises(InputError, match="must be one of 'mutex', 'agglomeration', got"):
            pipeline.segment(image, clustering)
    assert clusterings_of(variants["affinity"]) == clusterings_of(variants["discriminative"]) == CLUSTERINGS


def test_without_a_foreground_head_objects_are_looked_for_everywhere(variants):
    class Headless(Known):
        def forward(self, images, pyramid=False):
            return super().forward(images)._replace(foreground=None)

    labels = Pipeline(variants["affinity"], Headless("affinity"), CPU).segment(
        np.zeros((1, *LABELS.shape), np.float32), "mutex"
    )
    assert labels.min() == 1
    assert labels.max() >= 4
