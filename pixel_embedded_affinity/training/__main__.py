"""``python -m pixel_embedded_affinity.training``: the same as ``pea train``."""

from __future__ import annotations

import sys

from pixel_embedded_affinity.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
