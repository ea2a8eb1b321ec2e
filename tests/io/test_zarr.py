"""OME-Zarr of both versions, and plain arrays: full resolution, with the axes and sizes of the metadata."""

from __future__ import annotations

import importlib
import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export import write_labels
from pixel_embedded_affinity.image import as_image
from pixel_embedded_affinity.io.label_images import new_label_image
from pixel_embedded_affinity.io.marks import is_marked
from pixel_embedded_affinity.io.read import list_series, read_image
from pixel_embedded_affinity.io.selection import Selection
from pixel_embedded_affinity.large.lazy import open_image

zarr = pytest.importorskip("zarr", reason="the extra zarr is not installed")
Array = np.ndarray[Any, Any]
KINDS = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


def gray(*shape: int) -> Array:
    return np.random.default_rng(1).integers(0, 4000, shape).astype(np.uint16)


def write_image(
    group: Any,
    image: Array,
    axes: str,
    form: int,
    unit: str | None = "micrometer",
    names: tuple[str, ...] = (),
) -> None:
    """Write an NGFF image of two resolutions, 0.4 in zarr 2 and 0.5 in zarr 3."""
    declared = [
        {"name": name, "type": KINDS[name], **({"unit": unit} if unit and KINDS[name] == "space" else {})}
        for name in axes
    ]
    datasets = []
    for level in range(2):
        step = 2**level
        values = image[..., ::step, ::step]
        scale = [0.3 * step if name in "yx" else 2.0 if name == "z" else 1.0 for name in axes]
        steps = [{"type": "scale", "scale": scale}]
        datasets.append({"path": str(level), "coordinateTransformations": steps})
        chunks, dtype = (8,) * values.ndim, values.dtype
        named = {"dimension_names": list(axes)} if form == 3 else {}
        array = group.create_array(str(level), shape=values.shape, chunks=chunks, dtype=dtype, **named)
        array[...] = values
    version = {"version": "0.4"} if form == 2 else {}
    multiscales = [{**version, "axes": declared, "datasets": datasets}]
    omero = {"omero": {"channels": [{"label": name} for name in names]}} if names else {}
    content = {"multiscales": multiscales, **omero}
    group.attrs.update(content if form == 2 else {"ome": {"version": "0.5", **content}})


