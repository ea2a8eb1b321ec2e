"""``pea segment`` in a process of its own: interrupted by a signal, and where files cannot be written to their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from pixel_embedded_affinity.cli.records import RECORDS

pytestmark = pytest.mark.no_cover

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs signals and limits of POSIX")

MANY = 300


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    for number in range(MANY):
        values = np.random.default_rng(number).integers(0, 4000, (64, 80), dtype=np.uint16)
        tifffile.imwrite(folder / f"{number:03}.tif", values)
    return folder


def started(
    images: Path, output: Path, weights: Path, prepare: Callable[[], None] | None = None
) -> subprocess.Popen[str]:
    """Start a batch; `prepare` runs in the new process first."""

    def heeding_interrupts() -> None:
        # A shell starts what it puts into the background with SIGINT ignored, and children inherit that.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if prepare is not None:
            prepare()

    pea = [sys.executable, "-m", "pixel_embedded_affinity"]
    command = [*pea, "segment", images, "--weights", weights, "--output", output, "--device", "cpu"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeding_interrupts
    )


def wait_for(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 240
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


@posix_only
@pytest.mark.parametrize(
    ("sent", "code", "said"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "stopped by SIGTERM")],
)
def test_an_interrupted_batch_says_one_line_and_keeps_whole_files_only(
    many: Path, tmp_path: Path, weights: Path, sent: signal.Signals, code: int, said: str
) -> None:
    output = tmp_path / "out"
    with started(many, output, weights) as process:
        wait_for(lambda: len(list(output.glob("*_labels.tif"))) >= 2 or process.poll() is not None)
        process.send_signal(sent)
        out, err = process.communicate(timeout=240)
    assert process.returncode == code
    assert (out, err) == ("", f"pea: {said}; files that were finished stay, and no other file was written\n")
    left = sorted(path.name for path in output.iterdir() if path.name != RECORDS)
    assert 2 <= len(left) < MANY
    assert all(name.endswith("_labels.tif") for name in left)
    assert all(tifffile.imread(output / name).shape == (64, 80) for name in left)


@posix_only
def test_a_killed_batch_leaves_no_half_file_under_a_final_name(
    many: Path, tmp_path: Path, weights: Path
) -> None:
    output = tmp_path / "out"
    with started(many, output, weights) as process:
        wait_for(lambda: len(list(output.glob("*_labels.tif"))) >= 2 or process.poll() is not None)
        process.kill()
        process.communicate(timeout=240)
    for path in output.glob("*_labels.tif"):
        assert tifffile.imread(path).shape == (64, 80)


@posix_only
def test_where_files_cannot_be_written_to_their_end_there_are_none(
    images: Path, tmp_path: Path, weights: Path
) -> None:
    """The limit of the system stops the writing in the midst of a file, as a full disk does."""
    import resource

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))

    output = tmp_path / "out"
    with started(images, output, weights, prepare=limited) as process:
        out, err = process.communicate(timeout=240)
    assert process.returncode == 1
    assert err.count("pea: error: ") == err.count("\n") == 3
    assert "File too large" in err
    assert out.startswith("0 of 3 images segmented, 3 failed;")
    assert not output.exists()


def test_of_two_processes_on_one_output_one_works_and_the_other_is_told(
    many: Path, tmp_path: Path, weights: Path
) -> None:
    output = tmp_path / "out"
    with started(many, output, weights) as first:
        wait_for(lambda: len(list(output.glob("*_labels.tif"))) >= 1 or first.poll() is not None)
        with started(many, output, weights) as second:
            out, err = second.communicate(timeout=240)
        assert first.poll() is None
        first.kill()
    assert second.returncode == 2
    assert out == ""
    assert err.startswith(f"pea: error: another run writes into '{output}'; expected one at a time; ")
