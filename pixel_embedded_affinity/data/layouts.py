"""Images and labels on disk: which files belong together, and whether they can be used for training."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.data.outlines.base import outline_suffixes, read_outlines
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import Settings, choice, list_of, number, setting, text
from pixel_embedded_affinity.geometry.scaling import resize_image, resize_labels
from pixel_embedded_affinity.image import as_image
from pixel_embedded_affinity.io.read import image_suffixes, read_image
from pixel_embedded_affinity.labels import relabel
from pixel_embedded_affinity.normalize import Normalization, normalize

logger = logging.getLogger(__name__)

LabelArray = npt.NDArray[np.int32]

LAYOUTS = ("folders", "bbbc039", "cvppp")
"""Ways to arrange a data folder, see `DataSettings`."""

SPLITS = ("training", "validation", "test", "all")
"""Parts of a data set; ``"all"`` is every image of it."""

RAW = Normalization(kind="none")
"""For `load`: images as they are stored, for a segmenter that normalizes them itself."""

_EXACT_FLOATS = 2.0**53
_RESIZING = 0.1, 4.0


@dataclass(frozen=True)
class DataSettings(Settings, section="data"):
    """Where the images and labels lie in the data folder, and how they are split.

    Parameters
    ----------
    layout : {"folders", "bbbc039", "cvppp"}
        ``"folders"``: images in ``images/`` and labels in ``labels/``, whose names differ only in their endings; or
        a list file. Labels may also be ROIs of ImageJ, GeoJSON of QuPath, or COCO. The others: the data sets as
        published.
    validation : sequence of str
        Names of the images kept for validation (``"folders"`` and ``"cvppp"``; BBBC039 brings its own split).
    held_out : sequence of str
        Names of images used for neither training nor validation; for ``"folders"`` and ``"cvppp"`` they are the
        split ``"test"``.
    diameter : float
        Each training image is resized so that its median object has the area of a disk of this diameter in pixels;
        0 leaves the images as they are.

    Raises
    ------
    InputError
        If the layout is unknown, a name is in both lists, `validation` is given for BBBC039, or the diameter is
        negative.
    """

    layout: str = setting("folders", choice(*LAYOUTS))
    validation: tuple[str, ...] = setting((), list_of(text()))
    held_out: tuple[str, ...] = setting((), list_of(text()))
    diameter: float = setting(0.0, number(0))

    def _check_together(self) -> None:
        both = sorted(set(self.validation) & set(self.held_out))
        if both:
            raise InputError(f"data.validation and data.held_out share {both}; expected each name in one")
        if self.layout == "bbbc039" and self.validation:
            raise InputError("data.validation is given, but layout 'bbbc039' brings its own split; remove it")


@dataclass(frozen=True)
class Example:
    """One image with its labels.

    Attributes
    ----------
    name : str
        The image's file name without its ending.
    image : numpy.ndarray
        float32 (C, H, W).
    labels : numpy.ndarray
        int32 (H, W): 0 = background, objects 1..n.
    """

    name: str
    image: npt.NDArray[np.float32]
    labels: LabelArray


@dataclass(frozen=True)
class Files:
    """The image file and the label file of one example, and the way to read the labels."""

    name: str
    image: Path
    labels: Path
    read_labels: Callable[[Path], LabelArray]


def load(files: Iterable[Files], normalization: Normalization, channels: int) -> list[Example]:
    """Read and check images and their labels.

    Parameters
    ----------
    files : iterable of Files
        From `find_files`.
    normalization : Normalization
        How intensities become network input; `RAW` keeps them.
    channels : int
        Channels of the model; `image.as_image` fits the images to them.

    Raises
    ------
    InputError
        If a file cannot be read, sizes differ, or labels are not labels; the message names the file.
    """
    return [load_one(entry, normalization, channels) for entry in files]


def load_one(entry: Files, normalization: Normalization, channels: int) -> Example:
    """Read and check an image and its labels, see `load`."""
    try:
        image = as_image(entry.image, channels=channels)
        values = normalize(image.values, normalization)
    except InputError as error:
        raise _naming(entry.image, error) from error
    outlined = entry.labels.suffix.lower() in outline_suffixes()
    shape = image.spatial_shape
    labels = read_outlines(entry.labels, entry.image, shape) if outlined else entry.read_labels(entry.labels)
    if image.spatial_shape != labels.shape:
        raise InputError(
            f"image {str(entry.image)!r} has {image.spatial_shape} pixels, its labels {str(entry.labels)!r} "
            f"{labels.shape}; expected the same size"
        )
    return Example(entry.name, values, labels)


def of_diameter(example: Example, diameter: float) -> Example:
    """Resize an example so that its median object has the area of a disk of this diameter in pixels.

    An example without objects stays as it is.
    """
    areas = np.bincount(example.labels.ravel())[1:]
    if not areas.any():
        return example
    found = math.sqrt(float(np.median(areas[areas > 0])) * 4 / math.pi)
    image = resize_image(example.image, float(np.clip(diameter / found, *_RESIZING)))
    return replace(example, image=image, labels=relabel(resize_labels(example.labels, image.shape[1:])))


def require_objects(examples: Sequence[Example]) -> None:
    """Refuse images without any object to learn from; single images may have none.

    Raises
    ------
    InputError
        If there is no image, or no object in any of them.
    """
    if not any(example.labels.any() for example in examples):
        raise InputError(
            f"none of the {len(examples)} training label images holds an object; expected labels 1..n in "
            "some; check the label files"
        )


_REMEDIES = {
    "training": "leave some out of the recipe's data.validation and data.held_out",
    "validation": "name some in the recipe's data.validation, or take the split 'all'",
    "test": "name some in the recipe's data.held_out, or take the split 'all'",
    "all": "expected images and their labels there",
}


def find_files(directory: str | Path, settings: DataSettings, split: str) -> list[Files]:
    """List the files of one split, sorted by name.

    Parameters
    ----------
    directory : str or Path
        The data folder. For ``"folders"``, also a text file with an image path and a label path per line,
        separated by a tab or, without a tab, by a comma; relative paths start at the file's own folder.
    settings : DataSettings
        Layout and split.
    split : {"training", "validation", "test", "all"}
        Which part. The test part is BBBC039's own, or the images held out.

    Raises
    ------
    InputError
        If the folder, an image or its labels, an image named in the settings, or the whole split is missing.
    """
    choice(*SPLITS)(split, "split")
    folder = Path(directory)
    if not folder.exists():
        raise InputError(f"no data at {str(folder)!r}; give the folder that holds the images and labels")
    files = _LAYOUTS[settings.layout](folder, settings, split)
    if not files:
        raise InputError(
            f"no {split} images in {str(folder)!r} (layout {settings.layout!r}); {_REMEDIES[split]}"
        )
    for file in (file for entry in files for file in (entry.image, entry.labels)):
        if not file.is_file():
            raise InputError(f"no file {str(file)!r}; expected an image and a label file per example")
    return sorted(files, key=lambda entry: entry.name)


def read_labels(path: Path) -> LabelArray:
    """Read a label image, and number its objects 1..n; an object keeps all its pieces.

    A palette PNG gives its palette indices, not its colors. Floating-point values are accepted if all are whole.

    Parameters
    ----------
    path : Path
        TIFF or PNG with one value per pixel: 0 for background, another number per object.

    Raises
    ------
    InputError
        If the image is a JPEG, which changes values, or in color, or a value is negative, fractional, NaN or
        infinite; the message names the file.
    """
    if path.suffix.lower() in (".jpg", ".jpeg"):
        raise InputError(f"label image {str(path)!r} is a JPEG, which changes values; expected TIFF or PNG")
    values = read_image(path)
    if path.suffix.lower() == ".png":
        values = _palette_index(path, values)
    if values.ndim != 2:
        raise InputError(
            f"label image {str(path)!r} has shape {values.shape}; expected (H, W), one number per pixel; "
            "colors are not labels, except as a palette PNG"
        )
    return _as_labels(values, path)


def _as_labels(values: npt.NDArray[Any], path: Path) -> LabelArray:
    if values.dtype.kind == "f":
        if not ((np.abs(values) < _EXACT_FLOATS) & (values == np.rint(values))).all():
            raise InputError(
                f"label image {str(path)!r} holds fractions, NaN or infinite values; expected whole numbers"
            )
        values = values.astype(np.int64)
    try:
        return relabel(values.astype(np.uint8) if values.dtype == bool else values)
    except InputError as error:
        raise _naming(path, error) from error


def _naming(path: Path, error: InputError) -> InputError:
    """The same error, with the file's name in its message."""
    message = str(error)
    return InputError(message if str(path) in message else f"{str(path)!r}: {message}")


