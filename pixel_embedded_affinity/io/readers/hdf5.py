"""Datasets of HDF5 files, by h5py: ``volume.h5``, or ``volume.h5:/name`` of one that holds several."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError, optional_module
from pixel_embedded_affinity.io.readers.base import NotRead, Series, Source, chosen_series

_ENDINGS = (".h5", ".hdf5", ".hdf")
_INSTALL = "pip install 'pixel-embedded-affinity[hdf5]'"


def file_and_dataset(path: Path) -> tuple[Path, str]:
    """Split ``FILE.h5:/NAME`` into the file and the name of the dataset; the name is empty if none is given."""
    head, colon, name = str(path).rpartition(":")
    if colon and Path(head).suffix.lower() in _ENDINGS:
        return Path(head), name.strip("/")
    return path, ""


def file_name(path: Path) -> str:
    """Return the name of a file, with the dataset if there is one, such as ``stack.h5:/raw``."""
    file, dataset = file_and_dataset(path)
    return f"{file.name}:/{dataset}" if dataset else file.name


def stem_of(path: Path) -> str:
    """Return the name of a file without its ending, with the dataset if there is one, such as ``stack_raw``."""
    file, dataset = file_and_dataset(path)
    return f"{file.stem}_{dataset.replace('/', '_')}" if dataset else file.stem


class Hdf5:
    """Reader of HDF5: a dataset of numbers with two axes or more."""

    suffixes = _ENDINGS
    signatures = (b"\x89HDF\r\n\x1a\n",)

    @staticmethod
    def lacks(suffix: str) -> str | None:
        """Tell how to install h5py; None if it is installed."""
        return None if importlib.util.find_spec("h5py") is not None else _INSTALL

    def read_series(self, path: Path, series: int | None, *, lazily: bool) -> Source:
        """Read one dataset, or open it."""
        file, _ = file_and_dataset(path)
        advice = f", or by its name, such as '{file}:/NAME'"
        chosen = chosen_series(self.list_series(path), series, path, advice=advice)[1]
        dataset = Dataset(file, chosen.name, *chosen.source.values)
        return chosen.source._replace(values=dataset if lazily else dataset[...])

    def list_series(self, path: Path) -> list[Series]:
        """List the datasets of a file, or the named one alone."""
        file, name = file_and_dataset(path)
        found: list[Series] = []

        def visit(key: str, item: Any) -> None:
            kind = getattr(item, "dtype", np.dtype(object)).kind
            if kind in "biuf" and len(item.shape) > 1:
                axes, sizes = _declared(item)
                found.append(Series(key, Source(NotRead(item.shape, item.dtype), axes, pixel_size=sizes)))

        with _h5py(file).File(file, "r") as content:
            content.visititems(visit)
        chosen = [one for one in found if name in ("", one.name)]
        if not chosen:
            names = ", ".join(repr(one.name) for one in found) or "none"
            wanted = f"no dataset {name!r}" if name else "no dataset"
            raise InputError(
                f"'{file}' has {wanted} of numbers with two axes or more; it has {names}; name one of these, such as "
                f"'{file}:/NAME'"
            )
        return chosen


def _declared(dataset: Any) -> tuple[str, dict[str, float] | None]:
    """Axes and size of a pixel in micrometers of a dataset, as far as its attributes say them.

    Axes are those of vigra's ``axistags``, or the labels of the dimensions. Sizes are ``element_size_um`` of ilastik
    and ImageJ, or ``resolution`` in nanometers of CREMI, along z, y and x.
    """
    count, attributes = len(dataset.shape), dataset.attrs
    axes = _of_axistags(attributes.get("axistags")) or "".join(one.label.upper() for one in dataset.dims)
    if len(axes) != count or len(set(axes)) < count or not set(axes) <= set("TCZYX"):
        axes = ""
    for name, micrometers in (("element_size_um", 1.0), ("resolution", 1e-3)):
        sizes = np.ravel(attributes.get(name, ()))
        if (
            len(sizes) == len("ZYX")
            and sizes.dtype.kind in "iuf"
            and np.all(np.isfinite(sizes) & (sizes > 0))
        ):
            known = dict(zip("ZYX", (float(size) * micrometers for size in sizes)))
            letters = axes or ("ZYX"[-count:] if count <= len("ZYX") else "")
            return letters, {letter: known[letter] for letter in letters if letter in known} or None
    return axes, None


def _of_axistags(text: Any) -> str:
    try:
        return "".join(str(axis["key"]).upper() for axis in json.loads(text)["axes"])
    except (TypeError, ValueError, KeyError):  # none, or those of another program
        return ""


class Dataset:
    """A dataset that is opened when it is indexed, so that it can be sent to another process."""

    def __init__(self, file: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.file, self.name, self.shape, self.dtype = file, name, shape, dtype

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        with _h5py(self.file).File(self.file, "r") as content:
            values: npt.NDArray[Any] = content[self.name][index]
        return values


def _h5py(file: Path) -> Any:
    text = f"'{file}' is read by h5py, which is not installed; install it ({_INSTALL})"
    return optional_module("h5py", text)
