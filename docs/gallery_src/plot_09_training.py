"""
Train a model on ten images
===========================

Your objects are not nuclei, nor leaves, nor neurons? A model of your own needs images, labels that a person drew, and a
*recipe*. This page trains on ten small synthetic images, so that it takes less than a minute. A model that you want to
use takes hours, and real images.
"""

# %%
# Images and labels
# -----------------
# Two folders, ``images`` and ``labels``, with files of the same names. A label image holds 0 for background and one
# number per object.

import tempfile
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import tifffile

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.export import render_overlay
from pixel_embedded_affinity.metrics import evaluate
from pixel_embedded_affinity.training.data.synthetic import (
    synthetic_example,
    write_synthetic_data,
)
from pixel_embedded_affinity.training.recipe import Recipe
from pixel_embedded_affinity.training.recipe_files import recipe_path
from pixel_embedded_affinity.training.run.logs import read_rows
from pixel_embedded_affinity.training.run.train import train

temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)
write_synthetic_data(folder / "data")
_, axes = plt.subplots(1, 4, figsize=(12, 3.2), layout="constrained")
for ax, name in zip(
    axes, ("synthetic_00", "synthetic_01", "synthetic_02", "synthetic_03"), strict=True
):
    image, labels = (
        tifffile.imread(folder / "data" / kind / f"{name}.tif")
        for kind in ("images", "labels")
    )
    ax.imshow(render_overlay(image, labels, scale=2))
    ax.set_title(f"{labels.max()} objects")
    ax.axis("off")

# %%
# The recipe
# ----------
# The recipe ``quick`` has a small network, and takes 400 steps of 4 crops. Here it takes 150 steps of 2 crops, to save
# time. From a shell the whole training is ``pea train quick --data data --output run``.

recipe = Recipe.from_file(recipe_path("quick"))
short = replace(
    recipe, schedule=replace(recipe.schedule, steps=150, batch=2, validate_every=0)
)
model = train(short, folder / "data", folder / "run")

# %%
# The loss says how wrong the network is. It falls, at first fast, then slowly.

rows = read_rows(folder / "run" / "log.csv")
_, ax = plt.subplots(figsize=(8, 3), layout="constrained")
ax.plot([int(row["step"]) for row in rows], [float(row["total"]) for row in rows])
ax.set(xlabel="step", ylabel="loss", ylim=(0, None))

# %%
# Does it work?
# -------------
# Look at an image that the training has never seen.

image, truth = synthetic_example(size=160, seed=99)
labels = Segmenter.from_file(model, device="cpu").segment(image)
print(f"AJI {evaluate(truth, labels)['aggregated_jaccard_index']:.2f}")

_, axes = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
axes[0].imshow(image, cmap="gray")
axes[0].set_title("a new image")
axes[1].imshow(render_overlay(image, labels, scale=2))
axes[1].set_title(f"the new model finds {labels.max()} objects")
axes[2].imshow(render_overlay(image, truth, scale=2))
axes[2].set_title(f"there are {truth.max()}")
for ax in axes:
    ax.axis("off")

# %%
# :doc:`/howto/own_weights` goes on with your own images. If a model that comes with the package nearly works, let it
# learn from a few labeled images instead, which takes ten minutes: :doc:`/howto/finetune`.

temporary.cleanup()
plt.show()
