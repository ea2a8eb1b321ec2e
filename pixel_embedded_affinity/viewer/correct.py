"""The panel *Correct*: strokes in two layers say what is one object and what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from magicgui.widgets import Container, FileEdit, LineEdit, PushButton

from pixel_embedded_affinity.errors import PixelEmbeddedAffinityError
from pixel_embedded_affinity.viewer.desk import NOTHING_YET, Desk, desk_of
from pixel_embedded_affinity.viewer.parts import message
from pixel_embedded_affinity.viewer.workbench import Pixels, pixels_of, save_example

SAME, DIFFERENT = "the same object", "not the same object"
COLORS = {SAME: "lime", DIFFERENT: "red"}
HOW = (
    f'Draw lines. In the layer "{SAME}": through the pieces of one object. In "{DIFFERENT}": from one object into the '
    "other. Delete a line to take it back."
)


class CorrectPanel(Container):
    """Makes the two layers, clusters again after each stroke, and saves the result for tuning and fine-tuning.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer.
    """

    def __init__(self, napari_viewer: Any) -> None:
        self._desk = desk_of(napari_viewer)
        self.begin = PushButton(text="Draw strokes")
        self.folder = FileEdit(label="folder", mode="d", value=Path("my_data"))
        self.title = LineEdit(label="name", value="")
        self.save = PushButton(text="Save image and labels")
        self.state = message(HOW)
        super().__init__(widgets=[self.begin, self.state, self.folder, self.title, self.save])
        self.begin.changed.connect(self.add_layers)
        self.save.changed.connect(self.write)
        self._desk.told.append(self.show)

    def add_layers(self) -> None:
        """Add the two layers, where they are not there, and choose the line tool of the first."""
        target, viewer = self._desk.target, self._desk.viewer
        if target is None:
            self.state.value = NOTHING_YET
            return
        for name in (DIFFERENT, SAME):
            if name not in viewer.layers:
                options = {"edge_color": COLORS[name], "edge_width": 1, "face_color": "transparent"}
                layer = viewer.add_shapes(None, ndim=target.ndim, name=name, scale=target.scale, **options)
                layer.translate = target.translate
                layer.events.data.connect(self.strokes_changed)
            viewer.layers[name].mode = "add_line"
        self.title.value = self.title.value or self._desk.source.name
        self.state.value = HOW

    def strokes_changed(self, event: Any = None) -> None:
        """Cluster again with the strokes of both layers."""
        if str(getattr(event, "action", "added")).rpartition(".")[2].lower() not in (
            "adding",
            "removing",
            "changing",
        ):
            self._desk.stroke(self._strokes(SAME), self._strokes(DIFFERENT))

    def show(self, desk: Desk) -> None:
        """Say what the strokes did."""
        if desk.error:
            self.state.value = desk.error
        elif desk.bench is not None and (desk.bench.same or desk.bench.different):
            count = len(desk.bench.same) + len(desk.bench.different)
            self.state.value = f"{desk.target.data.max()} objects with {count} strokes."

    def write(self) -> None:
        """Save the image and the labels as they are shown, for `pea tune` and `pea finetune`."""
        desk = self._desk
        if desk.target is None:
            self.state.value = NOTHING_YET
            return
        name = self.title.value or desk.source.name
        try:
            _, path = save_example(self.folder.value, name, desk.image, desk.target.data)
        except (PixelEmbeddedAffinityError, OSError) as error:
            self.state.value = str(error)
            return
        self.state.value = (
            f"Saved {path}. Next: pea finetune {self.folder.value} --model ... --output mine.safetensors"
        )

    def _strokes(self, name: str) -> list[Pixels]:
        if name not in self._desk.viewer.layers or self._desk.target is None:
            return []
        shape = self._desk.target.data.shape
        strokes = [pixels_of(vertices, shape) for vertices in self._desk.viewer.layers[name].data]
        return [stroke for stroke in strokes if len(stroke)]
