"""Normalization: exact percentiles of the whole image, fixed statistics, and settings that are checked."""

from __future__ import annotations

import json
import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.normalize import KINDS, Contrast, Normalization, normalize, stretch_of


def image(*shape: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).integers(100, 4096, shape).astype(np.float32)


def test_defaults_are_percentiles_1_and_99_8() -> None:
    values = image(1, 60, 70)
    low, high = np.percentile(values.astype(np.float64), [1, 99.8])
    np.testing.assert_allclose(normalize(values, Normalization()), (values - low) / (high - low), rtol=1e-5)


@pytest.mark.parametrize(("lower", "upper"), [(0, 100), (0, 50), (50, 100), (12.3, 12.9), (99.5, 99.95)])
@pytest.mark.parametrize("size", [1, 2, 3, 10, 1001])
def test_percentiles_equal_those_of_numpy_at_every_size(lower: float, upper: float, size: int) -> None:
    values = image(1, 1, size)
    low, high = np.percentile(values.astype(np.float64), [lower, upper])
    expected = (values - low) / (high - low) if high > low else np.zeros_like(values)
    np.testing.assert_allclose(
        normalize(values, Normalization(lower=lower, upper=upper)), expected, rtol=1e-4, atol=1e-4
    )


def test_percentiles_are_of_all_channels_together() -> None:
    values = np.stack([np.zeros((4, 5)), np.full((4, 5), 10)]).astype(np.float32)
    result = normalize(values, Normalization(lower=0, upper=100))
    assert (result[0] == 0).all()
    assert (result[1] == 1).all()


def test_percentiles_of_a_volume_are_not_taken_per_plane() -> None:
    values = np.arange(3, dtype=np.float32)[None, :, None, None] * np.ones((1, 1, 4, 5), dtype=np.float32)
    assert np.unique(normalize(values, Normalization(lower=0, upper=100))).tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("value", [0.0, 7.0, -3e38, 1e-40])
def test_constant_image_becomes_zeros_quietly(value: float, caplog: pytest.LogCaptureFixture) -> None:
    values = np.full((1, 4, 5), value, dtype=np.float32)
    result = normalize(values, Normalization())
    assert result.dtype == np.float32
    assert result.tolist() == np.zeros((1, 4, 5)).tolist()
    assert not caplog.records


def test_equal_percentiles_of_an_image_that_is_not_constant_are_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    values = np.zeros((1, 100, 100), dtype=np.float32)
    values[0, 3, 3] = 1
    with caplog.at_level(logging.WARNING, logger="pixel_embedded_affinity"):
        assert not normalize(values, Normalization()).any()
    assert "are equal" in caplog.text


def test_rank_that_rounding_pushes_past_an_integer_gives_no_tiny_span() -> None:
    values = np.zeros((1, 1, 41001), dtype=np.float32)
    values[..., :41] = 4095
    assert not normalize(values, Normalization(upper=99.9)).any()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 5000), (3, 1, 1), (1, 2, 1, 1)])
def test_smallest_images_are_normalized_without_a_warning(shape: tuple[int, ...]) -> None:
    assert normalize(image(*shape), Normalization()).shape == shape


def test_fixed_statistics_are_taken_per_channel() -> None:
    values = image(2, 4, 5)
    result = normalize(values, Normalization("fixed", mean=(100, 200), std=(10, 20)))
    np.testing.assert_allclose(result[0], (values[0] - 100) / 10, rtol=1e-6)
    np.testing.assert_allclose(result[1], (values[1] - 200) / 20, rtol=1e-6)


def test_fixed_statistics_for_other_channels_are_refused() -> None:
    with pytest.raises(InputError, match=r"3 channel\(s\).*for 2"):
        normalize(image(3, 4, 5), Normalization("fixed", mean=(1, 2), std=(1, 2)))


def test_none_returns_a_copy() -> None:
    values = image(1, 4, 5)
    result = normalize(values, Normalization("none"))
    np.testing.assert_array_equal(result, values)
    assert not np.shares_memory(result, values)


@pytest.mark.parametrize("kind", KINDS)
def test_clip_bounds_the_result(kind: str) -> None:
    statistics = {"mean": (2000,), "std": (10,)} if kind == "fixed" else {}
    result = normalize(image(1, 30, 30), Normalization(kind, clip=(-0.25, 0.75), **statistics))  # type: ignore[arg-type]
    assert result.min() >= -0.25
    assert result.max() == 0.75


