"""The scripts that draw the documentation's pictures draw those that are committed, and none is large."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
IMAGES = REPOSITORY / "docs" / "images"
DRAWN = {
    "make_blocks_drawing.py": {"blocks_light.svg", "blocks_dark.svg"},
    "make_door_pictures.py": {"door_nuclei.jpg", "door_leaves.jpg", "door_neurons.jpg"},
    "make_leaf_card_pictures.py": {
        f"card_{model}_{kind}.jpg" for model in ("leaves", "cvppp") for kind in ("good", "bad")
    },
    "make_neuron_card_pictures.py": {"card_neurons_good.jpg", "card_neurons_bad.jpg", "card_ac3ac4_bad.jpg"},
    "make_mutex_animation.py": {"mutex_watershed.gif"},
    "make_symptom_pictures.py": {
        f"symptom_{name}.png" for name in ("cut", "foreground", "merged", "scale", "specks")
    },
}
MOST_BYTES = {".png": 220_000, ".jpg": 180_000, ".svg": 40_000, ".gif": 300_000}


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], None]:
    """Run a script as a person would, offline, but in this process, which has imported what it needs."""

    def call(script: str, folder: Path) -> None:
        monkeypatch.setenv("PEA_OFFLINE", "1")
        monkeypatch.syspath_prepend(REPOSITORY / "docs")
        monkeypatch.setattr(sys, "argv", [script, str(folder)])
        runpy.run_path(str(REPOSITORY / "docs" / script), run_name="__main__")

    return call


def pixels(path: Path) -> np.ndarray:
    """All frames of a picture in color."""
    frames = []
    with Image.open(path) as picture:
        for number in range(getattr(picture, "n_frames", 1)):
            picture.seek(number)
            frames.append(np.asarray(picture.convert("RGB"), dtype=float))
    return np.stack(frames)


@pytest.mark.parametrize("script", DRAWN)
def test_a_script_draws_the_pictures_that_are_committed(
    script: str, tmp_path: Path, draw: Callable[[str, Path], None]
) -> None:
    draw(script, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == DRAWN[script]
    for path in tmp_path.iterdir():
        committed = IMAGES / path.name
        if path.suffix == ".svg":
            assert path.read_text(encoding="utf-8") == committed.read_text(encoding="utf-8")
        else:
            new, old = pixels(path), pixels(committed)
            assert new.shape == old.shape
            # Fonts and compression differ a little between releases; another outline or label shows.
            assert np.abs(new - old).mean() < 1


@pytest.mark.parametrize("path", sorted(IMAGES.iterdir()), ids=lambda path: path.name)
def test_a_picture_is_small_enough_for_a_page(path: Path) -> None:
    assert path.stat().st_size <= MOST_BYTES[path.suffix]


def test_every_picture_is_on_a_page() -> None:
    pages = [*(REPOSITORY / "docs").rglob("*.rst"), REPOSITORY / "README.md"]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    assert [path.name for path in sorted(IMAGES.iterdir()) if path.name not in text] == []


def test_the_animation_ends_with_the_labels_of_the_clusterer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REPOSITORY / "docs")
    import make_mutex_animation as animation

    from pixel_embedded_affinity import affinities
    from pixel_embedded_affinity.clustering import MutexWatershed
    from pixel_embedded_affinity.labels import relabel

    vectors = animation.embedding()
    *_, last = animation.steps(vectors)
    found = MutexWatershed()(affinities(vectors, animation.NEIGHBORHOOD))
    np.testing.assert_array_equal(relabel(last.clusters.reshape(found.shape) + 1), found)
    assert found.max() == 3
