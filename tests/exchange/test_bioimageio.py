"""A package of bioimage.io passes the test of bioimage.io's own library."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pixel_embedded_affinity.errors import InputError, MissingDependencyError
from pixel_embedded_affinity.exchange import ExportedModel
from pixel_embedded_affinity.segmenter import Segmenter

Exported = Callable[[str], ExportedModel]


@pytest.fixture
def spec() -> None:
    pytest.importorskip("bioimageio.spec", reason="needs the package bioimageio.spec")


def test_the_package_of_a_free_model_passes_the_test_of_bioimageio(
    spec: None, exported: Exported, tmp_path: Path
) -> None:
    pytest.importorskip("bioimageio.core", reason="needs the package bioimageio.core")
    folder = tmp_path / "package"
    exported("nuclei").write_bioimageio(folder)
    command = [sys.executable, "-m", "bioimageio.core", "test", str(folder / "rdf.yaml")]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_model_without_a_free_license_is_refused(spec: None, exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="SPDX"):
        exported("cvppp").write_bioimageio(tmp_path / "package")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_refused(spec: None, exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be made"):
        exported("nuclei").write_bioimageio(tmp_path)


def test_who_made_a_model_of_ones_own_must_be_said(
    spec: None, strided_segmenter: Segmenter, tmp_path: Path
) -> None:
    free = strided_segmenter.config.changed(license="CC0-1.0", description="Nothing.")
    own = Segmenter(strided_segmenter.embedder.network, free, device="cpu")
    with pytest.raises(InputError, match="--author"):
        ExportedModel(own).write_bioimageio(tmp_path / "package")


def test_a_model_of_volumes_needs_a_sample(spec: None, volume_segmenter: Segmenter, tmp_path: Path) -> None:
    free = volume_segmenter.config.changed(license="CC0-1.0", description="Nothing.")
    own = Segmenter(volume_segmenter.embedder.network, free, device="cpu")
    with pytest.raises(InputError, match="--sample"):
        ExportedModel(own).write_bioimageio(tmp_path / "package", authors=["A. Author"])


def test_a_missing_package_is_named_with_its_extra(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "bioimageio", None)
    with pytest.raises(MissingDependencyError, match=r"\[bioimageio\]"):
        ExportedModel(segmenter).write_bioimageio(tmp_path / "package")


def test_the_test_has_a_part_of_the_bundled_image_as_its_input(
    spec: None, exported: Exported, tmp_path: Path
) -> None:
    from pixel_embedded_affinity.samples import nuclei

    exported("nuclei").write_bioimageio(tmp_path / "package")
    image = np.load(tmp_path / "package" / "image.npy")
    assert np.array_equal(image[0, 0], nuclei().image[:256, :320])