@pytest.mark.parametrize("order", ["C", "K"])
@pytest.mark.parametrize("kind", KINDS)
def test_input_of_any_strides_is_left_alone_and_the_result_is_contiguous(kind: str, order: Any) -> None:
    statistics = {"mean": (2000, 1, 2), "std": (10, 1, 2)} if kind == "fixed" else {}
    values = np.moveaxis(image(4, 5, 3), -1, 0).copy(order=order)
    values.flags.writeable = False
    before = values.copy()
    result = normalize(values, Normalization(kind, **statistics))  # type: ignore[arg-type]
    np.testing.assert_array_equal(values, before)
    assert result.flags.c_contiguous
    assert result.flags.writeable
    assert result.dtype == np.float32


def test_same_image_gives_the_same_bytes() -> None:
    values = image(1, 50, 60)
    assert normalize(values, Normalization()).tobytes() == normalize(values, Normalization()).tobytes()


def test_large_offset_leaves_the_contrast() -> None:
    values = image(1, 30, 30) + np.float32(2**23)
    low, high = np.percentile(values.astype(np.float64), [1, 99.8])
    expected = (values.astype(np.float64) - low) / (high - low)
    np.testing.assert_allclose(normalize(values, Normalization()), expected, atol=1e-3)


def test_result_beyond_float32_is_refused_unless_clipped() -> None:
    values = np.zeros((1, 10, 100), dtype=np.float32)
    values[0, 0] = 1e-38
    values[0, 1, 0] = 1e38
    with pytest.raises(InputError, match="overflows float32"):
        normalize(values, Normalization())
    assert normalize(values, Normalization(clip=(0, 1))).max() == 1


def test_span_beyond_float32_is_refused() -> None:
    values = np.array([[[-3e38, 3e38]]], dtype=np.float32)
    with pytest.raises(InputError, match="overflows float32"):
        normalize(values, Normalization(lower=0, upper=100))


def test_empty_image_is_refused() -> None:
    with pytest.raises(InputError, match="empty"):
        normalize(np.zeros((1, 0, 5), dtype=np.float32), Normalization())


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "minmax"},
        {"kind": None},
        {"lower": -1},
        {"upper": 100.1},
        {"lower": 50, "upper": 50},
        {"lower": 60, "upper": 40},
        {"lower": float("nan")},
        {"lower": "1"},
        {"lower": True},
        {"upper": None},
        {"mean": (1.0,)},
        {"kind": "none", "std": (1.0,)},
        {"kind": "fixed"},
        {"kind": "fixed", "mean": (1.0,)},
        {"kind": "fixed", "mean": (1.0, 2.0), "std": (1.0,)},
        {"kind": "fixed", "mean": (1.0,), "std": (0.0,)},
        {"kind": "fixed", "mean": (1.0,), "std": (-1.0,)},
        {"kind": "fixed", "mean": 1.0, "std": 1.0},
        {"kind": "fixed", "mean": "12", "std": (1.0, 1.0)},
        {"kind": "fixed", "mean": (float("inf"),), "std": (1.0,)},
        {"clip": (1.0,)},
        {"clip": (1.0, 1.0)},
        {"clip": (2.0, 1.0)},
        {"clip": (0.0, 1.0, 2.0)},
        {"clip": (0.0, float("inf"))},
        {"clip": 5},
        {"gamma": 0},
        {"gamma": float("inf")},
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused_in_one_line(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        Normalization(**settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "normalization",
    [
        Normalization(),
        Normalization("percentile", 0, 100, clip=(0, 1)),
        Normalization("fixed", mean=(1, 2.5), std=(3, 4)),
        Normalization("none"),
        Normalization(gamma=1.7),
    ],
)
def test_settings_survive_json(normalization: Normalization) -> None:
    assert Normalization.from_dict(json.loads(json.dumps(normalization.to_dict()))) == normalization


def test_missing_settings_mean_defaults_and_unknown_ones_are_refused() -> None:
    assert Normalization.from_dict({"upper": 99}) == Normalization(upper=99.0)
    with pytest.raises(InputError, match=r"uper.*kind.*lower.*upper.*mean.*std.*clip"):
        Normalization.from_dict({"uper": 99})


@pytest.mark.parametrize("value", [10**400, float("inf"), float("nan"), True, "1", None])
def test_what_is_no_finite_number_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"normalization\.lower must be a finite number, got"):
        Normalization(lower=value)  # type: ignore[arg-type]


