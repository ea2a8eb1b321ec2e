"""The segmenter: what goes in, what comes out, what may be set, and what is refused."""

from __future__ import annotations

import gc
import hashlib
import inspect
import io
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image as PillowImage
from torch import nn

from pixel_embedded_affinity.affinity import Affinities, affinities
from pixel_embedded_affinity.clustering import ConnectedComponents, MutexWatershed
from pixel_embedded_affinity.config.model import SETTINGS, ModelConfig
from pixel_embedded_affinity.embedding import Embedding
from pixel_embedded_affinity.errors import (
    CheckpointError,
    DeviceError,
    InputError,
    PixelEmbeddedAffinityError,
    UnknownClustererError,
    UnknownModelError,
)
from pixel_embedded_affinity.geometry.tiling import Tiling
from pixel_embedded_affinity.labels import relabel
from pixel_embedded_affinity.metrics import adapted_rand_error
from pixel_embedded_affinity.models.checkpoint import Checkpoint, write_checkpoint
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.network.base import NetworkOutput
from pixel_embedded_affinity.normalize import Normalization
from pixel_embedded_affinity.pipeline import Embedder
from pixel_embedded_affinity.postprocess import Postprocess
from pixel_embedded_affinity.segmenter import Segmentation, Segmenter

Array = np.ndarray[Any, np.dtype[Any]]
MakeNetwork = Callable[..., nn.Module]

STATM = Path("/proc/self/statm")
EVERYWHERE = np.ones((36, 44), bool)
OTHER = Neighborhood.from_ranges([1, 5], 8, strides=3)


@pytest.fixture(scope="session")
def image() -> Array:
    return np.random.default_rng(0).integers(0, 4000, (36, 44)).astype(np.uint16)


@pytest.fixture(scope="session")
def everywhere(make_network: MakeNetwork, tiny_config: ModelConfig) -> Segmenter:
    """A model without a foreground head."""
    config = tiny_config.changed(network=replace(tiny_config.network, foreground_head=False))
    return Segmenter(make_network(config.network), config, device="cpu", precision="float32")


def refusal(
    call: Callable[..., Any],
    *arguments: Any,
    kind: type[PixelEmbeddedAffinityError] = InputError,
    **settings: Any,
) -> str:
    """Return the message with which a call is refused, after checking that it is one line."""
    with pytest.raises(kind) as caught:
        call(*arguments, **settings)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


def clusterer_of(labels: Any) -> Any:
    """Return a clusterer that gives the same labels whatever comes."""

    def cluster(pairs: Affinities, *, foreground: Array | None = None) -> Any:
        return labels

    return cluster


# --- segment ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "verb", ["segment", "analyze", "embed", "cluster", "segment_many", "segment_large", "pretrained"]
)
def test_programs_can_read_the_types_of_a_verb(verb: str) -> None:
    """Such as those that make a form or a command line from a function."""
    method = getattr(Segmenter, verb)
    assert set(get_type_hints(method)) >= set(inspect.signature(method).parameters) - {"self"}


def test_labels_are_consecutive_int32_of_the_image_s_shape(segmenter: Segmenter, image: Array) -> None:
    labels = segmenter.segment(image)
    assert type(labels) is np.ndarray
    assert labels.dtype == np.int32
    assert labels.shape == image.shape
    assert labels.max() > 3
    assert (labels == 0).any()
    np.testing.assert_array_equal(labels, relabel(labels))


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (20, 30)])
@pytest.mark.parametrize("value", [0, 1, 65535])
def test_a_constant_image_of_any_shape_has_labels(
    segmenter: Segmenter, shape: tuple[int, int], value: int
) -> None:
    assert segmenter.segment(np.full(shape, value, np.uint16)).shape == shape


def test_an_image_without_objects_gives_zeros(segmenter: Segmenter, image: Array) -> None:
    nothing = segmenter.with_settings(foreground_threshold=1)
    result = nothing.analyze(image)
    assert not result.labels.any()
    assert result.labels.dtype == np.int32
    assert len(result.table()["label"]) == 0
    assert not segmenter.segment(image, foreground=np.zeros(image.shape)).any()


def test_a_file_gives_what_its_array_gives(segmenter: Segmenter, image: Array, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "image.tif", image)
    expected = segmenter.segment(image)
    np.testing.assert_array_equal(segmenter.segment(tmp_path / "image.tif"), expected)
    np.testing.assert_array_equal(segmenter.segment(str(tmp_path / "image.tif")), expected)


def test_a_color_model_takes_color_gray_and_alpha(
    make_network: MakeNetwork, tiny_config: ModelConfig
) -> None:
    config = tiny_config.changed(network=replace(tiny_config.network, in_channels=3))
    segmenter = Segmenter(make_network(config.network), config, device="cpu", precision="float32")
    color = np.random.default_rng(0).integers(0, 255, (20, 30, 4)).astype(np.uint8)
    expected = segmenter.segment(color[..., :3])
    np.testing.assert_array_equal(segmenter.segment(color), expected)
    np.testing.assert_array_equal(segmenter.segment(np.moveaxis(color, -1, 0), axes="CYX"), expected)
    gray = color[..., 0]
    np.testing.assert_array_equal(segmenter.segment(gray), segmenter.segment(np.stack([gray] * 3, -1)))


def test_labels_come_back_in_the_order_of_the_image_s_axes(segmenter: Segmenter, image: Array) -> None:
    mask = np.random.default_rng(1).random(image.shape) < 0.9
    expected = segmenter.analyze(image, foreground=mask)
    found = segmenter.analyze(image.T, axes="XY", foreground=mask.T)
    assert found.labels.shape == found.foreground.shape == image.T.shape
    np.testing.assert_array_equal(found.labels, relabel(expected.labels.T))
    np.testing.assert_array_equal(found.foreground, expected.foreground.T)
    own = segmenter.analyze(image.T, axes="XY")
    np.testing.assert_array_equal(own.foreground, segmenter.analyze(image).foreground.T)
    assert "(44, 36)" in refusal(segmenter.segment, image.T, axes="XY", foreground=mask)


