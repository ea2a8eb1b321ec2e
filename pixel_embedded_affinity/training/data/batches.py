"""Batches of augmented crops: a batch depends only on the recipe, the images and the step's number."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pixel_embedded_affinity.data.layouts import Example
from pixel_embedded_affinity.training.data.augment import FloatArray, LabelArray, random_crop
from pixel_embedded_affinity.training.data.membranes import membranes_marked
from pixel_embedded_affinity.training.data.stack import random_stack
from pixel_embedded_affinity.training.data.weights import object_areas, pixel_weights
from pixel_embedded_affinity.training.recipe import Recipe

_CROPS, _VIEWS = 0, 1
_AHEAD = 2


@dataclass(frozen=True)
class Batch:
    """Crops of one step.

    Attributes
    ----------
    images : torch.Tensor
        float32 (N, C, *spatial), normalized.
    labels : torch.Tensor
        int32 (N, *spatial); `augment.OUTSIDE` where a crop leaves its image, `augment.MEMBRANE` on membranes, if the
        recipe marks them.
    weights : torch.Tensor or None
        float32 (N, *spatial): factor per pixel of the affinity losses at full resolution; None if all are equal.
    """

    images: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor | None

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        weights = None if self.weights is None else self.weights.to(device)
        return Batch(self.images.to(device), self.labels.to(device), weights)


@dataclass(frozen=True)
class _Crop:
    """A crop, its labels, and the area of each label in the whole image."""

    image: FloatArray
    labels: LabelArray
    areas: npt.NDArray[np.int64]


def view_generator(seed: int, step: int) -> np.random.Generator:
    """Return the random generator of a step's second view."""
    return np.random.default_rng((seed, step, _VIEWS))


class BatchSource:
    """Draws the batch of any step of a run.

    Parameters
    ----------
    recipe : Recipe
        Crops, augmentation, weights and seed.
    examples : sequence of Example
        The training images, drawn as ``data.by_objects`` says.
    """

    def __init__(self, recipe: Recipe, examples: Sequence[Example]) -> None:
        self._recipe, self._examples = recipe, examples
        self._augmentation = recipe.augmentation.magnified(float(recipe.model.scale))
        self._areas = [object_areas(example.labels) for example in examples]
        self._chances = self._weighted(recipe.data.by_objects)

    def draw(self, step: int) -> Batch:
        """Draw the batch of a step; the same step always gives the same batch."""
        schedule = self._recipe.schedule
        generator = np.random.default_rng((schedule.seed, step, _CROPS))
        chosen = self._choose(schedule.batch, generator)
        crops = [self._crop(index, generator) for index in chosen]
        labels = [crop.labels for crop in crops]
        weights = self._weigh(labels, [crop.areas for crop in crops])
        images = np.stack([crop.image for crop in crops])
        return Batch(torch.from_numpy(images), torch.from_numpy(np.stack(labels)), weights)

    def drawn_ahead(self, first: int, last: int) -> Generator[Batch, None, None]:
        """Give the batches of steps `first` to `last - 1`; threads draw the next ones in the background."""
        with ThreadPoolExecutor(_AHEAD, thread_name_prefix="crops") as pool:
            waiting: deque[Future[Batch]] = deque()
            try:
                for step in range(first, last):
                    waiting.append(pool.submit(self.draw, step))
                    if len(waiting) > _AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _weighted(self, power: float) -> npt.NDArray[np.float64] | None:
        """Probability of each image, by its number of objects; None if all are equal."""
        if not power:
            return None
        objects = [max(1, np.count_nonzero(areas[1:])) for areas in self._areas]
        weights: npt.NDArray[np.float64] = np.array(objects, dtype=np.float64) ** power
        chances: npt.NDArray[np.float64] = weights / weights.sum()
        return chances

    def _choose(self, count: int, generator: np.random.Generator) -> npt.NDArray[np.integer[Any]]:
        if self._chances is None:
            return generator.integers(len(self._examples), size=count)
        return generator.choice(len(self._examples), size=count, p=self._chances)

    def _crop(self, index: int, generator: np.random.Generator) -> _Crop:
        if self._recipe.model.ndim == 2:
            return self._crop_of_image(index, generator)
        recipe, example = self._recipe, self._examples[index]
        drawn = (example.image, example.labels, recipe.crop, self._augmentation, recipe.sections, generator)
        image, labels = random_stack(*drawn)
        return _Crop(image, membranes_marked(labels, recipe.loss.membrane), self._areas[index])

    def _crop_of_image(self, index: int, generator: np.random.Generator) -> _Crop:
        example, areas, above = self._examples[index], self._areas[index], None
        if self._augmentation.crowding and generator.random() < self._augmentation.crowding:
            other = int(self._choose(1, generator)[0])
            above = self._renumbered(other, len(areas) - 1)
            areas = np.concatenate((areas, self._areas[other][1:]))
        drawn = (example.image, example.labels, self._recipe.crop[0], self._augmentation, generator)
        image, labels = random_crop(*drawn, above)
        return _Crop(image, membranes_marked(labels, self._recipe.loss.membrane), areas)

    def _renumbered(self, index: int, last: int) -> tuple[FloatArray, LabelArray]:
        """An image, and its labels after those of another image."""
        example = self._examples[index]
        return example.image, np.where(example.labels > 0, example.labels + last, example.labels)

    def _weigh(self, labels: list[LabelArray], areas: list[npt.NDArray[np.int64]]) -> torch.Tensor | None:
        settings = self._recipe.loss
        if not settings.border_weight and not settings.small_weight:
            return None
        return torch.from_numpy(np.stack([pixel_weights(*pair, settings) for pair in zip(labels, areas)]))
