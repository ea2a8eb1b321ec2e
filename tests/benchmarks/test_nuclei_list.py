"""The list of training images of the recipe nuclei, made from folders as published."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from pixel_embedded_affinity.data.layouts import DataSettings, find_files
from pixel_embedded_affinity.data.layouts import load as load_pairs
from pixel_embedded_affinity.normalize import Normalization


def write_dsb(folder: Path, name: str, *, color: bool = False, dark: bool = False) -> None:
    """Two nuclei in an image of 8 x 10 pixels."""
    for part in ("images", "masks"):
        (folder / name / part).mkdir(parents=True)
    mask = np.zeros((2, 8, 10), bool)
    mask[0, 1:3, 1:4], mask[1, 4:8, 5:9] = True, True
    image = np.full((8, 10, 4), 200 if dark else 10, np.uint8)
    image[mask.any(axis=0), :3] = 20 if dark else 180
    image[..., 1] += 60 * color
    Image.fromarray(image).save(folder / name / "images" / f"{name}.png")
    for number, one in enumerate(mask):
        Image.fromarray(one.astype(np.uint8) * 255).save(folder / name / "masks" / f"{number}.png")


def test_fluorescence_images_are_listed_with_their_labels(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = load("nuclei_list")
    source, fields = tmp_path / "dsb", tmp_path / "bbbc039"
    write_dsb(source, "good")
    write_dsb(source, "colored", color=True)
    write_dsb(source, "dark", dark=True)
    write_dsb(source, f"{min(module.LEFT_OUT)}0123")
    for part in ("images", "masks", "metadata"):
        (fields / part).mkdir(parents=True)
    (fields / "metadata" / "training.txt").write_text("field.png\n")
    tifffile.imwrite(fields / "images" / "field.tif", np.full((6, 6), 7, np.uint16))
    code = np.zeros((6, 6), np.uint8)
    code[:3], code[4:] = 1, 1
    Image.fromarray(code).save(fields / "masks" / "field.png")
    monkeypatch.setattr(sys, "argv", ["nuclei_list.py", str(source), str(fields), str(tmp_path / "out")])
    module.main()
    pairs = find_files(tmp_path / "out" / "list.txt", DataSettings(), "training")
    found = {example.name: example for example in load_pairs(pairs, Normalization("none"), 1)}
    assert sorted(found) == ["field", "good"]
    assert [int(example.labels.max()) for example in found.values()] == [2, 2]
    areas = np.bincount(found["good"].labels.ravel())[1:]
    assert sorted(areas.tolist()) == [6, 16]


def test_nuclei_without_an_object_are_counted_by_what_became_of_them(load: Any) -> None:
    errors_of = load("nuclei_test").errors_of
    truth = np.repeat(np.arange(7), 12)[None].repeat(3, axis=0)
    truth[:, ::12] = 0
    found = np.zeros_like(truth)
    found[truth == 1] = 1
    found[:, 25:48] = 2  # the second and third, and what lies between
    found[:, 49:52], found[:, 52:55], found[:, 55:60] = 3, 4, 5  # the fourth, cut into three
    found[:, 61:66] = 6  # less than half of the fifth; nothing of the sixth
    assert errors_of(truth, found) == {"joined": 2, "cut": 1, "outline": 1, "missed": 1}
    assert errors_of(truth, truth) == {}
    assert errors_of(truth, np.zeros_like(truth)) == {"missed": 6}


def test_models_are_scored_on_the_fluorescence_images(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = load("nuclei_test")
    write_dsb(tmp_path, "good")
    write_dsb(tmp_path, "colored", color=True)
    write_dsb(tmp_path, f"{min(module.REPEATED)}0123")
    truth = np.array(module.images_of(tmp_path)[0][1])

    class Known:
        """A segmenter that knows the labels."""

        class config:
            object_diameter = 4.0

        def segment(self, image: Any, scale: Any) -> Any:
            assert scale in ("auto", 1.0) or 0.5 < scale < 2
            return truth

    monkeypatch.setattr(module.Segmenter, "pretrained", lambda name: Known())
    monkeypatch.setattr(sys, "argv", ["nuclei_test.py", str(tmp_path), "--models", "known"])
    module.main()
    counted, _, *rows = capsys.readouterr().out.splitlines()
    assert counted == "1 images, 2 nuclei"
    assert [row.split() for row in rows] == [
        ["known", scale, "1.000", "1.000", "1.000", "0", "0", "0", "0"] for scale in ("auto", "true", "1")
    ]