def test_nothing_is_logged_above_information_and_nothing_printed(
    segmenter: Segmenter, image: Array, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        segmenter.segment(image)
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
    assert capsys.readouterr() == ("", "")


# --- settings of a call -----------------------------------------------------------------------------------


def test_the_caller_s_foreground_replaces_the_model_s(segmenter: Segmenter, image: Array) -> None:
    mask = np.zeros(image.shape, np.uint8)
    mask[5:20, 7:30] = 255
    result = segmenter.analyze(image, foreground=mask)
    np.testing.assert_array_equal(result.labels > 0, mask > 0)
    np.testing.assert_array_equal(result.foreground, mask > 0)
    assert not np.array_equal(segmenter.analyze(image).foreground, mask > 0)


def test_the_model_s_foreground_is_where_its_probability_exceeds_the_threshold(
    segmenter: Segmenter, image: Array
) -> None:
    for threshold in (0.3, 0.7):
        result = segmenter.with_settings(foreground_threshold=threshold).analyze(image)
        np.testing.assert_array_equal(result.foreground, result.embedding.foreground.numpy() > threshold)
        np.testing.assert_array_equal(result.labels > 0, result.foreground)


def test_without_any_foreground_objects_are_everywhere(everywhere: Segmenter, image: Array) -> None:
    result = everywhere.analyze(image)
    assert result.foreground is None
    assert result.embedding.foreground is None
    assert result.labels.min() == 1


def test_holes_are_not_filled_beyond_the_caller_s_foreground(segmenter: Segmenter) -> None:
    mask = np.ones((9, 9), bool)
    mask[4, 4] = False
    filling = segmenter.with_settings(postprocess=Postprocess(fill_holes=True))
    one = clusterer_of(mask.astype(np.int32))
    assert filling.segment(np.zeros((9, 9)), clusterer=one)[4, 4] == 1
    assert filling.segment(np.zeros((9, 9)), clusterer=one, foreground=mask)[4, 4] == 0
    embedding = filling.embed(np.zeros((9, 9)))
    assert filling.cluster(embedding, clusterer=one, foreground=mask)[4, 4] == 0


def test_neighborhood_and_clusterer_replace_those_of_the_model(segmenter: Segmenter, image: Array) -> None:
    result = segmenter.analyze(image, neighborhood=OTHER, clusterer="connected_components")
    assert result.affinities.neighborhood == OTHER
    assert (result.settings.neighborhood, result.settings.clusterer) == (OTHER, "connected_components")
    expected = ConnectedComponents()(result.affinities, foreground=result.foreground)
    np.testing.assert_array_equal(result.labels, expected)
    assert not np.array_equal(result.labels, segmenter.segment(image))


def test_a_clusterer_of_the_caller_gets_affinities_embedding_and_foreground(
    segmenter: Segmenter, image: Array
) -> None:
    seen: list[tuple[Affinities, Any]] = []

    def cluster(pairs: Affinities, *, foreground: Array | None = None) -> Array:
        seen.append((pairs, foreground))
        return np.where(foreground, 7, 0)

    result = segmenter.analyze(image, clusterer=cluster)
    ((pairs, foreground),) = seen
    assert isinstance(pairs.values, np.ndarray)
    assert isinstance(pairs.embedding, np.ndarray)
    np.testing.assert_array_equal(foreground, result.foreground)
    np.testing.assert_array_equal(result.labels, result.foreground)
    assert result.settings.clusterer == "function"


def test_settings_of_the_model_s_clusterer_are_used(segmenter: Segmenter, image: Array) -> None:
    strict = segmenter.with_settings(clusterer="connected_components", clusterer_settings={"threshold": 0.99})
    expected = segmenter.segment(image, clusterer=ConnectedComponents(threshold=0.99))
    np.testing.assert_array_equal(strict.segment(image), expected)
    by_name = strict.segment(image, clusterer="connected_components")
    np.testing.assert_array_equal(by_name, segmenter.segment(image, clusterer=ConnectedComponents()))
    assert not np.array_equal(by_name, expected)


def test_small_objects_go_where_a_size_is_given(segmenter: Segmenter, image: Array) -> None:
    labels = segmenter.segment(image)
    small = np.bincount(labels.ravel())[1:] < 10
    assert 0 < small.sum() < len(small)
    found = segmenter.segment(image, min_size=10)
    assert found.max() == (~small).sum()
    assert np.bincount(found.ravel())[1:].min() >= 10


def test_the_size_of_a_call_leaves_the_other_postprocessing_in_place(
    segmenter: Segmenter, image: Array
) -> None:
    model = segmenter.with_settings(postprocess=Postprocess(merge_sizes=(20,), min_size=5, clear_border=True))
    result = model.analyze(image, min_size=9)
    assert result.settings.postprocess == Postprocess(merge_sizes=(20,), min_size=9, clear_border=True)
    border = np.concatenate([result.labels[0], result.labels[-1], result.labels[:, 0], result.labels[:, -1]])
    assert not border.any()


@pytest.mark.parametrize("clusterer", [lambda: 0, lambda pairs: 0, lambda *, foreground: 0])
def test_a_clusterer_that_cannot_be_called_as_one_is_refused(
    segmenter: Segmenter, image: Array, clusterer: Any
) -> None:
    with pytest.raises(InputError, match=r"cannot be called as clusterer\(affinities, foreground=mask\)"):
        segmenter.segment(image, clusterer=clusterer)


# --- scale ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.02, 0.5, 0.77, 1, 1.5, 3])
def test_labels_have_the_image_s_shape_at_any_scale(segmenter: Segmenter, image: Array, scale: float) -> None:
    result = segmenter.analyze(image, scale=scale)
    expected = tuple(max(1, round(length * scale)) for length in image.shape)
    assert result.labels.shape == result.foreground.shape == image.shape
    assert result.embedding.spatial_shape == result.affinities.spatial_shape == expected
    np.testing.assert_array_equal(result.labels, relabel(result.labels))
    assert not result.labels[~result.foreground].any()
    np.testing.assert_array_equal(segmenter.segment(image, scale=scale), result.labels)
    assert segmenter.embed(image, scale=scale).spatial_shape == expected


def test_scale_one_and_no_scale_are_the_same(segmenter: Segmenter, image: Array) -> None:
    np.testing.assert_array_equal(segmenter.segment(image, scale=1), segmenter.segment(image))


def test_the_network_sees_the_normalized_image_at_the_scale(segmenter: Segmenter) -> None:
    image = np.add.outer(np.arange(24), np.arange(32)).astype(np.float32)
    double = image.repeat(2, 0).repeat(2, 1)
    small = segmenter.embed(image).numpy()
    halved = segmenter.embed(double, scale=0.5).numpy()
    assert halved.shape == small.shape
    assert (small * halved).sum(0).mean() > 0.9


def test_a_model_s_scale_holds_where_a_call_gives_none(segmenter: Segmenter, image: Array) -> None:
    model = segmenter.with_settings(scale=1.5)
    expected = segmenter.analyze(image, scale=1.5)
    found = model.analyze(image)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert found.embedding.spatial_shape == expected.embedding.spatial_shape == (54, 66)
    assert found.settings.scale == expected.settings.scale == 1.5
    assert model.embed(image).spatial_shape == (54, 66)
    np.testing.assert_array_equal(next(model.segment_many([image])), expected.labels)
    np.testing.assert_array_equal(model.segment(image, scale=1), segmenter.segment(image))
    assert segmenter.config.scale == 1


@pytest.mark.parametrize("scale", [0.5, 1, 1.5])
def test_clustering_an_embedding_gives_what_segmenting_the_image_does(
    segmenter: Segmenter, image: Array, scale: float
) -> None:
    mask = np.zeros(image.shape, np.bool_)
    mask[5:30, 7:35] = True
    embedding = segmenter.embed(image, scale=scale)
    assert embedding.image_shape == image.shape
    for given in (None, mask):
        found = segmenter.cluster(embedding, foreground=given, neighborhood=OTHER, min_size=2)
        expected = segmenter.segment(image, foreground=given, neighborhood=OTHER, min_size=2, scale=scale)
        np.testing.assert_array_equal(found, expected)


def test_the_foreground_of_an_embedding_is_that_of_the_image(segmenter: Segmenter, image: Array) -> None:
    embedding = segmenter.embed(image, scale=2)
    with pytest.raises(InputError, match="shape"):
        segmenter.cluster(embedding, foreground=np.ones(embedding.spatial_shape, np.bool_))


def test_an_object_that_vanishes_when_labels_shrink_leaves_no_gap(segmenter: Segmenter) -> None:
    labels = np.zeros((8, 8), np.int32)
    labels[0, 0] = 1  # between the pixels that are taken
    labels[4:, :4], labels[:4, 4:] = 2, 3
    found = segmenter.segment(
        np.zeros((4, 4)), scale=2, clusterer=clusterer_of(labels), foreground=np.ones((4, 4))
    )
    expected = np.zeros((4, 4))
    expected[2:, :2], expected[:2, 2:] = 2, 1
    np.testing.assert_array_equal(found, expected)


def test_the_caller_s_foreground_is_kept_to_the_pixel_at_any_scale(
    segmenter: Segmenter, image: Array
) -> None:
    mask = np.random.default_rng(0).random(image.shape) < 0.5
    for scale in (0.3, 0.5, 2):
        result = segmenter.analyze(image, foreground=mask, scale=scale)
        assert not result.labels[~mask].any()
        np.testing.assert_array_equal(result.foreground, mask)
        np.testing.assert_array_equal(result.labels, relabel(result.labels))


# --- analyze ----------------------------------------------------------------------------------------------


def test_analysis_holds_the_labels_and_what_they_came_from(segmenter: Segmenter, image: Array) -> None:
    result = segmenter.analyze(image)
    assert isinstance(result, Segmentation)
    np.testing.assert_array_equal(result.labels, segmenter.segment(image))
    assert result.settings == segmenter.config
    assert isinstance(result.embedding, Embedding)
    assert torch.equal(result.embedding.values, segmenter.embed(image).values)
    expected = affinities(result.embedding, segmenter.config.neighborhood).numpy()
    np.testing.assert_array_equal(result.affinities.values, expected.values)


def test_table_measures_the_objects(segmenter: Segmenter, image: Array) -> None:
    result = segmenter.analyze(image)
    table = result.table(image)
    np.testing.assert_array_equal(table["label"], np.arange(1, result.labels.max() + 1))
    np.testing.assert_array_equal(table["area"], np.bincount(result.labels.ravel())[1:])
    expected = [image[result.labels == label].mean() for label in table["label"]]
    np.testing.assert_allclose(table["mean_intensity"], expected)
    assert "mean_intensity" not in result.table()


# --- embed and cluster ------------------------------------------------------------------------------------


def test_clustering_an_embedding_gives_what_segmenting_gives(segmenter: Segmenter, image: Array) -> None:
    embedding = segmenter.embed(image)
    np.testing.assert_array_equal(segmenter.cluster(embedding), segmenter.segment(image))
    mask = np.random.default_rng(0).random(image.shape) < 0.8
    for settings in (
        {"neighborhood": OTHER},
        {"clusterer": "connected_components"},
        {"clusterer": ConnectedComponents(0.9), "neighborhood": OTHER},
        {"min_size": 12},
        {"foreground": mask},
    ):
        expected = segmenter.segment(image, **settings)
        np.testing.assert_array_equal(segmenter.cluster(embedding, **settings), expected)


def test_clustering_never_runs_the_network(
    segmenter: Segmenter, image: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding = segmenter.embed(image)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was run")

    monkeypatch.setattr(type(segmenter.embedder.network), "forward", refuse)
    with pytest.raises(AssertionError, match="the network was run"):
        segmenter.embed(image)
    for neighborhood in (None, OTHER, Neighborhood.from_ranges([1, 2, 3, 4, 5])):
        assert segmenter.cluster(embedding, neighborhood=neighborhood).shape == image.shape


def test_clustering_does_not_change_the_embedding(segmenter: Segmenter, image: Array) -> None:
    embedding = segmenter.embed(image)
    before = embedding.values.clone(), embedding.foreground.clone()
    segmenter.cluster(embedding)
    assert torch.equal(embedding.values, before[0])
    assert torch.equal(embedding.foreground, before[1])


# --- segment many -----------------------------------------------------------------------------------------


def test_many_images_are_segmented_as_they_are_asked_for_and_taken_one_ahead(
    segmenter: Segmenter, image: Array
) -> None:
    taken: list[int] = []

    def images() -> Iterator[Array]:
        for index in range(3):
            taken.append(index)
            yield image[: 10 + index]

    found = segmenter.segment_many(images())
    assert taken == []
    np.testing.assert_array_equal(next(found), segmenter.segment(image[:10]))
    assert taken == [0, 1]
    assert [labels.shape[0] for labels in found] == [11, 12]


def test_settings_hold_for_each_of_many_images(segmenter: Segmenter, image: Array) -> None:
    settings: dict[str, Any] = {
        "axes": "XY",
        "scale": 0.5,
        "neighborhood": OTHER,
        "clusterer": "connected_components",
        "min_size": 3,
    }
    for labels in segmenter.segment_many([image, image], **settings):
        np.testing.assert_array_equal(labels, segmenter.segment(image, **settings))


def test_progress_of_many_images_goes_through_the_callable(segmenter: Segmenter, image: Array) -> None:
    shown: list[int] = []

    def bar(items: Iterable[Any], **details: Any) -> Iterator[Any]:
        for index, item in enumerate(items):
            shown.append(index)
            yield item

    assert len(list(segmenter.segment_many([image] * 2, progress=bar))) == 2
    assert shown == [0, 1]
    message = refusal(list, segmenter.segment_many([image], progress="yes"))
    assert message == "progress must be True, False or a callable such as tqdm, got 'yes'"


def test_the_images_before_a_bad_one_are_segmented(segmenter: Segmenter, image: Array) -> None:
    found = segmenter.segment_many([image, image, np.zeros(3), image])
    next(found)
    next(found)
    with pytest.raises(InputError, match="1 axes") as caught:
        next(found)
    assert caught.value.__notes__ == ["It is images[2] of segment_many."]


def test_an_image_whose_clustering_fails_is_named(segmenter: Segmenter, image: Array) -> None:
    calls = iter(range(4))

    def second_fails(affinities: Affinities, foreground: Any = None) -> Array:
        if next(calls) == 1:
            raise RuntimeError("boom")
        return np.zeros(affinities.spatial_shape, np.int32)

    found = segmenter.segment_many([image] * 4, clusterer=second_fails)
    next(found)
    with pytest.raises(RuntimeError, match="boom") as caught:
        list(found)
    assert "It is images[1] of segment_many." in caught.value.__notes__


def test_a_clusterer_that_fails_or_returns_no_labels_is_named(segmenter: Segmenter, image: Array) -> None:
    def divides(affinities: Any, *, foreground: Any = None) -> Any:
        return 1 / 0

    def gives_floats(affinities: Any, *, foreground: Any = None) -> Any:
        return np.zeros(affinities.spatial_shape)

    with pytest.raises(ZeroDivisionError) as caught:
        segmenter.segment(image, clusterer=divides)
    assert "divides raised this." in caught.value.__notes__[0]
    message = refusal(segmenter.segment, image, clusterer=gives_floats)
    assert message.startswith("the clusterer test_a_clusterer_that_fails")
    assert "gives_floats returned labels of dtype float64; expected integers" in message


def test_a_sequence_keeps_two_embeddings_at_most(
    segmenter: Segmenter, image: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[torch.Tensor]] = []
    embed = Embedder.__call__

    def watched(*arguments: Any) -> Embedding:
        until = time.monotonic() + 60  # the thread lets go of an embedding just after its labels are there
        while sum(one() is not None for one in made) > 1 and time.monotonic() < until:
            time.sleep(0.001)
        assert sum(one() is not None for one in made) <= 1
        embedding = embed(*arguments)
        made.append(weakref.ref(embedding.values))
        return embedding

    monkeypatch.setattr(Embedder, "__call__", watched)
    for labels in segmenter.segment_many([image] * 5):
        assert labels.shape == image.shape
    assert len(made) == 5


def test_the_network_runs_on_the_next_image_while_one_is_clustered(
    segmenter: Segmenter, image: Array
) -> None:
    network_ran = [threading.Event() for _ in range(3)]
    seen_in: list[threading.Thread] = []
    clustered_in: list[threading.Thread] = []

    def cluster(pairs: Affinities, *, foreground: Array | None = None) -> Array:
        clustered_in.append(threading.current_thread())
        following = network_ran[len(clustered_in) :][:1]  # behind the last image there is none
        assert all(ran.wait(timeout=60) for ran in following), "the network waited for the clusterer"
        return np.where(foreground, 1, 0)

    def count(*_: Any) -> None:
        network_ran[len(seen_in)].set()
        seen_in.append(threading.current_thread())

    hook = segmenter.embedder.network.register_forward_hook(count)
    try:
        assert len(list(segmenter.segment_many([image] * 3, clusterer=cluster))) == 3
    finally:
        hook.remove()
    assert set(seen_in) == {threading.current_thread()}
    assert len(set(clustered_in) - set(seen_in)) == 1


@pytest.mark.parametrize("tile", ["whole", 0, -16, 2.5, (0, 16), True])
def test_a_tile_is_auto_none_or_pixels(segmenter: Segmenter, image: Array, tile: Any) -> None:
    for method in (segmenter.segment, segmenter.analyze, segmenter.embed):
        assert "tile must be 'auto', None, an integer of at least 1" in refusal(method, image, tile=tile)
    assert "tile must be" in refusal(segmenter.segment_many, [], tile=tile)


def test_labels_of_tiles_are_those_of_the_whole(segmenter: Segmenter) -> None:
    wide = np.random.default_rng(0).integers(0, 4000, (40, 300)).astype(np.uint16)
    tiling = Tiling((16, 48), halo=segmenter.embedder.network.receptive_radius()[0])
    expected = segmenter.segment(wide, tile=None)
    assert expected.max() > 3
    error = adapted_rand_error(expected, segmenter.segment(wide, tile=tiling))
    assert error < 0.01  # a tie may go either way
    np.testing.assert_array_equal(segmenter.segment(wide), expected)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("a.tif", "path"),
        (Path("a.tif"), "path"),
        (np.zeros((5, 6)), "array of shape (5, 6)"),
        (torch.zeros(2, 5, 6), "array of shape (2, 5, 6)"),
        (b"II*", "file"),
        (io.BytesIO(b"II*"), "file"),
    ],
)
def test_one_image_in_the_place_of_many_is_refused_at_once(
    segmenter: Segmenter, given: Any, found: str
) -> None:
    message = refusal(segmenter.segment_many, given)
    assert message.startswith(f"segment_many takes a sequence of images, got one {found}; put it in a list")


