"""The labels of a volume as a precomputed segmentation for Neuroglancer."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pixel_embedded_affinity.errors import InputError, MissingDependencyError
from pixel_embedded_affinity.export import write_neuroglancer

tensorstore = pytest.importorskip("tensorstore", reason="needs the package tensorstore")


def read(folder: Path) -> np.ndarray:
    """The labels (Z, Y, X) that a reader finds."""
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{folder}/"},
    }
    return np.asarray(tensorstore.open(spec).result()[..., 0].read().result()).T


@settings(max_examples=25, deadline=None)
@given(
    labels=hnp.arrays(
        np.int32,
        hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=70),
        elements=st.integers(0, 2**31 - 1),
        fill=st.just(0),
    )
)
def test_labels_come_back(labels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("precomputed") / "labels"
    write_neuroglancer(folder, labels)
    assert np.array_equal(read(folder), labels)


def test_the_size_of_a_voxel_is_in_nanometers_and_x_is_first(tmp_path: Path) -> None:
    write_neuroglancer(tmp_path / "labels", np.ones((2, 3, 4), int), pixel_size=(0.03, 0.006, 0.005))
    info = json.loads((tmp_path / "labels" / "info").read_text())
    assert info["type"] == "segmentation"
    assert info["scales"][0]["resolution"] == pytest.approx([5, 6, 30])
    assert info["scales"][0]["size"] == [4, 3, 2]


def test_a_size_that_is_not_known_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_neuroglancer(tmp_path / "labels", np.ones((2, 3, 4), int))
    assert "the size of a voxel is not known" in caplog.text
    assert "give pixel_size (--pixel-size)" in caplog.text


def test_a_table_becomes_properties(tmp_path: Path) -> None:
    table = {"label": np.array([1, 7]), "area": np.array([5, 6]), "confidence": np.array([0.5, np.nan])}
    write_neuroglancer(tmp_path / "labels", np.full((1, 2, 2), 7), table=table)
    info = json.loads((tmp_path / "labels" / "info").read_text())
    inline = json.loads((tmp_path / "labels" / info["segment_properties"] / "info").read_text())["inline"]
    assert inline["ids"] == ["1", "7"]
    assert inline["properties"] == [
        {"id": "area", "type": "number", "data_type": "float32", "values": [5.0, 6.0]}
    ]


@pytest.mark.parametrize("largest", [2**32 - 1, 2**32 + 5, 2**63 - 1])
def test_numbers_of_64_bits_come_back(tmp_path: Path, largest: int) -> None:
    labels = np.array([[[0, 5], [largest, largest - 1]]], np.uint64)
    write_neuroglancer(tmp_path / "labels", labels, pixel_size=(0.03, 0.01, 0.01))
    np.testing.assert_array_equal(read(tmp_path / "labels"), labels)
    info = json.loads((tmp_path / "labels" / "info").read_text())
    assert info["data_type"] == ("uint32" if largest < 2**32 else "uint64")


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (np.zeros((4, 4), int), {}, r"labels of shape \(4, 4\); expected those of a volume"),
        (np.zeros((2, 2, 2)), {}, "expected integers"),
        (np.zeros((2, 2, 2), int), {"pixel_size": (1, 2)}, "pixel_size must be three positive numbers"),
        (np.zeros((2, 2, 2), int), {"pixel_size": (1, 2, 0)}, "pixel_size must be three positive numbers"),
        (np.zeros((2, 2, 2), int), {"table": {"area": [1]}}, "expected a column 'label'"),
    ],
)
def test_what_is_no_volume_is_refused(tmp_path: Path, labels, options, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_neuroglancer(tmp_path / "labels", labels, **options)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a new name"):
        write_neuroglancer(tmp_path, np.ones((2, 2, 2), int))
    assert not list(tmp_path.iterdir())


def test_without_the_package_the_message_says_what_to_install(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorstore", None)
    with pytest.raises(MissingDependencyError, match=r"pixel_embedded_affinity\[neuroglancer\]"):
        write_neuroglancer(tmp_path / "labels", np.ones((2, 2, 2), int))
