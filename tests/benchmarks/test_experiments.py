"""The benchmarks that score a model run on small data sets of both kinds, and say what they should."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.config.model import ModelConfig, NetworkConfig
from pixel_embedded_affinity.data.layouts import RAW, DataSettings, find_files, load_one
from pixel_embedded_affinity.metrics import aggregated_jaccard_index, dice, symmetric_best_dice
from pixel_embedded_affinity.models.checkpoint import Checkpoint, write_checkpoint

NAMES = {"training": ("a", "b"), "validation": ("c", "d")}

SETTINGS = ["--training", "1", "--ranges", "1", "2", "--more-ranges", "4", "--device", "cpu"]

Array = npt.NDArray[Any]


def example(seed: int) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    labels = np.kron(random.integers(0, 4, (4, 5)), np.ones((12, 12), int)).astype(np.uint8)
    return random.integers(0, 4000, labels.shape, dtype=np.uint16), labels


@pytest.fixture
def nuclei(tmp_path: Path) -> Path:
    """A folder like BBBC039's."""
    for name in ("images", "masks", "metadata"):
        (tmp_path / "nuclei" / name).mkdir(parents=True)
    for part, (split, names) in enumerate(NAMES.items()):
        listed = "\n".join(f"{name}.png" for name in names)
        (tmp_path / "nuclei" / "metadata" / f"{split}.txt").write_text(listed, encoding="utf-8")
        for number, name in enumerate(names):
            image, labels = example(2 * part + number)
            tifffile.imwrite(tmp_path / "nuclei" / "images" / f"{name}.tif", image)
            Image.fromarray(np.stack([labels] * 3, -1)).save(tmp_path / "nuclei" / "masks" / f"{name}.png")
    return tmp_path / "nuclei"


