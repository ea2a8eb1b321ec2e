"""Labels within OME-Zarr: ``IMAGE/labels/NAME``, where viewers of NGFF look for them, or in a group of their own."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError, optional_module
from pixel_embedded_affinity.io.atomic import as_path, replacing
from pixel_embedded_affinity.io.locks import locked
from pixel_embedded_affinity.io.marks import MARK
from pixel_embedded_affinity.io.readers.zarr import Zarr, axes_of, multiscales_of
from pixel_embedded_affinity.io.selection import LETTERS

_CHUNK = 1024
_NEW_FORM = 3  # of zarr, which is NGFF 0.5
_LOCK_FILE, _PATIENCE = ".lock", 60.0  # seconds to wait for others that write into the same list


class _Layout(NamedTuple):
    """How labels are stored.

    Attributes
    ----------
    form : int
        The version of zarr: 2 of NGFF 0.4, 3 of NGFF 0.5.
    letters : str
        The axes of the arrays, of which the labels may lack some.
    shapes : list of tuple of int
        The shape of each resolution, the finest first.
    multiscale : dict
        The axes, sizes and datasets, as the attributes have them.
    label : dict
        What the attributes say about the labels: the image that they belong to, if there is one.
    """

    form: int
    letters: str
    shapes: list[tuple[int, ...]]
    multiscale: dict[str, Any]
    label: dict[str, Any]


def image_of(path: str | os.PathLike[str]) -> Path | None:
    """Return the OME-Zarr in which a path ``IMAGE/labels/NAME`` lies; None for any other path.

    It may be an image, or a name ending in ``.zarr`` of what is made for the labels.
    """
    target = Path(path)
    root = target.parent.parent
    if target.parent.name != "labels" or not target.name:
        return None
    return root if Zarr.holds(root) or root.suffix.lower() == ".zarr" else None


def check_label_image(path: str | os.PathLike[str], axes: str, shape: Sequence[int]) -> None:
    """Refuse labels that cannot be written into an image, before any work is done.

    Raises
    ------
    InputError
        If there are labels of that name, the path lies in no OME-Zarr image, or the labels do not have its size.
    MissingDependencyError
        If zarr is not installed.
    """
    target = as_path(path)
    if target.exists():
        raise InputError(f"'{target}' exists already; expected a new name; delete it, or name another one")
    _layout(target, axes, shape, {})


@contextmanager
def new_label_image(
    path: str | os.PathLike[str], axes: str, shape: Sequence[int], sizes: Mapping[str, float] | None = None
) -> Iterator[LabelArray]:
    """Give an array for labels, which appear in the image when the block ends, at each of its resolutions.

    Parameters
    ----------
    path : path
        ``IMAGE/labels/NAME``. Where there is no image, a group is made that holds the labels alone.
    axes : str
        A letter per axis of the labels, such as ``"YX"``; the others of the image have length 1, or are channels.
    shape : sequence of int
        Lengths of these axes.
    sizes : mapping of str to float, optional
        Size of a pixel in micrometers along axes of space, for a group of their own; an image says it itself.

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
    zarr, layout = _zarr(target), _layout(target, axes, shape, sizes or {})
    new_groups = [group for group in (target.parent, target.parent.parent) if not group.exists()]
    try:
        yield from _filled(zarr, target, layout, axes)
    except BaseException:
        for group in new_groups:
            if group.is_dir() and not any(inner.is_dir() for inner in group.iterdir()):
                shutil.rmtree(group, ignore_errors=True)  # holds nothing but its description
        raise


