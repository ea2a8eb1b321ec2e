"""Weights that an encoder starts from: read from a file in torchvision's naming, each of its keys accounted for."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from pixel_embedded_affinity.errors import InputError, one_line
from pixel_embedded_affinity.network.resnet import ResNetEncoder
from pixel_embedded_affinity.training.run.warm_start import spread

logger = logging.getLogger(__name__)

Tensors = dict[str, torch.Tensor]

_IMAGE_WEIGHT = "conv1.weight"
_COUNTER = ".num_batches_tracked"
_CHANNELS = 3
_OLDEST_TORCH = "2.6"  # older releases run the code of a TorchScript archive even if asked for weights only
_PRECISIONS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
_MOST_BYTES = 2 * 1024**3
_SHOWN = 3


def load_encoder(path: Path, network: nn.Module) -> None:
    """Put weights in torchvision's naming into the encoder of a network, in place.

    The file holds ``conv1.weight``, ``bn1.bias``, ``layer1.0.conv1.weight`` and so on, as the ``state_dict`` of
    torchvision's ``resnet50`` or ``resnet101``. What the encoder lacks, ``layer4`` and ``fc``, is left out. The log
    says how many weights were used and left out. Counters of batches (``num_batches_tracked``) may be absent, as in old
    files. If the image does not have three channels, the weight that reads it is summed over its three channels and
    spread evenly over the image's: a gray image gives what it would give as a color image.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file, or a ``.pth`` file, of which only tensors are read: no code in it is run.
    network : torch.nn.Module
        A network whose attribute ``encoder`` is a `ResNetEncoder`.

    Raises
    ------
    InputError
        If the network has no such encoder, the file cannot be read or holds anything but tensors, a weight is missing,
        not expected, of another shape or not finite. The message names some of them, and says how many there are.
    """
    encoder = getattr(network, "encoder", None)
    if not isinstance(encoder, ResNetEncoder):
        raise InputError(
            f"network {type(network).__name__} has no encoder that takes torchvision's weights; use the architecture "
            "resnet50_unet or resnet101_unet, or leave the encoder's weights out"
        )
    own, found = encoder.state_dict(), _read(path)
    given = {name: value for name, value in found.items() if not name.startswith(encoder.left_out)}
    _check_fit(path, given, _of_color(own))
    channels = own[_IMAGE_WEIGHT].shape[1]
    if channels != _CHANNELS:
        given[_IMAGE_WEIGHT] = spread(given[_IMAGE_WEIGHT].float(), channels)
    encoder.load_state_dict({**own, **given})
    text = "%s: the encoder starts from %d weights; left out are %s"
    logger.info(text, path, len(given), _counted(found, encoder.left_out))


def _of_color(own: Mapping[str, torch.Tensor]) -> Tensors:
    """What a file must hold, by name: the encoder's own weights, if it took images of three channels."""
    first = own[_IMAGE_WEIGHT]
    return {**own, _IMAGE_WEIGHT: first[:, :1].expand(-1, _CHANNELS, -1, -1)}


def _check_fit(path: Path, given: Tensors, expected: Tensors) -> None:
    missing = [name for name in sorted(expected.keys() - given.keys()) if not name.endswith(_COUNTER)]
    surplus = sorted(given.keys() - expected.keys())
    both = sorted(expected.keys() & given.keys())
    others = [_misfit(name, given, expected) for name in both if not _fits(given[name], expected[name])]
    if missing or surplus or others:
        raise InputError(
            f"{path}: these weights do not fit the encoder: missing {_some(missing)}, not expected {_some(surplus)}, "
            f"of another shape or type {_some(others)}; give torchvision's weights of the same ResNet"
        )
    wild = [name for name in both if not bool(given[name].isfinite().all())]
    if wild:
        raise InputError(f"{path}: NaN or infinite values in {_some(wild)}; expected finite weights")


def _fits(given: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether a tensor is a plain one of this shape, and a weight or a counter as is expected."""
    plain = given.layout == torch.strided and given.device.type == "cpu"
    valid = _PRECISIONS if expected.is_floating_point() else {expected.dtype}
    return plain and given.dtype in valid and given.shape == expected.shape


def _misfit(name: str, given: Tensors, expected: Tensors) -> str:
    kind = str(given[name].dtype).removeprefix("torch.")
    return f"{name} {tuple(given[name].shape)} {kind}, expected {tuple(expected[name].shape)}"


def _some(names: list[str]) -> str:
    """The first names of a list, and how many there are."""
    shown = [name if len(name) <= 80 else f"{name[:77]}..." for name in names[:_SHOWN]]
    return f"{shown} ({len(names)} in all)"


def _counted(names: Iterable[str], prefixes: tuple[str, ...]) -> str:
    every = list(names)
    return ", ".join(f"{prefix}* ({sum(name.startswith(prefix) for name in every)})" for prefix in prefixes)


def _read(path: Path) -> Tensors:
    """Read the tensors of a file by their names."""
    _check_readable(path)
    try:
        with warnings.catch_warnings():  # what torch remarks of other tensors is refused below
            warnings.simplefilter("ignore")
            found = _READERS[path.suffix.lower()](path)
    except Exception as error:  # a damaged file makes torch raise anything
        raise InputError(
            f"{path}: cannot be read as weights, or is damaged ({one_line(error)}); expected tensors by name in a "
            f"{path.suffix} file"
        ) from error
    return _tensors(path, found)


def _check_readable(path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise InputError(f"{path}: expected a file of weights that ends in {' or '.join(_READERS)}")
    if not os.path.isfile(path):  # False, and no error, if a name is too long
        raise InputError(f"{path}: no such file; expected torchvision's weights of a ResNet")
    if os.path.getsize(path) > _MOST_BYTES:
        raise InputError(f"{path}: {os.path.getsize(path)} bytes; expected at most {_MOST_BYTES}")
    if suffix == ".pth" and torch.__version__ < _OLDEST_TORCH:
        raise InputError(
            f"{path}: only torch {_OLDEST_TORCH} or newer reads .pth files safely, this is {torch.__version__}; "
            "convert the file to .safetensors"
        )


def _tensors(path: Path, found: Any) -> Tensors:
    """What a file holds, if it is tensors by name."""
    if not isinstance(found, Mapping):
        raise InputError(f"{path}: holds {type(found).__name__}; expected a dictionary of tensors by name")
    wrong = [str(name) for name, value in found.items() if not _is_weight(name, value)]
    if wrong:
        raise InputError(
            f"{path}: no tensors with a name are {_some(wrong)}; expected a dictionary of tensors by name, such as a "
            "network's state_dict()"
        )
    return {name: value.detach() for name, value in found.items()}


def _is_weight(name: Any, value: Any) -> bool:
    return isinstance(name, str) and isinstance(value, torch.Tensor)


def _read_torch(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)  # tensors only, no other objects


_READERS: dict[str, Callable[[Path], Any]] = {
    ".safetensors": safetensors.torch.load_file,  # a format without code
    ".pth": _read_torch,
}