@pytest.fixture
def leaves(tmp_path: Path) -> Path:
    """A folder like CVPPP's, and a recipe that names its validation plants."""
    (tmp_path / "leaves").mkdir()
    for number in range(3):
        image, labels = example(number)
        picture = Image.fromarray((image // 16).astype(np.uint8)).convert("RGB")
        picture.save(tmp_path / "leaves" / f"plant{number}_rgb.png")
        indexed = Image.fromarray(labels, mode="P")
        indexed.putpalette([*range(48)])
        indexed.save(tmp_path / "leaves" / f"plant{number}_label.png")
    text = '[model]\nname = "leaves"\n[data]\nlayout = "cvppp"\nvalidation = ["plant1", "plant2"]\n'
    (tmp_path / "leaves.toml").write_text(text, encoding="utf-8")
    return tmp_path / "leaves"


def read_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "adaptive.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def leaf_model(tmp_path: Path, make_network: Any) -> Path:
    """A model of color images without a foreground of its own."""
    network = NetworkConfig(
        in_channels=3, filters=(4, 4, 4, 4, 4), embedding_channels=4, foreground_head=False
    )
    config = ModelConfig(name="leaves", version="1", network=network)
    path = tmp_path / "leaves.safetensors"
    write_checkpoint(path, Checkpoint(config.to_json(), make_network(network).state_dict()))
    return path


def test_the_experiment_scores_what_segmenting_gives_and_embeds_each_image_once(
    load: Any, nuclei: Path, checkpoint_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    measure = pytest.importorskip("skimage.measure")
    adaptive: ModuleType = load("adaptive")
    embed, shapes = Segmenter.embed, []

    def counted(self: Segmenter, image: Any, **options: Any) -> Any:
        shapes.append(image.shape)
        return embed(self, image, **options)

    monkeypatch.setattr(Segmenter, "embed", counted)
    command = ["--model", str(checkpoint_file), "--recipe", "bbbc039", "--data", str(nuclei)]
    adaptive.main([*command, *SETTINGS, "--output", str(tmp_path / "out")])
    assert len(shapes) == 3  # one to choose settings on, two to score
    rows = read_rows(tmp_path / "out")
    assert [row["variant"].split(",")[0] for row in rows[:4]] == ["N = 4", "N = 8", "N = 8", "as shipped"]
    assert [row["variant"].split(",")[0] for row in rows[4:]] == ["mutex_watershed", *adaptive.CANDIDATES]
    segmenter, expected = Segmenter.from_file(checkpoint_file, device="cpu"), []
    for name in NAMES["validation"]:
        found = segmenter.segment(tifffile.imread(nuclei / "images" / f"{name}.tif"))
        with Image.open(nuclei / "masks" / f"{name}.png") as mask:
            truth = measure.label(np.asarray(mask)[..., 0])
        expected.append(aggregated_jaccard_index(truth, found))
    for row in (rows[3], rows[4]):
        assert float(row["AJI"]) == pytest.approx(np.mean(expected), abs=1e-12)
    assert rows[0]["AJI gained"] == rows[4]["AJI gained"] == ""
    gain, error = map(float, rows[3]["AJI gained"].split(" +- "))
    assert gain == pytest.approx(float(rows[3]["AJI"]) - float(rows[0]["AJI"]), abs=1e-4)
    assert error >= 0
    table = (tmp_path / "out" / "adaptive.rst").read_text(encoding="utf-8")
    assert re.search(rf"^as shipped +{np.mean(expected):.4f} ", table, re.MULTILINE)
    with Image.open(tmp_path / "out" / "adaptive.png") as picture:
        assert picture.width > picture.height > 100


def test_the_experiment_on_leaves_counts_them_and_draws_no_picture(
    load: Any, leaves: Path, leaf_model: Path, tmp_path: Path
) -> None:
    command = ["--model", str(leaf_model), "--recipe", f"{leaves}.toml", "--data", str(leaves)]
    load("adaptive").main([*command, *SETTINGS, "--output", str(tmp_path / "out")])
    segmenter = Segmenter.from_file(leaf_model, device="cpu")
    dices, differences = [], []
    for number in (1, 2):
        with Image.open(leaves / f"plant{number}_label.png") as indexed:
            truth = np.asarray(indexed).astype(int)
        picture = leaves / f"plant{number}_rgb.png"
        found = segmenter.segment(picture, foreground=truth > 0)
        dices.append(symmetric_best_dice(truth, found))
        differences.append(abs(int(found.max()) - len(np.unique(truth[truth > 0]))))
    row = read_rows(tmp_path / "out")[3]
    assert float(row["SBD"]) == pytest.approx(np.mean(dices), abs=1e-12)
    assert float(row["abs. DiC"]) == np.mean(differences)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["adaptive.csv", "adaptive.rst"]


def test_without_training_images_the_clusterers_have_their_default_settings(
    load: Any, nuclei: Path, checkpoint_file: Path
) -> None:
    adaptive = load("adaptive")
    segmenter = Segmenter.from_file(checkpoint_file, device="cpu")
    chosen = adaptive.clusterers(segmenter, [], "aggregated_jaccard_index")
    assert [variant.segmenter.config.clusterer_settings for variant in chosen] == [{}] * 4
    assert [variant.name for variant in chosen] == ["mutex_watershed", *adaptive.CANDIDATES]


def test_the_confidence_benchmark_prints_an_area_under_the_curve(
    load: Any,
    nuclei: Path,
    checkpoint_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["--model", str(checkpoint_file), "--recipe", "bbbc039", "--data", str(nuclei)]
    monkeypatch.setattr(sys, "argv", ["confidence.py", *command, "--device", "cpu"])
    load("confidence").main()
    text = capsys.readouterr().out
    assert text.startswith("2 images, ")
    assert "AUROC of confidence" in text


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order(load: Any) -> None:
    area = load("confidence").area_under_curve
    scores, right = np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])
    assert area(scores, right) == (1 + 1 + 0.5 + 1) / 4
    assert area(-scores, right) == 0.5 / 4
    assert np.isnan(area(scores, np.ones(4, bool)))


def test_overlaps_are_those_with_the_best_true_object(load: Any) -> None:
    truth = np.array([[1, 1, 1, 0, 2, 2]])
    found = np.array([[1, 1, 2, 3, 4, 4]])
    assert load("confidence").best_overlaps(truth, found).tolist() == [2 / 3, 1 / 3, 0, 1]


def test_the_curve_has_a_row_for_each_draw_and_for_the_model_as_it_is(
    load: Any, data: Path, checkpoint_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "curve.csv"
    command = [
        str(data),
        "--model",
        str(checkpoint_file),
        "--device",
        "cpu",
        "--steps",
        "1",
        "--metric",
        "Dice",
    ]
    load("finetune").main(
        [*command, "--numbers", "0", "1", "--draws", "2", "--test", "1", "--table", str(table)]
    )
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["images"], row["draw"]) for row in rows] == [("0", "0"), ("1", "0"), ("1", "1")]
    scores = [float(row["score"]) for row in rows]
    *_, before, after = capsys.readouterr().out.splitlines()
    assert before == f"0 images: Dice {scores[0]:.4f}, standard deviation over the draws 0.0000"
    assert f"1 images: Dice {np.mean(scores[1:]):.4f}" in after
    tested = np.random.default_rng(0).permutation(3)[0]
    example = load_one(find_files(data, DataSettings(), "all")[tested], RAW, 1)
    found = Segmenter.from_file(checkpoint_file, device="cpu").segment(example.image[0])
    assert scores[0] == pytest.approx(dice(example.labels, found), abs=1e-12)
