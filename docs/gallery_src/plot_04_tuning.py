"""
Better settings from a few labeled images
=========================================

A model finds your objects, but cuts or joins too many? Label a few small images, and let the package look for
settings that do better. Nothing is trained.
"""

# %%
# Settings that do not fit
# ------------------------
# Three parts of the bundled field, with their true labels. We begin with bad settings on purpose: only pairs of near
# pixels, few of them, and a foreground that leaves much out.

# sphinx_gallery_thumbnail_number = 2
import matplotlib.pyplot as plt

from pixel_embedded_affinity import Neighborhood, Segmenter
from pixel_embedded_affinity.export import render_overlay
from pixel_embedded_affinity.samples import nuclei
from pixel_embedded_affinity.tune import Search

field = nuclei()
parts = [(slice(280, 440), slice(left, left + 160)) for left in (176, 356, 536)]
images, truths = (
    [field.image[part] for part in parts],
    [field.labels[part] for part in parts],
)

model = Segmenter.pretrained("bbbc039-fast", device="cpu").with_settings(scale=1)
bad = model.with_settings(
    neighborhood=Neighborhood.from_ranges([1, 3], strides=20), foreground_threshold=0.95
)

# %%
# Search
# ------
# Without ``search=`` some dozens of settings are tried; here a few are enough. The score is the AJI: 1 is perfect.

search = Search(
    ranges=[[1, 3, 5, 9, 11], [1, 3, 9]],
    directions=[8],
    strides=[5, 10],
    foreground_thresholds=[0.5, 0.7],
    merge_sizes=[[20, 40]],
    min_sizes=[20],
    fill_holes=[True],
)
tuning = bad.tune(images, truths, metric="AJI", search=search)
print(f"before {tuning.start_score:.3f}, after {tuning.score:.3f}")
print(f"on images that were not looked at: {tuning.held_out_score:.3f}")

# %%
# Every dot is one choice of settings, every color the setting that was changed. Gray dots are single images.

_, ax = plt.subplots(figsize=(8, 4), layout="constrained")
tuning.plot(ax)

# %%
# Before and after
# ----------------

_, axes = plt.subplots(3, 3, figsize=(10, 10), layout="constrained")
for row, image, truth in zip(axes, images, truths, strict=True):
    for ax, title, labels in (
        (row[0], "before", bad.segment(image)),
        (row[1], "after", tuning.segmenter.segment(image)),
        (row[2], "truth", truth),
    ):
        ax.imshow(render_overlay(image, labels, scale=2))
        ax.set_title(f"{title}: {len(set(labels[labels > 0]))} nuclei")
        ax.axis("off")

# %%
# Keep the settings
# -----------------
# ``tuning.segmenter.save_settings("settings.json")`` writes them, and ``pea segment --settings settings.json`` uses
# them. :doc:`/howto/tune` says how far to trust the scores.

plt.show()
