"""``python -m pixel_embedded_affinity``: the same as ``pea``."""

from __future__ import annotations

import sys

from pixel_embedded_affinity.cli import main

if __name__ == "__main__":
    sys.exit(main())
