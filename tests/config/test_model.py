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
    assert set(values["network"]) == {
        "architecture",
        "embedding_channels",
        "filters",
        "foreground_head",
        "full_resolution_skip",
        "in_channels",
    }


def test_options_of_an_architecture_are_keys_among_the_others() -> None:
    config = NetworkConfig("vit", in_channels=1, depth=12, kinds=["a", "b"], rate=0.5, wide=True)
    assert config.options == {"depth": 12, "kinds": ("a", "b"), "rate": 0.5, "wide": True}
    assert config == NetworkConfig("vit", 1, options=config.options)
    assert replace(config, depth=3).options["depth"] == 3
    text = ModelConfig(network=config).to_json()
    assert json.loads(text)["network"]["kinds"] == ["a", "b"]
    assert ModelConfig.from_json(text).network == config


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
        (
            {"nam": 1},
            r"unknown keys ['nam'] in the model configuration; the valid ones are ['name', 'version', ",
        ),
        (
            {"normalization": {"low": 1}},
            "unknown keys ['low'] in [normalization]; the valid ones are ['kind', ",
        ),
        ({"neighborhood": {"range": [1]}}, "unknown keys ['range'] in [neighborhood]"),
        ({"postprocess": {"min": 1}}, "unknown keys ['min'] in [postprocess]"),
        ({"network": []}, "network must be a table of keys and values, got []"),
        ({"neighborhood": None}, "neighborhood must be a table of keys and values, got None"),
        (
            {"clusterer_settings": [["a", 1]]},
            "clusterer_settings must be a table of keys and values",
        ),
        ({"provenance": "me"}, "provenance must be a table of keys and values, got 'me'"),
        ({"name": 5}, "name must be a string, got 5"),
        ({"version": None}, "version must be a string, got None"),
        (
            {"clusterer": ["x"]},
            "clusterer must be the name of a clusterer (a clusterer itself goes to segment, analyze or cluster), "
            "got ['x']",
        ),
        ({"foreground_threshold": "0.5"}, "foreground_threshold must be a number from 0 to 1, got '0.5'"),
        (
            {"scale": 0},
            "scale must be 'auto' or a finite number above 0, got 0; 0.5 halves the image for the network",
        ),
        (
            {"scale": "1"},
            "scale must be 'auto' or a finite number above 0, got '1'; 0.5 halves the image for the network",
        ),
        ({"views": 2}, "views must be 1, 4 or 8, got 2; 1 shows the network the image as it is"),
        ({"views": 4.0}, "views must be an integer of at least 1, got 4.0"),
        ({"views": 5}, "views must be 1, 4 or 8, got 5; 1 shows the network the image as it is"),
        ({"foreground_threshold": True}, "foreground_threshold must be a number from 0 to 1, got True"),
        ({"foreground_threshold": -0.1}, "foreground_threshold must be a number from 0 to 1, got -0.1"),
        ({"foreground_threshold": 1.5}, "foreground_threshold must be a number from 0 to 1, got 1.5"),
        ({"foreground_threshold": np.nan}, "foreground_threshold must be a number from 0 to 1, got nan"),
        ({"network": {"architecture": 5}}, "architecture must be a string, got 5"),
        ({"network": {"architecture": ["x"]}}, "architecture must be a string, got ['x']"),
        (
            {"network": {"filters": {"a": 1}}},
            "network option 'filters' must be a number of at most 65536, a string",
        ),
        ({"network": {"filters": [[1]]}}, "network option 'filters' must be"),
        ({"network": {"filters": [65537]}}, "network option 'filters' must be"),
        ({"network": {"filters": [1] * 65}}, "or a list of at most 64 of them"),
        ({"network": {"depth": 10**30}}, "network option 'depth' must be"),
        ({"network": {"depth": -(10**30)}}, "network option 'depth' must be"),
        ({"network": {"depth": None}}, "network option 'depth' must be"),
        ({"network": {"options": {"depth": 1}}}, "network option 'options' must be"),
        ({"network": {"in_channels": 0}}, "in_channels and embedding_channels must be positive integers"),
        ({"network": {"in_channels": True}}, "in_channels and embedding_channels must be positive integers"),
        ({"network": {"in_channels": None}}, "in_channels and embedding_channels must be positive integers"),
        (
            {"network": {"embedding_channels": -1}},
            "in_channels and embedding_channels must be positive integers",
        ),
        (
            {"network": {"embedding_channels": 10**30}},
            "must be positive integers of at most 65536, got 3 and 10000",
        ),
        ({"network": {"foreground_head": 1}}, "foreground_head must be true or false, got 1"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], message: str) -> None:
    assert message in refusal(json.dumps(values))


@pytest.mark.parametrize("text", ["", "{", "{'name': 1}", '{"a": ' + "9" * 5000 + "}", "[" * 100_000, "\0"])
def test_text_that_is_no_json_is_refused(text: str) -> None:
    assert "the model configuration is not JSON" in refusal(text)


