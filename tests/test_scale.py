"""The scale that is found in an image, stated by a diameter, or stated by the sizes of pixels."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import tifffile
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pixel_embedded_affinity import Segmenter, samples
from pixel_embedded_affinity.cli import main
from pixel_embedded_affinity.embedding import Embedding
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.scaling import resize_image, scaled_shape
from pixel_embedded_affinity.labels import extent_of
from pixel_embedded_affinity.normalize import Normalization, normalize
from pixel_embedded_affinity.scale import (
    GIVEN,
    KnownObjects,
    Sight,
    diameter_in_pixels,
    find_extent,
    find_scale,
    scale_by_size,
)

KNOWN = KnownObjects(diameter=28.0, confidence=0.8)


def disks(shape: tuple[int, int], diameter: float, spacing: float = 1.6) -> np.ndarray:
    """An image (1, H, W) of bright disks on a grid."""
    step = max(diameter * spacing, diameter + 3)
    rows, columns = np.indices(shape)
    distance = np.hypot((rows % step) - step / 2, (columns % step) - step / 2)
    return np.clip(diameter / 2 - distance + 0.5, 0, 1)[np.newaxis].astype(np.float32)


class Watcher:
    """Sees bright patches; is the surer, the nearer their diameter is to 28 pixels."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, values, foreground) -> Sight:
        self.shapes.append(values.shape[1:])
        inside = values[0] > 0.5
        labels, _ = ndimage.label(inside)
        areas = np.bincount(labels.ravel())[1:]
        diameters = np.sqrt(4 * areas / math.pi)
        sure = 0.8 * np.exp(-(np.log(np.maximum(diameters, 1) / 28) ** 2) / 0.8)
        return Sight(labels.astype(np.int32), (1, 1), sure)


@settings(max_examples=60, deadline=None)
@given(
    diameter=st.floats(8, 110),
    height=st.integers(150, 900),
    width=st.integers(150, 900),
)
def test_objects_get_the_known_diameter(diameter: float, height: int, width: int) -> None:
    assume(min(height, width) > 5 * diameter)
    watcher = Watcher()
    found = find_scale(disks((height, width), diameter), None, KNOWN, watcher)
    seen = diameter * float(found.scale)
    assert 28 / 1.5 <= seen <= 28 * 1.5
    assert found.scale == 1 or not 1 / 1.2 < found.scale < 1.2
    for shape, look in zip(watcher.shapes, found.looks, strict=True):
        assert max(shape) <= 178 or sees_all(shape, look.scale, (height, width))


def sees_all(part: tuple[int, ...], scale: float, shape: tuple[int, ...]) -> bool:
    """Whether a look shows all of an image that is about as large as what a look may show."""
    return part == scaled_shape(shape, scale) and math.prod(part) < 178**2 / 0.3


def test_an_image_that_a_look_shows_well_is_not_seen_again() -> None:
    """The look's scale and embedding are the result; a look at a part, or at objects of another size, is not."""
    shown = Embedding(np.ones((1, 2, 2), np.float32))

    def watch(values, foreground) -> Sight:
        return Watcher()(values, foreground)._replace(embedding=shown)

    small = find_scale(disks((300, 300), 45), None, KNOWN, watch)
    assert small.embedding is shown
    assert len(small.looks) == 1
    assert small.scale == small.looks[0].scale
    assert find_scale(disks((900, 900), 45), None, KNOWN, watch).embedding is None
    # Shown at half the size, where they are too small, they ask for a closer look, which is never made.
    other = KNOWN._replace(diameter=50.0)
    assert find_scale(disks((300, 300), 30), None, other, watch, first=0.95).embedding is None


@pytest.mark.parametrize(
    ("share", "diameter", "enough"), [(0.55, 56, True), (0.45, 56, False), (0.8, 56, True), (0.55, 28, True)]
)
def test_objects_that_blobs_announced_need_less_confidence(share: float, diameter: int, enough: bool) -> None:
    """The first look shows objects of the size that the blobs suggested; if they are unsure, it is not the last."""

    def watch(values, foreground) -> Sight:
        seen = Watcher()(values, foreground)
        return seen._replace(confidence=np.full(int(seen.labels.max()), share * KNOWN.confidence))

    found = find_scale(disks((900, 900), diameter), None, KNOWN, watch)
    assert found.scale == pytest.approx(28 / diameter, rel=0.1)
    assert (len(found.looks) == 1) == enough