# --- outliers and contrast --------------------------------------------------------------------------------


def field(debris: float | None = None) -> Any:
    """Noise around 100, with disks of 300 to 600 on a fifth of it, and perhaps a square of debris."""
    random = np.random.default_rng(0)
    values = random.normal(100, 5, (1, 100, 120))
    values[0, 20:70, 10:60] = random.uniform(300, 600, (50, 50))
    if debris is not None:
        values[0, 90:98, 100:110] = debris
    return values.astype(np.float32)


@pytest.mark.parametrize("debris", [3000, 65535, 1e6])
def test_debris_does_not_set_the_contrast(debris: float, caplog: pytest.LogCaptureFixture) -> None:
    limits = Contrast(outlier_factor=4)
    clean = normalize(field(), Normalization(), limits)
    assert not caplog.records
    dirty = normalize(field(debris), Normalization(), limits)
    assert "0.67 % of the pixels are more than 4 times as bright" in caplog.text
    np.testing.assert_allclose(dirty[0, :80], clean[0, :80], atol=0.02)
    assert 1 < dirty.max() < 5
    assert normalize(field(debris), Normalization())[0, :80].max() < 0.25


def test_the_stretch_is_the_one_of_the_pixels_that_are_no_outliers() -> None:
    values = field(9000)
    low = np.percentile(values, 1)
    middle = np.median(values)
    bright = values[values > middle + 6 * 1.4826 * np.median(abs(values - middle))]
    limit = low + 4 * (np.median(bright) - low)
    found = stretch_of(values, Normalization(), Contrast(outlier_factor=4))
    assert found.low == pytest.approx(low, rel=1e-6)
    assert found.top == pytest.approx(limit, rel=1e-5)
    assert found.high == pytest.approx(np.percentile(values[values <= limit], 99.8), rel=1e-6)


def counted(debris: float | None = None) -> np.ndarray:
    """Nuclei in counts of a few gray levels: most of the ground is 0, and each nucleus glows around."""
    values = np.zeros((1, 120, 130))
    for row, column in ((20, 20), (20, 60), (60, 20), (60, 60), (95, 95)):
        values[0, row - 15 : row + 15, column - 15 : column + 15] = 2
        values[0, row - 6 : row + 6, column - 6 : column + 6] = 60
    if debris is not None:
        values[0, 100:110, 10:20] = debris
    return values.astype(np.float32)


def test_a_faint_glow_is_no_object_where_half_of_the_pixels_have_one_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # The median deviation is 0. The median of all that is brighter than the ground is the glow, of 2 gray levels.
    values = counted()
    assert np.median(values) == np.median(np.abs(values)) == 0
    assert np.median(values[values > 0]) == 2
    found = stretch_of(values, Normalization(), Contrast(outlier_factor=4))
    assert (found.low, found.high, found.top) == (0, 60, None)
    assert not caplog.records


def test_debris_on_a_ground_of_one_value_does_not_set_the_contrast(caplog: pytest.LogCaptureFixture) -> None:
    found = stretch_of(counted(500), Normalization(), Contrast(outlier_factor=4))
    assert (found.low, found.high, found.top) == (0, 60, 240)
    assert "(contrast.outlier_factor, --outlier-factor; with 0 they do)" in caplog.text


@pytest.mark.parametrize(
    "values", [np.zeros((1, 4, 5)), np.ones((1, 1, 1)), np.eye(30)[None] * 1000, field()]
)
def test_without_outliers_the_percentiles_stay(values: Any) -> None:
    values = np.asarray(values, np.float32)
    found = stretch_of(values, Normalization(), Contrast(outlier_factor=4))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(values, (1, 99.8))))
    assert found.top is None


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 7]), st.sampled_from([0, 50]))
def test_outliers_do_not_depend_on_gain_and_offset(seed: int, gain: int, offset: int) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(0, 200, (1, 20, 20)).astype(np.float32)
    values[0, :2, : random.integers(0, 20)] = 20000
    limits = Contrast(outlier_factor=3)
    one, other = (stretch_of(v, Normalization(), limits) for v in (values, gain * values + offset))
    assert (one.top is None) == (other.top is None)
    assert other.high == pytest.approx(gain * one.high + offset, rel=1e-5)