def _filled(zarr: Any, target: Path, layout: _Layout, axes: str) -> Iterator[LabelArray]:
    """Make the groups, give the array to fill, and list the labels."""
    if not Zarr.holds(target.parent.parent):
        new = zarr.open_group(os.fspath(target.parent.parent), mode="a", zarr_format=layout.form)
        new.attrs.update({"software": MARK})
    zarr.open_group(os.fspath(target.parent), mode="a", zarr_format=layout.form)
    with replacing(target, f".{target.name}.{secrets.token_hex(4)}.part") as part:
        group = zarr.open_group(os.fspath(part), mode="w", zarr_format=layout.form)
        arrays = [_new_array(group, str(level), layout, full) for level, full in enumerate(layout.shapes)]
        group.attrs.update(_described(layout, target.name))
        yield LabelArray(arrays[0], layout.letters, axes)
        for fine, coarse in pairwise(arrays):
            _shrink(fine, coarse)
    refusal = (
        f"another program holds the list of labels in '{target.parent}'; '{target.name}' is written, but not listed "
        "there; add it to the attribute 'labels'"
    )
    # Others may have written labels meanwhile: what their list says counts.
    with locked(target.parent / _LOCK_FILE, refusal, wait=_PATIENCE):
        within = zarr.open_group(os.fspath(target.parent), mode="a", zarr_format=layout.form)
        _listed(within, target.name, layout.form)


class LabelArray:
    """The axes of an array that labels have, in their order; the others have length 1."""

    def __init__(self, array: Any, letters: str, axes: str) -> None:
        self._array, self._letters, self._axes = array, letters, axes
        self.dtype = np.dtype(array.dtype)
        self.shape = tuple(int(array.shape[letters.index(letter)]) for letter in axes)

    def _index(self, index: Any) -> tuple[Any, ...]:
        given = () if index is Ellipsis else index if isinstance(index, tuple) else (index,)
        sides = dict(zip(self._axes, given))
        return tuple(
            sides.get(letter, slice(None)) if letter in self._axes else 0 for letter in self._letters
        )

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        stored = self._stored_axes()
        order = [stored.index(letter) for letter in self._axes]
        return np.asarray(self._array[self._index(index)]).transpose(order)

    def __setitem__(self, index: Any, labels: Any) -> None:
        order = [self._axes.index(letter) for letter in self._stored_axes()]
        values = np.asarray(labels)
        self._array[self._index(index)] = values.transpose(order) if values.ndim else values

    def _stored_axes(self) -> str:
        return "".join(letter for letter in self._letters if letter in self._axes)


def _zarr(path: Path) -> Any:
    return optional_module("zarr", f"'{path}' needs the package zarr; install it (pip install zarr)")


def _layout(target: Path, axes: str, shape: Sequence[int], sizes: Mapping[str, float]) -> _Layout:
    """Decide how labels are stored: as the image at its resolutions, or in a group of their own."""
    zarr, root = _zarr(target), image_of(target)
    lengths = dict(zip(axes, (int(length) for length in shape), strict=True))
    if root is not None and not Zarr.holds(root):
        if not root.absolute().parent.is_dir():
            raise InputError(
                f"the folder of '{root}' does not exist; expected an existing folder; create it first"
            )
        return _layout_of_new(_NEW_FORM, lengths, sizes)
    group = None if root is None else zarr.open_group(os.fspath(root), mode="r")
    images = [] if group is None else multiscales_of(group)
    if group is not None and images:
        return _layout_of_image(group, images[0], lengths, root)
    if group is not None and group.attrs.get("software") == MARK:
        return _layout_of_new(int(group.metadata.zarr_format), lengths, sizes)
    raise InputError(
        f"'{target}' lies in no OME-Zarr image; expected IMAGE/labels/NAME; name the image's folder, or write a .tif"
    )


