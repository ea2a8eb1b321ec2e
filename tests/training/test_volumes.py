"""Volumes are trained by the same loop as images: from sections on disk to a model that segments a volume."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.models.checkpoint import read_checkpoint
from pixel_embedded_affinity.training.data.synthetic import synthetic_volume
from pixel_embedded_affinity.training.recipe import Recipe
from pixel_embedded_affinity.training.run.logs import read_rows
from pixel_embedded_affinity.training.run.train import train

RECIPE = """
[model]
name = "tubes"
clusterer = "agglomeration"
foreground_threshold = 0.0
[model.network]
architecture = "sections_unet"
in_channels = 1
filters = [4, 4, 4, 4, 4]
embedding_channels = 4
[model.neighborhood]
ranges = [1, [1, 3, 3]]
directions = 6
[data]
layout = "ac3ac4"
[neighborhood]
ranges = [1, 2, 4]
directions = 8
across = [[1, 0], [2, 0], [1, 3]]
drawn = 5
[loss]
cross_correlation = false
membrane = 1
[schedule]
steps = 6
batch = 2
crop = [4, 32, 32]
save_every = 2
[sections]
shift = 1.0
contrast = 0.2
brightness = 0.1
missing = 0.1
blurred = 0.2
blur = 1.0
"""


class Stopped(Exception):
    """Ends a training as a power cut would."""


@pytest.fixture(scope="module")
def sections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like AC4, of 100 sections of 48 x 48 pixels."""
    folder = tmp_path_factory.mktemp("sections")
    image, labels = synthetic_volume((100, 48, 48))
    for number, (section, truth) in enumerate(zip(image, labels)):
        part = folder / ("train" if number < 80 else "validate")
        part.mkdir(exist_ok=True)
        tifffile.imwrite(part / f"train-input_{number:04d}.tif", section)
        tifffile.imwrite(part / f"train-labels_{number:04d}.tif", truth.astype(np.uint16))
    return folder


@pytest.fixture
def tubes(tmp_path: Path) -> Recipe:
    path = tmp_path / "tubes.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return Recipe.from_file(path)


def _stop_after_five(results: Iterable[Any], **_: Any) -> Iterator[Any]:
    for result in results:
        yield result
        if result.step == 5:
            raise Stopped


def _log_of(folder: Path) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_rows(folder / "log.csv")]


def test_a_run_on_sections_that_was_cut_and_resumed_is_one_that_was_not(
    sections: Path, tubes: Recipe, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(tubes, sections, whole, device="cpu")
    with pytest.raises(Stopped):
        train(tubes, sections, cut, device="cpu", progress=_stop_after_five)
    train(tubes, sections, cut, device="cpu", resume=True)
    assert _log_of(cut) == _log_of(whole)
    assert [row["step"] for row in _log_of(whole)] == ["1", "2", "3", "4", "5", "6"]
    tensors = [read_checkpoint(folder / "model.safetensors").tensors for folder in (cut, whole)]
    assert all(np.array_equal(tensors[0][name], tensors[1][name]) for name in tensors[1])
    model = Segmenter.from_file(whole / "model.safetensors", device="cpu")
    labels = model.segment(synthetic_volume((6, 40, 44))[0])
    assert labels.shape == (6, 40, 44)
    assert labels.min() > 0  # at this threshold all is foreground: no membrane is left unlabeled
    assert (whole / "validation" / "ac4_080-099.png").is_file()
