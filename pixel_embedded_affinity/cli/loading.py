"""The arguments for the model, the device and the data, and what they stand for."""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from pixel_embedded_affinity import __version__
from pixel_embedded_affinity.cli.records import Maker, fingerprint
from pixel_embedded_affinity.cli.settings import add_setting_arguments, given_settings
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.inference.base import RUNTIMES
from pixel_embedded_affinity.models.registry import get_entry
from pixel_embedded_affinity.runtime.device import PRECISIONS

if TYPE_CHECKING:
    from pixel_embedded_affinity.data.layouts import DataSettings
    from pixel_embedded_affinity.segmenter import Segmenter


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    names = "auto (CUDA if there is one, else CPU), cpu, cuda, cuda:1, mps; a missing one is an error"
    parser.add_argument("--device", default="auto", help=names)


def add_runtime_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--runtime``."""
    text = "what runs the network: torch, onnx (onnxruntime, on the CPU), or auto (torch if it is installed, else onnx)"
    parser.add_argument("--runtime", choices=RUNTIMES, default="auto", help=text)


def add_run_arguments(parser: argparse.ArgumentParser, *, output: str) -> None:
    """Add the recipe of a run, its data, and its output folder with this help."""
    from pixel_embedded_affinity.training.recipe_files import list_recipes

    shipped = ", ".join(list_recipes())
    parser.add_argument("recipe", help=f"a recipe file (TOML), or a shipped recipe: {shipped}")
    data = "folder (or list file) of images and labels"
    parser.add_argument("--data", required=True, metavar="DIR", help=data)
    parser.add_argument("--output", required=True, metavar="DIR", help=output)


def add_foreground_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--foreground``."""
    where = "where objects are looked for; truth: where the labels have some, as some benchmarks give it"
    parser.add_argument("--foreground", choices=("model", "truth"), default="model", help=where)


def check_target(option: str, path: Path | None, suffix: str) -> None:
    """Refuse now what could not be written after all the work."""
    if path is None:
        return
    if path.suffix.lower() != suffix or not path.parent.is_dir():
        raise InputError(f"{option} {path}: expected a name ending in {suffix} in a folder that exists")
    if path.is_dir():
        raise InputError(f"{option} {path} is a folder; expected the path of a file; add a file name")
    try:
        TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise InputError(
            f"{option} {path}: nothing can be written in this folder ({error.strerror}); name another folder"
        ) from error


def add_model_arguments(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """Add ``--model`` or ``--weights``, the flags for device and threads, and the flags of the inference settings.

    Returns
    -------
    argparse group
        Of ``--model`` and ``--weights``: one of its arguments is required.
    """
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--model", metavar="NAME", help="a model of 'pea models list'")
    model.add_argument("--weights", metavar="FILE", help="a model file, such as pea train writes")
    add_runtime_argument(parser)
    add_device_argument(parser)
    precision = "what the network computes in; auto: bfloat16 where it is native, else float32"
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help=precision)
    threads = "CPU threads for the network (default: torch's own number)"
    parser.add_argument("--threads", metavar="N", type=int, help=threads)
    parser.add_argument("--offline", action="store_true", help="never use the network to get the model")
    add_setting_arguments(parser)
    return model


def load_segmenter(arguments: argparse.Namespace) -> Segmenter:
    """Load the model that the arguments name, with the settings that they give.

    Raises
    ------
    UnknownModelError, DownloadError, CheckpointError, DeviceError, UnknownClustererError, InputError
        As `Segmenter.pretrained`, `Segmenter.from_file` and `Segmenter.with_settings` do.
    """
    segmenter = load_model(arguments)
    for values in given_settings(arguments, segmenter.config.name, segmenter.config.version):
        segmenter = segmenter.with_settings(**values)
    return segmenter


_WITHOUT_EFFECT = (
    "all_series",
    "blocks",
    "device",
    "exporters",
    "inputs",
    "offline",
    "output",
    "overwrite",
    "progress",
    "recursive",
    "resume",
    "run",
    "shard",
    "summary",
    "threads",
    "tile",
    "verbose",
)


def results_maker(arguments: argparse.Namespace) -> Maker:
    """Return what results depend on beside the image: model, library and all arguments that may change labels.

    Raises
    ------
    UnknownModelError
        If there is no model of this name.
    InputError
        If the file of weights or of settings cannot be read.
    """
    settings = {name: value for name, value in vars(arguments).items() if name not in _WITHOUT_EFFECT}
    model, weights, file = (settings.pop(name) for name in ("model", "weights", "settings"))
    settings["library"] = __version__
    if file is not None:
        settings["settings"] = _fingerprint("--settings", file)
    if weights is not None:
        return Maker(_fingerprint("--weights", weights), settings)
    entry = get_entry(model)
    return Maker(entry.sha256, {**entry.settings, **settings})


def _fingerprint(option: str, path: str) -> str:
    try:
        return fingerprint(Path(path))
    except OSError as error:
        raise InputError(f"{option} '{path}' cannot be read ({error.strerror}); check the path") from error


def title_of(segmenter: Segmenter) -> str:
    """Name and version of a model."""
    return f"{segmenter.config.name} {segmenter.config.version}"


def load_model(arguments: argparse.Namespace) -> Segmenter:
    """Load the model that the arguments name, with its own settings.

    Raises
    ------
    UnknownModelError, DownloadError, CheckpointError, DeviceError, InputError
        As `Segmenter.pretrained` and `Segmenter.from_file` do.
    """
    from pixel_embedded_affinity.segmenter import Segmenter

    where: dict[str, Any] = {
        name: getattr(arguments, name) for name in ("runtime", "device", "precision", "threads")
    }
    if arguments.weights is not None:
        return Segmenter.from_file(arguments.weights, **where)
    return Segmenter.pretrained(arguments.model, **where, offline=True if arguments.offline else None)


def add_data_arguments(parser: argparse.ArgumentParser, *, split: str) -> None:
    """Add ``--data``, ``--recipe`` or ``--layout``, ``--split`` with this default, and ``--foreground``."""
    parser.add_argument("--data", metavar="DIR", required=True, help="folder with the images and labels")
    layout = parser.add_mutually_exclusive_group()
    recipe = "training recipe that says how the data lie and are split (default: the one named as the model)"
    layout.add_argument("--recipe", metavar="NAME_OR_FILE", help=recipe)
    without = "how the data lie, where there is no recipe: folders, bbbc039, cvppp, ac3ac4"
    layout.add_argument("--layout", help=without)
    parts = "training, validation, test or all (default: %(default)s)"
    parser.add_argument("--split", default=split, help=parts)
    add_foreground_argument(parser)


def data_settings(arguments: argparse.Namespace) -> DataSettings:
    """Return the data's layout and split: from the layout, the recipe, or the recipe that is named as the model.

    Raises
    ------
    InputError
        If none of them is given, or the recipe cannot be read.
    """
    from pixel_embedded_affinity.data.layouts import DataSettings
    from pixel_embedded_affinity.training.recipe_files import data_of_recipe

    if arguments.layout is not None:
        return DataSettings(layout=arguments.layout)
    recipe = arguments.recipe or arguments.model
    if recipe is None:
        raise InputError(
            "nothing says how the data lie; give --recipe, or --layout folders, bbbc039, cvppp or ac3ac4"
        )
    return data_of_recipe(recipe)
