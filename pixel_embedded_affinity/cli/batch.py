"""Decide and check, before any work starts, which files a batch writes and which process writes them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pixel_embedded_affinity.cli.inputs import Found, identity
from pixel_embedded_affinity.cli.records import (
    LABELS,
    PARTIAL,
    RECORDS,
    Maker,
    Source,
    has_other_image,
    other_of,
    read_record,
    record_path,
    state,
)
from pixel_embedded_affinity.errors import InputError, PixelEmbeddedAffinityError, one_line, readable
from pixel_embedded_affinity.export.base import EXPORTERS, Result, check_exporter
from pixel_embedded_affinity.io.atomic import LONGEST_NAME
from pixel_embedded_affinity.io.locks import locked
from pixel_embedded_affinity.io.read import list_series
from pixel_embedded_affinity.io.selection import Selection

_SHOWN = 3
_PATIENCE = 2.0
"""Seconds to wait for a lock: other runs that start now take those of killed runs for a moment."""

_LOCK, _LOCK_PATTERN = "lock-{0.number}-of-{0.count}-{1}", "lock-*-of-*"


@dataclass(frozen=True)
class Job:
    """One image and its result files.

    Attributes
    ----------
    image : pathlib.Path
        The file to read.
    outputs : dict of str to pathlib.Path
        The files to write, by the name of their exporter; the labels come last.
    record : pathlib.Path
        The file that says what the results were made from.
    series : int or None
        Number of the image in a file that holds several; None: as the selection of the batch says.
    """

    image: Path
    outputs: dict[str, Path]
    record: Path
    series: int | None = None

    @property
    def labels(self) -> Path:
        """The labels to write."""
        return self.outputs[LABELS]

    @property
    def title(self) -> str:
        """The image, for messages."""
        return readable(str(self.image)) + ("" if self.series is None else f", series {self.series}")

    def part(self, selection: Selection) -> Selection:
        """Return the selection of a batch for this image."""
        return selection if self.series is None else replace(selection, series=self.series)

    def source(self, maker: Maker) -> Source:
        """Return what the results depend on; this reads the image."""
        return maker.of_series(self.series).source(self.image)

    def state(self, maker: Maker) -> str:
        """Tell whether the results are there, made by this model with these settings, see `records.state`."""
        try:
            return state(read_record(self.record), partial(self.source, maker), self.outputs, self.labels)
        except OSError:  # Whoever does the job says which file cannot be read.
            return PARTIAL

    def has_other_image(self) -> bool:
        """Tell whether the image is another one than that from which the results were made."""
        try:
            return has_other_image(read_record(self.record), self.image)
        except OSError:
            return False

    def check_exporters(self, ndim: int, axes: str) -> None:
        """Raise what an exporter says of an image whose labels have these axes, before it is segmented."""
        for name in self.outputs:
            check_exporter(EXPORTERS.build(name), ndim, axes)

    def with_recorded(self) -> Job:
        """Return the job with all files that an earlier run wrote, so that none of them stays behind."""
        record = read_record(self.record)
        earlier = {} if record is None else {name: file["path"] for name, file in record.files.items()}
        known = {name: self.labels.with_name(earlier[name]) for name in EXPORTERS.names() if name in earlier}
        return replace(self, outputs={**known, **self.outputs, LABELS: self.outputs[LABELS]})


@dataclass(frozen=True)
class Shard:
    """The share of one process in a batch: of `count` equal shares, the one of this number, from 1 on."""

    number: int = 1
    count: int = 1

    def of(self, jobs: Sequence[Job]) -> list[Job]:
        """Return every `count`-th job."""
        return list(jobs[self.number - 1 :: self.count])


def parse_shard(text: str) -> Shard:
    """Read a share written as ``2/8``.

    Raises
    ------
    ValueError
        If it is none.
    """
    number, count = (int(part) for part in text.split("/"))
    if not 1 <= number <= count:
        raise ValueError(text)
    return Shard(number, count)


def plan_jobs(images: Iterable[Found], output: Path, exporters: Collection[str] = ()) -> list[Job]:
    """Decide which files to write for each image.

    The results of an image lie in the output folder as the image does in its input. If images of several inputs would
    get the same results, those of all images lie as the images do in the folder that holds all of them.

    Parameters
    ----------
    images : iterable of Found
        From `inputs.find_images`.
    output : pathlib.Path
        Folder of the results; it need not exist.
    exporters : collection of str
        Names of the exporters to use beside the labels.

    Raises
    ------
    InputError
        If two images would have the same result files nevertheless, or the name of a file would be too long.
    """
    found = list(images)
    if share_names(found):
        found = _from_common_folder(found)
    names = [*sorted({*exporters} - {LABELS}), LABELS]
    suffixes = {name: EXPORTERS.build(name).suffix for name in names}
    jobs: dict[str, Job] = {}
    for one in found:
        outputs = {name: _result(one, output, suffix) for name, suffix in suffixes.items()}
        _check_lengths(one.image, outputs.values())
        job = Job(one.image, outputs, record_path(output, outputs[LABELS]), one.series)
        other = jobs.setdefault(_stem(one), job)
        if other is not job:
            raise InputError(
                f"'{other.image}' and '{one.image}' would both become '{job.labels}'; expected images in one "
                "folder whose names differ without their endings; rename one"
            )
    return list(jobs.values())


def write_results(outputs: Mapping[str, Path], result: Result) -> None:
    """Write the files of a job; if an exporter fails, the others write theirs nevertheless.

    Raises
    ------
    InputError
        If an exporter fails, with its name; errors of the library stay as they are.
    OSError
        At once, if a file cannot be written, such as on a full disk.
    """
    failed: Exception | None = None
    for name, path in outputs.items():
        try:
            EXPORTERS.build(name).write(path, result)
        except OSError:
            raise
        except Exception as error:
            failed = failed or _named(error, name)
    if failed is not None:
        raise failed


def _named(error: Exception, exporter: str) -> Exception:
    if isinstance(error, PixelEmbeddedAffinityError):
        return error
    named = InputError(f"the exporter {exporter} failed ({type(error).__name__}: {one_line(error)})")
    named.__cause__ = error
    return named


def every_series(images: Iterable[Found], *, sections: bool = False) -> list[Found]:
    """Take each image of the files that hold several, such as the positions of a stage, as an image of its own.

    Its results have the number of the series in their names. Smaller copies of an image do not count. A file that
    cannot be read stays as it is: whoever does its job says why.

    Parameters
    ----------
    images : iterable of Found
        From `inputs.find_images`.
    sections : bool
        Whether a folder is a volume.
    """
    found = []
    for one in images:
        try:
            listed = list_series(one.image, sections=sections)
        except (InputError, OSError):
            listed = []
        stem, suffix = one.place.stem, one.place.suffix
        several = [
            Found(one.image, one.place.with_name(f"{stem}_series{number}{suffix}"), number)
            for number, series in enumerate(listed)
            if not series.is_copy
        ]
        found += several if len(several) > 1 else [one]
    return found


def share_names(images: Sequence[Found]) -> bool:
    """Whether images of several inputs would get the same results."""
    return len({_stem(one) for one in images}) < len(images)


def without_results(images: Sequence[Found], output: Path) -> list[Found]:
    """Leave out files that are results of other images in the list, also those that bear no mark.

    There are such files if images and results share a folder and the command runs again.
    """
    suffixes = [exporter.suffix for _, exporter in EXPORTERS.every()]
    results = {_result(one, output, suffix) for one in images for suffix in suffixes}
    folders = {folder: identity(folder) for folder in {path.parent for path in results}}
    known = {os.path.join(folders[path.parent], os.path.normcase(path.name)) for path in results}
    return [one for one in images if identity(one.image) not in known]


def check_output_folder(output: Path) -> None:
    """Refuse an output folder that is a file.

    Raises
    ------
    InputError
        If there is a file of that name.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"--output '{output}' is a file; expected a folder")