def test_little_contrast_is_not_stretched() -> None:
    values = np.array([[[100.0, 102.0, 104.0]]], np.float32)
    plain = Normalization(lower=0, upper=100)
    np.testing.assert_allclose(
        normalize(values, plain, Contrast(min_contrast=40)), [[[0, 0.05, 0.1]]], atol=1e-6
    )
    np.testing.assert_allclose(normalize(values, plain, Contrast(min_contrast=4)), [[[0, 0.5, 1]]], atol=1e-6)
    flat = np.full((1, 2, 2), 7, np.float32)
    assert not normalize(flat, plain, Contrast(min_contrast=4)).any()


@pytest.mark.parametrize(
    "values",
    [
        {"outlier_factor": -1},
        {"min_contrast": np.inf},
        {"outlier_factor": "4"},
        {"median_brightness": 0.5},
        {"median_brightness": (0.5,)},
        {"median_brightness": (0, 0.5)},
        {"median_brightness": (0.5, 1)},
        {"median_brightness": (0.6, 0.5)},
    ],
)
def test_limits_that_cannot_be_are_refused(values: Any) -> None:
    with pytest.raises(InputError, match=r"contrast\."):
        Contrast(**values)


# --- missing parts ----------------------------------------------------------------------------------------

SKIP = Contrast(skip_missing=True)


def scene(ground: float = 500) -> Any:
    """A field of round objects on a ground that varies."""
    random = np.random.default_rng(0)
    values = random.normal(ground, 10, (1, 120, 200))
    rows, columns = np.ogrid[:120, :200]
    for y, x in random.integers(10, 110, (30, 2)):
        values[0, (rows - y) ** 2 + (columns - 1.8 * x) ** 2 < 25] += 900
    return values.astype(np.float32)


PARTS: dict[str, Any] = {
    "a third": (slice(None), slice(0, 66)),
    "a tile": (slice(40, 80), slice(50, 100)),
    "a corner": (slice(0, 30), slice(170, 200)),
    "more than half": (slice(None), slice(70, 200)),
}


@pytest.mark.parametrize("part", list(PARTS.values()), ids=list(PARTS))
@pytest.mark.parametrize("dark", [0, 200])
@pytest.mark.parametrize("factor", [0, 4])
def test_missing_parts_do_not_set_the_contrast(
    part: Any, dark: float, factor: float, caplog: pytest.LogCaptureFixture
) -> None:
    whole = scene()
    values = whole.copy()
    values[0][part] = dark
    there = np.ones(values.shape, bool)
    there[0][part] = False
    found = normalize(values, Normalization(), Contrast(outlier_factor=factor, skip_missing=True))
    expected = normalize(whole[there][None], Normalization(), Contrast(outlier_factor=factor))
    np.testing.assert_allclose(found[there], expected[0], atol=0.02)
    assert found[~there].min() == found[~there].max() == found.min() > -0.1
    assert f"are missing: they hold {dark}, far below all others" in caplog.text
    assert normalize(values, Normalization())[there].min() > 0.1 or dark


def test_a_border_and_a_missing_section_count_as_missing() -> None:
    values = scene()
    values[0, :8] = values[0, -8:] = values[0, :, :8] = values[0, :, -8:] = 0
    assert stretch_of(values, Normalization(), SKIP).low > 400
    volume = np.stack([scene(), scene(), scene()], axis=1)
    volume[:, 1] = 0
    assert stretch_of(volume, Normalization(), SKIP).low > 400


def objects_alone() -> Any:
    """Objects whose ground was set to 0."""
    values = scene()
    values[values < 900] = 0
    return values


def gentle() -> Any:
    """A dark part that is not far below the ground."""
    values = scene()
    values[0, :, :66] = values.min()
    return values


def slanted() -> Any:
    """A missing part whose edge is not straight."""
    values = scene()
    rows, columns = np.ogrid[:120, :200]
    values[0, rows > columns] = 0
    return values


def dense() -> Any:
    """An image that is not mostly ground, such as a tissue, with a black border."""
    values = np.random.default_rng(0).uniform(50, 200, (1, 120, 200)).astype(np.float32)
    values[0, :, :66] = 0
    return values


@pytest.mark.parametrize(
    "values",
    [
        scene(),
        objects_alone(),
        gentle(),
        slanted(),
        dense(),
        np.zeros((1, 8, 9), np.float32),
        (np.arange(800).reshape(1, 20, 40) % 40 > 19).astype(np.float32),
    ],
    ids=["whole", "objects alone", "gentle", "slanted", "dense", "zeros", "two values"],
)
def test_what_is_dark_but_not_missing_counts(values: Any) -> None:
    assert stretch_of(values, Normalization(), SKIP) == stretch_of(values, Normalization())


