"""The record of each image of a batch: what its results were made from, and whether they are whole."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pixel_embedded_affinity.errors import InputError, MissingDependencyError
from pixel_embedded_affinity.io.atomic import LONGEST_NAME, atomic_file
from pixel_embedded_affinity.io.digest import sha256_of
from pixel_embedded_affinity.io.read import is_sections_folder, read_image, section_files
from pixel_embedded_affinity.io.readers.hdf5 import file_and_dataset

RECORDS = ".pea"
"""Folder in the output folder that holds a record for each image."""

LABELS = "labels"
"""Name of the exporter that each image gets."""

NEW = "new"
DONE = "done"
CHANGED = "made again, since the library, the image, the model or the settings are others"
PARTIAL = "made again, since results were missing or not whole"
FOREIGN = (
    "kept: no run wrote these labels as they are now; other files follow them; --overwrite replaces them"
)

_FAILED = "failed"
"""Key in a record of a run that could not replace the results."""

_PARTS = "series", "time", "z"
"""Settings that say which part of a file is the image."""


class Source(NamedTuple):
    """What results depend on: the fingerprint of the image, the model and the settings.

    Two runs that give equal sources give equal results.
    """

    image: str
    model: str
    settings: Mapping[str, Any]

    def as_json(self) -> Any:
        """Return the source as JSON gives it back: tuples become lists."""
        return json.loads(json.dumps(self._asdict(), default=repr))


class Maker(NamedTuple):
    """The fingerprint of a model, and the settings of a run."""

    model: str
    settings: Mapping[str, Any]

    def source(self, image: Path) -> Source:
        """Return what the results of an image depend on; this reads the image."""
        return Source(_image_fingerprint(image), self.model, self.settings)

    def of_series(self, series: int | None) -> Maker:
        """Return what makes the results of one image of a file that holds several; None: as the settings say."""
        return self if series is None else self._replace(settings={**self.settings, "series": series})


class Record(NamedTuple):
    """What a record file says: a source as JSON, and the size and the fingerprint of each file, by exporter.

    A record without files says that a run was about to write them. `path` is where the image lay; empty if it is not
    known. If `failed`, a later run could not replace the files.
    """

    source: Any
    files: dict[str, dict[str, Any]]
    path: str = ""
    failed: bool = False

    def told(self) -> dict[str, Any]:
        """Return the source; empty if the file says none."""
        return self.source if isinstance(self.source, dict) else {}


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file's bytes; of a folder, from the names and the bytes of its files."""
    if not path.is_dir():
        return sha256_of(path)
    total = hashlib.sha256()
    for inner in sorted(inner for inner in path.rglob("*") if inner.is_file()):
        total.update(os.fsencode(f"{inner.relative_to(path).as_posix()}\0{fingerprint(inner)}\0"))
    return total.hexdigest()


def _image_fingerprint(path: Path) -> str:
    """Return the fingerprint of an image: a file, a dataset of one, an image folder, or a folder of sections."""
    file, dataset = file_and_dataset(path)
    if dataset:
        return hashlib.sha256(os.fsencode(f"{fingerprint(file)}\0{dataset}")).hexdigest()
    if not is_sections_folder(path):
        return fingerprint(path)
    # Results may lie in the folder, which are no sections.
    sections = (f"{section.name}\0{fingerprint(section)}\0" for section in section_files(path))
    return hashlib.sha256(os.fsencode("".join(sections))).hexdigest()


def record_path(output: Path, labels: Path) -> Path:
    """Return where the record of an image lies, whose labels have this path."""
    place = labels.relative_to(output)
    name = f"{place.name}.json"
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = f"{hashlib.sha256(os.fsencode(place.name)).hexdigest()}.json"
    return output / RECORDS / place.with_name(name)


