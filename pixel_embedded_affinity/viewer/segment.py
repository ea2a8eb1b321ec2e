"""The panel *Segment*: a model, an image, and what it takes to make labels of it."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Container, LineEdit, ProgressBar, PushButton
from napari.layers import Image
from napari.qt.threading import create_worker

from pixel_embedded_affinity.errors import InputError, PixelEmbeddedAffinityError
from pixel_embedded_affinity.inference.base import AUTO, TORCH, chosen_runtime
from pixel_embedded_affinity.models.registry import list_models
from pixel_embedded_affinity.viewer.desk import desk_of
from pixel_embedded_affinity.viewer.parts import message
from pixel_embedded_affinity.viewer.workbench import Failure, Stopped, Workbench, stoppable

if TYPE_CHECKING:
    from pixel_embedded_affinity.segmenter import Segmenter

STEPS = ("Loads the model", "Runs the network", "Finds objects")


@dataclass(frozen=True)
class Request:
    """What a user asked for; empty texts mean the model's own, or all."""

    layer: Any
    model: str
    device: str = "auto"
    axes: str = ""
    channel: str = ""
    scale: str = ""
    step: tuple[int, ...] = ()

    @property
    def image(self) -> Any:
        """The layer's array; the largest one of a pyramid."""
        return self.layer.data[0] if self.layer.multiscale else self.layer.data

    def options(self, ndim: int) -> dict[str, Any]:
        """Return the arguments of `Segmenter.embed` for a model of so many spatial axes."""
        values: dict[str, Any] = {"axes": self.axes.upper() or None, "channel": _number_or_name(self.channel)}
        for letter, name in {"T": "time", "Z": "z"}.items():
            if letter in self.axes.upper() and (letter == "T" or ndim == 2):
                values[name] = self.step[self.axes.upper().index(letter)]
        if self.scale:
            values["scale"] = "auto" if self.scale == "auto" else _number(self.scale)
        return values

    def frame(self, ndim: int) -> Any:
        """Return the array that was segmented: of time points, or of sections, the one that was shown."""
        axes = self.axes.upper()
        chosen = [letter == "T" or (letter == "Z" and ndim == 2) for letter in axes]
        return (
            self.image[tuple(n if one else slice(None) for n, one in zip(self.step, chosen))]
            if axes
            else self.image
        )

    def spatial(self, ndim: int) -> list[int]:
        """Return which axes of the layer the labels have."""
        axes = self.axes.upper()
        return [axes.index(letter) for letter in "ZYX"[3 - ndim :]] if axes else list(range(ndim))


def _number_or_name(text: str) -> int | str | None:
    return int(text) if text.isdecimal() else text or None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(
            f"scale must be a number or 'auto', got {text!r}; leave it empty for the model's"
        ) from None


class SegmentPanel(Container):
    """Chooses a model and an image, runs in a thread, and can be stopped.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer.
    """

    def __init__(self, napari_viewer: Any) -> None:
        self._desk, self._stop = desk_of(napari_viewer), threading.Event()
        self._loaded: tuple[tuple[str, str], Segmenter] | None = None
        self.layer = ComboBox(label="image", choices=self._images)
        self.model = ComboBox(label="model", choices=list_models(), value="nuclei")
        self.device = ComboBox(label="device", choices=devices())
        self.axes = LineEdit(label="axes", tooltip="A letter per axis, such as TYX or CYX; empty: YX or ZYX")
        self.channel = LineEdit(label="channel", tooltip="Its number from 0, or its name; empty: all")
        self.scale = LineEdit(label="scale", tooltip='A number, or "auto"; empty: as the model does')
        self.run = PushButton(text="Segment")
        self.stop = PushButton(text="Cancel", enabled=False)
        self.bar = ProgressBar(label="", value=0, max=len(STEPS), visible=True)
        self.state = message()
        super().__init__(
            widgets=[
                self.layer,
                self.model,
                self.device,
                self.axes,
                self.channel,
                self.scale,
                self.run,
                self.stop,
                self.bar,
                self.state,
            ]
        )
        self.run.changed.connect(self.start)
        self.stop.changed.connect(self.cancel)
        for event in ("inserted", "removed"):
            getattr(self._desk.viewer.layers.events, event).connect(self._layers_changed)

    def start(self) -> None:
        """Segment, in a thread."""
        if self.layer.value is None:
            self.state.value = "Open an image first, or File > Open Sample > Pixel-embedded affinity."
            return
        axes, channel, scale = (one.value.strip() for one in (self.axes, self.channel, self.scale))
        step = tuple(self._desk.viewer.dims.current_step)
        request = Request(self.layer.value, self.model.value, self.device.value, axes, channel, scale, step)
        self._stop = threading.Event()
        self._working(True)
        worker = create_worker(self.steps, request, self._stop)
        worker.yielded.connect(self._reached)
        worker.returned.connect(lambda result: self._done(request, result))
        worker.errored.connect(lambda error: self._done(request, Failure(error)))
        worker.start()

    def cancel(self) -> None:
        """Stop the network at its next layer."""
        self._stop.set()
        self.state.value = "Stops ..."

    def steps(self, request: Request, stop: threading.Event) -> Generator[int, None, Any]:
        """Give the number of each step as it begins; return the workbench and its labels, or a failure."""
        try:
            yield 0
            segmenter = self._segmenter(request)
            yield 1
            ndim = segmenter.config.ndim
            with stoppable(segmenter.embedder.network, stop):
                embedding = segmenter.embed(request.image, **request.options(ndim))
            yield 2
            bench = Workbench(segmenter, embedding)
            labels = bench.labels()
            if stop.is_set():
                raise Stopped
        except (PixelEmbeddedAffinityError, Stopped) as error:
            return Failure(error)
        return bench, labels

    def _segmenter(self, request: Request) -> Segmenter:
        """The model, loaded again only if another one is asked for."""
        from pixel_embedded_affinity.segmenter import Segmenter

        key = (request.model, request.device)
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = key, Segmenter.pretrained(request.model, device=request.device)
        return self._loaded[1]

    def _reached(self, step: int) -> None:
        self.bar.value = step
        self.state.value = f"{STEPS[step]} ..."

    def _done(self, request: Request, result: Any) -> None:
        self._working(False)
        if isinstance(result, Failure):
            self.state.value = "Canceled." if isinstance(result.error, Stopped) else str(result.error)
            return
        bench, labels = result
        self.bar.value = len(STEPS)
        self.state.value = f"{labels.max(initial=0)} objects."
        self._desk.put(bench, labels, request.layer, request.frame(labels.ndim), request.spatial(labels.ndim))

    def _working(self, working: bool) -> None:
        self.run.enabled, self.stop.enabled = not working, working
        self.bar.value = 0

    def _images(self, _: Any = None) -> list[Any]:
        return [layer for layer in self._desk.viewer.layers if isinstance(layer, Image)]

    def _layers_changed(self, _: Any = None) -> None:
        self.layer.reset_choices()


def devices() -> list[str]:
    """Return the devices of this machine, ``"auto"`` first; without torch, the CPU is the only one."""
    if chosen_runtime(AUTO) != TORCH:
        return ["auto", "cpu"]
    import torch

    cuda = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return ["auto", "cpu", *cuda, *mps]
