"""Draw docs/images/viewer_*.png: the plug-in in napari, before and after corrections.

It needs napari, a Qt and a display, see ``.ci/viewer``. Run it from any folder, whenever the plug-in has changed::

    python docs/make_viewer_pictures.py [FOLDER]

It also prints how long labels take to follow a slider.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
from PIL import Image
from qtpy.QtWidgets import QApplication

from pixel_embedded_affinity.io.atomic import atomic_path
from pixel_embedded_affinity.viewer.correct import DIFFERENT, SAME
from pixel_embedded_affinity.viewer.desk import desk_of

PLUGIN, MODEL = "pixel-embedded-affinity", "bbbc039-fast"
FOLDER = Path(__file__).parent / "images"
SIZE, COLORS = (1280, 800), 128
STROKES = {SAME: [(244, 355), (260, 350)], DIFFERENT: [(12, 296), (25, 312)]}


def main() -> None:
    """Write the pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(*SIZE)
    viewer.open_sample(PLUGIN, "nuclei")
    desk = desk_of(viewer)

    segment = docked(viewer, "1. Segment")
    segment.model.value = MODEL
    segment.start()
    until(lambda: segment.run.enabled and desk.target is not None)
    shoot(viewer, folder / "viewer_segment.png")

    explore = docked(viewer, "2. Explore")
    print_times(explore, desk)
    explore.merge_size.value, explore.longest.value, explore.stride.value = 0, 3, 8
    settle(desk)
    shoot(viewer, folder / "viewer_explore.png")
    explore.start_anew()
    settle(desk)

    review = docked(viewer, "3. Review")
    until(lambda: bool(review.rows))
    review.table.setCurrentCell(1, 0)
    shoot(viewer, folder / "viewer_review.png")

    correct = docked(viewer, "4. Correct")
    correct.add_layers()
    viewer.camera.center, viewer.camera.zoom = (0, 25, 305), 7
    for name, line in STROKES.items():
        viewer.layers[name].add(np.array(line), shape_type="line")
        settle(desk)
    shoot(viewer, folder / "viewer_correct.png")
    viewer.close()


def docked(viewer: Any, name: str) -> Any:
    """Open a panel as the menu does, on top of the others, and return it."""
    docks = list(viewer.window._wrapped_dock_widgets.values())
    dock, panel = viewer.window.add_plugin_dock_widget(PLUGIN, name, tabify=bool(docks))
    dock.raise_()
    return panel


def print_times(explore: Any, desk: Any) -> None:
    """Print the seconds from the move of a slider to the labels, for several moves."""
    seconds = []
    for value in (0.4, 0.6, 0.45, 0.55, 0.5):
        start = time.perf_counter()
        explore.threshold.value = value
        settle(desk)
        seconds.append(time.perf_counter() - start)
    shape = " x ".join(map(str, desk.target.data.shape))
    print(f"from slider to labels of {shape}: {', '.join(f'{one:.2f}' for one in seconds)} s")


def until(condition: Callable[[], bool]) -> None:
    """Let the viewer work until a condition holds."""
    while not condition():
        QApplication.processEvents()
        time.sleep(0.001)


def settle(desk: Any) -> None:
    """Let the viewer work until the labels are there."""
    until(lambda: not desk.jobs.busy)


def shoot(viewer: Any, path: Path) -> None:
    """Write a picture of the window, with few colors, so that the file is small."""
    end = time.monotonic() + 2
    until(lambda: time.monotonic() > end)
    picture = Image.fromarray(viewer.screenshot(canvas_only=False, flash=False)[..., :3])
    with atomic_path(path, (".png",)) as temporary:
        picture.quantize(COLORS).save(temporary, optimize=True)
    print(path)


if __name__ == "__main__":
    main()
