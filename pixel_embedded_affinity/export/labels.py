"""Labels as TIFF, for ImageJ and other programs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export.base import Result
from pixel_embedded_affinity.geometry.per_axis import numbers_per_axis
from pixel_embedded_affinity.io.atomic import as_path, atomic_path
from pixel_embedded_affinity.io.label_images import image_of, new_label_image
from pixel_embedded_affinity.io.marks import MARK
from pixel_embedded_affinity.labels import as_labels

_HYPERSTACKS = "ZYX", "TYX", "TZYX"
"""Axes in the order of ImageJ."""


class Labels:
    """Exporter of labels, which ``pea segment`` always writes, as the last file."""

    suffix = "_labels.tif"
    help = "the number of the object at each pixel"

    def write(self, path: Path, result: Result) -> None:
        """Write the labels with the axes of the image file."""
        write_labels(path, result.stored_labels, axes=result.axes, pixel_size=result.pixel_size)


def write_labels(
    path: str | os.PathLike[str],
    labels: Any,
    *,
    axes: str | None = None,
    pixel_size: float | Sequence[float] | None = None,
) -> None:
    """Write labels as a TIFF, or into an OME-Zarr image, without loss.

    The type is uint16 if all labels are below 65,536, else uint32. The file is compressed by zlib without a predictor,
    which ImageJ, scikit-image and tifffile read, and has one page per plane of a volume. The same labels give the
    same bytes.

    Parameters
    ----------
    path : str or path-like
        A name ending in ``.tif`` or ``.tiff`` in an existing folder; a file there is replaced, at once and
        whole. Or a new ``IMAGE/labels/NAME`` within an OME-Zarr image, whose axes, sizes and resolutions the labels
        then have; with a name ending in ``.zarr`` of what is not there yet, a group is made for the labels alone.
    labels : array-like of integers
        Shape ``(Y, X)`` or ``(Z, Y, X)``, 0 = background; with `axes`, also of a time-lapse. Never modified.
    axes : str, optional
        A letter per axis, such as ``"TYX"`` for a time-lapse. Default: ``"YX"`` or ``"ZYX"``.
    pixel_size : float or sequence of float, optional
        Size of a pixel in micrometers, one number or one per spatial axis in their order. The file then has a
        resolution, which other programs read. ImageJ also reads the distance of planes, and which axis is time.

    Raises
    ------
    InputError
        If the labels are not integers, negative, beyond 32 bits, empty or neither 2D nor 3D, the axes or the size do
        not fit them, or the path does not fit.
    """
    import tifffile

    array = as_labels(labels, frames=axes is not None and "T" in axes)
    letters = "ZYX"[-array.ndim :] if axes is None else axes
    if sorted(letters.replace("T", "")) != sorted("ZYX"[3 - array.ndim + letters.count("T") :]):
        raise InputError(
            f"axes={axes!r} for labels of shape {array.shape}; expected a letter per axis, Y and X and at most Z "
            "and T, each once"
        )
    sizes = sizes_by_axis(letters, pixel_size)
    highest = int(array.max())
    if highest > np.iinfo(np.uint32).max:
        raise InputError(
            f"labels up to {highest}; expected at most 32 bits; relabel the objects consecutively"
        )
    target_path = as_path(path)
    if image_of(target_path) is not None:
        with new_label_image(target_path, letters, array.shape, sizes) as target:
            target[...] = array
        return
    dtype = np.uint16 if highest <= np.iinfo(np.uint16).max else np.uint32
    with atomic_path(target_path, (".tif", ".tiff")) as temporary:
        tifffile.imwrite(
            temporary,
            array.astype(dtype),
            compression="zlib",
            predictor=False,
            **tiff_description(letters, array.shape, sizes),
        )


def tiff_description(axes: str, shape: Sequence[int], sizes: Mapping[str, float]) -> dict[str, Any]:
    """Return the arguments with which tifffile says what labels are: their mark, axes and sizes.

    ImageJ takes the planes of any other TIFF for sections, and does not know how far apart they are. So volumes and
    time-lapses in its order of axes are described in its way. Other labels have pixels per centimeter.

    Parameters
    ----------
    axes : str
        A letter per axis of the labels.
    shape : sequence of int
        Shape of the labels.
    sizes : mapping of str to float
        Size of a pixel along axes of space in micrometers; empty if it is not known.
    """
    kept: dict[str, Any] = {"photometric": "minisblack", "software": MARK}
    # A reader leaves axes of length 1 of ImageJ's stacks out.
    if axes in _HYPERSTACKS and min(shape[:-2]) > 1:
        text = _as_imagej(dict(zip(axes, shape)), sizes)
        resolution = {"resolution": (1 / sizes["X"], 1 / sizes["Y"])} if sizes else {}
        return {**kept, "description": text, "metadata": None, "resolutionunit": "NONE", **resolution}
    metadata: dict[str, Any] = {"axes": axes}
    if not sizes:
        return {**kept, "metadata": metadata}
    if "Z" in sizes:
        metadata |= {"unit": "um", "spacing": sizes["Z"]}
    # TIFF calls the last axis of a page X.
    across, down = "YX" if axes.endswith("XY") else "XY"
    per_centimeter = (1e4 / sizes[across], 1e4 / sizes[down])
    return {**kept, "metadata": metadata, "resolution": per_centimeter, "resolutionunit": "CENTIMETER"}


def _as_imagej(lengths: Mapping[str, int], sizes: Mapping[str, float]) -> str:
    """Describe a stack as ImageJ does."""
    sections, frames = lengths.get("Z", 1), lengths.get("T", 1)
    entries: dict[str, Any] = {"ImageJ": "1.11a", "images": sections * frames}
    entries |= {"slices": sections} if sections > 1 else {}
    entries |= {"frames": frames, "hyperstack": "true"} if frames > 1 else {}
    entries |= {"unit": "um"} if sizes else {}
    entries |= {"spacing": sizes["Z"]} if "Z" in sizes else {}
    return "".join(f"{name}={value}\n" for name, value in {**entries, "loop": "false"}.items())


def sizes_by_axis(axes: str, pixel_size: float | Sequence[float] | None) -> dict[str, float]:
    """Return the size of a pixel along each axis of space; empty where it is not known."""
    if pixel_size is None:
        return {}
    spatial = axes.replace("T", "")
    if isinstance(pixel_size, Sequence) and len(pixel_size) == 2:  # sections whose distance is not known
        spatial = spatial.replace("Z", "")
    return dict(zip(spatial, numbers_per_axis(pixel_size, len(spatial), "pixel_size")))
