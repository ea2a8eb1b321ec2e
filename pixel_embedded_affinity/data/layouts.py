"""Images and labels on disk: which files belong together, and whether they can be used for training."""

from __future__ import annotations

import fnmatch
import logging
import math
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.data.outlines.base import (
    may_hold_several_images,
    outline_suffixes,
    read_outlines,
)
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.fields import Settings, choice, list_of, number, part, setting, text
from pixel_embedded_affinity.geometry.scaling import resize_image, resize_labels
from pixel_embedded_affinity.image import as_image
from pixel_embedded_affinity.io.arrays import FloatArray
from pixel_embedded_affinity.io.read import image_suffixes, read_image
from pixel_embedded_affinity.io.selection import WHOLE, Selection
from pixel_embedded_affinity.labels import Labels, extent_of, relabel
from pixel_embedded_affinity.normalize import PLAIN, Contrast, Normalization, normalize
from pixel_embedded_affinity.truth import naming, numbered, read_labels

logger = logging.getLogger(__name__)

LAYOUTS = ("folders", "bbbc039", "cvppp", "ac3ac4")
"""Ways to arrange a data folder, see `DataSettings`."""

SPLITS = ("training", "validation", "test", "all")
"""Parts of a data set; ``"all"`` is every image of it."""

RAW = Normalization(kind="none")
"""For `load`: images as they are stored, for a segmenter that normalizes them itself."""

LABEL_ENDINGS = (
    "",
    "_labels",
    "_label",
    "_masks",
    "_mask",
    "_cp_masks",
    "_rois",
    "_objects",
    "_coco",
    "_coco_rle",
)
"""What programs, this one too, put between the name of an image and the ending of its label file."""

_RESIZING = 0.1, 4.0


@dataclass(frozen=True)
class DataSettings(Settings, section="data"):
    """Where the images and labels lie in the data folder, and how they are split.

    Parameters
    ----------
    layout : {"folders", "bbbc039", "cvppp", "ac3ac4"}
        ``"folders"``: images in ``images/`` and labels in ``labels/``, whose names differ only in their endings, or by
        ``_labels``, ``_masks`` or what else the library or other programs add; or a list file. Labels may also be ROIs
        of ImageJ, GeoJSON of QuPath, or COCO, where one file may hold those of all images. The others: the data sets as
        published. ``"cvppp"`` is for the rosettes of CVPPP and Ara2013, in any folder below.
    validation : sequence of str
        Names of the images kept for validation (``"folders"`` and ``"cvppp"``; the others bring their own split).
    held_out : sequence of str
        Names of images used for neither training nor validation; for ``"folders"`` and ``"cvppp"`` they are the
        split ``"test"``.
    diameter : float
        Each training image is resized so that its median object has the area of a disk of this diameter in pixels;
        0 leaves the images as they are.
    extent : float
        Each training image is resized so that its objects together, such as the leaves of one plant, extend over this
        many pixels along the longer axis; 0 leaves the images as they are.
    by_objects : float
        How much more often a crowded image is drawn: an image of n objects has the weight ``n ** by_objects``.
        0 draws all images equally often.
    image : Selection
        Which part of each image file is the image, such as its channel.

    Raises
    ------
    InputError
        If the layout is unknown, a name is in both lists, `validation` is given for a layout with its own split,
        a number is negative, or there are both `diameter` and `extent`.
    """

    layout: str = setting("folders", choice(*LAYOUTS))
    validation: tuple[str, ...] = setting((), list_of(text()))
    held_out: tuple[str, ...] = setting((), list_of(text()))
    diameter: float = setting(0.0, number(0))
    extent: float = setting(0.0, number(0))
    by_objects: float = setting(0.0, number(0))
    image: Selection = setting(Selection, part(Selection))

    def _check_together(self) -> None:
        both = sorted(set(self.validation) & set(self.held_out))
        if both:
            raise InputError(f"data.validation and data.held_out share {both}; expected each name in one")
        if self.brings_split and self.validation:
            raise InputError(
                f"data.validation is given, but layout {self.layout!r} brings its own split; remove it"
            )
        if self.diameter and self.extent:
            raise InputError(
                f"data.diameter is {self.diameter} and data.extent {self.extent}, and each says how large the images "
                "become; set one of them to 0"
            )

    @property
    def brings_split(self) -> bool:
        """Whether the layout itself says which images are for validation."""
        return self.layout in ("bbbc039", "ac3ac4")