def test_what_is_no_sequence_is_refused_at_once(segmenter: Segmenter) -> None:
    assert "got one NoneType; pass a list" in refusal(segmenter.segment_many, None)
    assert "got one number; pass a list" in refusal(segmenter.segment_many, np.array(5))


def test_settings_of_many_images_are_checked_at_once(segmenter: Segmenter) -> None:
    refused: list[tuple[dict[str, Any], str, type[PixelEmbeddedAffinityError]]] = [
        ({"neighborhood": [1, 3]}, "neighborhood must be a Neighborhood", InputError),
        ({"clusterer": 5}, "clusterer must be a name or a clusterer", InputError),
        ({"clusterer": "watershed"}, "unknown clusterer 'watershed'", UnknownClustererError),
        ({"min_size": -1}, "postprocess.min_size must be an integer", InputError),
        ({"scale": 0}, "scale must be 'auto' or a finite number above 0", InputError),
    ]
    for settings, message, kind in refused:
        assert message in refusal(segmenter.segment_many, [], kind=kind, **settings)


def test_a_list_of_images_is_for_segment_many(segmenter: Segmenter, image: Array) -> None:
    for method in (segmenter.segment, segmenter.analyze, segmenter.embed):
        assert refusal(method, [image, image]) == "a list of 2 images; use segment_many"


