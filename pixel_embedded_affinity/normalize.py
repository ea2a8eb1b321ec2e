"""Normalization: raw intensities become network input, by statistics of the whole image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import Settings, choice, list_of, number, optional, setting, switch
from pixel_embedded_affinity.io.arrays import FloatArray
from pixel_embedded_affinity.runtime.subject import ImageLogger

logger = ImageLogger(__name__)

_SPREADS = 6
_FAINT = 0.1
"""Objects are brighter than the ground by the first number of spreads, or by the second share of the range."""
_FAR = 2
"""What is missing lies below the ground of an image by this many times as much as the ground varies."""
_TENTHS = 10
"""Straight edges of what is missing are at least a tenth of the image long."""

_GAMMAS = (0.4, 2.5)
"""Bounds of the gamma that brings a median where a model expects it."""

KINDS: tuple[str, ...] = ("percentile", "fixed", "none")
"""The kinds of `Normalization`."""


@dataclass(frozen=True)
class Normalization(Settings, section="normalization"):
    """How intensities become network input.

    Parameters
    ----------
    kind : {"percentile", "fixed", "none"}
        ``"percentile"``: ``(x - lo) / (hi - lo)``, with lo and hi the percentiles `lower` and `upper` of
        the whole image, all channels together. ``"fixed"``: ``(x - mean) / std`` per channel. ``"none"``:
        as is.
    lower, upper : float
        Percentiles, ``0 <= lower < upper <= 100``; used by ``"percentile"`` only.
    mean, std : sequence of float
        One value per channel, in the image's units, std above 0; given for ``"fixed"`` and only then.
    clip : (float, float), optional
        Lowest and highest value of the result. Default: no clipping.
    gamma : float
        Exponent of a curve that bends what the kind gives, before it is clipped: x becomes ``x**gamma``, and a
        negative x ``-(-x)**gamma``. 1: no curve.

    Raises
    ------
    InputError
        If a setting is of another type, out of range, or does not belong to the kind.
    """

    kind: str = setting("percentile", choice(*KINDS))
    lower: float = setting(1.0, number())
    upper: float = setting(99.8, number())
    mean: tuple[float, ...] = setting((), list_of(number()))
    std: tuple[float, ...] = setting((), list_of(number(above=0)))
    clip: tuple[float, float] | None = setting(None, optional(list_of(number(), 2)))
    gamma: float = setting(1.0, number(above=0))

    def _check_together(self) -> None:
        self._check_percentiles()
        self._check_statistics()
        if self.clip is not None and not self.clip[0] < self.clip[1]:
            raise InputError(f"normalization.clip must be two ascending numbers, or none, got {self.clip}")

    def _check_percentiles(self) -> None:
        if not 0 <= self.lower < self.upper <= 100:
            raise InputError(
                f"percentiles lower={self.lower}, upper={self.upper}; expected 0 <= lower < upper <= 100"
            )

    def _check_statistics(self) -> None:
        if self.kind != "fixed" and (self.mean or self.std):
            raise InputError(
                f"mean and std given for normalization kind='{self.kind}'; they belong to kind='fixed'; "
                "drop them"
            )
        if self.kind == "fixed" and not 0 < len(self.mean) == len(self.std):
            raise InputError(
                f"{len(self.mean)} value(s) in mean and {len(self.std)} in std; expected one of each per "
                "channel for kind='fixed'"
            )


@dataclass(frozen=True)
class Contrast(Settings, section="contrast"):
    """Limits of what ``"percentile"`` stretches to full contrast; other kinds of `Normalization` have none.

    Parameters
    ----------
    outlier_factor : float
        Debris and other pixels that are this many times as bright as the median object do not set the contrast, see
        `stretch_of`. 0: they do.
    min_contrast : float
        Where the two percentiles differ by less than this, in the image's units, it is used in place of their
        difference, so that noise is not stretched to the contrast of objects. 0: any difference is stretched.

    skip_missing : bool
        Parts of an image that are missing, such as a tile of a mosaic, do not set the contrast, see `stretch_of`.
    median_brightness : (float, float), optional
        Least and largest median of what lies between the two percentiles, as shares of their difference. Where the
        median of an image is outside, a gamma curve of 0.4 to 2.5 brings it to the nearer one. For images that objects
        fill, such as electron microscopy; where background fills most of an image, the median tells nothing of the
        objects. Default: no curve.

    Raises
    ------
    InputError
        If a number is not finite and at least 0, `skip_missing` is no bool, or `median_brightness` is not two ascending
        numbers between 0 and 1.
    """

    outlier_factor: float = setting(
        0.0,
        number(0),
        "Pixels this many times as bright as the median object do not set the contrast; 0: all do.",
    )
    min_contrast: float = setting(
        0.0,
        number(0),
        "Least difference of dark and bright, in units of the image, that becomes full contrast.",
    )
    skip_missing: bool = setting(
        False,
        switch(),
        "Missing parts, of one value far below all others and with straight edges, do not set the contrast.",
    )
    median_brightness: tuple[float, float] | None = setting(
        None,
        optional(list_of(number(above=0, below=1), 2)),
        "A gamma curve brings the median, as a share of the contrast, between these. For images that objects fill.",
    )

    def _check_together(self) -> None:
        if self.median_brightness is not None and self.median_brightness[0] > self.median_brightness[1]:
            raise InputError(
                f"contrast.median_brightness must be two ascending numbers, or none, got {self.median_brightness}"
            )


PLAIN = Contrast()
"""No limits."""


def normalize(values: FloatArray, normalization: Normalization, contrast: Contrast = PLAIN) -> FloatArray:
    """Normalize an image by statistics of the whole image.

    Parameters
    ----------
    values : numpy.ndarray
        float32, finite, shape ``(C, *spatial)``. Never modified.
    normalization : Normalization
        What to do. Percentiles are exact and interpolated linearly, as in ``numpy.percentile``.
    contrast : Contrast
        Limits of what percentiles stretch. Default: none.

    Returns
    -------
    numpy.ndarray
        A new float32 array of the same shape. All zeros where the two percentiles are equal, as in a
        constant image.

    Raises
    ------
    InputError
        If the image is empty, `mean` and `std` do not have one entry per channel, or the result does not fit into
        float32.
    """
    if values.size == 0:
        raise InputError(
            f"image of shape {values.shape} is empty; expected at least one pixel along each axis"
        )
    with np.errstate(all="ignore"):
        result = bent(_scaled(values, normalization, contrast), normalization.gamma)
    if normalization.clip is not None:
        np.clip(result, *normalization.clip, out=result)
    if not np.isfinite(result).all():
        raise InputError(
            f"image with values from {values.min():g} to {values.max():g} overflows float32 when "
            f"normalized by {normalization}; expected a result that is finite; rescale the image, or set "
            "clip"
        )
    return result


def _scaled(values: FloatArray, normalization: Normalization, contrast: Contrast) -> FloatArray:
    if normalization.kind == "percentile":
        return _scaled_by_percentiles(values, normalization, contrast)
    if normalization.kind == "fixed":
        return _scaled_by_statistics(values, normalization.mean, normalization.std)
    return np.array(values, dtype=np.float32, order="C")


class Stretch(NamedTuple):
    """Values of an image that become 0 and 1, the highest and the lowest value that are kept, and a curve's gamma.

    Brighter values are cut to the highest, and darker ones are lifted to the lowest.
    """

    low: float
    high: float
    top: float | None = None
    bottom: float | None = None
    gamma: float = 1.0


def bent(values: FloatArray, gamma: float) -> FloatArray:
    """Bend values by a gamma curve, in place; negative values are bent like positive ones."""
    if gamma == 1:
        return values
    size = np.abs(values)
    size **= np.float32(gamma)
    return np.copysign(size, values, out=values)


def stretch_of(values: FloatArray, normalization: Normalization, contrast: Contrast = PLAIN) -> Stretch:
    """Return the values of an image between which ``"percentile"`` stretches.

    They are the two percentiles of all values, unless outliers set the upper one. Objects are the pixels that are
    brighter than the median of all by six times their spread (1.4826 times the median absolute deviation). Where half
    of the pixels have one value, there is no spread: then by a tenth of what the percentiles differ. If the upper
    percentile exceeds the lower one by more than `outlier_factor` times what the median object pixel does, the brighter
    pixels are outliers: the upper percentile is then the one of the others, and the log says so.

    Where parts of the image are missing, everything is measured in the others, and the log says so. They hold the
    lowest value of the image, in more pixels than the lower percentile leaves out, and nine tenths of their edges are
    straight for a tenth of the image or more. The lower percentile of the other pixels exceeds that value by more than
    twice what their median exceeds the percentile. And most of the other pixels are ground: the median is in the lowest
    quarter between their percentiles.

    With `median_brightness`, the median of the values between the percentiles, without those that equal one of them,
    tells the gamma.

    Parameters
    ----------
    values : numpy.ndarray
        float32, finite, not empty; shape ``(C, *spatial)``.
    normalization : Normalization
        Percentiles.
    contrast : Contrast
        Limits.
    """
    found = _linear_stretch(values, normalization, contrast)
    return found._replace(gamma=_gamma(values, found, contrast.median_brightness))


def _gamma(values: FloatArray, stretch: Stretch, bounds: tuple[float, float] | None) -> float:
    """Return the exponent that brings the median between the ends of the stretch within bounds."""
    if bounds is None:
        return 1.0
    between = values[(values > stretch.low) & (values < stretch.high)]
    if between.size == 0:
        return 1.0
    median = (float(np.median(between)) - stretch.low) / (stretch.high - stretch.low)
    wanted = min(max(median, bounds[0]), bounds[1])
    return min(max(math.log(wanted) / math.log(median), _GAMMAS[0]), _GAMMAS[1])


def _linear_stretch(values: FloatArray, normalization: Normalization, contrast: Contrast) -> Stretch:
    """Do what `stretch_of` does, without a curve."""
    bottom = None
    if contrast.skip_missing and (rest := _without_missing(values, normalization)) is not None:
        values, bottom = rest, float(rest.min())
    low, high = _percentiles(values, normalization.lower, normalization.upper)
    limit = _outlier_limit(values, low, high, contrast.outlier_factor)
    if limit is None or high <= limit:
        return Stretch(low, max(high, low + contrast.min_contrast), None, bottom)
    others = values[values <= limit]
    share = 100 * (1 - others.size / values.size)
    high = _interpolated_rank(others, _rank(others.size, normalization.upper))
    text = (
        "%.2g %% of the pixels are more than %g times as bright as the objects; they do not set the contrast "
        "(contrast.outlier_factor, --outlier-factor; with 0 they do)"
    )
    logger.warning(text, share, contrast.outlier_factor)
    return Stretch(low, max(high, low + contrast.min_contrast), limit, bottom)


def _without_missing(values: FloatArray, normalization: Normalization) -> FloatArray | None:
    """Return the values ``(C, n)`` of the pixels that are not missing; None where no part of the image is missing."""
    darkest = float(values.min())
    missing = (values == np.float32(darkest)).all(axis=0)
    share = missing.mean()
    if not normalization.lower / 100 < share < 1:
        return None
    rest = values[:, ~missing]
    low, high = _percentiles(rest, normalization.lower, normalization.upper)
    ground = float(np.median(rest)) - low
    if low - darkest <= _FAR * ground or 4 * ground >= high - low or not _has_straight_edges(missing):
        return None
    logger.warning(
        "%.2g %% of the pixels are missing: they hold %g, far below all others; they do not set the contrast",
        100 * share,
        darkest,
    )
    return rest


def _has_straight_edges(mask: npt.NDArray[np.bool_]) -> bool:
    """Tell whether nine tenths of the edges of a mask run straight along an axis of a plane."""
    if mask.ndim < 2:
        return False
    total, straight = 0, 0
    for across, along in ((-1, -2), (-2, -1)):
        edges = np.moveaxis(np.diff(mask, axis=across), along, -1)
        padded = np.pad(edges, [(0, 0)] * (edges.ndim - 1) + [(1, 1)])
        places = np.flatnonzero(np.diff(padded.ravel()))
        lengths = places[1::2] - places[::2]
        total += lengths.sum()
        straight += lengths[lengths * _TENTHS >= mask.shape[along]].sum()
    return bool(straight >= 0.9 * total)


def _outlier_limit(values: FloatArray, low: float, high: float, factor: float) -> float | None:
    """The brightest value that is no outlier; None where there is no limit, or no object."""
    if factor == 0:
        return None
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - np.float32(middle))))
    # Without a spread, the faintest glow would count as an object.
    bright = values[values > middle + (_SPREADS * spread or _FAINT * (high - low))]
    if bright.size == 0:
        return None
    return low + factor * (float(np.median(bright)) - low)


def _scaled_by_percentiles(
    values: FloatArray, normalization: Normalization, contrast: Contrast
) -> FloatArray:
    low, high, top, bottom, gamma = stretch_of(values, normalization, contrast)
    span = np.float32(high - low)
    if span == 0:
        if values.min() != values.max():
            text = "percentiles %g and %g of the image are equal (%g); it is normalized to zeros"
            logger.warning(text, normalization.lower, normalization.upper, low)
        return np.zeros(values.shape, dtype=np.float32)
    result = np.array(values, dtype=np.float32, order="C")
    if top is not None:
        np.minimum(result, np.float32(top), out=result)
    if bottom is not None:
        np.maximum(result, np.float32(bottom), out=result)
    result -= np.float32(low)
    result /= span
    return bent(result, gamma)


def _scaled_by_statistics(values: FloatArray, mean: tuple[float, ...], std: tuple[float, ...]) -> FloatArray:
    if values.shape[0] != len(mean):
        raise InputError(
            f"image of {values.shape[0]} channel(s); normalization has mean and std for {len(mean)}; "
            "expected one per channel"
        )
    shape = (-1,) + (1,) * (values.ndim - 1)
    result = np.array(values, dtype=np.float32, order="C")
    result -= np.array(mean, dtype=np.float32).reshape(shape)
    result /= np.array(std, dtype=np.float32).reshape(shape)
    return result


def _percentiles(values: FloatArray, lower: float, upper: float) -> tuple[float, float]:
    """Return two percentiles, interpolated linearly between the nearest ranks.

    One partition for each rank, the second within the upper part of the first, takes a third of the time of
    ``numpy.percentile``, which partitions once for four ranks.
    """
    ordered = values.flatten()
    low_rank, high_rank = _rank(ordered.size, lower), _rank(ordered.size, upper)
    start = math.floor(low_rank)
    low = _interpolated_rank(ordered, low_rank)
    return low, _interpolated_rank(ordered[start:], high_rank - start)


def _rank(size: int, percentile: float) -> float:
    # A rank such as 40959.000000000007 would mix in a trace of the next value. In an image of few bright pixels,
    # the span would then be almost nothing, and everything is divided by it.
    return round((size - 1) * percentile / 100, 6)


def _interpolated_rank(values: FloatArray, rank: float) -> float:
    """Return the value at a fractional rank; partitions `values` in place around the rank."""
    below = math.floor(rank)
    values.partition(below)
    value = float(values[below])
    if below == rank:
        return value
    return value + (rank - below) * (float(values[below + 1 :].min()) - value)
