"""
What the napari panels do, in code
==================================

The plug-in for napari has four panels: *Segment*, *Explore*, *Review* and *Correct*. Each is a few calls of the
library, so what you found out in the viewer you can do again for a thousand images. :doc:`/howto/napari` shows the
panels themselves.
"""

# %%
# Segment
# -------
# The network runs once. All other panels work on its embedding.

import matplotlib.pyplot as plt
import numpy as np

from pixel_embedded_affinity import Neighborhood, Segmenter
from pixel_embedded_affinity.export import render_overlay
from pixel_embedded_affinity.samples import nuclei

image = nuclei().image
segmenter = Segmenter.pretrained("bbbc039-fast", device="cpu")
embedding = segmenter.embed(image)
labels = segmenter.cluster(embedding)
print(labels.max(), "nuclei")

# %%
# Explore
# -------
# A slider changes a setting, and the embedding is clustered again. With few, short pairs of pixels, nuclei that touch
# become one. Below is the lower right part of the field; the title says how many nuclei the whole field has.

few_and_short = Neighborhood.from_ranges([1, 2, 3], strides=8, attractive="straight")
part = (slice(300, 500), slice(436, 696))
settings = {
    "the model's own": {},
    "ranges up to 3, stride 8": {"neighborhood": few_and_short},
    "threshold 0.9": {"foreground_threshold": 0.9},
}
_, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
for ax, (name, values) in zip(axes, settings.items(), strict=True):
    found = segmenter.with_settings(**values).cluster(embedding)
    ax.imshow(render_overlay(image[part], found[part], scale=3))
    ax.set_title(f"{name}: {found.max()}")
    ax.axis("off")

# %%
# Review
# ------
# The least confident objects come first.

table = segmenter.analyze(image).table()
for row in np.argsort(table["confidence"])[:5]:
    y, x = table["centroid-y"][row], table["centroid-x"][row]
    label, confidence = table["label"][row], table["confidence"][row]
    print(f"object {label} at ({y:.0f}, {x:.0f}): {confidence:.2f}")

# %%
# Correct
# -------
# Two strokes: the two halves of a nucleus that was cut are the same object (green), and two nuclei that were taken
# for one are not (red). Only what the strokes touch changes. :doc:`/howto/correct` says what you can rely on.

same = [[(244, 355), (260, 350)]]
different = [((12, 296), (25, 312))]
corrected = segmenter.cluster(embedding, same=same, different=different)

windows = [(slice(228, 278), slice(312, 392)), (slice(0, 50), slice(270, 350))]
strokes = [(same[0], "lime"), (different[0], "red")]
_, axes = plt.subplots(2, 2, figsize=(9, 6), layout="constrained")
for row, (window, (stroke, color)) in enumerate(zip(windows, strokes, strict=True)):
    corner = [side.start for side in window]
    y, x = (np.array(stroke) - corner + 0.5).T * 5
    for column, shown in enumerate((labels, corrected)):
        axes[row, column].imshow(render_overlay(image[window], shown[window], scale=5))
        axes[row, column].axis("off")
    axes[row, 0].plot(x, y, "o-", color=color, linewidth=3)
axes[0, 0].set_title("before")
axes[0, 1].set_title("after")

plt.show()