def _layout_of_image(group: Any, image: Mapping[str, Any], lengths: dict[str, int], root: Any) -> _Layout:
    """Lay out labels as an image at all its resolutions; they have length 1 along the axes that they lack."""
    datasets = [dataset for dataset in image["datasets"] if dataset["path"] in group]
    arrays = [group[dataset["path"]] for dataset in datasets]
    letters = axes_of(image, arrays[0].shape)
    shape = tuple(lengths.get(letter, 1) for letter in letters)
    fits = all(
        new == old or letter == "C" for letter, new, old in zip(letters, shape, arrays[0].shape, strict=True)
    )
    if not fits or set(lengths) - set(letters):
        raise InputError(
            f"labels with axes {''.join(lengths)} of shape {tuple(lengths.values())} for the image '{root}' with axes "
            f"{letters} of shape {tuple(arrays[0].shape)}; expected its size along each axis but C; write them as "
            ".tif instead"
        )
    shapes = [
        tuple(old if letter in lengths else 1 for letter, old in zip(letters, array.shape))
        for array in arrays
    ]
    renamed = [{**dataset, "path": str(level)} for level, dataset in enumerate(datasets)]
    kept = {
        key: image[key]
        for key in ("version", "axes", "coordinateTransformations")
        if image.get(key) is not None
    }
    content = {**kept, "datasets": renamed}
    label = {"source": {"image": "../../"}}
    return _Layout(int(group.metadata.zarr_format), letters, shapes, content, label)


def _layout_of_new(form: int, lengths: Mapping[str, int], sizes: Mapping[str, float]) -> _Layout:
    """Lay out labels in a group of their own: time first, then space, as NGFF has it."""
    letters = "".join(letter for letter in LETTERS if letter in lengths)
    axes = [
        {"name": letter.lower(), "type": "time" if letter == "T" else "space"}
        | ({"unit": "micrometer"} if letter in sizes else {})
        for letter in letters
    ]
    steps = [{"type": "scale", "scale": [sizes.get(letter, 1.0) for letter in letters]}]
    datasets = [{"path": "0", "coordinateTransformations": steps}]
    shapes = [tuple(lengths[letter] for letter in letters)]
    return _Layout(form, letters, shapes, {"axes": axes, "datasets": datasets}, {})


def _new_array(group: Any, name: str, layout: _Layout, shape: tuple[int, ...]) -> Any:
    """Make an array as its version of NGFF wants it: folders of chunks in 0.4, names of axes in 0.5."""
    chunks = tuple(
        min(length, _CHUNK if letter in "YX" else 1) for letter, length in zip(layout.letters, shape)
    )
    separator = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    names = {"dimension_names": [axis["name"] for axis in layout.multiscale.get("axes", [])] or None}
    return group.create_array(
        name, shape=shape, chunks=chunks, dtype="int32", **(separator if layout.form == 2 else names)
    )


def _shrink(fine: Any, coarse: Any) -> None:
    """Fill a coarser resolution with the nearest labels of a finer one, chunk by chunk."""
    steps = zip(coarse.shape, coarse.chunks)
    spans = [[(start, min(start + step, end)) for start in range(0, end, step)] for end, step in steps]
    for box in product(*spans):
        places = [np.arange(*span) * old // new for span, old, new in zip(box, fine.shape, coarse.shape)]
        part = fine[tuple(slice(int(one[0]), int(one[-1]) + 1) for one in places)]
        values = np.asarray(part)[np.ix_(*(one - one[0] for one in places))]
        coarse[tuple(slice(*span) for span in box)] = values


def _described(layout: _Layout, name: str) -> dict[str, Any]:
    """The attributes of a label image."""
    multiscale, label = {"name": name, **layout.multiscale}, dict(layout.label)
    if layout.form == 2:
        label["version"] = multiscale.setdefault("version", "0.4")
    else:
        multiscale.pop("version", None)
    content = {"multiscales": [multiscale], "image-label": label}
    return {"software": MARK, **(content if layout.form == 2 else {"ome": {"version": "0.5", **content}})}


def _listed(within: Any, name: str, form: int) -> None:
    """Add a name to those of the group of labels."""
    attributes = dict(within.attrs)
    found = attributes.get("ome", attributes)
    names = found.get("labels", []) if isinstance(found, Mapping) else []
    content = {"labels": [*(entry for entry in names if entry != name), name]}
    within.attrs.update(content if form == 2 else {"ome": {"version": "0.5", **content}})
