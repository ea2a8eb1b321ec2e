"""The flags of the inference settings: every command that segments has all of them, and they mean the same."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from pixel_embedded_affinity.cli import compare, evaluate, main, segment, tune
from pixel_embedded_affinity.cli.settings import given_settings
from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.config.settings import write_settings
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.postprocess import Postprocess

COMMANDS = {
    segment: ["a.tif", "--model", "m", "--output", "o"],
    evaluate: ["--model", "m", "--data", "d"],
    tune: ["--model", "m", "--data", "d", "--output", "o"],
    compare: ["quick", "--data", "d", "--output", "o", "--steps", "1"],
}
FLAGS = [
    *("--ranges", "1,2,5", "--directions", "8", "--strides", "2", "--clusterer", "connected_components"),
    *(
        "--clusterer-settings",
        '{"threshold": 0.7}',
        "--foreground-threshold",
        "0.25",
        "--merge-sizes",
        "20,50",
    ),
    *("--merge-radii", "2.5", "--min-size", "7", "--fill-holes", "--no-clear-border"),
    *("--merge-similarity", "none", "--merge-radii-by", "similarity", "--scale", "1.5", "--views", "4"),
]
START = ModelConfig(postprocess=Postprocess(clear_border=True, merge_similarity=0.9))


def changed(arguments: argparse.Namespace, config: ModelConfig) -> ModelConfig:
    for values in given_settings(arguments):
        config = config.with_values(values)
    return config


def parsed(command: Any, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args([*COMMANDS[command], *more])


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__.rpartition(".")[2])
def test_every_command_that_segments_has_every_flag(command: Any) -> None:
    found = changed(parsed(command, *FLAGS), START)
    assert found == START.changed(
        neighborhood=Neighborhood.from_ranges([1, 2, 5], 8, strides=2),
        clusterer="connected_components",
        clusterer_settings={"threshold": 0.7},
        foreground_threshold=0.25,
        postprocess=Postprocess((20, 50), (2.5,), 7, True, False, None, "similarity"),
        scale=1.5,
        views=4,
    )
    assert changed(parsed(command), START) == START


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__.rpartition(".")[2])
def test_flags_go_before_the_file(command: Any, tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    write_settings(path, START.changed(clusterer="multicut", clusterer_settings={"beta": 0.25}, views=4))
    found = changed(parsed(command, "--settings", str(path), "--views", "8"), ModelConfig())
    assert (found.views, found.clusterer_settings) == (8, {"beta": 0.25})
    assert found.postprocess == START.postprocess
    other = changed(parsed(command, "--settings", str(path), "--clusterer", "mean_shift"), ModelConfig())
    assert (other.clusterer, other.clusterer_settings) == ("mean_shift", {})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--min-size", "x"], "argument --min-size: 'x' is not an integer of at least 0"),
        (["--strides", "2,x"], "argument --strides: '2,x' is not an integer of at least 1, or one per axis"),
        (
            ["--clusterer-settings", "{"],
            "argument --clusterer-settings: '{' is not a table of keys and values",
        ),
    ],
)
def test_text_that_is_no_value_is_wrong_usage(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        parsed(segment, *flags)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--clusterer", "magic"], "unknown clusterer 'magic'"),
        (["--foreground-threshold", "2"], "foreground_threshold must be a number from 0 to 1, got 2.0"),
        (["--clusterer-settings", "[1]"], "clusterer_settings must be a table of keys and values, got [1]"),
        (["--clusterer-settings", '{"beta": 1}'], "unknown settings ['beta'] of clusterer 'mutex_watershed'"),
    ],
)
def test_a_comparison_refuses_settings_before_any_work(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "compare",
        "quick",
        "--data",
        str(tmp_path / "no"),
        "--output",
        str(tmp_path / "o"),
        "--steps",
        "1",
    ]
    assert main([*command, *flags]) == 2
    assert message in capsys.readouterr().err
