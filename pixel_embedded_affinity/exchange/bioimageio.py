"""A package of bioimage.io: the model, what it takes and gives, and a test of both."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
import torch

from pixel_embedded_affinity.errors import InputError, one_line, optional_module
from pixel_embedded_affinity.exchange.graph import EMBEDDING, FOREGROUND, IMAGE
from pixel_embedded_affinity.exchange.onnx_file import OPSET
from pixel_embedded_affinity.image import as_image
from pixel_embedded_affinity.io.arrays import FloatArray
from pixel_embedded_affinity.io.atomic import replacing
from pixel_embedded_affinity.models.registry import get_entry, list_models
from pixel_embedded_affinity.normalize import Normalization, normalize
from pixel_embedded_affinity.samples import nuclei

if TYPE_CHECKING:
    from pixel_embedded_affinity.config.model import ModelConfig
    from pixel_embedded_affinity.exchange.model import ExportedModel

_COMPLAINT = (
    "bioimage.io needs the package bioimageio.spec; expected it to be installed; "
    "run: pip install 'pixel_embedded_affinity[bioimageio]'"
)
_DEVELOPERS = ("The pixel_embedded_affinity developers",)
_PAPER = (
    "Huang, W., Deng, S., Chen, C., Fu, X., Xiong, Z.: Learning to Model Pixel-Embedded Affinity for Homogeneous "
    "Instance Segmentation. Proceedings of the AAAI Conference on Artificial Intelligence 36 (2022)"
)
_PAPER_ADDRESS = "https://ojs.aaai.org/index.php/AAAI/article/view/19984"
_PART = (slice(0, 256), slice(0, 320))
"""The part of the bundled image that becomes the input of the test."""

_CLOSE = 1e-4
"""How far the output of a test may be from the library's, at each value."""

_README = """# {name} {version}

{description}

The package holds the network of a model of the Python library pixel_embedded_affinity. It takes an image, with axes
`{axes}`, and gives a vector of unit length for each position (a position is {stride} pixels of the image){foreground}.
Vectors of one object are alike, so the cosine of two of them says whether they belong together. Objects are what a
clusterer makes of these affinities; it is not a part of the package. The library does it: `Segmenter.cluster`.

The description of the package says how intensities are normalized. The library also finds the scale at which objects
have the size that the model knows; here, resize images beforehand{diameter}.

License of the weights: {license}.

# Validation

The folder holds an image and what the library makes of it; the model must give the same to {close:g} at each
value.{scores}
"""


def write_package(
    model: ExportedModel, folder: str | os.PathLike[str], sample: Any, authors: Sequence[str] | None
) -> None:
    """Write the folder, see `ExportedModel.write_bioimageio`; it appears whole or not at all."""
    optional_module("bioimageio.spec", _COMPLAINT)
    target, config = Path(folder), model.segmenter.config
    if target.exists() or not target.parent.is_dir():
        raise InputError(
            f"'{target}' cannot be made; expected a new name in an existing folder; give another one"
        )
    license_id, names = _license(config), _authors(config, authors)
    image = _sample(config, sample)
    with TemporaryDirectory() as made, replacing(target, f".{target.name}.part") as part:
        _write_content(model, Path(made), image)
        _write_description(_description(model, Path(made), license_id, names), part)


def _license(config: ModelConfig) -> Any:
    """The license as bioimage.io knows it."""
    from bioimageio.spec.generic.v0_3 import LicenseId

    try:
        return LicenseId(config.license)
    except ValueError as error:
        raise InputError(
            f"the license of model {config.name!r} is {config.license!r}; expected an SPDX identifier, such as "
            "'CC0-1.0' or 'CC-BY-4.0', without which bioimage.io takes no model"
        ) from error


def _authors(config: ModelConfig, authors: Sequence[str] | None) -> Sequence[str]:
    if authors:
        return authors
    if config.name not in list_models():
        raise InputError(f"nothing says who made model {config.name!r}; give authors= (pea: --author)")
    return _DEVELOPERS


