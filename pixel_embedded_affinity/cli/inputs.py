"""Which images a batch takes from files, folders and patterns: each image once, and what is left out is named."""

from __future__ import annotations

import argparse
import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from pixel_embedded_affinity.cli.messages import complain
from pixel_embedded_affinity.cli.records import RECORDS, recorded_files
from pixel_embedded_affinity.errors import InputError, readable
from pixel_embedded_affinity.io.marks import is_marked
from pixel_embedded_affinity.io.read import (
    image_suffixes,
    in_order,
    is_image_folder,
    is_sections_folder,
    lacking,
)
from pixel_embedded_affinity.io.readers.hdf5 import file_and_dataset, stem_of

RESULT = "results of earlier runs"
_TRUTH = ("_labels", "_label", "_masks", "_mask", "_fg", "_centers")
BESIDE = "labels or masks beside their image"
OTHER = "files of formats that are not read"
LACKING = "files that need a package that is not installed"
HIDDEN = "hidden files"
BROKEN = "links that lead nowhere"
CLOSED = "folders that cannot be opened"
DEEPER = "folders, which --recursive enters"
ALIAS = "links to images that have a name of their own"

_SHOWN = 3


class Found(NamedTuple):
    """An image, and its path from the input that it comes from, which its results repeat in the output folder.

    Of a file that holds several images, `series` is the number of this one; None if it is not chosen here.
    """

    image: Path
    place: Path
    series: int | None = None


@dataclass
class Findings:
    """What the inputs of a batch stand for.

    Attributes
    ----------
    images : list of Found
        In the order of the inputs, sorted within each, ``day2`` before ``day10``. A file that several inputs or
        linked folders lead to comes once. A link to a file elsewhere is an image of its own.
    left_out : dict of str to dict of str to pathlib.Path
        The files and folders that are not taken, by the reason and by their `identity`.
    results : set of str
        The `identity` of each file that a record in one of the folders names as a result.
    """

    images: list[Found] = field(default_factory=list)
    left_out: dict[str, dict[str, Path]] = field(default_factory=dict)
    results: set[str] = field(default_factory=set)

    def leave_out(self, reason: str, path: Path) -> None:
        """Note what is not taken; once, however many inputs and links lead to it. Of links, note each."""
        key = _place(path) if reason == ALIAS else identity(path)
        self.left_out.setdefault(reason, {}).setdefault(key, path)

    def lines(self) -> list[str]:
        """Say for each reason how many files were left out, and which."""
        return [described(reason, sorted(paths.values())) for reason, paths in self.left_out.items()]


def identity(path: Path) -> str:
    """Return a text that is equal for all names of a file, those by links included."""
    return os.path.normcase(os.path.realpath(path))


def _place(path: Path) -> str:
    """Return a text that is equal for all paths to a name, those by linked folders included."""
    return os.path.join(identity(path.parent), os.path.normcase(path.name))


def described(reason: str, paths: Sequence[Path]) -> str:
    """Say how many files there are for a reason, and which; of many, their endings and the first names."""
    names = ", ".join(f"'{path}'" for path in paths[:_SHOWN])
    if len(paths) <= _SHOWN:
        return f"{reason} ({len(paths)}): {names}"
    counts = Counter(path.suffix.lower() or "without ending" for path in paths).most_common()
    endings = ": " + ", ".join(f"{count} {suffix}" for suffix, count in counts) if len(counts) > 1 else ""
    return f"{reason} ({len(paths)}{endings}): {names} and {len(paths) - _SHOWN} more"


def add_input_arguments(parser: argparse.ArgumentParser, files: str) -> None:
    """Add the inputs, of which this text says what they may be, ``--recursive`` and ``--sections``."""
    parser.add_argument("inputs", metavar="INPUT", nargs="+", help=files)
    folders = parser.add_mutually_exclusive_group()
    folders.add_argument("--recursive", action="store_true", help="enter the folders within the folders")
    sections = "each folder is one volume; the images in it are its sections, in the order of their numbers"
    folders.add_argument("--sections", action="store_true", help=sections)


