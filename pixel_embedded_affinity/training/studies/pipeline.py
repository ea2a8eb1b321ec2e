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
from pixel_embedded_affinity.geometry.scaling import resize_image
from pixel_embedded_affinity.io.arrays import FloatArray
from pixel_embedded_affinity.labels import Labels, Mask
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.network.base import channels_last
from pixel_embedded_affinity.normalize import normalize
from pixel_embedded_affinity.pipeline import Labeler, positions_inside, restore
from pixel_embedded_affinity.runtime.device import autocast
from pixel_embedded_affinity.segmenter import Segmenter
from pixel_embedded_affinity.training.losses.direct_affinity import predicted_affinities
from pixel_embedded_affinity.training.losses.discriminative import DISTANCE_MARGIN, distance_affinities
from pixel_embedded_affinity.training.recipe import Recipe

CLUSTERINGS = ("mean-shift", "mutex", "adaptive mutex")
"""Mean shift on embeddings, the mutex watershed on the training's pairs, and on the model's pairs."""

_CLUSTERERS = {"mean-shift": "mean_shift", "mutex": "mutex_watershed", "adaptive mutex": "mutex_watershed"}


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

    def segment(self, image: FloatArray, clustering: str, foreground: Mask | None = None) -> Labels:
        """Segment one image.

        Parameters
        ----------
        image : numpy.ndarray
            float32 (C, *spatial), not normalized.
        clustering : {"mean-shift", "mutex", "adaptive mutex"}
            How pixels become objects. The loss kind ``"direct_affinity"`` allows only ``"mutex"``, since its pairs
            are fixed and it has no embedding.
        foreground : numpy.ndarray, optional
            bool (*spatial). Default: the network's own.

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
        config = settings_of(self.recipe, clustering)
        if self.recipe.loss.kind == "affinity":
            return self._segmenter.with_settings(
                neighborhood=config.neighborhood,
                clusterer=config.clusterer,
                clusterer_settings=config.clusterer_settings,
            ).segment(image, axes=config.axes, foreground=foreground)
        return self._of_baseline(image, config, foreground)

    def _of_baseline(self, image: FloatArray, config: ModelConfig, given: Mask | None) -> Labels:
        output = self._seen(image, config)
        inside, vectors = positions_inside(output, given, config), cast("torch.Tensor", output.values)
        if self.recipe.loss.kind == "direct_affinity":
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
        return restore(Labeler(config, run)(pairs.numpy(), inside), output, given, config)

    def _seen(self, image: FloatArray, config: ModelConfig) -> Embedding:
        """Run the network on one image; its output is not scaled to unit length."""
        embedder = self._segmenter.embedder
        values = resize_image(normalize(image, config.normalization), float(config.scale))
        with torch.inference_mode(), autocast(embedder.device):
            output = embedder.network(channels_last(torch.from_numpy(values)[None].to(embedder.device)))
        foreground = None if output.foreground is None else output.foreground[0, 0].float().sigmoid()
        return Embedding(output.embedding[0].float(), foreground, tuple(image.shape[1:]))


def settings_of(recipe: Recipe, clustering: str) -> ModelConfig:
    """Return the configuration of a recipe's model with the clusterer and the pairs of a clustering.

    The model's own clusterer keeps the model's settings.
    """
    model, clusterer = recipe.model, _CLUSTERERS[clustering]
    settings: dict[str, Any] = model.clusterer_settings if clusterer == model.clusterer else {}
    pairs = model.neighborhood if clustering == "adaptive mutex" else training_pairs(recipe)
    return model.changed(neighborhood=pairs, clusterer=clusterer, clusterer_settings=settings)


def training_pairs(recipe: Recipe) -> Neighborhood:
    """The neighborhood of the recipe's training, with the strides of its model."""
    return Neighborhood(recipe.neighborhood.offsets(), strides=recipe.model.neighborhood.strides)


def clusterings_of(recipe: Recipe) -> tuple[str, ...]:
    """The clusterings that a recipe's kind of loss allows."""
    return ("mutex",) if recipe.loss.kind == "direct_affinity" else CLUSTERINGS


def _within_unit_length(embedding: torch.Tensor, inside: Mask | None) -> tuple[torch.Tensor, float]:
    """Shrink embeddings (D, *spatial) by one factor so that mean-shift takes them, and return that factor."""
    lengths = torch.linalg.vector_norm(embedding, dim=0)
    if inside is not None:
        lengths = lengths * torch.from_numpy(inside).to(lengths.device)
    scale = 1 / max(1.0, float(lengths.max()))
    return embedding * scale, scale