def test_missing_parts_count_unless_the_settings_say_so() -> None:
    values = scene()
    values[0, :, :66] = 0
    assert stretch_of(values, Normalization()).low == 0
    assert stretch_of(values, Normalization(lower=40), SKIP).bottom is None


def test_gamma_bends_what_the_kind_gives_and_negative_values_like_positive_ones() -> None:
    values = np.array([[[-4.0, 0.0, 1.0, 9.0]]], np.float32)
    assert normalize(values, Normalization("none", gamma=0.5)).tolist() == [[[-2, 0, 1, 3]]]
    assert normalize(values, Normalization("none", gamma=0.5, clip=(-1, 2))).tolist() == [[[-1, 0, 1, 2]]]
    whole = Normalization(lower=0, upper=100, gamma=2)
    np.testing.assert_allclose(normalize(values, whole), [[[0, (4 / 13) ** 2, (5 / 13) ** 2, 1]]], rtol=1e-5)


MIDDLE = Contrast(median_brightness=(0.55, 0.55))


def tissue(seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Values from 0 to 1 that fill an image, as those of electron microscopy do."""
    return np.random.default_rng(seed).beta(2, 1.6, (1, 5, 40, 50)).astype(np.float32)


@given(gamma=st.floats(0.6, 1.7), gain=st.floats(0.1, 60000), offset=st.floats(-500, 500))
def test_images_that_differ_by_gamma_and_contrast_become_one(
    gamma: float, gain: float, offset: float
) -> None:
    values = tissue()
    plain = Normalization(lower=0, upper=100)
    other = (values**gamma * gain + offset).astype(np.float32)
    one, changed = (normalize(image, plain, MIDDLE) for image in (values, other))
    assert np.median(one) == pytest.approx(0.55, abs=0.003)
    tolerance = 0.01 + 3e-7 * abs(offset) / gain  # float32 keeps few digits beside a large offset
    keeps_digits = values > 0.1
    np.testing.assert_allclose(one[keeps_digits], changed[keeps_digits], atol=min(tolerance, 0.05))


def test_margins_of_one_value_do_not_move_the_median() -> None:
    values = tissue()
    padded = np.pad(values, ((0, 0), (0, 0), (30, 30), (30, 30)))
    plain = Normalization(lower=0, upper=100)
    inner = normalize(padded, plain, MIDDLE)[..., 30:-30, 30:-30]
    np.testing.assert_allclose(inner, normalize(values, plain, MIDDLE), atol=0.01)


@pytest.mark.parametrize(("median", "gamma"), [(0.01, 0.4), (0.99, 2.5), (0.55, 1.0), (0.3025, 0.5)])
def test_the_curve_has_bounds(median: float, gamma: float) -> None:
    values = np.array([0, *[median] * 9, 1], np.float32).reshape(1, 1, 11)
    assert stretch_of(values, Normalization(lower=0, upper=100), MIDDLE).gamma == pytest.approx(
        gamma, rel=1e-5
    )


@pytest.mark.parametrize("values", [np.zeros((1, 3, 4)), np.arange(2).repeat(6).reshape(1, 3, 4)])
def test_images_of_one_or_two_values_have_no_curve(values: np.ndarray[Any, Any]) -> None:
    plain = Normalization(lower=0, upper=100)
    values = values.astype(np.float32)
    assert stretch_of(values, plain, MIDDLE).gamma == 1
    assert normalize(values, plain, MIDDLE).tolist() == values.tolist()


@pytest.mark.parametrize(
    ("median", "expected"), [(0.2, 0.5), (0.5, 0.5), (0.55, 0.55), (0.6, 0.6), (0.8, 0.6)]
)
def test_a_median_outside_of_the_bounds_comes_to_the_nearer_one(median: float, expected: float) -> None:
    values = np.array([0, *[median] * 9, 1], np.float32).reshape(1, 1, 11)
    limits = Contrast(median_brightness=(0.5, 0.6))
    found = normalize(values, Normalization(lower=0, upper=100), limits)
    assert np.median(found) == pytest.approx(expected, rel=1e-5)
    if median == 0.55:
        assert found.tolist() == values.tolist()
