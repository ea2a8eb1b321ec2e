"""
Nuclei: one network pass, several neighborhoods
===============================================

A field of nuclei is segmented. Then other pairs of pixels are compared, and the same embedding is clustered
again: the network runs once.
"""

# %%
# The image
# ---------
# The package brings one field of image set BBBC039 with its true labels: 520 x 696 pixels, 16 bits.

import matplotlib.pyplot as plt
import numpy as np

from pixel_embedded_affinity import Neighborhood, Segmenter, affinities
from pixel_embedded_affinity.export import render_overlay
from pixel_embedded_affinity.metrics import evaluate
from pixel_embedded_affinity.samples import nuclei

sample = nuclei()
print(sample.image.shape, sample.image.dtype, sample.labels.max(), "nuclei")

# %%
# From the image to labels
# ------------------------
# `analyze` returns the labels and everything that they were made from. In the overlay, neighboring nuclei
# differ in color.

segmenter = Segmenter.pretrained("bbbc039", device="cpu")
result = segmenter.analyze(sample.image)

_, axes = plt.subplots(1, 2, figsize=(12, 4.7), layout="constrained")
for ax, title, labels in zip(axes, ("truth", "result"), (sample.labels, result.labels), strict=True):
    ax.imshow(render_overlay(sample.image, labels))
    ax.set_title(f"{title}: {labels.max()} nuclei")
    ax.axis("off")

# %%
# How well the two agree:

scores = evaluate(sample.labels, result.labels)
for name in ("aggregated_jaccard_index", "dice", "panoptic_quality"):
    print(f"{name:25} {scores[name]:.3f}")

# %%
# Affinities of short and of long ranges
# --------------------------------------
# The affinity of two pixels is the cosine similarity of their embeddings: white is 1, the same object;
# black is 0 or less. Short ranges show thin borders; with longer ranges more pixels have their partner in
# another object.

window = (slice(267, 467), slice(496, 696))
_, axes = plt.subplots(1, 4, figsize=(12, 3.4), layout="constrained")
axes[0].imshow(sample.image[window], cmap="gray")
axes[0].set_title("image")
for ax, distance in zip(axes[1:], (1, 5, 15), strict=True):
    pairs = affinities(result.embedding.numpy(), Neighborhood.from_ranges([distance], directions=4))
    weakest = np.where(pairs.valid, pairs.values, 1).min(axis=0)
    ax.imshow(weakest[window], cmap="gray", vmin=0, vmax=1)
    ax.set_title(f"range {distance}")
for ax in axes:
    ax.axis("off")

# %%
# Other ranges, other labels
# --------------------------
# Pairs of range 1 attract: they may join pixels. Longer pairs repel: they keep unlike pixels apart. Strides
# thin out the repulsive pairs; with few of them, nuclei that touch merge. `cluster` uses the embedding from
# above, so each of these takes a fraction of the time of `segment`.

neighborhoods = {
    "ranges 1, 3; strides 40": Neighborhood.from_ranges([1, 3], strides=40),
    "ranges 1, 3, 5, 9; strides 10": Neighborhood.from_ranges([1, 3, 5, 9], strides=10),
    "ranges 1, 5, 11, 21; 8 directions": Neighborhood.from_ranges([1, 5, 11, 21], directions=8, strides=10),
}
_, axes = plt.subplots(1, 3, figsize=(12, 4.8), layout="constrained")
for ax, (title, neighborhood) in zip(axes, neighborhoods.items(), strict=True):
    labels = segmenter.cluster(result.embedding, neighborhood=neighborhood)
    score = evaluate(sample.labels, labels)["aggregated_jaccard_index"]
    ax.imshow(render_overlay(sample.image[window], labels[window]))
    ax.set_title(f"{title}\n{labels.max()} nuclei in all, AJI {score:.3f}")
    ax.axis("off")

plt.show()
