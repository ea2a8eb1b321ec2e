"""Give embeddings and affinities to another pipeline, and use another pipeline's embedding.

python examples/embeddings_for_another_pipeline.py [FOLDER]

FOLDER is the folder for the results; without it, they go into a new temporary folder.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from pixel_embedded_affinity import Neighborhood, Segmenter, affinities
from pixel_embedded_affinity.clustering import MutexWatershed
from pixel_embedded_affinity.export import write_labels
from pixel_embedded_affinity.postprocess import Postprocess
from pixel_embedded_affinity.samples import nuclei


def main() -> None:
    """Write arrays for another program, then read them as if another program had written them."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="embeddings_"))
    folder.mkdir(parents=True, exist_ok=True)
    hand_out(folder / "embedding.npz")
    take_in(folder / "embedding.npz", folder / "labels.tif")
    print(f"results are in {folder}")


def hand_out(path: Path) -> None:
    """Write what the network made of an image as arrays that any program can read."""
    segmenter = Segmenter.pretrained("bbbc039-fast")
    embedding = segmenter.embed(nuclei().image)
    pairs = affinities(embedding, Neighborhood.from_ranges([1, 3], directions=4)).numpy()
    arrays = {
        "embedding": embedding.numpy(),  # float32 (D, Y, X), unit length at each pixel
        "foreground": embedding.foreground_numpy(),  # float32 (Y, X), a probability
        "affinities": pairs.values,  # float32 (K, Y, X), 1 = same object
        "valid": pairs.valid,  # bool (K, Y, X): does the pair lie in the image?
        "offsets": np.array(pairs.neighborhood.offsets),  # int (K, 2): from a pixel to its partner, (y, x)
    }
    np.savez_compressed(path, **arrays)
    print({name: array.shape for name, array in arrays.items()})


def take_in(path: Path, target: Path) -> None:
    """Cluster an embedding that comes from anywhere: no network and no Segmenter are needed."""
    with np.load(path) as arrays:
        embedding, foreground = arrays["embedding"], arrays["foreground"] > 0.5
    pairs = affinities(embedding, Neighborhood.from_ranges([1, 3, 5, 9], directions=8, strides=10))
    labels = MutexWatershed()(pairs, foreground=foreground)
    labels = Postprocess(merge_sizes=(25, 50, 100), min_size=25)(labels)
    write_labels(target, labels)
    print(f"{labels.max()} nuclei")


if __name__ == "__main__":
    main()
