"""What identifies a clusterer to a run that goes on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.clustering import MutexWatershed
from pixel_embedded_affinity.image import as_image
from pixel_embedded_affinity.large.segment import clusterer_identity


class Threshold:
    """A clusterer that is no dataclass."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, affinities: Any, *, foreground: Any = None) -> Any:
        return foreground


def enclosing(value: Any) -> Callable[..., Any]:
    def cluster(affinities: Any, *, foreground: Any = None) -> Any:
        return value

    return cluster


MAKERS = [Threshold, enclosing, lambda value: partial(enclosing(0), value)]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.5, 0.6),
        (None, 0),
        ("a", "b"),
        ([1, 2], [2, 1]),
        ({"a": 1}, {"a": 2}),
        (np.zeros(3), np.ones(3)),
        (1, True),
    ],
)
def test_clusterers_of_another_state_are_others(make: Any, one: Any, other: Any) -> None:
    assert clusterer_identity(make(one)) == clusterer_identity(make(one))
    assert clusterer_identity(make(one)) != clusterer_identity(make(other))


def test_settings_of_a_clusterer_belong_to_it() -> None:
    one, same, other = MutexWatershed(repulsion=0.5), MutexWatershed(repulsion=0.5), MutexWatershed()
    assert clusterer_identity(one) == clusterer_identity(same) != clusterer_identity(other)


def test_functions_of_other_code_are_others() -> None:
    def cluster(affinities: Any, *, foreground: Any = None) -> Any:
        return foreground

    def other(affinities: Any, *, foreground: Any = None) -> Any:
        return None

    other.__qualname__ = cluster.__qualname__
    assert clusterer_identity(cluster) != clusterer_identity(other)


def test_a_state_that_is_not_known_is_like_no_other() -> None:
    clusterer = Threshold(object())
    assert clusterer_identity(clusterer) != clusterer_identity(clusterer)


def test_the_size_of_a_pixel_goes_into_a_tiff(segmenter: Segmenter, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(100, 4000, (40, 50)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=True, resolution=(2, 4), metadata={"unit": "um"})
    segmenter.segment_large(tmp_path / "a.tif", tmp_path / "out.tif")
    assert as_image(tmp_path / "out.tif", channels=1).pixel_size == pytest.approx((0.25, 0.5))
