"""Mutation testing: how many small changes of a module its tests notice.

``python tests/mutation.py metrics --sample 40`` works on a copy in a temporary folder, in which one operator, one
comparison, number or truth value at a time is changed. A mutant survives if all tests of the module pass.

The tests are collected once. For each mutant a process is forked, in which the code of the changed function is
exchanged and the tests run, the quickest first, until one fails. What lies outside of functions is tried from a
fresh import, and so is a survivor in a function that was already called while the tests were collected. An endless
loop is ended by a limit of CPU time, so that it does not matter how busy the machine is, and counts as noticed.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import gc
import importlib
import importlib.util
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "pixel_embedded_affinity"
TESTS = {
    "metrics": ["test_metrics.py", "property/test_metrics_properties.py"],
    "postprocess": ["test_postprocess.py", "property/test_postprocess_properties.py"],
    "neighborhood": ["test_neighborhood.py"],
    "affinity": ["test_affinity.py", "property/test_affinity_oracle.py"],
    "export/polygons": ["test_polygons.py"],
    "export/measurements": ["test_measurements.py", "test_export.py"],
    "cli/inputs": ["cli/test_inputs.py"],
    "cli/records": ["cli/test_records.py"],
    "geometry/tiling": ["geometry/test_tiling.py", "property/test_tiled_embedding.py"],
}
# A limit of time is no test of what is computed, and fails by chance on a busy machine.
LEFT_OUT = ["test_metrics.py::test_evaluating_a_field_of_nuclei_takes_milliseconds"]
# Imported before anything is forked; what of it is not installed, the tests skip.
HEAVY = ["hypothesis.extra.numpy", "torch", "scipy.optimize", "scipy.ndimage", "scipy.sparse.csgraph"]
HEAVY += ["skimage.metrics", "matplotlib.pyplot", "bioimage_cpp.affinities"]
HOURS = 4
NOTICED = "noticed.txt"
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.And: ast.Or, ast.Or: ast.And, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.USub: ast.UAdd,
}  # fmt: skip


class Mutant(NamedTuple):
    """One change of a module; `function` is the qualified name of the one whose body has it, None outside of all."""

    number: int
    told: str
    function: str | None
    tree: ast.Module


class Place(NamedTuple):
    """Something that can be changed: a field of a node, with the index if it is a list."""

    parent: ast.AST
    field: str
    index: int | None
    child: ast.AST


def changed(node: ast.AST) -> ast.AST | None:
    """Return the node that replaces it, or None to change nothing."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        return ast.Constant(not node.value)
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return ast.Constant(node.value + 1)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return node.operand
    return SWAPS[type(node)]() if type(node) in SWAPS else None


def children(node: ast.AST) -> Iterator[Place]:
    """The nodes below a node, but no annotations, which mean nothing to tests."""
    for field, value in ast.iter_fields(node):
        if field not in ("annotation", "returns"):
            for index, child in enumerate(value) if isinstance(value, list) else ((None, value),):
                if isinstance(child, ast.AST):
                    yield Place(node, field, index, child)


def places(node: ast.AST) -> Iterator[Place]:
    """Everything that can be changed."""
    for place in children(node):
        if changed(place.child) is not None:
            yield place
        yield from places(place.child)


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Functions of a module and of its classes, with their qualified names."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{prefix}{node.name}.")


def mutant(source: str, number: int) -> Mutant:
    """Make one of the mutants of a source, which are numbered in the order of the places."""
    tree = ast.parse(source)
    parent, field, index, child = list(places(tree))[number]
    bodies = {id(n): name for name, f in functions(tree) for part in f.body for n in ast.walk(part)}
    new = changed(child)
    assert new is not None
    if index is None:
        setattr(parent, field, new)
    else:
        getattr(parent, field)[index] = new
    ast.fix_missing_locations(tree)
    line = getattr(child, "lineno", getattr(parent, "lineno", 0))
    told = f"line {line}: {source.splitlines()[line - 1].strip()} -> {type(new).__name__}"
    return Mutant(number, told, bodies.get(id(parent)), tree)


