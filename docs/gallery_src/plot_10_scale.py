"""
Objects of another size
=======================

A model knows objects of one size. If yours are larger or smaller, the image is resized before the network sees it.
The models of nuclei and leaves find out by themselves by how much.
"""

# %%
# Nuclei three times as large
# ---------------------------
# A part of the bundled field, enlarged three times: as if it were taken with a stronger lens.

import matplotlib.pyplot as plt
import numpy as np
from skimage.transform import resize

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.export import render_overlay
from pixel_embedded_affinity.samples import nuclei

part = nuclei().image[300:400, 500:640].astype(np.float32)
image = resize(part, (300, 420), order=1, preserve_range=True)
segmenter = Segmenter.pretrained("bbbc039-fast", device="cpu")

# %%
# The wrong scale and the right one
# ---------------------------------
# At scale 1 the network sees the image as it is, and the nuclei are far too large for it: they have holes, come in
# pieces, or are missing.

wrong = segmenter.segment(image, scale=1)
found = segmenter.analyze(image, scale="auto")
print(f"scale that was found: {found.scale}")

_, axes = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
axes[0].imshow(render_overlay(image, wrong))
axes[0].set_title(f"scale 1: {wrong.max()} objects")
axes[1].imshow(render_overlay(image, found.labels))
axes[1].set_title(f"scale {found.scale}: {found.labels.max()} objects")
for ax in axes:
    ax.axis("off")

# %%
# How it is found
# ---------------
# Where objects are too large for the model, they are doubtful: their *confidence* is low. Over a wide range of smaller
# scales it is nearly the same. So the search looks for objects that are confident, and also of the size that the model
# knows.

scales = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18)
confidence = []
for scale in scales:
    values = segmenter.analyze(image, scale=scale).table()["confidence"]
    confidence.append(values.mean() if len(values) else 0)

_, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
ax.plot(scales, confidence, "o-")
ax.axvline(found.scale, color="gray", linestyle="--", label="found")
ax.set(
    xscale="log",
    xlabel="scale",
    ylabel="mean confidence",
    ylim=(0, 1),
    xticks=scales,
    xticklabels=scales,
)
ax.minorticks_off()
ax.legend()

# %%
# If you know it, say it
# ----------------------
# ``segmenter.segment(image, diameter=85)`` says how large your objects are, in pixels.
# :doc:`/howto/objects_of_another_size` has more.

plt.show()