@pytest.mark.parametrize("views", [1, 4])
def test_the_scale_that_was_found_gives_the_same_labels_when_given(views: int) -> None:
    image = samples.nuclei().image[:256, :256]
    segmenter = Segmenter.pretrained("nuclei", device="cpu", threads=1).with_settings(views=views)
    runs = []
    network = segmenter.embedder.network
    handle = network.register_forward_hook(lambda *_: runs.append(1))
    found = segmenter.analyze(image)
    handle.remove()
    assert np.array_equal(found.labels, segmenter.segment(image, scale=found.scale))
    assert len(runs) == (1 if views == 1 else 1 + views)


def test_the_search_is_the_same_each_time_and_leaves_the_image_alone() -> None:
    image = disks((400, 500), 60)
    kept = image.copy()
    first, second = (find_scale(image, None, KNOWN, Watcher()) for _ in range(2))
    assert first == second
    assert first.looks
    assert first.best in first.looks
    assert np.array_equal(image, kept)


@pytest.mark.parametrize("shape", [(1, 300, 300), (1, 1, 1), (1, 2, 700), (3, 50, 40)])
def test_an_image_without_objects_stays_as_it_is(shape: tuple[int, ...]) -> None:
    found = find_scale(np.zeros(shape, np.float32), None, KNOWN, Watcher())
    assert found.scale == 1
    assert all(look.objects == 0 for look in found.looks)


@settings(max_examples=40, deadline=None)
@given(short=st.integers(1, 40), long=st.integers(1, 9000), upright=st.booleans(), seed=st.integers(0, 9))
def test_an_image_of_any_shape_keeps_a_pixel_along_each_axis(
    short: int, long: int, upright: bool, seed: int
) -> None:
    shape = (long, short) if upright else (short, long)
    values = np.random.default_rng(seed).random((1, *shape), dtype=np.float32)
    for found in (
        find_scale(values, None, KNOWN, Watcher()),
        find_extent(values, None, 100.0, Watcher()),
        find_extent(values, values[0] > 0.7, 100.0, Watcher()),
    ):
        part = values if found.box is None else values[(slice(None), *found.box)]
        assert min(resize_image(part, found.scale).shape) >= 1


def test_a_likely_scale_is_looked_at_first_and_ends_the_search_if_it_is_right() -> None:
    image = disks((600, 600), 56)
    watcher = Watcher()
    assert find_scale(image, None, KNOWN, watcher, first=0.5).scale == pytest.approx(0.5, rel=0.1)
    assert len(watcher.shapes) == 1
    wrong = find_scale(image, None, KNOWN, Watcher(), first=3.0)
    assert wrong.scale == pytest.approx(0.5, rel=0.15)


def test_objects_at_the_sides_of_a_part_do_not_count() -> None:
    """Most parts of a closer look cut objects; their areas would make the diameter too small."""
    image = disks((900, 900), 9, spacing=2.5)
    found = find_scale(image, None, KNOWN, Watcher())
    assert found.scale == pytest.approx(28 / 9, rel=0.15)


def test_a_least_size_that_hides_all_objects_of_a_look_does_not_hide_the_scale() -> None:
    image = resize_image(samples.nuclei().image[np.newaxis, :260, :260].astype(np.float32), 2.0)[0]
    segmenter = Segmenter.pretrained("nuclei", device="cpu", threads=1)
    plain = segmenter.analyze(image)
    large = segmenter.with_settings(**{"postprocess.min_size": 2000}).analyze(image)
    assert 0.4 < large.scale < 0.65
    assert large.scale == pytest.approx(plain.scale, rel=0.2)
    assert not large.labels.any()


def test_the_callers_foreground_reaches_every_look_in_the_size_of_its_part() -> None:
    image = disks((500, 600), 30)
    seen: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def watch(values, foreground):
        seen.append((values.shape[1:], foreground.shape))
        return Watcher()(values, None)

    found = find_scale(image, np.ones((500, 600), bool), KNOWN, watch)
    for look, (part, mask) in zip(found.looks, seen, strict=True):
        assert part == pytest.approx([length * look.scale for length in mask], abs=1)


