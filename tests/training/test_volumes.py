"""Volumes are trained by the same loop as images: from sections on disk to a model that segments a volume."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.data.evaluate import evaluate_model
from pixel_embedded_affinity.data.layouts import RAW, DataSettings, find_files, load
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.io.selection import Selection
from pixel_embedded_affinity.models.checkpoint import read_checkpoint
from pixel_embedded_affinity.network.build import build_network
from pixel_embedded_affinity.training.data.augment import MEMBRANE, OUTSIDE
from pixel_embedded_affinity.training.data.batches import BatchSource
from pixel_embedded_affinity.training.data.synthetic import synthetic_volume, write_synthetic_volumes
from pixel_embedded_affinity.training.losses.affinity import (
    SHARE_BOUNDS,
    affinity_target,
    foreground_loss,
    plain_affinity_loss,
    unit,
)
from pixel_embedded_affinity.training.losses.objective import Objective
from pixel_embedded_affinity.training.recipe import Recipe, TrainingNeighborhood
from pixel_embedded_affinity.training.run.logs import read_rows
from pixel_embedded_affinity.training.run.train import train
from pixel_embedded_affinity.truth import read_labels

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
pyramid_weight = 0.3
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


@pytest.mark.parametrize("architecture", ["sections_unet", "anisotropic_unet", "mala_unet"])
def test_volumes_in_folders_are_trained_validated_and_evaluated(tmp_path: Path, architecture: str) -> None:
    data = write_synthetic_volumes(tmp_path / "data", volumes=3, shape=(5, 40, 44))
    path = tmp_path / "tubes.toml"
    folders = RECIPE.replace('"ac3ac4"', '"folders"\nvalidation = ["synthetic_02"]')
    if architecture == "mala_unet":
        folders = folders.replace("[4, 4, 4, 4, 4]", "[4, 4, 4, 4]").replace("[4, 32, 32]", "[4, 27, 27]")
    path.write_text(folders.replace("sections_unet", architecture), encoding="utf-8")
    model = train(path, data, tmp_path / "run", device="cpu", steps=2)
    files = find_files(data, Recipe.from_file(path).data, "validation")
    row = evaluate_model(Segmenter.from_file(model, device="cpu"), files)[0]
    assert row["name"] == "synthetic_02"
    found = read_rows(tmp_path / "run" / "validation.csv")[0]
    assert float(found["voi"]) == pytest.approx(row["voi"])
    with pytest.raises(InputError, match="expected"):
        load(files, RAW, 1)


def test_labels_of_volumes_have_an_axis_more(tmp_path: Path) -> None:
    flat, deep = tmp_path / "flat.tif", tmp_path / "deep.tif"
    tifffile.imwrite(flat, np.ones((4, 5), np.uint8))
    tifffile.imwrite(deep, np.ones((3, 4, 5), np.uint8), photometric="minisblack")
    assert read_labels(deep, ndim=3).shape == (3, 4, 5)
    with pytest.raises(InputError, match=r"expected \(D, H, W\)"):
        read_labels(flat, ndim=3)
    with pytest.raises(InputError, match=r"expected \(H, W\)"):
        read_labels(deep)


# --- pairs --------------------------------------------------------------------------------------------------


def test_pairs_of_volumes_lie_within_a_section_or_across_sections() -> None:
    pairs = TrainingNeighborhood(ranges=(1, 4), directions=4, across=((1, 0), (2, 3)))
    assert set(pairs.offsets()) == {
        (-1, 0, 0),
        *(
            (-2, 3 * down, 3 * right)
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
            if (down, right) != (0, 0)
        ),
        *((0, -reach, 0) for reach in (1, 4)),
        *((0, 0, -reach) for reach in (1, 4)),
    }
    assert set(pairs.offsets(1)) == {(-1, 0, 0), (0, -1, 0), (0, 0, -1)}


def test_unit_steps_are_in_every_draw_and_the_others_in_their_turn() -> None:
    pairs = TrainingNeighborhood(ranges=(1, 4), directions=8, across=((1, 0), (2, 3)), drawn=3)
    units = {(-1, 0, 0), (0, -1, 0), (0, 0, -1)}
    generator, seen = np.random.default_rng(0), set()
    for _ in range(60):
        drawn = pairs.drawn_offsets(generator)
        assert len(set(drawn)) == len(drawn) == 6
        assert units <= set(drawn) <= set(pairs.offsets())
        seen |= set(drawn)
    assert seen == set(pairs.offsets())
    everything = TrainingNeighborhood(ranges=(1, 4), across=((1, 0),))
    state = generator.bit_generator.state
    assert everything.drawn_offsets(generator) == everything.offsets()
    assert generator.bit_generator.state == state  # a recipe that draws nothing keeps its random numbers


@given(
    arrays.arrays(np.int32, st.just((1, 3, 4, 4)), elements=st.sampled_from([MEMBRANE, OUTSIDE, 1, 2])),
    st.sampled_from([(1, 0, 0), (0, -1, 1), (-1, 2, 0), (0, 0, 3)]),
)
def test_pairs_of_two_membrane_voxels_do_not_count(labels: np.ndarray, offset: tuple[int, int, int]) -> None:
    target = affinity_target(torch.from_numpy(labels), offset)
    assert target is not None
    shape = labels.shape[1:]
    ends = [
        (labels[0][place], labels[0][there])
        for place in np.ndindex(shape)
        for there in [tuple(a + b for a, b in zip(place, offset))]
        if all(0 <= a < n for a, n in zip(there, shape))
    ]
    counted = [(a, b) for a, b in ends if OUTSIDE not in (a, b) and not a == b == MEMBRANE]
    share = np.clip(sum(a == b for a, b in counted) / max(1, len(counted)), *SHARE_BOUNDS)
    zeros, ones = (share / (1 - share), 1.0) if share > 0.5 else (1.0, (1 - share) / share)
    expected = [(ones if a == b else zeros) / len(counted) if (a, b) in counted else 0.0 for a, b in ends]
    np.testing.assert_allclose(target.weight.flatten().numpy(), expected, rtol=1e-5)
    same = target.same.flatten().numpy()
    assert all(same[i] == (a == b) for i, (a, b) in enumerate(ends) if (a, b) in counted)


def test_the_objective_of_a_volume_is_the_sum_of_its_parts(tubes: Recipe, sections: Path) -> None:
    examples = load(find_files(sections, tubes.data, "training"), tubes.model.normalization, 1)
    batch = BatchSource(tubes, examples).draw(0)
    assert batch.images.shape == (2, 1, 4, 32, 32)
    assert set(torch.unique(batch.labels).tolist()) > {MEMBRANE}
    assert 0 not in batch.labels
    network = build_network(tubes.model.network).eval()
    found = Objective(tubes, precision="float32")(network, batch, np.random.default_rng(5))
    generator = np.random.default_rng(5)
    _, row, column = (int(generator.integers(step)) for step in (1, 2, 2))
    offsets = tubes.neighborhood.drawn_offsets(generator)
    with torch.no_grad():
        output = network(batch.images, pyramid=True)
    expected = _plain(output.embedding, batch.labels[:, :, row::2, column::2], offsets)
    assert float(found.self_correlation) == pytest.approx(expected, rel=1e-4)
    coarse = sum(
        _plain(values, batch.labels[:, :, ::step, ::step], tubes.neighborhood.offsets(count))
        for count, (values, step) in enumerate(zip(output.pyramid, (16, 8, 4), strict=True), start=1)
    )
    assert float(found.pyramid) == pytest.approx(0.3 * coarse, rel=1e-4)
    assert output.foreground is not None
    entropy = float(foreground_loss(output.foreground, batch.labels, 1.0))
    assert float(found.foreground) == pytest.approx(entropy, rel=1e-4)
    assert float(found.total.detach()) == pytest.approx(expected + 0.3 * coarse + entropy, rel=1e-4)


def _plain(values: torch.Tensor, labels: torch.Tensor, offsets: Any) -> float:
    vectors = unit(values)
    targets = [affinity_target(labels, offset) for offset in offsets]
    return float(plain_affinity_loss(vectors, [vectors], offsets, targets)[0])


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "crop = [4, 32, 32]",
            "crop = [4, 40, 40]",
            r"multiple of \(1, 32, 32\), got \(4, 40, 40\)",
        ),
        ("crop = [4, 32, 32]", "crop = [4, 32, 64]", "the same length along y and x"),
        ("crop = [4, 32, 32]", "crop = [32, 32]", "schedule.crop"),
        ("across = [[1, 0], [2, 0], [1, 3]]", "", "the pairs of \\[neighborhood\\] for 2"),
        ("[[1, 0], [2, 0], [1, 3]]", "[[1, 0], [1, 0]]", "across must be pairs that differ"),
        ("[[1, 0], [2, 0], [1, 3]]", "[[0, 3]]", "each at least 1 section on"),
        ("[[1, 0], [2, 0], [1, 3]]", "[[1]]", "neighborhood.across must be a list"),
        ("drawn = 5", "drawn = 50", "only 19 offsets longer than a unit step"),
        ("cross_correlation = false", "cross_correlation = true", "without loss.cross_correlation"),
        ("membrane = 1", "membrane = -1", "loss.membrane must be an integer of at least 0"),
        ('architecture = "sections_unet"', 'architecture = "half_unet"', "is for 2 spatial axes"),
        (
            'layout = "ac3ac4"\n',
            'layout = "ac3ac4"\n[augmentation]\ncrowding = 0.5\n',
            "crowding 0.5, augmentation.compression 0.0: these are for images; set them to 0",
        ),
        ('layout = "ac3ac4"', 'layout = "ac3ac4"\ndiameter = 20', "volumes are not resized"),
        ('layout = "ac3ac4"', 'layout = "ac3ac4"\nvalidation = ["a"]', "brings its own split"),
    ],
)
def test_a_recipe_that_does_not_fit_volumes_is_refused(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert old in RECIPE
    path = tmp_path / "wrong.toml"
    path.write_text(RECIPE.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=expected):
        Recipe.from_file(path)


# --- layout "ac3ac4" ----------------------------------------------------------------------------------------

SECTIONS = DataSettings(layout="ac3ac4")


def test_sections_are_merged_by_their_numbers_and_split_as_published(sections: Path) -> None:
    training, validation = (
        load(find_files(sections, SECTIONS, part), RAW, 1) for part in ("training", "validation")
    )
    image, labels = synthetic_volume((100, 48, 48))
    assert [example.name for example in training + validation] == ["ac4_000-079", "ac4_080-099"]
    np.testing.assert_array_equal(np.concatenate((training[0].image[0], validation[0].image[0])), image)
    assert training[0].labels.shape == (80, 48, 48)
    assert ((training[0].labels > 0) == (labels[:80] > 0)).all()
    assert training[0].labels.max() == len(np.unique(labels[:80])) - 1


def test_whole_sections_leave_no_choice(sections: Path) -> None:
    with pytest.raises(InputError, match=r"ac4_080-099 lies section by section.* leave these choices out"):
        load(find_files(sections, SECTIONS, "validation"), RAW, 1, selection=Selection(channel=0))


def test_ac3_is_the_test_and_other_names_are_no_sections(tmp_path: Path) -> None:
    for number in range(150):
        for name in (f"ac3_input_{number:04d}.tif", f"ac3_labels_{number:04d}.tif"):
            tifffile.imwrite(tmp_path / name, np.full((2, 3), number, np.uint16))
    for name in ("ac3_input_0000.offline.tif", "ac3_input_00000.tif", "old_ac3_input_0001.tif"):
        (tmp_path / name).touch()
    example = load(find_files(tmp_path, SECTIONS, "test"), RAW, 1)[0]
    assert example.name == "ac3_000-099"
    np.testing.assert_array_equal(example.image[0, :, 0, 0], np.arange(100))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda folder: (folder / "train-labels_0007.tif").unlink(),
            r"no section 'train-labels_0007.tif'.*\(1 of 80",
        ),
        (
            lambda folder: (
                (folder / "b").mkdir(),
                shutil.copy(folder / "train-input_0003.tif", folder / "b"),
            ),
            "are the same section",
        ),
        (
            lambda folder: tifffile.imwrite(folder / "train-input_0003.tif", np.zeros((4, 5), np.uint8)),
            "expected gray sections of one size",
        ),
        (
            lambda folder: tifffile.imwrite(folder / "train-labels_0003.tif", np.zeros((4, 4, 3), np.uint8)),
            "expected gray sections of one size",
        ),
    ],
)
def test_sections_that_do_not_fit_are_refused(tmp_path: Path, change: Any, expected: str) -> None:
    for number in range(80):
        tifffile.imwrite(tmp_path / f"train-input_{number:04d}.tif", np.zeros((4, 4), np.uint8))
        tifffile.imwrite(tmp_path / f"train-labels_{number:04d}.tif", np.ones((4, 4), np.uint16))
    change(tmp_path)
    with pytest.raises(InputError, match=expected):
        load(find_files(tmp_path, SECTIONS, "training"), RAW, 1)


def test_sections_and_labels_of_different_sizes_are_refused(tmp_path: Path) -> None:
    for number in range(80):
        tifffile.imwrite(tmp_path / f"train-input_{number:04d}.tif", np.zeros((4, 4), np.uint8))
        tifffile.imwrite(tmp_path / f"train-labels_{number:04d}.tif", np.ones((4, 5), np.uint16))
    with pytest.raises(InputError, match=r"have \(4, 4\) pixels, their labels \(4, 5\)"):
        load(find_files(tmp_path, SECTIONS, "training"), RAW, 1)