def _palette_index(path: Path, colors: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the indices of a palette PNG; for another PNG, return `colors`."""
    from PIL import Image

    with Image.open(path, formats=["PNG"]) as picture:
        return np.array(picture) if picture.mode == "P" else colors


def _folders(folder: Path, settings: DataSettings, split: str) -> list[Files]:
    listed = _listed_files(folder) if folder.is_file() else _paired_by_stem(folder)
    return _split_by_name(listed, settings, split)


def _split_by_name(files: list[Files], settings: DataSettings, split: str) -> list[Files]:
    """Choose the images of a split by the names in the settings."""
    names = [entry.name for entry in files]
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise InputError(f"several images are named {repeated[:5]}; expected file names that differ")
    missing = sorted({*settings.validation, *settings.held_out} - set(names))
    if missing:
        raise InputError(
            f"images {missing[:5]} of data.validation or data.held_out are not among the {len(names)} images "
            "found"
        )
    parts = {"validation": set(settings.validation), "test": set(settings.held_out), "all": set(names)}
    parts["training"] = set(names) - parts["validation"] - parts["test"]
    return [entry for entry in files if entry.name in parts[split]]


def _paired_by_stem(folder: Path) -> list[Files]:
    images = _by_stem(folder / "images", image_suffixes())
    labels = _by_stem(folder / "labels", image_suffixes() + outline_suffixes())
    for have, lack, what in ((images, labels, "labels"), (labels, images, "image")):
        alone = sorted(set(have) - set(lack))
        if alone:
            raise InputError(
                f"{str(have[alone[0]])!r} has no {what} of the same name ({len(alone)} such files)"
            )
    return [Files(stem, images[stem], labels[stem], read_labels) for stem in images]


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(
            f"no folder {str(folder)!r}; expected images/ and labels/ with files of the same names"
        )
    files: dict[str, Path] = {}
    visible = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    for path in (path for path in visible if path.suffix.lower() in suffixes):
        if path.stem in files:
            raise InputError(f"{str(path)!r} and {files[path.stem].name!r} share a name; expected one file")
        files[path.stem] = path
    if others := [path.name for path in visible if path.suffix.lower() not in suffixes]:
        logger.warning(
            "%r: left out %d files that are not read, such as %r", str(folder), len(others), others[0]
        )
    return files


def _listed_files(file: Path) -> list[Files]:
    """Read a list of image and label paths; lines may be empty."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{str(file)!r} is no text; expected a folder, or a list of image and label paths"
        ) from error
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    return [_listed_line(file, number, line) for number, line in numbered]


