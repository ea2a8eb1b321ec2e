"""
Neurons in a volume
===================

Sixteen sections through a fly's brain, and the neurons that run through them. (Sections: FIB-25, Takemura
et al., PNAS 112:13711, 2015, Creative Commons Attribution. The model learned from other sections of it.)
"""

# %%
# The sections
# ------------
# A voxel has 30 x 10 x 10 nm, and the model knows 30 x 6 x 6 nm. With the size of a voxel, ``scale="auto"``
# resizes the sections for the network; the labels come back in the sections' own size.

import matplotlib.pyplot as plt
import numpy as np

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.export import render_overlay
from pixel_embedded_affinity.metrics import evaluate
from pixel_embedded_affinity.samples import neurons

sample = neurons()
segmenter = Segmenter.pretrained("neurons", device="cpu")
labels = segmenter.segment(sample.image, scale="auto", pixel_size=sample.pixel_size)
print(labels.shape, labels.max(), "neurons, the truth has", sample.labels.max())

# %%
# Three of the sections. A neuron has one number in all of them, and so one color.

colors = np.random.default_rng(4).uniform(0.2, 1, (labels.max() + 1, 3))
_, axes = plt.subplots(2, 3, figsize=(11, 7.4), layout="constrained")
for column, section in zip(axes.T, (2, 8, 14), strict=True):
    gray = sample.image[section] / 255
    column[0].imshow(gray, cmap="gray")
    column[0].set_title(f"section {section}")
    column[1].imshow(0.55 * gray[..., None] + 0.45 * colors[labels[section]])
for ax in axes.flat:
    ax.axis("off")

# %%
# How well the two agree
# ----------------------
# The variation of information (VOI) counts what is split and what is merged, in bits; the adapted Rand error
# (ARAND) is 0 if all agrees, and 1 at worst.

scores = evaluate(sample.labels, labels)
for name in ("voi_split", "voi_merge", "adapted_rand_error"):
    print(f"{name:20} {scores[name]:.3f}")

_, axes = plt.subplots(1, 2, figsize=(10, 5.2), layout="constrained")
for ax, title, shown in zip(
    axes, ("truth", "found"), (sample.labels, labels), strict=True
):
    ax.imshow(render_overlay(sample.image[8], shown[8], scale=2))
    ax.set_title(title)
    ax.axis("off")

# %%
# From the side
# -------------
# A cut across all sections, each drawn three times as high as the model sees it: neurons go on from section to
# section.

_, ax = plt.subplots(figsize=(10, 2.6), layout="constrained")
side = np.repeat(labels[:, 100], 3, axis=0)
ax.imshow(colors[side], aspect="auto")
ax.set_xlabel("column")
ax.set_ylabel("section, times 3")
plt.show()
