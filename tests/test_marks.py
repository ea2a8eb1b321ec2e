"""The mark by which the library knows its own files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.export import write_labels, write_overlay
from pixel_embedded_affinity.io.marks import is_marked

LABELS = np.array([[1, 1, 0], [0, 2, 2]])


def test_what_the_library_writes_is_marked(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.tif", LABELS)
    write_labels(tmp_path / "b.tif", np.stack([LABELS] * 3))
    write_overlay(tmp_path / "c.png", LABELS, LABELS)
    assert all(map(is_marked, tmp_path.iterdir()))


@pytest.mark.parametrize("name", ["out.tif", "out.zarr"])
def test_labels_of_large_images_are_marked(tmp_path: Path, segmenter: Segmenter, name: str) -> None:
    pytest.importorskip("zarr", reason="the extra zarr writes zarr arrays")
    image = np.random.default_rng(0).random((40, 40)).astype(np.float32)
    segmenter.segment_large(image, tmp_path / name, block=32, overlap=8)
    assert is_marked(tmp_path / name)


def test_files_of_others_are_not_marked(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", LABELS.astype(np.uint8))
    tifffile.imwrite(tmp_path / "b.tif", LABELS.astype(np.uint8), software="ImageJ")
    Image.fromarray(LABELS.astype(np.uint8)).save(tmp_path / "c.png")
    Image.fromarray(LABELS.astype(np.uint8)).save(tmp_path / "d.jpg")
    (tmp_path / "e.zarr").mkdir()
    (tmp_path / "f.zarr").mkdir()
    (tmp_path / "f.zarr" / "zarr.json").write_text('{"attributes": {}}')
    (tmp_path / "g.tif").touch()
    assert not any(map(is_marked, [*tmp_path.iterdir(), tmp_path / "missing.tif"]))


@pytest.mark.parametrize("writer", [write_labels, lambda path, labels: write_overlay(path, labels, labels)])
def test_no_damage_to_a_file_raises(tmp_path: Path, writer: object) -> None:
    path = tmp_path / ("a.tif" if writer is write_labels else "a.png")
    writer(path, LABELS)  # type: ignore[operator]
    content = path.read_bytes()
    random = np.random.default_rng(0)
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        assert is_marked(path) in (True, False)
        damaged = bytearray(content)
        damaged[4 + length % (len(content) - 4)] = random.integers(256)
        path.write_bytes(damaged)
        assert is_marked(path) in (True, False)
