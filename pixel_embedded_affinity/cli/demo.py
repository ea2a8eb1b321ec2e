"""``pea demo``: a bundled image, segmented and, where the truth is known, compared with it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixel_embedded_affinity.cli.batch import check_output_folder
from pixel_embedded_affinity.cli.loading import add_device_argument, add_runtime_argument, title_of
from pixel_embedded_affinity.cli.messages import path_argument, say
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.samples import Sample


@dataclass(frozen=True)
class Demo:
    """What a demo shows.

    Attributes
    ----------
    sample : str
        The function of `samples` that returns the image.
    model : str
        The model that segments it, unless the user names another one.
    objects : str
        What the objects are called.
    enlargement : int
        Pixels of the picture along a pixel of the image.
    scores : dict of str to str
        The measures that are printed, and their short names.
    """

    sample: str
    model: str
    objects: str
    enlargement: int
    scores: dict[str, str]


_OF_IMAGES = {"aggregated_jaccard_index": "AJI", "dice": "Dice", "panoptic_quality": "PQ", "f1_score": "F1"}
_OF_VOLUMES = {"voi_split": "VOI split", "voi_merge": "VOI merge", "adapted_rand_error": "ARAND"}

NUCLEI = Demo("nuclei", "bbbc039", "nuclei", 2, _OF_IMAGES)
LEAVES = Demo("rosette", "leaves", "leaves", 2, {})
VOLUME = Demo("neurons", "neurons", "neurons", 3, _OF_VOLUMES)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pea demo``."""
    folder = "folder, made if absent; an earlier demo's results are replaced (default: %(default)s)"
    parser.add_argument("--output", metavar="DIR", type=path_argument, default=Path("pea_demo"), help=folder)
    which = parser.add_mutually_exclusive_group()
    for flag, demo, what in (
        ("--leaves", LEAVES, "a plant, in place of the nuclei"),
        ("--volume", VOLUME, "neurons in a volume, in place of the nuclei"),
    ):
        which.add_argument(flag, dest="demo", action="store_const", const=demo, default=NUCLEI, help=what)
    models = f"default: {NUCLEI.model}, or {LEAVES.model} for leaves, {VOLUME.model} for a volume"
    parser.add_argument("--model", metavar="NAME", help=models)
    add_runtime_argument(parser)
    add_device_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Segment the sample, write labels and overlay, say how good they are."""
    from pixel_embedded_affinity import samples
    from pixel_embedded_affinity.segmenter import Segmenter

    demo: Demo = arguments.demo
    check_output_folder(arguments.output)
    name = arguments.model or demo.model
    segmenter = Segmenter.pretrained(name, runtime=arguments.runtime, device=arguments.device)
    if (segmenter.config.ndim == 3) != (demo is VOLUME):
        shown, other = ("a volume", "images") if demo is VOLUME else ("an image", "volumes")
        raise InputError(
            f"this demo segments {shown}, and {title_of(segmenter)} segments {other}; leave --model out for the model "
            f"{demo.model}, or {'leave --volume out' if demo is VOLUME else 'add --volume'}"
        )
    bundled: Callable[[], Any] = getattr(samples, demo.sample)
    sample = bundled()
    truth = sample if isinstance(sample, Sample) else None
    image = sample.image if truth else sample
    start = time.perf_counter()
    size = truth.pixel_size if truth else None
    labels = segmenter.segment(image, scale="auto" if size else None, pixel_size=size)
    seconds = time.perf_counter() - start

    say(_count(demo, int(labels.max()), truth))
    if truth:
        say(_agreement(demo, truth, labels))
    say(f"{seconds:.1f} seconds on {segmenter.device} by {segmenter.runtime}, model {title_of(segmenter)}")
    _write(demo, arguments.output, image, labels)
    return 0


def _count(demo: Demo, found: int, truth: Sample | None) -> str:
    known = f", the truth has {truth.labels.max()}" if truth else ""
    return f"found {found} {demo.objects}{known}"


def _agreement(demo: Demo, truth: Sample, labels: Any) -> str:
    from pixel_embedded_affinity.metrics import evaluate

    scores = evaluate(truth.labels, labels)
    named = (f"{name} {scores[key]:.3f}" for key, name in demo.scores.items())
    return "against the truth: " + ", ".join(named)


def _write(demo: Demo, folder: Path, image: Any, labels: Any) -> None:
    """Write the labels, and a picture of them; for a volume, of its middle section."""
    from pixel_embedded_affinity.export import write_labels, write_overlay
    from pixel_embedded_affinity.export.overlay import middle_section

    folder.mkdir(parents=True, exist_ok=True)
    labels_path = folder / f"{demo.objects}_labels.tif"
    overlay_path = folder / f"{demo.objects}_overlay.png"
    write_labels(labels_path, labels)
    write_overlay(overlay_path, *middle_section(image, labels), scale=demo.enlargement)
    say(f"labels:  {labels_path}")
    say(f"overlay: {overlay_path}")
