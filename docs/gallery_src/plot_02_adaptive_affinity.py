"""
Choose which pixels to compare
==============================

The network gives each pixel a vector. Two pixels with similar vectors lie in the same object. Which pairs of
pixels are compared is decided afterwards, so you can try many choices, and the network runs only once.
"""

# %%
# The network runs once
# ---------------------
# A plant from above, and the model ``leaves``. (Photograph: documentation of PlantCV, Mozilla Public License 2.0.)

# sphinx_gallery_thumbnail_number = 2
import matplotlib.pyplot as plt
import numpy as np
from skimage.color import label2rgb

from pixel_embedded_affinity import Neighborhood, Segmenter, affinities
from pixel_embedded_affinity.samples import rosette

image = rosette()
segmenter = Segmenter.pretrained("leaves", device="cpu")
embedding = segmenter.embed(image)

# %%
# What a pair of pixels says
# --------------------------
# The *affinity* of two pixels is 1 (white) if their vectors are equal, and 0 (black) if they have nothing in common.
# Near pairs draw thin borders. Far pairs draw broad ones: more pixels have their partner in another leaf. Here the
# middle of the plant, and the smallest affinity of each pixel with its partners up, down, left and right.

_, axes = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
for ax, distance in zip(axes, (1, 4, 12), strict=True):
    pairs = affinities(
        embedding.numpy(), Neighborhood.from_ranges([distance], directions=4)
    )
    weakest = np.where(pairs.valid, pairs.values, 1).min(axis=0)
    rows, columns = (slice(length // 4, 3 * length // 4) for length in weakest.shape)
    ax.imshow(weakest[rows, columns], cmap="gray", vmin=0, vmax=1)
    ax.set_title(f"pairs {distance} apart")
    ax.axis("off")

# %%
# More pairs, fewer merged leaves
# -------------------------------
# Pairs of touching pixels join; all longer ones keep apart. Four directions are up, down, left and right; eight add the
# diagonals. To show what a pair is worth, few pairs are used here (``strides=5``: those of every fifth pixel along
# each axis). From left to right the pairs get longer; the lower row has the diagonals, too. Where two
# leaves have one color, they were merged.


def colored(image, labels):
    """Gray ground, and a color for each leaf."""
    colors = plt.colormaps["tab20"].colors
    return label2rgb(labels, image, colors=colors, alpha=0.5, bg_label=0)


ranges = ([1, 3], [1, 3, 9], [1, 3, 9, 27])
_, axes = plt.subplots(2, 3, figsize=(12, 7.6), layout="constrained")
for row, directions in zip(axes, (4, 8), strict=True):
    for ax, lengths in zip(row, ranges, strict=True):
        neighborhood = Neighborhood.from_ranges(
            lengths, directions=directions, strides=5
        )
        labels = segmenter.cluster(embedding, neighborhood=neighborhood)
        ax.imshow(colored(image, labels)[40:360, 60:400])
        ax.set_title(
            f"ranges {lengths}, {directions} directions: {labels.max()} leaves"
        )
        ax.axis("off")

# %%
# The model's own choice
# ----------------------
# A model brings ranges, directions and strides that suit its objects. You need not choose anything.

labels = segmenter.cluster(embedding)
_, ax = plt.subplots(figsize=(5, 4.6), layout="constrained")
ax.imshow(colored(image, labels)[40:360, 60:400])
ax.set_title(f"as the model has it: {labels.max()} leaves")
ax.axis("off")

plt.show()