@pytest.mark.parametrize("text", ["[]", "null", "5", '"name"', "NaN"])
def test_json_that_is_no_object_is_refused(text: str) -> None:
    assert "the model configuration must be a table of keys and values, got" in refusal(text)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("network", {"in_channels": 1}, "network must be a NetworkConfig, got {'in_channels': 1}"),
        ("normalization", "percentile", "normalization must be a Normalization, got 'percentile'"),
        ("neighborhood", [1, 3], "neighborhood must be a Neighborhood, got [1, 3]"),
        ("postprocess", None, "postprocess must be a Postprocess, got None"),
        ("clusterer_settings", None, "clusterer_settings must be a table of keys and values, got None"),
        ("provenance", "me", "provenance must be a table of keys and values, got 'me'"),
    ],
)
def test_parts_of_another_type_are_refused(part: str, value: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        ModelConfig(**{part: value})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ndim": 4}, "ndim must be one of 2, 3, got 4"),
        ({"ndim": 3}, "ndim is 3, but the neighborhood has 2 axes; give a neighborhood of 3 axes"),
        (
            {"pixel_size": 0.5},
            "pixel_size must be a list of values, each a finite number above 0, got 0.5",
        ),
        ({"pixel_size": [0.5, 0]}, "each entry of pixel_size must be a finite number above 0, got 0"),
        ({"pixel_size": [1, 1, 1]}, "pixel_size must be 2 numbers, one per axis, got (1.0, 1.0, 1.0)"),
    ],
)
def test_axes_and_sizes_that_do_not_fit_are_refused(values: dict[str, Any], message: str) -> None:
    assert message in refusal(json.dumps(values))


def test_the_axes_are_those_of_the_neighborhood_and_files_without_them_are_read() -> None:
    pairs = Neighborhood.from_ranges([1, 3], 6)
    assert (ModelConfig().ndim, ModelConfig(neighborhood=pairs).ndim) == (2, 3)
    config = ModelConfig(neighborhood=pairs, pixel_size=(2, 0.5, 0.5))
    assert ModelConfig.from_json(config.to_json()) == config
    old = {key: value for key, value in FULL.to_dict().items() if key not in ("ndim", "pixel_size")}
    assert ModelConfig.from_dict(old) == FULL


# --- other settings ---------------------------------------------------------------------------------------


def test_settings_change_by_dotted_keys() -> None:
    changed = FULL.with_values(
        {
            "postprocess.min_size": 3,
            "neighborhood.strides": 4,
            "clusterer_settings.threshold": 0.5,
            "views": 8,
        }
    )
    assert changed == FULL.changed(
        postprocess=replace(FULL.postprocess, min_size=3),
        neighborhood=replace(FULL.neighborhood, strides=4),
        clusterer_settings={"threshold": 0.5},
        views=8,
    )
    ranges = {"neighborhood.ranges": (1, 5), "neighborhood.directions": 8}
    assert FULL.with_values(ranges).neighborhood == Neighborhood.from_ranges(
        [1, 5], 8, strides=FULL.neighborhood.strides
    )


def test_another_clusterer_starts_with_its_own_settings() -> None:
    assert FULL.with_values({"clusterer": "multicut"}).clusterer_settings == {}
    multicut = FULL.with_values({"clusterer": "multicut", "clusterer_settings": {"beta": 0.3, "solver": "a"}})
    assert multicut.with_values({"clusterer_settings": {"beta": 0.4}}).clusterer_settings == {
        "beta": 0.4,
        "solver": "a",
    }
    named = multicut.with_values({"clusterer": "multicut", "clusterer_settings": {"beta": 0.4}})
    assert named.clusterer_settings == {"beta": 0.4}
    changed = FULL.with_values({"clusterer_settings.beta": 0.4, "clusterer": "multicut"})
    assert changed.clusterer_settings == {"beta": 0.4}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"name": "x"},
            "unknown keys ['name'] in the inference settings; the valid ones are ['neighborhood', ",
        ),
        ({"normalization.lower": 1}, "unknown keys ['normalization'] in the inference settings"),
        (
            {"postprocess.minsize": 1},
            "unknown keys ['minsize'] in [postprocess]; the valid ones are ['merge_sizes'",
        ),
        (
            {"neighborhood.range": 1},
            "unknown keys ['range'] in [neighborhood]; the valid ones are ['ranges', ",
        ),
        ({"neighborhood.directions": 8}, "give neighborhood.ranges too"),
        ({"scale.x": 1}, "scale has no keys ['x'] within; give scale itself"),
    ],
)
def test_other_keys_than_those_of_inference_settings_are_refused(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        FULL.with_values(values)
    assert message in str(caught.value)


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