@pytest.fixture(params=[2, 3], ids=["0.4", "0.5"])
def form(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


def new(path: Path, form: int) -> Any:
    return zarr.open_group(str(path), mode="w", zarr_format=form)


@pytest.mark.parametrize("name", ["a.ome.zarr", "folder"])
@pytest.mark.parametrize("within", ["", "0"])
def test_the_finest_resolution_is_read_with_its_axes_and_sizes(
    tmp_path: Path, form: int, name: str, within: str
) -> None:
    image = gray(20, 30)
    write_image(new(tmp_path / name, form), image[None, None, None], "tczyx", form)
    path = tmp_path / name / within
    found = as_image(path, channels=1)
    np.testing.assert_array_equal(found.values[0], image)
    assert found.pixel_size == pytest.approx((0.3, 0.3))
    np.testing.assert_array_equal(read_image(path)[0, 0, 0], image)
    lazy = open_image(path, channels=1)
    np.testing.assert_array_equal(lazy.read((slice(3, 9), slice(2, 7)))[0], image[3:9, 2:7])
    assert pickle.loads(pickle.dumps(lazy)).read((slice(3, 4), slice(2, 3))).shape == (1, 1, 1)


def test_a_coarser_resolution_is_read_where_its_path_is_given(tmp_path: Path, form: int) -> None:
    image = gray(20, 30)
    write_image(new(tmp_path / "a.zarr", form), image, "yx", form)
    found = as_image(tmp_path / "a.zarr" / "1", channels=1)
    np.testing.assert_array_equal(found.values[0], image[::2, ::2])
    assert found.pixel_size == pytest.approx((0.6, 0.6))


def test_channels_have_the_names_of_omero(tmp_path: Path, form: int) -> None:
    image = gray(2, 20, 30)
    write_image(new(tmp_path / "a.zarr", form), image, "cyx", form, names=("DAPI", "GFP"))
    for chosen in (Selection(channel="GFP"), Selection(channel=1)):
        found = as_image(tmp_path / "a.zarr", channels=1, selection=chosen)
        np.testing.assert_array_equal(found.values[0], image[1])
        lazy = open_image(tmp_path / "a.zarr", channels=1, selection=chosen)
        np.testing.assert_array_equal(lazy.read((slice(0, 20), slice(0, 30)))[0], image[1])
    with pytest.raises(InputError, match=r"choose one of the channels 0 \('DAPI'\), 1 \('GFP'\)"):
        as_image(tmp_path / "a.zarr", channels=1)
    with pytest.raises(
        InputError,
        match=r"no channel\(s\) of the name 'RFP', for channel='RFP'; expected one of 0 \('DAPI'\), 1 \('GFP'\)",
    ):
        as_image(tmp_path / "a.zarr", channels=1, selection=Selection(channel="RFP"))


@pytest.mark.parametrize(
    ("unit", "size"), [("nanometer", 3e-4), ("millimeter", 300.0), (None, None), ("furlong", None)]
)
def test_a_size_needs_a_unit(tmp_path: Path, form: int, unit: str | None, size: float | None) -> None:
    write_image(new(tmp_path / "a.zarr", form), gray(20, 30), "yx", form, unit)
    found = as_image(tmp_path / "a.zarr", channels=1).pixel_size
    assert found == (None if size is None else pytest.approx((size, size)))


def test_a_volume_has_three_sizes(tmp_path: Path, form: int) -> None:
    write_image(new(tmp_path / "a.zarr", form), gray(1, 5, 20, 30), "czyx", form)
    found = as_image(tmp_path / "a.zarr", channels=1, ndim=3)
    assert found.values.shape == (1, 5, 20, 30)
    assert found.pixel_size == pytest.approx((2.0, 0.3, 0.3))
    with pytest.raises(
        InputError,
        match=r"axes CZYX of shape \(1, 5, 20, 30\); .*z=0 .*axes='CZYX' .*each section on its own",
    ):
        as_image(tmp_path / "a.zarr", channels=1)


def test_images_of_a_collection_are_series(tmp_path: Path, form: int) -> None:
    root = new(tmp_path / "a.zarr", form)
    images = [gray(20, 30), gray(10, 12)]
    for number, image in enumerate(images):
        write_image(root.create_group(str(number)), image, "yx", form)
    assert [one.source.values.shape for one in list_series(tmp_path / "a.zarr")] == [(20, 30), (10, 12)]
    with pytest.raises(InputError, match=r"2 separate images: 0 \(axes YX, shape \(20, 30\)\), 1 .*series=0"):
        read_image(tmp_path / "a.zarr")
    for number, image in enumerate(images):
        np.testing.assert_array_equal(read_image(tmp_path / "a.zarr", series=number), image)
    with pytest.raises(InputError, match="has no series 2"):
        read_image(tmp_path / "a.zarr", series=2)


def test_an_array_of_its_own_declares_no_axes(tmp_path: Path) -> None:
    image = gray(20, 30, 3)
    zarr.create_array(str(tmp_path / "a.zarr"), data=image)
    np.testing.assert_array_equal(as_image(tmp_path / "a.zarr", channels=3).values, np.moveaxis(image, -1, 0))
    flat = as_image(tmp_path / "a.zarr", axes="YXT", channels=1, selection=Selection(time=2))
    np.testing.assert_array_equal(flat.values[0], image[..., 2])


def test_an_open_array_takes_axes_of_time(tmp_path: Path) -> None:
    array = zarr.create_array(str(tmp_path / "a.zarr"), data=gray(1, 1, 1, 20, 30))
    np.testing.assert_array_equal(as_image(array, axes="TCZYX", channels=1).values[0], gray(20, 30))


@pytest.mark.parametrize(
    "content",
    [
        {"multiscales": [{}]},
        {"multiscales": [{"axes": ["y"], "datasets": [{"path": "0"}]}]},
        {"multiscales": [{"axes": ["y", "x"], "datasets": [{"path": "gone"}]}]},
        {"multiscales": [{"axes": [{}, {}], "datasets": [{"path": "0"}]}]},
        {"multiscales": 5},
        {"multiscales": ["text"]},
    ],
)
def test_metadata_that_lack_something_are_an_error_of_the_library(
    tmp_path: Path, form: int, content: dict[str, Any]
) -> None:
    group = new(tmp_path / "a.zarr", form)
    group.create_array("0", data=gray(20, 30))
    group.attrs.update(content if form == 2 else {"ome": content})
    with pytest.raises(InputError, match=r"a\.zarr"):
        read_image(tmp_path / "a.zarr")


def test_another_group_is_refused_with_a_way_out(tmp_path: Path, form: int) -> None:
    new(tmp_path / "a.zarr", form).create_array("raw", data=gray(20, 30))
    with pytest.raises(InputError, match=r"holds no OME-Zarr image; .* pass the path of an array in it"):
        read_image(tmp_path / "a.zarr")
    np.testing.assert_array_equal(read_image(tmp_path / "a.zarr" / "raw"), gray(20, 30))


# --- labels within an image -------------------------------------------------------------------------------


def test_labels_are_written_into_the_image_where_viewers_look_for_them(tmp_path: Path, form: int) -> None:
    path = tmp_path / "a.ome.zarr"
    write_image(new(path, form), gray(1, 2, 1, 20, 30), "tczyx", form)
    labels = np.arange(600).reshape(20, 30) % 7
    write_labels(path / "labels" / "nuclei", labels)
    write_labels(path / "labels" / "cells", labels)
    group = zarr.open_group(str(path), mode="r")
    attributes = dict(group["labels"].attrs)
    assert attributes.get("ome", attributes)["labels"] == ["nuclei", "cells"]
    described = dict(group["labels/nuclei"].attrs)
    described = described.get("ome", described)
    assert described["image-label"]["source"] == {"image": "../../"}
    found = as_image(path / "labels" / "nuclei", channels=1)
    np.testing.assert_array_equal(found.values[0], labels)
    assert found.pixel_size == pytest.approx((0.3, 0.3))
    assert group["labels/nuclei/0"].shape == (1, 1, 1, 20, 30)
    assert not [entry for entry in (path / "labels").iterdir() if entry.name.endswith(".part")]
    assert is_marked(path / "labels" / "nuclei")
    assert not is_marked(path)
    np.testing.assert_array_equal(
        as_image(path, channels=1, selection=Selection(channel=0)).values.shape, (1, 20, 30)
    )


def test_a_large_image_gets_its_labels_within(tmp_path: Path, form: int, segmenter: Segmenter) -> None:
    path = tmp_path / "a.ome.zarr"
    image = gray(48, 60)
    write_image(new(path, form), image[None, None], "tcyx", form)
    out = path / "labels" / "cells"
    count = segmenter.segment_large(path, out, block=32, overlap=16)
    found = read_image(out)[0, 0]
    assert found.max() == count
    entries = [entry.name for entry in out.parent.iterdir()]
    assert [name for name in entries if not name.startswith((".z", "zarr."))] == ["cells"]
    with pytest.raises(InputError, match="exists already"):
        segmenter.segment_large(path, out, block=32, overlap=16)


def test_labels_that_do_not_fit_the_image_are_refused(tmp_path: Path, form: int) -> None:
    path = tmp_path / "a.ome.zarr"
    write_image(new(path, form), gray(2, 20, 30), "tyx", form)
    for labels in (np.zeros((20, 30), int), np.zeros((2, 20, 31), int)):
        with pytest.raises(InputError, match="expected its size along each axis but C"):
            write_labels(path / "labels" / "a", labels, axes="TYX"[-labels.ndim :])
    write_labels(path / "labels" / "a", np.ones((2, 20, 30), int), axes="TYX")
    np.testing.assert_array_equal(read_image(path / "labels" / "a"), np.ones((2, 20, 30)))
    assert not (path / "labels" / "b").exists()


@pytest.mark.parametrize(
    ("axes", "shape", "kept"),
    [
        ("yx", (20, 31), "YX"),
        ("cyx", (2, 20, 31), "YX"),
        ("tyx", (3, 20, 31), "TYX"),
        ("zyx", (4, 20, 31), "ZYX"),
        ("tczyx", (2, 2, 3, 20, 31), "TZYX"),
    ],
)
def test_a_validator_finds_nothing_to_object_to(
    tmp_path: Path, form: int, axes: str, shape: tuple[int, ...], kept: str
) -> None:
    path = tmp_path / "a.ome.zarr"
    write_image(new(path, form), gray(*shape), axes, form)
    lengths = [shape[axes.index(letter.lower())] for letter in kept]
    write_labels(path / "labels" / "nuclei", np.ones(lengths, int), axes=kept)
    validate(path, form)


@pytest.mark.parametrize("axes", ["YX", "XY", "TYX", "ZYX"])
def test_labels_without_an_image_get_a_group_that_a_validator_takes(tmp_path: Path, axes: str) -> None:
    path = tmp_path / "a.ome.zarr"
    lengths = {"T": 3, "Z": 4, "Y": 20, "X": 31}
    sizes = {"Z": 2.0, "Y": 0.25, "X": 0.5}
    labels = np.arange(math.prod(lengths[letter] for letter in axes)).reshape([lengths[a] for a in axes]) % 7
    given = [sizes[letter] for letter in axes if letter != "T"]
    write_labels(path / "labels" / "nuclei", labels, axes=axes, pixel_size=given)
    write_labels(path / "labels" / "cells", labels, axes=axes)
    order = "".join(letter for letter in "TZYX" if letter in axes)
    stored = labels.transpose([axes.index(letter) for letter in order])
    np.testing.assert_array_equal(read_image(path / "labels" / "nuclei"), stored)
    found = list_series(path / "labels" / "nuclei")[0].source
    assert (found.axes, found.pixel_size) == (order, {a: sizes[a] for a in order if a in sizes})
    assert list_series(path / "labels" / "cells")[0].source.pixel_size is None
    assert is_marked(path)
    validate(path, 3, within_image=False)


def validate(path: Path, form: int, *, within_image: bool = True) -> None:
    """Let a library of its own judge an image and its labels, or labels alone."""
    models = pytest.importorskip(
        "ome_zarr_models", reason="ome-zarr-models, of the extra dev, needs a newer zarr than the oldest"
    )
    version = importlib.import_module(f"{models.__name__}.{'v04' if form == 2 else 'v05'}")
    group = zarr.open_group(str(path), mode="r", zarr_format=form)
    if within_image:
        version.Image.from_zarr(group)
    assert version.Labels.from_zarr(group["labels"]).attributes is not None
    for name in group["labels"].group_keys():
        assert version.ImageLabel.from_zarr(group[f"labels/{name}"]).attributes is not None


def test_labels_have_the_resolutions_of_the_image(tmp_path: Path, form: int) -> None:
    path = tmp_path / "a.ome.zarr"
    write_image(new(path, form), gray(2, 2100, 33), "cyx", form)
    labels = np.random.default_rng(0).integers(0, 90, (2100, 33))
    write_labels(path / "labels" / "nuclei", labels)
    group = zarr.open_group(str(path / "labels" / "nuclei"), mode="r")
    np.testing.assert_array_equal(group["0"][0], labels)
    assert group["1"].shape == (1, 1050, 17)
    np.testing.assert_array_equal(
        group["1"][0], labels[np.ix_(np.arange(1050) * 2, np.arange(17) * 33 // 17)]
    )
    assert as_image(path / "labels" / "nuclei" / "1", channels=1).pixel_size == pytest.approx((0.6, 0.6))


def test_labels_of_another_order_are_turned_as_the_image_is(tmp_path: Path, form: int) -> None:
    path = tmp_path / "a.ome.zarr"
    write_image(new(path, form), gray(20, 20), "yx", form)
    labels = np.arange(400).reshape(20, 20)
    write_labels(path / "labels" / "nuclei", labels, axes="XY")
    np.testing.assert_array_equal(read_image(path / "labels" / "nuclei"), labels.T)


def test_a_large_image_gets_labels_in_a_new_group(tmp_path: Path, segmenter: Segmenter) -> None:
    out = tmp_path / "new.ome.zarr" / "labels" / "cells"
    count = segmenter.segment_large(gray(48, 60), out, pixel_size=(0.25, 0.5), block=32, overlap=16)
    assert read_image(out).max() == count
    assert list_series(out)[0].source.pixel_size == {"Y": 0.25, "X": 0.5}
    validate(tmp_path / "new.ome.zarr", 3, within_image=False)


def test_a_new_group_needs_a_folder_and_no_other_content(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; expected an existing folder"):
        write_labels(tmp_path / "gone" / "a.zarr" / "labels" / "b", np.ones((2, 3), int))
    new(tmp_path / "a.zarr", 3).create_array("raw", data=gray(20, 30))
    with pytest.raises(InputError, match="lies in no OME-Zarr image"):
        write_labels(tmp_path / "a.zarr" / "labels" / "b", np.ones((20, 30), int))


def test_labels_that_are_written_at_the_same_time_are_all_listed(tmp_path: Path) -> None:
    labels = np.ones((8, 8), np.int32)
    with new_label_image(tmp_path / "a.ome.zarr" / "labels" / "slow", "YX", (8, 8)) as out:
        write_labels(tmp_path / "a.ome.zarr" / "labels" / "fast", labels)
        out[...] = labels
    group = zarr.open_group(str(tmp_path / "a.ome.zarr" / "labels"), mode="r")
    assert group.attrs["ome"]["labels"] == ["fast", "slow"]
    assert sorted(path.name for path in (tmp_path / "a.ome.zarr" / "labels").iterdir()) == [
        "fast",
        "slow",
        "zarr.json",
    ]


def test_labels_of_several_processes_are_all_listed(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from pixel_embedded_affinity.export import write_labels\n"
        "for k in range(6): write_labels(f'{sys.argv[1]}/a.ome.zarr/labels/{sys.argv[2]}{k}', np.ones((4, 4), int))"
    )
    write_labels(tmp_path / "a.ome.zarr" / "labels" / "first", np.ones((4, 4), np.int32))
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in "xy"]
    assert [process.wait(300) for process in running] == [0, 0]
    listed = zarr.open_group(str(tmp_path / "a.ome.zarr" / "labels"), mode="r").attrs["ome"]["labels"]
    assert sorted(listed) == sorted(["first", *(f"{name}{k}" for name in "xy" for k in range(6))])


def test_labels_that_cannot_be_written_leave_no_groups(tmp_path: Path) -> None:
    image = tmp_path / "a.ome.zarr"

    def fail(name: str) -> None:
        with pytest.raises(OSError, match="full"), new_label_image(image / "labels" / name, "YX", (8, 8)):
            raise OSError("the disk is full")

    fail("first")
    assert not list(tmp_path.iterdir())
    write_labels(image / "labels" / "first", np.ones((8, 8), np.int32))
    fail("second")
    assert sorted(path.name for path in (image / "labels").iterdir()) == ["first", "zarr.json"]
