"""A whole training: from a recipe and a data folder to a model file."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from pixel_embedded_affinity.data.layouts import RAW, Example, find_files, load, resized
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.labels import refuse_masks
from pixel_embedded_affinity.models.fetch import resolve
from pixel_embedded_affinity.runtime.progress import Progress, track
from pixel_embedded_affinity.training.recipe import Recipe
from pixel_embedded_affinity.training.run.loop import LOG_FILE, MODEL_FILE, STATE_FILE, StepResult, Trainer
from pixel_embedded_affinity.training.run.validation import BEST_FILE, VALIDATION_FILE, Validation

logger = logging.getLogger(__name__)

_SELECTING = ("axes", "channel", "time", "z", "series", "pixel-size")
"""Arguments of other commands that say which part of a file is the image."""

_FILES_OF_A_RUN = (STATE_FILE, MODEL_FILE, LOG_FILE, VALIDATION_FILE, BEST_FILE)


def train(
    recipe: Recipe | str | Path,
    data: str | Path,
    output: str | Path,
    *,
    resume: bool = False,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int | None = None,
    device: str = "auto",
    warm_start: str | Path | None = None,
    init: str | None = None,
    encoder_weights: str | Path | None = None,
    compiled: bool = False,
    progress: Progress = False,
) -> Path:
    """Train a model, or go on with an interrupted training.

    The output folder gets ``model.safetensors`` (the averaged weights), ``best.safetensors`` (the weights of the best
    validation), ``state.safetensors`` (to resume from), ``log.csv``, ``validation.csv``, the folder ``validation``
    with pictures of some results (true labels on the left, found labels on the right), and, if TensorBoard is
    installed, ``tensorboard``.

    Parameters
    ----------
    recipe : Recipe, str or Path
        A recipe, its file, or the name of a shipped recipe.
    data : str or Path
        The data folder or list, in the recipe's layout. Training and validation images are read and checked
        before the first step.
    output : str or Path
        Folder of the run; made if absent.
    resume : bool
        Whether to continue the run in the output folder. The result is the same as without an interruption.
    minutes : float, optional
        Wall-clock limit of the steps, and of the validations between them: when another step may not fit, the state
        is saved and the training ends. The limit does not count reading the images, and cuts short neither a
        validation that began within it nor the last one.
    steps : int, optional
        Steps of the whole run; replaces the recipe's.
    seed : int, optional
        Seed of the run; replaces the recipe's. Runs with other seeds are independent, and the mean of their weights is
        often better than each (`publish`). A resumed run needs the seed that it was started with.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    warm_start : str or Path, optional
        A model file of the same network, whose weights the run starts from. The number of image channels may
        differ, and the run's network may have more blocks, see `warm_start.read_start`.
    init : str, optional
        Name of a model of `list_models`, whose weights the run starts from in place of a file.
    encoder_weights : str or Path, optional
        A ``.safetensors`` or ``.pth`` file of torchvision's weights, from which the encoder of a ``resnet50_unet`` or
        ``resnet101_unet`` starts, see `encoder_weights.load_encoder`. All other weights start at random.
    compiled : bool
        Whether torch compiles the network at the first step. This takes minutes, and needs a C++ compiler; on a GPU
        also the package triton. Results differ by rounding. A run may be resumed with or without.
    progress : bool or callable
        True shows a bar with the losses; a callable is used as ``tqdm`` is.

    Returns
    -------
    Path
        The model file.

    Raises
    ------
    InputError
        If the recipe or the data cannot be used, the output folder already holds a run, there is no run to resume,
        the encoder's weights cannot be read or do not fit, or the arguments contradict each other.
    CheckpointError
        If a state or the weights to start from cannot be used.
    UnknownModelError, DownloadError
        If there is no model of the name `init`, or no place provides its weights.
    DeviceError
        If the device is missing.
    PixelEmbeddedAffinityError
        If the loss is no longer finite, or torch cannot compile the network.
    """
    plan = recipe if isinstance(recipe, Recipe) else Recipe.from_file(recipe)
    changed = {"steps": steps, "seed": seed}
    plan = plan.scheduled(**{name: value for name, value in changed.items() if value is not None})
    folder = Path(output)
    _check_kind(plan)
    _check_given(folder, resume, minutes)
    _check_start(resume, {"warm_start": warm_start, "init": init, "encoder_weights": encoder_weights})
    start = _start(warm_start, init)
    encoder = None if encoder_weights is None else Path(encoder_weights)
    examples, validated = _load(plan, data)
    trainer = Trainer(
        plan,
        examples,
        folder,
        device=device,
        warm_start=start,
        encoder_weights=encoder,
        compiled=compiled,
    )
    if resume:
        trainer.resume()
    _run(trainer, Validation(trainer, validated) if validated else None, minutes, progress)
    return folder / MODEL_FILE


def _check_kind(recipe: Recipe) -> None:
    if recipe.loss.kind != "affinity":
        raise InputError(
            f"loss.kind {recipe.loss.kind!r} is a baseline, which gives no model file; use pea compare, or "
            "loss.kind 'affinity'"
        )


def _start(warm_start: str | Path | None, init: str | None) -> Path | None:
    """The model file to start from, if there is one."""
    if init is not None:
        return resolve(init)
    return None if warm_start is None else Path(warm_start)


def _check_start(resume: bool, starts: dict[str, str | Path | None]) -> None:
    """Refuse more than one place from which the weights would come."""
    given = [f"{name} {str(value)!r}" for name, value in starts.items() if value is not None]
    if len(given) > 1:
        raise InputError(
            f"a run starts from one set of weights, got {' and '.join(given)}; give either a warm start or init or "
            "encoder weights"
        )
    if resume and given:
        raise InputError(
            "a resumed run starts from its own state; give either resume or a warm start (or init, or encoder weights)"
        )


def _check_given(folder: Path, resume: bool, minutes: float | None) -> None:
    if minutes is not None and not 0 < minutes < math.inf:
        raise InputError(f"minutes must be a positive number, got {minutes}")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"the output {str(folder)!r} is a file; expected a folder")
    found = [name for name in _FILES_OF_A_RUN if (folder / name).exists()]
    if found and not resume:
        raise InputError(
            f"the output folder {str(folder)!r} already holds a run ({', '.join(found)}); resume it, "
            "or train into another folder"
        )


def _load(recipe: Recipe, data: str | Path) -> tuple[list[Example], list[Example]]:
    """Read the training images, normalized, and the validation images as they are."""
    channels = recipe.model.network.in_channels
    read = partial(load, channels=channels, ndim=recipe.model.ndim, selection=recipe.data.image)
    normalized = partial(read, normalization=recipe.model.normalization, contrast=recipe.model.contrast)
    try:
        training = normalized(find_files(data, recipe.data, "training"))
    except InputError as error:
        if not any(f"(--{name}" in str(error) for name in _SELECTING):
            raise
        raise InputError(f"{error}; in a recipe, these choices stand in [data.image]: channel = 0") from error
    refuse_masks(example.labels for example in training)
    training = [resized(example, recipe.data) for example in training]
    if not recipe.data.brings_split and not recipe.data.validation:
        logger.warning("the recipe's data.validation names no image: the model will not be validated")
        return training, []
    return training, read(find_files(data, recipe.data, "validation"), RAW)


def _run(trainer: Trainer, validation: Validation | None, minutes: float | None, progress: Progress) -> None:
    schedule = trainer.recipe.schedule
    if validation is not None and schedule.validates_after(trainer.step) and validation.is_missing():
        validation.run()
    shown = {"desc": "training", "unit": "step", "total": schedule.steps, "initial": trainer.step}
    results: Iterable[StepResult] = track(trainer.steps(minutes), progress, **shown)
    for step, losses in results:
        _show(results, losses)
        if validation is not None and schedule.validates_after(step):
            validation.run()
    if validation is not None and validation.is_missing():
        validation.run()


def _show(bar: object, losses: dict[str, float]) -> None:
    """Put the losses at the end of the bar, if it can show them."""
    show = getattr(bar, "set_postfix", None)
    if callable(show):
        shown = {name.removesuffix("_correlation"): f"{value:.3f}" for name, value in losses.items()}
        show({"loss": shown.pop("total"), **shown}, refresh=False)
