"""The plug-in in a real napari. Needs napari, a Qt and a display: ``bash .ci/viewer``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

COMMAND = (
    'run: bash .ci/viewer (pip install "pixel-embedded-affinity[napari]" PyQt6, and Xvfb without a screen)'
)


def _can_show() -> bool:
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


napari = pytest.importorskip("napari", reason=f"napari is not installed; {COMMAND}")
try:
    import qtpy.QtWidgets  # noqa: F401
except ImportError:
    pytest.skip(f"no Qt is installed; {COMMAND}", allow_module_level=True)
if not _can_show():
    pytest.skip(f"there is no display; {COMMAND}", allow_module_level=True)

from qtpy.QtWidgets import QApplication  # noqa: E402

from pixel_embedded_affinity import Segmenter  # noqa: E402
from pixel_embedded_affinity.samples import nuclei  # noqa: E402
from pixel_embedded_affinity.viewer.correct import DIFFERENT, SAME, CorrectPanel  # noqa: E402
from pixel_embedded_affinity.viewer.desk import NOTHING_YET, Desk, desk_of  # noqa: E402
from pixel_embedded_affinity.viewer.explore import ExplorePanel  # noqa: E402
from pixel_embedded_affinity.viewer.review import ReviewPanel  # noqa: E402
from pixel_embedded_affinity.viewer.segment import SegmentPanel  # noqa: E402
from pixel_embedded_affinity.viewer.workbench import Workbench, pixels_of  # noqa: E402

# Toolkits warn about themselves.
pytestmark = pytest.mark.filterwarnings("default")

MODEL, PLUGIN = "bbbc039-fast", "pixel-embedded-affinity"
WINDOW = (slice(0, 160), slice(200, 400))


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Let the viewer work until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the viewer took too long"
        QApplication.processEvents()
        time.sleep(0.01)


def settled(desk: Desk) -> None:
    QApplication.processEvents()
    until(lambda: not desk.jobs.busy)


@pytest.fixture
def viewer() -> Iterator[Any]:
    viewer = napari.Viewer(show=False)
    yield viewer
    until(lambda: not desk_of(viewer).jobs.busy)
    viewer.close()


@pytest.fixture
def desk(viewer: Any) -> Desk:
    """The desk of a viewer in which a part of the bundled field is segmented, its panel docked."""
    viewer.add_image(nuclei().image[WINDOW], name="field", scale=(0.5, 0.5), translate=(3, 4))
    panel = SegmentPanel(viewer)
    viewer.window.add_dock_widget(panel, name="Segment")
    panel.model.value = MODEL
    panel.start()
    assert not panel.run.enabled
    assert panel.stop.enabled
    until(lambda: panel.run.enabled)
    assert panel.state.value.endswith("objects.")
    return desk_of(viewer)


def test_napari_finds_the_plug_in_and_each_of_its_commands() -> None:
    from npe2 import PluginManifest

    assert [entry.value for entry in entry_points(group="napari.manifest") if entry.name == PLUGIN] == [
        "pixel_embedded_affinity.viewer:napari.yaml"
    ]
    manifest = PluginManifest.from_distribution(PLUGIN)
    for command in manifest.contributions.commands:
        assert callable(command.python_name and _loaded(command.python_name))
    assert len(manifest.contributions.widgets) == 4


def _loaded(name: str) -> Any:
    from importlib import import_module

    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def test_samples_and_panels_open_by_the_names_of_the_manifest(viewer: Any) -> None:
    viewer.open_sample(PLUGIN, "nuclei")
    viewer.open_sample(PLUGIN, "volume")
    assert [layer.name for layer in viewer.layers] == ["nuclei", "neurites"]
    for name in ("1. Segment", "2. Explore", "3. Review", "4. Correct"):
        viewer.window.add_plugin_dock_widget(PLUGIN, name)
    docked = viewer.window.dock_widgets
    assert len(docked) == 4
    # All of them share one desk, although napari gives each a proxy of the viewer.
    assert desk_of(viewer).viewer is viewer
    assert len(desk_of(viewer).told) == 3


def test_the_labels_are_those_of_the_library_and_lie_over_the_image(desk: Desk) -> None:
    image = nuclei().image[WINDOW]
    np.testing.assert_array_equal(desk.target.data, Segmenter.pretrained(MODEL).segment(image))
    np.testing.assert_array_equal(desk.target.scale, (0.5, 0.5))
    np.testing.assert_array_equal(desk.target.translate, (3, 4))


def test_the_network_can_be_stopped(viewer: Any) -> None:
    viewer.add_image(np.tile(nuclei().image, (3, 3)), name="large")
    panel = SegmentPanel(viewer)
    panel.model.value = "bbbc039"
    panel.start()
    until(lambda: panel.bar.value == 1)
    panel.cancel()
    until(lambda: panel.run.enabled, 30)
    assert panel.state.value == "Canceled."
    assert [layer.name for layer in viewer.layers] == ["large"]


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [("scale", "big", "scale must be a number"), ("channel", "7", "channel"), ("axes", "YXC", "axes")],
)
def test_what_cannot_be_used_is_said_in_the_panel(
    viewer: Any, field: str, value: str, complaint: str
) -> None:
    viewer.add_image(nuclei().image[WINDOW])
    panel = SegmentPanel(viewer)
    getattr(panel, field).value = value
    panel.start()
    until(lambda: panel.run.enabled)
    assert complaint in panel.state.value


def test_a_time_point_that_is_shown_is_segmented(viewer: Any, tmp_path: Path) -> None:
    frames = np.stack([np.zeros_like(nuclei().image[WINDOW]), nuclei().image[WINDOW]])
    viewer.add_image(frames, name="film")
    panel, correct = SegmentPanel(viewer), CorrectPanel(viewer)
    panel.axes.value = "TYX"
    viewer.dims.set_current_step(0, 1)
    panel.start()
    until(lambda: panel.run.enabled)
    assert desk_of(viewer).target.data.shape == frames.shape[1:]
    assert desk_of(viewer).target.data.max() > 5
    correct.folder.value = tmp_path
    correct.write()
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "images" / "film.tif"), frames[1])


def test_without_an_image_or_a_segmentation_panels_say_what_to_do_first(viewer: Any) -> None:
    segment, explore, correct = SegmentPanel(viewer), ExplorePanel(viewer), CorrectPanel(viewer)
    segment.start()
    assert "Open an image first" in segment.state.value
    explore.stride.value = 7
    assert explore.state.value == NOTHING_YET
    correct.add_layers()
    assert correct.state.value == NOTHING_YET
    correct.write()
    assert correct.state.value == NOTHING_YET


def test_sliders_cluster_again_and_the_model_s_settings_come_back(desk: Desk) -> None:
    panel = ExplorePanel(desk.viewer)
    before = desk.target.data.copy()
    panel.threshold.value = 0.9
    settled(desk)
    assert (desk.target.data > 0).sum() < (before > 0).sum()
    panel.longest.value = 20
    settled(desk)
    assert not panel.own.value
    assert desk.bench is not None
    assert max(map(max, np.abs(desk.bench.segmenter.config.neighborhood.offsets))) == 20
    expected = panel.choice.of(Segmenter.pretrained(MODEL)).segment(nuclei().image[WINDOW])
    np.testing.assert_array_equal(desk.target.data, expected)
    panel.start_anew()
    settled(desk)
    np.testing.assert_array_equal(desk.target.data, before)


def test_of_many_changes_the_last_one_is_shown(desk: Desk) -> None:
    panel = ExplorePanel(desk.viewer)
    for size in range(0, 400, 10):
        panel.min_size.value = size
    settled(desk)
    sizes = np.bincount(desk.target.data.ravel())[1:]
    assert sizes.min() >= 390
    expected = panel.choice.of(Segmenter.pretrained(MODEL)).segment(nuclei().image[WINDOW])
    np.testing.assert_array_equal(desk.target.data, expected)


def test_a_click_on_an_object_goes_there(desk: Desk) -> None:
    panel = ReviewPanel(desk.viewer)
    until(lambda: bool(panel.rows))
    assert panel.table.rowCount() == desk.target.data.max()
    shown = [float(panel.table.item(line, 1).text()) for line in range(panel.table.rowCount())]
    assert shown == sorted(shown)
    panel.table.setCurrentCell(2, 0)
    row = panel.rows[2]
    np.testing.assert_allclose(desk.viewer.camera.center[1:], np.array(row.middle) * 0.5 + (3, 4))
    assert desk.target.selected_label == row.label


def test_strokes_are_answered_and_taken_back_and_the_result_is_saved(desk: Desk, tmp_path: Path) -> None:
    panel = CorrectPanel(desk.viewer)
    panel.add_layers()
    panel.add_layers()
    before = desk.target.data.copy()
    same, different = desk.viewer.layers[SAME], desk.viewer.layers[DIFFERENT]
    # Two nuclei that the model takes for one, in pixels of the window.
    one, other = (12, 96), (25, 112)
    assert before[one] == before[other] > 0
    different.add(np.array([one, other]), shape_type="line")
    settled(desk)
    assert desk.target.data[one] != desk.target.data[other]
    assert panel.state.value == f"{desk.target.data.max()} objects with 1 strokes."
    same.add(np.array([one, other]), shape_type="line")
    settled(desk)
    assert "different[0]" in panel.state.value
    same.selected_data = {0}
    same.remove_selected()
    settled(desk)
    assert desk.target.data[one] != desk.target.data[other]
    panel.folder.value, panel.title.value = tmp_path / "mine", "corrected"
    panel.write()
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "mine/labels/corrected.tif"), desk.target.data)
    np.testing.assert_array_equal(
        tifffile.imread(tmp_path / "mine/images/corrected.tif"), nuclei().image[WINDOW]
    )
    different.selected_data = {0}
    different.remove_selected()
    settled(desk)
    np.testing.assert_array_equal(desk.target.data, before)


def test_strokes_stay_while_sliders_move(desk: Desk) -> None:
    explore, correct = ExplorePanel(desk.viewer), CorrectPanel(desk.viewer)
    correct.add_layers()
    desk.viewer.layers[DIFFERENT].add(np.array([(12, 96), (25, 112)]), shape_type="line")
    settled(desk)
    explore.merge_size.value = 300
    settled(desk)
    assert desk.target.data[12, 96] != desk.target.data[25, 112]


def test_a_line_that_is_drawn_with_the_mouse_is_a_stroke(desk: Desk) -> None:
    from qtpy.QtCore import QPoint, Qt
    from qtpy.QtTest import QTest

    panel, viewer = CorrectPanel(desk.viewer), desk.viewer
    panel.add_layers()
    viewer.layers.selection.active = viewer.layers[DIFFERENT]
    viewer.window._qt_window.show()
    canvas = viewer.window._qt_viewer.canvas
    QApplication.processEvents()
    viewer.reset_view()
    QApplication.processEvents()
    middle = QPoint(canvas.native.width() // 2, canvas.native.height() // 2)
    left = Qt.MouseButton.LeftButton
    QTest.mouseMove(canvas.native, middle)
    QTest.mousePress(canvas.native, left, Qt.KeyboardModifier.NoModifier, middle)
    for step in (10, 20, 40):
        QTest.mouseMove(canvas.native, middle + QPoint(step, 0))
        QApplication.processEvents()
    assert desk.bench is not None
    QTest.mouseRelease(canvas.native, left, Qt.KeyboardModifier.NoModifier, middle + QPoint(40, 0))
    settled(desk)
    assert len(viewer.layers[DIFFERENT].data) == 1
    assert len(desk.bench.different) == 1
    ends = desk.bench.different[0][[0, -1]]
    labels = desk.target.data
    assert labels[tuple(ends[0])] != labels[tuple(ends[1])]


def test_volumes_have_the_same_panels(viewer: Any, volume_segmenter: Segmenter) -> None:
    volume = np.random.default_rng(0).integers(0, 127, (3, 6, 6)).repeat(2, 0).repeat(4, 1).repeat(4, 2)
    layer = viewer.add_image(volume, name="stack", scale=(4, 1, 1))
    bench, desk = Workbench(volume_segmenter, volume_segmenter.embed(volume)), desk_of(viewer)
    explore, review, correct = ExplorePanel(viewer), ReviewPanel(viewer), CorrectPanel(viewer)
    desk.put(bench, bench.labels(), layer, volume, range(3))
    np.testing.assert_array_equal(desk.target.scale, (4, 1, 1))
    explore.directions.value = 26
    settled(desk)
    assert desk.bench is not None
    assert desk.bench.segmenter.config.neighborhood.ndim == 3
    explore.start_anew()
    settled(desk)
    until(lambda: len(review.rows) == desk.target.data.max())
    review.table.setCurrentCell(0, 0)
    assert viewer.dims.point[0] == pytest.approx(review.rows[0].middle[0] * 4, abs=4)
    correct.add_layers()
    before = volume_segmenter.cluster(bench.embedding)
    assert before.max() > 1
    line = np.stack([np.argwhere(before == item)[0] for item in (1, before.max())])
    viewer.layers[SAME].add(line, shape_type="line")
    settled(desk)
    pixels = pixels_of(line, volume.shape)
    found = desk.target.data[tuple(pixels.T)][before[tuple(pixels.T)] > 0]
    assert len(np.unique(found)) == 1
    assert desk.target.data.max() < before.max()