def outcome(run: Callable[[], bool], seconds: float) -> str:
    """Run tests in a forked process, and tell what became of them."""
    process = os.fork()
    if process == 0:
        try:
            restrict(seconds)
            os._exit(0 if run() else 1)
        finally:
            os._exit(1)
    status = os.waitpid(process, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGALRM):
        return "time"
    return "noticed" if status else "survived"


def restrict(seconds: float) -> None:
    """Limit this process: CPU time, hours in all, two gigabytes beyond what it has; nothing is printed."""
    resource.setrlimit(resource.RLIMIT_CPU, (round(seconds), round(seconds) + 1))
    signal.alarm(HOURS * 3600)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + 2 * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)


def run_items(session: pytest.Session, spent: dict[str, float] | None = None) -> bool:
    """Run the collected tests until one fails; note the CPU seconds of each."""
    for item, following in zip_longest(session.items, session.items[1:]):
        start = time.process_time()
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if spent is not None:
            spent[item.nodeid] = time.process_time() - start
        if session.testsfailed:
            (session.config.rootpath / NOTICED).write_text(item.nodeid, encoding="utf-8")
            return False
    return True


class Loop:
    """In place of pytest's loop over the collected tests, one loop for each mutant of a function."""

    def __init__(self, folder: Path, module: str, mutants: Iterable[Mutant]) -> None:
        self.folder = folder
        self.notes = folder / "notes.json"
        self.file = str(folder / PACKAGE / f"{module}.py")
        self.mutants = mutants
        self.called: set[CodeType] = set()
        sys.setprofile(self.note)

    def note(self, frame: FrameType, event: str, _: object) -> None:
        """Note the functions that are called while the tests are collected: constants of tests come from them."""
        if event == "call" and frame.f_code.co_filename == self.file:
            self.called.add(frame.f_code)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        sys.setprofile(None)
        functions = self.loaded()
        gc.freeze()  # nothing for the forked processes to go through, nor to copy
        spent = self.measured(session)
        session.items.sort(key=lambda item: spent[item.nodeid])
        limit, outcomes = limit_of(sum(spent.values())), {}
        for one in self.mutants:
            if one.function is not None:
                found = self.tried(session, functions[one.function], code_of(one, self.file), limit)
                print(one.number, found, one.told, self.noticed_by(), flush=True)
                outcomes[one.number] = found
        self.notes.write_text(json.dumps([limit, list(outcomes.items())]))
        return True

    def tried(
        self, session: pytest.Session, functions: list[FunctionType], code: CodeType, limit: float
    ) -> str:
        """Outcome of one mutant; "open" if only a fresh import tells."""
        (self.folder / NOTICED).unlink(missing_ok=True)
        found = outcome(lambda: run_with(session, functions, code), limit)
        called = any(function.__code__ in self.called for function in functions)
        return "open" if found == "survived" and called else found

    def noticed_by(self) -> str:
        """The test that failed, if one did: a crash leaves no word."""
        note = self.folder / NOTICED
        return f"({note.read_text(encoding='utf-8')})" if note.exists() else ""

    def measured(self, session: pytest.Session) -> dict[str, float]:
        """CPU seconds of each test, which must all pass without any change, in a forked process, too."""

        def run() -> bool:
            spent: dict[str, float] = {}
            passed = run_items(session, spent)
            self.notes.write_text(json.dumps(spent))
            return passed

        assert session.items
        assert outcome(run, HOURS * 3600) == "survived", "the tests fail without any change"
        spent: dict[str, float] = json.loads(self.notes.read_text())
        print(f"{len(spent)} tests in {sum(spent.values()):.1f} s of CPU time", flush=True)
        return spent

    def loaded(self) -> dict[str, list[FunctionType]]:
        """The functions of the module by their names, from the copy and from nowhere else."""
        loaded = [function for function in gc.get_objects() if type(function) is FunctionType]
        found: dict[str, list[FunctionType]] = {}
        for function in loaded:
            if function.__code__.co_filename == self.file:
                found.setdefault(function.__qualname__, []).append(function)
        return found


def limit_of(spent: float) -> float:
    """CPU seconds that the tests of a mutant may take, from the seconds that they take without a change."""
    return 5 + 3 * spent


def code_of(one: Mutant, file: str) -> CodeType:
    """The code of the changed function."""
    code = compile(one.tree, file, "exec", dont_inherit=True)
    assert one.function is not None
    for name in one.function.split("."):
        code = next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == name)
    return code