def test_no_images_give_no_labels(segmenter: Segmenter) -> None:
    assert list(segmenter.segment_many([])) == []


def held() -> int:
    """Bytes of main memory that this process holds."""
    return int(STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not STATM.exists(), reason="no /proc to read the memory from")
def test_fifty_calls_hold_no_more_memory_than_five(segmenter: Segmenter) -> None:
    image = np.random.default_rng(0).integers(0, 4000, (96, 96)).astype(np.uint16)
    for _ in range(5):
        segmenter.segment(image)
    gc.collect()
    before = held()
    for _ in range(45):
        segmenter.segment(image)
    gc.collect()
    assert held() - before < 20e6


# --- with settings ----------------------------------------------------------------------------------------


def test_none_takes_a_diameter_back(segmenter: Segmenter, tmp_path: Path) -> None:
    known = segmenter.with_settings(object_diameter=20.0, scale="auto")
    given = known.with_settings(diameter=30)
    assert given.config.diameter == 30
    assert given.with_settings(diameter=None).config.diameter is None
    assert known.with_settings(object_extent=200.0).with_settings(object_extent=None).config == known.config
    assert known.with_settings(clusterer=None, neighborhood=None).config == known.config
    with pytest.raises(InputError, match="object_diameter"):
        known.with_settings(object_diameter=None)
    known.save_settings(tmp_path / "settings.json")
    assert given.with_settings_from(tmp_path / "settings.json").config == known.config