def _sample(config: ModelConfig, sample: Any) -> FloatArray:
    """The input of the test (C, *spatial), not normalized."""
    if sample is None:
        if config.ndim != 2 or config.network.in_channels != 1:
            raise InputError(
                f"model {config.name!r} takes no images like the bundled one; give sample= (pea: --sample), an image "
                f"with axes {config.axes}"
            )
        sample = nuclei().image[_PART]
    values = as_image(sample, channels=config.network.in_channels, ndim=config.ndim).values
    return values[(slice(None), *(slice(length // 2 * 2) for length in values.shape[1:]))]


def _write_content(model: ExportedModel, folder: Path, image: FloatArray) -> None:
    """Write all files but the description."""
    config = model.segmenter.config
    with torch.inference_mode():
        outputs = model.graph(torch.from_numpy(normalize(image, config.normalization)[np.newaxis]))
    for name, values in zip((IMAGE, *model.outputs), (image[np.newaxis], *map(torch.Tensor.numpy, outputs))):
        np.save(folder / f"{name}.npy", values)
        # The sample is what the test holds, for people to look at.
        tifffile.imwrite(folder / f"{name}.tif", values[0])
    model.write_onnx(folder / "weights.onnx")
    (folder / "configuration.json").write_text(config.to_json(), encoding="utf-8")
    (folder / "README.md").write_text(_readme(model), encoding="utf-8")


def _readme(model: ExportedModel) -> str:
    config = model.segmenter.config
    diameter = config.object_diameter
    return _README.format(
        name=config.name,
        version=config.version,
        description=config.description,
        axes=config.axes,
        stride=" x ".join(map(str, model.stride)),
        foreground=f" and the {_MEANING[FOREGROUND]}" if FOREGROUND in model.outputs else "",
        diameter="" if diameter is None else f", so that objects are about {diameter:g} pixels wide",
        license=config.license,
        close=_CLOSE,
        scores=_scores(config),
    )


def _scores(config: ModelConfig) -> str:
    """What is known of how good the labels are that the library makes with the model."""
    if config.name not in list_models():
        return ""
    entry = get_entry(config.name)
    if entry.version != config.version:
        return ""
    listed = ", ".join(f"{name} {value:g}" for name, value in entry.scores.items())
    return f" Scores of the labels: {listed}. Training data: {entry.data}."


def _write_description(description: Any, folder: Path) -> None:
    from bioimageio.spec import save_bioimageio_package_as_folder

    save_bioimageio_package_as_folder(description, output_path=folder)


def _description(model: ExportedModel, folder: Path, license_id: Any, authors: Sequence[str]) -> Any:
    """What bioimage.io says about the model, which it checks."""
    from bioimageio.spec import ValidationContext
    from bioimageio.spec.model import v0_5

    config = model.segmenter.config
    with ValidationContext(perform_io_checks=False, root=folder):
        try:
            return v0_5.ModelDescr(
                name=_allowed_name(config),
                description=config.description,
                version=v0_5.Version(config.version),
                license=license_id,
                authors=[v0_5.Author(name=name) for name in authors],
                cite=[v0_5.CiteEntry(text=_PAPER, url=v0_5.HttpUrl(_PAPER_ADDRESS))],
                tags=["instance-segmentation", "affinity", "embedding", f"{config.ndim}d"],
                documentation=_file(folder, "README.md"),
                attachments=[_file(folder, "configuration.json")],
                inputs=[_input(model, folder)],
                outputs=[_output(model, folder, name) for name in model.outputs],
                weights=_weights(folder),
                config=_tolerance(),
            )
        except ValueError as error:
            raise InputError(f"bioimage.io does not take this model: {one_line(error)}") from error


def _allowed_name(config: ModelConfig) -> str:
    """A name of letters, digits and a few signs, of at least five."""
    return f"{re.sub(r'[^A-Za-z0-9_+() -]', '-', config.name)} by pixel-embedded affinity"


def _file(folder: Path, name: str) -> Any:
    from bioimageio.spec.model.v0_5 import FileDescr

    return FileDescr(source=folder / name)


def _weights(folder: Path) -> Any:
    from bioimageio.spec.model import v0_5

    onnx = v0_5.OnnxWeightsDescr(source=folder / "weights.onnx", opset_version=OPSET)
    return v0_5.WeightsDescr(onnx=onnx)


def _tolerance() -> Any:
    from bioimageio.spec.model import v0_5

    close = v0_5.ReproducibilityTolerance(relative_tolerance=0, absolute_tolerance=_CLOSE)
    return v0_5.Config(bioimageio=v0_5.BioimageioConfig(reproducibility_tolerance=[close]))


def _input(model: ExportedModel, folder: Path) -> Any:
    from bioimageio.spec.model import v0_5

    config, network = model.segmenter.config, model.segmenter.config.network
    sides = [
        v0_5.SpaceInputAxis(
            id=v0_5.AxisId(letter), size=v0_5.ParameterizedSize(min=grid, step=step), **_unit(config, axis, 1)
        )
        for axis, (letter, grid, step) in enumerate(
            zip(config.axes[1:].lower(), model.graph.grid, model.stride)
        )
    ]
    return v0_5.InputTensorDescr(
        id=v0_5.TensorId(IMAGE),
        description="an image as it comes from the microscope or camera",
        axes=[v0_5.BatchAxis(), _channels([f"channel{n}" for n in range(network.in_channels)]), *sides],
        test_tensor=_file(folder, f"{IMAGE}.npy"),
        sample_tensor=_file(folder, f"{IMAGE}.tif"),
        preprocessing=_preprocessing(config.normalization, config.axes.lower()),
    )


def _output(model: ExportedModel, folder: Path, name: str) -> Any:
    from bioimageio.spec.model import v0_5

    config, strides = model.segmenter.config, model.stride if name == EMBEDDING else (1,) * len(model.stride)
    sides = [
        v0_5.SpaceOutputAxis(
            id=v0_5.AxisId(letter),
            size=v0_5.SizeReference(tensor_id=v0_5.TensorId(IMAGE), axis_id=v0_5.AxisId(letter)),
            **_unit(config, axis, step),
        )
        for axis, (letter, step) in enumerate(zip(config.axes[1:].lower(), strides))
    ]
    vectors = [f"component{n}" for n in range(config.network.embedding_channels)]
    return v0_5.OutputTensorDescr(
        id=v0_5.TensorId(name),
        description=_MEANING[name],
        axes=[v0_5.BatchAxis(), _channels(vectors if name == EMBEDDING else [FOREGROUND]), *sides],
        test_tensor=_file(folder, f"{name}.npy"),
        sample_tensor=_file(folder, f"{name}.tif"),
    )


_MEANING = {
    EMBEDDING: "a vector of unit length at each position; vectors of one object are alike",
    FOREGROUND: "probability that a pixel belongs to an object",
}


def _channels(names: Sequence[str]) -> Any:
    from bioimageio.spec.model import v0_5

    return v0_5.ChannelAxis(channel_names=[v0_5.Identifier(name) for name in names])


def _unit(config: ModelConfig, axis: int, step: int) -> dict[str, Any]:
    """Size of a position along an axis, in micrometers where the model's pixels have a size."""
    if config.pixel_size is None:
        return {"scale": float(step)}
    return {"scale": config.pixel_size[axis] * step, "unit": "micrometer"}


def _preprocessing(normalization: Normalization, axes: str) -> list[Any]:
    """The normalization in the words of bioimage.io, which knows no limits of the contrast."""
    from bioimageio.spec.model import v0_5

    if normalization.gamma != 1:
        raise InputError(
            f"normalization.gamma is {normalization.gamma:g}; bioimage.io has no gamma curve; expected 1; export the "
            "model as ONNX"
        )
    steps: list[Any] = [v0_5.EnsureDtypeDescr(kwargs=v0_5.EnsureDtypeKwargs(dtype="float32"))]
    if normalization.kind == "percentile":
        # The library has no such term; the least number that the format takes changes no image.
        kwargs = v0_5.ScaleRangeKwargs(
            axes=[v0_5.AxisId("channel"), *map(v0_5.AxisId, axes[1:])],
            min_percentile=normalization.lower,
            max_percentile=normalization.upper,
            eps=1e-12,
        )
        steps.append(v0_5.ScaleRangeDescr(kwargs=kwargs))
    elif normalization.kind == "fixed":
        kwargs = v0_5.FixedZeroMeanUnitVarianceAlongAxisKwargs(
            mean=list(normalization.mean), std=list(normalization.std), axis=v0_5.AxisId("channel")
        )
        steps.append(v0_5.FixedZeroMeanUnitVarianceDescr(kwargs=kwargs))
    if normalization.clip is not None:
        low, high = normalization.clip
        steps.append(v0_5.ClipDescr(kwargs=v0_5.ClipKwargs(min=low, max=high)))
    return steps
