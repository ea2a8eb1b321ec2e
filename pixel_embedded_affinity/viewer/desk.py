"""What the panels of one viewer share: the segmentation at work, its layers, and the threads that compute it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pixel_embedded_affinity.errors import PixelEmbeddedAffinityError
from pixel_embedded_affinity.labels import Labels
from pixel_embedded_affinity.viewer.workbench import Choice, Failure, Pixels, Workbench

if TYPE_CHECKING:
    from pixel_embedded_affinity.segmenter import Segmenter

Job = Callable[[], Any]
Told = Callable[[Any], None]

NOTHING_YET = "Segment an image first: Plugins > Pixel-embedded affinity > 1. Segment."

_DESKS: dict[int, Desk] = {}


class Latest:
    """Does jobs one by one in a thread. Of the jobs that come while one is at work, only the newest follows."""

    def __init__(self) -> None:
        self._busy = False
        self._next: tuple[Job, Told, Told] | None = None

    @property
    def busy(self) -> bool:
        """Whether a job is at work."""
        return self._busy

    def ask(self, job: Job, done: Told, failed: Told) -> None:
        """Do a job, as soon as the one at work is done; `done` gets its result, `failed` an error of the library."""
        self._next = (job, done, failed)
        if not self._busy:
            self._start()

    def _start(self) -> None:
        from napari.qt.threading import create_worker

        if self._next is None:
            return
        (job, done, failed), self._next, self._busy = self._next, None, True
        worker = create_worker(result_or_error, job)
        worker.returned.connect(lambda result: self._told(result, done, failed))
        worker.errored.connect(lambda error: self._told(Failure(error), done, failed))
        worker.start()

    def _told(self, result: Any, done: Told, failed: Told) -> None:
        self._busy = False
        if isinstance(result, Failure):
            failed(result.error)
        else:
            done(result)
        self._start()


def result_or_error(job: Job) -> Any:
    """Return what a job returns, or a failure if it raises an error of the library."""
    try:
        return job()
    except PixelEmbeddedAffinityError as error:
        return Failure(error)


class Desk:
    """The segmentation at work in one viewer.

    Attributes
    ----------
    viewer : napari.Viewer
        The viewer.
    model : Segmenter or None
        The model, with its own settings; None until an image is segmented.
    bench : Workbench or None
        The embedding with the settings and strokes in use.
    source, target : napari layers or None
        The image, and the labels.
    image : array-like or None
        What was segmented of the image.
    told : list of callable
        Called with the desk after each change.
    error : str
        What went wrong at last; empty if nothing did.
    """

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self.model: Segmenter | None = None
        self.bench: Workbench | None = None
        self.source: Any = None
        self.target: Any = None
        self.image: Any = None
        self.told: list[Callable[[Desk], None]] = []
        self.error = ""
        self.jobs = Latest()

    def put(self, bench: Workbench, labels: Labels, source: Any, image: Any, axes: Sequence[int]) -> None:
        """Start to work on a new segmentation: its labels become a layer over the image."""
        self.model, self.bench, self.source, self.image = bench.segmenter, bench, source, image
        name = f"{source.name} objects"
        places = {key: [getattr(source, key)[axis] for axis in axes] for key in ("scale", "translate")}
        if name in self.viewer.layers:
            self.viewer.layers.remove(name)
        self.target = self.viewer.add_labels(labels, name=name, **places)
        self._tell("")

    def choose(self, choice: Choice) -> None:
        """Cluster again with the settings of sliders; the strokes stay."""
        if self.bench is None or self.model is None:
            return self._tell(NOTHING_YET)
        try:
            changed = choice.of(self.model)
        except PixelEmbeddedAffinityError as error:
            return self._tell(str(error))
        self._work(Workbench(changed, self.bench.embedding, self.bench.same, self.bench.different))

    def stroke(self, same: Sequence[Pixels], different: Sequence[Pixels]) -> None:
        """Cluster again with other strokes."""
        if self.bench is None:
            return self._tell(NOTHING_YET)
        self._work(self.bench.with_strokes(same, different))

    def _work(self, bench: Workbench) -> None:
        self.bench = bench
        self.jobs.ask(bench.labels, self._show, lambda error: self._tell(str(error)))

    def _show(self, labels: Labels) -> None:
        if self.target is not None and self.target in self.viewer.layers:
            self.target.data = labels
        self._tell("")

    def _tell(self, error: str) -> None:
        self.error = error
        for told in list(self.told):
            told(self)


def desk_of(viewer: Any) -> Desk:
    """Return the desk of a viewer, the same for all of its panels."""
    real = getattr(viewer, "__wrapped__", viewer)  # napari gives plug-ins a proxy
    desk = _DESKS.get(id(real))
    if desk is None or desk.viewer is not real:
        desk = _DESKS[id(real)] = Desk(real)
    return desk
