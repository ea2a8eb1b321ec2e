"""Outlines of other programs as labels: what the library writes comes back, and nothing else passes for it."""

from __future__ import annotations

import contextlib
import json
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pixel_embedded_affinity.data.layouts import RAW, DataSettings, find_files, load
from pixel_embedded_affinity.data.outlines.base import OUTLINE_READERS, outline_suffixes, read_outlines
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export import write_coco, write_imagej_rois, write_qupath
from pixel_embedded_affinity.labels import relabel

roifile = pytest.importorskip("roifile", reason="the extra imagej reads and writes ROIs")

IMAGE = Path("a.tif")
LABELS = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 0], [2, 0, 0, 2]])
WRITERS: dict[str, Any] = {
    ".zip": write_imagej_rois,
    ".geojson": write_qupath,
    ".json": lambda path, labels: write_coco(path, {"a.tif": labels, "b.tif": labels * 0 + 1}),
}


@pytest.mark.parametrize("suffix", WRITERS)
@settings(deadline=None, max_examples=80)
@given(
    labels=hnp.arrays(
        np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.integers(0, 4)
    )
)
def test_what_is_written_comes_back(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, labels: np.ndarray[Any, Any]
) -> None:
    path = tmp_path_factory.mktemp("outlines") / f"a{suffix}"
    WRITERS[suffix](path, labels)
    found = read_outlines(path, IMAGE, labels.shape)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, relabel(labels))


@pytest.mark.parametrize("suffix", WRITERS)
def test_they_are_labels_for_training_evaluation_and_tuning(tmp_path: Path, suffix: str) -> None:
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    tifffile.imwrite(tmp_path / "images" / "a.tif", np.ones(LABELS.shape, np.uint8))
    WRITERS[suffix](tmp_path / "labels" / f"a{suffix}", LABELS)
    (tmp_path / "list.txt").write_text(f"images/a.tif\tlabels/a{suffix}\n")
    for source in (tmp_path, tmp_path / "list.txt"):
        (example,) = load(find_files(source, DataSettings(), "training"), RAW, 1)
        np.testing.assert_array_equal(example.labels, LABELS)


def test_one_coco_file_holds_the_labels_of_all_images(tmp_path: Path) -> None:
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    every = {"a": LABELS, "b": np.roll(LABELS, 2), "c": LABELS * 0}
    for name, labels in every.items():
        tifffile.imwrite(tmp_path / "images" / f"{name}.tif", np.ones(labels.shape, np.uint8))
    write_coco(tmp_path / "labels" / "all.json", {f"{name}.tif": labels for name, labels in every.items()})
    for example in load(find_files(tmp_path, DataSettings(), "training"), RAW, 1):
        np.testing.assert_array_equal(example.labels, relabel(every[example.name]))
    tifffile.imwrite(tmp_path / "images" / "d.tif", np.ones(LABELS.shape, np.uint8))
    with pytest.raises(InputError, match=r"0 of the 3 images are named 'd\.tif'"):
        load(find_files(tmp_path, DataSettings(), "training"), RAW, 1)


@pytest.mark.parametrize("suffix", sorted(set(WRITERS) - {".json"}))
def test_one_file_of_another_format_is_for_one_image(tmp_path: Path, suffix: str) -> None:
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(tmp_path / "images" / name, np.ones(LABELS.shape, np.uint8))
    WRITERS[suffix](tmp_path / "labels" / f"all{suffix}", LABELS)
    with pytest.raises(InputError, match="has no labels of the same name"):
        find_files(tmp_path, DataSettings(), "training")


@pytest.mark.parametrize(("factor", "told"), [(0.4, True), (1.0, False)])
def test_outlines_in_a_corner_of_the_image_are_told(
    tmp_path: Path, factor: float, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """As when they are in micrometers."""
    corners = [(row, column) for row in range(0, 40, 10) for column in range(0, 40, 10)]
    rings = [
        [[x * factor, y * factor] for x, y in ((c, r), (c + 6, r), (c + 6, r + 6), (c, r + 6), (c, r))]
        for r, c in corners
    ]
    features = [{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}} for ring in rings]
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert read_outlines(tmp_path / "a.geojson", IMAGE, (40, 40)).max() == 16
    text = "all outlines lie in the upper left 14.4 x 14.4 of the image of 40 x 40 pixels"
    assert (text in caplog.text) == told


# --- what other programs write ----------------------------------------------------------------------------


