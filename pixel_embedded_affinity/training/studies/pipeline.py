"""From a network trained with any kind of loss to labels: what a comparison hands to the pipeline."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from pixel_embedded_affinity.affinity import Affinities
from pixel_embedded_affinity.clustering import get_clusterer
from pixel_embedded_affinity.config.model import ModelConfig
from pixel_embedded_affinity.embedding import Embedding
from pixel_embedded_affinity.fields import choice
from pixel_embedded_affinity.geometry.scaling import labels_of_image, resize_image
from pixel_embedded_affinity.geometry.strides import spread
from pixel_embedded_affinity.io.arrays import FloatArray
from pixel_embedded_affinity.labels import Labels, Mask, relabel
from pixel_embedded_affinity.metrics import variation_of_information
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.network.base import channels_last
from pixel_embedded_affinity.normalize import normalize
from pixel_embedded_affinity.pipeline import Labeler, positions_inside, restore, seen_foreground
from pixel_embedded_affinity.runtime.device import autocast
from pixel_embedded_affinity.segmenter import Segmenter
from pixel_embedded_affinity.training.losses.direct_affinity import predicted_affinities
from pixel_embedded_affinity.training.losses.discriminative import DISTANCE_MARGIN, distance_affinities
from pixel_embedded_affinity.training.recipe import PREDICTING, Recipe

CLUSTERINGS = ("mean-shift", "mutex", "adaptive mutex", "agglomeration")
"""Mean shift on embeddings, the mutex watershed on the training's and on the model's pairs, and agglomeration."""

_CLUSTERERS = {
    "mean-shift": "mean_shift",
    "mutex": "mutex_watershed",
    "adaptive mutex": "mutex_watershed",
    "agglomeration": "agglomeration",
}
_OF_REGIONS = ("smoothing", "regions")
"""Settings that all clusterers of regions share: how the regions grow."""


THRESHOLDS = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9)
"""What `Pipeline.best_threshold` tries."""


class Pipeline:
    """Segments as a recipe and its kind of loss say.

    For the library's own kind of loss, `Segmenter` segments, with all settings of the recipe's model: its views, its
    clusterer's settings, its postprocessing. A baseline gives no embeddings whose cosines are affinities. This class
    computes its affinities from one view; clustering, postprocessing and the way back to the image are the same.

    Parameters
    ----------
    recipe : Recipe
        The network's training.
    network : torch.nn.Module
        The network. It is changed: moved to the device, put into evaluation mode.
    device : torch.device
        Where to compute.
    """

    def __init__(self, recipe: Recipe, network: nn.Module, device: torch.device) -> None:
        self.recipe = recipe
        self._segmenter = Segmenter(network, recipe.model, device=str(device))

    def segment(
        self, image: FloatArray, clustering: str, foreground: Mask | None = None, **settings: Any
    ) -> Labels:
        """Segment one image.

        Parameters
        ----------
        image : numpy.ndarray
            float32 (C, *spatial), not normalized.
        clustering : {"mean-shift", "mutex", "adaptive mutex", "agglomeration"}
            How pixels become objects. The loss kind ``"direct_affinity"`` allows only ``"mutex"`` and
            ``"agglomeration"``, since its pairs are fixed and it has no embedding; ``"malis"`` only
            ``"agglomeration"``, since all its pairs attract.
        foreground : numpy.ndarray, optional
            bool (*spatial). Default: the network's own.
        **settings
            Settings of the clusterer, instead of those of the recipe's model.

        Returns
        -------
        numpy.ndarray
            int32 labels (*spatial).

        Raises
        ------
        InputError
            If the clustering is unknown, or the recipe's kind of loss does not allow it.
        """
        choice(*clusterings_of(self.recipe))(clustering, "clustering")
        config = settings_of(self.recipe, clustering, **settings)
        if self.recipe.loss.kind == "affinity":
            return self._own(config).segment(image, axes=config.axes, foreground=foreground)
        return self._of_baseline(self._seen(image, config), config, foreground)

    def best_threshold(self, image: FloatArray, labels: Labels, foreground: Mask | None = None) -> float:
        """Return the threshold of the agglomeration, one of `THRESHOLDS`, that gives the lowest VOI on an image.

        Affinities of different losses mean different things: the cosine of two embeddings at a border is far from 0,
        a predicted affinity is not.

        Parameters
        ----------
        image, labels
            An image and its true labels, not among those to score on. The network sees it once.
        foreground : numpy.ndarray, optional
            As for `segment`.
        """
        own = self.recipe.loss.kind == "affinity"
        seen = self._segmenter.embed(image, axes=self.recipe.model.axes) if own else self._seen(image)

        def information(threshold: float) -> float:
            config = settings_of(self.recipe, "agglomeration", threshold=threshold)
            if own:
                found = self._own(config).cluster(seen, foreground=foreground)
            else:
                found = self._of_baseline(seen, config, foreground)
            return sum(variation_of_information(labels, found, ignore_background=True))

        return min(THRESHOLDS, key=information)

    def _own(self, config: ModelConfig) -> Segmenter:
        """The library's segmenter with the pairs and the clusterer of a configuration."""
        return self._segmenter.with_settings(
            neighborhood=config.neighborhood,
            clusterer=config.clusterer,
            clusterer_settings=config.clusterer_settings,
        )

    def _of_baseline(self, output: Embedding, config: ModelConfig, given: Mask | None) -> Labels:
        inside, vectors = positions_inside(output, given, config), cast("torch.Tensor", output.values)
        if self.recipe.loss.kind in PREDICTING:
            values = predicted_affinities(vectors, config.neighborhood.offsets)
            pairs = Affinities(values, config.neighborhood)
            config = config.changed(postprocess=config.postprocess.without_embedding())
        else:
            scaled, scale = _within_unit_length(vectors, inside)
            values = distance_affinities(vectors, config.neighborhood.offsets)
            pairs = Affinities(values, config.neighborhood, scaled)
            if config.clusterer == "mean_shift":
                config = config.changed(clusterer_settings={"bandwidth": DISTANCE_MARGIN * scale})
        run = get_clusterer(config.clusterer, **config.clusterer_settings)
        return _restored(Labeler(config, run)(pairs.numpy(), inside), output, given, config)

    def _seen(self, image: FloatArray, config: ModelConfig | None = None) -> Embedding:
        """Run the network on one image; its output is not scaled to unit length."""
        embedder, config = self._segmenter.embedder, config or self.recipe.model
        values = normalize(image, config.normalization, config.contrast)
        values = resize_image(values, float(config.scale))
        with torch.inference_mode(), autocast(embedder.device):
            output = embedder.network(channels_last(torch.from_numpy(values)[None].to(embedder.device)))
        foreground = None if output.foreground is None else output.foreground[0, 0].float().sigmoid()
        strides = getattr(embedder.network, "stride", (1,))
        return Embedding(
            output.embedding[0].float(),
            foreground,
            tuple(image.shape[1:]),
            stride=strides if max(strides) > 1 else None,
            seen=tuple(values.shape[1:]),
        )