@dataclass(frozen=True)
class Example:
    """One image with its labels.

    Attributes
    ----------
    name : str
        The image's file name without its ending.
    image : numpy.ndarray
        float32 (C, *spatial).
    labels : numpy.ndarray
        int32 (*spatial): 0 = background, objects 1..n.
    pixel_size : tuple of float or None
        Size of a pixel in micrometers along each spatial axis, where the file or the caller says it.
    """

    name: str
    image: npt.NDArray[np.float32]
    labels: Labels
    pixel_size: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Files:
    """The image file and the label file of one example, and the way to read the labels."""

    name: str
    image: Path
    labels: Path
    read_labels: Callable[[Path], Labels]

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file that is read."""
        return self.image, self.labels


@dataclass(frozen=True)
class Stack:
    """The files of one volume: the image and the labels of each section, in order."""

    name: str
    images: tuple[Path, ...]
    labels: tuple[Path, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file that is read."""
        return self.images + self.labels


Source = Files | Stack


def load(
    files: Iterable[Source],
    normalization: Normalization,
    channels: int,
    *,
    ndim: int = 2,
    selection: Selection = WHOLE,
    contrast: Contrast = PLAIN,
) -> list[Example]:
    """Read and check images and their labels.

    Parameters
    ----------
    files : iterable of Files or Stack
        From `find_files`.
    normalization : Normalization
        How intensities become network input; `RAW` keeps them.
    channels : int
        Channels of the model; `image.as_image` fits the images to them.
    ndim : {2, 3}
        Spatial axes of the model.
    selection : Selection
        Which part of each image file is the image.
    contrast : Contrast
        Limits of what percentiles stretch. Default: none.

    Raises
    ------
    InputError
        If a file cannot be read, sizes differ, or labels are not labels; the message names the file.
    """
    read = partial(load_one, ndim=ndim, selection=selection, contrast=contrast)
    return [read(entry, normalization, channels) for entry in files]


def load_one(
    entry: Source,
    normalization: Normalization,
    channels: int,
    *,
    ndim: int = 2,
    selection: Selection = WHOLE,
    contrast: Contrast = PLAIN,
) -> Example:
    """Read and check an image and its labels, see `load`."""
    if isinstance(entry, Stack):
        if selection != WHOLE:
            raise InputError(
                f"{entry.name} lies section by section, and each file is a whole section; expected no choice of axes, "
                "channel, time, series or pixel size; leave these choices out"
            )
        stack, labels = _read_stack(entry, channels)
        return Example(entry.name, normalize(stack, normalization, contrast), labels)
    try:
        image = as_image(entry.image, channels=channels, ndim=ndim, selection=selection)
        values = normalize(image.values, normalization, contrast)
    except InputError as error:
        raise naming(entry.image, error) from error
    labels = labels_of(entry, image.spatial_shape)
    if image.spatial_shape != labels.shape:
        raise InputError(
            f"image {str(entry.image)!r} has {image.spatial_shape} pixels, its labels {str(entry.labels)!r} "
            f"{labels.shape}; expected the same size"
        )
    return Example(entry.name, values, labels, image.pixel_size)


def labels_of(entry: Source, shape: tuple[int, ...]) -> Labels:
    """Read the labels of an example whose image has this spatial shape; they may have another one.

    Raises
    ------
    InputError
        If a file cannot be read, or holds no labels; the message names the file.
    """
    if isinstance(entry, Stack):
        return numbered(_stacked(entry.labels), entry.labels[0])
    if entry.labels.suffix.lower() in outline_suffixes():
        return read_outlines(entry.labels, entry.image, shape)
    return entry.read_labels(entry.labels) if len(shape) == 2 else read_labels(entry.labels, ndim=len(shape))


def _read_stack(entry: Stack, channels: int) -> tuple[FloatArray, Labels]:
    """Read the sections of a volume, put them together, and number its objects."""
    image = as_image(_stacked(entry.images), channels=channels, ndim=3)
    labels = labels_of(entry, image.spatial_shape)
    if image.spatial_shape != labels.shape:
        raise InputError(
            f"the sections of {entry.name} have {image.spatial_shape[1:]} pixels, their labels {labels.shape[1:]}; "
            "expected the same size"
        )
    return image.values, labels


def _stacked(paths: Sequence[Path]) -> npt.NDArray[Any]:
    """Read gray sections of one size into a volume."""
    sections = [read_image(path) for path in paths]
    for path, section in zip(paths, sections):
        if section.ndim != 2 or section.shape != sections[0].shape:
            raise InputError(
                f"section {str(path)!r} has shape {section.shape}; expected gray sections of one size, as "
                f"{paths[0].name} with {sections[0].shape}"
            )
    return np.stack(sections)