def test_a_dictionary_of_settings_shares_nothing_with_the_model(segmenter: Segmenter) -> None:
    given = segmenter.with_settings(clusterer_settings={"repulsion": 0.5})
    given.config.to_dict()["clusterer_settings"]["repulsion"] = 3.0
    assert given.config.clusterer_settings == {"repulsion": 0.5}


class Returning(torch.nn.Module):
    """A network that returns what it was made with."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, images: torch.Tensor) -> Any:
        return self.output


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (
            torch.zeros(1, 8, 12, 16),
            "returned Tensor; expected a pixel_embedded_affinity.network.base.NetworkOutput",
        ),
        ((torch.zeros(1, 8, 12, 16), None), "returned tuple"),
        (NetworkOutput(None), "returned NetworkOutput; expected .* with a tensor as embedding"),
        (
            NetworkOutput(torch.zeros(1, 8, 4, 5)),
            r"embedding of shape \(1, 8, 4, 5\).*expected \(1, 'D', 12, 16\)",
        ),
        (
            NetworkOutput(torch.zeros(1, 8, 12, 16), torch.zeros(1, 12, 16)),
            r"foreground of shape \(1, 12, 16\); expected \(1, 1, 12, 16\)",
        ),
    ],
)
def test_what_a_network_of_the_caller_returns_is_checked(
    segmenter: Segmenter, output: Any, words: str
) -> None:
    own = Segmenter(Returning(output), segmenter.config, device="cpu")
    with pytest.raises(InputError, match=words):
        own.segment(np.zeros((12, 16)), tile=None, scale=1)


def test_a_network_without_a_foreground_finds_objects_everywhere(segmenter: Segmenter) -> None:
    halves = torch.zeros(1, 8, 12, 16)
    halves[:, 0, :6], halves[:, 1, 6:] = 1, 1
    own = Segmenter(Returning(NetworkOutput(halves)), segmenter.config, device="cpu")
    labels = own.with_settings(postprocess=Postprocess()).segment(np.zeros((12, 16)), tile=None, scale=1)
    np.testing.assert_array_equal(labels, np.repeat([[1], [2]], 6, axis=0) * np.ones((1, 16), int))


def test_a_configuration_is_no_name(segmenter: Segmenter) -> None:
    with pytest.raises(InputError, match=r"config of type str; expected a ModelConfig"):
        Segmenter(segmenter.embedder.network, "bbbc039")  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".tif", ".png", ".ome.tif"])
@pytest.mark.parametrize("opened", [bytes, bytearray, io.BytesIO])
def test_the_content_of_a_file_is_an_image(
    segmenter: Segmenter, image: Array, tmp_path: Path, suffix: str, opened: Any
) -> None:
    path = tmp_path / f"image{suffix}"
    values = (image / image.max() * 255).astype(np.uint8)
    if suffix == ".png":
        PillowImage.fromarray(values).save(path)
    else:
        tifffile.imwrite(path, values, metadata={"axes": "YX"})
    expected = segmenter.segment(path)
    np.testing.assert_array_equal(segmenter.segment(opened(path.read_bytes())), expected)
    np.testing.assert_array_equal(segmenter.analyze(opened(path.read_bytes())).labels, expected)
    with path.open("rb") as file:
        np.testing.assert_array_equal(segmenter.segment(file), expected)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the 0 bytes begin as no image"),
        (
            b"GIF89a",
            "the 6 bytes begin as no image that is read from memory; expected a TIFF, PNG, JPEG or HDF5",
        ),
        (b"II*\0 cut", "the given file cannot be read"),
        (io.StringIO("II*"), "the file gives str; expected bytes; open it in mode 'rb'"),
    ],
)
def test_what_is_no_content_of_an_image_is_refused(segmenter: Segmenter, content: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        segmenter.segment(content)


def test_changed_settings_leave_the_segmenter_alone(segmenter: Segmenter, image: Array) -> None:
    before, expected = segmenter.config.to_json(), segmenter.segment(image)
    changed = segmenter.with_settings(
        neighborhood=OTHER,
        clusterer="connected_components",
        clusterer_settings={"threshold": 0.7},
        foreground_threshold=0.25,
        postprocess=Postprocess(min_size=4),
    )
    assert isinstance(changed, Segmenter)
    assert changed.config == segmenter.config.changed(
        neighborhood=OTHER,
        clusterer="connected_components",
        clusterer_settings={"threshold": 0.7},
        foreground_threshold=0.25,
        postprocess=Postprocess(min_size=4),
    )
    changed.segment(image)
    changed.config.clusterer_settings["threshold"] = 0.1
    assert segmenter.config.to_json() == before
    np.testing.assert_array_equal(segmenter.segment(image), expected)


def test_changed_settings_are_those_of_a_call(segmenter: Segmenter, image: Array) -> None:
    changed = segmenter.with_settings(neighborhood=OTHER)
    np.testing.assert_array_equal(changed.segment(image), segmenter.segment(image, neighborhood=OTHER))
    assert changed.device == segmenter.device


def test_another_clusterer_does_not_inherit_settings(segmenter: Segmenter) -> None:
    first = segmenter.with_settings(clusterer="connected_components", clusterer_settings={"threshold": 0.7})
    assert first.with_settings(clusterer="mutex_watershed").config.clusterer_settings == {}
    assert first.with_settings(foreground_threshold=0).config.clusterer_settings == {"threshold": 0.7}


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        (
            {"clusterer": "watershed"},
            UnknownClustererError,
            "unknown clusterer 'watershed'; the valid ones are",
        ),
        (
            {"clusterer": ConnectedComponents()},
            InputError,
            "clusterer must be the name of a clusterer (a clusterer itself goes to ",
        ),
        ({"clusterer_settings": {"threshold": 1}}, InputError, "unknown settings ['threshold'] of clusterer"),
        (
            {"clusterer_settings": 5},
            InputError,
            "clusterer_settings must be a table of keys and values, got 5",
        ),
        (
            {"foreground_threshold": 1.5},
            InputError,
            "foreground_threshold must be a number from 0 to 1, got 1.5",
        ),
        ({"neighborhood": [1, 3]}, InputError, "neighborhood must be a Neighborhood, got [1, 3]"),
        ({"postprocess": {}}, InputError, "postprocess must be a Postprocess, got {}"),
    ],
)
def test_wrong_settings_are_refused_at_once(
    segmenter: Segmenter, settings: dict[str, Any], kind: type[PixelEmbeddedAffinityError], message: str
) -> None:
    assert message in refusal(segmenter.with_settings, kind=kind, **settings)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("min_size", "; did you mean **{'postprocess.min_size': ...}?"),
        ("foreground_treshold", "; did you mean 'foreground_threshold'?"),
        ("xyz", "and dotted keys"),
    ],
)
def test_an_unknown_setting_is_refused_with_what_may_be_meant(
    segmenter: Segmenter, name: str, advice: str
) -> None:
    with pytest.raises(TypeError) as caught:
        segmenter.with_settings(**{name: 1})
    assert str(caught.value).endswith(advice)


def test_single_settings_are_changed_by_dotted_keys(segmenter: Segmenter) -> None:
    changed = segmenter.with_settings(
        clusterer="connected_components", **{"clusterer_settings.threshold": 0.7, "postprocess.min_size": 4}
    )
    assert (changed.config.clusterer, changed.config.clusterer_settings) == (
        "connected_components",
        {"threshold": 0.7},
    )
    assert changed.config.postprocess == replace(segmenter.config.postprocess, min_size=4)
    assert "unknown keys ['minsize'] in [postprocess]; the valid ones are" in refusal(
        segmenter.with_settings, **{"postprocess.minsize": 4}
    )


def test_the_settings_of_a_result_are_taken_back(segmenter: Segmenter, image: Array) -> None:
    result = segmenter.analyze(image, clusterer=MutexWatershed(repulsion=0.5))
    given = {name: getattr(result.settings, name) for name in SETTINGS}
    assert given["clusterer"] == "mutex_watershed"
    assert given["clusterer_settings"] == {"repulsion": 0.5}
    again = segmenter.with_settings(**given)
    assert again.config == result.settings
    np.testing.assert_array_equal(again.segment(image), result.labels)


# --- construction and files -------------------------------------------------------------------------------


def test_the_network_is_made_fit_for_inference(make_network: MakeNetwork, tiny_config: ModelConfig) -> None:
    network = make_network(tiny_config.network).train()
    Segmenter(network, tiny_config, device="cpu")
    assert not any(module.training for module in network.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert network.stem.refine.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_network_of_one_s_own_needs_no_folding(tiny_network: nn.Module, tiny_config: ModelConfig) -> None:
    class Wrapped(nn.Module):
        def forward(self, images: torch.Tensor) -> Any:
            return tiny_network(images)

    assert Segmenter(Wrapped(), tiny_config, device="cpu").segment(np.zeros((5, 6))).shape == (5, 6)


def test_a_file_gives_back_the_segmenter(
    segmenter: Segmenter, checkpoint_file: Path, tiny_config: ModelConfig, image: Array
) -> None:
    loaded = Segmenter.from_file(checkpoint_file, device="cpu", precision="float32")
    assert loaded.config == tiny_config
    assert repr(loaded) == "Segmenter('tiny', version='1', device='cpu')"
    np.testing.assert_array_equal(loaded.segment(image), segmenter.segment(image))
    assert Segmenter.from_file(str(checkpoint_file)).config == tiny_config


def test_weights_in_half_precision_load_and_give_nearly_the_same(
    segmenter: Segmenter, tiny_network: nn.Module, tiny_config: ModelConfig, tmp_path: Path, image: Array
) -> None:
    weights = {n: t.half() if t.is_floating_point() else t for n, t in tiny_network.state_dict().items()}
    write_checkpoint(tmp_path / "half.safetensors", Checkpoint(tiny_config.to_json(), weights))
    loaded = Segmenter.from_file(tmp_path / "half.safetensors", device="cpu", precision="float32")
    cosine = (loaded.embed(image).values * segmenter.embed(image).values).sum(0)
    assert cosine.median() > 0.999


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('{"nme": "tiny"}', "unknown keys ['nme'] in the model configuration"),
        ("not JSON", "the model configuration is not JSON"),
        (
            '{"network": {"architecture": "vit"}}',
            "unknown architecture 'vit'; the valid ones are anisotropic_unet, half_unet, mala_unet, residual_unet",
        ),
        ('{"network": {"in_channels": 1}}', "the file is of another architecture"),
        (
            '{"network": {"filters": [65536, 65536, 65536, 65536, 65536]}}',
            "the file is of another architecture",
        ),
    ],
)
def test_a_file_that_does_not_fit_itself_is_refused_by_name(
    tiny_network: nn.Module, tmp_path: Path, change: str, message: str
) -> None:
    path = tmp_path / "odd.safetensors"
    write_checkpoint(path, Checkpoint(change, tiny_network.state_dict()))
    found = refusal(Segmenter.from_file, path, kind=CheckpointError)
    assert message in found
    assert found.startswith(f"{path}: ")


def test_a_missing_or_truncated_file_is_refused_by_name(checkpoint_file: Path) -> None:
    missing = checkpoint_file.with_name("missing.safetensors")
    assert str(missing) in refusal(Segmenter.from_file, missing, kind=CheckpointError)
    checkpoint_file.write_bytes(checkpoint_file.read_bytes()[:-10])
    assert str(checkpoint_file) in refusal(Segmenter.from_file, checkpoint_file, kind=CheckpointError)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, checkpoint_file: Path) -> list[Any]:
    """Ask a registry that knows the tiny model instead of the library's own."""
    asked: list[Any] = []
    digest = hashlib.sha256(checkpoint_file.read_bytes()).hexdigest()

    def resolve(name: str, *, offline: bool | None = None) -> Path:
        asked.append((name, offline))
        return checkpoint_file

    def get_entry(name: str) -> SimpleNamespace:
        return SimpleNamespace(sha256=digest, version="9", settings={"postprocess.min_size": 7})

    monkeypatch.setattr("pixel_embedded_affinity.segmenter.resolve", resolve)
    monkeypatch.setattr("pixel_embedded_affinity.segmenter.get_entry", get_entry)
    return asked