# --- the extent of a plant ---------------------------------------------------------------------------------


def plant(shape: tuple[int, int], middle: tuple[int, int], reach: int) -> np.ndarray:
    """An image (1, H, W) of a cross of five touching disks, which extends `reach` pixels either way."""
    rows, columns = np.indices(shape)
    image = np.zeros(shape, np.float32)
    for down, right in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
        center = (middle[0] + down * reach * 2 / 3, middle[1] + right * reach * 2 / 3)
        image[np.hypot(rows - center[0], columns - center[1]) <= reach / 3] = 1
    return image[np.newaxis]


@settings(max_examples=60, deadline=None)
@given(
    reach=st.integers(20, 150),
    height=st.integers(320, 900),
    width=st.integers(320, 900),
    data=st.data(),
    is_given=st.booleans(),
)
def test_a_plant_gets_the_known_extent(
    reach: int, height: int, width: int, data: st.DataObject, is_given: bool
) -> None:
    middle = tuple(data.draw(st.integers(reach, length - 1 - reach)) for length in (height, width))
    image = plant((height, width), middle, reach)
    found = find_extent(image, image[0] > 0 if is_given else None, 256.0, Watcher())
    expected = min(4.0, 256 / extent_of(image[0] > 0))
    assert found.scale == pytest.approx(expected, rel=0.01 if is_given else 0.1)
    assert found.box is not None
    outside = image[0].copy()
    outside[found.box] = 0
    assert not outside.any()
    assert max(side.stop - side.start for side in found.box) <= 2.5 * reach + 12


def test_two_plants_are_both_kept_and_a_speck_does_not_count() -> None:
    image = plant((600, 900), (300, 200), 100) + plant((600, 900), (300, 600), 140)
    tray = find_extent(image, None, 256.0, Watcher())
    assert tray.box is None
    assert tray.scale == pytest.approx(256 / 281, rel=0.05)
    given_tray = find_extent(image, image[0] > 0, 256.0, Watcher())
    assert given_tray.box is not None
    assert not image[0][:, : given_tray.box[1].start].any()
    assert not image[0][:, given_tray.box[1].stop :].any()
    speck = plant((600, 900), (300, 200), 100)
    speck[0, 500:510, 800:810] = 1
    one = find_extent(speck, None, 256.0, Watcher())
    assert one.scale == pytest.approx(256 / 201, rel=0.05)


@pytest.mark.parametrize("is_given", [True, False])
def test_plants_close_together_are_one_only_where_one_is_expected(is_given: bool) -> None:
    image = plant((600, 900), (300, 300), 100) + plant((600, 900), (300, 512), 100)  # a gap of 11 pixels
    given = image[0] > 0 if is_given else None
    together = find_extent(image, given, 256.0, Watcher())
    assert together.scale == pytest.approx(256 / 413, rel=0.05)
    apart = find_extent(image, given, 256.0, Watcher(), many=True)
    assert apart.scale == pytest.approx(256 / 201, rel=0.05)


class ShortSighted(Watcher):
    """Sees only plants that extend over 30 pixels or more."""

    def __call__(self, values: np.ndarray, given: np.ndarray | None) -> Sight:
        sight = super().__call__(values, given)
        numbered, _ = ndimage.label(sight.labels > 0, np.ones((3, 3)))
        for number, box in enumerate(ndimage.find_objects(numbered), start=1):
            if max(side.stop - side.start for side in box) < 30:
                sight.labels[numbered == number] = 0
        return sight


def test_plants_too_small_for_the_first_look_are_seen_in_a_closer_one() -> None:
    places = [(row, column) for row in (100, 200, 300) for column in (100, 300, 500)]
    image = np.max([plant((400, 600), place, 10) for place in places], axis=0)
    tray = find_extent(image, None, 64.0, ShortSighted())
    assert len(tray.looks) == 2
    assert tray.scale == pytest.approx(64 / 21, rel=0.1)
    assert tray.box is None


