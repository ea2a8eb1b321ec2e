"""Labels within an OME-Zarr image: ``IMAGE/labels/NAME``, where viewers of NGFF look for them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError, optional_module
from pixel_embedded_affinity.io.atomic import replacing
from pixel_embedded_affinity.io.marks import MARK
from pixel_embedded_affinity.io.readers.zarr import Zarr, axes_of, multiscales_of

_CHUNK = 1024


def image_of(path: str | os.PathLike[str]) -> Path | None:
    """Return the OME-Zarr image in which a path ``IMAGE/labels/NAME`` lies; None for any other path."""
    target = Path(path)
    root = target.parent.parent
    return root if target.parent.name == "labels" and target.name and Zarr.holds(root) else None


def check_label_image(path: str | os.PathLike[str], axes: str, shape: Sequence[int]) -> None:
    """Refuse labels that cannot be written into an image, before any work is done.

    Raises
    ------
    InputError
        If there are labels of that name, the path lies in no OME-Zarr image, or the labels do not have its size.
    MissingDependencyError
        If zarr is not installed.
    """
    target = Path(path)
    if target.exists():
        raise InputError(f"'{target}' exists already; expected a new name; delete it, or name another one")
    _full_shape(target, axes, shape)


@contextmanager
def new_label_image(path: str | os.PathLike[str], axes: str, shape: Sequence[int]) -> Iterator[LabelArray]:
    """Give an array for labels, which appear in the image when the block ends.

    Parameters
    ----------
    path : path
        ``IMAGE/labels/NAME``.
    axes : str
        A letter per axis of the labels, such as ``"YX"``; the others of the image have length 1, or are channels.
    shape : sequence of int
        Lengths of these axes.

    Yields
    ------
    LabelArray
        Takes labels by slices.

    Raises
    ------
    InputError, MissingDependencyError
        As `check_label_image`.
    """
    target = Path(path)
    check_label_image(target, axes, shape)
    zarr = _zarr(target)
    image, letters, full = _full_shape(target, axes, shape)
    form = int(image.metadata.zarr_format)
    within = zarr.open_group(os.fspath(target.parent), mode="a", zarr_format=form)
    with replacing(target, f".{target.name}.{secrets.token_hex(4)}.part") as part:
        group = zarr.open_group(os.fspath(part), mode="w", zarr_format=form)
        chunks = tuple(min(length, _CHUNK if letter in "YX" else 1) for letter, length in zip(letters, full))
        array = group.create_array("0", shape=full, chunks=chunks, dtype="int32")
        group.attrs.update(_described(image, form))
        yield LabelArray(array, letters, axes)
    _listed(within, target.name, form)


class LabelArray:
    """The axes of an array that labels have; the others have length 1."""

    def __init__(self, array: Any, letters: str, axes: str) -> None:
        self._array, self._letters, self._axes = array, letters, axes
        self.dtype = np.dtype(array.dtype)
        self.shape = tuple(int(array.shape[letters.index(letter)]) for letter in axes)

    def _index(self, index: Any) -> tuple[Any, ...]:
        given = index if isinstance(index, tuple) else (index,)
        sides = dict(zip(self._axes, given))
        return tuple(
            sides.get(letter, slice(None)) if letter in self._axes else 0 for letter in self._letters
        )

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        return np.asarray(self._array[self._index(index)])

    def __setitem__(self, index: Any, labels: Any) -> None:
        self._array[self._index(index)] = labels


def _zarr(path: Path) -> Any:
    return optional_module("zarr", f"'{path}' needs the package zarr; install it (pip install zarr)")


def _full_shape(target: Path, axes: str, shape: Sequence[int]) -> tuple[Any, str, tuple[int, ...]]:
    """Return the group of the image, the letters of its axes, and the shape of labels with all of them."""
    root = image_of(target)
    group = None if root is None else _zarr(target).open_group(os.fspath(root), mode="r")
    images = [] if group is None else multiscales_of(group)
    if group is None or not images:
        raise InputError(
            f"'{target}' lies in no OME-Zarr image; expected IMAGE/labels/NAME; name the image's folder, or write "
            "a .tif"
        )
    array = group[images[0]["datasets"][0]["path"]]
    letters = axes_of(images[0], array.shape)
    lengths = dict(zip(axes, shape, strict=True))
    full = tuple(int(lengths.get(letter, 1)) for letter in letters)
    fits = all(
        new == old or letter == "C" for letter, new, old in zip(letters, full, array.shape, strict=True)
    )
    if not fits or set(axes) - set(letters):
        raise InputError(
            f"labels with axes {axes} of shape {tuple(shape)} for the image '{root}' with axes {letters} of shape "
            f"{tuple(array.shape)}; expected its size along each axis but C; write them as .tif instead"
        )
    return group, letters, full


def _described(image: Any, form: int) -> dict[str, Any]:
    """The attributes of a label image: axes and sizes of the image, at its finest resolution."""
    found = multiscales_of(image)[0]
    finest = {**found["datasets"][0], "path": "0"}
    entries: dict[str, Any] = {"version": found.get("version", "0.4"), "name": "labels", "datasets": [finest]}
    entries |= {key: found[key] for key in ("axes", "coordinateTransformations") if key in found}
    content = {"multiscales": [entries], "image-label": {"source": {"image": "../../"}}}
    return {"software": MARK, **(content if form == 2 else {"ome": {"version": "0.5", **content}})}


def _listed(within: Any, name: str, form: int) -> None:
    """Add a name to those of the group of labels."""
    attributes = dict(within.attrs)
    found = attributes.get("ome", attributes)
    names = found.get("labels", []) if isinstance(found, Mapping) else []
    content = {"labels": [*(entry for entry in names if entry != name), name]}
    within.attrs.update(content if form == 2 else {"ome": {"version": "0.5", **content}})