def write_record(path: Path, image: Path, source: Source, files: Mapping[str, Path], model: str = "") -> None:
    """Write the record of results that are there, or of none before they are written.

    Parameters
    ----------
    path : pathlib.Path
        The record's file.
    image : pathlib.Path
        The image.
    source : Source
        What the results are made from.
    files : mapping of str to pathlib.Path
        The results, by exporter.
    model : str
        Name and version of the model, for people: `source` has the SHA-256 of its weights.

    Raises
    ------
    OSError
        If a file is missing, or the record cannot be written.
    """
    listed = {
        name: {
            "path": file.name,
            "size": _size(file),
            "sha256": fingerprint(file),
        }
        for name, file in files.items()
    }
    named = {"model": model, "image": str(image.absolute())}
    content = json.dumps({**named, "source": source.as_json(), "files": listed}, indent=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(content.encode())


def note_failure(path: Path) -> bool:
    """Note that a run could not replace the results of a record; return whether there are any."""
    record = read_record(path)
    if record is None or not record.files:
        return False
    content = {**json.loads(path.read_bytes()), _FAILED: True}
    with atomic_file(path) as file:
        file.write(json.dumps(content, indent=1).encode())
    return True


def read_record(path: Path) -> Record | None:
    """Read a record; None if there is none, or none that can be read."""
    try:
        content = json.loads(path.read_bytes())
        files = {name: _checked(file) for name, file in content["files"].items()}
        return Record(content["source"], files, str(content.get("image", "")), _FAILED in content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _checked(file: dict[str, Any]) -> dict[str, Any]:
    """Return what a record says of a file, which lies beside the others."""
    if Path(file["path"]).name != file["path"] or file["path"] in ("", ".."):
        raise ValueError(file["path"])
    return {key: file[key] for key in ("path", "size", "sha256")}


def recorded_files(output: Path) -> Iterator[Path]:
    """Give every file that the records of an output folder name."""
    records = output / RECORDS
    for path in sorted(records.rglob("*.json")):
        record = read_record(path)
        for file in record.files.values() if record else ():
            yield output / path.relative_to(records).parent / file["path"]


def state(
    record: Record | None, source: Callable[[], Source], files: Mapping[str, Path], labels: Path
) -> str:
    """Tell whether an image is done, or why not.

    Parameters
    ----------
    record : Record or None
        What the last run said.
    source : callable
        Returns what the results should be made from; called only where it matters.
    files : mapping of str to pathlib.Path
        The results that are asked for, by exporter.
    labels : pathlib.Path
        The file of the labels, which a person may have corrected.

    Returns
    -------
    str
        `DONE`, or `FOREIGN` for labels that no run of the command can make again, or `NEW`, `CHANGED` or `PARTIAL`
        for an image to do.
    """
    expected = {} if record is None else record.files
    if record is None or (expected and not _intact(labels, expected.get(LABELS))):
        if _is_image(labels):
            return FOREIGN
        return NEW if record is None else PARTIAL
    if record.source != source().as_json():
        return CHANGED
    whole = not record.failed and all(_intact(path, expected.get(name)) for name, path in files.items())
    return DONE if whole else PARTIAL


def has_failed(path: Path) -> bool:
    """Tell whether a run could not replace the results of a record."""
    record = read_record(path)
    return record is not None and record.failed


def recorded_series(path: Path) -> int | None:
    """Return the number of the image in its file, of which a record is; None if it says none."""
    record = read_record(path)
    series = record.told().get("settings", {}).get("series") if record else None
    return series if isinstance(series, int) else None


def has_other_image(record: Record | None, image: Path) -> bool:
    """Tell whether an image is no longer the one that its results were made from."""
    made_from = record.told().get("image") if record else None
    return made_from is not None and made_from != _image_fingerprint(image)


def other_of(record: Record, image: Path, maker: Maker) -> str:
    """Say what a record is of, if not of this image: a file of the same name elsewhere, or another part of the file."""
    source = record.told()
    parts = {name: source.get("settings", {}).get(name) for name in _PARTS}
    if parts != {name: maker.settings.get(name) for name in _PARTS}:
        given = [f"--{name} {value}" for name, value in parts.items() if value is not None]
        return f"another part of '{record.path or image}' ({' '.join(given) or 'all of it'})"
    if record.path in ("", str(image.absolute())) or source.get("image") == _image_fingerprint(image):
        return ""
    return f"another image, '{record.path}'"


def _intact(path: Path, expected: dict[str, Any] | None) -> bool:
    """Whether a file is the one that a record describes."""
    return (
        expected is not None
        and path.exists()
        and _size(path) == expected["size"]
        and fingerprint(path) == expected["sha256"]
    )


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all files of a folder."""
    files = [inner for inner in path.rglob("*") if inner.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def _is_image(path: Path) -> bool:
    """Whether an image can be read, or may be where a package for its compression is missing."""
    try:
        read_image(path)
    except MissingDependencyError:
        return True
    except InputError:
        return False
    return True
