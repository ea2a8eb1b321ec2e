"""
Your first segmentation
=======================

An image goes in, and labels come out: a number for each nucleus. No settings are needed.
"""

# %%
# The image
# ---------
# The package brings one field of image set BBBC039 with its true labels. We take a part of it, in which many nuclei
# touch. Here the image is an array; the path of a TIFF, PNG or JPEG works as well.

import matplotlib.pyplot as plt

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.export import render_overlay
from pixel_embedded_affinity.metrics import evaluate
from pixel_embedded_affinity.samples import nuclei

field = nuclei()
image, truth = field.image[240:480, 400:690], field.labels[240:480, 400:690]

# %%
# From the image to labels
# ------------------------
# ``bbbc039-fast`` is one of the models that come with the package; :doc:`/models/index` lists them all.

segmenter = Segmenter.pretrained("bbbc039-fast", device="cpu")
labels = segmenter.segment(image)
print(labels.max(), "nuclei")

# %%
# Look at it: each nucleus has an outline, and nuclei that touch have different colors.

_, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
axes[0].imshow(image, cmap="gray")
axes[0].set_title("the image")
axes[1].imshow(render_overlay(image, labels, scale=2))
axes[1].set_title("found by the model")
axes[2].imshow(render_overlay(image, truth, scale=2))
axes[2].set_title("drawn by a person")
for ax in axes:
    ax.axis("off")

# %%
# How good is it?
# ---------------
# If a person has drawn the nuclei, you can measure. F1 counts the nuclei that were found: 1 means all of them, and
# nothing else. AJI and Dice compare pixels.

scores = evaluate(truth, labels)
for name in ("f1_score", "aggregated_jaccard_index", "dice"):
    print(f"{name:25} {scores[name]:.3f}")

# %%
# A table of the nuclei
# ---------------------
# `analyze` does the same as `segment`, and also gives measurements of each nucleus. ``result.save("folder")``
# writes labels, table and a picture.

result = segmenter.analyze(image)
table = result.table(intensity=image)
for name in ("label", "area", "confidence"):
    print(f"{name:12}", table[name][:8].round(2))

plt.show()
