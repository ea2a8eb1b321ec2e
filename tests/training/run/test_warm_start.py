"""Weights to start from: a gray model for color images gives the same, and nothing else is made to fit."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixel_embedded_affinity.config.model import NetworkConfig
from pixel_embedded_affinity.errors import CheckpointError
from pixel_embedded_affinity.models.checkpoint import Checkpoint, write_checkpoint
from pixel_embedded_affinity.network.base import NETWORKS
from pixel_embedded_affinity.network.build import load_network, read_model
from pixel_embedded_affinity.training.run.loop import Trainer
from pixel_embedded_affinity.training.run.warm_start import read_start, spread_channels


@pytest.fixture
def color(tiny_config):
    return replace(tiny_config.network, in_channels=3)


def model_file(path, config, network):
    write_checkpoint(path, Checkpoint(config.to_json(), network.state_dict()))
    return path


def test_a_gray_model_gives_the_same_for_a_gray_image_in_color(checkpoint_file, tiny_network, color):
    network = load_network(color, read_start(checkpoint_file, color)).eval()
    image = torch.rand((2, 1, 32, 48), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = tiny_network(image), network(image.repeat(1, 3, 1, 1))
    torch.testing.assert_close(found.embedding, expected.embedding, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.foreground, expected.foreground, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS.built_in)
@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 2), (3, 1)])
def test_every_architecture_gives_the_same_for_an_image_of_equal_channels(
    name, before, after, tmp_path, tiny_config, make_network
):
    widths = {"width": 2} if name.startswith("resnet") else {}
    filters = (4,) * (4 if name == "mala_unet" else 5)
    first = NetworkConfig(name, in_channels=before, filters=filters, embedding_channels=4, **widths)
    model = make_network(first)
    path = model_file(tmp_path / "first.safetensors", replace(tiny_config, network=first), model)
    second = replace(first, in_channels=after)
    network = load_network(second, read_start(path, second)).eval()
    image = torch.rand((1, 1, *((8,) if model.ndim == 3 else ()), 32, 48))
    with torch.inference_mode():
        expected = model.eval()(image.repeat(1, before, *[1] * model.ndim))
        found = network(image.repeat(1, after, *[1] * model.ndim))
    torch.testing.assert_close(found.embedding, expected.embedding, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.foreground, expected.foreground, rtol=1e-4, atol=1e-4)


@given(before=st.integers(1, 5), after=st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_the_sum_over_the_channels_stays_and_all_channels_weigh_the_same(
    before, after, tiny_config, make_network
):
    first, second = (replace(tiny_config.network, in_channels=count) for count in (before, after))
    weights = make_network(first).state_dict()
    copies = {name: value.clone() for name, value in weights.items()}
    spread = spread_channels(weights, second)
    assert all(torch.equal(weights[name], copies[name]) for name in copies)
    changed = [name for name in weights if not torch.equal(weights[name].sum(), spread[name].sum())]
    assert set(changed) <= {"stem.enter.weight"}
    weight = spread["stem.enter.weight"]
    assert weight.shape[1] == after
    torch.testing.assert_close(weight.sum(1), weights["stem.enter.weight"].sum(1))
    if before != after:
        torch.testing.assert_close(weight, weight[:, :1].expand_as(weight))


def test_a_model_of_as_many_channels_is_taken_as_it_is_and_nothing_is_said(
    checkpoint_file, tiny_config, tiny_network, caplog
):
    with caplog.at_level(logging.INFO):
        weights = read_start(checkpoint_file, tiny_config.network)
    assert caplog.text == ""
    expected = tiny_network.state_dict()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_that_channels_were_spread_is_logged(checkpoint_file, color, caplog):
    with caplog.at_level(logging.INFO, logger="pixel_embedded_affinity"):
        read_start(checkpoint_file, color)
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert "tiny.safetensors takes images of 1 channels, the run 3" in record.getMessage()


@pytest.mark.parametrize(
    "change",
    [
        {"filters": (4, 4, 4, 4, 8)},
        {"embedding_channels": 5},
        {"foreground_head": False},
        {"full_resolution_skip": True},
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_any_other_mismatch_is_refused(checkpoint_file, tiny_config, change, channels):
    other = replace(tiny_config.network, in_channels=channels, **change)
    with pytest.raises(CheckpointError, match="another architecture"):
        load_network(other, read_start(checkpoint_file, other))


HALF = NetworkConfig("half_unet", in_channels=1, filters=(4,) * 5, embedding_channels=4)


@pytest.fixture
def half_file(tmp_path, tiny_config, make_network):
    """A file of a half_unet with random weights."""
    config = replace(tiny_config, network=HALF)
    return model_file(tmp_path / "half.safetensors", config, make_network(HALF))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("blocks", [(2, 1, 1, 1, 1), (1, 2, 3, 2, 2)])
def test_a_network_with_more_blocks_gives_the_same_at_first(half_file, blocks, channels, caplog):
    deeper = replace(HALF, in_channels=channels, blocks=blocks)
    with caplog.at_level(logging.INFO, logger="pixel_embedded_affinity"):
        network = load_network(deeper, read_start(half_file, deeper)).eval()
    assert f"half.safetensors has [1, 1, 1, 1, 1] blocks per level, the run {list(blocks)}" in caplog.text
    image = torch.rand((2, 1, 32, 48), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = read_model(half_file)[0].eval()(image)
        found = network(image.repeat(1, channels, 1, 1))
    torch.testing.assert_close(found.embedding, expected.embedding, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.foreground, expected.foreground, rtol=1e-4, atol=1e-4)


def test_a_network_with_as_many_blocks_says_nothing(half_file, caplog):
    with caplog.at_level(logging.INFO):
        weights = read_start(half_file, replace(HALF, blocks=(1, 1, 1, 1, 1)))
    assert caplog.text == ""
    assert weights.keys() == read_model(half_file)[0].state_dict().keys()


@pytest.mark.parametrize("change", [{"filters": (4, 4, 4, 4, 8)}, {"embedding_channels": 5}])
def test_more_blocks_and_another_change_are_refused(half_file, change):
    deeper = replace(HALF, blocks=(2, 1, 1, 1, 1), **change)
    with pytest.raises(CheckpointError, match="another architecture"):
        load_network(deeper, read_start(half_file, deeper))


def test_fewer_blocks_are_refused(tmp_path, tiny_config, make_network):
    deep = replace(HALF, blocks=(1, 3, 1, 1, 1))
    path = model_file(tmp_path / "deep.safetensors", replace(tiny_config, network=deep), make_network(deep))
    for blocks in ((1, 1, 1, 1, 1), (2, 2, 1, 1, 1)):
        fewer = replace(HALF, blocks=blocks)
        with pytest.raises(CheckpointError, match="another architecture"):
            load_network(fewer, read_start(path, fewer))


def test_weights_missing_in_the_file_are_not_made_up_for_a_deeper_network(tmp_path, half_file, tiny_config):
    weights = read_model(half_file)[0].state_dict()
    del weights["stem.norm.weight"]
    config = replace(tiny_config, network=HALF)
    write_checkpoint(tmp_path / "odd.safetensors", Checkpoint(config.to_json(), weights))
    with pytest.raises(CheckpointError, match="do not fit"):
        read_start(tmp_path / "odd.safetensors", replace(HALF, blocks=(2, 1, 1, 1, 1)))


def test_a_run_with_more_blocks_is_the_same_for_the_same_seed(half_file, recipe, examples, tmp_path):
    recipe = replace(recipe, model=recipe.model.changed(network=replace(HALF, blocks=(2, 1, 1, 1, 1))))
    first, second = (
        Trainer(recipe, examples, tmp_path / name, device="cpu", warm_start=half_file)
        for name in ("first", "second")
    )
    for name, value in first.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[name])


def test_a_file_whose_weights_are_not_those_that_it_says_is_refused(tmp_path, tiny_config, color):
    weights = {"stem.enter.weight": torch.zeros(8, 2, 3, 3), "other": torch.zeros(1)}
    write_checkpoint(tmp_path / "odd.safetensors", Checkpoint(tiny_config.to_json(), weights))
    with pytest.raises(CheckpointError, match="do not fit"):
        load_network(color, read_start(tmp_path / "odd.safetensors", color))


def test_a_run_on_other_images_starts_from_a_model_but_not_from_a_state(recipe, examples, tmp_path):
    model = recipe.model
    first = Trainer(recipe, examples, tmp_path / "gray", device="cpu")
    list(first.steps(1e-9))
    wide = replace(recipe, model=model.changed(network=replace(model.network, in_channels=2)))
    pairs = [replace(example, image=example.image.repeat(2, 0)) for example in examples]
    start = tmp_path / "gray" / "model.safetensors"
    second = Trainer(wide, pairs, tmp_path / "pair", device="cpu", warm_start=start)
    torch.testing.assert_close(
        second.network.state_dict()["stem.enter.weight"].sum(1), first.average["stem.enter.weight"].sum(1)
    )
    with pytest.raises(CheckpointError, match="do not fit"):
        Trainer(
            wide, pairs, tmp_path / "pair", device="cpu", warm_start=tmp_path / "gray" / "state.safetensors"
        )
