"""Generated hostile inputs: whatever comes in, labels or one of the library's errors come out.

``python tests/hostile/long_run.py --count 100000`` tries that many, spread over all kinds, in processes of their
own, and measures ten seconds and a gigabyte for each. ``--kind KIND --first N --count 1`` repeats one input.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from PIL import Image as PillowImage

from pixel_embedded_affinity.config.model import ModelConfig, NetworkConfig
from pixel_embedded_affinity.errors import PixelEmbeddedAffinityError
from pixel_embedded_affinity.models.checkpoint import Checkpoint, write_checkpoint
from pixel_embedded_affinity.models.registry import REGISTRY_PATH, read_registry
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.network.build import build_network
from pixel_embedded_affinity.segmenter import Segmenter

SECONDS = 10.0
GIGABYTE = 2**30
ODD_NUMBERS: list[Any] = [0, 1, -1, 2, 7, 2**31 - 1, 2**31, 2**63, 2**64, 10**400, 1e308, 1e-320, 0.5, -0.0]
ODD_VALUES: list[Any] = [
    *ODD_NUMBERS, float("nan"), float("inf"), None, True, "", "x", "..", "../../x", "\x00", "\ud800", "9" * 5000,
    [], {}, [None], [[]], {"": None}, b"", object(), Ellipsis, type, lambda: 0, 1j, (1, 2), {1}, np.float16(2),
]  # fmt: skip
NAMES = [
    "a",
    "with space",
    "münze",
    "叶子",
    "🌿",
    "a\nb",
    "\x1b[31mred",
    "per%cent",
    "quo'te",
    "-x",
    "a.b.c",
    "x" * 200,
]
SUFFIXES = [".tif", ".tiff", ".png", ".jpg", ".jpeg", ".TIF", "", ".npy", ".txt"]


@dataclass
class Trial:
    """What inputs are made with: random numbers that the kind and the number alone decide, and a folder."""

    folder: Path
    segmenter: Segmenter
    checkpoint: bytes
    random: random.Random = field(default_factory=random.Random)

    @property
    def numbers(self) -> np.random.Generator:
        return np.random.default_rng(self.random.getrandbits(64))

    def pick(self, choices: Any) -> Any:
        return self.random.choice(list(choices))

    def chance(self, share: float) -> bool:
        return self.random.random() < share


class Bug(Exception):
    """An outcome that is neither labels nor an error of the library."""


# --- what must hold ---------------------------------------------------------------------------------------


def outcome(trial: Trial, kind: str, number: int) -> str:
    """Try one input; return ``"accepted"`` or the name of the library's error, or raise what else came."""
    trial.random = random.Random(f"{kind} {number}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attempt = KINDS[kind](trial)
        try:
            attempt()
        except PixelEmbeddedAffinityError as error:
            text = str(error)
            if not text or len(text.splitlines()) != 1 or not text.isprintable() or len(text) > 3000:
                raise Bug(f"the message is not one line of readable text: {text[:300]!r}") from error
            return type(error).__name__
    return "accepted"


def check_labels(labels: Any, shape: tuple[int, ...] | None = None) -> None:
    if type(labels) is not np.ndarray or labels.dtype != np.int32 or labels.ndim != 2:
        raise Bug(f"no labels: {type(labels).__name__} {getattr(labels, 'dtype', '')}")
    if shape is not None and labels.shape != shape:
        raise Bug(f"labels of shape {labels.shape} for an image of {shape}")
    if not np.array_equal(np.unique(labels[labels > 0]), np.arange(1, labels.max(initial=0) + 1)):
        raise Bug("labels are not consecutive")


def segmented(segmenter: Segmenter, image: Any, **options: Any) -> None:
    before = image.tobytes() if isinstance(image, np.ndarray) and image.dtype.kind != "O" else None
    labels = segmenter.segment(image, **options)
    plain = isinstance(image, np.ndarray) and image.ndim == 2 and options.get("axes") is None
    check_labels(labels, image.shape if plain else None)
    if before is not None and image.tobytes() != before:
        raise Bug("the image was modified")


# --- arrays -----------------------------------------------------------------------------------------------


def any_dtype(trial: Trial) -> np.dtype[Any]:
    code = trial.pick([*np.typecodes["All"], "S3", "U2", "V5", "M8[ns]", "m8[s]", "u1,f4", "2i4"])
    dtype = np.dtype(code)
    return dtype.newbyteorder(trial.pick("<>=")) if trial.chance(0.5) else dtype


def any_shape(trial: Trial) -> tuple[int, ...]:
    axes = trial.random.choices([0, 1, 2, 3, 4, 6], [1, 1, 12, 6, 1, 1])[0]
    sides = [0, 1, 2, 3, 4, 17, 40] if axes < 4 else [0, 1, 2, 3]
    weights = [1, 3, 3, 5, 3, 6, 4][: len(sides)]
    return tuple(trial.random.choices(sides, weights, k=axes))


def any_array(trial: Trial) -> np.ndarray[Any, Any]:
    dtype, shape = any_dtype(trial), any_shape(trial)
    if dtype.kind == "O":
        return np.full(shape, trial.pick([None, 3, "x", 2.5, 10**30, [1]]), dtype)
    count = int(np.prod(shape, dtype=int))
    content = trial.numbers.bytes(count * dtype.itemsize) if trial.chance(0.4) and dtype.itemsize else None
    if content is None:
        plain = trial.numbers.integers(0, trial.pick([1, 2, 120]), count).astype("i1")
        try:
            values = plain.astype(dtype)
        except (TypeError, ValueError):
            values = np.zeros(count, dtype)
    else:
        values = np.frombuffer(content, dtype)
    return rearranged(
        trial, values[:count].reshape(shape) if values.size == count else np.zeros(shape, dtype)
    )


def rearranged(trial: Trial, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The values in memory of any order, direction and kind."""
    ways: list[Callable[[np.ndarray[Any, Any]], Any]] = [
        lambda a: a,
        np.asfortranarray,
        lambda a: a[(slice(None, None, -1),) * a.ndim],
        lambda a: a[(slice(None, None, 2),) * a.ndim],
        lambda a: a.T,
        lambda a: np.broadcast_to(a, (2, *a.shape)),
        lambda a: np.ma.masked_array(a, mask=trial.numbers.random(a.shape) < trial.pick([0, 0.2])),
        lambda a: a.view(np.matrix) if a.ndim == 2 and a.size else a,
        lambda a: np.lib.stride_tricks.as_strided(a, (5, 7), (0, 0), writeable=False) if a.size else a,
    ]
    changed: np.ndarray[Any, Any] = trial.pick(ways)(array)
    if trial.chance(0.3) and type(changed) is np.ndarray:
        changed.flags.writeable = False
    return changed


def any_options(trial: Trial) -> dict[str, Any]:
    wild: dict[str, Callable[[], Any]] = {
        "axes": lambda: trial.pick(
            ["YX", "XY", "YXC", "CYX", "ZYX", "yx", "", "YY", "QQ", "YXCZT", *ODD_VALUES]
        ),
        "foreground": lambda: any_array(trial) if trial.chance(0.7) else trial.pick(ODD_VALUES),
        "scale": lambda: trial.pick([0.5, 2, 1e-9, 1e12, -1, "2", *ODD_VALUES]),
        "min_size": lambda: trial.pick([0, 5, -3, 2.5, "5", *ODD_VALUES]),
        "clusterer": lambda: trial.pick(["connected_components", "mean_shift", "Mutex", *ODD_VALUES]),
        "neighborhood": lambda: trial.pick([Neighborhood.from_ranges([1, 90]), *ODD_VALUES]),
    }
    return {name: make() for name, make in wild.items() if trial.chance(0.12)}


def array(trial: Trial) -> Callable[[], None]:
    image, options = any_array(trial), any_options(trial)
    return lambda: segmented(trial.segmenter, image, **options)


def setting(trial: Trial) -> Callable[[], None]:
    """A good image with arguments that are not."""
    image = trial.numbers.integers(0, 4000, (trial.pick([1, 9, 30]), trial.pick([1, 20]))).astype("u2")
    options = any_options(trial) or {"scale": trial.pick(ODD_VALUES)}
    return lambda: segmented(trial.segmenter, image, **options)


# --- things that are no arrays ----------------------------------------------------------------------------


class Lazy:
    """Claims a shape and a type, and gives something else, nothing, or an exception."""

    def __init__(self, shape: Any, dtype: Any, content: Any) -> None:
        self.shape, self.dtype, self.content = shape, dtype, content

    def __getitem__(self, key: Any) -> Any:
        if isinstance(self.content, BaseException):
            raise self.content
        return self.content


def claim(trial: Trial) -> Lazy:
    shapes: list[Any] = [
        (2**16, 2**15), (2**31, 1), (1, 2**31), (2**20, 2**20), (2**62, 2**62), (-1, 5), (5,), (), (6, 7), (6, 7, 1),
        (2.5, 3), ("a", "b"), None, 5, [6, 7], (np.int64(6), np.int64(7)), (6, None),
    ]  # fmt: skip
    shape = trial.pick(shapes)
    content = trial.pick(
        [
            RuntimeError("lost\nchunk"), MemoryError(), KeyError(3), OSError("gone"), ZeroDivisionError(),
            StopIteration(), None, 3, "text", np.zeros((6, 7)), np.zeros((3, 3)), [[1, 2], [3]],
            np.zeros((0, 7)), RecursionError("deep"),
        ]
    )  # fmt: skip
    if isinstance(shape, tuple) and trial.chance(0.3) and all(isinstance(n, int) and n >= 0 for n in shape):
        content = np.broadcast_to(np.uint8(1), shape) if np.prod(shape, dtype=float) < 2**62 else content
    return Lazy(shape, trial.pick([np.dtype("u1"), np.dtype("f8"), "u1", None, float]), content)


def nested(trial: Trial, depth: int = 0) -> Any:
    if depth > 3 or trial.chance(0.3 * depth):
        return trial.pick([0, 1, 2.5, True, *ODD_VALUES])
    return [nested(trial, depth + 1) for _ in range(trial.pick([0, 1, 2, 2, 3]))]


def thing(trial: Trial) -> Callable[[], None]:
    makers: list[Callable[[], Any]] = [
        lambda: claim(trial),
        lambda: nested(trial),
        lambda: trial.pick(ODD_VALUES),
        lambda: memoryview(trial.numbers.bytes(12)),
        lambda: torch.from_numpy(trial.numbers.random((9, 8))).to(
            trial.pick(
                [torch.bfloat16, torch.float64, torch.int8, torch.bool, torch.complex64, torch.float16]
            )
        ),
        lambda: trial.pick(
            [torch.zeros(3, 3).to_sparse(), torch.zeros(3, 3, device="meta"), torch.zeros(0, 4)]
        ),
        lambda: range(5),
        lambda: (row for row in ((1, 2), (3, 4))),
    ]
    image, options = trial.pick(makers)(), any_options(trial)
    return lambda: segmented(trial.segmenter, image, **options)


# --- damaged bytes ----------------------------------------------------------------------------------------


def damaged(trial: Trial, content: bytes) -> bytes:
    """Bytes changed a little, cut, doubled, or put together anew."""
    data = bytearray(content)
    for _ in range(trial.random.choices([0, 1, 2, 6], [1, 5, 3, 2])[0]):
        place = trial.random.randrange(len(data) + 1)
        # Headers are short and decide the most.
        place = place if trial.chance(0.4) else place % 300
        way = trial.random.randrange(6)
        if way == 0:
            del data[place:]
        elif way == 1:
            data[place : place + 1] = bytes([trial.random.randrange(256)])
        elif way == 2:
            size, value = trial.pick([(1, "<B"), (2, "<H"), (4, "<I"), (4, ">I"), (8, "<Q")])
            extreme = trial.pick(
                [0, 1, 2 ** (8 * size) - 1, 2 ** (8 * size - 1), len(data) % 2 ** (8 * size)]
            )
            data[place : place + size] = struct.pack(value, extreme)
        elif way == 3:
            del data[place : place + trial.random.randrange(1, 64)]
        elif way == 4:
            data[place:place] = data[place : place + trial.random.randrange(1, 64)]
        else:
            data[place:place] = trial.numbers.bytes(trial.pick([1, 8, 100]))
    return bytes(data)


def written(trial: Trial, content: bytes, suffixes: list[str]) -> Path:
    path = trial.folder / (trial.pick(NAMES) + trial.pick(suffixes))
    path.write_bytes(content)
    return path


# --- image files ------------------------------------------------------------------------------------------


def tiff(trial: Trial) -> bytes:
    buffer = io.BytesIO()
    dtype = trial.pick(["u1", "u2", "i2", "f4", "f8", "?", ">u2", "c8", "u4"])
    shape = trial.pick(
        [(20, 30), (20, 30, 3), (20, 30, 4), (3, 20, 30), (1, 1), (2, 3, 20, 30), (20, 30, 1), (64, 64)]
    )
    values = trial.numbers.integers(0, 100, shape).astype(dtype)
    options: dict[str, Any] = trial.pick(
        [
            {},
            {"compression": "zlib"},
            {"tile": (16, 16)},
            {"rowsperstrip": 4},
            {"bigtiff": True},
            {"byteorder": ">"},
        ]
    )
    if trial.chance(0.2):
        with tifffile.TiffWriter(buffer) as writer:
            writer.write(
                values, subifds=1, **({} if "bigtiff" in options or "byteorder" in options else options)
            )
            writer.write(values[::2, ::2], subfiletype=1)
    elif trial.chance(0.2):
        name = trial.pick(["LZW", "tiff_lzw", "packbits", "tiff_deflate", "jpeg"]).lower()
        picture = PillowImage.fromarray(trial.numbers.integers(0, 255, (20, 30)).astype("u1"))
        picture.save(buffer, "TIFF", compression={"lzw": "tiff_lzw"}.get(name, name))
    else:
        tifffile.imwrite(buffer, values, ome=trial.chance(0.1) or None, **options)
    return buffer.getvalue()


def picture(trial: Trial) -> bytes:
    buffer = io.BytesIO()
    mode, name = trial.pick(
        [
            ("L", "PNG"), ("RGB", "PNG"), ("RGBA", "PNG"), ("P", "PNG"), ("1", "PNG"), ("LA", "PNG"), ("I;16", "PNG"),
            ("L", "JPEG"), ("RGB", "JPEG"), ("CMYK", "JPEG"), ("L", "BMP"), ("P", "GIF"),
        ]
    )  # fmt: skip
    values = trial.numbers.integers(0, 255, (21, 33)).astype("u2" if mode == "I;16" else "u1")
    drawn = PillowImage.fromarray(values)
    drawn = drawn if mode == "I;16" else drawn.convert(mode)
    options: dict[str, Any] = {}
    if name in ("PNG", "JPEG") and trial.chance(0.5):
        options["exif"] = PillowImage.Exif()
        options["exif"][0x0112] = trial.pick([0, 1, 3, 5, 6, 8, 9, 65535])
    drawn.save(buffer, name, **options)
    return buffer.getvalue()


def image_file(trial: Trial) -> Callable[[], None]:
    is_tiff = trial.chance(0.6)
    content = damaged(trial, tiff(trial) if is_tiff else picture(trial))
    right = [".tif"] if is_tiff else [".png", ".jpg"]
    path = written(trial, content, right if trial.chance(0.8) else SUFFIXES)
    options = any_options(trial) if trial.chance(0.2) else {}
    return lambda: segmented(trial.segmenter, path, **options)


# --- checkpoints ------------------------------------------------------------------------------------------


def mutated(trial: Trial, value: Any) -> Any:
    """The same tree with one node replaced, renamed, doubled or removed."""
    if isinstance(value, dict) and value and trial.chance(0.85):
        key = trial.pick(value)
        rest = {name: inner for name, inner in value.items() if name != key}
        if trial.chance(0.12):
            return rest
        if trial.chance(0.1):
            return {**rest, trial.pick(["", "extra", "..", "w" * 3000]): value[key]}
        return {**value, key: mutated(trial, value[key])}
    if isinstance(value, list) and value and trial.chance(0.7):
        place = trial.random.randrange(len(value))
        changed = (
            [mutated(trial, value[place])] if trial.chance(0.8) else [value[place]] * trial.pick([0, 2, 50])
        )
        return [*value[:place], *changed, *value[place + 1 :]]
    simple = (bool, int, float, str, list, dict, type(None))
    return trial.pick([odd for odd in ODD_VALUES if isinstance(odd, simple)])


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header: Any, body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def with_other_structure(trial: Trial) -> bytes:
    header, body = split(trial.checkpoint)
    if trial.chance(0.5):
        config = json.loads(header["__metadata__"]["config"])
        for _ in range(trial.pick([1, 1, 3])):
            config = mutated(trial, config)
        header["__metadata__"]["config"] = json.dumps(config)
    else:
        header = mutated(trial, header)
    return joined(header, body)


def with_other_weights(trial: Trial) -> bytes:
    header, body = split(trial.checkpoint)
    values = np.frombuffer(body, "<f4").copy()
    count = trial.pick([1, 5, len(values)])
    places = trial.numbers.choice(len(values), count, replace=False)
    values[places] = trial.pick([np.nan, np.inf, 0, 1e38, -1e38, 1e-45, 1e10])
    return joined(header, values.tobytes())


def zipped(trial: Trial) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(trial.pick(["../../x", "archive/data.pkl", "x.safetensors"]), trial.checkpoint[:100])
    return buffer.getvalue()


def checkpoint_file(trial: Trial) -> Callable[[], None]:
    ways: list[Callable[[], bytes]] = [
        lambda: damaged(trial, trial.checkpoint),
        lambda: with_other_structure(trial),
        lambda: with_other_structure(trial),
        lambda: with_other_weights(trial),
        lambda: damaged(trial, zipped(trial)),
        lambda: trial.numbers.bytes(trial.pick([0, 1, 7, 8, 9, 100])),
        lambda: struct.pack("<Q", trial.pick([2**30, 2**63, 2**64 - 1, 0, 1])) + trial.checkpoint[8:],
        lambda: b"\x80\x04cos\nsystem\n(S'exit 9'\ntR.",
    ]
    path = written(trial, trial.pick(ways)(), [".safetensors", "", ".pt", ".tif"])
    image = trial.numbers.integers(0, 4000, (19, 23))

    def attempt() -> None:
        segmented(Segmenter.from_file(path, device="cpu", precision="float32"), image)

    return attempt


# --- texts ------------------------------------------------------------------------------------------------


def settings_file(trial: Trial) -> Callable[[], None]:
    values = trial.segmenter.config.to_dict()
    kept = {
        name: values[name]
        for name in ("neighborhood", "clusterer", "clusterer_settings", "foreground_threshold", "postprocess")
        if trial.chance(0.6)
    }
    if trial.chance(0.3):
        kept["neighborhood"] = {"ranges": [1, 3], "directions": 4, "strides": [2, 2]}
    if trial.chance(0.4):
        kept |= trial.pick(
            [
                {"clusterer": "mean_shift", "clusterer_settings": {"bandwidth": 0.5}},
                {"clusterer": "connected_components", "clusterer_settings": {"threshold": 0.5}},
                {"clusterer": "multicut", "clusterer_settings": {}},
                {"clusterer": "agglomeration", "clusterer_settings": {}},
            ]
        )
    for _ in range(trial.pick([0, 1, 1, 2])):
        kept = mutated(trial, kept)
    text = json.dumps(kept).encode()
    path = written(trial, damaged(trial, text) if trial.chance(0.3) else text, [".json"])
    image = trial.numbers.integers(0, 4000, (19, 23))
    return lambda: segmented(trial.segmenter.with_settings_from(path), image)


def configuration(trial: Trial) -> Callable[[], None]:
    values = mutated(trial, trial.segmenter.config.to_dict())
    if trial.chance(0.3):
        text = damaged(trial, json.dumps(values).encode()).decode("utf-8", "replace")
    else:
        text = json.dumps(values)

    def attempt() -> None:
        config = ModelConfig.from_json(text)
        if ModelConfig.from_json(config.to_json()) != config:
            raise Bug("a configuration does not come back as it was")

    return attempt


def registry_file(trial: Trial) -> Callable[[], None]:
    path = written(trial, damaged(trial, REGISTRY_PATH.read_bytes()), [".toml"])
    return lambda: [str(entry.name) for entry in read_registry(path).values()] and None


KINDS: dict[str, Callable[[Trial], Callable[[], Any]]] = {
    "array": array,
    "setting": setting,
    "thing": thing,
    "image file": image_file,
    "checkpoint": checkpoint_file,
    "settings file": settings_file,
    "configuration": configuration,
    "registry": registry_file,
}


def trial_in(folder: Path) -> Trial:
    """A tiny seeded network, and a folder for files."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = NetworkConfig(in_channels=1, filters=(2, 2, 2, 2, 2), embedding_channels=4)
    config = ModelConfig(name="tiny", version="1", network=network)
    module = build_network(network)
    write_checkpoint(folder / "tiny.safetensors", Checkpoint(config.to_json(), module.state_dict()))
    content = (folder / "tiny.safetensors").read_bytes()
    return Trial(folder, Segmenter(module, config, device="cpu", precision="float32"), content)


# --- the long run -----------------------------------------------------------------------------------------


def peak() -> int:
    """Most bytes of main memory since the last call, where the system tells (Linux), else 0."""
    try:
        found = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, IndexError):
        return 0
    return found


def limit_memory() -> None:
    """Keep the machine from harm, far above the gigabyte that counts as a bug."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + 4 * GIGABYTE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (OSError, ImportError):
        return


def work(kind: str, numbers: range) -> None:
    """Try a range of inputs, one line of JSON before and after each."""
    with tempfile.TemporaryDirectory() as name:
        trial = trial_in(Path(name))
        outcome(trial, kind, -1)
        limit_memory()
        peak()
        base = peak()
        for number in numbers:
            say(number=number)
            started = time.process_time()
            try:
                found = outcome(trial, kind, number)
            except BaseException as error:  # whatever it is, it is a finding
                found = f"BUG {type(error).__name__}: {' '.join(str(error).split())[:300]}"
            seconds, grown = time.process_time() - started, peak() - base
            if seconds > SECONDS:
                found = f"BUG {seconds:.0f} s"
            if grown > GIGABYTE:
                found = f"BUG {grown / GIGABYTE:.1f} GB"
            say(number=number, found=found, seconds=round(seconds, 3), bytes=grown)


def say(**entry: Any) -> None:
    sys.stdout.write(json.dumps(entry) + "\n")
    sys.stdout.flush()


def worked(kind: str, first: int, count: int) -> Iterator[dict[str, Any]]:
    """Results of a range, from processes that are replaced when they die or hang."""
    while count > 0:
        command = [
            sys.executable,
            __file__,
            "--kind",
            kind,
            "--first",
            str(first),
            "--count",
            str(count),
            "--work",
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        tried: dict[str, Any] | None = None
        assert process.stdout is not None
        # Far above ten seconds, since the machine may be busy; ten seconds of work are counted within.
        watchdog = threading.Timer(180, process.kill)
        watchdog.start()
        for line in process.stdout:
            watchdog.cancel()
            watchdog = threading.Timer(180, process.kill)
            watchdog.start()
            tried = json.loads(line)
            if "found" in tried:
                yield tried
                first, count, tried = tried["number"] + 1, first + count - tried["number"] - 1, None
        watchdog.cancel()
        code = process.wait()
        if tried is not None:
            yield {"number": first, "found": f"BUG the process ended with {code}", "seconds": 0, "bytes": 0}
            first, count = first + 1, count - 1
        elif code:
            raise SystemExit(f"{' '.join(command)} does not start")


def report(kind: str, results: list[dict[str, Any]]) -> int:
    """Print one line a kind and one a bug; return how many bugs."""
    counts = Counter(entry["found"] for entry in results if not entry["found"].startswith("BUG"))
    slowest = max(entry["seconds"] for entry in results)
    most = max(entry["bytes"] for entry in results) / 2**20
    told = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    print(
        f"{kind}: {len(results)} inputs: {told}; slowest {slowest:.1f} s, at most {most:.0f} MB more",
        flush=True,
    )
    bugs = [entry for entry in results if entry["found"].startswith("BUG")]
    for entry in bugs[:40]:
        print(f"  --kind '{kind}' --first {entry['number']} --count 1: {entry['found']}", flush=True)
    return len(bugs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="inputs in all, or of --kind")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.kind, range(arguments.first, arguments.first + arguments.count))
        return 0
    kinds = [arguments.kind] if arguments.kind else list(KINDS)
    share = -(-arguments.count // len(kinds))
    bugs = sum(report(kind, list(worked(kind, arguments.first, share))) for kind in kinds)
    print(f"{share * len(kinds)} hostile inputs tried, {bugs} bugs")
    return min(bugs, 1)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
