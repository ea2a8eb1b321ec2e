"""
A folder of images
==================

Twelve images, one table. The same from a shell: ``pea segment images/ --model bbbc039-fast --output found/ --table``.
"""

# %%
# The folder
# ----------
# For this page we write twelve small images: parts of the bundled field. Yours lie somewhere already.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tifffile

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.export import object_table, render_overlay, write_labels
from pixel_embedded_affinity.samples import nuclei

temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)
field = nuclei().image
for index in range(12):
    row, column = divmod(index, 4)
    tifffile.imwrite(
        folder / f"part_{index:02}.tif", field[row * 173 :, column * 174 :][:173, :174]
    )

# %%
# One after the other
# -------------------
# `segment_many` takes paths or arrays. It gives the labels of one image while the network works on the next one.

paths = sorted(folder.glob("part_*.tif"))
segmenter = Segmenter.pretrained("bbbc039-fast", device="cpu")
rows, pictures = [], []
for path, labels in zip(paths, segmenter.segment_many(paths), strict=True):
    image = tifffile.imread(path)
    write_labels(path.with_name(f"{path.stem}_labels.tif"), labels)
    areas = object_table(labels, image)["area"]
    rows.append((path.name, labels.max(), np.median(areas)))
    pictures.append(render_overlay(image, labels))

# %%
# The table
# ---------

print(f"{'image':14}{'nuclei':>7}{'median area':>13}")
for name, count, area in rows:
    print(f"{name:14}{count:7}{area:13.0f}")

# %%
# A look at all of them
# ---------------------
# A glance at every image is worth its minute: an image out of focus shows at once.

_, axes = plt.subplots(3, 4, figsize=(12, 9), layout="constrained")
for ax, picture, (name, count, _) in zip(axes.ravel(), pictures, rows, strict=True):
    ax.imshow(picture)
    ax.set_title(f"{name}: {count} nuclei", fontsize=10)
    ax.axis("off")

# %%
# :doc:`/howto/folder` says how to go on after a stop, and how to divide a folder among several machines.

temporary.cleanup()
plt.show()
