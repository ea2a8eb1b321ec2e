"""The command line ``pea``: one file per command, imported only when the command is used."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from pixel_embedded_affinity import __version__
from pixel_embedded_affinity.cli.messages import complain, log_to_stderr
from pixel_embedded_affinity.errors import PixelEmbeddedAffinityError, readable

__all__ = ["main"]

logger = logging.getLogger(__name__)

FAILED, REFUSED, INTERRUPTED, TERMINATED = 1, 2, 130, 143


# The module of a command has its name, and functions ``add_arguments(parser)`` and ``run(arguments) -> int``.
_COMMANDS = {
    "demo": "segment the sample image of the package",
    "segment": "segment files and folders of images",
    "models": "list, show and download models",
    "info": "show versions, devices and where models are kept",
    "evaluate": "score a model against true labels",
    "tune": "find better settings on a few labeled images",
    "finetune": "let a model learn from a few labeled images, in minutes",
    "adapt": "fit a model of volumes to another microscope, without labels",
    "train": "train a model on labeled images",
    "export": "write a model for other programs, as ONNX and more",
    "compare": "compare trainings with baselines and variants",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``pea``.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments. Default: the arguments of the process.

    Returns
    -------
    int
        Exit code: 0 = all done; 1 = some files failed; 2 = refused, one line on standard error says why;
        130 = interrupted by Ctrl-C; 143 = stopped by SIGTERM, as ``kill`` and job schedulers send it. Help, the
        version and a wrong usage raise `SystemExit`, as argparse does.
    """
    try:
        with _heeding_sigterm():
            arguments = _parser().parse_args(argv)
            with log_to_stderr(logging.INFO if arguments.verbose else logging.WARNING):
                return _run(arguments)
    except PixelEmbeddedAffinityError as error:  # a command's own arguments need what is not installed
        complain(f"pea: error: {error}")
        return REFUSED
    except _SignalTerm:
        complain(f"pea: stopped by SIGTERM; {_WHAT_STAYS}")
        return TERMINATED
    except KeyboardInterrupt:
        complain(f"pea: interrupted; {_WHAT_STAYS}")
        return INTERRUPTED


_WHAT_STAYS = "files that were finished stay, and no other file was written"


class _SignalTerm(KeyboardInterrupt):
    """The process was asked to end: a command ends as after Ctrl-C."""


@contextmanager
def _heeding_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that no temporary file stays; a handler of the caller stays."""
    if threading.current_thread() is not threading.main_thread() or (
        signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise _SignalTerm

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _run(arguments: argparse.Namespace) -> int:
    try:
        code: int = arguments.run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader (head, less) has gone: what is still buffered would raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (PixelEmbeddedAffinityError, OSError) as error:
        logger.info("the error came from here:", exc_info=True)
        complain(f"pea: error: {_text_of(error)}")
        return REFUSED


def _text_of(error: Exception) -> str:
    """What went wrong; of an error of the system, the file and the reason without its number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return readable(f"{str(error.filename)!r}: {error.strerror}")
    return str(error)


class _Parser(argparse.ArgumentParser):
    """Parser that says what is wrong in two lines; a command with many arguments would bury it below them."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and where the arguments are explained, and exit."""
        usage = f"usage: {self.prog} ...; '{self.prog} --help' explains all arguments"
        self.exit(REFUSED, f"{usage}\n{self.prog}: error: {message}\n")


class _CommandParser(_Parser):
    """Parser of one command; it imports the command's module and adds the arguments only when it is used."""

    module = ""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        command = importlib.import_module(self.module)
        command.add_arguments(self)
        self.set_defaults(run=command.run)
        return super().parse_known_args(args, namespace)


def _parser() -> argparse.ArgumentParser:
    purpose = "Instance segmentation of homogeneous objects by pixel-embedded affinity."
    parser = _Parser(prog="pea", description=purpose, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"pea {__version__}")
    _add_verbose(parser, default=False)
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=_CommandParser
    )
    for name, text in _COMMANDS.items():
        description = f"{text.capitalize()}."
        subparser = commands.add_parser(name, help=text, description=description, allow_abbrev=False)
        subparser.module = f"{__name__}.{name}"
        # Suppressed, or the command's default would undo a -v that stands before the command.
        _add_verbose(subparser, default=argparse.SUPPRESS)
    return parser


def _add_verbose(parser: argparse.ArgumentParser, *, default: Any) -> None:
    help_text = "say on standard error what is done, and where an error came from"
    parser.add_argument("-v", "--verbose", action="store_true", default=default, help=help_text)