def find_images(inputs: Sequence[str], *, recursive: bool = False, sections: bool = False) -> Findings:
    """List the images in files, folders and glob patterns.

    Parameters
    ----------
    inputs : sequence of str
        A file is taken whatever its name, and so is a dataset ``FILE.h5:/NAME``. From a folder or a pattern, all files
        with the ending of an image are taken, except names that start with a dot. A file that the library wrote is
        never taken.
    recursive : bool
        Whether to enter folders within folders, each once, also those that links lead to.
    sections : bool
        Whether each folder among the inputs is one volume, whose sections are the images in it.

    Returns
    -------
    Findings
        The images, and what was left out.

    Raises
    ------
    InputError
        If a file is missing, or a folder, a pattern or all inputs together stand for no image.
    """
    findings = Findings()
    entries = [list(_images_of(entry, recursive, sections, findings)) for entry in inputs]
    named = {identity(one.image) for entry in entries for one in entry if not one.image.is_symlink()}
    seen: set[str] = set()
    for entry in entries:
        new = []
        for one in entry:
            link = one.image.is_symlink()
            key = _place(one.image) if link else identity(one.image)
            if link and identity(one.image) in named:
                findings.leave_out(ALIAS, one.image)
            elif key not in seen:
                seen.add(key)
                new.append(one)
        findings.images += sorted(new, key=lambda one: in_order(one.image))
    if not findings.images:
        raise InputError(_nothing("the inputs hold no image", recursive, findings))
    return findings


def say_left_out(findings: Findings) -> None:
    """Say on standard error which files of the inputs are not taken."""
    for line in findings.lines():
        complain(readable(f"pea: left out: {line}"))


def _images_of(entry: str, recursive: bool, sections: bool, findings: Findings) -> list[Found]:
    if not entry:
        raise InputError(
            "one of the inputs is empty; expected an image, a folder or a quoted pattern like 'a/*.tif'; is a variable "
            "of your script not set? '.' is the folder that you are in"
        )
    path = Path(entry)
    file, dataset = file_and_dataset(path)
    if dataset and file.is_file():
        return [Found(path, Path(f"{stem_of(path)}{file.suffix}"))]
    if sections and is_sections_folder(path):
        # The name of a folder has no ending that could be left off.
        return [Found(path, Path(f"{Path(os.path.abspath(path)).name}.sections"))]
    if path.is_dir() and not is_image_folder(path):
        found, nothing = _walk(path, recursive, findings), f"the folder '{path}' holds no image"
    elif path.exists():
        return list(_without_results([Found(path, Path(path.name))], findings))
    elif path.is_symlink() or not glob.has_magic(entry):
        raise InputError(
            f"'{entry}' does not exist; expected an image, a folder or a quoted pattern like 'a/*.tif'"
        )
    else:
        found, nothing = _fitting(entry, recursive, findings), f"no image fits the pattern '{entry}'"
        recursive = True
    images = list(_without_results(_without_others(found, findings), findings))
    if not images:
        case = (
            "; the case of letters counts: there are files that fit but for it"
            if _fits_otherwise(entry)
            else ""
        )
        raise InputError(_nothing(nothing, recursive, findings) + case)
    return images


def _fits_otherwise(entry: str) -> bool:
    """Whether files fit a pattern whose letters may be upper or lower case."""
    letters = "".join(f"[{one.lower()}{one.upper()}]" if one.isalpha() else one for one in Path(entry).name)
    folder = Path(entry).parent
    return (
        glob.has_magic(entry) and "[" not in entry and any(glob.iglob(str(folder / letters), recursive=True))
    )


# --- folders and patterns ---------------------------------------------------------------------------------


def _walk(top: Path, recursive: bool, findings: Findings) -> Iterator[Found]:
    """Give every file of a folder that is not hidden; a folder that several links lead to is entered once.

    Links come last, so that a file has the name under which it lies, if it lies in `top`.
    """
    entered: set[str] = set()
    folders, links = [top], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        if identity(folder) in entered:
            continue
        entered.add(identity(folder))
        for path in _listed(folder, findings):
            if not path.is_dir() or is_image_folder(path):
                yield Found(path, path.relative_to(top))
            elif recursive:
                (links if path.is_symlink() else folders).append(path)
            else:
                findings.leave_out(DEEPER, path)


