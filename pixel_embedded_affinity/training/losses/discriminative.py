"""The baseline ML-De: embeddings lie near the mean of their object, and far from other means."""

from __future__ import annotations

import torch
from torch import Tensor

from pixel_embedded_affinity.affinity import pair_boxes
from pixel_embedded_affinity.training.losses.affinity import Offsets

VARIANCE_MARGIN, DISTANCE_MARGIN = 0.5, 1.5
"""An embedding closer to its mean than the first, and means farther apart than twice the second, cost nothing."""

REGULARIZATION = 0.001
"""Weight of the means' lengths; variance and distance weigh 1."""


def discriminative_loss(embedding: Tensor, labels: Tensor) -> Tensor:
    """Mean over the images of a batch of variance, distance and regularization terms, as published.

    With C objects of mean embeddings m, the variance term is the mean over objects of the mean over their pixels of
    ``max(0, |m - e| - 0.5)^2``; the distance term the mean over ordered pairs of objects of ``max(0, 3 - |m - m'|)^2``;
    the regularization 0.001 times the mean of ``|m|``. Background and pixels outside the image are ignored.

    Parameters
    ----------
    embedding : torch.Tensor
        (N, D, *spatial), of any length.
    labels : torch.Tensor
        Integer (N, *spatial): objects are the positive numbers.

    Returns
    -------
    torch.Tensor
        The loss, a scalar, in single precision or better; 0 where there is no object.

    References
    ----------
    B. De Brabandere, D. Neven, L. Van Gool, "Semantic Instance Segmentation with a Discriminative Loss Function",
    2017 (arXiv:1708.02551), equations 1 to 4.
    """
    wide = embedding if embedding.dtype == torch.float64 else embedding.float()
    losses = [
        _loss_of_image(values[:, inside].T, label[inside])
        for values, label, inside in zip(wide, labels, labels > 0)
    ]
    return torch.stack(losses).mean()


def _loss_of_image(vectors: Tensor, labels: Tensor) -> Tensor:
    """Loss of the embeddings (M, D) of the object pixels of one image, labels (M)."""
    if not len(labels):
        return vectors.sum()  # zero, but differentiable
    _, objects, areas = torch.unique(labels, return_inverse=True, return_counts=True)
    means = _sums(vectors, objects, len(areas)) / areas[:, None]
    variance = _variance(vectors, means, objects, areas)
    lengths: Tensor = torch.linalg.vector_norm(means, dim=1)
    return variance + _distance(means) + REGULARIZATION * lengths.mean()


def _sums(values: Tensor, objects: Tensor, count: int) -> Tensor:
    """Sum the rows of each object."""
    return values.new_zeros((count, *values.shape[1:])).index_add(0, objects, values)


def _variance(vectors: Tensor, means: Tensor, objects: Tensor, areas: Tensor) -> Tensor:
    from_mean: Tensor = torch.linalg.vector_norm(vectors - means[objects], dim=1)
    pull = (from_mean - VARIANCE_MARGIN).clamp(min=0).square()
    return (_sums(pull, objects, len(areas)) / areas).mean()


def _distance(means: Tensor) -> Tensor:
    """The mean over ordered pairs of objects, which equals the mean over unordered ones."""
    first, second = torch.triu_indices(len(means), len(means), 1, device=means.device)
    if not len(first):
        return means.new_zeros(())
    apart: Tensor = torch.linalg.vector_norm(means[first] - means[second], dim=1)
    return (2 * DISTANCE_MARGIN - apart).clamp(min=0).square().mean()


def distance_affinities(embedding: Tensor, offsets: Offsets) -> Tensor:
    """Affinities of pairs by the distance d of their embeddings: ``max(0, 1 - d / 3)^2``, 3 between two means.

    Parameters
    ----------
    embedding : torch.Tensor
        (D, *spatial), of any length.
    offsets : sequence of tuple of int
        The compared pairs.

    Returns
    -------
    torch.Tensor
        float32 (K, *spatial), from 0 to 1; 0 where a pair leaves the image.

    References
    ----------
    K. Lee, R. Lu, K. Luther, H. S. Seung, "Learning and Segmenting Dense Voxel Embeddings for 3D Neuron
    Reconstruction", IEEE TMI 40(12), 2021.
    """
    spatial = tuple(embedding.shape[1:])
    values = torch.zeros((len(offsets), *spatial), dtype=torch.float32, device=embedding.device)
    for value, offset in zip(values, offsets):
        here, there = ((slice(None), *box) for box in pair_boxes(spatial, offset))
        apart = torch.linalg.vector_norm(embedding[here].float() - embedding[there].float(), dim=0)
        value[here[1:]] = (1 - apart / (2 * DISTANCE_MARGIN)).clamp(min=0).square()
    return values
