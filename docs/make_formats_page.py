"""Write docs/reference/formats.rst, from what the installed library does with a file of each format.

Run it from any folder, whenever a reader has changed; it needs the packages zarr and h5py::

    python docs/make_formats_page.py            # write the page
    python docs/make_formats_page.py --check    # only tell, by the exit code, whether the page is up to date
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.image import as_image
from pixel_embedded_affinity.io.read import list_series
from pixel_embedded_affinity.io.selection import Selection
from pixel_embedded_affinity.large.lazy import open_image

PAGE = Path(__file__).resolve().parent / "reference" / "formats.rst"
HEAD = """Formats
=======

.. This page is written by docs/make_formats_page.py, which tries each cell of the table.

All verbs and commands read images by the same rules. What a file declares is used or refused. ``pea info FILE``
shows what was
understood of a file.

What the library takes from a file
----------------------------------

"""
REST = """
- *axes*: the file names its axes, such as time and channel; else they are Y and X, and the last one holds colors.
- *channel names*: ``channel="DAPI"`` works, and not only ``channel=0``.
- *pixel size*: tables get columns in micrometers, and written labels have the size of the image's pixels.
- *pyramid*: of several resolutions, the finest is used.
- *several images*: ``series=1`` chooses one. Without it, a file of several images is refused; ``pea segment
  --all-series`` segments each of them.
- *in parts*: ``segment_large`` reads only the part that it works on; of a compressed TIFF, with the package ``zarr``.
  Other files are read whole.

A TIFF that is compressed by LZW, ZSTD, JPEG or JPEG 2000, or whose values have 10, 12 or 14 bits, is decoded
exactly, or the error
names the package ``imagecodecs``. OME-Zarr needs the package ``zarr``.

HDF5 needs the package ``h5py`` (``pip install 'pixel-embedded-affinity[hdf5]'``). A dataset of a file that holds
several is chosen by its name, ``"stack.h5:/volumes/raw"``, or by ``series``. In a shell, give the file and
``--series``. Its axes are those of ``axistags`` or the labels of its dimensions, the size of a pixel is its attribute
``element_size_um`` (micrometers along z, y and x, as ilastik writes it) or ``resolution`` (nanometers, as in CREMI).

In Python, an image may also be the content of a TIFF, PNG, JPEG or HDF5 file: bytes, or an open file, such as an upload
to a web service.

In Python, models of volumes also take a folder of sections: gray images of one size, in the order of the numbers in
their names. In a shell, a folder holds images that are segmented one by one.

Files of microscopes are read by `bioio <https://github.com/bioio-devs/bioio>`_: CZI, ND2 and LIF with the extra
``bioio`` (``pip install 'pixel-embedded-affinity[bioio]'``), DV with ``bioio-dv``, and LSM, OIB, OIF and VSI with
``bioio-bioformats``, which needs Java. Axes, names of channels, pixel sizes, several images (scenes) and reading in
parts work as for OME-TIFF. Without the packages, ``pea segment FOLDER`` counts and names such files as left out, and a
path to one says what to install.

What part of a file is the image
--------------------------------

.. list-table::
   :header-rows: 1
   :widths: 24 76

   * - Python, shell
     - what it says
   * - ``axes="TYX"``, ``--axes TYX``
     - A letter per axis: T time, C channel, Z Y X space. It replaces what the file declares. Planes or pages that a
       model of two
       axes cannot take are segmented one by one if you call them T, and are channels if you call them C.
   * - ``channel=0``, ``--channel 0``
     - The channel to take, by its number from 0 or by its name.
   * - ``time=0``, ``--time 0``
     - The time point to take, from 0. Without it, ``segment``, ``segment_many`` and ``pea segment`` label each time
       point on its
       own: labels have the axes TYX, and each frame has its own objects 1..n.
   * - ``z=0``, ``--z 0``
     - The section of a stack to take for a model of images, from 0. Without it, a stack is refused, unless the axes
       are given: ``axes="ZYX"`` segments each section on its own. Its labels have the axes ZYX, and their numbers go on
       from section to section, so that no number stands for two objects of the stack. No object reaches from one
       section to the next; for that, take a model of volumes.
   * - ``series=0``, ``--series 0``
     - The image to take of a file that holds several.
   * - ``pixel_size=0.325``, ``--pixel-size 0.325``
     - Size of a pixel in micrometers, one number, or one per axis in the order YX or ZYX, whatever the order of the
       image's axes. It replaces what the file declares.

