"""The configuration of a model: it comes back from JSON, and what does not belong there is refused."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixel_embedded_affinity.config.model import ModelConfig, NetworkConfig
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.normalize import Normalization
from pixel_embedded_affinity.postprocess import Postprocess
from pixel_embedded_affinity.testing import neighborhoods

FULL = ModelConfig(
    name="nuclei",
    version="1.2",
    network=NetworkConfig(
        in_channels=2, filters=(1, 2, 3, 4, 5), embedding_channels=8, foreground_head=False
    ),
    normalization=Normalization("fixed", mean=(1.0, 2.0), std=(3.0, 4.0), clip=(-1.0, 5.0)),
    neighborhood=Neighborhood.from_ranges([1, (2, 3)], 8, strides=(2, 3)),
    clusterer="connected_components",
    clusterer_settings={"threshold": 0.25},
    foreground_threshold=0.4,
    scale=1.5,
    views=4,
    postprocess=Postprocess(merge_sizes=(25, 50), min_size=10, fill_holes=True, clear_border=True),
    license="CC0-1.0",
    description="Nuclei, 0.5 µm a pixel.",
    provenance={"seed": 3, "data": {"images": 100}},
)


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        ModelConfig.from_json(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- JSON -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [ModelConfig(), FULL], ids=["default", "full"])
def test_it_comes_back_from_json(config: ModelConfig) -> None:
    assert ModelConfig.from_json(config.to_json()) == config


@settings(max_examples=40, deadline=None)
@given(
    neighborhood=st.integers(2, 3).flatmap(lambda ndim: neighborhoods(ndim=ndim)),
    name=st.text(),
    threshold=st.floats(0, 1),
    filters=st.lists(st.integers(1, 65536), max_size=6),
    flag=st.booleans(),
    merge_sizes=st.lists(st.integers(0, 10**6), max_size=4),
)
def test_any_valid_settings_come_back_from_json(
    neighborhood: Neighborhood,
    name: str,
    threshold: float,
    filters: list[int],
    flag: bool,
    merge_sizes: list[int],
) -> None:
    config = ModelConfig(
        name=name,
        network=NetworkConfig(filters=tuple(filters), full_resolution_skip=flag),
        neighborhood=neighborhood,
        foreground_threshold=threshold,
        postprocess=Postprocess(merge_sizes=tuple(merge_sizes), fill_holes=flag),
    )
    assert ModelConfig.from_json(config.to_json()) == config


def test_equal_configurations_give_equal_text_whatever_the_order_of_their_keys() -> None:
    values = FULL.to_dict()
    turned = dict(reversed(values.items()))
    assert list(turned) != list(values)
    assert ModelConfig.from_dict(turned).to_json() == FULL.to_json()


def test_text_names_every_setting() -> None:
    values = json.loads(FULL.to_json())
    assert values["network"]["filters"] == [1, 2, 3, 4, 5]
    assert values["neighborhood"]["strides"] == [2, 3]
    assert values["clusterer_settings"] == {"threshold": 0.25}
    assert set(values) == set(ModelConfig.__dataclass_fields__)
    assert set(values["network"]) == set(NetworkConfig.__dataclass_fields__)


def test_absent_keys_keep_their_defaults() -> None:
    assert ModelConfig.from_json("{}") == ModelConfig()
    found = ModelConfig.from_json('{"network": {"in_channels": 1}, "neighborhood": {"ranges": [1, 7]}}')
    assert found == ModelConfig(
        network=NetworkConfig(in_channels=1), neighborhood=Neighborhood.from_ranges([1, 7])
    )


# --- refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nam": 1}, r"unknown keys ['nam'] in the model configuration; the valid ones are ['clusterer', "),
        ({"network": {"filter": 1}}, "unknown keys ['filter'] in the network configuration; the valid ones"),
        ({"normalization": {"low": 1}}, "unknown normalization setting"),
        ({"neighborhood": {"range": [1]}}, "unknown neighborhood keys ['range']"),
        ({"postprocess": {"min": 1}}, "unknown postprocessing keys ['min']"),
        ({"network": []}, "network must be a table of keys and values, got list"),
        ({"neighborhood": None}, "neighborhood must be a table of keys and values, got NoneType"),
        (
            {"clusterer_settings": [["a", 1]]},
            "clusterer_settings must be a table of keys and values",
        ),
        ({"provenance": "me"}, "provenance must be a table of keys and values, got str"),
        ({"name": 5}, "model name must be a string, got 5"),
        ({"version": None}, "model version must be a string, got None"),
        ({"clusterer": ["x"]}, "model clusterer must be a string, got ['x']"),
        ({"foreground_threshold": "0.5"}, "foreground_threshold must be a number from 0 to 1, got '0.5'"),
        ({"scale": 0}, "scale must be a positive number, or 2 of them, one per axis, got 0; 0.5"),
        ({"scale": "1"}, "scale must be a positive number, or 2 of them, one per axis, got '1'; 0.5"),
        ({"views": 2}, "views must be 1, 4 or 8, got 2; 1 shows the network the image as it is"),
        ({"views": 4.0}, "views must be 1, 4 or 8, got 4.0; 1 shows the network the image as it is"),
        ({"foreground_threshold": True}, "foreground_threshold must be a number from 0 to 1, got True"),
        ({"foreground_threshold": -0.1}, "foreground_threshold must be a number from 0 to 1, got -0.1"),
        ({"foreground_threshold": 1.5}, "foreground_threshold must be a number from 0 to 1, got 1.5"),
        ({"foreground_threshold": np.nan}, "foreground_threshold must be a number from 0 to 1, got nan"),
        ({"network": {"architecture": 5}}, "architecture must be a string, got 5"),
        ({"network": {"architecture": ["x"]}}, "architecture must be a string, got ['x']"),
        ({"network": {"filters": 5}}, "filters must be a list of integers, got 5"),
        ({"network": {"filters": "12345"}}, "filters must be a list of integers, got '12345'"),
        ({"network": {"filters": {"a": 1}}}, "filters must be a list of integers"),
        (
            {"network": {"filters": [1, 2.0]}},
            "must be positive integers of at most 65536",
        ),
        ({"network": {"filters": [[1]]}}, "channels and filters must be positive integers"),
        ({"network": {"in_channels": 0}}, "channels and filters must be positive integers"),
        ({"network": {"in_channels": True}}, "channels and filters must be positive integers"),
        ({"network": {"in_channels": None}}, "channels and filters must be positive integers"),
        ({"network": {"embedding_channels": -1}}, "channels and filters must be positive integers"),
        ({"network": {"embedding_channels": 10**30}}, "channels and filters must be positive integers"),
        (
            {"network": {"foreground_head": 1}},
            "foreground_head and full_resolution_skip must be true",
        ),
        ({"network": {"full_resolution_skip": "no"}}, "full_resolution_skip must be true or false"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], message: str) -> None:
    assert message in refusal(json.dumps(values))


@pytest.mark.parametrize("text", ["", "{", "{'name': 1}", '{"a": ' + "9" * 5000 + "}", "[" * 100_000, "\0"])
def test_text_that_is_no_json_is_refused(text: str) -> None:
    assert "the model configuration is not JSON" in refusal(text)


@pytest.mark.parametrize("text", ["[]", "null", "5", '"name"', "NaN"])
def test_json_that_is_no_object_is_refused(text: str) -> None:
    assert "model must be a table of keys and values" in refusal(text)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("network", {"in_channels": 1}, "network must be a NetworkConfig, got {'in_channels': 1}"),
        ("normalization", "percentile", "normalization must be a Normalization, got 'percentile'"),
        ("neighborhood", [1, 3], "neighborhood must be a Neighborhood, got [1, 3]"),
        ("postprocess", None, "postprocess must be a Postprocess, got None"),
        ("clusterer_settings", None, "clusterer_settings must be a table of keys and values, got NoneType"),
        ("provenance", "me", "provenance must be a table of keys and values, got str"),
    ],
)
def test_parts_of_another_type_are_refused(part: str, value: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        ModelConfig(**{part: value})
    assert str(caught.value).startswith(message)


# --- copies -----------------------------------------------------------------------------------------------


def test_a_changed_copy_leaves_the_original_alone() -> None:
    before = FULL.to_json()
    changed = FULL.changed(name="other", foreground_threshold=1)
    assert (changed.name, changed.foreground_threshold) == ("other", 1.0)
    assert changed.network is FULL.network
    assert FULL.to_json() == before


def test_a_changed_copy_is_checked_too() -> None:
    with pytest.raises(InputError, match="foreground_threshold"):
        FULL.changed(foreground_threshold=2)
    with pytest.raises(TypeError, match="threshold"):
        FULL.changed(threshold=0.5)


def test_no_two_configurations_share_a_dictionary() -> None:
    mine = {"threshold": 0.5}
    config = replace(FULL, clusterer_settings=mine)
    changed = config.changed(name="other")
    mine["threshold"] = 0.1
    changed.clusterer_settings["threshold"] = 0.2
    assert config.clusterer_settings == {"threshold": 0.5}
    assert ModelConfig().provenance is not ModelConfig().provenance


def test_numbers_of_numpy_become_plain_ones_that_json_takes() -> None:
    config = ModelConfig(foreground_threshold=np.float32(0.25))
    assert type(config.foreground_threshold) is float
    assert ModelConfig.from_json(config.to_json()) == config


def test_it_cannot_be_changed_in_place() -> None:
    with pytest.raises(FrozenInstanceError):
        FULL.name = "other"  # type: ignore[misc]
