"""Packed data train as the original data do, runs share their time and go on, and labels are compared rightly."""

from __future__ import annotations

import re
import shlex
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from tiny3d import tiny_config_3d

from pixel_embedded_affinity import Segmenter, list_models
from pixel_embedded_affinity.data.layouts import DataSettings
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.io.selection import Selection
from pixel_embedded_affinity.training.data.batches import BatchSource
from pixel_embedded_affinity.training.recipe import Recipe
from pixel_embedded_affinity.training.recipe_files import list_recipes
from pixel_embedded_affinity.training.run.logs import read_rows
from pixel_embedded_affinity.training.run.loop import LOG_FILE, STATE_FILE, _identity
from pixel_embedded_affinity.training.run.train import _load, train


@pytest.fixture
def packed(load: Any) -> Any:
    return load("packed")


@pytest.fixture
def gpu(load: Any) -> Any:
    return load("gpu")


def same_training(packed: Any, recipe: Recipe, data: Path, file: Path, **options: Any) -> Recipe:
    """Pack data, check that a training gets the same from it, and return the packed recipe."""
    packed.pack(recipe, data, file, **options)
    found = packed.read_packed(file)
    original = _load(recipe, data)
    with found.unpacked() as folder:
        unpacked = _load(found.recipe, folder)
    for before, after in zip(original, unpacked):
        assert [example.name for example in before] == [example.name for example in after]
        for one, other in zip(before, after):
            np.testing.assert_array_equal(one.image, other.image)
            np.testing.assert_array_equal(one.labels, other.labels)
    batches = [
        BatchSource(used, examples[0]) for used, examples in ((recipe, original), (found.recipe, unpacked))
    ]
    for step in range(2):
        one, other = (source.draw(step) for source in batches)
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
    return found.recipe


def test_a_packed_folder_trains_as_the_folder(
    packed: Any, recipe: Recipe, data: Path, tmp_path: Path
) -> None:
    found = same_training(packed, recipe, data, tmp_path / "tiny.zip")
    assert found == recipe
    with packed.read_packed(tmp_path / "tiny.zip").unpacked() as folder:
        assert sorted(path.name for path in folder.iterdir()) == ["images", "labels"]
    assert not folder.exists()


def test_a_run_on_the_original_data_goes_on_with_packed_data(
    packed: Any, recipe: Recipe, data: Path, tmp_path: Path
) -> None:
    found = same_training(packed, recipe, data, tmp_path / "tiny.zip")
    with packed.read_packed(tmp_path / "tiny.zip").unpacked() as folder:
        assert _identity(found, _load(found, folder)[0]) == _identity(recipe, _load(recipe, data)[0])


def test_colors_and_the_split_of_published_data_are_kept(
    packed: Any, recipe: Recipe, data: Path, tmp_path: Path
) -> None:
    color = replace(recipe.model.network, in_channels=3)
    nuclei = tmp_path / "bbbc039"
    for part in ("images", "masks", "metadata"):
        (nuclei / part).mkdir(parents=True)
    for name, split in (("a", "training"), ("b", "training"), ("c", "validation")):
        image = np.random.default_rng(ord(name)).integers(0, 256, (40, 44, 3), np.uint8)
        tifffile.imwrite(nuclei / "images" / f"{name}.tif", image, photometric="rgb")
        labels = tifffile.imread(data / "labels" / f"{name}.tif").astype(np.uint8)
        Image.fromarray(np.stack([labels] * 3, -1)).save(nuclei / "masks" / f"{name}.png")
        with (nuclei / "metadata" / f"{split}.txt").open("a") as listed:
            listed.write(f"{name}.png\n")
    recipe = replace(recipe, model=replace(recipe.model, network=color), data=DataSettings(layout="bbbc039"))
    found = same_training(packed, recipe, nuclei, tmp_path / "color.zip", splits=("training", "validation"))
    assert found.data == DataSettings(validation=("c",))
    with pytest.raises(InputError, match=r"test\.txt"):
        packed.pack(recipe, nuclei, tmp_path / "whole.zip")
    assert not (tmp_path / "whole.zip").exists()


