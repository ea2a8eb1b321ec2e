"""Labels as TIFF, for ImageJ and other programs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export.base import Result
from pixel_embedded_affinity.io.atomic import atomic_path
from pixel_embedded_affinity.io.marks import MARK
from pixel_embedded_affinity.labels import as_labels


class Labels:
    """Exporter of labels, which ``pea segment`` always writes, as the last file."""

    suffix = "_labels.tif"
    help = "the number of the object at each pixel"

    def write(self, path: Path, result: Result) -> None:
        """Write the labels with the axes of the image file."""
        write_labels(path, result.stored_labels)


def write_labels(path: str | os.PathLike[str], labels: Any) -> None:
    """Write labels as a TIFF, without loss.

    The type is uint16 if all labels are below 65,536, else uint32. The file is compressed by zlib without a predictor,
    which ImageJ, scikit-image and tifffile read, and has one page per plane of a volume. The same labels give the
    same bytes.

    Parameters
    ----------
    path : str or path-like
        A name ending in ``.tif`` or ``.tiff`` in an existing folder; a file there is replaced, at once and
        whole.
    labels : array-like of integers
        Shape ``(Y, X)`` or ``(Z, Y, X)``, 0 = background. Never modified.

    Raises
    ------
    InputError
        If the labels are not integers, negative, beyond 32 bits, empty or neither 2D nor 3D, or the path
        does not fit.
    """
    import tifffile

    array = as_labels(labels)
    highest = int(array.max())
    if highest > np.iinfo(np.uint32).max:
        raise InputError(
            f"labels up to {highest}; expected at most 32 bits; relabel the objects consecutively"
        )
    dtype = np.uint16 if highest <= np.iinfo(np.uint16).max else np.uint32
    with atomic_path(path, (".tif", ".tiff")) as temporary:
        tifffile.imwrite(
            temporary,
            array.astype(dtype),
            photometric="minisblack",
            compression="zlib",
            predictor=False,
            metadata={"axes": "ZYX"[-array.ndim :]},
            software=MARK,
        )
