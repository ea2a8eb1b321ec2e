"""A new setting is one field and its use: from the field alone it reaches every surface.

A copy of the package gets one more field; a fresh interpreter looks for it everywhere.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pixel_embedded_affinity

PACKAGE = Path(pixel_embedded_affinity.__file__).parent
DOCS = Path(__file__).resolve().parents[2] / "docs"
LAST = "    def _check_embedding(self"
FIELD = '    toy_size: int = setting(0, integer(0, 9), "A toy.", tries=(7, 8))\n\n'
PROBE = """
import argparse, importlib.util, json, sys
from pathlib import Path
import pytest
from torch import nn
from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.cli import compare, evaluate, segment, tune as tuning
from pixel_embedded_affinity.cli.settings import given_settings
from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.postprocess import Postprocess
from pixel_embedded_affinity.tune import Search, _values

KEY = "postprocess.toy_size"

# check
for wrong in (10, 1.5, True):
    with pytest.raises(InputError, match=r"postprocess\\.toy_size must be an integer from 0 to 9, got"):
        Postprocess(toy_size=wrong)

# JSON
config = ModelConfig(postprocess=Postprocess(toy_size=3))
assert json.loads(config.to_json())["postprocess"]["toy_size"] == 3
assert ModelConfig.from_json(config.to_json()) == config

# with_settings and the file of settings
segmenter = Segmenter(nn.Identity(), ModelConfig(), device="cpu")
changed = segmenter.with_settings(**{KEY: 5})
assert changed.config.postprocess.toy_size == 5
path = Path(sys.argv[1])
changed.save_settings(path)
assert segmenter.with_settings_from(path).config == changed.config
with pytest.raises(InputError, match="toy_sizes.*toy_size"):
    segmenter.with_settings(**{"postprocess.toy_sizes": 5})

# the flags of every command that segments
needed = {
    segment: ["a.tif", "--model", "m", "--output", "o"],
    evaluate: ["--model", "m", "--data", "d"],
    tuning: ["--model", "m", "--data", "d", "--output", "o"],
    compare: ["r", "--data", "d", "--output", "o", "--steps", "1"],
}
for command, arguments in needed.items():
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert given_settings(parser.parse_args([*arguments, "--toy-size", "4"])) == [{KEY: 4}]
    assert given_settings(parser.parse_args(arguments)) == [{}]

# the search of tune
assert _values(ModelConfig(), Search())[KEY] == [0, 7, 8]
assert _values(ModelConfig(), Search(values={KEY: [9]}))[KEY] == [0, 9]

# the page of settings
spec = importlib.util.spec_from_file_location("make_settings_page", sys.argv[2])
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
assert "``postprocess.toy_size`` ``--toy-size``" in script.page()
"""


def test_a_new_setting_reaches_every_surface(tmp_path: Path) -> None:
    shutil.copytree(
        PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__")
    )
    file = tmp_path / PACKAGE.name / "postprocess.py"
    source = file.read_text(encoding="utf-8")
    assert source.count(LAST) == 1
    file.write_text(source.replace(LAST, FIELD + LAST), encoding="utf-8")
    found = subprocess.run(
        [sys.executable, "-c", PROBE, tmp_path / "settings.json", DOCS / "make_settings_page.py"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
