"""All images that a recipe needs, with their labels and the recipe, in one file.

The file is a zip archive: ``pack.json`` holds the recipe and the name of the model that it starts from; ``images`` and
``labels`` hold TIFFs. The images are stored as the recipe reads them, without loss: a training on them is the same as
on the original data, step by step.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from pixel_embedded_affinity.data.layouts import RAW, Example, find_files, load_one
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.io.atomic import atomic_path
from pixel_embedded_affinity.io.selection import WHOLE
from pixel_embedded_affinity.training.recipe import Recipe

FORMAT = "packed training images, version 1"
CONTENT = "pack.json"
SPLITS = ("training", "validation", "test")

Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Packed:
    """A packed file: its recipe, which finds the images in the unpacked folder, and the model that it starts from."""

    file: Path
    recipe: Recipe
    init: str | None

    @contextmanager
    def unpacked(self) -> Iterator[Path]:
        """Give a folder of the layout ``"folders"``, which exists as long as the context."""
        with TemporaryDirectory(prefix="packed_") as folder, zipfile.ZipFile(self.file) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if name != CONTENT])
            yield Path(folder)


def needed_splits(recipe: Recipe) -> tuple[str, ...]:
    """The splits that a recipe names, or that its layout brings."""
    data = recipe.data
    named = {"training": True, "validation": bool(data.validation), "test": bool(data.held_out)}
    return SPLITS if data.brings_split else tuple(split for split in SPLITS if named[split])


def pack(
    recipe: Recipe, data: Path, file: Path, *, splits: Sequence[str] | None = None, init: str | None = None
) -> dict[str, int]:
    """Write the images of some splits into one file; return how many each split has.

    Parameters
    ----------
    recipe : Recipe
        What is trained.
    data : Path
        The data, as for ``pea train``.
    file : Path
        The file to write, ``.zip``.
    splits : sequence of str, optional
        Default: `needed_splits`.
    init : str, optional
        Name of the model from which the training starts.

    Raises
    ------
    InputError
        If an image cannot be read, or is in two splits, or a split has none.
    """
    names: dict[str, list[str]] = {}
    with atomic_path(file, (".zip",)) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for split in splits or needed_splits(recipe):
            names[split] = [example.name for example in _added(archive, recipe, data, split)]
        content = {"format": FORMAT, "recipe": _on_folders(recipe, names).to_dict(), "init": init}
        archive.writestr(CONTENT, json.dumps(content, indent=1))
    return {split: len(found) for split, found in names.items()}


def read_packed(file: Path) -> Packed:
    """Read what a packed file says about itself.

    Raises
    ------
    InputError
        If the file is missing, or is not packed by `pack`.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            content = json.loads(archive.read(CONTENT))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise InputError(f"{str(file)!r} is no packed file ({error}); make it with: gpu.py pack") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise InputError(f"{str(file)!r} is {found!r}; expected {FORMAT!r}; pack the data again")
    return Packed(file, Recipe.from_dict(content["recipe"]), content["init"])


def _added(archive: zipfile.ZipFile, recipe: Recipe, data: Path, split: str) -> Iterator[Example]:
    """Add the images of a split to an archive, and give them."""
    model, selection = recipe.model, recipe.data.image
    present = set(archive.namelist())
    for entry in find_files(data, recipe.data, split):
        example = load_one(entry, RAW, model.network.in_channels, ndim=model.ndim, selection=selection)
        if f"images/{example.name}.tif" in present:
            raise InputError(f"image {example.name!r} is in two splits; expected each in one")
        archive.writestr(f"images/{example.name}.tif", _tiff(smallest(example.image)))
        archive.writestr(f"labels/{example.name}.tif", _tiff(smallest(example.labels[np.newaxis])))
        yield example


def _on_folders(recipe: Recipe, names: dict[str, list[str]]) -> Recipe:
    """The recipe for the unpacked folder."""
    kept = {"validation": tuple(names.get("validation", ())), "held_out": tuple(names.get("test", ()))}
    return replace(recipe, data=replace(recipe.data, layout="folders", image=WHOLE, **kept))


def smallest(values: Values) -> Values:
    """The same numbers in the smallest type of unsigned integers that holds all of them; else as they are."""
    kinds: Iterable[Any] = (np.uint8, np.uint16, np.uint32)
    for kind in kinds:
        if values.min() >= 0 and float(values.max()) <= np.iinfo(kind).max:
            whole = values.astype(kind)
            return whole if (whole == values).all() else values
    return values


def _tiff(values: Values) -> bytes:
    """A compressed TIFF of values ``(C, *spatial)``; tifffile alone can read it."""
    shown = values[0] if len(values) == 1 else values
    axes = ("CZYX" if values.ndim > 3 else "CYX")[-shown.ndim :]
    target = BytesIO()
    tifffile.imwrite(
        target,
        shown,
        photometric="minisblack",
        metadata={"axes": axes},
        compression="zlib",
        # tifffile stores differences of floating-point values only with the package imagecodecs.
        predictor=2 if values.dtype.kind == "u" else None,
        rowsperstrip=shown.shape[-2],
    )
    return target.getvalue()