def test_regions_of_every_kind_with_an_area_are_objects(tmp_path: Path) -> None:
    kinds = roifile.ROI_TYPE
    square = np.array([[1, 1], [3, 1], [3, 3], [1, 3]])
    regions = [
        roifile.ImagejRoi(roitype=kinds.RECT, left=5, top=0, right=7, bottom=2),
        roifile.ImagejRoi(roitype=kinds.OVAL, left=4, top=4, right=8, bottom=8),
        roifile.ImagejRoi.frompoints(square),
        roifile.ImagejRoi.frompoints(square + np.array([0, 4.5])),
    ]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("readme.txt", b"not a region")
        for number, region in enumerate(regions):
            file.writestr(f"{number}.roi", region.tobytes())
    found = read_outlines(tmp_path / "a.zip", IMAGE, (8, 8))
    assert found[:2, 5:7].all()
    assert np.count_nonzero(found == found[0, 5]) == 4
    assert np.count_nonzero(found == found[2, 2]) == 4
    assert np.count_nonzero(found == found[6, 6]) == 12
    assert found.max() == 4
    (tmp_path / "b.roi").write_bytes(regions[0].tobytes())
    assert np.count_nonzero(read_outlines(tmp_path / "b.roi", IMAGE, (8, 8))) == 4


def test_a_region_without_area_is_refused(tmp_path: Path) -> None:
    line = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.LINE, name="axis")
    (tmp_path / "a.roi").write_bytes(line.tobytes())
    with pytest.raises(InputError, match=r"a\.roi': ROI axis is a line, which has no area"):
        read_outlines(tmp_path / "a.roi", IMAGE, (8, 8))


def test_regions_of_several_planes_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for plane in (1, 2):
            region = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.RECT, right=2, bottom=2, position=plane)
            file.writestr(f"{plane}.roi", region.tobytes())
    with pytest.raises(InputError, match="on 2 planes of a stack"):
        read_outlines(tmp_path / "a.zip", IMAGE, (8, 8))


SQUARE = [[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]


@pytest.mark.parametrize("form", ["collection", "list", "feature"])
def test_geojson_may_be_a_collection_a_list_or_one_feature(tmp_path: Path, form: str) -> None:
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [SQUARE]}, "properties": {}}
    forms = {
        "collection": {"type": "FeatureCollection", "features": [feature]},
        "list": [feature],
        "feature": feature,
    }
    (tmp_path / "a.geojson").write_text(json.dumps(forms[form]))
    assert read_outlines(tmp_path / "a.geojson", IMAGE, (2, 3)).tolist() == [[1, 1, 0], [1, 1, 0]]


def test_geojson_without_outlines_is_refused(tmp_path: Path) -> None:
    feature = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [0, 0]}}
    (tmp_path / "a.geojson").write_text(json.dumps([feature]))
    with pytest.raises(InputError, match="feature 1 is a Point; expected Polygon"):
        read_outlines(tmp_path / "a.geojson", IMAGE, (2, 3))


def coco(*segmentations: Any, images: Any = ({"id": 5, "file_name": "x/a.tif"},), **more: Any) -> str:
    annotations = [{"image_id": 5, "segmentation": segmentation, **more} for segmentation in segmentations]
    return json.dumps({"images": images, "annotations": annotations})


def test_compressed_runs_are_read(tmp_path: Path) -> None:
    """The counts of pycocotools for a 9 x 12 image with the pixels [2:7, 3:9] and [0, 0]."""
    (tmp_path / "a.json").write_text(coco({"size": [9, 12], "counts": COMPRESSED}))
    expected = np.zeros((9, 12), int)
    expected[2:7, 3:9] = expected[0, 0] = 1
    np.testing.assert_array_equal(read_outlines(tmp_path / "a.json", IMAGE, (9, 12)), expected)


COMPRESSED = "01l04XO000000000i0"


def test_crowds_are_no_objects_and_the_log_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.json").write_text(coco({"size": [1, 2], "counts": [0, 2]}, iscrowd=1))
    assert not read_outlines(tmp_path / "a.json", IMAGE, (1, 2)).any()
    assert "1 annotations of crowds are no objects" in caplog.text


def test_an_object_on_others_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.json").write_text(coco(*[{"size": [1, 2], "counts": [0, 2]}] * 2))
    assert read_outlines(tmp_path / "a.json", IMAGE, (1, 2)).tolist() == [[1, 1]]
    assert "lies over 2 pixels of others" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "no COCO file"),
        ('{"type": "FeatureCollection"}', "no COCO file"),
        (
            coco(images=[{"id": 5, "file_name": "b.tif"}, {"id": 6, "file_name": "c.tif"}]),
            "0 of the 2 images",
        ),
        (
            coco(images=[{"id": 5, "file_name": "a.tif"}, {"id": 6, "file_name": "a.tif"}]),
            "2 of the 2 images",
        ),
        (coco(images=[{"id": 5, "file_name": "a.tif", "height": 9, "width": 2}]), r"\(9, 2\) pixels there"),
        (coco({"size": [2, 2], "counts": [9]}), "do not fit"),
        (coco({"size": [2, 3], "counts": [9]}), "do not fit"),
        (coco({"size": [2, 3], "counts": [-1, 3]}), "do not fit"),
        (coco({"size": [2, 3], "counts": [2**62] * 9}), "do not fit"),
        (coco({"size": [2, 3], "counts": [2**70]}), "cannot be read"),
        (coco([[1, 2, 3]]), "cannot be read"),
        (coco([["a", "b"]]), "cannot be read"),
        (coco(3), "cannot be read"),
    ],
)
def test_coco_that_does_not_fit_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match=message) as refusal:
        read_outlines(tmp_path / "a.json", IMAGE, (2, 3))
    assert str(tmp_path / "a.json") in str(refusal.value)


