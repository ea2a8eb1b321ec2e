"""The training loop: steps, averaged weights, states to resume from, and the model file."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from pixel_embedded_affinity import __version__
from pixel_embedded_affinity.config.model import ModelConfig, NetworkConfig
from pixel_embedded_affinity.data.layouts import Example, require_objects
from pixel_embedded_affinity.errors import CheckpointError, InputError, PixelEmbeddedAffinityError
from pixel_embedded_affinity.io.selection import Selection
from pixel_embedded_affinity.models.checkpoint import Checkpoint, write_checkpoint
from pixel_embedded_affinity.network.base import Network, weights_channels_last
from pixel_embedded_affinity.network.build import build_network, load_network
from pixel_embedded_affinity.normalize import PLAIN
from pixel_embedded_affinity.runtime.device import resolve_device
from pixel_embedded_affinity.runtime.memory import memory_reused
from pixel_embedded_affinity.training.data.batches import Batch, BatchSource, view_generator
from pixel_embedded_affinity.training.losses.objective import Losses, Objective
from pixel_embedded_affinity.training.recipe import Recipe
from pixel_embedded_affinity.training.run.compiling import compile_in_place, compiler_explained
from pixel_embedded_affinity.training.run.encoder_weights import load_encoder
from pixel_embedded_affinity.training.run.logs import Log, open_logs
from pixel_embedded_affinity.training.run.state import restore_state, save_state
from pixel_embedded_affinity.training.run.warm_start import difference, origin_of, read_start

logger = logging.getLogger(__name__)

STATE_FILE = "state.safetensors"
MODEL_FILE = "model.safetensors"
LOG_FILE = "log.csv"

LOG_COLUMNS = ("step", "seconds", "learning_rate", *Losses.__dataclass_fields__)

_FREE_TO_CHANGE = ("steps", "save_every", "validate_every", "validation_images", "best_by")


class StepResult(NamedTuple):
    """How many steps are done, and the losses of the last one."""

    step: int
    losses: dict[str, float]


class Trainer:
    """One training run in an output folder.

    On a CPU, the same recipe, images and threads give the same run, bit for bit, interrupted or not. The class keeps
    the average itself: `torch.optim.swa_utils.AveragedModel` would copy the weights of the first step, and average
    the counters of batch norm.

    Parameters
    ----------
    recipe : Recipe
        The training.
    examples : sequence of Example
        The training images, normalized.
    output : Path
        Folder for the state, the log and the model; made, if absent, when training starts.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    warm_start : Path, optional
        A model file whose weights the run starts from. The number of image channels may differ, and the run's
        network may have more blocks, see `warm_start.read_start`.
    encoder_weights : Path, optional
        A file of torchvision's weights for the encoder, see `encoder_weights.load_encoder`. All other weights are
        random.
    compiled : bool
        Whether torch compiles the network at the first step, which takes minutes. Results differ by rounding; a run may
        be resumed with or without.

    Raises
    ------
    InputError
        If no image holds an object, or the encoder's weights cannot be read or do not fit.
    CheckpointError
        If the weights to start from cannot be read or do not fit the recipe's network.
    DeviceError
        If the device is missing.
    """

    def __init__(
        self,
        recipe: Recipe,
        examples: Sequence[Example],
        output: Path,
        *,
        device: str = "auto",
        warm_start: Path | None = None,
        encoder_weights: Path | None = None,
        compiled: bool = False,
    ) -> None:
        require_objects(examples)
        self.recipe, self.output = recipe, output
        self.device = resolve_device(device)
        self.network = _started(recipe, warm_start, encoder_weights).to(self.device).train()
        if recipe.schedule.frozen_statistics:
            _freeze_statistics(self.network)
        weights_channels_last(self.network)
        if compiled:
            compile_in_place(self.network)
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        schedule = recipe.schedule
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
        )
        self.step, self.seconds = 0, 0.0
        self._objective, self._batches = Objective(recipe), BatchSource(recipe, examples)
        self._identity, self._images = _identity(recipe, examples), len(examples)
        self._origin = origin_of(warm_start, encoder_weights)

    @property
    def finished(self) -> bool:
        """Whether all steps of the schedule are done."""
        return self.step >= self.recipe.schedule.steps

    def resume(self) -> None:
        """Continue from the state in the output folder.

        Raises
        ------
        InputError
            If there is no state, or it belongs to a run of another recipe or of other images.
        CheckpointError
            If the state is damaged.
        """
        path = self.output / STATE_FILE
        if not path.is_file():
            raise InputError(f"nothing to resume: no {str(path)!r}; start without resuming")
        progress = restore_state(path, self.network, self.average, self.optimizer)
        self._check_identity(progress)
        self.step, self.seconds = int(progress["step"]), float(progress["seconds"])
        self._origin = progress.get("origin", {})  # older runs do not have it

    def steps(self, minutes: float | None = None) -> Generator[StepResult, None, None]:
        """Train until the schedule ends or the time is nearly up, and give the losses after every step.

        The state is on disk before the last result, and before each result for which `Schedule.validates_after` is
        true.

        Parameters
        ----------
        minutes : float, optional
            Wall-clock time. The last state is saved within it; at least one step is done.

        Yields
        ------
        StepResult
            After every step.

        Raises
        ------
        PixelEmbeddedAffinityError
            If the loss is no longer finite, or torch cannot compile the network; the state on disk is from before.
        """
        if self.finished:
            return
        self.output.mkdir(parents=True, exist_ok=True)
        deadline = _Deadline(minutes)
        with ExitStack() as stack:
            stack.enter_context(memory_reused())
            logs = open_logs(self.output / LOG_FILE, LOG_COLUMNS, self.step)
            for log in logs:
                stack.enter_context(closing(log))
            batches = self._batches.drawn_ahead(self.step, self.recipe.schedule.steps)
            stack.enter_context(closing(batches))
            self.save()
            for batch in batches:
                with compiler_explained():
                    losses = self._train_step(batch.to(self.device)).named()
                self.seconds += deadline.round_so_far()
                self._log(logs, losses)
                last = self.finished or deadline.is_near()
                if last or self._is_save_due():
                    self.save()
                deadline.end_round()
                yield StepResult(self.step, losses)
                if last:
                    break
                deadline.start_round()

    def save(self) -> None:
        """Write the state to resume from, and the averaged weights as a model file.

        A baseline gets no model file: a `Segmenter` would mistake its output for embeddings.
        """
        progress = {
            "step": self.step,
            "seconds": self.seconds,
            "identity": self._identity,
            "origin": self._origin,
        }
        save_state(self.output / STATE_FILE, self.network, self.average, self.optimizer, progress)
        if self.recipe.loss.kind == "affinity":
            self.export(self.output / MODEL_FILE)

    def export(self, path: Path) -> None:
        """Write the averaged weights with the configuration."""
        write_checkpoint(path, Checkpoint(self.config().to_json(), self.average))

    def config(self) -> ModelConfig:
        """Return the model's configuration, with the training so far in its provenance."""
        recipe = {name: table for name, table in self.recipe.to_dict().items() if name != "model"}
        made = {
            "recipe": recipe,
            "images": self._images,
            "steps": self.step,
            "minutes": round(self.seconds / 60, 1),
            "device": str(self.device),
            "library": __version__,
            **self._origin,
        }
        return self.recipe.model.changed(provenance={**self.recipe.model.provenance, **made})

    def averaged_network(self) -> nn.Module:
        """Return a copy of the network with the averaged weights."""
        return load_network(self.recipe.model.network, self.average)

    def _train_step(self, batch: Batch) -> Losses:
        schedule = self.recipe.schedule
        for group in self.optimizer.param_groups:
            group["lr"] = schedule.learning_rate_at(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        losses = self._objective(self.network, batch, view_generator(schedule.seed, self.step))
        value = float(losses.total.detach())
        if not math.isfinite(value):
            raise PixelEmbeddedAffinityError(
                f"the loss is {value} at step {self.step + 1}; lower schedule.learning_rate "
                f"(now {schedule.learning_rate}) or schedule.clip (now {schedule.clip}) and start again"
            )
        losses.total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), schedule.clip)
        self.optimizer.step()
        self.step += 1
        self._update_average(min(schedule.average, self.step / (self.step + 10)))
        return losses

    @torch.no_grad()
    def _update_average(self, decay: float) -> None:
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def _log(self, logs: list[Log], losses: dict[str, float]) -> None:
        rate = self.optimizer.param_groups[0]["lr"]
        row = {"step": self.step, "seconds": round(self.seconds, 2), "learning_rate": rate, **losses}
        for log in logs:
            log.write(row)

    def _is_save_due(self) -> bool:
        schedule = self.recipe.schedule
        return self.step % schedule.save_every == 0 or schedule.validates_after(self.step)

    def _check_identity(self, progress: dict[str, Any]) -> None:
        found = progress.get("identity", {})
        differing = sorted(key for key, value in self._identity.items() if found.get(key) != value)
        if differing == ["steps"]:
            text = "resumed with %d steps instead of %d: the learning rate follows the new schedule from here"
            logger.warning(text, self.recipe.schedule.steps, found["steps"])
        elif differing:
            named = {"images": "set of images"}
            others = ", ".join(named.get(name, name) for name in differing if name != "steps")
            raise InputError(
                f"the run in {str(self.output)!r} was started with another {others}; resume it with the same recipe "
                "and images, or train into another folder"
            )


