"""``pea export``: a model in formats of other programs."""

from __future__ import annotations

import argparse

from pixel_embedded_affinity.cli import loading
from pixel_embedded_affinity.cli.messages import path_argument, say
from pixel_embedded_affinity.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pea export``."""
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("model", metavar="MODEL", nargs="?", help="a model of 'pea models list'")
    model.add_argument("--weights", metavar="FILE", help="a model file, such as pea train writes")
    parser.add_argument("--offline", action="store_true", help="never use the network to get the model")
    onnx = "write the model as ONNX (.onnx); needs the extra export"
    parser.add_argument("--onnx", metavar="FILE", type=path_argument, help=onnx)
    torch_export = "write the model for torch.export.load (.pt2)"
    parser.add_argument("--torch-export", metavar="FILE", type=path_argument, help=torch_export)
    package = "write a package of bioimage.io; needs the extra bioimageio"
    parser.add_argument("--bioimageio", metavar="FOLDER", type=path_argument, help=package)
    sample = "image for the test of the package (default: a part of the bundled image)"
    parser.add_argument("--sample", metavar="IMAGE", help=sample)
    author = "who made the model, for the package; may be given several times"
    parser.add_argument("--author", metavar="NAME", action="append", help=author)
    # What the file computes in is float32, on whatever device its reader chooses.
    parser.set_defaults(runtime="torch", device="cpu", precision="float32", threads=None)


def run(arguments: argparse.Namespace) -> int:
    """Write the model in each format that is asked for."""
    _check(arguments)

    from pixel_embedded_affinity.exchange import ExportedModel

    model = ExportedModel(loading.load_model(arguments))
    if arguments.bioimageio is not None:
        model.write_bioimageio(arguments.bioimageio, sample=arguments.sample, authors=arguments.author)
        say(f"{arguments.bioimageio}")
    if arguments.onnx is not None:
        model.write_onnx(arguments.onnx)
        say(f"{arguments.onnx}")
    if arguments.torch_export is not None:
        model.write_torch_export(arguments.torch_export)
        say(f"{arguments.torch_export}")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuse now what could not be written after all the work."""
    if (arguments.onnx, arguments.torch_export, arguments.bioimageio) == (None, None, None):
        raise InputError("nothing says what to write; give --onnx, --torch-export or --bioimageio")
    loading.check_target("--onnx", arguments.onnx, ".onnx")
    loading.check_target("--torch-export", arguments.torch_export, ".pt2")
    if arguments.bioimageio is None and (arguments.sample is not None or arguments.author is not None):
        raise InputError(
            "--sample and --author are for a package of bioimage.io; give --bioimageio, or drop them"
        )