@pytest.mark.parametrize("is_given", [True, False])
def test_an_image_without_a_plant_stays_as_it_is(is_given: bool) -> None:
    image = np.zeros((1, 300, 400), np.float32)
    found = find_extent(image, image[0] > 0 if is_given else None, 256.0, Watcher())
    assert found.scale == 1
    assert found.box is None


@pytest.mark.parametrize(
    ("diameter", "pixel_size", "expected"),
    [
        (12, None, 12),
        (12.5, (0.5, 0.5), 12.5),
        ("12 um", (0.5, 0.5), 24),
        ("350nm", (0.07, 0.07), 5),
        ("0.35 micrometers", (0.07, 0.07), 5),
        ("3.5e2 nm ", (0.07, 0.07), 5),
        ("1 mm", (2.0,), 500),
    ],
)
def test_diameters_in_pixels_and_as_lengths(diameter, pixel_size, expected: float) -> None:
    assert diameter_in_pixels(diameter, pixel_size) == pytest.approx(expected)


def test_a_length_needs_the_size_of_a_pixel() -> None:
    with pytest.raises(
        InputError, match="needs the size of a pixel, which the image does not state; give pixel_size="
    ):
        diameter_in_pixels("12 um", None)


@pytest.mark.parametrize(
    ("image", "model", "expected"),
    [
        (None, (1.0, 1.0), None),
        ((1.0, 1.0), None, None),
        ((0.5, 0.5), (1.0, 1.0), (0.5, 0.5)),
        ((0.04, 0.008, 0.008), (0.03, 0.006, 0.006), (1.33, 1.33, 1.33)),
        ((0.0305, 0.0062, 0.006), (0.03, 0.006, 0.006), (1.0, 1.0, 1.0)),
    ],
)
def test_the_sizes_of_pixels_say_a_scale(image, model, expected) -> None:
    assert scale_by_size(image, model) == expected


# --- with a model ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.pretrained("bbbc039-fast", device="cpu", threads=1).with_settings(scale=1)


@pytest.fixture(scope="module")
def field() -> np.ndarray:
    return np.asarray(samples.nuclei().image)[:260, :348]


@pytest.fixture(scope="module")
def enlarged(field: np.ndarray) -> np.ndarray:
    return resize_image(field[np.newaxis].astype(np.float32), 2.0)[0]


def test_an_image_of_the_models_size_gets_the_labels_of_scale_1(
    segmenter: Segmenter, field: np.ndarray
) -> None:
    found = segmenter.analyze(field, scale="auto")
    assert found.scale == 1
    assert np.array_equal(found.labels, segmenter.segment(field, scale=1))


def test_an_enlarged_image_is_segmented_at_the_scale_that_is_right(
    segmenter: Segmenter, field: np.ndarray, enlarged: np.ndarray
) -> None:
    found = segmenter.analyze(enlarged, scale="auto")
    assert 0.4 < found.scale < 0.65
    assert found.labels.shape == enlarged.shape
    assert abs(int(found.labels.max()) - int(segmenter.segment(field).max())) <= 3
    assert np.array_equal(found.labels, segmenter.segment(enlarged, scale=found.scale))
    assert (found.table()["scale"] == found.scale).all()


def test_every_verb_finds_the_same_scale(segmenter: Segmenter, enlarged: np.ndarray, tmp_path) -> None:
    expected = segmenter.segment(enlarged, scale="auto")
    setting = segmenter.with_settings(scale="auto")
    assert np.array_equal(setting.segment(enlarged), expected)
    assert np.array_equal(next(segmenter.segment_many([enlarged], scale="auto")), expected)
    assert np.array_equal(segmenter.cluster(segmenter.embed(enlarged, scale="auto")), expected)
    tifffile.imwrite(tmp_path / "image.tif", enlarged)
    count = segmenter.segment_large(tmp_path / "image.tif", tmp_path / "out.tif", scale="auto")
    assert count == expected.max()


def test_a_time_lapse_gets_a_scale_for_each_frame(
    segmenter: Segmenter, field: np.ndarray, enlarged: np.ndarray
) -> None:
    part = enlarged[: field.shape[0], : field.shape[1]]
    both = segmenter.segment(np.stack([field.astype(np.float32), part]), axes="TYX", scale="auto")
    for frame, alone in zip(both, (field.astype(np.float32), part), strict=True):
        assert np.array_equal(frame, segmenter.segment(alone, scale="auto"))


