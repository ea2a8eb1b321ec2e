"""What README.md and the documentation tell a reader to type works, word for word."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import textwrap
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
import tifffile
from scripts import loaded

from pixel_embedded_affinity import list_models, samples
from pixel_embedded_affinity.cli import main
from pixel_embedded_affinity.models.fetch import resolve
from pixel_embedded_affinity.models.registry import ModelEntry, newest_entries

REPOSITORY = Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
DOCS = REPOSITORY / "docs"
MADE = ("_build", "gallery", "generated")
PAGES = [README, *(path for path in sorted(DOCS.rglob("*.rst")) if not set(MADE) & set(path.parts))]
# A training takes hours (test_training_page.py runs a page's trainings for a step), an evaluation needs its result, and
# tuning or fine-tuning a folder of labeled images.
NOT_RUN = ("pea train ", "pea evaluate ", "pea tune ", "pea finetune ", "pea compare ")
# What fits into the column of text.
LONGEST_LINE = 92
VENV = ["python3 -m venv .venv", ". .venv/bin/activate"]

has_model = "bbbc039" in list_models()
needs_model = pytest.mark.skipif(not has_model, reason="the registry lists no model bbbc039")


class Block(NamedTuple):
    """A code block of a page."""

    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page in their order."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".md":
        return [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S)]
    # Blocks in a card are indented.
    found = re.findall(r"^( *)\.\. code-block:: (\w+)\n\n((?:(?:\1 {3}.*)?\n)+)", text, re.M)
    return [
        Block(language, joined(language, textwrap.dedent(body).strip() + "\n")) for _, language, body in found
    ]


def joined(language: str, text: str) -> str:
    """The text of a block; a command that goes on in the next line is one line."""
    return re.sub(r"\\\n *", "", text) if language == "bash" else text


def literal_lines(page: Path) -> list[str]:
    """Return the lines of code of a page, also of what follows a paragraph that ends in two colons."""
    found, margin = [], None
    for line in page.read_text(encoding="utf-8").splitlines():
        indent = len(line) - len(line.lstrip())
        if margin is not None and line.strip() and indent <= margin:
            margin = None
        if margin is None and re.search(r"code-block:: \w+$|^ *(?!\.\. )\S.*::$", line):
            margin = indent
        elif margin is not None and line.strip():
            found.append(line[margin + 3 :])
    return found


def commands(page: Path) -> list[str]:
    """Return the shell commands of a page, those joined by && each on its own."""
    shell = [block.text for block in blocks(page) if block.language == "bash"]
    return [command for text in shell for line in text.splitlines() for command in line.split(" && ") if line]


def has_something_to_run(page: Path) -> bool:
    return any(block.language in ("bash", "python") for block in blocks(page))


RUN_PAGES = [page for page in PAGES if has_something_to_run(page)]


def setup_section(name: str) -> dict[str, str]:
    parser = configparser.ConfigParser()
    parser.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    return dict(parser[name])


def check_pip(command: str) -> None:
    """Check that what an installation command names is there: the constraints and the extras."""
    words = shlex.split(command)
    assert words[:4] == ["pip", "install", "-c", "constraints.txt"]
    assert (REPOSITORY / "constraints.txt").is_file()
    extras = re.fullmatch(r"\.(?:\[([\w,]+)\])?", words[4])
    assert extras is not None
    assert len(words) == 5
    named = set(extras[1].split(",")) if extras[1] else set()
    assert named <= set(setup_section("options.extras_require"))


def check_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Check, without running it, that a command of pea has all the options it is given."""
    words = shlex.split(command)
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main([*words[1:2], "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    if words[1] != "models":
        assert [word for word in words if word.startswith("--") and word not in text] == []


def run_command(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Run one shell command of a page, or check it where running it would install, test or train."""
    program, _, rest = command.partition(" ")
    if command.startswith(NOT_RUN):
        check_options(command, capsys)
    elif program == "pea":
        assert main(shlex.split(os.path.expandvars(rest))) == 0, command
    elif program == "export":
        name, _, value = shlex.split(os.path.expandvars(rest))[0].partition("=")
        monkeypatch.setenv(name, value)
    elif program == "pip":
        check_pip(command)
    elif program == "sphinx-build":
        assert command == "sphinx-build -W -b html docs docs/_build"
    else:
        assert command in (*VENV, "pytest")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the pages suppose it: images and a model file; the bundled samples are cut, to save time."""
    field = samples.nuclei()
    corner = samples.Sample(field.image[250:, 330:], field.labels[250:, 330:])
    monkeypatch.setattr(samples, "nuclei", lambda: corner)
    stack = samples.neurons()
    few = stack._replace(image=stack.image[:8, :96, :96], labels=stack.labels[:8, :96, :96])
    monkeypatch.setattr(samples, "neurons", lambda: few)
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images" / "a.tif", field.image[:160, :200])
    tifffile.imwrite(tmp_path / "images" / "b.tif", field.image[160:320, :200])
    shutil.copy(resolve("bbbc039", offline=True), tmp_path / "my_model.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    for name in ("PEA_OFFLINE", "PEA_WEIGHTS_URL"):
        monkeypatch.setenv(name, "")
    return tmp_path


@needs_model
@pytest.mark.parametrize("page", RUN_PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_what_a_page_shows_runs_in_its_order(
    page: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language == "python":
            exec(compile(block.text, str(page), "exec"), names)
        elif block.language == "bash":
            for line in block.text.splitlines():
                for command in line.split(" && ") if line else ():
                    run_command(command, monkeypatch, capsys)


@pytest.mark.parametrize("page", RUN_PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_code_of_a_page_is_python_and_commands_have_the_options_they_use(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for block in blocks(page):
        if block.language == "python":
            compile(block.text, str(page), "exec")
    for command in commands(page):
        if command.startswith("pea "):
            check_options(command, capsys)
        elif command.startswith("pip "):
            check_pip(command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_no_line_of_code_is_cut_off_on_a_desktop(page: Path) -> None:
    if page.suffix == ".rst":
        assert [line for line in literal_lines(page) if len(line) > LONGEST_LINE] == []


@pytest.mark.parametrize("script", sorted((DOCS / "gallery_src").glob("*.py")), ids=lambda path: path.stem)
def test_no_line_of_code_of_the_gallery_is_cut_off(script: Path) -> None:
    code = [line for line in script.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    body = code[code.index('"""', 1) + 1 :]
    assert [line for line in body if len(line) > LONGEST_LINE] == []


def test_the_recipe_of_the_documentation_is_valid() -> None:
    from pixel_embedded_affinity.training.recipe import Recipe

    recipe = Recipe.from_file(DOCS / "howto" / "recipe.toml")
    assert recipe.data.layout == "folders"
    assert recipe.model.name == "my_objects"
    volumes = Recipe.from_file(DOCS / "howto" / "volume.toml")
    assert volumes.data.layout == "folders"
    assert volumes.model.ndim == 3


def test_install_and_demo_is_one_line_that_starts_from_nothing() -> None:
    first, second = (block.text.splitlines() for block in blocks(README)[:2])
    assert [line.split(" && ") for line in first] == [[*VENV, "pip install -c constraints.txt .", "pea demo"]]
    tests = 'pip install -c constraints.txt ".[test,dev]"'
    assert [line.split(" && ") for line in second] == [[*VENV, tests, "pytest"]]
    scripts = setup_section("options.entry_points")["console_scripts"]
    assert scripts.split() == ["pea", "=", "pixel_embedded_affinity.cli:main"]


def test_quick_start_has_about_twenty_lines() -> None:
    code = next(block.text for block in blocks(README) if block.language == "python")
    assert 15 <= sum(bool(line.strip()) for line in code.splitlines()) <= 20


def test_links_of_the_readme_lead_somewhere() -> None:
    text = README.read_text(encoding="utf-8")
    headings = {re.sub(r"\W+", "-", line.lstrip("# ").lower()) for line in re.findall(r"^#+ .*$", text, re.M)}
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target == "docs/images/overview.png" and not has_model:
            continue
        if target.startswith("#"):
            assert target[1:] in headings
        elif not target.startswith("https://"):
            assert (REPOSITORY / target).exists(), target


def model_table() -> ModuleType:
    return loaded(DOCS / "make_model_table.py")


def test_the_table_of_models_is_that_of_the_registry() -> None:
    script, text = model_table(), README.read_text(encoding="utf-8")
    entries = newest_entries()
    assert script.with_table(text, script.table(entries)) == text, "run docs/make_model_table.py"


def test_the_table_holds_scores_as_measured_and_survives_odd_text() -> None:
    entry = ModelEntry(
        name="leaves",
        version="1.0",
        file="leaves.safetensors",
        sha256="0" * 64,
        size=9_500_000,
        urls=(),
        license="CC0-1.0",
        data="a | b",
        description="Leaves.",
        scores={"validation_sbd": 0.88765, "difference_in_count": 1},
    )
    *_, row = model_table().table({"leaves": entry}).splitlines()
    scores = "validation SBD 0.8877, difference in count 1"
    assert row == f"| `leaves` | 1.0 | Leaves. | a \\| b | {scores} | CC0-1.0 | 9.5 MB |"


def test_a_readme_without_markers_is_refused() -> None:
    with pytest.raises(SystemExit, match="lacks the markers"):
        model_table().with_table("no markers", "table")


def test_the_job_array_of_the_cluster_does_everything(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (REPOSITORY / "docs" / "howto" / "slurm_array.sh").read_text(encoding="utf-8")
    command = script[script.index("pea segment") :].replace("\\\n", " ")
    (first, last) = re.findall(r"^#SBATCH --array=(\d+)-(\d+)$", script, re.MULTILINE)[0]
    assert first == "1"
    (shards,) = re.findall(r"^SHARDS=(\d+)", script, re.MULTILINE)
    assert shards == last
    for name, value in (("SHARDS", shards), ("SLURM_CPUS_PER_TASK", "1")):
        monkeypatch.setenv(name, value)
    for number in ("1", "2", "3"):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", number)
        assert main(shlex.split(os.path.expandvars(command))[1:]) == 0
    made = sorted(path.name for path in (place / "results").glob("*.tif"))
    assert made == ["a_labels.tif", "b_labels.tif"]