def _restored(labels: Labels, output: Embedding, given: Mask | None, config: ModelConfig) -> Labels:
    """Labels of a baseline in the size of the image.

    In an image, the embedding between two positions places the borders of the library's own method to the pixel. A
    baseline's output does not tell that.
    """
    if output.stride is None or len(output.stride) == 3:
        return restore(labels, output, given, config)
    inside = seen_foreground(output, given, config)
    seen = spread(labels, inside, output.seen_shape, output.stride)
    return labels_of_image(relabel(seen), output.part_shape, given)


def settings_of(recipe: Recipe, clustering: str, **settings: Any) -> ModelConfig:
    """Return the configuration of a recipe's model with the clusterer and the pairs of a clustering.

    The model's own clusterer keeps the model's settings. Agglomeration takes over how regions grow from another
    clusterer of regions. `settings` of the clusterer replace them.
    """
    model, clusterer = recipe.model, _CLUSTERERS[clustering]
    kept = dict(model.clusterer_settings)
    if clusterer != model.clusterer:
        shared = _OF_REGIONS if clusterer == "agglomeration" else ()
        kept = {name: kept[name] for name in shared if name in kept}
    pairs = model.neighborhood if clustering == "adaptive mutex" else training_pairs(recipe)
    return model.changed(neighborhood=pairs, clusterer=clusterer, clusterer_settings={**kept, **settings})


def training_pairs(recipe: Recipe) -> Neighborhood:
    """The neighborhood of the recipe's training, with the strides of its model.

    Of the many pairs that the training of a volume draws from, those along the axes: the same for all methods.
    """
    pairs, strides = recipe.neighborhood, recipe.model.neighborhood.strides
    chosen = pairs.along_axes() if pairs.drawn and recipe.model.ndim == 3 else pairs
    return Neighborhood(chosen.offsets(), strides=strides)


def clusterings_of(recipe: Recipe) -> tuple[str, ...]:
    """The clusterings that a recipe's kind of loss allows."""
    allowed = {"direct_affinity": ("mutex", "agglomeration"), "malis": ("agglomeration",)}
    return allowed.get(recipe.loss.kind, CLUSTERINGS)


def _within_unit_length(embedding: torch.Tensor, inside: Mask | None) -> tuple[torch.Tensor, float]:
    """Shrink embeddings (D, *spatial) by one factor so that mean-shift takes them, and return that factor."""
    lengths = torch.linalg.vector_norm(embedding, dim=0)
    if inside is not None:
        lengths = lengths * torch.from_numpy(inside).to(lengths.device)
    scale = 1 / max(1.0, float(lengths.max()))
    return embedding * scale, scale
