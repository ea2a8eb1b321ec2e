"""Files of microscopes (CZI, ND2, LIF and others), by bioio and its plug-ins."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError, MissingDependencyError, one_line, optional_module
from pixel_embedded_affinity.io.readers.base import NotRead, Series, Source, chosen_series
from pixel_embedded_affinity.io.readers.calibration import micrometers

_EXTRA = "pip install 'pixel-embedded-affinity[bioio]'"
_PLUGINS = {
    ".czi": ("bioio_czi", _EXTRA),
    ".nd2": ("bioio_nd2", _EXTRA),
    ".lif": ("bioio_lif", _EXTRA),
    ".dv": ("bioio_dv", "pip install bioio bioio-dv"),
} | {
    suffix: ("bioio_bioformats", "pip install bioio bioio-bioformats, which needs Java")
    for suffix in (".lsm", ".oib", ".oif", ".vsi")
}


class Bioio:
    """Reader of microscope files: the scenes are the images; values are read when they are indexed."""

    suffixes = tuple(_PLUGINS)
    signatures = ()

    @staticmethod
    def lacks(suffix: str) -> str | None:
        """Tell how to install what reads files of this ending; None if it is installed."""
        module, command = _PLUGINS[suffix]
        there = all(importlib.util.find_spec(name) is not None for name in ("bioio", module))
        return None if there else command

    def read_series(self, path: Path, series: int | None, *, lazily: bool) -> Source:
        """Open one image; its values are read when they are indexed, also without `lazily`."""
        image = _opened(path)
        number, found = chosen_series(_listed(image), series, path)
        image.set_scene(number)
        return found.source._replace(values=Values(image.dask_data, path))

    def list_series(self, path: Path) -> list[Series]:
        """List the scenes of a file."""
        return _listed(_opened(path))


class Values:
    """Values of a scene, which are read when they become an array; what a plug-in then raises says what to do."""

    def __init__(self, values: Any, path: Path) -> None:
        self._values, self._path = values, path
        self.shape, self.dtype = tuple(values.shape), values.dtype

    def __getitem__(self, index: Any) -> Values:
        return Values(self._values[index], self._path)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        try:
            return np.asarray(self._values, dtype=dtype)
        # Each plug-in has errors of its own.
        except Exception as error:
            raise InputError(
                f"the values of '{self._path}' cannot be read by bioio ({type(error).__name__}: {one_line(error)}); "
                "expected planes of Y and X; copy it again, or save it as OME-TIFF"
            ) from error


def _opened(path: Path) -> Any:
    command = Bioio.lacks(path.suffix.lower())
    needed = f"'{path}' is a file of a microscope, which needs packages that are not installed; install them "
    if command is not None:
        raise MissingDependencyError(f"{needed}({command}), or save it as OME-TIFF")
    bioio = optional_module("bioio", f"{needed}again ({_EXTRA})")
    try:
        return bioio.BioImage(path)
    # Each plug-in has errors of its own; that of bioio for a file that none of them takes is no ValueError either.
    except Exception as error:
        raise InputError(
            f"'{path}' cannot be read by bioio ({type(error).__name__}: {one_line(error)}); expected an intact "
            f"{path.suffix} file; copy it again, or save it as OME-TIFF"
        ) from error


def _listed(image: Any) -> list[Series]:
    found = []
    for number, name in enumerate(image.scenes):
        image.set_scene(number)
        found.append(Series(str(name), _declared(image), len(image.resolution_levels)))
    return found


def _declared(image: Any) -> Source:
    """What is known about the current scene; values are not read."""
    sizes = {axis: micrometers(getattr(image.physical_pixel_sizes, axis), "um") for axis in "XYZ"}
    names = tuple(str(name) for name in image.channel_names or ())
    return Source(
        NotRead(tuple(image.shape), image.dtype),
        image.dims.order,
        channels=names if any(names) else (),
        pixel_size={axis: size for axis, size in sizes.items() if size} or None,
    )
