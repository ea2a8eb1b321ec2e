"""Polygons hold exactly the pixels of their objects, and are valid for the programs that read them."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export import (
    Polygon,
    object_polygons,
    object_table,
    rasterize,
    write_coco,
    write_imagej_rois,
    write_qupath,
)

Array = np.ndarray[Any, Any]

RING = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 0, 7]])
"""A ring with a hole, and a single pixel that touches its corner."""


def label_images(objects: int = 4, side: int = 9) -> st.SearchStrategy[Array]:
    return hnp.arrays(
        np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=side), elements=st.integers(0, objects)
    )


def area(ring: Array) -> float:
    """Signed area by the shoelace formula; positive for clockwise corners (y, x) where y points down."""
    (y, x), (y1, x1) = ring.T, np.roll(ring, -1, axis=0).T
    return float((x * y1 - x1 * y).sum() / 2)


# --- tracing ----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=300)
@given(label_images())
def test_polygons_painted_again_are_the_labels(labels: Array) -> None:
    np.testing.assert_array_equal(rasterize(object_polygons(labels), labels.shape), labels)


@settings(deadline=None, max_examples=200)
@given(label_images(objects=2))
def test_rings_are_simple_and_bound_what_they_should(labels: Array) -> None:
    """The rules of the OGC: no ring meets itself, shells and holes turn against each other, pieces are whole."""
    from skimage.measure import label

    found = object_polygons(labels)
    assert len(found) == label(labels, connectivity=1).max()
    pixels: Counter[int] = Counter()
    for polygon in found:
        for ring in polygon.rings:
            assert len({tuple(corner) for corner in ring.tolist()}) == len(ring)
            before, after = np.diff(ring, axis=0, append=ring[:1]), ring - np.roll(ring, 1, axis=0)
            assert ((before == 0).sum(axis=1) == 1).all()
            # Each corner is a turn: no two edges in one line.
            assert ((before == 0) != (after == 0)).all()
        assert area(polygon.shell) > 0
        assert all(area(hole) < 0 for hole in polygon.holes)
        pixels[polygon.label] += sum(map(area, polygon.rings))
        # A hole may touch its shell, but shares no edge with it.
        edges = [frozenset(map(tuple, pair)) for ring in polygon.rings for pair in unit_edges(ring)]
        assert len(set(edges)) == len(edges)
    assert pixels == Counter(labels[labels > 0].tolist())


def unit_edges(ring: Array) -> list[list[list[int]]]:
    """The edges of a ring, cut into lengths of one pixel."""
    cut = []
    for start, end in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        steps = int(np.abs(end - start).sum())
        cut += [[(start + (end - start) // steps * (i + j)).tolist() for j in (0, 1)] for i in range(steps)]
    return cut


def test_a_ring_has_a_hole_and_a_pixel_at_its_corner_is_another_piece() -> None:
    ring, pixel = object_polygons(RING)
    assert (ring.label, ring.shell.tolist()) == (1, [[0, 0], [0, 3], [3, 3], [3, 0]])
    assert [set(map(tuple, hole.tolist())) for hole in ring.holes] == [{(1, 1), (1, 2), (2, 2), (2, 1)}]
    assert (pixel.label, pixel.shell.tolist()) == (7, [[3, 3], [3, 4], [4, 4], [4, 3]])


def test_pieces_of_one_object_that_touch_in_a_corner_are_polygons_of_their_own() -> None:
    first, second = object_polygons(np.array([[5, 0], [0, 5]]))
    assert first.label == second.label == 5
    assert [first.shell.min(), second.shell.min()] == [0, 1]


def test_a_hole_that_touches_the_outside_in_a_corner_is_a_hole() -> None:
    (polygon,) = object_polygons(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]]))
    assert len(polygon.holes) == 1


def test_objects_come_in_the_order_of_their_labels() -> None:
    labels = np.array([[9, 0, 2], [0, 0, 0], [2, 0, 9]], np.uint64) * 2**33
    assert [polygon.label for polygon in object_polygons(labels)] == [2**34, 2**34, 9 * 2**33, 9 * 2**33]


def test_no_object_is_no_polygon() -> None:
    assert object_polygons(np.zeros((3, 4), int)) == []


def test_volumes_are_refused() -> None:
    with pytest.raises(InputError, match="one plane of the volume at a time"):
        object_polygons(np.zeros((2, 3, 4), int))


# --- painting ---------------------------------------------------------------------------------------------

CORNERS = st.floats(-4, 14).map(lambda value: round(value * 8) / 8)


def holds(ring: list[tuple[float, float]], y: float, x: float) -> bool:
    """Whether a ring surrounds a point: a ray to the left crosses it an odd number of times. One point at a time."""
    odd = False
    for (y0, x0), (y1, x1) in zip(ring, ring[1:] + ring[:1], strict=True):
        if (y0 <= y) != (y1 <= y) and x0 + (y - y0) / (y1 - y0) * (x1 - x0) <= x:
            odd = not odd
    return odd


@settings(deadline=None, max_examples=200)
@given(st.lists(st.lists(st.tuples(CORNERS, CORNERS), min_size=1, max_size=7), min_size=1, max_size=3))
def test_a_pixel_is_painted_if_an_odd_number_of_rings_holds_its_center(
    rings: list[list[tuple[float, float]]],
) -> None:
    painted = rasterize([Polygon(3, np.array(rings[0]), tuple(map(np.array, rings[1:])))], (9, 11))
    expected = [
        [3 * (sum(holds(ring, y + 0.5, x + 0.5) for ring in rings) % 2) for x in range(11)] for y in range(9)
    ]
    np.testing.assert_array_equal(painted, expected)


def test_a_later_object_is_on_top_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    square = np.array([[0, 0], [0, 2], [2, 2], [2, 0]])
    assert rasterize([Polygon(1, square), Polygon(2, square + 1)], (3, 3)).tolist() == [
        [1, 1, 0],
        [1, 2, 2],
        [0, 2, 2],
    ]
    assert "1 object(s) lie partly under later ones" in caplog.text


@pytest.mark.parametrize(
    "polygon",
    [
        Polygon(0, np.zeros((3, 2))),
        Polygon(2**31, np.zeros((3, 2))),
        Polygon(1, np.zeros((3, 3))),
        Polygon(1, np.zeros((0, 2))),
        Polygon(1, np.full((3, 2), np.nan)),
        Polygon(1, np.full((3, 2), np.inf)),
        Polygon(1, np.array([["a", "b"]])),
        Polygon(1, np.zeros((3, 2)), (np.zeros(2),)),
    ],
)
def test_what_is_no_polygon_is_refused(polygon: Polygon) -> None:
    with pytest.raises(InputError):
        rasterize([polygon], (3, 3))


def test_corners_far_outside_do_no_harm() -> None:
    far = np.array([[-1e300, -1e300], [-1e300, 1e300], [1e300, 1e300], [1e300, -1e300]])
    assert rasterize([Polygon(1, far)], (2, 3)).all()
    assert not rasterize([Polygon(1, np.array([[5, 5], [5, 9], [9, 9]]))], (2, 3)).any()


# --- ImageJ -----------------------------------------------------------------------------------------------


def test_a_region_has_the_pixel_s_corners_and_the_label_as_its_name(tmp_path: Path) -> None:
    roifile = pytest.importorskip("roifile", reason="the extra imagej reads ROIs")
    write_imagej_rois(tmp_path / "rois.zip", RING)
    ring, pixel = roifile.roiread(tmp_path / "rois.zip")
    assert [ring.name, pixel.name] == ["1", "7"]
    assert pixel.roitype == roifile.ROI_TYPE.TRACED
    assert pixel.coordinates().tolist() == [[3, 3], [4, 3], [4, 4], [3, 4]]
    assert ring.composite
    assert (ring.left, ring.top, ring.right, ring.bottom) == (0, 0, 3, 3)
    assert [len(path) for path in ring.coordinates(multi=True)] == [5, 5]


def test_coordinates_that_no_region_holds_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("roifile", reason="the extra imagej writes ROIs")
    labels = np.zeros((1, 32768), np.uint8)
    labels[0, 32766] = 1
    write_imagej_rois(tmp_path / "rois.zip", labels)
    labels[0, 32767] = 1
    with pytest.raises(InputError, match=r"coordinate 32768; ROIs of ImageJ end at 32767"):
        write_imagej_rois(tmp_path / "other.zip", labels)
    assert [path.name for path in tmp_path.iterdir()] == ["rois.zip"]


def test_the_same_regions_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("roifile", reason="the extra imagej writes ROIs")
    write_imagej_rois(tmp_path / "a.zip", RING)
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_imagej_rois(tmp_path / "b.zip", RING)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    write_imagej_rois(tmp_path / "none.zip", RING * 0)
    assert zipfile.ZipFile(tmp_path / "none.zip").namelist() == []


# --- QuPath -----------------------------------------------------------------------------------------------


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_detection_has_an_outline_and_measurements(tmp_path: Path) -> None:
    write_qupath(tmp_path / "objects.geojson", RING)
    ring, pixel = read_json(tmp_path / "objects.geojson")["features"]
    assert pixel["geometry"] == {"type": "Polygon", "coordinates": [[[3, 3], [4, 3], [4, 4], [3, 4], [3, 3]]]}
    assert len(ring["geometry"]["coordinates"]) == 2
    assert {feature["type"] for feature in (ring, pixel)} == {"Feature"}
    assert ring["properties"]["objectType"] == "detection"
    measured = ring["properties"]["measurements"]
    assert (measured["label"], measured["area"], measured["centroid-y"]) == (1, 8, 1.0)


def test_an_object_of_several_pieces_is_one_detection(tmp_path: Path) -> None:
    write_qupath(tmp_path / "objects.geojson", np.eye(3, dtype=int))
    (feature,) = read_json(tmp_path / "objects.geojson")["features"]
    assert feature["geometry"]["type"] == "MultiPolygon"
    assert len(feature["geometry"]["coordinates"]) == 3


def test_measurements_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    table = {"label": [1, 7], "size": [np.nan, 3], "other": [np.inf, 4]}
    write_qupath(tmp_path / "objects.geojson", RING, table)
    rows = [
        feature["properties"]["measurements"]
        for feature in read_json(tmp_path / "objects.geojson")["features"]
    ]
    assert rows == [{"label": 1}, {"label": 7, "size": 3, "other": 4}]


@pytest.mark.parametrize("table", [{"label": [1]}, {"area": [8, 1]}, {}])
def test_a_table_of_other_objects_is_refused(tmp_path: Path, table: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="has no row for"):
        write_qupath(tmp_path / "objects.geojson", RING, table)


# --- COCO -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("segmentation", ["polygons", "rle"])
@settings(deadline=None, max_examples=80)
@given(labels=label_images())
def test_annotations_say_what_is_in_the_image(
    tmp_path_factory: pytest.TempPathFactory, segmentation: str, labels: Array
) -> None:
    path = tmp_path_factory.mktemp("coco") / "a.json"
    write_coco(
        path, {"a.tif": labels, "b.tif": np.ones((1, 2), int)}, segmentation=segmentation, category="leaf"
    )
    content = read_json(path)
    assert content["categories"] == [{"id": 1, "name": "leaf"}]
    assert [image["file_name"] for image in content["images"]] == ["a.tif", "b.tif"]
    assert [entry["id"] for entry in content["annotations"]] == list(
        range(1, len(content["annotations"]) + 1)
    )
    annotations = [entry for entry in content["annotations"] if entry["image_id"] == 1]
    table = object_table(labels)
    assert [entry["area"] for entry in annotations] == table["area"].tolist()
    for row, entry in enumerate(annotations):
        left, top, width, height = entry["bbox"]
        assert (left, top) == (table["bbox-x-start"][row], table["bbox-y-start"][row])
        assert (left + width, top + height) == (table["bbox-x-stop"][row], table["bbox-y-stop"][row])
        np.testing.assert_array_equal(
            mask_of(entry["segmentation"], labels.shape), labels == table["label"][row]
        )


def mask_of(segmentation: Any, shape: tuple[int, ...]) -> Array:
    """Paint an annotation pixel by pixel, as the format is described."""
    if isinstance(segmentation, dict):
        values = [value % 2 for value, count in enumerate(segmentation["counts"]) for _ in range(count)]
        return np.array(values, bool).reshape(shape[::-1]).T
    rings = [[(y, x) for x, y in zip(flat[::2], flat[1::2], strict=True)] for flat in segmentation]
    return np.array(
        [
            [any(holds(ring, y + 0.5, x + 0.5) for ring in rings) for x in range(shape[1])]
            for y in range(shape[0])
        ]
    )


def test_only_objects_with_holes_need_runs(tmp_path: Path) -> None:
    write_coco(tmp_path / "a.json", {"a.tif": RING})
    ring, pixel = (entry["segmentation"] for entry in read_json(tmp_path / "a.json")["annotations"])
    assert ring == {"counts": [0, 3, 1, 1, 1, 1, 1, 3, 5], "size": [4, 4]}
    assert pixel == [[3, 3, 4, 3, 4, 4, 3, 4]]


def test_a_form_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="segmentation='mask'; expected one of polygons, rle"):
        write_coco(tmp_path / "a.json", {"a.tif": RING}, segmentation="mask")
    with pytest.raises(InputError, match="expected a dictionary of file names and their labels"):
        write_coco(tmp_path / "a.json", RING)  # type: ignore[arg-type]


def test_texts_of_a_table_are_no_measurements(tmp_path: Path) -> None:
    labels = np.array([[1, 0, 2]])
    table = object_table(labels)
    write_qupath(tmp_path / "a.geojson", labels, {**table, "well": ["A1", "A2"]})
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert [set(one["properties"]["measurements"]) for one in features] == [set(table)] * 2
    bad = [{**table, "more": [1.0]}, {**table, "more": 1.0}, {**table, "label": [1.0, np.nan]}, [1, 2]]
    for one in bad:
        with pytest.raises(InputError, match="table"):
            write_qupath(tmp_path / "b.geojson", labels, one)
    assert not (tmp_path / "b.geojson").exists()


def test_names_of_images_may_be_paths_and_nothing_else(tmp_path: Path) -> None:
    labels = np.array([[1, 0, 2]])
    write_coco(tmp_path / "a.json", {Path("plate") / "a.tif": labels})
    assert json.loads((tmp_path / "a.json").read_text())["images"][0]["file_name"] == "plate/a.tif"
    for images, category in (({1: labels}, "cell"), ({"a.tif": labels}, None)):
        with pytest.raises(InputError, match="expected the name"):
            write_coco(tmp_path / "b.json", images, category=category)
