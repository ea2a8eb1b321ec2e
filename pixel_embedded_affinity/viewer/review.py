"""The panel *Review*: all objects, the least confident first; a click goes there."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from pixel_embedded_affinity.viewer.desk import NOTHING_YET, Desk, Latest, desk_of
from pixel_embedded_affinity.viewer.workbench import Row

COLUMNS = ("object", "confidence", "pixels")
_CLOSE = 6  # screen pixels for each pixel of an object that was clicked on, at least


class ReviewPanel(QWidget):
    """A table of the objects, sorted by confidence.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self._desk, self._jobs = desk_of(napari_viewer), Latest()
        self.rows: list[Row] = []
        self.state = QLabel(NOTHING_YET)
        self.state.setWordWrap(True)
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setHorizontalHeaderLabels(COLUMNS)
        self.table.setSelectionBehavior(QAbstractItemView.SelectRows)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.Stretch)
        self.table.verticalHeader().hide()
        self.table.setEditTriggers(QAbstractItemView.NoEditTriggers)
        self.table.currentCellChanged.connect(lambda row, *_: self.go_to(row))
        layout = QVBoxLayout(self)
        layout.addWidget(self.state)
        layout.addWidget(self.table)
        self._desk.told.append(self.show_rows)
        self.show_rows(self._desk)

    def show_rows(self, desk: Desk) -> None:
        """Measure the objects, in a thread, and list them."""
        bench, target = desk.bench, desk.target
        if bench is not None and not desk.error:
            labels = target.data.copy()
            self._jobs.ask(lambda: bench.rows(labels), self._fill, self._failed)

    def go_to(self, number: int) -> None:
        """Bring an object into the middle of the view, and choose its label."""
        if not 0 <= number < len(self.rows) or self._desk.target is None:
            return
        row, target, viewer = self.rows[number], self._desk.target, self._desk.viewer
        world = target.data_to_world(row.middle)
        for axis, value in enumerate(world[: len(world) - 2], start=viewer.dims.ndim - len(world)):
            viewer.dims.set_point(axis, value)
        viewer.camera.center = (0, *world[-2:])
        viewer.camera.zoom = max(viewer.camera.zoom, _CLOSE / min(target.scale[-2:]))
        target.selected_label = row.label

    def _fill(self, rows: list[Row]) -> None:
        self.table.blockSignals(True)
        self.rows = rows
        self.table.setRowCount(len(rows))
        for line, row in enumerate(rows):
            for column, text in enumerate((str(row.label), f"{row.confidence:.2f}", str(row.pixels))):
                item = QTableWidgetItem(text)
                item.setTextAlignment(Qt.AlignRight | Qt.AlignVCenter)
                self.table.setItem(line, column, item)
        self.table.setCurrentCell(-1, -1)
        self.table.blockSignals(False)
        self.state.setText(f"{len(rows)} objects, the least confident first. Click on one to go there.")

    def _failed(self, error: Exception) -> None:
        self.state.setText(str(error))