def test_a_given_scale_has_no_looks(segmenter: Segmenter, field: np.ndarray) -> None:
    found = segmenter.analyze(field)
    assert found.found == GIVEN
    assert "scale" not in found.table()


def test_a_diameter_says_the_scale(segmenter: Segmenter, enlarged: np.ndarray) -> None:
    own = segmenter.config.object_diameter
    assert own is not None
    by_diameter = segmenter.segment(enlarged, diameter=2 * own)
    assert np.array_equal(by_diameter, segmenter.segment(enlarged, scale=0.5))
    assert np.array_equal(by_diameter, segmenter.segment(enlarged, diameter=f"{own} um", pixel_size=0.5))
    assert np.array_equal(by_diameter, segmenter.with_settings(diameter=2 * own).segment(enlarged))


def test_a_scale_replaces_a_diameter_and_both_are_refused(segmenter: Segmenter, field: np.ndarray) -> None:
    sized = segmenter.with_settings(diameter=14)
    assert sized.with_settings(scale=1).config.diameter is None
    assert np.array_equal(sized.segment(field, scale=1), segmenter.segment(field))
    with pytest.raises(
        InputError, match=r"scale 0\.5 and diameter 14 were given, which say the same; give one"
    ):
        segmenter.segment(field, scale=0.5, diameter=14)


@pytest.fixture(scope="module")
def of_extent(segmenter: Segmenter) -> Segmenter:
    """A model of fields that extend over 200 pixels."""
    config = segmenter.config.changed(object_extent=200.0, scale="auto")
    return Segmenter(segmenter.embedder.network, config, device="cpu", threads=1)


def test_only_the_part_with_the_given_foreground_is_embedded(of_extent: Segmenter, field: np.ndarray) -> None:
    inside = np.zeros(field.shape, bool)
    inside[40:120, 60:160] = True
    result = of_extent.analyze(field, foreground=inside)
    assert result.scale == 2
    assert result.labels.shape == field.shape
    assert not result.labels[~inside].any()
    assert (result.labels[inside] > 0).mean() > 0.5
    assert max(result.embedding.seen_shape) == pytest.approx(2 * 112, abs=2)
    table = result.table()
    assert (table["scale"] == 2).all()
    assert len(table["confidence"]) == result.labels.max()
    kept = of_extent.embed(field)
    assert np.array_equal(of_extent.cluster(kept), of_extent.segment(field))


def test_the_part_is_segmented_as_an_image_of_its_own(of_extent: Segmenter, field: np.ndarray) -> None:
    """Where the values need no normalization, what lies outside the part does not matter."""
    config = of_extent.config.changed(normalization=Normalization(kind="none"))
    plain = Segmenter(of_extent.embedder.network, config, device="cpu", threads=1)
    values = normalize(field[np.newaxis].astype(np.float32), of_extent.config.normalization)[0]
    inside = np.zeros(field.shape, bool)
    inside[40:120, 60:160] = True
    found = plain.analyze(values, foreground=inside)
    box = found.found.box
    assert box is not None
    alone = plain.with_settings(scale=2).segment(values[box], foreground=inside[box])
    assert np.array_equal(found.labels[box], alone)


def test_a_model_that_does_not_say_its_diameter_is_told(segmenter: Segmenter, field: np.ndarray) -> None:
    unknown = Segmenter(
        segmenter.embedder.network, segmenter.config.changed(object_diameter=None), device="cpu"
    )
    for wrong in ({"scale": "auto"}, {"diameter": 20}):
        with pytest.raises(
            InputError, match="which the model does not say; set object_diameter, or give the scale"
        ):
            unknown.segment(field, **wrong)


@pytest.mark.parametrize("wrong", [0, -3, "12", "12 px", "um", "nan um", "-1 um", True, math.inf])
def test_wrong_diameters_are_refused(segmenter: Segmenter, field: np.ndarray, wrong: object) -> None:
    with pytest.raises(
        InputError, match=r"diameter must be a number of pixels above 0, or a length such as '12 um'"
    ):
        segmenter.segment(field, diameter=wrong)