def test_a_name_is_resolved_to_a_file(asked: list[Any], tiny_config: ModelConfig) -> None:
    found = Segmenter.pretrained("tiny", device="cpu", precision="bfloat16", threads=2, offline=True)
    # The registry says the version, and may replace inference settings of the file.
    assert found.config == tiny_config.with_values({"postprocess.min_size": 7}).changed(version="9")
    assert (found.precision, found.threads) == ("bfloat16", 2)
    assert Segmenter.pretrained("tiny").threads is None
    assert asked == [("tiny", True), ("tiny", None)]


@pytest.mark.usefixtures("asked")
def test_a_resolved_file_is_checked_against_its_hash_when_it_is_read(checkpoint_file: Path) -> None:
    data = bytearray(checkpoint_file.read_bytes())
    data[-1] ^= 1
    checkpoint_file.write_bytes(data)
    assert "SHA-256 is" in refusal(Segmenter.pretrained, "tiny", kind=CheckpointError)


def test_an_unknown_model_is_refused() -> None:
    assert "'bbbc39'" in refusal(Segmenter.pretrained, "bbbc39", kind=UnknownModelError)


def test_none_by_a_dotted_key_is_a_value_and_none_by_a_keyword_leaves_the_setting(
    segmenter: Segmenter,
) -> None:
    alike = segmenter.with_settings(**{"postprocess.merge_similarity": 0.9}, scale=2.0)
    assert alike.with_settings(scale=None).config == alike.config
    cleared = alike.with_settings(**{"postprocess.merge_similarity": None})
    assert cleared.config.postprocess.merge_similarity is None
    assert cleared.config.scale == 2