def _listed(folder: Path, findings: Findings) -> list[Path]:
    """Return what lies in a folder, sorted, without hidden files and folders."""
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        findings.leave_out(CLOSED, folder)
        return []
    for path in paths:
        if path.name == RECORDS:
            findings.results |= set(map(identity, recorded_files(folder)))
        elif path.name.startswith(".") and path.suffix.lower() in image_suffixes():
            findings.leave_out(HIDDEN, path)
    return [path for path in paths if not path.name.startswith(".")]


def _fitting(pattern: str, recursive: bool, findings: Findings) -> Iterator[Found]:
    """Give every file that fits a pattern, with its path from the last folder that the pattern names literally."""
    parts = Path(pattern).parts
    literal = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    base = Path(*parts[:literal])
    for path in _deep(parts, findings) if "**" in parts else map(Path, glob.iglob(pattern)):
        if not path.is_dir() or is_image_folder(path):
            yield Found(path, path.relative_to(base))
        elif recursive:
            for found in _walk(path, True, findings):
                yield Found(found.image, found.image.relative_to(base))
        else:
            findings.leave_out(DEEPER, path)


def _deep(parts: Sequence[str], findings: Findings) -> Iterator[Path]:
    """Give every file that fits a pattern with "**".

    Its folders are walked here: glob would follow a link that leads back again and again.
    """
    deep = parts.index("**")
    above = str(Path(*parts[:deep]))
    for top in map(Path, glob.iglob(above) if glob.has_magic(above) else [above]):
        for found in _walk(top, True, findings) if top.is_dir() else []:
            if _fits(found.place.parts, parts[deep:]):
                yield found.image


def _fits(names: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether the path of a file fits the parts of a pattern, of which "**" stands for any number of folders.

    As for glob, a "**" at the end also stands for the file, and what comes before it for folders only.
    """
    part, *others = parts
    deeper = len(names) > 1
    if part == "**":
        return not others or _fits(names, others) or (deeper and _fits(names[1:], parts))
    fits = fnmatch(names[0], part)
    return fits and ((deeper and _fits(names[1:], others)) if others else not deeper)


# --- what is no image -------------------------------------------------------------------------------------


def _without_others(found: Iterable[Found], findings: Findings) -> Iterator[Found]:
    """Leave out files that a record names, labels beside an image, links that lead nowhere, and other formats."""
    suffixes, without = image_suffixes(), lacking()
    # A record may be found after the files that it names.
    every = list(found)
    images = [one.image for one in every if not one.image.stem.endswith(_TRUTH)]
    names = {(path.parent, name) for path in images for name in (path.stem, path.stem.rpartition("_")[0])}
    for one in every:
        path = one.image
        if findings.results and identity(path) in findings.results:
            findings.leave_out(RESULT, path)
        elif path.stem.endswith(_TRUTH) and (path.parent, path.stem.rpartition("_")[0]) in names:
            findings.leave_out(BESIDE, path)
        elif path.suffix.lower() not in suffixes and not is_image_folder(path):
            command = without.get(path.suffix.lower())
            findings.leave_out(f"{LACKING}, {command}" if command else OTHER, path)
        elif not path.exists():
            findings.leave_out(BROKEN, path)
        else:
            yield one


def _without_results(found: Iterable[Found], findings: Findings) -> Iterator[Found]:
    """Leave out files that bear the library's mark."""
    for one in found:
        if is_marked(one.image):
            findings.leave_out(RESULT, one.image)
        else:
            yield one


def _nothing(found: str, recursive: bool, findings: Findings) -> str:
    advice = "" if recursive else "; --recursive enters the folders in it"
    there = "".join(f"; left out: {line}" for line in findings.lines())
    return f"{found}; expected files ending in {', '.join(image_suffixes())}{advice}{there}"