def test_the_command_line_takes_both(tmp_path, field: np.ndarray, enlarged: np.ndarray) -> None:
    image = tmp_path / "image.tif"
    tifffile.imwrite(image, enlarged)
    arguments = [
        "segment",
        str(image),
        "--model",
        "bbbc039-fast",
        "--device",
        "cpu",
        "--no-progress",
        "--table",
    ]
    assert main([*arguments, "--output", str(tmp_path / "auto"), "--scale", "auto"]) == 0
    with (tmp_path / "auto" / "image_objects.csv").open(newline="") as stream:
        scales = {row["scale"] for row in csv.DictReader(stream)}
    assert len(scales) == 1
    assert main([*arguments, "--output", str(tmp_path / "found"), "--scale", scales.pop()]) == 0
    auto, found = (tifffile.imread(tmp_path / name / "image_labels.tif") for name in ("auto", "found"))
    assert np.array_equal(auto, found)
    assert main([*arguments, "--output", str(tmp_path / "by"), "--diameter", "56"]) == 0
    halved = Segmenter.pretrained("bbbc039-fast", device="cpu").segment(enlarged, scale=0.5)
    assert np.array_equal(tifffile.imread(tmp_path / "by" / "image_labels.tif"), halved)


def test_voxels_of_another_size_are_remarked_on_where_the_scale_is_left_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    segmenter = Segmenter.pretrained("neurons", device="cpu", threads=1)
    volume = samples.neurons().image[:2, :32, :32]
    for size, warned in (((0.03, 0.01, 0.01), True), ((0.03, 0.006, 0.007), False), (None, False)):
        caplog.clear()
        segmenter.segment(volume, pixel_size=size)
        assert ("0.03 x 0.01 x 0.01 micrometers" in caplog.text) is warned
        unknown = "the size of the volume's voxels is not known, and the model knows 0.03 x 0.006 x 0.006 micrometers"
        assert (unknown in caplog.text) is (size is None)
    caplog.clear()
    segmenter.segment(volume, pixel_size=(0.03, 0.01, 0.01), scale="auto")
    segmenter.segment(volume, pixel_size=(0.03, 0.01, 0.01), scale=0.9)
    assert not caplog.records
    # A number would resize a volume along z, too.
    with pytest.raises(InputError, match=r"one is not known; give pixel_size= \(--pixel-size\)$"):
        segmenter.segment(volume, scale="auto")
    with pytest.raises(InputError, match=r"sizes are in micrometers, so 30 nm are 0\.03"):
        segmenter.segment(volume, pixel_size=(30, 10, 10), scale="auto")


def test_a_model_of_plants_says_when_it_finds_nothing(caplog: pytest.LogCaptureFixture) -> None:
    soil = np.random.default_rng(0).normal((110, 80, 60), 20, (100, 100, 3)).clip(0, 255).astype(np.uint8)
    assert not Segmenter.pretrained("leaves", device="cpu", threads=1).segment(soil).any()
    assert "no objects were found at scale 3.8; the image was taken as it is" in caplog.text


def test_a_look_that_shows_less_than_an_earlier_one_ends_the_search() -> None:
    """Objects are seen best, though not surely, at the second look; a third, fainter one is the last."""
    scales: list[float] = []
    sureness = {0: 0.3, 1: 0.5, 2: 0.2}

    def observe(values: np.ndarray, given: np.ndarray | None) -> Sight:
        labels = np.zeros(values.shape[1:], np.int32)
        places = [(row, column) for row in range(4, 60, 16) for column in range(4, 60, 16)]
        for number, (row, column) in enumerate(places, start=1):
            labels[row : row + 3, column : column + 3] = number
        scales.append(values.shape[-1])
        sure = sureness.get(len(scales) - 1, 0.1)
        return Sight(labels, (1, 1), np.full(int(labels.max()), sure))

    values = np.random.default_rng(0).random((1, 400, 400)).astype(np.float32)
    found = find_scale(values, None, KnownObjects(28.0, 0.9), observe)
    assert [look.confidence for look in found.looks] == pytest.approx([0.3, 0.5, 0.2])
    assert found.best == found.looks[1]
