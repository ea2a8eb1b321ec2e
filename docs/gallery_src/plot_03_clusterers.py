"""
Five ways from affinities to objects
====================================

Affinities say which pixels belong together. A *clusterer* makes objects of them. The package has several; all
work on the same output of the network.
"""

# %%
# One network, five clusterers
# ----------------------------
# A plant from above. (Photograph: documentation of PlantCV, Mozilla Public License 2.0.)

import matplotlib.pyplot as plt
from skimage.color import label2rgb

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.samples import rosette

image = rosette()
segmenter = Segmenter.pretrained("leaves", device="cpu")
embedding = segmenter.embed(image)


def colored(image, labels):
    """Gray ground, and a color for each leaf."""
    colors = plt.colormaps["tab20"].colors
    return label2rgb(labels, image, colors=colors, alpha=0.5, bg_label=0)


clusterers = {
    "mutex_watershed": "joins and separates, the surest pair first",
    "connected_components": "joins whatever touches and is alike enough",
    "mean_shift": "looks for groups of similar vectors",
    "multicut": "cuts a map of small regions as a whole",
    "agglomeration": "joins small regions, the most similar first",
}
_, axes = plt.subplots(2, 3, figsize=(12, 8), layout="constrained")
axes = axes.ravel()
axes[0].imshow(image[40:360, 60:400])
axes[0].set_title("the image")
for ax, (name, idea) in zip(axes[1:], clusterers.items(), strict=True):
    labels = segmenter.cluster(embedding, clusterer=name)
    ax.imshow(colored(image, labels)[40:360, 60:400])
    ax.set_title(f"{name}: {labels.max()} leaves\n{idea}", fontsize=10)
for ax in axes:
    ax.axis("off")

# %%
# Settings of a clusterer
# -----------------------
# Each has settings of its own. The threshold of connected components says how alike two pixels must be to join.

_, axes = plt.subplots(1, 3, figsize=(12, 4.1), layout="constrained")
for ax, threshold in zip(axes, (0.2, 0.5, 0.95), strict=True):
    other = segmenter.with_settings(
        clusterer="connected_components", clusterer_settings={"threshold": threshold}
    )
    labels = other.cluster(embedding)
    ax.imshow(colored(image, labels)[40:360, 60:400])
    ax.set_title(f"threshold {threshold}: {labels.max()} leaves")
    ax.axis("off")

# %%
# Which one?
# ----------
# Start with the mutex watershed, which the models use: it needs no threshold. If you have a few labeled images,
# let `tune <pixel_embedded_affinity.Segmenter.tune>` try the others. :doc:`/explanation/adaptive_affinity` has
# scores of all of them.

plt.show()
