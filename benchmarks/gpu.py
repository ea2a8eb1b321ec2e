"""Train recipes and measure segmenting on a GPU: ``python benchmarks/gpu.py pack|train|measure``.

``pack RECIPE DATA FILE`` writes all images that a recipe needs, and the recipe, into one file. ``train FILE... --output
DIR --minutes M`` trains each packed recipe in turn, and goes on with what is there; the recipes share the minutes.
``measure MODEL`` prints how many images a second `Segmenter.segment` and `Segmenter.segment_many` take on a device, how
much of the time passes outside the network, and how the labels differ from the ones of the CPU in float32.

The machine needs only the repository, the packed files and an environment with torch. Without a GPU, ``--device cpu``
tries all of it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from many import fields
from packed import SPLITS, Packed, pack, read_packed

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.errors import InputError, PixelEmbeddedAffinityError
from pixel_embedded_affinity.io.read import read_image
from pixel_embedded_affinity.metrics import Contingency
from pixel_embedded_affinity.runtime.device import PRECISIONS, resolve_device, resolve_precision
from pixel_embedded_affinity.training.recipe import Recipe
from pixel_embedded_affinity.training.run.logs import read_rows
from pixel_embedded_affinity.training.run.loop import LOG_FILE, STATE_FILE
from pixel_embedded_affinity.training.run.train import train
from pixel_embedded_affinity.training.run.validation import VALIDATION_FILE

Images = list[npt.NDArray[Any]]
Row = Sequence[Any]


def print_table(title: Row, rows: Sequence[Row]) -> None:
    """Print rows in columns, the first one to the left."""
    texts = [[str(value) for value in row] for row in (title, *rows)]
    widths = [max(map(len, column)) for column in zip(*texts)]
    for first, *others in texts:
        cells = [first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]
        print("  ".join(cells), flush=True)


def name_of(device: torch.device) -> str:
    """The device, with the name of a GPU."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


# --- pack ---------------------------------------------------------------------------------------------------


def run_pack(options: argparse.Namespace) -> int:
    """Pack the images of a recipe, and print the size."""
    recipe = Recipe.from_file(options.recipe)
    counts = pack(recipe, options.data, options.file, splits=options.splits, init=options.init)
    listed = ", ".join(f"{count} {split}" for split, count in counts.items())
    print(f"{options.file}: {options.file.stat().st_size / 2**20:.1f} MiB, {listed} images")
    return 0


# --- train --------------------------------------------------------------------------------------------------


def run_train(options: argparse.Namespace) -> int:
    """Train each packed recipe, share the minutes, and print a table; 1 if one failed."""
    packs = [read_packed(file) for file in options.packed]
    check_names(packs)
    device, end = resolve_device(options.device), time.monotonic() + 60 * options.minutes
    print(f"{name_of(device)}, networks in {resolve_precision('auto', device)}", flush=True)
    rows, failed = [], False
    for number, packed in enumerate(packs):
        minutes = (end - time.monotonic()) / 60 / (len(packs) - number)
        try:
            rows.append(trained(packed, options, minutes))
        except PixelEmbeddedAffinityError as error:
            rows.append((packed.file.stem, *["-"] * 7))
            failed = True
            print(f"{packed.file.stem}: {error}", file=sys.stderr, flush=True)
    title = ("recipe", "steps", "of", "now", "steps/s", "loss before", "loss now", "peak GPU memory")
    print_table(title, rows)
    for packed in packs:
        print_scores(packed.file.stem, options.output / packed.file.stem)
    return int(failed)


def check_names(packs: Sequence[Packed]) -> None:
    """Refuse two files whose runs would lie in one folder."""
    repeated = [name for name, count in Counter(packed.file.stem for packed in packs).items() if count > 1]
    if repeated:
        raise InputError(f"several packed files are named {repeated[0]!r}; expected names that differ")


def trained(packed: Packed, options: argparse.Namespace, minutes: float) -> Row:
    """Train a recipe for some minutes, or go on with it; return its row of the table."""
    output, recipe = options.output / packed.file.stem, packed.recipe
    output.parent.mkdir(parents=True, exist_ok=True)
    recipe = recipe if options.steps is None else recipe.scheduled(steps=options.steps)
    resume, before = (output / STATE_FILE).exists(), len(read_rows(output / LOG_FILE))
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with packed.unpacked() as folder:
        train(
            recipe,
            folder,
            output,
            resume=resume,
            minutes=max(minutes, 0.01),
            device=options.device,
            init=None if resume else packed.init,
            compiled=options.compile,
        )
    return row_of(packed.file.stem, recipe, read_rows(output / LOG_FILE), before)


