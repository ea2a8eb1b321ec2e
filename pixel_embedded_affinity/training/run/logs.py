"""Logs of a run: CSV tables of whole rows, and TensorBoard where it is installed."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.io.atomic import atomic_file

Row = Mapping[str, "float | str"]


class Log(Protocol):
    """Where a run writes numbers by step."""

    def write(self, row: Row) -> None:
        """Write one row, which has a ``step``; the operating system has it when this returns."""

    def close(self) -> None:
        """Write no more."""


class CsvLog:
    """A table in a file that stays open; each row is one write.

    Parameters
    ----------
    path : Path
        File to append to; a new or empty file gets a header.
    columns : sequence of str
        Names of the columns.

    Raises
    ------
    InputError
        If the file has other columns.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._columns = list(columns)
        found = _columns_of(path)
        if found not in ([], self._columns):
            raise InputError(
                f"{str(path)!r} has columns {found}; expected {self._columns}; use another folder"
            )
        self._file = path.open("a", newline="", encoding="utf-8", buffering=1)
        self._rows = csv.writer(self._file, lineterminator="\n")
        if not found:
            self._rows.writerow(self._columns)

    def write(self, row: Row) -> None:
        """Append one row; it survives a kill of the process."""
        self._rows.writerow([row[name] for name in self._columns])

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoardLog:
    """Scalars for TensorBoard.

    Parameters
    ----------
    directory : Path
        Folder for the event files.
    prefix : str
        Put before every name, such as ``"loss/"``.
    step : int
        Steps done. Events of later steps, whose state a kill has lost, are hidden.
    """

    def __init__(self, directory: Path, prefix: str, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._prefix = prefix
        self._writer = SummaryWriter(str(directory), purge_step=step + 1)

    def write(self, row: Row) -> None:
        """Write every number of the row but the step."""
        for name, value in row.items():
            if name != "step" and not isinstance(value, str):
                self._writer.add_scalar(self._prefix + name, value, int(row["step"]))

    def close(self) -> None:
        """Write what is still in memory, and close the file."""
        self._writer.close()


def open_logs(path: Path, columns: Sequence[str], step: int) -> list[Log]:
    """Open the CSV table of a run that has done `step` steps, and a TensorBoard log if that is installed.

    Rows of later steps, whose state a kill has lost, are dropped.
    """
    drop_rows_after(path, step)
    logs: list[Log] = [CsvLog(path, columns)]
    if importlib.util.find_spec("tensorboard") is not None:
        logs.append(TensorBoardLog(path.parent / "tensorboard", f"{path.stem}/", step))
    return logs


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a table back; no rows if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def drop_rows_after(path: Path, step: int) -> None:
    """Drop the rows after a step from a table whose first column is ``step``, in one atomic write."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    kept = [row for row in whole[1:] if int(row.split(",", 1)[0]) <= step]
    with atomic_file(path) as file:
        file.write("".join(whole[:1] + kept).encode("utf-8"))


def _columns_of(path: Path) -> list[str]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file), [])
