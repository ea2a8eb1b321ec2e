"""The second view: it changes what its settings say, and is mapped back exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.geometry.views import Geometry
from pixel_embedded_affinity.training.data.second_view import ViewSettings, map_back, second_view

KEPT, SWAPPED = (0, 1), (1, 0)
OFF = {"flips": False, "transposition": False, "intensity": False, "cutout": False}


def image_and_labels(size=12, seed=0):
    source = torch.Generator().manual_seed(seed)
    images = torch.rand((3, 2, size, size), generator=source)
    labels = torch.zeros((3, size, size), dtype=torch.int32)
    labels[:, 3:8, 4:10] = 1
    return images, labels


def views(images, labels, switches, draws=20):
    generator = np.random.default_rng(0)
    return [second_view(images, labels, ViewSettings(**switches), generator) for _ in range(draws)]


@given(flip_y=st.booleans(), flip_x=st.booleans(), transpose=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_map_back_undoes_the_geometry_exactly(flip_y, flip_x, transpose, seed):
    geometry = Geometry((flip_y, flip_x), (1, 0) if transpose else (0, 1))
    image = torch.rand((2, 5, 7), generator=torch.Generator().manual_seed(seed))
    assert torch.equal(geometry.invert(geometry.apply(image)), image)
    assert torch.equal(map_back(geometry.apply(image)[None], [geometry])[0], image)


def test_the_geometry_flips_first_and_transposes_then():
    image = torch.arange(6).reshape(2, 3)
    assert Geometry((True, False), KEPT).apply(image).tolist() == [[3, 4, 5], [0, 1, 2]]
    assert Geometry((False, True), KEPT).apply(image).tolist() == [[2, 1, 0], [5, 4, 3]]
    assert Geometry((False, False), SWAPPED).apply(image).tolist() == [[0, 3], [1, 4], [2, 5]]
    assert Geometry((True, False), SWAPPED).apply(image).tolist() == [[3, 0], [4, 1], [5, 2]]


def test_without_any_change_the_view_is_the_image():
    images, labels = image_and_labels()
    for view, geometries in views(images, labels, OFF, draws=3):
        assert torch.equal(view, images)
        assert geometries == [Geometry((False, False), KEPT)] * 3


def test_flips_and_transposition_alone_are_undone_by_mapping_back():
    images, labels = image_and_labels()
    seen = set()
    for view, geometries in views(images, labels, {**OFF, "flips": True, "transposition": True}):
        assert torch.equal(map_back(view, geometries), images)
        seen |= set(geometries)
    assert len(seen) == 8


@pytest.mark.parametrize(
    ("switch", "allowed"),
    [
        ("flips", {Geometry((y, x), KEPT) for y in (False, True) for x in (False, True)}),
        ("transposition", {Geometry((False, False), KEPT), Geometry((False, False), SWAPPED)}),
    ],
)
def test_each_geometric_switch_switches_its_part_only(switch, allowed):
    images, labels = image_and_labels()
    seen = {g for _, geometries in views(images, labels, {**OFF, switch: True}) for g in geometries}
    assert seen == allowed


def test_intensity_changes_contrast_and_brightness_within_bounds():
    images, labels = image_and_labels()
    for view, _ in views(images, labels, {**OFF, "intensity": True, "contrast": 0.1, "brightness": 0.2}):
        for before, after in zip(images, view, strict=True):
            slope, shift = np.polyfit(before.flatten().numpy(), after.flatten().numpy(), 1)
            assert 0.9 <= slope <= 1.1
            assert -0.2 <= shift <= 0.2
            torch.testing.assert_close(after, before * slope + shift, rtol=1e-4, atol=1e-4)
    assert not torch.equal(view, images)


def test_cutout_fills_only_inside_the_bounding_box_with_the_mean_foreground_color():
    images, labels = image_and_labels()
    inside = torch.zeros((12, 12), dtype=torch.bool)
    inside[3:8, 4:10] = True
    changed_anywhere = torch.zeros((12, 12), dtype=torch.bool)
    for view, _ in views(images, labels, {**OFF, "cutout": True, "hole_size": 9}):
        for before, after in zip(images, view, strict=True):
            changed = (before != after).any(0)
            changed_anywhere |= changed
            color = before[:, inside].mean(1)
            torch.testing.assert_close(after[:, changed], color[:, None].expand(-1, int(changed.sum())))
    assert torch.equal(changed_anywhere, inside)


def test_an_image_without_foreground_is_not_cut():
    images, labels = image_and_labels()
    for view, _ in views(images, torch.zeros_like(labels), {**OFF, "cutout": True}, draws=3):
        assert torch.equal(view, images)


def test_the_images_stay_as_they_are_and_the_seed_decides():
    images, labels = image_and_labels()
    before = images.clone()
    first, second = (second_view(images, labels, ViewSettings(), np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(images, before)
    assert torch.equal(first[0], second[0])
    assert first[1] == second[1]
    assert not torch.equal(first[0], second_view(images, labels, ViewSettings(), np.random.default_rng(6))[0])


@pytest.mark.parametrize(
    "settings", [{"holes": -1}, {"hole_size": 0}, {"contrast": -0.1}, {"brightness": np.nan}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(InputError, match=f"view.{next(iter(settings))}"):
        ViewSettings(**settings)