def row_of(name: str, recipe: Recipe, log: list[dict[str, str]], before: int) -> Row:
    """What a run did now: a row of the table."""
    seconds, totals = ([float(row[column]) for row in log] for column in ("seconds", "total"))
    now = len(log) - before
    # The first step of a run warms up, and may compile: it does not count.
    rate = f"{(now - 1) / (seconds[-1] - seconds[before]):.2f}" if now > 1 else "-"
    losses = [f"{np.mean(part):.3f}" if part else "-" for part in (totals[:before][-20:], totals[-20:])]
    peak = f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if torch.cuda.is_available() else "-"
    return name, len(log), recipe.schedule.steps, now, rate, *losses, peak


def print_scores(name: str, folder: Path) -> None:
    """Print the last validation of a run, if it has one."""
    for row in read_rows(folder / VALIDATION_FILE)[-1:]:
        print(f"{name}, validation at step {row.pop('step')}: {' '.join(map('='.join, row.items()))}")


# --- measure ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """A precision on a device; TF32 is how a GPU may round inputs of products in float32."""

    precision: str
    tf32: bool

    @property
    def name(self) -> str:
        """Name in the table."""
        return self.precision if self.tf32 else f"{self.precision}, no TF32"


def ways_on(device: torch.device, precisions: Sequence[str]) -> list[Way]:
    """Each precision once as the library computes in it; on CUDA, float32 without TF32 in addition."""
    names = [str(resolve_precision(name, device)).removeprefix("torch.") for name in precisions]
    exact = [Way("float32", tf32=False)] if device.type == "cuda" else []
    return [*(Way(name, tf32=True) for name in dict.fromkeys(names)), *exact]


@contextmanager
def without_tf32(wanted: bool) -> Iterator[None]:
    """Context in which CUDA computes float32 convolutions in float32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = before and not wanted
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


class NetworkClock:
    """Adds up the seconds of a network's forward passes; on CUDA, of the device's work for them."""

    def __init__(self, network: torch.nn.Module, device: torch.device) -> None:
        self._device, self._moments = device, list[Any]()
        self._hooks = [
            network.register_forward_pre_hook(lambda *_: self._note()),
            network.register_forward_hook(lambda *_: self._note()),
        ]

    def _note(self) -> None:
        if self._device.type != "cuda":
            self._moments.append(time.perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self._moments.append(event)

    def seconds(self) -> float:
        """Seconds since the last call of this."""
        starts, ends = self._moments[::2], self._moments[1::2]
        self._moments = []
        if self._device.type != "cuda":
            return sum(end - start for start, end in zip(starts, ends))
        torch.cuda.synchronize(self._device)
        return sum(start.elapsed_time(end) for start, end in zip(starts, ends)) / 1e3

    def remove(self) -> None:
        """Watch the network no longer."""
        for hook in self._hooks:
            hook.remove()


def timed(segmenter: Segmenter, images: Images, runs: int) -> tuple[list[Row], Images]:
    """Images a second of both verbs and their share of time outside the network: medians; and the labels."""
    verbs: dict[str, Callable[[], Images]] = {
        "segment": lambda: [segmenter.segment(image) for image in images],
        "segment_many": lambda: list(segmenter.segment_many(images)),
    }
    clock = NetworkClock(segmenter.embedder.network, segmenter.device)
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in verbs}
    for _ in range(runs + 1):
        for name, verb in verbs.items():
            start = time.perf_counter()
            labels = verb()
            seconds = time.perf_counter() - start
            rates[name].append((len(images) / seconds, 1 - clock.seconds() / seconds))
    clock.remove()
    medians = {name: map(statistics.median, zip(*found[1:])) for name, found in rates.items()}
    return [(name, *median) for name, median in medians.items()], labels


@dataclass(frozen=True)
class Agreement:
    """How labels agree with others: pixels that differ, objects on both sides, and pairs with IoU above 0.5.

    A pixel agrees if it is background in both, or if its objects are a pair.
    """

    pixels: int
    differing: int
    objects: tuple[int, int]
    pairs: int

    @classmethod
    def of(cls, images: Sequence[tuple[npt.NDArray[Any], npt.NDArray[Any]]]) -> Agreement:
        """Agreement of labels with others, over several images."""
        parts = [_agreement(Contingency.of(*pair)) for pair in images]
        pixels, differing, ours, theirs, pairs = (sum(column) for column in zip(*parts))
        return cls(pixels, differing, (ours, theirs), pairs)

    @property
    def cells(self) -> Row:
        """Cells of the table."""
        share = self.differing / self.pixels
        return f"{self.differing} ({share:.4%})", self.objects[0], self.objects[1], self.pairs


def _agreement(table: Contingency) -> tuple[int, int, int, int, int]:
    ours, theirs, shared = table.truth_index, table.prediction_index, table.pixels
    union = table.truth_sizes[ours] + table.prediction_sizes[theirs] - shared
    pair = (ours > 0) & (theirs > 0) & (2 * shared > union)
    agreeing = shared[pair | ((ours == 0) & (theirs == 0))].sum()
    pixels = int(shared.sum())
    return pixels, pixels - int(agreeing), table.truth_count, table.prediction_count, int(pair.sum())


def loaded(model: str, device: str, precision: str) -> Segmenter:
    """A model by its name or its file."""
    load = Segmenter.from_file if model.endswith(".safetensors") else Segmenter.pretrained
    return load(model, device=device, precision=precision)


def images_of(options: argparse.Namespace) -> Images:
    """The images to measure on: of files, and of packed files; without any, the bundled field in some forms."""
    if not options.images:
        return fields(options.count or 16, options.size)
    found: Images = []
    for path in options.images:
        found += of_packed(path) if path.suffix == ".zip" else [read_image(path)]
    return found[: options.count]


def of_packed(path: Path) -> Images:
    """The images of a packed file, those for validation and testing first."""
    packed = read_packed(path)
    data = packed.recipe.data
    first = {*data.validation, *data.held_out}
    with packed.unpacked() as folder:
        files = sorted((folder / "images").iterdir(), key=lambda file: (file.stem not in first, file.stem))
        images = [read_image(file) for file in files]
    # Channels come last in arrays.
    return [np.moveaxis(image, 0, -1) if image.ndim > packed.recipe.model.ndim else image for image in images]


def run_measure(options: argparse.Namespace) -> int:
    """Measure a model on a device, compare its labels with the CPU's, and print a table."""
    device, images = resolve_device(options.device), images_of(options)
    pixels = sum(image.size for image in images)
    print(f"{options.model}, {len(images)} images, {pixels / 1e6:.1f} million values, {name_of(device)}")
    cpu = loaded(options.model, "cpu", "float32")
    start = time.perf_counter()
    expected = list(cpu.segment_many(images))
    seconds = time.perf_counter() - start
    rows: list[Row] = [("CPU, float32, segment_many, once", f"{len(images) / seconds:.2f}", *["-"] * 5)]
    for way in ways_on(device, options.precision):
        segmenter = loaded(options.model, options.device, way.precision)
        with without_tf32(not way.tf32):
            measured, labels = timed(segmenter, images, options.runs)
        cells = Agreement.of(list(zip(expected, labels))).cells
        rows += [
            (f"{device}, {way.name}, {verb}", f"{rate:.2f}", f"{outside:.1%}", *cells)
            for verb, rate, outside in measured
        ]
    title = ("", "images/s", "outside network", "differing pixels", "objects CPU", "objects", "pairs")
    print_table(title, rows)
    return 0


