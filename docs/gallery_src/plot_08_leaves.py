"""
The leaves of a plant, and of a tray
====================================

The model ``leaves`` knows rosettes seen from above. It finds out by itself how large the plant is.
(Photographs: documentation of `PlantCV <https://github.com/danforthcenter/plantcv>`_, Mozilla Public
License 2.0. No model was trained on them.)
"""

# %%
# One plant
# ---------

import matplotlib.pyplot as plt
from skimage.color import label2rgb

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.samples import rosette, tray


def colored(image, labels):
    """Gray ground, and a color for each leaf."""
    colors = plt.colormaps["tab20"].colors
    return label2rgb(labels, image, colors=colors, alpha=0.5, bg_label=0)


plant = rosette()
segmenter = Segmenter.pretrained("leaves", device="cpu")
result = segmenter.analyze(plant)

_, axes = plt.subplots(1, 2, figsize=(11, 5.4), layout="constrained")
axes[0].imshow(plant)
axes[0].set_title("the photograph")
axes[1].imshow(colored(plant, result.labels))
axes[1].set_title(f"{result.labels.max()} leaves")
for ax in axes:
    ax.axis("off")

# %%
# How large each leaf is
# ----------------------
# The area of each leaf in pixels. If you know how long a pixel is, say ``pixel_size=``, and the table has lengths and
# areas in your unit.

table = result.table()
_, ax = plt.subplots(figsize=(8, 3), layout="constrained")
ax.bar(
    range(1, len(table["area"]) + 1),
    sorted(table["area"], reverse=True),
    color="olivedrab",
)
ax.set(xlabel="leaf, the largest first", ylabel="area in pixels")

# %%
# A tray of small plants
# ----------------------
# Here the plants are only 65 pixels wide. ``regions="components"`` looks at each plant at a scale of its own.

pots = tray()[:, :220]
tray_result = segmenter.with_settings(regions="components").analyze(pots)
print(
    f"{tray_result.labels.max()} leaves; the image was enlarged {tray_result.scale:g} times"
)

_, axes = plt.subplots(1, 2, figsize=(11, 7.2), layout="constrained")
axes[0].imshow(pots)
axes[0].set_title("a part of the tray")
axes[1].imshow(colored(pots, tray_result.labels))
axes[1].set_title(f"{tray_result.labels.max()} leaves")
for ax in axes:
    ax.axis("off")

# %%
# Not every leaf is right: the youngest leaves in the middle of a plant are often one object, and very small plants may
# be missing. :doc:`/models/leaves` says how often.

plt.show()