def resized(example: Example, settings: DataSettings) -> Example:
    """Resize an example so that its objects get the diameter, or all together the extent, that the settings ask for.

    The diameter of a disk with the median object's area counts. An example without objects stays as it is.
    """
    wanted = settings.diameter or settings.extent
    if not wanted or not example.labels.any():
        return example
    found = median_diameter(example.labels) if settings.diameter else extent_of(example.labels > 0)
    image = resize_image(example.image, float(np.clip(wanted / found, *_RESIZING)))
    return replace(example, image=image, labels=relabel(resize_labels(example.labels, image.shape[1:])))


def median_diameter(labels: Labels) -> float:
    """Return the diameter in pixels of a disk with the area of the median object; there must be an object."""
    areas = np.bincount(labels.ravel())[1:]
    return math.sqrt(float(np.median(areas[areas > 0])) * 4 / math.pi)


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


_SHOWN = 3

_REMEDIES = {
    "training": "leave some out of the recipe's data.validation and data.held_out",
    "validation": "name some in the recipe's data.validation, or take the split 'all'",
    "test": "name some in the recipe's data.held_out, or take the split 'all'",
    "all": "expected images and their labels there",
}


def find_files(directory: str | Path, settings: DataSettings, split: str) -> list[Source]:
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
        which = "" if split == "all" else f"{split} "
        remedy = _REMEDIES[split if _LAYOUTS[settings.layout](folder, settings, "all") else "all"]
        raise InputError(f"no {which}images in {str(folder)!r} (layout {settings.layout!r}); {remedy}")
    for file in (file for entry in files for file in entry.paths):
        if not file.is_file():
            raise InputError(f"no file {str(file)!r}; expected an image and a label file per example")
    return sorted(files, key=lambda entry: entry.name)


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
            f"images {missing[:5]}, which the recipe keeps apart (data.validation, data.held_out), are not among the "
            f"{len(names)} images found, such as {sorted(names)[:_SHOWN]}; name images of yours there; tune and "
            "evaluate also take the layout without a recipe (--layout folders --split all)"
        )
    parts = {"validation": set(settings.validation), "test": set(settings.held_out), "all": set(names)}
    parts["training"] = set(names) - parts["validation"] - parts["test"]
    return [entry for entry in files if entry.name in parts[split]]


def _paired_by_stem(folder: Path) -> list[Files]:
    images = _by_stem(folder / "images", image_suffixes())
    found = _by_stem(folder / "labels", image_suffixes() + outline_suffixes())
    labels = _of_all(images, found) or _named_as(images, found)
    for have, lack, what in ((images, labels, "labels"), (labels, images, "image")):
        alone = sorted(set(have) - set(lack))
        if alone:
            others = ", ".join(path.name for path in list(lack.values())[:_SHOWN]) or "nothing that is read"
            raise InputError(
                f"{str(have[alone[0]])!r} has no {what} of the same name ({len(alone)} such files); beside it lie "
                f"{others}; expected names that differ in their endings alone, or _labels or _masks after the name"
            )
    return [Files(stem, images[stem], labels[stem], read_labels) for stem in images]


def label_stems(images: Collection[str]) -> dict[str, str]:
    """Names that the label files of images may have, without the ending of a file, and for each the image."""
    return {
        name + end: name for name in images for end in LABEL_ENDINGS if not end or name + end not in images
    }


def _of_all(images: Collection[str], labels: dict[str, Path]) -> dict[str, Path]:
    """The only label file, for each image, if it may hold the objects of several; empty if each has its own."""
    if (
        len(labels) != 1
        or len(images) < 2
        or not may_hold_several_images(path := next(iter(labels.values())))
    ):
        return {}
    return dict.fromkeys(images, path)


def _named_as(images: Collection[str], labels: dict[str, Path]) -> dict[str, Path]:
    """Label files by the names of their images; one of the usual endings may follow the name."""
    of_image, found = label_stems(images), dict[str, Path]()
    for stem, path in labels.items():
        name = of_image.get(stem, stem)
        if name in found:
            raise InputError(
                f"{str(path)!r} and {found[name].name!r} are labels of one image, {name}; expected one label file"
            )
        found[name] = path
    return found


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(
            f"no folder {str(folder)!r}; expected images/ and labels/ with files of the same names"
        )
    files: dict[str, Path] = {}
    visible = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    for path in (path for path in visible if path.suffix.lower() in suffixes):
        # Systems store an umlaut as one character or as two.
        stem = unicodedata.normalize("NFC", path.stem)
        if stem in files:
            raise InputError(f"{str(path)!r} and {files[stem].name!r} share a name; expected one file")
        files[stem] = path
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
            f"no split file {str(listed)!r}; expected BBBC039 as published, with images, masks and metadata; for a "
            "folder of your own with images and labels, name the layout 'folders' (--layout folders, or data.layout of "
            "the recipe)"
        )
    return listed.read_text(encoding="utf-8").split()


