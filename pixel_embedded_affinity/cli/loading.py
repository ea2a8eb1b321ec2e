"""The arguments that say which model runs where, and the segmenter that they make."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pixel_embedded_affinity.device import PRECISIONS

if TYPE_CHECKING:
    from pixel_embedded_affinity.segmenter import Segmenter


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument(
        "--device",
        default="auto",
        help="auto (CUDA if there is one, else CPU), cpu, cuda, cuda:1, mps; a missing one is an error",
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--model`` or ``--weights``, ``--device``, ``--precision`` and ``--offline``."""
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--model", metavar="NAME", help="a model of 'pea models list'")
    model.add_argument("--weights", metavar="FILE", help="a model file, such as pea train writes")
    add_device_argument(parser)
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="what the network computes in; auto: bfloat16 where it is native, else float32",
    )
    parser.add_argument("--offline", action="store_true", help="never use the network to get the model")


def load_segmenter(arguments: argparse.Namespace) -> Segmenter:
    """Load the model that the arguments name.

    Raises
    ------
    UnknownModelError, DownloadError, CheckpointError, DeviceError
        As `Segmenter.pretrained` and `Segmenter.from_file` do.
    """
    from pixel_embedded_affinity.segmenter import Segmenter

    device, precision = arguments.device, arguments.precision
    if arguments.weights is not None:
        return Segmenter.from_file(arguments.weights, device=device, precision=precision)
    offline = True if arguments.offline else None
    return Segmenter.pretrained(arguments.model, device=device, precision=precision, offline=offline)
