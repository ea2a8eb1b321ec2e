"""From a network that was trained with any kind of loss to labels: how a comparison segments images."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pixel_embedded_affinity.affinity import Affinities, affinities
from pixel_embedded_affinity.clustering import Clusterer, get_clusterer
from pixel_embedded_affinity.config.fields import choice
from pixel_embedded_affinity.geometry.scaling import labels_of_image, resize_image, resize_labels
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.network.residual_unet import NetworkOutput
from pixel_embedded_affinity.normalize import normalize
from pixel_embedded_affinity.runtime.device import autocast
from pixel_embedded_affinity.training.losses.direct_affinity import predicted_affinities
from pixel_embedded_affinity.training.losses.discriminative import DISTANCE_MARGIN, distance_affinities
from pixel_embedded_affinity.training.recipe import Recipe

CLUSTERINGS = ("mean-shift", "mutex", "adaptive mutex")
"""Mean-shift on embeddings, the mutex watershed on the pairs of the training, and on those of the model."""


class Pipeline:
    """Normalization, network, affinities, clustering and postprocessing, as a recipe and its kind of loss say.

    Parameters
    ----------
    recipe : Recipe
        What the network was trained by.
    network : torch.nn.Module
        The network. It is changed: moved to the device, put into evaluation mode.
    device : torch.device
        Where to compute.
    """

    def __init__(self, recipe: Recipe, network: nn.Module, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        self._network = network.eval().to(device)

    def segment(
        self,
        image: npt.NDArray[np.float32],
        clustering: str,
        foreground: npt.NDArray[np.bool_] | None = None,
    ) -> npt.NDArray[np.int32]:
        """Segment one image.

        Parameters
        ----------
        image : numpy.ndarray
            float32 (C, H, W), not normalized.
        clustering : {"mean-shift", "mutex", "adaptive mutex"}
            How pixels become objects. A baseline of loss kind ``"direct_affinity"`` has the mutex watershed
            alone, since its pairs are fixed and it has no embedding.
        foreground : numpy.ndarray, optional
            bool (H, W). Default: the network's own.

        Returns
        -------
        numpy.ndarray
            int32 labels (H, W).

        Raises
        ------
        InputError
            If the clustering is unknown, or not one of the recipe's kind of loss.
        """
        choice(*clusterings_of(self.recipe))(clustering, "clustering")
        output = self._run(image)
        shape = output.embedding.shape[2:]
        inside = self._foreground(output) if foreground is None else resize_labels(foreground, shape)
        pairs, clusterer = self._pairs(output.embedding[0].float(), clustering, inside)
        postprocess = self.recipe.model.postprocess
        if pairs.embedding is None:  # of predicted affinities
            postprocess = postprocess.without_embedding()
        labels = postprocess(clusterer(pairs, foreground=inside), pairs.embedding)
        return labels_of_image(labels, image.shape[1:], foreground)

    def _run(self, image: npt.NDArray[np.float32]) -> NetworkOutput:
        model = self.recipe.model
        seen = resize_image(normalize(image, model.normalization), model.scale)
        values = torch.from_numpy(seen).to(self.device)
        with torch.inference_mode(), autocast(self.device):
            output: NetworkOutput = self._network(values[None].contiguous(memory_format=torch.channels_last))
        return output

    def _foreground(self, output: NetworkOutput) -> npt.NDArray[np.bool_] | None:
        if output.foreground is None:
            return None
        probability = output.foreground[0, 0].float().sigmoid()
        inside: npt.NDArray[np.bool_] = (probability > self.recipe.model.foreground_threshold).cpu().numpy()
        return inside

    def _pairs(
        self, output: torch.Tensor, clustering: str, inside: npt.NDArray[np.bool_] | None
    ) -> tuple[Affinities, Clusterer]:
        """What is clustered, and by what."""
        neighborhood = self._neighborhood(clustering)
        name = "mean_shift" if clustering == "mean-shift" else "mutex_watershed"
        settings: dict[str, Any] = {}
        kind = self.recipe.loss.kind
        if kind == "affinity":
            pairs = affinities(output, neighborhood)
        elif kind == "direct_affinity":
            pairs = Affinities(predicted_affinities(output, neighborhood.offsets), neighborhood)
        else:
            scaled, scale = _within_unit_length(output, inside)
            pairs = Affinities(distance_affinities(output, neighborhood.offsets), neighborhood, scaled)
            settings = {"bandwidth": DISTANCE_MARGIN * scale} if name == "mean_shift" else {}
        return pairs.numpy(), get_clusterer(name, **settings)

    def _neighborhood(self, clustering: str) -> Neighborhood:
        """The pairs of the training with the model's strides, or the model's pairs."""
        if clustering == "adaptive mutex":
            return self.recipe.model.neighborhood
        return training_pairs(self.recipe)


def training_pairs(recipe: Recipe) -> Neighborhood:
    """The pairs that a recipe trains, with the strides of its model."""
    return Neighborhood(recipe.neighborhood.offsets(), strides=recipe.model.neighborhood.strides)


def clusterings_of(recipe: Recipe) -> tuple[str, ...]:
    """The clusterings that a recipe's kind of loss allows."""
    return ("mutex",) if recipe.loss.kind == "direct_affinity" else CLUSTERINGS


def _within_unit_length(
    embedding: torch.Tensor, inside: npt.NDArray[np.bool_] | None
) -> tuple[torch.Tensor, float]:
    """Shrink embeddings (D, H, W) by one factor so that mean-shift takes them, and return that factor."""
    lengths = torch.linalg.vector_norm(embedding, dim=0)
    if inside is not None:
        lengths = lengths * torch.from_numpy(inside).to(lengths.device)
    scale = 1 / max(1.0, float(lengths.max()))
    return embedding * scale, scale
