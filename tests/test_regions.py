"""Components of the foreground that are segmented at scales of their own."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pixel_embedded_affinity import Segmenter, samples
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.scaling import resize_image
from pixel_embedded_affinity.regions import Part, by_components, numbered_regions
from pixel_embedded_affinity.scale import KnownObjects

KNOWN = KnownObjects(diameter=10.0, confidence=0.8)


def squares(*sides: int) -> np.ndarray:
    """Squares of some sides in a row, far from each other, as labels 1..n."""
    labels = np.zeros((max(sides) + 4, sum(sides) + 4 * len(sides)), np.int32)
    start = 2
    for number, side in enumerate(sides, start=1):
        labels[2 : 2 + side, start : start + side] = number
        start += side + 4
    return labels


def halves(box, mask) -> Part:
    """Cuts each component into an upper and a lower half, at half the scale."""
    rows = np.flatnonzero(mask.any(axis=1))
    labels = np.where(mask, 1, 0).astype(np.int32)
    labels[rows[len(rows) // 2] :][mask[rows[len(rows) // 2] :]] = 2
    return Part(labels, np.array([0.9, 0.7]), 0.5)


def test_only_components_whose_objects_do_not_fit_are_segmented_again() -> None:
    labels = squares(9, 40, 11)
    kept = labels.copy()
    found = by_components(labels, None, np.array([0.6, 0.5, 0.6]), 1.0, KNOWN, halves)
    assert np.array_equal(labels, kept)
    assert np.array_equal(found.labels == 1, labels == 1)
    assert np.array_equal(found.labels == 3, labels == 3)
    assert np.array_equal(found.labels > 0, labels > 0)
    numbers = np.unique(found.labels[labels == 2])
    assert len(numbers) == 2
    assert found.confidence[numbers - 1].tolist() == [0.9, 0.7]
    assert found.scale[numbers - 1].tolist() == [0.5, 0.5]
    assert found.scale[[0, 2]].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("part_confidence", "part_scale"),
    [(0.55, 0.5), (0.9, 1.0), (0.9, 1.2)],
    ids=["hardly more confident", "the same scale", "nearly the same scale"],
)
def test_labels_stay_unless_the_new_ones_are_clearly_better(
    part_confidence: float, part_scale: float
) -> None:
    labels = squares(40, 10)

    def again(box, mask) -> Part:
        return halves(box, mask)._replace(confidence=np.full(2, part_confidence), scale=part_scale)

    found = by_components(labels, None, np.array([0.5, 0.6]), 1.0, KNOWN, again)
    assert np.array_equal(found.labels, labels)
    assert found.scale.tolist() == [1.0, 1.0]


def test_foreground_without_objects_is_looked_at_again() -> None:
    inside = squares(40) > 0
    found = by_components(np.zeros(inside.shape, np.int32), inside, np.empty(0), 1.0, KNOWN, halves)
    assert np.array_equal(found.labels > 0, inside)
    assert found.scale.tolist() == [0.5, 0.5]


def test_a_part_without_objects_changes_nothing() -> None:
    labels = squares(40)

    def nothing(box, mask) -> Part:
        return Part(np.zeros(mask.shape, np.int32), np.empty(0), 0.25)

    assert np.array_equal(by_components(labels, None, np.array([0.1]), 1.0, KNOWN, nothing).labels, labels)


@settings(max_examples=40, deadline=None)
@given(sides=st.lists(st.integers(1, 60), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_every_object_has_its_row_and_stays_in_its_component(sides: list[int], seed: int) -> None:
    labels = squares(*sides)
    inside = labels > 0
    sure = np.random.default_rng(seed).uniform(0, 1, len(sides))
    seen: list[np.ndarray] = []

    def again(box, mask) -> Part:
        assert mask.shape == inside[box].shape
        assert (inside[box] >= mask).all()
        seen.append(mask)
        return halves(box, mask)

    found = by_components(labels, inside, sure, 1.0, KNOWN, again)
    numbers = np.unique(found.labels[found.labels > 0])
    assert len(found.confidence) == len(found.scale) >= numbers.max()
    components, _ = ndimage.label(inside)
    for number in numbers:
        assert len(np.unique(components[found.labels == number])) == 1
    assert len(seen) == sum(not 10 / 1.83 < 2 * side / np.sqrt(np.pi) < 10 * 1.83 for side in sides)


# --- with a model ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.pretrained("bbbc039-fast", device="cpu", threads=1).with_settings(scale=1)


def test_large_nuclei_among_small_ones_get_their_own_scale(segmenter: Segmenter) -> None:
    field = np.asarray(samples.nuclei().image)[:180, :260].astype(np.float32)
    large = resize_image(field[np.newaxis, :60, :90], 3.0)[0]
    tray = np.full((190 + large.shape[0], max(260, large.shape[1])), np.percentile(field, 5), np.float32)
    tray[:180, :260], tray[190:, : large.shape[1]] = field, large
    plain = segmenter.with_settings(scale=1).analyze(tray)
    found = segmenter.with_settings(scale=1, regions="components").analyze(tray)
    table = found.table()
    assert len(table["scale"]) == found.labels.max()
    assert (table["scale"] == 1).any()
    assert (table["scale"] < 0.6).any()
    assert table["confidence"].mean() > plain.table()["confidence"].mean()
    own = np.isin(found.labels, table["label"][table["scale"] < 0.6])
    assert own[:180].mean() < 0.02
    assert own[190:].any()


def test_one_scale_for_all_gives_the_plain_result(segmenter: Segmenter) -> None:
    field = np.asarray(samples.nuclei().image)[:180, :260]
    plain = segmenter.analyze(field)
    sizes = plain.table()["equivalent_diameter"]
    known = float(np.median(sizes))
    alike = np.isin(plain.labels, plain.table()["label"][(sizes > known / 1.5) & (sizes < known * 1.5)])
    quiet = np.where(ndimage.binary_dilation(alike, iterations=4), field, np.percentile(field, 5))
    found = segmenter.with_settings(regions="components", object_diameter=known).analyze(quiet)
    assert found.labels.any()
    assert np.array_equal(found.labels, segmenter.segment(quiet))
    assert (found.table()["scale"] == 1).all()


def test_regions_need_a_model_that_says_its_diameter(segmenter: Segmenter) -> None:
    config = segmenter.config.changed(object_diameter=None)
    unknown = Segmenter(segmenter.embedder.network, config, device="cpu")
    with pytest.raises(InputError, match="needs a model of images that says the diameter of its objects"):
        unknown.with_settings(regions="components")
    with pytest.raises(InputError, match="regions must be one of 'image', 'components', got 'plants'"):
        segmenter.with_settings(regions="plants")


def test_objects_know_their_region() -> None:
    labels = np.zeros((12, 40), np.int32)
    labels[2:6, 2:6], labels[6:10, 2:6], labels[3:9, 20:26] = 2, 1, 3
    labels[3, 34] = 4
    np.testing.assert_array_equal(numbered_regions(labels, None), [1, 1, 2, 3])
    # A bridge of foreground joins two regions; foreground without objects is no region.
    inside = np.zeros(labels.shape, bool)
    inside[5, 5:21] = inside[0, 38:] = True
    np.testing.assert_array_equal(numbered_regions(labels, inside), [1, 1, 1, 2])
    assert numbered_regions(np.zeros((3, 4), np.int32), None).shape == (0,)


def test_an_object_in_two_regions_belongs_to_the_one_that_holds_most_of_it() -> None:
    labels = np.zeros((6, 20), np.int32)
    labels[1:3, 1:3], labels[1:5, 10:16], labels[1:5, 1:2] = 1, 2, 1
    labels[4, 18] = 1
    np.testing.assert_array_equal(numbered_regions(labels, None), [1, 2])


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_regions_are_those_of_a_loop_over_objects(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(-8, 6, (9, 11)).clip(0).astype(np.int32)
    ids = np.unique(labels[labels > 0])
    labels = np.searchsorted(ids, labels, side="right").astype(np.int32) if ids.size else labels
    labels[labels > len(ids)] = 0
    components = ndimage.label(labels > 0, np.ones((3, 3)))[0]
    most = [np.bincount(components[labels == number]).argmax() for number in range(1, labels.max() + 1)]
    _, expected = np.unique(most, return_inverse=True)
    np.testing.assert_array_equal(numbered_regions(labels, None), expected + 1 if most else [])


def drawn(*pieces: tuple[int, int, int]) -> np.ndarray:
    """An object for each square: its first row, its first column, its side."""
    labels = np.zeros((60, 120), np.int32)
    for number, (row, column, side) in enumerate(pieces, start=1):
        labels[row : row + side, column : column + side] = number
    return labels


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        # A leaf without its stem beside a plant; one that is too far away.
        ([(10, 10, 20), (10, 34, 5), (10, 80, 5)], [1, 1, 2]),
        # It is nearer to the second plant.
        ([(10, 10, 20), (10, 36, 5), (10, 44, 20)], [1, 2, 2]),
        # The leaves of a small plant, among larger ones.
        ([(5, 10, 20), (35, 60, 4), (35, 68, 4), (42, 64, 4), (5, 90, 20)], [1, 3, 3, 3, 2]),
        # Two plants stay two, however near they are, and whatever lies between them.
        ([(10, 10, 20), (10, 32, 20)], [1, 2]),
        ([(10, 10, 20), (10, 33, 4), (10, 40, 4), (10, 47, 20)], [1, 1, 2, 2]),
        # Seedlings are all alike: none is a piece of another.
        ([(10, 10, 6), (10, 20, 6), (10, 30, 6)], [1, 2, 3]),
        ([], []),
    ],
)
def test_pieces_of_a_plant_belong_to_it(pieces: list[tuple[int, int, int]], expected: list[int]) -> None:
    labels = drawn(*pieces)
    np.testing.assert_array_equal(numbered_regions(labels, None, scattered=True), expected)
    assert sorted(numbered_regions(labels, None)) == list(range(1, len(pieces) + 1))


@given(st.integers(0, 2**31))
def test_larger_components_are_never_one_region(seed: int) -> None:
    generator = np.random.default_rng(seed)
    pieces = [(*generator.integers(0, (50, 110)), int(generator.integers(1, 11))) for _ in range(12)]
    labels = drawn(*pieces)
    ids = np.unique(labels[labels > 0])
    plain, gathered = numbered_regions(labels, None), numbered_regions(labels, None, scattered=True)
    # Objects of one component stay together.
    assert len({*zip(plain.tolist(), gathered.tolist())}) == plain.max()
    areas = np.bincount(plain, [np.count_nonzero(labels == one) for one in ids])[1:]
    falling = np.sort(areas)[::-1]
    usual = falling[np.searchsorted(falling.cumsum(), falling.sum() / 2)]
    large = [gathered[plain == number][0] for number in np.flatnonzero(areas >= usual / 4) + 1]
    assert len(set(large)) == len(large)


def test_the_plants_of_a_tray_are_counted() -> None:
    """The sample shows 18 plants; of three seedlings, the stems are not found."""
    leaves = Segmenter.pretrained("leaves", device="cpu").with_settings(regions="components")
    assert leaves.analyze(samples.tray()).table()["region"].max() == 18


@pytest.mark.parametrize("regions", ["image", "components"])
def test_a_picture_without_plants_is_said_to_be_unlike(
    regions: str, caplog: pytest.LogCaptureFixture
) -> None:
    squares = np.kron(np.indices((8, 8)).sum(axis=0) % 2, np.full((25, 25), 255))
    leaves = Segmenter.pretrained("leaves", device="cpu").with_settings(regions=regions)
    assert leaves.segment(samples.rosette()).max() > 0
    assert not caplog.records
    assert leaves.segment(np.repeat(squares[..., None], 3, axis=2).astype(np.uint8)).max() > 0
    # A machine that computes in bfloat16 finds other scraps of the squares, so the last digit differs.
    said = re.search(
        r"unlike those that the model knows: objects have a confidence of ([\d.]+),", caplog.text
    )
    assert said is not None
    assert float(said[1]) == pytest.approx(0.24, abs=0.03)
    caplog.clear()
    # Whoever gives the scale has looked at the image.
    leaves.segment(np.repeat(squares[..., None], 3, axis=2).astype(np.uint8), scale=2.56)
    assert not caplog.records


def test_the_table_has_regions_where_components_are_segmented(segmenter: Segmenter) -> None:
    image = samples.nuclei().image[:120, :140]
    known = segmenter.with_settings(object_diameter=20.0, regions="components", scale="auto")
    found = known.analyze(image)
    table = found.table()
    np.testing.assert_array_equal(table["region"], numbered_regions(found.labels, found.foreground))
    assert "region" not in segmenter.analyze(image).table()
