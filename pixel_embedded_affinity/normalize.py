"""Normalization: raw intensities become network input, by statistics of the whole image."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import Settings, choice, list_of, number, optional, setting
from pixel_embedded_affinity.io.arrays import FloatArray

logger = logging.getLogger(__name__)

_SPREADS = 6

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

    Raises
    ------
    InputError
        If a value is not a finite number of at least 0.
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
        result = _scaled(values, normalization, contrast)
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
    """Values of an image that become 0 and 1, and the highest value that is kept; brighter ones are cut to it."""

    low: float
    high: float
    top: float | None = None


def stretch_of(values: FloatArray, normalization: Normalization, contrast: Contrast = PLAIN) -> Stretch:
    """Return the values of an image between which ``"percentile"`` stretches.

    They are the two percentiles of all values, unless outliers set the upper one. Objects are the pixels that are
    brighter than the median of all by six times their spread (1.4826 times the median absolute deviation). If the upper
    percentile exceeds the lower one by more than `outlier_factor` times what the median object pixel does, the brighter
    pixels are outliers: the upper percentile is then the one of the others, and the log says so.

    Parameters
    ----------
    values : numpy.ndarray
        float32, finite, of any shape, not empty.
    normalization : Normalization
        Percentiles.
    contrast : Contrast
        Limits.
    """
    low, high = _percentiles(values, normalization.lower, normalization.upper)
    limit = _outlier_limit(values, low, contrast.outlier_factor)
    if limit is None or high <= limit:
        return Stretch(low, max(high, low + contrast.min_contrast))
    others = values[values <= limit]
    share = 100 * (1 - others.size / values.size)
    high = _interpolated_rank(others, _rank(others.size, normalization.upper))
    text = (
        "%.2g %% of the pixels are more than %g times as bright as the objects; they do not set the contrast"
    )
    logger.warning(text, share, contrast.outlier_factor)
    return Stretch(low, max(high, low + contrast.min_contrast), limit)


def _outlier_limit(values: FloatArray, low: float, factor: float) -> float | None:
    """The brightest value that is no outlier; None where there is no limit, or no object."""
    if factor == 0:
        return None
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - np.float32(middle))))
    bright = values[values > middle + _SPREADS * spread]
    if bright.size == 0:
        return None
    return low + factor * (float(np.median(bright)) - low)


def _scaled_by_percentiles(
    values: FloatArray, normalization: Normalization, contrast: Contrast
) -> FloatArray:
    low, high, top = stretch_of(values, normalization, contrast)
    span = np.float32(high - low)
    if span == 0:
        if values.min() != values.max():
            text = "percentiles %g and %g of the image are equal (%g); it is normalized to zeros"
            logger.warning(text, normalization.lower, normalization.upper, low)
        return np.zeros(values.shape, dtype=np.float32)
    result = np.array(values, dtype=np.float32, order="C")
    if top is not None:
        np.minimum(result, np.float32(top), out=result)
    result -= np.float32(low)
    result /= span
    return result


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
