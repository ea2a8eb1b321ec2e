"""
Which objects to look at first
==============================

Nobody looks at ten thousand nuclei. Each object has a *confidence*: how well it agrees with the affinities inside it
and across its border. Begin with the lowest.
"""

# %%
# A color for the confidence
# --------------------------
# The bundled field. Blue nuclei are sure, red ones are doubtful.

import matplotlib.pyplot as plt
import numpy as np

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.export import render_overlay
from pixel_embedded_affinity.samples import nuclei

field = nuclei()
result = Segmenter.pretrained("bbbc039-fast", device="cpu").analyze(field.image)
table = result.table()

by_label = np.concatenate([[np.nan], table["confidence"]])
_, ax = plt.subplots(figsize=(9, 6.2), layout="constrained")
shown = ax.imshow(by_label[result.labels], cmap="RdYlBu", vmin=0.3, vmax=1)
ax.set_facecolor("black")
ax.set(xticks=[], yticks=[], title=f"{result.labels.max()} nuclei")
plt.colorbar(shown, ax=ax, label="confidence", shrink=0.8)

# %%
# The eight most doubtful objects
# -------------------------------
# Above, what the model found; below, what a person drew. A doubtful object need not be wrong, but wrong objects
# are mostly here.


def around(row: int, half: int = 32) -> tuple[slice, slice]:
    """A window around an object, inside the image."""
    place = (table["centroid-y"][row], table["centroid-x"][row])
    starts = [
        int(np.clip(middle - half, 0, length - 2 * half))
        for middle, length in zip(place, field.image.shape, strict=True)
    ]
    return slice(starts[0], starts[0] + 2 * half), slice(
        starts[1], starts[1] + 2 * half
    )


doubtful = np.argsort(table["confidence"])[:8]
_, axes = plt.subplots(2, 8, figsize=(12, 3.6), layout="constrained")
for column, row in enumerate(doubtful):
    window = around(row)
    axes[0, column].imshow(
        render_overlay(field.image[window], result.labels[window], scale=3)
    )
    axes[0, column].set_title(f"{table['confidence'][row]:.2f}")
    axes[1, column].imshow(
        render_overlay(field.image[window], field.labels[window], scale=3)
    )
for ax in axes.ravel():
    ax.axis("off")

# %%
# How confidence is spread
# ------------------------
# Most objects are sure. You see those on the left in a minute. :doc:`/explanation/confidence` has the formula, and
# how many wrong objects it finds.

_, ax = plt.subplots(figsize=(8, 3), layout="constrained")
ax.hist(table["confidence"], bins=30, range=(0, 1), color="steelblue")
ax.set(xlabel="confidence", ylabel="nuclei")

plt.show()