Axes of length 1 that a model does not know are dropped. Longer ones must be chosen, and the error says how.

In a training recipe, the table ``[data.image]`` has the same keys, such as ``channel = "DAPI"``.

What values mean
----------------

- *Channels.* A model of one channel takes an image of three equal channels as gray, with or without alpha; the log
  says so. A
  model of three channels gets a gray image three times, and the log warns of it. Alpha is dropped.
- *White is zero.* Such a TIFF is inverted, so that it looks as in every viewer; the log says so.
- *Palettes.* The colors are used. The lookup table of ImageJ, and a table that keeps the order of the values, are
  display settings
  of intensities, which are used as they are.
- *CMYK and other colors* are refused.
- *Pixel size.* It comes from OME-XML, from ImageJ, from the resolution of a TIFF (72 and 96 dots per inch are the
  resolution of a
  screen, and not of an image), or from the scale of OME-Zarr, where the axis has a unit.
- *Label images* are read as they are stored, whatever they show.
"""
GRAY = np.random.default_rng(0).integers(0, 200, (32, 40)).astype(np.uint8)
STACK = np.stack([GRAY, GRAY[::-1]])


def imagej(folder: Path) -> Path:
    """A file of ImageJ with two channels."""
    labels = ["DAPI", "GFP"]
    metadata = {"axes": "CYX", "unit": "um", "Labels": labels}
    tifffile.imwrite(folder / "imagej.tif", STACK, imagej=True, resolution=(2, 2), metadata=metadata)
    return folder / "imagej.tif"


def ome_tiff(folder: Path) -> Path:
    """A pyramid of two channels."""
    metadata: dict[str, Any] = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    metadata["Channel"] = {"Name": ["DAPI", "GFP"]}
    with tifffile.TiffWriter(folder / "a.ome.tif") as file:
        file.write(STACK, subifds=1, photometric="minisblack", metadata=metadata)
        file.write(STACK[:, ::2, ::2], subfiletype=1, photometric="minisblack")
    return folder / "a.ome.tif"


def tiff(folder: Path) -> Path:
    """A file without any metadata but its resolution, and with a smaller copy."""
    with tifffile.TiffWriter(folder / "plain.tif") as file:
        size = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
        file.write(GRAY, metadata=None, **size)
        file.write(GRAY[::2, ::2], metadata=None, subfiletype=1)
    return folder / "plain.tif"


def compressed(folder: Path) -> Path:
    """The same as `tiff`, compressed."""
    with tifffile.TiffWriter(folder / "zlib.tif") as file:
        size = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
        file.write(GRAY, metadata=None, compression="zlib", **size)
        file.write(GRAY[::2, ::2], metadata=None, compression="zlib", subfiletype=1)
    return folder / "zlib.tif"


def ome_zarr(folder: Path) -> Path:
    """NGFF 0.4 of two channels."""
    import zarr

    group = zarr.open_group(str(folder / "a.ome.zarr"), mode="w", zarr_format=2)
    kinds = {"c": "channel", "y": "space", "x": "space"}
    axes = [{"name": name, "type": kind, "unit": "micrometer"} for name, kind in kinds.items()]
    datasets = []
    for level, values in enumerate((STACK, STACK[:, ::2, ::2])):
        group.create_array(str(level), data=values)
        scale = {"type": "scale", "scale": [1, 0.5 * 2**level, 0.5 * 2**level]}
        datasets.append({"path": str(level), "coordinateTransformations": [scale]})
    channels = {"channels": [{"label": "DAPI"}, {"label": "GFP"}]}
    group.attrs.update(
        {"multiscales": [{"version": "0.4", "axes": axes, "datasets": datasets}], "omero": channels}
    )
    return folder / "a.ome.zarr"


def zarr_array(folder: Path) -> Path:
    """An array of its own."""
    import zarr

    zarr.create_array(str(folder / "a.zarr"), data=GRAY)
    return folder / "a.zarr"


def hdf5(folder: Path) -> Path:
    """A dataset."""
    import h5py

    with h5py.File(folder / "a.h5", "w") as file:
        file["raw"] = STACK
        file["raw"].attrs["element_size_um"] = (2.0, 0.5, 0.5)
        file["raw"].attrs["axistags"] = json.dumps({"axes": [{"key": key} for key in "cyx"]})
    return folder / "a.h5"


def png(folder: Path) -> Path:
    """A picture."""
    Image.fromarray(GRAY).save(folder / "a.png")
    return folder / "a.png"


def jpeg(folder: Path) -> Path:
    """A picture."""
    Image.fromarray(GRAY).save(folder / "a.jpg")
    return folder / "a.jpg"


FORMATS: dict[str, Callable[[Path], Path]] = {
    "TIFF": tiff,
    "TIFF, compressed": compressed,
    "TIFF of ImageJ": imagej,
    "OME-TIFF": ome_tiff,
    "OME-Zarr 0.4, 0.5": ome_zarr,
    "zarr array": zarr_array,
    "HDF5": hdf5,
    "PNG": png,
    "JPEG": jpeg,
}


def has_axes(path: Path) -> bool:
    """Whether a channel can be chosen without naming the axes."""
    return (
        "C" in list_series(path)[0].source.axes
        and as_image(path, channels=1, selection=Selection(channel=1)) is not None
    )


def has_names(path: Path) -> bool:
    """Whether a channel can be chosen by its name."""
    try:
        return as_image(path, channels=1, selection=Selection(channel="GFP")) is not None
    except InputError:
        return False


def has_size(path: Path) -> bool:
    """Whether the size of a pixel is found."""
    chosen = Selection(channel=0)
    found = as_image(path, channels=1, selection=chosen).pixel_size
    return found is not None and bool(np.allclose(found, 0.5))


def has_pyramid(path: Path) -> bool:
    """Whether the file holds a smaller copy, and the finest resolution is read."""
    every = list_series(path)
    return (len(every) > 1 or every[0].levels > 1) and as_image(
        path, channels=1, selection=Selection(channel=0)
    ).spatial_shape == GRAY.shape


def has_several(path: Path) -> bool:
    """Whether the format may hold several images, of which a number chooses one."""
    try:
        as_image(path, channels=1, selection=Selection(series=9))
    except InputError as error:
        return "expected one of 0" in str(error) and path.name != "a.zarr"
    return False


def in_parts(path: Path) -> bool:
    """Whether an image is opened without reading it."""
    try:
        source = open_image(path, channels=1, selection=Selection(channel=0)).source
    except InputError:
        return False
    return isinstance(source, np.memmap) or not isinstance(source, np.ndarray)


def is_read(path: Path) -> bool:
    """Whether the values come as they were written; JPEG changes them."""
    found = as_image(path, channels=1, selection=Selection(channel=0)).values[0]
    return bool(np.abs(found - GRAY).max() < (64 if path.suffix == ".jpg" else 1))


COLUMNS: dict[str, Callable[[Path], bool]] = {
    "read": is_read,
    "axes": has_axes,
    "channel names": has_names,
    "pixel size": has_size,
    "pyramid": has_pyramid,
    "several images": has_several,
    "in parts": in_parts,
}


def rows() -> Iterator[list[str]]:
    """Try every format."""
    with tempfile.TemporaryDirectory() as folder:
        for name, write in FORMATS.items():
            path = write(Path(folder))
            yield [name, *("yes" if holds(path) else "no" for holds in COLUMNS.values())]


def page() -> str:
    """Return the text of the page."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in [["format", *COLUMNS], *rows()]:
        lines += [f"   {'* -' if number == 0 else '  -'} {cell}" for number, cell in enumerate(row)]
    return HEAD + "\n".join(lines) + "\n" + REST


def main() -> int:
    """Update or check the page; return the exit code."""
    text = page()
    current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == text
    if "--check" in sys.argv[1:]:
        print("formats.rst is up to date" if current else "formats.rst differs: run this without --check")
        return int(not current)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