# --- devices and precision --------------------------------------------------------------------------------


def test_a_device_that_is_missing_is_refused_and_never_replaced(
    monkeypatch: pytest.MonkeyPatch, checkpoint_file: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    message = refusal(Segmenter.from_file, checkpoint_file, device="cuda", kind=DeviceError)
    assert message == (
        "device 'cuda' was asked for, but no CUDA device is visible; check the driver and whether this torch "
        "is a CPU build (pea info), or use 'cpu' or 'auto'"
    )
    assert Segmenter.from_file(checkpoint_file, device="auto").device == torch.device("cpu")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"device": "gpu"},
            "device 'gpu' is unknown; expected 'auto', 'cpu', 'cuda', 'cuda:0', ... or 'mps'",
        ),
        ({"precision": "float16"}, "precision 'float16' is unknown; expected one of auto, float32, bfloat16"),
    ],
)
def test_unknown_devices_and_precisions_are_refused(
    make_network: MakeNetwork, tiny_config: ModelConfig, settings: dict[str, Any], message: str
) -> None:
    network = make_network(tiny_config.network)
    assert refusal(Segmenter, network, tiny_config, kind=DeviceError, **settings) == message
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules()), "it was changed already"


@pytest.mark.parametrize("threads", [0, -2, True, 1.5, "2"])
def test_a_number_of_threads_that_cannot_be_is_refused(
    make_network: MakeNetwork, tiny_config: ModelConfig, checkpoint_file: Path, threads: Any
) -> None:
    network = make_network(tiny_config.network)
    message = refusal(Segmenter, network, tiny_config, threads=threads)
    assert f"threads must be an integer from 1 to 1024, got {threads!r}" in message
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules()), "it was changed already"
    assert refusal(Segmenter.from_file, checkpoint_file, threads=threads) == message
    assert Segmenter.from_file(checkpoint_file, threads=2).threads == 2


def test_bfloat16_runs_and_is_close(
    make_network: MakeNetwork, tiny_config: ModelConfig, segmenter: Segmenter, image: Array
) -> None:
    rough = Segmenter(make_network(tiny_config.network), tiny_config, device="cpu", precision="bfloat16")
    one, other = rough.embed(image), segmenter.embed(image)
    assert one.values.dtype == torch.float32
    assert (one.values * other.values).sum(0).median() > 0.99
    assert (one.foreground - other.foreground).abs().median() < 0.02
    np.testing.assert_array_equal(rough.segment(image), rough.segment(image))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_gpu_gives_an_embedding_close_to_that_of_the_cpu(checkpoint_file: Path, image: Array) -> None:
    gpu = Segmenter.from_file(checkpoint_file, device="cuda", precision="float32")
    cpu = Segmenter.from_file(checkpoint_file, device="cpu", precision="float32")
    assert gpu.embed(image).values.is_cuda
    cosine = (gpu.embed(image).values.cpu() * cpu.embed(image).values).sum(0)
    assert cosine.median() > 0.999
    assert gpu.segment(image).shape == image.shape


# --- refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.array([[1.0, np.nan]]), "image has 1 value(s) that are not finite in float32, the first (nan)"),
        (np.array([[1.0, np.inf]]), "image has 1 value(s) that are not finite in float32, the first (inf)"),
        (np.zeros(5), "image of shape (5,) has 1 axes; expected 2 (YX) or 3 (YXC)"),
        (np.zeros((1, 2, 3, 4, 5)), "has 5 axes; expected 2 (YX) or 3 (YXC)"),
        (np.zeros((0, 5)), "image of shape (0, 5) is empty; expected at least one pixel along each axis"),
        (np.zeros((5, 6, 2)), "image of 2 channel(s) (axes YXC) for a model of 1; expected 1"),
        (np.zeros((5, 6), object), "image of dtype object; expected an integer, float or bool dtype"),
        (None, "image of type NoneType; expected an array"),
        ("missing.tif", "'missing.tif' does not exist; expected an image file; check the path"),
    ],
)
def test_a_bad_image_is_refused(segmenter: Segmenter, bad: Any, message: str) -> None:
    for method in (segmenter.segment, segmenter.analyze, segmenter.embed):
        assert message in refusal(method, bad)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"axes": "YXC"}, "axes='YXC' names 3 axes of an image of 2 (shape (36, 44)); expected one letter"),
        ({"axes": "YT"}, "axes='YT' does not fit a 2D model; expected one letter per axis"),
        (
            {"scale": 0},
            "scale must be 'auto' or a finite number above 0, got 0; 0.5 halves the image for the network",
        ),
        (
            {"scale": -1.5},
            "scale must be 'auto' or a finite number above 0, got -1.5; 0.5 halves the image for the network",
        ),
        (
            {"scale": np.nan},
            "scale must be 'auto' or a finite number above 0, got nan; 0.5 halves the image for the network",
        ),
        (
            {"scale": "2"},
            "scale must be 'auto' or a finite number above 0, got '2'; 0.5 halves the image for the network",
        ),
    ],
)
def test_bad_settings_of_the_image_are_refused(
    segmenter: Segmenter, image: Array, settings: dict[str, Any], message: str
) -> None:
    for method in (segmenter.segment, segmenter.analyze, segmenter.embed):
        assert message in refusal(method, image, **settings)