# --- command line -------------------------------------------------------------------------------------------


def parsed(command: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(required=True)
    add_pack(verbs.add_parser("pack", help="put the images of a recipe into one file"))
    add_train(verbs.add_parser("train", help="train packed recipes, or go on with it"))
    add_measure(verbs.add_parser("measure", help="images a second, and agreement with the CPU"))
    return parser.parse_args(command)


def add_pack(verb: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pack``."""
    verb.add_argument("recipe", help="name of a shipped recipe, or a file")
    verb.add_argument("data", type=Path, help="folder or list, as for pea train --data")
    verb.add_argument("file", type=Path, help="the file to write, .zip; its name becomes the name of the run")
    chosen = "default: the ones that the recipe names, or its layout brings"
    verb.add_argument("--splits", nargs="+", choices=SPLITS, help=chosen)
    verb.add_argument("--init", metavar="NAME", help="model whose weights the training starts from")
    verb.set_defaults(run=run_pack)


def add_train(verb: argparse.ArgumentParser) -> None:
    """Add the arguments of ``train``."""
    verb.add_argument("packed", nargs="+", type=Path, help="files of pack")
    verb.add_argument("--output", required=True, type=Path, help="folder with a folder for each run")
    verb.add_argument("--minutes", required=True, type=float, help="of all runs together")
    verb.add_argument("--steps", type=int, help="of each whole run, in place of the recipe's")
    verb.add_argument("--compile", action="store_true", help="let torch compile the networks")
    verb.add_argument("--device", default="cuda", help="default: %(default)s")
    verb.set_defaults(run=run_train)


def add_measure(verb: argparse.ArgumentParser) -> None:
    """Add the arguments of ``measure``."""
    verb.add_argument("model", help="name of a model, or a .safetensors file")
    shown = "image files, or packed files (default: the bundled field, mirrored and shifted)"
    verb.add_argument("images", nargs="*", type=Path, help=shown)
    verb.add_argument("--count", type=int, help="number of images (default: all; 16 of the bundled field)")
    verb.add_argument("--size", type=int, help="height and width of the bundled field (default: its own)")
    verb.add_argument("--runs", type=int, default=3, help="rounds after the first (default: %(default)s)")
    verb.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["auto", "float32"])
    verb.add_argument("--device", default="cuda", help="default: %(default)s")
    verb.set_defaults(run=run_measure)


def main(command: Sequence[str] | None = None) -> int:
    """Do what the command line says; an error is one line."""
    options = parsed(command)
    try:
        return int(options.run(options))
    except PixelEmbeddedAffinityError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