def refuse_existing(jobs: Iterable[Job], others: Iterable[Path] = ()) -> None:
    """Refuse to overwrite the results of jobs, or other files.

    Raises
    ------
    InputError
        If a file to write exists already.
    """
    paths = [*others, *(path for job in jobs for path in job.outputs.values())]
    existing = [f"'{path}'" for path in paths if path.exists()]
    if existing:
        more = f" and {len(existing) - _SHOWN} more" if len(existing) > _SHOWN else ""
        verb = "exists" if len(existing) == 1 else "exist"
        raise InputError(
            f"{', '.join(existing[:_SHOWN])}{more} {verb} already; use --resume to keep them and do the rest, "
            "--overwrite to replace them, or another --output"
        )


def refuse_others(jobs: Iterable[Job], maker: Maker) -> None:
    """Refuse to go on where the results of another image have the name of a job's results.

    Raises
    ------
    InputError
        If there are such results.
    """
    for job in jobs:
        record = read_record(job.record)
        if record is None:
            continue
        try:
            other = other_of(record, job.image, maker.of_series(job.series))
        except OSError:  # Whoever does the job says which file cannot be read.
            continue
        if other:
            raise InputError(
                f"'{job.labels}' holds the results of {other}, not of '{job.image}' as it is asked for; expected an "
                "--output of its own for images of the same name, and for each part of a file; name another one, or "
                "use --overwrite to replace these results"
            )


