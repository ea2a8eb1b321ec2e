"""Decide and check, before any work starts, which images a batch reads and which files it writes."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.export.base import EXPORTERS
from pixel_embedded_affinity.io.read import image_suffixes

LABELS = "labels"
"""Name of the exporter that each image gets."""

_SHOWN = 3


@dataclass(frozen=True)
class Job:
    """One image and its result files.

    Attributes
    ----------
    image : pathlib.Path
        The file to read.
    outputs : dict of str to pathlib.Path
        The files to write, by the name of their exporter. The labels come last: for ``--resume``, they are the sign
        that everything is there.
    """

    image: Path
    outputs: dict[str, Path]

    @property
    def labels(self) -> Path:
        """The labels to write."""
        return self.outputs[LABELS]


def find_images(inputs: Sequence[str], *, recursive: bool = False) -> list[Path]:
    """List the images in files, folders and glob patterns.

    Parameters
    ----------
    inputs : sequence of str
        A file is taken whatever its name. From a folder or a pattern, all files with the ending of an image are
        taken, except names that start with a dot.
    recursive : bool
        Whether to enter folders within folders.

    Returns
    -------
    list of pathlib.Path
        In the order of the inputs, sorted within each; a file that several inputs name comes once.

    Raises
    ------
    InputError
        If an input stands for no image.
    """
    found: dict[str, Path] = {}
    for entry in inputs:
        for path in _images_of(entry, recursive):
            found.setdefault(_identity(path), path)
    return list(found.values())


def plan_jobs(images: Iterable[Path], output: Path, exporters: Collection[str] = ()) -> list[Job]:
    """Decide which files to write for each image.

    Parameters
    ----------
    images : iterable of pathlib.Path
        From `find_images`.
    output : pathlib.Path
        Folder of the results; it need not exist.
    exporters : collection of str
        Names of the exporters to use beside the labels.

    Raises
    ------
    InputError
        If two images would have the same result files.
    """
    suffixes = {name: EXPORTERS.build(name).suffix for name in [*sorted({*exporters} - {LABELS}), LABELS]}
    jobs: dict[str, Job] = {}
    for image in images:
        job = Job(image, {name: output / (image.stem + suffix) for name, suffix in suffixes.items()})
        other = jobs.setdefault(_identity(job.labels), job)
        if other is not job:
            raise InputError(
                f"'{other.image}' and '{image}' would both become '{job.labels}'; expected inputs whose "
                "names differ without their endings; rename one, or segment them into different folders"
            )
    return list(jobs.values())


def without_results(images: Sequence[Path], output: Path) -> list[Path]:
    """Leave out files that are results of other images in the list.

    There are such files if images and results share a folder and the command runs again.
    """
    suffixes = [exporter.suffix for _, exporter in EXPORTERS.every()]
    results = {_identity(output / (image.stem + suffix)) for image in images for suffix in suffixes}
    return [image for image in images if _identity(image) not in results]


def check_output_folder(output: Path) -> None:
    """Refuse an output folder that is a file.

    Raises
    ------
    InputError
        If there is a file of that name.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"--output '{output}' is a file; expected a folder")


def refuse_existing(jobs: Iterable[Job]) -> None:
    """Refuse to overwrite files.

    Raises
    ------
    InputError
        If a file to write exists already.
    """
    existing = [f"'{path}'" for job in jobs for path in job.outputs.values() if path.exists()]
    if existing:
        more = f" and {len(existing) - _SHOWN} more" if len(existing) > _SHOWN else ""
        raise InputError(
            f"{', '.join(existing[:_SHOWN])}{more} exist already; use --resume to keep them and do the rest, "
            "--overwrite to replace them, or another --output"
        )


def _images_of(entry: str, recursive: bool) -> list[Path]:
    path = Path(entry)
    if path.is_dir():
        found = _sorted_images(_files(path, recursive))
        if not found:
            raise InputError(_nothing(f"the folder '{path}' holds no image", recursive))
        return found
    if path.exists():
        return [path]
    if not glob.has_magic(entry):
        raise InputError(
            f"'{entry}' does not exist; expected an image, a folder or a quoted pattern like 'a/*.tif'"
        )
    found = _sorted_images(map(Path, glob.iglob(entry, recursive=True)))
    if not found:
        raise InputError(_nothing(f"no image fits the pattern '{entry}'", recursive=True))
    return found


def _files(folder: Path, recursive: bool) -> Iterator[Path]:
    """Return what glob would find: no files and no folders whose name starts with a dot."""
    pattern = "**/*" if recursive else "*"
    return (folder / name for name in glob.iglob(pattern, root_dir=folder, recursive=True))


def _sorted_images(paths: Iterable[Path]) -> list[Path]:
    suffixes = image_suffixes()
    return sorted(path for path in paths if path.suffix.lower() in suffixes and path.is_file())


def _nothing(found: str, recursive: bool) -> str:
    advice = "" if recursive else "; --recursive enters the folders in it"
    return f"{found}; expected files ending in {', '.join(image_suffixes())}{advice}"


def _identity(path: Path) -> str:
    """Return a text that is equal for two names of the same file, as far as the names tell."""
    return os.path.normcase(os.path.abspath(path))
