"""The command line as a whole: fast help, exit codes, one-line errors, the log."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

import pixel_embedded_affinity
from pixel_embedded_affinity.cli import main, messages
from pixel_embedded_affinity.runtime.subject import about

PACKAGE = "pixel_embedded_affinity"


def modules_after(*arguments: str) -> set[str]:
    """The modules that a fresh process has loaded when the command ends."""
    code = (
        "import sys; from pixel_embedded_affinity.cli import main\n"
        f"try: main({list(arguments)!r})\n"
        "except SystemExit: pass\n"
        "sys.stderr.write(' '.join(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stderr.split())


def test_help_loads_neither_torch_nor_numpy_nor_the_commands() -> None:
    loaded = modules_after("--help")
    assert not loaded & {"torch", "numpy", "skimage", f"{PACKAGE}.cli.segment", f"{PACKAGE}.training"}
    assert f"{PACKAGE}.cli" in loaded


@pytest.mark.parametrize("command", ["demo", "segment", "models", "info", "evaluate"])
def test_help_of_a_command_other_than_train_loads_neither_torch_nor_training(command: str) -> None:
    loaded = modules_after(command, "--help")
    assert f"{PACKAGE}.cli.{command}" in loaded
    assert not loaded & {"torch", "skimage", f"{PACKAGE}.training"}


def test_train_is_a_module_of_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("recipe")

    fake = SimpleNamespace(add_arguments=add_arguments, run=lambda arguments: len(arguments.recipe))
    monkeypatch.setitem(sys.modules, f"{PACKAGE}.cli.train", fake)
    assert main(["train", "12345"]) == 5


def test_train_refuses_in_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "no_data"
    assert main(["train", "bbbc039", "--data", str(missing), "--output", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert str(missing) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_the_package_runs_as_a_module_and_says_its_version() -> None:
    command = [sys.executable, "-m", PACKAGE, "--version"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["pea", pixel_embedded_affinity.__version__]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["segmnt"],
        ["--verbos", "info"],
        ["models", "--bogus"],
        ["segment", "a.tif", "--out", "b"],
        ["models", "show"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    usage, error = capsys.readouterr().err.splitlines()
    assert usage.startswith("usage: pea")
    assert ": error: " in error


def test_a_refusal_is_one_line_on_standard_error_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "bogus"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("pea: error: unknown model 'bogus'")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["-v", "models", "show", "bogus"], ["models", "--verbose", "show", "bogus"]]
)
def test_verbose_adds_the_traceback_before_or_after_the_command(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert error.splitlines()[-1].startswith("pea: error: unknown model 'bogus'")


def test_an_error_of_the_file_system_is_one_line_too(
    registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = registry / "registry.toml" / "below"
    assert main(["models", "download", "tiny", "--to", str(blocked)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("pea: error: ")
    assert str(blocked) in error
    assert error.count("\n") == 1


def test_the_log_is_as_before_afterwards() -> None:
    logger = logging.getLogger(PACKAGE)
    before = (logger.level, list(logger.handlers))
    main(["-v", "models"])
    assert (logger.level, list(logger.handlers)) == before


def test_warnings_of_the_library_are_shown_and_infos_only_with_verbose(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(arguments: argparse.Namespace) -> int:
        logging.getLogger(f"{PACKAGE}.some").warning("heed this")
        logging.getLogger(f"{PACKAGE}.some").info("by the way")
        return 0

    monkeypatch.setattr(f"{PACKAGE}.cli.info.run", run)
    assert main(["info"]) == 0
    assert capsys.readouterr().err == "pea: heed this\n"
    assert main(["info", "-v"]) == 0
    assert capsys.readouterr().err == "pea: heed this\npea: by the way\n"


def test_ctrl_c_is_one_line_and_exit_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(arguments: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"{PACKAGE}.cli.info.run", run)
    assert main(["info"]) == 130
    error = capsys.readouterr().err
    assert error.startswith("pea: interrupted")
    assert error.count("\n") == 1


def test_a_program_that_heeds_sigterm_itself_keeps_its_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    def own(number: int, frame: object) -> None: ...

    seen = []
    monkeypatch.setattr(
        f"{PACKAGE}.cli.info.run", lambda arguments: seen.append(signal.getsignal(signal.SIGTERM)) or 0
    )
    before = signal.signal(signal.SIGTERM, own)
    try:
        assert main(["info"]) == 0
        assert signal.getsignal(signal.SIGTERM) is own
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        assert main(["info"]) == 0
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen[0] is own
    assert seen[1] not in (own, signal.SIG_DFL)


def test_outside_of_the_main_thread_no_handler_is_set(capsys: pytest.CaptureFixture[str]) -> None:
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(main, ["info"]).result() == 0
    assert capsys.readouterr().err == ""


def test_a_reader_that_goes_away_leaves_no_traceback() -> None:
    code = (
        "import os, sys; from pixel_embedded_affinity.cli import main; read, write = os.pipe()\n"
        "os.dup2(write, 1); os.close(write); os.close(read)\n"
        "sys.exit(main(['models']))"
    )
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    result = subprocess.run(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False, env=buffered
    )
    assert (result.returncode, result.stderr) == (1, "")


def test_a_warning_is_given_once_for_each_image(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger(f"{PACKAGE}.some_module")
    with messages.log_to_stderr(logging.INFO):
        for _ in range(3):
            log.warning("the size of a voxel is not known")
            log.info("a step")
        for name in ("a.tif", "a.tif", "b.tif"):
            with about(name):
                log.warning("the size of a voxel is not known")
    lines = capsys.readouterr().err.splitlines()
    assert lines.count("pea: the size of a voxel is not known") == 1
    assert lines.count("pea: a step") == 3
    assert lines[-2:] == [f"pea: {name}: the size of a voxel is not known" for name in ("a.tif", "b.tif")]
