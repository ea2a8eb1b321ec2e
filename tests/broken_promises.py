"""Broken promises: whether the tests that `docs/promises.rst` lists notice when a promise is broken.

``python tests/broken_promises.py`` works on copies in a temporary folder. In each, one piece of the source is
replaced by a fault that somebody might well make, and the tests that the promise lists run until one fails. In the
end, the tests that noticed something run without any fault, and must pass: one that always fails notices nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "pixel_embedded_affinity"
COPIED = (PACKAGE, "tests", "docs", "README.md", "CHANGELOG.md", "LICENSE", "setup.cfg", "pyproject.toml")
SECONDS = 600
NOTHING = "NOT NOTICED"

# The package is installed from elsewhere as well, as a rule; hypothesis need not make a failure small.
RUN = f"""
import sys
from pathlib import Path
import pytest
from hypothesis import Phase, settings
import {PACKAGE}

assert Path({PACKAGE}.__file__).parents[1] == Path.cwd()
phases = (Phase.explicit, Phase.generate)
settings.register_profile("broken", phases=phases, derandomize=True, database=None, deadline=None)
settings.load_profile("broken")
sys.exit(pytest.main(sys.argv[1:]))
"""


class Break(NamedTuple):
    """One fault: in a file of the package, `old`, which is there once, becomes `new`."""

    promise: str
    file: str
    old: str
    new: str
    words: str


BREAKS = [
    Break(
        "The input is never modified",
        "image.py",
        "return Image(_as_float32(view, array), letters)",
        "return Image(np.asarray(view, np.float32), letters)",
        "an image of float32 is not copied",
    ),
    Break(
        "The input is never modified",
        "normalize.py",
        'result = np.array(values, dtype=np.float32, order="C")\n    result -= np.float32(low)',
        "result = np.ascontiguousarray(values, np.float32)\n    result -= np.float32(low)",
        "percentiles are applied in place",
    ),
    Break(
        "The input is never modified",
        "clustering/mutex_watershed.py",
        "np.maximum(given.channel(channel, window), 0, out=weight)",
        "found = given.channel(channel, window)\n            weight[...] = np.maximum(found, 0, out=found)",
        "negative affinities are set to 0 in place",
    ),
    Break(
        "Labels are int32 and consecutive",
        "clustering/mutex_watershed.py",
        "labels[window] = relabel(found[window])",
        "labels[window] = found[window]",
        "the numbers of the library are taken as they come",
    ),
    Break(
        "Labels are int32 and consecutive",
        "postprocess.py",
        "numbers = np.cumsum(kept[1:], dtype=np.int32)",
        "numbers = np.arange(1, len(kept), dtype=np.int32)",
        "objects that are removed leave gaps",
    ),
    Break(
        "The same input gives the same labels",
        "normalize.py",
        "ordered = values.flatten()",
        "ordered = np.random.default_rng().choice(values.ravel(), values.size)",
        "percentiles are those of a random sample",
    ),
    Break(
        "The same input gives the same labels",
        "clustering/mutex_watershed.py",
        "np.maximum(given.channel(channel, window), 0, out=weight)",
        "np.maximum(given.channel(channel, window), 0, out=weight)\n"
        "            weight += 1e-7 * np.random.default_rng().random(weight.shape, np.float32)",
        "ties are broken by a generator of one's own without a seed",
    ),
    Break(
        "The same input gives the same labels",
        "export/labels.py",
        "predictor=False,",
        "predictor=False,\n            datetime=True,",
        "the file of labels holds the time",
    ),
    Break(
        "Tiled is whole",
        "tiling.py",
        "context = rounded_up(halo, grid)\n    lines",
        "context = 0\n    lines",
        "tiles have no halo",
    ),
    Break(
        "Tiled is whole",
        "tiling.py",
        "return rounded_up(math.ceil(inside / count), grid)",
        "return math.ceil(inside / count)",
        "tiles do not start on the grid of the network",
    ),
    Break(
        "Tiled is whole",
        "embedding.py",
        "if not is_out_of_memory(error) or smaller == size:",
        "if smaller != size:",
        "the image is given up where memory runs out",
    ),
    Break(
        "Blockwise is in memory",
        "blockwise.py",
        "grown(core, self.overlap, self.shape, self.grid)",
        "grown(core, self.overlap // 2, self.shape, self.grid)",
        "blocks see half of the overlap",
    ),
    Break(
        "Blockwise is in memory",
        "stitching.py",
        "    ordered = ordered[np.argsort(firsts[ordered])]\n",
        "",
        "objects are numbered block by block",
    ),
    Break(
        "Blockwise is in memory",
        "blockwise.py",
        "todo = [index for index in range(len(plan.cores)) if not store.path(index).exists()]",
        "todo = list(range(len(plan.cores)))",
        "a run that is started again begins at the beginning",
    ),
    Break(
        "Blockwise is in memory",
        "blockwise.py",
        'if path.exists() and path.read_text(encoding="utf-8") != text:',
        "if path.is_dir():",
        "blocks of other settings are taken over",
    ),
    Break(
        "Threads, processes and pickles",
        "segmenter.py",
        "return self.config.changed(**changes)",
        "self.config = self.config.changed(**changes)\n        return self.config",
        "the settings of a call are kept in the segmenter",
    ),
    Break(
        "Threads, processes and pickles",
        "segmenter.py",
        'self.device = resolve_device(state["device"])',
        'self.device = resolve_device("auto")',
        "a pickle comes back on whatever device there is",
    ),
    Break(
        "Threads, processes and pickles",
        "device.py",
        "self._users -= 1\n            torch.set_num_threads(self._before)",
        "self._users -= 1",
        "torch keeps the number of threads of a call",
    ),
    Break(
        "Threads, processes and pickles",
        "device.py",
        "        torch.set_num_threads(1)\n",
        "",
        "a forked process computes on threads that are not there",
    ),
    Break(
        "Whatever comes in, labels or an error of the library come out",
        "errors.py",
        "super().__init__(*(readable(part) if isinstance(part, str) else part for part in arguments))",
        "super().__init__(*arguments)",
        "messages are not made readable",
    ),
    Break(
        "Whatever comes in, labels or an error of the library come out",
        "io/read.py",
        "from struct.error to MemoryError.\n    except Exception as error:",
        "from struct.error to MemoryError.\n    except (OSError, ValueError) as error:",
        "only some errors of the decoders are caught",
    ),
    Break(
        "Nothing is substituted silently",
        "models/registry.py",
        'raise UnknownModelError(f"unknown model {name!r}; valid models: {valid}{_advice(name, entries)}")',
        "name = difflib.get_close_matches(str(name), entries, n=1, cutoff=0)[0]",
        "an unknown model becomes the one of the nearest name",
    ),
    Break(
        "Nothing is substituted silently",
        "registry.py",
        'raise self._unknown(f"unknown {self.kind} {name!r}; the valid ones are {valid}")',
        "return self.get(self.built_in[-1])",
        "an unknown clusterer becomes the default one",
    ),
    Break(
        "Nothing is substituted silently",
        "device.py",
        "_check_present(device)\n    return device",
        'return device if torch.cuda.is_available() else torch.device("cpu")',
        "where CUDA is missing, the CPU computes",
    ),
    Break(
        "Nothing is substituted silently",
        "image.py",
        'return spatial if len(shape) == ndim else spatial + "C"',
        'return spatial if len(shape) == ndim else "C" + spatial if shape[0] <= 4 else spatial + "C"',
        "a short first axis is taken for channels",
    ),
    Break(
        "Nothing is substituted silently",
        "network/build.py",
        "    _check_fit(expected, weights)\n"
        '    own = {name: tensor.to("cpu", expected[name].dtype, copy=True) for name, tensor in weights.items()}\n'
        "    network.load_state_dict(own, strict=True, assign=True)",
        "    own = {name: tensor.float() for name, tensor in weights.items() if name in expected}\n"
        "    network.load_state_dict(own, strict=False, assign=True)",
        "weights that are missing or not known are passed over",
    ),
    Break(
        "Weights are verified, and never executed",
        "models/fetch.py",
        "return None if digest == entry.sha256 else",
        "return None if digest else",
        "the hash of a file that is there is not compared",
    ),
    Break(
        "Weights are verified, and never executed",
        "models/fetch.py",
        "if digest != self._entry.sha256:",
        "if not digest:",
        "the hash of a download is not compared",
    ),
    Break(
        "Weights are verified, and never executed",
        "segmenter.py",
        "return cls._load(path, get_entry(name).sha256,",
        "return cls._load(path, None,",
        "the bytes that become weights are not those that were verified",
    ),
    Break(
        "Weights are verified, and never executed",
        "models/checkpoint.py",
        "    source = Path(path)\n    config_json, data = _read(source)",
        "    source = Path(path)\n"
        "    if source.is_file() and source.read_bytes()[:2] in (b'PK', b'\\x80\\x02'):\n"
        "        import torch\n"
        "        torch.load(source, weights_only=False)\n"
        "    config_json, data = _read(source)",
        "a file of torch is loaded by torch",
    ),
    Break(
        "The cache survives two processes and a kill",
        "models/fetch.py",
        'with filelock.FileLock(target.with_name(f".{target.name}.lock"), timeout=_LOCK_TIMEOUT):',
        'with filelock.FileLock(target.with_name(f".{target.name}.{os.getpid()}.lock")):',
        "each process has a lock of its own",
    ),
    Break(
        "The cache survives two processes and a kill",
        "models/fetch.py",
        "            _remove_leftovers(target)\n",
        "",
        "what a killed download leaves is not removed",
    ),
    Break(
        "The cache survives two processes and a kill",
        "atomic.py",
        'temporary.open("xb") as file:',
        'os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:',
        "nobody else may read a file of the cache",
    ),
    Break(
        "Offline means offline",
        "models/fetch.py",
        "offline=_offline_by_environment() if offline is None else offline,",
        "offline=bool(offline),",
        "PEA_OFFLINE is not heeded",
    ),
    Break(
        "Offline means offline",
        "models/fetch.py",
        "local=(target, bundled / entry.file)",
        "local=(target,)",
        "bundled weights are not looked for",
    ),
    Break(
        "Files appear complete or not at all",
        "atomic.py",
        "        temporary.touch(exist_ok=False)\n        yield temporary\n        os.replace(temporary, target)\n",
        "        yield target\n",
        "a file is written under its final name",
    ),
    Break(
        "Files appear complete or not at all",
        "atomic.py",
        "    except BaseException:\n        temporary.unlink(missing_ok=True)\n        raise",
        "    except ValueError:\n        temporary.unlink(missing_ok=True)\n        raise",
        "a failed write of a checkpoint leaves its part",
    ),
    Break(
        "A batch survives its files, and Ctrl-C",
        "cli/segment.py",
        '        complain(f"pea: error: {readable(str(job.image))}: {_reason(error)}")\n        return False',
        "        raise",
        "a batch ends at the first bad file",
    ),
    Break(
        "A batch survives its files, and Ctrl-C",
        "cli/segment.py",
        "    except Exception as error:",
        "    except PixelEmbeddedAffinityError as error:",
        "a batch ends at an error that nobody foresaw",
    ),
    Break(
        "A batch survives its files, and Ctrl-C",
        "cli/__init__.py",
        "    except KeyboardInterrupt:\n",
        "    except EOFError:\n",
        "Ctrl-C ends with a traceback",
    ),
    Break(
        "Importing is cheap and has no effects",
        "__init__.py",
        "import logging\n",
        "import logging\nimport torch\n",
        "the package imports torch",
    ),
    Break(
        "Importing is cheap and has no effects",
        "__init__.py",
        "logging.getLogger(__name__).addHandler(logging.NullHandler())",
        "logging.basicConfig(level=logging.INFO)",
        "the package configures logging",
    ),
    Break(
        "Importing is cheap and has no effects",
        "__init__.py",
        "logging.getLogger(__name__).addHandler(logging.NullHandler())",
        "logging.getLogger(__name__).addHandler(logging.NullHandler())\n"
        'open(__file__ + ".log", "a", encoding="utf-8").close()',
        "the package writes a file",
    ),
    Break(
        "Quiet by default",
        "models/fetch.py",
        '_logger.info("fetching %s from %s", _title(entry), _shown(url))',
        'print("fetching", _title(entry), "from", _shown(url))',
        "a download is printed and not logged",
    ),
    Break(
        "Quiet by default",
        "segmenter.py",
        "labels = _labels_of_image(labels, view.picture, view.given)",
        'labels = _labels_of_image(labels, view.picture, view.given)\n    print(labels.max(), "objects")',
        "the number of objects is printed",
    ),
    Break(
        "Quiet by default",
        "cli/messages.py",
        "        _PACKAGE_LOGGER.setLevel(before)\n",
        "",
        "the command line leaves the level of the log changed",
    ),
    Break(
        "Quiet by default",
        "cli/messages.py",
        "return sys.stderr.isatty() if arguments.progress is None else bool(arguments.progress)",
        "return arguments.progress is None or bool(arguments.progress)",
        "a bar is shown where nobody looks",
    ),
    Break(
        "Versions and deprecations",
        "progress.py",
        "def track(",
        "from pixel_embedded_affinity.deprecation import deprecated  # noqa: E402\n\n\n"
        '@deprecated(since="0.0", removal="0.1", instead="a bar of your own")\ndef track(',
        "what was to go in 0.1 is still in 0.1.0",
    ),
    Break(
        "Versions and deprecations",
        "deprecation.py",
        "return _release(version) >= _release(self.removal)",
        "return _release(version) > _release(self.removal)",
        "what is deprecated may stay for one release more",
    ),
    Break(
        "Versions and deprecations",
        "deprecation.py",
        "            deprecation.warn()\n            return function(*args, **kwargs)",
        "            return function(*args, **kwargs)",
        "a deprecated function does not warn",
    ),
    Break(
        "Versions and deprecations",
        "deprecation.py",
        "if removal[:counted] <= since[:counted]:",
        "if removal <= since:",
        "removal in the next patch is accepted",
    ),
]


def promised() -> dict[str, list[str]]:
    """The tests of each promise, by its heading."""
    text = (REPOSITORY / "docs" / "promises.rst").read_text(encoding="utf-8")
    parts = re.split(r"^(.+)\n-{3,}$", text, flags=re.M)[1:]
    return {
        heading: re.findall(r"^- ``(\S+)``$", section, re.M)
        for heading, section in zip(parts[::2], parts[1::2])
    }


def copied(folder: Path) -> None:
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "_build"))
        else:
            shutil.copy(source, folder)


def break_in(folder: Path, one: Break) -> None:
    file = folder / PACKAGE / one.file
    text = file.read_text(encoding="utf-8")
    assert text.count(one.old) == 1, f"{one.file} does not hold once: {one.old}"
    file.write_text(text.replace(one.old, one.new), encoding="utf-8")


def output_of(folder: Path, *options: str) -> str:
    """What pytest prints in a copy; nothing if its time runs out."""
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    environment |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [
        sys.executable,
        "-c",
        RUN,
        "-q",
        "--tb=no",
        "--assert=plain",
        "-p",
        "no:cacheprovider",
        *options,
    ]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as printed:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=printed, stderr=printed, start_new_session=True
        )
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            return ""
        finally:
            if process.poll() is None:
                # The processes that tests have started, too.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        printed.seek(0)
        output = printed.read()
    if not re.search(r"^\d+ (passed|failed|error|skipped).* in [\d.]+s", output, re.M):
        raise RuntimeError(f"the tests did not run to their end:\n{output[-2000:]}")
    return output


def failed(output: str) -> list[str]:
    """The tests that failed, without the values of their parameters; a file that cannot be read is no test."""
    return list(dict.fromkeys(re.findall(r"^(?:FAILED|ERROR) (tests/\S+?::\w+)", output, re.M)))


def noticed_by(one: Break, tests: list[str]) -> str:
    """The first test that fails in a copy that is broken."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        copied(folder)
        break_in(folder, one)
        found = failed(output_of(folder, "-x", *tests))
    return found[0] if found else NOTHING


def always_failing(tests: list[str]) -> list[str]:
    """Those that fail in a copy that is not broken."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        copied(folder)
        output = output_of(folder, *tests)
    return failed(output) if output else tests


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--only", default="", metavar="WORD", help="breaks with it in the promise or the words"
    )
    word = parser.parse_args().only.lower()
    chosen = [one for one in BREAKS if word in f"{one.promise} {one.words}".lower()]
    wide = max(len(one.words) for one in BREAKS)
    tests, found, heading = promised(), [], ""
    for one in chosen:
        if one.promise != heading:
            print(heading := one.promise, flush=True)
        found.append(noticed_by(one, tests[one.promise]))
        print(f"  {one.words:{wide}}  {found[-1]}", flush=True)
    useless = always_failing(sorted({*found} - {NOTHING}))
    unnoticed = sum(test == NOTHING or test in useless for test in found)
    print(f"{len(found) - unnoticed} of {len(found)} breaks noticed; tests that fail without any: {useless}")
    return 1 if unnoticed or not found else 0


if __name__ == "__main__":
    sys.exit(main())