def test_a_channel_of_volumes_is_kept_and_what_is_held_out_stays_so(
    packed: Any, recipe: Recipe, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    for part in ("images", "labels"):
        (tmp_path / "data" / part).mkdir(parents=True)
    for name in "abc":
        image = random.normal(0, 1, (2, 6, 40, 44)).astype(np.float32)
        labels = np.kron(random.integers(0, 9, (3, 5, 4)), np.ones((2, 8, 11), int))
        tifffile.imwrite(tmp_path / "data" / "images" / f"{name}.tif", image, metadata={"axes": "CZYX"})
        tifffile.imwrite(
            tmp_path / "data" / "labels" / f"{name}.tif",
            labels.astype(np.uint16),
            metadata={"axes": "ZYX"},
        )
    document = recipe.to_dict()
    document["model"] = tiny_config_3d().to_dict()
    document["data"] = {"held_out": ["b"], "image": {"channel": 1}}
    document["schedule"] |= {"crop": [2, 32, 32], "batch": 1}
    document["loss"]["cross_correlation"] = False
    document["neighborhood"] |= {"across": [[1, 0]]}
    found = same_training(packed, Recipe.from_dict(document), tmp_path / "data", tmp_path / "volumes.zip")
    assert found.data == DataSettings(held_out=("b",))
    assert found.data.image == Selection()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0.0, 255.0], np.uint8),
        ([0.0, 256.0], np.uint16),
        ([0.0, 65536.0], np.uint32),
        ([0.0, 0.5], np.float32),
        ([-1.0, 0.0], np.float32),
        ([0.0, 2.0**32], np.float32),
        ([0.0, np.nan], np.float32),
    ],
)
def test_whole_numbers_are_stored_in_the_smallest_type(packed: Any, values: list[float], kind: Any) -> None:
    given = np.array(values, np.float32)
    stored = packed.smallest(given)
    assert stored.dtype == kind
    np.testing.assert_array_equal(stored, given)


