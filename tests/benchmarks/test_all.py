"""``benchmarks/all.py`` runs the benchmarks that it names, and keeps what they print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

PIPELINE = """520 x 696 pixels, 2 threads, ours in torch.float32, median of 5
step            published         ours    ratio
network        3793.3 ms    2272.2 ms     1.7x
end to end    10982.6 ms    2564.8 ms     4.3x
"""
SCALING = """   size way         s/megapixel   peak RSS   objects
    256 in memory         1.50     600 MB        12
    256 in blocks         1.75     610 MB        12
   8192 in blocks         1.25     900 MB     12345
"""


def test_every_benchmark_that_it_names_is_there(load: Any) -> None:
    module = load("all")
    for command in module.BENCHMARKS:
        assert (module.FOLDER / command.split()[0]).is_file()


def test_ratios_and_rates_are_read_from_what_was_printed(load: Any) -> None:
    module = load("all")
    results = {
        "hardware.py": "network 1.0 ms 2.0 ms 9.9x",
        "pipeline.py --runs 5": PIPELINE,
        "scaling.py": SCALING,
    }
    assert module.ratios(results) == {"network": 1.7, "end to end": 4.3}
    assert module.rates(results) == {"in memory": [(256, 1.5)], "in blocks": [(256, 1.75), (8192, 1.25)]}
    assert module.ratios({}) == module.rates({}) == {}


@pytest.mark.filterwarnings("default")
def test_what_was_printed_is_kept_and_a_failure_is_named(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="the picture is drawn by matplotlib")
    module = load("all")
    (tmp_path / "pipeline.py").write_text(f"print({PIPELINE!r})", encoding="utf-8")
    (tmp_path / "bad.py").write_text("print('so far'); raise SystemExit('no')", encoding="utf-8")
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(module, "BENCHMARKS", ("pipeline.py", "bad.py --largest {largest}"))
    assert module.main(["--output", str(tmp_path), "--largest", "512"]) == 1
    assert "1 of 2 failed: bad.py --largest 512" in capsys.readouterr().out
    page = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "end to end    10982.6 ms" in page
    assert "so far\nno" in page
    assert "logical cores" in page
    assert (tmp_path / "results.png").read_bytes()[:4] == b"\x89PNG"
    assert module.main(["--output", str(tmp_path / "new" / "folder"), "--only", "pipeline.py"]) == 0
    assert (tmp_path / "new" / "folder" / "results.md").is_file()
