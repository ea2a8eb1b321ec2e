"""``pea models`` and ``pea info``: without a network, and without writing anything that was not asked for."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

import numpy as np
import pytest
import torch

import pixel_embedded_affinity
from pixel_embedded_affinity.cli import main
from pixel_embedded_affinity.models.fetch import resolve


@pytest.mark.parametrize("arguments", [["models"], ["models", "list"]])
def test_list_gives_name_version_size_license_and_what_a_model_segments(
    arguments: list[str], registry: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    header, line = capsys.readouterr().out.splitlines()
    assert header.split() == ["NAME", "VERSION", "SIZE", "LICENSE", "SEGMENTS"]
    megabytes = f"{weights.stat().st_size / 1e6:.1f}"
    assert line.split() == [
        "tiny",
        "1.2",
        megabytes,
        "MB",
        "CC0-1.0",
        *"Segments nothing in particular.".split(),
    ]


def test_show_gives_all_that_is_known(
    registry: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "show", "tiny"]) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert shown["description"] == "Segments nothing in particular."
    assert shown["data"] == "random numbers"
    assert shown["aji"] == "0.125"
    assert shown["size"].endswith(f"({weights.stat().st_size} bytes)")
    assert shown["url"] == "https://weights.invalid/tiny.safetensors"


def test_show_says_what_a_model_file_is(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", str(weights)]) == 0
    shown = dict(
        line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if " " in line.strip()
    )
    assert (shown["name"], shown["version"]) == ("tiny", "1.2")
    assert shown["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert main(["models", "show", "none.safetensors"]) == 2
    assert "none.safetensors: no such file" in capsys.readouterr().err
    assert main(["info", str(weights)]) == 2
    assert f"pea models show {weights}" in capsys.readouterr().err


def test_show_says_what_a_file_learned_from(capsys: pytest.CaptureFixture[str]) -> None:
    path = resolve("nuclei@0.4.0")
    assert main(["models", "show", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["recipe", "in", "the", "file"] for line in lines)
    assert any(line.startswith("minutes ") for line in lines)


def test_download_puts_the_verified_file_where_it_was_asked_for(
    registry: Path, tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "new" / "mirror"
    assert main(["models", "download", "tiny", "--to", str(target)]) == 0
    assert (target / "tiny.safetensors").read_bytes() == weights.read_bytes()
    assert capsys.readouterr().out == f"tiny 1.2 is at {target / 'tiny.safetensors'}\n"


def test_download_of_a_model_that_ships_says_where_it_is(
    registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "download", "tiny"]) == 0
    assert str(registry / "bundled" / "tiny.safetensors") in capsys.readouterr().out


def test_download_never_replaces_another_file(
    registry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.safetensors").write_text("mine")
    assert main(["models", "download", "tiny", "--to", str(tmp_path)]) == 2
    assert "move it away" in capsys.readouterr().err
    assert (tmp_path / "tiny.safetensors").read_text() == "mine"


@pytest.mark.parametrize("action", ["show", "download"])
def test_an_unknown_model_is_refused_with_the_known_ones(
    action: str, registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", action, "huge"]) == 2
    assert capsys.readouterr().err == "pea: error: unknown model 'huge'; valid models: tiny\n"


def info(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {key.strip(): value.strip() for key, value in (line.split("  ", maxsplit=1) for line in lines)}


def test_info_gives_versions_and_devices(registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = info(capsys)
    assert shown["pixel_embedded_affinity"] == pixel_embedded_affinity.__version__
    assert shown["python"].startswith(platform.python_version())
    assert shown["torch"] == torch.__version__
    assert shown["numpy"] == np.__version__
    assert "bioimage-cpp" in shown
    assert f"{torch.get_num_threads()} threads" in shown["device cpu"]


@pytest.mark.parametrize(("fast", "expected"), [(True, "bfloat16 native"), (False, "bfloat16 not native")])
def test_info_says_whether_bfloat16_is_native(
    fast: bool,
    expected: str,
    registry: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("pixel_embedded_affinity.cli.info.has_fast_bfloat16", lambda device: fast)
    assert info(capsys)["device cpu"].endswith(expected)


def test_info_says_where_models_are_and_makes_no_cache(
    registry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundled = registry / "bundled" / "tiny.safetensors"
    assert info(capsys)["model tiny"] == f"1.2 at {bundled}"
    content = bundled.read_bytes()
    bundled.unlink()
    shown = info(capsys)
    assert shown["model tiny"] == "1.2, not on this machine"
    assert shown["cache folder"] == str(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    cached = tmp_path / "cache" / f"tiny-1.2-{hashlib.sha256(content).hexdigest()[:8]}.safetensors"
    cached.parent.mkdir()
    cached.write_bytes(content)
    assert info(capsys)["model tiny"] == f"1.2 at {cached}"


def test_info_names_a_package_that_is_not_installed(
    registry: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pixel_embedded_affinity.cli.info._PACKAGES", ("surely-no-such-package",))
    assert info(capsys)["surely-no-such-package"] == "not installed"


def test_info_describes_the_files_that_can_be_read(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("x")
    good = str(images / "a.tif")
    assert main(["info", str(tmp_path / "notes.txt"), good, str(tmp_path / "nothere")]) == 1
    shown = capsys.readouterr()
    assert good in shown.out
    assert [line.partition("'; ")[0].partition(": error: ")[0] for line in shown.err.splitlines()] == [
        "pea"
    ] * 2
    assert "notes.txt' ends in '.txt'" in shown.err
    assert "nothere' does not exist" in shown.err
    assert main(["info", str(tmp_path / "nothere")]) == 2