def _cvppp(folder: Path, settings: DataSettings, split: str) -> list[Files]:
    """Find plants, NAME_rgb.png beside NAME_label.png, in any folder below; label PNGs are palette images."""
    files = []
    for image in _below(folder, "*_rgb.png"):
        name = image.name.removesuffix("_rgb.png")
        files.append(Files(name, image, image.with_name(f"{name}_label.png"), read_labels))
    if not files:
        raise InputError(
            f"no file NAME_rgb.png in {str(folder)!r} or a folder below; expected plants of CVPPP or Ara2013, "
            "NAME_rgb.png beside NAME_label.png"
        )
    return _split_by_name(files, settings, split)


def _below(folder: Path, pattern: str) -> list[Path]:
    """The files of a name in any folder below, in order; folders that are links are entered, each once."""
    entered = {os.path.realpath(folder)}
    found: list[Path] = []
    for place, folders, names in os.walk(folder, followlinks=True):
        real = {os.path.realpath(os.path.join(place, name)): name for name in sorted(folders)}
        folders[:] = [name for path, name in real.items() if path not in entered]
        entered |= set(real)
        found += (Path(place) / name for name in fnmatch.filter(names, pattern))
    return sorted(found)


_SECTIONS = {
    "training": (("train", 0, 80),),
    "validation": (("train", 80, 100),),
    "test": (("ac3", 0, 100),),
}
"""The parts of AC3/AC4: prefix of the names, first section, and end."""


def _ac3ac4(folder: Path, settings: DataSettings, split: str) -> list[Stack]:
    """Find the sections of AC4, named ``train-input_0000.tif``, and of AC3, named ``ac3_input_0000.tif``, anywhere.

    AC4's sections 0 to 79 are for training, 80 to 99 for validation; the first 100 sections of AC3 are the test, as in
    the literature.
    """
    parts = _SECTIONS[split] if split != "all" else [part for parts in _SECTIONS.values() for part in parts]
    stacks = [_sections(folder, *part) for part in parts]
    return [stack for stack in stacks if stack.name not in settings.held_out]


def _sections(folder: Path, prefix: str, first: int, end: int) -> Stack:
    """Find consecutive sections and their labels."""
    separator = "-" if prefix == "train" else "_"
    images, labels = (
        _numbered(folder, f"{prefix}{separator}{kind}", first, end) for kind in ("input", "labels")
    )
    return Stack(f"{'ac4' if prefix == 'train' else 'ac3'}_{first:03d}-{end - 1:03d}", images, labels)


def _numbered(folder: Path, stem: str, first: int, end: int) -> tuple[Path, ...]:
    """The files ``stem_0000.tif``, ... of some numbers, each once, in any folder below."""
    found: dict[str, Path] = {}
    for path in _below(folder, f"{stem}_[0-9][0-9][0-9][0-9].tif"):
        if path.name in found:
            raise InputError(
                f"{str(path)!r} and {str(found[path.name])!r} are the same section; expected one file"
            )
        found[path.name] = path
    names = [f"{stem}_{number:04d}.tif" for number in range(first, end)]
    missing = [name for name in names if name not in found]
    if missing:
        raise InputError(
            f"no section {missing[0]!r} in {str(folder)!r} or a folder below ({len(missing)} of {len(names)} missing); "
            "expected AC3 and AC4 as published, one TIFF for each section"
        )
    return tuple(found[name] for name in names)


_Finder = Callable[[Path, DataSettings, str], Sequence[Source]]
_LAYOUTS: dict[str, _Finder] = {
    "folders": _folders,
    "bbbc039": _bbbc039,
    "cvppp": _cvppp,
    "ac3ac4": _ac3ac4,
}


def _read_color_code(path: Path) -> Labels:
    """Read a BBBC039 mask: touching nuclei have different codes; each connected patch of one code is a nucleus."""
    from skimage.measure import label

    code = read_image(path)
    code = code[..., 0] if code.ndim == 3 else code
    return np.asarray(label(code), dtype=np.int32)  # type: ignore[no-untyped-call, unused-ignore]