def run_with(session: pytest.Session, targets: list[FunctionType], code: CodeType) -> bool:
    for function in targets:
        function.__code__ = code
    return run_items(session)


def run_pytest(folder: Path, module: str, *plugins: object) -> bool:
    """Run the tests of a module in this process, or have a plugin run them."""
    os.chdir(folder)
    options = ["-x", "-qq", "-s", "-p", "no:cacheprovider", "--no-summary", "--assert=plain"]
    options += ["-o", "faulthandler_timeout=0", f"--basetemp={folder / 'files'}"]
    options += [f"--deselect=tests/{name}" for name in LEFT_OUT]
    files = [str(folder / "tests" / name) for name in TESTS[module]]
    return int(pytest.main([*options, *files], plugins=list(plugins))) == 0


def swapped(folder: Path, module: str, mutants: list[Mutant]) -> tuple[float, dict[int, str]]:
    """Try the mutants of functions; return the limit of CPU time, and the outcome by number."""
    process = os.fork()
    if process == 0:
        try:
            os._exit(0 if run_pytest(folder, module, Loop(folder, module, mutants)) else 1)
        finally:
            os._exit(1)
    assert os.waitpid(process, 0)[1] == 0
    limit, outcomes = json.loads((folder / "notes.json").read_text())
    return limit, dict(outcomes)


def tried(folder: Path, module: str, mutants: list[Mutant]) -> dict[int, str]:
    """Outcome of each mutant by its number."""
    limit, outcomes = swapped(folder, module, mutants)
    file = folder / PACKAGE / f"{module}.py"
    source = file.read_text(encoding="utf-8")
    for one in mutants:
        if outcomes.get(one.number, "open") == "open":
            file.write_text(ast.unparse(one.tree), encoding="utf-8")
            outcomes[one.number] = outcome(lambda: run_pytest(folder, module), limit)
            print(one.number, outcomes[one.number], "from a fresh import:", one.told, flush=True)
    file.write_text(source, encoding="utf-8")
    return outcomes


def copied(folder: Path, modules: list[str]) -> None:
    """Copy the package and its tests, and let them be imported from there."""
    for name in (PACKAGE, "tests"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    compileall.compile_dir(folder / PACKAGE, quiet=2)
    for module in modules:  # what is changed within a second would be taken for the file that was compiled
        Path(importlib.util.cache_from_source(str(folder / PACKAGE / f"{module}.py"))).unlink()
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True


def prepare() -> None:
    """What the tests have in common: one thread, the imports, and examples that are the same in each run."""
    os.environ.update(OMP_NUM_THREADS="1", MPLBACKEND="Agg", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    for name in HEAVY:
        if importlib.util.find_spec(name.partition(".")[0]):
            importlib.import_module(name)
    from hypothesis import HealthCheck, Phase, settings

    found = settings(
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),  # a smaller example than the one found is of no use here
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    settings.register_profile("mutation", found)
    settings.load_profile("mutation")


def report(module: str, seed: int, outcomes: dict[int, str]) -> None:
    values = list(outcomes.values())
    noticed = len(values) - values.count("survived")
    survivors = sorted(number for number, value in outcomes.items() if value == "survived")
    print(
        f"{module}, seed {seed}: {noticed} of {len(values)} mutants noticed, {noticed / len(values):.0%}, "
        f"{values.count('time')} of them by the limit of time; survivors: {survivors}",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("modules", nargs="+", choices=TESTS)
    parser.add_argument("--sample", type=int, help="number of mutants, chosen at random; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of the choice")
    parser.add_argument(
        "--only", type=int, nargs="+", help="numbers of mutants, such as survivors of another run"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        copied(folder, arguments.modules)
        prepare()
        for module in arguments.modules:
            source = (folder / PACKAGE / f"{module}.py").read_text(encoding="utf-8")
            numbers = arguments.only or list(range(len(list(places(ast.parse(source))))))
            if arguments.sample is not None:
                numbers = random.Random(arguments.seed).sample(numbers, min(arguments.sample, len(numbers)))
            report(module, arguments.seed, tried(folder, module, [mutant(source, n) for n in numbers]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
