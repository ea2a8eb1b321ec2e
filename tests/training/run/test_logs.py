"""Logs: whole rows, each step once, after any kill."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.training.run.logs import CsvLog, drop_rows_after, open_logs, read_rows


def test_rows_are_on_disk_at_once_and_appended_by_the_next_log(tmp_path):
    path = tmp_path / "log.csv"
    first = CsvLog(path, ["step", "loss"])
    first.write({"step": 1, "loss": 0.1 + 0.2})
    assert path.read_text() == "step,loss\n1,0.30000000000000004\n"
    first.close()
    second = CsvLog(path, ["step", "loss"])
    second.write({"loss": 1.0, "step": 2})
    second.close()
    assert [float(row["loss"]) for row in read_rows(path)] == [0.1 + 0.2, 1.0]


def test_rows_of_lost_steps_and_half_rows_are_dropped(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step,loss\n1,0.5\n2,0.4\n3,0.3\n2")
    drop_rows_after(path, 2)
    assert path.read_text() == "step,loss\n1,0.5\n2,0.4\n"
    path.write_text("step,lo")
    drop_rows_after(path, 2)
    assert path.read_text() == ""
    drop_rows_after(tmp_path / "none.csv", 2)
    assert not (tmp_path / "none.csv").exists()


def test_a_table_cut_off_in_its_header_gets_a_new_one(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step,lo")
    for log in open_logs(path, ["step", "loss"], 0):
        log.write({"step": 1, "loss": 0.5})
        log.close()
    assert path.read_text() == "step,loss\n1,0.5\n"


def test_a_table_of_other_columns_is_refused(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"log\.csv.*\['a', 'b'\].*\['step'\]"):
        CsvLog(path, ["step"])


def test_no_file_has_no_rows(tmp_path):
    assert read_rows(tmp_path / "none.csv") == []


def test_tensorboard_is_written_to_where_it_is_installed(tmp_path, monkeypatch):
    calls = []

    class SummaryWriter:
        def __init__(self, directory, purge_step):
            calls.append((directory, purge_step))

        def add_scalar(self, *arguments):
            calls.append(arguments)

        def close(self):
            calls.append("closed")

    fake = ModuleType("torch.utils.tensorboard")
    fake.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    for log in open_logs(tmp_path / "log.csv", ["step", "loss", "note"], 4):
        log.write({"step": 5, "loss": 0.25, "note": "x"})
        log.close()
    assert calls == [(str(tmp_path / "tensorboard"), 5), ("log/loss", 0.25, 5), "closed"]


def test_without_tensorboard_there_is_the_table_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (log,) = open_logs(tmp_path / "log.csv", ["step"], 0)
    log.close()
    assert [file.name for file in tmp_path.iterdir()] == ["log.csv"]