def test_what_is_no_packed_file_is_refused(packed: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no packed file"):
        packed.read_packed(tmp_path / "absent.zip")
    (tmp_path / "text.zip").write_text("text")
    with pytest.raises(InputError, match="no packed file"):
        packed.read_packed(tmp_path / "text.zip")
    for content in ("[]", '{"format": "another"}'):
        with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
            archive.writestr("pack.json", content)
        with pytest.raises(InputError, match="pack the data again"):
            packed.read_packed(tmp_path / "other.zip")


def test_runs_share_the_time_and_go_on(
    gpu: Any, recipe_file: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(tmp_path / f"{name}.zip") for name in ("one", "two")]
    for file in files:
        assert gpu.main(["pack", str(recipe_file), str(data), file]) == 0
    assert "2 training, 1 validation images" in capsys.readouterr().out
    command = [
        "train",
        *files,
        "--output",
        str(tmp_path / "runs"),
        "--device",
        "cpu",
        "--steps",
        "3",
        "--minutes",
    ]
    assert gpu.main([*command, "0.0001"]) == 0  # one step of each, or more on a fast machine
    first = re.search(r"^one +([123]) +3 +\1 ", capsys.readouterr().out, re.MULTILINE)
    assert first
    assert gpu.main([*command, "5"]) == 0
    text = capsys.readouterr().out
    for name in ("one", "two"):
        assert re.search(rf"^{name} +3 +3 +[012] ", text, re.MULTILINE)
    if first[1] != "3":
        assert re.search(r"^one, validation at step 3: .*aggregated_jaccard_index=", text, re.MULTILINE)
    train(Recipe.from_file(recipe_file), data, tmp_path / "whole", steps=3, device="cpu")
    whole, shared = (
        [row["total"] for row in read_rows(folder / LOG_FILE)]
        for folder in (tmp_path / "whole", tmp_path / "runs" / "one")
    )
    assert whole == shared
    assert gpu.main([*command, "5"]) == 0  # nothing is left to do
    assert re.search(r"^one +3 +3 +0 ", capsys.readouterr().out, re.MULTILINE)


def test_a_recipe_that_fails_does_not_stop_the_others(
    gpu: Any, recipe_file: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(tmp_path / f"{name}.zip") for name in ("bad", "good")]
    for file in files:
        gpu.main(["pack", str(recipe_file), str(data), file])
    (tmp_path / "runs" / "bad").mkdir(parents=True)
    (tmp_path / "runs" / "bad" / STATE_FILE).write_bytes(b"damaged")
    command = ["train", *files, "--output", str(tmp_path / "runs"), "--device", "cpu", "--minutes", "5"]
    assert gpu.main([*command, "--steps", "2"]) == 1
    captured = capsys.readouterr()
    assert "bad: " in captured.err
    assert re.search(r"^good +2 +2 +2 ", captured.out, re.MULTILINE)
    assert gpu.main(["train", files[0], files[0], "--output", str(tmp_path), "--minutes", "1"]) == 1
    assert "several packed files are named 'bad'" in capsys.readouterr().err


def test_a_missing_gpu_is_an_error(
    gpu: Any, checkpoint_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert gpu.main(["measure", str(checkpoint_file)]) == 1
    assert "no CUDA device is visible" in capsys.readouterr().err


def test_on_the_cpu_in_float32_the_labels_are_the_ones_of_the_cpu(
    gpu: Any,
    checkpoint_file: Path,
    recipe: Recipe,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gpu.pack(recipe, data, tmp_path / "tiny.zip")
    command = ["measure", str(checkpoint_file), str(tmp_path / "tiny.zip"), "--device", "cpu", "--runs", "1"]
    assert gpu.main([*command, "--precision", "float32", "bfloat16"]) == 0
    title, columns, reference, *rows = capsys.readouterr().out.splitlines()
    assert "3 images" in title
    assert columns.split()[:3] == ["images/s", "outside", "network"]
    assert reference.startswith("CPU, float32, segment_many, once")
    segmenter = Segmenter.from_file(checkpoint_file, device="cpu", precision="float32")
    objects = sum(int(labels.max()) for labels in segmenter.segment_many(sorted((data / "images").iterdir())))
    for row, verb in zip(rows[:2], ("segment", "segment_many")):
        pattern = rf"cpu, float32, {verb} +[\d.]+ +([\d.]+)% +0 \(0\.0000%\) +{objects} +{objects} +{objects}"
        match = re.fullmatch(pattern, row)
        assert match
        assert 0 < float(match[1]) < 100
    assert [row.split()[1] for row in rows] == ["float32,", "float32,", "bfloat16,", "bfloat16,"]


def test_the_commands_of_the_page_are_understood(gpu: Any) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "howto" / "gpu.rst"
    commands = re.findall(
        r"^   \$ python benchmarks/gpu\.py (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE
    )
    parsed = [gpu.parsed(shlex.split(command)) for command in commands]
    assert {options.run for options in parsed} == {gpu.run_pack, gpu.run_train, gpu.run_measure}
    recipes = [options.recipe for options in parsed if options.run is gpu.run_pack]
    assert set(recipes) <= set(list_recipes())
    assert {options.init for options in parsed if options.run is gpu.run_pack} - {None} <= set(list_models())


def test_images_for_validation_come_first_and_colors_last(
    gpu: Any, recipe: Recipe, data: Path, tmp_path: Path
) -> None:
    model = replace(recipe.model, network=replace(recipe.model.network, in_channels=3))
    gpu.pack(replace(recipe, model=model), data, tmp_path / "gray.zip")
    images = gpu.of_packed(tmp_path / "gray.zip")
    assert [image.shape for image in images] == [(40, 44, 3)] * 3
    np.testing.assert_array_equal(images[0][..., 1], tifffile.imread(data / "images" / "c.tif"))


def test_labels_agree_where_their_objects_are_pairs(gpu: Any) -> None:
    ours = np.array([[0, 0, 1, 1, 1, 2, 2, 3]])
    theirs = np.array([[0, 4, 7, 7, 7, 1, 0, 0]])
    found = gpu.Agreement.of([(ours, theirs), (ours, ours)])
    # 1 and 7 are a pair; the IoU of 2 and 1 is 0.5, which is not above it; 4 and 3 have no partner.
    assert found == gpu.Agreement(16, 4, (6, 6), 4)
    assert gpu.Agreement.of([(ours, ours[:, ::-1] * 0 + np.array([[0, 0, 3, 3, 3, 1, 1, 2]]))]).differing == 0


def test_a_gpu_is_also_measured_without_tf32(gpu: Any) -> None:
    ways = gpu.ways_on(torch.device("cuda", 0), ["float32"])
    assert [way.name for way in ways] == ["float32", "float32, no TF32"]
    before = torch.backends.cudnn.allow_tf32
    with gpu.without_tf32(True):
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before


def test_the_time_of_a_network_is_what_it_takes(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([1.0, 3.5, 10.0, 10.25, 20.0, 21.0])
    monkeypatch.setattr(gpu.time, "perf_counter", lambda: next(moments))
    network = torch.nn.Identity()
    clock = gpu.NetworkClock(network, torch.device("cpu"))
    network(1), network(2)
    assert clock.seconds() == 2.75
    network(3)
    assert clock.seconds() == 1
    clock.remove()
    network(4)
    assert clock.seconds() == 0