def _check_lengths(image: Path, outputs: Iterable[Path]) -> None:
    for path in outputs:
        if len(os.fsencode(path.name)) > LONGEST_NAME:
            raise InputError(
                f"'{image}' would become '{path}', a name of {len(os.fsencode(path.name))} bytes; expected at most "
                f"{LONGEST_NAME}; give the image a shorter name"
            )


@contextmanager
def alone(output: Path, shard: Shard, jobs: Sequence[Job] = ()) -> Iterator[None]:
    """Make the output folder, and keep other runs from doing the same share of it while the block runs.

    What is empty in the end goes, unless other shards may need it.

    Parameters
    ----------
    output : pathlib.Path
        The folder.
    shard : Shard
        The share of this run.
    jobs : sequence of Job
        All images of the batch: the shares are those of these.

    Raises
    ------
    InputError
        If another run does the same share, or has other images, or cuts them into another number of shares.
    """
    names = "\n".join(sorted(job.labels.relative_to(output).as_posix() for job in jobs))
    batch = hashlib.sha256(os.fsencode(names)).hexdigest()[:12]
    records, made = output / RECORDS, not output.exists()
    records.mkdir(parents=True, exist_ok=True)
    busy = f"another run writes into '{output}'; expected one at a time"
    alike = (
        f"{busy}; wait until it has ended, or name another --output; to share the work, give all images to each run, "
        "and each its own part of them by --shard"
    )
    unlike = (
        f"{busy}; this run has other images than that one, such as images that were added since, or another number of "
        "shards; wait until it has ended, or name another --output; to share the work, give all images to each run, "
        "and the same number of shards by --shard"
    )
    try:
        with locked(records / _LOCK.format(shard, batch), alike, wait=_PATIENCE):
            for other in sorted(records.glob(_LOCK_PATTERN)):
                if not other.name.endswith(f"-{shard.count}-{batch}"):
                    with locked(other, unlike, wait=_PATIENCE):
                        pass
            yield
    finally:
        with suppress(OSError):  # not empty
            if shard.count == 1:
                records.rmdir()
                if made:
                    output.rmdir()


def _result(one: Found, output: Path, suffix: str) -> Path:
    return output / one.place.parent / (one.place.stem + suffix)


def _stem(one: Found) -> str:
    """Return a text that is equal for images whose results would have the same names."""
    return os.path.normcase(one.place.with_name(one.place.stem))


def _from_common_folder(images: Sequence[Found]) -> list[Found]:
    """Place images as they lie in the folder that holds all of them."""
    paths = [Path(os.path.abspath(one.image)) for one in images]
    try:
        common = os.path.commonpath([path.parent for path in paths])
    except ValueError:  # on several drives of Windows
        return list(images)
    places = [
        path.relative_to(common).with_name(one.place.name) for one, path in zip(images, paths, strict=True)
    ]
    return [one._replace(place=place) for one, place in zip(images, places, strict=True)]
