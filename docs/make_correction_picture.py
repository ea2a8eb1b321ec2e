"""Draw docs/images/correction.png: two parts of the bundled field before and after corrections, with the strokes.

Run it from any folder, whenever the model has changed::

    python docs/make_correction_picture.py [OUTPUT.png]

It runs the code block of docs/howto/correct.rst, and draws what it made.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from pictures import IMAGES, below_each_other, row, save
from PIL import Image, ImageDraw

from pixel_embedded_affinity.export import render_overlay

DOCS = Path(__file__).parent
CORNERS = ((228, 312), (0, 270))
SIZE = (50, 80)
ENLARGED = 5
COLORS = {"same": (80, 255, 80), "different": (255, 60, 60)}


def main() -> None:
    """Write the picture."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES / "correction.png"
    page = (DOCS / "howto" / "correct.rst").read_text(encoding="utf-8")
    found: dict[str, Any] = {}
    exec(textwrap.dedent(re.findall(r"code-block:: python\n\n((?: {3}.*\n|\n)+)", page)[0]), found)
    rows = [{name: panel(found, name, corner) for name in ("before", "after")} for corner in CORNERS]
    save(below_each_other([row(panels) for panels in rows]), target)


def panel(found: dict[str, Any], name: str, corner: tuple[int, int]) -> np.ndarray:
    """Draw the objects in a window; before the corrections, also the strokes."""
    window = tuple(slice(start, start + length) for start, length in zip(corner, SIZE))
    picture = Image.fromarray(render_overlay(found["image"][window], found[name][window], scale=ENLARGED))
    for kind, color in COLORS.items() if name == "before" else ():
        for one, other in found[kind]:
            draw_stroke(ImageDraw.Draw(picture), np.array([one, other]) - corner, color)
    return np.array(picture)


def draw_stroke(draw: ImageDraw.ImageDraw, pixels: np.ndarray, color: tuple[int, int, int]) -> None:
    """Draw a line with a dot at each end."""
    ends = [tuple(end) for end in ((pixels + 0.5) * ENLARGED)[:, ::-1].tolist()]
    draw.line(ends, fill=color, width=4)
    for x, y in ends:
        draw.ellipse((x - 6, y - 6, x + 6, y + 6), fill=color)


if __name__ == "__main__":
    main()
