"""What the source of the package must not hold."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

import pixel_embedded_affinity

PACKAGE = Path(pixel_embedded_affinity.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
# What is dangerous or loud; a line that holds such a word says at its end why it is neither.
WORDS = re.compile(r"pickle|torch\.load|verify=False|except:|\bprint\(")
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FORBIDDEN_CALLS = {"print", "eval", "exec", "os.system"}


def unexplained(text: str) -> list[str]:
    """Return the lines that hold one of the words and no comment."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    explained = {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
    lines = enumerate(text.splitlines(), 1)
    return [line.strip() for number, line in lines if WORDS.search(line) and number not in explained]


def forbidden(text: str) -> list[str]:
    """Return the imports and calls that a file must not have."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name in FORBIDDEN_IMPORTS]
        elif isinstance(node, ast.ImportFrom) and node.module in FORBIDDEN_IMPORTS:
            found.append(node.module)
        elif isinstance(node, ast.Call):
            keywords = {ast.unparse(keyword) for keyword in node.keywords}
            found += [name for name in [ast.unparse(node.func)] if name in FORBIDDEN_CALLS]
            found += keywords & {"verify=False", "allow_pickle=True", "weights_only=False"}
            if ast.unparse(node.func) == "torch.load" and "weights_only=True" not in keywords:
                found.append("torch.load without weights_only=True")
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            found.append("bare except")
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_nothing_is_unpickled_printed_or_caught_blindly_and_tls_stays_on(file: Path) -> None:
    assert forbidden(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_a_line_with_a_dangerous_word_says_why_it_is_harmless(file: Path) -> None:
    assert unexplained(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load(x)",
        "torch.load(x, weights_only=False)",
        "print(1)",
        "requests.get(u, verify=False)",
        "try:\n    1\nexcept:\n    2",
    ],
)
def test_what_is_forbidden_is_noticed(line: str) -> None:
    assert forbidden(line)
    assert unexplained(line)


def test_torch_may_load_tensors_alone_if_the_line_says_so() -> None:
    line = "torch.load(x, weights_only=True)"
    assert forbidden(line) == []
    assert unexplained(line)
    assert unexplained(f"{line}  # tensors only") == []
