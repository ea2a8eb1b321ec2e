"""A reader of another lab: files of NumPy."""

import numpy as np

from pixel_embedded_affinity.io.readers.base import Source


class Npy:
    suffixes = (".npy",)
    signatures = (b"\x93NUMPY",)

    def read(self, path):
        values = np.load(path, allow_pickle=False)
        return Source(values, "YX" if values.ndim == 2 else "YXC")
