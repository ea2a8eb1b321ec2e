"""
An image larger than the memory
===============================

A large image is cut into blocks. Each block is segmented with a margin around it, so that no nucleus is cut
where two blocks meet.
"""

# %%
# A "large" image
# ---------------
# Here a small image stands for a large one: the bundled field and its mirror image, as a TIFF. With a slide of 100,000
# pixels along each side, nothing changes but the time.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tifffile
from matplotlib.patches import Rectangle

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.export import render_overlay
from pixel_embedded_affinity.samples import nuclei

temporary = tempfile.TemporaryDirectory()
slide = Path(temporary.name) / "slide.tif"
part = nuclei().image[200:500, :400]
tifffile.imwrite(slide, np.concatenate([part, part[:, ::-1]], axis=1))

# %%
# Block by block
# --------------
# The labels go to a file as well. Neither the image nor the labels are ever in memory as a whole. With this model,
# a block is 2048 pixels long if you do not say it; the overlap should be as long as the longest object.

BLOCK, OVERLAP = 200, 60
segmenter = Segmenter.pretrained("bbbc039-fast", device="cpu").with_settings(scale=1)
count = segmenter.segment_large(
    slide, slide.with_name("labels.tif"), block=BLOCK, overlap=OVERLAP
)
print(count, "nuclei")

# %%
# No seam
# -------
# White lines are the borders of the blocks. The dashed frame is what the network saw for one block: the block and the
# overlap around it. A nucleus on a white line has one color, because both blocks saw it whole.

image, labels = tifffile.imread(slide), tifffile.imread(slide.with_name("labels.tif"))
_, ax = plt.subplots(figsize=(12, 4.7), layout="constrained")
ax.imshow(render_overlay(image, labels))
for y in range(BLOCK, image.shape[0], BLOCK):
    ax.axhline(y - 0.5, color="white", linewidth=1)
for x in range(BLOCK, image.shape[1], BLOCK):
    ax.axvline(x - 0.5, color="white", linewidth=1)
seen = Rectangle(
    (2 * BLOCK - OVERLAP, 0),
    BLOCK + 2 * OVERLAP,
    BLOCK + OVERLAP,
    fill=False,
    color="cyan",
    linestyle="--",
    linewidth=2,
)
ax.add_patch(seen)
ax.set(
    xticks=[],
    yticks=[],
    title=f"{count} nuclei in {-(-image.shape[0] // BLOCK) * 4} blocks",
)

# %%
# The same as without blocks
# --------------------------
# This image fits into memory, so we can compare.

whole = segmenter.segment(image)
print("pixels that differ:", np.count_nonzero(whole != labels), "of", labels.size)

# %%
# :doc:`/howto/large_images` has a drawing of blocks, overlap, tiles and halo.

temporary.cleanup()
plt.show()
