"""``pea demo``: the bundled image, segmented and compared with its truth."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from pixel_embedded_affinity.cli.batch import check_output_folder
from pixel_embedded_affinity.cli.loading import add_device_argument, add_runtime_argument
from pixel_embedded_affinity.cli.messages import say

_SCORES = {"aggregated_jaccard_index": "AJI", "dice": "Dice", "panoptic_quality": "PQ", "f1_score": "F1"}
_ENLARGEMENT = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pea demo``."""
    folder = "folder, made if absent; an earlier demo's results are replaced (default: %(default)s)"
    parser.add_argument("--output", metavar="DIR", type=Path, default=Path("pea_demo"), help=folder)
    parser.add_argument("--model", metavar="NAME", default="bbbc039", help="default: %(default)s")
    add_runtime_argument(parser)
    add_device_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Segment the sample, write labels and overlay, say how good they are."""
    from pixel_embedded_affinity.export import write_labels, write_overlay
    from pixel_embedded_affinity.metrics import evaluate
    from pixel_embedded_affinity.samples import nuclei
    from pixel_embedded_affinity.segmenter import Segmenter

    check_output_folder(arguments.output)
    segmenter = Segmenter.pretrained(arguments.model, runtime=arguments.runtime, device=arguments.device)
    sample = nuclei()
    start = time.perf_counter()
    labels = segmenter.segment(sample.image)
    seconds = time.perf_counter() - start

    arguments.output.mkdir(parents=True, exist_ok=True)
    labels_path = arguments.output / "nuclei_labels.tif"
    overlay_path = arguments.output / "nuclei_overlay.png"
    write_labels(labels_path, labels)
    write_overlay(overlay_path, sample.image, labels, scale=_ENLARGEMENT)

    scores = evaluate(sample.labels, labels)
    say(f"found {labels.max()} nuclei, the truth has {sample.labels.max()}")
    say("against the truth: " + ", ".join(f"{name} {scores[key]:.3f}" for key, name in _SCORES.items()))
    model = f"{segmenter.config.name} {segmenter.config.version}"
    say(f"{seconds:.1f} seconds on {segmenter.device} by {segmenter.runtime}, model {model}")
    say(f"labels:  {labels_path}")
    say(f"overlay: {overlay_path}")
    return 0