def three_dimensional() -> Neighborhood:
    return Neighborhood.from_ranges([1, 2], 6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"foreground": np.ones((36, 45))},
            "foreground of shape (36, 45) for an image of spatial shape (36, 44)",
        ),
        (
            {"foreground": np.ones((36, 44, 1))},
            "foreground of shape (36, 44, 1) for an image of spatial shape",
        ),
        ({"foreground": np.full((36, 44), 0.5)}, "foreground holds values between 0 and 1 (a probability?)"),
        ({"foreground": "mask.tif"}, "foreground of type str; expected an array"),
        (
            {"neighborhood": three_dimensional()},
            "ndim is 2, but the neighborhood has 3 axes; give a neighborhood of 2 axes",
        ),
        ({"neighborhood": [1, 3]}, "neighborhood must be a Neighborhood, got [1, 3]"),
        ({"neighborhood": Neighborhood.from_ranges([3, 9])}, "no attractive offset"),
        ({"clusterer": 5}, "clusterer must be a name or a clusterer, got 5; pass an instance"),
        ({"clusterer": ConnectedComponents}, "clusterer must be a name or a clusterer, got <class"),
        (
            {"clusterer": clusterer_of(np.zeros((3, 3), int))},
            "labels of shape (3, 3) for an image of spatial",
        ),
        ({"clusterer": clusterer_of(np.zeros((36, 44)))}, "labels of dtype float64; expected integers"),
        ({"clusterer": clusterer_of(None)}, "labels of type NoneType; expected an array"),
        ({"min_size": -1}, "postprocess.min_size must be an integer of at least 0, got -1"),
        ({"min_size": 2.5}, "postprocess.min_size must be an integer of at least 0, got 2.5"),
    ],
)
def test_bad_settings_of_the_clustering_are_refused(
    segmenter: Segmenter, image: Array, settings: dict[str, Any], message: str
) -> None:
    embedding = segmenter.embed(image)
    assert message in refusal(segmenter.segment, image, **settings)
    assert message in refusal(segmenter.analyze, image, **settings)
    assert message in refusal(segmenter.cluster, embedding, **settings)


def test_an_unknown_clusterer_is_refused_with_the_known_ones_before_the_network_runs(
    segmenter: Segmenter, image: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding = segmenter.embed(image)
    monkeypatch.setattr(type(segmenter.embedder.network), "forward", None)
    expected = "unknown clusterer 'watershed'; the valid ones are agglomeration, connected_components, "
    for call, given in ((segmenter.segment, image), (segmenter.cluster, embedding)):
        assert expected in refusal(call, given, clusterer="watershed", kind=UnknownClustererError)


@pytest.mark.parametrize(
    "method", ["segment", "analyze", "embed", "cluster", "segment_many", "with_settings"]
)
def test_an_unknown_keyword_is_refused(segmenter: Segmenter, method: str) -> None:
    given = [] if method == "with_settings" else [np.zeros((4, 4))]
    with pytest.raises(TypeError, match="neighbourhood"):
        getattr(segmenter, method)(*given, neighbourhood=OTHER)


@pytest.mark.parametrize(
    "method", ["segment", "analyze", "embed", "cluster", "segment_many", "with_settings"]
)
def test_all_but_the_first_argument_are_given_by_name(method: str) -> None:
    positional = [
        name
        for name, parameter in inspect.signature(getattr(Segmenter, method)).parameters.items()
        if parameter.kind not in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD) and name != "self"
    ]
    assert len(positional) == (0 if method == "with_settings" else 1)


@pytest.mark.parametrize("given", [np.zeros((4, 5, 6), np.float32), torch.zeros(4, 5, 6), None])
def test_only_embeddings_are_clustered(segmenter: Segmenter, given: Any) -> None:
    kind = type(given).__name__
    assert refusal(segmenter.cluster, given) == f"cluster takes what embed returns, an Embedding, got {kind}"


def test_an_image_on_which_the_network_overflows_is_refused(
    segmenter: Segmenter, tiny_config: ModelConfig
) -> None:
    spike = np.zeros((20, 20))
    spike[3, 4] = 1e30
    raw = Segmenter(
        segmenter.embedder.network, tiny_config.changed(normalization=Normalization("none")), device="cpu"
    )
    assert "the network overflows on this image" in refusal(raw.segment, spike)


def test_settings_of_a_part_that_a_file_lacks_stay_as_in_the_model(
    segmenter: Segmenter, tmp_path: Path
) -> None:
    model = segmenter.with_settings(
        **{
            "postprocess.merge_sizes": (5, 7),
            "contrast.outlier_factor": 3.0,
            "clusterer_settings.repulsion": 0.7,
        }
    )
    path = tmp_path / "by_hand.json"
    path.write_text('{"postprocess": {"min_size": 30}, "contrast": {"min_contrast": 2}}')
    expected = {"postprocess.min_size": 30, "contrast.min_contrast": 2.0}
    assert model.with_settings_from(path).config == model.with_settings(**expected).config
    path.write_text('{"clusterer": "mutex_watershed"}')
    assert model.with_settings_from(path).config.clusterer_settings == {}


def test_a_diameter_comes_back_from_a_file_and_gives_way_to_a_scale(tmp_path: Path) -> None:
    model = Segmenter.pretrained("bbbc039", device="cpu", threads=1).with_settings(scale=1)
    wide = model.with_settings(diameter=30)
    wide.save_settings(tmp_path / "wide.json")
    assert model.with_settings_from(tmp_path / "wide.json").config == wide.config
    assert (wide.config.scale, wide.config.diameter) == ("auto", 30.0)
    model.save_settings(tmp_path / "model.json")
    assert wide.with_settings_from(tmp_path / "model.json").config == model.config
