"""Exporters, which write what was found in an image: the protocol and the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.registry import Registry


@dataclass(frozen=True, eq=False)
class Result:
    """One image, and the objects found in it.

    Attributes
    ----------
    labels : numpy.ndarray
        int32 ``(Y, X)`` or ``(Z, Y, X)``, of a time-lapse with T in front: 0 = background, objects 1..n.
    image : numpy.ndarray
        float32, the values of the image before normalization: the shape of `labels`, or with channels first.
    stored_labels : numpy.ndarray
        The labels with the axes in the order of the image file.
    measure : callable
        Returns the `table`.
    axes : str or None
        Letters of the axes of `stored_labels`; None means ``"YX"`` or ``"ZYX"``. With T in front, labels and image hold
        the frames of a time-lapse: labels are ``(T, Y, X)``, and the image has T in front, too.
    sections : bool
        Whether Z is the axis of sections that were segmented one by one, which are frames as those of a time-lapse.
    pixel_size : tuple of float or None
        Size of a pixel along each spatial axis of `axes` in their order, in micrometers; None if not known.
    file : str
        Name of the image file.
    place : dict of str to int
        The section ``z`` and the time point ``t`` of the file, from 0, that the image is, where the file holds several.
    """

    labels: npt.NDArray[np.int32]
    image: npt.NDArray[np.float32]
    stored_labels: npt.NDArray[np.int32]
    measure: Callable[[], dict[str, npt.NDArray[Any]]]
    axes: str | None = None
    pixel_size: tuple[float, ...] | None = None
    file: str = ""
    sections: bool = False
    place: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def table(self) -> dict[str, npt.NDArray[Any]]:
        """Columns with one row per object, see `Segmentation.table`; measured when first asked for."""
        return self.measure()

    @property
    def frame_axis(self) -> str:
        """T of a time-lapse, Z of sections that were segmented one by one, else empty."""
        if self.sections:
            return "Z"
        return "T" if self.axes is not None and "T" in self.axes else ""

    def place_of(self, number: int | None) -> dict[str, int]:
        """Section ``z`` and time point ``t``, as far as they are known, of a frame from `frames`."""
        return {**self.place, **({} if number is None else {self.frame_axis.lower(): number})}

    def frames(self) -> Iterator[tuple[int | None, npt.NDArray[np.int32]]]:
        """Give the number of each time point or section, from 0, and its stored labels; of an image, None and all."""
        if self.axes is None or not self.frame_axis:
            yield None, self.stored_labels
        else:
            yield from enumerate(np.moveaxis(self.stored_labels, self.axes.index(self.frame_axis), 0))


class Exporter(Protocol):
    """A way to write a result. The class need not inherit anything, and takes no arguments.

    It may also have a method ``check(ndim)``, which ``pea segment`` calls before it starts. This raises what would fail
    for every image: a package is missing, or the exporter cannot write images of that many spatial axes. A method
    ``check_axes(axes)`` is called for each image before it is segmented, with the letters of its axes; it raises for an
    image that the exporter cannot write.

    Attributes
    ----------
    suffix : str
        What the file's name adds to the image's name, such as ``"_overlay.png"``; no two exporters share one.
    help : str
        What is in the file, for the help of ``pea segment``.
    """

    suffix: ClassVar[str]
    help: ClassVar[str]

    def write(self, path: Path, result: Result) -> None:
        """Write a result; the file (or folder) must appear whole or not at all, see `io.atomic.atomic_path`."""
        ...


FRAME_COLUMNS = {"T": "frame", "Z": "section"}
"""Columns of the tables with the number of the time point or the section, from 0."""


EXPORTERS: Registry[Exporter] = Registry(
    "exporter",
    "pixel_embedded_affinity.export",
    helpers=("base", "measurements", "polygons"),
    group="pixel_embedded_affinity.exporters",
)


def check_exporter(exporter: Exporter, ndim: int, axes: str | None = None) -> None:
    """Let an exporter refuse, before anything is written, what it cannot write; see `Exporter`.

    The axes are those of one image; leave them out to ask what would fail for every image.
    """
    for name, given in (("check", ndim), ("check_axes", axes)):
        check = getattr(exporter, name, None)
        if check is not None and given is not None:
            check(given)


def refuse_volumes(flag: str, ndim: int) -> None:
    """Refuse volumes, for the `check` of an exporter that describes images."""
    if ndim != 2:
        raise InputError(f"{flag} describes images, and the model segments volumes; leave {flag} out")