def _listed_line(file: Path, number: int, line: str) -> Files:
    parts = [part.strip() for part in line.split("\t" if "\t" in line else ",")]
    if len(parts) != 2 or not all(parts):
        raise InputError(f"{str(file)!r} line {number}: expected an image and a label path, got {line!r}")
    image, labels = (file.parent / part for part in parts)
    for path in (image, labels):
        if not path.is_file():
            raise InputError(f"{str(file)!r} line {number}: no file {str(path)!r}")
    return Files(image.stem, image, labels, read_labels)


def _bbbc039(folder: Path, settings: DataSettings, split: str) -> list[Files]:
    """Find BBBC039 as published; images held out are in no split."""
    parts = ("training", "validation") if split == "all" else (split,)
    names = [name for part in parts for name in _published_names(folder, part)]
    stems = [Path(name).stem for name in names]
    return [
        Files(stem, folder / "images" / f"{stem}.tif", folder / "masks" / f"{stem}.png", _read_color_code)
        for stem in stems
        if stem not in settings.held_out
    ]


def _published_names(folder: Path, split: str) -> list[str]:
    listed = folder / "metadata" / f"{split}.txt"
    if not listed.is_file():
        raise InputError(
            f"no split file {str(listed)!r}; expected BBBC039 as published, with images, masks and metadata"
        )
    return listed.read_text(encoding="utf-8").split()


def _cvppp(folder: Path, settings: DataSettings, split: str) -> list[Files]:
    """Find the plants of one CVPPP folder, such as A1; label PNGs are palette images."""
    files = []
    for image in sorted(folder.glob("plant*_rgb.png")):
        name = image.name.removesuffix("_rgb.png")
        files.append(Files(name, image, image.with_name(f"{name}_label.png"), read_labels))
    return _split_by_name(files, settings, split) if files else []


_Finder = Callable[[Path, DataSettings, str], list[Files]]
_LAYOUTS: dict[str, _Finder] = {"folders": _folders, "bbbc039": _bbbc039, "cvppp": _cvppp}


def _read_color_code(path: Path) -> LabelArray:
    """Read a BBBC039 mask: touching nuclei have different codes; each connected patch of one code is a nucleus."""
    from skimage.measure import label

    code = read_image(path)
    code = code[..., 0] if code.ndim == 3 else code
    return np.asarray(label(code), dtype=np.int32)  # type: ignore[no-untyped-call, unused-ignore]