# --- hostile ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [*WRITERS, ".roi"])
def test_no_damage_gives_another_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".roi":
        write_imagej_rois(tmp_path / "whole.zip", LABELS)
        content = zipfile.ZipFile(tmp_path / "whole.zip").read("1.roi")
    else:
        WRITERS[suffix](path, LABELS)
        content = path.read_bytes()
    chance = random.Random(0)
    for _ in range(300):
        damaged = bytearray(content[: chance.randrange(len(content))] if chance.random() < 0.3 else content)
        for _ in range(chance.randrange(1, 4)):
            if damaged:
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)
        with contextlib.suppress(InputError):
            assert read_outlines(path, IMAGE, LABELS.shape).shape == LABELS.shape


@pytest.mark.parametrize(
    "content", [b"", b"null", b"{}", b"[[]]", b"[" * 100_000, b'{"features": 3, "type": 3}', b"\xff"]
)
@pytest.mark.parametrize("suffix", [".json", ".geojson", ".zip", ".roi"])
def test_other_content_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.\w+'"):
        read_outlines(path, IMAGE, (3, 3))


def test_a_huge_region_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.roi", bytes(2**26 + 1))
    with pytest.raises(InputError, match="expected an ROI of at most"):
        read_outlines(tmp_path / "a.zip", IMAGE, (3, 3))


def test_an_ending_of_no_format_is_refused_with_the_valid_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected one of \.json, \.geojson, \.roi, \.zip"):
        read_outlines(tmp_path / "a.txt", IMAGE, (3, 3))


def test_outlines_of_a_volume_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a volume; expected labels as TIFF"):
        read_outlines(tmp_path / "a.zip", IMAGE, (3, 3, 3))


def test_a_format_of_another_package_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Everything:
        suffixes = (".all",)

        def read(self, path: Path, image: Path, shape: tuple[int, int]) -> Any:
            return np.full(shape, 7)

    monkeypatch.setattr(OUTLINE_READERS, "_registered", {})
    OUTLINE_READERS.register("everything", Everything)
    assert ".all" in outline_suffixes()
    assert read_outlines(tmp_path / "a.ALL", IMAGE, (1, 2)).tolist() == [[1, 1]]


def test_folders_tell_images_of_one_name_apart(tmp_path: Path) -> None:
    one, two = np.array([[1, 0, 2]]), np.array([[1, 1, 1]])
    write_coco(tmp_path / "t.json", {"p1/a.tif": one, "p2/a.tif": two, "b.tif": two * 0})
    for name, expected in (("p1", one), ("p2", two)):
        for image in (Path(name) / "a.tif", tmp_path / "plates" / name / "a.tif"):
            np.testing.assert_array_equal(read_outlines(tmp_path / "t.json", image, (1, 3)), expected)
    with pytest.raises(InputError, match=r"2 of the 3 images are named 'a\.tif'"):
        read_outlines(tmp_path / "t.json", tmp_path / "a.tif", (1, 3))


@pytest.mark.parametrize("suffix", WRITERS)
def test_outlines_of_a_larger_image_are_refused_or_counted(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As when an image was cropped after its objects were drawn."""
    far = np.zeros((40, 40), np.int32)
    far[30:35, 30:35], far[30:35, 10:15] = 1, 2
    path = tmp_path / f"a{suffix}"
    if suffix == ".json":
        entry = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0}
        corners = [[30, 30, 35, 30, 35, 35, 30, 35]], [[10, 30, 15, 30, 15, 35, 10, 35]]
        annotations = [{**entry, "id": number, "segmentation": one} for number, one in enumerate(corners, 1)]
        path.write_text(
            json.dumps(
                {"images": [{"id": 1, "file_name": "a.tif"}], "annotations": annotations, "categories": []}
            )
        )
    else:
        WRITERS[suffix](path, far)
    with pytest.raises(InputError, match="2 of 2 outlines lie outside of the image of 20 x 20 pixels"):
        read_outlines(path, IMAGE, (20, 20))
    assert not caplog.records
    assert read_outlines(path, IMAGE, (40, 20)).max() == 1
    assert "1 of 2 outlines lie outside of the image of 40 x 20 pixels" in caplog.text


def test_a_zip_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("notes.txt", "no region")
    with pytest.raises(InputError, match=r"holds no ROI \(.roi\), but 'notes.txt'"):
        read_outlines(path, IMAGE, (4, 4))
