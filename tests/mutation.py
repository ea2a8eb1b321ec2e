"""Mutation testing: how many small changes of a module its tests notice.

``python tests/mutation.py metrics --sample 40`` works on a copy in a temporary folder, in which one operator, one
comparison, number or truth value at a time is changed. A mutant survives if all tests of the module pass.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "pixel_embedded_affinity"
TESTS = {
    "metrics": ["test_metrics.py", "property/test_metrics_properties.py"],
    "postprocess": ["test_postprocess.py", "property/test_postprocess_properties.py"],
    "neighborhood": ["test_neighborhood.py"],
    "affinity": ["test_affinity.py", "property/test_affinity_oracle.py"],
    "tiling": ["test_tiling.py", "property/test_tiled_embedding.py"],
}
SECONDS = 300
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.And: ast.Or, ast.Or: ast.And, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.USub: ast.UAdd,
}  # fmt: skip


def changed(node: ast.AST) -> ast.AST | None:
    """Return the node that takes its place, or None where nothing is to be changed."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        return ast.Constant(not node.value)
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return ast.Constant(node.value + 1)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return node.operand
    return SWAPS[type(node)]() if type(node) in SWAPS else None


def places(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, int]]:
    """Find what can be changed: parent, field, index in the field, line. Annotations mean nothing to tests."""
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if name in ("annotation", "returns"):
                continue
            for index, child in enumerate(value) if isinstance(value, list) else ((None, value),):
                if isinstance(child, ast.AST) and changed(child) is not None:
                    yield parent, name, index, getattr(child, "lineno", getattr(parent, "lineno", 0))


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """Return a description and the source of each mutant."""
    count = len(list(places(ast.parse(source))))
    for number in range(count):
        tree = copy.deepcopy(ast.parse(source))
        parent, name, index, line = list(places(tree))[number]
        field = getattr(parent, name)
        new = changed(field if index is None else field[index])
        assert new is not None
        if index is None:
            setattr(parent, name, new)
        else:
            field[index] = new
        ast.fix_missing_locations(tree)
        yield (
            f"line {line}: {source.splitlines()[line - 1].strip()} -> {type(new).__name__}",
            ast.unparse(tree),
        )


def passes(place: Path, module: str, source: str) -> bool:
    """Run the module's tests on a source, in a forked process: the imports are made only once."""
    (place / PACKAGE / f"{module}.py").write_text(source, encoding="utf-8")
    process = os.fork()
    if process == 0:
        signal.alarm(SECONDS)  # an endless loop is noticed, too,
        limit_memory()  # and so is a size that grew out of bounds
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        os._exit(run_tests(place, module))
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


def limit_memory() -> None:
    """Allow this process no more than two gigabytes beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + 2 * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def run_tests(place: Path, module: str) -> int:
    import pytest

    os.chdir(place)
    files = [str(place / "tests" / name) for name in TESTS[module]]
    plain = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main([*plain, *files]))


def copied(folder: Path) -> Path:
    """Copy the package and its tests, and let them be imported from there."""
    for name in (PACKAGE, "tests"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module", choices=TESTS)
    parser.add_argument("--sample", type=int, help="so many mutants, chosen at random; default: all")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    source = (REPOSITORY / PACKAGE / f"{arguments.module}.py").read_text(encoding="utf-8")
    chosen = list(mutants(source))
    if arguments.sample is not None:
        chosen = random.Random(arguments.seed).sample(chosen, min(arguments.sample, len(chosen)))
    with tempfile.TemporaryDirectory() as name:
        place = copied(Path(name))
        for heavy in ("hypothesis.extra.numpy", "pytest", "torch", "scipy.optimize"):
            importlib.import_module(heavy)
        assert passes(place, arguments.module, source), "the tests fail without any change"
        survivors = [told for told, mutant in chosen if passes(place, arguments.module, mutant)]
    killed = len(chosen) - len(survivors)
    print(*survivors, sep="\n")
    print(f"{arguments.module}: {killed} of {len(chosen)} mutants noticed, {killed / len(chosen):.0%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