class _Deadline:
    """Tells when the time left is shorter than one and a half times the longest round so far.

    A round is a step and its saving; it does not include what the caller does between two rounds.
    """

    def __init__(self, minutes: float | None) -> None:
        self._began = time.monotonic()
        self._end = math.inf if minutes is None else self._began + 60 * minutes
        self._longest = 0.0

    def start_round(self) -> None:
        """Begin a step."""
        self._began = time.monotonic()

    def round_so_far(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self._began

    def end_round(self) -> None:
        """Note how long the step took."""
        self._longest = max(self._longest, self.round_so_far())

    def is_near(self) -> bool:
        """Whether another step may not fit before the end."""
        return time.monotonic() + 1.5 * max(self._longest, self.round_so_far()) >= self._end


def _identity(recipe: Recipe, examples: Sequence[Example]) -> dict[str, Any]:
    """What a resumed run must share with the earlier run, fit for JSON."""
    tables = recipe.to_dict()
    model, schedule = tables["model"], tables["schedule"]
    if not recipe.schedule.frozen_statistics:
        del schedule["frozen_statistics"]  # older runs do not have it
    kept = {name: model[name] for name in ("network", "normalization", "scale")}
    if recipe.model.contrast != PLAIN:
        kept["contrast"] = model["contrast"]
    if recipe.model.normalization.gamma == 1:
        kept["normalization"] = {
            name: value for name, value in model["normalization"].items() if name != "gamma"
        }
    images = hashlib.sha256()
    for example in examples:
        images.update(f"{example.name} {example.labels.shape}\n".encode())
        images.update(example.labels.tobytes())
    return {
        "steps": schedule["steps"],
        "model": kept,
        "schedule": {name: value for name, value in schedule.items() if name not in _FREE_TO_CHANGE},
        **{name: tables[name] for name in ("loss", "augmentation", "view", "neighborhood")},
        "images": images.hexdigest(),
        **({"image": tables["data"]["image"]} if recipe.data.image != Selection() else {}),
    }


def _started(recipe: Recipe, warm_start: Path | None, encoder_weights: Path | None) -> Network:
    """A network with the weights of a model file; all others are random, from the recipe's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.schedule.seed)
        if warm_start is not None:
            return _warm(recipe.model.network, warm_start)
        network = build_network(recipe.model.network)
    if encoder_weights is not None:
        load_encoder(encoder_weights, network)
    return network


def _warm(network: NetworkConfig, path: Path) -> Network:
    """A network with the weights of a model file; the refusal says in what the two networks differ."""
    weights = read_start(path, network)
    try:
        return load_network(network, weights)
    except CheckpointError as error:
        if not (text := difference(path, network)):
            raise
        raise CheckpointError(
            f"{error}: {text}; expected the same but for in_channels, and blocks of at least as many; write the file's "
            "values into [model.network] of the recipe, or start from another model"
        ) from error


def _freeze_statistics(network: nn.Module) -> None:
    """Keep means and variances of batch norms; their weights still learn."""
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            module.eval()
